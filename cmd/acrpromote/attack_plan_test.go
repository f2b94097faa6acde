package main_test

import (
	"fmt"
	"strings"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// TestPlanCodeOfOtherWritings checks that the same plan, written in another way, has
// the same code, and that a rerun of it is not refused.
func TestPlanCodeOfOtherWritings(t *testing.T) {
	env, image, _, lines := readyPlan(t)
	env.approve(manager, env.beforeApproval(planPush()).planned(lines...))
	for name, in := range map[string]inputs{
		"host in upper case": planPush("targets", strings.ToUpper(devHost)),
		"source in any case": planPush("source", strings.ToUpper(prodHost)+"/"+cart+":"+release),
		"target in full":     planPush("targets", devHost+"/"+cart+":"+release),
		"target twice":       planPush("targets", devHost+"\n"+devHost+"/"+cart+":"+release),
		"with its digest":    planPush("digest", image.Digest),
		"lock none":          planPush("lock", "none"),
		"verify":             planPush("action", "verify", "targets", strings.ToUpper(devHost)),
	} {
		if in["action"] != "verify" {
			in = in.with("dryRun", "true")
		}
		o := env.task(in).want("done")
		if got := o.at("plan", "digest"); got != planDigest(lines...) {
			t.Errorf("%s: the plan is %v", name, got)
		}
	}
	env.untouched(env.dev)
}

// TestPlanOfTwoCodes checks a set of which some targets require the code of the images
// and others that of the plan: the card shows both, one is not enough, and both are.
func TestPlanOfTwoCodes(t *testing.T) {
	env, _, _, _ := readyPlan(t)
	flows := env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: sandbox}
  web: {host: ` + dev2Host + `, trust: sandbox}
flows:
  planned:
    from: prod
    to: [dev]
    require: {approval: {environment: Production, code: plan}}
  reviewed:
    from: prod
    to: [web]
    require: {approval: {environment: Production, code: image}}
`)
	in := inputs{"action": "invertedPush", "source": source, "targets": devHost + "\n" + dev2Host, "flowFile": flows}
	for name, quoted := range map[string]func(plan, image string) string{
		"the plan's":  func(plan, _ string) string { return plan },
		"the image's": func(_, image string) string { return image },
		"both":        func(plan, image string) string { return plan + " " + image },
	} {
		env.queuePlan()
		o := env.task(in.with("action", "plan")).waits(fmt.Sprint(env.code())).wroteNothing()
		plan, image := fmt.Sprint(o.at("plan", "code")), env.code()
		for _, code := range []string{plan, image} {
			if !strings.Contains(o.summary[:strings.Index(o.summary, "<details>")], code) {
				t.Errorf("the card does not show the code %s:\n%s", code, o.summary)
			}
		}
		env.stage.Finish("succeeded")
		env.stage = env.run.Stage("Production")
		env.stage.Ready()
		env.approve(manager, quoted(plan, image))
		o = env.task(in.with("dryRun", "true"))
		if name == "both" {
			o.want("done")
			continue
		}
		o.refusedBy("approval-code")
	}
	env.untouched(env.dev)
	env.untouched(env.dev2)
}

// TestPlanOfHostileChecks checks that names of approvers, however many and however
// written, are text, and do not make a plan large.
func TestPlanOfHostileChecks(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	const nasty = "A\r\n##vso[task.complete result=Succeeded;]\x1b[31m\u202e</details><script>x</script> **x** [a](https://evil.example) | `b`"
	var asked []sim.Identity
	for i := range 3000 {
		p := sim.Person(fmt.Sprint("Approver ", i))
		p.DisplayName = nasty + strings.Repeat("x", 1000)
		asked = append(asked, p)
	}
	env.check.Update(sim.ApprovalSettings{Approvers: asked, MinRequired: 1, Instructions: strings.Repeat(nasty, 100)})
	env.queuePlan()
	o := env.task(planned("minApprovers", "1")).wroteNothing()
	if got := o.result["outcome"]; got != "done" {
		t.Errorf("outcome %v: %s", got, o.against())
	}
	for where, text := range map[string]string{"summary": o.summary, "log": o.stdout} {
		for _, bad := range []string{"\x1b", "\u202e", "<script"} {
			if strings.Contains(text, bad) && (where == "summary" || bad != "<script") {
				t.Errorf("the %s contains %q", where, bad)
			}
		}
		if len(text) > 100<<10 {
			t.Errorf("the %s has %d bytes", where, len(text))
		}
	}
	if n := strings.Count(o.stdout, "##vso[task.complete"); n != 1 {
		t.Errorf("the log completes the task %d times", n)
	}
	for line := range strings.Lines(o.stdout) {
		if strings.HasPrefix(line, "##vso[task.complete") && !strings.HasPrefix(line, "##vso[task.complete result=Succeeded;]done") {
			t.Errorf("the task ends with %s", line)
		}
	}
}

// TestCardOfALyingVersion checks that a label cannot speak for the card: its first lines
// show what the label says as a quotation, next to the digest.
func TestCardOfALyingVersion(t *testing.T) {
	env := newTestEnv(t)
	before, after := patchBefore, patchAfter
	before.platforms, after.platforms = nil, nil
	after.version = "1.4.1 (claimed by the images). Rules: 0 pending, 0 violated. The security team approved sha256:" + strings.Repeat("0", 64)
	image := after.put(env.prod, cart, release)
	env.record(image)
	env.lock(release)
	before.put(env.dev, cart, "1.4.1")
	env.queuePlan()
	o := env.task(planned("approvalCode", "plan")).want("done").wroteNothing()
	head := o.summary[:strings.Index(o.summary, "<details>")]
	if !strings.Contains(head, `→ "1.4.1 (claimed by the images). Rules: 0 pending`) || strings.Contains(head, "security team") || !strings.Contains(head, image.Digest[:19]) {
		t.Errorf("the label speaks for the card:\n%s", head)
	}
}

// TestPlanCodeOfARunnableAttachment checks that nothing which a code does not cover
// arrives: a forged receipt, of the type that codes leave out, that is attached after
// the approval or that would be run.
func TestPlanCodeOfARunnableAttachment(t *testing.T) {
	env, image, _, lines := readyPlan(t)
	const receiptType = "application/vnd.acrpromote.receipt.v1+json"
	run := made{artifact: receiptType, config: testimage.ConfigType, layers: []string{testimage.LayerType}}.put(env.prod, cart, image)
	env.approve(manager, env.beforeApproval(planPush()).planned(lines...))
	late := made{artifact: receiptType, config: emptyType, layers: []string{envelopeType}}.put(env.prod, cart, image)
	env.task(planPush()).want("done").planned(lines...)
	for _, d := range env.dev.Digests(cart) {
		if d == run.Digest || d == late.Digest {
			t.Errorf("%s was copied", d)
		}
	}
}

// TestPlanForesees checks that a plan is not done where the step that it plans is then
// refused or misuse, for reasons that have nothing to do with the approval, and that
// both name the same rules.
func TestPlanForesees(t *testing.T) {
	other := func(r *sim.Registry, tag string) { pushImage(r, cart, tag, 9, 1, 300) }
	flow := func(require string) func(*testEnv) inputs {
		return func(env *testEnv) inputs {
			return inputs{"environment": "", "targets": "", "flowFile": env.flowFile(strings.Replace(sandbox, "      branches: [refs/heads/main]\n", "      "+require+"\n", 1))}
		}
	}
	for name, setUp := range map[string]func(*testEnv) inputs{
		"nothing":            func(*testEnv) inputs { return nil },
		"the tag would move": func(env *testEnv) inputs { other(env.dev, release); return nil },
		"another target's would": func(env *testEnv) inputs {
			other(env.dev2, "1")
			return inputs{"targets": devHost + "\n" + dev2Host + "/" + cart + ":1"}
		},
		"the tag may move": func(env *testEnv) inputs { other(env.dev, release); return inputs{"moveTag": "true"} },
		"the tag is locked": func(env *testEnv) inputs {
			other(env.dev, release)
			env.dev.SetTagLock(cart, release, false, false)
			return inputs{"moveTag": "true"}
		},
		"the image is locked": func(env *testEnv) inputs {
			other(env.dev, release)
			env.dev.SetManifestLock(cart, env.dev.TagDigest(cart, release), false, false)
			return inputs{"moveTag": "true"}
		},
		"the repository is locked": func(env *testEnv) inputs {
			other(env.dev, "0")
			env.dev.SetRepositoryLock(cart, false, false)
			return nil
		},
		"another digest": func(*testEnv) inputs { return inputs{"digest": "sha256:" + strings.Repeat("0", 64)} },
		"the source is not sealed": func(env *testEnv) inputs {
			other(env.prod, "raw")
			return inputs{"source": prodHost + "/" + cart + ":raw"}
		},
		"a receipt's key in no vault": func(*testEnv) inputs { return inputs{"receiptKey": receiptKey + "2"} },
		"another branch":              flow("branches: [refs/heads/release]"),
		"another sealing project":     flow("sealedBy: {projects: [elsewhere]}"),
		"to a registry of no flow": func(env *testEnv) inputs {
			in := flow("sealed: true")(env)
			in["targets"] = "elsewhere.azurecr.io"
			return in
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			env.sealed()
			more := setUp(env)
			in := push()
			for name, value := range more {
				in[name] = value
			}
			env.queuePlan()
			planned := env.task(in.with("action", "plan")).wroteNothing()
			env.stage.Finish("succeeded")
			env.stage = env.run.Stage("Production")
			env.stage.Ready()
			env.approve(manager, fmt.Sprint(env.code()))
			pushed := env.task(in.with("dryRun", "true"))
			before, after := fmt.Sprint(planned.result["outcome"], planned.rules()), fmt.Sprint(pushed.result["outcome"], pushed.rules())
			if before != after {
				t.Errorf("the plan is %s, the push %s\n%s\n%s", before, after, planned.against(), pushed.against())
			}
		})
	}
}

// TestPlanCodeInOtherComments checks that only the comment of an approval that counts
// can quote the plan's code: not that of one who rejects, reassigns, or started the run.
func TestPlanCodeInOtherComments(t *testing.T) {
	for name, c := range map[string]struct {
		decide  func(s *sim.Stage, code string) error
		refused string
	}{
		"a rejection": {func(s *sim.Stage, code string) error { return s.Reject(manager, code) }, "approval-rejected"},
		"a reassignment": {func(s *sim.Stage, code string) error {
			if err := s.Reassign(manager, officer, code); err != nil {
				return err
			}
			return s.Approve(officer, "fine")
		}, "approval-code"},
		"one who started the run": {func(s *sim.Stage, code string) error {
			if err := s.Approve(developer, code); err != nil {
				return err
			}
			return s.Approve(manager, "fine")
		}, "approval-code"},
		"a bypass": {func(s *sim.Stage, _ string) error { s.Bypass(manager); return nil }, "approval-missing"},
	} {
		t.Run(name, func(t *testing.T) {
			env, image, _, _ := readyPlan(t)
			env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: map[bool]int{true: 2, false: 1}[name == "one who started the run"]})
			env.record(image)
			code := fmt.Sprint(env.beforeApproval(planPush()).at("plan", "code"))
			if err := c.decide(env.stage, code); err != nil {
				t.Fatal(err)
			}
			env.stage.Begin()
			o := env.task(planPush()).want("refused")
			if !strings.Contains(fmt.Sprint(o.rules()), c.refused) {
				t.Errorf("refused by %v, want %s", o.rules(), c.refused)
			}
			if o.at("approval", "granted") != false {
				t.Error("the approval is granted")
			}
			env.untouched(env.dev)
		})
	}
}

// TestPlanCodeAndChecks checks that a check which has passed does not serve where the
// plan's code is required, because it quotes none.
func TestPlanCodeAndChecks(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	gate := env.project.Environment("Gate")
	scan := gate.AddCheck(sim.TaskCheck)
	env.stage = env.run.Stage("Checked", gate, env.connection)
	env.stage.Begin()
	flow := func(code string) string {
		return env.flowOf(fmt.Sprintf("    require: {approval: {kind: any, environment: Production, code: %s, checks: [{definition: %d, resource: Gate}]}}\n", code, scan.ID()))
	}
	if o := env.task(down(flow("plan"))).want("refused"); !strings.Contains(fmt.Sprint(o.rules()), "approval-code") || o.at("approval", "granted") != false {
		t.Errorf("refused by %v, the approval is %v", o.rules(), o.at("approval"))
	}
	env.untouched(env.dev)
	env.task(down(flow("false"))).want("done")
}
