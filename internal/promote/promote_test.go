package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
)

var (
	root  = "sha256:" + strings.Repeat("a", 64)
	child = "sha256:" + strings.Repeat("b", 64)
	other = "sha256:" + strings.Repeat("c", 64)
	where = ref.Reference{Registry: "prod.azurecr.io", Repository: "shop/cart", Tag: "1"}
)

// shelf is a registry's locks in memory; it counts what is written, and can be
// told to lose a lock or to refuse one.
type shelf struct {
	mu     sync.Mutex
	tag    plan.Attributes
	things map[string]*plan.Attributes
	writes int
	deaf   bool
	deny   error
}

func newShelf(digests ...string) *shelf {
	s := &shelf{tag: plan.Attributes{Digest: root, WriteEnabled: true, DeleteEnabled: true}, things: map[string]*plan.Attributes{}}
	for _, d := range digests {
		s.things[d] = &plan.Attributes{Digest: d, WriteEnabled: true, DeleteEnabled: true, Created: time.Unix(1, 0)}
	}
	return s
}

func (s *shelf) Tag(context.Context, string, string) (plan.Attributes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tag, nil
}

func (s *shelf) Manifest(_ context.Context, _, digest string) (plan.Attributes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.things[digest] == nil {
		return plan.Attributes{}, fmt.Errorf("there is no manifest %s", digest)
	}
	return *s.things[digest], nil
}

func (s *shelf) SetTag(_ context.Context, _, _ string, write, del bool) error {
	return s.set(&s.tag, write, del)
}

func (s *shelf) SetManifest(_ context.Context, _, digest string, write, del bool) error {
	return s.set(s.things[digest], write, del)
}

func (s *shelf) set(a *plan.Attributes, write, del bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deny != nil {
		return s.deny
	}
	s.writes++
	if !s.deaf {
		a.WriteEnabled, a.DeleteEnabled = write, del
	}
	return nil
}

func (s *shelf) Attach(_ context.Context, _ []byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	s.things[other] = &plan.Attributes{Digest: other, WriteEnabled: true, DeleteEnabled: true, Created: time.Unix(2, 0)}
	return other, nil
}

func sealPlan(lock plan.Lock, record bool) plan.Part {
	return plan.Part{Wanted: plan.Wanted{Action: plan.Seal, Source: where}, Digest: root, Record: record, Steps: []plan.Step{{Target: where, Lock: lock}}}
}

var image = Image{Digest: root, Children: []string{child}}

func TestSealLocksAndConverges(t *testing.T) {
	for _, c := range []struct {
		lock  plan.Lock
		write bool
	}{{plan.LockTag, true}, {plan.LockImage, false}} {
		s := newShelf(root, child)
		sealed, err := Seal(t.Context(), sealPlan(c.lock, true), image, []byte("{}"), "", s, s)
		if err != nil || !sealed.Changed || !sealed.At.Equal(time.Unix(2, 0)) {
			t.Fatalf("lock %s: %+v, %v", c.lock, sealed, err)
		}
		if s.tag.WriteEnabled || s.tag.DeleteEnabled {
			t.Errorf("lock %s left the tag open: %+v", c.lock, s.tag)
		}
		for _, d := range []string{root, child} {
			if a := s.things[d]; a.DeleteEnabled || a.WriteEnabled != c.write {
				t.Errorf("lock %s left %s with %+v", c.lock, d, a)
			}
		}
		if a := s.things[other]; !a.WriteEnabled || !a.DeleteEnabled {
			t.Errorf("lock %s locked the record: %+v", c.lock, a)
		}
		before := s.writes
		sealed, err = Seal(t.Context(), sealPlan(c.lock, false), image, []byte("{}"), other, s, s)
		if err != nil || sealed.Changed || s.writes != before {
			t.Errorf("lock %s again: %+v, %v, %d writes", c.lock, sealed, err, s.writes-before)
		}
	}
}

func TestSealRefusesATagThatMoved(t *testing.T) {
	s := newShelf(root, child)
	s.tag.Digest = other
	_, err := Seal(t.Context(), sealPlan(plan.LockTag, true), image, []byte("{}"), "", s, s)
	var contradiction *Contradiction
	if !errors.As(err, &contradiction) || !s.tag.WriteEnabled {
		t.Fatalf("error %v, tag %+v: a tag that points elsewhere must stay as it is", err, s.tag)
	}
}

func TestALockThatDoesNotShowIsAnError(t *testing.T) {
	s := newShelf(root, child)
	s.deaf = true
	_, err := Seal(t.Context(), sealPlan(plan.LockTag, true), image, []byte("{}"), "", s, s)
	var contradiction *Contradiction
	if !errors.As(err, &contradiction) {
		t.Fatalf("error %v, want a contradiction", err)
	}
}

func TestADeniedLockIsAnError(t *testing.T) {
	s := newShelf(root, child)
	s.deny = errors.New("role missing")
	if _, err := Seal(t.Context(), sealPlan(plan.LockTag, false), image, nil, root, s, s); !errors.Is(err, s.deny) {
		t.Fatalf("error %v, want %v", err, s.deny)
	}
}

type courier func(steps []plan.Step, arrived func(int, Arrival, error))

func (c courier) Copy(_ context.Context, steps []plan.Step, arrived func(int, Arrival, error)) {
	c(steps, arrived)
}

// TestTargetsAreIslands: one that fails takes no other with it, and one that
// waits is not touched.
func TestTargetsAreIslands(t *testing.T) {
	broken := errors.New("broken")
	at := func(host string) ref.Reference { return ref.Reference{Registry: host, Repository: "a", Tag: "1"} }
	p := plan.Part{Steps: []plan.Step{
		{Target: at("good"), Work: plan.Copy, Lock: plan.LockTag},
		{Target: at("broken"), Work: plan.Copy, Lock: plan.LockTag},
		{Target: at("waiting"), Work: plan.Wait, Lock: plan.LockTag},
		{Target: at("unlocked"), Work: plan.Nothing, Lock: plan.LockNone},
	}}
	s := newShelf(root, child)
	calls := 0
	done := Targets(t.Context(), p, image, courier(func(steps []plan.Step, arrived func(int, Arrival, error)) {
		calls++
		if len(steps) != 2 || steps[0] != p.Steps[0] || steps[1] != p.Steps[1] {
			t.Errorf("to be copied are %+v, want the two steps that have work", steps)
		}
		arrived(1, Arrival{}, broken)
		arrived(0, Arrival{State: "copied", Changed: true}, nil)
	}), func(host string) (Locker, error) {
		if host != "good" {
			t.Errorf("the locks of %s were asked for", host)
		}
		return s, nil
	})
	if calls != 1 {
		t.Errorf("the image was handed over in %d calls, want one", calls)
	}
	if done[0].Err != nil || done[0].State != "copied" || done[0].Locked != "tag" || !done[0].Changed {
		t.Errorf("good: %+v", done[0])
	}
	if !errors.Is(done[1].Err, broken) || done[1].Locked != "" {
		t.Errorf("broken: %+v", done[1])
	}
	if done[2] != (Done{}) {
		t.Errorf("waiting: %+v", done[2])
	}
	if done[3].Err != nil || done[3].State != "present" || done[3].Changed || done[3].Locked != "" {
		t.Errorf("unlocked: %+v", done[3])
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
	done := Targets(t.Context(), p, image, courier(func(_ []plan.Step, arrived func(int, Arrival, error)) {
		arrived(1, Arrival{State: "copied"}, nil)
		select {
		case host := <-locked:
			if host != "fast" {
				t.Errorf("%s is locked first", host)
			}
		case <-time.After(10 * time.Second):
			t.Error("the fast target is not locked while the slow one is copied to")
		}
		arrived(0, Arrival{State: "copied"}, nil)
	}), func(host string) (Locker, error) {
		locked <- host
		return newShelf(root, child), nil
	})
	for i, d := range done {
		if d.Err != nil || d.Locked != "tag" {
			t.Errorf("target %d: %+v", i, d)
		}
	}
}

// TestAnEndThatIsNotReportedIsAFailure: what is not known to have arrived has not.
func TestAnEndThatIsNotReportedIsAFailure(t *testing.T) {
	p := plan.Part{Steps: []plan.Step{{Target: where, Work: plan.Copy, Lock: plan.LockTag}}}
	done := Targets(t.Context(), p, image, courier(func([]plan.Step, func(int, Arrival, error)) {}), func(string) (Locker, error) {
		t.Error("it was locked")
		return newShelf(root, child), nil
	})
	if done[0].Err == nil || done[0].Locked != "" {
		t.Errorf("%+v", done[0])
	}
}

// TestAFailedLockIsTheFirstByOrder: which error is reported does not depend on
// which request was answered first, and the other manifests are locked.
func TestAFailedLockIsTheFirstByOrder(t *testing.T) {
	s := newShelf(root, child)
	many := Image{Digest: root}
	for i := range 20 {
		many.Children = append(many.Children, fmt.Sprintf("sha256:%064d", i))
	}
	many.Children = append(many.Children, child)
	p := plan.Part{Steps: []plan.Step{{Target: where, Work: plan.Nothing, Lock: plan.LockTag}}}
	done := Targets(t.Context(), p, many, nil, func(string) (Locker, error) { return s, nil })
	if err := done[0].Err; err == nil || !strings.Contains(err.Error(), many.Children[0]) || done[0].Locked != "" || !done[0].Changed {
		t.Errorf("%+v", done[0])
	}
	if s.things[child].DeleteEnabled {
		t.Error("the manifests after one that cannot be locked are left open")
	}
}
