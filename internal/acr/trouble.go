package acr

import (
	"context"
	"sync"
)

// troubles keeps the first error below Azure's SDK during one call: its own
// errors repeat the text and lose what it was, a cancellation for one.
type troubles struct {
	mu  sync.Mutex
	err error
}

type troublesKey struct{}

func trouble(ctx context.Context) *troubles {
	t, _ := ctx.Value(troublesKey{}).(*troubles)
	return t
}

func (t *troubles) note(err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	if t.err == nil {
		t.err = err
	}
	t.mu.Unlock()
}

func (t *troubles) first() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
