package approval_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// TestOnlyPeopleApprove tests every subject type of Azure DevOps and invalid ones.
// Only known types of people are people.
func TestOnlyPeopleApprove(t *testing.T) {
	for _, c := range []struct {
		name   string
		p      approval.Person
		person bool
	}{
		{"Entra ID", approval.Person{Descriptor: "aad.Ym9i"}, true},
		{"Entra ID, called a user", approval.Person{Descriptor: "aad.Ym9i", Kind: "user"}, true},
		{"Microsoft account", approval.Person{Descriptor: "msa.Ym9i"}, true},
		{"Windows", approval.Person{Descriptor: "win.Uy0xLTU"}, true},
		{"imported", approval.Person{Descriptor: "imp.Ym9i"}, true},
		{"only called a user", approval.Person{Kind: "user"}, true},
		{"unknown user, called a user", approval.Person{Descriptor: "unusr.Ym9i", Kind: "user"}, true},

		{"nothing known", approval.Person{}, false},
		{"unknown user", approval.Person{Descriptor: "unusr.Ym9i"}, false},
		{"service principal", approval.Person{Descriptor: "aadsp.Ym9i"}, false},
		{"service principal, called one", approval.Person{Descriptor: "aadsp.Ym9i", Kind: "servicePrincipal"}, false},
		{"account of Entra ID, called a service principal", approval.Person{Descriptor: "aad.Ym9i", Kind: "servicePrincipal"}, false},
		{"build service", approval.Person{Descriptor: "svc.Ym9i"}, false},
		{"build service, called a user", approval.Person{Descriptor: "svc.Ym9i", Kind: "user"}, false},
		{"service of Azure DevOps", approval.Person{Descriptor: "s2s.Ym9i"}, false},
		{"access control service", approval.Person{Descriptor: "acs.Ym9i"}, false},
		{"group of Azure DevOps", approval.Person{Descriptor: "vssgp.Ym9i"}, false},
		{"group of Entra ID", approval.Person{Descriptor: "aadgp.Ym9i"}, false},
		{"unknown group", approval.Person{Descriptor: "ungrp.Ym9i"}, false},
		{"group of Windows", approval.Person{Descriptor: "win.Uy0xLTU", Group: true}, false},
		{"container with the descriptor of a person", approval.Person{Descriptor: "aad.Ym9i", Group: true}, false},
		{"not signed in yet", approval.Person{Descriptor: "bnd.Ym9i"}, false},
		{"aggregate", approval.Person{Descriptor: "agg.Ym9i"}, false},
		{"partner", approval.Person{Descriptor: "csp.Ym9i"}, false},
		{"scope", approval.Person{Descriptor: "scp.Ym9i"}, false},
		{"unknown", approval.Person{Descriptor: "ukn.Ym9i"}, false},
		{"a type of tomorrow", approval.Person{Descriptor: "bot.Ym9i"}, false},
		{"a type of tomorrow, called a user", approval.Person{Descriptor: "bot.Ym9i", Kind: "user"}, false},
		{"a type that begins as one of people does", approval.Person{Descriptor: "aadx.Ym9i"}, false},
		{"another case", approval.Person{Descriptor: "AAD.Ym9i"}, false},
		{"no identifier", approval.Person{Descriptor: "aad."}, false},
		{"no dot", approval.Person{Descriptor: "aad"}, false},
		{"a name before the type", approval.Person{Descriptor: "x.aad.Ym9i"}, false},
		{"another kind of subject", approval.Person{Descriptor: "aad.Ym9i", Kind: "systemSubject"}, false},
	} {
		c.p.ID, c.p.Name, c.p.UniqueName = guid(60), "Somebody", "somebody@example.com"
		e, r := with().build()
		e.Approvals[0].Steps[0].Actual = &c.p
		v := approval.Judge(e, r, now)
		var want []rule.Name
		if !c.person {
			want = []rule.Name{rule.NotAPerson}
		}
		if v.Granted != c.person || !slices.Equal(ruleNames(v.Refusals), want) {
			t.Errorf("%s: granted %v, refused by %v, want person %v", c.name, v.Granted, ruleNames(v.Refusals), c.person)
		}
		// A release has the same identities.
		e.Source, r.Environment = approval.Release, ""
		if v := approval.Judge(e, r, now); v.Granted != c.person {
			t.Errorf("%s, in a release: granted %v", c.name, v.Granted)
		}
		// What approvers names counts, by unique name or descriptor, but a group
		// never: it is unknown who approved for it.
		e, r = with().build()
		e.Approvals[0].Steps[0].Actual = &c.p
		for _, entry := range []string{"SOMEBODY@example.com", c.p.Descriptor} {
			if r.Approvers = []string{entry}; entry == "" {
				continue
			}
			if v := approval.Judge(e, r, now); v.Granted == c.p.Group {
				t.Errorf("%s, named %q: granted %v: %+v", c.name, entry, v.Granted, v.Refusals)
			}
		}
		// The display name names nobody.
		r.Approvers = []string{"Somebody"}
		if v := approval.Judge(e, r, now); v.Granted {
			t.Errorf("%s: granted by its display name", c.name)
		}
	}
}

// TestServiceForListedGroup checks that a listed group covers the people in it, but
// not the services.
func TestServiceForListedGroup(t *testing.T) {
	e, r := with().build()
	service := people["service"]
	e.Approvals[0].Steps[0].Assigned, e.Approvals[0].Steps[0].Actual = people["group"], &service
	r.Approvers = []string{`[Shop]\Release Managers`}
	if v := approval.Judge(e, r, now); !slices.Equal(ruleNames(v.Refusals), []rule.Name{rule.NotAPerson}) {
		t.Errorf("%+v", v.Refusals)
	}
	r.Approvers = append(r.Approvers, "aadsp.Deploy")
	if v := approval.Judge(e, r, now); !v.Granted {
		t.Errorf("%+v", v.Refusals)
	}
}

// TestServicesDoNotCount checks that a service does not add to the number of people.
func TestServicesDoNotCount(t *testing.T) {
	e, r := with(dWho1, "service", dSecond, "carol approved").build()
	if v := approval.Judge(e, r, now); !v.Granted || len(v.Approvers) != 1 {
		t.Errorf("one of one: %+v", v)
	}
	r.MinApprovers = 2
	if v := approval.Judge(e, r, now); !slices.Equal(ruleNames(v.Refusals), []rule.Name{rule.NotAPerson, rule.MinApprovers}) {
		t.Errorf("one of two: %+v", v.Refusals)
	}
}

// TestBypassIsNotApproval tests every combination of the statuses of the approval, its
// step, its check and the suite. After a bypass, the approval and the step are
// skipped, the administrator is the approver, the check is bypassed and the suite is
// approved.
func TestBypassIsNotApproval(t *testing.T) {
	words := []string{"approved", "skipped", "bypassed"}
	cases := 0
	for _, status := range words {
		for _, step := range words {
			for _, run := range words {
				for _, suite := range words {
					e, r := with().build()
					e.Approvals[0].Status, e.Approvals[0].Steps[0].Status = status, step
					e.Suite.Runs[0].Status, e.Suite.Status = run, suite
					want := status == "approved" && step == "approved" && run == "approved" && suite == "approved"
					if v := approval.Judge(e, r, now); v.Granted != want {
						t.Errorf("approval %s, step %s, check %s, suite %s: granted %v", status, step, run, suite, v.Granted)
					}
					// Any kind takes the approval of people first, then the checks: with
					// the bypassed check among them, neither.
					r.Approval, r.Checks = approval.Any, []approval.Check{{Definition: "20", Resource: "Production"}}
					if v := approval.Judge(e, r, now); v.Granted && (run != "approved" || suite != "approved") {
						t.Errorf("any: approval %s, step %s, check %s, suite %s: granted", status, step, run, suite)
					}
					cases++
				}
			}
		}
	}
	if cases != 81 {
		t.Errorf("%d cases", cases)
	}
	// A bypass together with a real approval: of two approvals, or of two approvers.
	for name, change := range map[string]func(*approval.Evidence){
		"of two approvals": func(e *approval.Evidence) {
			e.Approvals[1].Status, e.Approvals[1].Steps[0].Status = "skipped", "skipped"
			e.Suite.Runs[1].Status = "bypassed"
		},
		"of two approvals, the check is not shown as bypassed": func(e *approval.Evidence) {
			e.Approvals[1].Status, e.Approvals[1].Steps[0].Status = "skipped", "skipped"
		},
	} {
		e, r := with(dApprovals, "2").build()
		change(&e)
		if v := approval.Judge(e, r, now); v.Granted || !slices.Contains(ruleNames(v.Refusals), rule.ApprovalMissing) {
			t.Errorf("%s: %+v", name, v)
		}
	}
	e, r := with(dMin, "2", dSecond, "carol approved").build()
	e.Approvals[0].Steps[1].Status = "skipped"
	if v := approval.Judge(e, r, now); v.Granted {
		t.Error("of two who were asked: granted")
	}
	e, r = with(dStatus1, "skipped").build()
	e.Approvals[0].Steps[0].Status = "skipped"
	if v := approval.Judge(e, r, now); !strings.Contains(v.Refusals[0].Reason, "skipped, by Bob (bob@example.com), who bypassed the check") {
		t.Errorf("%s", v.Refusals[0].Reason)
	}
}

// TestBypassIsNotAutomatedApproval checks that a named check that an administrator
// bypassed has not passed, whatever the status of the suite.
func TestBypassIsNotAutomatedApproval(t *testing.T) {
	for _, c := range []struct {
		name        string
		suite       string
		first, twin string // statuses of two evaluations of the named check; "" is none
		granted     bool
	}{
		{"passed", "approved", "approved", "", true},
		{"bypassed", "approved", "bypassed", "", false},
		{"skipped", "approved", "skipped", "", false},
		{"bypassed, the suite says so", "bypassed", "bypassed", "", false},
		{"passed, the suite was bypassed", "bypassed", "approved", "", false},
		{"passed once and bypassed once", "approved", "approved", "bypassed", false},
		{"bypassed once and passed once", "approved", "bypassed", "approved", false},
	} {
		e, r := with().build()
		e.Suite.Status = c.suite
		run := approval.CheckRun{ID: guid(400), Status: c.first, Type: approval.TypeTaskCheck, ConfigurationID: 40, Version: 1, Completed: now.Add(-time.Hour),
			Resource: approval.Resource{Type: "environment", ID: "7", Name: "Production"}}
		e.Suite.Runs = append(e.Suite.Runs, run)
		if c.twin != "" {
			run.ID, run.Status = guid(401), c.twin
			e.Suite.Runs = append(e.Suite.Runs, run)
		}
		e.Configurations.Checks = append(e.Configurations.Checks, approval.Configuration{ID: 40, Version: 1, Type: approval.TypeTaskCheck, Definition: guid(500), Resource: run.Resource})
		r.Approval, r.Checks = approval.Automated, []approval.Check{{Definition: "40", Resource: "Production"}}
		if v := approval.Judge(e, r, now); v.Granted != c.granted {
			t.Errorf("%s: granted %v: %+v", c.name, v.Granted, v.Refusals)
		}
	}
}

// TestAutomatedCheckOfResourceNotShown checks what is said if the resource of a named
// check may be one whose name is not shown, and that its id names it.
func TestAutomatedCheckOfResourceNotShown(t *testing.T) {
	hidden := approval.Resource{Type: "environment", ID: "9"}
	for resource, granted := range map[string]bool{"Gate": false, "#9": true, "#8": false} {
		e, r := with().build()
		e.Suite.Runs = append(e.Suite.Runs, approval.CheckRun{ID: guid(400), Status: "approved", Type: approval.TypeTaskCheck, ConfigurationID: 40, Version: 1,
			Completed: now.Add(-time.Hour), Resource: hidden})
		e.Configurations.Checks = append(e.Configurations.Checks, approval.Configuration{ID: 40, Version: 1, Type: approval.TypeTaskCheck, Definition: guid(500), Resource: hidden})
		e.Reader = `"shop Build Service (contoso)"`
		r.Approval, r.Checks = approval.Automated, []approval.Check{{Definition: "40", Resource: resource}}
		v := approval.Judge(e, r, now)
		if v.Granted != granted {
			t.Errorf("%s: granted %v: %+v", resource, v.Granted, v.Refusals)
		}
		if resource != "Gate" {
			continue
		}
		if len(v.Refusals) != 1 || !strings.Contains(v.Refusals[0].Reason, `as far as "shop Build Service (contoso)" may view`) || !strings.Contains(v.Refusals[0].Remedy, "the role Reader on environment #9") {
			t.Errorf("%+v", v.Refusals)
		}
	}
}

// TestApprovalIsNotAutomatedCheck checks that an approval check that a flow names
// among its automated checks does not count as one: the rules about people would
// not apply to who gave it.
func TestApprovalIsNotAutomatedCheck(t *testing.T) {
	const check = "20" // the approval of environment Production
	scan := approval.CheckRun{ID: guid(400), Status: "approved", Type: approval.TypeTaskCheck, ConfigurationID: 40, Version: 1, Completed: now.Add(-time.Hour),
		Resource: approval.Resource{Type: "environment", ID: "7", Name: "Production"}}
	for _, c := range []struct {
		name    string
		kind    approval.Kind
		who     string
		checks  []string // definitions
		granted bool
	}{
		{"by number", approval.Automated, "bob", []string{check}, false},
		{"by the type of approvals", approval.Automated, "bob", []string{approval.TypeApproval}, false},
		{"by the type in capitals", approval.Automated, "bob", []string{strings.ToUpper(approval.TypeApproval)}, false},
		{"next to a real check", approval.Automated, "bob", []string{"40", check}, false},
		{"given by the requester, any", approval.Any, "alice", []string{check}, false},
		{"given by an eligible person, any", approval.Any, "bob", []string{check}, true},
		{"a real check", approval.Automated, "alice", []string{"40"}, true},
		{"a real check, any", approval.Any, "alice", []string{"40"}, true},
	} {
		e, r := with(dWho1, c.who).build()
		e.Suite.Runs[0].Completed = now.Add(-time.Hour)
		e.Suite.Runs = append(e.Suite.Runs, scan)
		e.Configurations.Checks = append(e.Configurations.Checks, approval.Configuration{ID: 40, Version: 1, Type: approval.TypeTaskCheck, Definition: guid(500), Resource: scan.Resource})
		r.Approval = c.kind
		for _, definition := range c.checks {
			r.Checks = append(r.Checks, approval.Check{Definition: definition, Resource: "Production"})
		}
		if v := approval.Judge(e, r, now); v.Granted != c.granted {
			t.Errorf("%s: granted %v: %+v", c.name, v.Granted, v.Refusals)
		}
	}
}

// TestDeferredApproval checks that a deferred approval counts from the time of the
// request, for every rule that compares times.
func TestDeferredApproval(t *testing.T) {
	judge := func(initiated time.Time, change func(*approval.Rules)) []rule.Name {
		e, r := with(dSeal, "sealed").build()
		e.Approvals[0].Steps[0].Deferred, e.Approvals[0].Steps[0].Initiated = true, initiated
		change(&r)
		return ruleNames(approval.Judge(e, r, now).Refusals)
	}
	none := func(*approval.Rules) {}
	young := func(r *approval.Rules) { r.MaxAge = 2 * time.Hour }
	for _, c := range []struct {
		name      string
		initiated time.Time
		change    func(*approval.Rules)
		want      []rule.Name
	}{
		{"asked after the seal", recorded.Add(time.Second), none, nil},
		{"asked as it was sealed", recorded, none, []rule.Name{rule.NotSealed}},
		{"asked before the tag was last changed", tagged.Add(-time.Second), none, []rule.Name{rule.NotSealed, rule.ChangedSinceApproval}},
		{"requested at an unknown time", time.Time{}, none, []rule.Name{rule.NotSealed, rule.ChangedSinceApproval}},
		{"asked after the seal, too long ago", recorded.Add(time.Second), young, []rule.Name{rule.ApprovalTooOld}},
		{"asked lately", now.Add(-2 * time.Hour), young, nil},
	} {
		if got := judge(c.initiated, c.change); !slices.Equal(got, c.want) {
			t.Errorf("%s: refused by %v, want %v", c.name, got, c.want)
		}
	}
}
