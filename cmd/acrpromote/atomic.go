package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"acrpromote/internal/plan"
	"acrpromote/internal/promote"
	"acrpromote/internal/report"
	"acrpromote/internal/transfer"
)

// errRestIsMissing: the image itself has arrived, by digest.
var errRestIsMissing = errors.New("it has arrived by digest; its tag waits until the rest of the set has arrived at this registry")

// atomic tells whether the set shows none of its tags before all of it has
// arrived.
func (o *operation) atomic() bool {
	return o.set && slices.ContainsFunc(o.items, func(it *item) bool {
		return slices.ContainsFunc(it.wanted.Ways, func(w plan.Way) bool { return w.Flow != nil && w.Flow.Atomic })
	})
}

// deliverAtomically brings the whole set by digest, and then, at each registry
// where all of it has arrived, sets the tags and locks. A registry that fails
// keeps its old tags; the others do not wait for it.
func (o *operation) deliverAtomically(ctx context.Context, progress *report.Progress) {
	arrived := make([][]promote.Done, len(o.items))
	o.sideBySide(func(i int, it *item, free func()) {
		arrived[i] = promote.Targets(ctx, unlocked(it.part), it.image(), &copier{operation: o, item: it, progress: progress, free: free, untagged: true}, nil)
	})
	broken := map[string]bool{}
	for i, it := range o.items {
		for j, step := range it.part.Steps {
			if step.Work == plan.Wait || it.source.err != nil || arrived[i][j].Err != nil {
				broken[step.Target.Registry] = true
			}
		}
	}
	locker := func(host string) (promote.Locker, error) { return o.locker(host) }
	o.sideBySide(func(i int, it *item, _ func()) {
		part := it.part
		part.Steps = slices.Clone(part.Steps)
		for j, step := range part.Steps {
			if broken[step.Target.Registry] {
				part.Steps[j].Work = plan.Wait
			}
		}
		tagged := promote.Targets(ctx, part, it.image(), tagger{o, it, arrived[i]}, locker)
		for j, step := range it.part.Steps {
			t := &o.result.Images[i].Targets[j]
			switch {
			case step.Work == plan.Wait:
			case arrived[i][j].Err != nil:
				o.tellDone(it, t, arrived[i][j])
			case broken[step.Target.Registry]:
				t.State, t.Error = report.Pending, errRestIsMissing.Error()
				o.tell(arrived[i][j].Changed)
			default:
				o.tellDone(it, t, tagged[j])
			}
		}
	})
}

// sideBySide does something with every image that was read, so many at once.
// free lets the next begin stragglerGrace from now, though this one goes on.
func (o *operation) sideBySide(do func(i int, it *item, free func())) {
	var group sync.WaitGroup
	slots := semaphore.NewWeighted(itemsAtOnce)
	for i, it := range o.items {
		if it.source.err != nil {
			continue
		}
		// A stopped run reports each image as well, so that this is not stopped.
		_ = slots.Acquire(context.Background(), 1)
		group.Go(func() {
			free := sync.OnceFunc(func() { slots.Release(1) })
			defer free()
			do(i, it, func() { time.AfterFunc(stragglerGrace, free) })
		})
	}
	group.Wait()
}

// unlocked is a part without its locks: they come with the tags.
func unlocked(p plan.Part) plan.Part {
	p.Steps = slices.Clone(p.Steps)
	for i := range p.Steps {
		p.Steps[i].Lock = plan.LockNone
	}
	return p
}

// tagger sets the tags of an image that has arrived by digest.
type tagger struct {
	*operation
	*item
	arrived []promote.Done // by target
}

func (t tagger) Copy(ctx context.Context, steps []plan.Step, arrived func(int, promote.Arrival, error)) {
	var group sync.WaitGroup
	for i, step := range steps {
		group.Go(func() {
			arrival, err := t.tag(ctx, step)
			arrived(i, arrival, err)
		})
	}
	group.Wait()
}

func (t tagger) tag(ctx context.Context, step plan.Step) (promote.Arrival, error) {
	target := step.Target
	arrival := t.arrived[slices.Index(t.wanted.Targets, target)].Arrival
	if step.Work == plan.Mend || target.Tag == "" {
		return arrival, nil
	}
	err := t.found(target).registry.data.PutManifest(ctx, target.Repository, target.Tag, t.source.tree.Root())
	if err != nil {
		return arrival, err
	}
	arrival.Changed = true
	if arrival.State == string(transfer.Present) {
		arrival.State = string(transfer.Retagged)
	}
	return arrival, nil
}
