package plan

import (
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

func TestDirectRules(t *testing.T) {
	yes, no := true, false
	code := topology.CodeOfPlan
	pattern := regexp.MustCompile("CHG")
	asked := topology.Rules{Kind: topology.Manual, MinApprovers: 1, AuthorCanApprove: true, Lock: topology.LockNone, OnPartial: topology.Fail}
	with := func(change func(*topology.Rules)) topology.Rules {
		rules := asked
		change(&rules)
		return rules
	}
	for _, c := range []struct {
		name  string
		order DirectRequest
		want  topology.Rules
	}{
		{"promote, no inputs", DirectRequest{Action: Promote}, asked},
		{"an inverted push needs a seal", DirectRequest{Action: InvertedPush}, with(func(t *topology.Rules) { t.Sealed = true })},
		{"no input waives the seal", DirectRequest{Action: InvertedPush, Inputs: topology.Inputs{Sealed: &no}}, with(func(t *topology.Rules) { t.Sealed = true })},
		{"seal and approval waived at a prompt", DirectRequest{Action: InvertedPush, Unapproved: true, Inputs: topology.Inputs{Approval: topology.None, Sealed: &yes}}, with(func(t *topology.Rules) { t.Kind = topology.None })},
		{"a promotion may need a seal", DirectRequest{Action: Promote, Inputs: topology.Inputs{Sealed: &yes}}, with(func(t *topology.Rules) { t.Sealed = true })},
		{"a seal needs no approval and locks", DirectRequest{Action: Seal, Inputs: topology.Inputs{Sealed: &yes}}, with(func(t *topology.Rules) { t.Kind, t.Lock = topology.None, topology.LockTag })},
		{"an audit needs no approval", DirectRequest{Action: Audit, Inputs: topology.Inputs{Sealed: &yes}}, with(func(t *topology.Rules) { t.Kind = topology.None })},
		{"all inputs", DirectRequest{Action: Promote, Inputs: topology.Inputs{
			Approval: topology.Any, Environment: "Production", MinApprovers: 3, RequesterCanApprove: &yes, AuthorCanApprove: &no, Approvers: []string{"a"},
			MaxAge: time.Hour, CommentPattern: pattern, Code: &code, Lock: topology.LockImage, OnPartial: topology.Warn,
		}}, topology.Rules{
			Kind: topology.Any, Environment: "Production", MinApprovers: 3, RequesterCanApprove: true, Approvers: []string{"a"},
			MaxAge: time.Hour, CommentPatterns: []*regexp.Regexp{pattern}, Code: topology.CodeOfPlan, Lock: topology.LockImage, OnPartial: topology.Warn,
		}},
	} {
		c.order.Source = prod + "/shop/cart:1"
		w, problems, _ := c.order.Wanted()
		if len(problems) > 0 || len(w.Routes) != 1 {
			t.Fatalf("%s: %v", c.name, problems)
		}
		if !reflect.DeepEqual(w.Routes[0].Rules, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, w.Routes[0].Rules, c.want)
		}
	}
}

func TestDirectReferences(t *testing.T) {
	for _, c := range []struct {
		name     string
		order    DirectRequest
		targets  []ref.Reference
		problems []string // inputs
		warnings int
	}{
		{"two targets", DirectRequest{Action: InvertedPush, Targets: []string{dev, "dev2.azurecr.io/x:2"}}, []ref.Reference{at(dev, "1"), {Registry: "dev2.azurecr.io", Repository: "x", Tag: "2"}}, nil, 0},
		{"duplicate target", DirectRequest{Action: InvertedPush, Targets: []string{dev, dev + "/shop/cart:1"}}, []ref.Reference{at(dev, "1")}, nil, 1},
		{"an invalid source", DirectRequest{Action: Promote, Source: "x", Targets: []string{"y z"}}, nil, []string{"source", "targets"}, 0},
		{"an invalid digest and two invalid targets", DirectRequest{Action: Promote, Digest: "sha256:x", Targets: []string{"y z", prod + "/shop/cart:1"}}, nil, []string{"digest", "targets", "targets"}, 0},
		{"the source itself", DirectRequest{Action: Promote, Targets: []string{prod}}, nil, []string{"targets"}, 0},
		{"an inverted push within one registry", DirectRequest{Action: InvertedPush, Targets: []string{prod + "/shop/cart:2"}}, nil, []string{"targets"}, 0},
		{"an inverted push to a regional endpoint of the source's registry", DirectRequest{Action: InvertedPush, Source: "prod.azurecr.io/shop/cart:1", Targets: []string{"prod.westeurope.geo.azurecr.io/shop/cart:2", "dev.westeurope.geo.azurecr.io"}}, nil, []string{"targets"}, 0},
		{"an inverted push between regional endpoints of one registry", DirectRequest{Action: InvertedPush, Source: "prod.westus.geo.azurecr.io/shop/cart:1", Targets: []string{"prod.westeurope.geo.azurecr.io"}}, nil, []string{"targets"}, 0},
		{"a promotion within one registry", DirectRequest{Action: Promote, Targets: []string{prod + "/shop/cart:2"}}, []ref.Reference{at(prod, "2")}, nil, 0},
		{"two different digests", DirectRequest{Action: Seal, Source: prod + "/shop/cart@" + released, Digest: other}, nil, []string{"digest"}, 0},
		{"the same digest twice", DirectRequest{Action: Seal, Source: prod + "/shop/cart@" + released, Digest: released}, nil, nil, 0},
	} {
		if c.order.Source == "" {
			c.order.Source = prod + "/shop/cart:1"
		}
		w, problems, warnings := c.order.Wanted()
		var got []string
		for _, p := range problems {
			got = append(got, p.Input)
		}
		if !slices.Equal(got, c.problems) || len(warnings) != c.warnings {
			t.Errorf("%s: problems %v, warnings %v", c.name, problems, warnings)
		}
		if len(c.problems) == 0 && (!slices.Equal(w.Targets, c.targets) || len(w.Routes) != max(len(c.targets), 1)) {
			t.Errorf("%s: targets %v with %d routes, want %v", c.name, w.Targets, len(w.Routes), c.targets)
		}
	}
}

func TestNeed(t *testing.T) {
	azure := func(host string) bool { return host != "localhost:5000" }
	rules := func(lock topology.Lock, sealed bool, attached ...topology.Attached) topology.Rules {
		return topology.Rules{Lock: lock, Sealed: sealed, Attached: attached}
	}
	wanted := func(action, to string, t topology.Rules) Wanted {
		w := Wanted{Action: action, Source: at(prod, "1"), Routes: []Route{{Rules: t}}}
		if to != "" {
			w.Targets = []ref.Reference{at(to, "1")}
		}
		return w
	}
	aged := topology.Attached{ArtifactType: "a/b", MaxAge: topology.Duration(time.Hour)}
	for _, c := range []struct {
		name           string
		w              Wanted
		writes         bool
		source, target []string
	}{
		{"push", wanted(InvertedPush, dev, rules(topology.LockNone, false)), true, []string{"pull", "metadata_read"}, []string{"pull", "metadata_read", "push"}},
		{"push, sealed", wanted(InvertedPush, dev, rules(topology.LockNone, true)), true, []string{"pull", "metadata_read"}, []string{"pull", "metadata_read", "push"}},
		{"push, with something attached", wanted(InvertedPush, dev, rules(topology.LockNone, false, topology.Attached{ArtifactType: "a/b"})), true, []string{"pull", "metadata_read"}, []string{"pull", "metadata_read", "push"}},
		{"push, with something attached of some age", wanted(InvertedPush, dev, rules(topology.LockNone, false, aged)), true, []string{"pull", "metadata_read"}, []string{"pull", "metadata_read", "push"}},
		{"push and lock", wanted(InvertedPush, dev, rules(topology.LockTag, false)), true, []string{"pull", "metadata_read"}, []string{"pull", "metadata_read", "push", "metadata_write"}},
		{"a dry run", wanted(InvertedPush, dev, rules(topology.LockTag, false)), false, []string{"pull", "metadata_read"}, []string{"pull", "metadata_read"}},
		{"push without an approval", wanted(InvertedPush, dev, topology.Rules{Kind: topology.None, Lock: topology.LockNone}), true, []string{"pull"}, []string{"pull", "metadata_read", "push"}},
		{"push of what is brought late", func() Wanted {
			w := wanted(InvertedPush, dev, topology.Rules{Lock: topology.LockNone})
			w.Routes[0].Flow = &topology.Flow{Referrers: topology.Referrers{AfterApproval: topology.Bring}}
			return w
		}(), true, []string{"pull"}, []string{"pull", "metadata_read", "push"}},
		{"push from a registry without times", func() Wanted {
			w := wanted(InvertedPush, dev, topology.Rules{Lock: topology.LockNone})
			w.Source.Registry = "localhost:5000"
			return w
		}(), true, nil, []string{"pull", "metadata_read", "push"}},
		{"a tag in the same repository", func() Wanted {
			w := wanted(Promote, prod, topology.Rules{Lock: topology.LockNone})
			w.Targets[0].Tag = "production"
			return w
		}(), true, []string{"pull", "metadata_read", "push"}, nil},
		{"push to a registry without locks", wanted(InvertedPush, "localhost:5000", rules(topology.LockNone, false)), true, []string{"pull", "metadata_read"}, []string{"pull", "push"}},
		{"an audit", wanted(Audit, dev, rules(topology.LockNone, false)), false, []string{"pull"}, []string{"pull"}},
		{"seal", wanted(Seal, "", rules(topology.LockTag, false)), true, []string{"pull", "metadata_read", "push", "metadata_write"}, nil},
		{"seal, a dry run", wanted(Seal, "", rules(topology.LockTag, false)), false, []string{"pull", "metadata_read"}, nil},
	} {
		got := RequiredRights([]Wanted{c.w}, nil, Usage{Writes: c.writes, Azure: azure})
		if !slices.Equal(got[prod]["shop/cart"], c.source) {
			t.Errorf("%s: %v at the source, want %v", c.name, got[prod]["shop/cart"], c.source)
		}
		if c.target != nil && !slices.Equal(got[c.w.Targets[0].Registry]["shop/cart"], c.target) {
			t.Errorf("%s: %v at the target, want %v", c.name, got[c.w.Targets[0].Registry]["shop/cart"], c.target)
		}
	}
	// Reading what is attached lists the source's tags, which on Azure is a right
	// of its own; a seal reads nothing attached.
	push := wanted(InvertedPush, dev, topology.Rules{Kind: topology.None, Lock: topology.LockNone})
	elsewhere := push
	elsewhere.Source.Registry = "localhost:5000"
	for _, c := range []struct {
		w    Wanted
		want []string
	}{
		{push, []string{"pull", "metadata_read"}},
		{wanted(Audit, dev, rules(topology.LockNone, false)), []string{"pull", "metadata_read"}},
		{elsewhere, []string{"pull"}},
	} {
		got := RequiredRights([]Wanted{c.w}, nil, Usage{Writes: true, Referrers: true, Azure: azure})
		if source := c.w.Source; !slices.Equal(got[source.Registry][source.Repository], c.want) {
			t.Errorf("%s from %s with what is attached: %v, want %v", c.w.Action, source.Registry, got[source.Registry][source.Repository], c.want)
		}
	}
	// What the step can do without is not required.
	for _, c := range []struct {
		w              Wanted
		source, target []string
	}{
		{wanted(InvertedPush, dev, topology.Rules{Kind: topology.None, Lock: topology.LockNone}), []string{"pull"}, []string{"pull", "push"}},
		{wanted(InvertedPush, dev, rules(topology.LockTag, true)), []string{"pull", "metadata_read"}, []string{"pull", "metadata_read", "push", "metadata_write"}},
	} {
		got := RequiredRights([]Wanted{c.w}, nil, Usage{Writes: true, Referrers: true, Azure: azure, Required: true})
		if !slices.Equal(got[prod]["shop/cart"], c.source) || !slices.Equal(got[dev]["shop/cart"], c.target) {
			t.Errorf("required for lock %s: %v", c.w.Routes[0].Rules.Lock, got)
		}
	}
	others := RequiredRights(nil, []ref.Reference{at(prod, "2")}, Usage{Writes: true, Referrers: true, Azure: azure})
	if !slices.Equal(others[prod]["shop/cart"], []string{"pull"}) {
		t.Errorf("images of other jobs: %v", others)
	}
}

func TestSliceCutsASet(t *testing.T) {
	repositories := []string{"shop/cart", "shop/web", "base/dotnet", "a", "b", "c/d/e"}
	for _, repository := range repositories {
		for total := 2; total < 6; total++ {
			jobs := 0
			for position := 1; position <= total; position++ {
				if (Slice{Position: position, Total: total}).Has(repository) {
					jobs++
				}
			}
			if jobs != 1 {
				t.Errorf("%s is in %d of %d jobs", repository, jobs, total)
			}
		}
		for _, whole := range []Slice{{}, {1, 1}, {0, 3}, {4, 3}, {-1, 2}} {
			if !whole.Has(repository) {
				t.Errorf("%s is in no job: %+v", repository, whole)
			}
		}
	}
}

func TestWarnsOnPartialIfAllRulesDo(t *testing.T) {
	warn, fail := topology.Rules{OnPartial: topology.Warn}, topology.Rules{OnPartial: topology.Fail}
	for _, c := range []struct {
		images []Wanted
		want   bool
	}{
		{nil, false},
		{[]Wanted{wantedBy("1", warn)}, true},
		{[]Wanted{wantedBy("1", warn, fail)}, false},
		{[]Wanted{wantedBy("1", warn), wantedBy("2", fail)}, false},
	} {
		if got := WarnsOnPartial(c.images); got != c.want {
			t.Errorf("%v: %v", c.images, got)
		}
	}
}
