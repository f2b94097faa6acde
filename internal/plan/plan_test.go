package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

const (
	prod = "prod.azurecr.io"
	dev  = "dev.azurecr.io"
)

var (
	released = "sha256:" + strings.Repeat("a", 64)
	other    = "sha256:" + strings.Repeat("b", 64)
	noon     = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	open     = &Attributes{WriteEnabled: true, DeleteEnabled: true}
	locked   = &Attributes{}
)

// withRoutes gives every target the rules without any inputs.
func withRoutes(w Wanted) Wanted {
	for range max(len(w.Targets), 1) {
		w.Routes = append(w.Routes, Route{Rules: topology.Rules{Lock: topology.LockNone}})
	}
	return w
}

func at(registry, tag string) ref.Reference {
	return ref.Reference{Registry: registry, Repository: "shop/cart", Tag: tag}
}

func TestMake(t *testing.T) {
	granted := approval.Verdict{Granted: true, Kind: "manual"}
	push := Wanted{Action: InvertedPush, Source: at(prod, "1"), Targets: []ref.Reference{at(dev, "1")}}
	promote := Wanted{Action: Promote, Source: at(prod, "1"), Targets: []ref.Reference{at(prod, "stable")}}
	move := promote
	move.MoveTag = true
	upward := Wanted{Action: Promote, Source: at(dev, "1"), Targets: []ref.Reference{at(prod, "1"), at(dev, "2")}}
	pinned := push
	pinned.Digest = other
	sealing := Wanted{Action: Seal, Source: at(prod, "1")}
	sealingDigest := Wanted{Action: Seal, Source: ref.Reference{Registry: prod, Repository: "shop/cart", Digest: released}}
	auditing := Wanted{Action: Audit, Source: at(prod, "1"), Targets: []ref.Reference{at(dev, "1")}}
	auditingPinned := auditing
	auditingPinned.Digest = other
	image := Source{Digest: released}
	seen := func(targets ...Target) Observed { return Observed{Source: image, Targets: targets} }

	for _, c := range []struct {
		name     string
		wanted   Wanted
		observed Observed
		verdict  approval.Verdict
		refusals []rule.Name
		work     []Work
	}{
		{"new image", push, seen(Target{}), granted, nil, []Work{Copy}},
		{"already exists", push, seen(Target{TagDigest: released, Root: true}), granted, nil, []Work{Nothing}},
		{"exists, a signature missing", push, seen(Target{TagDigest: released, Root: true, Missing: 1}), granted, nil, []Work{Repair}},
		{"exists by digest, not by tag", push, seen(Target{Root: true}), granted, nil, []Work{Copy}},
		{"another image under the tag", push, seen(Target{TagDigest: other}), granted, []rule.Name{rule.TagWouldMove}, nil},
		{"no verdict", push, seen(Target{}), approval.Verdict{Refusals: []rule.Refusal{{Rule: rule.ApprovalMissing}}}, []rule.Name{rule.ApprovalMissing}, nil},
		{"two violations at once", push, seen(Target{TagDigest: other}), approval.Verdict{Refusals: []rule.Refusal{{Rule: rule.ApprovalPending}}}, []rule.Name{rule.ApprovalPending, rule.TagWouldMove}, nil},
		{"another digest than the input", pinned, seen(Target{}), granted, []rule.Name{rule.DigestDiffers}, nil},
		{"repository locked", push, seen(Target{Repository: locked}), granted, []rule.Name{rule.Immutable}, nil},
		{"repository not locked", push, seen(Target{Repository: open}), granted, nil, []Work{Copy}},
		{"repository locked, but everything exists", push, seen(Target{TagDigest: released, Root: true, Repository: locked}), granted, nil, []Work{Nothing}},
		{"unreachable target", push, seen(Target{Unreachable: true}), granted, nil, []Work{Wait}},
		{"unreadable source", push, Observed{Source: Source{Unreadable: true}, Targets: []Target{{}}}, granted, nil, []Work{Wait}},
		{"an additional tag", promote, seen(Target{Root: true}), granted, nil, []Work{Copy}},
		{"a tag that would move", promote, seen(Target{TagDigest: other}), granted, []rule.Name{rule.TagWouldMove}, nil},
		{"a tag that may move", move, seen(Target{TagDigest: other}), granted, nil, []Work{Move}},
		{"a tag that may move, but is locked", move, seen(Target{TagDigest: other, Tag: locked}), granted, []rule.Name{rule.Immutable}, nil},
		{"a tag that may move and is not locked", move, seen(Target{TagDigest: other, Tag: open}), granted, nil, []Work{Move}},
		{"upward without a flow", upward, seen(Target{}, Target{}), granted, []rule.Name{rule.Upward}, nil},
		{"audit plans nothing", auditing, seen(Target{TagDigest: other, Repository: locked}), granted, nil, nil},
		{"audit of another digest", auditingPinned, seen(Target{}), granted, []rule.Name{rule.DigestDiffers}, nil},
		{"seal what the run pushed", sealing, Observed{Source: Source{Digest: released, RunStarted: noon, Tag: &Attributes{Updated: noon.Add(time.Second)}}}, granted, nil, []Work{Nothing}},
		{"seal what was pushed in the same instant", sealing, Observed{Source: Source{Digest: released, RunStarted: noon, Tag: &Attributes{Updated: noon}}}, granted, nil, []Work{Nothing}},
		{"seal an older tag", sealing, Observed{Source: Source{Digest: released, RunStarted: noon, Tag: &Attributes{Updated: noon.Add(-time.Nanosecond)}}}, granted, []rule.Name{rule.OlderThanRun}, nil},
		{"seal a tag whose time is unknown", sealing, Observed{Source: Source{Digest: released, RunStarted: noon}}, granted, []rule.Name{rule.OlderThanRun}, nil},
		{"seal outside any run", sealing, Observed{Source: Source{Digest: released}}, granted, nil, []Work{Nothing}},
		{"seal an older manifest", sealingDigest, Observed{Source: Source{Digest: released, RunStarted: noon, Manifest: &Attributes{Created: noon.Add(-time.Hour), Updated: noon.Add(time.Hour)}}}, granted, []rule.Name{rule.OlderThanRun}, nil},
		{"seal a manifest of this run", sealingDigest, Observed{Source: Source{Digest: released, RunStarted: noon, Manifest: &Attributes{Created: noon.Add(time.Hour)}}}, granted, nil, []Work{Nothing}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Make([]Image{{withRoutes(c.wanted), c.observed}}, c.verdict)
			var got []rule.Name
			for _, r := range p.Refusals {
				got = append(got, r.Rule)
			}
			if !slices.Equal(got, c.refusals) {
				t.Errorf("refused by %v, want %v", got, c.refusals)
			}
			if c.refusals != nil {
				return
			}
			var work []Work
			for _, s := range p.Parts[0].Steps {
				work = append(work, s.Work)
			}
			if !slices.Equal(work, c.work) {
				t.Errorf("work is %v, want %v", work, c.work)
			}
		})
	}
}

func TestMoveRecordsPreviousDigest(t *testing.T) {
	w := Wanted{Action: Promote, MoveTag: true, Source: at(prod, "1"), Targets: []ref.Reference{at(prod, "stable")}}
	p := Make([]Image{{withRoutes(w), Observed{Source: Source{Digest: released}, Targets: []Target{{TagDigest: other}}}}}, approval.Verdict{Granted: true})
	if p.Parts[0].Steps[0].Previous != other {
		t.Errorf("previous is %q, want %q", p.Parts[0].Steps[0].Previous, other)
	}
}

func TestDirection(t *testing.T) {
	for _, c := range []struct {
		targets []ref.Reference
		want    string
	}{
		{[]ref.Reference{at(prod, "stable")}, "checked"},
		{[]ref.Reference{at(prod, "stable"), at(dev, "1")}, "unchecked"},
		{nil, "checked"},
	} {
		if p := Make([]Image{{withRoutes(Wanted{Action: InvertedPush, Source: at(prod, "1"), Targets: c.targets}), Observed{Targets: make([]Target, len(c.targets))}}}, approval.Verdict{Granted: true}); p.Direction != c.want {
			t.Errorf("direction to %v is %s, want %s", c.targets, p.Direction, c.want)
		}
	}
}

// TestRefusalsHaveRemedies checks that every refusal is complete.
func TestRefusalsHaveRemedies(t *testing.T) {
	w := Wanted{Action: Promote, Source: at(dev, "1"), Digest: other, Targets: []ref.Reference{at(prod, "1"), at(prod, "2")}}
	o := Observed{Source: Source{Digest: released}, Targets: []Target{{TagDigest: other}, {Repository: locked}}}
	p := Make([]Image{{withRoutes(w), o}}, approval.Verdict{Granted: true})
	if len(p.Refusals) != 5 {
		t.Fatalf("%d refusals, want 5: %v", len(p.Refusals), p.Refusals)
	}
	for _, r := range p.Refusals {
		if r.Subject == "" || r.Reason == "" || r.Remedy == "" {
			t.Errorf("incomplete refusal: %+v", r)
		}
	}
}

// TestOneImageRefusesAll checks that a set is refused as a whole, and that the
// verdict is reported once.
func TestOneImageRefusesAll(t *testing.T) {
	w := Wanted{Action: InvertedPush, Source: at(prod, "1"), Targets: []ref.Reference{at(dev, "1")}}
	good := Image{withRoutes(w), Observed{Source: Source{Digest: released}, Targets: []Target{{}}}}
	bad := Image{withRoutes(w), Observed{Source: Source{Digest: released}, Targets: []Target{{TagDigest: other}}}}
	p := Make([]Image{good, bad, good}, approval.Verdict{Refusals: []rule.Refusal{{Rule: rule.ApprovalPending}}})
	if len(p.Refusals) != 2 || p.Refusals[0].Rule != rule.ApprovalPending || p.Refusals[1].Rule != rule.TagWouldMove {
		t.Errorf("refused by %v", p.Refusals)
	}
	if len(p.Parts) != 3 {
		t.Errorf("%d parts, want 3", len(p.Parts))
	}
}

// TestIncompleteVerdict checks that a verdict which neither grants nor refuses
// is not an approval.
func TestIncompleteVerdict(t *testing.T) {
	w := withRoutes(Wanted{Action: InvertedPush, Source: at(prod, "1"), Targets: []ref.Reference{at(dev, "1")}})
	image := []Image{{w, Observed{Source: Source{Digest: released}, Targets: []Target{{}}}}}
	if p := Make(image, approval.Verdict{Kind: approval.Manual}); len(p.Refusals) != 1 || p.Refusals[0].Rule != rule.ApprovalMissing {
		t.Errorf("refused by %v", p.Refusals)
	}
	if p := Make(image, approval.Verdict{Kind: approval.Unapproved}); len(p.Refusals) != 0 {
		t.Errorf("an approval that was waived at a prompt is refused by %v", p.Refusals)
	}
}

// TestSealWithoutARule: of an image that no flow covers there is no rule, and the
// refusal of the flow file stands.
func TestSealWithoutARule(t *testing.T) {
	for _, w := range []Wanted{{Action: Seal, Source: at(prod, "1")}, {Action: Seal, Source: at(prod, "1"), Covered: true}, {Action: Promote, Source: at(prod, "1"), Covered: true}} {
		refused := rule.Refusal{Rule: rule.NotInFlow}
		p := Make([]Image{{w, Observed{Source: Source{Digest: released}}}}, approval.Verdict{Granted: true}, refused)
		if len(p.Refusals) == 0 || p.Refusals[0] != refused || len(p.Parts[0].Steps) != 0 {
			t.Errorf("%s: %+v", w.Action, p)
		}
	}
}
