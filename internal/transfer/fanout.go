package transfer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// Delivery is one place to which a tree is brought.
type Destination struct {
	To         *Registry
	Repository string
	Tag        string   // "": by digest
	Presence   Presence // what Inspect of the same place answered
}

// Deliver brings a tree to several places at once: what the presence of each
// says is missing, blobs first, then contained manifests, then attached ones,
// then the root, put by its tag ("": by its digest). A blob that more than one
// place lacks is read once at the source; inside one registry it is sent once,
// and mounted from there. A place that fails, or is slow, neither fails the
// others nor makes them wait; where it fails, its tag is as it was.
//
// done is called once for each delivery, by its index, as soon as that one has
// ended; also where it failed the outcome says what had been sent. Calls may
// overlap. Deliver returns when all of them have, and nothing of it goes on
// then. progress may be nil.
//
// A registry that wants a subject before its referrers gets the root by digest
// first and the tag last: the tag is never visible before what is attached.
func Copy(ctx context.Context, t *Tree, to []Destination, progress Progress, done func(i int, out Outcome, err error)) {
	if progress == nil {
		progress = noProgress{}
	}
	if slices.ContainsFunc(to, func(d Destination) bool { return !d.Presence.Complete() }) {
		if err := t.Complete(ctx); err != nil {
			for i := range to {
				done(i, Outcome{}, err)
			}
			return
		}
	}
	v := &fanOut{tree: t, src: t.source, srcRepo: t.repo, progress: progress}
	for _, d := range to {
		v.copies = append(v.copies, newTargetCopy(ctx, v, d))
	}
	v.running.Go(func() { v.run(ctx) })
	for i, c := range v.copies {
		v.running.Go(func() {
			defer c.cancel()
			out, err := c.run(ctx)
			done(i, out, err)
		})
	}
	v.running.Wait()
}

const (
	// What is larger than this goes through a lane of its own, so that it does
	// not keep the small ones waiting.
	largeBlob  = 4 << 20
	largeWidth = 8
	smallWidth = 16
	// maxLate is how often a registry may keep others waiting before it reads
	// everything for itself.
	maxSlowReads = 2
)

// convoy brings the blobs of a tree to all places that lack them.
type fanOut struct {
	tree     *Tree
	src      *Registry
	srcRepo  string
	progress Progress
	copies   []*targetCopy
	running  sync.WaitGroup // everything that was begun

	slowReads sync.Map // of *Registry: *atomic.Int32
}

func (v *fanOut) run(ctx context.Context) {
	var large, small, empty []Descriptor
	for _, b := range v.tree.blobs {
		if !slices.ContainsFunc(v.copies, func(c *targetCopy) bool { return c.needs(b) }) {
			continue
		}
		switch {
		case b.Size > largeBlob:
			large = append(large, b)
		case b.Size > 0:
			small = append(small, b)
		default:
			empty = append(empty, b)
		}
	}
	// First, since no bytes tell of them: with the last byte all is there.
	v.sendBlobs(ctx, empty, smallWidth, v.src.smallDownloads)
	var lanes sync.WaitGroup
	lanes.Go(func() { v.sendBlobs(ctx, large, largeWidth, v.src.largeDownloads) })
	lanes.Go(func() { v.sendBlobs(ctx, small, smallWidth, v.src.smallDownloads) })
	lanes.Wait()
}

// lane brings blobs, the largest first: they take longest.
func (v *fanOut) sendBlobs(ctx context.Context, blobs []Descriptor, width int, readings *semaphore.Weighted) {
	slices.SortStableFunc(blobs, func(a, b Descriptor) int {
		switch {
		case a.Size > b.Size:
			return -1
		case a.Size < b.Size:
			return 1
		}
		return 0
	})
	var group errgroup.Group
	group.SetLimit(width)
	for _, b := range blobs {
		group.Go(func() error {
			// Another image of the run may be bringing it to the same places.
			unlock, err := v.src.downloads.LockUnless(ctx, b.Digest, func() bool { return v.atAllTargets(b) })
			if err != nil {
				return err
			}
			defer unlock()
			if !v.atAllTargets(b) {
				if err := readings.Acquire(ctx, 1); err != nil {
					return err
				}
				defer readings.Release(1)
			}
			v.sendBlob(ctx, b)
			return nil
		})
	}
	_ = group.Wait() // stopped: each of the copies finds out for itself
}

// held tells whether each registry that is to get the blob is known to have it.
func (v *fanOut) atAllTargets(b Descriptor) bool {
	return !slices.ContainsFunc(v.copies, func(c *targetCopy) bool {
		return c.needs(b) && c.mountFrom() == "" && c.dst.repositoryWithBlob(b.Digest) == ""
	})
}

// bring sends one blob to all who lack it, and returns when its reading is
// over; who was left behind goes on.
func (v *fanOut) sendBlob(ctx context.Context, b Descriptor) {
	open := verify(v.src.download(v.srcRepo, b), b)
	s := newTee(ctx, open, b.Size, v.src.teeWait, func(to *Registry) { v.slowCount(to).Add(1) })
	type part struct {
		c      *targetCopy
		to     *Registry
		shared bool
	}
	var parts []part
	for _, c := range v.copies {
		if !c.needs(b) || !c.beginBlob() {
			continue
		}
		p := part{c: c, to: v.canonical(c.dst)}
		p.shared = v.slowCount(p.to).Load() < maxSlowReads
		if p.shared {
			s.expect(p.to)
		}
		parts = append(parts, p)
	}
	if len(parts) == 1 {
		s.cancel()
		parts[0].c.sendBlob(b, open, true)
		parts[0].c.endBlob()
		return
	}
	for _, p := range parts {
		v.running.Go(func() {
			defer p.c.endBlob()
			if !p.shared {
				p.c.sendBlob(b, open, true)
				return
			}
			defer s.leave(p.to)
			p.c.sendBlob(b, s.opener(p.to), false)
		})
	}
	s.mu.Lock()
	s.startIfReady()
	s.mu.Unlock()
	s.awaitEnd()
}

// first is the value that stands for a registry in this convoy.
func (v *fanOut) canonical(r *Registry) *Registry {
	for _, c := range v.copies {
		if c.dst.same(r) {
			return c.dst
		}
	}
	return r
}

func (v *fanOut) slowCount(r *Registry) *atomic.Int32 {
	n, _ := v.slowReads.LoadOrStore(r, new(atomic.Int32))
	return n.(*atomic.Int32)
}

// wants tells whether the blob has to be sent there.
func (c *targetCopy) needs(b Descriptor) bool {
	_, wanted := c.toSend[b.Digest]
	return wanted
}

// begin and end enclose the sending of one blob; none begins once the copy has
// failed.
func (c *targetCopy) beginBlob() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.inFlight++
	return true
}

func (c *targetCopy) endBlob() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	c.changed.Broadcast()
}

// send brings one blob, and ends the copy if that fails. early: who else lacks
// it reads for itself, so that nobody has to be waited for.
func (c *targetCopy) sendBlob(b Descriptor, open opener, early bool) {
	mounted, err := c.dst.upload(c.ctx, c.repo, c.mountFrom(), b, open, early, c.progress)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changed.Broadcast()
	switch {
	case err != nil:
		if c.failure == nil && c.ctx.Err() == nil {
			c.failure = c.blobError(b, err)
		}
		c.cancel()
	case mounted:
		c.out.mounts++
		delete(c.pendingBlobs, b.Digest)
	default:
		c.out.blobs++
		delete(c.pendingBlobs, b.Digest)
	}
}

// awaitBlobs waits until all blobs have arrived.
func (c *targetCopy) awaitBlobs(ctx context.Context) error {
	return c.await(ctx, func() bool { return len(c.pendingBlobs) == 0 })
}

// awaitBlobsOf waits until those of one manifest have.
func (c *targetCopy) awaitBlobsOf(ctx context.Context, n *node) error {
	return c.await(ctx, func() bool {
		return !slices.ContainsFunc(n.blobs, func(b Descriptor) bool { return c.pendingBlobs[b.Digest] })
	})
}

// awaitTurn waits until manifests may be put: a blob had to be sent, or all of
// them turned out to be there, which tells something of the manifests too.
func (c *targetCopy) awaitManifestTurn(ctx context.Context) error {
	return c.await(ctx, func() bool { return len(c.pendingBlobs) == 0 || c.out.blobs > 0 })
}

func (c *targetCopy) sentAny() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.blobs > 0
}

// await waits until it is so, or a blob has failed. Where it ends in an error,
// no blob is underway any more.
func (c *targetCopy) await(ctx context.Context, so func() bool) error {
	wake := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	}
	defer context.AfterFunc(c.ctx, wake)()
	defer context.AfterFunc(ctx, wake)()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.failure == nil && c.ctx.Err() == nil && ctx.Err() == nil {
		if so() {
			return nil
		}
		c.changed.Wait()
	}
	failure := c.failure
	c.cancel()
	for c.inFlight > 0 {
		c.changed.Wait()
	}
	switch {
	case failure != nil:
		return failure
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return c.ctx.Err()
}
