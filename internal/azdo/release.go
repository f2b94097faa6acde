package azdo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// release is a classic release's record, with the fields that are needed: this
// one document has the approvals, gates and deployments of every stage.
type release struct {
	ID               number    `json:"id"`
	CreatedBy        *identity `json:"createdBy"`
	CreatedFor       *identity `json:"createdFor"`
	ProjectReference *struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"projectReference"`
	ReleaseDefinition *struct {
		ID   number `json:"id"`
		Name string `json:"name"`
	} `json:"releaseDefinition"`
	Links        links          `json:"_links"`
	Environments []releaseStage `json:"environments"`
	Artifacts    []struct {
		IsPrimary           bool `json:"isPrimary"`
		DefinitionReference map[string]struct {
			ID string `json:"id"`
		} `json:"definitionReference"`
	} `json:"artifacts"`
}

// releaseStage is a stage, which the documents call an environment.
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
		// These are for messages: what has another form counts as absent.
		CreatorCanApprove json.RawMessage `json:"releaseCreatorCanBeApprover"`
		Timeout           json.RawMessage `json:"timeoutInMinutes"`
	} `json:"approvalOptions"`
	Approvals json.RawMessage `json:"approvals"`
}

// settings returns whom the stage asks, nil if the response does not say.
func (p *approvalPolicy) settings() *approval.ApprovalSettings {
	var approvals []struct {
		IsAutomated bool      `json:"isAutomated"`
		Approver    *identity `json:"approver"`
	}
	if p == nil || json.Unmarshal(p.Approvals, &approvals) != nil || approvals == nil {
		return nil
	}
	out := &approval.ApprovalSettings{Required: p.required()}
	for _, a := range approvals {
		if !a.IsAutomated && a.Approver != nil {
			out.Approvers = append(out.Approvers, a.Approver.person())
		}
	}
	if p.Options != nil {
		creator, timeout := true, 0
		_ = json.Unmarshal(p.Options.CreatorCanApprove, &creator)
		_ = json.Unmarshal(p.Options.Timeout, &timeout)
		out.RequesterExcluded = !creator
		out.Timeout = minutes(timeout)
	}
	return out
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

func (r *reference) number() approval.Number {
	if r == nil {
		return approval.Number{}
	}
	return approval.Number(r.ID)
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
		Jobs      []struct {
			Tasks []releaseTask `json:"tasks"`
		} `json:"deploymentJobs"`
	} `json:"releaseDeployPhases"`
	PreGates  *gates `json:"preDeploymentGates"`
	PostGates *gates `json:"postDeploymentGates"`
}

// releaseTask is a task of a deployment. The server writes its times under two
// names each.
type releaseTask struct {
	Status      string `json:"status"`
	StartTime   string `json:"startTime"`
	DateStarted string `json:"dateStarted"`
	FinishTime  string `json:"finishTime"`
	DateEnded   string `json:"dateEnded"`
	Task        *struct {
		ID string `json:"id"`
	} `json:"task"`
}

func (t releaseTask) record() approval.ReleaseTask {
	out := approval.ReleaseTask{Status: t.Status, Started: completedAt(cmp.Or(t.StartTime, t.DateStarted)), Finished: completedAt(cmp.Or(t.FinishTime, t.DateEnded))}
	if t.Task != nil {
		out.TaskID = approval.GUID(t.Task.ID)
	}
	return out
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
		err = &malformed{reason: "it has no stages"}
	}
	if err != nil {
		s.refuse(s.unreadable(what, err, viewReleases))
		return
	}
	s.takeRelease(&r)
}

// takeRelease fills the run from the release's record, and compares it with the
// agent's claims.
func (s *Service) takeRelease(r *release) {
	c := s.claims
	record := r.record()
	s.run.release, s.run.record = r, &record
	run := &s.run.run
	run.ID = r.ID.Value
	if r.ProjectReference != nil {
		run.Project, run.ProjectID, s.run.project = r.ProjectReference.Name, approval.GUID(r.ProjectReference.ID), r.ProjectReference.Name
	}
	if run.Project == "" {
		run.Project = c.ProjectName
	}
	if r.ReleaseDefinition != nil {
		run.Definition, run.Pipeline = r.ReleaseDefinition.ID.Value, r.ReleaseDefinition.Name
	}
	run.URL = s.page(r.Links, fmt.Sprintf("_release?releaseId=%d", run.ID))
	for _, artifact := range r.Artifacts {
		if artifact.IsPrimary {
			run.Branch, run.Commit = artifact.DefinitionReference["branch"].ID, artifact.DefinitionReference["sourceVersion"].ID
		}
	}
	// Whether a release has a token of its own is not documented.
	run.Token = approval.Token{State: approval.TokenAbsent, Detail: "not used in a classic release, which is identified by its deployment"}
	run.Requesters = append(record.Requesters, c.Requesters()...)
	stage, attempt, refusals := approval.JudgeRelease(c.Claims, record)
	s.refuse(refusals...)
	if attempt == nil {
		return
	}
	run.Stage, run.Attempt = stage, attempt.Attempt
	run.Requesters = append(run.Requesters, attempt.Requesters...)
	run.RequestedBy = names(run.Requesters)
}

// record returns the values that are compared with the job's claims, and the
// approvals.
func (r *release) record() approval.ReleaseRecord {
	record := approval.ReleaseRecord{
		ID: approval.Number(r.ID),
		Requesters: requestersOf([]role{
			{r.CreatedBy, fmt.Sprintf("created release %d", r.ID.Value)},
			{r.CreatedFor, fmt.Sprintf("is the person that release %d was created for", r.ID.Value)},
		}),
	}
	if r.ProjectReference != nil {
		record.ProjectID = r.ProjectReference.ID
	}
	for _, e := range r.Environments {
		stage := approval.ReleaseStage{
			ID: approval.Number(e.ID), Name: e.Name,
			Before: entries(e.PreDeployApprovals, e.PreApprovalsSnapshot),
			After:  entries(e.PostDeployApprovals, e.PostApprovalsSnapshot),
		}
		for _, d := range e.DeploySteps {
			stage.Deployments = append(stage.Deployments, d.record())
		}
		record.Stages = append(record.Stages, stage)
	}
	return record
}

func (d *deployment) record() approval.Deployment {
	record := approval.Deployment{
		Attempt: d.Attempt, ID: approval.Number(d.DeploymentID), Status: d.Status,
		Requesters: requestersOf([]role{
			{d.RequestedFor, fmt.Sprintf("is the person that attempt %d of the deployment was requested for", d.Attempt)},
			{d.RequestedBy, fmt.Sprintf("requested attempt %d of the deployment", d.Attempt)},
		}),
		GatesBefore: d.PreGates.record(), GatesAfter: d.PostGates.record(),
	}
	for _, phase := range d.Phases {
		record.PlanIDs = append(record.PlanIDs, phase.RunPlanID)
		for _, job := range phase.Jobs {
			for _, task := range job.Tasks {
				record.Tasks = append(record.Tasks, task.record())
			}
		}
	}
	return record
}

func (g *gates) record() *approval.Gates {
	if g == nil {
		return nil
	}
	record := &approval.Gates{Status: g.Status}
	for _, gate := range g.IgnoredGates {
		record.Ignored = append(record.Ignored, gate.Name)
	}
	return record
}

func entries(list []releaseEntry, policy *approvalPolicy) approval.Entries {
	out := approval.Entries{Required: policy.required(), Settings: policy.settings()}
	for _, e := range list {
		out.List = append(out.List, approval.Entry{
			ID: approval.Number(e.ID), Kind: e.ApprovalType, Attempt: e.Attempt,
			ReleaseID: e.Release.number(), StageID: e.ReleaseStageLink.number(), Step: e.step(),
		})
	}
	return out
}

// releaseEvidence returns the approvals of a stage in the release's record.
func (s *Service) releaseEvidence(q Query, run Run, refusals []rule.Refusal) (approval.Evidence, error) {
	c := s.claims
	e := approval.Evidence{
		Source: approval.Release, Organization: run.Organization, Project: run.Project, ProjectID: c.ProjectID, PlanID: c.PlanID,
		ReleaseID: c.ReleaseID, Stage: run.Stage, Attempt: run.Attempt, Requesters: run.Requesters, Token: run.Token, Refusals: refusals,
		AuthorsUnknown: "a classic release gets its sources from builds and does not record who pushed them",
	}
	if s.run.record == nil {
		return e, nil
	}
	e, found := s.run.record.Evidence(e, q.Stage, q.PostDeployment)
	if !found {
		unknown := &UnknownStageError{Stage: q.Stage}
		for _, known := range s.run.record.Stages {
			unknown.Known = append(unknown.Known, known.Name)
		}
		return e, unknown
	}
	return e, nil
}

func (r releaseEntry) step() approval.Step {
	s := approval.Step{
		Status: r.Status, Assigned: r.Approver.person(), Comment: r.Comments,
		Initiated: at(r.CreatedOn), Modified: r.decidedAt(), Automated: r.IsAutomated,
	}
	if r.ApprovedBy != nil {
		actual := r.ApprovedBy.person()
		s.Actual = &actual
	}
	return s
}

// decidedAt returns when the newest entry of the history was written, or,
// without a history, the record itself: later events change the record too.
func (r releaseEntry) decidedAt() time.Time {
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
