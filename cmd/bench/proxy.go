package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// network is what lies between a program and the registries.
type network struct {
	Name  string        `json:"name"`
	Trip  time.Duration `json:"roundTripNanoseconds"`
	Speed int64         `json:"bytesPerSecondAndConnection"` // 0 is as fast as it goes
	TLS   bool          `json:"tls,omitempty"`               // up to the proxy; behind it HTTP is plain
}

// proxy stands before one registry: it counts requests and bytes, and makes
// the way longer and narrower. Programs see its address as the registry's.
type proxy struct {
	listener net.Listener
	backend  string
	network  network
	secure   *tls.Config // nil where HTTP is plain

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
	kinds  map[string]int
	broken error // why requests could not be counted

	sent, received atomic.Int64 // bodies of requests; whole answers
	dialled        atomic.Int64
	running        sync.WaitGroup
}

// traffic is what went through a proxy.
type traffic struct {
	Requests    int            `json:"requests"`
	Kinds       map[string]int `json:"kinds"`
	Sent        int64          `json:"bytesSent"`
	Received    int64          `json:"bytesReceived"`
	Connections int            `json:"connections"`
}

func startProxy(backend string, n network) (*proxy, error) {
	var secure *tls.Config
	if n.TLS {
		var err error
		if secure, err = serverConfig(); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("no port for a proxy: %w", err)
	}
	p := &proxy{listener: l, backend: backend, network: n, secure: secure, open: map[net.Conn]bool{}, kinds: map[string]int{}}
	p.running.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.dialled.Add(1)
		p.running.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

// take counts a connection among those that stop closes.
func (p *proxy) take(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.open[c] = true
	return true
}

func (p *proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
}

func (p *proxy) stop() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// look tells what went through since the last look.
func (p *proxy) look() (traffic, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := traffic{Kinds: maps.Clone(p.kinds), Sent: p.sent.Swap(0), Received: p.received.Swap(0), Connections: int(p.dialled.Swap(0))}
	for _, n := range t.Kinds {
		t.Requests += n
	}
	clear(p.kinds)
	return t, p.broken
}

func (p *proxy) count(method, target string) {
	kind := method + " " + kindOf(target)
	p.mu.Lock()
	p.kinds[kind]++
	p.mu.Unlock()
}

// kindOf is what a request asks for, by its address.
func kindOf(target string) string {
	path, query, _ := strings.Cut(target, "?")
	switch {
	case path == "/v2/" || path == "/v2":
		return "ping"
	case strings.Contains(path, "/blobs/uploads/"):
		if strings.Contains("&"+query, "&mount=") {
			return "mount"
		}
		return "upload"
	case strings.Contains(path, "/blobs/"):
		return "blob"
	case strings.Contains(path, "/manifests/"):
		return "manifest"
	case strings.Contains(path, "/referrers/"):
		return "referrers"
	case strings.HasSuffix(path, "/tags/list"):
		return "tags"
	}
	return "other"
}

func (p *proxy) serve(dialled *net.TCPConn) {
	if !p.take(dialled) {
		return
	}
	defer p.drop(dialled)
	var client net.Conn = dialled
	if p.secure != nil {
		opened := tls.Server(dialled, p.secure)
		if opened.Handshake() != nil {
			return // a plain HTTP client sees it in the response
		}
		client = opened
	}
	c, err := net.Dial("tcp", p.backend)
	if err != nil {
		return
	}
	backend := c.(*net.TCPConn)
	if !p.take(backend) {
		return
	}
	defer p.drop(backend)

	scan := &scanner{request: p.count, body: func(n int64) { p.sent.Add(n) }}
	up, down := p.forwardDirect, p.backDirect
	if p.network.Trip > 0 || p.network.Speed > 0 {
		// The operating system has answered the dial without the way's delay:
		// the first bytes make up for it.
		ready := time.Now().Add(p.network.Trip)
		up = func(to *net.TCPConn, from net.Conn, s *scanner) error {
			return p.shaped(to, from, ready, func(b []byte) error { return s.feed(b) })
		}
		down = func(to net.Conn, from *net.TCPConn) error {
			return p.shaped(to, from, ready, func(b []byte) error { p.received.Add(int64(len(b))); return nil })
		}
	}
	var ways sync.WaitGroup
	ways.Go(func() {
		err := up(backend, client, scan)
		var uncounted *uncounted
		if errors.As(err, &uncounted) {
			p.mu.Lock()
			p.broken = err
			p.mu.Unlock()
			client.Close()
		}
		backend.CloseWrite()
	})
	down(client, backend)
	// A client that got its response and closed is gone in both directions.
	client.Close()
	backend.Close()
	ways.Wait()
}

// uncounted marks what the scanner could not read.
type uncounted struct{ err error }

func (u *uncounted) Error() string { return "requests cannot be counted: " + u.err.Error() }

const (
	chunkBytes = 64 << 10
	// From here on the rest of a body goes through the kernel alone.
	spliceBytes = 256 << 10
)

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}

// forwardDirect carries requests as fast as it goes.
func (p *proxy) forwardDirect(to *net.TCPConn, from net.Conn, s *scanner) error {
	buffer := chunks.Get().(*[]byte)
	defer chunks.Put(buffer)
	for {
		if rest := s.rest(); rest > spliceBytes {
			n, err := io.Copy(to, &io.LimitedReader{R: from, N: rest})
			if n > 0 {
				s.skip(n)
			}
			if err != nil || n < rest {
				return err
			}
			continue
		}
		n, err := from.Read(*buffer)
		if n > 0 {
			if err := s.feed((*buffer)[:n]); err != nil {
				return &uncounted{err}
			}
			if _, err := to.Write((*buffer)[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// backDirect carries answers as fast as it goes.
func (p *proxy) backDirect(to net.Conn, from *net.TCPConn) error {
	for {
		// In parts, so that what a look sees is never far behind.
		n, err := io.Copy(to, &io.LimitedReader{R: from, N: 1 << 30})
		p.received.Add(n)
		if err != nil || n < 1<<30 {
			return err
		}
	}
}

// parcel is a piece on its way, and when it arrives.
type parcel struct {
	buffer *[]byte
	bytes  int
	due    time.Time
}

// backlog is how far the sender may run ahead of a narrow way.
const backlog = 5 * time.Millisecond

// shaped carries one direction over a long and narrow way. see is shown every
// piece when it sets out.
func (p *proxy) shaped(to, from net.Conn, ready time.Time, see func([]byte) error) error {
	way := make(chan parcel, 128)
	failed := make(chan struct{})
	var arriving sync.WaitGroup
	arriving.Go(func() {
		broken := false
		for next := range way {
			if !broken {
				time.Sleep(time.Until(next.due))
				if _, err := to.Write((*next.buffer)[:next.bytes]); err != nil {
					broken = true
					close(failed)
				}
			}
			chunks.Put(next.buffer)
		}
	})
	defer arriving.Wait()
	defer close(way)
	free := ready // when the way takes the next byte
	for {
		buffer := chunks.Get().(*[]byte)
		n, err := from.Read(*buffer)
		if n > 0 {
			if bad := see((*buffer)[:n]); bad != nil {
				return &uncounted{bad}
			}
			if now := time.Now(); free.Before(now) {
				free = now
			}
			if p.network.Speed > 0 {
				free = free.Add(time.Duration(int64(n) * int64(time.Second) / p.network.Speed))
			}
			select {
			case way <- parcel{buffer, n, free.Add(p.network.Trip / 2)}:
			case <-failed:
				return io.ErrClosedPipe
			}
			if ahead := time.Until(free); ahead > backlog && p.network.Speed > 0 {
				time.Sleep(ahead - backlog)
			}
		} else {
			chunks.Put(buffer)
		}
		if err != nil {
			return err
		}
	}
}
