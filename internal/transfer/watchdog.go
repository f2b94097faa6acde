package transfer

import (
	"context"
	"errors"
	"time"
)

var errStalled = errors.New("the connection stalled")

// watchdog cancels a request that transfers no more bytes: when the time of the
// last call of arm is over, unless disarm has been called.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// withWatchdog returns a context that the watchdog cancels.
func withWatchdog(ctx context.Context) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{ctx: ctx, cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, func() { cancel(errStalled) })
	w.timer.Stop()
	return ctx, w
}

func (w *watchdog) arm(d time.Duration) { w.timer.Reset(d) }

// disarm stops the timer while another party is waited for.
func (w *watchdog) disarm() { w.timer.Stop() }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}
