package main_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// strict is a flow with every rule that an input could relax.
const strict = `version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production, immutable: true}
  dev: {host: ` + devHost + `, trust: sandbox}
flows:
  strict:
    from: prod
    to: [dev]
    repositories: [shop/**]
    lock: tag
    require:
      approval:
        environment: Production
        minApprovers: 2
        maxAge: 1h
        code: true
        commentPattern: CHG[0-9]+
        approvers: [release.manager@example.com, security.officer@example.com]
      sealed: true
  lax:
    from: prod
    to: [dev]
    repositories: [tools/**]
    require: {approval: {kind: any, environment: Production, checks: [{definition: 999, resource: Production}]}, sealed: false}
`

// TestInputsCannotRelax checks that each rule of a flow holds whatever the input
// says, and that an input that would relax it is reported.
func TestInputsCannotRelax(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 1, 300)
	env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer, officer}, MinRequired: 1})
	env.clock.set(-2 * time.Hour)
	env.approve(developer, "fine")
	env.clock.set(0)
	flows := env.flowFile(strict)
	base := inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": flows}
	hard := env.task(base).want("refused")
	for _, rule := range []string{"min-approvers", "requester-approved", "approval-too-old", "approval-code", "comment-pattern", "approver-not-listed", "not-sealed"} {
		if !strings.Contains(strings.Join(hard.rules(), " "), rule) {
			t.Errorf("the flow alone is refused by %v, without %s", hard.rules(), rule)
		}
	}
	for _, soft := range [][2]string{
		{"minApprovers", "1"}, {"requesterCanApprove", "true"}, {"approvalMaxAge", "100h"}, {"approvalCode", "false"},
		{"sealed", "false"}, {"approval", "none"}, {"approval", "any"},
	} {
		o := env.task(base.with(soft[0], soft[1])).want("refused")
		if strings.Join(o.rules(), " ") != strings.Join(hard.rules(), " ") {
			t.Errorf("%s=%s: refused by %v, want %v", soft[0], soft[1], o.rules(), hard.rules())
		}
		if !strings.Contains(strings.Join(o.warnings, "\n"), "The input "+soft[0]+" is ") {
			t.Errorf("%s=%s: no warning that it is ignored: %q", soft[0], soft[1], o.warnings)
		}
	}
	// Another pattern is required in addition, not instead.
	env.task(base.with("commentPattern", ".*")).want("refused").says("CHG[0-9]+")
	// An input that contradicts the flow is misuse.
	for _, other := range [][2]string{{"environment", "Elsewhere"}, {"approval", "automated"}, {"approvers", "developer@example.com"}} {
		env.task(base.with(other[0], other[1])).want("misuse")
	}
}

// TestInputsCanTighten checks that an input's rule holds if the flow is more
// lenient.
func TestInputsCanTighten(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, "tools/lint", "1", 1, 1, 300)
	env.clock.set(-2 * time.Hour)
	env.approve(manager, "fine")
	env.clock.set(0)
	flows := env.flowFile(strict)
	base := inputs{"action": "verify", "source": prodHost + "/tools/lint:1", "targets": devHost, "flowFile": flows}
	env.task(base).want("done")
	for _, c := range [][3]string{
		{"minApprovers", "2", "min-approvers"}, {"approvers", "security.officer@example.com", "approver-not-listed"},
		{"approvalMaxAge", "1h", "approval-too-old"}, {"commentPattern", "CHG", "comment-pattern"}, {"approvalCode", "true", "approval-code"},
		{"sealed", "true", "not-sealed"}, {"approval", "automated", "automated-check"},
	} {
		o := env.task(base.with(c[0], c[1])).want("refused")
		if !strings.Contains(strings.Join(o.rules(), " "), c[2]) {
			t.Errorf("%s=%s: refused by %v, want %s", c[0], c[1], o.rules(), c[2])
		}
	}
	env.task(base.with("action", "invertedPush", "lock", "tag")).want("done")
	if a, _ := env.dev.TagAttributes("tools/lint", "1"); a.Write || a.Delete {
		t.Errorf("the input lock did not lock: %+v", a)
	}
}

// TestFlowLockHolds checks that an input cannot remove the flow's lock.
func TestFlowLockHolds(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, "tools/lint", "1", 1, 1, 300)
	env.ready()
	flows := env.flowFile(strings.Replace(sandbox, "    repositories: [\"base/*\"]\n", "    repositories: [\"tools/*\"]\n    lock: tag\n", 1))
	o := env.task(inputs{"action": "invertedPush", "source": prodHost + "/tools/lint:1", "flowFile": flows, "lock": "none"}).want("done")
	if a, _ := env.dev.TagAttributes("tools/lint", "1"); a.Write || !strings.Contains(strings.Join(o.warnings, "\n"), "The input lock is none") {
		t.Errorf("locked %v; warnings %q", !a.Write, o.warnings)
	}
}

// TestCoverage checks that an image that no flow covers is refused before any
// request to a registry.
func TestCoverage(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 1, 300)
	env.ready()
	flows := env.flowFile(sandbox)
	push := inputs{"action": "invertedPush", "flowFile": flows}
	for _, c := range []struct {
		in    inputs
		rules string
		says  string
	}{
		{push.with("source", prodHost+"/other/x:1", "targets", devHost), "not-in-flow", "shop/**"},
		{push.with("source", prodHost+"/other/x:1"), "not-in-flow", "shop/**"},
		{push.with("source", source, "targets", "contosoother.azurecr.io"), "not-in-flow", "contosoother.azurecr.io"},
		{push.with("source", "contosoother.azurecr.io/shop/cart:1", "targets", devHost), "not-in-flow", "contosoother.azurecr.io"},
		{push.with("source", source, "targets", devHost+"/elsewhere"), "not-in-flow", "elsewhere"},
		{push.with("source", source, "targets", devHost+"/"+cart+":other"), "not-in-flow", "other"},
		{push.with("source", source, "targets", devHost, "flow", "base"), "not-in-flow", "base/*"},
		{push.with("source", devHost+"/"+cart+":1", "targets", prodHost), "upward", "trust"},
		{push.with("source", devHost+"/"+cart+":1", "targets", prodHost, "action", "promote"), "upward", "trust"},
		{push.with("source", source, "targets", devHost, "action", "promote"), "not-in-flow", "invertedPush"},
		{push.with("flow", "released", "images", "other/x:1\nshop/cart:"+release), "not-in-flow", "other/x"},
	} {
		o := env.task(c.in).want("refused").says(c.says)
		if !strings.Contains(strings.Join(o.rules(), " "), c.rules) {
			t.Errorf("%v: refused by %v, want %s", c.in, o.rules(), c.rules)
		}
		if o.at("approval", "granted") != false && o.at("approval", "kind") == "none" {
			t.Errorf("%v: nothing says that no approval is required: %v", c.in, o.at("approval"))
		}
	}
	env.task(push.with("source", source, "targets", devHost, "flow", "relased")).want("misuse").says("released")
	// Several problems are reported at once.
	env.task(push.with("source", source, "targets", devHost+"/elsewhere\n"+dev2Host+"/"+cart+":other")).want("refused").says("elsewhere", "other")
}

// TestAttachedDemands checks the attached artifacts that a flow requires, by type,
// count, age and subject.
func TestAttachedDemands(t *testing.T) {
	env := newTestEnv(t)
	image := pushIndex(env.prod, cart, release, 1)
	env.record(image)
	env.lock(release)
	env.ready()
	demanding := func(attached string) inputs {
		content := strings.Replace(sandbox, "      branches: [refs/heads/main]\n", "      branches: [refs/heads/main]\n      attached: ["+attached+"]\n", 1)
		return inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": env.flowFile(content)}
	}
	const spdx, scan = "application/spdx+json", "application/vnd.example.scan+json"
	env.task(demanding("{artifactType: "+spdx+"}")).refusedBy("attached-missing").says(spdx, "0 of")
	attach := func(ago time.Duration, subject descriptor, artifactType, content string) {
		env.clock.set(-ago)
		testimage.Attach(env.prod, cart, subject, artifactType, []byte(content))
		env.clock.set(0)
	}
	const before = time.Hour // the approval
	attach(before, image, spdx, `{"n":1}`)
	env.task(demanding("{artifactType: " + spdx + "}")).want("done")
	env.task(demanding("{artifactType: " + spdx + ", count: 2}")).refusedBy("attached-missing").says("1 of")
	attach(before, image, spdx, `{"n":2}`)
	env.task(demanding("{artifactType: " + spdx + ", count: 2}")).want("done")

	attach(48*time.Hour, image, scan, `{"old":true}`)
	env.task(demanding("{artifactType: " + scan + "}")).want("done")
	env.task(demanding("{artifactType: " + scan + ", maxAge: 24h}")).refusedBy("attached-missing").says("24h")
	attach(before, image, scan, `{"new":true}`)
	env.task(demanding("{artifactType: " + scan + ", maxAge: 24h}")).want("done")

	each := "{artifactType: " + scan + ", on: children}"
	env.task(demanding(each)).refusedBy("attached-missing")
	for i := range 2 {
		attach(before, testimage.Of(child(1, i)), scan, `{}`)
		o := env.task(demanding(each))
		if i == 0 {
			o.refusedBy("attached-missing")
			continue
		}
		o.want("done")
	}
	// Two missing artifacts are reported together, and other rules with them.
	env.task(demanding("{artifactType: a/b}, {artifactType: c/d}").with("minApprovers", "2")).refusedBy("attached-missing", "min-approvers").says("a/b", "c/d")
}

// TestDemandsOfWhatIsCopied checks that an attached artifact satisfies a flow only if
// it would be copied with the image: not one that was attached after the approval, even
// if a target has it, nor one that a container engine would run or that the flow leaves
// behind.
func TestDemandsOfWhatIsCopied(t *testing.T) {
	const spdx = "application/spdx+json"
	sbom := made{artifact: spdx, config: emptyType, layers: []string{spdx}}
	second := made{artifact: spdx, config: emptyType, layers: []string{spdx, spdx}}
	for _, c := range []struct {
		name        string
		early, late []made
		referrers   string // of the flow
		demand      string // more of it
		in          inputs
		prepare     func(env *testEnv, image descriptor)
		says        string // empty: it is done
	}{
		{name: "attached before the approval", early: []made{sbom}},
		{name: "attached after it", late: []made{sbom}, says: "after the first approval that counts was given"},
		{name: "attached after it, without copying", late: []made{sbom}, in: inputs{"referrers": "false"}, says: "after the first approval that counts was given"},
		{name: "attached before it, without copying", early: []made{sbom}, in: inputs{"referrers": "false"}},
		{name: "attached after it, and the target has it", late: []made{sbom}, says: "after the first approval that counts was given",
			prepare: func(env *testEnv, image descriptor) {
				pushImage(env.dev, cart, release, 1, 1, 1024)
				sbom.put(env.dev, cart, image)
			}},
		{name: "attached after it, in a flow that brings it", late: []made{sbom}, referrers: "{afterApproval: bring}"},
		{name: "one of two attached after it", early: []made{sbom}, late: []made{second}, demand: ", count: 2", says: "1 of type"},
		{name: "one of two attached after it, and one is enough", early: []made{second}, late: []made{sbom}},
		{name: "the newest attached after it", early: []made{sbom}, late: []made{second}, demand: ", maxAge: 30m", says: "the newest"},
		{name: "a runnable one", early: []made{{artifact: spdx, config: testimage.ConfigType, layers: []string{testimage.LayerType}}}, says: wouldRun},
		{name: "a runnable one, without copying", early: []made{{artifact: spdx, config: testimage.ConfigType, layers: []string{testimage.LayerType}}}, in: inputs{"referrers": "false"}, says: wouldRun},
		{name: "a runnable one and another", early: []made{{artifact: spdx, config: testimage.ConfigType, layers: []string{testimage.LayerType}}, sbom}},
		{name: "an excluded one", early: []made{sbom}, referrers: "{exclude: [Application/SPDX+JSON]}", says: "the flow excludes its type"},
		{name: "one without a readable time", early: []made{sbom}, says: "does not say when it was attached",
			prepare: func(env *testEnv, image descriptor) {
				env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
					found := strings.HasPrefix(r.URL.Path, "/acr/v1/") && strings.Contains(r.URL.Path, "/_manifests/")
					if found {
						w.WriteHeader(http.StatusNotFound)
					}
					return found
				})
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			env.clock.set(-time.Hour)
			image := pushImage(env.prod, cart, release, 1, 1, 1024)
			for _, m := range c.early {
				m.put(env.prod, cart, image)
			}
			env.clock.set(0)
			env.approve(manager, "")
			for _, m := range c.late {
				m.put(env.prod, cart, image)
			}
			if c.prepare != nil {
				c.prepare(env, image)
			}
			more := "    require: {approval: {kind: manual, environment: Production}, sealed: false, attached: [{artifactType: " + spdx + c.demand + "}]}\n"
			if c.referrers != "" {
				more += "    referrers: " + c.referrers + "\n"
			}
			in := down(env.flowOf(more))
			for name, value := range c.in {
				in = in.with(name, value)
			}
			had := env.dev.Digests(cart)
			o := env.task(in)
			if c.says == "" {
				o.want("done")
				env.task(in).want("done").wantStates("present")
				return
			}
			o.refusedBy("attached-missing").says(c.says)
			if got := env.dev.Digests(cart); !slices.Equal(got, had) {
				t.Errorf("DEV has %v, had %v", got, had)
			}
		})
	}
}

// TestAutomated tests approvals by checks that the flow names.
func TestAutomated(t *testing.T) {
	const rest = "9c3e8943-130d-4c78-ac63-8af81df62dfb"
	type office struct {
		env         *testEnv
		scan, hours *sim.Check
	}
	named := func(env *testEnv, checks string) inputs {
		content := strings.Replace(sandbox, "{kind: manual, environment: Production}", "{kind: automated, checks: ["+checks+"]}", 1)
		content = strings.Replace(content, "onPartial: warn", "lock: none", 1)
		return inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": env.flowFile(content)}
	}
	id := func(c *sim.Check) string { return "{definition: " + strconv.Itoa(c.ID()) + ", resource: Gate}" }
	for _, c := range []struct {
		name   string
		do     func(o *office)
		checks func(o *office) string
		rules  string
		says   string
	}{
		{"by configuration id", nil, func(o *office) string { return id(o.scan) }, "", ""},
		{"by the task's GUID", nil, func(o *office) string { return "{definition: " + rest + ", resource: Gate}" }, "", ""},
		{"with business hours as well", nil, func(o *office) string { return id(o.scan) + ", " + id(o.hours) }, "", ""},
		{"only business hours", nil, func(o *office) string { return id(o.hours) }, "automated-check", "time of day"},
		{"a check that was not evaluated", nil, func(o *office) string { return "{definition: 4711, resource: Gate}" }, "automated-check", "not evaluated"},
		{"on another resource", nil, func(o *office) string { return strings.Replace(id(o.scan), "Gate", "Elsewhere", 1) }, "automated-check", "Elsewhere"},
		{"failed", func(o *office) { _ = o.env.stage.SetCheck(o.scan, "rejected") }, func(o *office) string { return id(o.scan) }, "approval-unreadable", "rejected"},
		{"disabled since", func(o *office) { o.scan.Disable() }, func(o *office) string { return id(o.scan) }, "automated-check", "disabled"},
		{"changed since", func(o *office) { o.scan.Disable(); o.scan.Enable() }, func(o *office) string { return id(o.scan) }, "automated-check", "version"},
		{"configuration unreadable, by the task's GUID", func(o *office) { o.env.project.Deny(sim.Configurations) }, func(o *office) string { return "{definition: " + rest + ", resource: Gate}" }, "automated-check", "not evaluated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			gate := env.project.Environment("Gate")
			o := &office{env: env, scan: gate.AddCheck(sim.TaskCheck), hours: gate.AddCheck(sim.BusinessHours)}
			image := pushImage(env.prod, cart, release, 1, 1, 300)
			env.record(image)
			env.lock(release)
			env.stage = env.run.Stage("Checked", gate, env.connection)
			env.stage.Begin()
			if c.do != nil {
				c.do(o)
			}
			got := env.task(named(env, c.checks(o)))
			if c.rules == "" {
				got.want("done")
				if got.at("approval", "kind") != "automated" || got.at("approval", "granted") != true {
					t.Errorf("approval %v", got.at("approval"))
				}
				return
			}
			got.want("refused").says(c.says)
			if !strings.Contains(strings.Join(got.rules(), " "), c.rules) {
				t.Errorf("refused by %v, want %s", got.rules(), c.rules)
			}
		})
	}
	t.Run("a stage without checks", func(t *testing.T) {
		env := newTestEnv(t)
		image := pushImage(env.prod, cart, release, 1, 1, 300)
		env.record(image)
		env.lock(release)
		env.stage = env.run.Stage("Bare", env.connection)
		env.stage.Begin()
		env.task(named(env, "{definition: 7, resource: Gate}")).refusedBy("automated-check")
	})
	t.Run("an approval by the requester, named as a check", func(t *testing.T) {
		env := newTestEnv(t)
		image := pushImage(env.prod, cart, release, 1, 1, 300)
		env.record(image)
		env.lock(release)
		env.approve(developer, "my own work")
		check := "{definition: " + strconv.Itoa(env.check.ID()) + ", resource: Production}"
		env.task(named(env, check)).refusedBy("automated-check").says("an approval by people")
	})
	t.Run("sealed after it passed", func(t *testing.T) {
		env := newTestEnv(t)
		gate := env.project.Environment("Gate")
		scan := gate.AddCheck(sim.TaskCheck)
		env.stage = env.run.Stage("Checked", gate, env.connection)
		env.stage.Begin()
		time.Sleep(5 * time.Millisecond)
		image := pushImage(env.prod, cart, release, 1, 1, 300)
		env.record(image)
		env.lock(release)
		env.task(named(env, id(scan))).refusedBy("changed-since-approval")
	})
}
