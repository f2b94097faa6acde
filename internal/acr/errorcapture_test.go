package acr

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLargeResponses checks that few large responses are decoded at once, and that
// small ones do not wait for them.
func TestLargeResponses(t *testing.T) {
	body := func(size int) io.ReadCloser { return io.NopCloser(strings.NewReader(strings.Repeat("x", size))) }
	var now, most atomic.Int64
	var calls sync.WaitGroup
	for range 30 {
		calls.Go(func() {
			seen := &errorCapture{}
			defer seen.release()
			for range 2 { // one call may take several requests
				if read, err := seen.readAll(t.Context(), body(smallResponse+1)); err != nil || len(read) != smallResponse+1 {
					t.Errorf("%d bytes, %v", len(read), err)
				}
			}
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Millisecond)
			now.Add(-1)
		})
	}
	calls.Wait()
	if most.Load() > 6 || most.Load() == 0 {
		t.Errorf("%d at once", most.Load())
	}
	if err := largeResponses.Acquire(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	defer largeResponses.Release(6)
	seen := &errorCapture{}
	if read, err := seen.readAll(t.Context(), body(100)); err != nil || len(read) != 100 {
		t.Errorf("a small response: %d bytes, %v", len(read), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := seen.readAll(ctx, body(smallResponse+1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a large response: %v", err)
	}
	seen.release()
	if _, err := (*errorCapture)(nil).readAll(t.Context(), body(maxResponse+1)); err == nil {
		t.Error("a response that is too large")
	}
}
