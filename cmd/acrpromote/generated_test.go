package main_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

var (
	combinations     = flag.Int("combinations", 150, "how many generated combinations to run")
	firstCombination = flag.Int("first", 0, "the first generated combination; with -combinations 1, the only one")
)

// combination is one run of the program in one state of the services. It begins as
// a valid world of its kind, whose action would be done, and is then changed in up
// to three ways.
type combination struct {
	*testEnv
	scan       *sim.Check
	number     int
	random     *rand.Rand
	kind       string
	action     string // that moves or seals the image, where the step verifies
	in         inputs
	flows      string // the text of the flow file, "" for none
	folder     string // of its repositories
	repository string
	approval   bool            // the world requires an approval by a person
	sealed     bool            // the image is sealed
	seal       bool            // the world requires that
	unapproved bool            // the approval is not one that counts
	unread     bool            // it cannot be read
	writes     bool            // something may go wrong only when the program writes
	stops      bool            // no correct program ends done
	bad        map[string]bool // digests that are no image
	names      []string
	forbidden  map[string]int // runs that must not have ended done, by the reason

	image  descriptor
	before []func() // the approval
	decide func() error
	after  []func() // the approval
	agent  []func(*fakeagent.Environment)
	undo   []func()
}

// generatedFlows covers each kind of world by a flow of its own.
const generatedFlows = `version: 1
trust: [sandbox, staging, production]
registries:
  prod: {host: ` + prodHost + `, trust: staging}
  dev: {host: ` + devHost + `, trust: sandbox}
  top: {host: ` + dev2Host + `, trust: production}
flows:
  released: {from: prod, to: [dev], repositories: [down/**], require: {approval: {environment: Production}, branches: [refs/heads/main]}}
  base: {from: prod, to: [dev], repositories: [base/**], require: {approval: {kind: none}, sealed: false}}
  checked: {from: prod, to: [dev], repositories: [checked/**], require: {approval: {kind: automated, checks: [{definition: CHECK, resource: Production}]}}}
  either: {from: prod, to: [dev], repositories: [either/**], require: {approval: {kind: any, environment: Production, checks: [{definition: CHECK, resource: Production}]}}}
  up: {from: prod, to: [top], repositories: [up/**], require: {approval: {environment: Production}}}
  within: {from: prod, to: [prod], repositories: [within/**], movingTags: [live], require: {approval: {environment: Production}}}
`

// kinds are the valid worlds, by the first part of the image's repository.
var kinds = []struct {
	name, action   string
	flow           bool
	approval, seal bool
	more           []string // inputs
}{
	{"down", "invertedPush", true, true, true, nil},
	{"down", "invertedPush", true, true, true, []string{"targets", devHost}},
	{"base", "invertedPush", true, false, false, nil},
	{"checked", "invertedPush", true, false, true, nil},
	{"either", "invertedPush", true, false, true, nil},
	{"up", "promote", true, true, false, nil},
	{"within", "promote", true, true, false, []string{"targets", "HERE:live"}},
	{"direct", "invertedPush", false, true, true, []string{"targets", devHost, "environment", "Production"}},
	{"direct", "invertedPush", false, true, true, []string{"targets", devHost + "\n" + dev2Host, "environment", "Production"}},
	{"direct", "promote", false, true, false, []string{"targets", "HERE:stable", "environment", "Production"}},
	{"direct", "seal", false, false, false, nil},
	{"down", "seal", true, false, false, nil},
	{"down", "audit", true, false, false, nil},
	{"direct", "audit", false, false, false, []string{"targets", devHost}},
}

// change changes a world in one way.
type change struct {
	name string
	do   func(c *combination)
}

// input sets inputs to one of several values.
func input(name string, values ...string) change {
	return change{name, func(c *combination) {
		value := values[c.random.IntN(len(values))]
		c.in = c.in.with(name, strings.NewReplacer("HERE", prodHost+"/"+c.repository, "REPOSITORY", c.repository, "FOLDER", c.folder).Replace(value))
		c.names = append(c.names, fmt.Sprintf("=%q", value))
	}}
}

// flowText replaces a part of the flow file, if the world has one.
func flowText(name, old, replacement string) change {
	return change{"flow file: " + name, func(c *combination) { c.flows = strings.ReplaceAll(c.flows, old, replacement) }}
}

// decided has something else become of the approval. Only with an approval or
// without a required one may the step end done.
func decided(name string, granted bool, do func(c *combination) error) change {
	return change{"approval: " + name, func(c *combination) {
		c.decide = func() error { return do(c) }
		c.unapproved = !granted
	}}
}

// fault has requests of a registry go wrong. One that writes cannot be known before.
func fault(name string, f sim.Fault, writes bool) change {
	return change{"registry: " + name, func(c *combination) {
		c.after = append(c.after, func() { c.undo = append(c.undo, c.cloud.Script(f).Stop) })
		c.writes = c.writes || writes
	}}
}

func registryBefore(name string, do func(c *combination)) change {
	return change{"registry: " + name, func(c *combination) { c.before = append(c.before, func() { do(c) }) }}
}

func registryAfter(name string, do func(c *combination)) change {
	return change{"registry: " + name, func(c *combination) { c.after = append(c.after, func() { do(c) }) }}
}

var zeros = "sha256:" + strings.Repeat("0", 64)

// changes are what may be different from a valid world.
var changes = []change{
	input("approvalCode", "true", "image", "plan", "false"),
	input("minApprovers", "1", "2", "0", "-1"),
	input("approvers", "release.manager@example.com", "security.officer@example.com", "[shop]\\Nobody"),
	input("commentPattern", "released", "CHG[0-9]+", "("),
	input("approvalMaxAge", "72h", "1h", "x", "0s"),
	input("digest", zeros, "sha256:x"),
	{"digest of the image", func(c *combination) {
		c.after = append(c.after, func() { c.in = c.in.with("digest", c.image.Digest) })
	}},
	{"source by digest", func(c *combination) {
		c.after = append(c.after, func() {
			if c.in["source"] != "" {
				c.in = c.in.with("source", prodHost+"/"+c.repository+"@"+c.image.Digest)
			}
		})
	}},
	input("source", "HERE:absent", "HERE", devHost+"/REPOSITORY:1.4.2", prodHost+"/other/x:1", "x", "HERE@"+zeros, "HERE@sha256:x", "https://HERE:1.4.2", strings.ToUpper(prodHost)+"/REPOSITORY:1.4.2"),
	input("targets", "", devHost, dev2Host, devHost+"\n"+dev2Host, devHost+"/renamed/REPOSITORY", devHost+"/REPOSITORY:other", "HERE:live", "HERE:1.4.2", "HERE", prodHost, "nowhere.azurecr.io", "bad target", " \n ", devHost+"\n"+devHost),
	input("environment", "", "Production", "PRODUCTION", "Other", "endpoint:release-identity", "endpoint:"),
	input("approval", "manual", "automated", "any", "none"),
	input("approvalStage", "Released", "Build", "Nowhere"),
	input("requesterCanApprove", "true", "false", "maybe"),
	input("authorCanApprove", "true", "false"),
	input("sealed", "true", "false"),
	input("lock", "none", "tag", "image", "all"),
	input("moveTag", "true", "false"),
	input("deep", "true"),
	input("referrers", "false", "true"),
	input("onPartial", "warn", "fail"),
	input("dryRun", "true"),
	input("postDeployment", "true"),
	input("flow", "released", "base", "checked", "up", "within", "unknown"),
	input("flowFile", "", "missing.yml", "Rules@refs/heads/none:flows.yml", "/etc/passwd"),
	input("images", "FOLDER/*:*", "REPOSITORY:1.4.2", "REPOSITORY:1.*\nFOLDER/none:1"),
	input("unknownInput", "x"),
	input("action", "seal", "promote", "invertedPush", "verify", "audit", "recall"),
	{"a set", func(c *combination) {
		if c.flows != "" {
			c.in = c.in.with("source", "", "targets", "", "flow", map[string]string{"down": "released"}[c.kind])
			if c.in["flow"] == "" {
				c.in = c.in.with("flow", c.kind)
			}
			c.in = c.in.with("images", []string{c.folder + "/*:*", c.repository + ":1.4.2", c.repository + ":>=1 <2"}[c.random.IntN(3)])
		}
	}},
	{"dry run", func(c *combination) { c.in = c.in.with("dryRun", "true") }},

	flowText("another branch", "refs/heads/main", "refs/heads/release"),
	flowText("no branches", ", branches: [refs/heads/main]", ""),
	flowText("broken", "flows:", "flows: ["),
	flowText("unknown key", "version: 1", "version: 1\nunknown: true"),
	flowText("a seal everywhere", "require: {", "require: {sealed: true, "),
	flowText("two approvers", "environment: Production", "environment: Production, minApprovers: 2"),
	flowText("a code", "environment: Production", "environment: Production, code: true"),
	flowText("a required SBOM", "require: {", "require: {attached: [{artifactType: application/spdx+json}], "),
	flowText("excluded types", "require:", "referrers: {exclude: [application/spdx+json]}, require:"),
	flowText("locks", "require:", "lock: tag, require:"),
	flowText("other repositories", "/**]", "/other/*]"),
	flowText("another name", "require:", `as: {repository: "released/{repository}"}, require:`),
	flowText("teams", "require:", "teams: {dev: [none/*]}, require:"),
	flowText("immutable", "trust: staging}", "trust: staging, immutable: true}"),

	decided("pending", false, func(c *combination) error { return nil }),
	decided("rejected", false, func(c *combination) error { return c.stage.Reject(manager, "no") }),
	decided("by the requester", false, func(c *combination) error { return c.stage.Approve(developer, "released") }),
	decided("bypassed", false, func(c *combination) error { c.stage.Bypass(officer); return nil }),
	decided("skipped", false, func(c *combination) error { c.stage.Skip(); return nil }),
	decided("cancelled", false, func(c *combination) error { c.stage.Cancel(); return nil }),
	decided("timed out", false, func(c *combination) error { c.stage.TimeOut(); return nil }),
	decided("deferred", false, func(c *combination) error { return c.stage.Defer(manager, time.Now().Add(time.Hour), "later") }),
	decided("deferred and elapsed", true, func(c *combination) error {
		err := c.stage.Defer(manager, time.Now().Add(time.Millisecond), "later")
		c.stage.Elapse(false)
		return err
	}),
	decided("with a number", true, func(c *combination) error { return c.stage.Approve(manager, "released CHG123") }),
	decided("rejected by the check", true, func(c *combination) error {
		return errors.Join(c.stage.SetCheck(c.scan, "rejected"), c.stage.Approve(manager, "released"))
	}),
	decided("with the code", true, func(c *combination) error { return c.stage.Approve(manager, code(c.t, c.image.Digest)) }),
	{"Azure DevOps: approvals are denied", func(c *combination) { c.denied(sim.Approvals) }},
	{"Azure DevOps: builds are denied", func(c *combination) { c.denied(sim.Builds) }},
	{"Azure DevOps: check suites are denied", func(c *combination) { c.denied(sim.CheckSuites) }},
	{"Azure DevOps: attachments are denied", func(c *combination) { c.denied(sim.Attachments) }},
	{"Azure DevOps: an unknown status", func(c *combination) {
		c.unread = true
		c.after = append(c.after, func() {
			c.run.MutateApprovals(func(d map[string]any) {
				for _, a := range d["value"].([]any) {
					a.(map[string]any)["status"] = "maybe"
				}
			})
		})
	}},

	registryBefore("several platforms", func(c *combination) { c.image = pushIndex(c.prod, c.repository, release, 10_000+c.number) }),
	{"registry: not sealed", func(c *combination) { c.sealed = false }},
	registryBefore("an SBOM", func(c *combination) { orasSBOM.put(c.prod, c.repository, c.image) }),
	registryBefore("a signature under a digest tag", func(c *combination) { signature.under(c.image, ".sig").put(c.prod, c.repository, c.image) }),
	registryBefore("a runnable image is attached", func(c *combination) { program.put(c.prod, c.repository, c.image) }),
	registryAfter("something attached late", func(c *combination) { orasSBOM.put(c.prod, c.repository, c.image) }),
	registryAfter("a forged seal record", func(c *combination) {
		testimage.Attach(c.prod, c.repository, c.image, recordType, []byte(`{"schema":"acrpromote/seal/v1","digest":"`+zeros+`"}`))
	}),
	registryAfter("a seal record that is no JSON", func(c *combination) { testimage.Attach(c.prod, c.repository, c.image, recordType, []byte(`[`)) }),
	registryAfter("the tag moved", func(c *combination) {
		pushImage(c.prod, c.repository, release, 999, 1, 300)
	}),
	registryAfter("the target has the image", func(c *combination) {
		for _, r := range []*sim.Registry{c.dev, c.dev2} {
			c.copyTo(r, release)
		}
	}),
	registryAfter("the target has another image", func(c *combination) {
		for _, r := range []*sim.Registry{c.dev, c.dev2} {
			pushImage(r, c.repository, release, 998, 1, 300)
		}
		pushImage(c.prod, c.repository, "live", 998, 1, 300)
	}),
	registryAfter("the target is locked", func(c *combination) {
		for _, r := range []*sim.Registry{c.dev, c.dev2} {
			pushImage(r, c.repository, "locked", 997, 1, 300)
			r.SetRepositoryLock(c.repository, false, false)
		}
		c.writes = true
	}),
	registryAfter("a layer is missing", func(c *combination) {
		for _, blob := range c.prod.Blobs(c.repository) {
			c.prod.RemoveBlob(c.repository, blob)
		}
		c.writes = true
	}),
	registryAfter("the manifest has other bytes", func(c *combination) {
		c.prod.Corrupt(c.image.Digest, func(b []byte) []byte { return b[:len(b)-1] })
		c.bad[c.image.Digest] = true
	}),
	registryBefore("the image is not JSON", func(c *combination) {
		c.image.Digest = c.prod.Push(c.repository, release, testimage.ManifestType, []byte("not JSON"))
		c.bad[c.image.Digest] = true
	}),
	registryBefore("the image is an index of nothing", func(c *combination) {
		content := []byte(`{"schemaVersion":2,"mediaType":"` + testimage.IndexType + `","manifests":[]}`)
		c.image = testimage.Describe(testimage.IndexType, content)
		c.prod.Push(c.repository, release, testimage.IndexType, content)
	}),
	fault("the source is throttled", sim.Fault{Host: prodHost, Times: 2, Do: sim.Throttle(0)}, false),
	fault("the source answers 500", sim.Fault{Host: prodHost, Path: "^/v2/", Times: sim.Always, Do: sim.Status(http.StatusInternalServerError)}, true),
	fault("the target denies", sim.Fault{Host: devHost, Path: "^/v2/", Times: sim.Always, Do: sim.Refuse(http.StatusForbidden, "DENIED", "no")}, true),
	fault("the target denies writes", sim.Fault{Host: devHost, Method: "PUT POST PATCH", Path: "^/v2/", Times: sim.Always, Do: sim.Refuse(http.StatusForbidden, "DENIED", "no")}, true),
	fault("the target is reset", sim.Fault{Host: devHost, Method: "PUT", Times: 1, Do: sim.Reset()}, true),
	fault("the target loses a response", sim.Fault{Host: devHost, Method: "PUT", Path: "/manifests/", Times: 1, Do: sim.Lose()}, true),
	fault("the second target denies", sim.Fault{Host: dev2Host, Path: "^/v2/", Times: sim.Always, Do: sim.Refuse(http.StatusForbidden, "DENIED", "no")}, true),
	fault("the source denies locks", sim.Fault{Host: prodHost, Method: "PATCH", Times: sim.Always, Do: sim.Refuse(http.StatusForbidden, "DENIED", "no")}, true),
	fault("lists are not JSON", sim.Fault{Host: prodHost, Path: "/(referrers|tags|_tags|_manifests)", Times: sim.Always, Do: sim.Flip(0)}, true),
	{"registry: the target is unreachable", func(c *combination) {
		c.writes = true
		c.after = append(c.after, func() {
			c.prodNetwork.Block(devHost)
			c.undo = append(c.undo, func() { c.prodNetwork.Block() })
		})
	}},

	{"environment: a proxy", func(c *combination) { c.set("HTTPS_PROXY", "http://127.0.0.1:1") }},
	{"environment: NODE_OPTIONS", func(c *combination) { c.set("NODE_OPTIONS", "--require=x") }},
	{"environment: GODEBUG", func(c *combination) { c.set("GODEBUG", "http2debug=2"); c.stops = true }},
	{"environment: another stage", func(c *combination) { c.set("SYSTEM_STAGENAME", "Other") }},
	{"environment: another job", func(c *combination) { c.set("SYSTEM_JOBID", clientID) }},
	{"environment: no connection", func(c *combination) { c.agent = append(c.agent, connected("azureSubscription")) }},
}

// approvals are the changes that are about an approval, which come more often.
var approvals = slices.DeleteFunc(slices.Clone(changes), func(c change) bool { return !strings.HasPrefix(c.name, "approval: ") })

// set sets a variable as the step's env: does.
func (c *combination) set(name, value string) {
	c.agent = append(c.agent, func(e *fakeagent.Environment) {
		if e.Env == nil {
			e.Env = map[string]string{}
		}
		e.Env[name] = value
	})
}

// denied has Azure DevOps deny a kind of records.
func (c *combination) denied(kind string) {
	c.unread = c.unread || kind != sim.Attachments
	c.after = append(c.after, func() {
		c.project.Deny(kind)
		c.undo = append(c.undo, func() { c.project.Allow(kind) })
	})
}

// copyTo puts the image into another registry.
func (c *combination) copyTo(r *sim.Registry, tag string) {
	for _, digest := range append(c.prod.Digests(c.repository), c.image.Digest) {
		media, content, _ := c.prod.Manifest(c.repository, digest)
		r.Push(c.repository, "", media, content)
	}
	for _, digest := range c.prod.Blobs(c.repository) {
		content, _ := c.prod.Blob(c.repository, digest)
		r.PutBlob(c.repository, content)
	}
	if media, content, ok := c.prod.Manifest(c.repository, c.image.Digest); ok {
		r.Push(c.repository, tag, media, content)
	}
}

// newCombination returns a combination that is only determined by its number.
func newCombination(env *testEnv, scan *sim.Check, number int) *combination {
	c := &combination{testEnv: env, scan: scan, number: number, random: rand.New(rand.NewPCG(11, uint64(number))), sealed: true, bad: map[string]bool{}, forbidden: map[string]int{}}
	k := kinds[c.random.IntN(len(kinds))]
	c.kind, c.action, c.approval, c.seal = k.name, k.action, k.approval, k.seal
	c.folder = fmt.Sprintf("%s/c%d", k.name, number)
	c.repository = c.folder + "/cart"
	c.in = inputs{"action": k.action, "source": prodHost + "/" + c.repository + ":" + release}
	for i := 0; i+1 < len(k.more); i += 2 {
		c.in[k.more[i]] = strings.ReplaceAll(k.more[i+1], "HERE", prodHost+"/"+c.repository)
	}
	if k.flow {
		c.flows = strings.ReplaceAll(generatedFlows, "CHECK", fmt.Sprint(scan.ID()))
	}
	switch {
	case k.action == "audit":
		c.after = append(c.after, func() { c.copyTo(c.dev, release) })
	case k.action == "seal" && k.flow:
		c.sealed = false
	case c.random.IntN(4) == 0:
		c.in["action"] = "verify"
	case k.action == "seal":
		c.sealed = c.random.IntN(2) == 0
	}
	c.decide = func() error { return c.stage.Approve(manager, "released") }
	for range []int{0, 1, 1, 2, 2, 2, 3}[c.random.IntN(7)] {
		change := changes[c.random.IntN(len(changes))]
		if c.random.IntN(6) == 0 {
			change = approvals[c.random.IntN(len(approvals))]
		}
		c.names = append(c.names, change.name)
		change.do(c)
	}
	return c
}

func (c *combination) String() string {
	return fmt.Sprintf("%s of %s, changed: %s\ninputs %q\n%s", c.action, c.kind, strings.Join(c.names, ", "), c.in, c.flows)
}

// build makes the state of the services, and begins the stage that runs the step.
func (c *combination) build() {
	c.queue()
	// No other combination has this image: what is broken stays so in the whole registry.
	c.image = pushImage(c.prod, c.repository, release, 10_000+c.number, 2, 500)
	for _, do := range c.before {
		do()
	}
	if c.sealed {
		c.attest(c.run.Stage("Build"), c.image)
		c.recordIn(c.prod, c.repository, c.image, c.run)
		c.prod.SetTagLock(c.repository, release, false, false)
		c.prod.SetManifestLock(c.repository, c.image.Digest, true, false)
	}
	// Its checks pass when the stage is created.
	c.stage = c.run.Stage("Released", c.environment, c.connection)
	// An approval that nobody may give stays open.
	_ = c.decide()
	c.stage.Begin()
	for _, do := range c.after {
		do()
	}
	if c.flows != "" {
		if _, ok := c.in["flowFile"]; !ok {
			c.in = c.in.with("flowFile", c.flowFile(c.flows))
		}
	}
}

// mustNotEndDone reports why no correct program ends done, "" if one may.
func (c *combination) mustNotEndDone(in inputs) string {
	used := c.image.Digest
	if strings.HasSuffix(in["source"], ":"+release) {
		used = c.prod.TagDigest(c.repository, release)
	}
	moves := slices.Contains([]string{"promote", "invertedPush"}, in["action"]) || in["action"] == "verify" && strings.TrimSpace(in["flowFile"]+in["targets"]) != ""
	switch {
	case c.stops:
		return "a variable is misuse"
	case c.bad[used]:
		return "the image is not one"
	case c.approval && c.unapproved && moves && in["requesterCanApprove"] != "true":
		return "nobody approved it"
	case c.approval && c.unread && moves:
		return "the approval cannot be read"
	case c.seal && !c.sealed && in["action"] == "invertedPush":
		return "it is not sealed"
	}
	return ""
}

// outcomeOf runs the program with the inputs, and checks what holds for every run.
func (c *combination) outcomeOf(in inputs) outcome {
	o := c.task(in, c.agent...)
	bad := func(format string, args ...any) {
		c.t.Errorf("%s\n%s\n%s", fmt.Sprintf(format, args...), c, o.against())
	}
	ended := fmt.Sprint(o.result["outcome"])
	want := map[string]string{"done": "Succeeded", "cancelled": "Canceled"}[ended]
	if want == "" {
		want = "Failed"
	}
	if ended == "partial" && o.task == "SucceededWithIssues" {
		want = o.task
	}
	if o.task != want {
		bad("%s is reported as %s", ended, o.task)
	}
	why := c.mustNotEndDone(in)
	if why != "" {
		c.forbidden[why]++
	}
	refusals, problems := o.at("refusals").([]any), o.at("errors").([]any)
	switch ended {
	case "done":
		if len(refusals) > 0 || len(problems) > 0 {
			bad("done in spite of that")
		}
		if why != "" {
			bad("done, but %s", why)
		}
	case "refused":
		if len(refusals) == 0 {
			bad("refused without a rule")
		}
	case "misuse", "failed":
		if len(problems) == 0 {
			bad("%s without an error", ended)
		}
	case "partial":
	default:
		bad("the outcome is %s", ended)
	}
	if written := len(writes(o.requests)) > 0; o.at("changed") == true && !written || ended == "done" && o.at("changed") == false && written {
		bad("changed is %v, written: %v", o.at("changed"), writes(o.requests))
	}
	for _, r := range []*sim.Registry{c.dev, c.dev2, c.prod} {
		for _, image := range o.at("images").([]any) {
			for _, target := range image.(map[string]any)["targets"].([]any) {
				t := target.(map[string]any)
				if t["registry"] != r.Host() || t["tag"] == "" {
					continue
				}
				repository, tag := fmt.Sprint(t["repository"]), fmt.Sprint(t["tag"])
				there := r.TagDigest(repository, tag)
				if there != "" && len(writes(o.requests)) > 0 && there == image.(map[string]any)["digest"] && len(lacking(r, repository, tag)) > 0 {
					bad("%s/%s:%s lacks %v", r.Host(), repository, tag, lacking(r, repository, tag))
				}
				if wrote := ended == "done" && in["action"] != "verify" && o.at("dryRun") == false; wrote && there != image.(map[string]any)["digest"] {
					bad("done, and %s/%s:%s points at %q, not at %v", r.Host(), repository, tag, there, image.(map[string]any)["digest"])
				}
			}
		}
	}
	return o
}

// try runs the combination, and returns its action and outcome.
func (c *combination) try() string {
	c.build()
	defer func() {
		for _, undo := range c.undo {
			undo()
		}
	}()
	o := c.outcomeOf(c.in)
	ended := fmt.Sprint(o.result["outcome"])
	if len(c.names) == 0 && ended != "done" {
		c.t.Errorf("a valid world ended %s\n%s\n%s", ended, c, o.against())
	}
	switch {
	case ended != "done":
	case c.in["action"] == "verify":
		c.wouldEndDone()
	case c.random.IntN(4) == 0 && c.in["action"] != "audit" && o.at("dryRun") == false:
		again := c.outcomeOf(c.in)
		if again.result["outcome"] != "done" || again.result["changed"] != false {
			c.t.Errorf("a rerun ended %v, changed %v\n%s\n%s", again.result["outcome"], again.result["changed"], c, again.against())
		}
	}
	return c.in["action"] + " " + ended
}

// wouldEndDone checks that an action does what verify ended done for.
func (c *combination) wouldEndDone() {
	var told []string
	for _, action := range []string{c.action, "invertedPush", "promote", "seal"} {
		in := c.in.with("action", action, "dryRun", "true")
		o := c.outcomeOf(in)
		told = append(told, fmt.Sprintf("%s: %v %s", action, o.result["outcome"], o.against()))
		if o.result["outcome"] != "done" {
			continue
		}
		o = c.outcomeOf(c.in.with("action", action, "dryRun", ""))
		if ended := o.result["outcome"]; ended != "done" && (!c.writes || ended == "refused" || ended == "misuse") {
			c.t.Errorf("verify and the dry run of %s are done, and it ended %v\n%s\n%s", action, ended, c, o.against())
		}
		return
	}
	c.t.Errorf("verify is done, and no action would be\n%s\n%s", c, strings.Join(told, "\n"))
}

// TestAnyInputsEndInAResult runs the program in generated states of registries,
// approvals and flow files, with generated inputs. Every run must end in exactly one
// outcome with a valid result.json, without a panic, and without a write after a
// refusal: hold checks that of every run. Where the approval does not count, no run
// ends done; verify ends done only where the action does.
//
// More combinations: go test ./cmd/acrpromote -run TestAnyInputs -args -combinations 3000
func TestAnyInputsEndInAResult(t *testing.T) {
	const inOneCloud = 25
	outcomes, forbidden := map[string]int{}, map[string]int{}
	var mu sync.Mutex
	t.Run("in clouds", func(t *testing.T) {
		for first := *firstCombination; first < *firstCombination+*combinations; first += inOneCloud {
			t.Run(fmt.Sprint(first), func(t *testing.T) {
				env := newTestEnv(t)
				env.prod.Grant(clientID, "**", sim.CatalogLister...)
				scan := env.environment.AddCheck(sim.TaskCheck)
				for number := first; number < min(first+inOneCloud, *firstCombination+*combinations) && !t.Failed(); number++ {
					c := newCombination(env, scan, number)
					ended := c.try()
					if t.Failed() {
						t.Logf("combination %d", number)
					}
					mu.Lock()
					outcomes[ended]++
					for why, n := range c.forbidden {
						forbidden[why] += n
					}
					mu.Unlock()
				}
			})
		}
	})
	total := map[string]int{}
	for what, n := range outcomes {
		_, ended, _ := strings.Cut(what, " ")
		total[ended] += n
	}
	t.Logf("outcomes: %v\n%v\nnot allowed to end done: %v", total, outcomes, forbidden)
	if n := *combinations; n >= 150 && (total["done"] < n/4 || total["refused"] < n/4 || total["failed"] < n/20 || total["misuse"] < n/20) {
		t.Errorf("the combinations do not reach every outcome: %v", total)
	}
	if *combinations >= 150 && (forbidden["nobody approved it"] < *combinations/20 || len(forbidden) < 4) {
		t.Errorf("too few combinations must not end done: %v", forbidden)
	}
}
