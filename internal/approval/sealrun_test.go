package approval_test

import (
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
)

var (
	sealedDigest = "sha256:" + strings.Repeat("a", 64)
	otherDigest  = "sha256:" + strings.Repeat("b", 64)
	sealBegun    = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	sealEnded    = sealBegun.Add(20 * time.Minute)
	sealRecorded = sealBegun.Add(10 * time.Minute)
)

// sealingRun returns a run that sealed the image, in which everything matches.
func sealingRun() approval.SealRun {
	return approval.SealRun{Source: approval.YAML, ID: 4711, Build: approval.BuildRecord{Started: sealBegun},
		Steps: []approval.SealStep{{Digest: sealedDigest, Kind: "Task", TaskID: strings.ToUpper(approval.SealTask), State: "completed", Result: "succeeded", Finished: sealEnded, Stage: "Build"}}}
}

// TestSealShown changes one field at a time of a run that sealed the image.
func TestSealShown(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*approval.SealRun)
		recorded time.Time
		why      string // "" is shown
	}{
		{"as it should be", func(*approval.SealRun) {}, sealRecorded, ""},
		{"no step", func(r *approval.SealRun) { r.Steps = nil }, sealRecorded, "no attachment"},
		{"of another image", func(r *approval.SealRun) { r.Steps[0].Digest = otherDigest }, sealRecorded, "no attachment"},
		{"another task", func(r *approval.SealRun) { r.Steps[0].TaskID = other }, sealRecorded, "a step of this task"},
		{"no task", func(r *approval.SealRun) { r.Steps[0].TaskID = "" }, sealRecorded, "a step of this task"},
		{"under a job", func(r *approval.SealRun) { r.Steps[0].Kind = "Job" }, sealRecorded, "a step of this task"},
		{"not finished", func(r *approval.SealRun) { r.Steps[0].State, r.Steps[0].Result = "inProgress", "" }, sealRecorded, "has not succeeded"},
		{"finished without a result", func(r *approval.SealRun) { r.Steps[0].Result = "" }, sealRecorded, "has not succeeded"},
		{"failed", func(r *approval.SealRun) { r.Steps[0].Result = "failed" }, sealRecorded, "has not succeeded"},
		{"skipped", func(r *approval.SealRun) { r.Steps[0].Result = "skipped" }, sealRecorded, "has not succeeded"},
		{"with issues", func(r *approval.SealRun) { r.Steps[0].Result = "succeededWithIssues" }, sealRecorded, "has not succeeded"},
		{"in another case", func(r *approval.SealRun) { r.Steps[0].Result = "Succeeded" }, sealRecorded, "has not succeeded"},
		{"no start", func(r *approval.SealRun) { r.Build.Started = time.Time{} }, sealRecorded, "when it started"},
		{"no end", func(r *approval.SealRun) { r.Steps[0].Finished = time.Time{} }, sealRecorded, "when the step finished"},
		{"no time of the record", func(*approval.SealRun) {}, time.Time{}, "does not say when the seal record"},
		{"five minutes before the run", func(*approval.SealRun) {}, sealBegun.Add(-5 * time.Minute), ""},
		{"longer before the run", func(*approval.SealRun) {}, sealBegun.Add(-5*time.Minute - 1), "before run 4711"},
		{"five minutes after the step", func(*approval.SealRun) {}, sealEnded.Add(5 * time.Minute), ""},
		{"longer after the step", func(*approval.SealRun) {}, sealEnded.Add(5*time.Minute + 1), "after the step"},
		{"a failed step and one that succeeded", func(r *approval.SealRun) {
			failed := r.Steps[0]
			failed.Result = "failed"
			r.Steps = append([]approval.SealStep{failed}, r.Steps[0])
		}, sealRecorded, ""},
	} {
		run := sealingRun()
		c.change(&run)
		step, why := run.Shown(sealedDigest, c.recorded)
		switch {
		case c.why == "" && (why != "" || step.Stage != "Build"):
			t.Errorf("%s: %+v, %q; want it shown", c.name, step, why)
		case c.why != "" && (step != (approval.SealStep{}) || !strings.Contains(why, c.why)):
			t.Errorf("%s: %+v, %q; want %q", c.name, step, why, c.why)
		}
	}
	// Of two steps, the one whose stage passed a template is returned.
	run := sealingRun()
	better := run.Steps[0]
	better.Stage, better.Template = "Guarded", true
	run.Steps = append(run.Steps, better, run.Steps[0])
	if step, _ := run.Shown(sealedDigest, sealRecorded); step.Stage != "Guarded" {
		t.Errorf("step %+v", step)
	}
}

// TestSealOfRelease checks that the tasks of a release prove its seals.
func TestSealOfRelease(t *testing.T) {
	task := func(id, status string, started, finished time.Time) approval.ReleaseTask {
		return approval.ReleaseTask{TaskID: id, Status: status, Started: started, Finished: finished}
	}
	for _, c := range []struct {
		name string
		task approval.ReleaseTask
		why  string
	}{
		{"succeeded", task(approval.SealTask, "succeeded", sealBegun, sealEnded), ""},
		{"in the other word", task(approval.SealTask, "success", sealBegun, sealEnded), ""},
		{"another task", task(other, "succeeded", sealBegun, sealEnded), "no step of this task"},
		{"in progress", task(approval.SealTask, "inProgress", sealBegun, time.Time{}), "has not succeeded"},
		{"partly", task(approval.SealTask, "partiallySucceeded", sealBegun, sealEnded), "has not succeeded"},
		{"no start", task(approval.SealTask, "succeeded", time.Time{}, sealEnded), "when it started"},
		{"before the record", task(approval.SealTask, "succeeded", sealBegun.Add(-time.Hour), sealBegun.Add(-time.Minute)), "after the step"},
		{"after the record", task(approval.SealTask, "succeeded", sealEnded, sealEnded), "before release 88"},
	} {
		record := approval.ReleaseRecord{ID: approval.Number{Value: 88, Set: true}, Stages: []approval.ReleaseStage{
			{Name: "Empty"}, {Name: "Seal", Deployments: []approval.Deployment{{Tasks: []approval.ReleaseTask{c.task}}}}}}
		step, why := record.Seals().Shown(sealedDigest, sealRecorded)
		if c.why == "" && (why != "" || step.Stage != "Seal") || c.why != "" && !strings.Contains(why, c.why) {
			t.Errorf("%s: %+v, %q; want %q", c.name, step, why, c.why)
		}
	}
}

// TestTemplatePassed checks that a suite counts only for its own stage.
func TestTemplatePassed(t *testing.T) {
	at := approval.TimelineRecord{ID: stage, Type: "Stage", Identifier: "Build", Attempt: 1}
	suite := func(change func(*approval.Suite)) *approval.Suite {
		s := &approval.Suite{Status: "approved", Context: approval.Context{BuildID: 4711, Stage: "Build", Attempt: 1},
			Runs: []approval.CheckRun{{Type: approval.TypeRequiredTemplate, Status: "approved"}}}
		change(s)
		return s
	}
	for name, c := range map[string]struct {
		suite *approval.Suite
		want  bool
	}{
		"passed":                  {suite(func(*approval.Suite) {}), true},
		"no suite":                {nil, false},
		"no check":                {suite(func(s *approval.Suite) { s.Runs = nil }), false},
		"another check":           {suite(func(s *approval.Suite) { s.Runs[0].Type = approval.TypeApproval }), false},
		"a check that failed":     {suite(func(s *approval.Suite) { s.Runs[0].Status = "rejected" }), false},
		"a check that was evaded": {suite(func(s *approval.Suite) { s.Runs[0].Status = "bypassed" }), false},
		"a suite that failed":     {suite(func(s *approval.Suite) { s.Status = "rejected" }), false},
		"of another run":          {suite(func(s *approval.Suite) { s.Context.BuildID = 4712 }), false},
		"of another stage":        {suite(func(s *approval.Suite) { s.Context.Stage = "Test" }), false},
		"of another attempt":      {suite(func(s *approval.Suite) { s.Context.Attempt = 2 }), false},
	} {
		if got := approval.TemplatePassed(c.suite, 4711, at); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
