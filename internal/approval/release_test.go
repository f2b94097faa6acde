package approval_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// TestReleaseMatchesOracle tests every combination of the statuses of three
// entries with every required count, and with the requester among the approvers.
func TestReleaseMatchesOracle(t *testing.T) {
	statuses := []string{"absent", "approved", "pending", "rejected", "skipped", "canceled", "reassigned", "undefined", "automated"}
	who := []string{"bob", "carol", "alice"} // alice is the requester
	cases, granted := 0, 0
	for code := range len(statuses) * len(statuses) * len(statuses) {
		set := []string{statuses[code%9], statuses[code/9%9], statuses[code/81]}
		for required := range 5 {
			e := approval.Evidence{
				Source: approval.Release, Project: "Shop", ReleaseID: 88, Stage: "Production", Attempt: 1, Complete: true,
				Requesters: []approval.Requester{{Person: people["alice"], As: "created release 88"}},
			}
			a := approval.Approval{ID: "preDeploy/302/1", Phase: "pre-deployment", Required: required}
			for i, status := range set {
				p := people[who[i]]
				step := approval.Step{Status: status, Assigned: p, Actual: &p, Modified: now.Add(-time.Hour)}
				switch status {
				case "absent":
					continue
				case "automated":
					step = approval.Step{Status: "approved", Automated: true, Modified: now.Add(-time.Hour)}
				}
				a.Steps = append(a.Steps, step)
			}
			e.Approvals = []approval.Approval{a}
			v := approval.Judge(e, approval.Rules{AuthorCanApprove: true}, now)
			got := map[rule.Name]bool{}
			for _, r := range v.Refusals {
				got[r.Rule] = true
			}
			want := expectRelease(set, required)
			if !maps.Equal(got, want) || v.Granted != (len(want) == 0) {
				t.Fatalf("%v, %d required\n got %v granted %v\nwant %v", set, required, slices.Sorted(maps.Keys(got)), v.Granted, slices.Sorted(maps.Keys(want)))
			}
			cases++
			if v.Granted {
				granted++
			}
		}
	}
	if cases != 9*9*9*5 || granted < 100 {
		t.Errorf("%d cases, %d granted", cases, granted)
	}
}

// expectRelease is the oracle for one set of entries by bob, carol and alice.
// Alice requested the deployment.
func expectRelease(set []string, required int) map[rule.Name]bool {
	count := func(status ...string) (n int) {
		for _, s := range set {
			if slices.Contains(status, s) {
				n++
			}
		}
		return n
	}
	only := func(name rule.Name) map[rule.Name]bool { return map[rule.Name]bool{name: true} }
	persons := 3 - count("absent", "automated", "reassigned")
	if required == 0 {
		required = persons
	}
	switch {
	case persons == 0:
		return only(rule.ApprovalMissing)
	case count("undefined") > 0:
		return only(rule.ApprovalUnreadable)
	case count("rejected") > 0:
		return only(rule.ApprovalRejected)
	case count("approved") >= required:
		if set[0] == "approved" || set[1] == "approved" {
			return map[rule.Name]bool{}
		}
		return only(rule.RequesterApproved)
	case count("canceled") > 0:
		return only(rule.ApprovalRejected)
	case count("pending") > 0:
		return only(rule.ApprovalPending)
	case count("skipped") > 0:
		return only(rule.ApprovalMissing)
	}
	return only(rule.ApprovalUnreadable)
}

func TestReleaseStage(t *testing.T) {
	bob := people["bob"]
	set := func(phase, status string) approval.Approval {
		return approval.Approval{ID: phase, Phase: phase, Steps: []approval.Step{{Status: status, Assigned: bob, Actual: &bob, Modified: now.Add(-time.Hour)}}}
	}
	for _, c := range []struct {
		environment string
		approvals   []approval.Approval
		want        rule.Name // empty: granted
	}{
		{"", []approval.Approval{set("pre-deployment", "approved")}, ""},
		{"Production", []approval.Approval{set("pre-deployment", "approved")}, ""},
		{"PRODUCTION", []approval.Approval{set("pre-deployment", "approved")}, ""},
		{"Test", []approval.Approval{set("pre-deployment", "approved")}, rule.ApprovalUnbound},
		{"endpoint:Production", []approval.Approval{set("pre-deployment", "approved")}, rule.ApprovalUnbound},
		{"", nil, rule.ApprovalMissing},
		{"", []approval.Approval{set("pre-deployment", "approved"), set("post-deployment", "pending")}, rule.ApprovalPending},
		{"", []approval.Approval{set("pre-deployment", "approved"), set("post-deployment", "approved")}, ""},
	} {
		e := approval.Evidence{Source: approval.Release, ReleaseID: 88, Stage: "Production", Complete: true, Approvals: c.approvals}
		v := approval.Judge(e, approval.Rules{Environment: c.environment, AuthorCanApprove: true}, now)
		var got []string
		for _, r := range v.Refusals {
			got = append(got, string(r.Rule))
		}
		var want []string
		if c.want != "" {
			want = []string{string(c.want)}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: refused by %v, want %v", c.environment, got, want)
		}
		if v.Guards != "stage Production" {
			t.Errorf("guards %q", v.Guards)
		}
	}
}
