package run

import (
	"cmp"
	"context"
	"sync"

	"acrpromote/internal/acr"
	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/recall"
	"acrpromote/internal/referrer"
	"acrpromote/internal/transfer"
)

// sourceState is the state of an image in its registry. The attributes are in tag
// if the source is by tag, otherwise in manifest.
type sourceState struct {
	tree     *transfer.Tree
	tag      *acr.Attributes
	manifest *acr.Attributes
	records  []plan.Record
	doubts   []string // warnings about invalid seal records
	attached []plan.Attached
	err      error
	// recalls are the recall records that are listed for the image and its parts, by the
	// digest that they are attached to, and recall is what they say. disabled reports that
	// it could not be read because reads are disabled.
	recalls  map[string][]transfer.Descriptor
	recall   recall.Verdict
	disabled bool

	referrers []referrer.Referrer
	left      []string        // by referrer: why it is not copied, or ""
	bring     map[string]bool // the digests and digest tags to write
	covered   []bool          // by referrer: whether the plan's code covers it; nil if it was not computed
}

// readSource reads the image. For seal, and if the rules require a seal, it also
// reads locks and seal records.
func (r *reader) readSource(ctx context.Context, wanted plan.Wanted, first *transfer.Replica) (s sourceState) {
	source := wanted.Source
	at, err := r.s.Registry(source.Registry)
	if err != nil {
		s.err = err
		return s
	}
	sealing := wanted.Action == plan.Seal
	attributes := sealing || wanted.NeedsSeal()
	ref := source.Tag
	if ref == "" {
		ref = source.Digest
	}

	var group sync.WaitGroup
	var attributesErr error
	if attributes {
		group.Go(func() {
			defer defect.Catch(ctx)
			metadata, err := at.Metadata()
			if err != nil {
				attributesErr = err
				return
			}
			var read acr.Attributes
			if source.Tag != "" {
				read, attributesErr = metadata.Tag(ctx, source.Repository, source.Tag)
				s.tag = &read
			} else {
				read, attributesErr = metadata.Manifest(ctx, source.Repository, source.Digest)
				s.manifest = &read
			}
		})
	}
	known := make(chan string, 1)
	options := r.treeOptions(wanted)
	options.Resolved = func(digest string) { known <- digest }
	related := r.relate(ctx, at, source.Repository)
	if related {
		ref = cmp.Or(listedDigest(ctx, at, source), ref)
	}
	if len(wanted.Targets) > 0 && !r.c.Deep.Or(false) && !r.planned && !related {
		// The plan's code covers what is attached, whatever a target has.
		options.Replica = first
	}
	var recordsErr error
	group.Go(func() {
		defer defect.Catch(ctx)
		// Concurrently with the tree, as soon as its digest is known.
		if digest, ok := <-known; ok && (attributes || wanted.NeedsRecords()) {
			s.records, s.doubts, recordsErr = readRecords(ctx, at, source.Repository, digest, attributes)
		}
	})
	s.tree, err = transfer.ReadTree(ctx, at.Data, source.Repository, ref, options)
	close(known)
	if err == nil {
		s.attached, err = readAttached(ctx, at, wanted, s.tree)
	}
	group.Wait()
	if err == nil {
		s.recalls, err = r.recallsOf(ctx, at, wanted, s.tree, options.Referrers)
	}
	switch {
	case err != nil:
		s.err = err
	case recordsErr != nil:
		s.err = recordsErr
	case attributesErr != nil:
		s.err = attributesErr
	}
	return s
}
