package keyed

import (
	"context"
	"sync"
)

// Mutex is a mutual exclusion lock for each key. The zero Mutex is ready to use.
type Mutex[K comparable] struct {
	mu    sync.Mutex
	locks map[K]*lock
}

type lock struct {
	held  chan struct{} // has an element while the lock is held
	users int           // goroutines that hold the lock or wait for it
}

// Lock locks key and returns the function that unlocks it. If ctx is done
// first, Lock returns its error.
func (m *Mutex[K]) Lock(ctx context.Context, key K) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.locks == nil {
		m.locks = make(map[K]*lock)
	}
	l, ok := m.locks[key]
	if !ok {
		l = &lock{held: make(chan struct{}, 1)}
		m.locks[key] = l
	}
	l.users++
	m.mu.Unlock()
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; m.leave(key, l) }, nil
	case <-ctx.Done():
		m.leave(key, l)
		return nil, ctx.Err()
	}
}

// LockUnless locks key unless done reports, before or after waiting, that the
// work is already done. In that case it returns without the lock, and unlock
// does nothing, so callers that waited for the holder's work continue at once
// instead of one after the other.
func (m *Mutex[K]) LockUnless(ctx context.Context, key K, done func() bool) (unlock func(), err error) {
	if done() {
		return func() {}, nil
	}
	unlock, err = m.Lock(ctx, key)
	if err == nil && done() {
		unlock()
		return func() {}, nil
	}
	return unlock, err
}

func (m *Mutex[K]) leave(key K, l *lock) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(m.locks, key)
	}
}
