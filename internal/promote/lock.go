package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
)

// Locker reads and sets the locks of one registry.
type Locker interface {
	Tag(ctx context.Context, repository, tag string) (plan.Attributes, error)
	Manifest(ctx context.Context, repository, digest string) (plan.Attributes, error)
	SetTag(ctx context.Context, repository, tag string, write, delete bool) error
	SetManifest(ctx context.Context, repository, digest string, write, delete bool) error
}

// Kinds of a Locker's errors, for errors.Is.
var (
	// ErrNotFound is a tag or manifest that the registry does not know. A replica
	// may not know yet what was just written.
	ErrNotFound = errors.New("not found")
	// ErrDisallowed is a change that the registry does not allow: some refuse to
	// change the attributes of what is locked.
	ErrDisallowed = errors.New("disallowed")
)

// maxLocks bounds how many manifests of one image are locked at the same time.
const maxLocks = 8

// lock sets the locks that are missing and reads every lock back. The tag comes
// first, so that it cannot move while the manifests are locked.
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
	group.SetLimit(maxLocks)
	for i, digest := range digests {
		group.Go(func() error {
			defer defect.Catch(ctx)
			results[i], failures[i] = lockManifest(ctx, locker, at, digest, kind)
			return failures[i]
		})
	}
	if group.Wait() != nil {
		// The first by order, not by time: the same error on every run.
		err = failures[slices.IndexFunc(failures, func(err error) bool { return err != nil })]
	}
	return changed || slices.Contains(results, true), err
}

func lockTag(ctx context.Context, locker Locker, at ref.Reference, digest string) (changed bool, err error) {
	l := lockable{
		name: "the tag",
		read: func() (plan.Attributes, error) { return locker.Tag(ctx, at.Repository, at.Tag) },
		set:  func(write bool) error { return locker.SetTag(ctx, at.Repository, at.Tag, write, false) },
		is:   func(a plan.Attributes) bool { return a.Digest == digest },
	}
	seen, changed, err := l.lock(ctx, at, false)
	if err == nil && seen.Digest != digest {
		err = &ReadBackError{At: at, Reason: fmt.Sprintf("the tag points to %s, not to %s: it has been moved meanwhile", seen.Digest, digest)}
	}
	return changed, err
}

func lockManifest(ctx context.Context, locker Locker, at ref.Reference, digest string, kind plan.Lock) (changed bool, err error) {
	l := lockable{
		name: "manifest " + digest,
		read: func() (plan.Attributes, error) { return locker.Manifest(ctx, at.Repository, digest) },
		set:  func(write bool) error { return locker.SetManifest(ctx, at.Repository, digest, write, false) },
		is:   func(plan.Attributes) bool { return true },
	}
	_, changed, err = l.lock(ctx, at, kind != plan.LockImage)
	return changed, err
}

// lockable is a tag or a manifest.
type lockable struct {
	name string
	read func() (plan.Attributes, error)
	set  func(write bool) error       // locks it against deletion, and unless write against writing
	is   func(a plan.Attributes) bool // reports whether the attributes are those of what is to be locked
}

// lock locks what is not locked yet, and reads the lock back. write leaves it as
// writable as it is. Nothing is set if the tag points elsewhere.
func (l lockable) lock(ctx context.Context, at ref.Reference, write bool) (seen plan.Attributes, changed bool, err error) {
	seen, err = retryUntil(ctx, l.read, l.is)
	if err != nil || !l.is(seen) {
		return seen, false, err
	}
	write = write && seen.WriteEnabled
	locked := func(a plan.Attributes) bool { return !a.DeleteEnabled && a.WriteEnabled == write }
	if locked(seen) {
		return seen, false, nil
	}
	_, refused := retryUntil(ctx, func() (struct{}, error) { return struct{}{}, l.set(write) }, func(struct{}) bool { return true })
	if refused != nil && !errors.Is(refused, ErrDisallowed) {
		return seen, false, refused
	}
	// What refused the lock may be the same lock, set by another job.
	changed = refused == nil
	seen, err = retryUntil(ctx, l.read, func(a plan.Attributes) bool { return !l.is(a) || locked(a) })
	switch {
	case err != nil || !l.is(seen) || locked(seen):
		return seen, changed, err
	case refused == nil:
		return seen, changed, &ReadBackError{At: at, Reason: fmt.Sprintf("the registry accepted the lock on %s, but does not report it", l.name)}
	case seen.WriteEnabled && seen.DeleteEnabled:
		return seen, changed, refused
	}
	return seen, changed, &ReadBackError{At: at,
		Reason: fmt.Sprintf("%s is locked only in part, and the registry does not allow to change its lock", l.name),
		Remedy: "Remove the lock, or complete it (az acr repository update --write-enabled false --delete-enabled false), then run the step again."}
}

// A replica of the registry may show late what was just written.
const (
	maxAttempts = 5
	firstPause  = 250 * time.Millisecond // then twice as long each time
)

// retryUntil repeats a request while the registry does not know what it is about,
// or does not show what is expected. After some attempts it returns the last
// response.
func retryUntil[T any](ctx context.Context, request func() (T, error), shows func(T) bool) (T, error) {
	for n := 1; ; n++ {
		seen, err := request()
		if err == nil && shows(seen) || err != nil && !errors.Is(err, ErrNotFound) || n == maxAttempts {
			return seen, err
		}
		select {
		case <-time.After(firstPause << (n - 1)):
		case <-ctx.Done():
			return seen, ctx.Err()
		}
	}
}

// ReadBackError reports a registry that does not show what was just written to it.
// Remedy is empty if another writer may be the cause.
type ReadBackError struct {
	At     ref.Reference
	Reason string
	Remedy string
}

func (c *ReadBackError) Error() string {
	return fmt.Sprintf("%s: %s", c.At, c.Reason)
}
