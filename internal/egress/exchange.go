package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// exchange sends one HTTP request, limited in time and counted.
func (g *phaseTransport) exchange(req *http.Request, at hop, attempt int) (*http.Response, error) {
	n, host, counters := g.network, at.host, at.counters
	transport := n.transport
	// Without HTTP/2 small requests use the warm connections too.
	if at.blob || n.plain[host] || n.speaksHTTP1(host) {
		transport = n.blobs
	}
	if n.certificateHosts[host] {
		transport = n.identified
	}
	if g.phase.LinkLocal {
		transport = n.linkLocal
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	watch := &watchdog{stall: g.phase.Stall, cancel: cancel}
	if g.phase.Timeout > 0 {
		watch.whole = time.AfterFunc(g.phase.Timeout, func() { cancel(&timeoutError{whole: g.phase.Timeout}) })
	}
	counters.requests[kind(req)].Add(1)
	if at.redirected {
		counters.redirected.Add(1)
	}
	sent := req.Clone(ctx)
	if g.phase.LinkLocal || !n.proxied(req) {
		sent = sent.WithContext(context.WithValue(ctx, dialledHost{}, host))
	}
	if req.Body != nil && req.Body != http.NoBody {
		sent.Body = &upload{body: req.Body, counters: counters, watch: watch}
		if req.GetBody != nil {
			sent.GetBody = func() (io.ReadCloser, error) {
				body, err := req.GetBody()
				if err != nil {
					return nil, err
				}
				return &upload{body: body, counters: counters, watch: watch}, nil
			}
		}
	}
	start := time.Now()
	resp, err := transport.RoundTrip(sent)
	if err != nil {
		err = g.explain(host, cancelCause(ctx, err))
		watch.end()
	}
	if n.settings.OnExchange != nil {
		seen := Exchange{Phase: g.phase.Name, Method: req.Method, Host: host, Path: req.URL.EscapedPath(), Duration: time.Since(start), Attempt: attempt, Err: err}
		if resp != nil {
			seen.Status = resp.StatusCode
		}
		n.settings.OnExchange(seen)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
		counters.responded.Store(time.Now().UnixNano())
	}
	n.recordHost(host) // over a proxy's connection without TLS, for example
	if transport == n.transport && resp.ProtoMajor == 1 {
		n.http1.Store(host, true)
	}
	body := &download{body: resp.Body, counters: counters, watch: watch, limit: g.phase.BodyLimit}
	body.explain = func(err error) error { return g.explain(host, cancelCause(ctx, err)) }
	resp.Body = body
	return resp, nil
}

// cancelCause returns why the exchange was cancelled, if it was, instead of
// what the transport saw of it.
func cancelCause(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if slow, ok := errors.AsType[*timeoutError](context.Cause(ctx)); ok {
		return slow
	}
	// Not the cause, which may be any error: callers look for context.Canceled.
	return ctx.Err()
}

// timeoutError is an exchange that exceeded its time, or made no progress for
// some time.
type timeoutError struct{ whole, stall time.Duration }

func (e *timeoutError) Error() string {
	if e.stall > 0 {
		return fmt.Sprintf("no byte moved for %s", e.stall)
	}
	return fmt.Sprintf("it did not end within %s", e.whole)
}

func (*timeoutError) Timeout() bool        { return true }
func (*timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// watchdog cancels an exchange that takes too long or makes no progress. Time
// that a body's producer or consumer on this side takes does not count.
type watchdog struct {
	cancel context.CancelCauseFunc
	stall  time.Duration
	whole  *time.Timer

	mu    sync.Mutex
	timer *time.Timer
	ended bool
}

func (w *watchdog) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
	case w.timer == nil:
		w.timer = time.AfterFunc(w.stall, func() { w.cancel(&timeoutError{stall: w.stall}) })
	default:
		w.timer.Reset(w.stall)
	}
}

func (w *watchdog) pause() {
	w.mu.Lock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
}

func (w *watchdog) end() {
	w.mu.Lock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	if w.whole != nil {
		w.whole.Stop()
	}
	w.cancel(nil)
}

// upload counts what is sent. Between two reads the bytes are on the network;
// after the last one the transport's own timeout for the response applies.
type upload struct {
	body     io.ReadCloser
	counters *counters
	watch    *watchdog
}

func (u *upload) Read(p []byte) (int, error) {
	u.watch.pause()
	n, err := u.body.Read(p)
	u.counters.written.Add(int64(n))
	if err == nil {
		u.watch.resume()
	}
	return n, err
}

func (u *upload) Close() error {
	u.watch.pause()
	return u.body.Close()
}

// download counts and limits what is received.
type download struct {
	body     io.ReadCloser
	counters *counters
	watch    *watchdog
	limit    int64
	got      int64
	explain  func(error) error
	closed   atomic.Bool
}

func (d *download) Read(p []byte) (int, error) {
	if d.limit > 0 && int64(len(p)) > d.limit-d.got+1 {
		p = p[:d.limit-d.got+1]
	}
	d.watch.resume()
	n, err := d.body.Read(p)
	d.watch.pause()
	d.counters.read.Add(int64(n))
	d.got += int64(n)
	if d.limit > 0 && d.got > d.limit {
		excess := int(d.got - d.limit)
		d.got = d.limit
		return n - excess, d.explain(&bodyLimitError{limit: d.limit})
	}
	if err == nil || errors.Is(err, io.EOF) || d.closed.Load() {
		return n, err
	}
	return n, d.explain(err)
}

func (d *download) Close() error {
	d.closed.Store(true)
	err := d.body.Close()
	d.watch.end()
	return err
}

type bodyLimitError struct{ limit int64 }

func (e *bodyLimitError) Error() string {
	return fmt.Sprintf("its answer is longer than %d bytes", e.limit)
}

var _ http.RoundTripper = (*phaseTransport)(nil)
