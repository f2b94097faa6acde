package egress

import (
	"context"
	"net/http"
	"sync"
	"time"

	"acrpromote/internal/retryafter"
)

// Bounds of what one registry is asked at once, by kind of request.
const (
	firstWindow = 16
	mostWindow  = 64
)

// window bounds how many requests of one kind a registry is asked at once. It
// opens while answers are good: by one for each, until the registry once had
// enough, and slowly from then on. It closes by half when the registry has
// enough, and altogether for as long as the registry asks to be left alone.
type window struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when somebody may go on
	width   int
	enough  int // the width at which to grow slowly; 0 is none yet
	busy    int
	full    bool // somebody had to wait
	good    int  // answers since the last change of width
	shut    time.Time
	closed  int // how often it was closed
}

// ticket is one request's place in a window.
type ticket struct {
	window *window
	closed int
	left   bool
}

// enter waits until the registry may be asked again, and for a place. Who comes
// again has waited already.
func (w *window) enter(ctx context.Context, pause pauseFunc, again bool) (*ticket, error) {
	var waited time.Time // for the end of this silence
	if again {
		w.mu.Lock()
		waited = w.shut
		w.mu.Unlock()
	}
	for {
		w.mu.Lock()
		if w.width == 0 {
			w.width = firstWindow
		}
		shut, wait := w.shut, time.Duration(0)
		if shut.After(waited) {
			wait = time.Until(shut)
		}
		if wait <= 0 && w.busy < w.width {
			w.busy++
			t := &ticket{window: w, closed: w.closed}
			w.mu.Unlock()
			return t, nil
		}
		w.full = true
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

// leave gives the place back; a long body is sent without one.
func (t *ticket) leave() {
	w := t.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.left {
		t.left = true
		w.busy--
		w.wake()
	}
}

func (w *window) wake() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// end gives the place back and learns from the answer; resp is nil where there
// was none.
func (t *ticket) end(resp *http.Response) {
	t.leave()
	if resp == nil {
		return
	}
	w := t.window
	w.mu.Lock()
	defer w.mu.Unlock()
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if asked := retryafter.Parse(resp.Header, time.Now()); asked > 0 {
			if until := time.Now().Add(asked); until.After(w.shut) {
				w.shut = until
			}
		}
		if t.closed != w.closed {
			return // it was asked before the window was made smaller
		}
		w.closed++
		w.width = max(1, w.width/2)
		w.enough, w.good, w.full = w.width, 0, false
	default:
		w.good++
		if w.full && w.width < mostWindow && (w.enough == 0 || w.good >= w.width) {
			w.width++
			w.good, w.full = 0, false
			w.wake()
		}
	}
}
