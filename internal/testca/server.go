package testca

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
)

// Serve starts an HTTPS server on loopback that is every host. handler returns
// what serves a host name, which is in lower case and without a port; where it
// returns nil, the request goes to unknown. The server speaks HTTP/2 too, logs
// nothing, and runs until it is closed.
func (a *Authority) Serve(handler func(host string) http.HandlerFunc, unknown func(*http.Request)) (address string, server io.Closer, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("starting a test server: %w", err)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
			if serve := handler(host); serve != nil {
				serve(w, r)
			} else {
				unknown(r)
			}
		}),
		TLSConfig: a.ServerConfig(),
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	go s.ServeTLS(listener, "", "")
	return listener.Addr().String(), s, nil
}
