package topology

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// generate returns a random flow file, valid or not.
func generate(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	trust := []string{"dev", "staging", "production"}[:1+r.IntN(3)]
	fmt.Fprintf(&b, "version: 1\ntrust: [%s]\nregistries:\n", strings.Join(trust, ", "))
	registries := 1 + r.IntN(5)
	for i := range registries {
		fmt.Fprintf(&b, "  r%d: {host: r%d.azurecr.io, trust: %s, immutable: %v}\n", i, i, pick(trust...), r.IntN(2) == 0)
	}
	b.WriteString("flows:\n")
	for i := range 1 + r.IntN(3) {
		from := r.IntN(registries)
		var to []string
		for j := range registries {
			if j != from && r.IntN(2) == 0 {
				to = append(to, fmt.Sprintf("r%d", j))
			}
		}
		if len(to) == 0 || r.IntN(4) == 0 {
			to = append(to, fmt.Sprintf("r%d", (from+1)%registries))
			slices.Sort(to)
			to = slices.Compact(to)
		}
		fmt.Fprintf(&b, "  f%d:\n    from: r%d\n    to: [%s]\n", i, from, strings.Join(to, ", "))
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "    repositories: [%q, shop/x]\n", pick("shop/*", "shop/**", "**", "base/*", "*/cart", "s?op/cart", "web"))
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "    tags: [%q, nightly]\n", pick(">=1", ">=1.2 <2", "v*", "*", "1.?.*", "latest"))
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "    movingTags: [%s, qa]\n", pick("test", "stage", "\"*-test\""))
		}
		if r.IntN(4) == 0 {
			fmt.Fprintf(&b, "    as: {repository: %q}\n", pick("x/{repository}", "{repository}", "{repository}-x"))
		}
		if r.IntN(4) == 0 {
			b.WriteString("    teams:\n")
			for _, name := range to {
				fmt.Fprintf(&b, "      %s: [%q, own]\n", name, pick("shop/**", "**", "*/cart"))
			}
		}
		switch r.IntN(5) {
		case 0:
			b.WriteString("    require: {approval: {kind: none}}\n")
		case 1:
			b.WriteString("    require: {approval: {kind: manual, environment: P, minApprovers: 2}, branches: [refs/heads/a, refs/heads/b]}\n")
		case 2:
			b.WriteString("    require: {approval: {kind: automated, checks: [{definition: 2, resource: P}, {definition: 1, resource: P}]}}\n")
		case 3:
			b.WriteString("    require: {approval: {environment: \"{tag}\"}}\n")
		}
	}
	return b.String()
}

// TestGeneratedTopologies checks invariants of all files that Parse accepts.
func TestGeneratedTopologies(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	repositories := []string{"shop/cart", "shop/x", "shop/a/b", "base/os", "web", "own", "x/cart", "Shop", "../x", ""}
	tags := []string{"1.2.3", "v1.0", "2.0.0-rc.1", "latest", "nightly", "test", "stage", "qa", "a-test", "7", "", "-x"}
	taken, selected, upward := 0, 0, 0
	for range 1500 {
		content := generate(r)
		file, err := Parse("f", []byte(content))
		if err != nil {
			continue
		}
		taken++
		for _, flow := range file.Flows {
			for _, to := range flow.To {
				if to != flow.From && file.Direction(flow.From, to) == Up {
					upward++
					a := flow.Require.Approval
					if a.Kind == None || a.Kind != Automated && a.Environment == "" || a.Kind == Automated && len(a.Checks) == 0 {
						t.Fatalf("upward without approval:\n%s", content)
					}
				}
			}
		}
		for range 60 {
			a := Query{
				From: fmt.Sprintf("r%d.azurecr.io", r.IntN(6)), To: fmt.Sprintf("r%d.azurecr.io", r.IntN(6)),
				Repository: repositories[r.IntN(len(repositories))], Tag: tags[r.IntN(len(tags))],
			}
			if r.IntN(2) == 0 {
				flow := file.Flows[keys(file.Flows)[r.IntN(len(file.Flows))]]
				a.From, a.To = string(file.Registries[flow.From].Host), string(file.Registries[flow.To[r.IntN(len(flow.To))]].Host)
			}
			if r.IntN(3) == 0 {
				a.Flow = fmt.Sprintf("f%d", r.IntN(4))
			}
			if r.IntN(3) == 0 {
				a.TargetTag = tags[r.IntN(len(tags))]
			}
			if r.IntN(5) == 0 {
				a.TargetRepository = repositories[r.IntN(len(repositories))]
			}
			flow, refusal := file.Select(a)
			if (flow == nil) == (refusal == nil) {
				t.Fatalf("%+v: %v, %v", a, flow, refusal)
			}
			if refusal != nil {
				if refusal.Reason == "" || refusal.Remedy == "" || refusal.Subject == "" {
					t.Fatalf("%+v: %+v", a, refusal)
				}
				continue
			}
			selected++
			from, _ := file.ByHost(a.From)
			to, _ := file.ByHost(a.To)
			repository, tag, err := flow.Names(a.Repository, a.Tag)
			if err != nil || !flow.Covers(a.Repository, a.Tag) || flow.From != from.Name || !slices.Contains(flow.TargetsFor(a.Repository), to.Name) ||
				a.Flow != "" && flow.Name != a.Flow || a.TargetRepository != "" && a.TargetRepository != repository ||
				a.TargetTag != "" && a.TargetTag != tag && !flow.Moves(a.TargetTag) {
				t.Fatalf("%+v was given flow %s, which does not cover it:\n%s", a, flow.Name, content)
			}
			// No flow with other rules covers the same image.
			for _, other := range file.Flows {
				named := a
				named.Flow = other.Name
				if f, _ := file.Select(named); f != nil && a.Flow == "" && f.rules() != flow.rules() {
					t.Fatalf("%+v: flows %s and %s, with other rules:\n%s", a, flow.Name, f.Name, content)
				}
			}
			end := a.TargetTag
			if end == "" {
				end = tag
			}
			if to.Immutable && end != "" && !flow.Moves(end) {
				if file.MayMove(flow, a.From, a.To, repository, end, true) == nil {
					t.Fatalf("%+v: an immutable tag would move:\n%s", a, content)
				}
			}
		}
	}
	if taken < 200 || selected < 1000 || upward < 50 {
		t.Fatalf("the generator is too weak: %d valid files, %d selected, %d upward", taken, selected, upward)
	}
}
