package transfer

import (
	"context"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/defect"
)

// forEach calls work for all items, several at a time. The first error cancels
// the others, and is returned when all have ended.
func forEach[T any](ctx context.Context, items []T, work func(context.Context, T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for _, item := range items {
		group.Go(func() error {
			defer defect.Catch(ctx)
			return work(ctx, item)
		})
	}
	return group.Wait()
}
