package sim

import (
	"fmt"
	"strings"
	"time"
)

// RunOptions say how a YAML pipeline was queued.
type RunOptions struct {
	Pipeline     string   // "release" unless given
	RequestedFor Identity // "Developer" unless given
	RequestedBy  Identity // as RequestedFor unless given
	Branch       string   // refs/heads/main unless given
	Commit       string
	Repository   string    // of the pipeline; the project's own unless given
	Queue        *Queue    // of the jobs; that of Microsoft-hosted agents unless given
	Reason       string    // manual unless given
	StartedAt    time.Time // now unless given

	// DistinctApprovalIDs gives an approval another id than its check run has:
	// how the two are joined is not documented.
	DistinctApprovalIDs bool
	// FlatContext tells a suite's context with flat keys ("GraphNode.Id"), as
	// one published example does, instead of nested.
	FlatContext bool
	// GraphNodeIsStage makes GraphNode.Id the stage's record id; the published
	// sample shows another id.
	GraphNodeIsStage bool
	// NoBuildStage leaves out the finished stage named Build.
	NoBuildStage bool
}

// Run is one run of a YAML pipeline.
type Run struct {
	project  *Project
	options  RunOptions
	id       int
	pipeline int
	planID   string
	queued   time.Time
	started  time.Time
	finished time.Time
	result   string
	stages   []*Stage
	hooks    map[string][]func(map[string]any)
	// artifacts are the files of what was published, by names.
	artifacts map[string]map[string]string
}

// QueueRun starts a run. Its Build stage has been built already, unless the
// options leave it out; further stages are added by Stage.
func (p *Project) QueueRun(options RunOptions) *Run {
	o := p.org
	o.mu.Lock()
	defer o.mu.Unlock()
	or(&options.Pipeline, "release")
	or(&options.RequestedFor, Person("Developer"))
	or(&options.RequestedBy, options.RequestedFor)
	or(&options.Branch, "refs/heads/main")
	or(&options.Commit, strings.ReplaceAll(o.guid("commit"), "-", "")+"00c0ffee")
	or(&options.Reason, "manual")
	if options.StartedAt.IsZero() {
		options.StartedAt = o.now()
	}
	if options.Queue == nil {
		options.Queue = p.hosted()
	}
	r := &Run{project: p, options: options, id: o.next("build"), pipeline: p.pipeline(options.Pipeline),
		planID: o.guid("plan"), queued: options.StartedAt.Add(-2 * time.Second), started: options.StartedAt,
		hooks: map[string][]func(map[string]any){}, artifacts: map[string]map[string]string{}}
	p.runs = append(p.runs, r)
	if !options.NoBuildStage {
		s := r.stage("Build", nil)
		s.phases = []phase{{"Image", []string{"__default"}}, {"Tests", []string{"linux", "windows"}}}
		s.begin()
		s.finish("succeeded")
	}
	return r
}

func or[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// repositoryID is the id of the repository that the pipeline is in.
func (r *Run) repositoryID() string {
	if r.options.Repository != "" {
		return guidOf("repository/" + r.options.Repository)
	}
	return guidOf("repository/" + r.project.id)
}

// Pipeline is the id of the pipeline's definition.
func (r *Run) Pipeline() int { return r.pipeline }

// ID is the build id.
func (r *Run) ID() int { return r.id }

// PlanID is the id of the run's orchestration plan, and of its timeline.
func (r *Run) PlanID() string { return r.planID }

// Finish ends the run with a result: succeeded, failed, canceled.
func (r *Run) Finish(result string) {
	r.project.org.mu.Lock()
	defer r.project.org.mu.Unlock()
	r.result, r.finished = result, r.project.org.now()
}

// MutateBuild lets f change the run's build record just before it is sent. The
// document is as JSON decodes it; f may be called concurrently.
func (r *Run) MutateBuild(f func(map[string]any)) { r.hook(Builds, f) }

// MutateTimeline does so with the run's timelines.
func (r *Run) MutateTimeline(f func(map[string]any)) { r.hook("timeline", f) }

// MutateApprovals does so with lists that hold approvals of the run: the
// document has count and value.
func (r *Run) MutateApprovals(f func(map[string]any)) { r.hook(Approvals, f) }

// MutateSuite does so with the check suites of the run's stages.
func (r *Run) MutateSuite(f func(map[string]any)) { r.hook(CheckSuites, f) }

// MutateAttachments does so with lists of attachments of the run.
func (r *Run) MutateAttachments(f func(map[string]any)) { r.hook(Attachments, f) }

// MutateConfigurations does so with lists of check configurations that a job
// of the run asks for.
func (r *Run) MutateConfigurations(f func(map[string]any)) { r.hook(Configurations, f) }

// MutateEndpoints changes the lists of service connections before the service sends
// them to the run's jobs.
func (r *Run) MutateEndpoints(f func(map[string]any)) { r.hook(Endpoints, f) }

// MutateClaims lets f change the claims of the run's own token before it is
// signed.
func (r *Run) MutateClaims(f func(map[string]any)) { r.hook("claims", f) }

func (r *Run) hook(kind string, f func(map[string]any)) {
	r.project.org.mu.Lock()
	defer r.project.org.mu.Unlock()
	r.hooks[kind] = append(r.hooks[kind], f)
}

// phase is a job of the YAML file; its jobs are what runs on agents.
type phase struct {
	name string
	jobs []string
}

// Stage is a stage of a run. Its methods act on its newest attempt.
type Stage struct {
	run       *Run
	name      string
	order     int
	resources []*protected
	phases    []phase
	attempts  []*attempt
}

// attempt is one attempt of a stage, with a checkpoint of its own.
type attempt struct {
	number       int
	job          int // attempt of the jobs
	state        string
	result       string
	begun, ended time.Time
	created      time.Time
	checkpointID string
	authorizedID string
	checkRuns    []*checkRun
	steps        []*Step
	token        *jobToken
}

// checkRun is the evaluation of one check for one attempt of a stage.
type checkRun struct {
	id        string
	check     *Check
	version   int // of the configuration, when it was evaluated
	status    string
	message   string
	created   time.Time
	completed time.Time
	approval  *Approval
}

// Stage adds a stage that uses these resources, and evaluates their checks:
// approvals are pending, everything else has passed. Its task runs in the job
// named __default of the phase Promote. A stage may be asked for again by its
// name alone.
func (r *Run) Stage(name string, uses ...Resource) *Stage {
	r.project.org.mu.Lock()
	defer r.project.org.mu.Unlock()
	for _, s := range r.stages {
		if strings.EqualFold(s.name, name) {
			return s
		}
	}
	var resources []*protected
	for _, u := range uses {
		resources = append(resources, u.guarded())
	}
	return r.stage(name, resources)
}

// LaterStage adds a stage that waits for others: it is in the timeline, but its
// checks are not evaluated until Ready. Whether a stage that still waits has a
// checkpoint is not documented; Stage adds one that has.
func (r *Run) LaterStage(name string, uses ...Resource) *Stage {
	s := r.Stage(name, uses...)
	s.lock()
	defer s.unlock()
	a := s.newest()
	a.checkpointID, a.checkRuns = "", nil
	return s
}

// Ready evaluates the checks of a stage that LaterStage added.
func (s *Stage) Ready() {
	s.lock()
	defer s.unlock()
	s.attempts = nil
	s.evaluate()
}

func (r *Run) stage(name string, resources []*protected) *Stage {
	s := &Stage{run: r, name: name, order: len(r.stages) + 1, resources: resources,
		phases: []phase{{"Promote", []string{"__default"}}}}
	r.stages = append(r.stages, s)
	s.evaluate()
	return s
}

// AddPhase adds a job of the YAML file beside the one that the task runs in,
// with the jobs that run for it (one named __default unless named).
func (s *Stage) AddPhase(name string, jobs ...string) {
	s.lock()
	defer s.unlock()
	if len(jobs) == 0 {
		jobs = []string{"__default"}
	}
	s.phases = append(s.phases, phase{name, jobs})
}

func (s *Stage) lock()   { s.run.project.org.mu.Lock() }
func (s *Stage) unlock() { s.run.project.org.mu.Unlock() }

func (s *Stage) newest() *attempt { return s.attempts[len(s.attempts)-1] }

// evaluate opens a new attempt with a checkpoint and its checks.
func (s *Stage) evaluate() {
	r := s.run
	o := r.project.org
	n := len(s.attempts) + 1
	a := &attempt{number: n, job: n, state: "pending", created: o.now()}
	a.checkpointID = recordID(r.planID, s.name, fmt.Sprint(n), "checkpoint")
	a.authorizedID = recordID(r.planID, s.name, fmt.Sprint(n), "authorization")
	for _, resource := range s.resources {
		for _, c := range resource.checks {
			if c.disabled || c.deleted {
				continue
			}
			run := &checkRun{id: o.guid("checkrun"), check: c, version: c.version, status: "approved", created: a.created, completed: a.created}
			if c.kind.id == ApprovalCheck.id {
				run.status, run.completed = "running", time.Time{}
				run.approval = newApproval(s, run, c.settings)
			}
			a.checkRuns = append(a.checkRuns, run)
		}
	}
	s.attempts = append(s.attempts, a)
	a.token = s.newToken(a)
}

// Begin puts the stage's jobs in progress, whether its checks have passed or
// not.
func (s *Stage) Begin() {
	s.lock()
	defer s.unlock()
	s.begin()
}

func (s *Stage) begin() {
	a := s.newest()
	a.state, a.result, a.begun, a.ended = "inProgress", "", s.run.project.org.now(), time.Time{}
}

// Finish ends the stage's jobs with a result: succeeded, failed, canceled.
// The token of its job is then worth nothing.
func (s *Stage) Finish(result string) {
	s.lock()
	defer s.unlock()
	s.finish(result)
}

func (s *Stage) finish(result string) {
	a := s.newest()
	a.state, a.result, a.ended = "completed", result, s.run.project.org.now()
	delete(s.run.project.org.tokens, a.token.value)
}

// Retry runs the stage once more, from its checks on: a new Stage record, a
// new checkpoint, new approvals.
func (s *Stage) Retry() {
	s.lock()
	defer s.unlock()
	if s.newest().state != "completed" {
		s.finish("failed")
	}
	s.evaluate()
}

// RetryJob runs the job once more within the same attempt of the stage, as an
// automatic retry does: a new Job record; approvals stay as they are.
func (s *Stage) RetryJob() {
	s.lock()
	defer s.unlock()
	a := s.newest()
	delete(s.run.project.org.tokens, a.token.value)
	a.job++
	a.token = s.newToken(a)
	s.begin()
}

// SetCheck sets how a check that is no approval came out in this attempt:
// approved, rejected, running, failed, timedOut, canceled.
func (s *Stage) SetCheck(c *Check, status string) error {
	s.lock()
	defer s.unlock()
	for _, run := range s.newest().checkRuns {
		if run.check == c && run.approval == nil {
			run.status, run.completed = status, s.run.project.org.now()
			if status == "running" {
				run.completed = time.Time{}
			}
			return nil
		}
	}
	return fmt.Errorf("stage %s evaluated no such check", s.name)
}

// Name is the stage's identifier; it is shown under the same name.
func (s *Stage) Name() string { return s.name }

// ID is the id of the newest attempt's Stage record.
func (s *Stage) ID() string {
	s.lock()
	defer s.unlock()
	return s.recordID(s.newest())
}

// JobID is the id of the Job record that the task runs in.
func (s *Stage) JobID() string {
	s.lock()
	defer s.unlock()
	return s.jobID(s.newest(), s.phases[0], s.phases[0].jobs[0])
}

// CheckpointID is the id of the newest attempt's Checkpoint record, and of its
// check suite.
func (s *Stage) CheckpointID() string {
	s.lock()
	defer s.unlock()
	return s.newest().checkpointID
}

// Token is the job token of the newest attempt.
func (s *Stage) Token() string {
	s.lock()
	defer s.unlock()
	return s.newest().token.value
}

// Approvals lists the newest attempt's approvals.
func (s *Stage) Approvals() []*Approval {
	s.lock()
	defer s.unlock()
	return s.newest().approvals()
}

func (a *attempt) approvals() []*Approval {
	var all []*Approval
	for _, run := range a.checkRuns {
		if run.approval != nil {
			all = append(all, run.approval)
		}
	}
	return all
}

func (s *Stage) recordID(a *attempt) string {
	return recordID(withAttempt(s.name, a.number))
}

func (s *Stage) phaseID(a *attempt, p phase) string {
	return recordID(s.name, withAttempt(p.name, a.number))
}

func (s *Stage) jobID(a *attempt, p phase, job string) string {
	return recordID(s.name, p.name, withAttempt(job, a.job))
}

// status is that of the attempt's check suite.
func (a *attempt) status() string {
	status := "approved"
	for _, run := range a.checkRuns {
		switch run.status {
		case "approved", "bypassed":
		case "running", "queued":
			if status == "approved" {
				status = "running"
			}
		default:
			return run.status
		}
	}
	return status
}
