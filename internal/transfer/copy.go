package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"sync"

	"acrpromote/internal/keyed"
	"acrpromote/internal/ref"
)

// State is how a copy to one target ended. The values are those of result.json.
type State string

// The states.
const (
	Copied   State = "copied"   // blobs or manifests were sent from the source's registry
	Mounted  State = "mounted"  // within one registry: all blobs were mounted
	Retagged State = "retagged" // within one repository: one manifest was put
	Present  State = "present"  // nothing was missing
)

// Outcome is the outcome of a copy to one target.
type Outcome struct {
	State   State
	Changed bool // something was written, even if the copy failed later
	// Left are the referrers that the target refused, for their type alone.
	Left *Left

	manifests int // that were put
	blobs     int // that were sent
	mounts    int // blobs that were mounted, or turned out to exist
	lists     int // fallback tags that were written
}

// changed reports whether something was written. from is the repository that blobs
// were mounted from; without it they turned out to exist.
func (o Outcome) changed(from string) bool {
	return o.blobs+o.manifests+o.lists > 0 || o.mounts > 0 && from != ""
}

// targetCopy is a running copy to one target.
type targetCopy struct {
	tree     *Tree
	src      *Registry
	srcRepo  string
	dst      *Registry
	repo     string
	tag      string
	presence Presence
	progress Progress
	finish   func(ctx context.Context) error // see Destination; may be nil
	all      []Descriptor                    // blobs of the tree
	puts     *keyed.Cache[*node, struct{}]   // manifests that were put by digest, or failed
	attached *keyed.Cache[*node, struct{}]   // referrers that were put, or failed

	ctx    context.Context // of the blobs
	cancel context.CancelFunc
	toSend map[string]Descriptor // blobs that are not known to exist; never changes

	mu           sync.Mutex
	changed      sync.Cond
	pendingBlobs map[string]bool // that are not complete
	inFlight     int
	failure      error // of the first blob that failed
	out          Outcome
	listings     map[listing][]Descriptor // referrers that were put
}

// listing is what a target has said about referrers that were put.
type listing struct {
	subject string // digest
	said    bool   // that it lists them itself
}

func newTargetCopy(ctx context.Context, f *fanOut, d Destination) *targetCopy {
	c := &targetCopy{tree: f.tree, src: f.src, srcRepo: f.srcRepo, dst: d.Registry, repo: d.Repository, tag: d.Tag,
		presence: d.Presence, finish: d.Finish, progress: f.progress, all: f.blobs, listings: make(map[listing][]Descriptor),
		puts: keyed.NewCache[*node, struct{}](0, keepErrors), attached: keyed.NewCache[*node, struct{}](0, keepErrors)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.changed.L = &c.mu
	if c.consistent() && !c.presence.Complete() {
		c.toSend = c.missingBlobs()
		c.pendingBlobs = make(map[string]bool, len(c.toSend))
		for digest := range c.toSend {
			c.pendingBlobs[digest] = true
		}
	}
	return c
}

// consistent reports whether the target was inspected for this copy.
func (c *targetCopy) consistent() bool { return c.presence.tree == c.tree && c.presence.tag == c.tag }

func (c *targetCopy) run(ctx context.Context) (Outcome, error) {
	if !c.consistent() {
		return Outcome{}, &Error{Side: Target, Registry: c.dst.host, Repository: c.repo, Reference: c.tag, Op: "copying", Kind: Unexpected,
			Reason: "the target was inspected for another image or tag"}
	}
	err := c.copyAll(ctx)
	c.out.Changed = c.out.changed(c.mountFrom())
	return c.out, withSide(Target, c.dst.wrap(ctx, "copying", c.repo, c.tag, err))
}

func (c *targetCopy) copyAll(ctx context.Context) error {
	p := c.presence
	var total int64
	var blobs []Descriptor
	needed := p.neededBlobs()
	for _, b := range c.all {
		if needed[b.Digest] {
			blobs = append(blobs, b)
			total += b.Size
		}
	}
	c.progress.Start(total, len(blobs))
	for _, b := range blobs {
		if !c.needs(b) {
			c.dst.recordBlob(c.repo, b.Digest)
			c.progress.LayerDone()
			c.progress.Add(b.Size)
		}
	}
	if p.Complete() {
		c.out.State = Present
		return c.callFinish(ctx)
	}
	if err := c.putManifests(ctx); err != nil {
		return c.abort(err)
	}
	switch {
	case !c.out.changed(c.mountFrom()):
		c.out.State = Present // which the target did not show before, or refused before
	case c.presence.sameRepository && c.out.blobs == 0:
		c.out.State = Retagged
	case c.dst.same(c.src) && c.out.blobs == 0:
		c.out.State = Mounted
	default:
		c.out.State = Copied
	}
	return nil
}

// putManifests puts the manifests, each as soon as its blobs are complete: the
// children, then the referrers, then the root.
func (c *targetCopy) putManifests(ctx context.Context) error {
	steps := []func(context.Context) error{c.awaitManifestTurn}
	if !c.presence.digestTagsChecked {
		steps = append(steps, func(ctx context.Context) error { return c.presence.checkDigestTags(ctx, c.dst, c.repo) })
	}
	if err := forEach(ctx, steps, func(ctx context.Context, step func(context.Context) error) error { return step(ctx) }); err != nil {
		return err
	}
	if err := c.presence.conflict(); err != nil {
		return err
	}
	if err := c.recheckRoot(ctx); err != nil {
		return err
	}
	if err := c.putChildren(ctx); err != nil {
		return err
	}
	if err := c.putReferrers(ctx); err != nil {
		return err
	}
	if err := c.awaitBlobs(ctx); err != nil {
		return err
	}
	if err := c.callFinish(ctx); err != nil {
		return err
	}
	if err := c.putRoot(ctx); err != nil || c.tag == "" {
		return err
	}
	return c.restoreReferrers(ctx)
}

// callFinish calls the destination's Finish, and once more after it has put the root
// by its digest if the registry may have missed it.
func (c *targetCopy) callFinish(ctx context.Context) error {
	if c.finish == nil {
		return nil
	}
	err := c.finish(ctx)
	if err == nil || !mayLackSubject(err) || c.presence.Root {
		return err
	}
	if err := c.putRootByDigest(ctx); err != nil {
		return err
	}
	return c.finish(ctx)
}

// abort ends the sending of blobs. If a blob has failed, it returns that error.
func (c *targetCopy) abort(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		err = c.failure
	}
	c.cancel()
	for c.inFlight > 0 {
		c.changed.Wait()
	}
	return err
}

// missingBlobs returns the blobs that are not known to be at the target: those of
// missing manifests, and those that Inspect did not find.
func (c *targetCopy) missingBlobs() map[string]Descriptor {
	wanted := make(map[[sha256.Size]byte]bool)
	for _, n := range c.presence.missing {
		for _, b := range n.contents {
			wanted[b.sum] = true
		}
	}
	blobs := make(map[string]Descriptor)
	for i, b := range c.all {
		if wanted[c.tree.blob(c.tree.distinct[i]).sum] && !c.presence.heldBlobs[b.Digest] {
			blobs[b.Digest] = b
		}
	}
	for digest, b := range c.presence.missingBlobs {
		blobs[digest] = b
	}
	return blobs
}

// recheckRoot looks for the root by digest if every blob turned out to exist: the
// image may be there under another tag, and its manifests need not be put again.
func (c *targetCopy) recheckRoot(ctx context.Context) error {
	if c.presence.sameRepository || c.presence.Root || c.tag == "" || c.sentAny() {
		return nil
	}
	_, err := c.dst.Resolve(ctx, c.repo, c.tree.Digest())
	if err != nil {
		if isNotFound(err) {
			return nil
		}
		return err
	}
	c.presence.Root, c.presence.missing = true, make(map[string]*node)
	return c.presence.checkManifests(ctx, c.dst, c.repo)
}

// mountFrom returns the repository to mount blobs from: the source's, if source
// and target are in one registry.
func (c *targetCopy) mountFrom() string {
	if c.dst.same(c.src) {
		return c.srcRepo
	}
	return ""
}

// blobError returns the error of a blob with the side that failed: the source if
// reading it failed, the target if writing it did.
func (c *targetCopy) blobError(b Descriptor, err error) error {
	var mismatch digestMismatch
	var reading *sourceError
	switch {
	case errors.As(err, &mismatch):
		return withSide(Source, c.src.corruptError("reading the blob", c.srcRepo, b.Digest, mismatch.reason))
	case errors.As(err, &reading):
		return withSide(Source, c.src.wrap(c.ctx, "reading the blob", c.srcRepo, b.Digest, reading.err))
	}
	return withSide(Target, err)
}

// putChildren puts the manifests that the root contains, the innermost first.
func (c *targetCopy) putChildren(ctx context.Context) error {
	return forEach(ctx, c.tree.root.children, func(ctx context.Context, n *node) error { return c.putTree(ctx, n, true) })
}

// putTree puts a manifest after its children.
func (c *targetCopy) putTree(ctx context.Context, n *node, retryUnknown bool) error {
	for _, child := range n.children {
		if err := c.putTree(ctx, child, retryUnknown); err != nil {
			return err
		}
	}
	return c.putOnce(ctx, n, retryUnknown)
}

// putOnce puts a manifest by its digest, once even if several indexes contain it, and
// after its subject.
func (c *targetCopy) putOnce(ctx context.Context, n *node, retryUnknown bool) error {
	_, err := c.puts.Get(ctx, n, func(ctx context.Context) (struct{}, error) {
		if err := c.putSubject(ctx, n); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, c.put(ctx, n, n.Digest, retryUnknown)
	})
	return err
}

// putSubject puts the manifest that another of the tree refers to: some registries
// refuse a manifest whose subject does not exist. The root is the last of all, but for
// a registry that has refused one; see putLevel.
func (c *targetCopy) putSubject(ctx context.Context, n *node) error {
	if n.subject == nil {
		return nil
	}
	subject := c.tree.nodes[n.subject.Digest]
	switch {
	case subject == nil || subject == c.tree.root:
		return nil
	case subject.referrerDepth == 0:
		return c.putTree(ctx, subject, true)
	case c.presence.copies(subject):
		return c.leaveIfRefused(subject, c.putReferrer(ctx, subject, false))
	}
	return nil
}

// put puts a manifest that is missing, and records a referrer that the target has
// not listed.
func (c *targetCopy) put(ctx context.Context, n *node, reference string, retryUnknown bool) error {
	if _, missing := c.presence.missing[n.Digest]; !missing && ref.NamesDigest(reference) {
		if c.presence.unlisted[n.Digest] {
			c.noteListing(n, false)
		}
		return nil
	}
	if err := c.awaitBlobsOf(ctx, n); err != nil {
		return err
	}
	listed, err := c.putWithChildren(ctx, n, reference, retryUnknown)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.out.manifests++
	c.mu.Unlock()
	if n.subject != nil {
		c.noteListing(n, listed)
	}
	return nil
}

func (c *targetCopy) noteListing(n *node, said bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := listing{n.subject.Digest, said}
	if !slices.ContainsFunc(c.listings[l], func(d Descriptor) bool { return d.Digest == n.Digest }) {
		c.listings[l] = append(c.listings[l], n.Descriptor)
	}
}

// putReferrers puts the referrers, each after its subject, and then makes sure that
// the target lists them.
func (c *targetCopy) putReferrers(ctx context.Context) error {
	levels := make(map[int][]*node)
	deepest := 0
	for _, n := range c.tree.order {
		if n.referrerDepth > 0 && c.presence.copies(n) {
			levels[n.referrerDepth] = append(levels[n.referrerDepth], n)
			deepest = max(deepest, n.referrerDepth)
		}
	}
	for level := 1; level <= deepest; level++ {
		if err := c.putLevel(ctx, levels[level]); err != nil {
			return err
		}
	}
	return c.ensureListed(ctx)
}

func (c *targetCopy) putLevel(ctx context.Context, nodes []*node) error {
	var mu sync.Mutex
	var refused []*node // perhaps for want of their subject
	err := forEach(ctx, nodes, func(ctx context.Context, n *node) error {
		err := c.putReferrer(ctx, n, false)
		if err != nil && mayLackSubject(err) {
			mu.Lock()
			refused = append(refused, n)
			mu.Unlock()
			return nil
		}
		return c.leaveIfRefused(n, err)
	})
	if err != nil || len(refused) == 0 {
		return err
	}
	if err := c.putRootByDigest(ctx); err != nil {
		return err
	}
	for _, n := range refused {
		c.puts.Delete(n)
		c.attached.Delete(n)
	}
	return forEach(ctx, refused, func(ctx context.Context, n *node) error { return c.leaveIfRefused(n, c.putReferrer(ctx, n, true)) })
}

// putReferrer puts one referrer, once, by its digest tags if it has any.
func (c *targetCopy) putReferrer(ctx context.Context, n *node, retryUnknown bool) error {
	_, err := c.attached.Get(ctx, n, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.putAttached(ctx, n, retryUnknown)
	})
	return err
}

func (c *targetCopy) putAttached(ctx context.Context, n *node, retryUnknown bool) error {
	if err := c.putSubject(ctx, n); err != nil || c.subjectLeft(n) {
		return err
	}
	byDigest := true
	for _, tag := range n.tags {
		if c.presence.tagsToPut[tag] != n {
			continue
		}
		byDigest = false
		if err := c.put(ctx, n, tag, true); err != nil {
			return err
		}
	}
	if !byDigest || n.subject == nil || !c.presence.allows(n.Digest) {
		return nil
	}
	return c.putTree(ctx, n, retryUnknown)
}

// putRootByDigest puts the root without a tag.
func (c *targetCopy) putRootByDigest(ctx context.Context) error {
	root := c.tree.root
	return c.putOnce(ctx, root, true)
}

// ensureListed makes sure that the target lists the referrers that were put.
func (c *targetCopy) ensureListed(ctx context.Context) error {
	if !c.tree.options.Referrers {
		return nil
	}
	c.mu.Lock()
	put := c.listings
	c.listings = make(map[listing][]Descriptor)
	c.mu.Unlock()
	return forEach(ctx, slices.Collect(maps.Keys(put)), func(ctx context.Context, l listing) error {
		var wrote bool
		var err error
		switch {
		case !l.said && c.tree.hasFallbackTag(l.subject):
			// A rerun reads this tag first, too, and needs nothing else.
			wrote, err = c.dst.listByTag(ctx, c.repo, l.subject, put[l])
		case c.presence.unproven[l.subject]:
			wrote, err = c.dst.proveListed(ctx, c.repo, l.subject, put[l], l.said)
		default:
			wrote, err = c.dst.ensureListed(ctx, c.repo, l.subject, put[l], l.said)
		}
		if wrote {
			c.mu.Lock()
			c.out.lists++
			c.mu.Unlock()
		}
		return err
	})
}

// putRoot puts the root, by its tag and last. A root that is a referrer itself has
// to be listed before its tag exists.
func (c *targetCopy) putRoot(ctx context.Context) error {
	root := c.tree.root
	if root.subject != nil && c.tree.options.Referrers {
		if err := c.putRootByDigest(ctx); err != nil {
			return err
		}
		if err := c.ensureListed(ctx); err != nil {
			return err
		}
	}
	switch {
	case c.tag == "":
		return c.putRootByDigest(ctx)
	case c.presence.TagDigest == root.Digest:
		return nil // the tag was right, and something else was missing
	case c.presence.TagDigest == "":
		if err := c.awaitBlobsOf(ctx, root); err != nil {
			return err
		}
		if there, err := c.dst.recheckTag(ctx, c.repo, c.tag, root.Digest); there || err != nil {
			return err
		}
	}
	return c.put(ctx, root, c.tag, true)
}
