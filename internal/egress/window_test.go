package egress

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func answered(status int, after string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}}
}

// pass lets so many through the window, all at once, and ends them.
func passAll(t *testing.T, w *window, n int, resp *http.Response) {
	t.Helper()
	for n > 0 {
		var permits []*permit
		for range n {
			w.mu.Lock()
			room := w.limit == 0 || w.inFlight < w.limit
			if !room {
				w.saturated = true // as who waits would say
			}
			w.mu.Unlock()
			if !room {
				break
			}
			permit, err := w.acquire(t.Context(), pause, true)
			if err != nil {
				t.Fatal(err)
			}
			permits = append(permits, permit)
		}
		n -= len(permits)
		for _, permit := range permits {
			w.mu.Lock()
			w.saturated = w.saturated || n > 0
			w.mu.Unlock()
			permit.done(resp)
		}
	}
}

func TestWindow(t *testing.T) {
	var w window
	passAll(t, &w, 500, answered(200, ""))
	if w.limit != maxWindow {
		t.Fatalf("after many good answers it is %d wide", w.limit)
	}
	// All that were asked at once make it smaller once.
	var permits []*permit
	for range 10 {
		permit, err := w.acquire(t.Context(), pause, false)
		if err != nil {
			t.Fatal(err)
		}
		permits = append(permits, permit)
	}
	for _, permit := range permits {
		permit.done(answered(429, ""))
	}
	if w.limit != maxWindow/2 {
		t.Fatalf("after 429 it is %d wide", w.limit)
	}
	passAll(t, &w, maxWindow/2+1, answered(200, ""))
	if w.limit < maxWindow/2 || w.limit > maxWindow/2+2 {
		t.Fatalf("it grew to %d at once", w.limit)
	}
	for range 20 {
		permit, err := w.acquire(t.Context(), pause, false)
		if err != nil {
			t.Fatal(err)
		}
		permit.done(answered(503, ""))
	}
	if w.limit != 1 {
		t.Fatalf("after many 503 it is %d wide", w.limit)
	}
	if w.inFlight != 0 {
		t.Errorf("%d places are taken", w.inFlight)
	}
}

func TestWindowHoldsToWhatItIs(t *testing.T) {
	var w window
	var permits []*permit
	for range initialWindow {
		permit, err := w.acquire(t.Context(), pause, false)
		if err != nil {
			t.Fatal(err)
		}
		permits = append(permits, permit)
	}
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan error)
	go func() {
		_, err := w.acquire(ctx, pause, false)
		entered <- err
	}()
	cancel()
	if err := <-entered; err == nil {
		t.Fatal("one more came in")
	}
	go func() {
		_, err := w.acquire(t.Context(), pause, false)
		entered <- err
	}()
	permits[0].release() // a long body goes on without a place
	if err := <-entered; err != nil {
		t.Error(err)
	}
	permits[0].done(answered(200, ""))
	if w.inFlight != initialWindow {
		t.Errorf("%d places are taken", w.inFlight)
	}
}

// What a registry asks for holds for its kind of request alone.
func TestWindowObeysRetryAfter(t *testing.T) { synctest.Test(t, obeysRetryAfter) }

func obeysRetryAfter(t *testing.T) {
	counts := newCounters()
	var waits []time.Duration
	noted := func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	}
	enter := func(kind int, again bool) *permit {
		permit, err := counts.windows[kind].acquire(t.Context(), noted, again)
		if err != nil {
			t.Fatal(err)
		}
		return permit
	}
	enter(kindWrite, false).done(answered(429, "30"))
	enter(kindRead, false).done(answered(200, ""))
	enter(kindWrite, true).done(answered(200, "")) // it has waited itself
	if len(waits) != 0 {
		t.Fatalf("waited %v", waits)
	}
	enter(kindWrite, false).done(answered(200, ""))
	if len(waits) != 1 || waits[0] != 30*time.Second {
		t.Errorf("waited %v", waits)
	}
}
