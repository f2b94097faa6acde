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
		var tickets []*ticket
		for range n {
			w.mu.Lock()
			room := w.width == 0 || w.busy < w.width
			if !room {
				w.full = true // as who waits would say
			}
			w.mu.Unlock()
			if !room {
				break
			}
			ticket, err := w.enter(t.Context(), pause, true)
			if err != nil {
				t.Fatal(err)
			}
			tickets = append(tickets, ticket)
		}
		n -= len(tickets)
		for _, ticket := range tickets {
			w.mu.Lock()
			w.full = w.full || n > 0
			w.mu.Unlock()
			ticket.end(resp)
		}
	}
}

func TestWindow(t *testing.T) {
	var w window
	passAll(t, &w, 500, answered(200, ""))
	if w.width != mostWindow {
		t.Fatalf("after many good answers it is %d wide", w.width)
	}
	// All that were asked at once make it smaller once.
	var tickets []*ticket
	for range 10 {
		ticket, err := w.enter(t.Context(), pause, false)
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	for _, ticket := range tickets {
		ticket.end(answered(429, ""))
	}
	if w.width != mostWindow/2 {
		t.Fatalf("after 429 it is %d wide", w.width)
	}
	passAll(t, &w, mostWindow/2+1, answered(200, ""))
	if w.width < mostWindow/2 || w.width > mostWindow/2+2 {
		t.Fatalf("it grew to %d at once", w.width)
	}
	for range 20 {
		ticket, err := w.enter(t.Context(), pause, false)
		if err != nil {
			t.Fatal(err)
		}
		ticket.end(answered(503, ""))
	}
	if w.width != 1 {
		t.Fatalf("after many 503 it is %d wide", w.width)
	}
	if w.busy != 0 {
		t.Errorf("%d places are taken", w.busy)
	}
}

func TestWindowHoldsToWhatItIs(t *testing.T) {
	var w window
	var tickets []*ticket
	for range firstWindow {
		ticket, err := w.enter(t.Context(), pause, false)
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan error)
	go func() {
		_, err := w.enter(ctx, pause, false)
		entered <- err
	}()
	cancel()
	if err := <-entered; err == nil {
		t.Fatal("one more came in")
	}
	go func() {
		_, err := w.enter(t.Context(), pause, false)
		entered <- err
	}()
	tickets[0].leave() // a long body goes on without a place
	if err := <-entered; err != nil {
		t.Error(err)
	}
	tickets[0].end(answered(200, ""))
	if w.busy != firstWindow {
		t.Errorf("%d places are taken", w.busy)
	}
}

// What a registry asks for holds for its kind of request alone.
func TestWindowObeysRetryAfter(t *testing.T) { synctest.Test(t, obeysRetryAfter) }

func obeysRetryAfter(t *testing.T) {
	var account account
	var waits []time.Duration
	noted := func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	}
	enter := func(kind int, again bool) *ticket {
		ticket, err := account.windows[kind].enter(t.Context(), noted, again)
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	enter(kindWrite, false).end(answered(429, "30"))
	enter(kindRead, false).end(answered(200, ""))
	enter(kindWrite, true).end(answered(200, "")) // it has waited itself
	if len(waits) != 0 {
		t.Fatalf("waited %v", waits)
	}
	enter(kindWrite, false).end(answered(200, ""))
	if len(waits) != 1 || waits[0] != 30*time.Second {
		t.Errorf("waited %v", waits)
	}
}
