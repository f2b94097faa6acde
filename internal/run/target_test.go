package run

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitMajority checks when targets that have not been read are given up.
func TestAwaitMajority(t *testing.T) {
	const never = time.Hour
	for _, c := range []struct {
		name      string
		reads     []time.Duration // after which each target has been read
		busyUntil time.Duration
		givenUp   time.Duration // when; 0 if never
	}{
		{"all at once", []time.Duration{0, 0, 0}, 0, 0},
		{"one is a little slower", []time.Duration{0, 0, slowTargetGrace - time.Second}, 0, 0},
		{"one does not respond", []time.Duration{time.Second, time.Second, never}, 0, time.Second + slowTargetGrace},
		{"one of two does not respond", []time.Duration{0, never}, 0, slowTargetGrace},
		{"one is held back for a minute", []time.Duration{0, 0, time.Minute - time.Second}, time.Minute, 0},
		{"one is held back, then does not respond", []time.Duration{0, 0, never}, time.Minute + time.Second, time.Minute + slowTargetGrace},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				read := make(chan struct{}, len(c.reads))
				for _, after := range c.reads {
					if after != never {
						time.AfterFunc(after, func() { read <- struct{}{} })
					}
				}
				givenUp := time.Duration(0)
				awaitMajority(read, len(c.reads), func() bool { return time.Since(start) < c.busyUntil }, func() { givenUp = time.Since(start) })
				if givenUp != c.givenUp {
					t.Errorf("given up after %s, want %s", givenUp, c.givenUp)
				}
			})
		})
	}
}
