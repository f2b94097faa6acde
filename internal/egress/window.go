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
// registry throttles, and closes for as long as Retry-After says.
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
}

// permit is one request's place in a window.
type permit struct {
	window   *window
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
		shut, wait := w.closedUntil, time.Duration(0)
		if shut.After(waited) {
			wait = time.Until(shut)
		}
		if wait <= 0 && w.inFlight < w.limit {
			w.inFlight++
			t := &permit{window: w, shrinks: w.shrinks}
			w.mu.Unlock()
			return t, nil
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
	w := t.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.released {
		t.released = true
		w.inFlight--
		w.wake()
	}
}

func (w *window) wake() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// done returns the place and adapts the window to the response, nil if there
// was none.
func (t *permit) done(resp *http.Response) {
	t.release()
	if resp == nil {
		return
	}
	w := t.window
	w.mu.Lock()
	defer w.mu.Unlock()
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if asked := retryafter.Parse(resp.Header, time.Now()); asked > 0 {
			if until := time.Now().Add(asked); until.After(w.closedUntil) {
				w.closedUntil = until
			}
		}
		if t.shrinks != w.shrinks {
			return // it was sent before the limit was halved
		}
		w.shrinks++
		w.limit = max(1, w.limit/2)
		w.threshold, w.successes, w.saturated = w.limit, 0, false
	default:
		w.successes++
		if w.saturated && w.limit < maxWindow && (w.threshold == 0 || w.successes >= w.limit) {
			w.limit++
			w.successes, w.saturated = 0, false
			w.wake()
		}
	}
}
