package testca

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
)

// Serve starts an HTTPS server on loopback that is every host: handler finds
// what serves a host name, in lower case and without a port. It speaks HTTP/2
// too, says nothing of broken handshakes, and runs until it is closed.
func (a *Authority) Serve(handler func(host string) http.Handler) (address string, server io.Closer, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("starting a test server: %w", err)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
			handler(host).ServeHTTP(w, r)
		}),
		TLSConfig: a.ServerConfig(),
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	go s.ServeTLS(listener, "", "")
	return listener.Addr().String(), s, nil
}
