package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ReleaseOptions say how a classic release was created.
type ReleaseOptions struct {
	Definition string   // "shop.CD" unless given
	CreatedBy  Identity // "Developer" unless given
	CreatedFor Identity // as CreatedBy unless given
	Artifact   *Run     // the primary artifact: a build
}

// Release is one classic release.
type Release struct {
	project    *Project
	options    ReleaseOptions
	id         int
	definition int
	created    time.Time
	stages     []*ReleaseStage
	hooks      []func(map[string]any)
}

// Release creates a release; its stages are added by Stage.
func (p *Project) Release(options ReleaseOptions) *Release {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	or(&options.Definition, p.name+".CD")
	or(&options.CreatedBy, Person("Developer"))
	or(&options.CreatedFor, options.CreatedBy)
	r := &Release{project: p, options: options, id: p.org.next("release"), definition: p.pipeline("release/" + options.Definition), created: p.org.now()}
	p.releases = append(p.releases, r)
	return r
}

// ID is the release's id.
func (r *Release) ID() int { return r.id }

// Mutate lets f change the release's record just before it is sent. The
// document is as JSON decodes it; f may be called concurrently.
func (r *Release) Mutate(f func(map[string]any)) {
	r.project.org.mu.Lock()
	defer r.project.org.mu.Unlock()
	r.hooks = append(r.hooks, f)
}

// ReleaseApprovals are the approvers before or after a deployment. With no
// approvers Azure DevOps writes one automated entry with no person.
type ReleaseApprovals struct {
	Approvers       []Identity
	Required        int // 0 is all of them
	InSequence      bool
	CreatorExcluded bool // the release's creator cannot be an approver
}

// ReleaseStageOptions say how a stage is guarded.
type ReleaseStageOptions struct {
	Before, After ReleaseApprovals
	Gates         []string // names of gates before the deployment
}

// ReleaseStage is a stage ("environment") of a release. Its methods act on its
// newest attempt.
type ReleaseStage struct {
	release   *Release
	options   ReleaseStageOptions
	id        int
	name      string
	rank      int
	status    string
	approvals []*releaseApproval
	steps     []*deployment
}

type releaseApproval struct {
	id, attempt, rank int
	kind, status      string // preDeploy, postDeploy
	automated         bool
	approver, by      Identity
	comment           string
	created, modified time.Time
	history           []any
	revision          int
}

type deployment struct {
	attempt, id              int
	planID, jobID            string
	requestedFor, by         Identity
	queued, ended            time.Time
	started                  bool
	status, operation, gates string
	ignored                  []any
	token                    *jobToken
}

// Stage adds a stage and queues its first deployment, for the person who created the
// release.
func (r *Release) Stage(name string, options ReleaseStageOptions) *ReleaseStage {
	r.project.org.mu.Lock()
	defer r.project.org.mu.Unlock()
	s := &ReleaseStage{release: r, options: options, name: name, rank: len(r.stages) + 1, id: r.id*10 + len(r.stages) + 1}
	r.stages = append(r.stages, s)
	s.deploy(r.options.CreatedFor, r.options.CreatedBy)
	return s
}

// LaterStage adds a stage that no deployment has been queued for: its approvers are
// configured, and nobody has been asked.
func (r *Release) LaterStage(name string, options ReleaseStageOptions) *ReleaseStage {
	r.project.org.mu.Lock()
	defer r.project.org.mu.Unlock()
	s := &ReleaseStage{release: r, options: options, name: name, rank: len(r.stages) + 1, id: r.id*10 + len(r.stages) + 1, status: "notStarted"}
	r.stages = append(r.stages, s)
	return s
}

// Deploy queues the first deployment of a stage that LaterStage added.
func (s *ReleaseStage) Deploy(by Identity) {
	s.lock()
	defer s.unlock()
	s.deploy(by, by)
}

func (s *ReleaseStage) deploy(requestedFor, by Identity) {
	o := s.release.project.org
	n := len(s.steps) + 1
	d := &deployment{attempt: n, id: s.id*10 + n, planID: o.guid("releaseplan"), jobID: o.guid("releasejob"),
		requestedFor: requestedFor, by: by, queued: o.now(), status: "notDeployed", operation: "Pending", gates: "none"}
	if len(s.options.Gates) > 0 {
		d.gates = "succeeded"
	}
	d.token = o.issue(&jobToken{project: s.release.project, release: s.release, hub: "release", planID: d.planID, jobID: d.jobID})
	s.steps = append(s.steps, d)
	s.status = "inProgress"
	s.ask("preDeploy", s.options.Before)
}

// ask opens the approvals of one kind for the newest attempt.
func (s *ReleaseStage) ask(kind string, how ReleaseApprovals) {
	now := s.release.project.org.now()
	add := func(a *releaseApproval) {
		a.id, a.kind, a.attempt, a.revision = s.id*100+len(s.approvals)+1, kind, s.newest().attempt, 1
		a.created, a.modified = now, now
		s.approvals = append(s.approvals, a)
	}
	if len(how.Approvers) == 0 {
		add(&releaseApproval{automated: true, status: "approved", rank: 1})
		return
	}
	for i, approver := range how.Approvers {
		if how.InSequence && i > 0 {
			break // the next is asked when the one before has approved
		}
		add(&releaseApproval{approver: approver, status: "pending", rank: i + 1})
	}
}

func (s *ReleaseStage) newest() *deployment { return s.steps[len(s.steps)-1] }

func (s *ReleaseStage) lock()   { s.release.project.org.mu.Lock() }
func (s *ReleaseStage) unlock() { s.release.project.org.mu.Unlock() }

// Approve approves the deployment before it starts, for every entry that is
// by's. It fails where there is none.
func (s *ReleaseStage) Approve(by Identity, comment string) error {
	return s.decide("preDeploy", "approved", by, comment)
}

// Reject rejects the deployment before it starts.
func (s *ReleaseStage) Reject(by Identity, comment string) error {
	return s.decide("preDeploy", "rejected", by, comment)
}

// ApproveAfter approves the finished deployment.
func (s *ReleaseStage) ApproveAfter(by Identity, comment string) error {
	return s.decide("postDeploy", "approved", by, comment)
}

func (s *ReleaseStage) decide(kind, status string, by Identity, comment string) error {
	s.lock()
	defer s.unlock()
	how := s.options.Before
	if kind == "postDeploy" {
		how = s.options.After
	}
	if how.CreatorExcluded && by.ID == s.release.options.CreatedBy.ID {
		return fmt.Errorf("%s created the release and cannot approve it", by.DisplayName)
	}
	o := s.release.project.org
	acted := false
	for _, a := range slices.Clone(s.approvals) {
		if a.kind != kind || a.attempt != s.newest().attempt || a.status != "pending" || !o.mayActFor(by, a.approver) {
			continue
		}
		acted = true
		a.status, a.by, a.comment, a.modified = status, by, comment, o.now()
		a.revision++
		a.history = append(a.history, map[string]any{"revision": a.revision, "approver": o.ref(a.approver), "changedBy": o.ref(by),
			"createdOn": stamp(a.modified), "modifiedOn": stamp(a.modified), "comments": comment})
		if how.InSequence && status == "approved" && a.rank < len(how.Approvers) {
			s.approvals = append(s.approvals, &releaseApproval{id: s.id*100 + len(s.approvals) + 1, kind: kind, attempt: a.attempt, revision: 1,
				approver: how.Approvers[a.rank], status: "pending", rank: a.rank + 1, created: o.now(), modified: o.now()})
		}
	}
	if !acted {
		return fmt.Errorf("%s has nothing to decide in stage %s of release %d", by.DisplayName, s.name, s.release.id)
	}
	if status == "rejected" {
		s.status = "rejected"
		return nil
	}
	approved := 0
	for _, a := range s.approvals {
		if a.kind == kind && a.attempt == s.newest().attempt && a.status == "approved" {
			approved++
		}
	}
	if how.Required > 0 && approved >= how.Required {
		for _, a := range s.approvals {
			if a.kind == kind && a.attempt == s.newest().attempt && a.status == "pending" {
				a.status = "skipped"
			}
		}
	}
	return nil
}

// Reassign hands by's pending entries over to somebody else: the entry is
// reassigned, and a new one is opened.
func (s *ReleaseStage) Reassign(by, to Identity, comment string) error {
	s.lock()
	defer s.unlock()
	o := s.release.project.org
	for _, a := range s.approvals {
		if a.attempt == s.newest().attempt && a.status == "pending" && o.mayActFor(by, a.approver) {
			a.history = append(a.history, map[string]any{"revision": a.revision, "approver": o.ref(a.approver), "changedBy": o.ref(by),
				"createdOn": stamp(a.created), "modifiedOn": stamp(o.now()), "comments": comment})
			a.status, a.modified = "reassigned", o.now()
			s.approvals = append(s.approvals, &releaseApproval{id: s.id*100 + len(s.approvals) + 1, kind: a.kind, attempt: a.attempt, revision: 1,
				approver: to, status: "pending", rank: a.rank, created: o.now(), modified: o.now()})
			return nil
		}
	}
	return fmt.Errorf("%s has nothing to reassign in stage %s of release %d", by.DisplayName, s.name, s.release.id)
}

// SetGates sets the state of the gates before the deployment: none, pending,
// inProgress, succeeded, failed, canceled.
func (s *ReleaseStage) SetGates(status string) {
	s.lock()
	defer s.unlock()
	s.newest().gates = status
}

// IgnoreGate lets the deployment pass whatever this gate says.
func (s *ReleaseStage) IgnoreGate(name string) {
	s.lock()
	defer s.unlock()
	d := s.newest()
	d.ignored = append(d.ignored, map[string]any{"name": name, "lastModifiedOn": stamp(s.release.project.org.now())})
}

// Begin puts the stage's job in progress.
func (s *ReleaseStage) Begin() {
	s.lock()
	defer s.unlock()
	d := s.newest()
	d.started, d.status, d.operation = true, "inProgress", "PhaseInProgress"
}

// Finish ends the deployment: succeeded, failed. The approvals after it are
// then asked for, and the job's token is worth nothing.
func (s *ReleaseStage) Finish(status string) {
	s.lock()
	defer s.unlock()
	d := s.newest()
	d.status, d.operation, d.ended = status, "Approved", s.release.project.org.now()
	s.status = map[string]string{"failed": "rejected"}[status]
	or(&s.status, status)
	delete(s.release.project.org.tokens, d.token.value)
	if status == "succeeded" {
		s.ask("postDeploy", s.options.After)
	}
}

// Redeploy queues one more attempt, with approvals of its own.
func (s *ReleaseStage) Redeploy(by Identity) {
	s.lock()
	defer s.unlock()
	delete(s.release.project.org.tokens, s.newest().token.value)
	s.deploy(by, by)
}

// ID is the id of the stage in the release.
func (s *ReleaseStage) ID() int { return s.id }

// Token is the job token of the newest attempt.
func (s *ReleaseStage) Token() string {
	s.lock()
	defer s.unlock()
	return s.newest().token.value
}

func (p *Project) serveRelease(w http.ResponseWriter, id string) {
	if p.refuse(w, Releases) {
		return
	}
	n, _ := strconv.Atoi(id)
	doc, hooks := p.locked(func() (map[string]any, []func(map[string]any)) {
		for _, r := range p.releases {
			if r.id == n {
				return r.document(), r.hooks
			}
		}
		return nil, nil
	})
	if doc == nil {
		restRefusal{http.StatusNotFound, "VS402377: Release with ID " + id + " does not exist. Specify a valid ID and try again.",
			"Microsoft.VisualStudio.Services.ReleaseManagement.WebApi.Exceptions.ReleaseNotFoundException", 3000}.write(w)
		return
	}
	p.org.verify("Release", doc)
	send(w, doc, hooks)
}

func (r *Release) url() string {
	return strings.Replace(r.project.url(), "://", "://vsrm.", 1) + "/_apis/Release"
}

func (r *Release) shallow() map[string]any {
	return map[string]any{"id": r.id, "name": fmt.Sprintf("Release-%d", r.id), "url": fmt.Sprintf("%s/releases/%d", r.url(), r.id), "_links": map[string]any{}}
}

func (r *Release) shallowDefinition() map[string]any {
	return map[string]any{"id": r.definition, "name": r.options.Definition, "path": "\\", "projectReference": nil,
		"url": fmt.Sprintf("%s/definitions/%d", r.url(), r.definition), "_links": map[string]any{}}
}

func (r *Release) document() map[string]any {
	p := r.project
	o := p.org
	environments := []any{}
	for _, s := range r.stages {
		environments = append(environments, s.document())
	}
	artifacts := []any{}
	if b := r.options.Artifact; b != nil {
		artifacts = append(artifacts, map[string]any{
			"sourceId": fmt.Sprintf("%s:%d", p.id, b.pipeline), "type": "Build", "alias": "_" + b.options.Pipeline, "isPrimary": true, "isRetained": false,
			"definitionReference": map[string]any{
				"definition":    map[string]any{"id": fmt.Sprint(b.pipeline), "name": b.options.Pipeline},
				"project":       map[string]any{"id": p.id, "name": p.name},
				"version":       map[string]any{"id": fmt.Sprint(b.id), "name": b.number()},
				"branch":        map[string]any{"id": b.options.Branch, "name": b.options.Branch},
				"sourceVersion": map[string]any{"id": b.options.Commit, "name": ""},
				"buildUri":      map[string]any{"id": fmt.Sprintf("vstfs:///Build/Build/%d", b.id), "name": fmt.Sprintf("vstfs:///Build/Build/%d", b.id)},
			},
		})
	}
	return map[string]any{
		"id": r.id, "name": fmt.Sprintf("Release-%d", r.id), "status": "active",
		"createdOn": stamp(r.created), "modifiedOn": stamp(r.created), "modifiedBy": o.ref(r.options.CreatedBy),
		"createdBy": o.ref(r.options.CreatedBy), "createdFor": o.ref(r.options.CreatedFor), "environments": environments,
		"variables": map[string]any{}, "variableGroups": []any{}, "artifacts": artifacts,
		"releaseDefinition": r.shallowDefinition(), "releaseDefinitionRevision": 2, "description": "", "reason": "manual",
		"releaseNameFormat": "Release-$(rev:r)", "keepForever": false, "definitionSnapshotRevision": 1, "tags": []any{},
		"logsContainerUrl": fmt.Sprintf("%s/releases/%d/logs", r.url(), r.id), "url": fmt.Sprintf("%s/releases/%d", r.url(), r.id),
		"triggeringArtifactAlias": nil, "projectReference": map[string]any{"id": p.id, "name": nil}, "properties": map[string]any{},
		"_links": map[string]any{"self": map[string]any{"href": fmt.Sprintf("%s/releases/%d", r.url(), r.id)}, "web": map[string]any{"href": r.webURL()}},
	}
}

func (r *Release) webURL() string {
	return fmt.Sprintf("%s/_release?releaseId=%d&_a=release-summary", r.project.url(), r.id)
}

func (s *ReleaseStage) document() map[string]any {
	r := s.release
	o := r.project.org
	list := func(kind string) []any {
		list := []any{}
		for _, a := range s.approvals {
			if a.kind == kind {
				list = append(list, s.approval(a))
			}
		}
		return list
	}
	deploySteps := []any{}
	for _, d := range s.steps {
		deploySteps = append(deploySteps, d.document(s))
	}
	gates := []any{}
	for _, name := range s.options.Gates {
		gates = append(gates, map[string]any{"tasks": []any{map[string]any{"taskId": guidOf("gate/" + name), "version": "1.*", "name": name, "enabled": true}}})
	}
	return map[string]any{
		"id": s.id, "releaseId": r.id, "name": s.name, "status": s.status, "variables": map[string]any{}, "variableGroups": []any{},
		"preDeployApprovals": list("preDeploy"), "postDeployApprovals": list("postDeploy"),
		"preApprovalsSnapshot": s.options.Before.snapshot(o), "postApprovalsSnapshot": s.options.After.snapshot(o),
		"deploySteps": deploySteps, "rank": s.rank, "definitionEnvironmentId": s.rank,
		"environmentOptions": map[string]any{"emailNotificationType": "OnlyOnFailure", "enableAccessToken": false, "timeoutInMinutes": 0},
		"demands":            []any{}, "conditions": []any{}, "createdOn": stamp(r.created), "modifiedOn": stamp(r.created),
		"workflowTasks": []any{}, "deployPhasesSnapshot": []any{}, "owner": o.ref(r.options.CreatedBy), "schedules": []any{},
		"release": r.shallow(), "releaseDefinition": r.shallowDefinition(), "releaseCreatedBy": o.ref(r.options.CreatedBy),
		"triggerReason": "Manual", "timeToDeploy": 0.0, "processParameters": map[string]any{},
		"preDeploymentGatesSnapshot": map[string]any{"id": 0, "gates": gates,
			"gatesOptions": map[string]any{"isEnabled": len(gates) > 0, "timeout": 1440, "samplingInterval": 15, "stabilizationTime": 5, "minimumSuccessDuration": 0}},
		"postDeploymentGatesSnapshot": map[string]any{"id": 0, "gatesOptions": nil, "gates": []any{}},
	}
}

func (how ReleaseApprovals) snapshot(o *Organization) map[string]any {
	approvals := []any{}
	for i, a := range how.Approvers {
		approvals = append(approvals, map[string]any{"rank": i + 1, "isAutomated": false, "isNotificationOn": false, "approver": o.ref(a), "id": i + 1})
	}
	if len(approvals) == 0 {
		return map[string]any{"approvals": []any{map[string]any{"rank": 1, "isAutomated": true, "isNotificationOn": false, "id": 0}}}
	}
	return map[string]any{"approvals": approvals, "approvalOptions": map[string]any{
		"requiredApproverCount": how.Required, "releaseCreatorCanBeApprover": !how.CreatorExcluded,
		"autoTriggeredAndPreviousEnvironmentApprovedCanBeSkipped": false, "enforceIdentityRevalidation": false,
		"timeoutInMinutes": 43200, "executionOrder": "beforeGates",
	}}
}

func (s *ReleaseStage) approval(a *releaseApproval) map[string]any {
	o := s.release.project.org
	doc := map[string]any{
		"id": a.id, "revision": a.revision, "approvalType": a.kind, "createdOn": stamp(a.created), "modifiedOn": stamp(a.modified),
		"status": a.status, "comments": a.comment, "isAutomated": a.automated, "isNotificationOn": false, "trialNumber": a.attempt,
		"attempt": a.attempt, "rank": a.rank, "release": s.release.shallow(), "releaseDefinition": s.release.shallowDefinition(),
		"releaseEnvironment": map[string]any{"id": s.id, "name": s.name, "_links": map[string]any{}},
		"url":                fmt.Sprintf("%s/approvals/%d", s.release.url(), a.id),
	}
	if a.approver.ID != "" {
		doc["approver"] = o.ref(a.approver)
	}
	if a.by.ID != "" {
		doc["approvedBy"] = o.ref(a.by)
	}
	if len(a.history) > 0 {
		doc["history"] = slices.Clone(a.history)
	}
	return doc
}

func (d *deployment) document(s *ReleaseStage) map[string]any {
	o := s.release.project.org
	gates := map[string]any{"id": 0, "status": d.gates, "deploymentJobs": []any{}, "lastModifiedOn": stamp(d.queued)}
	if len(d.ignored) > 0 {
		gates["ignoredGates"] = slices.Clone(d.ignored)
	}
	phases := []any{}
	if d.started {
		task := func(id int, name, status string, ref any) map[string]any {
			return map[string]any{"id": id, "timelineRecordId": recordID(d.jobID, name), "name": name, "status": status, "rank": id,
				"dateStarted": stamp(d.queued), "startTime": stamp(d.queued), "dateEnded": stamp(d.ended), "finishTime": stamp(d.ended), "issues": []any{}, "task": ref, "agentName": "Azure Pipelines 2"}
		}
		status := map[string]string{"succeeded": "succeeded", "failed": "failed"}[d.status]
		or(&status, "inProgress")
		phases = append(phases, map[string]any{
			"id": d.id, "phaseId": fmt.Sprint(d.id), "name": "Agent job", "rank": 1, "phaseType": "agentBasedDeployment", "status": status,
			"runPlanId": d.planID, "manualInterventions": []any{}, "startedOn": stamp(d.queued),
			"deploymentJobs": []any{map[string]any{
				"job": map[string]any{"id": 1, "timelineRecordId": d.jobID, "name": "Agent job", "status": status, "rank": 1, "issues": []any{}, "agentName": "Azure Pipelines 2"},
				"tasks": []any{
					task(1, "Initialize job", "succeeded", nil),
					task(2, "AcrPromote", status, taskReference("AcrPromote")),
				},
			}},
		})
	}
	return map[string]any{
		"id": d.id, "deploymentId": d.id, "attempt": d.attempt, "reason": "manual", "status": d.status, "operationStatus": d.operation,
		"releaseDeployPhases": phases, "requestedBy": o.ref(d.by), "requestedFor": o.ref(d.requestedFor), "queuedOn": stamp(d.queued),
		"lastModifiedBy": o.ref(d.by), "lastModifiedOn": stamp(d.queued), "hasStarted": d.started, "tasks": []any{},
		"runPlanId": d.planID, "issues": []any{}, "preDeploymentGates": gates,
		"postDeploymentGates": map[string]any{"id": 0, "status": "none", "deploymentJobs": []any{}, "lastModifiedOn": noTime},
	}
}

// JobRequest hands this stage's job to an agent. From now on the organisation
// issues assertions to the job for these connections, and for no others.
func (s *ReleaseStage) JobRequest(connections ...*ServiceConnection) JobRequest {
	s.lock()
	defer s.unlock()
	r, d := s.release, s.newest()
	variables := map[string]string{
		"system": "release", "system.hosttype": "release",
		"system.definitionId": fmt.Sprint(r.definition), "system.definitionName": r.options.Definition,
		// A release job has these as well; they mean nothing there.
		"system.stageId": recordID("__default"), "system.stageName": "__default", "system.stageDisplayName": "__default", "system.stageAttempt": "1",
		"system.phaseName": "Phase_1", "system.phaseDisplayName": "Agent job", "system.phaseAttempt": "1",
		"system.jobName": "__default", "system.jobAttempt": "1", "system.jobPositionInPhase": "1", "system.totalJobsInPhase": "1",
		"system.teamFoundationServerUri": r.project.org.releases(),
		"release.releaseId":              fmt.Sprint(r.id), "release.releaseName": fmt.Sprintf("Release-%d", r.id),
		"release.releaseUri": fmt.Sprintf("vstfs:///ReleaseManagement/Release/%d", r.id), "release.releaseDescription": "",
		"release.releaseWebUrl": r.webURL(),
		"release.definitionId":  fmt.Sprint(r.definition), "release.definitionName": r.options.Definition,
		"release.environmentId": fmt.Sprint(s.id), "release.environmentName": s.name,
		"release.environmentUri":          fmt.Sprintf("vstfs:///ReleaseManagement/Environment/%d", s.id),
		"release.definitionEnvironmentId": fmt.Sprint(s.rank), "release.attemptNumber": fmt.Sprint(d.attempt),
		"release.deploymentId": fmt.Sprint(d.id), "release.reason": "Manual",
		"release.requestedFor": r.options.CreatedFor.DisplayName, "release.requestedForId": r.options.CreatedFor.ID,
		"release.requestedForEmail":       r.options.CreatedFor.UniqueName,
		"release.deployment.requestedFor": d.requestedFor.DisplayName, "release.deployment.requestedForId": d.requestedFor.ID,
		"release.deployment.startTime": d.queued.UTC().Format("2006-01-02 15:04:05Z"),
	}
	if b := r.options.Artifact; b != nil {
		variables["release.primaryArtifactSourceAlias"] = "_" + b.options.Pipeline
		for name, value := range map[string]string{
			"build.buildId": fmt.Sprint(b.id), "build.buildNumber": b.number(), "build.buildUri": fmt.Sprintf("vstfs:///Build/Build/%d", b.id),
			"build.definitionId": fmt.Sprint(b.pipeline), "build.definitionName": b.options.Pipeline, "build.type": "Build",
			"build.projectId": r.project.id, "build.projectName": r.project.name,
			"build.sourceBranch": b.options.Branch, "build.sourceVersion": b.options.Commit,
			"build.requestedFor": b.options.RequestedFor.DisplayName, "build.requestedForId": b.options.RequestedFor.ID,
		} {
			variables[name] = value
		}
	}
	return d.token.jobRequest(variables, connections)
}
