package transfer

import (
	"context"
	"sync"
)

// slots bounds how much happens at once.
type slots chan struct{}

func (s slots) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) give() { <-s }

// each does the work for all items, some at once. The first error stops the
// others and is returned once all have ended.
func each[T any](ctx context.Context, items []T, work func(context.Context, T) error) error {
	if len(items) == 0 {
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		next  int
		first error
	)
	for range min(window, len(items)) {
		wg.Go(func() {
			for {
				mu.Lock()
				if first != nil || next == len(items) {
					mu.Unlock()
					return
				}
				item := items[next]
				next++
				mu.Unlock()
				if err := work(ctx, item); err != nil {
					mu.Lock()
					if first == nil {
						first = err
						cancel()
					}
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}
