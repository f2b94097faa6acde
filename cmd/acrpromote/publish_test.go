package main_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
)

// TestPublish checks what steps publish with the run: by default and as the input says,
// again in the same job, and in the next attempt of the stage. Which steps do so at all
// is an invariant of every run.
func TestPublish(t *testing.T) {
	env, _ := ready(t)
	env.agent = env.folder()
	refused := env.task(push("minApprovers", "2")).refusedBy("min-approvers")
	if !strings.Contains(refused.page.Content, `"rule":"min-approvers"`) {
		t.Errorf("the page has not the refusal: %.200s", refused.page.Content)
	}
	// The agent retries a step in the folder that the job has.
	done := env.task(push("publish", "TRUE")).want("done")
	if refused.artifact.Files["result.json"] == done.artifact.Files["result.json"] || done.artifact.Name != refused.artifact.Name+"-2" {
		t.Errorf("the first is published as %s, the second as %s", refused.artifact.Name, done.artifact.Name)
	}
	env.task(push("publish", "false")).want("done")
	env.task(push("action", "verify")).want("done")
	env.task(push("action", "verify", "publish", "true")).want("done")
	newest, err := os.ReadFile(filepath.Join(env.agent, "report.html"))
	if err != nil || !strings.Contains(string(newest), `"action":"verify"`) {
		t.Errorf("report.html is not the page of the newest step: %v", err)
	}
	env.stage.Finish("failed")
	env.stage.Retry()
	env.approve(manager, "again")
	env.agent = env.folder()
	env.task(push()).want("done")
	env.task(push(), func(e *fakeagent.Environment) { e.Step = "push" }).want("done")
	step := "acrpromote-invertedPush-Production-Promote-"
	want := []string{step + "AcrPromote-1", step + "AcrPromote-1-2", step + "AcrPromote-2.2", step + "push-2.2", strings.Replace(step, "invertedPush", "verify", 1) + "AcrPromote-1-2"}
	if got := slices.Sorted(maps.Keys(env.run.Artifacts())); !slices.Equal(got, want) {
		t.Errorf("the run has the artifacts\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPublishElsewhere checks what cannot be published as an artifact, and names that
// pipelines make up.
func TestPublishElsewhere(t *testing.T) {
	env, _ := ready(t)
	hostile := env.task(push(), func(e *fakeagent.Environment) {
		e.Step = "a;b]##vso[task.setvariable variable=digest]/../" + strings.Repeat("é", 40)
	}).want("done")
	if name := hostile.artifact.Name; !strings.HasPrefix(name, "acrpromote-invertedPush-Production-Promote-a_b_") {
		t.Errorf("the artifact has the name %s", name)
	}

	// A file is where the folder of the published files would be.
	folder := env.folder()
	e := env.environ(env.stage, push("reportFolder", folder))
	write(t, folder, "acrpromote-invertedPush-Production-Promote-AcrPromote", "in the way")
	p := env.start(e)
	if err := p.command.Wait(); err != nil {
		t.Error(err)
	}
	p.cancel()
	if text := p.stdout.String(); !strings.Contains(text, "##vso[task.logissue type=warning;]The report is not published with the run: ") || !strings.Contains(text, "##vso[task.complete result=Succeeded;]") ||
		strings.Contains(text, "artifact.upload") || strings.Contains(text, "acrpromote.report") {
		t.Errorf("the step ended with\n%s", text)
	}
	// A job without a container for artifacts: the page alone is published.
	p = env.start(forged(env.environ(env.stage, push()), "BUILD_CONTAINERID", "-"))
	if err := p.command.Wait(); err != nil {
		t.Error(err)
	}
	p.cancel()
	if text := p.stdout.String(); !strings.Contains(text, "Build.ContainerId") || !strings.Contains(text, "##vso[task.addattachment type=acrpromote.report;") || strings.Contains(text, "artifact.upload") {
		t.Errorf("the step ended with\n%s", text)
	}
}
