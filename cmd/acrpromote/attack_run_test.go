package main_test

import (
	"fmt"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

// TestAttackOtherRunWithoutItsToken pretends to be part of another run, whose stage is
// approved, and hides the address at which this run's own token would show that.
func TestAttackOtherRunWithoutItsToken(t *testing.T) {
	for _, token := range []struct {
		name  string
		state sim.RunToken
	}{{"issued", sim.RunTokenIssued}, {"refused", sim.RunTokenRefused}} {
		for name, address := range map[string]func(env *testEnv, other *sim.Run, own string) string{
			"removed": func(*testEnv, *sim.Run, string) string { return "-" },
			"empty":   func(*testEnv, *sim.Run, string) string { return "" },
			"of something else": func(env *testEnv, _ *sim.Run, _ string) string {
				return env.organization.Collection() + "_apis/projects"
			},
			"with another ending": func(_ *testEnv, _ *sim.Run, own string) string { return own + "s" },
			"of the other job": func(env *testEnv, other *sim.Run, own string) string {
				return strings.Replace(own, env.run.PlanID(), other.PlanID(), 1)
			},
			"escaped": func(_ *testEnv, _ *sim.Run, own string) string {
				return strings.Replace(own, "/plans/", "/%70lans/", 1)
			},
			"with a slash at the end": func(_ *testEnv, _ *sim.Run, own string) string { return own + "/x/../" },
		} {
			t.Run(token.name+", "+name, func(t *testing.T) {
				env, _ := ready(t)
				env.organization.SetRunToken(token.state)
				other := env.project.QueueRun(sim.RunOptions{RequestedFor: developer})
				stage := other.Stage("Production", env.environment)
				if err := stage.Approve(manager, ""); err != nil {
					t.Fatal(err)
				}
				stage.Begin()
				connection := env.project.SecretConnection("release-secret", tenant, clientID, clientKey)
				environ := env.environ(env.stage, push(), connected("azureSubscription", connection))
				own := ""
				for _, pair := range environ {
					if value, found := strings.CutPrefix(pair, "SYSTEM_OIDCREQUESTURI="); found {
						own = value
					}
				}
				o := env.execute(forged(environ, "BUILD_BUILDID", fmt.Sprint(other.ID()), "SYSTEM_PLANID", other.PlanID(), "SYSTEM_TIMELINEID", other.PlanID(),
					"SYSTEM_JOBID", stage.JobID(), "SYSTEM_STAGEID", stage.ID(), "SYSTEM_OIDCREQUESTURI", address(env, other, own)))
				o.refusedBy("run-mismatch")
				env.untouched(env.dev)
			})
		}
	}
}

// TestAttackResourceNamedLikeID gives an environment, a service connection and a stage
// of a release the names that stand for another resource by its id.
func TestAttackResourceNamedLikeID(t *testing.T) {
	for name, attack := range map[string]func(env *testEnv, id string) outcome{
		"environment": func(env *testEnv, id string) outcome {
			alike := env.project.Environment(id)
			alike.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}, MinRequired: 1})
			env.stage = env.project.QueueRun(sim.RunOptions{RequestedFor: developer}).Stage("Production", alike, env.connection)
			env.approve(manager, "")
			return env.task(push("environment", id))
		},
		"stage of a release": func(env *testEnv, id string) outcome {
			stage := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: env.run}).
				Stage(id, sim.ReleaseStageOptions{Before: sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}})
			stage.Begin()
			if err := stage.Approve(manager, ""); err != nil {
				env.t.Fatal(err)
			}
			stage.Begin()
			return env.taskOf(stage, push("environment", id))
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			env.sealed()
			attack(env, "#"+env.environment.ID()).refusedBy("approval-unbound")
			env.untouched(env.dev)
		})
	}
}
