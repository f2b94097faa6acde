package keyed

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

var (
	errKept   = errors.New("kept")
	errBroken = errors.New("broken")
)

func newCache(limit int) *Cache[string, int] {
	return NewCache[string, int](limit, func(err error) bool { return errors.Is(err, errKept) })
}

func TestCacheKeeps(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		loads int
	}{
		{"a value", nil, 1},
		{"an error that is kept", errKept, 1},
		{"an error that is not kept", errBroken, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := newCache(0)
			loads := 0
			for range 2 {
				v, err := cache.Get(t.Context(), "k", func(context.Context) (int, error) { loads++; return 7, c.err })
				if v != 7 || err != c.err {
					t.Errorf("Get returned %d, %v", v, err)
				}
			}
			if loads != c.loads {
				t.Errorf("loaded %d times, want %d", loads, c.loads)
			}
			if _, ok := cache.Peek("k"); ok != (c.err == nil) {
				t.Errorf("Peek found a value: %v", ok)
			}
			if _, ok := cache.Wait(t.Context(), "k"); ok != (c.err == nil) {
				t.Errorf("Wait found a value: %v", ok)
			}
		})
	}
}

func TestCacheWithoutKeepErrorKeepsNone(t *testing.T) {
	cache := NewCache[int, int](0, nil)
	loads := 0
	for range 2 {
		if _, err := cache.Get(t.Context(), 1, func(context.Context) (int, error) { loads++; return 0, errKept }); err != errKept {
			t.Error(err)
		}
	}
	if loads != 2 {
		t.Errorf("loaded %d times, want 2", loads)
	}
}

func TestCacheLoadsOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(0)
		var loads atomic.Int32
		release := make(chan struct{})
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				v, err := cache.Get(t.Context(), "k", func(context.Context) (int, error) {
					loads.Add(1)
					<-release
					return 7, nil
				})
				if v != 7 || err != nil {
					t.Errorf("Get returned %d, %v", v, err)
				}
			})
		}
		group.Go(func() {
			synctest.Wait() // until all others wait for the load
			if _, ok := cache.Peek("k"); ok {
				t.Error("Peek returned a value that is still being loaded")
			}
			close(release)
			if v, ok := cache.Wait(t.Context(), "k"); v != 7 || !ok {
				t.Errorf("Wait returned %d, %v", v, ok)
			}
		})
		group.Wait()
		if n := loads.Load(); n != 1 {
			t.Errorf("loaded %d times, want once", n)
		}
	})
}

// When the first caller is cancelled, the next loads the value itself and does
// not get the error.
func TestCacheLoadsAgainAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(0)
		first, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			_, err := cache.Get(first, "k", func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the first got %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			group.Go(func() {
				v, err := cache.Get(t.Context(), "k", func(context.Context) (int, error) { return 7, nil })
				if v != 7 || err != nil {
					t.Errorf("the next got %d, %v", v, err)
				}
			})
		}
		synctest.Wait()
		stop()
		group.Wait()
	})
}

// Waiting ends when the context of the waiting caller is done; the load
// continues.
func TestCacheWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(0)
		release := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			if v, err := cache.Get(t.Context(), "k", func(context.Context) (int, error) { <-release; return 7, nil }); v != 7 || err != nil {
				t.Errorf("the loading caller got %d, %v", v, err)
			}
		})
		synctest.Wait()
		waiting, stop := context.WithCancel(t.Context())
		group.Go(func() {
			_, err := cache.Get(waiting, "k", func(context.Context) (int, error) { t.Error("loaded twice"); return 0, nil })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the waiting caller got %v", err)
			}
		})
		group.Go(func() {
			if _, ok := cache.Wait(waiting, "k"); ok {
				t.Error("Wait returned a value that is still being loaded")
			}
		})
		synctest.Wait()
		stop()
		synctest.Wait()
		close(release)
		group.Wait()
	})
}

func TestCacheIsBounded(t *testing.T) {
	cache := newCache(2)
	load := func(key string) (loaded bool) {
		t.Helper()
		if _, err := cache.Get(t.Context(), key, func(context.Context) (int, error) { loaded = true; return 1, nil }); err != nil {
			t.Fatal(err)
		}
		return loaded
	}
	for _, key := range []string{"a", "b", "c"} {
		load(key)
	}
	if load("a") || load("b") {
		t.Error("an entry within the limit was loaded again")
	}
	if !load("c") {
		t.Error("the cache keeps more entries than its limit")
	}
	cache.Set("d", 4)
	if _, ok := cache.Peek("d"); ok {
		t.Error("Set keeps more entries than the limit")
	}
	// A value that cannot be replaced because the cache is full is deleted.
	cache.Set("a", 5)
	if v, ok := cache.Peek("a"); ok {
		t.Errorf("the cache keeps the outdated value %d", v)
	}
	cache.Set("a", 5)
	if v, ok := cache.Peek("a"); v != 5 || !ok {
		t.Errorf("Peek returned %d, %v after Set", v, ok)
	}
}

// A load does not undo a Delete or Set that happens meanwhile.
func TestCacheChangedDuringLoad(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Cache[string, int])
		err    error
		want   int
	}{
		{"deleted", func(c *Cache[string, int]) { c.Delete("k") }, nil, 0},
		{"set", func(c *Cache[string, int]) { c.Set("k", 9) }, nil, 9},
		{"set, and the load fails", func(c *Cache[string, int]) { c.Set("k", 9) }, errBroken, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := newCache(0)
			v, err := cache.Get(t.Context(), "k", func(context.Context) (int, error) {
				c.change(cache)
				return 7, c.err
			})
			if v != 7 || err != c.err {
				t.Errorf("Get returned %d, %v", v, err)
			}
			if v, ok := cache.Peek("k"); v != c.want || ok != (c.want != 0) {
				t.Errorf("Peek returned %d, %v afterwards; want %d", v, ok, c.want)
			}
		})
	}
}
