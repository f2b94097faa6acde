package session

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/transfer"
)

// failureLimit is how many images in a row may fail while they are sent because
// their registry does not respond. One alone may have its own reason.
const failureLimit = 3

// Breaker is the circuit breaker of one registry. Once it is open the registry
// is asked nothing more in this run: each image would wait for it anew, and the
// other targets with it.
type Breaker struct {
	mu       sync.Mutex
	cause    error // not nil: open
	failures int   // in a row
}

// Open returns why the breaker is open, and nil while it is closed.
func (b *Breaker) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause
}

// Observe opens the breaker if err says that the registry does not respond.
func (b *Breaker) Observe(err error) {
	if !noResponse(err) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cause == nil {
		b.cause = err
	}
}

// Sent counts the end of sending one image there, and opens the breaker when
// too many in a row have failed.
func (b *Breaker) Sent(err error) {
	var copying *transfer.Error
	if errors.As(err, &copying) && copying.Side == transfer.Source {
		return // that was another registry
	}
	b.mu.Lock()
	if !noResponse(err) {
		b.failures = 0
	} else {
		b.failures++
	}
	over := b.failures >= failureLimit
	b.mu.Unlock()
	if over {
		b.Observe(err)
	}
}

// noResponse reports whether an error says that a registry does not respond.
func noResponse(err error) bool {
	slow := (*SlowTarget)(nil)
	return errors.Is(err, transfer.Unreachable) || errors.Is(err, transfer.Throttled) || errors.Is(err, acr.ErrUnreachable) || errors.As(err, &slow)
}

// SlowTarget is a target that had not responded some time after most others
// had.
type SlowTarget struct {
	Registry string
	Grace    time.Duration
}

func (s *SlowTarget) Error() string {
	return fmt.Sprintf("%s has not answered %s after most other targets had", s.Registry, s.Grace)
}
