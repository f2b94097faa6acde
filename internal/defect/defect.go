// Package defect turns a panic in any goroutine of a run into the run's failure,
// so that even a program with a defect reports what it has done. Every goroutine
// of the program defers Catch; a test keeps that true.
package defect

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// Defect is the first panic of a run.
type Defect struct {
	// Reason says what went wrong. It holds no data of the run: a panic with
	// anything but an error of the Go runtime is only named by its type.
	Reason string
	Stack  []byte
}

func (d *Defect) Error() string { return d.Reason }

// Guard holds the first panic of the goroutines that it guards.
type Guard struct {
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	first *Defect
}

type guardKey struct{}

// With returns a context whose goroutines are guarded. It is cancelled by the
// first panic, so that whatever waits for the goroutine that has ended stops
// waiting. stop releases the context.
func With(ctx context.Context) (guarded context.Context, g *Guard, stop func()) {
	g = &Guard{}
	guarded, g.cancel = context.WithCancelCause(context.WithValue(ctx, guardKey{}, g))
	return guarded, g, func() { g.cancel(nil) }
}

// First returns the first panic, or nil.
func (g *Guard) First() *Defect {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.first
}

// Catch ends the panic of the goroutine that defers it, and records it in the
// guard of its context. Without a guard the panic goes on.
func Catch(ctx context.Context) {
	cause := recover()
	if cause == nil {
		return
	}
	g, guarded := ctx.Value(guardKey{}).(*Guard)
	if !guarded {
		panic(cause)
	}
	d := &Defect{Reason: describe(cause), Stack: debug.Stack()}
	g.mu.Lock()
	if g.first == nil {
		g.first = d
	}
	g.mu.Unlock()
	g.cancel(d)
}

func describe(cause any) string {
	if err, ok := cause.(runtime.Error); ok {
		return "the program panicked: " + err.Error()
	}
	return fmt.Sprintf("the program panicked with a %T", cause)
}
