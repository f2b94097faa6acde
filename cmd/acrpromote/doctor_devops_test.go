package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// inDevOps returns the findings that are not about a registry.
func (o outcome) inDevOps() []string {
	o.t.Helper()
	found := []string{}
	for _, f := range o.at("findings").([]any) {
		f := f.(map[string]any)
		if where := fmt.Sprint(f["where"]); !strings.HasPrefix(where, "registry ") {
			found = append(found, fmt.Sprintf("%v %v %s", f["severity"], f["id"], where))
		}
	}
	slices.Sort(found)
	return found
}

// TestDoctorOfAzureDevOps reads a project whose flows rely on what others can use and
// change, and then the same project after each finding was mended.
func TestDoctorOfAzureDevOps(t *testing.T) {
	env := newTestEnv(t)
	env.azure()
	name, _ := env.onServer(sandbox)
	writer := env.project.FederatedConnection("dev-writer", tenant, clientID)
	writer.OpenToAll(true)
	queue := env.project.Queue("Release agents", sim.LastingAgents)
	queue.OpenToAll(true)
	rules := env.project.Repository("Rules")
	rules.Allow("*", env.project.Group("Contributors"), sim.GitContribute)
	rules.Allow("refs/heads/main", developer, sim.GitPolicyExempt)
	look := func() outcome {
		t.Helper()
		stage := env.project.QueueRun(sim.RunOptions{Queue: queue}).Stage("Look")
		stage.Begin()
		return env.taskOf(stage, inputs{"action": "doctor", "flowFile": name}, func(e *fakeagent.Environment) {
			e.Connections["targetSubscription"] = []*sim.ServiceConnection{writer}
		})
	}
	want := []string{
		"high connection-open service connection dev-writer",
		"high connection-unprotected service connection dev-writer",
		"high connection-unprotected service connection release-identity",
		"high environment-administrator environment Production",
		"high flow-file-bypass flow file Rules@refs/heads/main:release/flows.yml",
		"high flow-file-no-policy flow file Rules@refs/heads/main:release/flows.yml",
		"high pool-open agent pool Release agents",
		"medium environment-requester-approves environment Production",
		"medium identity-on-both-sides service connection dev-writer",
	}
	o := look()
	o.refusedBy("trust-too-wide")
	if got := o.inDevOps(); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}

	managers := env.project.Group("Release Managers")
	settings := sim.ApprovalSettings{Approvers: []sim.Identity{managers}, MinRequired: 1, RequesterCannotApprove: true}
	writer.OpenToAll(false)
	writer.Permit("release")
	writer.AddApproval(settings)
	for _, c := range []*sim.ServiceConnection{writer, env.connection} {
		c.AddCheck(sim.RequiredTemplate)
	}
	writer.SetParameter("serviceprincipalid", "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee")
	env.environment.SetRole(sim.Person("Project Administrator"), "")
	env.environment.SetRole(managers, sim.Administrator)
	env.check.Update(settings)
	rules.AddPolicy(sim.BranchPolicy{Branch: "refs/heads/main", Minimum: 1})
	rules.Deny("refs/heads/main", developer, sim.GitPolicyExempt)
	queue.OpenToAll(false)
	queue.Permit("release")
	o = look()
	if got := o.inDevOps(); len(got) > 0 {
		t.Errorf("found %q after everything was mended", got)
	}
	for _, r := range o.requests {
		if r.Host == devOpsHost && r.Method != http.MethodGet && r.Method != http.MethodOptions && !strings.HasSuffix(r.Path, "/oidctoken") {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}

	// What the job may not read is unknown.
	env.project.Deny(sim.Roles)
	o = look()
	o.refusedBy("trust-too-wide")
	if got, want := o.inDevOps(), []string{"unknown unread environment Production"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	env.project.Allow(sim.Roles)

	// The role assignments of the registries show which other connections count, and
	// which identity may write above.
	writer.SetData("spnObjectId", releaserID)
	env.project.SecretConnection("old", tenant, "cccccccc-bbbb-cccc-dddd-eeeeeeeeeeee", "x").SetData("spnObjectId", clustersID)
	env.project.SecretConnection("other", tenant, "dddddddd-bbbb-cccc-dddd-eeeeeeeeeeee", "x").SetData("spnObjectId", strangerID)
	want = []string{"high connection-unprotected service connection old", "high identity-writes-both-sides service connection dev-writer"}
	if got := look().inDevOps(); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// TestDoctorWithoutAzureDevOps checks that outside of a run everything that the flows
// rely on there is unknown, and that two registries rely on nothing there.
func TestDoctorWithoutAzureDevOps(t *testing.T) {
	p := newPerson(t, nil)
	if err := os.WriteFile(filepath.Join(p.dir, "flows.yml"), []byte(sandbox), 0o644); err != nil {
		t.Fatal(err)
	}
	o := p.run("doctor", "--flowFile", "flows.yml", "--output", "json")
	if got, want := o.inDevOps(), []string{"unknown unread Azure DevOps"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	o = p.run("doctor", "--source", prodHost, "--targets", devHost, "--output", "json")
	if got := o.inDevOps(); len(got) > 0 {
		t.Errorf("found %q", got)
	}
}
