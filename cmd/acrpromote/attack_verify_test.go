package main_test

import (
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

// bothWays is a flow file with flows down and up from the registry in the middle.
const bothWays = `version: 1
trust: [sandbox, staging, production]
registries:
  top: {host: ` + dev2Host + `, trust: production}
  middle: {host: ` + prodHost + `, trust: staging}
  low: {host: ` + devHost + `, trust: sandbox}
flows:
  down: {from: middle, to: [low], repositories: [shop/**], require: {approval: {environment: Production}}}
  up: {from: middle, to: [top], repositories: [shop/**, up/**], require: {approval: {environment: Going-Up}}}
`

// TestVerifyWithFlowNeverJudgesSeal checks that an empty variable for the targets
// does not make verify check a seal, which needs no approval, instead of an approval.
func TestVerifyWithFlowNeverJudgesSeal(t *testing.T) {
	env := newTestEnv(t)
	env.sealed() // and nobody approved
	env.stage.Begin()
	flows := env.flowFile(sandbox)
	verify := inputs{"action": "verify", "source": source, "flowFile": flows}
	env.task(verify).refusedBy("approval-pending")
	env.task(verify.with("flow", "released")).refusedBy("approval-pending")
	env.task(verify.with("targets", " \n ")).refusedBy("approval-pending")
	env.task(verify.with("minApprovers", "2")).want("refused")
	env.task(verify.with("source", prodHost+"/other/x:1")).refusedBy("not-in-flow")
	env.task(verify.with("moveTag", "true")).want("misuse").says("invertedPush", "moveTag")
	if err := env.stage.Approve(manager, "released"); err != nil {
		t.Fatal(err)
	}
	env.task(verify).want("done").wantStates("planned planned")
	env.untouched(env.dev)
}

// TestVerifyBetweenTwoDirections checks that verify is refused if it is ambiguous
// whether the image would be pushed down or promoted.
func TestVerifyBetweenTwoDirections(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	pushImage(env.prod, "up/a", "1", 3, 1, 300)
	env.approve(manager, "released")
	verify := inputs{"action": "verify", "source": source, "flowFile": env.flowFile(bothWays)}
	env.task(verify).want("misuse").says("could be pushed down (flow down) or promoted (flow up)")
	env.task(verify.with("flow", "down")).want("done")
	env.task(verify.with("targets", devHost)).want("done")
	env.task(verify.with("flow", "up")).refusedBy("approval-unbound")
	env.task(verify.with("targets", dev2Host)).refusedBy("approval-unbound")
	env.task(verify.with("source", prodHost+"/up/a:1")).refusedBy("approval-unbound")

	// The actions find their flow by their direction.
	env.task(verify.with("action", "promote")).refusedBy("approval-unbound")
	env.untouched(env.dev2)
	env.task(verify.with("action", "promote", "source", prodHost+"/up/a:1", "dryRun", "true")).refusedBy("approval-unbound")
	env.task(verify.with("action", "invertedPush", "source", prodHost+"/up/a:1")).refusedBy("upward")
	env.task(verify.with("action", "invertedPush")).want("done").wantStates("copied")
}

// TestPeopleForFlowWithoutApproval checks that an input about approvers makes the
// approval manual if the flow requires none, and is misuse if the flow requires
// automated checks. It is never silently ignored.
func TestPeopleForFlowWithoutApproval(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, "base/os", "3", 1, 1, 300)
	env.stage.Begin()
	flow := func(approval string) string {
		return env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: sandbox}
flows:
  base: {from: prod, to: [dev], repositories: ["base/*"], require: {sealed: false, approval: ` + approval + `}}
`)
	}
	none := inputs{"action": "verify", "source": prodHost + "/base/os:3", "flowFile": flow("{kind: none}")}
	automated := none.with("flowFile", flow("{kind: automated, checks: [{definition: 999, resource: Production}]}"))
	env.task(none).want("done")
	env.task(none.with("approvalCode", "false")).want("done")
	people := [][2]string{
		{"environment", "Production"}, {"minApprovers", "1"}, {"approvers", "release.manager@example.com"},
		{"approvalMaxAge", "1h"}, {"commentPattern", "CHG"}, {"approvalCode", "true"},
	}
	for _, in := range people {
		want := "approval-unbound" // no environment is named
		if in[0] == "environment" {
			want = "approval-pending"
		}
		env.task(none.with(in[0], in[1])).refusedBy(want)
		env.task(none.with(in[0], in[1], "action", "invertedPush")).refusedBy(want)
		env.task(automated.with(in[0], in[1])).want("misuse").says(in[0], "ask no person")
	}
	env.untouched(env.dev)
	env.task(none.with("action", "seal", "environment", "Elsewhere", "dryRun", "true")).want("done")
	if err := env.stage.Approve(manager, "CHG1"); err != nil {
		t.Fatal(err)
	}
	o := env.task(none.with("environment", "Production", "commentPattern", "CHG", "action", "invertedPush")).want("done")
	if o.at("approval", "kind") != "manual" || o.at("approval", "granted") != true {
		t.Errorf("approval %v", o.at("approval"))
	}
}

// TestEndpointInAnyCase checks that the prefix of a service connection ignores case,
// as an input and in a flow file.
func TestEndpointInAnyCase(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	env.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{officer}})
	env.stage = env.run.Stage("Connection", env.connection)
	if err := env.stage.Approve(officer, ""); err != nil {
		t.Fatal(err)
	}
	env.stage.Begin()
	for _, name := range []string{"endpoint:release-identity", "Endpoint:release-identity", "ENDPOINT:Release-Identity"} {
		env.task(push("action", "verify", "environment", name)).want("done")
		content := strings.Replace(sandbox, "{kind: manual, environment: Production}", `{kind: manual, environment: "`+name+`"}`, 1)
		env.task(inputs{"action": "verify", "source": source, "flowFile": env.flowFile(content)}).want("done")
	}
	env.task(push("action", "verify", "environment", "Endpoint:")).want("misuse")
}
