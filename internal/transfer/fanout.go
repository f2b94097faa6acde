package transfer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"acrpromote/internal/defect"
	"acrpromote/internal/sorting"
)

// Destination is one target of a copy.
type Destination struct {
	Registry   *Registry
	Repository string
	Tag        string   // "": by digest
	Presence   Presence // the result of Inspect, with the same repository and tag
	// Finish, if not nil, is called when everything but the root has arrived, and
	// before the tag points to it. An error fails the copy. If the registry may have
	// refused something only because its subject, the root, does not exist, the root
	// is put by its digest, and Finish is called again.
	Finish func(ctx context.Context) error
}

// Copy copies a tree to several targets at the same time. At each target it writes
// what is missing: blobs first, then the manifests that the root contains, then
// the referrers, and the root last, by its tag. A blob that several targets need
// is read once at the source; within one registry it is sent once, and mounted
// in the other repositories. A target that fails or is slow neither fails nor
// delays the others. If a target fails, its tag has not changed.
//
// done is called once for each target, with its index, as soon as the copy to it
// has ended. If it failed, the outcome shows whether anything was written. Calls
// may overlap. Copy returns when all copies have ended, and leaves no goroutine
// behind. progress may be nil.
//
// A registry that requires a subject before its referrers gets the root by digest
// first, and by tag last: the tag never exists before the referrers.
func Copy(ctx context.Context, t *Tree, to []Destination, progress Progress, done func(i int, out Outcome, err error)) {
	if progress == nil {
		progress = noProgress{}
	}
	var incomplete []Presence
	for _, d := range to {
		if !d.Presence.Complete() {
			incomplete = append(incomplete, d.Presence)
		}
	}
	if len(incomplete) > 0 {
		if err := t.Complete(ctx, incomplete...); err != nil {
			for i := range to {
				done(i, Outcome{}, err)
			}
			return
		}
	}
	to = checkHeldBlobs(ctx, t, to)
	release, err := t.source.memory.acquireCopying(ctx, len(t.distinct)*len(incomplete))
	if err != nil {
		for i := range to {
			done(i, Outcome{}, withSide(Source, t.source.transportError(ctx, "copying", t.repo, t.Digest(), err)))
		}
		return
	}
	defer release()
	f := &fanOut{tree: t, src: t.source, srcRepo: t.repo, progress: progress, blobs: t.blobs()}
	for _, d := range to {
		f.copies = append(f.copies, newTargetCopy(ctx, f, d))
	}
	f.running.Go(func() {
		defer defect.Catch(ctx)
		f.run(ctx)
	})
	for i, c := range f.copies {
		f.running.Go(func() {
			defer defect.Catch(ctx)
			defer c.cancel()
			out, err := c.run(ctx)
			done(i, out, err)
		})
	}
	f.running.Wait()
}

const (
	// Larger blobs have a limit of their own, so that they do not delay small ones.
	largeBlob  = 4 << 20
	largeWidth = 8
	smallWidth = 16
	// maxSlowReads is how often a target may delay others before it reads every
	// blob for itself.
	maxSlowReads = 2
)

// fanOut sends the blobs of a tree to all targets that need them.
type fanOut struct {
	tree     *Tree
	src      *Registry
	srcRepo  string
	progress Progress
	blobs    []Descriptor // of the tree
	copies   []*targetCopy
	running  sync.WaitGroup // all goroutines

	slowReads sync.Map // of *Registry: *atomic.Int32
}

func (f *fanOut) run(ctx context.Context) {
	var large, small, empty []Descriptor
	for _, b := range f.blobs {
		if !slices.ContainsFunc(f.copies, func(c *targetCopy) bool { return c.needs(b) }) {
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
	// First, so that progress by bytes is complete with the last byte.
	f.sendBlobs(ctx, empty, smallWidth, f.src.smallDownloads)
	var both sync.WaitGroup
	both.Go(func() {
		defer defect.Catch(ctx)
		f.sendBlobs(ctx, large, largeWidth, f.src.largeDownloads)
	})
	both.Go(func() {
		defer defect.Catch(ctx)
		f.sendBlobs(ctx, small, smallWidth, f.src.smallDownloads)
	})
	both.Wait()
}

// sendBlobs sends blobs, the largest first, since they take longest. limit is the
// limit of downloads from the source.
func (f *fanOut) sendBlobs(ctx context.Context, blobs []Descriptor, width int, limit *semaphore.Weighted) {
	sorting.StableBy(blobs, func(a, b Descriptor) int {
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
			defer defect.Catch(ctx)
			// Another image of the run may be sending it to the same targets.
			unlock, err := f.src.downloads.LockUnless(ctx, b.Digest, func() bool { return f.atAllTargets(b) })
			if err != nil {
				return err
			}
			defer unlock()
			if !f.atAllTargets(b) {
				if err := limit.Acquire(ctx, 1); err != nil {
					return err
				}
				defer limit.Release(1)
			}
			f.sendBlob(ctx, b)
			return nil
		})
	}
	_ = group.Wait() // the context's error, which each copy returns itself
}

// atAllTargets reports whether each registry that needs the blob is known to have
// it in some repository.
func (f *fanOut) atAllTargets(b Descriptor) bool {
	return !slices.ContainsFunc(f.copies, func(c *targetCopy) bool {
		return c.needs(b) && c.mountFrom() == "" && c.dst.repositoryWithBlob(b.Digest) == ""
	})
}

// sendBlob sends one blob to all targets that need it, and returns when its shared
// download has ended. Targets that were left behind go on.
func (f *fanOut) sendBlob(ctx context.Context, b Descriptor) {
	open := verify(f.src.download(f.srcRepo, b), b)
	t := newTee(ctx, open, b.Size, f.src.teeWait, func(to *Registry) { f.slowCount(to).Add(1) })
	type receiver struct {
		c      *targetCopy
		to     *Registry
		shared bool // has a part in the tee
	}
	var receivers []receiver
	for _, c := range f.copies {
		if !c.needs(b) || !c.beginBlob() {
			continue
		}
		p := receiver{c: c, to: f.canonical(c.dst)}
		p.shared = f.slowCount(p.to).Load() < maxSlowReads
		if p.shared {
			t.expect(p.to)
		}
		receivers = append(receivers, p)
	}
	if len(receivers) == 1 {
		t.cancel()
		receivers[0].c.sendBlob(b, open, true)
		receivers[0].c.endBlob()
		return
	}
	for _, p := range receivers {
		f.running.Go(func() {
			defer defect.Catch(ctx)
			defer p.c.endBlob()
			if !p.shared {
				p.c.sendBlob(b, open, true)
				return
			}
			defer t.leave(p.to)
			p.c.sendBlob(b, t.opener(p.to), false)
		})
	}
	t.mu.Lock()
	t.startIfReady()
	t.mu.Unlock()
	t.awaitEnd()
}

// canonical returns the one client that stands for a registry here.
func (f *fanOut) canonical(r *Registry) *Registry {
	for _, c := range f.copies {
		if c.dst.same(r) {
			return c.dst
		}
	}
	return r
}

func (f *fanOut) slowCount(r *Registry) *atomic.Int32 {
	n, _ := f.slowReads.LoadOrStore(r, new(atomic.Int32))
	return n.(*atomic.Int32)
}

// needs reports whether the blob has to be sent to the target.
func (c *targetCopy) needs(b Descriptor) bool {
	_, wanted := c.toSend[b.Digest]
	return wanted
}

// beginBlob begins the sending of one blob, unless the copy has failed.
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

// sendBlob sends one blob, and ends the copy if that fails. early is that of
// upload: set if no other target has to be waited for.
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

// awaitBlobs waits until all blobs are complete.
func (c *targetCopy) awaitBlobs(ctx context.Context) error {
	return c.await(ctx, func() bool { return len(c.pendingBlobs) == 0 })
}

// awaitBlobsOf waits until the blobs of one manifest are complete.
func (c *targetCopy) awaitBlobsOf(ctx context.Context, n *node) error {
	blobs := n.blobs()
	return c.await(ctx, func() bool {
		return !slices.ContainsFunc(blobs, func(b Descriptor) bool { return c.pendingBlobs[b.Digest] })
	})
}

// awaitManifestTurn waits until manifests may be put: when a blob had to be sent,
// or when all of them turned out to exist, as the manifests then may.
func (c *targetCopy) awaitManifestTurn(ctx context.Context) error {
	return c.await(ctx, func() bool { return len(c.pendingBlobs) == 0 || c.out.blobs > 0 })
}

func (c *targetCopy) sentAny() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.blobs > 0
}

// await waits until cond is true, or a blob has failed. If it returns an error, no
// blob is in flight.
func (c *targetCopy) await(ctx context.Context, cond func() bool) error {
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
		if cond() {
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
