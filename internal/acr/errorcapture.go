package acr

import (
	"context"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"
)

// errorCapture keeps the first error that occurred below Azure's SDK during one
// call. The SDK's own errors repeat its text but lose its type, for example
// that of a cancellation. It also holds the call's permit to decode a large response.
type errorCapture struct {
	mu   sync.Mutex
	err  error
	held bool
}

// Responses of more than smallResponse bytes are read and decoded a few at a time:
// decoded, they take many times their size.
const smallResponse = 16 << 10

var largeResponses = semaphore.NewWeighted(6)

// readAll reads the body of a response. If it is large, the call waits for a permit,
// which release gives back once the SDK has decoded the response.
func (t *errorCapture) readAll(ctx context.Context, body io.ReadCloser) ([]byte, error) {
	begin, err := io.ReadAll(io.LimitReader(body, smallResponse))
	if err != nil || len(begin) < smallResponse || t == nil {
		return readAllFrom(begin, body, err)
	}
	t.mu.Lock()
	held := t.held
	t.mu.Unlock()
	if !held {
		if err := largeResponses.Acquire(ctx, 1); err != nil {
			body.Close()
			return nil, err
		}
		t.mu.Lock()
		t.held = true
		t.mu.Unlock()
	}
	return readAllFrom(begin, body, nil)
}

// release ends the call.
func (t *errorCapture) release() {
	t.mu.Lock()
	held := t.held
	t.held = false
	t.mu.Unlock()
	if held {
		largeResponses.Release(1)
	}
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
