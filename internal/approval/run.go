package approval

// This file compares what the job claims about its run with the records of the
// server. Every decision about rule.RunMismatch is here.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// inProgress is the server's state of a run, job or deployment that is being
// executed. This job must be part of such ones.
const inProgress = "inProgress"

// Number is an integer of a record. Set reports whether the server sent it.
type Number struct {
	Value int
	Set   bool
}

// is reports whether the server sent this number.
func (n Number) is(value int) bool { return n.Set && n.Value == value }

// differs reports whether the server sent another number.
func (n Number) differs(value int) bool { return n.Set && n.Value != value }

// JudgeClaims refuses a job that does not say which job of which run it is. With
// incomplete claims no request is sent to the server.
func JudgeClaims(c Claims) []rule.Refusal {
	type claim struct {
		variable string
		usable   bool
	}
	claims := []claim{
		{"SYSTEM_TEAMPROJECTID", GUID(c.ProjectID) != ""},
		{"SYSTEM_PLANID", GUID(c.PlanID) != ""},
	}
	switch c.Source() {
	case YAML:
		claims = append(claims,
			claim{"SYSTEM_JOBID", GUID(c.JobID) != ""},
			claim{"SYSTEM_STAGENAME", c.StageName != ""},
			claim{"SYSTEM_STAGEATTEMPT", c.StageAttempt > 0},
			claim{"BUILD_BUILDID", c.BuildID > 0})
	case Release:
		claims = append(claims,
			claim{"RELEASE_RELEASEID", c.ReleaseID > 0},
			claim{"RELEASE_ENVIRONMENTID", c.EnvironmentID > 0},
			claim{"RELEASE_ATTEMPTNUMBER", c.ReleaseAttempt > 0})
	default:
		return []rule.Refusal{mismatch("this job", "the agent reports the host type %q, which is neither a YAML run nor a classic release", sanitize.Line(c.HostType))}
	}
	var missing []string
	for _, claim := range claims {
		if !claim.usable {
			missing = append(missing, claim.variable)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []rule.Refusal{mismatch("this job", "these variables of the agent are missing or invalid: %s", strings.Join(missing, ", "))}
}

// BuildRecord is the server's record of a YAML run. Texts and ids are as the
// server sent them, and empty or zero if it did not send them.
type BuildRecord struct {
	ID           Number
	PlanID       string
	ProjectID    string
	Project      string // its name
	PipelineID   Number
	RepositoryID string
	Branch       string
	Status       string
	Started      time.Time
	Requesters   []Requester
}

// JudgeBuild compares the record of a run with the job's claims. Two runs of a
// pipeline differ by the ids of the run and of its plan.
func JudgeBuild(c Claims, b BuildRecord) []rule.Refusal {
	subject := fmt.Sprintf("run %d", c.BuildID)
	var refusals []rule.Refusal
	if !b.ID.is(c.BuildID) {
		refusals = append(refusals, mismatch(subject, "Azure DevOps returned the record of another run, not of %d", c.BuildID))
	}
	if !SameGUID(b.PlanID, c.PlanID) {
		refusals = append(refusals, mismatch(subject, "run %d is not executed by the plan %s, which this job claims to belong to", c.BuildID, c.PlanID))
	}
	if !SameGUID(b.ProjectID, c.ProjectID) {
		refusals = append(refusals, mismatch(subject, "run %d does not belong to the project %s, which this job claims to belong to", c.BuildID, c.ProjectID))
	}
	if b.Status != inProgress {
		refusals = append(refusals, mismatch(subject, "run %d is not in progress, so this job cannot be part of it: its status is %q", c.BuildID, sanitize.Line(b.Status)))
	}
	if b.Started.IsZero() {
		refusals = append(refusals, contradiction(subject, "the record of run %d does not say when it started", c.BuildID))
	}
	if len(b.Requesters) == 0 {
		refusals = append(refusals, contradiction(subject, "the record of run %d does not say who requested it", c.BuildID))
	}
	return refusals
}

// TimelineRecord is one record of a run's timeline: a stage, a phase, a job, a
// checkpoint or a task. Record ids are the same in every run of a pipeline: they locate a
// job within its run but do not identify the run.
type TimelineRecord struct {
	ID         string
	ParentID   string
	Type       string
	Identifier string
	Attempt    int
	State      string
	Result     string
	Finished   time.Time // zero if unknown
	TaskID     string    // of a task
}

// JudgeTimeline finds the stage that the job runs in, starting from the job's
// record, and compares it with the job's claims. records are the records of the
// run's timeline by GUID. If the job has no stage, JudgeTimeline returns the
// zero record.
func JudgeTimeline(c Claims, records map[string]TimelineRecord) (TimelineRecord, []rule.Refusal) {
	subject := fmt.Sprintf("job %s of run %d", c.JobID, c.BuildID)
	job := records[GUID(c.JobID)]
	if job.Type != "Job" {
		return TimelineRecord{}, []rule.Refusal{mismatch(subject, "run %d has no job %s, which this step claims to run in", c.BuildID, c.JobID)}
	}
	if job.State != inProgress {
		return TimelineRecord{}, []rule.Refusal{mismatch(subject, "the job %s of run %d is not in progress, so this step cannot run in it: its state is %q", c.JobID, c.BuildID, sanitize.Line(job.State))}
	}
	phase := records[job.ParentID]
	stage := records[phase.ParentID]
	if phase.Type != "Phase" || stage.Type != "Stage" {
		return TimelineRecord{}, []rule.Refusal{mismatch(subject, "the job %s of run %d is not part of a stage", c.JobID, c.BuildID)}
	}
	var refusals []rule.Refusal
	if c.StageID != "" && !SameGUID(c.StageID, stage.ID) {
		refusals = append(refusals, mismatch(subject, "the job runs in the stage with the record %s, not %s as it claims", stage.ID, c.StageID))
	}
	if stage.Identifier == "" || !SameName(stage.Identifier, c.StageName) {
		refusals = append(refusals, mismatch(subject, "the job runs in the stage %q, not %q as it claims", sanitize.Line(stage.Identifier), sanitize.Line(c.StageName)))
	}
	if stage.Attempt < 1 || stage.Attempt != c.StageAttempt {
		refusals = append(refusals, mismatch(subject, "the job runs in attempt %d of its stage, not %d as it claims", stage.Attempt, c.StageAttempt))
	}
	return stage, refusals
}

// TokenResponse is the result of the request for the run's own signed token.
type TokenResponse struct {
	// At most one of Absent, Outside, OtherJob and Denied is set. If none is,
	// Claims are the claims of the token.
	Absent   string // why there is no token to compare
	Outside  string // the collection, if the address of the token is outside of it
	OtherJob bool   // the address of the token is that of another job
	Denied   int    // the status, if the server denied the request
	Claims   TokenClaims
}

// TokenClaims are the claims of the run's own token.
type TokenClaims struct {
	RunID      string
	PipelineID string
	ProjectID  string
}

// JudgeToken compares the run's own token with the job's claims and with the
// record of the run, which is nil if it could not be read.
func JudgeToken(c Claims, t TokenResponse, b *BuildRecord) (Token, []rule.Refusal) {
	const subject = "the run's own token"
	switch {
	case t.Absent != "":
		return Token{State: TokenAbsent, Detail: t.Absent}, nil
	case t.Outside != "":
		return Token{}, []rule.Refusal{{
			Rule: rule.RunMismatch, Subject: subject,
			Reason: fmt.Sprintf("the address for the run's own token (SYSTEM_OIDCREQUESTURI) is not known to be part of the collection %s, which the job's system connection names, so no request was sent", t.Outside),
			Remedy: "If the pipeline sets the variable SYSTEM_OIDCREQUESTURI, remove it: only the agent may set it. If the server has several names, configure the agent with the one that the server's settings name as its public address.",
		}}
	case t.OtherJob:
		return Token{}, []rule.Refusal{mismatch(subject, "the address for the run's own token is that of another job than %s of the plan %s, which this step claims to run in, so no request was sent", c.JobID, c.PlanID)}
	case t.Denied != 0:
		return Token{}, []rule.Refusal{mismatch(subject, "Azure DevOps denies this job the run's own token: status %d", t.Denied)}
	}
	var differs []string
	if t.Claims.RunID != strconv.Itoa(c.BuildID) {
		differs = append(differs, "run")
	}
	if !SameGUID(t.Claims.ProjectID, c.ProjectID) {
		differs = append(differs, "project")
	}
	if b != nil && (!b.PipelineID.Set || t.Claims.PipelineID != strconv.Itoa(b.PipelineID.Value)) {
		differs = append(differs, "pipeline")
	}
	if len(differs) > 0 {
		return Token{}, []rule.Refusal{mismatch(subject, "the run's own token names another %s, but this job claims to be part of run %d", strings.Join(differs, " and another "), c.BuildID)}
	}
	return Token{State: TokenMatched}, nil
}

// JudgeRelease compares the record of a release with the job's claims, and
// returns the name of the stage and the deployment that the job belongs to. If
// the job is not part of the release, the deployment is nil.
func JudgeRelease(c Claims, r ReleaseRecord) (stage string, d *Deployment, refusals []rule.Refusal) {
	subject := fmt.Sprintf("release %d", c.ReleaseID)
	refuse := func(why rule.Refusal) { refusals = append(refusals, why) }
	if !r.ID.is(c.ReleaseID) {
		refuse(mismatch(subject, "Azure DevOps returned the record of another release, not of %d", c.ReleaseID))
	}
	if r.ProjectID != "" && !SameGUID(r.ProjectID, c.ProjectID) {
		refuse(mismatch(subject, "release %d does not belong to the project %s, which this job claims to belong to", c.ReleaseID, c.ProjectID))
	}
	s, twice := r.stage(func(s ReleaseStage) bool { return s.ID.is(c.EnvironmentID) })
	switch {
	case twice != "":
		refuse(contradiction(subject, "%s", twice))
		return "", nil, refusals
	case s == nil:
		refuse(mismatch(subject, "release %d has no stage with the number %d, which this job claims to run in", c.ReleaseID, c.EnvironmentID))
		return "", nil, refusals
	}
	if c.EnvironmentName != "" && !SameName(c.EnvironmentName, s.Name) {
		refuse(mismatch(subject, "the stage with the number %d is named %q, not %q as this job claims", c.EnvironmentID, sanitize.Line(s.Name), sanitize.Line(c.EnvironmentName)))
	}
	d, twice = s.attempt(c.ReleaseAttempt)
	switch {
	case twice != "":
		refuse(contradiction(subject, "%s", twice))
		return "", nil, refusals
	case d == nil:
		refuse(mismatch(subject, "the stage %s of release %d has no attempt %d, which this job claims to be part of", sanitize.Line(s.Name), c.ReleaseID, c.ReleaseAttempt))
		return "", nil, refusals
	}
	if d.Status != inProgress {
		refuse(mismatch(subject, "attempt %d is not in progress, so this job cannot be part of it: its status is %q", d.Attempt, sanitize.Line(d.Status)))
	}
	if c.DeploymentID > 0 && !d.ID.is(c.DeploymentID) {
		refuse(mismatch(subject, "attempt %d is deployment %d, not %d as this job claims", d.Attempt, d.ID.Value, c.DeploymentID))
	}
	// The plan is optional in the record.
	sent := slices.ContainsFunc(d.PlanIDs, func(id string) bool { return GUID(id) != "" })
	if sent && !slices.ContainsFunc(d.PlanIDs, func(id string) bool { return SameGUID(id, c.PlanID) }) {
		refuse(mismatch(subject, "attempt %d is not executed by the plan %s, which this job claims to belong to", d.Attempt, c.PlanID))
	}
	return s.Name, d, refusals
}

// judgeContext refuses a suite that was not evaluated for this stage.
func (j *judge) judgeContext(c Context) bool {
	complete, differs := j.e.compareContext(c)
	if !complete {
		j.refuse(rule.ApprovalUnreadable, j.stage(),
			"the check suite of the stage does not say for which plan, run, stage and attempt it was evaluated",
			"The approval cannot be verified. Use a check whose evaluation Azure DevOps describes completely, and report the version of the server.")
		return false
	}
	if len(differs) == 0 {
		return true
	}
	j.refuse(rule.RunMismatch, j.stage(),
		"the check suite was not evaluated for this stage: "+strings.Join(differs, ", "),
		"Run the stage again; approvals of another run, stage or attempt never count.")
	return false
}

// compareContext compares what a suite was evaluated for with the stage of the
// evidence. complete reports whether the server said everything that identifies the
// stage; differs lists what is different.
func (e *Evidence) compareContext(c Context) (complete bool, differs []string) {
	if c.PlanID == "" || c.BuildID == 0 || c.Stage == "" || c.Attempt == 0 {
		return false, nil
	}
	addDifference := func(what string, told, ours any) {
		differs = append(differs, fmt.Sprintf("%s %v instead of %v", what, told, ours))
	}
	if !SameGUID(c.PlanID, e.PlanID) {
		addDifference("plan", c.PlanID, e.PlanID)
	}
	if c.BuildID != e.BuildID {
		addDifference("run", c.BuildID, e.BuildID)
	}
	if !SameName(c.Stage, e.Stage) {
		addDifference("stage", c.Stage, e.Stage)
	}
	if c.Attempt != e.Attempt {
		addDifference("attempt", c.Attempt, e.Attempt)
	}
	if c.ProjectID != "" && !SameGUID(c.ProjectID, e.ProjectID) {
		addDifference("project", c.ProjectID, e.ProjectID)
	}
	return true, differs
}

// mismatch refuses a job that is not what it claims to be.
func mismatch(subject, format string, args ...any) rule.Refusal {
	return rule.Refusal{
		Rule: rule.RunMismatch, Subject: subject, Reason: fmt.Sprintf(format, args...),
		Remedy: "Run the step in the job that it belongs to, and remove pipeline variables that have the names of agent variables.",
	}
}

// contradiction refuses a record that contradicts itself or lacks a required
// field.
func contradiction(subject, format string, args ...any) rule.Refusal {
	return rule.Refusal{
		Rule: rule.ApprovalUnreadable, Subject: subject, Reason: fmt.Sprintf(format, args...),
		Remedy: "Run the stage again: ambiguous records never count.",
	}
}
