package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/explain"
	"acrpromote/internal/plan"
	"acrpromote/internal/promote"
	"acrpromote/internal/recall"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// unsignedRecalls limits how many recall records of an image are kept that none of the
// keys has signed.
const unsignedRecalls = 64

// readRecallRecords reads the recall records that are listed for an image. It returns
// those that are valid, and of unsigned ones only the first; notes has a sentence for each that is not.
func readRecallRecords(ctx context.Context, at *session.Registry, repository, digest string, listed []transfer.Descriptor, keys []receipt.Key) (kept []recall.Kept, notes []string, err error) {
	var mu sync.Mutex
	unsigned := 0
	var group errgroup.Group
	group.SetLimit(artifactsAtOnce)
	for _, d := range listed {
		group.Go(func() error {
			defer defect.Catch(ctx)
			found, err := readRecallRecord(ctx, at.Data, repository, digest, d)
			if err != nil {
				return err
			}
			k, why := recall.Open(found, at.Host+"/"+repository, digest, keys)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case why == nil && (k.Signed || unsigned < unsignedRecalls):
				kept = append(kept, k)
			case why != nil && len(notes) < unsignedRecalls:
				notes = append(notes, fmt.Sprintf("%s is listed as a recall record of %s but does not count: %v", d.Digest, digest, why))
			}
			if why == nil && !k.Signed {
				unsigned++
			}
			return nil
		})
	}
	err = group.Wait()
	return kept, notes, err
}

func readRecallRecord(ctx context.Context, at *transfer.Registry, repository, digest string, listed transfer.Descriptor) (recall.Found, error) {
	found := recall.Found{Manifest: listed.Digest}
	unfit := func(err error) (recall.Found, error) {
		if why := notOne(err); why != nil {
			found.Problem = why.Error()
			return found, nil
		}
		return found, err
	}
	image, err := at.ReadImageManifest(ctx, repository, listed.Digest)
	if err != nil {
		return unfit(err)
	}
	if image.ArtifactType != recall.ArtifactType || image.Subject != digest || len(image.Layers) != 1 || image.Layers[0].Size > recall.MaxSize {
		found.Problem = "its manifest is not that of a recall record of this image"
		return found, nil
	}
	found.MediaType, found.Content = image.Layers[0].MediaType, image.Inline
	if ref.DigestOf(found.Content) != image.Layers[0].Digest {
		if found.Content, err = readReceipt(ctx, at, repository, image.Layers[0]); err != nil {
			return unfit(err)
		}
	}
	return found, nil
}

// recallKeys returns the keys whose recalls count: those that sign receipts. The keys of
// other flows than those of the order need not be readable here: notes has a sentence
// for each that is not. Call it while nothing else uses the session.
func recallKeys(ctx context.Context, c *agent.Config, s *session.Session, o *order) (keys []receipt.Key, notes []string, err error) {
	own := []string{c.ReceiptKey}
	for _, w := range o.images {
		for _, route := range w.Routes {
			own = append(own, route.Rules.ReceiptKey)
		}
	}
	for _, name := range o.receiptKeys(c) {
		if g := o.signer(name); g != nil && g.vault != nil && g.sign != nil && g.err == nil {
			keys = append(keys, g.key)
			continue
		}
		key, err := publicKeyOf(ctx, c, s, name)
		switch {
		case err == nil:
			keys = append(keys, key)
		case slices.Contains(own, name):
			return nil, nil, err
		default:
			reason, _ := explain.Split(err, "")
			notes = append(notes, fmt.Sprintf("The key %s of another flow could not be read, so that recalls which it has signed do not count: %s", name, reason))
		}
	}
	return keys, notes, nil
}

// receiptKeys returns the keys that sign receipts, as the input and the flow file name
// them, each once.
func (o *order) receiptKeys(c *agent.Config) (named []string) {
	add := func(key string) {
		if key != "" && !slices.Contains(named, key) {
			named = append(named, key)
		}
	}
	add(c.ReceiptKey)
	if o.flow != nil {
		for _, flow := range o.flow.Flows {
			add(string(flow.Receipt.Key))
		}
	}
	slices.Sort(named)
	return named
}

// publicKeyOf returns the public key of a key that signs receipts.
func publicKeyOf(ctx context.Context, c *agent.Config, s *session.Session, name string) (receipt.Key, error) {
	g, err := openSigner(c, s, name)
	if err != nil {
		return receipt.Key{}, err
	}
	if g.vault == nil {
		return receipt.NewKey(g.sign.Public())
	}
	public, err := g.vault.PublicKey(ctx)
	if err != nil {
		return receipt.Key{}, err
	}
	return receipt.NewKey(public)
}

// readRecalls finds out whether images are recalled: by the records that are attached at
// the source, and by what may not be read any more. It sends requests only for images
// with records, and for what could not be read.
func (r *reader) readRecalls(ctx context.Context, f *findings) {
	var keys []receipt.Key
	var keyErr error
	if i := slices.IndexFunc(f.images, func(o observation) bool { return len(o.source.recalls) > 0 }); i >= 0 {
		if r.whole != nil && r.whole.keys != nil {
			keys = r.whole.keys.all
		} else {
			var notes []string
			keys, notes, keyErr = recallKeys(ctx, r.c, r.s, r.order)
			f.images[i].source.doubts = append(f.images[i].source.doubts, notes...)
		}
	}
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, wanted := range r.images {
		found := &f.images[i]
		group.Go(func() error {
			defer defect.Catch(ctx)
			r.readRecall(ctx, wanted, found, keys, keyErr)
			return nil
		})
	}
	_ = group.Wait()
}

func (r *reader) readRecall(ctx context.Context, wanted plan.Wanted, found *observation, keys []receipt.Key, keyErr error) {
	source := &found.source
	at, err := r.s.Registry(wanted.Source.Registry)
	if err != nil {
		return
	}
	if source.err != nil {
		source.disabled = readsDisabled(ctx, at, wanted.Source, source.err)
	}
	if source.tree == nil {
		return
	}
	digest := source.tree.Digest()
	for j := range found.targets {
		t := &found.targets[j]
		if t.disabled || t.registry == nil || !t.registry.Azure || t.presence != nil && t.presence.Root || len(source.recalls) == 0 && !refusedOrUnknown(t.err) {
			continue
		}
		here := wanted.Targets[j]
		here.Tag, here.Digest = "", digest
		t.disabled = readsDisabled(ctx, t.registry, here, transfer.Locked)
	}
	if len(source.recalls) == 0 {
		return
	}
	if keyErr != nil {
		source.err = fmt.Errorf("whether %s is recalled is not known: %w", wanted.Source, keyErr)
		return
	}
	// A part that was recalled by itself must not get anywhere with the image.
	for _, m := range source.tree.Manifests() {
		kept, notes, err := readRecallRecords(ctx, at, wanted.Source.Repository, m.Digest, source.recalls[m.Digest], keys)
		if err != nil {
			source.err = err
			return
		}
		verdict := recall.Judge(kept)
		if m.Digest != digest {
			verdict = verdict.OfPart(m.Digest)
		}
		source.recall = source.recall.And(verdict)
		source.doubts = append(source.doubts, notes...)
	}
}

// recallOf returns what the recall records of an image say, and warns about those that do
// not count.
func recallOf(ctx context.Context, at *session.Registry, repository, digest string, keys []receipt.Key, result *collector) (recall.Verdict, error) {
	listed, err := at.Data.Referrers(ctx, repository, digest, recall.ArtifactType)
	if err != nil || len(listed) == 0 {
		return recall.Verdict{}, err
	}
	kept, notes, err := readRecallRecords(ctx, at, repository, digest, listed, keys)
	verdict := recall.Judge(kept)
	for _, note := range append(notes, unsignedNotes(at.Host+"/"+repository+"@"+digest, verdict)...) {
		result.note(note)
	}
	return verdict, err
}

// unsignedNotes has a sentence for each recall that is not signed.
func unsignedNotes(image string, v recall.Verdict) (notes []string) {
	for _, k := range v.Unsigned[:min(len(v.Unsigned), mostWarnings)] {
		notes = append(notes, fmt.Sprintf("%s has a recall record that is not signed by a key of receipts, which anyone with push access can attach: %s", image, k.Sentence()))
	}
	return notes
}

// refusedOrUnknown reports whether a registry answered as if a manifest did not exist, or
// were locked: as it may for one that may not be read.
func refusedOrUnknown(err error) bool {
	return errors.Is(err, transfer.NotFound) || errors.Is(err, transfer.Locked) || errors.Is(err, transfer.Denied)
}

// readsDisabled reports whether a registry shows that a manifest, which could not be
// read, may not be read: the image itself, or the one that the error names.
func readsDisabled(ctx context.Context, at *session.Registry, image ref.Reference, why error) bool {
	if !at.Azure || !refusedOrUnknown(why) {
		return false
	}
	metadata, err := at.Metadata()
	if err != nil {
		return false
	}
	digest := image.Digest
	if e, ok := errors.AsType[*transfer.Error](why); ok && ref.NamesDigest(e.Reference) && e.Repository == image.Repository {
		digest = e.Reference
	}
	if digest == "" {
		tag, err := metadata.Tag(ctx, image.Repository, image.Tag)
		if err != nil {
			return false
		}
		digest = tag.Digest
	}
	reading, err := metadata.Reading(ctx, image.Repository, digest)
	return err == nil && reading.Known && !reading.Enabled
}

// recallsOf returns the recall records that are listed for an image and its parts.
func (r *reader) recallsOf(ctx context.Context, at *session.Registry, wanted plan.Wanted, tree *transfer.Tree, listed bool) (map[string][]transfer.Descriptor, error) {
	all := map[string][]transfer.Descriptor{}
	if listed {
		image := imageDigests(tree)
		for _, a := range tree.Attached() {
			if a.Tag == "" && a.ArtifactType == recall.ArtifactType && slices.Contains(image, a.Subject) {
				all[a.Subject] = append(all[a.Subject], transfer.Descriptor{Digest: a.Digest})
			}
		}
		return all, nil
	}
	counts := len(r.receiptKeys(r.c)) > 0
	for _, m := range tree.Manifests() {
		// Without a key no record counts; a seal warns about those of the image itself.
		if !counts && (wanted.Action != plan.Seal || m.Digest != tree.Digest()) {
			continue
		}
		list, err := at.Data.Referrers(ctx, wanted.Source.Repository, m.Digest, recall.ArtifactType)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			all[m.Digest] = list
		}
	}
	return all, nil
}

// rechecksRecall reports whether images that were copied are looked at once more: whether
// they were recalled meanwhile. Without a key no record counts, but one that appears now
// is better not overlooked; it takes a list of what is attached, which a step may do
// without.
func (o *order) rechecksRecall(c *agent.Config) bool {
	return !c.Unapproved() && (c.Referrers.Or(true) || len(o.receiptKeys(c)) > 0)
}

// recheckRecall fails the targets that an image was written to if it was recalled
// meanwhile.
func (e *executor) recheckRecall(ctx context.Context, i int, done []promote.Result) {
	copied := func(r promote.Result) bool { return r.Err == nil && r.Changed }
	if !slices.ContainsFunc(done, copied) || !e.rechecksRecall(e.c) {
		return
	}
	if err := e.recalledMeanwhile(ctx, i); err != nil {
		for j := range done {
			if copied(done[j]) {
				done[j].Err = err
			}
		}
	}
}

// recalledMeanwhile returns an error if an image has got a recall record since it was
// read, or if whether it has is not known. Anyone who recalls an image attaches the record
// first and then looks at the targets; this looks in the other order, so that one of both
// sees the other.
func (e *executor) recalledMeanwhile(ctx context.Context, i int) error {
	source, found := e.order.images[i].Source, e.found.images[i].source
	at, err := e.s.Registry(source.Registry)
	if err != nil {
		return err
	}
	listed, err := at.Data.ReferrersNow(ctx, source.Repository, found.tree.Digest(), recall.ArtifactType)
	if err != nil {
		return err
	}
	for _, d := range listed {
		if !slices.ContainsFunc(found.recalls[found.tree.Digest()], func(known transfer.Descriptor) bool { return known.Digest == d.Digest }) {
			return &promote.ReadBackError{At: source, Reason: "the image was recalled while it was being copied",
				Remedy: "Run the recall again: it may not have seen what was copied meanwhile."}
		}
	}
	return nil
}

// seenAnswer returns what an error of a question about a manifest means.
func seenAnswer(err error) (recall.Answer, error) {
	switch {
	case err == nil:
		return recall.Shown, nil
	case errors.Is(err, transfer.NotFound), errors.Is(err, acr.ErrNotFound):
		return recall.Unknown, nil
	case errors.Is(err, transfer.Locked), errors.Is(err, acr.ErrDisallowed), errors.Is(err, transfer.Denied), errors.Is(err, acr.ErrDenied):
		return recall.Refused, nil
	}
	return "", err
}
