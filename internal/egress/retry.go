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

// Bounds of waiting for a server that has no time for us.
const (
	firstWait    = 250 * time.Millisecond
	longestWait  = 10 * time.Second
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

// budget is what one request may still spend on repetitions, redirects
// included.
type budget struct {
	left int
	// all says that writes may be repeated too.
	all  bool
	wait time.Duration
	used int
}

// leg is one host on the way of a request.
type leg struct {
	host    string
	account *account
	window  *window // nil where nobody counts: the storage behind a registry
	blob    bool
}

// longBody is more than a request that only asks bears, in bytes. While a long
// one is sent, others may begin.
const longBody = 64 << 10

// next says whether to try again after this end, and how long to wait before.
func (b *budget) next(req *http.Request, resp *http.Response, err error) (time.Duration, bool) {
	if b.left <= 0 || !repeatable(req, b.all) {
		return 0, false
	}
	wait := min(firstWait<<min(b.used, 10), longestWait)
	// Half of it at random: many who failed together shall not return together.
	wait = wait/2 + rand.N(wait/2+1)
	switch {
	case err != nil:
		if !passing(err) {
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

// passing tells errors that another try may outlive from those that would only
// come again.
func passing(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	if e, ok := errors.AsType[*Error](err); ok && e.final {
		return false
	}
	if answer, ok := errors.AsType[*proxyAnswer](err); ok {
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

// send makes the request, again where it may and should be.
func (g *gate) send(req *http.Request, leg leg, budget *budget) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := g.inTurn(req, leg, attempt)
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
		leg.account.retries.Add(1)
		leg.account.waited.Add(int64(wait))
		if g.network.settings.Retried != nil {
			g.network.settings.Retried(retried(g.phase.Name, req, leg.host, resp, err, attempt, wait))
		}
		if err := g.network.pause(req.Context(), wait); err != nil {
			return nil, g.explain(leg.host, err)
		}
		if req, err = rewound(req); err != nil {
			return nil, g.explain(leg.host, err)
		}
	}
}

// inTurn makes the request when the registry's window has a place for it.
func (g *gate) inTurn(req *http.Request, leg leg, attempt int) (*http.Response, error) {
	if leg.window == nil {
		return g.exchange(req, leg, attempt)
	}
	ticket, err := leg.window.enter(req.Context(), g.network.pause, attempt > 1)
	if err != nil {
		closeBody(req)
		return nil, g.explain(leg.host, err)
	}
	if req.ContentLength > longBody {
		ticket.leave()
	}
	resp, err := g.exchange(req, leg, attempt)
	ticket.end(resp)
	return resp, err
}

func retried(phase string, req *http.Request, host string, resp *http.Response, err error, attempt int, wait time.Duration) Retry {
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

func rewound(req *http.Request) (*http.Request, error) {
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
