package main_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// gate is a stage of its own that uses an environment with an approval.
func (w *world) gate(environment string) *sim.Stage {
	w.t.Helper()
	e := w.project.Environment(environment)
	e.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: 1})
	stage := w.run.Stage(environment, e, w.connection)
	stage.Begin()
	return stage
}

// letOut approves in a stage.
func (w *world) letOut(stage *sim.Stage, by sim.Identity) {
	w.t.Helper()
	if err := stage.Approve(by, ""); err != nil {
		w.t.Fatal(err)
	}
}

// ready has the stage Production approved and begun.
func (w *world) ready() {
	w.t.Helper()
	w.approve(manager, "")
}

// tagged holds a registry's tag to an image.
func (w *world) tagged(r *sim.Registry, repository, tag string, want descriptor) {
	w.t.Helper()
	if got := r.TagDigest(repository, tag); got != want.Digest {
		w.t.Errorf("%s/%s:%s is %q, want %q", r.Host(), repository, tag, got, want.Digest)
	}
}

// held lists the registries that have a tag.
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

// uploads counts what was sent to a registry.
func uploads(requests []sim.Request, host string) int {
	n := 0
	for _, r := range requests {
		if r.Host == host && r.Method != http.MethodGet && r.Method != http.MethodHead && strings.HasPrefix(r.Path, "/v2/") {
			n++
		}
	}
	return n
}

// TestOneRegistry: a tag per environment, each move on the approval of that
// environment alone, and back again.
func TestOneRegistry(t *testing.T) {
	w := newWorld(t)
	first := pushIndex(w.prod, cart, "1.0.0", 1)
	second := pushIndex(w.prod, cart, "1.1.0", 2)
	flows := w.flowFile(`version: 1
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
	test, stage := w.gate("test"), w.gate("stage")
	w.letOut(test, manager)
	o := w.taskOf(test, move("1.0.0", "test")).want("done")
	w.tagged(w.prod, cart, "test", first)
	if o.at("direction") != "checked" || o.at("approval", "guards") == "" || uploads(o.requests, prodHost) != 1 {
		t.Errorf("direction %v, guards %v, %d writes; want one PUT", o.at("direction"), o.at("approval", "guards"), uploads(o.requests, prodHost))
	}
	// The approval of test says nothing about stage, and cannot be borrowed.
	w.taskOf(stage, move("1.0.0", "stage")).refusedBy("approval-pending")
	w.taskOf(test, move("1.0.0", "stage")).refusedBy("approval-unbound").says("stage")
	w.taskOf(test, move("1.0.0", "stage").with("environment", "test")).want("misuse")
	w.letOut(stage, manager)
	w.taskOf(stage, move("1.0.0", "stage")).want("done")
	w.tagged(w.prod, cart, "stage", first)

	// Onwards, and back: a move tells what the tag bore before.
	o = w.taskOf(test, move("1.1.0", "test")).want("done")
	w.tagged(w.prod, cart, "test", second)
	if got := o.at("images", 0, "targets", 0, "previous"); got != first.Digest {
		t.Errorf("moved on: previous %v, want %s", got, first.Digest)
	}
	o = w.taskOf(test, move("1.0.0", "test")).want("done")
	w.tagged(w.prod, cart, "test", first)
	if got := o.at("images", 0, "targets", 0, "previous"); got != second.Digest || !strings.Contains(o.summary, "moved from ") || !strings.Contains(o.stdout, "moved from ") {
		t.Errorf("rolled back: previous %v, want %s, told in log and summary:\n%s", got, second.Digest, o.summary)
	}
	if o = w.taskOf(test, move("1.0.0", "test")).want("done"); o.output["changed"] != "false" {
		t.Error("the second time it changed something")
	}
	// What is no environment's tag never moves here, whatever the input says.
	w.taskOf(test, move("1.0.0", "1.1.0").with("moveTag", "true")).refusedBy("not-in-flow")
	w.taskOf(test, move("1.0.0", "newest")).refusedBy("not-in-flow")
	w.tagged(w.prod, cart, "1.1.0", second)

	// A lock on the tag is seen before anything is written.
	w.prod.SetTagLock(cart, "test", false, true)
	w.taskOf(test, move("1.1.0", "test")).refusedBy("immutable").says("locked")
}

// TestTwoRegistries: PROD gets release candidates of main alone, and DEV gets
// what was sealed and approved there; nothing goes up.
func TestTwoRegistries(t *testing.T) {
	w := newWorld(t)
	flows := w.flowFile(sandbox)
	seal := inputs{"action": "seal", "source": source, "flowFile": flows}
	feature := w.project.QueueRun(sim.RunOptions{RequestedFor: developer, Branch: "refs/heads/feature/x", StartedAt: w.clock.now().Add(-time.Minute)})
	image := pushIndex(w.prod, cart, release, 1)
	on := feature.Stage("Seal", w.connection)
	on.Begin()
	w.taskOf(on, seal).refusedBy("branch").says("refs/heads/feature/x", "refs/heads/main")
	// The server says which branch it is, not the environment.
	w.execute(forged(w.environ(on, seal), "BUILD_SOURCEBRANCH", "refs/heads/main", "BUILD_SOURCEBRANCHNAME", "main")).want("refused").says("refs/heads/feature/x")
	if a, _ := w.prod.TagAttributes(cart, release); !a.Write {
		t.Fatal("it was sealed")
	}
	on = w.run.Stage("Seal", w.connection)
	on.Begin()
	w.taskOf(on, seal).want("done")
	down := inputs{"action": "invertedPush", "source": source, "flowFile": flows}
	w.stage.Begin()
	w.task(down).refusedBy("approval-pending")
	w.ready()
	w.task(down).want("done")
	w.tagged(w.dev, cart, release, image)
	w.tagged(w.dev2, cart, release, image)
	for _, up := range []inputs{
		{"action": "promote", "source": devHost + "/" + cart + ":" + release, "targets": prodHost, "flowFile": flows},
		{"action": "invertedPush", "source": devHost + "/" + cart + ":" + release, "targets": prodHost, "flowFile": flows},
		{"action": "promote", "source": devHost + "/" + cart + ":" + release, "targets": prodHost, "flowFile": flows, "flow": "released"},
	} {
		w.task(up.with("approval", "none")).want("refused").says(prodHost)
	}
	// Between two of equal trust there is no way either.
	w.task(inputs{"action": "promote", "source": devHost + "/" + cart + ":" + release, "targets": dev2Host, "flowFile": flows}).refusedBy("not-in-flow")
}

// TestFourRegistries: upward step by step, each on the approval of its own.
func TestFourRegistries(t *testing.T) {
	w := newWorld(t)
	staging, uat := w.registry("contosostaging.azurecr.io"), w.registry("contosouat.azurecr.io")
	image := pushIndex(w.dev, cart, "1.0", 1)
	sbom := attach(w.dev, cart, image, "application/spdx+json", []byte(`{}`))
	flows := w.flowFile(`version: 1
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
	atStaging, atUAT := w.gate("Staging"), w.gate("UAT")
	w.stage.Begin()
	for _, step := range []struct {
		stage    *sim.Stage
		from, to *sim.Registry
	}{{atStaging, w.dev, staging}, {atUAT, staging, uat}, {w.stage, uat, w.prod}} {
		w.taskOf(step.stage, up(step.from.Host(), step.to.Host())).refusedBy("approval-pending")
		if step.to.TagDigest(cart, "1.0") != "" {
			t.Fatalf("%s has it without an approval", step.to.Host())
		}
		w.letOut(step.stage, manager)
		w.taskOf(step.stage, up(step.from.Host(), step.to.Host())).want("done").wantStates("copied")
		w.tagged(step.to, cart, "1.0", image)
		if !slices.Contains(step.to.Referrers(cart, image.Digest), sbom.Digest) {
			t.Errorf("%s lacks what is attached", step.to.Host())
		}
	}
	// Nobody jumps, and nothing goes up by the action for going down.
	w.task(up(devHost, prodHost)).refusedBy("upward")
	w.task(up(devHost, prodHost).with("flow", "to-production")).want("refused")
	w.taskOf(atStaging, up(devHost, staging.Host()).with("action", "invertedPush")).refusedBy("upward")
	// The input environment cannot send the approval elsewhere.
	w.taskOf(atStaging, up(uat.Host(), prodHost).with("environment", "Staging")).want("misuse")
	// Another image under a tag that is there does not move it.
	pushIndex(uat, "shop/pay", "1.0", 3)
	pushIndex(w.prod, "shop/pay", "1.0", 4)
	w.task(inputs{"action": "promote", "source": uat.Host() + "/shop/pay:1.0", "targets": prodHost, "flowFile": flows}).refusedBy("immutable")
}

// TestTeams: who subscribes gets it, nobody else.
func TestTeams(t *testing.T) {
	w := newWorld(t)
	pay := pushImage(w.prod, "shop/pay", "1.0", 1, 1, 500)
	pushImage(w.prod, cart, "1.0", 2, 1, 500)
	pushImage(w.prod, "tools/lint", "1.0", 3, 1, 500)
	w.seal("shop/pay:1.0", cart+":1.0", "tools/lint:1.0")
	w.ready()
	w.prod.Grant(clientID, "**", sim.CatalogLister...)
	flows := w.flowFile(`version: 1
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
	o := w.task(inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": "**:*"}).want("done")
	if got := held("shop/pay", "1.0", w.dev, w.dev2) + "|" + held(cart, "1.0", w.dev, w.dev2) + "|" + held("tools/lint", "1.0", w.dev, w.dev2); got != "contosodev contosodev2|contosodev2|" {
		t.Errorf("they have %s", got)
	}
	if !strings.Contains(strings.Join(o.warnings, "\n"), "tools/lint") {
		t.Errorf("that nobody subscribes to tools/lint is not told: %q", o.warnings)
	}
	w.tagged(w.dev, "shop/pay", "1.0", pay)
	w.task(inputs{"action": "invertedPush", "flowFile": flows, "source": prodHost + "/" + cart + ":1.0", "targets": devHost}).refusedBy("not-in-flow").says("subscribe")
	// One image without targets goes to all who subscribe.
	if o := w.task(inputs{"action": "audit", "flowFile": flows, "source": prodHost + "/" + cart + ":1.0"}).want("done"); len(o.at("images", 0, "targets").([]any)) != 1 {
		t.Errorf("targets %v", o.at("images", 0, "targets"))
	}
}

// TestGoldenImages: up on an approval, sealed, and down on a schedule without
// one; only what changed moves.
func TestGoldenImages(t *testing.T) {
	w := newWorld(t)
	outside := w.registry("contosobase.azurecr.io")
	pushIndex(outside, "base/alpine", "3.20", 1)
	pushIndex(outside, "base/debian", "12", 2)
	flows := w.flowFile(`version: 1
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
	w.stage.Begin()
	w.task(up).refusedBy("approval-pending")
	w.letOut(w.stage, manager)
	w.task(up).want("done")

	// A later run, on a schedule, with no environment at all.
	w.clock.set(time.Hour)
	nightly := w.project.QueueRun(sim.RunOptions{Reason: "schedule", StartedAt: w.clock.now()}).Stage("Nightly", w.connection)
	nightly.Begin()
	w.taskOf(nightly, down).refusedBy("not-sealed")
	w.taskOf(nightly, sealing.with("flow", "golden")).want("refused")
	w.taskOf(nightly, sealing).want("done")
	o := w.taskOf(nightly, down).want("done")
	if o.at("approval", "kind") != "none" || o.output["changed"] != "true" || held("base/alpine", "3.20", w.dev, w.dev2)+held("base/debian", "12", w.dev, w.dev2) != "contosodev contosodev2contosodev contosodev2" {
		t.Errorf("kind %v, changed %v", o.at("approval", "kind"), o.output["changed"])
	}
	o = w.taskOf(nightly, down).want("done")
	if o.output["changed"] != "false" || uploads(o.requests, devHost)+uploads(o.requests, dev2Host) != 0 {
		t.Errorf("nothing new, and changed is %s with %d writes", o.output["changed"], uploads(o.requests, devHost))
	}
	for _, r := range o.requests {
		if strings.Contains(r.Host, "blob.core.windows.net") {
			t.Errorf("nothing new, and a blob was fetched from %s", r.Host)
		}
	}
	// A sealed tag of PROD is locked; the next golden image gets a tag of its own.
	newer := pushIndex(outside, "base/alpine", "3.20", 9)
	w.task(up).refusedBy("immutable")
	w.prod.SetTagLock("base/alpine", "3.20", true, true)
	w.task(up).want("done")
	w.tagged(w.prod, "base/alpine", "3.20", newer)
	w.taskOf(nightly, sealing).want("done")
	o = w.taskOf(nightly, down).want("done")
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
	w.tagged(w.dev2, "base/alpine", "3.20", newer)
}

// TestNames: semantic versions, patterns of tags and branches, and other names
// at the target.
func TestNames(t *testing.T) {
	w := newWorld(t)
	w.run = w.project.QueueRun(sim.RunOptions{RequestedFor: developer, Branch: "refs/heads/release/1.x", StartedAt: w.clock.now().Add(-time.Minute)})
	w.stage = w.run.Stage("Production", w.environment, w.connection)
	images := map[string]descriptor{}
	var all []string
	for i, tag := range []string{"1.1.9", "1.2.0", "1.9.0", "2.0.0", "1.3.0-rc.1", "nightly"} {
		images[tag] = pushImage(w.prod, cart, tag, i+1, 1, 300)
		all = append(all, cart+":"+tag)
	}
	w.seal(all...)
	w.ready()
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
	flows := w.flowFile(content)
	o := w.task(inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": cart + ":*"}).want("done")
	if got := strings.Join(w.dev.Tags("released/"+cart), " "); got != "v1.2.0 v1.9.0" {
		t.Errorf("DEV has %q", got)
	}
	if len(w.dev.Tags(cart)) != 0 || len(o.at("images").([]any)) != 2 {
		t.Errorf("DEV has %v, %d images told", w.dev.Tags(cart), len(o.at("images").([]any)))
	}
	w.tagged(w.dev, "released/"+cart, "v1.9.0", images["1.9.0"])
	one := inputs{"action": "invertedPush", "flowFile": flows}
	for _, tag := range []string{"1.1.9", "2.0.0", "1.3.0-rc.1", "nightly"} {
		w.task(one.with("source", prodHost+"/"+cart+":"+tag)).refusedBy("not-in-flow")
	}
	w.task(one.with("source", prodHost+"/"+cart+":1.2.0", "targets", devHost+"/"+cart)).refusedBy("not-in-flow").says("released/shop/cart")
	w.task(one.with("source", prodHost+"/"+cart+":1.2.0", "targets", devHost+"/released/"+cart+":v1.2.0")).want("done")
	narrow := w.flowFile(strings.Replace(content, "refs/heads/release/*", "refs/heads/main", 1))
	w.task(one.with("source", prodHost+"/"+cart+":1.2.0", "flowFile", narrow)).refusedBy("branch")
}

// TestTwoImagesOneName: of two images that would get one tag neither goes.
func TestTwoImagesOneName(t *testing.T) {
	w := newWorld(t)
	pushImage(w.prod, cart, "1.0", 1, 1, 300)
	pushImage(w.prod, cart, "1.1", 2, 1, 300)
	w.ready()
	flows := w.flowFile(`version: 1
trust: [dev, production]
registries: {prod: {host: ` + prodHost + `, trust: production}, dev: {host: ` + devHost + `, trust: dev}}
flows:
  newest: {from: prod, to: [dev], movingTags: [newest], as: {tag: newest}, require: {approval: {environment: Production}, sealed: false}}
`)
	set := inputs{"action": "invertedPush", "flowFile": flows, "flow": "newest", "images": cart + ":1.0\n" + cart + ":1.1"}
	w.task(set).refusedBy("tag-would-move").says(cart+":1.0", cart+":1.1", "newest")
	w.task(set.with("images", cart+":1.1")).want("done")
}
