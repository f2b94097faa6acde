package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/ref"
	"acrpromote/internal/transfer"
)

// targetFound is one target as its registry shows it.
type targetFound struct {
	registry   *registry
	presence   *transfer.Presence
	tag        *acr.Attributes
	repository *acr.Attributes
	rollback   bool // the tag would move to an older image, by the registry's own times
	err        error
}

// stragglerGrace is how long targets that do not answer yet are waited for once
// half of them have been read: every target is its own island, and one that is
// down or throttled waits for a rerun instead of holding up the others.
const stragglerGrace = 5 * time.Second

// observe reads one image and its targets, these while the image is still
// being read.
func (o *operation) observe(ctx context.Context, it *item) {
	it.targets = make([]targetFound, len(it.wanted.Targets))
	ready := make(chan struct{})
	looking, giveUp := context.WithCancel(ctx)
	defer giveUp()
	read := make(chan struct{}, len(it.targets))
	first := transfer.NewReplica() // the tag is likely to point there at all targets
	var group sync.WaitGroup
	group.Go(func() {
		defer close(ready)
		it.source = o.readSource(ctx, it, first)
	})
	for i, target := range it.wanted.Targets {
		group.Go(func() {
			it.targets[i] = o.readTarget(looking, it, target, first, ready)
			if ctx.Err() == nil && looking.Err() != nil && it.targets[i].err != nil {
				it.targets[i].err = &straggler{target.Registry, it.targets[i].err}
				if late := it.targets[i].registry; late != nil {
					late.lose(it.targets[i].err)
				}
			}
			read <- struct{}{}
		})
	}
	if len(it.targets) > 1 {
		group.Go(func() {
			<-ready
			for range (len(it.targets) + 1) / 2 {
				<-read
			}
			grace := time.NewTimer(stragglerGrace)
			defer grace.Stop()
			for range len(it.targets) / 2 {
				select {
				case <-read:
				case <-grace.C:
					giveUp()
					return
				}
			}
		})
	}
	group.Wait()
	if tree := it.source.tree; tree != nil && it.source.err == nil && it.lacking() {
		// The first target had everything, another has not.
		it.source.err = tree.Complete(ctx)
	}
}

// lacking tells whether any target lacks something of the image.
func (it *item) lacking() bool {
	return slices.ContainsFunc(it.targets, func(t targetFound) bool { return t.presence != nil && !t.presence.Complete() })
}

// straggler is a target that had not answered when the others long had.
type straggler struct {
	registry string
	err      error
}

func (s *straggler) Error() string {
	return fmt.Sprintf("%s has not answered %s after most other targets had", s.registry, stragglerGrace)
}

// readTarget looks at one target: its tag while the source is still being
// read, the rest when it is known what to look for.
func (o *operation) readTarget(ctx context.Context, it *item, target ref.Reference, first *transfer.Replica, ready <-chan struct{}) (t targetFound) {
	defer first.Answer(nil, "", "") // however it ends
	if t.registry, t.err = o.registries.at(target.Registry); t.err != nil {
		return t
	}
	at := t.registry
	if t.err = at.lost(); t.err != nil {
		return t
	}
	defer func() { at.lose(t.err) }()
	var tagDigest string
	if target.Tag != "" {
		d, err := at.data.Resolve(ctx, target.Repository, target.Tag)
		if err != nil && !errors.Is(err, transfer.NotFound) {
			t.err = err
			return t
		}
		tagDigest = d.Digest
	}
	first.Answer(at.data, target.Repository, tagDigest)
	if tagDigest == "" && o.config.Action != agent.Audit {
		readLocks(ctx, target, false, &t)
	}
	<-ready
	tree := it.source.tree
	if tree == nil {
		return t
	}
	presence, err := at.data.Inspect(ctx, target.Repository, target.Tag, tree, o.config.Deep.Or(false))
	if err != nil {
		t.err = err
		return t
	}
	t.presence = &presence
	if tagDigest != "" && tagDigest != tree.Digest() && o.config.Action != agent.Audit {
		if it.moves(target) {
			readLocks(ctx, target, true, &t)
		}
		t.rollback = o.older(ctx, it, at, target, tagDigest)
	}
	return t
}

// older tells whether the image is older than what a tag points at now, as far
// as the registries tell: then moving the tag is a rollback.
func (o *operation) older(ctx context.Context, it *item, at *registry, target ref.Reference, current string) bool {
	from, err := o.registries.at(it.wanted.Source.Registry)
	if err != nil || !from.azure || !at.azure {
		return false
	}
	created := func(r *registry, repository, digest string) time.Time {
		metadata, err := r.metadata()
		if err != nil {
			return time.Time{}
		}
		read, err := metadata.Manifest(ctx, repository, digest)
		if err != nil {
			return time.Time{}
		}
		return read.Created
	}
	var ours, theirs time.Time
	var group sync.WaitGroup
	group.Go(func() { ours = created(from, it.wanted.Source.Repository, it.source.tree.Digest()) })
	group.Go(func() { theirs = created(at, target.Repository, current) })
	group.Wait()
	return !ours.IsZero() && ours.Before(theirs)
}

// moves tells whether a tag that is there may move to the image.
func (it *item) moves(target ref.Reference) bool {
	if !it.wanted.Covered {
		return it.wanted.MoveTag
	}
	i := slices.Index(it.wanted.Targets, target)
	return i >= 0 && it.wanted.Ways[i].Move == nil
}

// readLocks reads the locks that a write would run into, while there is still
// time to refuse: the repository's where something new would come into it, the
// tag's where it would move. Reading them takes a right that pushing does not;
// where it is missing, the registry itself will refuse a forbidden write.
func readLocks(ctx context.Context, target ref.Reference, moves bool, t *targetFound) {
	if !t.registry.azure {
		return
	}
	metadata, err := t.registry.metadata()
	if err != nil {
		return
	}
	var group sync.WaitGroup
	group.Go(func() {
		if read, err := metadata.Repository(ctx, target.Repository); err == nil {
			t.repository = &read
		}
	})
	if moves {
		group.Go(func() {
			if read, err := metadata.Tag(ctx, target.Repository, target.Tag); err == nil {
				t.tag = &read
			}
		})
	}
	group.Wait()
}
