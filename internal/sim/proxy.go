package sim

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Network is a place that clients can be in. Its CONNECT proxy is their only
// way into the cloud, and the cloud sees all of them under the network's
// address.
type Network struct {
	cloud    *Cloud
	name     string
	ip       string
	listener net.Listener
	server   *http.Server

	mu            sync.Mutex
	dialled       []string
	blocked       map[string]bool
	authorization string
	answer        func(http.ResponseWriter, *http.Request) bool
}

// Network opens a network whose clients the cloud sees at ip. It panics if
// loopback has no port left.
func (c *Cloud) Network(name, ip string) *Network {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("sim: opening the proxy of %s: %v", name, err))
	}
	n := &Network{cloud: c, name: name, ip: ip, listener: listener}
	n.server = &http.Server{
		Handler:           http.HandlerFunc(n.serve),
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: 30 * time.Second,
	}
	c.mu.Lock()
	c.networks = append(c.networks, n)
	c.mu.Unlock()
	go n.server.Serve(listener)
	return n
}

// Name is the name that the network was opened with.
func (n *Network) Name() string { return n.name }

// IP is the address that the cloud sees this network's clients at.
func (n *Network) IP() string { return n.ip }

// ProxyURL is the address of the proxy, without user and password.
func (n *Network) ProxyURL() string { return "http://" + n.listener.Addr().String() }

// Dialled is the proxy's own log: every host:port that was asked for by a
// client that may use the proxy, served or refused, in order.
func (n *Network) Dialled() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialled)
}

// RequireAuth makes the proxy answer 407 to clients without the password.
func (n *Network) RequireAuth(user, password string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Intercept has f see each request to the proxy first; true means that f has
// answered it. Nil lifts it.
func (n *Network) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = f
}

// Block makes exactly these hosts unreachable from the network (502); no host
// lifts every block. Connections that stand already are left alone.
func (n *Network) Block(hosts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocked = map[string]bool{}
	for _, host := range hosts {
		n.blocked[address(host)] = true
	}
}

// Client is an HTTP client in this network that trusts the cloud's CA. Each
// call makes a new one, with connections of its own.
func (n *Network) Client() *http.Client {
	proxy := &url.URL{Scheme: "http", Host: n.listener.Addr().String()}
	return &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyURL(proxy),
		TLSClientConfig:   &tls.Config{RootCAs: n.cloud.ca.Pool(), MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}}
}

func (n *Network) serve(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	authorization, answer := n.authorization, n.answer
	n.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	if authorization != "" && subtle.ConstantTimeCompare([]byte(authorization), []byte(r.Header.Get("Proxy-Authorization"))) == 0 {
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		http.Error(w, "the proxy needs a user and a password", http.StatusProxyAuthRequired)
		return
	}
	target := strings.ToLower(r.Host)
	if r.Method != http.MethodConnect {
		if _, _, err := net.SplitHostPort(target); err != nil {
			target = net.JoinHostPort(target, "80")
		}
	}
	n.mu.Lock()
	n.dialled = append(n.dialled, target)
	blocked := n.blocked[target]
	n.mu.Unlock()
	switch {
	case r.Method != http.MethodConnect:
		http.Error(w, "this proxy carries TLS alone", http.StatusBadGateway)
		return
	case blocked || !n.cloud.handles(target):
		http.Error(w, "no way to "+target, http.StatusBadGateway)
		return
	}
	n.tunnel(w)
}

func (n *Network) tunnel(w http.ResponseWriter) {
	up, err := net.Dial("tcp", n.cloud.listener.Addr().String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	down, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		up.Close()
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	// The client learns of the tunnel only after its address is known to the
	// cloud: no request can come before that.
	local := up.LocalAddr().(*net.TCPAddr).AddrPort()
	if !n.cloud.enter(local, n.ip, up, down) {
		up.Close()
		down.Close()
		return
	}
	defer n.cloud.leave(local, up, down)
	if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if early := buffered.Reader.Buffered(); early > 0 {
			if _, err := io.CopyN(up, buffered, int64(early)); err != nil {
				return
			}
		}
		io.Copy(up, down)
		up.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(down, up)
	// The server is done; what the client still sends has no reader any more.
	down.Close()
	up.Close()
	<-ended
}

func (c *Cloud) enter(local netip.AddrPort, ip string, conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.clients[local] = ip
	for _, conn := range conns {
		c.tunnels[conn] = struct{}{}
	}
	return true
}

func (c *Cloud) leave(local netip.AddrPort, conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, local)
	for _, conn := range conns {
		delete(c.tunnels, conn)
		conn.Close()
	}
}
