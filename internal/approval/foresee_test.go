package approval_test

import (
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

// TestForeseeAgreesWithJudge checks that a plan of an approval never says more than
// the approval itself will: it is granted where Judge grants, it refuses only what
// Judge refuses, and where nothing is open it refuses exactly that.
func TestForeseeAgreesWithJudge(t *testing.T) {
	counts := map[string]int{}
	for _, s := range scenarios() {
		e, r := s.build()
		judged, seen := approval.Judge(e, r, now), approval.Foresee(e, r, now)
		if seen.Granted != judged.Granted {
			t.Fatalf("%v: foreseen granted=%v, judged granted=%v\n%+v", s, seen.Granted, judged.Granted, seen)
		}
		if n := btoi(seen.Granted) + btoi(seen.Pending) + btoi(len(seen.Refusals) > 0); n != 1 {
			t.Fatalf("%v: granted %v, pending %v, refusals %v: not exactly one of them", s, seen.Granted, seen.Pending, ruleNames(seen.Refusals))
		}
		open := slices.Contains(ruleNames(judged.Refusals), rule.ApprovalPending)
		for _, o := range seen.Rules {
			if o.Pending && (o.Met || !open) {
				t.Fatalf("%v: rule %s is pending; met %v, approval open %v", s, o.Rule, o.Met, open)
			}
		}
		for _, name := range ruleNames(seen.Refusals) {
			if name == rule.ApprovalPending || !slices.Contains(ruleNames(judged.Refusals), name) {
				t.Fatalf("%v: foreseen refusal by %s, judged only %v", s, name, ruleNames(judged.Refusals))
			}
		}
		switch {
		case seen.Granted:
			counts["granted"]++
		case seen.Pending:
			counts["pending"]++
			if !open {
				t.Fatalf("%v: pending, but nothing is open", s)
			}
		case open:
			counts["open and refused"]++
		default:
			counts["refused"]++
			if !slices.Equal(seen.Refusals, judged.Refusals) || len(seen.Rules) != len(judged.Rules) {
				t.Fatalf("%v: foreseen\n%+v\njudged\n%+v", s, seen, judged)
			}
		}

		// Before anybody has been asked, nothing is granted.
		e.Awaited, e.Suite, e.Approvals, e.Unchecked = "the stage has not begun", nil, nil, false
		before := approval.Foresee(e, r, now)
		if before.Granted || approval.Judge(e, r, now).Granted {
			t.Fatalf("%v: granted before anybody was asked", s)
		}
		if before.Pending {
			counts["awaited"]++
		}
	}
	for _, what := range []string{"granted", "pending", "open and refused", "refused", "awaited"} {
		if counts[what] < 100 {
			t.Errorf("only %d scenarios are %s", counts[what], what)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// awaited returns evidence of a stage that has not begun, whose environment has an
// approval check with these settings.
func awaited(settings ...approval.ApprovalSettings) approval.Evidence {
	e, _ := with().build()
	e.Suite, e.Approvals, e.Stage = nil, nil, ""
	e.Awaited = "nobody has been asked yet"
	e.Configurations = approval.Configurations{Read: true}
	for i, s := range settings {
		e.Configurations.Checks = append(e.Configurations.Checks, approval.Configuration{
			ID: 20 + i, Version: 3, Type: approval.TypeApproval, Settings: &s,
			Resource: approval.Resource{Type: "environment", ID: "7", Name: "Production"},
		})
	}
	return e
}

func asking(required int, who ...string) approval.ApprovalSettings {
	s := approval.ApprovalSettings{Required: required}
	for _, name := range who {
		s.Approvers = append(s.Approvers, people[name])
	}
	return s
}

// TestForeseeTexts compares what plans say of approvals with a golden file.
func TestForeseeTexts(t *testing.T) {
	bob, carol := people["bob"], people["carol"]
	release := func(steps ...approval.Step) approval.Evidence {
		return approval.Evidence{Source: approval.Release, ReleaseID: 88, Stage: "Production", Attempt: 1, Complete: true,
			Requesters: []approval.Requester{{Person: people["alice"], As: "created release 88"}},
			Approvals:  []approval.Approval{{ID: "1", Phase: "pre-deployment", Steps: steps, Settings: &approval.ApprovalSettings{Approvers: []approval.Person{bob, carol}}}}}
	}
	stage := func(do func(*approval.Evidence)) approval.Evidence {
		e, _ := with(dStatus1, "pending").build()
		e.Approvals[0].Steps = []approval.Step{{Status: "pending", Assigned: bob, Initiated: asked}, {Status: "pending", Assigned: carol, Initiated: asked}}
		e.Approvals[0].Required = 2
		if do != nil {
			do(&e)
		}
		return e
	}
	approved := func(p approval.Person, comment string) approval.Step {
		return approval.Step{Status: "approved", Assigned: p, Actual: &p, Initiated: asked, Modified: now.Add(-time.Hour), ModifiedBy: p.ID, Comment: comment}
	}
	automated := func(status, check string) approval.Evidence {
		e, _ := with().build()
		e.Approvals = nil
		e.Suite.Status = status
		e.Suite.Runs = []approval.CheckRun{
			{ID: guid(400), Status: check, Type: approval.TypeTaskCheck, ConfigurationID: 30, Version: 1, Completed: now.Add(-time.Hour), Resource: approval.Resource{Type: "environment", ID: "7", Name: "Production"}},
		}
		e.Configurations = approval.Configurations{Read: true, Checks: []approval.Configuration{{ID: 30, Version: 1, Type: approval.TypeTaskCheck, Resource: approval.Resource{Type: "environment", ID: "7", Name: "Production"}}}}
		return e
	}
	checks := []approval.Check{{Definition: "30", Resource: "Production"}}
	everything := func(r *approval.Rules) {
		r.MinApprovers, r.Code, r.MaxAge = 2, code, time.Hour
		r.CommentPatterns = []*regexp.Regexp{regexp.MustCompile(`CHG\d{4}`)}
		r.Approvers = []string{"bob@example.com", "carol@example.com"}
		r.Seals = []approval.Seal{{Subject: "prod.example/shop/cart:1.4.2", Locked: true, TagUpdated: tagged, RecordCreated: recorded}}
	}
	var b strings.Builder
	for _, c := range []struct {
		name  string
		e     approval.Evidence
		rules func(*approval.Rules)
	}{
		{"nobody has been asked", awaited(asking(1, "bob", "carol")), nil},
		{"every rule", awaited(asking(2, "bob", "carol")), everything},
		{"the code is unknown", awaited(asking(1, "bob")), func(r *approval.Rules) { r.Code = "unknown, because an image could not be read" }},
		{"how the check asks", awaited(func() approval.ApprovalSettings {
			s := asking(0, "group", "bob")
			s.RequesterExcluded, s.InSequence, s.Timeout = true, true, 30*24*time.Hour
			return s
		}()), func(r *approval.Rules) { r.AuthorCanApprove = true }},
		{"two checks", awaited(asking(1, "bob"), asking(1, "carol")), func(r *approval.Rules) { r.MinApprovers, r.RequesterCanApprove = 2, true }},
		{"many are asked", awaited(func() approval.ApprovalSettings {
			s := asking(1)
			for i := range 1000 {
				s.Approvers = append(s.Approvers, person(1000+i, fmt.Sprintf("Approver %03d", i)))
			}
			return s
		}()), nil},
		{"the settings are unknown", awaited(approval.ApprovalSettings{}), nil},
		{"the checks may not be read", func() approval.Evidence {
			e := awaited()
			e.Configurations = approval.Configurations{Unknown: "the job may not read the checks of environment Production (status 403). Grant it."}
			return e
		}(), nil},
		{"no such environment is visible", func() approval.Evidence {
			e := awaited()
			e.Configurations = approval.Configurations{Hidden: true, Unknown: "No environment named Prodcution is visible."}
			return e
		}(), func(r *approval.Rules) { r.Environment = "Prodcution" }},
		{"no approval check", awaited(), nil},
		{"the approval check is disabled", func() approval.Evidence {
			e := awaited(asking(1, "bob"))
			e.Configurations.Checks[0].Disabled = true
			return e
		}(), nil},
		{"the approval check is on another resource", func() approval.Evidence {
			e := awaited(asking(1, "bob"))
			e.Configurations.Checks[0].Resource.Name = "Test"
			return e
		}(), nil},
		{"no environment is named", awaited(asking(1, "bob")), func(r *approval.Rules) { r.Environment = "" }},
		{"the author is unknown", func() approval.Evidence {
			e := awaited(asking(1, "bob"))
			e.AuthorsKnown, e.AuthorsUnknown = false, "the source is in a repository of the type GitHub"
			return e
		}(), nil},
		{"fewer approvers than required", awaited(asking(1, "bob", "carol")), func(r *approval.Rules) { r.MinApprovers = 2 }},
		{"too few who count", awaited(asking(2, "bob", "alice")), func(r *approval.Rules) { r.MinApprovers = 2 }},
		{"nobody who counts", awaited(asking(1, "alice", "service", "author", "carol")), func(r *approval.Rules) { r.Approvers = []string{"bob@example.com"} }},
		{"groups may have anybody", awaited(asking(2, "group", "alice")), func(r *approval.Rules) { r.MinApprovers = 2 }},
		{"approvers of whom only the id is known", awaited(approval.ApprovalSettings{Required: 1, Approvers: []approval.Person{{ID: guid(60)}}}), func(r *approval.Rules) { r.Approvers = []string{"bob@example.com"} }},
		{"not sealed", awaited(asking(1, "bob")), func(r *approval.Rules) {
			r.Seals = []approval.Seal{{Subject: "prod.example/shop/cart:1.4.2", Problem: "it has no seal record"}}
		}},
		{"outside a run", approval.Evidence{Awaited: "this is not a run of Azure Pipelines", Complete: true}, everything},
		{"outside a run, with no environment", approval.Evidence{Awaited: "this is not a run of Azure Pipelines", Complete: true}, func(r *approval.Rules) { r.Environment = "" }},
		{"open", stage(nil), nil},
		{"one of two has approved", stage(func(e *approval.Evidence) { e.Approvals[0].Steps[0] = approved(bob, "fine") }), func(r *approval.Rules) { r.MinApprovers = 2 }},
		{"one has approved who does not count", stage(func(e *approval.Evidence) { e.Approvals[0].Steps[0] = approved(bob, "fine") }), func(r *approval.Rules) { r.MinApprovers, r.Code = 2, code }},
		{"one given, one open", stage(func(e *approval.Evidence) {
			e.Approvals = append(e.Approvals, approval.Approval{ID: guid(101), Status: "approved", Steps: []approval.Step{approved(carol, "")}})
			run := e.Suite.Runs[0]
			run.ID, run.ConfigurationID = guid(101), 21
			e.Suite.Runs = append(e.Suite.Runs, run)
			e.Configurations = approval.Configurations{Unknown: "not read"}
		}), nil},
		{"one given by nobody who counts, one open", stage(func(e *approval.Evidence) {
			e.Approvals = append(e.Approvals, approval.Approval{ID: guid(101), Status: "approved", Steps: []approval.Step{approved(people["alice"], "")}})
			run := e.Suite.Runs[0]
			run.ID, run.ConfigurationID = guid(101), 21
			e.Suite.Runs = append(e.Suite.Runs, run)
			e.Configurations = approval.Configurations{Unknown: "not read"}
		}), nil},
		{"deferred", stage(func(e *approval.Evidence) { e.Approvals[0].Status = "deferred" }), nil},
		{"rejected", stage(func(e *approval.Evidence) { e.Approvals[0].Status = "rejected" }), nil},
		{"release, not deployed yet", release(), func(r *approval.Rules) { r.Environment = "" }},
		{"release, without approvers", func() approval.Evidence {
			e := release()
			e.Approvals[0].Settings = &approval.ApprovalSettings{}
			return e
		}(), func(r *approval.Rules) { r.Environment = "" }},
		{"release, asked", release(approval.Step{Status: "pending", Assigned: bob}), func(r *approval.Rules) { r.Environment = "" }},
		{"release, approved", release(approved(bob, "")), func(r *approval.Rules) { r.Environment, r.AuthorCanApprove = "", true }},
		{"release, rejected", release(approval.Step{Status: "rejected", Assigned: bob, Actual: &bob}), func(r *approval.Rules) { r.Environment = "" }},
		{"automated, not decided", automated("running", "running"), func(r *approval.Rules) { r.Approval, r.Checks = approval.Automated, checks }},
		{"automated, decided, but others are not", automated("running", "approved"), func(r *approval.Rules) { r.Approval, r.Checks = approval.Automated, checks }},
		{"automated, rejected", automated("running", "rejected"), func(r *approval.Rules) { r.Approval, r.Checks = approval.Automated, checks }},
		{"automated, passed", automated("approved", "approved"), func(r *approval.Rules) { r.Approval, r.Checks = approval.Automated, checks }},
		{"automated, not asked", func() approval.Evidence {
			e := automated("approved", "approved")
			e.Suite, e.Awaited = nil, "nobody has been asked yet"
			return e
		}(), func(r *approval.Rules) { r.Approval, r.Checks = approval.Automated, checks }},
		{"automated, not configured", awaited(), func(r *approval.Rules) { r.Approval, r.Checks = approval.Automated, checks }},
		{"automated, may not be read, with a code", func() approval.Evidence {
			e := awaited()
			e.Configurations = approval.Configurations{Unknown: "may not be read"}
			return e
		}(), func(r *approval.Rules) { r.Approval, r.Checks, r.Code = approval.Automated, checks, code }},
		{"automated, outside a run", approval.Evidence{Awaited: "this is not a run of Azure Pipelines", Complete: true}, func(r *approval.Rules) { r.Approval, r.Checks = approval.Automated, checks }},
		{"any: a check that is not configured, and an approval that is", awaited(asking(1, "bob")), func(r *approval.Rules) { r.Approval, r.Checks = approval.Any, checks }},
		{"any: no approval, and a check that waits", func() approval.Evidence {
			e := automated("approved", "approved")
			e.Suite, e.Awaited = nil, "nobody has been asked yet"
			return e
		}(), func(r *approval.Rules) { r.Approval, r.Checks = approval.Any, checks }},
		{"any: neither", awaited(), func(r *approval.Rules) { r.Approval, r.Checks = approval.Any, checks }},
	} {
		_, r := with().build()
		r.RequesterCanApprove, r.AuthorCanApprove = false, false
		if c.rules != nil {
			c.rules(&r)
		}
		v := approval.Foresee(c.e, r, now)
		fmt.Fprintf(&b, "== %s: granted=%v pending=%v kind=%s guards=%q\n", c.name, v.Granted, v.Pending, v.Kind, v.Guards)
		for _, a := range v.Approvers {
			fmt.Fprintf(&b, "approver %s %s\n", a.Name, a.At.Format(time.RFC3339))
		}
		for _, o := range v.Rules {
			fmt.Fprintf(&b, "rule %s met=%v pending=%v: %s\n", o.Rule, o.Met, o.Pending, o.Detail)
		}
		for _, f := range v.Refusals {
			fmt.Fprintf(&b, "REFUSED %s, %s: %s.\n   -> %s\n", f.Rule, f.Subject, strings.TrimSuffix(f.Reason, "."), f.Remedy)
		}
		for _, w := range v.Warnings {
			fmt.Fprintf(&b, "WARNING %s\n", w)
		}
		b.WriteString("\n")
	}
	golden := filepath.Join("testdata", "foresee.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != b.String() {
		t.Errorf("what is foreseen differs from %s (run with -update to write it): %v. Now:\n%s", golden, err, b.String())
	}
}

// TestDecideWhilePlanning checks that a plan is never refused for want of an approval
// or a run, and is otherwise refused as the action would be.
func TestDecideWhilePlanning(t *testing.T) {
	mismatch := rule.Refusal{Rule: rule.RunMismatch, Subject: "run 1"}
	unsealed := approval.Seal{Subject: "b", Problem: "no seal record"}
	part := func(e approval.Evidence, seals ...approval.Seal) approval.Part {
		_, r := with().build()
		r.Seals = seals
		return approval.Part{Rules: r, Evidence: &e}
	}
	given, _ := with().build()
	open, _ := with(dStatus1, "pending").build()
	rejected, _ := with(dStatus1, "rejected").build()
	for _, c := range []struct {
		name             string
		c                approval.Case
		granted, pending bool
		refusals         []rule.Name
	}{
		{"given", approval.Case{InRun: true, Parts: []approval.Part{part(given)}}, true, false, nil},
		{"open", approval.Case{InRun: true, Parts: []approval.Part{part(open)}}, false, true, nil},
		{"one given, one open", approval.Case{InRun: true, Parts: []approval.Part{part(given), part(open)}}, false, true, nil},
		{"one open, one given", approval.Case{InRun: true, Parts: []approval.Part{part(open), part(given)}}, false, true, nil},
		{"one open, one rejected", approval.Case{InRun: true, Parts: []approval.Part{part(open), part(rejected)}}, false, false, []rule.Name{rule.ApprovalRejected}},
		{"outside a run", approval.Case{Parts: []approval.Part{{Rules: part(given).Rules}}}, false, true, nil},
		{"outside a run, not sealed", approval.Case{Parts: []approval.Part{{Rules: part(given, unsealed).Rules}}}, false, false, []rule.Name{rule.NotSealed}},
		{"the run does not match, and the image is not sealed", approval.Case{InRun: true, Parts: []approval.Part{part(given)}, Seals: []approval.Seal{unsealed}, RunRefusals: []rule.Refusal{mismatch}}, false, false, []rule.Name{rule.RunMismatch, rule.NotSealed}},
		{"no rule requires an approval", approval.Case{}, true, false, nil},
	} {
		c.c.NeedsApproval, c.c.Planning, c.c.Covered = true, true, true
		v := approval.Decide(c.c, now)
		if v.Granted != c.granted || v.Pending != c.pending || !slices.Equal(ruleNames(v.Refusals), c.refusals) {
			t.Errorf("%s: granted %v, pending %v, refusals %v; want %v, %v, %v", c.name, v.Granted, v.Pending, ruleNames(v.Refusals), c.granted, c.pending, c.refusals)
		}
	}
}
