package transfer

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"acrpromote/internal/sanitize"
)

const (
	maxAttempts  = 3
	maxThrottled = 10 // of one thing; being asked to wait is no failure
	maxWait      = time.Minute
)

// tries counts what failed of one thing and what was only put off.
type attemptCount struct{ failed, throttled int }

// spent counts an error, and tells whether there is no further try for it, and
// the number of the wait before the next.
func (t *attemptCount) add(err error) (over bool, n int) {
	if errors.Is(err, Throttled) {
		t.throttled++
		return t.throttled >= maxThrottled, t.throttled
	}
	t.failed++
	return t.failed >= maxAttempts, t.failed
}

// Retry is something that is done again: what, why, and after which wait.
type Retry struct {
	What    string // op and place
	Reason  string
	Attempt int // that failed, from 1
	Wait    time.Duration
}

// OnRetry has f told of everything that is done again. It is called from
// several goroutines; set it before anything else.
func (r *Registry) OnRetry(f func(Retry)) { r.onRetry = f }

// retry is what failed, of which operation on what.
type failure struct {
	op, repo, ref string
	cause         error
}

// rest sleeps before the n-th repetition (from 1): as long as the registry
// asked for, else twice as long each time, with jitter.
func (r *Registry) waitToRetry(ctx context.Context, what failure, n int, asked time.Duration) error {
	d := asked
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
		r.onRetry(Retry{What: what.op + " " + place.Subject(), Reason: sanitize.Line(reason), Attempt: n, Wait: d})
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

// passing tells whether a status may be gone at the next try.
func isTransientStatus(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500 && status != http.StatusNotImplemented
}

// repeatable tells whether an error without an answer may be gone at the next
// try.
func isTransient(err error) bool { return errors.Is(err, Unreachable) }
