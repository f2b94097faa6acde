package promote

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"acrpromote/internal/plan"
)

// lateRegistry shows what was written after some reads: before that it does not
// know the tag (if unknown is set), or shows the former attributes.
type lateRegistry struct {
	*fakeRegistry
	unknown, stale int
	reads          int
	former         plan.Attributes
}

func (l *lateRegistry) Tag(ctx context.Context, repository, tag string) (plan.Attributes, error) {
	if l.reads++; l.unknown > 0 {
		l.unknown--
		return plan.Attributes{}, errors.Join(errors.New("no such tag"), ErrNotFound)
	}
	seen, err := l.fakeRegistry.Tag(ctx, repository, tag)
	if l.stale > 0 && (l.former.Digest != root || !seen.WriteEnabled) {
		l.stale--
		return l.former, nil
	}
	return seen, err
}

// TestLockWaitsForReplicas checks that what a replica does not show yet is read
// again, a bounded number of times.
func TestLockWaitsForReplicas(t *testing.T) {
	unlocked := plan.Attributes{Digest: root, WriteEnabled: true, DeleteEnabled: true}
	for _, c := range []struct {
		name           string
		unknown, stale int
		former         plan.Attributes
		reads          int
		wrong          string
	}{
		{"nothing late", 0, 0, unlocked, 2, ""},
		{"the tag is not known yet", 3, 0, unlocked, 5, ""},
		{"the tag is never known", 99, 0, unlocked, maxAttempts, "not found"},
		{"the tag has not moved yet", 0, 2, plan.Attributes{Digest: other, WriteEnabled: true, DeleteEnabled: true}, 4, ""},
		{"the tag points elsewhere", 0, 99, plan.Attributes{Digest: other, WriteEnabled: true, DeleteEnabled: true}, maxAttempts, "moved meanwhile"},
		{"the lock is not shown yet", 0, 3, unlocked, 5, ""},
		{"the lock is never shown", 0, 99, unlocked, 1 + maxAttempts, "does not report it"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &lateRegistry{fakeRegistry: newFakeRegistry(root), unknown: c.unknown, stale: c.stale, former: c.former}
			_, err := lockTag(t.Context(), s, cart, root)
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.wrong)
			}
			if s.reads != c.reads {
				t.Errorf("%s: %d reads, want %d", c.name, s.reads, c.reads)
			}
		})
	}
}

// TestLockOfLocked checks a registry that refuses to change the attributes of what
// is locked.
func TestLockOfLocked(t *testing.T) {
	open, locked, partly := plan.Attributes{Digest: root, WriteEnabled: true, DeleteEnabled: true}, plan.Attributes{Digest: root}, plan.Attributes{Digest: root, DeleteEnabled: true}
	for _, c := range []struct {
		name          string
		before, after plan.Attributes // the attempt
		wrong         string
	}{
		{"another job has locked it", open, locked, ""},
		{"it is locked only in part", partly, partly, "locked only in part"},
		{"quarantined, or full", open, open, "disallowed"},
		{"it was moved", open, plan.Attributes{Digest: other}, "moved meanwhile"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeRegistry(root)
			s.tag, s.err = c.before, ErrDisallowed
			changed, err := lockTag(t.Context(), refusingLocker{s, c.after}, cart, root)
			if changed || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: changed %v, error %v, want %q", c.name, changed, err, c.wrong)
			}
		})
	}
}

// refusingLocker refuses a lock, and shows other attributes afterwards.
type refusingLocker struct {
	*fakeRegistry
	after plan.Attributes
}

func (r refusingLocker) SetTag(context.Context, string, string, bool, bool) error {
	r.fakeRegistry.tag = r.after
	return ErrDisallowed
}
