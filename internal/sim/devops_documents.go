package sim

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"
	"time"
)

func (r *Run) webURL() string {
	return fmt.Sprintf("%s/_build/results?buildId=%d", r.project.url(), r.id)
}

func (r *Run) apiURL() string { return fmt.Sprintf("%s/_apis/build/Builds/%d", r.project.url(), r.id) }

func (r *Run) number() string {
	return fmt.Sprintf("%s.%d", r.queued.UTC().Format("20060102"), r.id%10+1)
}

// owner is the build as contexts and approvals name it, in their own casing.
func (r *Run) owner(links, href, id, name string) map[string]any {
	return map[string]any{
		links: map[string]any{"web": map[string]any{href: r.webURL()}, "self": map[string]any{href: r.apiURL()}},
		id:    r.id, name: r.number(),
	}
}

// build is the run as build/builds tells it.
func (r *Run) build() map[string]any {
	p := r.project
	o := p.org
	status := "inProgress"
	if r.result != "" {
		status = "completed"
	}
	doc := map[string]any{
		"_links": map[string]any{
			"self": map[string]any{"href": r.apiURL()}, "web": map[string]any{"href": r.webURL()},
			"timeline": map[string]any{"href": fmt.Sprintf("%s/_apis/build/builds/%d/Timeline", p.url(), r.id)},
		},
		"properties": map[string]any{}, "tags": []any{}, "validationResults": []any{}, "triggerInfo": map[string]any{},
		"plans": []any{map[string]any{"planId": r.planID}}, "orchestrationPlan": map[string]any{"planId": r.planID},
		"id": r.id, "buildNumber": r.number(), "status": status,
		"queueTime": stamp(r.queued), "startTime": stamp(r.started), "url": r.apiURL(),
		"definition": map[string]any{
			"drafts": []any{}, "id": r.pipeline, "name": r.options.Pipeline,
			"url": fmt.Sprintf("%s/_apis/build/Definitions/%d?revision=3", p.url(), r.pipeline),
			"uri": fmt.Sprintf("vstfs:///Build/Definition/%d", r.pipeline), "path": "\\", "type": "build",
			"queueStatus": "enabled", "revision": 3, "project": p.ref(),
		},
		"buildNumberRevision": r.id%10 + 1, "project": p.ref(), "uri": fmt.Sprintf("vstfs:///Build/Build/%d", r.id),
		"sourceBranch": r.options.Branch, "sourceVersion": r.options.Commit,
		"queue":    map[string]any{"id": 9, "name": "Azure Pipelines", "pool": map[string]any{"id": 8, "name": "Azure Pipelines", "isHosted": true}},
		"priority": "normal", "reason": r.options.Reason,
		"requestedFor": o.ref(r.options.RequestedFor), "requestedBy": o.ref(r.options.RequestedBy),
		"lastChangedDate": stamp(r.started), "lastChangedBy": o.ref(r.options.RequestedFor),
		"logs": map[string]any{"id": 0, "type": "Container", "url": fmt.Sprintf("%s/_apis/build/builds/%d/logs", p.url(), r.id)},
		"repository": map[string]any{"id": r.repositoryID(), "type": "TfsGit", "name": p.name,
			"url": o.Collection() + p.name + "/_git/" + p.name, "clean": nil, "checkoutSubmodules": false},
		"retainedByRelease": false, "triggeredByBuild": nil, "appendCommitMessageToRunName": true,
	}
	if r.result != "" {
		doc["result"], doc["finishTime"] = r.result, stamp(r.finished)
	}
	return doc
}

// timeline is one of the run's timelines: the newest attempt of every stage
// under the plan's id, an earlier attempt of a stage under its record id. It
// is nil where there is none.
func (r *Run) timeline(id string) map[string]any {
	var records []any
	if id == "" || strings.EqualFold(id, r.planID) {
		id = r.planID
		for _, s := range r.stages {
			records = append(records, s.records(s.newest())...)
		}
	} else {
		for _, s := range r.stages {
			for _, a := range s.attempts[:len(s.attempts)-1] {
				if strings.EqualFold(id, s.recordID(a)) {
					records = append(records, s.records(a)...)
				}
			}
		}
	}
	if records == nil {
		return nil
	}
	// The service promises no order: children come before parents.
	slices.SortFunc(records, func(a, b any) int {
		return strings.Compare(shuffled(a), shuffled(b))
	})
	return map[string]any{
		"records": records, "lastChangedBy": "00000002-0000-8888-8000-000000000000", "lastChangedOn": stamp(r.started),
		"id": id, "changeId": 38, "url": fmt.Sprintf("%s/_apis/build/builds/%d/Timeline/%s", r.project.url(), r.id, id),
	}
}

func shuffled(record any) string {
	sum := sha1.Sum([]byte(record.(map[string]any)["id"].(string)))
	return string(sum[:])
}

// record is a timeline record with every field that the service sends.
func record(kind, id string, parent any, name string) map[string]any {
	return map[string]any{
		"previousAttempts": []any{}, "id": id, "parentId": parent, "type": kind, "name": name,
		"startTime": nil, "finishTime": nil, "currentOperation": nil, "percentComplete": nil,
		"state": "pending", "result": nil, "resultCode": nil, "changeId": 12, "lastModified": noTime, "workerName": nil,
		"details": nil, "errorCount": 0, "warningCount": 0, "url": nil, "log": nil, "task": nil, "attempt": 1, "identifier": nil,
	}
}

func (s *Stage) records(a *attempt) []any {
	var records []any
	add := func(r map[string]any, state, result string, start, end time.Time) map[string]any {
		r["state"], r["startTime"], r["finishTime"] = state, stamp(start), stamp(end)
		if result != "" {
			r["result"] = result
		}
		records = append(records, r)
		return r
	}
	stageID := s.recordID(a)
	previous := func(r map[string]any, attempt int, id func(int) string) {
		list := []any{}
		for n := 1; n < attempt; n++ {
			list = append(list, map[string]any{"attempt": n, "timelineId": recordID(withAttempt(s.name, min(n, a.number))), "recordId": id(n)})
		}
		r["previousAttempts"] = list
	}
	stage := add(record("Stage", stageID, nil, s.name), a.state, a.result, a.begun, a.ended)
	stage["order"], stage["attempt"], stage["identifier"] = s.order, a.number, s.name
	previous(stage, a.number, func(n int) string { return recordID(withAttempt(s.name, n)) })

	state, result, done := "completed", "succeeded", a.created
	switch a.status() {
	case "approved":
		for _, run := range a.checkRuns {
			if run.completed.After(done) {
				done = run.completed
			}
		}
	case "running", "queued":
		state, result, done = "inProgress", "", time.Time{}
	default:
		result = "failed"
	}
	if a.checkpointID != "" {
		checkpoint := add(record("Checkpoint", a.checkpointID, stageID, "Checkpoint"), state, result, a.created, done)
		checkpoint["identifier"] = "Checkpoint"
	}
	for _, run := range a.checkRuns {
		id, state, result := run.id, "completed", "succeeded"
		if run.approval != nil {
			id = run.approval.id
		}
		switch run.status {
		case "approved", "bypassed":
		case "running", "queued":
			state, result = "inProgress", ""
		default:
			result = "failed"
		}
		child := add(record(run.check.kind.record, id, a.checkpointID, run.check.kind.record), state, result, run.created, run.completed)
		child["identifier"] = "Checkpoint." + id
	}
	if len(s.resources) > 0 && a.checkpointID != "" {
		authorized := add(record(authorizationCheck.record, a.authorizedID, a.checkpointID, authorizationCheck.record), "completed", "succeeded", a.created, a.created)
		authorized["identifier"] = "Checkpoint." + a.authorizedID
	}

	for i, p := range s.phases {
		state, result, begun, ended, phaseAttempt, jobAttempt := a.state, a.result, a.begun, a.ended, a.number, a.job
		if i > 0 && (a.number > 1 || a.result == "failed") {
			// Only the task's own job fails. What had succeeded is not run again: it
			// keeps its ids and attempts, and hangs under the new Stage record.
			state, result, begun, ended, phaseAttempt, jobAttempt = "completed", "succeeded", s.attempts[0].begun, s.attempts[0].ended, 1, 1
		}
		phaseID := recordID(s.name, withAttempt(p.name, phaseAttempt))
		ph := add(record("Phase", phaseID, stageID, p.name), state, result, begun, ended)
		ph["order"], ph["attempt"], ph["identifier"] = i+1, phaseAttempt, joined(s.name, p.name)
		previous(ph, phaseAttempt, func(n int) string { return recordID(s.name, withAttempt(p.name, n)) })
		for j, job := range p.jobs {
			jobID := recordID(s.name, p.name, withAttempt(job, jobAttempt))
			jr := add(record("Job", jobID, phaseID, p.name), state, result, begun, ended)
			jr["order"], jr["attempt"], jr["identifier"], jr["queueId"] = j+1, jobAttempt, joined(s.name, p.name, job), s.run.options.Queue.number
			previous(jr, jobAttempt, func(n int) string { return recordID(s.name, p.name, withAttempt(job, n)) })
			if begun.IsZero() {
				continue
			}
			jr["workerName"] = fmt.Sprintf("Azure Pipelines %d", j+2)
			init := add(record("Task", recordID(jobID, "init"), jobID, "Initialize job"), "completed", "succeeded", begun, begun)
			init["order"], init["workerName"] = 1, jr["workerName"]
			if i == 0 && j == 0 && len(a.steps) > 0 {
				for n, step := range a.steps {
					task := add(record("Task", step.id, jobID, step.task), step.state(), step.result, step.begun, step.ended)
					task["order"], task["workerName"], task["task"] = n+2, jr["workerName"], taskReference(step.task)
					if step.label != "" {
						task["name"] = step.label
					}
				}
				continue
			}
			name := map[bool]string{true: "AcrPromote", false: "CmdLine"}[i == 0]
			task := add(record("Task", recordID(jobID, "task"), jobID, name), state, result, begun, ended)
			task["order"], task["workerName"] = 2, jr["workerName"]
			task["task"] = taskReference(name)
		}
	}
	return records
}

// joined is a record's identifier: the stage of a pipeline without stages is
// left out.
func joined(names ...string) string {
	if names[0] == "__default" {
		names = names[1:]
	}
	return strings.Join(names, ".")
}

// suite is the attempt's check suite as pipelines/checks/runs tells it.
func (s *Stage) suite(a *attempt, resources bool) map[string]any {
	r := s.run
	runs := []any{}
	for _, run := range a.checkRuns {
		c := run.check
		ref := map[string]any{
			"id": c.id, "version": run.version, "type": map[string]any{"id": c.kind.id, "name": c.kind.name},
			"url":      fmt.Sprintf("%s/_apis/pipelines/checks/configurations/%d", r.project.url(), c.id),
			"resource": c.resource.ref(resources),
		}
		doc := map[string]any{"id": run.id, "createdDate": stamp(run.created), "checkConfigurationRef": ref, "status": run.status}
		if !run.completed.IsZero() {
			doc["completedDate"], doc["resultMessage"] = stamp(run.completed), run.message
		}
		runs = append(runs, doc)
	}
	doc := map[string]any{
		"status": a.status(), "message": "", "checkRuns": runs, "id": a.checkpointID, "context": s.context(a),
		"_links": map[string]any{"self": map[string]any{"href": r.project.url() + "/_apis/pipelines/checks/runs"}},
	}
	if a.status() != "running" {
		doc["completedDate"] = stamp(a.created)
	}
	return doc
}

func (s *Stage) context(a *attempt) map[string]any {
	r := s.run
	node := recordID(r.planID, s.name, "node")
	if r.options.GraphNodeIsStage {
		node = s.recordID(a)
	}
	orchestration := strings.ToLower(fmt.Sprintf("%s.%s.%d.checkpoint", r.planID, s.name, a.number))
	if r.options.FlatContext {
		return map[string]any{
			"Id": a.checkpointID, "OrchestrationId": orchestration, "PlanId": r.planID, "HubName": "Build", "Branch": r.options.Branch,
			"Project.Id": r.project.id, "Project.Name": r.project.name,
			"Pipeline.Id": fmt.Sprint(r.pipeline), "Pipeline.Name": r.options.Pipeline,
			"Pipeline.Owner.Id": r.id, "Pipeline.Owner.Name": r.number(),
			"GraphNode.Id": node, "GraphNode.Name": s.name, "GraphNode.Attempt": a.number,
		}
	}
	return map[string]any{
		"Id": a.checkpointID, "OrchestrationId": orchestration, "PlanId": r.planID, "HubName": "Build", "Branch": r.options.Branch,
		"Project":   map[string]any{"Id": r.project.id, "Name": r.project.name},
		"Pipeline":  map[string]any{"Owner": r.owner("_links", "Href", "Id", "Name"), "Id": fmt.Sprint(r.pipeline), "Name": r.options.Pipeline},
		"GraphNode": map[string]any{"Attempt": a.number, "Id": node, "Name": s.name},
	}
}
