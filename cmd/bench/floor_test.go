package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"acrpromote/internal/testimage"
)

func caseOf(t *testing.T, key string) scenario {
	chosen, err := chooseCases(key, false)
	if err != nil {
		t.Fatal(err)
	}
	return chosen[0]
}

// The floor is what the others are compared with: it makes as many requests as
// are derived on paper, and brings everything along.
func TestFloorMakesTheLeastRequests(t *testing.T) {
	authority, err := ca()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "f"} {
		for _, n := range []network{{Name: "plain"}, {Name: "tls", TLS: true}} {
			t.Run(key+" "+n.Name, func(t *testing.T) {
				s := caseOf(t, key)
				source, target := inMemory(t).address, inMemory(t).address
				images, err := s.build(t.Context(), newSeeder(source, key), 0)
				if err != nil {
					t.Fatal(err)
				}
				from, to := proxied(t, source, n), proxied(t, target, n)
				pairs := []pair{{images[0].source(), "r1/" + images[0].source()}}
				for phase, want := range []int{s.least(images), s.leastAgain(images)} {
					f := newFloor(from.address(), to.address(), 8, s.referrers, n.TLS, authority.Pool())
					if err := f.run(t.Context(), []string{pairs[0].source + "=" + pairs[0].target}); err != nil {
						t.Fatal(err)
					}
					f.client.CloseIdleConnections()
					got := 0
					for _, p := range []*proxy{from, to} {
						count, err := p.look()
						if err != nil {
							t.Fatal(err)
						}
						got += count.Requests
					}
					if got != want {
						t.Errorf("phase %d took %d requests, want %d", phase, got, want)
					}
				}
				if left, err := leftBehind(t.Context(), target, images, pairs); err != nil || left != 0 {
					t.Errorf("%d manifests were left behind (%v)", left, err)
				}
			})
		}
	}
}

func proxied(t *testing.T, backend string, n network) *proxy {
	p, err := startProxy(backend, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

func TestFloorOverwritesNobodysSignatures(t *testing.T) {
	s := caseOf(t, "f")
	source, target := inMemory(t).address, inMemory(t).address
	images, err := s.build(t.Context(), newSeeder(source, "f"), 0)
	if err != nil {
		t.Fatal(err)
	}
	cosign := testimage.FallbackTag(images[0].root) + ".sig"
	theirs := image{repository: "r1/" + images[0].repository}
	their := newSeeder(target, "theirs")
	signature := their.platform("", nil, 10)
	if err := their.push(t.Context(), &theirs, cosign, signature); err != nil {
		t.Fatal(err)
	}
	err = newFloor(source, target, 8, true, false, nil).run(t.Context(), []string{images[0].source() + "=r1/" + images[0].source()})
	if err == nil {
		t.Error("it took the tag for its own")
	}
	if there, err := resolve(t.Context(), target, theirs.repository, cosign); err != nil || there != testimage.Of(signature).Digest {
		t.Errorf("the tag is %s now (%v), want %s", there, err, testimage.Of(signature).Digest)
	}
}

// A program that fails is reported as failed and does not affect the others.
func TestWhoFailsIsToldAndTheOthersGoOn(t *testing.T) {
	s := caseOf(t, "a")
	s.build = single("a", same(1, kib))
	between := &sides{inMemory(t), inMemory(t)}
	images, err := s.build(t.Context(), newSeeder(between.from.address, "a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{folder: t.TempDir(), runs: 2, deadline: farAway, out: &measurement{}, tell: t.Logf, contestants: []contestant{
		{name: "gone", commands: func(task) ([]command, error) { return []command{{args: []string{"/nowhere/at/all"}}}, nil }},
		{name: "unable", commands: func(task) ([]command, error) { return nil, fmt.Errorf("it has no settings") }},
		{name: "idle", commands: func(task) ([]command, error) { return nil, nil }},
		{name: "good", commands: func(t task) ([]command, error) {
			return nil, newFloor(t.from, t.to, 8, false, false, nil).run(context.Background(), []string{t.pairs[0].source + "=" + t.pairs[0].target})
		}},
	}}
	if err := b.on(t.Context(), s, network{Name: "loopback"}, between, images); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"gone": "nowhere", "unable": "it has no settings", "idle": `is "" there`, "good": ""} {
		for _, phase := range []string{cold, again} {
			r := b.out.find("a", "loopback", phase, name)
			if r == nil || !strings.Contains(r.Failed, want) || (r.Failed == "") != (want == "") || want == "" && len(r.Runs) != b.runs {
				t.Errorf("%s, %s: %+v, want %q", name, phase, r, want)
			}
		}
	}
}
