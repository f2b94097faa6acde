package sim

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/release"
)

func (d *devops) readRelease(t *testing.T, r *Release) *release.Release {
	t.Helper()
	project, id := "shop", r.ID()
	got, err := d.release.GetRelease(context.Background(), release.GetReleaseArgs{Project: &project, ReleaseId: &id})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// entries is a stage's approvals: attempt, status, and A where automated.
func entries(list *[]release.ReleaseApproval) string {
	var words []string
	for _, a := range *list {
		w := itoa(*a.Attempt) + string(*a.Status)
		if *a.IsAutomated {
			w += "A"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func TestReleaseFromCreationToApproval(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	run := o.project.QueueRun(RunOptions{})
	r := o.project.Release(ReleaseOptions{CreatedBy: o.dev, Artifact: run})
	r.Stage("Test", ReleaseStageOptions{})
	st := r.Stage("Production", ReleaseStageOptions{
		Before: ReleaseApprovals{Approvers: []Identity{o.manager, o.second}, InSequence: true, CreatorExcluded: true},
		After:  ReleaseApprovals{Approvers: []Identity{o.manager}}, Gates: []string{"Query work items"}})
	d := o.mustClients(st.Token())
	got := d.readRelease(t, r)
	test, production := (*got.Environments)[0], (*got.Environments)[1]
	if *got.CreatedBy.Id != o.dev.ID || *(*got.Artifacts)[0].IsPrimary != true || *(*(*got.Artifacts)[0].DefinitionReference)["version"].Id != itoa(run.ID()) {
		t.Errorf("release is %+v", got)
	}
	if entries(test.PreDeployApprovals) != "1approvedA" || (*test.PreDeployApprovals)[0].ApprovedBy != nil || (*test.PreDeployApprovals)[0].Approver != nil {
		t.Errorf("a stage with no approvers: %s", entries(test.PreDeployApprovals))
	}
	if entries(production.PreDeployApprovals) != "1pending" || *production.PreApprovalsSnapshot.ApprovalOptions.ReleaseCreatorCanBeApprover {
		t.Errorf("before anybody approved: %s", entries(production.PreDeployApprovals))
	}
	if st.Approve(o.dev, "") == nil || st.Approve(o.second, "") == nil {
		t.Error("approved by the creator, or out of turn")
	}
	if err := st.Approve(o.manager, "one"); err != nil {
		t.Fatal(err)
	}
	if err := st.Approve(o.second, "two"); err != nil {
		t.Fatal(err)
	}
	st.Begin()
	st.IgnoreGate("Query work items")
	production = (*d.readRelease(t, r).Environments)[1]
	step := (*production.DeploySteps)[0]
	second := (*production.PreDeployApprovals)[1]
	if entries(production.PreDeployApprovals) != "1approved 1approved" || *second.ApprovedBy.Id != o.second.ID || *second.Comments != "two" ||
		len(*second.History) != 1 || *step.Attempt != 1 || string(*step.PreDeploymentGates.Status) != "succeeded" || len(*step.PreDeploymentGates.IgnoredGates) != 1 ||
		string(*step.Status) != "inProgress" || len(*(*(*step.ReleaseDeployPhases)[0].DeploymentJobs)[0].Tasks) != 2 {
		t.Errorf("approved: %s, step %+v", entries(production.PreDeployApprovals), step)
	}

	st.Redeploy(o.manager)
	d = o.mustClients(st.Token())
	production = (*d.readRelease(t, r).Environments)[1]
	if entries(production.PreDeployApprovals) != "1approved 1approved 2pending" || len(*production.DeploySteps) != 2 || *(*production.DeploySteps)[1].RequestedFor.Id != o.manager.ID {
		t.Errorf("redeployed: %s", entries(production.PreDeployApprovals))
	}
	if err := st.Reassign(o.manager, o.second, "on leave"); err != nil {
		t.Fatal(err)
	}
	if got := entries((*d.readRelease(t, r).Environments)[1].PreDeployApprovals); got != "1approved 1approved 2reassigned 2pending" {
		t.Errorf("reassigned: %s", got)
	}
	if err := st.Approve(o.second, "for the manager"); err != nil {
		t.Fatal(err)
	}
	if err := st.Approve(o.second, "for myself"); err != nil {
		t.Fatal(err)
	}
	st.Begin()
	st.SetGates("failed")
	if got := (*(*d.readRelease(t, r).Environments)[1].DeploySteps)[1]; string(*got.PreDeploymentGates.Status) != "failed" {
		t.Errorf("gates: %+v", got.PreDeploymentGates)
	}
	st.Finish("succeeded")
	if _, err := o.clients(st.Token()); err == nil {
		t.Error("the token of a finished job is still good")
	}
	again := r.Stage("After", ReleaseStageOptions{})
	d = o.mustClients(again.Token())
	if err := st.ApproveAfter(o.manager, "seen"); err != nil {
		t.Fatal(err)
	}
	if got := entries((*d.readRelease(t, r).Environments)[1].PostDeployApprovals); got != "2approved" {
		t.Errorf("afterwards: %s", got)
	}
	r.Mutate(func(doc map[string]any) { doc["status"] = "abandoned" })
	if got := d.readRelease(t, r); string(*got.Status) != "abandoned" {
		t.Errorf("unbent: %s", *got.Status)
	}
}

func TestReleaseQuorumAndRejection(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.Release(ReleaseOptions{})
	one := r.Stage("Quorum", ReleaseStageOptions{Before: ReleaseApprovals{Approvers: []Identity{o.manager, o.second}, Required: 1}})
	two := r.Stage("Rejected", ReleaseStageOptions{Before: ReleaseApprovals{Approvers: []Identity{o.manager}}})
	if err := one.Approve(o.manager, ""); err != nil {
		t.Fatal(err)
	}
	if err := two.Reject(o.manager, "no"); err != nil {
		t.Fatal(err)
	}
	got := *o.mustClients(one.Token()).readRelease(t, r).Environments
	if entries(got[0].PreDeployApprovals) != "1approved 1skipped" || entries(got[1].PreDeployApprovals) != "1rejected" || string(*got[1].Status) != "rejected" {
		t.Errorf("%s; %s", entries(got[0].PreDeployApprovals), entries(got[1].PreDeployApprovals))
	}
}

func TestReleaseIsOnItsOwnHostAlone(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.Release(ReleaseOptions{})
	st := r.Stage("Production", ReleaseStageOptions{})
	path := "/Shop/_apis/Release/releases/" + itoa(r.ID())
	if status, _ := o.get(st.Token(), path); status != 404 {
		t.Errorf("at dev.azure.com: %d", status)
	}
	ask := func() (int, []byte) {
		req, _ := http.NewRequest("GET", "https://vsrm.dev.azure.com/"+o.org.name+path, nil)
		return o.send(req, st.Token())
	}
	if status, _ := ask(); status != 200 {
		t.Errorf("at vsrm.dev.azure.com: %d", status)
	}
	o.project.Deny(Releases)
	if status, _ := ask(); status != 403 {
		t.Errorf("denied: %d", status)
	}
}

func TestReleaseJobRequest(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	tenant := guidOf("tenant")
	connection := o.project.FederatedConnection("release-identity", tenant, "app")
	run := o.project.QueueRun(RunOptions{})
	r := o.project.Release(ReleaseOptions{CreatedBy: o.dev, Artifact: run})
	st := r.Stage("Production", ReleaseStageOptions{})
	st.Redeploy(o.manager)
	variables := st.JobRequest(connection).Variables
	for name, want := range map[string]string{
		"system.hosttype": "release", "release.releaseId": itoa(r.ID()), "release.environmentId": itoa(st.ID()), "release.environmentName": "Production",
		"release.definitionEnvironmentId": "1", "release.attemptNumber": "2", "release.requestedForId": o.dev.ID,
		"release.deployment.requestedForId": o.manager.ID, "build.buildId": itoa(run.ID()), "system.stageName": "__default",
		"system.teamFoundationCollectionUri": o.org.Collection(),
	} {
		if variables[name] != want {
			t.Errorf("%s is %q, want %q", name, variables[name], want)
		}
	}
	if variables["release.deploymentId"] == "" || variables["system.planId"] == "" || variables["system.stageId"] == "" {
		t.Errorf("deployment %q, plan %q, stage %q", variables["release.deploymentId"], variables["system.planId"], variables["system.stageId"])
	}
	for query, want := range map[string]int{"?api-version=7.1": 404, "?api-version=7.1&serviceConnectionId=" + connection.ID(): 200} {
		req, _ := http.NewRequest("POST", variables["system.oidcRequestUri"]+query, nil)
		status, body := o.send(req, st.Token())
		if status != want {
			t.Errorf("%s: %d %s, want %d", query, status, body, want)
		}
		if want == 200 {
			var doc struct{ OIDCToken string }
			if err := json.Unmarshal(body, &doc); err != nil {
				t.Fatal(err)
			}
			if claims, err := claimsOf(doc.OIDCToken); err != nil || claims["sub"] != connection.Subject() {
				t.Errorf("%v, %v", claims, err)
			}
		}
	}
}
