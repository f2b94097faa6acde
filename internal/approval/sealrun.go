package approval

import (
	"fmt"
	"time"

	"acrpromote/internal/sanitize"
)

// This file decides whether a run sealed an image. A seal record names a run, but
// anyone who can push can write a record.

const (
	// SealTask is the id of the task whose steps seal, from task/task.json.
	SealTask = "56008342-22ae-4f13-a595-0d62e2fb4092"
	// SealAttachment is the type of the attachment that a step stores under its
	// own record when it seals an image. Its name is the hex part of the digest.
	SealAttachment = "acrpromote.seal"
	// SealSlack is the tolerated difference between the clocks of Azure DevOps
	// and of a registry.
	SealSlack = 5 * time.Minute
)

// Releasing is the run that releases an image, according to the server's records.
// A classic release has the pipeline, repository and branch of the build that made
// its primary artifact. Unknown fields are empty or zero.
type Releasing struct {
	Source       Source
	ID           int // of the run or the release
	ProjectID    string
	Project      string // its name
	PipelineID   int
	RepositoryID string
	Branch       string
}

// SealRun is the server's record of a run that a seal record names. Unread is why
// it could not be read, and Remedy what to do.
type SealRun struct {
	Source         Source
	ID             int
	Unread, Remedy string
	Build          BuildRecord // of a YAML run
	Steps          []SealStep
}

// SealStep is a step with a seal attachment under its record. In a classic release,
// whose record has no attachments, it is any task.
type SealStep struct {
	Digest   string // of the image that the attachment names; empty in a release
	Kind     string // of the record
	TaskID   string
	State    string
	Result   string
	Started  time.Time // of a release; in a YAML run the run's start counts
	Finished time.Time
	Stage    string
	// Template reports that the stage passed a required template, so that the
	// pipeline's author chose neither the step nor its inputs.
	Template bool
}

// Shown returns the step of the run that sealed the image with the given digest,
// whose record was attached at recorded. If there is no such step, or if that cannot
// be shown, why is the reason.
func (r SealRun) Shown(digest string, recorded time.Time) (step SealStep, why string) {
	if r.Source == Release {
		why = fmt.Sprintf("no step of this task has run in release %d", r.ID)
	} else {
		why = fmt.Sprintf("run %d has no attachment that says that it sealed this image", r.ID)
	}
	found := false
	for _, s := range r.Steps {
		if r.Source == Release && !SameGUID(s.TaskID, SealTask) || r.Source != Release && s.Digest != digest {
			continue
		}
		if against := r.against(s, recorded); against != "" {
			why = against
			continue
		}
		if !found || s.Template && !step.Template {
			step, found = s, true
		}
	}
	if found {
		return step, ""
	}
	return SealStep{}, why
}

// against returns why a step does not prove that it made the record, or "" if it
// does.
func (r SealRun) against(s SealStep, recorded time.Time) string {
	started, run := r.Build.Started, fmt.Sprintf("run %d", r.ID)
	if r.Source == Release {
		started, run = s.Started, fmt.Sprintf("release %d", r.ID)
	}
	switch {
	case s.Kind != "Task" || !SameGUID(s.TaskID, SealTask):
		return "the attachment of " + run + " is not stored under a step of this task"
	case s.State != "completed" || s.Result != "succeeded":
		return fmt.Sprintf("the step of %s that may have sealed it has not succeeded: its state is %q, its result %q", run, sanitize.Line(s.State), sanitize.Line(s.Result))
	case started.IsZero() || s.Finished.IsZero():
		return "the record of " + run + " does not say when it started and when the step finished"
	case recorded.IsZero():
		return "the registry does not say when the seal record was attached"
	case recorded.Before(started.Add(-SealSlack)):
		return fmt.Sprintf("the seal record was attached at %s, before %s started at %s", formatTime(recorded), run, formatTime(started))
	case recorded.After(s.Finished.Add(SealSlack)):
		return fmt.Sprintf("the seal record was attached at %s, after the step of %s finished at %s", formatTime(recorded), run, formatTime(s.Finished))
	}
	return ""
}

// Seals returns the tasks of a release as possible seal steps.
func (r ReleaseRecord) Seals() SealRun {
	out := SealRun{Source: Release, ID: r.ID.Value}
	for _, stage := range r.Stages {
		for _, d := range stage.Deployments {
			for _, t := range d.Tasks {
				result := t.Status
				if result == "success" { // the server uses both
					result = "succeeded"
				}
				out.Steps = append(out.Steps, SealStep{
					Kind: "Task", TaskID: t.TaskID, State: "completed", Result: result, Started: t.Started, Finished: t.Finished, Stage: stage.Name,
				})
			}
		}
	}
	return out
}
