package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// released returns the inputs of a minimal step that a flow with branches allows.
func (env *testEnv) released(flows string) inputs {
	return inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": env.flowFile(flows)}
}

// sealIn seals the image in a stage of a run, like a pipeline without a flow file.
func (env *testEnv) sealIn(run *sim.Run, more ...string) outcome {
	env.t.Helper()
	stage := run.Stage(fmt.Sprintf("Seal%d", time.Now().UnixNano()), env.connection)
	stage.Begin()
	defer stage.Finish("succeeded")
	return env.taskOf(stage, inputs{"action": "seal", "source": source}.with(more...))
}

// queued returns a run of the project that has started.
func (env *testEnv) queued(options sim.RunOptions) *sim.Run {
	options.RequestedFor, options.StartedAt = developer, env.clock.now().Add(-time.Minute)
	return env.project.QueueRun(options)
}

// TestBranchesBindImage checks that a flow with branches refuses an image that a run
// of another branch sealed, whatever run releases it.
func TestBranchesBindImage(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, cart, release, 1, 1, 300)
	feature := env.queued(sim.RunOptions{Branch: "refs/heads/feature/x"})
	env.sealIn(feature).want("done")
	env.approve(manager, "")
	o := env.task(env.released(sandbox)).refusedBy("branch").says("refs/heads/feature/x", "refs/heads/main", fmt.Sprint(feature.ID()))
	env.untouched(env.dev)
	if told := fmt.Sprint(o.at("approval", "rules")); !strings.Contains(told, "branch") {
		t.Errorf("the rule was not judged: %s", told)
	}
	env.task(env.released(sandbox).with("action", "verify")).refusedBy("branch")

	// Main seals the same image: it attaches its own record, and the first record
	// has no effect.
	if o := env.sealIn(env.run).want("done"); o.output["changed"] != "true" || len(o.seals) != 1 {
		t.Errorf("changed %s, attachments %v", o.output["changed"], o.seals)
	}
	if n := len(env.prod.Referrers(cart, image.Digest)); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
	o = env.task(env.released(sandbox)).want("done")
	if told := fmt.Sprint(o.at("approval", "rules")); !strings.Contains(told, fmt.Sprintf("claimed by run %d of refs/heads/main", env.run.ID())) || !strings.Contains(strings.Join(strings.Fields(o.stdout), " "), "claimed by run") {
		t.Errorf("the sealing run is not reported: %s", told)
	}
	// A rerun changes nothing and stores the attachment again.
	if o := env.sealIn(env.run).want("done"); o.output["changed"] != "false" || len(o.seals) != 1 {
		t.Errorf("changed %s, attachments %v", o.output["changed"], o.seals)
	}
	if n := len(env.prod.Referrers(cart, image.Digest)); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
	// A dry run stores nothing.
	if o := env.sealIn(env.run, "dryRun", "true").want("done"); len(o.seals) != 0 {
		t.Errorf("a dry run attached %v", o.seals)
	}
}

// TestForgedSeals checks that seal records written by others, and attachments stored
// by scripts under their own records, are not seals by a run of main.
func TestForgedSeals(t *testing.T) {
	hex := func(image descriptor) string { return strings.TrimPrefix(image.Digest, "sha256:") }
	elsewhere := func(edit func(link string) string) func(*testEnv, descriptor) {
		return func(env *testEnv, image descriptor) {
			env.recordIn(env.prod, cart, image, env.run)
			env.attest(env.run.Stage("Build"), image)
			env.run.MutateAttachments(func(d map[string]any) {
				for _, a := range d["value"].([]any) {
					self := a.(map[string]any)["_links"].(map[string]any)["self"].(map[string]any)
					self["href"] = edit(self["href"].(string))
				}
			})
		}
	}
	step := func(task, kind, name, result string) func(*testEnv, descriptor) {
		return func(env *testEnv, image descriptor) {
			env.recordIn(env.prod, cart, image, env.run)
			s := env.run.Stage("Build").Step(task)
			if name == "" {
				name = hex(image)
			}
			s.Attach(kind, name)
			if result != "" {
				s.End(result)
			}
		}
	}
	sealedBy := func(options sim.RunOptions) func(*testEnv, descriptor) {
		return func(env *testEnv, image descriptor) {
			run := env.queued(options)
			env.attest(run.Stage("Build"), image)
			env.recordIn(env.prod, cart, image, run)
		}
	}
	for _, c := range []struct {
		name string
		do   func(*testEnv, descriptor)
		says string // "" is let out
	}{
		{"sealed by this run", func(env *testEnv, image descriptor) { env.record(image) }, ""},
		{"sealed by another run of main", sealedBy(sim.RunOptions{}), ""},
		{"a record that names this run, and nothing else", func(env *testEnv, image descriptor) { env.recordIn(env.prod, cart, image, env.run) }, "no attachment"},
		{"a record that names another run of main", func(env *testEnv, image descriptor) {
			env.recordIn(env.prod, cart, image, env.queued(sim.RunOptions{}))
		}, "no attachment"},
		{"a record that names no run", func(env *testEnv, image descriptor) {
			testimage.Attach(env.prod, cart, image, recordType, recordOf(image))
		}, "outside any run"},
		{"a record of a seal at a prompt", func(env *testEnv, image descriptor) {
			testimage.Attach(env.prod, cart, image, recordType, fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q,"run":{"kind":"none"}}`, image.Digest))
		}, "outside any run"},
		{"a record that names a run that is not there", func(env *testEnv, image descriptor) {
			testimage.Attach(env.prod, cart, image, recordType, fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q,"run":{"kind":"yaml","project":"shop","id":99}}`, image.Digest))
		}, "404"},
		{"a record that names a release", func(env *testEnv, image descriptor) {
			testimage.Attach(env.prod, cart, image, recordType, fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q,"run":{"kind":"release","project":"shop","id":%d}}`, image.Digest, env.run.ID()))
		}, "release"},
		{"an attachment under a script's record", step("CmdLine", "acrpromote.seal", "", "succeeded"), "not stored under a step of this task"},
		{"under a step that failed", step("AcrPromote", "acrpromote.seal", "", "failed"), "has not succeeded"},
		{"under a step that was cancelled", step("AcrPromote", "acrpromote.seal", "", "canceled"), "has not succeeded"},
		{"under a step that failed and may", step("AcrPromote", "acrpromote.seal", "", "succeededWithIssues"), "has not succeeded"},
		{"under a step that still runs", step("AcrPromote", "acrpromote.seal", "", ""), "has not succeeded"},
		{"an attachment of another type", step("AcrPromote", "acrpromote.other", "", "succeeded"), "no attachment"},
		{"an attachment of another image", step("AcrPromote", "acrpromote.seal", strings.Repeat("a", 64), "succeeded"), "no attachment"},
		{"an attachment with half the digest", step("AcrPromote", "acrpromote.seal", strings.Repeat("a", 32), "succeeded"), "no attachment"},
		{"the link of another run", elsewhere(func(link string) string { return strings.Replace(link, "/builds/", "/builds/1", 1) }), "no attachment"},
		{"a link without a record", elsewhere(func(link string) string { return link[:strings.Index(link, "/builds/")] }), "no attachment"},
		{"a link that is invalid", elsewhere(func(string) string { return "%zz" }), "no attachment"},
		{"a link to another timeline", elsewhere(func(link string) string {
			parts := strings.Split(link, "/")
			parts[len(parts)-5] = "0d1a2b3c-0000-4000-8000-00000000000a"
			return strings.Join(parts, "/")
		}), "no attachment"},
		{"a link to the job", elsewhere(func(link string) string {
			parts := strings.Split(link, "/")
			parts[len(parts)-4] = parts[len(parts)-5]
			return strings.Join(parts, "/")
		}), "no attachment"},
		{"a feature branch", sealedBy(sim.RunOptions{Branch: "refs/heads/feature/x"}), "refs/heads/feature/x"},
		{"a branch that begins like main", sealedBy(sim.RunOptions{Branch: "refs/heads/main2"}), "refs/heads/main2"},
		{"a tag called main", sealedBy(sim.RunOptions{Branch: "refs/tags/main"}), "refs/tags/main"},
		{"a pull request", sealedBy(sim.RunOptions{Branch: "refs/pull/7/merge", Reason: "pullRequest"}), "refs/pull/7/merge"},
		{"another pipeline", sealedBy(sim.RunOptions{Pipeline: "playground"}), "is of pipeline"},
		{"another repository", sealedBy(sim.RunOptions{Repository: "fork"}), "another repository"},
		{"another project", func(env *testEnv, image descriptor) {
			other := env.organization.Project("playground")
			run := other.QueueRun(sim.RunOptions{Pipeline: "release"})
			env.attest(run.Stage("Build"), image)
			env.recordIn(env.prod, cart, image, run)
		}, "404"},
		{"another project that this one may read", func(env *testEnv, image descriptor) {
			other := env.organization.Project("playground")
			other.Admit(env.project)
			run := other.QueueRun(sim.RunOptions{Pipeline: "release"})
			env.attest(run.Stage("Build"), image)
			env.recordIn(env.prod, cart, image, run)
		}, "404"},
		{"a record that was attached before the run", func(env *testEnv, image descriptor) {
			env.clock.set(-time.Hour)
			env.recordIn(env.prod, cart, image, env.run)
			env.clock.set(0)
			env.attest(env.run.Stage("Build"), image)
		}, "before run"},
		{"a record that was attached after the step", func(env *testEnv, image descriptor) {
			env.attest(env.run.Stage("Build"), image).SetTimes(env.clock.now().Add(-time.Hour), env.clock.now().Add(-10*time.Minute))
			env.recordIn(env.prod, cart, image, env.run)
		}, "after the step"},
		{"a clock that is three minutes off", func(env *testEnv, image descriptor) {
			env.attest(env.run.Stage("Build"), image).SetTimes(env.clock.now().Add(-time.Hour), env.clock.now().Add(-3*time.Minute))
			env.recordIn(env.prod, cart, image, env.run)
		}, ""},
		{"another run's record for this one", func(env *testEnv, image descriptor) {
			env.run.MutateBuild(func(d map[string]any) {})
			run := env.queued(sim.RunOptions{Branch: "refs/heads/feature/x"})
			env.attest(run.Stage("Build"), image)
			run.MutateBuild(func(d map[string]any) { d["id"], d["sourceBranch"] = env.run.ID(), "refs/heads/main" })
			env.recordIn(env.prod, cart, image, run)
		}, "record of another"},
		{"a run without a repository", func(env *testEnv, image descriptor) {
			run := env.queued(sim.RunOptions{})
			env.attest(run.Stage("Build"), image)
			run.MutateBuild(func(d map[string]any) { delete(d, "repository") })
			env.recordIn(env.prod, cart, image, run)
		}, "another repository"},
		{"a run that does not say when it started", func(env *testEnv, image descriptor) {
			run := env.queued(sim.RunOptions{})
			env.attest(run.Stage("Build"), image)
			run.MutateBuild(func(d map[string]any) { delete(d, "startTime") })
			env.recordIn(env.prod, cart, image, run)
		}, "when it started"},
		{"many forged records, and a true one", func(env *testEnv, image descriptor) {
			for n := range 20 {
				testimage.Attach(env.prod, cart, image, recordType, fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q,"run":{"kind":"yaml","project":"shop","id":%d}}`, image.Digest, n+1))
			}
			env.record(image)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			image := pushImage(env.prod, cart, release, 1, 1, 300)
			env.lock(release)
			c.do(env, image)
			env.approve(manager, "")
			o := env.task(env.released(sandbox))
			if c.says == "" {
				o.want("done")
				return
			}
			o.refusedBy("branch").says(c.says)
			env.untouched(env.dev)
		})
	}
}

// TestSealingRunUnread checks that records that cannot be read are refused, and that
// the message says what to grant.
func TestSealingRunUnread(t *testing.T) {
	answer := func(path string, status int) func(*testEnv, *sim.Run) {
		return func(env *testEnv, run *sim.Run) {
			env.organization.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(strings.ToLower(r.URL.Path), fmt.Sprintf("/builds/%d%s", run.ID(), path)) {
					return false
				}
				if status == 200 {
					rw.Header().Set("Content-Type", "text/html")
				}
				rw.WriteHeader(status)
				return true
			})
		}
	}
	for name, deny := range map[string]func(*testEnv, *sim.Run){
		"the run, 403":              answer("", 403),
		"the run, 500":              answer("", 500),
		"its timeline, 403":         answer("/timeline", 403),
		"its attachments, 403":      answer("/attachments/acrpromote.seal", 403),
		"its attachments, 404":      answer("/attachments/acrpromote.seal", 404),
		"its attachments, a page":   answer("/attachments/acrpromote.seal", 200),
		"all attachments":           func(env *testEnv, _ *sim.Run) { env.project.Deny(sim.Attachments) },
		"its attachments, not JSON": func(env *testEnv, run *sim.Run) { run.MutateAttachments(func(d map[string]any) { delete(d, "value") }) },
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			image := pushImage(env.prod, cart, release, 1, 1, 300)
			env.lock(release)
			run := env.queued(sim.RunOptions{})
			env.attest(run.Stage("Build"), image)
			env.recordIn(env.prod, cart, image, run)
			env.approve(manager, "")
			deny(env, run)
			o := env.task(env.released(sandbox)).refusedBy("branch").says(fmt.Sprint(run.ID()))
			if strings.Contains(name, "403") {
				o.says("View builds", "shop Build Service (contoso)")
			}
			env.untouched(env.dev)
			// One readable record is enough.
			env.organization.RestoreAnswers()
			env.project.Allow(sim.Attachments)
			if strings.Contains(name, "JSON") {
				env.record(image)
				env.queue()
				env.approve(manager, "")
			}
			env.task(env.released(sandbox)).want("done")
		})
	}
}

// TestSealedBy tests flows that name the projects, pipelines and branches that seal.
func TestSealedBy(t *testing.T) {
	const repository = "shop-sources"
	flows := func(sealedBy string) string {
		return strings.Replace(sandbox, "      branches: [refs/heads/main]\n", "      branches: [refs/heads/main]\n      sealedBy: "+sealedBy+"\n", 1)
	}
	for _, c := range []struct {
		name, sealedBy string
		options        sim.RunOptions
		project        string
		admitted       bool
		says           string // "" is let out
	}{
		{"a build pipeline of its own", "{pipelines: [%d]}", sim.RunOptions{Pipeline: "build"}, "shop", false, ""},
		{"another pipeline", "{pipelines: [1, 2]}", sim.RunOptions{Pipeline: "build"}, "shop", false, "is of pipeline"},
		{"this pipeline, which is not named", "{pipelines: [1, 2]}", sim.RunOptions{}, "shop", false, "is of pipeline"},
		{"branches still hold", "{pipelines: [%d]}", sim.RunOptions{Pipeline: "build", Branch: "refs/heads/dev"}, "shop", false, "refs/heads/dev"},
		{"branches of its own", "{pipelines: [%d], branches: [refs/heads/dev]}", sim.RunOptions{Pipeline: "build", Branch: "refs/heads/dev"}, "shop", false, ""},
		{"branches of its own, not the flow's", "{branches: [refs/heads/dev]}", sim.RunOptions{}, "shop", false, "refs/heads/main"},
		{"all refs, and a pull request", "{branches: [refs/**]}", sim.RunOptions{Branch: "refs/pull/7/merge"}, "shop", false, "refs/pull/7/merge"},
		{"pull requests", "{branches: [refs/pull/**]}", sim.RunOptions{Branch: "refs/pull/7/merge"}, "shop", false, ""},
		{"another project by name", "{projects: [build], pipelines: [%d]}", sim.RunOptions{Pipeline: "build"}, "build", true, ""},
		{"another project by name in another case", "{projects: [BUILD], pipelines: [%d]}", sim.RunOptions{Pipeline: "build"}, "build", true, ""},
		{"another project by ID", "{projects: [%s], pipelines: [%d]}", sim.RunOptions{Pipeline: "build"}, "build", true, ""},
		{"another project that may not be read", "{projects: [build], pipelines: [%d]}", sim.RunOptions{Pipeline: "build"}, "build", false, "View builds"},
		{"another project than the one that is named", "{projects: [build], pipelines: [%d]}", sim.RunOptions{Pipeline: "build"}, "playground", true, "playground"},
		{"another repository", "{pipelines: [%d]}", sim.RunOptions{Pipeline: "build", Repository: "fork"}, "shop", false, "another repository"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			image := pushImage(env.prod, cart, release, 1, 1, 300)
			env.lock(release)
			env.run = env.queued(sim.RunOptions{Repository: repository})
			env.stage = env.run.Stage("Production", env.environment, env.connection)
			project := env.organization.Project(c.project)
			if c.admitted {
				project.Admit(env.project)
			}
			options := c.options
			options.StartedAt = env.clock.now().Add(-time.Minute)
			if options.Repository == "" {
				options.Repository = repository
			}
			run := project.QueueRun(options)
			env.attest(run.Stage("Build"), image)
			testimage.Attach(env.prod, cart, image, recordType, fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q,"run":{"kind":"yaml","project":%q,"id":%d}}`, image.Digest, c.project, run.ID()))
			env.approve(manager, "")
			sealedBy := strings.Replace(strings.Replace(c.sealedBy, "%d", fmt.Sprint(run.Pipeline()), 1), "%s", project.ID(), 1)
			o := env.task(env.released(flows(sealedBy)))
			if c.says == "" {
				o.want("done")
				return
			}
			o.refusedBy("branch").says(c.says)
			env.untouched(env.dev)
		})
	}
	// A run that no flow allows is refused when it seals.
	t.Run("when sealing", func(t *testing.T) {
		env := newTestEnv(t)
		pushImage(env.prod, cart, release, 1, 1, 300)
		env.sealIn(env.run, "flowFile", env.flowFile(flows("{pipelines: [1]}"))).refusedBy("branch").says("pipeline 1")
		env.sealIn(env.run, "flowFile", env.flowFile(flows("{projects: [build]}"))).refusedBy("branch").says("build")
		env.sealIn(env.run, "flowFile", env.flowFile(flows("{branches: [refs/heads/dev]}"))).refusedBy("branch").says("refs/heads/dev")
		env.sealIn(env.run, "flowFile", env.flowFile(flows(fmt.Sprintf("{pipelines: [%d], projects: [shop]}", env.run.Pipeline())))).want("done")
	})
}

// TestBranchesWithoutSeal checks that branches require a seal even if the flow does
// not, unless the flow explicitly allows images without one.
func TestBranchesWithoutSeal(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, cart, release, 1, 1, 300)
	env.approve(manager, "")
	move := func(require string) inputs {
		return inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stage", "flowFile": env.flowFile(`version: 1
trust: [production]
registries: {prod: {host: ` + prodHost + `, trust: production}}
flows: {stages: {from: prod, to: [prod], movingTags: [stage], require: {approval: {environment: Production}, ` + require + `}}}
`)}
	}
	env.task(move("branches: [refs/heads/main]")).refusedBy("branch").says("no seal record")
	env.task(move("branches: [refs/heads/main], sealed: true")).refusedBy("not-sealed")
	env.task(move("branches: [refs/heads/dev], sealed: false")).refusedBy("branch").says("refs/heads/dev")
	env.task(move("branches: [refs/heads/main], sealed: false").with("sealed", "true")).refusedBy("not-sealed")
	env.record(image)
	env.queue()
	env.approve(manager, "")
	env.task(move("branches: [refs/heads/main]")).want("done")
	env.tagged(env.prod, cart, "stage", image)
	t.Run("not sealed", func(t *testing.T) {
		env := newTestEnv(t)
		pushImage(env.prod, cart, release, 1, 1, 300)
		env.approve(manager, "")
		env.task(move("branches: [refs/heads/main], sealed: false")).want("done")
	})
}

// TestSealsProved checks that the result shows whether the run's author could have
// chosen what the sealing stage does.
func TestSealsProved(t *testing.T) {
	for _, c := range []struct {
		name  string
		guard func(env *testEnv)
		want  string
	}{
		{"a required template", func(env *testEnv) { env.connection.AddCheck(sim.RequiredTemplate) }, "proved: made by run"},
		{"no check", func(*testEnv) {}, "claimed by run"},
		{"another check", func(env *testEnv) { env.connection.AddCheck(sim.BusinessHours) }, "claimed by run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			pushImage(env.prod, cart, release, 1, 1, 300)
			c.guard(env)
			env.sealIn(env.run).want("done")
			env.approve(manager, "")
			o := env.task(env.released(sandbox)).want("done")
			if told := fmt.Sprint(o.at("approval", "rules")); !strings.Contains(told, c.want) || !strings.Contains(told, "refs/heads/main") {
				t.Errorf("rules %s, want one that says %q", told, c.want)
			}
		})
	}
	// A suite that cannot be read proves nothing, and refuses nothing.
	env := newTestEnv(t)
	env.connection.AddCheck(sim.RequiredTemplate)
	image := pushImage(env.prod, cart, release, 1, 1, 300)
	env.lock(release)
	run := env.queued(sim.RunOptions{})
	stage := run.Stage("Seal", env.connection)
	stage.Begin()
	env.attest(stage, image)
	stage.Finish("succeeded")
	env.recordIn(env.prod, cart, image, run)
	env.approve(manager, "")
	run.MutateSuite(func(d map[string]any) { d["id"] = "0d1a2b3c-0000-4000-8000-00000000000a" })
	if told := fmt.Sprint(env.task(env.released(sandbox)).want("done").at("approval", "rules")); !strings.Contains(told, "claimed by run") {
		t.Errorf("rules %s", told)
	}
}

// TestSealedAgain checks that a run of the right branch can seal an image again whose
// seal cannot be proved.
func TestSealedAgain(t *testing.T) {
	env := newTestEnv(t)
	env.clock.set(-4 * time.Hour)
	image := pushImage(env.prod, cart, release, 1, 1, 300)
	env.lock(release)
	// Like in version 1.0: a record without an attachment.
	old := env.queued(sim.RunOptions{})
	env.recordIn(env.prod, cart, image, old)
	env.clock.set(-2 * time.Hour)
	env.queue()
	env.approve(manager, "")
	env.task(env.released(sandbox)).refusedBy("branch").says("no attachment", "sealExisting")
	env.sealIn(env.run, "flowFile", env.flowFile(sandbox)).refusedBy("older-than-run")
	existing := strings.Replace(sandbox, "    onPartial: warn\n", "    onPartial: warn\n    sealExisting: true\n", 1)
	env.sealIn(env.run, "flowFile", env.flowFile(existing)).want("done")
	env.task(env.released(sandbox)).want("done")
	// The seal is proved now, so a later run adds no record.
	env.clock.set(0)
	env.queue()
	if o := env.sealIn(env.run, "flowFile", env.flowFile(existing)).want("done"); o.output["changed"] != "false" {
		t.Error("a record was added that nobody needs")
	}
	if n := len(env.prod.Referrers(cart, image.Digest)); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
	// A record that existed before the run is not a record of the run.
	t.Run("foretold", func(t *testing.T) {
		env := newTestEnv(t)
		image := pushImage(env.prod, cart, release, 1, 1, 300)
		env.clock.set(-time.Hour)
		env.recordIn(env.prod, cart, image, env.run)
		env.clock.set(0)
		if o := env.sealIn(env.run).want("done"); o.output["changed"] != "true" {
			t.Error("the run attached no record of its own")
		}
		env.approve(manager, "")
		env.task(env.released(sandbox)).want("done")
	})
}

// TestReleaseSealsItself checks that the record of the task proves the seal of a
// classic release that seals and releases.
func TestReleaseSealsItself(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 1, 300)
	flows := env.flowFile(strings.Replace(sandbox, ", environment: Production", "", 1))
	task := func(stage *sim.ReleaseStage, in inputs) outcome {
		stage.Begin()
		return env.taskOf(stage, in)
	}
	down := inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": flows}
	approved := sim.ReleaseStageOptions{Before: sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}}
	made := func(artifact *sim.Run) (*sim.Release, *sim.ReleaseStage) {
		r := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: artifact})
		return r, r.Stage("Seal", sim.ReleaseStageOptions{})
	}
	letOut := func(r *sim.Release, name string) *sim.ReleaseStage {
		stage := r.Stage(name, approved)
		if err := stage.Approve(manager, ""); err != nil {
			t.Fatal(err)
		}
		return stage
	}

	// The primary artifact is from a feature branch.
	feature := env.queued(sim.RunOptions{Branch: "refs/heads/feature/x"})
	r, sealing := made(feature)
	task(sealing, inputs{"action": "seal", "source": source}).want("done")
	sealing.Finish("succeeded")
	task(letOut(r, "Production"), down).refusedBy("branch").says("refs/heads/feature/x")

	// It is from main, but the record is another release's.
	r, sealing = made(env.run)
	other := letOut(r, "Too early")
	task(other, down).refusedBy("branch").says("only that release itself")
	// Sealing in a failed stage proves nothing.
	if o := task(sealing, inputs{"action": "seal", "source": source}).want("done"); len(o.seals) != 1 {
		t.Errorf("attachments %v", o.seals)
	}
	sealing.Finish("failed")
	task(letOut(r, "After a failure"), down).refusedBy("branch").says("has not succeeded")
	sealing.Redeploy(developer)
	task(sealing, inputs{"action": "seal", "source": source}).want("done")
	sealing.Finish("succeeded")
	o := task(letOut(r, "Production"), down).want("done")
	if told := fmt.Sprint(o.at("approval", "rules")); !strings.Contains(told, fmt.Sprintf("claimed by release %d of refs/heads/main", r.ID())) {
		t.Errorf("rules %s", told)
	}
}

// TestSealsOfSet checks that each image of a set has an attachment, and that each is
// judged.
func TestSealsOfSet(t *testing.T) {
	env := newTestEnv(t)
	first := pushImage(env.prod, "shop/cart", "1.0", 1, 1, 300)
	second := pushImage(env.prod, "shop/pay", "1.0", 2, 1, 300)
	const images = "shop/cart:1.0\nshop/pay:1.0"
	flows := env.flowFile(sandbox)
	stage := env.run.Stage("Seal", env.connection)
	stage.Begin()
	o := env.taskOf(stage, inputs{"action": "seal", "flowFile": flows, "flow": "released", "images": images}).want("done")
	for _, image := range []descriptor{first, second} {
		if o.seals[strings.TrimPrefix(image.Digest, "sha256:")] == "" {
			t.Errorf("%s has no attachment: %v", image.Digest, o.seals)
		}
	}
	if len(o.seals) != 2 {
		t.Errorf("%d attachments, want 2", len(o.seals))
	}
	env.approve(manager, "")
	set := inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": images}
	env.task(set).want("done")

	// A third image, sealed by a feature branch, refuses all of them.
	pushImage(env.prod, "shop/tax", "1.0", 3, 1, 300)
	feature := env.queued(sim.RunOptions{Branch: "refs/heads/feature/x"}).Stage("Seal", env.connection)
	feature.Begin()
	env.taskOf(feature, inputs{"action": "seal", "source": prodHost + "/shop/tax:1.0"}).want("done")
	env.queue()
	env.approve(manager, "")
	env.task(set.with("images", images+"\nshop/tax:1.0")).refusedBy("branch").says("shop/tax:1.0", "refs/heads/feature/x")
}

// TestRequestsOfBranches counts the requests for reading the sealing run: the
// attachments and the check suite of the sealing stage for the run itself, and for
// another run also its record and timeline.
func TestRequestsOfBranches(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 1, 300)
	env.sealIn(env.run).want("done")
	env.approve(manager, "")
	free := strings.Replace(sandbox, "      branches: [refs/heads/main]\n", "", 1)
	count := func(flows string) int {
		return table(env.task(env.released(flows).with("action", "verify")).want("done"))[devOpsHost+" GET"]
	}
	without := count(free)
	if own := count(sandbox) - without; own != 2 {
		t.Errorf("the run itself costs %d requests, want 2", own)
	}
	env.queue()
	env.approve(manager, "")
	if other := count(sandbox) - without; other != 4 {
		t.Errorf("another run costs %d requests, want 4", other)
	}
}
