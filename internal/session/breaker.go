package session

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/transfer"
)

// failureLimit is how many consecutive transfers to a registry may fail, because
// it does not respond, before the breaker opens. A single failure can have other
// reasons.
const failureLimit = 3

// Breaker is the circuit breaker of one registry. Once it is open, the run sends
// no more requests to the registry. Otherwise each image would wait for it
// again, and so would the other targets.
type Breaker struct {
	mu       sync.Mutex
	cause    error // not nil: open
	failures int   // consecutive
}

// Open returns the error that opened the breaker, or nil if it is closed.
func (b *Breaker) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause
}

// Observe opens the breaker if err means that the registry does not respond.
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

// Sent records the result of sending one image to the registry, and opens the
// breaker after too many consecutive failures.
func (b *Breaker) Sent(err error) {
	var copying *transfer.Error
	if errors.As(err, &copying) && copying.Side == transfer.Source {
		return // another registry failed
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

// noResponse reports whether err means that a registry does not respond.
func noResponse(err error) bool {
	slow := (*SlowTargetError)(nil)
	return errors.Is(err, transfer.Unreachable) || errors.Is(err, transfer.Throttled) || errors.Is(err, acr.ErrUnreachable) || errors.As(err, &slow)
}

// SlowTargetError is the error for a target that did not respond within Grace after
// most other targets had.
type SlowTargetError struct {
	Registry string
	Grace    time.Duration
}

func (s *SlowTargetError) Error() string {
	return fmt.Sprintf("%s did not respond within %s after most other targets had", s.Registry, s.Grace)
}
