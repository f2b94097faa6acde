// Package promote carries a plan out, through the interfaces that it declares.
// It decides nothing: what is to be done, and that it may be done, stands in
// the plan.
package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
)

// Copier brings the planned image to the targets of several steps, digest for
// digest, with its tag set last.
type Copier interface {
	// Copy is called once with all steps that have work. It calls arrived once
	// for each, by its index in steps, as soon as that target has everything or
	// has failed, and returns when all have been reported. Calls of arrived may
	// overlap; none takes long.
	Copy(ctx context.Context, steps []plan.Step, arrived func(i int, a Arrival, err error))
}

// Arrival is how an image came to a target: State is copied, mounted, retagged
// or present. Changed reports whether anything was written there.
type Arrival struct {
	State   string
	Changed bool
}

// present is the state of a target that has everything already.
const present = "present"

// errNoEnd is the end of a step of which the copier did not report one.
var errNoEnd = errors.New("the copy ended without saying whether the image has arrived")

// Locker reads and sets the locks of one registry.
type Locker interface {
	Tag(ctx context.Context, repository, tag string) (plan.Attributes, error)
	Manifest(ctx context.Context, repository, digest string) (plan.Attributes, error)
	SetTag(ctx context.Context, repository, tag string, write, delete bool) error
	SetManifest(ctx context.Context, repository, digest string, write, delete bool) error
}

// Recorder attaches a seal record to the image that it refers to, and returns
// the digest of the record's manifest.
type Recorder interface {
	Attach(ctx context.Context, record []byte) (digest string, err error)
}

// Image is what a plan is carried out for: its digest and the manifests that
// share its fate when it is locked.
type Image struct {
	Digest   string
	Children []string
}

// Done is what became of one step. Locked names the lock that stands now,
// empty where none was asked for. Changed may be true beside an error: what
// had arrived stays.
type Done struct {
	Arrival
	Locked string
	Err    error
}

// Targets carries the steps of a plan out: one call brings the image to all
// targets, and each is locked as soon as it has the image, while others are
// still copied to. Every target is its own island: one that fails neither stops
// nor delays the others. A step that is to wait is left alone. lockers gives the
// locks of a registry.
func Targets(ctx context.Context, p plan.Part, image Image, copier Copier, lockers func(registry string) (Locker, error)) []Done {
	done := make([]Done, len(p.Steps))
	var locks sync.WaitGroup
	arrived := func(i int, a Arrival, err error) {
		done[i] = Done{Arrival: a, Err: err}
		if lock := p.Steps[i].Lock; err == nil && lock != plan.LockNone && lock != "" {
			locks.Go(func() { done[i].lock(ctx, p.Steps[i], image, lockers) })
		}
	}
	var steps []plan.Step
	var index []int // of each in the part
	for i, step := range p.Steps {
		switch step.Work {
		case plan.Wait:
		case plan.Nothing:
			arrived(i, Arrival{State: present}, nil)
		default:
			done[i].Err = errNoEnd
			steps, index = append(steps, step), append(index, i)
		}
	}
	if len(steps) > 0 {
		copier.Copy(ctx, steps, func(i int, a Arrival, err error) { arrived(index[i], a, err) })
	}
	locks.Wait()
	return done
}

// lock locks a target that has the image.
func (d *Done) lock(ctx context.Context, step plan.Step, image Image, lockers func(string) (Locker, error)) {
	locker, err := lockers(step.Target.Registry)
	if err != nil {
		d.Err = err
		return
	}
	changed, err := lock(ctx, locker, step.Target, image, step.Lock)
	d.Changed = d.Changed || changed
	if err != nil {
		d.Err = err
		return
	}
	d.Locked = string(step.Lock)
}

// Sealed is what sealing did: when the record was made, by the registry's own
// clock, and whether anything was written.
type Sealed struct {
	At      time.Time
	Changed bool
}

// Seal attaches the record, unless the plan says that one is there (present is
// its digest), then locks: a tag that is locked has its record already, so
// whatever interrupts this leaves either no seal or a whole one.
func Seal(ctx context.Context, p plan.Part, image Image, record []byte, present string, recorder Recorder, locker Locker) (Sealed, error) {
	source := p.Wanted.Source
	var s Sealed
	if p.Record {
		var err error
		if present, err = recorder.Attach(ctx, record); err != nil {
			return s, err
		}
		s.Changed = true
	}
	changed, err := lock(ctx, locker, source, image, p.Steps[0].Lock)
	s.Changed = s.Changed || changed
	if err != nil {
		return s, err
	}
	attributes, err := locker.Manifest(ctx, source.Repository, present)
	if err != nil {
		return s, err
	}
	s.At = attributes.Created
	return s, nil
}

// locksAtOnce bounds how many manifests of one image are locked at the same time.
const locksAtOnce = 8

// lock sets what is not locked yet and reads every lock back: the tag first,
// so that it cannot move while the manifests are locked.
func lock(ctx context.Context, locker Locker, at ref.Reference, image Image, kind plan.Lock) (changed bool, err error) {
	if at.Tag != "" {
		changed, err = lockTag(ctx, locker, at, image.Digest)
		if err != nil {
			return changed, err
		}
	}
	digests := append([]string{image.Digest}, image.Children...)
	results := make([]bool, len(digests))
	failures := make([]error, len(digests))
	var group errgroup.Group
	group.SetLimit(locksAtOnce)
	for i, digest := range digests {
		group.Go(func() error {
			results[i], failures[i] = lockManifest(ctx, locker, at, digest, kind)
			return failures[i]
		})
	}
	if group.Wait() != nil {
		// The first by their order, which does not depend on who was faster.
		err = failures[slices.IndexFunc(failures, func(err error) bool { return err != nil })]
	}
	return changed || slices.Contains(results, true), err
}

func lockTag(ctx context.Context, locker Locker, at ref.Reference, digest string) (changed bool, err error) {
	seen, err := locker.Tag(ctx, at.Repository, at.Tag)
	if err != nil {
		return false, err
	}
	if seen.Digest == digest && (seen.WriteEnabled || seen.DeleteEnabled) {
		if err := locker.SetTag(ctx, at.Repository, at.Tag, false, false); err != nil {
			return false, err
		}
		changed = true
		if seen, err = locker.Tag(ctx, at.Repository, at.Tag); err != nil {
			return changed, err
		}
	}
	if seen.Digest != digest {
		return changed, &Contradiction{at, fmt.Sprintf("the tag points at %s, not at %s: it was moved by somebody else meanwhile", seen.Digest, digest)}
	}
	if seen.WriteEnabled || seen.DeleteEnabled {
		return changed, &Contradiction{at, "the registry took the lock on the tag, but does not show it when asked again"}
	}
	return changed, nil
}

func lockManifest(ctx context.Context, locker Locker, at ref.Reference, digest string, kind plan.Lock) (changed bool, err error) {
	seen, err := locker.Manifest(ctx, at.Repository, digest)
	if err != nil {
		return false, err
	}
	write := seen.WriteEnabled && kind != plan.LockImage
	if seen.DeleteEnabled || seen.WriteEnabled != write {
		if err := locker.SetManifest(ctx, at.Repository, digest, write, false); err != nil {
			return false, err
		}
		changed = true
		if seen, err = locker.Manifest(ctx, at.Repository, digest); err != nil {
			return changed, err
		}
	}
	if seen.DeleteEnabled || seen.WriteEnabled != write {
		return changed, &Contradiction{at, fmt.Sprintf("the registry took the lock on manifest %s, but does not show it when asked again", digest)}
	}
	return changed, nil
}

// Contradiction is a registry that does not show what was just written to it.
type Contradiction struct {
	At     ref.Reference
	Reason string
}

func (c *Contradiction) Error() string {
	return fmt.Sprintf("%s: %s", c.At, c.Reason)
}
