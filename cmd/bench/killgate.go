package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// moment is when, around one request, a program is killed.
type moment int

const (
	unseen  moment = iota // before the request reaches the registry
	unheard               // when the registry has answered, before the program hears it
)

func (m moment) String() string {
	if m == unheard {
		return "answered"
	}
	return "not yet sent on"
}

// gate is a proxy before each of both registries. It counts the requests of one
// program at both together, and at a chosen one ends the program. What had left
// the program whole by then reaches the registry all the same, as on any wire.
type gate struct {
	source, target string // host:port for the program
	servers        []*http.Server
	wire           *http.Transport

	open atomic.Int64 // connections

	mu       sync.Mutex
	seen     int
	strike   *strike
	sessions map[string]int64 // bytes that an upload's session was sent so far
	sent     map[string]bulk  // by digest
}

// bulk is how many blobs there were, and how many bytes of them.
type bulk struct {
	times int
	bytes int64
}

// strike is the killing of one run.
type strike struct {
	at      int // the first request is 1
	moment  moment
	running chan *os.Process
	ended   chan struct{}
	done    bool
}

var errKilled = errors.New("the program was killed")

func startGate(source, target string) (*gate, error) {
	g := &gate{wire: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	g.reset(nil)
	for _, side := range []struct {
		backend string
		address *string
	}{{source, &g.source}, {target, &g.target}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			g.stop()
			return nil, fmt.Errorf("no port for a proxy: %w", err)
		}
		*side.address = l.Addr().String()
		backend := &url.URL{Scheme: "http", Host: side.backend}
		server := &http.Server{
			Handler: &httputil.ReverseProxy{
				Rewrite: func(r *httputil.ProxyRequest) {
					r.SetURL(backend)
					// Where an upload goes on uses the host that was asked.
					r.Out.Host = r.In.Host
				},
				Transport:    g,
				ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
				ErrorLog:     log.New(io.Discard, "", 0),
			},
			ErrorLog: log.New(io.Discard, "", 0),
			ConnState: func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateNew:
					g.open.Add(1)
				case http.StateClosed, http.StateHijacked:
					g.open.Add(-1)
				}
			},
		}
		g.servers = append(g.servers, server)
		go server.Serve(l)
	}
	return g, nil
}

func (g *gate) stop() {
	for _, s := range g.servers {
		s.Close()
	}
	g.wire.CloseIdleConnections()
}

// reset begins to count anew, for a run with or without a strike.
func (g *gate) reset(s *strike) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen, g.strike = 0, s
	g.sessions, g.sent = map[string]int64{}, map[string]bulk{}
}

// look tells the requests and the uploads since the reset.
func (g *gate) look() (requests int, sent map[string]bulk) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen, maps.Clone(g.sent)
}

// quiet waits until all that a program that is gone has left behind in the
// connections has been carried out.
func (g *gate) quiet(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); g.open.Load() > 0; {
		if time.Now().After(end) {
			return fmt.Errorf("the program has ended, and %d of its connections are still open", g.open.Load())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// RoundTrip carries one request to its registry.
func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	g.seen++
	s := g.strike
	if s != nil && s.at != g.seen {
		s = nil
	}
	g.mu.Unlock()
	if s != nil && s.moment == unseen {
		g.end(s)
		return nil, errKilled
	}
	r = r.WithContext(context.WithoutCancel(r.Context()))
	body := &counted{ReadCloser: r.Body}
	if r.Body != nil {
		r.Body = body
	}
	resp, err := g.wire.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	g.note(r, body.bytes.Load())
	if s != nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		g.end(s)
		return nil, errKilled
	}
	return resp, nil
}

// end kills the program and waits until it is gone.
func (g *gate) end(s *strike) {
	p := <-s.running
	p.Kill()
	<-s.ended
	g.mu.Lock()
	s.done = true
	g.mu.Unlock()
}

// note counts the bytes of uploads. Which blob they were is known when its
// digest is sent: with the bytes, or when the session ends.
func (g *gate) note(r *http.Request, bytes int64) {
	if !strings.Contains(r.URL.Path, "/blobs/uploads/") || r.Method == http.MethodGet || r.Method == http.MethodDelete {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	digest := r.URL.Query().Get("digest")
	if digest == "" {
		if bytes > 0 {
			g.sessions[r.URL.Path] += bytes
		}
		return
	}
	bytes += g.sessions[r.URL.Path]
	delete(g.sessions, r.URL.Path)
	if bytes > 0 {
		u := g.sent[digest]
		g.sent[digest] = bulk{u.times + 1, u.bytes + bytes}
	}
}

type counted struct {
	io.ReadCloser
	bytes atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

// killAt runs a program and kills it at a request. killed is false where the
// program came to its end before; err is how it failed on its own.
func (g *gate) killAt(ctx context.Context, home string, c command, at int, when moment) (killed bool, err error) {
	s := &strike{at: at, moment: when, running: make(chan *os.Process, 1), ended: make(chan struct{})}
	g.reset(s)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	process, said := c.process(ctx, home)
	if err := process.Start(); err != nil {
		return false, err
	}
	s.running <- process.Process
	err = process.Wait()
	close(s.ended)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if quiet := g.quiet(ctx); quiet != nil {
		return false, quiet
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		return false, nil
	}
	if !s.done {
		return false, fmt.Errorf("%w: %s", err, last(said.String(), 600))
	}
	return true, nil
}
