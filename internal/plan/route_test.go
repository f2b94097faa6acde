package plan

import (
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// crossroads has flows from one registry in every direction.
const crossroads = `version: 1
trust: [dev, stage, production]
registries:
  stage: {host: stage.azurecr.io, trust: stage}
  twin: {host: twin.azurecr.io, trust: stage}
  dev: {host: dev.azurecr.io, trust: dev}
  dev2: {host: dev2.azurecr.io, trust: dev}
  prod: {host: prod.azurecr.io, trust: production}
flows:
  down: {from: stage, to: [dev], repositories: ["shop/*", "both/*", "down/*"], require: {approval: {environment: D}}}
  mixed: {from: stage, to: [dev, prod], repositories: ["mixed/*"], require: {approval: {environment: M}}}
  sideways: {from: stage, to: [twin], repositories: ["side/*"], require: {approval: {environment: S}}}
  teams: {from: stage, to: [dev, dev2], repositories: ["team/*"], teams: {dev: ["team/a"], dev2: ["team/b"]}, require: {approval: {environment: T}}}
  twice: {from: stage, to: [dev2], repositories: ["down/*"], require: {approval: {environment: E}}}
  up: {from: stage, to: [prod], repositories: ["both/*", "up/*"], require: {approval: {environment: U}}}
  within: {from: stage, to: [stage], repositories: ["moving/*"], movingTags: ["live"], require: {approval: {environment: W}}}
`

func parse(t *testing.T, text string) *topology.File {
	t.Helper()
	f, err := topology.Parse("flows.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func stage(repository string) ref.Reference {
	return ref.Reference{Registry: "stage.azurecr.io", Repository: repository, Tag: "1"}
}

// TestFlowsByDirection: without targets and without a flow's name, an action
// takes the flow that leads in its direction; verify, the action to which the
// flows lead.
func TestFlowsByDirection(t *testing.T) {
	f := parse(t, crossroads)
	for _, c := range []struct {
		repository, flow string
		down, promote    string // hosts, or the refusal
		verify           string // the action, or the error
	}{
		{"shop/a", "", "dev", "dev", InvertedPush}, // promote is refused by its direction later
		{"up/a", "", "prod", "prod", Promote},
		{"both/a", "", "dev", "prod", "could be pushed down (flow down) or promoted (flow up)"},
		{"both/a", "down", "dev", "dev", InvertedPush},
		{"both/a", "up", "prod", "prod", Promote},
		{"down/a", "", "their rules differ", "their rules differ", InvertedPush},
		{"mixed/a", "", "dev prod", "dev prod", InvertedPush},
		{"side/a", "", "twin", "twin", Promote},
		{"moving/a", "", "stage", "stage", Promote},
		{"team/a", "", "dev", "dev", InvertedPush},
		{"team/c", "", "", "", Promote}, // nobody subscribes, which is refused later
		{"other/a", "", "no flow covers", "no flow covers", Promote},
		{"both/a", "none", "has no flow", "has no flow", Promote},
	} {
		for action, want := range map[string]string{InvertedPush: c.down, Promote: c.promote} {
			all, refused := AllTargets(f, action, c.flow, stage(c.repository))
			var hosts []string
			for _, d := range all {
				hosts = append(hosts, strings.TrimSuffix(d.Registry, ".azurecr.io"))
			}
			got := strings.Join(hosts, " ")
			if refused != nil {
				got = refused.Reason
			}
			if got != want && (refused == nil || !strings.Contains(got, want)) {
				t.Errorf("%s of %s by flow %q: %s, want %s", action, c.repository, c.flow, got, want)
			}
		}
		got, err := EffectiveActionOfFlow(f, c.flow, stage(c.repository))
		if err != nil {
			got = err.Error()
		}
		if got != c.verify && (err == nil || !strings.Contains(got, c.verify)) {
			t.Errorf("verify of %s by flow %q: %s, want %s", c.repository, c.flow, got, c.verify)
		}
	}
	// Auditing goes in no direction.
	if _, refused := AllTargets(f, Audit, "", stage("both/a")); refused == nil || refused.Rule != rule.NotInFlow {
		t.Errorf("audit: %+v", refused)
	}
	if got, err := EffectiveActionOfFlow(f, "", ref.Reference{Registry: "other.azurecr.io", Repository: "shop/a"}); got != Promote || err != nil {
		t.Errorf("a registry that is not in the file: %s, %v", got, err)
	}
}

func TestSubjectOfTargets(t *testing.T) {
	f := parse(t, crossroads)
	for hosts, want := range map[string]string{
		"dev": InvertedPush, "prod": Promote, "twin": Promote, "stage": Promote, "prod dev": InvertedPush, "unknown": Promote, "unknown dev": InvertedPush,
	} {
		var targets []Destination
		for _, host := range strings.Fields(hosts) {
			targets = append(targets, Destination{Registry: host + ".azurecr.io"})
		}
		if got := EffectiveAction(f, stage("shop/a"), targets); got != want {
			t.Errorf("%s: %s, want %s", hosts, got, want)
		}
	}
}

func TestEffectiveActionOfSet(t *testing.T) {
	f := parse(t, crossroads)
	for _, c := range []struct{ flow, repositories, want string }{
		{"down", "shop/a", InvertedPush}, {"up", "up/a", Promote}, {"mixed", "mixed/a", InvertedPush}, {"within", "moving/a", Promote},
		{"teams", "team/c team/a", InvertedPush}, {"teams", "team/a team/c", InvertedPush}, {"teams", "team/c", Promote}, {"teams", "", Promote},
	} {
		var sources []ref.Reference
		for _, repository := range strings.Fields(c.repositories) {
			sources = append(sources, stage(repository))
		}
		if got := EffectiveActionOfSet(f, f.Flows[c.flow], sources); got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.repositories, c.flow, got, c.want)
		}
	}
}

// TestSealTakesNoRulesOfAnApproval: sealing and auditing use no inputs about
// people, so that none of them contradicts the flow.
func TestSealTakesNoRulesOfAnApproval(t *testing.T) {
	f := parse(t, strings.Replace(crossroads, "{approval: {environment: D}}", "{approval: {kind: automated, checks: [{definition: 1, resource: G}]}}", 1))
	code := topology.CodeOfPlan
	in := topology.Inputs{Environment: "Mine", MinApprovers: 2, Approvers: []string{"a"}, Code: &code, Lock: topology.LockImage}
	for _, action := range []string{Seal, Audit} {
		w, refused, err := FindRoutes(f, Request{Action: action, Source: stage("shop/a"), Targets: []Destination{{Registry: dev}}, Inputs: in})
		if err != nil || len(refused) > 0 || w.Routes[0].Rules.Kind != topology.None || w.Routes[0].Rules.Lock != topology.LockImage {
			t.Errorf("%s: %+v, %v, %v", action, w.Routes, refused, err)
		}
	}
	if _, _, err := FindRoutes(f, Request{Action: InvertedPush, Source: stage("shop/a"), Targets: []Destination{{Registry: dev}}, Inputs: in}); err == nil || !strings.Contains(err.Error(), "inputs about people") {
		t.Errorf("an inverted push: %v", err)
	}
}

// TestPeopleForFlowWithoutApproval: an input about people makes a flow that asks
// nobody require an approval.
func TestPeopleForFlowWithoutApproval(t *testing.T) {
	f := parse(t, strings.Replace(crossroads, "{approval: {environment: D}}", "{approval: {kind: none}}", 1))
	for _, in := range []topology.Inputs{{}, {MinApprovers: 1}, {Environment: "Production"}} {
		w, _, err := FindRoutes(f, Request{Action: InvertedPush, Source: stage("shop/a"), Targets: []Destination{{Registry: dev}}, Inputs: in})
		if err != nil {
			t.Fatal(err)
		}
		groups := Groups(InvertedPush, []Wanted{w})
		if asks := in.MinApprovers > 0 || in.Environment != ""; (len(groups) == 1) != asks {
			t.Errorf("%+v: %d groups", in, len(groups))
		}
	}
	if !slices.Equal(directions(InvertedPush), []topology.Direction{topology.Down}) {
		t.Error("an inverted push goes down alone")
	}
}
