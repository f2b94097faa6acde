package defect

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

func TestCatch(t *testing.T) {
	ctx, guard, stop := With(t.Context())
	defer stop()
	var list []int
	var group sync.WaitGroup
	group.Go(func() {
		defer Catch(ctx)
		_ = list[len(list)]
	})
	group.Wait()
	first := guard.First()
	if first == nil || !strings.Contains(first.Reason, "index out of range") || !strings.Contains(string(first.Stack), "TestCatch") {
		t.Fatalf("%+v", first)
	}
	if ctx.Err() == nil || context.Cause(ctx) != error(first) {
		t.Errorf("the context ended with %v", context.Cause(ctx))
	}
	func() {
		defer Catch(ctx)
		panic("another")
	}()
	if guard.First() != first {
		t.Error("a later panic took the place of the first")
	}
}

func TestCatchTellsNoData(t *testing.T) {
	for _, cause := range []any{"s3cr3t", errors.New("s3cr3t"), struct{ s string }{"s3cr3t"}, []byte("s3cr3t")} {
		ctx, guard, stop := With(t.Context())
		func() {
			defer Catch(ctx)
			panic(cause)
		}()
		if reason := guard.First().Reason; strings.Contains(reason, "s3cr3t") || !strings.Contains(reason, "panicked") {
			t.Errorf("%T: %q", cause, reason)
		}
		stop()
	}
}

func TestCatchWithoutAPanicOrAGuard(t *testing.T) {
	ctx, guard, stop := With(t.Context())
	defer stop()
	func() { defer Catch(ctx) }()
	if guard.First() != nil || ctx.Err() != nil {
		t.Error("something was caught")
	}
	defer func() {
		if recover() == nil {
			t.Error("a panic that nobody guards was lost")
		}
	}()
	defer Catch(t.Context())
	panic("x")
}
