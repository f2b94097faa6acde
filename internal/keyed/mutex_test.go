package keyed

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestMutexLocksEachKey(t *testing.T) {
	var m Mutex[int]
	holders := make([]int, 3)
	var group sync.WaitGroup
	for i := range 300 {
		group.Go(func() {
			unlock, err := m.Lock(t.Context(), i%3)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if holders[i%3]++; holders[i%3] != 1 {
				t.Error("two goroutines hold the lock of one key")
			}
			holders[i%3]--
		})
	}
	group.Wait()
	if len(m.locks) != 0 {
		t.Errorf("%d unused locks are left", len(m.locks))
	}
	// Different keys do not wait for each other.
	unlock, _ := m.Lock(t.Context(), 1)
	other, _ := m.Lock(t.Context(), 2)
	other()
	unlock()
}

func TestMutexLockEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Mutex[string]
		unlock, err := m.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := m.Lock(ctx, "k"); !errors.Is(err, context.Canceled) {
				t.Errorf("Lock returned %v", err)
			}
		})
		synctest.Wait()
		stop()
		group.Wait()
		unlock()
		if _, err := m.Lock(ctx, "k"); !errors.Is(err, context.Canceled) {
			t.Errorf("Lock with a cancelled context returned %v", err)
		}
		if len(m.locks) != 0 {
			t.Errorf("%d unused locks are left", len(m.locks))
		}
	})
}

// Callers that waited for the holder's work continue together.
func TestMutexLockUnless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Mutex[string]
		var done atomic.Bool
		var workers, others atomic.Int32
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				unlock, err := m.LockUnless(t.Context(), "k", done.Load)
				if err != nil {
					t.Error(err)
					return
				}
				defer unlock()
				if !done.Load() {
					workers.Add(1)
					synctest.Wait() // until the others wait for this goroutine
					done.Store(true)
					return
				}
				others.Add(1)
			})
		}
		group.Wait()
		if workers.Load() != 1 || others.Load() != 9 {
			t.Errorf("%d did the work and %d waited for it", workers.Load(), others.Load())
		}
		if len(m.locks) != 0 {
			t.Errorf("%d unused locks are left", len(m.locks))
		}
		// If the work is already done, LockUnless does not wait.
		unlock, _ := m.Lock(t.Context(), "k")
		if free, err := m.LockUnless(t.Context(), "k", done.Load); err != nil {
			t.Error(err)
		} else {
			free()
		}
		unlock()
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if _, err := m.LockUnless(ctx, "k", func() bool { return false }); !errors.Is(err, context.Canceled) {
			t.Errorf("LockUnless returned %v", err)
		}
	})
}
