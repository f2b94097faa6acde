// Package sim simulates everything that the program talks to: Azure container
// registries, Azure DevOps and Entra ID, over real HTTPS on loopback. It stands
// behind CONNECT proxies, so that an unchanged binary dials real host names
// through the proxy and CA settings that an agent would give it. It is strict
// where Azure is strict, keeps a log of every request and every host dialled,
// and imports nothing of the program: what it says of a run is evidence that
// the program did not write itself. For tests and the demo alone.
package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"acrpromote/internal/testca"
)

// Cloud is everything that the program talks to. One TLS listener on loopback
// serves every host; the proxies of its networks are the only way that leads
// there by name, and they lead nowhere else.
type Cloud struct {
	dir      string
	ca       *testca.Authority
	caFile   string
	listener net.Listener
	server   *http.Server
	log      journal

	mu           sync.Mutex
	hosts        map[string]http.Handler // by host:port
	clients      map[netip.AddrPort]string
	networks     []*Network
	tunnels      map[net.Conn]struct{}
	http1        map[string]bool // hosts, without port, that speak HTTP/1.1 alone
	registries   []*Registry
	interceptors []*interceptor
	scripts      []*Script
	closed       bool
	busy         map[net.Conn]struct{} // connections that are opening or have a request under way
	serving      int                   // requests under way
	quiet        *sync.Cond            // told whenever busy or serving shrinks
}

type interceptor struct {
	answer func(http.ResponseWriter, *http.Request) bool
}

// Start opens the cloud. Its CA certificate and the blobs too big for memory
// are written to dir, which the caller removes.
func Start(dir string) (*Cloud, error) {
	ca, err := testca.New()
	if err != nil {
		return nil, err
	}
	caFile := filepath.Join(dir, "simulated-ca.pem")
	if err := os.WriteFile(caFile, ca.PEM(), 0o600); err != nil {
		return nil, fmt.Errorf("writing the simulated CA: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the simulated cloud: %w", err)
	}
	c := &Cloud{
		dir: dir, ca: ca, caFile: caFile, listener: listener,
		hosts:   map[string]http.Handler{},
		clients: map[netip.AddrPort]string{},
		tunnels: map[net.Conn]struct{}{},
		http1:   map[string]bool{},
		busy:    map[net.Conn]struct{}{},
	}
	c.quiet = sync.NewCond(&c.mu)
	certificate := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := strings.ToLower(hello.ServerName)
		if !c.knows(name) {
			return nil, errors.New("no such host in the simulated cloud: " + name)
		}
		return ca.Certificate(name)
	}
	http1 := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: certificate,
	}
	c.server = &http.Server{
		Handler:           http.HandlerFunc(c.serve),
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: 30 * time.Second,
		ConnState:         c.follow,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: certificate,
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if c.speaksHTTP1(strings.ToLower(hello.ServerName)) {
					return http1, nil
				}
				return nil, nil
			},
		},
	}
	go c.server.ServeTLS(listener, "", "")
	return c, nil
}

// Close ends every connection and removes spilled blobs.
func (c *Cloud) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	networks, registries := c.networks, c.registries
	tunnels := make([]net.Conn, 0, len(c.tunnels))
	for conn := range c.tunnels {
		tunnels = append(tunnels, conn)
	}
	c.mu.Unlock()
	for _, n := range networks {
		n.server.Close()
	}
	c.server.Close()
	for _, conn := range tunnels {
		conn.Close()
	}
	for _, r := range registries {
		r.close()
	}
}

// CAFile is the path of the PEM file that holds the cloud's own CA.
func (c *Cloud) CAFile() string { return c.caFile }

// Handle serves a host (port 443 unless named) over TLS, with a certificate
// that the cloud's CA issues on demand. A host handled twice is served by the
// later handler.
func (c *Cloud) Handle(host string, h http.Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[address(host)] = h
}

// Intercept lets answer see every request before its host does; it returns true
// when it has answered. Later interceptors are asked first. It is called
// concurrently, and removed by the function returned.
func (c *Cloud) Intercept(answer func(w http.ResponseWriter, r *http.Request) bool) (remove func()) {
	added := &interceptor{answer}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A new slice each time: requests under way iterate over the old one.
	c.interceptors = append([]*interceptor{added}, c.interceptors...)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		var rest []*interceptor
		for _, i := range c.interceptors {
			if i != added {
				rest = append(rest, i)
			}
		}
		c.interceptors = rest
	}
}

// Settle waits until no request is under way and no connection is being opened,
// or until the time is up. A program that has ended may have left requests
// behind; once they are settled nothing answers for it any more, and what an
// interceptor uses may change.
func (c *Cloud) Settle(within time.Duration) {
	deadline := time.Now().Add(within)
	wake := time.AfterFunc(within, c.quiet.Broadcast)
	defer wake.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for (c.serving > 0 || len(c.busy) > 0) && time.Now().Before(deadline) {
		c.quiet.Wait()
	}
}

// follow keeps account of the connections that are at work.
func (c *Cloud) follow(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateNew || state == http.StateActive {
		c.busy[conn] = struct{}{}
		return
	}
	delete(c.busy, conn)
	c.quiet.Broadcast()
}

type clientIPKey struct{}

// ClientIP is the simulated address that a request comes from: that of the
// network whose proxy carried it, or 127.0.0.1 where none did.
func ClientIP(r *http.Request) string {
	if ip, ok := r.Context().Value(clientIPKey{}).(string); ok {
		return ip
	}
	return "127.0.0.1"
}

func (c *Cloud) serve(w http.ResponseWriter, r *http.Request) {
	ip := "127.0.0.1"
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	c.mu.Lock()
	if seen, ok := c.clients[from]; ok {
		ip = seen
	}
	handler := c.hosts[address(r.Host)]
	interceptors, scripts := c.interceptors, c.scripts
	c.serving++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.serving--
		c.quiet.Broadcast()
	}()

	r = r.WithContext(context.WithValue(r.Context(), clientIPKey{}, ip))
	w, r = c.log.open(w, r, ip)
	if name, _, _ := net.SplitHostPort(address(r.Host)); r.TLS == nil || !strings.EqualFold(r.TLS.ServerName, name) {
		http.Error(w, "the request's host is not the one that the connection was made for", http.StatusMisdirectedRequest)
		return
	}
	for _, i := range interceptors {
		if i.answer(w, r) {
			return
		}
	}
	if handler == nil {
		http.Error(w, "no such host", http.StatusNotFound)
		return
	}
	for _, s := range scripts {
		handler = s.around(handler)
	}
	handler.ServeHTTP(w, r)
}

func (c *Cloud) handles(hostport string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[address(hostport)] != nil && !c.closed
}

// knows reports whether the name is served on any port.
func (c *Cloud) knows(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for hostport := range c.hosts {
		if host, _, _ := net.SplitHostPort(hostport); host == name {
			return true
		}
	}
	return false
}

func (c *Cloud) speaksHTTP1(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.http1[name]
}

// HTTP1 makes hosts offer HTTP/1.1 alone; every other host offers HTTP/2 too.
func (c *Cloud) HTTP1(hosts ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, host := range hosts {
		name, _, _ := net.SplitHostPort(address(host))
		c.http1[name] = true
	}
}

// address is a host in lower case with its port, 443 unless named.
func address(host string) string {
	host = strings.ToLower(host)
	if _, _, err := net.SplitHostPort(host); err != nil {
		return net.JoinHostPort(host, "443")
	}
	return host
}
