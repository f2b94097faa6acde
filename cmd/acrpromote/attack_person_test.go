package main_test

import (
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// TestOnlyPeopleApprove checks that an approval counts only if it was given by a
// person or by an identity listed in approvers. A bypass by an administrator is not an
// approval.
func TestOnlyPeopleApprove(t *testing.T) {
	deployer, builder, agent := sim.Service("Deployer", "aadsp"), sim.Service("shop Build Service (contoso)", "svc"), sim.Service("Bot", "bot")
	approve := func(by sim.Identity) func(*testEnv) error {
		return func(env *testEnv) error { return env.stage.Approve(by, "released") }
	}
	// told changes the server's description of the approver.
	told := func(change func(actual map[string]any)) func(*testEnv) error {
		return func(env *testEnv) error {
			env.run.MutateApprovals(func(d map[string]any) {
				for _, s := range d["value"].([]any)[0].(map[string]any)["steps"].([]any) {
					change(s.(map[string]any)["actualApprover"].(map[string]any))
				}
			})
			return env.stage.Approve(manager, "released")
		}
	}
	for _, c := range []struct {
		name     string
		approver sim.Identity
		do       func(env *testEnv) error
		in       inputs
		rules    string // "" is granted
		says     string
	}{
		{"a person", manager, approve(manager), push(), "", ""},
		{"a person with a Microsoft account", manager, told(func(a map[string]any) { a["descriptor"] = "msa.Ym9i" }), push(), "", ""},
		{"a person of a server on premises", manager, told(func(a map[string]any) { a["descriptor"] = "win.Ym9i" }), push(), "", ""},
		{"a service principal", deployer, approve(deployer), push(), "not-a-person", "service principal"},
		{"a service principal on the list", deployer, approve(deployer), push("approvers", deployer.Descriptor), "", ""},
		{"a service principal that is not on the list", deployer, approve(deployer), push("approvers", "security.officer@example.com"), "not-a-person approver-not-listed", ""},
		{"a build service", builder, approve(builder), push(), "not-a-person", "svc"},
		{"an identity of an unknown type", agent, approve(agent), push(), "not-a-person", "bot"},
		{"an identity without a descriptor", manager, told(func(a map[string]any) { delete(a, "descriptor") }), push(), "not-a-person", "unknown type"},
		{"a build service with the kind user", manager, told(func(a map[string]any) { a["descriptor"], a["subjectKind"] = builder.Descriptor, "user" }), push(), "not-a-person", "svc"},
		{"a group that approves itself", manager, told(func(a map[string]any) { a["isContainer"] = true }), push(), "not-a-person", "group"},
		{"a group that approves itself, on the list", manager, told(func(a map[string]any) { a["isContainer"] = true }), push("approvers", "release.manager@example.com"), "not-a-person", "group"},
		{"bypassed by an administrator", manager, func(env *testEnv) error { env.stage.Bypass(officer); return nil }, push(), "approval-missing", "Security Officer"},
		{"bypassed by an administrator on the list", manager, func(env *testEnv) error { env.stage.Bypass(officer); return nil }, push("approvers", "security.officer@example.com"), "approval-missing", "bypassed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			env.sealed()
			env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{c.approver}})
			if err := c.do(env); err != nil {
				t.Fatal(err)
			}
			env.stage.Begin()
			o := env.task(c.in)
			if c.rules == "" {
				o.want("done")
				return
			}
			o.refusedBy(strings.Fields(c.rules)...).says(c.says)
			env.untouched(env.dev)
		})
	}
	t.Run("a service principal in a classic release", func(t *testing.T) {
		env := newTestEnv(t)
		env.sealed()
		stage := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: env.run}).
			Stage("Production", sim.ReleaseStageOptions{Before: sim.ReleaseApprovals{Approvers: []sim.Identity{deployer}}})
		if err := stage.Approve(deployer, ""); err != nil {
			t.Fatal(err)
		}
		stage.Begin()
		env.taskOf(stage, push()).refusedBy("not-a-person")
		env.untouched(env.dev)
	})
}

// TestBypassedCheck checks that a named check that an administrator bypassed has not
// passed.
func TestBypassedCheck(t *testing.T) {
	for _, kind := range []string{"automated", "any"} {
		t.Run(kind, func(t *testing.T) {
			env := newTestEnv(t)
			env.sealed()
			gate := env.project.Environment("Gate")
			scan := gate.AddCheck(sim.TaskCheck)
			env.stage = env.run.Stage("Checked", gate, env.connection)
			content := strings.Replace(sandbox, "{kind: manual, environment: Production}", "{kind: "+kind+", checks: [{definition: 9c3e8943-130d-4c78-ac63-8af81df62dfb, resource: Gate}]}", 1)
			if kind == "any" {
				content = strings.Replace(content, "{kind: any,", "{kind: any, environment: Gate,", 1)
			}
			in := inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": env.flowFile(content)}
			env.stage.Begin()
			env.task(in).want("done")
			if err := env.stage.SetCheck(scan, "running"); err != nil {
				t.Fatal(err)
			}
			env.stage.Bypass(officer)
			o := env.task(in).want("refused")
			if !strings.Contains(strings.Join(o.rules(), " "), "automated-check") {
				t.Errorf("refused by %v", o.rules())
			}
		})
	}
}

// TestDeferredApprovals checks that a deferred approval counts from the time of the
// request. If the server no longer shows that it was deferred, it counts from the time
// at which the service gave it.
func TestDeferredApprovals(t *testing.T) {
	for _, c := range []struct {
		name        string
		sealedFirst bool
		forget      bool
		more        []string
		rules       string
	}{
		{"sealed before anybody was asked", true, false, nil, ""},
		{"sealed after the request", false, false, nil, "not-sealed changed-since-approval"},
		{"requested too long ago", true, false, []string{"approvalMaxAge", "1h"}, "approval-too-old"},
		{"sealed after the request, the deferral no longer shown", false, true, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			env.clock.set(-3 * time.Hour)
			if c.sealedFirst {
				env.sealed()
				time.Sleep(5 * time.Millisecond)
			}
			env.queue()
			if err := env.stage.Defer(manager, env.clock.now().Add(2*time.Hour), "tonight"); err != nil {
				t.Fatal(err)
			}
			env.clock.set(-2 * time.Hour)
			if !c.sealedFirst {
				env.sealed()
			}
			env.task(push()).want("refused")
			env.clock.set(-time.Minute)
			env.stage.Elapse(c.forget)
			env.stage.Begin()
			env.clock.set(0)
			o := env.task(push(c.more...))
			if c.rules == "" {
				o.want("done")
				return
			}
			o.refusedBy(strings.Fields(c.rules)...)
			env.untouched(env.dev)
		})
	}
}
