package sim

import (
	"fmt"
	"time"
)

// Approval is one approval of one attempt of a stage.
type Approval struct {
	stage        *Stage
	run          *checkRun
	id           string
	settings     ApprovalSettings
	status       string
	created      time.Time
	modified     time.Time
	steps        []*approvalStep
	blockedNames []Identity
}

type approvalStep struct {
	assigned, actual Identity
	status, comment  string
	initiated        time.Time
	modified         time.Time
	modifiedBy       Identity
	deferredTo       time.Time
	history          []map[string]any
}

func newApproval(s *Stage, run *checkRun, settings ApprovalSettings) *Approval {
	o := s.run.project.org
	a := &Approval{stage: s, run: run, id: run.id, settings: settings, status: "pending", created: run.created, modified: run.created}
	if s.run.options.DistinctApprovalIDs {
		a.id = o.guid("approval")
	}
	if settings.RequesterCannotApprove {
		a.blockedNames = []Identity{s.run.options.RequestedFor}
	}
	for i, approver := range settings.Approvers {
		step := &approvalStep{assigned: approver, status: "pending", initiated: run.created, modified: run.created, modifiedBy: approver}
		if settings.InSequence && i > 0 {
			step.status, step.initiated = "uninitiated", time.Time{}
		}
		a.steps = append(a.steps, step)
	}
	return a
}

// ID is the approval's id, and that of its Checkpoint.Approval record.
func (a *Approval) ID() string { return a.id }

// Status is the approval's status as the service tells it.
func (a *Approval) Status() string {
	a.stage.lock()
	defer a.stage.unlock()
	return a.status
}

// Approve approves every pending approval of the stage on which it is by's
// turn: an assigned approver, or a member of an assigned group. It fails where
// there is none, as Azure DevOps would refuse.
func (s *Stage) Approve(by Identity, comment string) error {
	return s.each(by, "approve", func(a *Approval, step *approvalStep) { a.approve(step, by, comment) })
}

// Reject rejects instead.
func (s *Stage) Reject(by Identity, comment string) error {
	return s.each(by, "reject", func(a *Approval, step *approvalStep) {
		a.decide(step, by, comment, "rejected")
		a.end("rejected", "rejected")
	})
}

// Defer approves for a later time: the approval is deferred until then.
func (s *Stage) Defer(by Identity, until time.Time, comment string) error {
	return s.each(by, "defer", func(a *Approval, step *approvalStep) {
		a.decide(step, by, comment, "deferred")
		a.status, step.deferredTo = "deferred", until
	})
}

// Elapse lets the time of every deferred approval come: a job of the service
// approves, in the name of the person who answered, at its own time. Whether the
// documents still show then that the answer was deferred is not documented:
// forget leaves it out.
func (s *Stage) Elapse(forget bool) {
	s.lock()
	defer s.unlock()
	for _, a := range s.newest().approvals() {
		for _, step := range a.steps {
			if !a.open() || step.status != "deferred" {
				continue
			}
			if forget {
				step.deferredTo = time.Time{}
			}
			a.approve(step, step.actual, step.comment)
		}
	}
}

// Reassign hands the steps that are by's over to somebody else.
func (s *Stage) Reassign(by, to Identity, comment string) error {
	return s.each(by, "reassign", func(a *Approval, step *approvalStep) {
		o := s.run.project.org
		now := o.now()
		step.history = append(step.history, map[string]any{
			"assignedTo": o.ref(step.assigned), "createdBy": o.ref(by), "createdOn": stamp(now), "comment": comment})
		step.assigned, step.modified, step.modifiedBy = to, now, by
		a.modified = now
	})
}

// Skip, Cancel and TimeOut end every open approval of the stage without an
// answer of a person. Skip leaves the approval skipped and its check passed.
func (s *Stage) Skip() { s.endOpen("skipped", "approved") }

// Bypass is what an administrator's bypass of every open check of the stage
// leaves behind: approval and step skipped, with the administrator as the actual
// approver, the check run bypassed, and the suite approved.
func (s *Stage) Bypass(by Identity) {
	s.lock()
	defer s.unlock()
	for _, run := range s.newest().checkRuns {
		if run.status == "approved" || run.status == "bypassed" {
			continue
		}
		run.status, run.completed = "bypassed", s.run.project.org.now()
		if a := run.approval; a != nil {
			for _, step := range a.steps {
				a.decide(step, by, "", "skipped")
			}
			a.end("skipped", "bypassed")
		}
	}
}

// Cancel ends every open approval as a cancelled run does.
func (s *Stage) Cancel() { s.endOpen("canceled", "canceled") }

// TimeOut ends every open approval as too late.
func (s *Stage) TimeOut() { s.endOpen("timedOut", "timedOut") }

func (s *Stage) endOpen(status, checkStatus string) {
	s.lock()
	defer s.unlock()
	for _, a := range s.newest().approvals() {
		if a.open() {
			for _, step := range a.steps {
				if step.status == "pending" || step.status == "uninitiated" {
					step.status = status
				}
			}
			a.end(status, checkStatus)
		}
	}
}

// Approve approves this approval alone.
func (a *Approval) Approve(by Identity, comment string) error {
	a.stage.lock()
	defer a.stage.unlock()
	steps := a.turns(by)
	if len(steps) == 0 {
		return a.notTheirTurn(by, "approve")
	}
	for _, step := range steps {
		a.approve(step, by, comment)
	}
	return nil
}

func (s *Stage) each(by Identity, verb string, do func(*Approval, *approvalStep)) error {
	s.lock()
	defer s.unlock()
	acted := false
	for _, a := range s.newest().approvals() {
		for _, step := range a.turns(by) {
			do(a, step)
			acted = true
		}
	}
	if !acted {
		return fmt.Errorf("%s has nothing to %s in stage %s of run %d", by.DisplayName, verb, s.name, s.run.id)
	}
	return nil
}

func (a *Approval) notTheirTurn(by Identity, verb string) error {
	return fmt.Errorf("%s has nothing to %s in the approval of %s %s", by.DisplayName, verb, a.run.check.resource.kind, a.run.check.resource.name)
}

func (a *Approval) open() bool { return a.status == "pending" || a.status == "deferred" }

// AnswerOneStep makes a click answer one step of an approval. Otherwise it answers
// every step that the person may act for.
func (o *Organization) AnswerOneStep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.oneStep = true
}

// turns are the steps that a click by this person decides.
func (a *Approval) turns(by Identity) []*approvalStep {
	if !a.open() {
		return nil
	}
	var steps []*approvalStep
	for _, blocked := range a.blockedNames {
		if blocked.ID == by.ID {
			return nil
		}
	}
	for _, step := range a.steps {
		if (step.status == "pending" || step.status == "deferred") && a.stage.run.project.org.mayActFor(by, step.assigned) {
			steps = append(steps, step)
		}
	}
	if o := a.stage.run.project.org; o.oneStep && len(steps) > 1 {
		steps = steps[:1]
	}
	return steps
}

func (a *Approval) decide(step *approvalStep, by Identity, comment, status string) {
	now := a.stage.run.project.org.now()
	step.status, step.actual, step.comment, step.modified, step.modifiedBy = status, by, comment, now, by
	a.modified = now
}

func (a *Approval) approve(step *approvalStep, by Identity, comment string) {
	a.decide(step, by, comment, "approved")
	approved := 0
	for _, s := range a.steps {
		if s.status == "approved" {
			approved++
		}
	}
	if need := a.settings.MinRequired; approved == len(a.steps) || need > 0 && approved >= need {
		a.end("approved", "approved")
		return
	}
	a.status = "pending"
	for _, s := range a.steps {
		if s.status == "uninitiated" {
			s.status, s.initiated, s.modified = "pending", a.modified, a.modified
			break
		}
	}
}

func (a *Approval) end(status, checkStatus string) {
	now := a.stage.run.project.org.now()
	a.status, a.modified = status, now
	a.run.status, a.run.completed = checkStatus, now
}

// document is the approval as pipelines/approvals tells it.
func (a *Approval) document(steps, owner bool) map[string]any {
	r := a.stage.run
	o := r.project.org
	blocked := []any{}
	for _, b := range a.blockedNames {
		blocked = append(blocked, o.ref(b))
	}
	required := a.settings.MinRequired
	if required == 0 {
		required = len(a.steps)
	}
	list := []any{}
	if steps {
		for i, s := range a.steps {
			list = append(list, s.document(o, i+1, owner))
		}
	}
	doc := map[string]any{
		"id": a.id, "steps": list, "status": a.status, "createdOn": stamp(a.created), "lastModifiedOn": stamp(a.modified),
		"executionOrder": order(a.settings.InSequence), "minRequiredApprovers": required, "blockedApprovers": blocked,
		"_links": map[string]any{"self": map[string]any{"href": r.project.url() + "/_apis/pipelines/approvals/" + a.id}},
	}
	if a.settings.Instructions != "" {
		doc["instructions"] = a.settings.Instructions
	}
	if owner {
		doc["pipeline"] = map[string]any{"owner": r.owner("_links", "href", "id", "name"), "id": fmt.Sprint(r.pipeline), "name": r.options.Pipeline}
	}
	return doc
}

func (s *approvalStep) document(o *Organization, position int, owner bool) map[string]any {
	history := []any{}
	for _, h := range s.history {
		history = append(history, h)
	}
	doc := map[string]any{
		"assignedApprover": o.ref(s.assigned), "status": s.status, "comment": s.comment, "order": position,
		"lastModifiedOn": stamp(s.modified), "lastModifiedBy": o.ref(s.modifiedBy), "history": history, "initiatedOn": noTime,
	}
	if !s.initiated.IsZero() {
		doc["initiatedOn"] = stamp(s.initiated)
	}
	if owner && !s.deferredTo.IsZero() {
		doc["deferredTo"] = stamp(s.deferredTo)
	}
	if s.actual.ID != "" {
		doc["actualApprover"] = o.ref(s.actual)
	}
	return doc
}
