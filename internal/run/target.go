package run

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/drift"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// targetState is the state of one target in its registry.
type targetState struct {
	registry   *session.Registry
	presence   *transfer.Presence
	tag        *acr.Attributes
	repository *acr.Attributes
	// lacked is the presence before the artifacts that are not copied were
	// removed from it.
	lacked   transfer.Presence
	arrived  time.Time    // for audit: when the image arrived here; zero if unknown
	drift    drift.Target // for an audit of a whole flow
	rollback bool         // the tag would move to an older image, by the registries' times
	disabled bool         // reads of the image are disabled there
	err      error
}

// observe reads one image and, concurrently, its targets.
func (r *reader) observe(ctx context.Context, wanted plan.Wanted) observation {
	found := observation{targets: make([]targetState, len(wanted.Targets))}
	source := make(chan struct{}) // closed when it has been read
	inspecting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	read := make(chan struct{}, len(found.targets))
	done := make([]atomic.Bool, len(found.targets))
	first := transfer.NewReplica() // the tag probably points at the same image at all targets
	var group sync.WaitGroup
	group.Go(func() {
		defer defect.Catch(ctx)
		defer close(source)
		found.source = r.readSource(ctx, wanted, first)
	})
	for i := range wanted.Targets {
		group.Go(func() {
			defer defect.Catch(ctx)
			t := &found.targets[i]
			*t = r.readTarget(inspecting, wanted, i, first, func() *transfer.Tree {
				<-source
				return found.source.tree
			})
			if ctx.Err() == nil && inspecting.Err() != nil && t.err != nil {
				t.err = &session.SlowTargetError{Registry: wanted.Targets[i].Registry, Grace: slowTargetGrace}
				if t.registry != nil {
					t.registry.Observe(t.err)
				}
			}
			done[i].Store(true)
			read <- struct{}{}
		})
	}
	if len(found.targets) > 1 && r.whole == nil {
		// An audit of a whole flow waits: nobody waits for it.
		group.Go(func() {
			defer defect.Catch(ctx)
			<-source
			waits := 0
			awaitMajority(read, len(found.targets), func() bool {
				waits++
				for i := range done {
					host := wanted.Targets[i].Registry
					if !done[i].Load() && (r.s.Paced(host, slowTargetGrace) || waits < slowTargetWaits && r.s.Responded(host, slowTargetGrace)) {
						return true
					}
				}
				return false
			}, giveUp)
		})
	}
	group.Wait()
	if found.source.tree == nil || found.source.err != nil {
		return found
	}
	if lacking := found.lacking(); len(lacking) > 0 {
		// The first target had everything, but another does not.
		found.source.err = found.source.tree.Complete(ctx, lacking...)
	}
	if found.source.err == nil {
		r.readReferrers(ctx, wanted, &found)
	}
	found.source.tree.Settle()
	return found
}

// awaitMajority calls giveUp if some targets have not been read slowTargetGrace
// after most others, and none of them is busy: held back by its limits, or serving
// requests for other images.
func awaitMajority(read <-chan struct{}, targets int, busy func() bool, giveUp func()) {
	for range (targets + 1) / 2 {
		<-read
	}
	grace := time.NewTimer(slowTargetGrace)
	defer grace.Stop()
	for left := targets / 2; left > 0; {
		select {
		case <-read:
			left--
		case <-grace.C:
			if !busy() {
				giveUp()
				return
			}
			grace.Reset(slowTargetGrace)
		}
	}
}

// lacking returns the presences of the targets that lack a part of the image.
func (f observation) lacking() []transfer.Presence {
	var lacking []transfer.Presence
	for _, t := range f.targets {
		if t.presence != nil && !t.presence.Complete() {
			lacking = append(lacking, *t.presence)
		}
	}
	return lacking
}

// readTarget reads one target: first its tag, concurrently with the source, and
// the rest once source returns the tree to compare with.
func (r *reader) readTarget(ctx context.Context, wanted plan.Wanted, i int, first *transfer.Replica, source func() *transfer.Tree) (t targetState) {
	defer first.Set(nil, "", "") // on every return
	target := wanted.Targets[i]
	if t.registry, t.err = r.s.Registry(target.Registry); t.err != nil {
		return t
	}
	at := t.registry
	if t.err = at.Open(); t.err != nil {
		return t
	}
	defer func() { at.Observe(t.err) }()
	if r.whole != nil && at.Azure {
		// Its error is reported with the tags of the repository. Without the list, each
		// tag and manifest is asked for.
		_, _ = at.Data.List(ctx, target.Repository)
	}
	var tagDigest, hidden string
	if target.Tag != "" {
		d, err := r.resolve(ctx, at, target.Repository, target.Tag)
		if err != nil && !errors.Is(err, transfer.NotFound) {
			if hidden = hiddenTag(ctx, at, target, err); hidden == "" {
				t.err = err
				return t
			}
			at.Data.AssumeTag(target.Repository, target.Tag, hidden)
			d.Digest = hidden
		}
		tagDigest = d.Digest
	}
	first.Set(at.Data, target.Repository, tagDigest)
	if tagDigest == "" && r.c.Action != agent.Audit {
		readLocks(ctx, target, false, &t)
	}
	tree := source()
	if tree == nil {
		return t
	}
	t.disabled = hidden == tree.Digest()
	if target.Tag == "" {
		if _, err := r.resolve(ctx, at, target.Repository, tree.Digest()); err != nil && !errors.Is(err, transfer.NotFound) {
			t.err = err
			return t
		}
	}
	presence, err := inspect(ctx, at.Data, wanted, i, target.Tag, tree, r.c.Deep.Or(false))
	if err != nil {
		t.err = err
		return t
	}
	t.presence = &presence
	if r.whole != nil {
		r.readDrift(ctx, wanted, i, tree, &t)
	}
	if tagDigest != "" && tagDigest != tree.Digest() && r.c.Action != agent.Audit {
		if wanted.MayMove(i) {
			readLocks(ctx, target, true, &t)
		}
		t.rollback = isAzure(wanted.Source.Registry) && at.Azure && r.older(ctx, wanted, i, tree.Digest(), tagDigest)
	}
	return t
}

// hiddenTag returns the digest that a tag points to, if the registry refuses to resolve it
// because reads of that manifest are disabled: it can still move to another one.
func hiddenTag(ctx context.Context, at *session.Registry, target ref.Reference, why error) string {
	if !at.Azure || !errors.Is(why, transfer.Locked) && !errors.Is(why, transfer.Denied) {
		return ""
	}
	metadata, err := at.Metadata()
	if err != nil {
		return ""
	}
	tag, err := metadata.Tag(ctx, target.Repository, target.Tag)
	if err != nil {
		return ""
	}
	if reading, err := metadata.Reading(ctx, target.Repository, tag.Digest); err != nil || !reading.Known || reading.Enabled {
		return ""
	}
	return tag.Digest
}

// resolve resolves a tag or digest at a target. Registries exist that answer 404 to
// HEAD whatever they have. Azure does not; there, only an audit makes sure.
func (r *reader) resolve(ctx context.Context, at *session.Registry, repository, reference string) (transfer.Descriptor, error) {
	if at.Azure && r.c.Action != agent.Audit {
		return at.Data.Resolve(ctx, repository, reference)
	}
	return at.Data.ResolveByGet(ctx, repository, reference)
}

// inspect inspects a target under a tag or, without one, by digest.
func inspect(ctx context.Context, at *transfer.Registry, wanted plan.Wanted, i int, tag string, tree *transfer.Tree, deep bool) (transfer.Presence, error) {
	repository := wanted.Targets[i].Repository
	if wanted.Routes[i].Immutable {
		return at.InspectImmutable(ctx, repository, tag, tree, deep)
	}
	return at.Inspect(ctx, repository, tag, tree, deep)
}

// older reports whether the image is older than the one that the target's tag
// points at now, which makes moving the tag a rollback. If a registry reports no
// time, older returns false.
func (r *reader) older(ctx context.Context, wanted plan.Wanted, i int, digest, current string) bool {
	var ours, theirs time.Time
	var group sync.WaitGroup
	target := wanted.Targets[i]
	group.Go(func() {
		defer defect.Catch(ctx)
		ours = r.created(ctx, wanted.Source.Registry, wanted.Source.Repository, digest)
	})
	group.Go(func() {
		defer defect.Catch(ctx)
		theirs = r.created(ctx, target.Registry, target.Repository, current)
	})
	group.Wait()
	return !ours.IsZero() && ours.Before(theirs)
}

// created returns when a manifest was pushed, by the registry's clock. It returns
// the zero time if that is unknown.
func (r *reader) created(ctx context.Context, host, repository, digest string) time.Time {
	at, err := r.s.Registry(host)
	if err != nil {
		return time.Time{}
	}
	metadata, err := at.Metadata()
	if err != nil {
		return time.Time{}
	}
	read, err := metadata.Manifest(ctx, repository, digest)
	if err != nil {
		return time.Time{}
	}
	return read.Created
}

// readLocks reads the locks that could block the write, so that the step can
// refuse it in time: the repository's lock, and the tag's if the tag would move.
// Reading locks requires a right that pushing does not. Without that right, the
// registry itself refuses a write to a locked target.
func readLocks(ctx context.Context, target ref.Reference, moves bool, t *targetState) {
	if !t.registry.Azure {
		return
	}
	metadata, err := t.registry.Metadata()
	if err != nil {
		return
	}
	var group sync.WaitGroup
	group.Go(func() {
		defer defect.Catch(ctx)
		if read, err := metadata.Repository(ctx, target.Repository); err == nil {
			t.repository = &read
		}
	})
	if moves {
		group.Go(func() {
			defer defect.Catch(ctx)
			if read, err := metadata.Tag(ctx, target.Repository, target.Tag); err == nil {
				t.tag = &read
			}
		})
	}
	group.Wait()
}
