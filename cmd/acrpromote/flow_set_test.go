package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// setDigest computes the digest of a set independently of the program: SHA-256 over
// the unique, sorted lines repository@digest, each with a line feed.
func setDigest(members ...string) string {
	slices.Sort(members)
	return testimage.Digest([]byte(strings.Join(slices.Compact(members), "\n") + "\n"))
}

// three pushes and seals three images, and allows listing the registry.
func (env *testEnv) three() (cart1, cart2, pay descriptor) {
	env.t.Helper()
	cart1, cart2, pay = pushIndex(env.prod, cart, "1.0", 1), pushImage(env.prod, cart, "1.1", 2, 2, 1000), pushImage(env.prod, "shop/pay", "1.0", 3, 2, 1000)
	env.prod.Grant(clientID, "**", sim.CatalogLister...)
	env.seal(cart+":1.0", cart+":1.1", "shop/pay:1.0")
	return cart1, cart2, pay
}

func (env *testEnv) file(name, content string) string {
	env.t.Helper()
	path := filepath.Join(env.folder(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		env.t.Fatal(err)
	}
	return path
}

// TestSetForms checks that lines, patterns, a list and manifests name the same set,
// with one digest and one code.
func TestSetForms(t *testing.T) {
	env := newTestEnv(t)
	cart1, cart2, pay := env.three()
	env.ready()
	want := setDigest(cart+"@"+cart1.Digest, cart+"@"+cart2.Digest, "shop/pay@"+pay.Digest)
	base := inputs{"action": "verify", "flowFile": env.flowFile(sandbox), "flow": "released"}
	manifests := fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers: [{name: a, image: %[1]s/shop/cart:1.0}]
      containers:
      - {name: b, image: "%[1]s/shop/cart:1.1"}
      - {name: c, image: docker.io/library/redis:7}
---
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: d, image: "%[1]s/shop/pay:1.0@%[2]s"}]}}}}}
`, prodHost, pay.Digest)
	for name, in := range map[string]inputs{
		"lines":         {"images": "shop/pay:1.0\nshop/cart:1.1\nshop/cart:1.0"},
		"another order": {"images": "shop/cart:1.0\nshop/cart:1.1\nshop/pay:1.0\nshop/cart:1.0"},
		"patterns":      {"images": "shop/*:1.*"},
		"a range":       {"images": "shop/**:>=1.0 <2"},
		"both":          {"images": "shop/cart:*\nshop/pay:1.0"},
		"by digest":     {"images": "shop/pay@" + pay.Digest + "\nshop/cart:*"},
		"a list":        {"imagesFrom": env.file("images.txt", "# what goes\r\nshop/cart:1.0\r\n\r\n"+prodHost+"/shop/cart:1.1\r\nshop/pay:1.0\r\n")},
		"manifests":     {"imagesFrom": env.file("deploy.yml", manifests)},
	} {
		for key, value := range base {
			in[key] = value
		}
		o := env.task(in).want("done")
		if o.output["digest"] != want || o.at("approvalCode") != code(t, want) || len(o.at("images").([]any)) != 3 {
			t.Errorf("%s: digest %s, code %v, %d images; want %s, %s, 3", name, o.output["digest"], o.at("approvalCode"), len(o.at("images").([]any)), want, code(t, want))
		}
		if name == "manifests" && !strings.Contains(strings.Join(o.warnings, "\n"), "docker.io") {
			t.Errorf("no warning about ignored images: %q", o.warnings)
		}
	}
	for name, in := range map[string]inputs{
		"nothing matches":     base.with("images", "shop/none*:*"),
		"no tag":              base.with("images", "shop/cart"),
		"a registry":          base.with("images", prodHost+"/shop/cart:1.0"),
		"a list and lines":    base.with("images", "shop/cart:1.0", "imagesFrom", "x"),
		"no such list":        base.with("imagesFrom", filepath.Join(env.folder(), "absent")),
		"templates":           base.with("imagesFrom", env.file("raw.yml", "spec: {containers: [{image: \""+prodHost+"/shop/cart:{{ .Tag }}\"}]}\n")),
		"other registries":    base.with("imagesFrom", env.file("redis.yml", "spec: {containers: [{image: redis:7}]}\n")),
		"with targets":        base.with("images", "shop/cart:1.0", "targets", devHost),
		"with a source":       base.with("images", "shop/cart:1.0", "source", source),
		"with a digest":       base.with("images", "shop/cart:1.0", "digest", want),
		"no flow":             {"action": "verify", "flowFile": base["flowFile"], "images": "shop/cart:1.0"},
		"no flow file either": {"action": "verify", "images": "shop/cart:1.0"},
	} {
		if o := env.task(in); o.result["outcome"] != "misuse" {
			t.Errorf("%s: %v\n%s", name, o.result["outcome"], o.against())
		}
	}
	// A set of one is a set.
	one := env.task(base.with("images", "shop/pay:1.0")).want("done")
	if one.output["digest"] != setDigest("shop/pay@"+pay.Digest) {
		t.Errorf("a set of one: %s", one.output["digest"])
	}
}

// TestSetCode checks that the code of a set approves this set and no other.
func TestSetCode(t *testing.T) {
	env := newTestEnv(t)
	cart1, cart2, pay := env.three()
	flows := env.flowFile(strings.Replace(sandbox, "environment: Production}", "environment: Production, code: true}", 1))
	all := setDigest(cart+"@"+cart1.Digest, cart+"@"+cart2.Digest, "shop/pay@"+pay.Digest)
	sealing := env.run.Stage("Seal", env.connection)
	if o := env.taskOf(sealing, inputs{"action": "seal", "flowFile": flows, "flow": "released", "images": "shop/*:*"}).want("done"); o.at("approvalCode") != code(t, all) {
		t.Errorf("seal shows the code %v, want %s", o.at("approvalCode"), code(t, all))
	}
	env.approve(manager, "approved: "+code(t, all))
	set := inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": "shop/*:*"}
	for _, other := range []string{"shop/cart:1.0\nshop/cart:1.1", "shop/cart:1.0"} {
		env.task(set.with("images", other)).refusedBy("approval-code")
	}
	env.task(inputs{"action": "invertedPush", "flowFile": flows, "source": prodHost + "/" + cart + ":1.0"}).refusedBy("approval-code")
	// With one more image it is another set.
	pushImage(env.prod, "shop/new", "1.0", 9, 1, 300)
	env.task(set).want("refused")
	env.task(set.with("images", "shop/cart:*\nshop/pay:*")).want("done")
	env.tagged(env.dev, "shop/pay", "1.0", pay)
}

// TestSetIsOne checks that a refusal of one image refuses all, that all refusals are
// reported at once, and that nothing of a set with a code is copied if an image
// cannot be read.
func TestSetIsOne(t *testing.T) {
	env := newTestEnv(t)
	_, _, pay := env.three()
	pushImage(env.prod, "shop/loose", "1.0", 7, 1, 300)
	pushImage(env.dev, "shop/pay", "1.0", 8, 1, 300)
	env.ready()
	set := inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "released", "images": "shop/*:*"}
	o := env.task(set).refusedBy("not-sealed", "tag-would-move").says("shop/loose:1.0", devHost+"/shop/pay:1.0")
	if held(cart, "1.0", env.dev, env.dev2) != "" {
		t.Error("a part of the set went")
	}
	for _, image := range o.at("images").([]any) {
		for _, target := range image.(map[string]any)["targets"].([]any) {
			if state := target.(map[string]any)["state"]; state != "refused" && state != "present" {
				t.Errorf("%v is %v", image.(map[string]any)["source"], state)
			}
		}
	}
	env.task(set.with("images", "shop/cart:*\nother/x:1\nbase/y:1")).want("refused").says("other/x", "base/y")
	env.task(set.with("images", "shop/cart:1.0\nshop/cart:9.9")).failsAt("source", "9.9")
	env.dev.RemoveTag("shop/pay", "1.0")
	env.task(set.with("images", "shop/cart:*\nshop/pay:*")).want("done")
	env.tagged(env.dev2, "shop/pay", "1.0", pay)
}

// TestOneTargetDead checks that a dead target neither delays nor fails the others,
// that the flow decides the result of the step, and that a rerun does the rest.
func TestOneTargetDead(t *testing.T) {
	env := newTestEnv(t)
	env.three()
	env.ready()
	down := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.Host, dev2Host) {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	set := inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "released", "images": "shop/*:*"}
	o := env.task(set).wantTask("partial", "SucceededWithIssues").says(dev2Host)
	if held(cart, "1.0", env.dev, env.dev2)+held("shop/pay", "1.0", env.dev, env.dev2) != "contosodevcontosodev" {
		t.Errorf("held by %s and %s", held(cart, "1.0", env.dev, env.dev2), held("shop/pay", "1.0", env.dev, env.dev2))
	}
	for i := range 3 {
		states := fmt.Sprint(o.at("images", i, "targets", 0, "state"), " ", o.at("images", i, "targets", 1, "state"))
		if states != "copied pending" {
			t.Errorf("image %d: %s, want copied pending", i, states)
		}
	}
	// The input can be stricter than the flow.
	env.task(set.with("onPartial", "fail")).wantTask("partial", "Failed")
	// A refusal at one target still refuses the whole step.
	pushImage(env.dev, cart, "1.2", 5, 1, 300)
	pushImage(env.prod, cart, "1.2", 6, 1, 300)
	env.taskOf(env.run.Stage("Seal", env.connection), inputs{"action": "seal", "source": prodHost + "/" + cart + ":1.2"}).want("done")
	env.task(set).want("refused")
	env.prod.RemoveTag(cart, "1.2")
	down()
	o = env.task(set).want("done")
	if uploads(o.requests, devHost) != 0 || uploads(o.requests, dev2Host) == 0 || held(cart, "1.0", env.dev, env.dev2) != "contosodev contosodev2" {
		t.Errorf("the rerun wrote %d to DEV, %d to the other", uploads(o.requests, devHost), uploads(o.requests, dev2Host))
	}
	if o = env.task(set).want("done"); o.output["changed"] != "false" {
		t.Error("nothing was left, and something changed")
	}
}

// TestTargetStopsResponding checks that a target that stops responding during the
// copy is not tried with every remaining image, and that the other gets them all.
func TestTargetStopsResponding(t *testing.T) {
	env := newTestEnv(t)
	env.stage.Begin()
	const images = 45
	var lines []string
	for i := range images {
		pushImage(env.prod, fmt.Sprintf("base/image-%d", i), "1.0", 100+i, 1, 100)
		lines = append(lines, fmt.Sprintf("base/image-%d:1.0", i))
	}
	silent := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.Host, dev2Host) && r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v2/") {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	set := inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "base", "images": strings.Join(lines, "\n")}
	o := env.task(set).want("partial").says(dev2Host)
	tried := map[string]bool{}
	for _, r := range o.requests {
		if r.Host == dev2Host && r.Method == http.MethodPost && strings.HasPrefix(r.Path, "/v2/") {
			tried[r.Path] = true
		}
	}
	if len(tried) < 3 || len(tried) > images-5 {
		t.Errorf("%d of %d images were tried at the silent target", len(tried), images)
	}
	for i := range images {
		if env.dev.TagDigest(fmt.Sprintf("base/image-%d", i), "1.0") == "" {
			t.Errorf("the other lacks image %d", i)
		}
	}
	silent()
	env.task(set).want("done")
}

// TestDeniedTarget checks that only the target that denies access fails.
func TestDeniedTarget(t *testing.T) {
	env := newTestEnv(t)
	env.three()
	env.ready()
	env.dev2.Revoke(clientID)
	set := inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "released", "images": "shop/*:*"}
	env.task(set).wantTask("partial", "SucceededWithIssues").says(dev2Host, "AcrPush")
	if held("shop/pay", "1.0", env.dev, env.dev2) != "contosodev" {
		t.Error("the other has not got it")
	}
}

// TestParallelJobs checks that parallel jobs share the repositories, that each
// requires the same code, and that audit covers all of them.
func TestParallelJobs(t *testing.T) {
	const jobs, repositories = 3, 9
	env := newTestEnv(t)
	env.prod.Grant(clientID, "**", sim.CatalogLister...)
	var members, references []string
	for i := range repositories {
		repository := "shop/app" + strconv.Itoa(i)
		for _, tag := range []string{"1.0", "1.1"} {
			image := pushImage(env.prod, repository, tag, 20+2*i+len(tag)+int(tag[2]), 1, 400)
			env.prod.SetTagLock(repository, tag, false, false)
			env.recordIn(env.prod, repository, image, env.run)
			env.attest(env.run.Stage("Build"), image)
			members = append(members, repository+"@"+image.Digest)
			references = append(references, repository+":"+tag)
		}
	}
	all := setDigest(members...)
	env.approve(manager, code(t, all))
	flows := env.flowFile(strings.Replace(sandbox, "environment: Production}", "environment: Production, code: true}", 1))
	set := inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": "shop/*:*"}
	job := func(kind string, position, total int) func(*fakeagent.Environment) {
		return func(e *fakeagent.Environment) {
			e.Parallel = &fakeagent.ParallelJob{Kind: kind, Position: position, Total: total}
		}
	}
	audit := set.with("action", "audit")
	env.task(audit).want("failed")

	// With two of three jobs the set is incomplete, and audit says what is missing.
	outcomes := make([]outcome, jobs)
	run := func(positions ...int) {
		var group sync.WaitGroup
		for _, n := range positions {
			p := env.start(env.environ(env.stage, set, job("MultiMachine", n, jobs)))
			group.Go(func() {
				_ = p.command.Wait()
			})
			defer func() {
				p.cancel()
				o := outcome{t: t, environ: p.environ, code: p.command.ProcessState.ExitCode(), stdout: p.stdout.String(), stderr: p.stderr.String(), output: map[string]string{}}
				o.read(true)
				outcomes[n-1] = o
			}()
		}
		group.Wait()
	}
	run(1, 2)
	env.task(audit).wantTask("partial", "SucceededWithIssues")
	run(3)
	seen := map[string]int{}
	for n, o := range outcomes {
		o.want("done")
		if o.at("approvalCode") != code(t, all) || o.output["digest"] != all {
			t.Errorf("job %d: code %v, digest %s; want the ones of the whole set", n+1, o.at("approvalCode"), o.output["digest"])
		}
		images := o.at("images").([]any)
		if len(images) == 0 || len(images) == 2*repositories {
			t.Errorf("job %d has %d images of %d", n+1, len(images), 2*repositories)
		}
		for _, image := range images {
			seen[image.(map[string]any)["source"].(string)]++
		}
	}
	for _, r := range references {
		if seen[prodHost+"/"+r] != 1 {
			t.Errorf("%s was brought by %d jobs", r, seen[prodHost+"/"+r])
		}
	}
	if o := env.task(audit).want("done"); len(o.at("images").([]any)) != 2*repositories {
		t.Errorf("audit saw %d images", len(o.at("images").([]any)))
	}
	// Jobs of a matrix differ by their variables: each has the whole set. If there
	// are more jobs than repositories, some have nothing to do.
	if o := env.task(set, job("MultiConfiguration", 2, 3)).want("done"); len(o.at("images").([]any)) != 2*repositories {
		t.Errorf("a matrix job has %d images", len(o.at("images").([]any)))
	}
	busy := 0
	for n := range 4 {
		o := env.task(set.with("images", "shop/app1:1.0", "flowFile", env.flowFile(sandbox)), job("MultiMachine", n+1, 4)).want("done")
		busy += len(o.at("images").([]any))
		if o.output["digest"] != setDigest(members[2]) {
			t.Errorf("job %d of 4 reports the digest %s", n+1, o.output["digest"])
		}
	}
	if busy != 1 {
		t.Errorf("%d jobs took the one image", busy)
	}
}
