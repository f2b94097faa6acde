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

// TestPlanOfApprovals plans a push at every state that the approval of the later stage
// can have, and of what it is configured to ask.
func TestPlanOfApprovals(t *testing.T) {
	fail := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	// later returns the stage Production, whose checks have been evaluated.
	later := func(env *testEnv) *sim.Stage {
		stage := env.run.Stage("Production")
		stage.Ready()
		return stage
	}
	asks := func(settings sim.ApprovalSettings) func(env *testEnv) {
		return func(env *testEnv) { env.check.Update(settings) }
	}
	for _, c := range []struct {
		name    string
		do      func(env *testEnv)
		in      inputs
		refused string   // "" is done
		granted bool     // nothing is waited for
		says    []string // in the detail of the pending approval, or in the refusals
		warns   []string
	}{
		{"nobody has been asked", nil, planned(), "", false, []string{"no stage of this run asks for it yet", "will be asked: Release Manager (release.manager@example.com), Developer (developer@example.com)", "1 of them must approve", "times out after 30 days"}, nil},
		{"the later stage is named, and has not begun", nil, planned("approvalStage", "Production"), "", false, []string{"the stage Production has not begun", "Release Manager"}, nil},
		{"the later stage is named, and does not exist", nil, planned("approvalStage", "Prodcution"), "misuse", false, []string{"Production"}, nil},
		{"the later stage waits", func(env *testEnv) { later(env) }, planned(), "", false, []string{"asked: Release Manager", "status of the approval is pending"}, nil},
		{"the later stage is named, and waits", func(env *testEnv) { later(env) }, planned("approvalStage", "Production"), "", false, []string{"asked: Release Manager"}, nil},
		{"the approval is deferred", func(env *testEnv) {
			fail(later(env).Defer(manager, time.Now().Add(time.Hour), "at night"))
		}, planned(), "", false, []string{"deferred"}, nil},
		{"the approval was given", func(env *testEnv) { fail(later(env).Approve(manager, "")) }, planned(), "", true, nil, nil},
		{"the approval was given by one who does not count", func(env *testEnv) { fail(later(env).Approve(developer, "")) }, planned(), "requester-approved", false, []string{"Developer"}, nil},
		{"one of two was given", func(env *testEnv) {
			env.check.Update(sim.ApprovalSettings{Approvers: []sim.Identity{manager, officer}, MinRequired: 2})
			fail(later(env).Approve(manager, ""))
		}, planned("minApprovers", "2"), "", false, []string{"2 approvers", "asked: Release Manager (release.manager@example.com), Security Officer (security.officer@example.com) (all of them must approve)"}, nil},
		{"the approval was rejected", func(env *testEnv) { fail(later(env).Reject(manager, "not on a Friday")) }, planned(), "approval-rejected", false, []string{"not on a Friday"}, nil},
		{"the approval was skipped", func(env *testEnv) { later(env).Skip() }, planned(), "approval-missing", false, []string{"skipped"}, nil},
		{"the later stage has no approval of the environment", func(env *testEnv) {
			mine := env.project.EnvironmentBy("Production-hotfix", developer)
			mine.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
			env.run.Stage("Hotfix", mine, env.connection)
		}, planned("approvalStage", "Hotfix"), "approval-unbound", false, []string{"Production-hotfix"}, nil},
		{"another stage waits for an approval of another environment", func(env *testEnv) {
			mine := env.project.EnvironmentBy("Production-hotfix", developer)
			mine.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
			env.run.Stage("Hotfix", mine, env.connection)
		}, planned(), "", false, []string{"no stage of this run asks for it yet", "will be asked"}, nil},
		{"two stages wait", func(env *testEnv) {
			later(env)
			env.run.Stage("West", env.environment, env.connection)
		}, planned(), "", false, []string{"the stages Production, West wait for it; set approvalStage"}, nil},
		{"this stage is the one", func(env *testEnv) {
			env.stage = env.run.Stage("Here", env.environment, env.connection)
			fail(env.stage.Approve(manager, ""))
			env.stage.Begin()
		}, planned(), "", true, nil, nil},
		{"how the check asks", asks(sim.ApprovalSettings{Approvers: []sim.Identity{manager, officer}, MinRequired: 0, InSequence: true, RequesterCannotApprove: true}), planned(), "", false,
			[]string{"all of them must approve", "one after another", "Azure DevOps does not let the requester approve"}, nil},
		{"fewer than the rules require", nil, planned("minApprovers", "2"), "", false, []string{"2 approvers"}, []string{"The rules require 2 approvers, but the approval of environment Production is given with 1"}},
		{"only the requester is asked", asks(sim.ApprovalSettings{Approvers: []sim.Identity{developer}}), planned(), "", false, []string{"Developer"}, []string{"asks nobody whose approval would count", "run"}},
		{"only the requester is asked, and may approve", asks(sim.ApprovalSettings{Approvers: []sim.Identity{developer}}), planned("requesterCanApprove", "true"), "", false, []string{"Developer"}, nil},
		{"nobody of the list is asked", nil, planned("approvers", "security.officer@example.com"), "", false, []string{"only these count: security.officer@example.com"}, []string{"is not on the list of approvers"}},
		{"nobody of the list is asked, but a group", func(env *testEnv) {
			env.check.Update(sim.ApprovalSettings{Approvers: []sim.Identity{env.organization.Group(`[shop]\Release Managers`, manager)}})
		}, planned("approvers", `[Shop]\release managers`), "", false, []string{`will be asked: [shop]\Release Managers`}, nil},
		{"the environment has no approval", func(env *testEnv) { env.check.Delete() }, planned(), "approval-missing", false, []string{"has no approval check", "Approvals and checks"}, nil},
		{"the environment has only another check", func(env *testEnv) { env.check.Delete(); env.environment.AddCheck(sim.BusinessHours) }, planned(), "approval-missing", false, []string{"has no approval check"}, nil},
		{"the approval of the environment is disabled", func(env *testEnv) { env.check.Disable() }, planned(), "approval-missing", false, []string{"disabled"}, nil},
		{"the environment is misspelled", nil, planned("environment", "Prodcution"), "", false, []string{"it is unknown who is asked"}, []string{`sees no environment named "Prodcution"`}},
		{"the environment's name is part of another", nil, planned("environment", "Product"), "", false, nil, []string{`sees no environment named "Product"`}},
		{"the environment is named by its id", func(env *testEnv) {}, planned("environment", "#7"), "", false, []string{"will be asked: Release Manager"}, nil},
		{"the environment may not be viewed", func(env *testEnv) { env.environment.DenyView() }, planned(), "", false, []string{"it is unknown who is asked"}, []string{"the role Reader on environment Production"}},
		{"the environments may not be read", func(env *testEnv) { env.project.Deny(sim.Environments) }, planned(), "", false, []string{"it is unknown who is asked", "403"}, nil},
		{"the checks may not be read", func(env *testEnv) { env.project.Deny(sim.Configurations) }, planned(), "", false, []string{"it is unknown who is asked", "403", "Reader"}, nil},
		{"the check suites may not be read", func(env *testEnv) { env.project.Deny(sim.CheckSuites) }, planned(), "approval-unreadable", false, []string{"403"}, nil},
		{"the runs may not be read", func(env *testEnv) { env.project.Deny(sim.Builds) }, planned(), "approval-unreadable", false, []string{"403"}, nil},
		{"no environment", nil, planned("environment", ""), "approval-unbound", false, []string{"the input environment is empty"}, nil},
		{"a service connection", func(env *testEnv) {
			env.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{officer}})
		}, planned("environment", "endpoint:Release-Identity"), "", false, []string{"1 approver on service connection Release-Identity", "will be asked: Security Officer"}, nil},
		{"the author is not known", nil, planned("authorCanApprove", "false"), "author-approved", false, []string{"unknown"}, nil},
		{"of another run", func(env *testEnv) {
			env.run.MutateBuild(func(d map[string]any) { d["orchestrationPlan"] = map[string]any{"planId": tenant} })
		}, planned(), "run-mismatch", false, nil, nil},
		{"hostile names", func(env *testEnv) {
			env.run.MutateConfigurations(func(d map[string]any) {
				for _, c := range d["value"].([]any) {
					settings, _ := c.(map[string]any)["settings"].(map[string]any)
					if list, ok := settings["approvers"].([]any); ok {
						for _, a := range list {
							a.(map[string]any)["displayName"] = "##vso[task.complete result=Failed]\n| <b>**x**</b> \u202e\x1b[2J" + strings.Repeat("y", 5000)
						}
					}
				}
			})
		}, planned(), "", false, []string{"##vso[task.complete"}, nil},
		{"settings of another form", func(env *testEnv) {
			env.run.MutateConfigurations(func(d map[string]any) {
				for _, c := range d["value"].([]any) {
					m := c.(map[string]any)
					m["timeout"] = "soon"
					if settings, ok := m["settings"].(map[string]any); ok {
						settings["approvers"], settings["minRequiredApprovers"], settings["executionOrder"] = "all", []any{}, 7
					}
				}
			})
		}, planned(), "", false, []string{"it is unknown who is asked"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := planning(t)
			if c.do != nil {
				c.do(env)
			}
			o := env.task(c.in)
			switch {
			case c.refused == "misuse":
				o.want("misuse").says(c.says...)
				return
			case c.refused != "":
				o.refusedBy(c.refused).says(c.says...)
			case c.granted:
				if o.want("done"); o.at("approval", "granted") != true {
					t.Errorf("not granted: %v", o.at("approval"))
				}
			default:
				o.waits(c.says...)
			}
			o.wroteNothing()
			env.untouched(env.dev)
			warnings := strings.Join(o.warnings, "\n")
			for _, w := range c.warns {
				if !strings.Contains(warnings, w) {
					t.Errorf("no warning has %q:\n%s", w, warnings)
				}
			}
			if c.warns == nil && len(o.warnings) > 0 {
				t.Errorf("unexpected warnings: %s", warnings)
			}
		})
	}
}

// TestPlanReportsEverything checks that a plan reports all violations at once, next to
// what is pending.
func TestPlanReportsEverything(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 2, 2048) // not sealed
	pushImage(env.dev, cart, release, 7, 1, 300)   // the tag would move
	env.queuePlan()
	o := env.task(planned("digest", "sha256:"+strings.Repeat("a", 64))).refusedBy("not-sealed", "tag-would-move", "digest-differs").wroteNothing()
	outcomes := o.outcomes()
	for _, name := range []string{"approval-missing", "min-approvers", "requester-approved"} {
		if !strings.HasPrefix(outcomes[name], "pending: ") {
			t.Errorf("%s is %q, want pending", name, outcomes[name])
		}
	}
	if !strings.HasPrefix(outcomes["not-sealed"], "violated: ") {
		t.Errorf("not-sealed is %q", outcomes["not-sealed"])
	}
	o.wantStates("refused")

	// Without targets and a flow file there is nothing to plan.
	env.task(planned("targets", "")).want("misuse").says("plan requires at least one target")
	env.task(planned("action", "plan", "moveTag", "true")).want("misuse").says("moveTag")
	env.task(planned("approval", "none")).want("misuse")
}

// TestPlanOfPromotion plans a promotion within a registry: what moves, and its lock.
func TestPlanOfPromotion(t *testing.T) {
	env := planning(t)
	before := pushImage(env.prod, cart, "stable", 5, 1, 300)
	in := planned("targets", prodHost+"/"+cart+":stable", "lock", "tag")
	env.task(in).refusedBy("tag-would-move").wroteNothing()
	o := env.task(in.with("moveTag", "true", "deep", "true")).waits("1 approver on environment Production").wantStates("planned").wroteNothing()
	if o.at("images", 0, "targets", 0, "previous") != before.Digest || o.at("images", 0, "targets", 0, "locked") != "tag" || o.at("direction") != "checked" {
		t.Errorf("target %v, direction %v", o.at("images", 0, "targets", 0), o.at("direction"))
	}
	if len(o.warnings) > 0 {
		t.Errorf("warnings %q", o.warnings)
	}
	if env.prod.TagDigest(cart, "stable") != before.Digest {
		t.Error("a plan has moved the tag")
	}
}

// TestPlanIsVerifiedLater checks that a plan with nothing pending and verify agree.
func TestPlanIsVerifiedLater(t *testing.T) {
	for name, do := range map[string]func(env *testEnv) error{
		"approved":         func(env *testEnv) error { return env.stage.Approve(manager, "") },
		"pending":          func(env *testEnv) error { return nil },
		"rejected":         func(env *testEnv) error { return env.stage.Reject(manager, "") },
		"by the requester": func(env *testEnv) error { return env.stage.Approve(developer, "") },
		"not sealed": func(env *testEnv) error {
			env.prod.SetTagLock(cart, release, true, true)
			return env.stage.Approve(manager, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			env.sealed()
			if err := do(env); err != nil {
				t.Fatal(err)
			}
			env.stage.Begin()
			seen, judged := env.task(planned()), env.task(push("action", "verify"))
			granted := seen.at("outcome") == "done" && seen.at("approval", "granted") == true
			if granted != (judged.at("outcome") == "done") {
				t.Errorf("the plan is %v and granted %v, verify is %v", seen.at("outcome"), seen.at("approval", "granted"), judged.at("outcome"))
			}
		})
	}
}

// TestPlanWhenUnreachable checks that what cannot be read is an error, on its side.
func TestPlanWhenUnreachable(t *testing.T) {
	env := planning(t)
	env.prodNetwork.Block(dev2Host)
	o := env.task(planned("targets", devHost+"\n"+dev2Host, "onPartial", "warn")).want("failed").says(dev2Host).wantStates("planned pending").wroteNothing()
	if errors := o.at("errors").([]any); errors[0].(map[string]any)["side"] != "target" {
		t.Errorf("errors %v", errors)
	}
	if !strings.HasPrefix(o.outcomes()["approval-missing"], "pending: ") {
		t.Errorf("rules %v", o.outcomes())
	}
	env.prodNetwork.Block(prodHost)
	env.task(planned()).failsAt("source", prodHost).wroteNothing()
}

// TestPlanOfRights checks what a plan says of the rights that the push needs.
func TestPlanOfRights(t *testing.T) {
	type right struct{ state, words string }
	for _, c := range []struct {
		name      string
		options   sim.RegistryOptions
		rights    []string // at DEV
		in        inputs
		want      right
		warns     bool
		refuseAll bool
	}{
		{"all", sim.RegistryOptions{}, sim.RepositoryWriter, planned("lock", "tag"), right{"granted", ""}, false, false},
		{"AcrPush is enough without a lock", sim.RegistryOptions{}, sim.AcrPush, planned(), right{"granted", ""}, false, false},
		{"AcrPush is not enough for a lock", sim.RegistryOptions{}, sim.AcrPush, planned("lock", "tag"), right{"missing", "metadata/write on shop/cart"}, true, false},
		{"a reader", sim.RegistryOptions{}, sim.RepositoryReader, planned(), right{"unchecked", "may only read there: not granted: content/write on shop/cart"}, true, false},
		{"a reader, and the registry grants all or nothing", sim.RegistryOptions{StrictScopes: true}, sim.RepositoryReader, planned(), right{"unchecked", "may only read there"}, true, false},
		{"a token that does not show its rights", sim.RegistryOptions{NoAccessClaim: true}, sim.RepositoryReader, planned(), right{"unchecked", "does not show what it grants"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := planning(t)
			c.options.Tokens, c.options.Now = env.directory, env.clock.now
			env.dev = env.cloud.Registry(devHost, c.options)
			env.dev.Revoke(clientID)
			env.dev.Grant(clientID, "**", c.rights...)
			o := env.task(c.in).waits().wantStates("planned").wroteNothing()
			found := map[string]map[string]any{}
			for _, r := range o.at("rights").([]any) {
				m := r.(map[string]any)
				found[m["registry"].(string)] = m
			}
			if found[prodHost]["state"] != "granted" {
				t.Errorf("PROD: %v", found[prodHost])
			}
			dev := found[devHost]
			if dev["state"] != c.want.state || !strings.Contains(dev["reason"].(string), c.want.words) {
				t.Errorf("DEV: %v", dev)
			}
			warnings := strings.Join(o.warnings, "\n")
			if c.warns != strings.Contains(warnings, "Rights on "+devHost) || c.warns != strings.Contains(warnings, "rant service connection") {
				t.Errorf("warnings: %s", warnings)
			}
			if !strings.Contains(o.stdout, "Rights") || !strings.Contains(o.summary, "Rights") {
				t.Error("the log or the summary does not show the rights")
			}
		})
	}
}

// TestPlanOutsideRun plans at a prompt, with what is known of the approval: nothing.
func TestPlanOutsideRun(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	for _, r := range []*sim.Registry{env.prod, env.dev} {
		r.Grant("puller", "**", sim.RepositoryWriter...)
	}
	login := func(r *sim.Registry) map[string]string {
		return map[string]string{"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": r.IdentityToken("puller")}
	}
	p := env.atPrompt(map[string]any{"auths": map[string]any{prodHost: login(env.prod), devHost: login(env.dev), dev2Host: login(env.dev2)}})
	ask := func(more ...string) outcome {
		return p.run(append([]string{"plan", "--source", source, "--targets", devHost, "--output", "json"}, more...)...)
	}
	for _, more := range [][]string{nil, {"--environment", "Production"}, {"--environment", "Production", "--minApprovers", "2", "--approvalCode=true", "--authorCanApprove=false"}} {
		o := ask(more...).wantCode(0)
		if o.at("outcome") != "done" || o.at("approval", "granted") != false || o.at("run", "kind") != "none" {
			t.Fatalf("%v", o.result)
		}
		if detail := o.outcomes()["approval-missing"]; !strings.HasPrefix(detail, "pending: ") || !strings.Contains(detail, "this is not a run of Azure Pipelines") {
			t.Errorf("the approval is %q", detail)
		}
	}
	ask("--approval", "none").wantCode(0)
	if o := ask("--environment", "Production", "--digest", "sha256:"+strings.Repeat("a", 64)).wantCode(3); len(o.rules()) != 1 {
		t.Errorf("refused by %v", o.rules())
	}
	// The branch is that of a run, and there is none.
	o := p.run("plan", "--source", source, "--flowFile", env.flowFile(sandbox), "--targets", devHost, "--output", "json").wantCode(0)
	if detail := o.outcomes()["branch"]; !strings.HasPrefix(detail, "pending: ") {
		t.Errorf("the branch is %q", detail)
	}
	env.untouched(env.dev)

	// An approver can compare the code with that of the plan in the pipeline.
	env.queuePlan()
	inPipeline := env.task(inputs{"action": "plan", "source": source, "flowFile": env.flowFile(sandbox), "targets": devHost}).want("done").at("plan", "code")
	if own := o.at("plan", "code"); own == nil || own != inPipeline {
		t.Errorf("the code is %v, and in the pipeline %v", own, inPipeline)
	}
	p.write("plan.json", o.stdout)
	if computed := p.run("code", "plan.json").wantCode(0); !strings.HasPrefix(computed.stdout, fmt.Sprint(inPipeline)+"  plan ") {
		t.Errorf("code says %s", computed.stdout)
	}
}

// TestPlanOfClassicRelease plans in a stage of a classic release before the one whose
// approval counts.
func TestPlanOfClassicRelease(t *testing.T) {
	before := sim.ReleaseApprovals{Approvers: []sim.Identity{manager, officer}, Required: 1, CreatorExcluded: true}
	for _, c := range []struct {
		name    string
		before  sim.ReleaseApprovals
		do      func(s *sim.ReleaseStage) error
		in      inputs
		refused string
		granted bool
		says    []string
	}{
		{"not deployed yet", before, nil, planned("approvalStage", "Production"), "", false, []string{"1 approver on stage Production", "nobody has been asked for the pre-deployment approval yet", "will be asked: Release Manager (release.manager@example.com), Security Officer", "1 of them must approve", "does not let the requester approve", "30 days"}},
		{"not deployed yet, the stage by the environment", before, nil, planned(), "", false, []string{"1 approver on stage Production"}},
		{"after the deployment too", before, nil, planned("postDeployment", "true"), "approval-missing", false, []string{"nobody would be asked for the post-deployment approval"}},
		{"nobody is asked", sim.ReleaseApprovals{}, nil, planned(), "approval-missing", false, []string{"nobody would be asked"}},
		{"asked", before, func(s *sim.ReleaseStage) error { s.Deploy(developer); return nil }, planned(), "", false, []string{"asked: Release Manager"}},
		{"approved", before, func(s *sim.ReleaseStage) error { s.Deploy(developer); return s.Approve(manager, "") }, planned(), "", true, nil},
		{"rejected", before, func(s *sim.ReleaseStage) error { s.Deploy(developer); return s.Reject(manager, "no") }, planned(), "approval-rejected", false, []string{"Release Manager"}},
		{"no such stage", before, nil, planned("environment", "Elsewhere"), "approval-unbound", false, nil},
		{"no such stage is named", before, nil, planned("approvalStage", "Elsewhere"), "misuse", false, []string{"Production"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			env.sealed()
			r := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: env.run})
			stage := r.Stage("Plan", sim.ReleaseStageOptions{})
			production := r.LaterStage("Production", sim.ReleaseStageOptions{Before: c.before})
			if c.do != nil {
				if err := c.do(production); err != nil {
					t.Fatal(err)
				}
			}
			stage.Begin()
			o := env.taskOf(stage, c.in)
			switch {
			case c.refused == "misuse":
				o.want("misuse").says(c.says...)
				return
			case c.refused != "":
				o.refusedBy(c.refused).says(c.says...)
			case c.granted:
				if o.want("done"); o.at("approval", "granted") != true {
					t.Errorf("not granted: %v", o.at("approval"))
				}
			default:
				o.waits(c.says...)
			}
			o.wroteNothing()
			env.untouched(env.dev)
		})
	}
}

// TestPlanByFlow plans by flow files: the subject is found as verify finds it, several
// groups of rules are judged together, and checks that nobody decides are pending too.
func TestPlanByFlow(t *testing.T) {
	env := planning(t)
	in := inputs{"action": "plan", "source": source, "flowFile": env.flowFile(sandbox)}
	o := env.task(in).waits("1 approver on environment Production").wantStates("planned planned").wroteNothing()
	if o.at("direction") != "checked" || o.at("rules") != "unverified" {
		t.Errorf("direction %v, rules %v", o.at("direction"), o.at("rules"))
	}
	env.task(in.with("minApprovers", "2")).waits("2 approvers on environment Production")
	env.task(in.with("source", prodHost+"/other/x:1")).refusedBy("not-in-flow")
	env.task(in.with("moveTag", "true")).want("misuse").says("invertedPush", "moveTag")
	env.task(in.with("source", "", "flow", "released", "images", "shop/cart:1.4.*")).waits("1 approver on environment Production").wroteNothing()
	env.task(in.with("flowFile", env.flowFile(bothWays))).want("misuse").says("could be pushed down (flow down) or promoted (flow up)")
	env.task(in.with("flowFile", env.flowFile(bothWays), "flow", "down")).waits("1 approver on environment Production")

	// Two environments, of which one is asked for already.
	test := env.project.Environment("test")
	check := test.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{officer}})
	env.project.Environment("stage").AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
	tags := inputs{"action": "plan", "source": source, "targets": prodHost + "/" + cart + ":test\n" + prodHost + "/" + cart + ":stage", "flowFile": env.flowFile(`version: 1
trust: [production]
registries: {prod: {host: ` + prodHost + `, trust: production, immutable: true}}
flows:
  environments:
    from: prod
    to: [prod]
    movingTags: [test, stage]
    require: {approval: {kind: manual, environment: "{tag}"}}
`)}
	both := func(o outcome) string {
		o.t.Helper()
		return fmt.Sprint(o.want("done").wroteNothing().at("approval", "rules"))
	}
	detail := both(env.task(tags))
	for _, word := range []string{"1 approver on environment test", "will be asked: Security Officer", "1 approver on environment stage", "will be asked: Release Manager"} {
		if !strings.Contains(detail, word) {
			t.Errorf("the rules do not say %q: %s", word, detail)
		}
	}
	if err := env.run.Stage("Test", test, env.connection).Approve(officer, ""); err != nil {
		t.Fatal(err)
	}
	o = env.task(tags)
	if detail := both(o); strings.Contains(detail, "environment test, other") || !strings.Contains(detail, "1 approver on environment stage") {
		t.Errorf("the approval of test was given: %s", detail)
	}
	check.Delete()
	env.task(tags).refusedBy("approval-unbound")
}

// TestPlanRequests counts what a plan sends, next to verify of the same push when it
// has been approved.
func TestPlanRequests(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 5, 4096)
	env.stage.Begin()
	env.task(sealing).want("done")
	env.queuePlan()
	seen := table(env.task(planned()).waits())
	env.stage.Finish("succeeded")
	env.stage = env.run.Stage("Production")
	env.stage.Ready()
	env.approve(manager, "")
	verified := table(env.task(push("action", "verify")).want("done"))
	t.Logf("plan:\n%s\nverify:\n%s", show(seen), show(verified))
	// One token more, for the rights to write. At Azure DevOps, the environment and its
	// checks instead of the approval and its check.
	verified[devHost+" token"]++
	// For the approver's card, the tags of the target's repository, which has none, and
	// the configuration of the image, with a redirect to the storage.
	verified[devHost+" attributes"]++
	verified[prodHost+" blob GET"]++
	verified[prodStorage+" blob GET"]++
	holdTable(t, "plan", seen, verified)
}
