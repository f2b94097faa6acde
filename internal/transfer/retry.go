package transfer

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	maxAttempts  = 3
	maxThrottled = 10 // attempts that met 429, which do not count as failed
	maxWait      = time.Minute
)

// attemptCount counts the failed and the throttled attempts of one operation.
type attemptCount struct{ failed, throttled int }

// add counts an error. It reports whether it was the last attempt, and how many
// of its kind there were.
func (c *attemptCount) add(err error) (last bool, n int) {
	if errors.Is(err, Throttled) {
		c.throttled++
		return c.throttled >= maxThrottled, c.throttled
	}
	c.failed++
	return c.failed >= maxAttempts, c.failed
}

// Retry is an operation that is about to be repeated.
type Retry struct {
	What    string // operation and subject
	Reason  string
	Attempt int // that failed, from 1
	Wait    time.Duration
}

// OnRetry sets a function that is called before each retry, from several
// goroutines. It must be set before the first request.
func (r *Registry) OnRetry(f func(Retry)) { r.onRetry = f }

// failure is an operation that failed, and why.
type failure struct {
	op, repo, ref string
	cause         error
}

// waitToRetry waits before the n-th retry (from 1): for retryAfter if the registry
// has set it, else twice as long each time, with jitter.
func (r *Registry) waitToRetry(ctx context.Context, what failure, n int, retryAfter time.Duration) error {
	d := retryAfter
	if d <= 0 {
		d = r.retryPause << (n - 1)
	}
	d = min(d, maxWait)
	d += rand.N(d/4 + 1)
	if r.onRetry != nil {
		reason := what.cause.Error()
		if e, ok := errors.AsType[*Error](what.cause); ok {
			reason = e.Reason
		}
		place := Error{Registry: r.host, Repository: what.repo, Reference: what.ref}
		r.onRetry(Retry{What: what.op + ", " + place.Subject(), Reason: r.secrets.Line(reason), Attempt: n, Wait: d})
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isTransientStatus reports whether the next attempt may not meet the status.
func isTransientStatus(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500 && status != http.StatusNotImplemented
}

// isTransient reports whether the next attempt may not meet an error without a
// response.
func isTransient(err error) bool { return errors.Is(err, Unreachable) }
