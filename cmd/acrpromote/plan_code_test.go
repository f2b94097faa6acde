package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// planDigest computes the digest of a plan independently of the program, from its
// lines.
func planDigest(lines ...string) string { return testimage.Digest([]byte(planText(lines...))) }

// planText returns the lines of a plan, grouped and sorted.
func planText(lines ...string) string {
	groups := map[string][]string{}
	for _, l := range lines {
		kind, _, _ := strings.Cut(l, " ")
		groups[kind] = append(groups[kind], l)
	}
	text := "acrpromote/plan/v1\n"
	for _, kind := range []string{"image", "target", "attached"} {
		slices.Sort(groups[kind])
		for _, l := range slices.Compact(groups[kind]) {
			text += l + "\n"
		}
	}
	return text
}

func imageLine(repository string, d descriptor) string {
	return "image " + prodHost + "/" + repository + "@" + d.Digest
}

func targetLine(d descriptor, target, lock string) string {
	return "target " + d.Digest + " " + target + " lock=" + lock
}

func attachedLine(d, subject descriptor) string {
	return "attached " + d.Digest + " " + subject.Digest
}

// planned returns the plan's code in result.json, and fails the test unless it is that
// of the lines.
func (o outcome) planned(lines ...string) string {
	o.t.Helper()
	digest, got := planDigest(lines...), o.at("plan")
	if p, _ := got.(map[string]any); p["digest"] != digest || p["code"] != code(o.t, digest) {
		o.t.Fatalf("the plan is %v, want %s, %s, of\n%s\n%s", got, digest, code(o.t, digest), strings.Join(lines, "\n"), o.stdout)
	}
	return code(o.t, digest)
}

// planPush is push with the plan's code.
func planPush(more ...string) inputs { return push("approvalCode", "plan").with(more...) }

// beforeApproval runs the step in a stage before Production, whose approval nobody has
// given yet.
func (env *testEnv) beforeApproval(in inputs) outcome {
	env.t.Helper()
	stage := env.run.Stage("Plan", env.connection)
	stage.Begin()
	return env.taskOf(stage, in.with("approvalStage", "Production")).refusedBy("approval-pending")
}

// readyPlan pushes and seals an image with an SBOM, and returns both with the seal
// record and the lines of the plan to push the image to DEV.
func readyPlan(t *testing.T) (env *testEnv, image, sbom descriptor, lines []string) {
	env = newTestEnv(t)
	image = pushImage(env.prod, cart, release, 1, 2, 2048)
	record := env.record(image)
	env.lock(release)
	sbom = orasSBOM.put(env.prod, cart, image)
	return env, image, sbom, []string{
		imageLine(cart, image), targetLine(image, devHost+"/"+cart+":"+release, "none"), attachedLine(record, image), attachedLine(sbom, image),
	}
}

// TestPlanCode checks that the plan's code is shown before the approval, that a comment
// which quotes it is enough, and that nothing observed is part of it.
func TestPlanCode(t *testing.T) {
	env, image, sbom, lines := readyPlan(t)
	sig := signature.under(image, ".sig").put(env.prod, cart, image)
	lines = append(lines, attachedLine(sig, image))
	// What never travels is not in the plan.
	runnable := program.put(env.prod, cart, image)
	receipt := made{artifact: "application/vnd.acrpromote.receipt.v1+json", config: emptyType, layers: []string{envelopeType}}.put(env.prod, cart, image)
	before := env.beforeApproval(planPush())
	want := before.planned(lines...)
	if got := env.task(push()).at("plan"); got != nil {
		t.Errorf("without approvalCode plan, the plan is %v", got)
	}
	env.approve(manager, "released, "+strings.ToLower(want))
	late := orasSBOM.put(env.prod, cart, sbom)
	env.task(planPush("dryRun", "true")).want("done").planned(lines...)
	env.task(planPush("action", "verify")).want("done").planned(lines...)
	o := env.task(planPush()).want("done").wantStates("copied").wantAttached(late.Digest, "left", "after the first approval").wantAttached(runnable.Digest, "left", wouldRun)
	o.planned(lines...)
	if got := strings.Count(fmt.Sprint(o.at("images", 0, "attached")), "inPlan:true"); got != 3 {
		t.Errorf("%d attached artifacts are marked as part of the plan", got)
	}
	// This one is not a receipt that can be read, so it could say too much.
	o.wantAttached(receipt.Digest, "left", "what the receipt says is not known")
	// Nothing that was observed is in it: neither in a rerun nor after a partial push.
	env.task(planPush()).want("done").wantStates("present").planned(lines...)
	env.dev.RemoveTag(cart, release)
	env.task(planPush()).want("done").planned(lines...)
}

// TestPlanCodeRefuses checks that a change of each part of the plan after the approval
// refuses, and that neither code serves for the other.
func TestPlanCodeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(env *testEnv, image, sbom descriptor) inputs
		says   string
	}{
		"another target":   {func(*testEnv, descriptor, descriptor) inputs { return planPush("targets", dev2Host) }, "stale"},
		"a target more":    {func(*testEnv, descriptor, descriptor) inputs { return planPush("targets", devHost+"\n"+dev2Host) }, "stale"},
		"another tag":      {func(*testEnv, descriptor, descriptor) inputs { return planPush("targets", devHost+"/"+cart+":other") }, "stale"},
		"a lock":           {func(*testEnv, descriptor, descriptor) inputs { return planPush("lock", "tag") }, "stale"},
		"another lock":     {func(*testEnv, descriptor, descriptor) inputs { return planPush("lock", "image") }, "stale"},
		"nothing attached": {func(*testEnv, descriptor, descriptor) inputs { return planPush("referrers", "false") }, "stale"},
		"an artifact less": {func(env *testEnv, _, sbom descriptor) inputs {
			env.prod.RemoveManifest(cart, sbom.Digest)
			return planPush()
		}, "stale"},
		"the image's code":    {func(*testEnv, descriptor, descriptor) inputs { return push("approvalCode", "image") }, "does not quote the approval code"},
		"the image's as true": {func(*testEnv, descriptor, descriptor) inputs { return push("approvalCode", "true") }, "does not quote the approval code"},
	} {
		t.Run(name, func(t *testing.T) {
			env, image, sbom, lines := readyPlan(t)
			env.approve(manager, env.beforeApproval(planPush()).planned(lines...))
			o := env.task(c.change(env, image, sbom)).refusedBy("approval-code").says(c.says)
			if c.says == "stale" {
				o.says("the plan is stale", o.at("plan", "code").(string))
			}
			env.untouched(env.dev)
			env.untouched(env.dev2)
		})
	}
	t.Run("the image's code instead of the plan's", func(t *testing.T) {
		env, image, _, _ := readyPlan(t)
		env.approve(manager, code(t, image.Digest))
		env.task(planPush()).refusedBy("approval-code").says("quotes the code of the image and not that of the plan")
		env.task(push("approvalCode", "image", "dryRun", "true")).want("done")
	})
	t.Run("no code", func(t *testing.T) {
		env, _, _, lines := readyPlan(t)
		env.approve(manager, "fine")
		o := env.task(planPush()).refusedBy("approval-code")
		o.says("does not quote the plan's code " + o.planned(lines...))
	})
	t.Run("attached between the plan and the approval", func(t *testing.T) {
		env, image, _, lines := readyPlan(t)
		want := env.beforeApproval(planPush()).planned(lines...)
		more := made{config: "application/vnd.cncf.notary.signature", layers: []string{"application/cose"}}.put(env.prod, cart, image)
		env.approve(manager, want)
		o := env.task(planPush()).refusedBy("approval-code").says("the plan is stale")
		o.planned(append(lines, attachedLine(more, image))...)
	})
	t.Run("a digest tag moved after the approval", func(t *testing.T) {
		env, image, _, lines := readyPlan(t)
		sig := signature.under(image, ".sig").put(env.prod, cart, image)
		env.approve(manager, env.beforeApproval(planPush()).planned(append(lines, attachedLine(sig, image))...))
		moved := signature
		moved.layers = []string{testimage.SigningType, testimage.SigningType}
		moved.under(image, ".sig").put(env.prod, cart, image)
		// What was approved is no longer there. Without a valid code, the plan is the
		// one of now.
		env.task(planPush()).refusedBy("approval-code").says("the plan is stale")
	})
}

// TestPlanCodeOfTwoApprovers checks that both quote the code of the plan that the first
// of them approved.
func TestPlanCodeOfTwoApprovers(t *testing.T) {
	env, image, _, lines := readyPlan(t)
	env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager, officer}, MinRequired: 2})
	in := planPush("minApprovers", "2")
	first := env.beforeApproval(in).planned(lines...)
	if err := env.stage.Approve(manager, first); err != nil {
		t.Fatal(err)
	}
	more := made{config: "application/vnd.cncf.notary.signature", layers: []string{"application/cose"}}.put(env.prod, cart, image)
	env.beforeApproval(in)
	second := code(t, planDigest(append(slices.Clone(lines), attachedLine(more, image))...))
	env.approve(officer, second)
	env.task(in).refusedBy("approval-code", "min-approvers").says(first, "which quotes the code of another plan").planned(lines...)

	env.queue()
	if err := env.stage.Approve(manager, second); err != nil {
		t.Fatal(err)
	}
	env.approve(officer, second)
	env.task(in).want("done").planned(append(lines, attachedLine(more, image))...)
}

// TestPlanCodeInAFlow checks the key of the flow file, that the stricter of flow and
// input applies, and the names and locks of a flow.
func TestPlanCodeInAFlow(t *testing.T) {
	env, image, sbom, _ := readyPlan(t)
	flows := func(value string) string {
		text := strings.Replace(sandbox, "environment: Production}", "environment: Production, code: "+value+"}", 1)
		text = strings.Replace(text, "      branches: [refs/heads/main]\n", "", 1)
		text = strings.Replace(text, "    onPartial: warn\n", "    onPartial: warn\n    lock: tag\n    referrers: {exclude: ["+recordType+"]}\n", 1)
		return env.flowFile(text)
	}
	in := inputs{"action": "invertedPush", "source": prodHost + "/" + cart + ":" + release}
	lines := []string{imageLine(cart, image), targetLine(image, devHost+"/"+cart+":"+release, "tag"), targetLine(image, dev2Host+"/"+cart+":"+release, "tag"), attachedLine(sbom, image)}
	want := env.beforeApproval(in.with("flowFile", flows("plan"))).planned(lines...)
	env.approve(manager, want)
	env.task(in.with("flowFile", flows("image"))).refusedBy("approval-code").says(code(t, image.Digest))
	env.task(in.with("flowFile", flows("true"), "approvalCode", "plan", "dryRun", "true")).want("done").planned(lines...)
	env.task(in.with("flowFile", flows("false"), "approvalCode", "plan", "dryRun", "true")).want("done").planned(lines...)
	for _, laxer := range []string{"image", "true", "false"} {
		o := env.task(in.with("flowFile", flows("plan"), "approvalCode", laxer, "dryRun", "true")).want("done")
		o.planned(lines...)
		if !strings.Contains(strings.Join(o.warnings, "\n"), "which would relax flow released. It is ignored, and plan applies") {
			t.Errorf("%s: %q", laxer, o.warnings)
		}
	}
	env.task(in.with("flowFile", flows("plan"))).want("done").planned(lines...)
	env.task(in.with("flowFile", flows("plan"))).want("done").planned(lines...)
}

// TestPlanCodeAfterAPartialPush checks that a rerun after a target failed has the same
// code.
func TestPlanCodeAfterAPartialPush(t *testing.T) {
	env, image, _, lines := readyPlan(t)
	lines = append(lines, targetLine(image, dev2Host+"/"+cart+":"+release, "none"))
	in := planPush("targets", devHost+"\n"+dev2Host)
	env.approve(manager, env.beforeApproval(in).planned(lines...))
	env.dev2.Revoke(clientID)
	env.broken = true
	env.task(in).want("partial").planned(lines...)
	env.dev2.Grant(clientID, "**", sim.RepositoryWriter...)
	env.task(in).want("done").planned(lines...)
}

// TestPlanCodeOfASet checks that a set with several groups of rules has one plan.
func TestPlanCodeOfASet(t *testing.T) {
	env := newTestEnv(t)
	other := env.project.Environment("Payments")
	other.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{officer}, MinRequired: 1})
	env.run = env.project.QueueRun(sim.RunOptions{RequestedFor: developer, StartedAt: env.clock.now()})
	env.stage = env.run.Stage("Production", env.environment, other, env.connection)
	cart1, pay := pushImage(env.prod, cart, "1.0", 2, 1, 500), pushImage(env.prod, "shop/pay", "1.0", 3, 1, 500)
	flows := env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: sandbox}
  web: {host: ` + dev2Host + `, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev, web]
    teams: {dev: ["shop/cart"], web: ["shop/pay"]}
    as: {tag: "{tag}-r"}
    require: {approval: {environment: Production, code: plan}, sealed: false}
`)
	in := inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": "shop/cart:1.0\nshop/pay:1.0"}
	lines := []string{imageLine(cart, cart1), imageLine("shop/pay", pay), targetLine(cart1, devHost+"/"+cart+":1.0-r", "none"), targetLine(pay, dev2Host+"/shop/pay:1.0-r", "none")}
	want := env.beforeApproval(in).planned(lines...)
	if err := env.stage.Approve(officer, "fine"); err != nil {
		t.Fatal(err)
	}
	env.approve(manager, want)
	env.task(in.with("images", "shop/cart:1.0")).refusedBy("approval-code").says("the plan is stale")
	env.task(in).want("done").planned(lines...)
}

// TestPlanCodeOfParallelJobs checks that every job of a set computes the plan of the
// whole set, with what is attached to the images of the others.
func TestPlanCodeOfParallelJobs(t *testing.T) {
	const jobs, repositories = 3, 6
	env := newTestEnv(t)
	env.prod.Grant(clientID, "**", sim.CatalogLister...)
	var lines []string
	for i := range repositories {
		repository := "shop/app" + strconv.Itoa(i)
		image := pushImage(env.prod, repository, "1.0", 20+i, 1, 400)
		sbom := orasSBOM.put(env.prod, repository, image)
		if i < repositories-1 {
			lines = append(lines, imageLine(repository, image), targetLine(image, devHost+"/"+repository+":1.0", "none"), attachedLine(sbom, image))
		}
	}
	// No target subscribes to the last repository.
	flows := env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev]
    teams: {dev: ["shop/app0", "shop/app1", "shop/app2", "shop/app3", "shop/app4"]}
    require: {approval: {environment: Production, code: plan}, sealed: false}
`)
	in := inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": "shop/*:*"}
	want := env.beforeApproval(in).planned(lines...)
	env.approve(manager, want)
	late := orasSBOM.put(env.prod, "shop/app1", descriptor{MediaType: testimage.ManifestType, Digest: env.prod.TagDigest("shop/app1", "1.0"), Size: 1})
	whole := env.task(in.with("dryRun", "true")).want("done")
	for n := range jobs {
		o := env.task(in, func(e *fakeagent.Environment) {
			e.Parallel = &fakeagent.ParallelJob{Kind: "MultiMachine", Position: n + 1, Total: jobs}
		}).want("done")
		o.planned(lines...)
		if o.at("approvalCode") != whole.at("approvalCode") || o.output["digest"] != whole.output["digest"] {
			t.Errorf("job %d: the code of the images is %v, that of the whole set %v", n+1, o.at("approvalCode"), whole.at("approvalCode"))
		}
		others, _ := o.at("plan", "others").([]any)
		if images := o.at("images").([]any); len(images) == 0 || len(images) == repositories || len(others) != len(lines)-3*len(images) {
			t.Errorf("job %d has %d images, and %d lines of others", n+1, len(images), len(others))
		}
	}
	if slices.Contains(env.dev.Digests("shop/app1"), late.Digest) {
		t.Error("what was attached later was copied")
	}
}

// TestPlanCodeInARelease checks that a classic release takes it too.
func TestPlanCodeInARelease(t *testing.T) {
	env, _, _, lines := readyPlan(t)
	stage := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: env.run}).Stage("Production", sim.ReleaseStageOptions{Before: sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}})
	stage.Begin()
	want := env.taskOf(stage, planPush()).refusedBy("approval-pending").planned(lines...)
	if err := stage.Approve(manager, want); err != nil {
		t.Fatal(err)
	}
	env.taskOf(stage, planPush("lock", "tag")).refusedBy("approval-code").says("the plan is stale")
	env.taskOf(stage, planPush()).want("done").planned(lines...)
}

// TestCodeAtAPrompt checks the action code: it needs no network, and a changed,
// incomplete or foreign file is misuse.
func TestCodeAtAPrompt(t *testing.T) {
	env, image, _, lines := readyPlan(t)
	planned := env.task(planPush("dryRun", "true", "lock", "tag", "targets", devHost+"\n"+dev2Host+"/shop/other:2"))
	want := planned.at("plan", "code").(string)
	lines = append(lines[:1], append(lines[2:], targetLine(image, devHost+"/"+cart+":"+release, "tag"), targetLine(image, dev2Host+"/shop/other:2", "tag"))...)
	planned.planned(lines...)
	content, err := os.ReadFile(planned.output["report"])
	if err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, nil)
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("plan.json", string(content))
	cartDigest, payDigest := testimage.Digest([]byte("cart")), testimage.Digest([]byte("pay"))
	set := setDigest(cart+"@"+cartDigest, "shop/pay@"+payDigest)
	for _, c := range []struct {
		arguments          []string
		kind, digest, code string
	}{
		{[]string{image.Digest}, "image", image.Digest, code(t, image.Digest)},
		{[]string{cart + "@" + cartDigest, "shop/pay@" + payDigest}, "set", set, code(t, set)},
		{[]string{"shop/pay@" + payDigest, cart + "@" + cartDigest, cart + "@" + cartDigest}, "set", set, code(t, set)},
		{[]string{cart + "@" + cartDigest}, "set", setDigest(cart + "@" + cartDigest), code(t, setDigest(cart+"@"+cartDigest))},
		{[]string{"plan.json"}, "plan", planDigest(lines...), want},
	} {
		if o := p.run(append([]string{"code"}, c.arguments...)...).wantCode(0); o.stdout != c.code+"  "+c.kind+" "+c.digest+"\n" {
			t.Errorf("%q: %s", c.arguments, o.stdout)
		}
		o := p.run(append([]string{"code", "--output=json"}, c.arguments...)...).wantCode(0)
		if want := fmt.Sprintf("{\n  \"kind\": %q,\n  \"digest\": %q,\n  \"code\": %q\n}\n", c.kind, c.digest, c.code); o.stdout != want {
			t.Errorf("%q: %s", c.arguments, o.stdout)
		}
	}

	text := string(content)
	changed := func(old, replacement string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("result.json has no %q", old)
		}
		return strings.Replace(text, old, replacement, 1)
	}
	zero := "sha256:" + strings.Repeat("0", 64)
	for name, c := range map[string]struct{ content, says string }{
		"another digest":       {changed(`"digest": "`+image.Digest+`"`, `"digest": "`+zero+`"`), "the file was changed"},
		"another repository":   {changed(`"repository": "shop/other"`, `"repository": "shop/others"`), "the file was changed"},
		"another registry":     {changed(`"registry": "`+dev2Host, `"registry": "`+prodHost), "the file was changed"},
		"another tag":          {changed(`"tag": "2"`, `"tag": "3"`), "the file was changed"},
		"another lock":         {changed(`"locked": "tag"`, `"locked": "image"`), "the file was changed"},
		"no lock":              {changed(`"locked": "tag"`, `"lockde": "tag"`), "the file was changed"},
		"another code":         {changed(want, code(t, zero)), "the file was changed"},
		"an artifact less":     {strings.ReplaceAll(text, `"inPlan": true`, `"inPlan": false`), "the file was changed"},
		"an unknown lock":      {changed(`"locked": "tag"`, `"locked": "none\nimage x"`), "unknown lock"},
		"an invalid tag":       {changed(`"tag": "2"`, `"tag": "2\nattached"`), "invalid target"},
		"no valid digest":      {changed(`"digest": "`+image.Digest+`"`, `"digest": "sha256:1"`), "no valid digest"},
		"lines of others":      {changed(`"plan": {`, `"plan": {"others": ["x\nimage y"],`), "a line that plans do not have"},
		"another line more":    {changed(`"plan": {`, `"plan": {"others": ["image x"],`), "the file was changed"},
		"two lists of images":  {changed(`"images": [`, `"images": [], "images": [`), `has "images" twice`},
		"in another case":      {changed(`"images": [`, `"images": [], "Images": [`), `has "images" twice`},
		"two digests":          {changed(`"digest": "`+image.Digest+`"`, `"digest": "`+zero+`", "digest": "`+image.Digest+`"`), `has "digest" twice`},
		"cut":                  {text[:len(text)/2], "is not valid JSON"},
		"empty":                {"", "is not valid JSON"},
		"two documents":        {text + text, "is not valid JSON"},
		"of something else":    {`{"schema": "x"}`, "is not a result of acrpromote"},
		"a list":               {`[]`, "is not valid JSON, or not that of a result"},
		"without a plan":       {changed(`"plan": {`, `"pl": {`), "has no plan"},
		"of a step that wrote": {changed(`"dryRun": true`, `"dryRun": false`), "may have written"},
		"100 MB":               {text + strings.Repeat(" ", 100<<20), "is larger than"},
		"deep":                 {strings.Repeat("[", 1<<20), "is not valid JSON"},
	} {
		write("changed.json", c.content)
		o, used := p.measured("code", "changed.json")
		if o.wantCode(2); !strings.Contains(o.stderr, "misuse: ") || !strings.Contains(o.stderr, c.says) {
			t.Errorf("%s: %s%s", name, o.stdout, o.stderr)
		}
		if most := int64(200 << 20); !raceEnabled && used > most {
			t.Errorf("%s: %d MB of memory", name, used>>20)
		}
	}
	for _, arguments := range [][]string{
		{}, {"absent.json"}, {"."}, {"sha256:12"}, {image.Digest, image.Digest}, {image.Digest, "plan.json"}, {"plan.json", cart + "@" + cartDigest},
		{prodHost + "/" + cart + "@" + cartDigest}, {"Shop/cart@" + cartDigest}, {cart + "@sha256:12"}, {"plan.json", "--source", source + "x", "extra"}, {"--flowFile", "x"},
	} {
		if o := p.run(append([]string{"code"}, arguments...)...); o.code != 2 {
			t.Errorf("%q: exit code %d\n%s%s", arguments, o.code, o.stdout, o.stderr)
		}
	}
	if o := p.run("code", source).wantCode(2); !strings.Contains(o.stderr, "names an image by its tag") {
		t.Errorf("an image without its digest: %s", o.stderr)
	}
}

// publish leaves the lines of a plan in the run, as the step that plans does, under a
// code.
func (env *testEnv) publish(code string, lines ...string) {
	step := env.run.Stage("Plan", env.connection).Step("AcrPromote")
	step.AttachContent("acrpromote.plan", code, []byte(planText(lines...)))
	step.End("succeeded")
}

// TestStalePlan checks that a refusal says what has changed since the plan that an
// approver quotes, where the run has that plan.
func TestStalePlan(t *testing.T) {
	env, image, sbom, lines := readyPlan(t)
	approved := env.beforeApproval(planPush()).planned(lines...)
	hostile := []string{"image evil.example/\x1b[31m]/x@y", "image ##vso[task.complete]/x@y"}
	forged := code(t, planDigest(hostile...))
	env.publish(forged, hostile...)
	env.publish(approved, "image a/b@c") // replaced by the next
	env.publish(approved, lines...)
	env.publish("AAAA-AAAA-AAAA-AAAA-AAAA-AAA0", lines...)
	env.approve(manager, approved)
	for name, c := range map[string]struct {
		in   inputs
		says []string
	}{
		"a target more": {planPush("targets", devHost+"\n"+dev2Host), []string{"target " + dev2Host + "/" + cart + ":" + release + " (" + image.Digest + ", lock=none) added"}},
		"a lock":        {planPush("lock", "image"), []string{"target " + devHost + "/" + cart + ":" + release + ": " + image.Digest + ", lock=image instead of " + image.Digest + ", lock=none"}},
		"no referrers":  {planPush("referrers", "false"), []string{"attached artifact " + sbom.Digest + " (to " + image.Digest + ") removed"}},
	} {
		env.task(c.in).refusedBy("approval-code").says(append(c.says, "the plan is stale", "; compared with the plan "+approved+": ")...)
		if name == "a lock" {
			env.project.Deny(sim.Attachments)
			o := env.task(c.in).refusedBy("approval-code").says("the plan is stale")
			if strings.Contains(o.against(), "compared with") {
				t.Errorf("what cannot be read is compared:\n%s", o.against())
			}
			env.project.Allow(sim.Attachments)
		}
	}
	// A valid code needs no comparison, and nothing of it is read.
	o := env.task(planPush("dryRun", "true")).want("done")
	for _, r := range o.asked(devOpsHost) {
		if strings.Contains(strings.ToLower(r), "attachments") {
			t.Errorf("without a refusal: %s", r)
		}
	}
	for _, comment := range []string{forged, "AAAA-AAAA-AAAA-AAAA-AAAA-AAA0", "ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZ0"} {
		env.queue()
		env.publish(forged, hostile...)
		env.publish("AAAA-AAAA-AAAA-AAAA-AAAA-AAA0", lines...)
		env.approve(manager, comment)
		o := env.task(planPush()).refusedBy("approval-code").says("the plan is stale")
		if strings.Contains(o.against(), "compared with") {
			t.Errorf("%s: what is not that plan is compared:\n%s", comment, o.against())
		}
	}
	env.untouched(env.dev)
}

// TestPlanShowsItsCode checks that the action plan shows the code that the push then
// asks for, publishes what it covers, and that its result is enough to compute it.
func TestPlanShowsItsCode(t *testing.T) {
	env, image, sbom, lines := readyPlan(t)
	env.queuePlan()
	in := []string{"approvalCode", "plan", "lock", "none"}
	o := env.task(planned(in...))
	want := o.planned(lines...)
	o.waits("the comment must quote "+want).wantStates("planned").wroteNothing().wantAttached(sbom.Digest, "planned", "")
	if o.output["plan"] != planDigest(lines...) || o.plans[want] != planText(lines...) || len(o.plans) != 1 {
		t.Errorf("output %q, attachments %q", o.output["plan"], o.plans)
	}
	for _, text := range []string{o.stdout, o.summary} {
		if !strings.Contains(text, want) {
			t.Errorf("the code %s is not shown in\n%s", want, text)
		}
	}
	// The code is computed where it is not required, too.
	for _, value := range []string{"", "image"} {
		if o := env.task(planned("approvalCode", value)); o.planned(lines...) != want || strings.Contains(o.outcomes()["approval-missing"], want) {
			t.Errorf("approvalCode %q: %v", value, o.outcomes())
		}
	}
	p := newPerson(t, nil)
	if o := p.run("code", o.output["report"]).wantCode(0); o.stdout != want+"  plan "+planDigest(lines...)+"\n" {
		t.Errorf("code says %s", o.stdout)
	}

	env.stage.Finish("succeeded")
	env.stage = env.run.Stage("Production")
	env.stage.Ready()
	env.approve(manager, want)
	more := "target " + devHost + "/" + cart + ":" + release + ": " + image.Digest + ", lock=tag instead of " + image.Digest + ", lock=none"
	env.task(planPush("lock", "tag")).refusedBy("approval-code").says("the plan is stale", "compared with the plan "+want, more)
	if o := env.task(planPush()).want("done").wantStates("copied"); o.output["plan"] != planDigest(lines...) {
		t.Errorf("output %q", o.output["plan"])
	}
	// Planned again, with everything in place, it has the same code.
	env.queuePlan()
	env.task(planned(in...)).wantStates("present").planned(lines...)
}

// TestPlanOfAnUnreadableImage checks that there is no code for a plan that is not
// known.
func TestPlanOfAnUnreadableImage(t *testing.T) {
	env, _, _, _ := readyPlan(t)
	env.queuePlan()
	env.prod.RemoveTag(cart, release)
	if o := env.task(planned("approvalCode", "plan")).want("failed"); o.at("plan") != nil || len(o.plans) > 0 || o.output["plan"] != "" || strings.Contains(o.stdout, "Code of the plan") {
		t.Errorf("the plan is %v, published %v", o.at("plan"), o.plans)
	}
}

// TestPlanOfASetShowsItsCode checks that the plan of a set has the code that every job
// of its push computes.
func TestPlanOfASetShowsItsCode(t *testing.T) {
	env := newTestEnv(t)
	cart1, pay := pushImage(env.prod, cart, "1.0", 2, 1, 500), pushImage(env.prod, "shop/pay", "1.0", 3, 1, 500)
	env.queuePlan()
	flows := env.flowFile(strings.NewReplacer("environment: Production}", "environment: Production, code: plan}", "      branches: [refs/heads/main]\n", "      sealed: false\n").Replace(sandbox))
	in := inputs{"action": "plan", "flowFile": flows, "flow": "released", "images": "shop/cart:1.0\nshop/pay:1.0"}
	var lines []string
	for repository, d := range map[string]descriptor{cart: cart1, "shop/pay": pay} {
		lines = append(lines, imageLine(repository, d), targetLine(d, devHost+"/"+repository+":1.0", "none"), targetLine(d, dev2Host+"/"+repository+":1.0", "none"))
	}
	want := env.task(in).waits("the comment must quote").planned(lines...)
	env.stage.Finish("succeeded")
	env.stage = env.run.Stage("Production")
	env.stage.Ready()
	env.approve(manager, want)
	env.task(in.with("action", "invertedPush", "images", "shop/cart:1.0")).refusedBy("approval-code").says("image " + prodHost + "/shop/pay (" + pay.Digest + ") removed")
	env.task(in.with("action", "invertedPush")).want("done").planned(lines...)
}

// TestPlanCodeOfAPromotion checks a promotion within one registry, where everything
// that is attached is there already.
func TestPlanCodeOfAPromotion(t *testing.T) {
	env, image, _, lines := readyPlan(t)
	sig := signature.under(image, ".sig").put(env.prod, cart, image)
	lines = append(lines[:1], append(lines[2:], attachedLine(sig, image), targetLine(image, prodHost+"/"+cart+":stage", "none"))...)
	in := inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stage", "environment": "Production", "approvalCode": "plan"}
	pushImage(env.prod, cart, "stage", 9, 1, 100)
	env.approve(manager, env.beforeApproval(in.with("moveTag", "true")).planned(lines...))
	orasSBOM.put(env.prod, cart, sig)
	env.task(in.with("targets", prodHost+"/"+cart+":test")).refusedBy("approval-code").says("the plan is stale")
	env.task(in).refusedBy("tag-would-move").planned(lines...)
	env.task(in.with("moveTag", "true")).want("done").wantStates("retagged").planned(lines...)
	env.task(in.with("moveTag", "true")).want("done").wantStates("present").planned(lines...)
}

// TestPlanCodeOfAnUnreadableJob checks that a job refuses if it cannot read an image of
// another job: the plan is then unknown.
func TestPlanCodeOfAnUnreadableJob(t *testing.T) {
	env := newTestEnv(t)
	for i := range 4 {
		pushImage(env.prod, "shop/app"+strconv.Itoa(i), "1.0", 20+i, 1, 400)
	}
	flows := env.flowFile(strings.NewReplacer("environment: Production}", "environment: Production, code: plan}", "      branches: [refs/heads/main]\n", "      sealed: false\n").Replace(sandbox))
	in := inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": "shop/app0:1.0\nshop/app1:1.0\nshop/app2:1.0\nshop/app3:1.0"}
	want := env.beforeApproval(in).at("plan", "code").(string)
	env.approve(manager, want)
	job := func(n int) outcome {
		return env.task(in, func(e *fakeagent.Environment) {
			e.Parallel = &fakeagent.ParallelJob{Kind: "MultiMachine", Position: n, Total: 2}
		})
	}
	mine := map[string]bool{}
	o := job(1)
	for _, image := range o.want("done").at("images").([]any) {
		mine[image.(map[string]any)["source"].(string)] = true
	}
	for i := range 4 {
		if repository := "shop/app" + strconv.Itoa(i); !mine[prodHost+"/"+repository+":1.0"] {
			env.prod.RemoveTag(repository, "1.0")
			break
		}
	}
	if o := job(1).refusedBy("approval-code").says("unknown, because an image could not be read"); o.at("plan") != nil {
		t.Errorf("the plan is %v", o.at("plan"))
	}
}

// TestPlanWithoutTimes checks that a plan whose identity may not read when something was
// attached says that the code does not cover it.
func TestPlanWithoutTimes(t *testing.T) {
	env, _, sbom, lines := readyPlan(t)
	env.queuePlan()
	env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		denied := r.Host == prodHost && strings.HasPrefix(r.URL.Path, "/acr/v1/") && strings.Contains(r.URL.Path, sbom.Digest)
		if denied {
			w.WriteHeader(http.StatusForbidden)
		}
		return denied
	})
	o := env.task(planned("approvalCode", "plan"))
	o.planned(lines[:3]...)
	if !strings.Contains(strings.Join(o.warnings, "\n"), sbom.Digest+" is not covered by the plan's code: the registry does not say when it was attached") {
		t.Errorf("nobody is warned: %q", o.warnings)
	}
}
