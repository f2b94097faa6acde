package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"acrpromote/internal/card"
	"acrpromote/internal/doctor"
	"acrpromote/internal/imageinfo"
	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
	"acrpromote/internal/schemacheck"
	"acrpromote/internal/trace"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	digest = "sha256:8f1c0e5d2b7a4c3e9d6f8a1b2c3d4e5f60718293a4b5c6d7e8f9000102030405"
	before = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	code   = "HWE0-WQ95-F96F-7TVF-H1P5-RF4Y"
)

func base(action string, ended outcome.Outcome) Result {
	return Result{
		Schema: Schema, Tool: "1.0.0", Action: action, Outcome: ended, Direction: "unchecked", Rules: "inputs",
		Protection: "unknown: grant Reader on the service connection to the build identity", ApprovalCode: code,
		StartedAt: "2026-11-23T12:01:00Z", FinishedAt: "2026-11-23T12:01:09.5Z",
		Run: Run{Kind: "yaml", Organization: "contoso", Project: "Shop", Pipeline: Pipeline{ID: 12, Name: "release"}, ID: 4711,
			URL:   "https://dev.azure.com/contoso/Shop/_build/results?buildId=4711",
			Stage: "Production", Job: "Push", Attempt: 1,
			RequestedBy: "developer@example.com", RequestedByID: "id-2", RequestedByUniqueName: "developer@example.com", Branch: "refs/heads/main", Commit: "0123456789abcdef0123456789abcdef01234567"},
		RulesInForce: map[string]RuleInForce{
			"approval":     {Value: "manual", From: "default", Flow: "released"},
			"minApprovers": {Value: 2, From: "flow", Flow: "released", Others: []RuleValue{{Value: 1, From: "default", Flow: "test"}}},
			"approvers":    {Value: []any{}, From: "default", Flow: "released"},
		},
		Identities: []Identity{
			{Side: SourceSide, Host: "prod.azurecr.io", Connection: "release-identity", ID: "c0ffee00-0000-4000-8000-000000000001", ClientID: "c0ffee00-0000-4000-8000-000000000002"},
			{Side: TargetSide, Host: "dev.azurecr.io"},
		},
		Egress: []string{"dev.azurecr.io:443", "prod.azurecr.io:443"}, Transport: "direct",
		Traffic: []Traffic{{Registry: "prod.azurecr.io", Requests: Requests{Read: 9, Referrers: 1, Token: 1}, BytesRead: 73400320}},
	}
}

func approved(r Result) Result {
	r.Approval = Approval{Granted: true, Kind: "manual", Guards: "environment Production",
		Approvals: []ApprovalRecord{{ID: "id-3", Check: 21, Version: 1, CheckRun: "id-3", Resource: "environment Production", ResourceID: "7", RequestedAt: "2026-11-23T11:45:00Z"}},
		Approvers: []Approver{{Name: "Release Manager (release.manager@example.com)", UniqueName: "release.manager@example.com", ID: "id-1", At: "2026-11-23T12:00:00Z", Comment: "CHG-1234, quoted the code"}},
		Rules:     RuleStates([]rule.Outcome{{Rule: rule.MinApprovers, Met: true, Detail: "1 of 1"}, {Rule: rule.NotSealed, Met: true, Detail: "1 image sealed before the approval"}})}
	return r
}

func cart(targets ...Target) []Image {
	return []Image{{Source: "prod.azurecr.io/shop/cart:1.4.2", Digest: digest, SealedAt: "2026-11-23T11:40:00Z", Bytes: 73400320, Targets: targets}}
}

func at(host string, state outcome.State) Target {
	return Target{Registry: host, Repository: "shop/cart", Tag: "1.4.2", State: state, Referrers: 2}
}

// cases returns a result for each way in which a run can end. Each has a golden
// text and summary.
func cases() map[string]Result {
	done := approved(base("invertedPush", outcome.Done))
	done.Changed = true
	done.Images = cart(at("dev.azurecr.io", outcome.Copied), Target{Registry: "web.azurecr.io", Repository: "shop/cart", Tag: "1.4.2", State: outcome.Copied, Referrers: 2, Locked: "tag"})

	down := done
	down.Flow = &FlowFile{Path: "flows.yml", SHA256: strings.TrimPrefix(before, "sha256:")}
	down.Registries = []Registry{{Name: "dev", Host: "dev.azurecr.io", Trust: "development"}, {Name: "prod", Host: "prod.azurecr.io", Trust: "released", Level: 1}, {Name: "web", Host: "web.azurecr.io", Hosts: []string{"web.westeurope.data.azurecr.io"}, Trust: "development"}}

	nothing := approved(base("invertedPush", outcome.Done))
	nothing.Images = cart(at("dev.azurecr.io", outcome.Present))

	moved := approved(base("promote", outcome.Done))
	moved.Changed = true
	moved.Images = cart(Target{Registry: "prod.azurecr.io", Repository: "shop/cart", Tag: "production", State: outcome.Retagged, Previous: before})

	refused := base("invertedPush", outcome.Refused)
	refused.Approval = Approval{Kind: "manual", Guards: "environment Production",
		Approvers: []Approver{},
		Rules: RuleStates([]rule.Outcome{{Rule: rule.RequesterApproved, Detail: "the only approver, developer@example.com, also started the run"}, {Rule: rule.MinApprovers, Detail: "0 of 2"},
			{Rule: rule.ApprovalCode, Pending: true, Detail: "the comment must quote " + code}})}
	kept := at("dev.azurecr.io", outcome.TargetRefused)
	kept.Previous = before
	refused.Images = cart(kept)
	refused.Refusals = []rule.Refusal{
		{Rule: rule.RequesterApproved, Subject: "environment Production", Reason: "the approver developer@example.com also started the run", Remedy: "Let another person approve the stage Production."},
		{Rule: rule.MinApprovers, Subject: "environment Production", Reason: "0 of 2 eligible people have approved", Remedy: "Let two more people approve, other than the requester."},
		{Rule: rule.TagWouldMove, Subject: "dev.azurecr.io/shop/cart:1.4.2", Reason: "the tag points at " + before, Remedy: "Release under a new tag."},
	}
	refused.Errors = []Problem{{Side: TargetSide, Subject: "web.azurecr.io", Reason: "the registry does not respond", Remedy: "Check its firewall."}}
	refused.Warnings = []string{"deep is ignored: seal does not use it."}

	proposed := base("plan", outcome.Done)
	proposed.Approval = Approval{Kind: "manual", Guards: "environment Production", Approvers: []Approver{},
		Rules: RuleStates([]rule.Outcome{{Rule: rule.ApprovalMissing, Pending: true, Detail: "2 approvers on environment Production, other than the requester; the comment must quote " + code},
			{Rule: rule.MinApprovers, Pending: true, Detail: "0 of 2"}, {Rule: rule.NotSealed, Met: true, Detail: "1 image sealed"}})}
	proposed.Images = cart(at("dev.azurecr.io", outcome.Planned), at("web.azurecr.io", outcome.Present))
	proposed.Rights = []Right{{Registry: "prod.azurecr.io", State: RightGranted},
		{Registry: "dev.azurecr.io", State: RightMissing, Reason: "content/write on shop/cart", Remedy: "Grant the identity the role AcrPush on dev.azurecr.io"},
		{Registry: "web.azurecr.io", State: RightUnchecked, Reason: "the registry's token does not show what it grants"}}

	partial := approved(base("invertedPush", outcome.Partial))
	partial.Changed = true
	bad := at("web.azurecr.io", outcome.TargetFailed)
	bad.Error = "403: client with IP '192.0.2.7' is not allowed access"
	partial.Images = cart(at("dev.azurecr.io", outcome.Copied), bad, at("team-with-a-rather-long-name.azurecr.io", outcome.Pending))
	partial.Errors = []Problem{{Side: TargetSide, Subject: "web.azurecr.io", Reason: "the registry's firewall denies access to this agent (192.0.2.7)", Remedy: "Add 192.0.2.7 to the network rules of web.azurecr.io."}}

	failed := base("seal", outcome.Failed)
	failed.ApprovalCode = ""
	failed.Errors = []Problem{{Side: SourceSide, Subject: "prod.azurecr.io/shop/cart:1.4.2", Reason: "the tag does not exist", Remedy: "Push the image first, or correct the tag."}}

	misuse := Result{Outcome: outcome.Misuse, Tool: "1.0.0", Transport: "direct", Run: Run{Kind: "none"},
		Errors: []Problem{{Side: InputSide, Subject: "action", Reason: `unknown action "invertedpush"`, Remedy: "Did you mean invertedPush?"}, {Side: InputSide, Subject: "minApprovers", Reason: `"0" is not a positive integer`}}}

	dry := approved(base("invertedPush", outcome.Done))
	dry.DryRun = true
	dry.Plan = &Plan{Digest: before, Code: code}
	planned := at("web.azurecr.io", outcome.Planned)
	planned.Locked = "image"
	dry.Images = cart(at("dev.azurecr.io", outcome.Present), planned)
	few, many := Share{Read: 0.004, Write: 0, Referrers: 0.004}, Share{Read: 0.2, Write: 1.25, Referrers: 4}
	dry.Budget = []Budget{
		{Registry: "dev.azurecr.io", Requests: Requests{Read: 20, Referrers: 1, Token: 2}, Shares: Shares{few, few, few}},
		{Registry: "web.azurecr.io", Requests: Requests{Read: 1000, Write: 2500, Referrers: 1000, Token: 2}, Shares: Shares{many, many, Share{Read: 0.1, Write: 0.625, Referrers: 1}}},
	}

	sealed := base("seal", outcome.Done)
	sealed.Changed = true
	sealed.Images = cart()

	cancelled := approved(base("invertedPush", outcome.Cancelled))
	cancelled.Changed = true
	cancelled.Images = cart(at("dev.azurecr.io", outcome.Copied), at("web.azurecr.io", outcome.Pending))

	unapproved := base("invertedPush", outcome.Done)
	unapproved.Changed = true
	unapproved.Run = Run{Kind: "none"}
	unapproved.Approval = Approval{Kind: "unapproved"}
	unapproved.Images = cart(at("localhost:5001", outcome.Copied))

	explained := base("seal", outcome.Done)
	explained.Changed = true
	explained.Images = cart()
	explained.Images[0].Types = []string{"application/spdx+json", ""}
	explained.Images[0].Description = &card.Description{Claims: imageinfo.Claims{Version: "1.4.2"}, Platforms: []string{"linux/amd64"}, LayerBytes: 70000000, SetAt: "2026-11-23T11:30:00Z"}
	explained.Images[0].Changes = []card.Change{{Basis: imageinfo.Version, Compared: true, Targets: []string{}, Notes: []string{}, Packages: []card.Packages{},
		Old:        card.Side{Registry: "prod.azurecr.io", Repository: "shop/cart", Tag: "1.4.1", Digest: before, Description: card.Description{Claims: imageinfo.Claims{Version: "1.4.1"}, Platforms: []string{"linux/amd64"}}},
		Difference: imageinfo.Difference{PlatformsAdded: []string{}, PlatformsRemoved: []string{}, Settings: []imageinfo.Setting{}, LayersShared: imageinfo.Layers{Count: 3, Bytes: 60000000}}}}
	explained.Card = &CardFacts{Operation: "seal", At: "2026-11-23T12:00:00Z", Lock: "tag", Notes: []string{"reading what differs was ended"}}

	verified := approved(base("verify", outcome.Done))
	verified.Rules, verified.Transport, verified.Direction = "verified", "claimed", "checked"
	verified.Images = cart(at("dev.azurecr.io", outcome.Planned))

	return map[string]Result{"verify": verified, "explained": explained, "done": done, "nothing": nothing, "moved": moved, "refused": refused, "partial": partial, "failed": failed,
		"misuse": misuse, "dryrun": dry, "seal": sealed, "cancelled": cancelled, "unapproved": unapproved, "plan": proposed, "receipt": receiptShown(), "trace": traced(), "doctor": diagnosed(), "flow": down, "hostile": hostile()}
}

const nasty = "a|b `c` [click](https://evil.example) <script>x</script> ##vso[task.complete]\r\n# H\n| --- |\u202e\x1b[2J\xff www.evil.example </details> ![i](x) ~~~ **b** &amp; \\"

// hostile returns a result with hostile text in every string field.
func receiptShown() Result {
	r := base("verifyReceipt", outcome.Done)
	r.Approval = Approval{Kind: "none"}
	r.Run = Run{Kind: "none"}
	r.Images = cart()
	r.Images[0].SealedAt, r.Images[0].Bytes = "", 0
	r.ReceiptVerdict = &ReceiptVerdict{Met: true, Valid: 2, Receipt: &ReceiptContent{
		KeyID: before, Time: "2026-11-23T12:00:00Z", Manifests: []string{before}, Resource: "dev.azurecr.io/c@" + before, Levels: []string{"ACRPROMOTE_APPROVED_BY_PERSONS"},
		Tool: "1.0.0", Action: "invertedPush", From: "prod.azurecr.io/c:1.4.2", To: []string{"dev.azurecr.io/c:1.4.2"},
		Run:          Run{Kind: "yaml", Project: "Shop", Pipeline: Pipeline{12, "release"}, ID: 4711, URL: "https://dev.azure.com/contoso/Shop/_build/results?buildId=4711", Stage: "Production", Attempt: 1, RequestedBy: "Chi"},
		ApprovalKind: "manual", Approvers: 2, Resources: []string{"environment Production"},
		Given: []SignedApproval{{Name: "Asha", UniqueName: "asha@example.com", At: "2026-11-23T11:00:00Z", Comment: "CHG-1", Resource: "environment Production"},
			{At: "2026-11-23T11:30:00Z", Resource: "environment Production"}},
		Checks: []string{"smoke"}, RulesVerified: true, Flow: &FlowFile{Path: "flows.yml", Commit: "0123", SHA256: "abcd"}, Redacted: []string{"comments"},
	}, Seals: []SignedSeal{{Time: "2026-11-22T11:00:00Z", Image: "prod.azurecr.io/c@" + before, Record: before, Run: Run{Kind: "yaml", Project: "Shop", ID: 4700, Stage: "Build", Attempt: 1}}}}
	return r
}

func diagnosed() Result {
	r := base("doctor", outcome.Refused)
	r.Approval, r.Run = Approval{Kind: "none"}, Run{Kind: "none"}
	r.Rules = "verified"
	r.Findings = []doctor.Finding{
		{ID: "admin-user", Severity: doctor.High, Where: "registry prod (prod.azurecr.io)", Allows: "Anyone who knows one of its two passwords can push, delete and pull everything.", Mend: "az acr update --name prod --admin-enabled false"},
		{ID: "unread", Severity: doctor.Unknown, Where: "registry dev (dev.azurecr.io)", Allows: "The tasks could not be read.", Mend: "az role assignment create --assignee-object-id id-1 --role Reader --scope /subscriptions/s"},
	}
	r.Doctor = &Doctor{FailOn: doctor.High, Registries: []string{"prod.azurecr.io", "dev.azurecr.io"},
		Accepted: []doctor.Accepted{{Registry: "prod.azurecr.io", Principal: "id-2", Role: "AcrPush", Scope: "/subscriptions/s", As: "writer"}},
		Outbound: []string{"prod.azurecr.io"}, Inbound: []string{"prod.azurecr.io from the private endpoint clusters"}, Commands: []string{"az network …"}}
	r.Refusals = doctor.Refuse(r.Findings, doctor.High)
	return r
}

func traced() Result {
	r := base("trace", outcome.Done)
	r.Approval, r.Run = Approval{Kind: "none"}, Run{Kind: "none"}
	r.Images = cart()
	r.Trace = []trace.Life{{Image: "prod.azurecr.io/c:1.4.2", Digest: digest,
		Places: []trace.Place{{Name: "prod.azurecr.io/c", State: trace.Present, Pushed: "2026-11-23T08:00:00Z", Tags: []string{"1.4.2", "stage"}}, {Name: "dev.azurecr.io/c", State: trace.Missing, Tags: []string{}}},
		Events: []trace.Event{{Time: "2026-11-23T08:00:00Z", Kind: "pushed", To: []string{"prod.azurecr.io/c"}, Basis: trace.Registry},
			{Time: "2026-11-23T11:00:00Z", Kind: "approved", To: []string{}, By: "Asha", Run: "run 4711 of Shop", Detail: "environment Production: “CHG-1”", Basis: trace.Signed, KeyID: before},
			{Kind: "promoted", From: "prod.azurecr.io/c:1.4.2", To: []string{"dev.azurecr.io/c:1.4.2"}, Run: "run 13 of Shop", Detail: "automated", Basis: trace.Claimed}}}}
	return r
}

func hostile() Result {
	r := base("invertedPush", outcome.Refused)
	r.ApprovalCode = ""
	fill(reflect.ValueOf(&r).Elem())
	r.ReceiptVerdict = &ReceiptVerdict{}
	fill(reflect.ValueOf(r.ReceiptVerdict).Elem())
	r.Doctor = &Doctor{}
	fill(reflect.ValueOf(r.Doctor).Elem())
	r.ReceiptVerdict.Receipt = &ReceiptContent{}
	fill(reflect.ValueOf(r.ReceiptVerdict.Receipt).Elem())
	r.Schema, r.Action, r.Outcome = Schema, "invertedPush", outcome.Refused
	return r
}

// fill sets every string, also in lists, to the hostile text.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(nasty)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(nasty), value)
	case reflect.Interface:
		v.Set(reflect.ValueOf(nasty))
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs (run with -update to write it): %v\n%s", path, err, got)
	}
}

func TestGolden(t *testing.T) {
	for name, r := range cases() {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".txt", []byte(Text(r, 80, false)))
			golden(t, name+".md", Markdown(r))
			var doc bytes.Buffer
			if err := WriteJSON(&doc, r); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", doc.Bytes())
		})
	}
}

func TestHeadline(t *testing.T) {
	for _, test := range []struct {
		result Result
		want   string
	}{
		{Result{Action: "seal", Outcome: outcome.Done}, "done: nothing to do: already sealed"},
		{Result{Action: "seal", Outcome: outcome.Done, DryRun: true, ApprovalCode: code}, "done: the image would be sealed; nothing was written (dry run)"},
		{Result{Action: "verify", Outcome: outcome.Done}, "done: the action would be executed; nothing was written"},
		{Result{Action: "audit", Outcome: outcome.Done, Images: cart(at("a", outcome.Present), at("b", outcome.Present))}, "done: everything has arrived at 2 targets"},
		{Result{Action: "audit", Outcome: outcome.Done, Images: append(cart(at("a", outcome.Present), at("b", outcome.Present)), cart(at("a", outcome.Present), at("b", outcome.Present))...)}, "done: everything of 2 images has arrived at 2 registries"},
		{Result{Action: "invertedPush", Outcome: outcome.Done, Changed: true, Images: append(cart(at("a", outcome.Copied)), cart(at("a", outcome.Present))...)}, "done: 2 images arrived at 1 registry"},
		{Result{Action: "audit", Outcome: outcome.Partial, Images: cart(at("a", outcome.Present), at("b", outcome.Pending))}, "partial: 1 of 2 targets complete"},
		{Result{Action: "promote", Outcome: outcome.Done, DryRun: true, Images: cart(at("a", outcome.Present))}, "done: nothing to do; nothing was written (dry run)"},
		{Result{Action: "promote", Outcome: outcome.Refused}, "refused: nothing was written"},
		{Result{Action: "promote", Outcome: outcome.Refused, Refusals: make([]rule.Refusal, 1)}, "refused: 1 rule not met; nothing was written"},
		{Result{Action: "promote", Outcome: outcome.Failed, Errors: make([]Problem, 2), Changed: true}, "failed: 2 errors; content that arrived stays"},
	} {
		text := Text(test.result, 80, false)
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if got := lines[len(lines)-1]; got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
		if test.result.DryRun && strings.Contains(text, "Approve with") {
			t.Error("the code of an image that is not sealed is shown")
		}
	}
}

// TestCodeOfCard checks that the card of a plan shows the code that the rules require:
// neither code serves for the other.
func TestCodeOfCard(t *testing.T) {
	waits := []RuleState{{Rule: rule.ApprovalCode, Pending: true}}
	of := func(value string, others ...RuleValue) map[string]RuleInForce {
		return map[string]RuleInForce{"approvalCode": {Value: value, Others: others}}
	}
	for name, c := range map[string]struct {
		rules []RuleState
		force map[string]RuleInForce
		want  card.Code
	}{
		"the image's":         {waits, of("image"), card.Code{Value: "IMAGE", Covers: "image", Required: card.Required}},
		"the plan's":          {waits, of("plan"), card.Code{Value: "PLAN", Covers: "plan", Required: card.Required}},
		"the plan's for some": {waits, of("image", RuleValue{Value: "plan"}), card.Code{Value: "PLAN", Covers: "plan", Required: card.Required, Also: "IMAGE"}},
		"none for others":     {waits, of("false", RuleValue{Value: "plan"}), card.Code{Value: "PLAN", Covers: "plan", Required: card.Required}},
		"none":                {nil, of("false"), card.Code{Value: "PLAN", Covers: "plan", Required: card.Optional}},
	} {
		r := Result{Action: "plan", ApprovalCode: "IMAGE", Plan: &Plan{Code: "PLAN"}, RulesInForce: c.force, Approval: Approval{Rules: c.rules}, Images: make([]Image, 1)}
		if got := codeOf(r); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		// The log names the code of the image only where it is required.
		r.Outcome = outcome.Done
		if got, want := strings.Contains(Text(r, 80, false), "Approval code: IMAGE"), c.want.Value == "IMAGE" || name == "the plan's for some"; got != want {
			t.Errorf("%s: the log names the image's code: %t\n%s", name, got, Text(r, 80, false))
		}
	}
}

func TestApprovalLine(t *testing.T) {
	for want, a := range map[string]Approval{
		"":                             {},
		"none required by the flow":    {Kind: "none", Granted: true},
		"granted (manual)":             {Kind: "manual", Granted: true},
		"not granted":                  {Kind: "manual"},
		"stage QA: not granted":        {Guards: "stage QA"},
		"unapproved (--approval none)": {Kind: "unapproved"},
	} {
		if got := approvalLine(a); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestClassicRelease(t *testing.T) {
	r := base("invertedPush", outcome.Done)
	r.Run.Kind = "release"
	for _, s := range []string{Text(r, 80, false), string(Markdown(r))} {
		if s = strings.ToLower(s); !strings.Contains(s, "release 4711") || strings.Contains(s, "run 4711") {
			t.Error(s)
		}
	}
}

func TestColourKeepsText(t *testing.T) {
	sgr := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	for name, r := range cases() {
		plain, coloured := Text(r, 80, false), Text(r, 80, true)
		if strings.Contains(plain, "\x1b") || !strings.Contains(coloured, "\x1b[") || sgr.ReplaceAllString(coloured, "") != plain {
			t.Errorf("%s: colour changes the text", name)
		}
	}
}

func TestTextIsWrapped(t *testing.T) {
	for name, r := range cases() {
		if name == "hostile" {
			continue
		}
		for line := range strings.Lines(Text(r, 80, false)) {
			// References and digests are not broken.
			if utf8.RuneCountInString(line) > 95 {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
}

func TestOutsideTextIsEscaped(t *testing.T) {
	r := hostile()
	text := Text(r, 80, false)
	for _, bad := range []string{"\x1b", "\u202e", "\r", "\xff"} {
		if strings.Contains(text, bad) {
			t.Errorf("the text contains %q", bad)
		}
	}
	md := string(Markdown(r))
	for _, bad := range []string{"\x1b", "\u202e", "\r", "\xff", "[click]", "](", "<script", "##vso", "**b**", "~~~", "&amp;", "!["} {
		if strings.Contains(md, bad) {
			t.Errorf("the summary contains %q", bad)
		}
	}
	prose := regexp.MustCompile("`[^`\n]*`").ReplaceAllString(md, "")
	for _, bad := range []string{"https://", "www.evil", "evil.example"} {
		if strings.Contains(prose, bad) {
			t.Errorf("the summary contains %q outside of code", bad)
		}
	}
	if strings.Count(md, "</details>") != 1 || strings.Count(md, "<details>") != 1 {
		t.Error("outside text ends the folded details")
	}
	// Every row of a table has as many cells as its header.
	var head int
	for line := range strings.Lines(md) {
		if !strings.HasPrefix(line, "|") {
			head = 0
			continue
		}
		if n := strings.Count(line, "|"); head == 0 {
			head = n
		} else if n != head {
			t.Errorf("%d bars, the header has %d: %s", n, head, line)
		}
	}
}

// TestOutsideTextIsNoLink: some renderers look for addresses after they have
// replaced entities, so none may be left outside of code.
func TestOutsideTextIsNoLink(t *testing.T) {
	code := regexp.MustCompile("`[^`\n]*`")
	link := regexp.MustCompile(`(?i)://|www\.|mailto:|[a-z0-9]@[a-z0-9]|[a-z0-9-]\.[a-z]{2,}`)
	for _, text := range []string{
		"https://evil.example/x", "see http://evil.example.", "(https://evil.example)", "www.evil.example", "evil.example", "someone@evil.example",
		"mailto:a@b.example", "ftp://evil.example", "[a](https://evil.example)", "<https://evil.example>", "https://evil.example|x", "`https://evil.example`",
		"a`https://evil.example", "https://evil.example\\|", "javascript:alert(1)", "http://1.2.3.4/x", "https://evil。example", "//evil.example",
	} {
		r := Result{Warnings: []string{text}, Refusals: []rule.Refusal{{Subject: text, Reason: text, Remedy: text}}, Approval: Approval{Kind: "manual", Approvers: []Approver{{Name: text, Comment: text}}}}
		for line := range strings.Lines(string(Markdown(r))) {
			left := html.UnescapeString(code.ReplaceAllString(line, ""))
			left = strings.ReplaceAll(left, "result.json", "")
			if found := link.FindString(left); found != "" {
				t.Errorf("%q: %q is left in %q", text, found, line)
			}
		}
	}
}

func TestSummaryIsBounded(t *testing.T) {
	long, remedy, warning := strings.Repeat(nasty, 50), strings.Repeat("x", 1<<20), strings.Repeat("<", 1<<16)
	for name, n := range map[string]int{"many": 5000, "few": 3} {
		r := hostile()
		r.Images, r.Warnings = nil, nil
		for i := range n {
			image := Image{Source: fmt.Sprintf("prod.azurecr.io/shop/image-%d:1", i), Digest: digest, Targets: []Target{at("dev.azurecr.io", outcome.Copied)}}
			r.Images = append(r.Images, image)
			r.Refusals = append(r.Refusals, rule.Refusal{Rule: rule.Upward, Subject: nasty, Reason: long, Remedy: remedy})
			r.Warnings = append(r.Warnings, warning)
			r.Approval.Approvers = append(r.Approval.Approvers, Approver{Name: nasty})
			r.Egress = append(r.Egress, nasty)
		}
		md := Markdown(r)
		if len(md) > longestSummary || !utf8.Valid(md) || len(md) < 1000 {
			t.Errorf("%s: %d bytes", name, len(md))
		}
		if cut := bytes.Contains(md, []byte("more; result.json lists them all.")); cut != (n > 500) {
			t.Errorf("%s: images that are not shown are counted: %v", name, cut)
		}
		if !bytes.Contains(md, []byte("image-0:1")) || !bytes.HasSuffix(md, []byte("</details>\n")) {
			t.Errorf("%s: the beginning or the end is missing", name)
		}
	}
}

// TestSummaryOfManyRegistries checks that the summary of a plan is bounded, however many
// registries and keys it has.
func TestSummaryOfManyRegistries(t *testing.T) {
	r := Result{Action: "plan", Outcome: outcome.Done, Receipts: []Receipt{{State: ReceiptPlanned}}}
	for i := range 5000 {
		r.Budget = append(r.Budget, Budget{Registry: fmt.Sprintf("team%d.azurecr.io", i)})
		r.Signing = append(r.Signing, Signing{Key: fmt.Sprintf("https://vault%d.example/keys/release", i), Signatures: 1})
	}
	md := Markdown(r)
	if len(md) > longestSummary || !bytes.Contains(md, []byte("team0.azurecr.io")) || !bytes.Contains(md, []byte("more; result.json lists them all.")) || !bytes.HasSuffix(md, []byte("</details>\n")) {
		t.Errorf("%d bytes, which end in %s", len(md), md[max(len(md)-200, 0):])
	}
}

func TestJSON(t *testing.T) {
	var empty bytes.Buffer
	if err := WriteJSON(&empty, Result{Outcome: outcome.Failed, Images: []Image{{}}, Refusals: []rule.Refusal{{Reason: "a < b & \xff"}}}); err != nil {
		t.Fatal(err)
	}
	if s := empty.String(); strings.Contains(s, "null") || !strings.Contains(s, "a < b & \ufffd") && !strings.Contains(s, `a < b & \ufffd`) || !strings.Contains(s, Schema) {
		t.Error(s)
	}
}

func TestResultsMatchSchema(t *testing.T) {
	schema := parseJSON(t, SchemaJSON).(map[string]any)
	for name, r := range cases() {
		var doc bytes.Buffer
		if err := WriteJSON(&doc, r); err != nil {
			t.Fatal(err)
		}
		violations := schemacheck.Violations(schema, parseJSON(t, doc.Bytes()), "result")
		if (len(violations) > 0) != (name == "hostile") {
			t.Errorf("%s: %q", name, violations)
		}
	}
	for _, broken := range []string{`{}`, `null`, `[]`} {
		if len(schemacheck.Violations(schema, parseJSON(t, []byte(broken)), "result")) == 0 {
			t.Errorf("%s matches the schema", broken)
		}
	}
}

func TestSchemaHasEveryField(t *testing.T) {
	schema := parseJSON(t, SchemaJSON).(map[string]any)
	for _, difference := range schemacheck.Differences(schema, reflect.TypeFor[Result](), "result") {
		t.Error(difference)
	}
	rules := schema["$defs"].(map[string]any)["rule"].(map[string]any)["enum"].([]any)
	for _, name := range rule.All {
		if !slices.Contains(rules, any(string(name))) {
			t.Errorf("the schema lacks the rule %s", name)
		}
	}
	if len(rules) != len(rule.All) {
		t.Error("the schema has a rule that does not exist")
	}
}

func parseJSON(t *testing.T, b []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestProgress(t *testing.T) {
	clock := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { return clock }
	var reports []string
	sinks := Sinks{
		Percent: func(p int, s string) { reports = append(reports, fmt.Sprintf("%d%% %s", p, s)) },
		Line:    func(s string) { reports = append(reports, "line "+s) },
	}
	p := NewProgress(sinks, now)
	p.Start(200<<20, 2)
	for range 200 {
		clock = clock.Add(100 * time.Millisecond)
		p.Add(1 << 20)
		if len(reports) == 1 {
			p.Add(-1 << 20) // a layer is sent again
			p.Add(1 << 20)
		}
	}
	p.LayerDone()
	p.LayerDone()
	p.Stop()
	p.Stop()
	percents, lines := 0, []string{}
	last := -1
	for _, s := range reports {
		var n int
		if _, err := fmt.Sscanf(s, "%d%%", &n); err == nil {
			percents++
			if n <= last {
				t.Errorf("%d after %d", n, last)
			}
			last = n
		} else {
			lines = append(lines, s)
		}
	}
	want := []string{"line 100.0 MiB of 200.0 MiB, 0 of 2 layers, 10.0 MiB/s", "line 200.0 MiB of 200.0 MiB, 0 of 2 layers, 10.0 MiB/s", "line 200.0 MiB of 200.0 MiB, 2 of 2 layers, 10.0 MiB/s"}
	if last != 100 || percents > 21 || percents < 19 || !slices.Equal(lines, want) {
		t.Errorf("%d percents up to %d, %q", percents, last, lines)
	}
}

func TestProgressOnATerminal(t *testing.T) {
	clock := time.Unix(0, 0)
	var reports []string
	p := NewProgress(Sinks{Live: func(s string) { reports = append(reports, s) }, Line: func(string) { t.Error("a plain line on a terminal") }}, func() time.Time { return clock })
	p.Start(3000, 1)
	for range 30 {
		p.Add(100)
		clock = clock.Add(50 * time.Millisecond)
	}
	p.Stop()
	if len(reports) != 16 || reports[0] != "100 B of 2.9 KiB, 0 of 1 layers" || reports[15] != "" {
		t.Errorf("%q", reports)
	}
}

func TestProgressOfQuickCopy(t *testing.T) {
	clock := time.Unix(0, 0)
	p := NewProgress(Sinks{Line: func(s string) { t.Error(s) }}, func() time.Time { return clock })
	p.Start(0, 0)
	p.Add(5)
	p.LayerDone()
	p.Stop()
}

func TestProgressIsConcurrent(t *testing.T) {
	var last string
	p := NewProgress(Sinks{Percent: func(_ int, s string) { last = s }}, time.Now)
	p.Start(8000, 8)
	done := make(chan bool)
	for range 8 {
		go func() {
			for range 1000 {
				p.Add(1)
			}
			p.LayerDone()
			done <- true
		}()
	}
	for range 8 {
		<-done
	}
	if p.done != 8000 || p.layersDone != 8 || p.percent != 100 || last == "" {
		t.Errorf("%d %d %d %q", p.done, p.layersDone, p.percent, last)
	}
}

func FuzzPeople(f *testing.F) {
	f.Add(nasty, 80)
	f.Add("\xff\u200b…", 0)
	f.Fuzz(func(t *testing.T, s string, width int) {
		r := approved(base("invertedPush", outcome.Refused))
		r.Images = cart(Target{Registry: s, Repository: s, State: outcome.State(s), Error: s})
		r.Images[0].Source = s
		r.Approval.Guards, r.Approval.Approvers[0].Comment, r.Approval.Approvers[0].At = s, s, s
		r.Refusals = []rule.Refusal{{Rule: rule.Name(s), Subject: s, Reason: s, Remedy: s}}
		for i, out := range []string{Text(r, width, false), string(Markdown(r))} {
			if !utf8.ValidString(out) || strings.ContainsFunc(out, func(c rune) bool { return c != '\n' && (c < ' ' || c == '\u202e' || c == '\u2028') }) {
				t.Errorf("%d: %q", i, out)
			}
		}
	})
}

// TestRemediesOnce checks that a remedy that several errors have in common is shown
// once.
func TestRemediesOnce(t *testing.T) {
	r := Result{Action: "audit", Outcome: outcome.Partial}
	for i, e := range []Problem{{Side: TargetSide, Remedy: "Push it."}, {Side: TargetSide, Remedy: "Push it."}, {Side: SourceSide, Remedy: "Push it."}, {Side: SourceSide, Remedy: "Read it."}, {Side: SourceSide, Remedy: "Push it."}} {
		e.Subject, e.Reason = fmt.Sprintf("image %d", i), "it is missing"
		r.Errors = append(r.Errors, e)
	}
	_, issues := Issues(r)
	for name, said := range map[string]string{"log": strings.Join(issues, "\n"), "text": Text(r, 100, false), "summary": string(Markdown(r))} {
		if n := strings.Count(said, "Push it."); n != 3 {
			t.Errorf("%s: the remedy is shown %d times, want 3:\n%s", name, n, said)
		}
	}
	if r.Errors[0].Remedy == "" {
		t.Error("the result has lost a remedy")
	}
}

// TestRightsShown: a reason is shown once, with the errors or at the first registry.
func TestRightsShown(t *testing.T) {
	unchecked := func(registry, reason string) Right {
		return Right{Registry: registry, State: RightUnchecked, Reason: reason}
	}
	rights := []Right{unchecked("a", "signing in failed"), unchecked("b", "signing in failed"), unchecked("c", "timeout"), unchecked("d", "timeout"), unchecked("e", "")}
	for _, c := range []struct {
		errors []Problem
		want   string
	}{
		{nil, "signing in failed|as for a|timeout|as for c|"},
		{[]Problem{{Reason: "host: signing in failed"}}, "see below|see below|timeout|as for c|"},
	} {
		var got []string
		for _, r := range (Result{Rights: rights, Errors: c.errors}).shownRights() {
			got = append(got, r.Reason)
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s, want %s", s, c.want)
		}
	}
}

// TestPlannedReceipts checks what is said of a receipt that a step has not attached.
func TestPlannedReceipts(t *testing.T) {
	for action, want := range map[string]string{"plan": "would be attached at", "verify": "would be attached at", "recall": "not attached at", "invertedPush": "not attached at"} {
		r := Result{Action: action, Receipts: []Receipt{{Registry: "prod.example.com", State: ReceiptPlanned}}}
		if got := receiptLines(r); len(got) != 1 || got[0] != "signed by no key: "+want+" prod.example.com" {
			t.Errorf("%s: %q", action, got)
		}
	}
}
