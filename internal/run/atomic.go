package run

import (
	"context"
	"errors"
	"slices"
	"sync"

	"acrpromote/internal/defect"
	"acrpromote/internal/outcome"
	"acrpromote/internal/plan"
	"acrpromote/internal/promote"
	"acrpromote/internal/transfer"
)

// errRestIsMissing is the reason of an image that has arrived, but whose set has
// not.
var errRestIsMissing = errors.New("the image has arrived by digest; its tag will be set when the whole set has arrived at this registry")

// executeAtomically copies the whole set by digest, and attaches its receipts at each
// registry where all of it has arrived. Then it sets the tags and locks where that has
// succeeded. A registry that fails keeps its old tags, and the others do not wait for
// it.
func (e *executor) executeAtomically(ctx context.Context) {
	arrived := make([][]promote.Result, len(e.parts))
	e.images(ctx, func(i int, next func()) {
		arrived[i] = promote.Execute(ctx, withoutLocks(e.parts[i]), e.image(i), &copier{executor: e, at: i, next: next, untagged: true}, nil, nil)
	})
	absent := e.broken(arrived)
	e.images(ctx, func(i int, _ func()) {
		var group sync.WaitGroup
		for j, step := range e.parts[i].Steps {
			if absent[step.Target.Registry] {
				continue
			}
			group.Go(func() {
				defer defect.Catch(ctx)
				r := &arrived[i][j]
				var changed bool
				changed, r.Err = attester{e, i}.Attest(ctx, step)
				r.Changed = r.Changed || changed
			})
		}
		group.Wait()
	})
	broken := e.broken(arrived)
	e.images(ctx, func(i int, _ func()) {
		defer e.release(i)
		part := e.parts[i]
		part.Steps = slices.Clone(part.Steps)
		for j, step := range part.Steps {
			if broken[step.Target.Registry] {
				part.Steps[j].Work = plan.Wait
			}
		}
		wait := e.startSource(ctx, i)
		defer wait()
		tags := &tagger{copier{executor: e, at: i}, arrived[i]}
		tagged := promote.Execute(ctx, part, e.image(i), tags, attester{e, i}, e.locker)
		e.recheckRecall(ctx, i, tagged)
		for j, step := range e.parts[i].Steps {
			switch {
			case step.Work == plan.Wait:
			case arrived[i][j].Err != nil:
				e.done(i, j, arrived[i][j])
			case broken[step.Target.Registry]:
				t := &e.result.result.Images[i].Targets[j]
				t.State, t.Error = outcome.Pending, errRestIsMissing.Error()
				settle(t.Attached, nil)
				e.result.done(arrived[i][j].Changed)
			default:
				e.done(i, j, tagged[j])
			}
		}
	})
}

// broken returns the registries where a part of the set has not arrived.
func (e *executor) broken(arrived [][]promote.Result) map[string]bool {
	broken := map[string]bool{}
	for i, part := range e.parts {
		for j, step := range part.Steps {
			if step.Work == plan.Wait || e.found.images[i].source.err != nil || arrived[i][j].Err != nil {
				broken[step.Target.Registry] = true
			}
		}
	}
	return broken
}

// withoutLocks returns a part without its locks, which are set with the tags.
func withoutLocks(p plan.Part) plan.Part {
	p.Steps = slices.Clone(p.Steps)
	for i := range p.Steps {
		p.Steps[i].Lock = plan.LockNone
	}
	return p
}

// tagger sets the tags of an image that has arrived by digest.
type tagger struct {
	copier
	arrived []promote.Result // by target
}

func (t *tagger) Copy(ctx context.Context, steps []plan.Step, done func(int, promote.CopyResult, error)) {
	var group sync.WaitGroup
	for i, step := range steps {
		group.Go(func() {
			defer defect.Catch(ctx)
			r, err := t.tag(ctx, step)
			done(i, r, err)
		})
	}
	group.Wait()
}

func (t *tagger) tag(ctx context.Context, step plan.Step) (promote.CopyResult, error) {
	target := step.Target
	r := t.arrived[slices.Index(t.order.images[t.at].Targets, target)].CopyResult
	if step.Work == plan.Repair || target.Tag == "" {
		return r, nil
	}
	if err := t.target(target).registry.Data.PutTag(ctx, target.Repository, target.Tag, t.source().tree); err != nil {
		return r, err
	}
	r.Changed = true
	if r.State == string(transfer.Present) {
		r.State = string(transfer.Retagged)
	}
	return r, nil
}
