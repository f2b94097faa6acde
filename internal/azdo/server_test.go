package azdo_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/rule"
)

const (
	projectID     = "7f1d5a30-52c5-4d7c-9f3a-0a6d5d7c1b11"
	planID        = "b0a1c7de-6f0b-4f9e-8d63-6f9a0d4b7e22"
	stageID       = "91e40e28-d0dd-5294-89cc-d0fc47500c9a"
	phaseID       = "2eb4672b-d4ee-5173-5915-e9448b452ff6"
	jobID         = "434a55e9-bbcf-549f-282d-77286bd65e3c"
	checkpointID  = "08890543-3c78-57a1-f278-a9d77e3a93d7"
	approvalID    = "3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33"
	testStageID   = "5d0a8f0e-3c55-5d0b-9a9e-1f7c35b1a944"
	testPointID   = "c4a7d3f1-7d5d-5f0a-8a77-3d1f2b6c5e55"
	testApproval  = "6e5b1b5c-2b1a-4b5f-9d5e-8a3c1e7d4f66"
	jobToken      = "job-token-that-nobody-may-see"
	approvalCheck = "8c6f20a7-a545-4486-9777-f762fafe0d4d"
)

type object = map[string]any
type list = []any

// devops is a small Azure DevOps server that returns documents like the published
// examples. A test changes the documents or responds itself.
type devops struct {
	*httptest.Server
	base string // /<organisation>

	areas, build, timeline, approvals, suite, checks, token any
	commit, pulls, pull, release                            any

	// answer, if not nil, gets every request first and reports whether it has
	// responded.
	answer func(w http.ResponseWriter, r *http.Request, what string) bool

	// short responds without a network.
	short bool

	mu       sync.Mutex
	requests []string
}

// Each server has its own organization, because the library caches what a
// collection offers as long as the process runs.
var organisations atomic.Int64

func ref(id, name string) object {
	return object{"id": id, "displayName": name, "uniqueName": strings.ToLower(name) + "@example.com", "descriptor": "aad." + name,
		"url": "https://spsprodweu1.vssps.visualstudio.com/_apis/Identities/" + id, "imageUrl": "https://dev.azure.com/_apis/GraphProfile/MemberAvatars/" + id}
}

const (
	aliceID = "a11ce000-0000-4000-8000-000000000001"
	bobID   = "b0b00000-0000-4000-8000-000000000002"
	carolID = "ca201000-0000-4000-8000-000000000003"
)

func record(kind, id string, parent any, more object) object {
	r := object{"previousAttempts": list{}, "id": id, "parentId": parent, "type": kind, "name": kind, "startTime": "2026-11-23T11:00:00.5Z",
		"finishTime": nil, "currentOperation": nil, "percentComplete": nil, "state": "completed", "result": "succeeded", "changeId": 5,
		"lastModified": "0001-01-01T00:00:00", "workerName": nil, "errorCount": 0, "warningCount": 0, "url": nil, "log": nil, "task": nil,
		"attempt": 1, "identifier": nil}
	for k, v := range more {
		r[k] = v
	}
	return r
}

func newDevops(t testing.TB) *devops {
	d := &devops{base: fmt.Sprintf("/contoso%d", organisations.Add(1))}
	d.Server = httptest.NewUnstartedServer(d)
	d.Config.ErrorLog = log.New(io.Discard, "", 0)
	d.StartTLS()
	t.Cleanup(d.Close)

	var areas list
	for _, id := range []string{"965220d5-5bb9-42cf-8d67-9b146df2a5a4", "5b55a9b6-2e0f-40d7-829d-3741d2b8c4e4", "4a933897-0488-45af-bd82-6fd3ad33f46a", "4e080c62-fa21-4fbc-8fef-2a10a2b38049", "efc2f575-36ef-48e9-b672-0c6fb4a48ac5", "1814ab31-2f4f-4a9f-8761-f4d77dc5a5d7"} {
		areas = append(areas, object{"id": id, "name": "area", "locationUrl": d.URL + d.base + "/"})
	}
	d.areas = object{"count": len(areas), "value": areas}
	d.build = object{
		"id": 4711, "buildNumber": "20261123.1", "status": "inProgress", "reason": "manual",
		"queueTime": "2026-11-23T09:00:00.1234567Z", "startTime": "2026-11-23T09:00:05.1234567Z",
		"sourceBranch": "refs/heads/main", "sourceVersion": strings.Repeat("a", 40),
		"orchestrationPlan": object{"planId": planID}, "plans": list{object{"planId": planID}},
		"project":      object{"id": projectID, "name": "Shop", "state": "wellFormed"},
		"definition":   object{"id": 12, "name": "shop-cart", "revision": 3},
		"repository":   object{"id": "9d6c1b3e-1111-4222-8333-444455556666", "type": "TfsGit", "clean": nil},
		"queue":        object{"id": 9, "name": "Azure Pipelines"},
		"requestedFor": ref(aliceID, "Alice"), "requestedBy": ref("00000002-0000-8888-8000-000000000000", "Microsoft.VisualStudio.Services.TFS"),
		"templateParameters": object{}, "triggerInfo": object{},
	}
	// Children come before their parents, like in real timelines.
	d.timeline = object{"id": planID, "changeId": 21, "records": list{
		record("Checkpoint.Approval", approvalID, checkpointID, nil),
		record("Task", "0d1a2b3c-0000-4000-8000-00000000000a", jobID, object{"state": "inProgress", "result": nil, "name": "AcrPromote"}),
		record("Job", jobID, phaseID, object{"state": "inProgress", "result": nil, "identifier": "Production.Deploy.__default"}),
		record("Checkpoint.Authorization", "0d1a2b3c-0000-4000-8000-00000000000b", checkpointID, nil),
		record("Phase", phaseID, stageID, object{"state": "inProgress", "result": nil, "identifier": "Production.Deploy"}),
		record("Checkpoint", checkpointID, stageID, nil),
		record("Stage", stageID, nil, object{"state": "inProgress", "result": nil, "identifier": "Production", "name": "To production", "order": 2}),
		record("Checkpoint.Approval", testApproval, testPointID, nil),
		record("Stage", testStageID, nil, object{"identifier": "Test", "order": 1}),
		record("Checkpoint", testPointID, testStageID, nil),
	}}
	d.approvals = object{"count": 1, "value": list{d.approval(approvalID)}}
	d.suite = object{
		"id": checkpointID, "status": "approved", "message": "", "completedDate": "2026-11-23T10:30:00Z",
		"context": object{
			"Id": checkpointID, "PlanId": planID, "HubName": "Build", "Branch": "refs/heads/main",
			"Project":   object{"Id": projectID, "Name": "Shop"},
			"Pipeline":  object{"Id": "12", "Name": "shop-cart", "Owner": object{"Id": 4711, "Name": "20261123.1"}},
			"GraphNode": object{"Id": "00d28c6b-5c53-4e2f-8f0e-0e4f4a5b6c77", "Name": "Production", "Attempt": 1},
		},
		"checkRuns": list{object{
			"id": approvalID, "status": "approved", "resultMessage": "", "createdDate": "2026-11-23T10:00:00Z", "completedDate": "2026-11-23T10:30:00Z",
			"checkConfigurationRef": object{"id": 31, "version": 2, "type": object{"id": approvalCheck, "name": "Approval"},
				"resource": object{"type": "environment", "id": "7", "name": "Production"}},
		}},
	}
	d.checks = object{"count": 1, "value": list{object{
		"id": 31, "version": 2, "isDisabled": false, "timeout": 43200, "type": object{"id": approvalCheck, "name": "Approval"},
		"resource": object{"type": "environment", "id": "7", "name": "Production"}, "settings": object{"approvers": list{ref(bobID, "Bob")}},
	}}}
	d.token = signed(object{"jti": "1", "sub": "p://contoso/Shop/shop-cart", "org_id": "o", "prj_id": projectID, "def_id": "12", "run_id": "4711", "rpo_ref": "refs/heads/main"})
	d.commit = object{"commitId": strings.Repeat("a", 40), "author": object{"name": "Forged", "email": "forged@example.com"},
		"push": object{"pushId": 5, "date": "2026-11-23T08:59:00Z", "pushedBy": ref(aliceID, "Alice")}}
	d.pulls = object{"queries": list{}, "results": list{object{}}}
	d.pull = object{"pullRequestId": 77, "createdBy": ref(carolID, "Carol")}
	return d
}

func (d *devops) approval(id string) object {
	return object{
		"id": id, "status": "approved", "minRequiredApprovers": 1, "executionOrder": "anyOrder", "blockedApprovers": list{},
		"createdOn": "2026-11-23T10:00:00Z", "lastModifiedOn": "2026-11-23T10:30:00Z",
		"pipeline": object{"owner": object{"id": 4711, "name": "20261123.1"}, "id": "12", "name": "shop-cart"},
		"steps": list{object{
			"assignedApprover": ref(bobID, "Bob"), "actualApprover": ref(bobID, "Bob"), "status": "approved", "comment": "CHG0001",
			"initiatedOn": "2026-11-23T10:00:00Z", "lastModifiedOn": "2026-11-23T10:30:00.25Z", "lastModifiedBy": ref(bobID, "Bob"), "order": 1, "history": list{},
		}},
	}
}

func signed(claims object) object {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	part := base64.RawURLEncoding.EncodeToString
	return object{"oidcToken": part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part(payload) + "." + part([]byte("signature"))}
}

// in returns the value at a path of names and indices in a document.
func in(document any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			document = document.(object)[p]
		case int:
			document = document.(list)[p]
		}
	}
	return document
}

func set(document any, value any, path ...any) {
	last := len(path) - 1
	in(document, path[:last]...).(object)[path[last].(string)] = value
}

func recordOf(d *devops, id string) object {
	for _, r := range in(d.timeline, "records").(list) {
		if r.(object)["id"] == id {
			return r.(object)
		}
	}
	panic("no such record")
}

func (d *devops) addRecord(r object) {
	set(d.timeline, append(in(d.timeline, "records").(list), r), "records")
}

func (d *devops) dropRecord(id string) {
	set(d.timeline, slices.DeleteFunc(in(d.timeline, "records").(list), func(r any) bool { return r.(object)["id"] == id }), "records")
}

var locations = [][4]string{
	{"e81700f7-3be2-46de-8624-2eb35882fcaa", "Location", "ResourceAreas", "_apis/{resource}/{areaId}"},
	{"0cd358e1-9217-4d94-8269-1c1ee6f93dcf", "build", "builds", "{project}/_apis/{area}/{resource}/{buildId}"},
	{"8baac422-4c6e-4de5-8532-db96d92acffa", "build", "timeline", "{project}/_apis/{area}/builds/{buildId}/{resource}/{timelineId}"},
	{"af5122d3-3438-485e-a25a-2dbbfde84ee6", "build", "attachments", "{project}/_apis/{area}/builds/{buildId}/{timelineId}/{recordId}/{resource}/{type}/{name}"},
	{"f2192269-89fa-4f94-baf6-8fb128c55159", "build", "attachments", "{project}/_apis/{area}/builds/{buildId}/{resource}/{type}"},
	{"37794717-f36f-4d78-b2bf-4dc30d0cfbcd", "pipelines", "approvals", "{project}/_apis/{area}/{resource}/{approvalId}"},
	{"91282c1d-c183-444f-9554-1485bfb3879d", "pipelines", "runs", "{project}/_apis/{area}/checks/{resource}/{checkSuiteId}"},
	{"86c8381e-5aee-4cde-8ae4-25c0c7f5eaea", "pipelines", "configurations", "{project}/_apis/{area}/checks/{resource}/{id}"},
	{"e85f1c62-adfc-4b74-b618-11a150fb195e", "serviceendpoint", "endpoints", "{project}/_apis/{area}/{resource}/{endpointId}"},
	{"c2570c3b-5b3f-41b8-98bf-5407bfde8d58", "git", "commits", "{project}/_apis/{area}/repositories/{repositoryId}/{resource}/{commitId}"},
	{"9946fd70-0d40-406e-b686-b4744cbbcc37", "git", "pullRequests", "{project}/_apis/{area}/repositories/{repositoryId}/{resource}/{pullRequestId}"},
	{"b3a6eebe-9cf0-49ea-b6cb-1a4c5f5007b0", "git", "pullRequestQuery", "{project}/_apis/{area}/repositories/{repositoryId}/{resource}"},
	{"a166fde7-27ad-408e-ba75-703c2cc9d500", "release", "releases", "{project}/_apis/{area}/{resource}/{releaseId}"},
}

func (d *devops) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := r.Method + " " + strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, d.base), "/"+projectID)
	d.mu.Lock()
	d.requests = append(d.requests, what)
	d.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+jobToken {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-TFS-Session", "a-session-of-the-server")
	if d.answer != nil && d.answer(w, r, what) {
		return
	}
	var document any
	switch {
	case what == "OPTIONS /_apis":
		var value list
		for _, l := range locations {
			value = append(value, object{"id": l[0], "area": l[1], "resourceName": l[2], "routeTemplate": l[3], "resourceVersion": 1, "minVersion": "1.0", "maxVersion": "7.2", "releasedVersion": "7.1"})
		}
		document = object{"count": len(value), "value": value}
	case what == "GET /_apis/ResourceAreas":
		document = d.areas
	case what == "GET /_apis/build/builds/4711":
		document = d.build
	case what == "GET /_apis/build/builds/4711/timeline":
		document = d.timeline
	case what == "GET /_apis/pipelines/approvals":
		if r.URL.Query().Get("$expand") != "steps" {
			panic("the steps were not requested")
		}
		document = d.approvals
	case what == "GET /_apis/pipelines/checks/runs/"+checkpointID, what == "GET /_apis/pipelines/checks/runs/"+testPointID:
		if r.URL.Query().Get("$expand") != "resources" {
			panic("the resources were not requested")
		}
		document = d.suite
	case what == "GET /_apis/pipelines/checks/configurations":
		document = d.checks
	case what == "POST "+tokenPath:
		if r.URL.RawQuery != "api-version=7.1" {
			panic("the token was requested with " + r.URL.RawQuery)
		}
		document = d.token
	case strings.HasPrefix(what, "GET /_apis/git/repositories/") && strings.Contains(what, "/commits/"):
		document = d.commit
	case strings.HasPrefix(what, "GET /_apis/git/repositories/") && strings.HasSuffix(what, "/pullRequests/77"):
		document = d.pull
	case strings.HasPrefix(what, "POST /_apis/git/repositories/"):
		document = d.pulls
	case what == "GET /_apis/release/releases/88":
		document = d.release
	}
	if document == nil {
		http.NotFound(w, r)
		return
	}
	reply(w, document)
}

func reply(w http.ResponseWriter, document any) {
	var body bytes.Buffer
	if raw, ok := document.(string); ok {
		body.WriteString(raw)
	} else if err := json.NewEncoder(&body).Encode(document); err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8; api-version=7.2-preview.2")
	_, _ = w.Write(body.Bytes())
}

// tokenPath is where the job gets its tokens, below its project.
const tokenPath = "/_apis/distributedtask/hubs/build/plans/" + planID + "/jobs/" + jobID + "/oidctoken"

func (d *devops) claims() azdo.Claims {
	return azdo.Claims{
		Claims: approval.Claims{
			HostType: "build", ProjectID: projectID, PlanID: planID,
			JobID: jobID, StageID: stageID, StageName: "Production", StageAttempt: 1, BuildID: 4711,
		},
		Collection: d.URL + d.base + "/", ProjectName: "Shop",
		OIDCRequestURI: d.URL + d.base + "/" + projectID + tokenPath,
	}
}

func (d *devops) service(t testing.TB, claims azdo.Claims) *azdo.Service {
	t.Helper()
	client := d.Client()
	if d.short {
		client = &http.Client{Transport: handlerTransport{d}}
	}
	s, err := azdo.New(client, claims, jobToken)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judge reads the evidence and judges it by the strictest common rules.
func (d *devops) judge(t testing.TB, claims azdo.Claims, q azdo.Query) (approval.Evidence, approval.Verdict) {
	t.Helper()
	if q.Environment == "" {
		q.Environment = "Production"
	}
	e, err := d.service(t, claims).Evidence(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	environment := q.Environment
	if claims.HostType != "build" {
		environment = ""
	}
	return e, approval.Judge(e, approval.Rules{Environment: environment, AuthorCanApprove: !q.Authors}, day.Add(12*hour))
}

func ruleNames(refusals []rule.Refusal) []rule.Name {
	var out []rule.Name
	for _, r := range refusals {
		out = append(out, r.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
