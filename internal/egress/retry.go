package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"acrpromote/internal/retryafter"
)

// Limits of waiting for a busy server.
const (
	initialWait  = 250 * time.Millisecond
	maxWait      = 10 * time.Second
	maxTotalWait = 5 * time.Minute
)

type pauseFunc func(context.Context, time.Duration) error

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// budget is what one request may still use for retries, redirects included.
type budget struct {
	left int
	// repeatWrites allows to repeat writes too.
	repeatWrites bool
	wait         time.Duration
	used         int
}

// hop is one host on the way of a request.
type hop struct {
	host     string
	counters *counters
	window   *window // nil where nobody counts: the storage behind a registry
	blob     bool
	// redirected is set from the first redirect on.
	redirected bool
}

// longBody is the size from which on a body counts as long, in bytes. While a
// long body is sent, other requests may begin.
const longBody = 64 << 10

// next reports whether to try again, and how long to wait before.
func (b *budget) next(req *http.Request, resp *http.Response, err error) (time.Duration, bool) {
	if b.left <= 0 || !repeatable(req, b.repeatWrites) {
		return 0, false
	}
	wait := min(initialWait<<min(b.used, 10), maxWait)
	// Half of it is random, so that requests that failed together do not return
	// together.
	wait = wait/2 + rand.N(wait/2+1)
	switch {
	case err != nil:
		if !transient(err) {
			return 0, false
		}
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusInternalServerError, resp.StatusCode == http.StatusBadGateway,
		resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
		if asked := retryafter.Parse(resp.Header, time.Now()); asked > 0 {
			wait = asked + rand.N(asked/10+1)
		}
	default:
		return 0, false
	}
	if wait > b.wait {
		return 0, false
	}
	b.left--
	b.used++
	b.wait -= wait
	return wait, true
}

func repeatable(req *http.Request, all bool) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return all
}

// transient reports whether another try may succeed.
func transient(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	if e, ok := errors.AsType[*Error](err); ok && e.final {
		return false
	}
	if answer, ok := errors.AsType[*proxyStatusError](err); ok {
		return answer.status == http.StatusBadGateway || answer.status == http.StatusServiceUnavailable || answer.status == http.StatusGatewayTimeout
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return !dns.IsNotFound
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return false
	}
	if operation, _ := errors.AsType[*net.OpError](err); isAlert(operation) {
		return false
	}
	return true
}

// send sends the request, and retries if it may.
func (g *phaseTransport) send(req *http.Request, at hop, budget *budget) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := g.sendLimited(req, at, attempt)
		if req.Context().Err() != nil {
			return resp, err
		}
		wait, again := budget.next(req, resp, err)
		if !again {
			return resp, err
		}
		if resp != nil {
			discard(resp.Body)
		}
		at.counters.retries.Add(1)
		at.counters.waited.Add(int64(wait))
		if g.network.settings.OnRetry != nil {
			g.network.settings.OnRetry(newRetry(g.phase.Name, req, at.host, resp, err, attempt, wait))
		}
		if err := g.network.pause(req.Context(), wait); err != nil {
			return nil, g.explain(at.host, err)
		}
		if req, err = rewind(req); err != nil {
			return nil, g.explain(at.host, err)
		}
	}
}

// sendLimited sends the request when the registry's window admits it.
func (g *phaseTransport) sendLimited(req *http.Request, at hop, attempt int) (*http.Response, error) {
	if at.window == nil {
		return g.exchange(req, at, attempt)
	}
	permit, err := at.window.acquire(req.Context(), g.network.pause, attempt > 1)
	if err != nil {
		closeBody(req)
		return nil, g.explain(at.host, err)
	}
	if req.ContentLength > longBody {
		permit.release()
	}
	resp, err := g.exchange(req, at, attempt)
	permit.done(resp)
	return resp, err
}

func newRetry(phase string, req *http.Request, host string, resp *http.Response, err error, attempt int, wait time.Duration) Retry {
	r := Retry{Phase: phase, Method: req.Method, Host: host, Path: req.URL.EscapedPath(), Attempt: attempt, Wait: wait}
	switch {
	case resp != nil:
		r.Reason = "it answered " + strconv.Itoa(resp.StatusCode)
	case err != nil:
		r.Reason = err.Error()
		if e, ok := errors.AsType[*Error](err); ok {
			r.Reason = e.Reason
		}
	}
	return r
}

func rewind(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	again := req.Clone(req.Context())
	again.Body = body
	return again, nil
}
