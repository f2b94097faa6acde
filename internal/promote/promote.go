// Package promote executes a plan through the interfaces that it declares. It
// decides nothing: the plan says what is to be done, and that it may be done.
package promote

import (
	"context"
	"errors"
	"sync"
	"time"

	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
)

// Copier copies the planned image to the targets of several steps, by digest,
// and sets each tag last.
type Copier interface {
	// Copy is called once with all steps that have work. It calls done once for
	// each, with its index in steps, as soon as the copy to that target has
	// succeeded or failed, and returns after the last call. Calls of done may
	// overlap; none takes long.
	Copy(ctx context.Context, steps []plan.Step, done func(i int, r CopyResult, err error))
}

// CopyResult is the result of copying to one target: State is copied, mounted,
// retagged or present, and Changed reports whether anything was written there.
type CopyResult struct {
	State   string
	Changed bool
}

// present is the state of a target that has everything already.
const present = "present"

// errNotReported is the error of a step that the copier did not report.
var errNotReported = errors.New("the copy ended without saying whether the image has arrived")

// Recorder attaches a seal record to the image that it refers to, and returns
// the digest of the record's manifest. Sign attaches a signed statement of it, if
// there has to be one that is not there yet. record is the digest of the record that
// was attached just now, or empty.
type Recorder interface {
	Attach(ctx context.Context, record []byte) (digest string, err error)
	Sign(ctx context.Context, record string) (changed bool, err error)
}

// Attester attaches the receipts of an image to a target that has everything else, if
// there have to be any that are not there yet.
type Attester interface {
	Attest(ctx context.Context, step plan.Step) (changed bool, err error)
}

// Image is an image that is locked: its digest, and those of the manifests that
// are locked with it.
type Image struct {
	Digest   string
	Children []string
}

// Result is the result of one step. Locked names the lock that is in force now,
// empty if none was wanted. Changed may be true although Err is set: what has
// been written stays.
type Result struct {
	CopyResult
	Locked string
	Err    error
}

// Execute executes the steps for one image. One call copies it to all targets,
// and each target is locked as soon as it has the image, while others are still
// being copied to. A target that fails neither stops nor delays the others.
// Steps that wait are skipped. Receipts are attached before a tag appears, by the
// copier, and before anything is locked; attester may be nil. lockers returns the
// locks of a registry.
func Execute(ctx context.Context, p plan.Part, image Image, copier Copier, attester Attester, lockers func(registry string) (Locker, error)) []Result {
	results := make([]Result, len(p.Steps))
	var locks sync.WaitGroup // and receipts
	done := func(i int, r CopyResult, err error) {
		results[i] = Result{CopyResult: r, Err: err}
		if lock := p.Steps[i].Lock; err == nil && lock != plan.LockNone && lock != "" {
			locks.Go(func() {
				defer defect.Catch(ctx)
				results[i].lock(ctx, p.Steps[i], image, lockers)
			})
		}
	}
	var steps []plan.Step
	var index []int // of each in the part
	for i, step := range p.Steps {
		switch step.Work {
		case plan.Wait:
		case plan.Nothing:
			locks.Go(func() {
				defer defect.Catch(ctx)
				var changed bool
				var err error
				if attester != nil {
					changed, err = attester.Attest(ctx, step)
				}
				done(i, CopyResult{State: present, Changed: changed}, err)
			})
		default:
			results[i].Err = errNotReported
			steps, index = append(steps, step), append(index, i)
		}
	}
	if len(steps) > 0 {
		copier.Copy(ctx, steps, func(i int, r CopyResult, err error) { done(index[i], r, err) })
	}
	locks.Wait()
	return results
}

// lock locks a target that has the image.
func (r *Result) lock(ctx context.Context, step plan.Step, image Image, lockers func(string) (Locker, error)) {
	locker, err := lockers(step.Target.Registry)
	if err != nil {
		r.Err = err
		return
	}
	changed, err := lock(ctx, locker, step.Target, image, step.Lock)
	r.Changed = r.Changed || changed
	if err != nil {
		r.Err = err
		return
	}
	r.Locked = string(step.Lock)
}

// Sealed is the result of sealing: when the record was pushed, by the registry's
// clock, and whether anything was written.
type Sealed struct {
	At      time.Time
	Changed bool
}

// Seal attaches the record, if the plan says so, and then locks. present is the
// digest of the oldest record that was there before; empty if there was none. A locked tag always has its record: an
// interruption leaves either no seal or a complete one.
func Seal(ctx context.Context, p plan.Part, image Image, record []byte, present string, recorder Recorder, locker Locker) (Sealed, error) {
	source := p.Wanted.Source
	var s Sealed
	own := ""
	if p.Record {
		attached, err := recorder.Attach(ctx, record)
		if err != nil {
			return s, err
		}
		s.Changed = true
		own = attached
		if present == "" {
			present = attached
		}
	}
	signed, err := recorder.Sign(ctx, own)
	s.Changed = s.Changed || signed
	if err != nil {
		return s, err
	}
	changed, err := lock(ctx, locker, source, image, p.Steps[0].Lock)
	s.Changed = s.Changed || changed
	if err != nil {
		return s, err
	}
	attributes, err := retryUntil(ctx, func() (plan.Attributes, error) { return locker.Manifest(ctx, source.Repository, present) },
		func(plan.Attributes) bool { return true })
	if err != nil {
		return s, err
	}
	s.At = attributes.Created
	return s, nil
}
