package azdo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// release is a classic release's record as far as it is needed: approvals,
// gates and deployments of every stage stand in this one document.
type release struct {
	ID               number    `json:"id"`
	CreatedBy        *identity `json:"createdBy"`
	CreatedFor       *identity `json:"createdFor"`
	ProjectReference *struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"projectReference"`
	ReleaseDefinition *struct {
		ID number `json:"id"`
	} `json:"releaseDefinition"`
	Environments []releaseStage `json:"environments"`
	Artifacts    []struct {
		IsPrimary           bool `json:"isPrimary"`
		DefinitionReference map[string]struct {
			ID string `json:"id"`
		} `json:"definitionReference"`
	} `json:"artifacts"`
}

// releaseStage is what the documents call an environment.
type releaseStage struct {
	ID                    number          `json:"id"`
	Name                  string          `json:"name"`
	PreDeployApprovals    []releaseEntry  `json:"preDeployApprovals"`
	PostDeployApprovals   []releaseEntry  `json:"postDeployApprovals"`
	PreApprovalsSnapshot  *approvalPolicy `json:"preApprovalsSnapshot"`
	PostApprovalsSnapshot *approvalPolicy `json:"postApprovalsSnapshot"`
	DeploySteps           []deployment    `json:"deploySteps"`
}

type approvalPolicy struct {
	Options *struct {
		RequiredApproverCount number `json:"requiredApproverCount"`
	} `json:"approvalOptions"`
}

func (p *approvalPolicy) required() int {
	if p == nil || p.Options == nil {
		return 0
	}
	return p.Options.RequiredApproverCount.Value
}

// releaseEntry is one approver's part of a stage's approval.
type releaseEntry struct {
	ID           number            `json:"id"`
	ApprovalType string            `json:"approvalType"`
	Status       string            `json:"status"`
	IsAutomated  bool              `json:"isAutomated"`
	Attempt      int               `json:"attempt"`
	Approver     *identity         `json:"approver"`
	ApprovedBy   *identity         `json:"approvedBy"`
	Comments     string            `json:"comments"`
	CreatedOn    *azuredevops.Time `json:"createdOn"`
	ModifiedOn   *azuredevops.Time `json:"modifiedOn"`
	History      []struct {
		ModifiedOn *azuredevops.Time `json:"modifiedOn"`
	} `json:"history"`
	Release          *reference `json:"release"`
	ReleaseStageLink *reference `json:"releaseEnvironment"`
}

type reference struct {
	ID number `json:"id"`
}

// deployment is one attempt at a stage.
type deployment struct {
	Attempt      int       `json:"attempt"`
	DeploymentID number    `json:"deploymentId"`
	Status       string    `json:"status"`
	RequestedFor *identity `json:"requestedFor"`
	RequestedBy  *identity `json:"requestedBy"`
	Phases       []struct {
		RunPlanID string `json:"runPlanId"`
	} `json:"releaseDeployPhases"`
	PreGates  *gates `json:"preDeploymentGates"`
	PostGates *gates `json:"postDeploymentGates"`
}

type gates struct {
	Status       string `json:"status"`
	IgnoredGates []struct {
		Name string `json:"name"`
	} `json:"ignoredGates"`
}

const viewReleases = `the permission "View releases" on the release pipeline`

// loadRelease reads the release and finds the stage and the deployment that
// this job belongs to.
func (s *Service) loadRelease(ctx context.Context) {
	c := s.claims
	var r release
	what := fmt.Sprintf("release %d", c.ReleaseID)
	err := s.get(ctx, areaRelease, locationRelease, "7.1-preview.8", s.inProject(map[string]string{"releaseId": strconv.Itoa(c.ReleaseID)}), nil, &r)
	if err == nil && len(r.Environments) == 0 {
		err = &malformed{"it has no stages"}
	}
	if err != nil {
		s.refuse(s.unreadable(what, err, viewReleases))
		return
	}
	s.takeRelease(&r)
}

func (s *Service) takeRelease(r *release) {
	c := s.claims
	subject := fmt.Sprintf("release %d", c.ReleaseID)
	s.run.release = r
	run := &s.run.run
	run.ID = r.ID.Value
	if r.ProjectReference != nil {
		run.Project, run.ProjectID, s.run.project = r.ProjectReference.Name, approval.GUID(r.ProjectReference.ID), r.ProjectReference.Name
	}
	if run.Project == "" {
		run.Project = c.ProjectName
	}
	if r.ReleaseDefinition != nil {
		run.Definition = r.ReleaseDefinition.ID.Value
	}
	for _, artifact := range r.Artifacts {
		if artifact.IsPrimary {
			run.Branch, run.Commit = artifact.DefinitionReference["branch"].ID, artifact.DefinitionReference["sourceVersion"].ID
		}
	}
	// Whether a release has a token of its own is not documented.
	run.Token = approval.Token{State: approval.TokenAbsent, Detail: "none is asked for in a classic release: it is bound by its deployment"}
	run.Requesters = append(r.requesters(), c.Requesters()...)

	if !r.ID.Set || r.ID.Value != c.ReleaseID {
		s.refuse(s.mismatch(subject, fmt.Sprintf("Azure DevOps answered with the record of another release than %d", c.ReleaseID)))
	}
	if r.ProjectReference != nil && r.ProjectReference.ID != "" && !approval.SameGUID(r.ProjectReference.ID, c.ProjectID) {
		s.refuse(s.mismatch(subject, fmt.Sprintf("release %d does not belong to the project %s, which this job claims to belong to", c.ReleaseID, c.ProjectID)))
	}
	stage, err := r.stage(func(e releaseStage) bool { return e.ID.Set && e.ID.Value == c.EnvironmentID })
	if err == nil && stage == nil {
		s.refuse(s.mismatch(subject, fmt.Sprintf("release %d has no stage with the number %d, which this job claims to run in", c.ReleaseID, c.EnvironmentID)))
		return
	}
	if err != nil {
		s.refuse(contradiction(subject, err.Error()))
		return
	}
	if c.EnvironmentName != "" && !approval.SameName(c.EnvironmentName, stage.Name) {
		s.refuse(s.mismatch(subject, fmt.Sprintf("the stage with the number %d is called %q, and not %q, as this job claims", c.EnvironmentID, sanitize.Line(stage.Name), sanitize.Line(c.EnvironmentName))))
	}
	attempt, err := stage.attempt(c.ReleaseAttempt)
	if err == nil && attempt == nil {
		s.refuse(s.mismatch(subject, fmt.Sprintf("the stage %s of release %d has no attempt %d, which this job claims to be", sanitize.Line(stage.Name), c.ReleaseID, c.ReleaseAttempt)))
		return
	}
	if err != nil {
		s.refuse(contradiction(subject, err.Error()))
		return
	}
	mismatches := s.bindDeployment(subject, attempt)
	s.refuse(mismatches...)
	run.Stage, run.Attempt = stage.Name, attempt.Attempt
	run.Requesters = append(run.Requesters, attempt.requesters()...)
	run.RequestedBy = names(run.Requesters)
	s.run.bound = len(s.run.refusals) == 0
}

// bindDeployment compares an attempt with what the agent claims of it. The
// plan is compared where the record tells it.
func (s *Service) bindDeployment(subject string, d *deployment) []rule.Refusal {
	c := s.claims
	var refusals []rule.Refusal
	if d.Status != "inProgress" {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("the attempt %d is not in progress, so this job cannot be part of it: its status is %q", d.Attempt, sanitize.Line(d.Status))))
	}
	if c.DeploymentID > 0 && (!d.DeploymentID.Set || d.DeploymentID.Value != c.DeploymentID) {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("the attempt %d is the deployment %d, and not %d, as this job claims", d.Attempt, d.DeploymentID.Value, c.DeploymentID)))
	}
	told, ours := false, false
	for _, phase := range d.Phases {
		told = told || approval.GUID(phase.RunPlanID) != ""
		ours = ours || approval.SameGUID(phase.RunPlanID, c.PlanID)
	}
	if told && !ours {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("the attempt %d is not carried out by the plan %s, which this job claims to belong to", d.Attempt, c.PlanID)))
	}
	return refusals
}

// stage finds the one stage that is meant; nil if there is none.
func (r *release) stage(meant func(releaseStage) bool) (found *releaseStage, err error) {
	for i, e := range r.Environments {
		if !meant(e) {
			continue
		}
		if found != nil {
			return nil, errors.New("the release has the stage " + sanitize.Line(e.Name) + " twice")
		}
		found = &r.Environments[i]
	}
	return found, nil
}

// attempt finds one attempt at the stage; nil if there is none.
func (e *releaseStage) attempt(number int) (found *deployment, err error) {
	for i, d := range e.DeploySteps {
		if d.Attempt != number {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("the stage %s has the attempt %d twice", sanitize.Line(e.Name), number)
		}
		found = &e.DeploySteps[i]
	}
	return found, nil
}

// newest is the number of the newest attempt at the stage, also where it is
// still waiting for its approval.
func (e *releaseStage) newest() int {
	newest := 0
	for _, d := range e.DeploySteps {
		newest = max(newest, d.Attempt)
	}
	for _, entry := range e.PreDeployApprovals {
		newest = max(newest, entry.Attempt)
	}
	return newest
}

func (r *release) requesters() []approval.Requester {
	return asked([]asker{
		{r.CreatedBy, fmt.Sprintf("created release %d", r.ID.Value)},
		{r.CreatedFor, fmt.Sprintf("is the person that release %d was created for", r.ID.Value)},
	})
}

func (d *deployment) requesters() []approval.Requester {
	return asked([]asker{
		{d.RequestedFor, fmt.Sprintf("is the person that attempt %d of the deployment was requested for", d.Attempt)},
		{d.RequestedBy, fmt.Sprintf("requested attempt %d of the deployment", d.Attempt)},
	})
}

// releaseEvidence collects the approvals of a stage from the release's record.
func (s *Service) releaseEvidence(q Question, run Run, refusals []rule.Refusal) (approval.Evidence, error) {
	c := s.claims
	e := approval.Evidence{
		Source: approval.Release, Organization: run.Organization, Project: run.Project, ProjectID: c.ProjectID, PlanID: c.PlanID,
		ReleaseID: c.ReleaseID, Stage: run.Stage, Attempt: run.Attempt, Requesters: run.Requesters, Token: run.Token, Refusals: refusals,
		AuthorsUnknown: "a classic release takes its sources from builds, and does not say who pushed them",
	}
	r := s.run.release
	if r == nil {
		return e, nil
	}
	subject := fmt.Sprintf("release %d", c.ReleaseID)
	name := q.Stage
	if name == "" {
		name = run.Stage
	}
	stage, err := r.stage(func(e releaseStage) bool { return approval.SameName(e.Name, name) })
	if err != nil {
		e.Refusals = append(e.Refusals, contradiction(subject, err.Error()))
		return e, nil
	}
	if stage == nil && q.Stage != "" {
		unknown := &UnknownStage{Stage: q.Stage}
		for _, known := range r.Environments {
			unknown.Known = append(unknown.Known, known.Name)
		}
		return e, unknown
	}
	if stage == nil || !s.run.bound {
		return e, nil
	}
	e.Stage = stage.Name
	if !approval.SameName(stage.Name, run.Stage) {
		e.Attempt = stage.newest()
	}
	deployed, err := stage.attempt(e.Attempt)
	if err == nil {
		err = stage.fill(&e, deployed, q.PostDeployment)
	}
	if err != nil {
		e.Refusals = append(e.Refusals, contradiction(subject, err.Error()))
		return e, nil
	}
	if len(e.Requesters) == 0 {
		e.Refusals = append(e.Refusals, contradiction(subject, "the record of the release does not say who requested it"))
		return e, nil
	}
	e.Complete = true
	return e, nil
}

// fill adds the approvals of one attempt, who asked for it, and its gates.
func (e *releaseStage) fill(out *approval.Evidence, d *deployment, post bool) error {
	before, err := e.set("pre-deployment", "preDeploy", e.PreDeployApprovals, e.PreApprovalsSnapshot, *out)
	if err != nil {
		return err
	}
	out.Approvals = append(out.Approvals, before)
	if post {
		after, err := e.set("post-deployment", "postDeploy", e.PostDeployApprovals, e.PostApprovalsSnapshot, *out)
		if err != nil {
			return err
		}
		out.Approvals = append(out.Approvals, after)
	}
	if d == nil {
		return nil
	}
	out.Requesters = append(out.Requesters, d.requesters()...)
	out.Notes = append(out.Notes, d.PreGates.notes("pre-deployment")...)
	if post {
		out.Notes = append(out.Notes, d.PostGates.notes("post-deployment")...)
	}
	return nil
}

// set makes one approval of the entries of one attempt.
func (e *releaseStage) set(phase, kind string, entries []releaseEntry, policy *approvalPolicy, out approval.Evidence) (approval.Approval, error) {
	a := approval.Approval{ID: fmt.Sprintf("%s/%d/%d", kind, e.ID.Value, out.Attempt), Phase: phase, Required: policy.required()}
	seen := map[int]bool{}
	for _, entry := range entries {
		switch {
		case !entry.ID.Set || seen[entry.ID.Value]:
			return a, fmt.Errorf("a %s approval of the stage %s bears no number, or the same as another", phase, sanitize.Line(e.Name))
		case entry.ApprovalType != "" && entry.ApprovalType != kind:
			return a, fmt.Errorf("among the %s approvals of the stage %s is one of the type %q", phase, sanitize.Line(e.Name), sanitize.Line(entry.ApprovalType))
		case entry.Release != nil && entry.Release.ID.Set && entry.Release.ID.Value != out.ReleaseID,
			entry.ReleaseStageLink != nil && entry.ReleaseStageLink.ID.Set && entry.ReleaseStageLink.ID.Value != e.ID.Value:
			return a, fmt.Errorf("a %s approval of the stage %s belongs to another release or stage", phase, sanitize.Line(e.Name))
		}
		seen[entry.ID.Value] = true
		if entry.Attempt == out.Attempt {
			a.Steps = append(a.Steps, entry.step())
		}
	}
	return a, nil
}

func (r releaseEntry) step() approval.Step {
	s := approval.Step{
		Status: r.Status, Assigned: r.Approver.person(), Comment: r.Comments,
		Initiated: at(r.CreatedOn), Modified: r.answered(), Automated: r.IsAutomated,
	}
	if r.ApprovedBy != nil {
		actual := r.ApprovedBy.person()
		s.Actual = &actual
	}
	return s
}

// answered is when the newest entry of the history was written, or, without a
// history, the record itself: later things change the record too.
func (r releaseEntry) answered() time.Time {
	var newest time.Time
	for _, h := range r.History {
		if t := at(h.ModifiedOn); t.After(newest) {
			newest = t
		}
	}
	if newest.IsZero() {
		return at(r.ModifiedOn)
	}
	return newest
}

// notes tells the state of gates, and which of them were ignored. For a manual
// approval they refuse nothing.
func (g *gates) notes(phase string) []rule.Outcome {
	if g == nil || (g.Status == "" || g.Status == "none") && len(g.IgnoredGates) == 0 {
		return nil
	}
	detail := fmt.Sprintf("%s gates: %s", phase, sanitize.Line(g.Status))
	var ignored []string
	for _, gate := range g.IgnoredGates {
		ignored = append(ignored, sanitize.Line(gate.Name))
	}
	if len(ignored) > 0 {
		detail += "; ignored by hand, which is a bypass: " + strings.Join(ignored, ", ")
	}
	return []rule.Outcome{{Rule: rule.AutomatedCheck, Met: true, Detail: detail + "; told, and not asked for"}}
}
