package azdo_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
)

const environmentsPath = "GET /_apis/distributedtask/environments"

// waitingStage makes the job's stage one without approvals, and Test one that waits.
func waitingStage(d *devops) {
	d.dropRecord(approvalID)
	set(d.suite, list{}, "checkRuns")
	set(recordOf(d, testStageID), "pending", "state")
	d.dropRecord(testApproval)
	d.dropRecord(testPointID)
}

// TestForeseeFindsTheEnvironment checks how the checks of an environment are found by
// its name, and that a response which is not what it should be leaves them unknown.
func TestForeseeFindsTheEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		environments any
		status       int
		words        string // of what is unknown; "" if the checks are read
		hidden       bool
	}{
		"found":                          {object{"count": 1, "value": list{object{"id": 7, "name": "production"}}}, 200, "", false},
		"found among others":             {object{"count": 2, "value": list{object{"id": 8, "name": "Production-2"}, object{"id": 7, "name": "Production"}}}, 200, "", false},
		"the id is text":                 {object{"value": list{object{"id": "7", "name": "Production"}}}, 200, "", false},
		"nothing found":                  {object{"count": 0, "value": list{}}, 200, `sees no environment named "Production"`, true},
		"another one found":              {object{"value": list{object{"id": 8, "name": "Production-2"}}}, 200, "sees no environment", true},
		"the dotless i is not an i":      {object{"value": list{object{"id": 8, "name": "Productıon"}}}, 200, "sees no environment", true},
		"found twice":                    {object{"value": list{object{"id": 7, "name": "Production"}, object{"id": 8, "name": "Production"}}}, 200, "twice", false},
		"without an id":                  {object{"value": list{object{"name": "Production"}}}, 200, "sees no environment", true},
		"with an id of another form":     {object{"value": list{object{"id": list{7}, "name": "Production"}}}, 200, "sees no environment", true},
		"no list":                        {object{"count": 1}, 200, "it lists nothing", false},
		"a list of another form":         {object{"value": "none"}, 200, "cannot be parsed", false},
		"null":                           {"null", 200, "not a JSON object", false},
		"half a document":                {`{"value":[{"id":7,"na`, 200, "cannot be parsed", false},
		"denied":                         {object{"message": "TF400813: no"}, 403, "403", false},
		"not offered":                    {object{"message": "no"}, 404, "404", false},
		"an error of the server":         {object{"message": "no"}, 500, "500", false},
		"a name that is hostile":         {object{"value": list{object{"id": 7, "name": "##vso[task.complete]\u001b[2J"}}}, 200, "sees no environment", true},
		"an id that is no number at all": {object{"value": list{object{"id": "7/../8", "name": "Production"}}}, 200, "sees no environment", true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevops(t)
			set(d.areas, append(in(d.areas, "value").(list), object{"id": "a85b8835-c1a1-4aac-ae97-1c3d0ba72dbd", "name": "distributedtask", "locationUrl": d.URL + d.base + "/"}), "value")
			waitingStage(d)
			asked := ""
			d.answer = func(w http.ResponseWriter, r *http.Request, what string) bool {
				switch {
				case what == "OPTIONS /_apis":
					reply(w, withEnvironments())
				case what == environmentsPath:
					asked = r.URL.Query().Get("name")
					w.Header().Set("Content-Type", "application/json")
					if c.status != 200 {
						w.WriteHeader(c.status)
					}
					reply(w, c.environments)
				default:
					return false
				}
				return true
			}
			e, own, err := d.service(t, d.claims()).Foresee(context.Background(), azdo.Query{Environment: "Production"})
			if err != nil || own == nil || !e.Complete || e.Awaited == "" || len(e.Refusals) > 0 || e.Stage != "" {
				t.Fatalf("%+v, own %v, %v", e, own, err)
			}
			got := e.Configurations
			if got.Read != (c.words == "") || got.Hidden != c.hidden || !strings.Contains(got.Unknown, c.words) || asked != "Production" {
				t.Errorf("read %v, hidden %v, unknown %q, asked for %q", got.Read, got.Hidden, got.Unknown, asked)
			}
			if got.Read && (len(got.Checks) != 1 || got.Checks[0].Settings == nil || got.Checks[0].Settings.Approvers[0].ID != bobID) {
				t.Errorf("checks %+v", got.Checks)
			}
		})
	}
}

func withEnvironments() object {
	value := list{object{"id": "8572b1fc-2482-47fa-8f74-7e3ed53ee54b", "area": "environments", "resourceName": "environments",
		"routeTemplate": "{project}/_apis/distributedtask/{resource}/{environmentId}", "resourceVersion": 1, "minVersion": "1.0", "maxVersion": "7.2", "releasedVersion": "0.0"}}
	for _, l := range locations {
		value = append(value, object{"id": l[0], "area": l[1], "resourceName": l[2], "routeTemplate": l[3], "resourceVersion": 1, "minVersion": "1.0", "maxVersion": "7.2", "releasedVersion": "7.1"})
	}
	return object{"count": len(value), "value": value}
}

// TestForeseeAtAnotherAddress checks that the area of environments at an address
// outside the collection is not asked, and affects nothing else.
func TestForeseeAtAnotherAddress(t *testing.T) {
	d := newDevops(t)
	set(d.areas, append(in(d.areas, "value").(list), object{"id": "a85b8835-c1a1-4aac-ae97-1c3d0ba72dbd", "name": "distributedtask", "locationUrl": "https://elsewhere.example/contoso/"}), "value")
	if _, v := d.judge(t, d.claims(), azdo.Query{}); !v.Granted {
		t.Errorf("refused: %v", v.Refusals)
	}
	waitingStage(d)
	e, _, err := d.service(t, d.claims()).Foresee(context.Background(), azdo.Query{Environment: "Production"})
	if err != nil || !e.Complete || e.Configurations.Read || !strings.Contains(e.Configurations.Unknown, "resource area") {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestForeseeStage checks which stage's evidence is read.
func TestForeseeStage(t *testing.T) {
	wait := func(state, point string) func(*devops) {
		return func(d *devops) {
			d.dropRecord(approvalID)
			set(recordOf(d, testStageID), state, "state")
			set(recordOf(d, testPointID), point, "state")
			d.answer = func(w http.ResponseWriter, r *http.Request, what string) bool {
				if what != "GET /_apis/pipelines/checks/runs/"+testPointID {
					return false
				}
				suite := object{"id": testPointID, "status": "running", "context": object{"PlanId": planID, "Project": object{"Id": projectID},
					"Pipeline": object{"Owner": object{"Id": 4711}}, "GraphNode": object{"Name": "Test", "Attempt": 1}},
					"checkRuns": list{object{"id": testApproval, "status": "running", "checkConfigurationRef": object{"id": 31, "version": 2, "type": object{"id": approvalCheck},
						"resource": object{"type": "environment", "id": "7", "name": "Production"}}}}}
				reply(w, suite)
				return true
			}
			set(d.suite, list{}, "checkRuns")
			a := d.approval(testApproval)
			a["status"] = "pending"
			d.approvals = object{"count": 1, "value": list{a}}
		}
	}
	for name, c := range map[string]struct {
		do      func(*devops)
		q       azdo.Query
		stage   string
		awaited bool
	}{
		"this one":                            {func(*devops) {}, azdo.Query{Environment: "Production"}, "Production", false},
		"one that is pending":                 {wait("pending", "inProgress"), azdo.Query{Environment: "Production"}, "Test", false},
		"one whose checks are not decided":    {wait("inProgress", "inProgress"), azdo.Query{Environment: "Production"}, "Test", false},
		"one that has ended":                  {wait("completed", "completed"), azdo.Query{Environment: "Production"}, "", true},
		"one that waits for another":          {wait("pending", "inProgress"), azdo.Query{Environment: "Elsewhere"}, "", true},
		"one that is named":                   {wait("pending", "inProgress"), azdo.Query{Stage: "test", Environment: "Production"}, "Test", false},
		"one that is named and has not begun": {waitingStage, azdo.Query{Stage: "Test", Environment: "Production"}, "Test", true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevops(t)
			c.do(d)
			e, _, err := d.service(t, d.claims()).Foresee(context.Background(), c.q)
			if err != nil || !e.Complete || e.Stage != c.stage || (e.Awaited != "") != c.awaited {
				t.Errorf("stage %q, awaited %q, complete %v, refusals %v, %v", e.Stage, e.Awaited, e.Complete, e.Refusals, err)
			}
			v := approval.Foresee(e, approval.Rules{Environment: c.q.Environment, AuthorCanApprove: true, RequesterCanApprove: true}, time.Now())
			if name == "this one" && !v.Granted || name != "this one" && !v.Pending {
				t.Errorf("granted %v, pending %v: %v", v.Granted, v.Pending, v.Refusals)
			}
		})
	}
}
