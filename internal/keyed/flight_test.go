package keyed

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestFlightSharesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flight Flight[string, int]
		var calls atomic.Int32
		release := make(chan struct{})
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				key := []string{"a", "b"}[i%2]
				v, err := flight.Do(t.Context(), key, func(context.Context) (int, error) {
					calls.Add(1)
					<-release
					return len(key), errBroken
				})
				if v != 1 || err != errBroken {
					t.Errorf("Do returned %d, %v", v, err)
				}
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls, want one for each key", n)
		}
		// The result is not kept.
		if v, err := flight.Do(t.Context(), "a", func(context.Context) (int, error) { return 5, nil }); v != 5 || err != nil {
			t.Errorf("the next call returned %d, %v", v, err)
		}
	})
}

// A call continues after its first caller has left, as long as another waits.
func TestFlightContinuesForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flight Flight[string, int]
		first, stop := context.WithCancel(t.Context())
		release := make(chan struct{})
		f := func(ctx context.Context) (int, error) {
			select {
			case <-release:
				return 7, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := flight.Do(first, "k", f); !errors.Is(err, context.Canceled) {
				t.Errorf("the first got %v", err)
			}
		})
		synctest.Wait()
		group.Go(func() {
			if v, err := flight.Do(t.Context(), "k", f); v != 7 || err != nil {
				t.Errorf("the other got %d, %v", v, err)
			}
		})
		synctest.Wait()
		stop()
		synctest.Wait()
		close(release)
		group.Wait()
	})
}

// When no caller waits any more, the call is cancelled, and the next caller
// starts a new one.
func TestFlightEndsWithLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flight Flight[string, int]
		ctx, stop := context.WithCancel(t.Context())
		var cancelled atomic.Bool
		unwind := make(chan struct{})
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				_, err := flight.Do(ctx, "k", func(ctx context.Context) (int, error) {
					<-ctx.Done()
					cancelled.Store(true)
					<-unwind
					return 0, ctx.Err()
				})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Do returned %v", err)
				}
			})
		}
		synctest.Wait()
		stop()
		group.Wait()
		synctest.Wait()
		if !cancelled.Load() {
			t.Error("the call was not cancelled")
		}
		if v, err := flight.Do(t.Context(), "k", func(context.Context) (int, error) { return 5, nil }); v != 5 || err != nil {
			t.Errorf("the next call returned %d, %v", v, err)
		}
		close(unwind)
	})
}
