package run

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"acrpromote/internal/defect"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
	"acrpromote/internal/session"
	"acrpromote/internal/sorting"
	"acrpromote/internal/transfer"
)

// openReceipts reads what may be receipts among the image's referrers. Only content
// that open accepts is kept, which bounds the memory for what others have attached.
// notes has a sentence for what was not read. If reading one of them fails, the others
// are returned with the error.
func openReceipts(ctx context.Context, at *session.Registry, repository, digest string, open func(mediaType string, content []byte) error) (found []receipt.Found, notes []string, err error) {
	listed, err := at.Data.Referrers(ctx, repository, digest, "")
	if err != nil {
		return nil, nil, err
	}
	listed = slices.DeleteFunc(listed, func(d transfer.Descriptor) bool { return receiptRank(d) < 0 })
	sorting.StableBy(listed, func(a, b transfer.Descriptor) int { return cmp.Compare(receiptRank(a), receiptRank(b)) })
	if len(listed) > receiptLimit {
		notes = append(notes, fmt.Sprintf("%d artifacts that may be receipts are attached to %s; only %d of them were read.", len(listed), digest, receiptLimit))
		listed = listed[:receiptLimit]
	}
	all := make([]*receipt.Found, len(listed))
	failures := make([]error, len(listed))
	var group errgroup.Group
	group.SetLimit(artifactsAtOnce)
	for i, d := range listed {
		group.Go(func() error {
			defer defect.Catch(ctx)
			all[i], failures[i] = openReceipt(ctx, at.Data, repository, digest, d, open)
			return failures[i]
		})
	}
	_ = group.Wait()
	for i, one := range all {
		err = cmp.Or(err, failures[i])
		if one != nil {
			one.Problem = sanitize.Visible(one.Problem, maxProblem)
			found = append(found, *one)
		}
	}
	return found, notes, err
}

// receiptRank returns the order in which referrers are read: first those that are
// listed as receipts, then those whose type is not listed. It is negative for all
// others.
func receiptRank(d transfer.Descriptor) int {
	switch d.ArtifactType {
	case receipt.ArtifactType, receipt.BundleType:
		if receipt.IsForeign(d.Annotations) {
			return -1
		}
		return 0
	case "", string(types.OCIEmptyJSON):
		return 1
	}
	return -1
}

// openReceipt reads one artifact. It returns nil if the artifact is of another kind,
// and an error if reading it failed.
func openReceipt(ctx context.Context, at *transfer.Registry, repository, digest string, listed transfer.Descriptor, open func(string, []byte) error) (*receipt.Found, error) {
	found := &receipt.Found{Manifest: listed.Digest}
	unfit := func(err error) (*receipt.Found, error) {
		if why := notOne(err); why != nil {
			found.Problem = why.Error()
			return found, nil
		}
		return nil, err
	}
	image, err := at.ReadImageManifest(ctx, repository, listed.Digest)
	if err != nil {
		return unfit(err)
	}
	if receiptRank(transfer.Descriptor{ArtifactType: image.ArtifactType, Annotations: image.Annotations}) != 0 {
		if receiptRank(listed) != 0 {
			return nil, nil // something else, listed without its type
		}
		found.Problem = fmt.Sprintf("its manifest has the artifact type %q", image.ArtifactType)
		return found, nil
	}
	manifest := receipt.Manifest{ArtifactType: image.ArtifactType, Subject: image.Subject}
	for _, l := range image.Layers {
		manifest.Layers = append(manifest.Layers, l.MediaType)
	}
	if found.MediaType, err = manifest.Layer(digest); err != nil {
		found.Problem = err.Error()
		return found, nil
	}
	content := image.Inline
	if ref.DigestOf(content) != image.Layers[0].Digest {
		content, err = readReceipt(ctx, at, repository, image.Layers[0])
	}
	if err != nil {
		return unfit(err)
	}
	if err := open(found.MediaType, content); err != nil {
		found.Problem = err.Error()
		return found, nil
	}
	found.Content = content
	return found, nil
}

// readReceipt reads the content of a receipt that its manifest does not embed.
func readReceipt(ctx context.Context, at *transfer.Registry, repository string, layer transfer.Descriptor) (content []byte, err error) {
	err = at.ReadBlob(ctx, repository, layer, receipt.MaxSize, func(r io.Reader) (err error) {
		content, err = io.ReadAll(r)
		return err
	})
	return content, err
}

const (
	// receiptLimit limits how many artifacts of one image are read as receipts.
	receiptLimit = 512
	// maxProblem limits what is said of one that is not a receipt, in bytes.
	maxProblem = 300
)
