package plan

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// wantedBy returns an inverted push with a target for each of the rules.
func wantedBy(tag string, rules ...topology.Rules) Wanted {
	w := Wanted{Action: InvertedPush, Source: at(prod, tag)}
	for range rules {
		w.Targets = append(w.Targets, at(dev, tag))
	}
	for _, t := range rules {
		w.Routes = append(w.Routes, Route{Rules: t})
	}
	return w
}

func TestGroups(t *testing.T) {
	production := topology.Rules{Kind: topology.Manual, Environment: "Production"}
	staging := topology.Rules{Kind: topology.Manual, Environment: "Staging"}
	nobody := topology.Rules{Kind: topology.None}
	sealed := production
	sealed.Sealed, sealed.Lock = true, topology.LockImage
	for _, c := range []struct {
		name   string
		action string
		images []Wanted
		want   [][]int // images of each group
	}{
		{"one", InvertedPush, []Wanted{wantedBy("1", production)}, [][]int{{0}}},
		{"two targets under the same rules", InvertedPush, []Wanted{wantedBy("1", production, production)}, [][]int{{0}}},
		{"rules that differ in other things than the approval", InvertedPush, []Wanted{wantedBy("1", production, sealed)}, [][]int{{0}}},
		{"two rules", Promote, []Wanted{wantedBy("1", production, staging)}, [][]int{{0}, {0}}},
		{"two images", InvertedPush, []Wanted{wantedBy("1", production), wantedBy("2", production)}, [][]int{{0, 1}}},
		{"two images and two rules", InvertedPush, []Wanted{wantedBy("1", production), wantedBy("2", staging, production)}, [][]int{{0, 1}, {1}}},
		{"no approval", InvertedPush, []Wanted{wantedBy("1", nobody)}, nil},
		{"no approval for one of two targets", InvertedPush, []Wanted{wantedBy("1", nobody, production)}, [][]int{{0}}},
		{"a seal needs no approval", Seal, []Wanted{wantedBy("1", production)}, nil},
		{"an audit needs no approval", Audit, []Wanted{wantedBy("1", production)}, nil},
	} {
		var got [][]int
		for _, g := range Groups(c.action, c.images) {
			got = append(got, g.Images)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: groups %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCase(t *testing.T) {
	sealed := topology.Rules{Kind: topology.Manual, Environment: "Production", Code: topology.CodeOfImage, Sealed: true, MinApprovers: 2}
	open := topology.Rules{Kind: topology.Manual, Environment: "Production", Code: topology.CodeOfImage, MinApprovers: 2}
	image := func(tag string, unreadable bool, rules topology.Rules) Image {
		return Image{Wanted: wantedBy(tag, rules), Observed: Observed{Source: Source{Digest: released, Unreadable: unreadable, Tag: &Attributes{Digest: released}}}}
	}
	images := []Image{image("1", false, sealed), image("2", false, open), image("3", true, sealed)}
	var wanted []Wanted
	for _, i := range images {
		wanted = append(wanted, i.Wanted)
	}
	groups := Groups(InvertedPush, wanted)
	c := Case(InvertedPush, images, groups, "3 images", "CODE", nil)
	if !c.NeedsApproval || !c.Covered || len(c.Parts) != 1 {
		t.Fatalf("%+v", c)
	}
	rules := c.Parts[0].Rules
	if rules.Code != "CODE" || rules.MinApprovers != 2 || rules.Environment != "Production" || rules.Subject != "3 images" {
		t.Errorf("rules %+v", rules)
	}
	// An image that could not be read, and one whose rules do not require a seal,
	// have no seal.
	if len(rules.Seals) != 1 || rules.Seals[0].Subject != prod+"/shop/cart:1" {
		t.Errorf("seals %+v", rules.Seals)
	}
	if code := Case(InvertedPush, images, groups, "", "", nil).Parts[0].Rules.Code; approval.Quotes(code, code) || code == "" {
		t.Errorf("an unknown code is %q, which a comment can quote", code)
	}
	if Case(InvertedPush, nil, nil, "", "", nil).Covered || Case(InvertedPush, append(images, Image{Wanted: Wanted{Action: InvertedPush}}), groups, "", "", nil).Covered {
		t.Error("no image, or one without a route, is covered")
	}
	if Case(Seal, images, nil, "", "", nil).NeedsApproval || Case(Audit, images, nil, "", "", nil).NeedsApproval {
		t.Error("a seal or an audit needs an approval")
	}
}

func TestSeal(t *testing.T) {
	early, late := noon.Add(-time.Hour), noon
	locked := &Attributes{Digest: released, Updated: early}
	for _, c := range []struct {
		name   string
		source Source
		want   approval.Seal
	}{
		{"a locked tag and a record", Source{Digest: released, Tag: locked, Records: []Record{{Digest: "r", Created: late}}}, approval.Seal{Locked: true, TagUpdated: early, RecordCreated: late}},
		{"the oldest record counts", Source{Digest: released, Tag: locked, Records: []Record{{Digest: "r", Created: late}, {Digest: "s", Created: early}}}, approval.Seal{Locked: true, TagUpdated: early, RecordCreated: early}},
		{"a tag that may be written", Source{Digest: released, Tag: &Attributes{Digest: released, Updated: early, WriteEnabled: true}, Records: []Record{{Digest: "r", Created: late}}}, approval.Seal{TagUpdated: early, RecordCreated: late}},
		{"a tag that may be deleted", Source{Digest: released, Tag: &Attributes{Digest: released, Updated: early, DeleteEnabled: true}, Records: []Record{{Digest: "r", Created: late}}}, approval.Seal{TagUpdated: early, RecordCreated: late}},
		{"a manifest that may not be deleted", Source{Digest: released, Manifest: &Attributes{Created: early, Updated: late, WriteEnabled: true}, Records: []Record{{Digest: "r", Created: late}}}, approval.Seal{Locked: true, TagUpdated: early, RecordCreated: late}},
		{"a manifest that may be deleted", Source{Digest: released, Manifest: &Attributes{Created: early, DeleteEnabled: true}, Records: []Record{{Digest: "r", Created: late}}}, approval.Seal{TagUpdated: early, RecordCreated: late}},
		{"no record", Source{Digest: released, Tag: locked}, approval.Seal{Locked: true, TagUpdated: early, Problem: "no seal record of this program refers to " + released}},
		{"a tag that moved", Source{Digest: released, Tag: &Attributes{Digest: other, Updated: early}, Records: []Record{{Digest: "r", Created: late}}},
			approval.Seal{Locked: true, TagUpdated: early, RecordCreated: late, Problem: "the tag pointed at " + released + " and then at " + other + " while it was being read"}},
		{"a tag that moved, and no record", Source{Digest: released, Tag: &Attributes{Digest: other}}, approval.Seal{Locked: true, Problem: "the tag pointed at " + released + " and then at " + other + " while it was being read"}},
	} {
		c.want.Subject = prod + "/shop/cart:1"
		if got := (Image{Wanted{Source: at(prod, "1")}, Observed{Source: c.source}}).Seal(); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestBranches(t *testing.T) {
	pattern := func(s string) topology.BranchPattern {
		file, err := topology.Parse("flows.yml", []byte("version: 1\ntrust: [dev, prod]\nregistries:\n  prod: {host: "+prod+", trust: prod}\n  dev: {host: "+dev+", trust: dev}\nflows:\n  down: {from: prod, to: [dev], require: {branches: ['"+s+"']}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		return file.Flows["down"].Require.Branches[0]
	}
	main, release := topology.Rules{Branches: []topology.BranchPattern{pattern("refs/heads/main")}}, topology.Rules{Branches: []topology.BranchPattern{pattern("refs/heads/release/*")}}
	image := func(w Wanted, branch string) Image {
		return Image{Wanted: w, Observed: Observed{Source: Source{Branch: branch, Digest: released}, Targets: make([]Target, len(w.Targets))}}
	}
	for _, c := range []struct {
		name   string
		images []Image
		want   []string // subjects
	}{
		{"run of the branch", []Image{image(wantedBy("1", main), "refs/heads/main")}, nil},
		{"no branch required", []Image{image(wantedBy("1", topology.Rules{}), "refs/heads/x")}, nil},
		{"run of another branch", []Image{image(wantedBy("1", main), "refs/heads/x")}, []string{"1"}},
		{"outside any run", []Image{image(wantedBy("1", main), "")}, []string{"1"}},
		{"every image", []Image{image(wantedBy("1", main), "refs/heads/x"), image(wantedBy("2", release), "refs/heads/x")}, []string{"1", "2"}},
		{"both routes of an image", []Image{image(wantedBy("1", main, release), "refs/heads/x")}, []string{"1", "1"}},
		{"the same refusal twice", []Image{image(wantedBy("1", main, main), "refs/heads/x")}, []string{"1"}},
		{"one route of an image", []Image{image(wantedBy("1", main, release), "refs/heads/main")}, []string{"1"}},
	} {
		var got []string
		p := Make(c.images, approval.Verdict{Granted: true})
		for _, r := range p.Refusals {
			if r.Rule == rule.Branch {
				got = append(got, r.Subject[len(prod+"/shop/cart:"):])
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: refused %v, want %v", c.name, got, c.want)
		}
	}
	// Outside any run, a plan waits for a run of the branch.
	planned := image(wantedBy("1", main, main), "")
	planned.Observed.Source.Outside = true
	p := Make([]Image{planned}, approval.Verdict{Pending: true})
	if len(p.Refusals) > 0 || len(p.Outcomes) != 1 || !p.Outcomes[0].Pending || p.Outcomes[0].Met || p.Outcomes[0].Rule != rule.Branch {
		t.Errorf("a plan outside any run: refusals %v, outcomes %v", p.Refusals, p.Outcomes)
	}
	planned.Observed.Source.Outside = false
	if p := Make([]Image{planned}, approval.Verdict{Pending: true}); len(p.Refusals) != 1 {
		t.Errorf("refusals %v", p.Refusals)
	}
	if p := Make([]Image{image(wantedBy("1", topology.Rules{}), "")}, approval.Verdict{}); len(p.Refusals) != 1 || p.Refusals[0].Rule != rule.ApprovalMissing {
		t.Errorf("a verdict that neither grants, refuses nor waits: %v", p.Refusals)
	}
	audited := wantedBy("1", main)
	audited.Action = Audit
	if p := Make([]Image{image(audited, "")}, approval.Verdict{}); len(p.Refusals) > 0 {
		t.Errorf("an audit is refused for its branch: %v", p.Refusals)
	}
}

func TestMayMove(t *testing.T) {
	no := &rule.Refusal{Rule: rule.Immutable}
	inside, down := at(prod, "stable"), at(dev, "stable")
	for _, c := range []struct {
		name string
		w    Wanted
		want bool
	}{
		{"promoted within one registry, with moveTag", Wanted{Action: Promote, MoveTag: true, Targets: []ref.Reference{inside}}, true},
		{"promoted within one registry", Wanted{Action: Promote, Targets: []ref.Reference{inside}}, false},
		{"promoted to another registry", Wanted{Action: Promote, MoveTag: true, Targets: []ref.Reference{down}}, false},
		{"pushed within one registry, with moveTag", Wanted{Action: InvertedPush, MoveTag: true, Targets: []ref.Reference{inside}}, false},
		{"pushed down, with moveTag", Wanted{Action: InvertedPush, MoveTag: true, Targets: []ref.Reference{down}}, false},
		{"allowed by the flow", Wanted{Action: InvertedPush, Covered: true, Targets: []ref.Reference{down}, Routes: []Route{{}}}, true},
		{"not allowed by the flow, with moveTag", Wanted{Action: Promote, Covered: true, MoveTag: true, Targets: []ref.Reference{inside}, Routes: []Route{{MoveRefusal: no}}}, false},
	} {
		c.w.Source = at(prod, "1")
		if got := c.w.MayMove(0); got != c.want {
			t.Errorf("%s: may move %v, want %v", c.name, got, c.want)
		}
	}
}
