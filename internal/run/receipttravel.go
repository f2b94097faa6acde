package run

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/receipt"
	"acrpromote/internal/referrer"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// withholdReceipts finds the receipts that are attached to an image and say more than
// receipts at its targets may. They stay behind.
func (r *reader) withholdReceipts(ctx context.Context, wanted plan.Wanted, list []referrer.Referrer) {
	var leave []receipt.Redaction
	for _, name := range wanted.Redaction(r.topology()) {
		leave = append(leave, receipt.Redaction(name))
	}
	at, err := r.s.Registry(wanted.Source.Registry)
	if len(leave) == 0 || err != nil {
		return
	}
	peeked := make([]receipt.Peeked, len(list))
	var mu sync.Mutex
	withheld := map[string]bool{} // promotions, by the digest of the statement
	var group errgroup.Group
	group.SetLimit(artifactsAtOnce)
	for i := range list {
		one := &list[i]
		if !one.Missing || one.Type != receipt.ArtifactType && one.Type != receipt.BundleType {
			continue
		}
		group.Go(func() error {
			defer defect.Catch(ctx)
			var err error
			if peeked[i], err = peek(ctx, at, wanted.Source.Repository, *one); err != nil {
				if one.Type == receipt.ArtifactType {
					one.Withheld = fmt.Sprintf("what the receipt says is not known: %v", err)
				}
				return nil
			}
			if lacks := peeked[i].Lacks(leave); len(lacks) > 0 {
				one.Withheld = fmt.Sprintf("the receipt says more than receipts at a target may (%v)", lacks)
				mu.Lock()
				defer mu.Unlock()
				withheld[peeked[i].Digest] = true
			}
			return nil
		})
	}
	_ = group.Wait()
	for i, p := range peeked {
		if p.Promotion != "" && withheld[p.Promotion] {
			list[i].Withheld = "the promotion that belongs to it stays behind"
		}
	}
}

// peek reads what a receipt says of itself.
func peek(ctx context.Context, at *session.Registry, repository string, one referrer.Referrer) (peeked receipt.Peeked, err error) {
	listed := transfer.Descriptor{Digest: one.Digest, ArtifactType: one.Type}
	found, err := openReceipt(ctx, at.Data, repository, one.Subject, listed, func(mediaType string, content []byte) (err error) {
		peeked, err = receipt.Peek(mediaType, content)
		return err
	})
	if err == nil && found != nil && found.Problem != "" {
		err = errors.New(found.Problem)
	}
	return peeked, err
}
