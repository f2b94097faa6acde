package transfer

import (
	"context"
	"errors"
	"sync"

	"acrpromote/internal/keyed"
	"acrpromote/internal/ref"
)

// State is what a copy came to; the words are those of result.json.
type State string

// The states.
const (
	Copied   State = "copied"   // something was sent from the source's registry
	Mounted  State = "mounted"  // inside one registry: all blobs were there
	Retagged State = "retagged" // inside one repository: one manifest was put
	Present  State = "present"  // nothing was missing
)

// Outcome is what a copy did.
type Outcome struct {
	State   State
	Changed bool // something was written; also where the copy failed later

	manifests int // that were put
	blobs     int // that were sent
	mounts    int // blobs that were mounted, or found when they were about to be sent
	lists     int // fallback tags that were written
}

// copying is one copy on its way.
type targetCopy struct {
	tree     *Tree
	src      *Registry
	srcRepo  string
	dst      *Registry
	repo     string
	tag      string
	presence Presence
	progress Progress
	puts     *keyed.Cache[*node, struct{}] // manifests that have been put, and what failed

	ctx    context.Context // of its blobs
	cancel context.CancelFunc
	toSend map[string]Descriptor // blobs that are not known to be there; never changes

	mu           sync.Mutex
	changed      sync.Cond
	pendingBlobs map[string]bool // blobs that have not arrived
	inFlight     int
	failure      error // of the first blob that failed
	out          Outcome
	unlisted     map[string][]Descriptor // by subject: what the target did not list itself
}

func newTargetCopy(ctx context.Context, v *fanOut, d Destination) *targetCopy {
	c := &targetCopy{tree: v.tree, src: v.src, srcRepo: v.srcRepo, dst: d.To, repo: d.Repository, tag: d.Tag,
		presence: d.Presence, progress: v.progress, puts: keyed.NewCache[*node, struct{}](0, keepErrors), unlisted: make(map[string][]Descriptor)}
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

// consistent tells whether the target was inspected for this very copy.
func (c *targetCopy) consistent() bool { return c.presence.tree == c.tree && c.presence.tag == c.tag }

func (c *targetCopy) run(ctx context.Context) (Outcome, error) {
	if !c.consistent() {
		return Outcome{}, &Error{Side: Target, Registry: c.dst.host, Repository: c.repo, Reference: c.tag, Op: "copying to", Kind: Unexpected,
			Reason: "the target was inspected for another image or tag"}
	}
	err := c.copyAll(ctx)
	c.out.Changed = c.out.blobs+c.out.manifests+c.out.lists > 0 || c.out.mounts > 0 && c.mountFrom() != ""
	return c.out, withSide(Target, c.dst.wrap(ctx, "copying to", c.repo, c.tag, err))
}

func (c *targetCopy) copyAll(ctx context.Context) error {
	t, p := c.tree, c.presence
	var total int64
	for _, b := range t.blobs {
		total += b.Size
	}
	c.progress.Start(total, len(t.blobs))
	for _, b := range t.blobs {
		if !c.needs(b) {
			c.dst.recordBlob(c.repo, b.Digest)
			c.progress.LayerDone()
			c.progress.Add(b.Size)
		}
	}
	if p.Complete() {
		c.out.State = Present
		return nil
	}
	if err := c.putManifests(ctx); err != nil {
		return c.abort(err)
	}
	switch {
	case c.presence.sameRepository && c.out.blobs == 0:
		c.out.State = Retagged
	case c.dst.same(c.src) && c.out.blobs == 0:
		c.out.State = Mounted
	default:
		c.out.State = Copied
	}
	return nil
}

// putAll puts the manifests, each as soon as its blobs have arrived: what the
// root contains, then what is attached, then the root.
func (c *targetCopy) putManifests(ctx context.Context) error {
	steps := []func(context.Context) error{c.awaitManifestTurn}
	if !c.presence.digestTagsChecked {
		steps = append(steps, func(ctx context.Context) error { return c.presence.checkDigestTags(ctx, c.dst, c.repo) })
	}
	if err := forEach(ctx, steps, func(ctx context.Context, step func(context.Context) error) error { return step(ctx) }); err != nil {
		return err
	}
	if err := c.presence.conflict; err != nil {
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
	return c.putRoot(ctx)
}

// giveUp ends the sending of blobs. Where one of them failed, that is the reason.
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

// lacks are the blobs that are not known to be at the target: those of missing
// manifests, and those that were looked for in vain.
func (c *targetCopy) missingBlobs() map[string]Descriptor {
	blobs := make(map[string]Descriptor)
	for _, n := range c.tree.order {
		if _, missing := c.presence.missing[n.Digest]; missing {
			for _, b := range n.blobs {
				blobs[b.Digest] = b
			}
		}
	}
	for digest, b := range c.presence.missingBlobs {
		blobs[digest] = b
	}
	return blobs
}

// lookAgain looks for the root by its digest where every blob turned out to be
// there: the image may be there under another tag, and then none of its
// manifests is written again.
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
	c.presence.Root, c.presence.missing = true, make(map[string]Descriptor)
	return c.presence.checkManifests(ctx, c.dst, c.repo)
}

// mountFrom is the repository of the target's registry that has the blobs: the
// source's, inside one registry.
func (c *targetCopy) mountFrom() string {
	if c.dst.same(c.src) {
		return c.srcRepo
	}
	return ""
}

// blame says on which side a blob failed: its bytes are the source's, their
// arrival is the target's.
func (c *targetCopy) blobError(b Descriptor, err error) error {
	var wrong digestMismatch
	var origin *sourceError
	switch {
	case errors.As(err, &wrong):
		return withSide(Source, c.src.corruptError("reading the blob", c.srcRepo, b.Digest, wrong.reason))
	case errors.As(err, &origin):
		return withSide(Source, c.src.wrap(c.ctx, "reading the blob", c.srcRepo, b.Digest, origin.err))
	}
	return withSide(Target, err)
}

// putContents puts what the root contains, the innermost first.
func (c *targetCopy) putChildren(ctx context.Context) error {
	return forEach(ctx, c.tree.root.children, func(ctx context.Context, n *node) error { return c.putTree(ctx, n, true) })
}

// putWhole puts a manifest after all that it contains.
func (c *targetCopy) putTree(ctx context.Context, n *node, lag bool) error {
	for _, child := range n.children {
		if err := c.putTree(ctx, child, lag); err != nil {
			return err
		}
	}
	return c.putOnce(ctx, n, lag)
}

// putOnce puts a manifest by its digest, though several may contain it.
func (c *targetCopy) putOnce(ctx context.Context, n *node, lag bool) error {
	_, err := c.puts.Get(ctx, n, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.put(ctx, n, n.Digest, lag)
	})
	return err
}

// put puts a manifest that is missing, and notes what is to be listed.
func (c *targetCopy) put(ctx context.Context, n *node, reference string, lag bool) error {
	if _, missing := c.presence.missing[n.Digest]; !missing && ref.NamesDigest(reference) {
		if c.presence.unlisted[n.Digest] {
			c.noteUnlisted(n)
		}
		return nil
	}
	if err := c.awaitBlobsOf(ctx, n); err != nil {
		return err
	}
	listed, err := c.dst.putManifest(ctx, c.repo, reference, n.Manifest, lag)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.out.manifests++
	c.mu.Unlock()
	if n.subject != nil && !listed {
		c.noteUnlisted(n)
	}
	return nil
}

func (c *targetCopy) noteUnlisted(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	subject := n.subject.Digest
	c.unlisted[subject] = append(c.unlisted[subject], n.Descriptor)
}

// putReferrers puts what is attached, the nearest first, and then completes
// the lists of it where the target does not keep them itself.
func (c *targetCopy) putReferrers(ctx context.Context) error {
	levels := make(map[int][]*node)
	deepest := 0
	for _, n := range c.tree.order {
		if n.referrerDepth > 0 && n.indexDepth == 0 {
			levels[n.referrerDepth] = append(levels[n.referrerDepth], n)
			deepest = max(deepest, n.referrerDepth)
		}
	}
	for level := 1; level <= deepest; level++ {
		if err := c.putLevel(ctx, levels[level]); err != nil {
			return err
		}
	}
	return c.writeFallbackLists(ctx)
}

func (c *targetCopy) putLevel(ctx context.Context, nodes []*node) error {
	var mu sync.Mutex
	var refused []*node
	err := forEach(ctx, nodes, func(ctx context.Context, n *node) error {
		err := c.putReferrer(ctx, n)
		if err != nil && mayLackSubject(err) {
			mu.Lock()
			refused = append(refused, n)
			mu.Unlock()
			return nil
		}
		return err
	})
	if err != nil || len(refused) == 0 {
		return err
	}
	if err := c.putRootByDigest(ctx); err != nil {
		return err
	}
	for _, n := range refused {
		c.puts.Delete(n)
	}
	return forEach(ctx, refused, func(ctx context.Context, n *node) error { return c.putTree(ctx, n, true) })
}

// putAttached puts something attached: company by its tags.
func (c *targetCopy) putReferrer(ctx context.Context, n *node) error {
	byDigest := true
	for _, tag := range n.tags {
		if c.presence.tagsToPut[tag] != n {
			continue
		}
		byDigest = false
		for _, child := range n.children {
			if err := c.putTree(ctx, child, true); err != nil {
				return err
			}
		}
		if err := c.put(ctx, n, tag, true); err != nil {
			return err
		}
	}
	if !byDigest || len(n.tags) > 0 && n.subject == nil {
		return nil
	}
	return c.putTree(ctx, n, false)
}

// putRootByDigest makes the root known without a tag.
func (c *targetCopy) putRootByDigest(ctx context.Context) error {
	root := c.tree.root
	return c.putOnce(ctx, root, true)
}

func (c *targetCopy) writeFallbackLists(ctx context.Context) error {
	if !c.tree.options.Referrers {
		return nil
	}
	c.mu.Lock()
	pending := c.unlisted
	c.unlisted = make(map[string][]Descriptor)
	c.mu.Unlock()
	subjects := make([]string, 0, len(pending))
	for s := range pending {
		subjects = append(subjects, s)
	}
	return forEach(ctx, subjects, func(ctx context.Context, s string) error {
		wrote, err := c.dst.addToFallbackList(ctx, c.repo, s, pending[s])
		if wrote {
			c.mu.Lock()
			c.out.lists++
			c.mu.Unlock()
		}
		return err
	})
}

// putRoot puts the root, by its tag and last. A root that is attached to
// something itself has to be listed there before its tag is seen.
func (c *targetCopy) putRoot(ctx context.Context) error {
	root := c.tree.root
	if root.subject != nil && c.tree.options.Referrers {
		if err := c.putRootByDigest(ctx); err != nil {
			return err
		}
		if err := c.writeFallbackLists(ctx); err != nil {
			return err
		}
	}
	switch {
	case c.tag == "":
		return c.putRootByDigest(ctx)
	case c.presence.TagDigest == root.Digest:
		return nil // it was there, and something else was mended
	}
	return c.put(ctx, root, c.tag, true)
}
