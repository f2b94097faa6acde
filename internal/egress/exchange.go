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

// exchange is one HTTP request on the wire, bounded in time and counted.
func (g *gate) exchange(req *http.Request, leg leg, attempt int) (*http.Response, error) {
	n, host, account := g.network, leg.host, leg.account
	transport := n.transport
	// Where there is no HTTP/2, what is small has the warm connections too.
	if leg.blob || n.plain[host] || n.speaksHTTP1(host) {
		transport = n.blobs
	}
	n.record(host)
	ctx, cancel := context.WithCancelCause(req.Context())
	watch := &watch{stall: g.phase.Stall, cancel: cancel}
	if g.phase.Timeout > 0 {
		watch.whole = time.AfterFunc(g.phase.Timeout, func() { cancel(&tooSlow{whole: g.phase.Timeout}) })
	}
	account.requests[kind(req)].Add(1)
	sent := req.Clone(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		sent.Body = &upload{body: req.Body, account: account, watch: watch}
		if req.GetBody != nil {
			sent.GetBody = func() (io.ReadCloser, error) {
				body, err := req.GetBody()
				if err != nil {
					return nil, err
				}
				return &upload{body: body, account: account, watch: watch}, nil
			}
		}
	}
	start := time.Now()
	resp, err := transport.RoundTrip(sent)
	if err != nil {
		err = g.explain(host, because(ctx, err))
		watch.end()
	}
	if n.settings.Observe != nil {
		seen := Exchange{Phase: g.phase.Name, Method: req.Method, Host: host, Path: req.URL.EscapedPath(), Duration: time.Since(start), Attempt: attempt, Err: err}
		if resp != nil {
			seen.Status = resp.StatusCode
		}
		n.settings.Observe(seen)
	}
	if err != nil {
		return nil, err
	}
	if transport == n.transport && resp.ProtoMajor == 1 {
		n.http1.Store(host, true)
	}
	body := &download{body: resp.Body, account: account, watch: watch, limit: g.phase.BodyLimit}
	body.explain = func(err error) error { return g.explain(host, because(ctx, err)) }
	resp.Body = body
	return resp, nil
}

// because prefers the reason for which the exchange was given up over what the
// transport saw of it.
func because(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if slow, ok := errors.AsType[*tooSlow](context.Cause(ctx)); ok {
		return slow
	}
	// Not the cause: it may be anything, and who told us to stop looks for
	// context.Canceled.
	return ctx.Err()
}

// tooSlow is an exchange that was given up: after the whole time it may take,
// or after no progress for a while.
type tooSlow struct{ whole, stall time.Duration }

func (e *tooSlow) Error() string {
	if e.stall > 0 {
		return fmt.Sprintf("no byte moved for %s", e.stall)
	}
	return fmt.Sprintf("it did not end within %s", e.whole)
}

func (*tooSlow) Timeout() bool        { return true }
func (*tooSlow) Is(target error) bool { return target == context.DeadlineExceeded }

// watch gives up an exchange that takes too long or makes no progress. Only
// the network's turns are counted: not the time that a body's producer or
// consumer on our side takes.
type watch struct {
	cancel context.CancelCauseFunc
	stall  time.Duration
	whole  *time.Timer

	mu    sync.Mutex
	timer *time.Timer
	ended bool
}

func (w *watch) networksTurn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
	case w.timer == nil:
		w.timer = time.AfterFunc(w.stall, func() { w.cancel(&tooSlow{stall: w.stall}) })
	default:
		w.timer.Reset(w.stall)
	}
}

func (w *watch) ourTurn() {
	w.mu.Lock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
}

func (w *watch) end() {
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
// after the last one the transport's own time-out for the answer holds.
type upload struct {
	body    io.ReadCloser
	account *account
	watch   *watch
}

func (u *upload) Read(p []byte) (int, error) {
	u.watch.ourTurn()
	n, err := u.body.Read(p)
	u.account.written.Add(int64(n))
	if err == nil {
		u.watch.networksTurn()
	}
	return n, err
}

func (u *upload) Close() error {
	u.watch.ourTurn()
	return u.body.Close()
}

// download counts and bounds what is received.
type download struct {
	body    io.ReadCloser
	account *account
	watch   *watch
	limit   int64
	got     int64
	explain func(error) error
	closed  atomic.Bool
}

func (d *download) Read(p []byte) (int, error) {
	if d.limit > 0 && int64(len(p)) > d.limit-d.got+1 {
		p = p[:d.limit-d.got+1]
	}
	d.watch.networksTurn()
	n, err := d.body.Read(p)
	d.watch.ourTurn()
	d.account.read.Add(int64(n))
	d.got += int64(n)
	if d.limit > 0 && d.got > d.limit {
		excess := int(d.got - d.limit)
		d.got = d.limit
		return n - excess, d.explain(&tooLong{limit: d.limit})
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

type tooLong struct{ limit int64 }

func (e *tooLong) Error() string { return fmt.Sprintf("its answer is longer than %d bytes", e.limit) }

var _ http.RoundTripper = (*gate)(nil)
