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
type Delivery struct {
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
func Deliver(ctx context.Context, t *Tree, to []Delivery, progress Progress, done func(i int, out Outcome, err error)) {
	if progress == nil {
		progress = silent{}
	}
	if slices.ContainsFunc(to, func(d Delivery) bool { return !d.Presence.Complete() }) {
		if err := t.Complete(ctx); err != nil {
			for i := range to {
				done(i, Outcome{}, err)
			}
			return
		}
	}
	v := &convoy{tree: t, src: t.source, srcRepo: t.repo, progress: progress}
	for _, d := range to {
		v.copies = append(v.copies, newCopying(ctx, v, d))
	}
	v.going.Go(func() { v.run(ctx) })
	for i, c := range v.copies {
		v.going.Go(func() {
			defer c.cancel()
			out, err := c.deliver(ctx)
			done(i, out, err)
		})
	}
	v.going.Wait()
}

const (
	// What is larger than this goes through a lane of its own, so that it does
	// not keep the small ones waiting.
	largeBlob  = 4 << 20
	largeWidth = 8
	smallWidth = 16
	// maxLate is how often a registry may keep others waiting before it reads
	// everything for itself.
	maxLate = 2
)

// convoy brings the blobs of a tree to all places that lack them.
type convoy struct {
	tree     *Tree
	src      *Registry
	srcRepo  string
	progress Progress
	copies   []*copying
	going    sync.WaitGroup // everything that was begun

	late sync.Map // of *Registry: *atomic.Int32
}

func (v *convoy) run(ctx context.Context) {
	var large, small, empty []Descriptor
	for _, b := range v.tree.blobs {
		if !slices.ContainsFunc(v.copies, func(c *copying) bool { return c.wants(b) }) {
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
	v.lane(ctx, empty, smallWidth, v.src.small)
	var lanes sync.WaitGroup
	lanes.Go(func() { v.lane(ctx, large, largeWidth, v.src.large) })
	lanes.Go(func() { v.lane(ctx, small, smallWidth, v.src.small) })
	lanes.Wait()
}

// lane brings blobs, the largest first: they take longest.
func (v *convoy) lane(ctx context.Context, blobs []Descriptor, width int, readings *semaphore.Weighted) {
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
			unlock, err := v.src.readings.LockUnless(ctx, b.Digest, func() bool { return v.held(b) })
			if err != nil {
				return err
			}
			defer unlock()
			if !v.held(b) {
				if err := readings.Acquire(ctx, 1); err != nil {
					return err
				}
				defer readings.Release(1)
			}
			v.bring(ctx, b)
			return nil
		})
	}
	_ = group.Wait() // stopped: each of the copies finds out for itself
}

// held tells whether each registry that is to get the blob is known to have it.
func (v *convoy) held(b Descriptor) bool {
	return !slices.ContainsFunc(v.copies, func(c *copying) bool { return c.wants(b) && c.mountFrom() == "" && c.dst.holder(b.Digest) == "" })
}

// bring sends one blob to all who lack it, and returns when its reading is
// over; who was left behind goes on.
func (v *convoy) bring(ctx context.Context, b Descriptor) {
	open := verify(v.src.download(v.srcRepo, b), b)
	s := newShare(ctx, open, b.Size, v.src.wait, func(to *Registry) { v.lateness(to).Add(1) })
	type part struct {
		c      *copying
		to     *Registry
		shared bool
	}
	var parts []part
	for _, c := range v.copies {
		if !c.wants(b) || !c.begin() {
			continue
		}
		p := part{c: c, to: v.first(c.dst)}
		p.shared = v.lateness(p.to).Load() < maxLate
		if p.shared {
			s.expect(p.to)
		}
		parts = append(parts, p)
	}
	if len(parts) == 1 {
		s.cancel()
		parts[0].c.send(b, open, true)
		parts[0].c.end()
		return
	}
	for _, p := range parts {
		v.going.Go(func() {
			defer p.c.end()
			if !p.shared {
				p.c.send(b, open, true)
				return
			}
			defer s.left(p.to)
			p.c.send(b, s.opener(p.to), false)
		})
	}
	s.mu.Lock()
	s.startIfReady()
	s.mu.Unlock()
	s.over()
}

// first is the value that stands for a registry in this convoy.
func (v *convoy) first(r *Registry) *Registry {
	for _, c := range v.copies {
		if c.dst.same(r) {
			return c.dst
		}
	}
	return r
}

func (v *convoy) lateness(r *Registry) *atomic.Int32 {
	n, _ := v.late.LoadOrStore(r, new(atomic.Int32))
	return n.(*atomic.Int32)
}

// wants tells whether the blob has to be sent there.
func (c *copying) wants(b Descriptor) bool {
	_, wanted := c.wanted[b.Digest]
	return wanted
}

// begin and end enclose the sending of one blob; none begins once the copy has
// failed.
func (c *copying) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.underway++
	return true
}

func (c *copying) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underway--
	c.changed.Broadcast()
}

// send brings one blob, and ends the copy if that fails. early: who else lacks
// it reads for itself, so that nobody has to be waited for.
func (c *copying) send(b Descriptor, open opener, early bool) {
	mounted, err := c.dst.upload(c.ctx, c.repo, c.mountFrom(), b, open, early, c.progress)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changed.Broadcast()
	switch {
	case err != nil:
		if c.failure == nil && c.ctx.Err() == nil {
			c.failure = c.blame(b, err)
		}
		c.cancel()
	case mounted:
		c.out.mounts++
		delete(c.pending, b.Digest)
	default:
		c.out.blobs++
		delete(c.pending, b.Digest)
	}
}

// awaitBlobs waits until all blobs have arrived.
func (c *copying) awaitBlobs(ctx context.Context) error {
	return c.await(ctx, func() bool { return len(c.pending) == 0 })
}

// awaitBlobsOf waits until those of one manifest have.
func (c *copying) awaitBlobsOf(ctx context.Context, n *node) error {
	return c.await(ctx, func() bool {
		return !slices.ContainsFunc(n.blobs, func(b Descriptor) bool { return c.pending[b.Digest] })
	})
}

// awaitTurn waits until manifests may be put: a blob had to be sent, or all of
// them turned out to be there, which tells something of the manifests too.
func (c *copying) awaitTurn(ctx context.Context) error {
	return c.await(ctx, func() bool { return len(c.pending) == 0 || c.out.blobs > 0 })
}

func (c *copying) sentAny() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.blobs > 0
}

// await waits until it is so, or a blob has failed. Where it ends in an error,
// no blob is underway any more.
func (c *copying) await(ctx context.Context, so func() bool) error {
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
	for c.underway > 0 {
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
