package main_test

import (
	"fmt"
	"testing"

	"acrpromote/internal/sim"
)

// TestResourceNotShown checks what is said about a resource whose name Azure
// DevOps does not show to the build service, and that it can be named by its id.
func TestResourceNotShown(t *testing.T) {
	t.Run("environment", func(t *testing.T) {
		env, image := ready(t)
		env.environment.DenyView()
		id := env.environment.ID()
		env.task(push()).refusedBy("approval-unbound").says(
			"the approvals of the stage guard environment #"+id+", whose name Azure DevOps does not show to \"shop Build Service (contoso)\", so it is unknown whether that is environment Production",
			"Grant \"shop Build Service (contoso)\", or \"Project Collection Build Service (contoso)\" if the job's authorization scope is not limited to the project, the role Reader on environment #"+id,
			"name the resource by its id, as #"+id, "_environments/"+id)
		env.task(push("environment", "#999")).refusedBy("approval-unbound")
		env.untouched(env.dev)
		o := env.task(push("environment", "#"+id)).want("done")
		if env.dev.TagDigest(cart, release) != image.Digest || o.at("approval", "guards") != "environment #"+id {
			t.Errorf("approval: %v", o.at("approval"))
		}
	})
	t.Run("environment that the rules do not name", func(t *testing.T) {
		env := newTestEnv(t)
		env.sealed()
		own := env.project.EnvironmentBy("Mine", developer)
		own.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
		own.DenyView()
		env.stage = env.project.QueueRun(sim.RunOptions{RequestedFor: developer}).Stage("Production", own, env.environment, env.connection)
		env.approve(manager, "")
		// The named environment is shown and approved; the other one does not matter.
		env.task(push()).want("done")
		env.task(push("targets", dev2Host, "environment", "#"+env.environment.ID())).want("done")
	})
	t.Run("service connection", func(t *testing.T) {
		env := newTestEnv(t)
		env.sealed()
		env.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
		env.connection.DenyView()
		env.stage = env.project.QueueRun(sim.RunOptions{RequestedFor: developer}).Stage("Production", env.connection)
		env.approve(manager, "")
		env.task(push("environment", "endpoint:release-identity")).refusedBy("approval-unbound").says("service connection #"+env.connection.ID(), "the role Reader")
		env.task(push("environment", "endpoint:#"+env.connection.ID())).want("done")
	})
	t.Run("flow file", func(t *testing.T) {
		env, _ := ready(t)
		env.environment.DenyView()
		flow := func(environment string) inputs {
			return push("environment", "", "flowFile", env.flowFile(fmt.Sprintf(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: %s, trust: production}
  dev: {host: %s, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev]
    repositories: ["**"]
    require:
      approval: {kind: manual, environment: %q}
`, prodHost, devHost, environment)))
		}
		env.task(flow("Production")).refusedBy("approval-unbound").says("name the resource by its id")
		env.task(flow("#" + env.environment.ID())).want("done")
	})
}
