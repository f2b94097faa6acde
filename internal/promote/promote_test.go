package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
)

var (
	root  = "sha256:" + strings.Repeat("a", 64)
	child = "sha256:" + strings.Repeat("b", 64)
	other = "sha256:" + strings.Repeat("c", 64)
	cart  = ref.Reference{Registry: "prod.azurecr.io", Repository: "shop/cart", Tag: "1"}
)

// fakeRegistry keeps locks in memory and counts writes. It can ignore locks, or
// refuse them with err.
type fakeRegistry struct {
	mu           sync.Mutex
	tag          plan.Attributes
	manifests    map[string]*plan.Attributes
	writes       int
	ignoresLocks bool
	err          error
	sign         func(record string) error
}

func newFakeRegistry(digests ...string) *fakeRegistry {
	s := &fakeRegistry{tag: plan.Attributes{Digest: root, WriteEnabled: true, DeleteEnabled: true}, manifests: map[string]*plan.Attributes{}}
	for _, d := range digests {
		s.manifests[d] = &plan.Attributes{Digest: d, WriteEnabled: true, DeleteEnabled: true, Created: time.Unix(1, 0)}
	}
	return s
}

func (s *fakeRegistry) Tag(context.Context, string, string) (plan.Attributes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tag, nil
}

func (s *fakeRegistry) Manifest(_ context.Context, _, digest string) (plan.Attributes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.manifests[digest] == nil {
		return plan.Attributes{}, fmt.Errorf("there is no manifest %s", digest)
	}
	return *s.manifests[digest], nil
}

func (s *fakeRegistry) SetTag(_ context.Context, _, _ string, write, del bool) error {
	return s.set(&s.tag, write, del)
}

func (s *fakeRegistry) SetManifest(_ context.Context, _, digest string, write, del bool) error {
	return s.set(s.manifests[digest], write, del)
}

func (s *fakeRegistry) set(a *plan.Attributes, write, del bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.writes++
	if !s.ignoresLocks {
		a.WriteEnabled, a.DeleteEnabled = write, del
	}
	return nil
}

func (s *fakeRegistry) Attach(_ context.Context, _ []byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	s.manifests[other] = &plan.Attributes{Digest: other, WriteEnabled: true, DeleteEnabled: true, Created: time.Unix(2, 0)}
	return other, nil
}

// Sign signs the record if the test wants that, which must not be locked yet.
func (s *fakeRegistry) Sign(_ context.Context, record string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sign == nil {
		return false, nil
	}
	return true, s.sign(record)
}

func sealPlan(lock plan.Lock, record bool) plan.Part {
	return plan.Part{Wanted: plan.Wanted{Action: plan.Seal, Source: cart}, Digest: root, Record: record, Steps: []plan.Step{{Target: cart, Lock: lock}}}
}

var image = Image{Digest: root, Children: []string{child}}

func TestSealLocksAndConverges(t *testing.T) {
	for _, c := range []struct {
		lock  plan.Lock
		write bool
	}{{plan.LockTag, true}, {plan.LockImage, false}} {
		s := newFakeRegistry(root, child)
		sealed, err := Seal(t.Context(), sealPlan(c.lock, true), image, []byte("{}"), "", s, s)
		if err != nil || !sealed.Changed || !sealed.At.Equal(time.Unix(2, 0)) {
			t.Fatalf("lock %s: %+v, %v", c.lock, sealed, err)
		}
		if s.tag.WriteEnabled || s.tag.DeleteEnabled {
			t.Errorf("lock %s left the tag open: %+v", c.lock, s.tag)
		}
		for _, d := range []string{root, child} {
			if a := s.manifests[d]; a.DeleteEnabled || a.WriteEnabled != c.write {
				t.Errorf("lock %s left %s with %+v", c.lock, d, a)
			}
		}
		if a := s.manifests[other]; !a.WriteEnabled || !a.DeleteEnabled {
			t.Errorf("lock %s locked the record: %+v", c.lock, a)
		}
		before := s.writes
		sealed, err = Seal(t.Context(), sealPlan(c.lock, false), image, []byte("{}"), other, s, s)
		if err != nil || sealed.Changed || s.writes != before {
			t.Errorf("lock %s again: %+v, %v, %d writes", c.lock, sealed, err, s.writes-before)
		}
	}
}

func TestSealRefusesTagThatMoved(t *testing.T) { synctest.Test(t, sealRefusesTagThatMoved) }

func sealRefusesTagThatMoved(t *testing.T) {
	s := newFakeRegistry(root, child)
	s.tag.Digest = other
	_, err := Seal(t.Context(), sealPlan(plan.LockTag, true), image, []byte("{}"), "", s, s)
	var readBack *ReadBackError
	if !errors.As(err, &readBack) || !s.tag.WriteEnabled {
		t.Fatalf("error %v, tag %+v: a tag that points elsewhere must stay as it is", err, s.tag)
	}
}

func TestLockThatDoesNotShowIsAnError(t *testing.T) { synctest.Test(t, lockThatDoesNotShowIsAnError) }

func lockThatDoesNotShowIsAnError(t *testing.T) {
	s := newFakeRegistry(root, child)
	s.ignoresLocks = true
	_, err := Seal(t.Context(), sealPlan(plan.LockTag, true), image, []byte("{}"), "", s, s)
	var readBack *ReadBackError
	if !errors.As(err, &readBack) {
		t.Fatalf("error %v, want a ReadBackError", err)
	}
}

func TestDeniedLockIsAnError(t *testing.T) {
	s := newFakeRegistry(root, child)
	s.err = errors.New("role missing")
	if _, err := Seal(t.Context(), sealPlan(plan.LockTag, false), image, nil, root, s, s); !errors.Is(err, s.err) {
		t.Fatalf("error %v, want %v", err, s.err)
	}
}

type copierFunc func(steps []plan.Step, done func(int, CopyResult, error))

func (c copierFunc) Copy(_ context.Context, steps []plan.Step, done func(int, CopyResult, error)) {
	c(steps, done)
}

// TestTargetsAreIndependent: a target that fails does not fail the others, and
// one that waits is not written to.
func TestTargetsAreIndependent(t *testing.T) {
	broken := errors.New("broken")
	at := func(host string) ref.Reference { return ref.Reference{Registry: host, Repository: "a", Tag: "1"} }
	p := plan.Part{Steps: []plan.Step{
		{Target: at("good"), Work: plan.Copy, Lock: plan.LockTag},
		{Target: at("broken"), Work: plan.Copy, Lock: plan.LockTag},
		{Target: at("waiting"), Work: plan.Wait, Lock: plan.LockTag},
		{Target: at("unlocked"), Work: plan.Nothing, Lock: plan.LockNone},
	}}
	s := newFakeRegistry(root, child)
	calls := 0
	results := Execute(t.Context(), p, image, copierFunc(func(steps []plan.Step, done func(int, CopyResult, error)) {
		calls++
		if len(steps) != 2 || steps[0] != p.Steps[0] || steps[1] != p.Steps[1] {
			t.Errorf("to be copied are %+v, want the two steps that have work", steps)
		}
		done(1, CopyResult{}, broken)
		done(0, CopyResult{State: "copied", Changed: true}, nil)
	}), nil, func(host string) (Locker, error) {
		if host != "good" {
			t.Errorf("the locks of %s were asked for", host)
		}
		return s, nil
	})
	if calls != 1 {
		t.Errorf("the image was handed over in %d calls, want one", calls)
	}
	if results[0].Err != nil || results[0].State != "copied" || results[0].Locked != "tag" || !results[0].Changed {
		t.Errorf("good: %+v", results[0])
	}
	if !errors.Is(results[1].Err, broken) || results[1].Locked != "" {
		t.Errorf("broken: %+v", results[1])
	}
	if results[2] != (Result{}) {
		t.Errorf("waiting: %+v", results[2])
	}
	if results[3].Err != nil || results[3].State != "present" || results[3].Changed || results[3].Locked != "" {
		t.Errorf("unlocked: %+v", results[3])
	}
}

// TestLocksDoNotWaitForOtherTargets: a target is locked while the image is
// still on its way to another.
func TestLocksDoNotWaitForOtherTargets(t *testing.T) {
	p := plan.Part{Steps: []plan.Step{
		{Target: ref.Reference{Registry: "slow", Repository: "a", Tag: "1"}, Work: plan.Copy, Lock: plan.LockTag},
		{Target: ref.Reference{Registry: "fast", Repository: "a", Tag: "1"}, Work: plan.Copy, Lock: plan.LockTag},
	}}
	locked := make(chan string, 2)
	results := Execute(t.Context(), p, image, copierFunc(func(_ []plan.Step, done func(int, CopyResult, error)) {
		done(1, CopyResult{State: "copied"}, nil)
		select {
		case host := <-locked:
			if host != "fast" {
				t.Errorf("%s is locked first", host)
			}
		case <-time.After(10 * time.Second):
			t.Error("the fast target is not locked while the slow one is copied to")
		}
		done(0, CopyResult{State: "copied"}, nil)
	}), nil, func(host string) (Locker, error) {
		locked <- host
		return newFakeRegistry(root, child), nil
	})
	for i, d := range results {
		if d.Err != nil || d.Locked != "tag" {
			t.Errorf("target %d: %+v", i, d)
		}
	}
}

// TestUnreportedStepFails: a step fails unless the copier reports that it has
// succeeded.
func TestUnreportedStepFails(t *testing.T) {
	p := plan.Part{Steps: []plan.Step{{Target: cart, Work: plan.Copy, Lock: plan.LockTag}}}
	results := Execute(t.Context(), p, image, copierFunc(func([]plan.Step, func(int, CopyResult, error)) {}), nil, func(string) (Locker, error) {
		t.Error("it was locked")
		return newFakeRegistry(root, child), nil
	})
	if results[0].Err == nil || results[0].Locked != "" {
		t.Errorf("%+v", results[0])
	}
}

// TestFirstFailedLockIsReported: which error is reported does not depend on
// timing, and the other manifests are locked.
func TestFirstFailedLockIsReported(t *testing.T) {
	s := newFakeRegistry(root, child)
	many := Image{Digest: root}
	for i := range 20 {
		many.Children = append(many.Children, fmt.Sprintf("sha256:%064d", i))
	}
	many.Children = append(many.Children, child)
	p := plan.Part{Steps: []plan.Step{{Target: cart, Work: plan.Nothing, Lock: plan.LockTag}}}
	results := Execute(t.Context(), p, many, nil, nil, func(string) (Locker, error) { return s, nil })
	if err := results[0].Err; err == nil || !strings.Contains(err.Error(), many.Children[0]) || results[0].Locked != "" || !results[0].Changed {
		t.Errorf("%+v", results[0])
	}
	if s.manifests[child].DeleteEnabled {
		t.Error("the manifests after one that cannot be locked are left open")
	}
}

// attesterFunc is an Attester.
type attesterFunc func(plan.Step) (bool, error)

func (f attesterFunc) Attest(_ context.Context, step plan.Step) (bool, error) { return f(step) }

// TestReceiptsBeforeLocks: a target that has everything gets its receipt before it is
// locked, and is not locked without it.
func TestReceiptsBeforeLocks(t *testing.T) {
	missing := errors.New("no receipt")
	p := plan.Part{Steps: []plan.Step{{Target: cart, Work: plan.Nothing, Lock: plan.LockTag}}}
	for _, err := range []error{nil, missing} {
		s := newFakeRegistry(root, child)
		results := Execute(t.Context(), p, image, nil, attesterFunc(func(plan.Step) (bool, error) {
			if s.writes > 0 {
				t.Error("the image is locked before it has its receipt")
			}
			return err == nil, err
		}), func(string) (Locker, error) { return s, nil })
		if got := results[0]; !errors.Is(got.Err, err) || got.Locked != map[bool]string{true: "tag"}[err == nil] || got.Changed != (err == nil) {
			t.Errorf("error %v: %+v", err, got)
		}
	}
}

// TestSignedSealBeforeLocks: the statement of a seal names the record that was
// attached just now, and the image is not locked without it.
func TestSignedSealBeforeLocks(t *testing.T) {
	missing := errors.New("no statement")
	for _, c := range []struct {
		record bool
		err    error
	}{{true, nil}, {false, nil}, {true, missing}} {
		s := newFakeRegistry(root, child, other)
		s.sign = func(record string) error {
			if record != map[bool]string{true: other}[c.record] {
				t.Errorf("%+v: the record is %q", c, record)
			}
			if !s.tag.WriteEnabled {
				t.Errorf("%+v: the tag is locked before its record is signed", c)
			}
			return c.err
		}
		sealed, err := Seal(t.Context(), sealPlan(plan.LockTag, c.record), image, []byte("{}"), map[bool]string{false: other}[c.record], s, s)
		if !errors.Is(err, c.err) || !sealed.Changed || s.tag.WriteEnabled != (c.err != nil) {
			t.Errorf("%+v: %+v, %v, writable %v", c, sealed, err, s.tag.WriteEnabled)
		}
	}
}
