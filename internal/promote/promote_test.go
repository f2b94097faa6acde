package promote

import (
	"context"
	"errors"
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
		return plan.Attributes{}, errors.New("no such manifest")
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

type courier func(ref.Reference) (Arrival, error)

func (c courier) Copy(_ context.Context, r ref.Reference) (Arrival, error) { return c(r) }

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
	var asked sync.Map
	done := Targets(t.Context(), p, image, courier(func(r ref.Reference) (Arrival, error) {
		asked.Store(r.Registry, true)
		if r.Registry == "broken" {
			return Arrival{}, broken
		}
		return Arrival{State: "copied", Changed: r.Registry == "good"}, nil
	}), func(host string) (Locker, error) {
		if host != "good" {
			t.Errorf("the locks of %s were asked for", host)
		}
		return s, nil
	})
	if _, touched := asked.Load("waiting"); touched {
		t.Error("a target that waits was written to")
	}
	if done[0].Err != nil || done[0].Locked != "tag" || !done[0].Changed {
		t.Errorf("good: %+v", done[0])
	}
	if !errors.Is(done[1].Err, broken) || done[1].Locked != "" {
		t.Errorf("broken: %+v", done[1])
	}
	if done[3].Err != nil || done[3].Changed || done[3].Locked != "" {
		t.Errorf("unlocked: %+v", done[3])
	}
}
