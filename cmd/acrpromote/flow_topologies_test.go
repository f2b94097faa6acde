package main_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// gate adds a stage that uses an environment with an approval.
func (env *testEnv) gate(environment string) *sim.Stage {
	env.t.Helper()
	e := env.project.Environment(environment)
	e.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: 1})
	stage := env.run.Stage(environment, e, env.connection)
	stage.Begin()
	return stage
}

// letOut gives the approval of a stage.
func (env *testEnv) letOut(stage *sim.Stage, by sim.Identity) {
	env.t.Helper()
	if err := stage.Approve(by, ""); err != nil {
		env.t.Fatal(err)
	}
}

// ready approves and starts the stage Production.
func (env *testEnv) ready() {
	env.t.Helper()
	env.approve(manager, "")
}

// tagged fails the test unless a registry's tag points at an image.
func (env *testEnv) tagged(r *sim.Registry, repository, tag string, want descriptor) {
	env.t.Helper()
	if got := r.TagDigest(repository, tag); got != want.Digest {
		env.t.Errorf("%s/%s:%s is %q, want %q", r.Host(), repository, tag, got, want.Digest)
	}
}

// held returns the registries that have a tag.
func held(repository, tag string, registries ...*sim.Registry) string {
	var names []string
	for _, r := range registries {
		if r.TagDigest(repository, tag) != "" {
			name, _, _ := strings.Cut(r.Host(), ".")
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// uploads returns the number of uploads to a registry.
func uploads(requests []sim.Request, host string) int {
	n := 0
	for _, r := range requests {
		if r.Host == host && r.Method != http.MethodGet && r.Method != http.MethodHead && strings.HasPrefix(r.Path, "/v2/") {
			n++
		}
	}
	return n
}

// TestOneRegistry moves a tag for each environment, each after the approval of that
// environment, and back again.
func TestOneRegistry(t *testing.T) {
	env := newTestEnv(t)
	first := pushIndex(env.prod, cart, "1.0.0", 1)
	second := pushIndex(env.prod, cart, "1.1.0", 2)
	flows := env.flowFile(`version: 1
trust: [production]
registries: {prod: {host: ` + prodHost + `, trust: production, immutable: true}}
flows:
  environments:
    from: prod
    to: [prod]
    movingTags: [test, stage, production]
    require: {approval: {kind: manual, environment: "{tag}"}}
`)
	move := func(version, tag string) inputs {
		return inputs{"action": "promote", "source": prodHost + "/" + cart + ":" + version, "targets": prodHost + "/" + cart + ":" + tag, "flowFile": flows}
	}
	test, stage := env.gate("test"), env.gate("stage")
	env.letOut(test, manager)
	o := env.taskOf(test, move("1.0.0", "test")).want("done")
	env.tagged(env.prod, cart, "test", first)
	if o.at("direction") != "checked" || o.at("approval", "guards") == "" || uploads(o.requests, prodHost) != 1 {
		t.Errorf("direction %v, guards %v, %d writes; want one PUT", o.at("direction"), o.at("approval", "guards"), uploads(o.requests, prodHost))
	}
	// The approval of test does not count for stage.
	env.taskOf(stage, move("1.0.0", "stage")).refusedBy("approval-pending")
	env.taskOf(test, move("1.0.0", "stage")).refusedBy("approval-unbound").says("stage")
	env.taskOf(test, move("1.0.0", "stage").with("environment", "test")).want("misuse")
	env.letOut(stage, manager)
	env.taskOf(stage, move("1.0.0", "stage")).want("done")
	env.tagged(env.prod, cart, "stage", first)

	// Forward and back: the result has the tag's previous digest.
	o = env.taskOf(test, move("1.1.0", "test")).want("done")
	env.tagged(env.prod, cart, "test", second)
	if got := o.at("images", 0, "targets", 0, "previous"); got != first.Digest {
		t.Errorf("moved on: previous %v, want %s", got, first.Digest)
	}
	o = env.taskOf(test, move("1.0.0", "test")).want("done")
	env.tagged(env.prod, cart, "test", first)
	if got := o.at("images", 0, "targets", 0, "previous"); got != second.Digest || !strings.Contains(o.summary, "moved from ") || !strings.Contains(o.stdout, "moved from ") {
		t.Errorf("rolled back: previous %v, want %s, reported in log and summary:\n%s", got, second.Digest, o.summary)
	}
	if o = env.taskOf(test, move("1.0.0", "test")).want("done"); o.output["changed"] != "false" {
		t.Error("the second time it changed something")
	}
	// A tag that does not belong to an environment never moves, whatever the
	// input says.
	env.taskOf(test, move("1.0.0", "1.1.0").with("moveTag", "true")).refusedBy("not-in-flow")
	env.taskOf(test, move("1.0.0", "newest")).refusedBy("not-in-flow")
	env.tagged(env.prod, cart, "1.1.0", second)

	// A lock on the tag is found before anything is written.
	env.prod.SetTagLock(cart, "test", false, true)
	env.taskOf(test, move("1.1.0", "test")).refusedBy("immutable").says("locked")
}

// TestTwoRegistries checks that PROD gets only release candidates of main, that DEV
// gets only images sealed and approved there, and that nothing goes up.
func TestTwoRegistries(t *testing.T) {
	env := newTestEnv(t)
	flows := env.flowFile(sandbox)
	seal := inputs{"action": "seal", "source": source, "flowFile": flows}
	feature := env.project.QueueRun(sim.RunOptions{RequestedFor: developer, Branch: "refs/heads/feature/x", StartedAt: env.clock.now().Add(-time.Minute)})
	image := pushIndex(env.prod, cart, release, 1)
	on := feature.Stage("Seal", env.connection)
	on.Begin()
	env.taskOf(on, seal).refusedBy("branch").says("refs/heads/feature/x", "refs/heads/main")
	// The branch comes from the server, not from the environment.
	env.execute(forged(env.environ(on, seal), "BUILD_SOURCEBRANCH", "refs/heads/main", "BUILD_SOURCEBRANCHNAME", "main")).want("refused").says("refs/heads/feature/x")
	if a, _ := env.prod.TagAttributes(cart, release); !a.Write {
		t.Fatal("it was sealed")
	}
	on = env.run.Stage("Seal", env.connection)
	on.Begin()
	env.taskOf(on, seal).want("done")
	down := inputs{"action": "invertedPush", "source": source, "flowFile": flows}
	env.stage.Begin()
	env.task(down).refusedBy("approval-pending")
	env.ready()
	env.task(down).want("done")
	env.tagged(env.dev, cart, release, image)
	env.tagged(env.dev2, cart, release, image)
	for _, up := range []inputs{
		{"action": "promote", "source": devHost + "/" + cart + ":" + release, "targets": prodHost, "flowFile": flows},
		{"action": "invertedPush", "source": devHost + "/" + cart + ":" + release, "targets": prodHost, "flowFile": flows},
		{"action": "promote", "source": devHost + "/" + cart + ":" + release, "targets": prodHost, "flowFile": flows, "flow": "released"},
	} {
		env.task(up.with("approval", "none")).want("refused").says(prodHost)
	}
	// There is no route between registries of equal trust either.
	env.task(inputs{"action": "promote", "source": devHost + "/" + cart + ":" + release, "targets": dev2Host, "flowFile": flows}).refusedBy("not-in-flow")
}

// TestFourRegistries promotes upward step by step, each with its own approval.
func TestFourRegistries(t *testing.T) {
	env := newTestEnv(t)
	staging, uat := env.registry("contosostaging.azurecr.io"), env.registry("contosouat.azurecr.io")
	image := pushIndex(env.dev, cart, "1.0", 1)
	sbom := testimage.Attach(env.dev, cart, image, "application/spdx+json", []byte(`{}`))
	flows := env.flowFile(`version: 1
trust: [dev, staging, uat, production]
registries:
  dev: {host: ` + devHost + `, trust: dev}
  staging: {host: ` + staging.Host() + `, trust: staging}
  uat: {host: ` + uat.Host() + `, trust: uat}
  prod: {host: ` + prodHost + `, trust: production, immutable: true}
flows:
  to-staging: {from: dev, to: [staging], require: {approval: {environment: Staging}}}
  to-uat: {from: staging, to: [uat], require: {approval: {environment: UAT}}}
  to-production: {from: uat, to: [prod], require: {approval: {environment: Production, requesterCanApprove: false}}}
`)
	up := func(from, to string) inputs {
		return inputs{"action": "promote", "source": from + "/" + cart + ":1.0", "targets": to, "flowFile": flows}
	}
	atStaging, atUAT := env.gate("Staging"), env.gate("UAT")
	env.stage.Begin()
	for _, step := range []struct {
		stage    *sim.Stage
		from, to *sim.Registry
	}{{atStaging, env.dev, staging}, {atUAT, staging, uat}, {env.stage, uat, env.prod}} {
		env.taskOf(step.stage, up(step.from.Host(), step.to.Host())).refusedBy("approval-pending")
		if step.to.TagDigest(cart, "1.0") != "" {
			t.Fatalf("%s has it without an approval", step.to.Host())
		}
		env.letOut(step.stage, manager)
		env.taskOf(step.stage, up(step.from.Host(), step.to.Host())).want("done").wantStates("copied")
		env.tagged(step.to, cart, "1.0", image)
		if !slices.Contains(step.to.Referrers(cart, image.Digest), sbom.Digest) {
			t.Errorf("%s lacks what is attached", step.to.Host())
		}
	}
	// No registry can be skipped, and invertedPush does not lead up.
	env.task(up(devHost, prodHost)).refusedBy("upward")
	env.task(up(devHost, prodHost).with("flow", "to-production")).want("refused")
	env.taskOf(atStaging, up(devHost, staging.Host()).with("action", "invertedPush")).refusedBy("upward")
	// The input environment cannot select another approval.
	env.taskOf(atStaging, up(uat.Host(), prodHost).with("environment", "Staging")).want("misuse")
	// Another image does not move an existing tag.
	pushIndex(uat, "shop/pay", "1.0", 3)
	pushIndex(env.prod, "shop/pay", "1.0", 4)
	env.task(inputs{"action": "promote", "source": uat.Host() + "/shop/pay:1.0", "targets": prodHost, "flowFile": flows}).refusedBy("immutable")
}

// TestTeams checks that exactly the subscribers get an image.
func TestTeams(t *testing.T) {
	env := newTestEnv(t)
	pay := pushImage(env.prod, "shop/pay", "1.0", 1, 1, 500)
	pushImage(env.prod, cart, "1.0", 2, 1, 500)
	pushImage(env.prod, "tools/lint", "1.0", 3, 1, 500)
	env.seal("shop/pay:1.0", cart+":1.0", "tools/lint:1.0")
	env.ready()
	env.prod.Grant(clientID, "**", sim.CatalogLister...)
	flows := env.flowFile(`version: 1
trust: [dev, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  payments: {host: ` + devHost + `, trust: dev}
  web: {host: ` + dev2Host + `, trust: dev}
flows:
  released:
    from: prod
    to: [payments, web]
    teams: {payments: [shop/pay], web: ["shop/**"]}
    require: {approval: {environment: Production}}
`)
	o := env.task(inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": "**:*"}).want("done")
	if got := held("shop/pay", "1.0", env.dev, env.dev2) + "|" + held(cart, "1.0", env.dev, env.dev2) + "|" + held("tools/lint", "1.0", env.dev, env.dev2); got != "contosodev contosodev2|contosodev2|" {
		t.Errorf("they have %s", got)
	}
	if !strings.Contains(strings.Join(o.warnings, "\n"), "tools/lint") {
		t.Errorf("no warning that nobody subscribes to tools/lint: %q", o.warnings)
	}
	env.tagged(env.dev, "shop/pay", "1.0", pay)
	env.task(inputs{"action": "invertedPush", "flowFile": flows, "source": prodHost + "/" + cart + ":1.0", "targets": devHost}).refusedBy("not-in-flow").says("subscribe")
	// Without targets an image goes to all subscribers.
	if o := env.task(inputs{"action": "audit", "flowFile": flows, "source": prodHost + "/" + cart + ":1.0"}).want("done"); len(o.at("images", 0, "targets").([]any)) != 1 {
		t.Errorf("targets %v", o.at("images", 0, "targets"))
	}
}

// TestGoldenImages promotes base images up with an approval, seals them, and brings
// them down on a schedule without one. Only changed images are copied.
func TestGoldenImages(t *testing.T) {
	env := newTestEnv(t)
	outside := env.registry("contosobase.azurecr.io")
	pushIndex(outside, "base/alpine", "3.20", 1)
	pushIndex(outside, "base/debian", "12", 2)
	flows := env.flowFile(`version: 1
trust: [outside, dev, production]
registries:
  base: {host: ` + outside.Host() + `, trust: outside}
  prod: {host: ` + prodHost + `, trust: production}
  payments: {host: ` + devHost + `, trust: dev}
  web: {host: ` + dev2Host + `, trust: dev}
flows:
  golden: {from: base, to: [prod], repositories: ["base/*"], movingTags: ["3.20", "12"], require: {approval: {environment: Production}}}
  nightly:
    from: prod
    to: [payments, web]
    repositories: ["base/*"]
    movingTags: ["3.20", "12"]
    sealExisting: true
    require: {approval: {kind: none}, sealed: true}
`)
	up := inputs{"action": "promote", "flowFile": flows, "flow": "golden", "images": "base/alpine:3.20\nbase/debian:12"}
	down := inputs{"action": "invertedPush", "flowFile": flows, "flow": "nightly", "images": "base/alpine:3.20\nbase/debian:12"}
	sealing := inputs{"action": "seal", "flowFile": flows, "flow": "nightly", "images": "base/alpine:3.20\nbase/debian:12"}
	env.stage.Begin()
	env.task(up).refusedBy("approval-pending")
	env.letOut(env.stage, manager)
	env.task(up).want("done")

	// A later run on a schedule, without an environment.
	env.clock.set(time.Hour)
	nightly := env.project.QueueRun(sim.RunOptions{Reason: "schedule", StartedAt: env.clock.now()}).Stage("Nightly", env.connection)
	nightly.Begin()
	env.taskOf(nightly, down).refusedBy("not-sealed")
	env.taskOf(nightly, sealing.with("flow", "golden")).want("refused")
	env.taskOf(nightly, sealing).want("done")
	o := env.taskOf(nightly, down).want("done")
	if o.at("approval", "kind") != "none" || o.output["changed"] != "true" || held("base/alpine", "3.20", env.dev, env.dev2)+held("base/debian", "12", env.dev, env.dev2) != "contosodev contosodev2contosodev contosodev2" {
		t.Errorf("kind %v, changed %v", o.at("approval", "kind"), o.output["changed"])
	}
	o = env.taskOf(nightly, down).want("done")
	if o.output["changed"] != "false" || uploads(o.requests, devHost)+uploads(o.requests, dev2Host) != 0 {
		t.Errorf("nothing new, and changed is %s with %d writes", o.output["changed"], uploads(o.requests, devHost))
	}
	for _, r := range o.requests {
		if strings.Contains(r.Host, "blob.core.windows.net") {
			t.Errorf("nothing new, and a blob was fetched from %s", r.Host)
		}
	}
	// A sealed tag of PROD is locked; the next base image gets its own tag.
	newer := pushIndex(outside, "base/alpine", "3.20", 9)
	env.task(up).refusedBy("immutable")
	env.prod.SetTagLock("base/alpine", "3.20", true, true)
	env.task(up).want("done")
	env.tagged(env.prod, "base/alpine", "3.20", newer)
	env.taskOf(nightly, sealing).want("done")
	o = env.taskOf(nightly, down).want("done")
	var moved []string
	for _, image := range o.at("images").([]any) {
		for _, target := range image.(map[string]any)["targets"].([]any) {
			moved = append(moved, target.(map[string]any)["state"].(string))
		}
	}
	slices.Sort(moved)
	if strings.Join(moved, " ") != "copied copied present present" {
		t.Errorf("states %v: only what changed moves", moved)
	}
	env.tagged(env.dev2, "base/alpine", "3.20", newer)
}

// TestNames tests semantic versions, patterns of tags and branches, and other names
// at the target.
func TestNames(t *testing.T) {
	env := newTestEnv(t)
	env.run = env.project.QueueRun(sim.RunOptions{RequestedFor: developer, Branch: "refs/heads/release/1.x", StartedAt: env.clock.now().Add(-time.Minute)})
	env.stage = env.run.Stage("Production", env.environment, env.connection)
	images := map[string]descriptor{}
	var all []string
	for i, tag := range []string{"1.1.9", "1.2.0", "1.9.0", "2.0.0", "1.3.0-rc.1", "nightly"} {
		images[tag] = pushImage(env.prod, cart, tag, i+1, 1, 300)
		all = append(all, cart+":"+tag)
	}
	env.seal(all...)
	env.ready()
	content := `version: 1
trust: [dev, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: dev}
flows:
  released:
    from: prod
    to: [dev]
    repositories: ["shop/*"]
    tags: [">=1.2 <2"]
    as: {repository: "released/{repository}", tag: "v{tag}"}
    require: {approval: {environment: Production}, branches: [refs/heads/release/*]}
`
	flows := env.flowFile(content)
	o := env.task(inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": cart + ":*"}).want("done")
	if got := strings.Join(env.dev.Tags("released/"+cart), " "); got != "v1.2.0 v1.9.0" {
		t.Errorf("DEV has %q", got)
	}
	if len(env.dev.Tags(cart)) != 0 || len(o.at("images").([]any)) != 2 {
		t.Errorf("DEV has %v, %d images reported", env.dev.Tags(cart), len(o.at("images").([]any)))
	}
	env.tagged(env.dev, "released/"+cart, "v1.9.0", images["1.9.0"])
	one := inputs{"action": "invertedPush", "flowFile": flows}
	for _, tag := range []string{"1.1.9", "2.0.0", "1.3.0-rc.1", "nightly"} {
		env.task(one.with("source", prodHost+"/"+cart+":"+tag)).refusedBy("not-in-flow")
	}
	env.task(one.with("source", prodHost+"/"+cart+":1.2.0", "targets", devHost+"/"+cart)).refusedBy("not-in-flow").says("released/shop/cart")
	env.task(one.with("source", prodHost+"/"+cart+":1.2.0", "targets", devHost+"/released/"+cart+":v1.2.0")).want("done")
	narrow := env.flowFile(strings.Replace(content, "refs/heads/release/*", "refs/heads/main", 1))
	env.task(one.with("source", prodHost+"/"+cart+":1.2.0", "flowFile", narrow)).refusedBy("branch")
}

// TestTwoImagesOneName checks that two images that would get the same tag are both
// refused.
func TestTwoImagesOneName(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, "1.0", 1, 1, 300)
	pushImage(env.prod, cart, "1.1", 2, 1, 300)
	env.ready()
	flows := env.flowFile(`version: 1
trust: [dev, production]
registries: {prod: {host: ` + prodHost + `, trust: production}, dev: {host: ` + devHost + `, trust: dev}}
flows:
  newest: {from: prod, to: [dev], movingTags: [newest], as: {tag: newest}, require: {approval: {environment: Production}, sealed: false}}
`)
	set := inputs{"action": "invertedPush", "flowFile": flows, "flow": "newest", "images": cart + ":1.0\n" + cart + ":1.1"}
	env.task(set).refusedBy("tag-would-move").says(cart+":1.0", cart+":1.1", "newest")
	env.task(set.with("images", cart+":1.1")).want("done")
}
