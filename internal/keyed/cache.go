// Package keyed shares work between goroutines by key. It has a cache that loads
// each value once, a single flight for calls in progress, and a keyed mutex.
//
// Unlike in golang.org/x/sync/singleflight, waiting ends when the context of the
// waiting caller is done.
package keyed

import (
	"context"
	"sync"
)

// Cache keeps a value for each key and loads it once: if another caller is
// already loading the key, a caller waits for that result. It is safe for
// concurrent use.
type Cache[K comparable, V any] struct {
	limit     int
	keepError func(error) bool

	mu      sync.Mutex
	entries map[K]*entry[V]
}

type entry[V any] struct {
	loaded chan struct{} // closed when value and err are set; to be read with the lock held
	value  V
	err    error
}

// closed is the channel of entries that nothing waits for.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// NewCache returns an empty cache. It keeps at most limit entries, or any number
// if limit is 0; values that do not fit are loaded again. keepError reports
// whether to keep an error like a value; if it is nil, no error is kept.
func NewCache[K comparable, V any](limit int, keepError func(error) bool) *Cache[K, V] {
	return &Cache[K, V]{limit: limit, keepError: keepError, entries: make(map[K]*entry[V])}
}

// Get returns the value of key. If there is none, it calls load with ctx, and
// other callers wait for the result until their own contexts are done. An error
// that is not kept is returned only to the caller whose load failed. The others
// load again, because the first may just have been cancelled.
func (c *Cache[K, V]) Get(ctx context.Context, key K, load func(context.Context) (V, error)) (V, error) {
	for {
		c.mu.Lock()
		e, ok := c.entries[key]
		if !ok {
			break // with the lock held
		}
		loaded := e.loaded
		c.mu.Unlock()
		select {
		case <-loaded:
			if e.err == nil || c.keeps(e.err) {
				return e.value, e.err
			}
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	loaded := make(chan struct{})
	e := &entry[V]{loaded: loaded}
	c.entries[key] = e
	c.mu.Unlock()

	e.value, e.err = load(ctx)

	c.mu.Lock()
	keep := e.err == nil || c.keeps(e.err)
	if c.entries[key] == e && (!keep || c.limit > 0 && len(c.entries) > c.limit) {
		delete(c.entries, key)
	}
	e.loaded = closed
	c.mu.Unlock()
	close(loaded)
	return e.value, e.err
}

func (c *Cache[K, V]) keeps(err error) bool { return c.keepError != nil && c.keepError(err) }

// Wait returns the value of key. If it is being loaded, Wait waits for it. The
// result is false if there is no value or if loading failed.
func (c *Cache[K, V]) Wait(ctx context.Context, key K) (V, bool) {
	c.mu.Lock()
	e, ok := c.entries[key]
	var loaded chan struct{}
	if ok {
		loaded = e.loaded
	}
	c.mu.Unlock()
	if ok {
		select {
		case <-loaded:
			return e.value, e.err == nil
		case <-ctx.Done():
		}
	}
	var none V
	return none, false
}

// Peek returns the value of key without waiting. The result is false if there is
// no value, if it is still being loaded, or if loading failed.
func (c *Cache[K, V]) Peek(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peek(key)
}

func (c *Cache[K, V]) peek(key K) (V, bool) {
	if e, ok := c.entries[key]; ok {
		select {
		case <-e.loaded:
			return e.value, e.err == nil
		default:
		}
	}
	var none V
	return none, false
}

// Take removes key and returns its value. The result is false if there was no value,
// or if it was still being loaded.
func (c *Cache[K, V]) Take(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.peek(key)
	delete(c.entries, key)
	return value, ok
}

// Set replaces the value of key. If the cache is full, it deletes key instead,
// so that no outdated value remains.
func (c *Cache[K, V]) Set(key K, value V) {
	e := &entry[V]{loaded: closed, value: value}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit == 0 || len(c.entries) < c.limit {
		c.entries[key] = e
	} else {
		delete(c.entries, key)
	}
}

// Delete removes key. If it is being loaded, waiting callers still get the
// result.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}
