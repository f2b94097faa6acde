package transfer

import (
	"context"
	"errors"
	"time"
)

var errStalled = errors.New("the connection went silent")

// watchdog ends a request over which no byte moves any more. It counts from
// each call of within, until rest.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// watchFor returns a context that the watchdog ends.
func withWatchdog(ctx context.Context) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{ctx: ctx, cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, func() { cancel(errStalled) })
	w.timer.Stop()
	return ctx, w
}

func (w *watchdog) arm(d time.Duration) { w.timer.Reset(d) }

// rest stops counting: it is somebody else's turn.
func (w *watchdog) disarm() { w.timer.Stop() }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}
