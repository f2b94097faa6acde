package azdo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/rule"
)

const hour = time.Hour

var day = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func TestJudgement(t *testing.T) {
	d := newDevops(t)
	e, v := d.judge(t, d.claims(), azdo.Query{})
	if !v.Granted {
		t.Fatalf("refused: %+v", v.Refusals)
	}
	if len(v.Approvers) != 1 || v.Approvers[0].ID != bobID || !v.Approvers[0].At.Equal(day.Add(10*hour+30*time.Minute+250*time.Millisecond)) {
		t.Errorf("approvers: %+v", v.Approvers)
	}
	if e.Token.State != approval.TokenMatched {
		t.Errorf("token: %+v", e.Token)
	}
	want := []string{
		"GET /_apis/ResourceAreas", "GET /_apis/build/builds/4711", "GET /_apis/build/builds/4711/timeline", "GET /_apis/pipelines/approvals",
		"GET /_apis/pipelines/checks/configurations", "GET /_apis/pipelines/checks/runs/" + checkpointID, "OPTIONS /_apis", "POST " + tokenPath,
	}
	slices.Sort(d.requests)
	if !slices.Equal(d.requests, want) {
		t.Errorf("requests:\n%s\nwant\n%s", strings.Join(d.requests, "\n"), strings.Join(want, "\n"))
	}
}

func TestRun(t *testing.T) {
	d := newDevops(t)
	claims := d.claims()
	claims.RequesterIDs = []string{strings.ToUpper(carolID), "", "no id"}
	s := d.service(t, claims)
	run, refusals := s.Run(context.Background())
	if len(refusals) > 0 {
		t.Fatalf("refused: %+v", refusals)
	}
	organization := strings.TrimPrefix(d.base, "/")
	if run.Kind != approval.YAML || run.Organization != organization || run.Project != "Shop" || run.ID != 4711 || run.Definition != 12 ||
		run.Stage != "Production" || run.Attempt != 1 || run.Branch != "refs/heads/main" || run.Commit != strings.Repeat("a", 40) ||
		run.RequestedBy != "Alice, Microsoft.VisualStudio.Services.TFS" || run.Queue != "Azure Pipelines" ||
		!run.Started.Equal(day.Add(9*hour+5*time.Second+123456700)) {
		t.Errorf("run: %+v", run)
	}
	var ids []string
	for _, r := range run.Requesters {
		ids = append(ids, r.ID)
	}
	if !slices.Equal(ids, []string{aliceID, "00000002-0000-8888-8000-000000000000", carolID}) {
		t.Errorf("requesters: %v", ids)
	}
	before := len(d.requests)
	if again, _ := s.Run(context.Background()); !reflect.DeepEqual(again, run) || len(d.requests) != before {
		t.Errorf("the run was read twice")
	}
}

// change is one deviation from the granted run, and its expected result.
type change struct {
	name   string
	server func(*devops)
	claims func(*azdo.Claims)
	ask    azdo.Query
	wire   bool        // over a real connection
	rules  []rule.Name // nil if granted
	says   string
}

func (c change) run(t *testing.T) {
	c.runOn(t, func(t testing.TB) (*devops, azdo.Claims) {
		d := newDevops(t)
		return d, d.claims()
	})
}

func (c change) runOn(t *testing.T, start func(testing.TB) (*devops, azdo.Claims)) {
	t.Run(c.name, func(t *testing.T) {
		t.Parallel()
		d, claims := start(t)
		d.short = !c.wire
		if c.server != nil {
			c.server(d)
		}
		if c.claims != nil {
			c.claims(&claims)
		}
		_, v := d.judge(t, claims, c.ask)
		if got := ruleNames(v.Refusals); !slices.Equal(got, c.rules) || v.Granted != (c.rules == nil) {
			t.Errorf("refused by %v, want %v: %+v", got, c.rules, v.Refusals)
		}
		all := fmt.Sprintf("%+v %+v", v.Refusals, v.Rules)
		if !strings.Contains(all, c.says) {
			t.Errorf("does not say %q: %s", c.says, all)
		}
		if strings.Contains(all, jobToken[:12]) || strings.ContainsAny(all, "<>") && !strings.Contains(all, "<project>") {
			t.Errorf("contains the token or markup: %s", all)
		}
	})
}

func TestForgery(t *testing.T) {
	mismatch := []rule.Name{rule.RunMismatch}
	for _, c := range []change{
		{name: "nothing forged"},
		{name: "older agent without a stage id", claims: func(c *azdo.Claims) { c.StageID = "" }},
		{name: "stage name in another case", claims: func(c *azdo.Claims) { c.StageName = "PRODUCTION" }},
		{name: "another run of the same pipeline", claims: func(c *azdo.Claims) { c.PlanID = "b0a1c7de-6f0b-4f9e-8d63-6f9a0d4b7e23" }, rules: mismatch, says: "is not executed by the plan"},
		{name: "another stage", claims: func(c *azdo.Claims) { c.StageName, c.StageID = "Test", testStageID }, rules: mismatch, says: `the stage "Production", not "Test"`},
		{name: "another stage's id", claims: func(c *azdo.Claims) { c.StageID = testStageID }, rules: mismatch, says: "the stage with the record"},
		{name: "another attempt", claims: func(c *azdo.Claims) { c.StageAttempt = 2 }, rules: mismatch, says: "attempt 1 of its stage, not 2"},
		{name: "a job that is not there", claims: func(c *azdo.Claims) { c.JobID = testApproval[:35] + "7" }, rules: mismatch, says: "has no job"},
		{name: "a task as job", claims: func(c *azdo.Claims) { c.JobID = "0d1a2b3c-0000-4000-8000-00000000000a" }, rules: mismatch, says: "has no job"},
		{name: "a phase as job", claims: func(c *azdo.Claims) { c.JobID = phaseID }, rules: mismatch, says: "has no job"},
		{name: "a job that is over", server: func(d *devops) { recordOf(d, jobID)["state"] = "completed" }, rules: mismatch, says: "is not in progress"},
		{name: "a job right under the stage", server: func(d *devops) { recordOf(d, jobID)["parentId"] = stageID }, rules: mismatch, says: "is not part of a stage"},
		{name: "a job under nothing", server: func(d *devops) { recordOf(d, jobID)["parentId"] = nil }, rules: mismatch, says: "is not part of a stage"},
		{name: "a phase under nothing", server: func(d *devops) { recordOf(d, phaseID)["parentId"] = nil }, rules: mismatch, says: "is not part of a stage"},
		{name: "a run that is over", server: func(d *devops) { set(d.build, "completed", "status") }, rules: mismatch, says: "is not in progress"},
		{name: "a run of another project", server: func(d *devops) { set(d.build, testStageID, "project", "id") }, rules: mismatch, says: "does not belong to the project"},
		{name: "another run's record", server: func(d *devops) { set(d.build, 4712, "id") }, rules: mismatch, says: "the record of another run"},
		{name: "no plan in the record", server: func(d *devops) { set(d.build, nil, "orchestrationPlan") }, rules: mismatch, says: "is not executed by the plan"},
		{name: "a YAML run that poses as a release", claims: func(c *azdo.Claims) { c.HostType, c.ReleaseID, c.EnvironmentID, c.ReleaseAttempt = "release", 88, 3, 1 }, rules: []rule.Name{rule.ApprovalUnreadable}, says: "404"},
		{name: "an unknown type of host", claims: func(c *azdo.Claims) { c.HostType = "gates" }, rules: mismatch, says: "neither a YAML run nor a classic release"},
		{name: "release variables in a YAML run change nothing", claims: func(c *azdo.Claims) { c.ReleaseID, c.EnvironmentID, c.EnvironmentName = 88, 3, "Production" }},
		{name: "no plan", claims: func(c *azdo.Claims) { c.PlanID = "" }, rules: mismatch, says: "SYSTEM_PLANID"},
		{name: "the zero plan", claims: func(c *azdo.Claims) { c.PlanID = "00000000-0000-0000-0000-000000000000" }, rules: mismatch, says: "SYSTEM_PLANID"},
		{name: "no job", claims: func(c *azdo.Claims) { c.JobID = "" }, rules: mismatch, says: "SYSTEM_JOBID"},
		{name: "no stage", claims: func(c *azdo.Claims) { c.StageName = "" }, rules: mismatch, says: "SYSTEM_STAGENAME"},
		{name: "no attempt", claims: func(c *azdo.Claims) { c.StageAttempt = 0 }, rules: mismatch, says: "SYSTEM_STAGEATTEMPT"},
		{name: "no build", claims: func(c *azdo.Claims) { c.BuildID = 0 }, rules: mismatch, says: "BUILD_BUILDID"},
		{name: "a project that is a path", claims: func(c *azdo.Claims) { c.ProjectID = "../other" }, rules: mismatch, says: "SYSTEM_TEAMPROJECTID"},
		{name: "the requester by the agent's word", claims: func(c *azdo.Claims) { c.RequesterIDs = []string{bobID} }, rules: []rule.Name{rule.RequesterApproved}, says: "according to the agent"},
		{name: "two runs at once, distinguished by the token", server: func(d *devops) {
			d.token = signed(object{"prj_id": projectID, "def_id": "12", "run_id": "4710"})
		}, rules: mismatch, says: "names another run"},
		{name: "the token of another project", server: func(d *devops) {
			d.token = signed(object{"prj_id": planID, "def_id": "12", "run_id": "4711"})
		}, rules: mismatch, says: "names another project"},
		{name: "the token of another pipeline", server: func(d *devops) {
			d.token = signed(object{"prj_id": projectID, "def_id": 13, "run_id": 4711})
		}, rules: mismatch, says: "names another pipeline"},
		{name: "numbers in the token", server: func(d *devops) {
			d.token = signed(object{"prj_id": projectID, "def_id": 12, "run_id": 4711})
		}},
		{name: "a token for a service connection", server: func(d *devops) { d.token = signed(object{"sub": "sc://contoso/Shop/x"}) }, rules: mismatch, says: "names another run"},
		{name: "a token's address off the collection", claims: func(c *azdo.Claims) { c.OIDCRequestURI = "https://example.com/oidctoken" }, rules: mismatch, says: "is not known to be part of the collection"},
		{name: "a token's address on a host that begins alike", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, "127.0.0.1", "127.0.0.1.example.com", 1)
		}, rules: mismatch, says: "is not known to be part of the collection"},
		{name: "a token's address in another organisation", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, "/contoso", "/evil", 1)
		}, rules: mismatch, says: "is not known to be part of the collection"},
		{name: "a token's address that climbs out", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, "/_apis", "/../../evil/_apis", 1)
		}, rules: mismatch, says: "is not known to be part of the collection"},
		{name: "a token's address in another case", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, "/contoso", "/Contoso", 1)
		}},
		{name: "a token's address with a user", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, "https://", "https://x@", 1)
		}, rules: mismatch, says: "is not known to be part of the collection"},
		{name: "a token's address in the clear", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, "https://", "http://", 1)
		}, rules: mismatch, says: "is not known to be part of the collection"},
		{name: "a token's address that asks for a connection", claims: func(c *azdo.Claims) { c.OIDCRequestURI += "?serviceConnectionId=x" }},
		{name: "no address for a token", claims: func(c *azdo.Claims) { c.OIDCRequestURI = "" }, says: "matched"},
		{name: "no address for a token, which is another run's", claims: func(c *azdo.Claims) { c.OIDCRequestURI = "" }, server: func(d *devops) {
			d.token = signed(object{"prj_id": projectID, "def_id": "12", "run_id": "4712"})
		}, rules: mismatch, says: "names another run"},
		{name: "the address of something else, and a token of another run", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, "/hubs/build/", "/hubs/none/", 1)
		}, server: func(d *devops) {
			d.token = signed(object{"prj_id": projectID, "def_id": "12", "run_id": "4712"})
		}, rules: mismatch, says: "names another run"},
		{name: "no address for a token and no token to be had", claims: func(c *azdo.Claims) { c.OIDCRequestURI = "" }, server: func(d *devops) { d.token = nil },
			says: "absent (the server provides none (status 404))"},
		{name: "no token to be had", server: func(d *devops) { d.token = nil }, says: "absent (the server provides none (status 404))"},
		{name: "no method for a token", server: answering("/oidctoken", 405, ""), says: "absent (the server provides none (status 405))"},
		{name: "token denied, 401", server: answering("/oidctoken", 401, ""), rules: mismatch, says: "denies this job the run's own token: status 401"},
		{name: "token denied, 403", server: answering("/oidctoken", 403, ""), rules: mismatch, says: "status 403"},
		{name: "token fails", server: answering("/oidctoken", 503, ""), rules: []rule.Name{rule.ApprovalUnreadable}, says: "status 503"},
		{name: "token refused", server: answering("/oidctoken", 400, ""), says: "absent (the server refuses it without a service connection (status 400))"},
		{name: "token refused, text in value", server: answering("/oidctoken", 400, `{"count":3,"value":"No\u001b reference %s"}`), says: "absent (the server refuses it without a service connection (status 400: No reference %s))"},
		{name: "token refused, message in value", server: answering("/oidctoken", 400, `{"count":1,"value":{"Message":"No reference"}}`), says: "status 400: No reference"},
		{name: "token refused, null in value", server: answering("/oidctoken", 400, `{"count":1,"value":null}`), says: "(status 400))"},
		{name: "token refused, a list in value", server: answering("/oidctoken", 400, `{"count":1,"value":[1]}`), says: "(status 400))"},
		{name: "token refused, the job's token repeated", server: answering("/oidctoken", 400, `{"value":"Bearer `+jobToken+`"}`), says: "status 400: Bearer ***"},
		{name: "token's address of another job", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, jobID, stageID, 1)
		}, rules: mismatch, says: "is that of another job"},
		{name: "token's address in another project", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, projectID, planID, 1)
		}, rules: mismatch, says: "is that of another job"},
		{name: "token's address of another plan, which the server refuses", server: answering("/oidctoken", 400, ""), claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.Replace(c.OIDCRequestURI, planID, stageID, 1)
		}, rules: mismatch, says: "is that of another job"},
		{name: "token's address with ids that are none", claims: func(c *azdo.Claims) {
			c.OIDCRequestURI = strings.NewReplacer(planID, "x", jobID, "y").Replace(c.OIDCRequestURI)
		}, rules: mismatch, says: "is that of another job"},
		{name: "token of 1 MiB", server: func(d *devops) {
			d.token = signed(object{"prj_id": projectID, "def_id": "12", "run_id": "4711", "x": strings.Repeat("x", 1<<20)})
		}, rules: []rule.Name{rule.ApprovalUnreadable}, says: "it is longer than 256 KiB"},
		{name: "token encrypted", server: func(d *devops) { d.token = object{"oidcToken": "a.b.c.d.e"} }, rules: []rule.Name{rule.ApprovalUnreadable}, says: "not a signed token"},
		{name: "token null", server: func(d *devops) { d.token = "null" }, rules: []rule.Name{rule.ApprovalUnreadable}, says: "not a JSON object"},
	} {
		c.run(t)
	}
}

const unauthorized = `{"$id":"1","message":"TF400813: the user is not authorized","typeKey":"UnauthorizedRequestException"}`

// answering returns a change that makes the server respond to requests for a path
// with a status.
func answering(path string, status int, body string) func(*devops) {
	return func(d *devops) {
		d.answer = func(w http.ResponseWriter, _ *http.Request, what string) bool {
			if !strings.Contains(what, path) {
				return false
			}
			if body != "" {
				w.Header().Set("Content-Type", "application/json")
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
}

func TestEvidence(t *testing.T) {
	unreadable, unbound, missing := []rule.Name{rule.ApprovalUnreadable}, []rule.Name{rule.ApprovalUnbound}, []rule.Name{rule.ApprovalMissing}
	step := []any{"value", 0, "steps", 0}
	run := []any{"checkRuns", 0}
	for _, c := range []change{
		{name: "flat context", server: func(d *devops) {
			set(d.suite, object{"PlanId": planID, "Pipeline.Owner.Id": "4711", "GraphNode.Name": "Production", "GraphNode.Attempt": "1", "Project.Id": projectID}, "context")
		}},
		{name: "context in both shapes that agree", server: func(d *devops) { in(d.suite, "context").(object)["GraphNode.Name"] = "Production" }},
		{name: "context in both shapes that differ", server: func(d *devops) { in(d.suite, "context").(object)["GraphNode.Name"] = "Test" }, rules: unreadable, says: "different values for GraphNode.Name"},
		{name: "no context", server: func(d *devops) { set(d.suite, nil, "context") }, rules: unreadable, says: "does not say for which plan"},
		{name: "attempt is true", server: func(d *devops) { set(d.suite, true, "context", "GraphNode", "Attempt") }, rules: unreadable, says: "invalid value for GraphNode.Attempt"},
		{name: "suite of another plan", server: func(d *devops) { set(d.suite, stageID, "context", "PlanId") }, rules: []rule.Name{rule.RunMismatch}, says: "was not evaluated for this stage: plan"},
		{name: "suite of another run", server: func(d *devops) { set(d.suite, 4712, "context", "Pipeline", "Owner", "Id") }, rules: []rule.Name{rule.RunMismatch}, says: "run 4712 instead of 4711"},
		{name: "suite of another stage", server: func(d *devops) { set(d.suite, "Test", "context", "GraphNode", "Name") }, rules: []rule.Name{rule.RunMismatch}, says: "stage Test"},
		{name: "suite of another attempt", server: func(d *devops) { set(d.suite, 2, "context", "GraphNode", "Attempt") }, rules: []rule.Name{rule.RunMismatch}, says: "attempt 2"},
		{name: "suite of another checkpoint", server: func(d *devops) { set(d.suite, stageID, "id") }, rules: unreadable, says: "another checkpoint"},
		{name: "suite not approved", server: func(d *devops) { set(d.suite, "running", "status") }, rules: unreadable, says: "contradicts itself"},
		{name: "suite without check runs", server: func(d *devops) { set(d.suite, list{}, "checkRuns") }, rules: unbound, says: "guard no resource"},
		{name: "suite with null check runs", server: func(d *devops) { set(d.suite, nil, "checkRuns") }, rules: unbound},
		{name: "check without a reference", server: func(d *devops) { set(in(d.suite, run...), nil, "checkConfigurationRef") }, rules: unreadable, says: "does not say what was evaluated"},
		{name: "check run rejected", server: func(d *devops) { set(in(d.suite, run...), "rejected", "status") }, rules: unreadable},
		{name: "guards another environment", server: func(d *devops) { set(in(d.suite, run...), "My own", "checkConfigurationRef", "resource", "name") }, rules: unbound, says: "environment My own (approval)"},
		{name: "guards a connection of that name", server: func(d *devops) { set(in(d.suite, run...), "endpoint", "checkConfigurationRef", "resource", "type") }, rules: unbound, says: "service connection Production"},
		{name: "another id, the only approval", server: func(d *devops) { set(in(d.suite, run...), testApproval, "id") }},
		{name: "unknown environment", ask: azdo.Query{Environment: "Prod"}, rules: unbound, says: "guard: environment Production (approval)"},

		{name: "no checkpoint", server: func(d *devops) { d.dropRecord(checkpointID) }, rules: missing, says: "Add an approval to the environment Production"},
		{name: "checkpoint without an approval", server: func(d *devops) {
			d.dropRecord(approvalID)
			set(d.suite, list{}, "checkRuns")
		}, rules: missing, says: "no approval"},
		{name: "two checkpoints", server: func(d *devops) { d.addRecord(record("Checkpoint", testApproval[:35]+"0", stageID, nil)) }, rules: unreadable, says: "several checkpoints"},
		{name: "record twice", server: func(d *devops) { d.addRecord(record("Checkpoint.Approval", approvalID, checkpointID, nil)) }, rules: unreadable, says: "is listed twice"},
		{name: "record without an id", server: func(d *devops) { d.addRecord(record("Checkpoint.Approval", "", checkpointID, nil)) }, rules: unreadable, says: "has no id"},
		{name: "no records", server: func(d *devops) { set(d.timeline, nil, "records") }, rules: unreadable, says: "no records"},
		{name: "an approval more in the timeline", server: func(d *devops) {
			d.addRecord(record("Checkpoint.Approval", stageID[:35]+"1", checkpointID, nil))
		}, rules: unreadable, says: "of the stage is missing"},
		{name: "an approval of another stage is not requested", server: func(d *devops) { recordOf(d, testApproval)["parentId"] = stageID }},

		{name: "approval twice", server: func(d *devops) {
			d.approvals = object{"count": 2, "value": list{d.approval(approvalID), d.approval(approvalID)}}
		}, rules: unreadable, says: "is listed twice"},
		{name: "approval not requested", server: func(d *devops) {
			d.approvals = object{"count": 2, "value": list{d.approval(approvalID), d.approval(testApproval)}}
		}, rules: unreadable, says: "not requested"},
		{name: "another approval instead", server: func(d *devops) { d.approvals = object{"count": 1, "value": list{d.approval(testApproval)}} }, rules: unreadable, says: "of the stage is missing"},
		{name: "no approvals", server: func(d *devops) { d.approvals = object{"count": 0, "value": list{}} }, rules: unreadable, says: "of the stage is missing"},
		{name: "wrong count", server: func(d *devops) { set(d.approvals, 2, "count") }, rules: unreadable, says: "count is 2, but it lists 1 approvals"},
		{name: "approval of another run", server: func(d *devops) { set(d.approvals, 4712, "value", 0, "pipeline", "owner", "id") }, rules: unreadable, says: "belongs to run 4712"},
		{name: "approval of an unknown run", server: func(d *devops) { set(d.approvals, nil, "value", 0, "pipeline") }},
		{name: "no steps", server: func(d *devops) { set(d.approvals, nil, "value", 0, "steps") }, rules: unreadable, says: "names no approver"},
		{name: "nobody approved", server: func(d *devops) { set(in(d.approvals, step...), nil, "actualApprover") }, rules: unreadable, says: "does not say which person"},
		{name: "an approver without an id", server: func(d *devops) { set(in(d.approvals, step...), "", "actualApprover", "id") }, rules: unreadable, says: "does not say which person"},
		{name: "an approver whose id is not a GUID", server: func(d *devops) { set(in(d.approvals, step...), "bob", "actualApprover", "id") }, rules: unreadable, says: "does not say which person"},
		{name: "only the requester", server: func(d *devops) { set(in(d.approvals, step...), ref(aliceID, "Alice"), "actualApprover") }, rules: []rule.Name{rule.RequesterApproved}, says: "Alice"},
		{name: "only the person who queued it", server: func(d *devops) { set(d.build, ref(bobID, "Bob"), "requestedBy") }, rules: []rule.Name{rule.RequesterApproved}, says: "queued run 4711"},
		{name: "a time without a zone", server: func(d *devops) { set(in(d.approvals, step...), "2026-11-23T10:30:00", "lastModifiedOn") }},
		{name: "no time", server: func(d *devops) { set(in(d.approvals, step...), "0001-01-01T00:00:00", "lastModifiedOn") }, rules: unreadable, says: "does not say when"},
		{name: "a time that is invalid", server: func(d *devops) { set(in(d.approvals, step...), "yesterday", "lastModifiedOn") }, rules: unreadable},
		{name: "pending", server: func(d *devops) { set(d.approvals, "pending", "value", 0, "status") }, rules: []rule.Name{rule.ApprovalPending}},
		{name: "status is a number", server: func(d *devops) { set(d.approvals, 4, "value", 0, "status") }, rules: unreadable, says: "cannot be parsed"},

		{name: "requester unknown", server: func(d *devops) { set(d.build, nil, "requestedFor"); set(d.build, nil, "requestedBy") }, rules: unreadable, says: "who requested it"},
		{name: "start unknown", server: func(d *devops) { set(d.build, nil, "startTime") }, rules: unreadable, says: "when it started"},

		{name: "check disabled", server: func(d *devops) { set(d.checks, true, "value", 0, "isDisabled") }, rules: unbound, says: "is disabled now"},
		{name: "check in another version", server: func(d *devops) { set(d.checks, 3, "value", 0, "version") }, rules: unbound, says: "version 2, but its current version is 3"},
		{name: "check gone", server: func(d *devops) { d.checks = object{"count": 0, "value": list{}} }, rules: unbound, says: "no longer configured there"},
		{name: "checks cannot be read", server: answering("/configurations", 403, unauthorized), says: "it is unknown whether the check has changed since it was evaluated"},
		{name: "checks fail", server: answering("/configurations", 500, unauthorized), rules: unreadable, says: "status 500"},
		{name: "checks of nothing", server: answering("/configurations", 404, unauthorized), rules: unreadable, says: "404"},
		{name: "checks null", server: func(d *devops) { d.checks = "null" }, rules: unreadable, says: "not a JSON object"},
		{name: "checks list null", server: func(d *devops) { d.checks = object{"value": nil} }, rules: unreadable, says: "lists nothing"},
		{name: "checks wrong count", server: func(d *devops) { set(d.checks, 2, "count") }, rules: unreadable, says: "count is 2, but it lists"},

		{name: "a server on premises", server: func(d *devops) { d.areas = object{"count": 0, "value": list{}} }},
		{name: "areas null", server: func(d *devops) { d.areas = "null" }, rules: unreadable, says: "not a JSON object"},
		{name: "areas without a list", server: func(d *devops) { d.areas = object{} }, rules: unreadable, says: "no resource areas"},
		{name: "area on another host", server: func(d *devops) { set(d.areas, "https://example.com/contoso", "value", 1, "locationUrl") }, rules: unreadable, says: "refers to example.com/contoso"},
		{name: "area of another collection", server: func(d *devops) { set(d.areas, d.URL+"/evil/", "value", 1, "locationUrl") }, rules: unreadable, says: "which is at another address"},
		{name: "area in the clear", server: func(d *devops) {
			set(d.areas, strings.Replace(d.URL, "https", "http", 1)+d.base, "value", 1, "locationUrl")
		}, rules: unreadable, says: "is not HTTPS"},
		{name: "area missing", server: func(d *devops) { set(d.areas, in(d.areas, "value").(list)[:1], "value") }, rules: unreadable, says: "does not list the resource area"},

		{name: "author did not approve", ask: azdo.Query{Authors: true}},
		{name: "author approved", ask: azdo.Query{Authors: true}, server: func(d *devops) { set(d.commit, ref(bobID, "Bob"), "push", "pushedBy") }, rules: []rule.Name{rule.AuthorApproved}, says: "pushed the source version"},
		{name: "author of the merged pull request approved", ask: azdo.Query{Authors: true}, server: func(d *devops) {
			d.pulls = object{"results": list{object{strings.Repeat("a", 40): list{object{"createdBy": ref(bobID, "Bob")}}}}}
		}, rules: []rule.Name{rule.AuthorApproved}, says: "Bob"},
		{name: "author of the built pull request approved", ask: azdo.Query{Authors: true}, server: func(d *devops) {
			set(d.build, "refs/pull/77/merge", "sourceBranch")
			set(d.pull, ref(bobID, "Bob"), "createdBy")
		}, rules: []rule.Name{rule.AuthorApproved}, says: "Bob"},
		{name: "author unknown: GitHub", ask: azdo.Query{Authors: true}, server: func(d *devops) { set(d.build, "GitHub", "repository", "type") }, rules: []rule.Name{rule.AuthorApproved}, says: "repository of the type GitHub"},
		{name: "author unknown: no push", ask: azdo.Query{Authors: true}, server: func(d *devops) { set(d.commit, nil, "push") }, rules: []rule.Name{rule.AuthorApproved}, says: "is not recorded"},
		{name: "author unknown: another commit", ask: azdo.Query{Authors: true}, server: func(d *devops) { set(d.commit, "b", "commitId") }, rules: []rule.Name{rule.AuthorApproved}, says: "is not recorded"},
		{name: "author unknown: no results", ask: azdo.Query{Authors: true}, server: func(d *devops) { d.pulls = object{} }, rules: []rule.Name{rule.AuthorApproved}, says: "are not recorded"},
		{name: "author unknown: repository cannot be read", ask: azdo.Query{Authors: true}, server: func(d *devops) { d.commit = nil }, rules: []rule.Name{rule.AuthorApproved}, says: "404"},
	} {
		c.run(t)
	}
}

func TestRetriedStage(t *testing.T) {
	d := newDevops(t)
	// The new attempt has a Stage and a Checkpoint of its own; the Checkpoint
	// says attempt 1. What had succeeded keeps its id under the new Stage.
	recordOf(d, stageID)["attempt"] = 2
	recordOf(d, phaseID)["attempt"] = 2
	recordOf(d, jobID)["attempt"] = 2
	set(d.suite, 2, "context", "GraphNode", "Attempt")
	claims := d.claims()
	claims.StageAttempt = 2
	e, v := d.judge(t, claims, azdo.Query{})
	if !v.Granted || e.Attempt != 2 {
		t.Errorf("attempt %d, refused: %+v", e.Attempt, v.Refusals)
	}
}

func TestRetriedJob(t *testing.T) {
	d := newDevops(t)
	recordOf(d, jobID)["attempt"] = 2 // the Stage stays at attempt 1
	if _, v := d.judge(t, d.claims(), azdo.Query{}); !v.Granted {
		t.Errorf("refused: %+v", v.Refusals)
	}
}

func TestAnotherStage(t *testing.T) {
	d := newDevops(t)
	d.approvals = object{"count": 1, "value": list{d.approval(testApproval)}}
	set(d.suite, testPointID, "id")
	set(d.suite, "Test", "context", "GraphNode", "Name")
	set(in(d.suite, "checkRuns", 0), testApproval, "id")
	e, v := d.judge(t, d.claims(), azdo.Query{Stage: "test"})
	if !v.Granted || e.Stage != "Test" {
		t.Errorf("stage %s, refused: %+v", e.Stage, v.Refusals)
	}

	older := newDevops(t)
	older.addRecord(record("Stage", "5d0a8f0e-3c55-5d0b-9a9e-1f7c35b1a945", nil, object{"identifier": "Test", "attempt": 2}))
	if e, v := older.judge(t, older.claims(), azdo.Query{Stage: "Test"}); e.Attempt != 2 || !slices.Equal(ruleNames(v.Refusals), []rule.Name{rule.ApprovalMissing}) {
		t.Errorf("the newest attempt has no checkpoint: attempt %d, %+v", e.Attempt, v.Refusals)
	}

	twice := newDevops(t)
	twice.addRecord(record("Stage", "5d0a8f0e-3c55-5d0b-9a9e-1f7c35b1a945", nil, object{"identifier": "TEST"}))
	if _, v := twice.judge(t, twice.claims(), azdo.Query{Stage: "Test"}); !slices.Equal(ruleNames(v.Refusals), []rule.Name{rule.ApprovalUnreadable}) {
		t.Errorf("one attempt twice: %+v", v.Refusals)
	}
}

func TestUnknownStage(t *testing.T) {
	d := newDevops(t)
	_, err := d.service(t, d.claims()).Evidence(context.Background(), azdo.Query{Stage: "Prod", Environment: "Production"})
	var unknown *azdo.UnknownStageError
	if !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"Production", "Test"}) {
		t.Fatalf("error: %v", err)
	}
	if want := `approvalStage "Prod": this run has no such stage; its stages are Production, Test`; err.Error() != want {
		t.Errorf("says %q, want %q", err, want)
	}
}

// TestBadResponses returns every kind of invalid response for each request in turn.
func TestBadResponses(t *testing.T) {
	html := "<!DOCTYPE html><html><body>Sign in " + jobToken + "</body></html>"
	type bad struct {
		name   string
		says   string
		answer func(w http.ResponseWriter)
	}
	page := func(status int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Location", "https://example.com/_signin")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, html)
		}
	}
	body := func(s string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, s)
		}
	}
	denied := func(status int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"message":"TF400813: the bearer `+jobToken+` is not authorized"}`)
		}
	}
	bads := []bad{
		{"null", "not a JSON object", body("null")},
		{"nothing", "it is empty", body("")},
		{"an array", "not a JSON object", body("[]")},
		{"truncated", "cannot be parsed", body(`{"value":[{"id":"`)},
		{"wrong types", "cannot be parsed", body(`{"value":7,"id":{},"records":"x","status":[],"context":3,"orchestrationPlan":1}`)},
		{"two documents", "cannot be parsed", body(`{}{}`)},
		{"a page with 200", "sign-in page", page(200)},
		{"a sign-in page with 203", "sign-in page", page(203)},
		{"a redirect", "sign-in page", page(302)},
		{"no content", "status 204", func(w http.ResponseWriter) { w.WriteHeader(204) }},
		{"401", `Grant "Shop Build Service (`, page(401)},
		{"403", `Grant "Shop Build Service (`, denied(403)},
		{"404", "did not find", denied(404)},
		{"429", "throttling requests", denied(429)},
		{"a page with 500", "status 500", page(500)},
		{"503", "status 503", denied(503)},
		{"a broken connection", "could not be reached", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"value"`)
		}},
		{"too long", "longer than 16 MiB", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"value":"`)
			spaces := strings.Repeat(" ", 1<<20)
			for range 17 {
				_, _ = io.WriteString(w, spaces)
			}
			_, _ = io.WriteString(w, `"}`)
		}},
		{"the token where a number belongs", "", body(`{"count":"` + jobToken + `","id":"` + jobToken + `","records":[]}`)},
		{"the token where a text is cut", "", body(`{"count":"` + strings.Repeat("x", 250) + jobToken + `","id":"` + strings.Repeat("x", 240) + jobToken + `","records":[]}`)},
		{"the token where a message is cut", "status 503 (\"xxx", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(503)
			_, _ = io.WriteString(w, `{"message":"`+strings.Repeat("x", 285)+` `+jobToken+` is not authorized"}`)
		}},
		{"markup where a number belongs", "", body(`{"count":"<b>","id":"<b>","records":[]}`)},
		{"a name twice", `twice`, body(`{"value":[],"VALUE":[],"records":[]}`)},
	}
	requests := map[string]string{
		"OPTIONS /_apis":                                   "the collection",
		"GET /_apis/ResourceAreas":                         "the collection",
		"GET /_apis/build/builds/4711":                     "the record of run 4711",
		"GET /_apis/build/builds/4711/timeline":            "the timeline of run 4711",
		"GET /_apis/pipelines/approvals":                   "the approvals of stage Production of run 4711",
		"GET /_apis/pipelines/checks/runs/" + checkpointID: "the check suite of stage Production of run 4711",
	}
	for request, what := range requests {
		for _, b := range bads {
			if b.name == "too long" && !strings.HasPrefix(what, "the approvals") && !strings.HasPrefix(what, "the collection") {
				continue // 17 MiB each time; the bound is the same one
			}
			if request == "OPTIONS /_apis" && slices.Contains([]string{"null", "nothing", "an array", "truncated", "wrong types", "two documents", "a name twice"}, b.name) {
				b.says = "" // decoded by the library, in words of its own
			}
			change{
				name: request + ": " + b.name, wire: true,
				server: func(d *devops) {
					d.answer = func(w http.ResponseWriter, _ *http.Request, what string) bool {
						if what == request {
							b.answer(w)
						}
						return what == request
					}
				},
				rules: []rule.Name{rule.ApprovalUnreadable}, says: b.says,
			}.run(t)
		}
		change{name: request + ": names what", server: func(d *devops) {
			d.answer = func(w http.ResponseWriter, _ *http.Request, what string) bool {
				if what == request {
					w.WriteHeader(500)
				}
				return what == request
			}
		}, rules: []rule.Name{rule.ApprovalUnreadable}, says: what}.run(t)
	}
}

// TestIncompleteLocations checks responses that lack fields which the library dereferences.
func TestIncompleteLocations(t *testing.T) {
	for _, entry := range []string{
		`{}`, `{"id":"e81700f7-3be2-46de-8624-2eb35882fcaa"}`,
		`{"id":"e81700f7-3be2-46de-8624-2eb35882fcaa","area":"Location","resourceName":"ResourceAreas","routeTemplate":"_apis/{resource}"}`,
	} {
		change{name: entry, server: func(d *devops) {
			d.answer = func(w http.ResponseWriter, _ *http.Request, what string) bool {
				if what == "OPTIONS /_apis" {
					reply(w, `{"count":1,"value":[`+entry+`]}`)
				}
				return what == "OPTIONS /_apis"
			}
		}, rules: []rule.Name{rule.ApprovalUnreadable}, says: "description of its API is incomplete"}.run(t)
	}
}

func TestUnreachable(t *testing.T) {
	d := newDevops(t)
	claims := d.claims()
	client := d.Client()
	d.Close()
	s, err := azdo.New(client, claims, jobToken)
	if err != nil {
		t.Fatal(err)
	}
	_, refusals := s.Run(context.Background())
	if len(refusals) != 1 || refusals[0].Rule != rule.ApprovalUnreadable || !strings.Contains(refusals[0].Reason, "could not be reached") || !strings.Contains(refusals[0].Remedy, "127.0.0.1") {
		t.Errorf("%+v", refusals)
	}
}

func TestCancelled(t *testing.T) {
	d := newDevops(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e, err := d.service(t, d.claims()).Evidence(ctx, azdo.Query{Environment: "Production"})
	if err != nil || e.Complete || len(e.Refusals) != 1 || !strings.Contains(e.Refusals[0].Reason, "was cancelled") {
		t.Errorf("%v %+v", err, e)
	}
}

func TestNew(t *testing.T) {
	for _, bad := range []string{"", "https://", "http://dev.azure.com/contoso", "https://user:secret@dev.azure.com/contoso", "https://dev.azure.com/contoso?x=1", "dev.azure.com/contoso", "https://dev.azure.com/%zz"} {
		if _, err := azdo.New(http.DefaultClient, azdo.Claims{Collection: bad}, jobToken); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := azdo.Hosts(azdo.Claims{Collection: bad}); err == nil {
			t.Errorf("%q has hosts", bad)
		}
	}
	if _, err := azdo.New(http.DefaultClient, azdo.Claims{Collection: "https://dev.azure.com/contoso/"}, ""); err == nil {
		t.Error("no token, and no error")
	}
}

func TestHosts(t *testing.T) {
	contoso := []string{"dev.azure.com:443", "vsrm.dev.azure.com:443", "contoso.visualstudio.com:443", "contoso.vsrm.visualstudio.com:443"}
	for _, c := range []struct {
		collection string
		want       []string
	}{
		{"https://Dev.Azure.com/contoso/", contoso},
		{"https://contoso.visualstudio.com/", contoso},
		{"https://vsrm.dev.azure.com/contoso/", contoso},
		{"https://contoso.vsrm.visualstudio.com/", contoso},
		{"https://vsrm.example.com/contoso/", []string{"vsrm.example.com:443"}},
		{"https://tfs.example.com:8443/tfs/Default", []string{"tfs.example.com:8443"}},
	} {
		if got, err := azdo.Hosts(azdo.Claims{Collection: c.collection}); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v %v, want %v", c.collection, got, err, c.want)
		}
	}
}

func TestChecksOfAResource(t *testing.T) {
	d := newDevops(t)
	s := d.service(t, d.claims())
	got, refusals := s.Checks(context.Background(), "environment", "7")
	if len(refusals) > 0 || !got.Read || len(got.Checks) != 1 || got.Checks[0].ID != 31 || got.Checks[0].Type != approval.TypeApproval {
		t.Errorf("%+v %+v", got, refusals)
	}
}

// TestNoRedirectIsFollowed checks that the token is not sent to the target of a redirect.
func TestNoRedirectIsFollowed(t *testing.T) {
	d := newDevops(t)
	var elsewhere int
	d.answer = func(w http.ResponseWriter, r *http.Request, what string) bool {
		if strings.HasPrefix(r.URL.Path, "/elsewhere") {
			elsewhere++
			reply(w, d.build)
			return true
		}
		if what == "GET /_apis/build/builds/4711" {
			http.Redirect(w, r, (&url.URL{Path: "/elsewhere"}).String(), http.StatusFound)
			return true
		}
		return false
	}
	_, v := d.judge(t, d.claims(), azdo.Query{})
	if v.Granted || elsewhere != 0 {
		t.Errorf("granted %v, asked elsewhere %d times", v.Granted, elsewhere)
	}
}
