package transfer

import (
	"context"
	"sync"
)

// memory answers a question once: whoever asks the same at the same time waits
// for the one answer. Answers and NotFound are kept; other errors are not.
type memory[T any] struct {
	mu    sync.Mutex
	known map[string]*entry[T]
}

type entry[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// memoryLimit bounds how many answers are kept; beyond it, questions are asked
// again.
const memoryLimit = 50_000

func (m *memory[T]) get(ctx context.Context, key string, ask func(context.Context) (T, error)) (T, error) {
	for {
		m.mu.Lock()
		e, ok := m.known[key]
		if !ok {
			break // with the lock held
		}
		m.mu.Unlock()
		select {
		case <-e.done:
			if e.err == nil || isNotFound(e.err) {
				return e.value, e.err
			}
			// The other one failed, perhaps because it was stopped. Its entry
			// is gone: ask for oneself.
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
	e := &entry[T]{done: make(chan struct{})}
	if m.known == nil {
		m.known = make(map[string]*entry[T])
	}
	m.known[key] = e
	m.mu.Unlock()

	e.value, e.err = ask(ctx)

	m.mu.Lock()
	forget := e.err != nil && !isNotFound(e.err) || len(m.known) > memoryLimit
	if forget && m.known[key] == e {
		delete(m.known, key)
	}
	m.mu.Unlock()
	close(e.done)
	return e.value, e.err
}

// await returns what is known already, or being asked for.
func (m *memory[T]) await(ctx context.Context, key string) (T, bool) {
	m.mu.Lock()
	e, ok := m.known[key]
	m.mu.Unlock()
	if ok {
		select {
		case <-e.done:
			return e.value, e.err == nil
		case <-ctx.Done():
		}
	}
	var none T
	return none, false
}

// look returns what is known already.
func (m *memory[T]) look(key string) (T, bool) {
	m.mu.Lock()
	e, ok := m.known[key]
	m.mu.Unlock()
	var none T
	if !ok {
		return none, false
	}
	select {
	case <-e.done:
		return e.value, e.err == nil
	default:
		return none, false
	}
}

// set tells what is known from elsewhere.
func (m *memory[T]) set(key string, value T) {
	e := &entry[T]{done: make(chan struct{}), value: value}
	close(e.done)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = make(map[string]*entry[T])
	}
	if len(m.known) < memoryLimit {
		m.known[key] = e
	} else {
		delete(m.known, key) // rather unknown than outdated
	}
}

func (m *memory[T]) drop(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, key)
}

// turns lets one do something about a name. Who waited for it goes on when it
// has been done, or takes the next turn.
type turns struct {
	mu   sync.Mutex
	busy map[string]*turn
}

type turn struct {
	slot  slots
	users int
}

func (t *turns) enter(ctx context.Context, name string, done func() bool) (leave func(), err error) {
	if done() {
		return func() {}, nil
	}
	t.mu.Lock()
	if t.busy == nil {
		t.busy = make(map[string]*turn)
	}
	one, ok := t.busy[name]
	if !ok {
		one = &turn{slot: make(slots, 1)}
		t.busy[name] = one
	}
	one.users++
	t.mu.Unlock()
	gone := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(t.busy, name)
		}
	}
	if err := one.slot.take(ctx); err != nil {
		gone()
		return nil, err
	}
	leave = func() { one.slot.give(); gone() }
	if done() {
		leave()
		return func() {}, nil
	}
	return leave, nil
}

// locks holds one lock for each name.
type locks struct {
	mu   sync.Mutex
	held map[string]*sync.Mutex
}

func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*sync.Mutex)
	}
	one, ok := l.held[name]
	if !ok {
		one = new(sync.Mutex)
		l.held[name] = one
	}
	l.mu.Unlock()
	one.Lock()
	return one.Unlock
}
