package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/seal"
	"acrpromote/internal/sim"
)

// planning returns an environment whose run has a stage Plan in progress, and after it
// a stage Production whose checks have not been evaluated.
func planning(t *testing.T) *testEnv {
	t.Helper()
	env := newTestEnv(t)
	env.sealed()
	env.queuePlan()
	return env
}

func (env *testEnv) queuePlan() {
	env.run = env.project.QueueRun(sim.RunOptions{RequestedFor: developer, StartedAt: env.clock.now().Add(-time.Minute)})
	env.stage = env.run.Stage("Plan", env.connection)
	env.stage.Begin()
	env.run.LaterStage("Production", env.environment, env.connection)
}

// planned returns the inputs of a plan of a minimal inverted push, with changes.
func planned(more ...string) inputs { return push("action", "plan").with(more...) }

// rules returns the outcomes of the rules by name: met, pending or violated.
func (o outcome) outcomes() map[string]string {
	o.t.Helper()
	list, _ := o.at("approval", "rules").([]any)
	outcomes := map[string]string{}
	for _, r := range list {
		m := r.(map[string]any)
		state := "violated"
		switch {
		case m["met"] == true && m["pending"] == true:
			o.t.Errorf("the rule %v is met and pending", m["rule"])
		case m["met"] == true:
			state = "met"
		case m["pending"] == true:
			state = "pending"
		}
		outcomes[m["rule"].(string)] = state + ": " + m["detail"].(string)
	}
	return outcomes
}

// waits fails the test unless the plan is done and waits for an approval with these
// words.
func (o outcome) waits(words ...string) outcome {
	o.t.Helper()
	o.want("done")
	if o.at("approval", "granted") != false {
		o.t.Error("the approval is granted")
	}
	detail, waiting := strings.CutPrefix(o.outcomes()["approval-missing"], "pending: ")
	if !waiting {
		o.t.Fatalf("no approval is waited for: %v\n%s", o.at("approval"), o.stdout)
	}
	for _, word := range words {
		if !strings.Contains(detail, word) {
			o.t.Errorf("the plan waits for %q, which lacks %q", detail, word)
		}
	}
	return o
}

// wroteNothing fails the test if a request of the run could write to a registry.
func (o outcome) wroteNothing() outcome {
	o.t.Helper()
	for _, r := range o.requests {
		if strings.HasSuffix(r.Host, ".azurecr.io") && r.Method != "GET" && r.Method != "HEAD" && !strings.HasPrefix(r.Path, "/oauth2/") {
			o.t.Errorf("a plan sent %s %s%s", r.Method, r.Host, r.Path)
		}
	}
	if o.at("changed") != false {
		o.t.Error("a plan has changed something")
	}
	return o
}

// TestPlanBeforeApproval plans a push, has it approved, and pushes with the same
// inputs.
func TestPlanBeforeApproval(t *testing.T) {
	env := planning(t)
	more := []string{"minApprovers", "1", "approvalCode", "true", "commentPattern", "CHG"}
	o := env.task(planned(more...)).waits("1 approver on environment Production, other than the requester", "the comment must quote "+fmt.Sprint(env.code()),
		`the comment must match "CHG"`, "Release Manager (release.manager@example.com)").wantStates("planned").wroteNothing()
	env.untouched(env.dev)
	if o.at("direction") != "unchecked" || o.at("dryRun") != false || o.at("action") != "plan" {
		t.Errorf("direction %v, dryRun %v, action %v", o.at("direction"), o.at("dryRun"), o.at("action"))
	}

	env.stage.Finish("succeeded")
	env.stage = env.run.Stage("Production")
	env.stage.Ready()
	env.approve(manager, "CHG1 "+env.code())
	env.task(push(more...)).want("done").wantStates("copied")
}

// code returns the approval code of the image of PROD.
func (env *testEnv) code() string {
	env.t.Helper()
	code, err := seal.Code(env.prod.TagDigest(cart, release))
	if err != nil {
		env.t.Fatal(err)
	}
	return code
}
