package egress

import (
	"context"
	"net/http"
	"sync"
	"time"

	"acrpromote/internal/retryafter"
)

// Limits of concurrent requests to one registry, by kind.
const (
	initialWindow = 16
	maxWindow     = 64
)

// window limits the concurrent requests of one kind to a registry, like TCP's
// congestion window. It grows by one for each good response until the registry
// throttles for the first time, and slowly from then on. It halves when the
// registry throttles, and closes for as long as Retry-After says. From then on it
// also keeps to the pace that this shows.
type window struct {
	mu          sync.Mutex
	changed     chan struct{} // closed and replaced when a request may go on
	limit       int
	threshold   int // the limit from which on to grow slowly; 0 if not known yet
	inFlight    int
	saturated   bool // a request had to wait
	successes   int  // responses since the limit last changed
	closedUntil time.Time
	shrinks     int // how often the limit was halved
	pace        pace
	held        *heldTime // of the registry; nil if it is not measured
}

// heldTime is for how long requests to a registry have been held back.
type heldTime struct {
	mu    sync.Mutex
	until time.Time
	total time.Duration
	paced time.Time // until when a pace has held requests back
}

// add adds the time from now until then, unless it has been added.
func (h *heldTime) add(now, until time.Time, paced bool) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until.After(now) {
		now = h.until
	}
	if until.After(now) {
		h.total += until.Sub(now)
		h.until = until
	}
	if paced && until.After(h.paced) {
		h.paced = until
	}
}

// sum returns the time up to now.
func (h *heldTime) sum() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total - max(0, time.Until(h.until))
}

// permit is one request's place in a window.
type permit struct {
	window   *window
	sent     time.Time
	shrinks  int
	released bool
}

// acquire waits until the registry may be asked again, and for a place. A retry
// has waited already.
func (w *window) acquire(ctx context.Context, pause pauseFunc, again bool) (*permit, error) {
	var waited time.Time // until this time
	if again {
		w.mu.Lock()
		waited = w.closedUntil
		w.mu.Unlock()
	}
	for {
		w.mu.Lock()
		if w.limit == 0 {
			w.limit = initialWindow
		}
		now, shut := time.Now(), w.closedUntil
		wait := w.pace.wait(now)
		if shut.After(waited) {
			wait = max(wait, shut.Sub(now))
		}
		limit := w.limit
		if w.pace.careful(now) {
			limit = min(limit, carefulWindow)
		}
		if wait <= 0 && w.inFlight < limit {
			w.inFlight++
			w.pace.add(now)
			t := &permit{window: w, sent: now, shrinks: w.shrinks}
			w.mu.Unlock()
			return t, nil
		}
		if wait > 0 {
			w.held.add(now, now.Add(wait), w.pace.quota > 0)
		}
		w.saturated = true
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		if wait > 0 {
			if err := pause(ctx, wait); err != nil {
				return nil, err
			}
			waited = shut
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// release returns the place; a long body is sent without one.
func (t *permit) release() {
	t.window.mu.Lock()
	defer t.window.mu.Unlock()
	t.free()
}

// free returns the place. The window must be locked.
func (t *permit) free() {
	if t.released {
		return
	}
	t.released = true
	t.window.inFlight--
	t.window.wake()
}

func (w *window) wake() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// done returns the place and adapts the window to the response, nil if there
// was none. Both happen at once: no other request may take the place before a refusal
// is known.
func (t *permit) done(resp *http.Response) {
	w := t.window
	w.mu.Lock()
	defer w.mu.Unlock()
	t.free()
	if resp == nil {
		return
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		now := time.Now()
		asked := retryafter.Parse(resp.Header, now)
		if until := now.Add(asked); asked > 0 && until.After(w.closedUntil) {
			w.closedUntil = until
		}
		if resp.StatusCode == http.StatusTooManyRequests {
			w.pace.refused(t.sent, now, asked)
			w.held.add(now, now.Add(asked), w.pace.quota > 0)
		}
		if t.shrinks != w.shrinks {
			return // it was sent before the limit was halved
		}
		w.shrinks++
		w.limit = max(1, w.limit/2)
		w.threshold, w.successes, w.saturated = w.limit, 0, false
	default:
		w.pace.answered(time.Now())
		w.successes++
		if w.saturated && w.limit < maxWindow && (w.threshold == 0 || w.successes >= w.limit) {
			w.limit++
			w.successes, w.saturated = 0, false
			w.wake()
		}
	}
}
