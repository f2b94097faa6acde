package transfer

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// each does the work for all items, some at once. The first error stops the
// others and is returned once all have ended.
func forEach[T any](ctx context.Context, items []T, work func(context.Context, T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for _, item := range items {
		group.Go(func() error { return work(ctx, item) })
	}
	return group.Wait()
}
