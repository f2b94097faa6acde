package session

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/transfer"
)

func TestBreakerOpens(t *testing.T) {
	silent := &transfer.Error{Side: transfer.Target, Kind: transfer.Unreachable}
	throttled := fmt.Errorf("later: %w", &transfer.Error{Side: transfer.Target, Kind: transfer.Throttled})
	source := &transfer.Error{Side: transfer.Source, Kind: transfer.Unreachable}
	denied := &transfer.Error{Side: transfer.Target, Kind: transfer.Denied}
	slow := &SlowTargetError{Registry: "dev.azurecr.io", Grace: time.Second}

	for _, c := range []struct {
		name     string
		observed []error
		sent     []error
		open     bool
	}{
		{"no requests", nil, nil, false},
		{"read without an error", []error{nil}, nil, false},
		{"no response while reading", []error{silent}, nil, true},
		{"throttled while reading", []error{throttled}, nil, true},
		{"slower than the others while reading", []error{slow}, nil, true},
		{"no response while signing in", []error{fmt.Errorf("x: %w", acr.ErrUnreachable)}, nil, true},
		{"denied while reading", []error{denied}, nil, false},
		{"another error while reading", []error{errors.New("x")}, nil, false},
		{"two images in a row", nil, []error{silent, throttled}, false},
		{"three images in a row", nil, []error{silent, throttled, slow}, true},
		{"a success in between", nil, []error{silent, silent, nil, silent}, false},
		{"a denied one in between", nil, []error{silent, silent, denied, silent}, false},
		{"the source does not respond", nil, []error{source, source, source, source}, false},
		{"a failed source in between", nil, []error{silent, silent, source, silent}, true},
	} {
		var b Breaker
		for _, err := range c.observed {
			b.Observe(err)
		}
		for _, err := range c.sent {
			b.Sent(err)
		}
		if got := b.Open() != nil; got != c.open {
			t.Errorf("%s: open %v, want %v", c.name, got, c.open)
		}
	}
}

func TestBreakerKeepsFirstCause(t *testing.T) {
	var b Breaker
	first := &transfer.Error{Kind: transfer.Unreachable, Reason: "first"}
	b.Observe(first)
	b.Observe(&transfer.Error{Kind: transfer.Throttled, Reason: "second"})
	if !errors.Is(b.Open(), error(first)) {
		t.Errorf("opened by %v", b.Open())
	}
}
