package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// ReleaseRecord is the server's record of a classic release: one document with
// its stages and their deployments and approvals. Texts and ids are as the
// server sent them, and empty if it did not send them.
type ReleaseRecord struct {
	ID         Number
	ProjectID  string
	Requesters []Requester // who created it and for whom
	Stages     []ReleaseStage
}

// ReleaseStage is one stage of a release.
type ReleaseStage struct {
	ID          Number
	Name        string
	Deployments []Deployment
	Before      Entries // the approvals before a deployment
	After       Entries // the approvals after it
}

// Deployment is one attempt at a stage.
type Deployment struct {
	Attempt     int
	ID          Number
	Status      string
	PlanIDs     []string // of its phases
	Tasks       []ReleaseTask
	Requesters  []Requester
	GatesBefore *Gates
	GatesAfter  *Gates
}

// ReleaseTask is one task of a deployment.
type ReleaseTask struct {
	TaskID            string
	Status            string
	Started, Finished time.Time // zero if unknown
}

// Gates are the automated checks before or after a deployment.
type Gates struct {
	Status  string
	Ignored []string // names of the gates that a person disabled
}

// Entries are the approvers' parts of a stage's approvals, of all attempts.
type Entries struct {
	Required int // how many must approve; 0 means all
	List     []Entry
	Settings *ApprovalSettings // nil if the server does not say
}

// Entry is one approver's part of an approval.
type Entry struct {
	ID        Number
	Kind      string // preDeploy or postDeploy; empty if not sent
	Attempt   int
	ReleaseID Number
	StageID   Number
	Step      Step
}

// Evidence adds the approvals of the named stage to the evidence e, which has
// the stage and attempt of the job; an empty name means that stage. It reports
// whether the release has the named stage.
func (r ReleaseRecord) Evidence(e Evidence, stage string, postDeployment bool) (Evidence, bool) {
	refuse := func(why string) (Evidence, bool) {
		e.Refusals = append(slices.Clip(e.Refusals), contradiction(fmt.Sprintf("release %d", e.ReleaseID), "%s", why))
		return e, true
	}
	name := stage
	if name == "" {
		name = e.Stage
	}
	s, twice := r.stage(func(s ReleaseStage) bool { return SameName(s.Name, name) })
	switch {
	case twice != "":
		return refuse(twice)
	case s == nil:
		return e, stage == ""
	case len(e.Refusals) > 0:
		return e, true // the job is not part of this release
	}
	own := SameName(s.Name, e.Stage)
	e.Stage = s.Name
	if !own {
		e.Attempt = s.newest()
	}
	d, why := s.attempt(e.Attempt)
	if why == "" {
		why = s.fill(&e, d, postDeployment)
	}
	if why != "" {
		return refuse(why)
	}
	if len(e.Requesters) == 0 {
		return refuse("the record of the release does not say who requested it")
	}
	e.Complete = true
	return e, true
}

// stage returns the stage for which meant returns true, or nil if there is none.
// If there are several, twice is the reason to refuse.
func (r ReleaseRecord) stage(meant func(ReleaseStage) bool) (found *ReleaseStage, twice string) {
	for i, s := range r.Stages {
		if !meant(s) {
			continue
		}
		if found != nil {
			return nil, "the release has the stage " + sanitize.Line(s.Name) + " twice"
		}
		found = &r.Stages[i]
	}
	return found, ""
}

// attempt returns one attempt at the stage, or nil if there is none. If there
// are several, twice is the reason to refuse.
func (s *ReleaseStage) attempt(number int) (found *Deployment, twice string) {
	for i, d := range s.Deployments {
		if d.Attempt != number {
			continue
		}
		if found != nil {
			return nil, fmt.Sprintf("the stage %s has the attempt %d twice", sanitize.Line(s.Name), number)
		}
		found = &s.Deployments[i]
	}
	return found, ""
}

// newest returns the number of the newest attempt at the stage, even if it still
// waits for its approval.
func (s *ReleaseStage) newest() int {
	newest := 0
	for _, d := range s.Deployments {
		newest = max(newest, d.Attempt)
	}
	for _, entry := range s.Before.List {
		newest = max(newest, entry.Attempt)
	}
	return newest
}

// fill adds the approvals, requesters and gates of one attempt to the evidence.
// It returns why the record contradicts itself, or "" if it does not.
func (s *ReleaseStage) fill(e *Evidence, d *Deployment, postDeployment bool) (why string) {
	before, why := s.set("pre-deployment", "preDeploy", s.Before, *e)
	if why != "" {
		return why
	}
	e.Approvals = append(e.Approvals, before)
	if postDeployment {
		after, why := s.set("post-deployment", "postDeploy", s.After, *e)
		if why != "" {
			return why
		}
		e.Approvals = append(e.Approvals, after)
	}
	if d == nil {
		return ""
	}
	e.Requesters = slices.Concat(e.Requesters, d.Requesters)
	e.Notes = append(e.Notes, d.GatesBefore.notes("pre-deployment")...)
	if postDeployment {
		e.Notes = append(e.Notes, d.GatesAfter.notes("post-deployment")...)
	}
	return ""
}

// set makes one approval of the entries of one attempt.
func (s *ReleaseStage) set(phase, kind string, entries Entries, e Evidence) (a Approval, why string) {
	a = Approval{ID: fmt.Sprintf("%s/%d/%d", kind, s.ID.Value, e.Attempt), Phase: phase, Required: entries.Required, Settings: entries.Settings}
	seen := map[int]bool{}
	for _, entry := range entries.List {
		switch {
		case !entry.ID.Set || seen[entry.ID.Value]:
			return a, fmt.Sprintf("a %s approval of the stage %s has no number, or the same number as another", phase, sanitize.Line(s.Name))
		case entry.Kind != "" && entry.Kind != kind:
			return a, fmt.Sprintf("one of the %s approvals of the stage %s has the type %q", phase, sanitize.Line(s.Name), sanitize.Line(entry.Kind))
		case entry.ReleaseID.differs(e.ReleaseID), entry.StageID.differs(s.ID.Value):
			return a, fmt.Sprintf("a %s approval of the stage %s belongs to another release or stage", phase, sanitize.Line(s.Name))
		}
		seen[entry.ID.Value] = true
		if entry.Attempt == e.Attempt {
			a.Steps = append(a.Steps, entry.Step)
		}
	}
	return a, ""
}

// notes reports the status of gates and which of them were ignored. They have no
// effect on a manual approval.
func (g *Gates) notes(phase string) []rule.Outcome {
	if g == nil || (g.Status == "" || g.Status == "none") && len(g.Ignored) == 0 {
		return nil
	}
	detail := fmt.Sprintf("%s gates: %s", phase, sanitize.Line(g.Status))
	var ignored []string
	for _, name := range g.Ignored {
		ignored = append(ignored, sanitize.Line(name))
	}
	if len(ignored) > 0 {
		detail += "; ignored manually, which bypasses them: " + strings.Join(ignored, ", ")
	}
	return []rule.Outcome{{Rule: rule.AutomatedCheck, Met: true, Detail: detail + "; for information only"}}
}
