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
