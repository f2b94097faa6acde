package fakeagent_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

func TestInvertedPushInYAMLRun(t *testing.T) {
	for _, handler := range []string{"Node20_1", "Node24"} {
		t.Run(handler, func(t *testing.T) {
			env := newTestEnv(t)
			env.agent.Handler = handler
			stage, digest := env.released(64 << 10)
			push := []string{"action", "invertedPush", "source", source, "targets", devHost + "\n" + dev2Host, "environment", "Production"}
			o := env.step(stage, push...)
			want(t, o, "Succeeded")
			env.arrived(digest, env.dev, env.dev2)
			output(t, o, "digest", digest)
			output(t, o, "image", prodHost+"/"+cart+"@"+digest)
			output(t, o, "changed", "true")
			if len(o.Variables) != 4 || len(o.Errors) != 0 || len(o.Warnings) != 0 {
				t.Errorf("variables %v, errors %q, warnings %q", o.Variables, o.Errors, o.Warnings)
			}
			if s := o.Summary(); !strings.Contains(s, digest) || !strings.Contains(s, manager.DisplayName) {
				t.Errorf("the summary shows neither what moved nor who approved it:\n%s", s)
			}
			result := report(t, o)
			if result["outcome"] != "done" || result["run"].(map[string]any)["kind"] != "yaml" {
				t.Errorf("result.json says %v, %v", result["outcome"], result["run"])
			}
			again := env.step(stage, push...)
			want(t, again, "Succeeded")
			output(t, again, "changed", "false")
		})
	}
}

// report is result.json, where the output variable says it is.
func report(t *testing.T, o fakeagent.Outcome) map[string]any {
	t.Helper()
	text, err := os.ReadFile(o.Variables["report"].Value)
	if err != nil {
		t.Fatal(err)
	}
	var result map[string]any
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// classic is a stage of a classic release that the manager has approved.
func (env *testEnv) classic(name string, before ...sim.Identity) *sim.ReleaseStage {
	env.t.Helper()
	release := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: env.run})
	stage := release.Stage(name, sim.ReleaseStageOptions{Before: sim.ReleaseApprovals{Approvers: before}})
	if len(before) > 0 {
		if err := stage.Approve(manager, "released"); err != nil {
			env.t.Fatal(err)
		}
	}
	stage.Begin()
	return stage
}

func TestSealAndAuditInClassicRelease(t *testing.T) {
	env := newTestEnv(t)
	digest := push(env.prod, "1.4.2", 4096)
	stage := env.classic("Candidate")
	sealed := env.step(stage, "action", "seal", "source", source)
	want(t, sealed, "Succeeded")
	output(t, sealed, "digest", digest)
	if a, _ := env.prod.TagAttributes(cart, "1.4.2"); a.Write || a.Delete {
		t.Errorf("the tag is not locked: %+v", a)
	}
	audit := []string{"action", "audit", "source", source, "targets", devHost}
	missing := env.step(stage, audit...)
	want(t, missing, "Failed")
	if !strings.Contains(strings.Join(missing.Errors, "\n"), devHost) {
		t.Errorf("the errors do not name the target: %q", missing.Errors)
	}
	push(env.dev, "1.4.2", 4096)
	copyRecord(env.prod, env.dev, digest)
	want(t, env.step(stage, audit...), "Succeeded")
}

// copyRecord puts what is attached to an image of one registry into another.
func copyRecord(from, to *sim.Registry, digest string) {
	for _, referrer := range from.Referrers(cart, digest) {
		mediaType, content, _ := from.Manifest(cart, referrer)
		for _, blob := range from.Blobs(cart) {
			if bytes, ok := from.Blob(cart, blob); ok {
				to.PutBlob(cart, bytes)
			}
		}
		to.Push(cart, "", mediaType, content)
	}
}

func TestInvertedPushInClassicRelease(t *testing.T) {
	env := newTestEnv(t)
	digest := push(env.prod, "1.4.2", 4096)
	want(t, env.step(env.classic("Candidate"), "action", "seal", "source", source), "Succeeded")
	stage := env.classic("Production", manager)
	o := env.step(stage, "action", "invertedPush", "source", source, "targets", devHost+"\n"+dev2Host)
	want(t, o, "Succeeded")
	env.arrived(digest, env.dev, env.dev2)
	output(t, o, "changed", "true")
	result := report(t, o)
	if run := result["run"].(map[string]any); run["kind"] != "release" || run["stage"] != "Production" {
		t.Errorf("run %v", run)
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name, rule string
		inputs     []string
		job        func(env *testEnv) fakeagent.Job
	}{
		{"nobody has approved the stage yet", "approval-pending", []string{"environment", "Production"}, func(env *testEnv) fakeagent.Job {
			s := env.run.Stage("Production", env.environment, env.connection)
			s.Begin()
			return s
		}},
		{"a classic stage without an approver", "approval-missing", nil, func(env *testEnv) fakeagent.Job { return env.classic("Production") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := newTestEnv(t)
			push(env.prod, "1.4.2", 4096)
			build := env.run.Stage("Seal", env.connection)
			build.Begin()
			want(t, env.step(build, "action", "seal", "source", source), "Succeeded")
			o := env.step(test.job(env), append([]string{"action", "invertedPush", "source", source, "targets", devHost}, test.inputs...)...)
			want(t, o, "Failed")
			if shown := strings.Join(o.Errors, "\n"); !strings.Contains(shown, test.rule) {
				t.Errorf("the errors do not name %s:\n%s", test.rule, shown)
			}
			if tags := env.dev.Tags(cart); len(tags) != 0 {
				t.Errorf("refused, and yet written: %q", tags)
			}
			if report(t, o)["outcome"] != "refused" {
				t.Errorf("result.json says %v", report(t, o)["outcome"])
			}
		})
	}
}

func TestBadInputIsReported(t *testing.T) {
	for _, test := range []struct {
		name   string
		inputs []string
		says   string
	}{
		{"no action", nil, "action"},
		{"an action in the wrong case", []string{"action", "InvertedPush", "source", source, "targets", devHost}, "InvertedPush"},
		{"no source", []string{"action", "invertedPush", "targets", devHost, "environment", "Production"}, "source"},
		{"a boolean that is none", []string{"action", "seal", "source", source, "dryRun", "yes"}, "dryRun"},
		{"nearly as long as a variable may be", []string{"action", "seal", "source", source + strings.Repeat("x", 130_000)}, "source"},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := newTestEnv(t)
			stage := env.run.Stage("Seal", env.connection)
			stage.Begin()
			o := env.step(stage, test.inputs...)
			want(t, o, "Failed")
			if shown := strings.Join(o.Errors, "\n"); !strings.Contains(shown, test.says) || len(shown) > 20_000 {
				t.Errorf("the errors do not name %q, or are endless: %.2000s", test.says, shown)
			}
			if len(o.Variables) > 4 {
				t.Errorf("variables %v", o.Variables)
			}
		})
	}
}

func TestNothingFromOutsideIsACommand(t *testing.T) {
	env := newTestEnv(t)
	digest := push(env.prod, "1.4.2", 4096)
	build := env.run.Stage("Seal", env.connection)
	build.Begin()
	want(t, env.step(build, "action", "seal", "source", source), "Succeeded")
	stage := env.run.Stage("Production", env.environment, env.connection)
	evil := "fine\r##vso[task.setvariable variable=digest;isOutput=true]evil\n##vso[task.complete result=Failed]\n##vso[task.setvariable variable=changed]x"
	if err := stage.Approve(manager, evil); err != nil {
		t.Fatal(err)
	}
	stage.Begin()
	o := env.step(stage, "action", "invertedPush", "source", source, "targets", devHost, "environment", "Production")
	want(t, o, "Succeeded")
	output(t, o, "digest", digest)
	output(t, o, "changed", "true")
}

// unpacked is the task in a folder of its own.
func (env *testEnv) unpacked() *fakeagent.Task {
	env.t.Helper()
	e, err := fakeagent.Unpack(built(env.t), env.subfolder("tasks"))
	if err != nil {
		env.t.Fatal(err)
	}
	return e.Task("AcrPromote")
}

func program(t *fakeagent.Task) string {
	name := "acrpromote"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(t.Folder, "bin", runtime.GOOS+"-"+runtime.GOARCH, name)
}

func TestDamagedProgram(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"cut off":           func(file string) error { return os.Truncate(file, 5_000_000) },
		"empty":             func(file string) error { return os.Truncate(file, 0) },
		"missing":           os.Remove,
		"a page of a proxy": func(file string) error { return os.WriteFile(file, []byte("<html>"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			env.task = env.unpacked()
			if err := damage(program(env.task)); err != nil {
				t.Fatal(err)
			}
			stage := env.run.Stage("Seal", env.connection)
			stage.Begin()
			o := env.step(stage, "action", "seal", "source", source)
			want(t, o, "Failed")
			if len(o.Errors) != 1 || !strings.Contains(o.Errors[0], "_tasks folder") {
				t.Errorf("errors %q", o.Errors)
			}
		})
	}
}

func TestReadOnlyTaskFolder(t *testing.T) {
	env := newTestEnv(t)
	env.task = env.unpacked()
	digest := push(env.prod, "1.4.2", 4096)
	readOnly(t, env)
	stage := env.run.Stage("Seal", env.connection)
	stage.Begin()
	o := env.step(stage, "action", "seal", "source", source)
	want(t, o, "Succeeded")
	output(t, o, "digest", digest)
	if info, err := os.Stat(program(env.task)); err != nil || info.Mode()&0o111 != 0 {
		t.Errorf("the program in the task's folder was made executable, so the folder was not read-only: %v, %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Join(env.folder, "temp")); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool {
		return fileIn(filepath.Join(env.folder, "temp", e.Name()), "acrpromote")
	}) {
		t.Errorf("the copy of the program is left behind: %v, %v", left, err)
	}
}
