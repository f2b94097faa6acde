package keyed

import (
	"context"
	"errors"
	"sync"

	"acrpromote/internal/defect"
)

// Flight shares concurrent calls for the same key. The zero Flight is ready to
// use and safe for concurrent use.
type Flight[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V]
}

type call[V any] struct {
	done    chan struct{} // closed when value and err are set
	waiting int
	cancel  context.CancelFunc
	value   V
	err     error
}

// errNoResult is the result of a call that ended without returning.
var errNoResult = errors.New("the call ended without a result")

// Do calls f and returns its result. Callers that arrive while f runs share the
// result. f continues as long as any caller waits for it, even if the first has
// left, and its context is cancelled when none does.
func (g *Flight[K, V]) Do(ctx context.Context, key K, f func(context.Context) (V, error)) (V, error) {
	g.mu.Lock()
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
	}
	c := g.calls[key]
	if c == nil {
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		c = &call[V]{done: make(chan struct{}), cancel: cancel}
		g.calls[key] = c
		go func() {
			defer defect.Catch(shared)
			defer func() {
				g.mu.Lock()
				g.forget(key, c)
				g.mu.Unlock()
				close(c.done)
				cancel()
			}()
			c.err = errNoResult
			c.value, c.err = f(shared)
		}()
	}
	c.waiting++
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		g.mu.Lock()
		if c.waiting--; c.waiting == 0 {
			g.forget(key, c)
			c.cancel()
		}
		g.mu.Unlock()
		var none V
		return none, ctx.Err()
	}
}

// forget makes the next caller start a new call. The caller must hold g.mu.
func (g *Flight[K, V]) forget(key K, c *call[V]) {
	if g.calls[key] == c {
		delete(g.calls, key)
	}
}
