package acr

import (
	"context"
	"sync"
)

// errorCapture keeps the first error that occurred below Azure's SDK during one
// call. The SDK's own errors repeat its text but lose its type, for example
// that of a cancellation.
type errorCapture struct {
	mu  sync.Mutex
	err error
}

type errorCaptureKey struct{}

func captureFrom(ctx context.Context) *errorCapture {
	t, _ := ctx.Value(errorCaptureKey{}).(*errorCapture)
	return t
}

func (t *errorCapture) record(err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	if t.err == nil {
		t.err = err
	}
	t.mu.Unlock()
}

func (t *errorCapture) first() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
