package approval_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

var update = flag.Bool("update", false, "update the golden files")

// with returns the granted scenario with the given deviations.
func with(deviations ...any) scenario {
	var s scenario
	for i := 0; i < len(deviations); i += 2 {
		d := deviations[i].(int)
		for j, word := range values[d] {
			if word == deviations[i+1].(string) {
				s[d] = j
			}
		}
		if values[d][s[d]] != deviations[i+1].(string) {
			panic(fmt.Sprintf("no such word: %v", deviations[i+1]))
		}
	}
	return s
}

// TestVerdictTexts compares the texts of verdicts with a golden file.
func TestVerdictTexts(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		name string
		s    scenario
		more func(*approval.Evidence, *approval.Rules)
	}{
		{name: "granted", s: with()},
		{name: "granted, every rule in force", s: with(dSeal, "sealed", dMaxAge, "1h", dPattern, "required", dCode, "required", dList, "bob", dAuthor, "may not")},
		{name: "granted, the check's version unknown", s: with(dConfig, "version unknown")},
		{name: "granted by two", s: with(dSecond, "carol approved", dMin, "2")},
		{name: "granted, the requester does not count", s: with(dSecond, "alice approved")},
		{name: "granted, the check's configuration unknown", s: with(dConfig, "cannot be read"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Configurations.Unknown = "the job may not read the checks of environment Production (status 403)"
			e.Token = approval.Token{State: approval.TokenAbsent, Detail: "the server provides none (status 404)"}
		}},
		{name: "only the requester", s: with(dWho1, "alice")},
		{name: "the requester may approve", s: with(dWho1, "alice", dRequester, "may")},
		{name: "a slip in the code", s: with(dCode, "required", dComment, "the code with a slip")},
		{name: "requesters with few fields", s: with(), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Requesters = []approval.Requester{{Person: approval.Person{ID: guid(50), Name: "Dave"}}, {Person: approval.Person{ID: guid(51), UniqueName: "erin@example.com"}}, {Person: approval.Person{ID: guid(52)}}}
		}},
		{name: "a requester without fields", s: with(), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Requesters = []approval.Requester{{Person: approval.Person{ID: guid(52)}}}
		}},
		{name: "two requesters", s: with(dWho1, "queuer", dSecond, "alice approved")},
		{name: "the author unknown", s: with(dAuthor, "may not, unknown"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.AuthorsUnknown = "the source is in a repository of the type GitHub"
		}},
		{name: "an approval on another environment", s: with(dJoin, "guards another")},
		{name: "no approval for the service connection", s: with(dEnvironment, "endpoint:production"), more: func(e *approval.Evidence, _ *approval.Rules) {
			for i, r := range []approval.Resource{{Type: "variablegroup", ID: "4", Name: "secrets"}, {}, {Type: "queue", ID: "9"}, {Type: "securefile", Name: "key"}, {Name: "x"}, {Type: "repository"}} {
				e.Suite.Runs = append(e.Suite.Runs, approval.CheckRun{ID: guid(600 + i), Type: approval.TypeTaskCheck, Resource: r})
			}
		}},
		{name: "the environment's name is not shown", s: with(), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Reader = `"shop Build Service (contoso)"`
			e.Suite.Runs[0].Resource = approval.Resource{Type: "environment", ID: "7"}
		}},
		{name: "the service connection's name is not shown", s: with(), more: func(e *approval.Evidence, r *approval.Rules) {
			r.Environment = "endpoint:production"
			e.Suite.Runs[0].Resource = approval.Resource{Type: "endpoint", ID: guid(700)}
		}},
		{name: "the name of another kind of resource is not shown", s: with(), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Suite.Runs[0].Resource = approval.Resource{Type: "endpoint", ID: guid(700)}
		}},
		{name: "granted, named by its id", s: with(), more: func(e *approval.Evidence, r *approval.Rules) {
			r.Environment = "#7"
			e.Suite.Runs[0].Resource = approval.Resource{Type: "environment", ID: "7"}
			e.Configurations = approval.Configurations{Unknown: "the job may not read the checks of environment #7 (status 403)"}
		}},
		{name: "another id", s: with(), more: func(e *approval.Evidence, r *approval.Rules) {
			r.Environment = "#8"
			e.Suite.Runs[0].Resource = approval.Resource{Type: "environment", ID: "7"}
		}},
		{name: "neither environment nor approval", s: with(dEnvironment, "", dApprovals, "0")},
		{name: "no environment is named", s: with(dEnvironment, "")},
		{name: "no approval", s: with(dApprovals, "0")},
		{name: "no check", s: with(dApprovals, "unchecked")},
		{name: "pending", s: with(dStatus1, "pending"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Approvals[0].Steps = []approval.Step{
				{Status: "pending", Assigned: people["alice"]}, {Status: "pending", Assigned: people["bob"]}, {Status: "pending", Assigned: people["group"]},
			}
		}},
		{name: "rejected", s: with(dStatus1, "rejected"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Approvals[0].Steps[0].Status = "rejected"
			e.Approvals[0].Steps[0].Comment = "not on a Friday"
		}},
		{name: "bypassed", s: with(dStatus1, "bypassed")},
		{name: "bypassed by an administrator", s: with(dStatus1, "skipped", dRun, "bypassed"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Approvals[0].Steps[0].Status = "skipped"
		}},
		{name: "approved by a service principal", s: with(dWho1, "service")},
		{name: "approved by a service principal that approvers names", s: with(dWho1, "service", dList, "service")},
		{name: "approved by a service principal and a person", s: with(dWho1, "service", dSecond, "carol approved")},
		{name: "a service principal is asked", s: with(dStatus1, "pending"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Approvals[0].Steps = []approval.Step{{Status: "pending", Assigned: people["service"]}, {Status: "pending", Assigned: people["bob"]}}
		}},
		{name: "approved by nobody", s: with(dWho1, "no step")},
		{name: "the check was disabled", s: with(dConfig, "disabled")},
		{name: "the suite disagrees", s: with(dSuite, "running")},
		{name: "another attempt", s: with(dContext, "attempt")},
		{name: "changed since", s: with(dSeal, "sealed", dWhen, "before the tag")},
		{name: "not locked", s: with(dSeal, "not locked")},
		{name: "everything at once", s: with(dWho1, "alice", dMin, "2", dList, "bob", dMaxAge, "59m59s", dPattern, "required", dCode, "required", dComment, "nothing", dAuthor, "may not, unknown", dSeal, "no record")},
		{name: "one of two", s: with(dMin, "2")},
		{name: "clocks", s: with(dWhen, "in 6 minutes")},
		{name: "incomplete without a reason", s: with(dEvidence, "incomplete, without a reason")},
		{name: "no status", s: with(dStatus1, "")},
		{name: "two approvals", s: with(dApprovals, "2")},
		{name: "anyone may approve", s: with(dStatus1, "pending", dRequester, "may"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Approvals[0].Steps = []approval.Step{{Status: "pending", Assigned: people["alice"]}, {Status: "pending"}}
			e.Token = approval.Token{}
		}},
		{name: "rejected without a comment, by someone and by nobody", s: with(dStatus1, "rejected", dSecond, "carol approved"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Approvals[0].Steps[0].Status, e.Approvals[0].Steps[0].Comment = "rejected", ""
			e.Approvals[0].Steps = append(e.Approvals[0].Steps, approval.Step{Status: "rejected"})
		}},
		{name: "canceled by nobody", s: with(dStatus1, "canceled")},
		{name: "a group on the list of people", s: with(dStatus1, "pending", dList, "bob"), more: func(e *approval.Evidence, _ *approval.Rules) {
			e.Approvals[0].Steps = []approval.Step{{Status: "pending", Assigned: people["group"]}, {Status: "pending", Assigned: people["carol"]}}
		}},
		{name: "release, pending after the deployment", s: with(), more: func(e *approval.Evidence, r *approval.Rules) {
			bob := people["bob"]
			*e = approval.Evidence{Source: approval.Release, ReleaseID: 88, BuildID: 4711, Stage: "Production", Attempt: 1, Complete: true,
				Requesters: []approval.Requester{{Person: people["alice"], As: "created release 88"}},
				Notes:      []rule.Outcome{{Rule: rule.AutomatedCheck, Met: true, Detail: "pre-deployment gates: succeeded"}},
				Approvals: []approval.Approval{
					{ID: "1", Phase: "pre-deployment", Steps: []approval.Step{{Status: "approved", Assigned: bob, Actual: &bob, Modified: now.Add(-time.Hour)}}},
					{ID: "2", Phase: "post-deployment", Steps: []approval.Step{{Status: "pending", Assigned: bob}}},
				}}
			r.Environment = ""
		}},
		{name: "release, another stage is named", s: with(), more: func(e *approval.Evidence, _ *approval.Rules) {
			*e = approval.Evidence{Source: approval.Release, ReleaseID: 88, BuildID: 4711, Stage: "Test", Attempt: 1, Complete: true}
		}},
	} {
		e, r := c.s.build()
		if c.more != nil {
			c.more(&e, &r)
		}
		v := approval.Judge(e, r, now)
		fmt.Fprintf(&b, "== %s: granted=%v kind=%s guards=%q\n", c.name, v.Granted, v.Kind, v.Guards)
		for _, a := range v.Approvers {
			fmt.Fprintf(&b, "approver %s %s %s %q\n", a.Name, a.ID, a.At.Format(time.RFC3339), a.Comment)
		}
		for _, o := range v.Rules {
			fmt.Fprintf(&b, "rule %s met=%v: %s\n", o.Rule, o.Met, o.Detail)
		}
		for _, f := range v.Refusals {
			fmt.Fprintf(&b, "REFUSED %s, %s: %s.\n   -> %s\n", f.Rule, f.Subject, strings.TrimSuffix(f.Reason, "."), f.Remedy)
		}
		b.WriteString("\n")
	}
	golden := filepath.Join("testdata", "verdicts.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("the verdicts differ from %s; to update it, run with -update. Now:\n%s", golden, b.String())
	}
}

func TestKinds(t *testing.T) {
	e, r := with().build()
	for _, c := range []struct {
		kind, want approval.Kind
		granted    bool
		refused    rule.Name
	}{
		{"", approval.Manual, true, ""},
		{approval.Manual, approval.Manual, true, ""},
		{approval.Any, approval.Manual, true, ""},
		{approval.None, approval.None, true, ""},
		{approval.Unapproved, approval.Unapproved, false, ""},
		{approval.Automated, approval.Automated, false, rule.AutomatedCheck},
		{"anything", approval.Manual, false, rule.AutomatedCheck},
	} {
		r.Approval = c.kind
		v := approval.Judge(e, r, now)
		var refused rule.Name
		for _, f := range v.Refusals {
			refused = f.Rule
		}
		if v.Kind != c.want || v.Granted != c.granted || refused != c.refused {
			t.Errorf("%q: kind %q granted %v refused %q", c.kind, v.Kind, v.Granted, refused)
		}
	}
	// Without a required approval the evidence does not matter.
	for _, kind := range []approval.Kind{approval.None, approval.Unapproved} {
		v := approval.Judge(approval.Evidence{}, approval.Rules{Approval: kind, Seals: []approval.Seal{{}}}, now)
		if len(v.Refusals) > 0 || len(v.Rules) > 0 {
			t.Errorf("%s: %+v", kind, v)
		}
	}
	if v := approval.Judge(approval.Evidence{}, approval.Rules{}, now); v.Granted || len(v.Refusals) != 1 {
		t.Errorf("no evidence: %+v", v)
	}
	if v := approval.Judge(approval.Evidence{Complete: true}, approval.Rules{}, now); v.Granted {
		t.Errorf("empty evidence: %+v", v)
	}
}

// TestEachApprovalNeedsEligibleApprover checks that an approver of one approval
// does not count for another.
func TestEachApprovalNeedsEligibleApprover(t *testing.T) {
	for _, c := range []struct {
		s       scenario
		granted bool
	}{
		{with(dApprovals, "2"), true},
		{with(dApprovals, "2", dMin, "2"), true},
		{with(dApprovals, "2", dWho2, "bob"), true},
		{with(dApprovals, "2", dWho2, "bob", dMin, "2"), false}, // one person twice
		{with(dApprovals, "2", dWho2, "alice"), false},
		{with(dApprovals, "2", dWho2, "alice", dRequester, "may"), true},
		{with(dApprovals, "2", dStatus2, "pending"), false},
		{with(dMin, "2", dSecond, "carol approved"), true},
		{with(dMin, "2", dSecond, "carol pending"), false},
		{with(dMin, "2", dSecond, "alice approved"), false},
	} {
		e, r := c.s.build()
		if v := approval.Judge(e, r, now); v.Granted != c.granted {
			t.Errorf("%v: granted %v: %+v", c.s, v.Granted, v.Refusals)
		}
	}
}

// TestIneligibleApproverAmongOthers checks that an ineligible approver of an
// approval that others have given is no reason to refuse.
func TestIneligibleApproverAmongOthers(t *testing.T) {
	e, r := with(dApprovals, "2", dSecond, "alice approved", dWho2, "author", dAuthor, "may not").build()
	v := approval.Judge(e, r, now)
	if len(v.Refusals) != 1 || v.Refusals[0].Rule != rule.AuthorApproved {
		t.Errorf("%+v", v.Refusals)
	}
}

// TestApproverOfTwoApprovals checks that an approver is listed once, with the
// newest approval.
func TestApproverOfTwoApprovals(t *testing.T) {
	e, r := with(dApprovals, "2", dWho2, "bob").build()
	e.Approvals[0].Steps[0].Modified = now.Add(-30 * time.Minute)
	e.Approvals[0].Steps[0].Comment = "newest"
	v := approval.Judge(e, r, now)
	if len(v.Approvers) != 1 || v.Approvers[0].Comment != "newest" || !v.Approvers[0].At.Equal(now.Add(-30*time.Minute)) {
		t.Errorf("%+v", v.Approvers)
	}
	e.Approvals[0], e.Approvals[1] = e.Approvals[1], e.Approvals[0]
	if v = approval.Judge(e, r, now); len(v.Approvers) != 1 || v.Approvers[0].Comment != "newest" {
		t.Errorf("%+v", v.Approvers)
	}
}

func TestGroupsAndPeople(t *testing.T) {
	bob := people["bob"]
	named := bob
	named.Name = `[Shop]\Release Managers` // a person may choose any display name
	for _, c := range []struct {
		name     string
		list     string
		assigned approval.Person
		actual   approval.Person
		granted  bool
	}{
		{"person by unique name", "bob@EXAMPLE.com", bob, bob, true},
		{"person by descriptor", "aad.Bob", bob, bob, true},
		{"person by descriptor in another case", "aad.bob", bob, bob, false},
		{"person by display name", "Bob", bob, bob, false},
		{"person by id", bob.ID, bob, bob, false},
		{"group by name", `[Shop]\Release Managers`, people["group"], bob, true},
		{"group by name in another case", `[SHOP]\release managers`, people["group"], bob, true},
		{"group by descriptor", "vssgp.rm", people["group"], bob, true},
		{"group by unique name", "vstfs:///x", approval.Person{ID: guid(8), UniqueName: "vstfs:///x", Group: true}, bob, true},
		{"another group", `[Shop]\Others`, people["group"], bob, false},
		{"a group without a scope", "Managers", approval.Person{ID: guid(8), Name: "Managers", Group: true}, bob, false},
		{"half a scope", `Shop]\Managers`, approval.Person{ID: guid(8), Name: `Shop]\Managers`, Group: true}, bob, false},
		{"a scope and no group", `[Shop]\`, approval.Person{ID: guid(8), Name: `[Shop]\`, Group: true}, bob, false},
		{"a group that is the person", `[Shop]\Release Managers`, approval.Person{ID: bob.ID, Name: `[Shop]\Release Managers`, Group: true}, bob, false},
		{"group by name without a scope", "Release Managers", people["group"], bob, false},
		{"a person called as the group", `[Shop]\Release Managers`, named, named, false},
		{"a person called as the group, answered by another", `[Shop]\Release Managers`, named, people["carol"], false},
		{"a person asked, another answers", "bob@example.com", bob, people["carol"], false},
		{"a group that approves itself", `[Shop]\Release Managers`, people["group"], people["group"], false},
		{"an empty entry", "", bob, bob, false},
		{"an empty unique name", "", approval.Person{ID: guid(9)}, approval.Person{ID: guid(9)}, false},
	} {
		e, r := with().build()
		e.Approvals[0].Steps[0].Assigned, e.Approvals[0].Steps[0].Actual = c.assigned, &c.actual
		r.Approvers = []string{"nobody@example.com", c.list}
		if v := approval.Judge(e, r, now); v.Granted != c.granted {
			t.Errorf("%s: granted %v: %+v", c.name, v.Granted, v.Refusals)
		}
	}
}

func TestApprovalsWithoutDistinctIDs(t *testing.T) {
	for name, change := range map[string]func(*approval.Evidence){
		"no id":   func(e *approval.Evidence) { e.Approvals[0].ID = "" },
		"zero id": func(e *approval.Evidence) { e.Approvals[0].ID = "00000000-0000-0000-0000-000000000000" },
		"same id": func(e *approval.Evidence) { e.Approvals = append(e.Approvals, e.Approvals[0]) },
		"same id in capitals": func(e *approval.Evidence) {
			again := e.Approvals[0]
			again.ID = strings.ToUpper(again.ID)
			e.Approvals = append(e.Approvals, again)
		},
		"zero plan": func(e *approval.Evidence) {
			e.PlanID = "00000000-0000-0000-0000-000000000000"
			e.Suite.Context.PlanID = e.PlanID
		},
		"no suite": func(e *approval.Evidence) { e.Suite = nil },
		"a resource without an id": func(e *approval.Evidence) {
			e.Suite.Runs[0].Resource.ID = ""
			e.Configurations.Read = false
		},
	} {
		e, r := with().build()
		change(&e)
		if v := approval.Judge(e, r, now); v.Granted {
			t.Errorf("%s: granted", name)
		}
	}
}

// TestSuiteWithOtherChecks checks that the status of the suite and of the
// approvals on the named resource count. The suite's status covers other
// checks.
func TestSuiteWithOtherChecks(t *testing.T) {
	for name, run := range map[string]approval.CheckRun{
		"another check on the resource": {ID: guid(700), Status: "running", Type: approval.TypeTaskCheck, Resource: approval.Resource{Type: "environment", ID: "7", Name: "Production"}},
		"an approval of another":        {ID: guid(701), Status: "running", Type: approval.TypeApproval, Resource: approval.Resource{Type: "environment", ID: "8", Name: "Release"}},
	} {
		e, r := with().build()
		e.Suite.Runs = append(e.Suite.Runs, run)
		if v := approval.Judge(e, r, now); !v.Granted {
			t.Errorf("%s: %+v", name, v.Refusals)
		}
	}
}

// TestIncompleteEvidenceHasOneReason checks that an existing reason is not
// repeated.
func TestIncompleteEvidenceHasOneReason(t *testing.T) {
	for _, word := range []string{"incomplete, with a reason", "incomplete, without a reason"} {
		e, r := with(dEvidence, word).build()
		if v := approval.Judge(e, r, now); len(v.Refusals) != 1 {
			t.Errorf("%s: %+v", word, v.Refusals)
		}
	}
}

func TestNamesOfPeople(t *testing.T) {
	for want, p := range map[string]approval.Person{
		"Bob (bob@example.com)": {Name: "Bob", UniqueName: "bob@example.com"},
		"bob@example.com":       {UniqueName: "bob@example.com"},
		"erin@example.com":      {Name: "erin@example.com", UniqueName: "erin@example.com"},
		"Bob":                   {Name: "Bob"},
		guid(44):                {},
	} {
		p.ID, p.Descriptor = guid(44), "aad.x"
		e, r := with().build()
		e.Approvals[0].Steps[0].Actual = &p
		if v := approval.Judge(e, r, now); len(v.Approvers) != 1 || v.Approvers[0].Name != want {
			t.Errorf("%+v, want %q", v.Approvers, want)
		}
	}
	// The unique name of a group is not an address and means nothing to people.
	e, r := with(dStatus1, "pending").build()
	e.Approvals[0].Steps = []approval.Step{{Status: "pending", Assigned: approval.Person{ID: guid(45), Name: "Managers", UniqueName: "vstfs:///x", Group: true}}, {Status: "pending", Assigned: approval.Person{Descriptor: "aad.x"}}}
	if v := approval.Judge(e, r, now); !strings.Contains(v.Refusals[0].Remedy, "Asked to approve: Managers, an unnamed person;") {
		t.Errorf("%s", v.Refusals[0].Remedy)
	}
}

func TestQuotes(t *testing.T) {
	for comment, want := range map[string]bool{
		code:                            true,
		"abcd-efgh-jkmn-pqrs-tvwx-yz01": true,
		"I looked. ABCDEFGHJKMNPQRSTVWXYZ01, go.":     true,
		"ABCD EFGH JKMN PQRS TVWX YZ01":               true,
		"ABCD‑EFGH—JKMN–PQRS\nTVWX\u2009YZ01":         true,
		"ABCD-EFGH-JKMN-PQRS-TVWX-YZ0":                false,
		"ABCD-EFGH-JKMN-PQRS-TVWX-YZOI":               false, // O and I for 0 and 1
		"ABCD_EFGH_JKMN_PQRS_TVWX_YZ01":               false,
		"ABCD.EFGH.JKMN.PQRS.TVWX.YZ01":               false,
		"ABCD-EFGH-JKMN-PQRſ-TVWX-YZ01":               false,
		"ABCD-EFGH-JKMN-PQRS-TVWX-YZ\u200b01":         false,
		"ABCD-EFGH-JKMN-PQRS":                         false,
		"":                                            false,
		strings.Repeat("ABCD-EFGH-JKMN-PQRS-TVWX", 2): false,
	} {
		if got := approval.Quotes(comment, code); got != want {
			t.Errorf("%q: %v", comment, got)
		}
	}
	for _, bad := range []string{"", "ABCD", "- -", strings.Repeat("A", 23), strings.Repeat("A", 25)} {
		if approval.Quotes(strings.Repeat("A", 100)+bad, bad) {
			t.Errorf("Quotes accepts the code %q", bad)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		environment string
		resource    approval.Resource
		want        bool
	}{
		{"Production", approval.Resource{Type: "environment", Name: "Production"}, true},
		{"PRODUCTION", approval.Resource{Type: "environment", Name: "production"}, true},
		{"Größe", approval.Resource{Type: "environment", Name: "GRÖSSE"}, false},
		{"Ärger", approval.Resource{Type: "environment", Name: "äRGER"}, true},
		{"Release", approval.Resource{Type: "environment", Name: "Releaſe"}, false},
		{"Kiosk", approval.Resource{Type: "environment", Name: "\u212aiosk"}, false},
		{"Ins", approval.Resource{Type: "environment", Name: "İns"}, false},
		{"Production", approval.Resource{Type: "endpoint", Name: "Production"}, false},
		{"Production", approval.Resource{Type: "Environment", Name: "Production"}, false},
		{"Production", approval.Resource{Type: "environment", Name: "Production "}, false},
		{"endpoint:prod", approval.Resource{Type: "endpoint", Name: "Prod"}, true},
		{"endpoint:prod", approval.Resource{Type: "environment", Name: "endpoint:prod"}, false},
		{"endpoint:", approval.Resource{Type: "endpoint"}, false},
		{"Endpoint:prod", approval.Resource{Type: "endpoint", Name: "prod"}, true},
		{"ENDPOINT:PROD", approval.Resource{Type: "endpoint", Name: "prod"}, true},
		{"eNdPoInT:prod", approval.Resource{Type: "environment", Name: "eNdPoInT:prod"}, false},
		{"endpoint :prod", approval.Resource{Type: "endpoint", Name: "prod"}, false},
		{"endpoint", approval.Resource{Type: "endpoint", Name: ""}, false},
		{"endpoint", approval.Resource{Type: "environment", Name: "Endpoint"}, true},
		{"", approval.Resource{Type: "environment"}, false},
		{"#7", approval.Resource{Type: "environment", ID: "7"}, true},
		{"#7", approval.Resource{Type: "environment", ID: "7", Name: "Production"}, true},
		{"#7", approval.Resource{Type: "environment", ID: "77", Name: "#7"}, false},
		{"#7", approval.Resource{Type: "endpoint", ID: "7"}, false},
		{"#07", approval.Resource{Type: "environment", ID: "7"}, false},
		{"#07", approval.Resource{Type: "environment", ID: "07"}, false},
		{"# 7", approval.Resource{Type: "environment", ID: "7"}, false},
		{"#+7", approval.Resource{Type: "environment", ID: "7"}, false},
		{"#", approval.Resource{Type: "environment"}, false},
		{"#0", approval.Resource{Type: "environment", ID: "0"}, false},
		{"#Blue", approval.Resource{Type: "environment", ID: "7", Name: "#Blue"}, true},
		{"7", approval.Resource{Type: "environment", ID: "7"}, false},
		{"endpoint:#7", approval.Resource{Type: "endpoint", ID: "7"}, false},
		{"endpoint:#7F1D5A30-52c5-4d7c-9f3a-0a6d5d7c1b11", approval.Resource{Type: "endpoint", ID: "7f1d5a30-52c5-4d7c-9f3a-0a6d5d7c1b11"}, true},
		{"endpoint:#7f1d5a30-52c5-4d7c-9f3a-0a6d5d7c1b11", approval.Resource{Type: "endpoint", ID: "7F1D5A30-52C5-4D7C-9F3A-0A6D5D7C1B11"}, true},
		{"endpoint:#7f1d5a30-52c5-4d7c-9f3a-0a6d5d7c1b11", approval.Resource{Type: "environment", ID: "7f1d5a30-52c5-4d7c-9f3a-0a6d5d7c1b11"}, false},
		{"endpoint:#00000000-0000-0000-0000-000000000000", approval.Resource{Type: "endpoint", ID: "00000000-0000-0000-0000-000000000000"}, false},
	} {
		if got := approval.NamesResource(c.environment, c.resource); got != c.want {
			t.Errorf("%q names %+v: %v", c.environment, c.resource, got)
		}
	}
}

func TestSeveralSeals(t *testing.T) {
	e, r := with(dSeal, "sealed").build()
	late := r.Seals[0]
	late.Subject, late.TagUpdated = "prod.example/shop/web:2", now.Add(-30*time.Minute)
	r.Seals = append(r.Seals, late)
	v := approval.Judge(e, r, now)
	if len(v.Refusals) != 1 || v.Refusals[0].Rule != rule.ChangedSinceApproval || !strings.Contains(v.Refusals[0].Reason, late.Subject) {
		t.Errorf("%+v", v.Refusals)
	}
	for subject, want := range map[string]string{"2 images": "2 images", "": "prod.example/shop/cart:1.4.2, prod.example/shop/web:2"} {
		r.Subject = subject
		if v := approval.Judge(e, r, now); v.Refusals[0].Subject != want {
			t.Errorf("subject %q, want %q", v.Refusals[0].Subject, want)
		}
	}
}

func TestOnlyApproversOwnCommentCounts(t *testing.T) {
	e, r := with(dMin, "0", dSecond, "carol approved").build()
	e.Approvals[0].Steps[0].Comment = ""
	e.Approvals[0].Steps[1].Comment = "CHG0002"
	r.CommentPatterns = []*regexp.Regexp{regexp.MustCompile("CHG0002")}
	v := approval.Judge(e, r, now)
	if !v.Granted || len(v.Approvers) != 1 || v.Approvers[0].ID != people["carol"].ID {
		t.Errorf("%+v", v)
	}
}

// TestRecords checks which approvals and checks a verdict identifies.
func TestRecords(t *testing.T) {
	records := func(s scenario, more func(*approval.Evidence, *approval.Rules)) []approval.Record {
		e, r := s.build()
		if more != nil {
			more(&e, &r)
		}
		return approval.Judge(e, r, now).Records
	}
	one := records(with(), nil)
	e, _ := with().build()
	run := e.Suite.Runs[0]
	if want := []approval.Record{{ID: e.Approvals[0].ID, Run: run.ID, Check: run.ConfigurationID, Version: run.Version, Resource: run.Resource, Requested: e.Approvals[0].Steps[0].Initiated}}; !slices.Equal(one, want) {
		t.Errorf("%+v, want %+v", one, want)
	}
	if got := records(with(dStatus1, "rejected"), nil); !slices.Equal(got, one) {
		t.Errorf("rejected: %+v", got)
	}
	for _, r := range records(with(dApprovals, "2", dJoin, "other ids"), nil) {
		if r.ID == "" || r.Run != "" || r.Check != 0 || r.Resource != run.Resource {
			t.Errorf("which check is whose is unknown: %+v", r)
		}
	}
	if got := records(with(dJoin, "other ids"), nil); len(got) != 1 || got[0].ID == got[0].Run || got[0].Check != run.ConfigurationID {
		t.Errorf("the only check: %+v", got)
	}
	if got := records(with(dJoin, "guards another"), nil); len(got) > 0 {
		t.Errorf("on another resource: %+v", got)
	}
	check := approval.CheckRun{ID: guid(900), Status: "approved", Type: guid(901), ConfigurationID: 77, Completed: now.Add(-time.Hour), Resource: run.Resource}
	automated := records(with(), func(e *approval.Evidence, r *approval.Rules) {
		e.Suite.Runs = append(e.Suite.Runs, check)
		r.Approval, r.Checks = approval.Automated, []approval.Check{{Definition: "77", Resource: "Production"}}
	})
	if want := []approval.Record{{Run: check.ID, Check: 77, Resource: run.Resource}}; !slices.Equal(automated, want) {
		t.Errorf("automated: %+v, want %+v", automated, want)
	}
}
