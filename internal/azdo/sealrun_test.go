package azdo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
)

const (
	sealStepID = "0d1a2b3c-0000-4000-8000-0000000000aa"
	sealName   = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	sealDigest = "sha256:" + sealName
)

// sealing is a server whose run has a step that sealed an image in the stage Test.
type sealing struct {
	*devops
	attachments object
}

func newSealing(t *testing.T) *sealing {
	s := &sealing{devops: newDevops(t)}
	const phase, job = "0d1a2b3c-0000-4000-8000-0000000000bb", "0d1a2b3c-0000-4000-8000-0000000000cc"
	s.addRecord(record("Phase", phase, testStageID, nil))
	s.addRecord(record("Job", job, phase, nil))
	s.addRecord(record("Task", sealStepID, job, object{"finishTime": "2026-11-23T09:20:00.5Z", "task": object{"id": approval.SealTask, "name": "AcrPromote", "version": "1.0.0"}}))
	s.attachments = object{"count": 1, "value": list{s.attachment(4711, planID, sealStepID, sealName)}}
	s.devops.answer = func(w http.ResponseWriter, _ *http.Request, what string) bool {
		switch what {
		case "GET /_apis/build/builds/4711/attachments/acrpromote.seal":
			reply(w, s.attachments)
		case "GET /_apis/pipelines/checks/runs/" + testPointID:
			suite := clone(s.suite.(object))
			suite["id"] = testPointID
			set(suite, "Test", "context", "GraphNode", "Name")
			set(suite, approval.TypeRequiredTemplate, "checkRuns", 0, "checkConfigurationRef", "type", "id")
			reply(w, suite)
		default:
			return false
		}
		return true
	}
	return s
}

func clone(d object) object {
	raw, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		panic(err)
	}
	return typed(out).(object)
}

// typed gives decoded JSON the types of these tests.
func typed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := object{}
		for k, inner := range v {
			out[k] = typed(inner)
		}
		return out
	case []any:
		var out list
		for _, inner := range v {
			out = append(out, typed(inner))
		}
		return out
	}
	return v
}

func (s *sealing) attachment(build int, timeline, record, name string) object {
	href := fmt.Sprintf("%s%s/%s/_apis/build/builds/%d/%s/%s/attachments/acrpromote.seal/%s", s.URL, s.base, projectID, build, timeline, record, name)
	return object{"_links": object{"self": object{"href": href}}, "name": name}
}

func (s *sealing) read(t *testing.T, claims azdo.Claims) approval.SealRun {
	t.Helper()
	return s.service(t, claims).SealRun(context.Background(), projectID, 4711, map[string]string{sealName: sealDigest})
}

func TestSealRun(t *testing.T) {
	s := newSealing(t)
	run := s.read(t, s.claims())
	if run.Unread != "" || run.ID != 4711 || run.Build.Branch != "refs/heads/main" || run.Build.PipelineID.Value != 12 || run.Build.RepositoryID != "9d6c1b3e-1111-4222-8333-444455556666" || run.Build.Project != "Shop" {
		t.Errorf("%+v", run)
	}
	if len(run.Steps) != 1 {
		t.Fatalf("%d steps", len(run.Steps))
	}
	if step := run.Steps[0]; step.Digest != sealDigest || step.Kind != "Task" || step.TaskID != approval.SealTask || step.State != "completed" || step.Result != "succeeded" ||
		step.Stage != "Test" || !step.Template || step.Finished.IsZero() {
		t.Errorf("%+v", step)
	}
	// Of the run itself nothing is read twice.
	asked := map[string]int{}
	for _, r := range s.requests {
		asked[r]++
	}
	if asked["GET /_apis/build/builds/4711"] != 1 || asked["GET /_apis/build/builds/4711/timeline"] != 1 || asked["GET /_apis/build/builds/4711/attachments/acrpromote.seal"] != 1 {
		t.Errorf("asked %v", asked)
	}
}

// TestSealRunLinks checks that only attachments of the image under a record of the run
// count.
func TestSealRunLinks(t *testing.T) {
	for name, change := range map[string]func(s *sealing) any{
		"nothing":              func(*sealing) any { return list{} },
		"another image":        func(s *sealing) any { return list{s.attachment(4711, planID, sealStepID, strings.Repeat("b", 64))} },
		"another run":          func(s *sealing) any { return list{s.attachment(4712, planID, sealStepID, sealName)} },
		"another timeline":     func(s *sealing) any { return list{s.attachment(4711, stageID, sealStepID, sealName)} },
		"a record that is not": func(s *sealing) any { return list{s.attachment(4711, planID, approvalID[:35]+"f", sealName)} },
		"no record":            func(s *sealing) any { return list{s.attachment(4711, planID, "", sealName)} },
		"no link":              func(*sealing) any { return list{object{"name": sealName}} },
		"a link that is invalid": func(*sealing) any {
			return list{object{"name": sealName, "_links": object{"self": object{"href": ":"}}}}
		},
		"another name in the link": func(s *sealing) any {
			a := s.attachment(4711, planID, sealStepID, "x")
			a["name"] = sealName
			return list{a}
		},
		"another type in the link": func(s *sealing) any {
			a := s.attachment(4711, planID, sealStepID, sealName)
			set(a, strings.Replace(in(a, "_links", "self", "href").(string), "acrpromote.seal", "other", 1), "_links", "self", "href")
			return list{a}
		},
	} {
		s := newSealing(t)
		s.attachments["value"] = change(s)
		if run := s.read(t, s.claims()); run.Unread != "" || len(run.Steps) != 0 {
			t.Errorf("%s: %+v", name, run)
		}
	}
	for name, c := range map[string]struct {
		change func(r object)
		is     func(approval.SealStep) bool
	}{
		"another task":    {func(r object) { r["task"] = object{"id": testApproval} }, func(s approval.SealStep) bool { return s.TaskID == testApproval }},
		"no task":         {func(r object) { r["task"] = nil }, func(s approval.SealStep) bool { return s.TaskID == "" && !s.Template }},
		"failed":          {func(r object) { r["result"] = "failed" }, func(s approval.SealStep) bool { return s.Result == "failed" && !s.Template }},
		"under no stage":  {func(r object) { r["parentId"] = nil }, func(s approval.SealStep) bool { return s.Stage == "" && !s.Template }},
		"no end":          {func(r object) { r["finishTime"] = nil }, func(s approval.SealStep) bool { return s.Finished.IsZero() }},
		"a time that is":  {func(r object) { r["finishTime"] = "yesterday" }, func(s approval.SealStep) bool { return s.Finished.IsZero() }},
		"a time of none":  {func(r object) { r["finishTime"] = "0001-01-01T00:00:00" }, func(s approval.SealStep) bool { return s.Finished.IsZero() }},
		"under itself":    {func(r object) { r["parentId"] = sealStepID }, func(s approval.SealStep) bool { return s.Stage == "" }},
		"a job's record":  {func(r object) { r["type"] = "Job" }, func(s approval.SealStep) bool { return s.Kind == "Job" }},
		"of another case": {func(r object) { r["task"] = object{"id": strings.ToUpper(approval.SealTask)} }, func(s approval.SealStep) bool { return s.Template }},
	} {
		s := newSealing(t)
		c.change(recordOf(s.devops, sealStepID))
		if run := s.read(t, s.claims()); run.Unread != "" || len(run.Steps) != 1 || !c.is(run.Steps[0]) {
			t.Errorf("%s: %+v", name, run)
		}
	}
}

// TestSealRunUnread checks that a record that cannot be read is reported with what to
// grant.
func TestSealRunUnread(t *testing.T) {
	for name, document := range map[string]any{
		"no list":     object{"count": 0},
		"null":        object{"value": nil},
		"not JSON":    "[",
		"text":        object{"value": "x"},
		"twice":       `{"value":[],"Value":[]}`,
		"numbers":     object{"value": list{1}},
		"a number":    object{"value": list{object{"name": 7}}},
		"too many":    object{"value": make(list, 20_001)},
		"links: text": object{"value": list{object{"_links": "x"}}},
	} {
		s := newSealing(t)
		inner := s.answer
		s.answer = func(w http.ResponseWriter, r *http.Request, what string) bool {
			if strings.Contains(what, "/attachments/") {
				reply(w, document)
				return true
			}
			return inner(w, r, what)
		}
		if run := s.read(t, s.claims()); run.Unread == "" || run.Remedy == "" || len(run.Steps) != 0 {
			t.Errorf("%s: %+v", name, run)
		}
	}
	s := newSealing(t)
	run := s.service(t, s.claims()).SealRun(context.Background(), projectID, 99, nil)
	if !strings.Contains(run.Unread, "run 99") || !strings.Contains(run.Remedy, "View builds") {
		t.Errorf("%+v", run)
	}
	claims := s.claims()
	claims.PlanID = ""
	if run := s.read(t, claims); run.Unread == "" {
		t.Errorf("%+v", run)
	}
}
