package transfer

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	attempts  = 3
	waitLimit = time.Minute
)

// waitFor sleeps before the n-th repetition (from 1): as long as the registry
// asked for, else twice as long each time, with jitter.
func (r *Registry) waitFor(ctx context.Context, n int, asked time.Duration) error {
	d := asked
	if d <= 0 {
		d = r.pause << (n - 1)
	}
	d = min(d, waitLimit)
	d += rand.N(d/4 + 1)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter reads the header in both of its forms (RFC 9110, 10.2.3); 0 if
// there is none that makes sense.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if n, err := strconv.Atoi(v); err == nil {
		return min(max(0, time.Duration(min(n, 3600))*time.Second), waitLimit)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(0, t.Sub(now)), waitLimit)
	}
	return 0
}

// passing tells whether a status may be gone at the next try.
func passing(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500 && status != http.StatusNotImplemented
}

// repeatable tells whether an error without an answer may be gone at the next
// try.
func repeatable(err error) bool { return errors.Is(err, Unreachable) }
