package azdo_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/rule"
)

func entry(id, attempt int, status string, more object) object {
	e := object{
		"id": id, "revision": 2, "approvalType": "preDeploy", "createdOn": "2026-11-23T10:00:00.1Z", "modifiedOn": "2026-11-23T11:59:00.1Z",
		"status": status, "comments": "CHG0001", "isAutomated": false, "attempt": attempt, "rank": 1, "trialNumber": 1,
		"approver": ref(bobID, "Bob"), "approvedBy": ref(bobID, "Bob"),
		"history": list{
			object{"revision": 2, "changedBy": ref(bobID, "Bob"), "modifiedOn": "2026-11-23T10:30:00.5Z"},
			object{"revision": 1, "changedBy": ref(bobID, "Bob"), "modifiedOn": "2026-11-23T10:10:00Z"},
		},
		"release": object{"id": 88}, "releaseEnvironment": object{"id": 302},
	}
	for k, v := range more {
		e[k] = v
	}
	return e
}

// newRelease returns a server with a release in the second deployment of its stage
// Production.
func newRelease(t testing.TB) (*devops, azdo.Claims) {
	d := newDevops(t)
	options := object{"approvals": list{}, "approvalOptions": object{"requiredApproverCount": 0, "releaseCreatorCanBeApprover": false, "executionOrder": "beforeGates"}}
	step := func(attempt, id int, status, plan string) object {
		return object{"id": id, "deploymentId": id + 1000, "attempt": attempt, "status": status, "operationStatus": "PhaseInProgress",
			"requestedFor": ref(carolID, "Carol"), "requestedBy": ref(carolID, "Carol"),
			"releaseDeployPhases": list{object{"id": 1, "phaseType": "agentBasedDeployment", "status": status, "runPlanId": plan, "deploymentJobs": list{}}},
			"preDeploymentGates":  object{"id": 0, "status": "none", "ignoredGates": list{}}}
	}
	d.release = object{
		"id": 88, "name": "Release-7", "status": "active", "createdBy": ref(aliceID, "Alice"), "createdFor": ref(aliceID, "Alice"),
		"projectReference": object{"id": projectID, "name": "Shop"}, "releaseDefinition": object{"id": 5, "name": "shop"},
		"artifacts": list{object{"isPrimary": true, "alias": "_cart", "type": "Build", "definitionReference": object{
			"branch": object{"id": "refs/heads/main", "name": "refs/heads/main"}, "sourceVersion": object{"id": "abc", "name": ""}}}},
		"environments": list{
			object{"id": 301, "name": "Test", "status": "succeeded", "rank": 1, "preApprovalsSnapshot": options, "postApprovalsSnapshot": options,
				"preDeployApprovals":  list{entry(11, 1, "approved", object{"isAutomated": true, "approver": nil, "approvedBy": nil, "history": list{}, "releaseEnvironment": object{"id": 301}})},
				"postDeployApprovals": list{}, "deploySteps": list{step(1, 1, "succeeded", stageID)}},
			object{"id": 302, "name": "Production", "status": "inProgress", "rank": 2, "preApprovalsSnapshot": options, "postApprovalsSnapshot": options,
				"preDeployApprovals":  list{entry(21, 1, "rejected", nil), entry(22, 2, "approved", nil)},
				"postDeployApprovals": list{entry(23, 2, "pending", object{"approvalType": "postDeploy", "approvedBy": nil})},
				"deploySteps":         list{step(1, 2, "failed", stageID), step(2, 3, "inProgress", planID)}},
		},
	}
	claims := d.claims()
	// A release job also has the variables of a stage and of a build.
	claims.HostType = "release"
	claims.ReleaseID, claims.EnvironmentID, claims.EnvironmentName, claims.ReleaseAttempt, claims.DeploymentID = 88, 302, "Production", 2, 1003
	return d, claims
}

func TestRelease(t *testing.T) {
	d, claims := newRelease(t)
	e, v := d.judge(t, claims, azdo.Query{})
	if !v.Granted || v.Guards != "stage Production" || len(v.Approvers) != 1 || !v.Approvers[0].At.Equal(day.Add(10*hour+30*time.Minute+500*time.Millisecond)) {
		t.Fatalf("%+v", v)
	}
	if e.Token.State != approval.TokenAbsent {
		t.Errorf("token: %+v", e.Token)
	}
	run, _ := d.service(t, claims).Run(context.Background())
	if run.Kind != approval.Release || run.ID != 88 || run.Stage != "Production" || run.Attempt != 2 || run.RequestedBy != "Alice, Carol" ||
		run.Branch != "refs/heads/main" || run.Commit != "abc" || run.Project != "Shop" || run.Definition != 5 {
		t.Errorf("run: %+v", run)
	}
	want := []string{"OPTIONS /_apis", "GET /_apis/ResourceAreas", "GET /_apis/release/releases/88"}
	if !slices.Equal(d.requests[:3], want) {
		t.Errorf("requests: %v", d.requests)
	}
}

func TestReleases(t *testing.T) {
	production := []any{"environments", 1}
	stage := func(d *devops) any { return in(d.release, production...) }
	entries := func(list ...any) func(*devops) {
		return func(d *devops) { set(stage(d), list, "preDeployApprovals") }
	}
	required := func(n int) func(*devops) {
		return func(d *devops) {
			set(stage(d), object{"approvalOptions": object{"requiredApproverCount": n}}, "preApprovalsSnapshot")
		}
	}
	both := func(fs ...func(*devops)) func(*devops) {
		return func(d *devops) {
			for _, f := range fs {
				f(d)
			}
		}
	}
	carol := object{"approver": ref(carolID, "Carol"), "approvedBy": ref(carolID, "Carol")}
	eve := object{"approver": ref(testApproval, "Eve"), "approvedBy": ref(testApproval, "Eve")}
	mismatch, unreadable := []rule.Name{rule.RunMismatch}, []rule.Name{rule.ApprovalUnreadable}
	for _, c := range []change{
		{name: "as it should be"},
		{name: "host type deployment", claims: func(c *azdo.Claims) { c.HostType = "deployment" }},
		{name: "another release", server: func(d *devops) { set(d.release, 89, "id") }, rules: mismatch, says: "another release"},
		{name: "another project", server: func(d *devops) { set(d.release, stageID, "projectReference", "id") }, rules: mismatch, says: "does not belong to the project"},
		{name: "project unknown", server: func(d *devops) { set(d.release, nil, "projectReference") }},
		{name: "another stage by number", claims: func(c *azdo.Claims) { c.EnvironmentID = 303 }, rules: mismatch, says: "no stage with the number 303"},
		{name: "another stage by name", claims: func(c *azdo.Claims) { c.EnvironmentName = "Test" }, rules: mismatch, says: `is named "Production"`},
		{name: "a stage that is over", claims: func(c *azdo.Claims) {
			c.EnvironmentID, c.EnvironmentName, c.ReleaseAttempt, c.DeploymentID = 301, "Test", 1, 0
		}, rules: mismatch, says: "is not in progress"},
		{name: "an older attempt", claims: func(c *azdo.Claims) { c.ReleaseAttempt, c.DeploymentID = 1, 0 }, rules: mismatch, says: "is not in progress"},
		{name: "a missing attempt", claims: func(c *azdo.Claims) { c.ReleaseAttempt = 3 }, rules: mismatch, says: "has no attempt 3"},
		{name: "another deployment", claims: func(c *azdo.Claims) { c.DeploymentID = 1002 }, rules: mismatch, says: "is deployment 1003"},
		{name: "another plan", claims: func(c *azdo.Claims) { c.PlanID = stageID }, rules: mismatch, says: "not executed by the plan"},
		{name: "plan unknown", server: func(d *devops) { set(in(stage(d), "deploySteps", 1), list{}, "releaseDeployPhases") }},
		{name: "no release number", claims: func(c *azdo.Claims) { c.ReleaseID = 0 }, rules: mismatch, says: "RELEASE_RELEASEID"},
		{name: "no attempt number", claims: func(c *azdo.Claims) { c.ReleaseAttempt = 0 }, rules: mismatch, says: "RELEASE_ATTEMPTNUMBER"},
		{name: "stage twice", server: func(d *devops) { set(in(d.release, "environments", 0), 302, "id") }, rules: unreadable, says: "twice"},
		{name: "stage name twice", server: func(d *devops) { set(in(d.release, "environments", 0), "PRODUCTION", "name") }, rules: unreadable, says: "twice"},
		{name: "attempt twice", server: func(d *devops) { set(in(stage(d), "deploySteps", 0), 2, "attempt") }, rules: unreadable, says: "twice"},
		{name: "no stages", server: func(d *devops) { set(d.release, nil, "environments") }, rules: unreadable, says: "has no stages"},
		{name: "no requester", server: func(d *devops) {
			set(d.release, nil, "createdBy")
			set(d.release, nil, "createdFor")
			set(in(stage(d), "deploySteps", 1), nil, "requestedFor")
			set(in(stage(d), "deploySteps", 1), nil, "requestedBy")
		}, rules: unreadable, says: "who requested it"},
		{name: "no approver configured", server: entries(entry(22, 2, "approved", object{"isAutomated": true, "approvedBy": nil, "approver": nil})), rules: []rule.Name{rule.ApprovalMissing}, says: "approved it automatically"},
		{name: "no entry of this attempt", server: entries(entry(21, 1, "approved", nil)), rules: []rule.Name{rule.ApprovalMissing}, says: "nobody is asked"},
		{name: "pending", server: entries(entry(22, 2, "pending", nil)), rules: []rule.Name{rule.ApprovalPending}, says: "pending"},
		{name: "rejected", server: entries(entry(22, 2, "rejected", nil)), rules: []rule.Name{rule.ApprovalRejected}, says: "by Bob"},
		{name: "canceled", server: entries(entry(22, 2, "canceled", nil)), rules: []rule.Name{rule.ApprovalRejected}},
		{name: "skipped", server: entries(entry(22, 2, "skipped", nil)), rules: []rule.Name{rule.ApprovalMissing}},
		{name: "undefined", server: entries(entry(22, 2, "undefined", nil)), rules: unreadable},
		{name: "reassigned, then approved", server: entries(entry(22, 2, "reassigned", carol), entry(24, 2, "approved", nil))},
		{name: "reassigned only", server: entries(entry(22, 2, "reassigned", nil)), rules: []rule.Name{rule.ApprovalMissing}},
		{name: "all must approve, one has", server: entries(entry(22, 2, "approved", nil), entry(24, 2, "pending", eve)), rules: []rule.Name{rule.ApprovalPending}},
		{name: "one must approve, one has", server: both(required(1), entries(entry(22, 2, "approved", nil), entry(24, 2, "pending", eve)))},
		{name: "two must approve, one has", server: both(required(2), entries(entry(22, 2, "approved", nil), entry(24, 2, "skipped", eve))), rules: []rule.Name{rule.ApprovalMissing}},
		{name: "two must approve, one is asked", server: required(2), rules: unreadable, says: "requires 2 approvers, but has only 1"},
		{name: "one must approve, another rejected", server: both(required(1), entries(entry(22, 2, "approved", nil), entry(24, 2, "rejected", eve))), rules: []rule.Name{rule.ApprovalRejected}},
		{name: "one must approve, another is undefined", server: both(required(1), entries(entry(22, 2, "approved", nil), entry(24, 2, "", eve))), rules: unreadable},
		{name: "one must approve, another was cancelled", server: both(required(1), entries(entry(22, 2, "approved", nil), entry(24, 2, "canceled", eve)))},
		{name: "the creator approved", server: entries(entry(22, 2, "approved", object{"approvedBy": ref(aliceID, "Alice")})), rules: []rule.Name{rule.RequesterApproved}, says: "created release 88"},
		{name: "the requester of the deployment approved", server: entries(entry(22, 2, "approved", carol)), rules: []rule.Name{rule.RequesterApproved}, says: "that attempt 2 of the deployment was requested for"},
		{name: "the requester of an older attempt approved", server: func(d *devops) {
			set(in(stage(d), "deploySteps", 0), ref(bobID, "Bob"), "requestedFor")
		}},
		{name: "no person named", server: entries(entry(22, 2, "approved", object{"approvedBy": nil})), rules: unreadable, says: "which person"},
		{name: "no history", server: entries(entry(22, 2, "approved", object{"history": nil}))},
		{name: "no time at all", server: entries(entry(22, 2, "approved", object{"history": nil, "modifiedOn": nil})), rules: unreadable, says: "does not say when"},
		{name: "entry twice", server: entries(entry(22, 2, "approved", nil), entry(22, 2, "approved", nil)), rules: unreadable, says: "the same number as another"},
		{name: "entry without a number", server: entries(entry(22, 2, "approved", object{"id": nil})), rules: unreadable, says: "has no number"},
		{name: "entry of the other kind", server: entries(entry(22, 2, "approved", object{"approvalType": "postDeploy"})), rules: unreadable, says: "has the type"},
		{name: "entry of another release", server: entries(entry(22, 2, "approved", object{"release": object{"id": 87}})), rules: unreadable, says: "belongs to another"},
		{name: "entry of another stage", server: entries(entry(22, 2, "approved", object{"releaseEnvironment": object{"id": 301}})), rules: unreadable, says: "belongs to another"},
		{name: "post-deployment too, and pending", ask: azdo.Query{PostDeployment: true}, rules: []rule.Name{rule.ApprovalPending}, says: "the post-deployment approval"},
		{name: "post-deployment too, and given", ask: azdo.Query{PostDeployment: true}, server: func(d *devops) {
			set(stage(d), list{entry(23, 2, "approved", object{"approvalType": "postDeploy"})}, "postDeployApprovals")
		}},
		{name: "gates ignored", server: func(d *devops) {
			set(in(stage(d), "deploySteps", 1), object{"status": "succeeded", "ignoredGates": list{object{"name": "Query work items"}}}, "preDeploymentGates")
		}, says: "ignored manually, which bypasses them: Query work items"},
		{name: "another stage", ask: azdo.Query{Stage: "test"}, rules: []rule.Name{rule.ApprovalMissing}, says: "stage Test"},
		{name: "authors unknown", ask: azdo.Query{Authors: true}, rules: []rule.Name{rule.AuthorApproved}, says: "does not record who pushed"},
		{name: "denied", server: answering("/_apis/release", 403, ""), rules: unreadable, says: `Grant "Shop Build Service (`},
		{name: "null", server: func(d *devops) { d.release = "null" }, rules: unreadable},
	} {
		c.runOn(t, newRelease)
	}
}

func TestReleaseUnknownStage(t *testing.T) {
	d, claims := newRelease(t)
	_, err := d.service(t, claims).Evidence(context.Background(), azdo.Query{Stage: "Prod"})
	var unknown *azdo.UnknownStageError
	if !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"Test", "Production"}) {
		t.Errorf("%v", err)
	}
}
