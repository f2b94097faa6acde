package topology

import (
	"fmt"
	"os/exec"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/rule"
)

func example(t *testing.T, name string) *File {
	t.Helper()
	file, err := Parse(name, examples(t)[name])
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern  string
		yes, not []string
	}{
		{"shop/cart", []string{"shop/cart"}, []string{"shop", "shop/cart/x", "shop/carts"}},
		{"shop/*", []string{"shop/cart", "shop/x"}, []string{"shop", "shop/cart/x", "web/cart"}},
		{"shop/**", []string{"shop/cart", "shop/cart/x"}, []string{"shop", "shops/cart"}},
		{"**", []string{"shop", "shop/cart/x"}, nil},
		{"**/cart", []string{"cart", "shop/cart", "a/b/cart"}, []string{"shop/carts", "cart/x"}},
		{"a/**/z", []string{"a/z", "a/b/z", "a/b/c/z"}, []string{"a", "a/b", "z", "a/z/b"}},
		{"a/**/b/**/c", []string{"a/b/c", "a/x/b/y/b/c", "a/b/b/c"}, []string{"a/c", "a/x/c"}},
		{"a/**/b/*", []string{"a/b/c", "a/b/b/c"}, []string{"a/b", "a/b/c/d"}},
		{"s?op/*art", []string{"shop/cart", "stop/art"}, []string{"shoop/cart", "sop/cart", "shop/carts"}},
		{"*-x-*", []string{"a-x-b", "a-x-x-b"}, []string{"a-b", "a-x"}},
	} {
		var p RepositoryPattern
		if err := p.read(c.pattern); err != nil {
			t.Fatal(err)
		}
		matches(t, c.pattern, p.match, c.yes, c.not)
	}
	for _, c := range []struct {
		pattern  string
		yes, not []string
	}{
		{"*", []string{"latest", "1.2.3"}, nil},
		{"v?.*", []string{"v1.2", "v1.x"}, []string{"v10.2", "1.2"}},
		{">=1.2 <2", []string{"1.2.0", "v1.9.9", "1.2"}, []string{"1.1.9", "2.0.0", "1", "20261124", "latest", "1.3.0-rc.1", "v", "1.2.3.4", "1.x"}},
		{">=1.0.0-0", []string{"1.0.0-rc.1", "1.0.0"}, []string{"0.9.9"}},
		{"~1.2", []string{"1.2.9"}, []string{"1.3.0"}},
		{"^1.2 || 3.x", []string{"1.9.0", "3.4.5"}, []string{"2.0.0"}},
		{"1.2 - 1.4", []string{"1.2.0", "1.4.9"}, []string{"1.5.0"}},
		// https://semver.org, 2: numbers have no leading zeros.
		{">=1.0", []string{"1.5.0", "v1.5", "10.5.0"}, []string{"01.5.0", "1.05.0", "1.5.00", "v01.5", "1.05", "1.5.0-01", "1.5.0.0"}},
		{"1.x", []string{"1.x"}, []string{"1.2"}},
	} {
		var p TagPattern
		if err := p.read(c.pattern); err != nil {
			t.Fatal(err)
		}
		matches(t, c.pattern, p.match, c.yes, c.not)
	}
	main := example(t, "contract.yaml").Flows["released"].Require
	for ref, want := range map[string]bool{
		"refs/heads/main": true, "refs/heads/release/1.2": true, "refs/heads/release/1/2": false, "refs/heads/Main": false, "main": false, "refs/heads/main2": false, "": false,
	} {
		if slices.ContainsFunc(main.Branches, func(p BranchPattern) bool { return p.Match(ref) }) != want {
			t.Errorf("branch %q: %v", ref, !want)
		}
	}
}

// matches checks which names a pattern matches.
func matches(t *testing.T, pattern string, match func(string) bool, yes, not []string) {
	t.Helper()
	for _, name := range yes {
		if !match(name) {
			t.Errorf("%s does not match %s", pattern, name)
		}
	}
	for _, name := range not {
		if match(name) {
			t.Errorf("%s matches %s", pattern, name)
		}
	}
}

func TestDirection(t *testing.T) {
	f := example(t, "stages.yaml")
	for _, c := range []struct {
		from, to string
		want     Direction
	}{
		{"dev", "staging", Up}, {"production", "dev", Down}, {"uat", "uat", Same},
		{"nowhere", "dev", Up}, {"dev", "nowhere", Up}, {"nowhere", "nowhere", Up},
	} {
		if got := f.Direction(c.from, c.to); got != c.want {
			t.Errorf("%s to %s: %s", c.from, c.to, got)
		}
	}
}

func TestSelect(t *testing.T) {
	for _, c := range []struct {
		name, file string
		ask        Query
		want       string // the flow, or the rule
		says       string
	}{
		{"released", "contract.yaml", Query{From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "released", ""},
		{"host in capitals, with a port", "contract.yaml", Query{From: "PROD.azurecr.io:443", To: "web.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "released", ""},
		{"base", "contract.yaml", Query{From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "base/os", Tag: "2026"}, "base-images", ""},
		{"base by digest", "contract.yaml", Query{From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "base/os"}, "base-images", ""},
		{"released by digest", "contract.yaml", Query{From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "shop/cart"}, "not-in-flow", "flow released covers the tags >=1.0, and an image by digest has no tag"},
		{"old", "contract.yaml", Query{From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "shop/cart", Tag: "0.9.0"}, "not-in-flow", "flow base-images covers the repositories base/*; flow released covers the tags >=1.0"},
		{"invalid repository", "contract.yaml", Query{From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "shop/../cart", Tag: "1.0.0"}, "not-in-flow", "flow released covers the repositories shop/**"},
		{"other flow named", "contract.yaml", Query{Flow: "base-images", From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "not-in-flow", "flow base-images covers the repositories base/*"},
		{"flow elsewhere", "contract.yaml", Query{Flow: "environments", From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "not-in-flow", "flow environments does not lead from prod"},
		{"unknown flow", "contract.yaml", Query{Flow: "release", From: "prod.azurecr.io", To: "web.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "not-in-flow", `no flow "release"`},
		{"unknown source", "contract.yaml", Query{From: "other.azurecr.io", To: "web.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "not-in-flow", "no registry with host other.azurecr.io"},
		{"unknown target", "contract.yaml", Query{From: "prod.azurecr.io", To: "other.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "not-in-flow", "no registry with host other.azurecr.io"},
		{"up without a flow", "contract.yaml", Query{From: "web.azurecr.io", To: "prod.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "upward", "trust dev"},
		{"sideways without a flow", "contract.yaml", Query{From: "web.azurecr.io", To: "payments.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "not-in-flow", "no flow leads from web"},
		{"a tag moves", "contract.yaml", Query{From: "prod.azurecr.io", To: "prod.azurecr.io", Repository: "shop/cart", Tag: "1.4.2", TargetTag: "stage"}, "environments", ""},
		{"another tag does not move", "contract.yaml", Query{From: "prod.azurecr.io", To: "prod.azurecr.io", Repository: "shop/cart", Tag: "1.4.2", TargetTag: "mine"}, "not-in-flow", "has an approval per tag, for the tags production, stage, test"},
		{"the same tag", "environments.yaml", Query{From: "shop.azurecr.io", To: "shop.azurecr.io", Repository: "cart", Tag: "dev", TargetTag: "dev"}, "not-in-flow", "the target needs another tag"},
		{"environment of the tag", "environments.yaml", Query{From: "shop.azurecr.io", To: "shop.azurecr.io", Repository: "cart", Tag: "test", TargetTag: "production"}, "release", ""},
		{"tag without an approval", "environments.yaml", Query{From: "shop.azurecr.io", To: "shop.azurecr.io", Repository: "cart", Tag: "1", TargetTag: "test"}, "test", ""},
		{"sealing, several flows", "contract.yaml", Query{From: "prod.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "not-in-flow", "flows environments, released cover it"},
		{"sealing, flow named", "contract.yaml", Query{Flow: "released", From: "prod.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "released", ""},
		{"subscribed", "teams.yaml", Query{From: "prod.azurecr.io", To: "payments.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}, "released", ""},
		{"not subscribed", "teams.yaml", Query{From: "prod.azurecr.io", To: "payments.azurecr.io", Repository: "shop/web", Tag: "1.4.2"}, "not-in-flow", "subscribes payments to payments/**, shop/cart"},
		{"renamed", "base-images.yaml", Query{From: "mcr.microsoft.com", To: "prod.azurecr.io", Repository: "dotnet/aspnet", Tag: "9.0"}, "adopt", ""},
		{"renamed, as named in targets", "base-images.yaml", Query{From: "mcr.microsoft.com", To: "prod.azurecr.io", Repository: "dotnet/aspnet", Tag: "9.0", TargetRepository: "base/dotnet/aspnet", TargetTag: "9.0"}, "adopt", ""},
		{"renamed differently", "base-images.yaml", Query{From: "mcr.microsoft.com", To: "prod.azurecr.io", Repository: "dotnet/aspnet", Tag: "9.0", TargetRepository: "shop/cart"}, "not-in-flow", "names it base/dotnet/aspnet at the target"},
		{"tagged differently", "base-images.yaml", Query{From: "mcr.microsoft.com", To: "prod.azurecr.io", Repository: "dotnet/aspnet", Tag: "9.0", TargetTag: "8.0"}, "not-in-flow", "gives it the tag 9.0 at the target"},
		{"too long a name", "base-images.yaml", Query{From: "mcr.microsoft.com", To: "prod.azurecr.io", Repository: "dotnet/" + strings.Repeat("a", 248), Tag: "9.0"}, "not-in-flow", "cannot name it"},
	} {
		flow, refusal := example(t, c.file).Select(c.ask)
		got, reason := "", ""
		if flow != nil {
			got = flow.Name
		} else {
			got, reason = string(refusal.Rule), refusal.Reason
		}
		if got != c.want || !strings.Contains(reason, c.says) {
			t.Errorf("%s: %s, %q", c.name, got, reason)
		}
	}
}

func TestTargetsFor(t *testing.T) {
	flow := example(t, "teams.yaml").Flows["released"]
	for repository, want := range map[string][]string{
		"shop/cart": {"payments", "platform", "web"}, "shop/web": {"platform", "web"}, "payments/a/b": {"payments", "platform"}, "other": {"platform"},
	} {
		if got := flow.TargetsFor(repository); !slices.Equal(got, want) {
			t.Errorf("%s: %v", repository, got)
		}
	}
	if got := example(t, "contract.yaml").Flows["released"].TargetsFor("web"); got != nil {
		t.Errorf("%v", got)
	}
}

func TestNames(t *testing.T) {
	flow := example(t, "branches.yaml").Flows["maintained"]
	repository, tag, err := flow.Names("shop/cart", "1.2.3")
	if repository != "maintained/shop/cart" || tag != "lts-1.2.3" || err != nil {
		t.Error(repository, tag, err)
	}
	if _, tag, _ = flow.Names("shop/cart", ""); tag != "" {
		t.Error(tag)
	}
	if _, _, err = flow.Names("shop/cart", strings.Repeat("1", 125)); err == nil {
		t.Error("a tag of 129 characters")
	}
}

func TestMayMove(t *testing.T) {
	f := example(t, "contract.yaml")
	for _, c := range []struct {
		flow, from, to, tag string
		moveTag             bool
		want                rule.Name
	}{
		{"environments", "prod", "prod", "stage", false, ""},
		{"environments", "prod", "prod", "1.4.2", true, rule.Immutable},
		{"released", "prod", "web", "1.4.2", true, rule.TagWouldMove},
		{"released", "prod", "web", "1.4.2", false, rule.TagWouldMove},
		{"released", "web", "web", "1.4.2", true, ""},
		{"environments", "prod", "nowhere", "stage", true, rule.Immutable},
	} {
		refusal := f.MayMove(f.Flows[c.flow], c.from+".azurecr.io", c.to+".azurecr.io", "shop/cart", c.tag, c.moveTag)
		got := rule.Name("")
		if refusal != nil {
			got = refusal.Rule
		}
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestTighten(t *testing.T) {
	yes, no := true, false
	base := func() *Flow {
		return &Flow{Name: "f", Require: Require{Approval: Approval{Kind: Manual, Environment: "Production", MinApprovers: 2, MaxAge: Duration(72 * time.Hour)}}}
	}
	var pattern CommentPattern
	if err := pattern.read("CHG[0-9]+"); err != nil {
		t.Fatal(err)
	}
	// Flows that ask no person, and what their rules are then.
	none := func(f *Flow) { f.Require.Approval = Approval{Kind: None} }
	unasked := func(w *Rules) { w.Kind, w.Environment, w.MinApprovers, w.MaxAge = None, "", 1, 0 }
	asked := func(change func(*Rules)) func(*Rules) {
		return func(w *Rules) { unasked(w); w.Kind = Manual; change(w) }
	}
	automated := func(f *Flow) {
		f.Require.Approval = Approval{Kind: Automated, Checks: []Check{{"1", "P"}}}
	}
	checked := func(w *Rules) { unasked(w); w.Kind, w.Checks = Automated, []Check{{"1", "P"}} }
	receipt := func(key ReceiptKey) func(*Flow) {
		return func(f *Flow) { f.Receipt = Receipt{Key: key, Required: true} }
	}
	noCode, image, plan := Code(""), CodeOfImage, CodeOfPlan
	down := Defaults{Sealed: true, Lock: LockNone}
	silent := Rules{Kind: Manual, Environment: "Production", MinApprovers: 2, AuthorCanApprove: true, MaxAge: 72 * time.Hour, Sealed: true, Lock: LockNone, OnPartial: Fail}
	for _, c := range []struct {
		name    string
		change  func(*Flow)
		in      Inputs
		want    func(*Rules)
		ignored string
		err     string
	}{
		{name: "nothing", want: func(*Rules) {}},
		{name: "more approvers", in: Inputs{MinApprovers: 3}, want: func(w *Rules) { w.MinApprovers = 3 }},
		{name: "fewer approvers", in: Inputs{MinApprovers: 1}, want: func(*Rules) {}, ignored: "minApprovers is 1"},
		{name: "shorter age", in: Inputs{MaxAge: time.Hour}, want: func(w *Rules) { w.MaxAge = time.Hour }},
		{name: "longer age", in: Inputs{MaxAge: 100 * time.Hour}, want: func(*Rules) {}, ignored: "approvalMaxAge"},
		{name: "requester may by input", in: Inputs{RequesterCanApprove: &yes}, want: func(*Rules) {}, ignored: "requesterCanApprove is true"},
		{name: "requester may by the flow", change: func(f *Flow) { f.Require.Approval.RequesterCanApprove = &yes }, want: func(w *Rules) { w.RequesterCanApprove = true }},
		{name: "requester may by the flow, not by input", change: func(f *Flow) { f.Require.Approval.RequesterCanApprove = &yes }, in: Inputs{RequesterCanApprove: &no}, want: func(*Rules) {}},
		{name: "author may not", in: Inputs{AuthorCanApprove: &no}, want: func(w *Rules) { w.AuthorCanApprove = false }},
		{name: "author may not by the flow", change: func(f *Flow) { f.Require.Approval.AuthorCanApprove = &no }, in: Inputs{AuthorCanApprove: &yes}, want: func(w *Rules) { w.AuthorCanApprove = false }, ignored: "authorCanApprove"},
		{name: "code", in: Inputs{Code: &image}, want: func(w *Rules) { w.Code = CodeOfImage }},
		{name: "no code", change: func(f *Flow) { f.Require.Approval.Code = CodeOfImage }, in: Inputs{Code: &noCode}, want: func(w *Rules) { w.Code = CodeOfImage }, ignored: "approvalCode is false, which would relax flow f. It is ignored, and image applies"},
		{name: "the plan's code", in: Inputs{Code: &plan}, want: func(w *Rules) { w.Code = CodeOfPlan }},
		{name: "the plan's code instead of the image's", change: func(f *Flow) { f.Require.Approval.Code = CodeOfImage }, in: Inputs{Code: &plan}, want: func(w *Rules) { w.Code = CodeOfPlan }},
		{name: "the image's code instead of the plan's", change: func(f *Flow) { f.Require.Approval.Code = CodeOfPlan }, in: Inputs{Code: &image}, want: func(w *Rules) { w.Code = CodeOfPlan }, ignored: "approvalCode is image, which would relax flow f. It is ignored, and plan applies"},
		{name: "no code instead of the plan's", change: func(f *Flow) { f.Require.Approval.Code = CodeOfPlan }, in: Inputs{Code: &noCode}, want: func(w *Rules) { w.Code = CodeOfPlan }, ignored: "approvalCode is false"},
		{name: "the plan's code twice", change: func(f *Flow) { f.Require.Approval.Code = CodeOfPlan }, in: Inputs{Code: &plan}, want: func(w *Rules) { w.Code = CodeOfPlan }},
		{name: "unsealed by input", in: Inputs{Sealed: &no}, want: func(*Rules) {}, ignored: "sealed is false"},
		{name: "unsealed by the flow", change: func(f *Flow) { f.Require.Sealed = &no }, want: func(w *Rules) { w.Sealed = false }},
		{name: "kind any", in: Inputs{Approval: Any}, want: func(*Rules) {}, ignored: "approval is any"},
		{name: "kind none", in: Inputs{Approval: None}, want: func(*Rules) {}, ignored: "approval is none"},
		{name: "kind automated", in: Inputs{Approval: Automated}, err: "different but not stricter"},
		{name: "manual of any", change: func(f *Flow) {
			f.Require.Approval.Kind, f.Require.Approval.Checks = Any, []Check{{"1", "P"}}
		}, in: Inputs{Approval: Manual}, want: func(*Rules) {}},
		{name: "automated of any", change: func(f *Flow) {
			f.Require.Approval.Kind, f.Require.Approval.Checks = Any, []Check{{"1", "P"}}
		}, in: Inputs{Approval: Automated}, want: func(w *Rules) { w.Kind, w.Checks = Automated, []Check{{"1", "P"}} }},
		{name: "manual of none", change: func(f *Flow) { f.Require.Approval = Approval{Kind: None} }, in: Inputs{Approval: Manual, Environment: "E"},
			want: func(w *Rules) { w.Environment, w.MinApprovers, w.MaxAge = "E", 1, 0 }},
		{name: "automated of none", change: func(f *Flow) { f.Require.Approval = Approval{Kind: None} }, in: Inputs{Approval: Automated}, err: "different but not stricter"},
		{name: "environment of none", change: none, in: Inputs{Environment: "E"}, want: asked(func(w *Rules) { w.Environment = "E" })},
		{name: "minApprovers of none", change: none, in: Inputs{MinApprovers: 1}, want: asked(func(*Rules) {})},
		{name: "approvers of none", change: none, in: Inputs{Approvers: []string{"a@example.com"}}, want: asked(func(w *Rules) { w.Approvers = []string{"a@example.com"} })},
		{name: "approvalMaxAge of none", change: none, in: Inputs{MaxAge: time.Hour}, want: asked(func(w *Rules) { w.MaxAge = time.Hour })},
		{name: "commentPattern of none", change: none, in: Inputs{CommentPattern: pattern.Regexp}, want: asked(func(w *Rules) { w.CommentPatterns = []*regexp.Regexp{pattern.Regexp} })},
		{name: "approvalCode of none", change: none, in: Inputs{Code: &image}, want: asked(func(w *Rules) { w.Code = CodeOfImage })},
		{name: "the plan's code of none", change: none, in: Inputs{Code: &plan}, want: asked(func(w *Rules) { w.Code = CodeOfPlan })},
		{name: "no code of none", change: none, in: Inputs{Code: &noCode}, want: unasked},
		{name: "requesters and authors of none", change: none, in: Inputs{RequesterCanApprove: &no, AuthorCanApprove: &no}, want: func(w *Rules) { unasked(w); w.AuthorCanApprove = false }},
		{name: "minApprovers of none, none given too", change: none, in: Inputs{Approval: None, MinApprovers: 2}, want: asked(func(w *Rules) { w.MinApprovers = 2 }), ignored: "approval is none"},
		{name: "environment of automated", change: automated, in: Inputs{Environment: "E"}, err: "ask no person, so inputs about people have no effect: environment"},
		{name: "minApprovers of automated", change: automated, in: Inputs{MinApprovers: 1}, err: "no effect: minApprovers"},
		{name: "approvers of automated", change: automated, in: Inputs{Approvers: []string{"a"}}, err: "no effect: approvers"},
		{name: "approvalMaxAge of automated", change: automated, in: Inputs{MaxAge: time.Hour}, err: "no effect: approvalMaxAge"},
		{name: "commentPattern of automated", change: automated, in: Inputs{CommentPattern: pattern.Regexp}, err: "no effect: commentPattern"},
		{name: "approvalCode of automated", change: automated, in: Inputs{Code: &image}, err: "no effect: approvalCode"},
		{name: "everything of automated", change: automated, in: Inputs{Environment: "E", MinApprovers: 2, Code: &plan}, err: "no effect: environment, minApprovers, approvalCode"},
		{name: "no code of automated", change: automated, in: Inputs{Code: &noCode}, want: checked},
		{name: "automated of any, with people", change: func(f *Flow) { automated(f); f.Require.Approval.Kind = Any }, in: Inputs{Approval: Automated, MinApprovers: 2}, err: "no effect: minApprovers"},
		{name: "automated of any, with its environment", change: func(f *Flow) {
			automated(f)
			f.Require.Approval.Kind, f.Require.Approval.Environment = Any, "Production"
		}, in: Inputs{Approval: Automated, Environment: "production"}, want: func(w *Rules) { checked(w); w.Environment = "Production" }},
		{name: "people of any", change: func(f *Flow) { automated(f); f.Require.Approval.Kind = Any }, in: Inputs{MinApprovers: 2, Environment: "E"}, want: func(w *Rules) {
			checked(w)
			w.Kind, w.MinApprovers, w.Environment = Any, 2, "E"
		}},
		{name: "the same environment", in: Inputs{Environment: "pRODUCTION"}, want: func(*Rules) {}},
		{name: "another environment", in: Inputs{Environment: "Mine"}, err: "input environment is"},
		{name: "a look-alike", change: func(f *Flow) { f.Require.Approval.Environment = "Kit" }, in: Inputs{Environment: "\u212ait"}, err: "input environment is"},
		{name: "an environment per tag", change: func(f *Flow) { f.Require.Approval.Environment = "shop-{tag}" }, want: func(w *Rules) { w.Environment = "shop-stage" }},
		{name: "approvers", in: Inputs{Approvers: []string{"a@example.com"}}, want: func(w *Rules) { w.Approvers = []string{"a@example.com"} }},
		{name: "approvers on both lists", change: func(f *Flow) { f.Require.Approval.Approvers = []Approver{"a@example.com", "b@example.com"} },
			in: Inputs{Approvers: []string{"B@example.com", "c@example.com"}}, want: func(w *Rules) { w.Approvers = []string{"b@example.com"} }},
		{name: "approvers on no list", change: func(f *Flow) { f.Require.Approval.Approvers = []Approver{"a@example.com"} },
			in: Inputs{Approvers: []string{"c@example.com"}}, err: "no approver is in both"},
		{name: "lock", in: Inputs{Lock: LockImage}, want: func(w *Rules) { w.Lock = LockImage }},
		{name: "no lock", change: func(f *Flow) { f.Lock = LockTag }, in: Inputs{Lock: LockNone}, want: func(w *Rules) { w.Lock = LockTag }, ignored: "lock is none"},
		{name: "warn", in: Inputs{OnPartial: Warn}, want: func(w *Rules) { w.OnPartial = Warn }},
		{name: "warn where the flow fails", change: func(f *Flow) { f.OnPartial = Fail }, in: Inputs{OnPartial: Warn}, want: func(*Rules) {}, ignored: "onPartial"},
		{name: "receipt key", in: Inputs{ReceiptKey: "receipt.pem"}, want: func(w *Rules) { w.ReceiptKey = "receipt.pem" }},
		{name: "receipt key of the flow", change: receipt("receipt.pem"), want: func(w *Rules) { w.ReceiptKey, w.ReceiptRequired = "receipt.pem", true }},
		{name: "the same receipt key", change: receipt("https://receipts.vault.azure.net/keys/release"), in: Inputs{ReceiptKey: "https://Receipts.vault.azure.net/keys/Release"},
			want: func(w *Rules) {
				w.ReceiptKey, w.ReceiptRequired = "https://receipts.vault.azure.net/keys/release", true
			}},
		{name: "another receipt key", change: receipt("https://receipts.vault.azure.net/keys/release"), in: Inputs{ReceiptKey: "https://mine.vault.azure.net/keys/release"},
			err: "signs receipts with the key https://receipts.vault.azure.net/keys/release, but the input receiptKey is"},
		{name: "another version of the receipt key", change: receipt("https://receipts.vault.azure.net/keys/release"), in: Inputs{ReceiptKey: "https://receipts.vault.azure.net/keys/release/1"}, err: "receiptKey is"},
		{name: "another file", change: receipt("receipt.pem"), in: Inputs{ReceiptKey: "Receipt.pem"}, err: "receiptKey is"},
		{name: "fail where the flow warns", change: func(f *Flow) { f.OnPartial = Warn }, in: Inputs{OnPartial: Fail}, want: func(*Rules) {}},
	} {
		f := base()
		if c.change != nil {
			c.change(f)
		}
		got, err := f.Tighten("stage", c.in, down)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if (c.ignored == "") != (len(got.Ignored) == 0) || !strings.Contains(strings.Join(got.Ignored, " "), c.ignored) {
			t.Errorf("%s: %q", c.name, got.Ignored)
		}
		got.Ignored = nil
		want := silent
		c.want(&want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v\n%+v", c.name, got, want)
		}
	}
	f := base()
	f.Require.Approval.Environment = "{tag}"
	if _, err := f.Tighten("", Inputs{}, down); err == nil || !strings.Contains(err.Error(), "the target has no tag") {
		t.Error(err)
	}
	f = base()
	f.Require.Approval.CommentPattern = pattern
	got, err := f.Tighten("", Inputs{CommentPattern: regexp.MustCompile("ok")}, down)
	if err != nil || len(got.CommentPatterns) != 2 {
		t.Error(got.CommentPatterns, err)
	}
	got, err = f.Tighten("", Inputs{CommentPattern: regexp.MustCompile("CHG[0-9]+")}, down)
	if err != nil || len(got.CommentPatterns) != 1 {
		t.Error(got.CommentPatterns, err)
	}
}

// TestRedaction shows what receipts leave out, by flow and target.
func TestRedaction(t *testing.T) {
	for redact, want := range map[string]string{
		"":                                "[comments uniqueNames] [] []",
		"    receipt: {required: true}\n": "[comments uniqueNames] [] []",
		"    receipt: {redact: []}\n":     "[] [] []",
		"    receipt: {redact: [rules, egress]}\n": "[rules egress] [rules egress] [rules egress]",
	} {
		content := strings.Replace(validFile, "    from: prod\n", "    from: prod\n"+redact, 1)
		file, err := Parse("f", []byte(content))
		if err != nil {
			t.Fatalf("%s: %v", redact, err)
		}
		if err := valid(t, schemaObject(t), asJSON(t, []byte(content)), ""); err != nil {
			t.Errorf("%s: the schema: %v", redact, err)
		}
		flow, up := file.Flows["released"], *file.Flows["released"]
		up.From = "dev"
		if got := fmt.Sprint(file.Redaction(flow, "dev"), file.Redaction(flow, "prod"), file.Redaction(&up, "prod")); got != want {
			t.Errorf("%q: %s, want %s", redact, got, want)
		}
	}
}

func TestInit(t *testing.T) {
	for name, a := range map[string]Answers{
		"both":         {Production: "shopprod.azurecr.io", Development: []string{"payments.azurecr.io", "web.example.com:5000"}, Environments: []string{"test", "production"}, Repositories: []string{"shop/**"}, MinApprovers: 2},
		"sandbox":      {Production: "shopprod-a1b2.azurecr.io", Development: []string{"prod.azurecr.io"}},
		"addresses":    {Production: "[2001:db8::1]:5000", Development: []string{"192.0.2.1:5000", "[2001:db8::2]:5000"}, Repositories: []string{"shop/*", "shop/cart"}},
		"environments": {Production: "shop.azurecr.io", Environments: []string{"stage", "production"}, Branches: []string{"refs/heads/main", "refs/heads/release/*"}},
	} {
		kit, err := Init(a)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file, err := Parse(name, []byte(kit.FlowFile))
		if err != nil || len(file.Notes) > 0 {
			t.Errorf("%s: %v %v", name, err, file)
		}
		if strings.ContainsAny(kit.FlowFile, "<") {
			t.Errorf("%s: a placeholder in the flow file:\n%s", name, kit.FlowFile)
		}
		asJSON(t, []byte(kit.Pipeline))
		if err := valid(t, schemaObject(t), asJSON(t, []byte(kit.FlowFile)), ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		golden(t, "testdata/init-"+name+".golden", kit.FlowFile+"-----\n"+kit.Pipeline+"-----\n"+kit.Bash+"-----\n"+kit.PowerShell)
		parses(t, name, kit.Bash)
		if kit.Schema == "" || !strings.HasPrefix(kit.FlowFile, "# yaml-language-server: $schema=flow.schema.json\n") {
			t.Errorf("%s: the flow file does not name its schema", name)
		}
	}
	for want, a := range map[string]Answers{
		"there are no targets":                                   {Production: "p.azurecr.io"},
		"duplicate registry p.azurecr.io":                        {Production: "p.azurecr.io", Development: []string{"P.azurecr.io"}},
		"is not a valid registry host":                           {Production: "p", Development: []string{"d.azurecr.io"}},
		"port must be 1 to 65535":                                {Production: "p.azurecr.io", Development: []string{"d.azurecr.io:70000"}},
		"the number of approvers is -1":                          {Production: "p.azurecr.io", Development: []string{"d.azurecr.io"}, MinApprovers: -1},
		"not allowed in a repository":                            {Production: "p.azurecr.io", Development: []string{"d.azurecr.io"}, Repositories: []string{"A\nb"}},
		"is not a valid environment name":                        {Production: "p.azurecr.io", Development: []string{"d.azurecr.io"}, Environment: "a\"\nb: c"},
		"is not a full ref":                                      {Production: "p.azurecr.io", Development: []string{"d.azurecr.io"}, Branches: []string{"main"}},
		`--movingTags: "st*" is a pattern. Name each tag`:        {Production: "p.azurecr.io", Environments: []string{"st*"}},
		`--movingTags: "a b" contains`:                           {Production: "p.azurecr.io", Environments: []string{"a b"}},
		`--movingTags: "-a" is not a valid tag`:                  {Production: "p.azurecr.io", Environments: []string{"-a"}},
		`"endpoint:X" is not the name of an environment`:         {Production: "p.azurecr.io", Development: []string{"d.azurecr.io"}, Environment: "endpoint:X"},
		`"#7" is not the name of an environment`:                 {Production: "p.azurecr.io", Development: []string{"d.azurecr.io"}, Environment: "#7"},
		"--repositories: Azure Pipelines does not replace":       {Production: "p.azurecr.io", Development: []string{"d.azurecr.io"}, Repositories: []string{"$(repository)"}},
		"--environment: Azure Pipelines does not replace":        {Production: "p.azurecr.io", Development: []string{"d.azurecr.io"}, Environment: "$(env)"},
		"--production: the PROD registry is not given":           {Development: []string{"d.azurecr.io"}},
		"--development: \"x\" is not a valid registry host":      {Development: []string{"x", "y"}},
		"--development: \"y\" is not a valid registry host. Wri": {Development: []string{"x", "y"}, Branches: []string{"main"}},
		"duplicate entry":                                        {Production: "p.azurecr.io", Environments: []string{"a", "a"}},
	} {
		if _, err := Init(a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// parses checks that bash can read a script.
func parses(t *testing.T, name, script string) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		if runtime.GOOS == "windows" {
			return
		}
		t.Fatal(err)
	}
	check := exec.Command("bash", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%s: bash cannot read the script: %v\n%s\n%s", name, err, out, script)
	}
}
