package sim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/build"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/pipelinesapproval"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/pipelineschecks"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/release"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/serviceendpoint"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/taskagent"
)

// office is a cloud with an organisation, a project and the people in it.
type office struct {
	t       *testing.T
	cloud   *Cloud
	net     *Network
	org     *Organization
	project *Project
	env     *Environment
	check   *Check
	dev     Identity
	manager Identity
	second  Identity
}

func newOffice(t *testing.T, settings ApprovalSettings) *office {
	t.Helper()
	c, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	// The client's location cache is global to the process, by URL: every test
	// has an organisation of its own.
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name()))
	o := &office{t: t, cloud: c, net: c.Network("agents", "10.1.0.4"), org: c.DevOps(name),
		dev: Person("Developer"), manager: Person("Release Manager"), second: Person("Second Manager")}
	t.Cleanup(func() {
		for _, d := range o.org.Deviations() {
			t.Errorf("differs from the published description: %s", d)
		}
	})
	o.project = o.org.Project("Shop")
	o.env = o.project.Environment("Production")
	if settings.Approvers == nil {
		settings.Approvers = []Identity{o.manager}
	}
	o.check = o.env.AddApproval(settings)
	return o
}

// devops are the clients that a program would read the organisation with.
type devops struct {
	build    build.ClientImpl
	approval pipelinesapproval.ClientImpl
	checks   pipelineschecks.ClientImpl
	release  release.ClientImpl
	agents   taskagent.ClientImpl
	endpoint serviceendpoint.ClientImpl
}

func (o *office) clients(token string) (*devops, error) {
	connection := &azuredevops.Connection{BaseUrl: strings.ToLower(strings.TrimSuffix(o.org.Collection(), "/")),
		AuthorizationString: "Bearer " + token, SuppressFedAuthRedirect: true}
	at := func(u string) *azuredevops.Client {
		return azuredevops.NewClientWithOptions(connection, u, azuredevops.WithHTTPClient(o.net.Client()))
	}
	list, err := at(connection.BaseUrl).GetResourceAreas(context.Background())
	if err != nil {
		return nil, err
	}
	by := map[uuid.UUID]*azuredevops.Client{}
	for _, a := range *list {
		by[*a.Id] = at(strings.ToLower(strings.TrimSuffix(*a.LocationUrl, "/")))
	}
	return &devops{
		build.ClientImpl{Client: *by[build.ResourceAreaId]},
		pipelinesapproval.ClientImpl{Client: *by[pipelinesapproval.ResourceAreaId]},
		pipelineschecks.ClientImpl{Client: *by[pipelineschecks.ResourceAreaId]},
		release.ClientImpl{Client: *by[release.ResourceAreaId]},
		taskagent.ClientImpl{Client: *by[taskagent.ResourceAreaId]},
		serviceendpoint.ClientImpl{Client: *by[serviceendpoint.ResourceAreaId]},
	}, nil
}

func (o *office) mustClients(token string) *devops {
	o.t.Helper()
	d, err := o.clients(token)
	if err != nil {
		o.t.Fatal(err)
	}
	return d
}

func (d *devops) timeline(t *testing.T, r *Run, id string) []build.TimelineRecord {
	t.Helper()
	project, n := "shop", r.ID()
	args := build.GetBuildTimelineArgs{Project: &project, BuildId: &n}
	if id != "" {
		parsed := uuid.MustParse(id)
		args.TimelineId = &parsed
	}
	line, err := d.build.GetBuildTimeline(context.Background(), args)
	if err != nil {
		t.Fatal(err)
	}
	if line.Records == nil {
		t.Fatal("the timeline has no records")
	}
	return *line.Records
}

func only(t *testing.T, records []build.TimelineRecord, kind, parent string) build.TimelineRecord {
	t.Helper()
	var found []build.TimelineRecord
	for _, r := range records {
		if *r.Type == kind && (parent == "" && r.ParentId == nil || r.ParentId != nil && r.ParentId.String() == parent) {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d records of type %s under %q, want one", len(found), kind, parent)
	}
	return found[0]
}

func find(t *testing.T, records []build.TimelineRecord, id string) build.TimelineRecord {
	t.Helper()
	for _, r := range records {
		if r.Id.String() == id {
			return r
		}
	}
	t.Fatalf("no record %s", id)
	panic("unreachable")
}

func (d *devops) approvals(t *testing.T, steps bool, ids ...string) []pipelinesapproval.Approval {
	t.Helper()
	project := "Shop"
	var list []uuid.UUID
	for _, id := range ids {
		list = append(list, uuid.MustParse(id))
	}
	args := pipelinesapproval.QueryApprovalsArgs{Project: &project, ApprovalIds: &list}
	if steps {
		args.Expand = &pipelinesapproval.ApprovalDetailsExpandParameterValues.Steps
	}
	all, err := d.approval.QueryApprovals(context.Background(), args)
	if err != nil {
		t.Fatal(err)
	}
	return *all
}

func (d *devops) suite(t *testing.T, id string) *pipelineschecks.CheckSuite {
	t.Helper()
	project, parsed := "Shop", uuid.MustParse(id)
	s, err := d.checks.GetCheckSuite(context.Background(), pipelineschecks.GetCheckSuiteArgs{Project: &project, CheckSuiteId: &parsed,
		Expand: &pipelineschecks.CheckSuiteExpandParameterValues.Resources})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRecordIDsAreThoseOfRealTimelines(t *testing.T) {
	for _, c := range []struct {
		want     string
		segments []string
	}{
		{"96ac2280-8cb4-5df5-99de-dd2da759617d", []string{"__default"}},
		{"d654deb9-056d-50a2-1717-90c08683d50a", []string{"__default.2"}},
		{"e6e6f9aa-000e-5e8d-9acd-0266ce09ee7a", []string{"__default", "coreclr__product_build_Windows_NT_x64_checked"}},
		{"8c564b8d-df5b-588a-fe22-0125a521ed41", []string{"__default", "coreclr__product_build_Windows_NT_x64_release", "__default"}},
	} {
		if got := recordID(c.segments...); got != c.want {
			t.Errorf("recordID(%q) = %s, want %s", c.segments, got, c.want)
		}
	}
}

func TestYAMLRunFromQueueToApproval(t *testing.T) {
	for _, distinct := range []bool{false, true} {
		for _, flat := range []bool{false, true} {
			t.Run(map[bool]string{false: "same", true: "distinct"}[distinct]+map[bool]string{false: "nested", true: "flat"}[flat], func(t *testing.T) {
				o := newOffice(t, ApprovalSettings{RequesterCannotApprove: true})
				at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
				o.org.SetClock(func() time.Time { return at })
				r := o.project.QueueRun(RunOptions{RequestedFor: o.dev, DistinctApprovalIDs: distinct, FlatContext: flat})
				st := r.Stage("Production", o.env)
				if r.Stage("production") != st {
					t.Fatal("the same stage asked for again is another one")
				}
				d := o.mustClients(st.Token())

				project, id := "shop", r.ID()
				b, err := d.build.GetBuild(context.Background(), build.GetBuildArgs{Project: &project, BuildId: &id})
				if err != nil {
					t.Fatal(err)
				}
				if *b.Id != r.ID() || b.OrchestrationPlan.PlanId.String() != r.PlanID() || *b.RequestedFor.UniqueName != "developer@example.com" ||
					*b.RequestedBy.Id != o.dev.ID || *b.SourceBranch != "refs/heads/main" || *b.Definition.Name != "release" ||
					!b.StartTime.Time.Equal(at) || b.Project.Id.String() != o.project.ID() || len(*b.SourceVersion) != 40 {
					t.Errorf("build is %+v", b)
				}

				records := d.timeline(t, r, "")
				stage := find(t, records, st.ID())
				checkpoint := only(t, records, "Checkpoint", st.ID())
				approvalRecord := only(t, records, "Checkpoint.Approval", checkpoint.Id.String())
				only(t, records, "Checkpoint.Authorization", checkpoint.Id.String())
				if *stage.Identifier != "Production" || *stage.State != "pending" || *checkpoint.State != "inProgress" || checkpoint.Order != nil ||
					checkpoint.Id.String() != st.CheckpointID() || approvalRecord.Id.String() != st.Approvals()[0].ID() {
					t.Errorf("stage %+v, checkpoint %+v", stage, checkpoint)
				}
				position := map[string]int{}
				for i, rec := range records {
					position[rec.Id.String()] = i
				}
				if !slices.ContainsFunc(records, func(r build.TimelineRecord) bool {
					return r.ParentId != nil && position[r.Id.String()] < position[r.ParentId.String()]
				}) {
					t.Error("no child comes before its parent")
				}

				if a := d.approvals(t, false, st.Approvals()[0].ID()); len(*a[0].Steps) != 0 {
					t.Errorf("steps unasked: %v", a[0].Steps)
				}
				if err := st.Approve(o.dev, "mine"); err == nil {
					t.Error("the requester approved")
				}
				if err := st.Approve(o.second, ""); err == nil {
					t.Error("somebody approved who was not asked")
				}
				at = at.Add(time.Hour)
				if err := st.Approve(o.manager, "CHG-1 ok"); err != nil {
					t.Fatal(err)
				}
				a := d.approvals(t, true, st.Approvals()[0].ID())[0]
				step := (*a.Steps)[0]
				if *a.Status != "approved" || *step.Status != "approved" || *step.ActualApprover.Id != o.manager.ID || *step.Comment != "CHG-1 ok" ||
					!step.LastModifiedOn.Time.Equal(at) || *a.MinRequiredApprovers != 1 || *(*a.BlockedApprovers)[0].Id != o.dev.ID {
					t.Errorf("approval is %+v, step %+v", a, step)
				}

				s := d.suite(t, checkpoint.Id.String())
				run := (*s.CheckRuns)[0]
				if *s.Status != "approved" || *run.CheckConfigurationRef.Resource.Name != "Production" || *run.CheckConfigurationRef.Resource.Type != "environment" ||
					*run.CheckConfigurationRef.Resource.Id != o.env.ID() || *run.CheckConfigurationRef.Id != o.check.ID() || run.CheckConfigurationRef.Type.Id.String() != ApprovalCheck.id {
					t.Errorf("suite is %+v, run %+v", s, run)
				}
				if same := run.Id.String() == a.Id.String(); same == distinct {
					t.Errorf("check run %s and approval %s", run.Id, a.Id)
				}
				context := s.Context.(map[string]any)
				owner, name := any(nil), any(nil)
				if flat {
					owner, name = context["Pipeline.Owner.Id"], context["GraphNode.Name"]
				} else {
					owner = context["Pipeline"].(map[string]any)["Owner"].(map[string]any)["Id"]
					name = context["GraphNode"].(map[string]any)["Name"]
				}
				if owner != float64(r.ID()) || name != "Production" || context["PlanId"] != r.PlanID() {
					t.Errorf("context is %v", context)
				}

				st.Begin()
				records = d.timeline(t, r, "")
				job := find(t, records, st.JobID())
				phase := find(t, records, job.ParentId.String())
				if *job.State != "inProgress" || *job.Type != "Job" || *phase.Type != "Phase" || phase.ParentId.String() != st.ID() ||
					*job.Identifier != "Production.Promote.__default" || *only(t, records, "Checkpoint", st.ID()).Result != "succeeded" {
					t.Errorf("job is %+v", job)
				}
				st.Finish("succeeded")
				if _, err := o.clients(st.Token()); err == nil {
					t.Error("the token of a finished job is still good")
				}
			})
		}
	}
}

func TestSuiteOfPublishedShape(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	task := o.env.AddCheck(TaskCheck)
	o.env.AddCheck(BusinessHours)
	connection := o.project.FederatedConnection("release-identity", guidOf("tenant"), guidOf("app"))
	connection.AddCheck(RequiredTemplate)
	r := o.project.QueueRun(RunOptions{})
	st := r.Stage("Production", o.env, connection)
	if err := st.SetCheck(task, "rejected"); err != nil {
		t.Fatal(err)
	}
	if err := st.SetCheck(o.check, "approved"); err == nil {
		t.Error("an approval was passed with no approver")
	}
	status, body := o.get(st.Token(), "/Shop/_apis/pipelines/checks/runs/"+st.CheckpointID())
	var doc struct {
		Status    string
		CheckRuns []struct {
			Status                string
			CheckConfigurationRef struct {
				Version  int
				Type     struct{ ID, Name string }
				Resource map[string]string
			}
		}
	}
	if err := json.Unmarshal(body, &doc); status != 200 || err != nil {
		t.Fatal(status, err)
	}
	var got []string
	for _, c := range doc.CheckRuns {
		got = append(got, c.CheckConfigurationRef.Type.Name+" "+c.Status+" "+c.CheckConfigurationRef.Resource["type"])
		if c.CheckConfigurationRef.Version != 1 || c.CheckConfigurationRef.Resource["name"] != "" {
			t.Errorf("unexpanded: %+v", c)
		}
	}
	if want := []string{"Approval running environment", "Task Check rejected environment", "Task Check approved environment", "ExtendsCheck approved endpoint"}; !slices.Equal(got, want) {
		t.Errorf("check runs are %q, want %q", got, want)
	}
	if doc.Status != "rejected" {
		t.Errorf("suite is %s", doc.Status)
	}
	records := o.mustClients(st.Token()).timeline(t, r, "")
	if c := only(t, records, "Checkpoint", st.ID()); *c.State != "completed" || *c.Result != "failed" {
		t.Errorf("checkpoint is %s %s", *c.State, *c.Result)
	}
	only(t, records, "Checkpoint.ExtendsCheck", st.CheckpointID())
}

func (o *office) get(token, path string) (int, []byte) {
	o.t.Helper()
	req, err := http.NewRequest(http.MethodGet, strings.TrimSuffix(o.org.Collection(), "/")+path, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return o.send(req, token)
}

func (o *office) send(req *http.Request, token string) (int, []byte) {
	o.t.Helper()
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("X-TFS-FedAuthRedirect", "Suppress")
	resp, err := o.net.Client().Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestAStageWithoutChecksHasAPassedCheckpoint(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.QueueRun(RunOptions{})
	st := r.Stage("Production")
	d := o.mustClients(st.Token())
	records := d.timeline(t, r, "")
	if c := only(t, records, "Checkpoint", st.ID()); *c.Result != "succeeded" {
		t.Errorf("checkpoint %+v", c)
	}
	if s := d.suite(t, st.CheckpointID()); *s.Status != "approved" || len(*s.CheckRuns) != 0 {
		t.Errorf("suite %+v", s)
	}
	for _, rec := range records {
		if strings.HasPrefix(*rec.Type, "Checkpoint.") {
			t.Errorf("a check where there is none: %s", *rec.Type)
		}
	}
}

func TestApproversInTheirOrder(t *testing.T) {
	type move struct {
		by      Identity
		fails   bool
		status  string // of the approval, afterwards
		details string // of the steps
	}
	dev, manager, second := Person("Developer"), Person("Release Manager"), Person("Second Manager")
	for name, c := range map[string]struct {
		settings ApprovalSettings
		moves    []move
	}{
		"all of them": {ApprovalSettings{Approvers: []Identity{manager, second}}, []move{
			{dev, true, "pending", "pending pending"},
			{second, false, "pending", "pending approved"},
			{second, true, "pending", "pending approved"},
			{manager, false, "approved", "approved approved"}}},
		"one of two": {ApprovalSettings{Approvers: []Identity{manager, second}, MinRequired: 1}, []move{
			{second, false, "approved", "pending approved"}, {manager, true, "approved", "pending approved"}}},
		"in sequence": {ApprovalSettings{Approvers: []Identity{manager, second}, InSequence: true}, []move{
			{second, true, "pending", "pending uninitiated"},
			{manager, false, "pending", "approved pending"},
			{second, false, "approved", "approved approved"}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, c.settings)
			st := o.project.QueueRun(RunOptions{RequestedFor: dev}).Stage("Production", o.env)
			d := o.mustClients(st.Token())
			for i, m := range c.moves {
				if err := st.Approve(m.by, "ok"); (err != nil) != m.fails {
					t.Fatalf("move %d: %v", i, err)
				}
				a := d.approvals(t, true, st.Approvals()[0].ID())[0]
				var steps []string
				for _, s := range *a.Steps {
					steps = append(steps, string(*s.Status))
				}
				if got := strings.Join(steps, " "); got != m.details || string(*a.Status) != m.status {
					t.Errorf("move %d: %s (%s), want %s (%s)", i, *a.Status, got, m.status, m.details)
				}
			}
		})
	}
}

func TestOtherWordsOnAnApproval(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	group := o.org.Group(`[Shop]\Release Managers`, o.manager)
	o.check.Update(ApprovalSettings{Approvers: []Identity{group}})
	stage := func() *Stage { return o.project.QueueRun(RunOptions{}).Stage("Production", o.env) }
	read := func(st *Stage) (approval, suite string, steps []pipelinesapproval.ApprovalStep) {
		d := o.mustClients(st.Token())
		a := d.approvals(t, true, st.Approvals()[0].ID())[0]
		return string(*a.Status), string(*d.suite(t, st.CheckpointID()).Status), *a.Steps
	}
	check := func(what string, err error, st *Stage, approval, suite string) []pipelinesapproval.ApprovalStep {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		a, s, steps := read(st)
		if a != approval || s != suite {
			t.Errorf("%s: approval %s, suite %s; want %s, %s", what, a, s, approval, suite)
		}
		return steps
	}
	st := stage()
	steps := check("group", st.Approve(o.manager, "ok"), st, "approved", "approved")
	if *steps[0].AssignedApprover.Id != group.ID || *steps[0].ActualApprover.Id != o.manager.ID {
		t.Errorf("a member's word: %+v", steps[0])
	}
	st = stage()
	check("reject", st.Reject(o.manager, "no"), st, "rejected", "rejected")
	if st.Approve(o.manager, "yes after all") == nil {
		t.Error("approved after it was rejected")
	}
	st = stage()
	check("defer", st.Defer(o.manager, time.Now().Add(time.Hour), "tonight"), st, "deferred", "running")
	check("approve the deferred", st.Approve(o.manager, "now"), st, "approved", "approved")
	st = stage()
	steps = check("reassign", st.Reassign(o.manager, o.second, "on leave"), st, "pending", "running")
	if *steps[0].AssignedApprover.Id != o.second.ID || len(*steps[0].History) != 1 || *(*steps[0].History)[0].AssignedTo.Id != group.ID {
		t.Errorf("reassigned: %+v", steps[0])
	}
	if st.Approve(o.manager, "") == nil {
		t.Error("approved by who had handed it over")
	}
	check("approve the reassigned", st.Approve(o.second, "ok"), st, "approved", "approved")
	st = stage()
	st.Skip()
	if steps = check("skip", nil, st, "skipped", "approved"); steps[0].ActualApprover != nil {
		t.Errorf("skipped by %v", steps[0].ActualApprover)
	}
	st = stage()
	st.Bypass(o.second)
	if steps = check("bypass", nil, st, "skipped", "approved"); steps[0].ActualApprover == nil || *steps[0].ActualApprover.Id != o.second.ID {
		t.Errorf("bypassed by %v", steps[0].ActualApprover)
	}
	st = stage()
	if err := st.Defer(o.manager, time.Now().Add(time.Hour), "tonight"); err != nil {
		t.Fatal(err)
	}
	st.Elapse(false)
	if steps = check("elapse", nil, st, "approved", "approved"); *steps[0].ActualApprover.Id != o.manager.ID {
		t.Errorf("deferred by %v", steps[0].ActualApprover)
	}
	st = stage()
	st.Cancel()
	check("cancel", nil, st, "canceled", "canceled")
	st = stage()
	st.TimeOut()
	check("time out", nil, st, "timedOut", "timedOut")
}

func TestRetriedStage(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.QueueRun(RunOptions{})
	st := r.Stage("Production", o.env)
	st.AddPhase("Notify")
	if err := st.Approve(o.manager, "first"); err != nil {
		t.Fatal(err)
	}
	st.Begin()
	oldStage, oldCheckpoint, oldApproval, oldJob, oldToken := st.ID(), st.CheckpointID(), st.Approvals()[0].ID(), st.JobID(), st.Token()
	st.Retry()
	if _, err := o.clients(oldToken); err == nil {
		t.Error("the old attempt's token is still good")
	}
	d := o.mustClients(st.Token())
	records := d.timeline(t, r, "")
	stage, checkpoint := find(t, records, st.ID()), only(t, records, "Checkpoint", st.ID())
	previous := (*stage.PreviousAttempts)[0]
	if *stage.Attempt != 2 || *checkpoint.Attempt != 1 || checkpoint.Id.String() == oldCheckpoint || st.Approvals()[0].ID() == oldApproval || st.JobID() == oldJob ||
		previous.RecordId.String() != oldStage || previous.TimelineId.String() != oldStage || *previous.Attempt != 1 {
		t.Errorf("stage %+v, checkpoint %+v", stage, checkpoint)
	}
	for _, rec := range records {
		if id := rec.Id.String(); id == oldStage || id == oldCheckpoint || id == oldApproval || id == oldJob {
			t.Errorf("the default timeline shows %s of the attempt before", *rec.Type)
		}
	}
	if kept := find(t, records, recordID("Production", "Notify", "__default")); *kept.Attempt != 1 || *kept.Result != "succeeded" ||
		find(t, records, kept.ParentId.String()).ParentId.String() != st.ID() {
		t.Errorf("what had succeeded: %+v", kept)
	}
	old := d.timeline(t, r, previous.TimelineId.String())
	if c := only(t, old, "Checkpoint", oldStage); *c.Result != "succeeded" || len(*find(t, old, oldStage).PreviousAttempts) != 0 {
		t.Errorf("old checkpoint %+v", c)
	}
	if a := d.approvals(t, true, oldApproval, st.Approvals()[0].ID()); *a[0].Status != "approved" || *a[1].Status != "pending" {
		t.Errorf("approvals %v", a)
	}
	if s := d.suite(t, st.CheckpointID()); s.Context.(map[string]any)["GraphNode"].(map[string]any)["Attempt"] != 2.0 {
		t.Errorf("context %v", s.Context)
	}

	st.Begin()
	before, job := st.ID(), st.JobID()
	st.RetryJob()
	records = o.mustClients(st.Token()).timeline(t, r, "")
	if st.ID() != before || st.JobID() == job || *find(t, records, st.ID()).Attempt != 2 || *find(t, records, st.JobID()).Attempt != 3 {
		t.Errorf("a retried job changed the stage")
	}
}

func TestTwoRunsShareRecordIDsAndNothingElse(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	one := o.project.QueueRun(RunOptions{})
	two := o.project.QueueRun(RunOptions{})
	a, b := one.Stage("Production", o.env), two.Stage("Production", o.env)
	if a.ID() != b.ID() || a.JobID() != b.JobID() {
		t.Error("stage and job ids differ between runs of one pipeline")
	}
	if one.PlanID() == two.PlanID() || a.CheckpointID() == b.CheckpointID() || a.Approvals()[0].ID() == b.Approvals()[0].ID() || one.ID() == two.ID() {
		t.Error("what binds to a run is the same in two")
	}
	if status, _ := o.get(a.Token(), "/Shop/_apis/build/builds/"+itoa(two.ID())); status != 200 {
		t.Errorf("a job's token does not read another run of its project: %d", status)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestConfigurationsAndTheirVersions(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.QueueRun(RunOptions{})
	st := r.Stage("Production", o.env)
	o.check.Disable()
	d := o.mustClients(st.Token())
	project, kind, id := "Shop", "environment", o.env.ID()
	args := pipelineschecks.GetCheckConfigurationsOnResourceArgs{Project: &project, ResourceType: &kind, ResourceId: &id,
		Expand: &pipelineschecks.CheckConfigurationExpandParameterValues.Settings}
	list, err := d.checks.GetCheckConfigurationsOnResource(context.Background(), args)
	if err != nil || len(*list) != 1 || *(*list)[0].Id != o.check.ID() || *(*list)[0].Resource.Name != "Production" {
		t.Fatalf("configurations %v, %v", list, err)
	}
	_, body := o.get(st.Token(), "/Shop/_apis/pipelines/checks/configurations?resourceType=environment&resourceId="+id+"&%24expand=settings")
	var doc struct {
		Value []struct {
			IsDisabled bool
			Version    int
			Settings   map[string]any
		}
	}
	if err := json.Unmarshal(body, &doc); err != nil || !doc.Value[0].IsDisabled || doc.Value[0].Version != 2 || doc.Value[0].Settings["executionOrder"] != "anyOrder" {
		t.Errorf("%s, %v", body, err)
	}
	_, body = o.get(st.Token(), "/Shop/_apis/pipelines/checks/runs/"+st.CheckpointID())
	if !strings.Contains(string(body), `"version":1`) {
		t.Errorf("the suite forgot the version that was evaluated: %s", body)
	}
	st.Retry()
	if len(st.Approvals()) != 0 {
		t.Error("a disabled check was evaluated")
	}
	other := "99"
	args.ResourceId = &other
	if list, err := d.checks.GetCheckConfigurationsOnResource(context.Background(), args); err == nil && len(*list) != 0 {
		t.Errorf("checks of a resource that is not there: %v", *list)
	}
}

func TestEnvironmentsAndEndpointsByName(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	o.project.EnvironmentBy("Prod-of-mine", o.dev)
	s := o.project.SecretConnection("release-identity", guidOf("tenant"), guidOf("app"), "very-secret")
	d := o.mustClients(o.project.QueueRun(RunOptions{}).Stage("Production").Token())
	project, name := "Shop", "prod-of-mine"
	found, err := d.agents.GetEnvironments(context.Background(), taskagent.GetEnvironmentsArgs{Project: &project, Name: &name})
	if err != nil || len(found.Value) != 1 || *found.Value[0].CreatedBy.Id != o.dev.ID {
		t.Errorf("environments %v, %v", found, err)
	}
	endpoints, err := d.endpoint.GetServiceEndpointsByNames(context.Background(), serviceendpoint.GetServiceEndpointsByNamesArgs{Project: &project, EndpointNames: &[]string{"release-identity"}})
	if err != nil || len(*endpoints) != 1 || (*endpoints)[0].Id.String() != s.ID() || (*(*endpoints)[0].Authorization.Parameters)["serviceprincipalkey"] != "" {
		t.Errorf("endpoints %v, %v", endpoints, err)
	}
}

func TestStrangersAreTurnedAway(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.QueueRun(RunOptions{})
	st := r.Stage("Production", o.env)
	other := o.org.Project("Other")
	foreign := other.QueueRun(RunOptions{}).Stage("Production")
	path := "/Shop/_apis/build/builds/" + itoa(r.ID())

	if status, body := o.get("job.wrong", path); status != 401 || !strings.Contains(string(body), "Sign In") {
		t.Errorf("a wrong token: %d %s", status, body)
	}
	status, body := o.get(foreign.Token(), path)
	var refusal struct {
		ID       string `json:"$id"`
		Message  string
		TypeKey  string
		TypeName string
	}
	if err := json.Unmarshal(body, &refusal); err != nil || status != 404 || refusal.ID != "1" || refusal.TypeKey != "ProjectDoesNotExistWithNameException" || !strings.Contains(refusal.TypeName, ", ") {
		t.Errorf("another project's token: %d %s", status, body)
	}
	client := o.net.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, c := range []struct {
		user string
		want int
	}{{"", 302}, {"somebody", 203}} {
		req, _ := http.NewRequest("GET", strings.TrimSuffix(o.org.Collection(), "/")+path, nil)
		if c.user != "" {
			req.SetBasicAuth(c.user, "wrong")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("user %q: %d, want %d", c.user, resp.StatusCode, c.want)
		}
	}

	o.project.Deny(Approvals)
	d := o.mustClients(st.Token())
	project, ids := "Shop", []uuid.UUID{uuid.MustParse(st.Approvals()[0].ID())}
	_, err := d.approval.QueryApprovals(context.Background(), pipelinesapproval.QueryApprovalsArgs{Project: &project, ApprovalIds: &ids})
	var wrapped *azuredevops.WrappedError
	var plain azuredevops.WrappedError
	if !errors.As(err, &wrapped) && !errors.As(err, &plain) || !strings.Contains(err.Error(), "Shop Build Service") {
		t.Errorf("denied approvals: %v", err)
	}
	o.project.Allow(Approvals)
	if a := d.approvals(t, true, ids[0].String()); len(a) != 1 {
		t.Errorf("allowed approvals: %v", a)
	}
	for path, want := range map[string]int{
		"/Shop/_apis/build/builds/9":    404,
		"/Shop/_apis/build/builds/nine": 404,
		"/Shop/_apis/build/builds/" + itoa(r.ID()) + "/timeline/" + guidOf("none"): 204,
		"/Shop/_apis/pipelines/checks/runs/" + guidOf("none"):                      404,
		"/Shop/_apis/git/repositories":                                             404,
		"/Nowhere/_apis/build/builds/1":                                            404,
	} {
		if status, _ := o.get(st.Token(), path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

func TestAnswersCanBeBent(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.QueueRun(RunOptions{})
	st := r.Stage("Production", o.env)
	named := func(doc map[string]any) { doc["bent"] = true }
	r.MutateBuild(named)
	r.MutateTimeline(func(doc map[string]any) {
		st.Name() // hooks run unlocked: this must not block
		_ = st.CheckpointID()
		doc["records"] = doc["records"].([]any)[:1]
		named(doc)
	})
	r.MutateApprovals(named)
	r.MutateSuite(named)
	r.MutateConfigurations(named)
	id := itoa(r.ID())
	for _, path := range []string{
		"/Shop/_apis/build/builds/" + id, "/Shop/_apis/build/builds/" + id + "/timeline", "/Shop/_apis/pipelines/approvals?approvalIds=" + st.Approvals()[0].ID(),
		"/Shop/_apis/pipelines/checks/runs/" + st.CheckpointID(), "/Shop/_apis/pipelines/checks/configurations?resourceType=environment&resourceId=" + o.env.ID(),
	} {
		if _, body := o.get(st.Token(), path); !strings.Contains(string(body), `"bent":true`) {
			t.Errorf("%s was sent unbent", path)
		}
	}
	o.org.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "approvals") {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	if status, _ := o.get(st.Token(), "/Shop/_apis/pipelines/approvals"); status != 503 {
		t.Errorf("intercepted: %d", status)
	}
	o.org.RestoreAnswers()
	if status, _ := o.get(st.Token(), "/Shop/_apis/pipelines/approvals"); status != 200 {
		t.Errorf("restored: %d", status)
	}
}

func TestAPIVersion72TellsTheBuildOfAnApproval(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.QueueRun(RunOptions{})
	st := r.Stage("Production", o.env)
	for version, want := range map[string]bool{"7.1-preview.1": false, "7.2-preview.2": true} {
		req, _ := http.NewRequest("GET", o.org.Collection()+"Shop/_apis/pipelines/approvals?approvalIds="+st.Approvals()[0].ID(), nil)
		req.Header.Set("Accept", "application/json;api-version="+version)
		_, body := o.send(req, st.Token())
		if got := strings.Contains(string(body), `"owner":{`) && strings.Contains(string(body), `"id":`+itoa(r.ID())); got != want {
			t.Errorf("%s: %s", version, body)
		}
	}
}

func TestTheRunsOwnToken(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.QueueRun(RunOptions{Branch: "refs/heads/release/1"})
	st := r.Stage("Production", o.env)
	uri := st.JobRequest().Variables["system.oidcRequestUri"]
	post := func(token, at string) (int, map[string]any) {
		req, _ := http.NewRequest("POST", at+"?api-version=7.1", nil)
		status, body := o.send(req, token)
		var doc struct{ OIDCToken string }
		json.Unmarshal(body, &doc)
		claims, _ := claimsOf(doc.OIDCToken)
		return status, claims
	}
	status, claims := post(st.Token(), uri)
	if status != 200 || claims["run_id"] != itoa(r.ID()) || claims["prj_id"] != o.project.ID() || claims["rpo_ref"] != "refs/heads/release/1" || claims["def_id"] == "" || claims["sub"] != "p://"+o.org.name+"/Shop/release" {
		t.Errorf("%d %v", status, claims)
	}
	r.MutateClaims(func(c map[string]any) { c["run_id"] = "1" })
	if _, claims := post(st.Token(), uri); claims["run_id"] != "1" {
		t.Errorf("unbent: %v", claims)
	}
	other := o.project.QueueRun(RunOptions{}).Stage("Production", o.env)
	if status, _ := post(other.Token(), uri); status != 403 {
		t.Errorf("another run's token got the run's own: %d", status)
	}
	u, _ := url.Parse(uri)
	if !strings.HasPrefix(u.Path, "/"+o.org.name+"/"+o.project.ID()+"/_apis/distributedtask/hubs/build/plans/"+r.PlanID()+"/jobs/"+st.JobID()) {
		t.Errorf("request URI %s", u)
	}
}

func TestOneApprovalOfSeveral(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	connection := o.project.SecretConnection("release-identity", "tenant", "app", "s")
	connection.SetParameter("authenticationType", "")
	check := connection.AddApproval(ApprovalSettings{Approvers: []Identity{o.manager}})
	r := o.project.QueueRun(RunOptions{})
	st := r.Stage("Production", o.env, connection)
	if err := st.Approvals()[1].Approve(o.second, ""); err == nil {
		t.Error("somebody approved who was not asked")
	}
	if err := st.Approvals()[1].Approve(o.manager, "the connection alone"); err != nil {
		t.Fatal(err)
	}
	if a := st.Approvals(); a[0].Status() != "pending" || a[1].Status() != "approved" {
		t.Errorf("environment %s, connection %s", a[0].Status(), a[1].Status())
	}
	d := o.mustClients(st.Token())
	if s := d.suite(t, st.CheckpointID()); *s.Status != "running" || s.CompletedDate != nil {
		t.Errorf("suite %+v", s)
	}
	project, id := "Shop", uuid.MustParse(st.Approvals()[1].ID())
	one, err := d.approval.GetApproval(context.Background(), pipelinesapproval.GetApprovalArgs{Project: &project, ApprovalId: &id,
		Expand: &pipelinesapproval.ApprovalDetailsExpandParameterValues.Steps})
	if err != nil || *one.Id != id || *(*one.Steps)[0].Comment != "the connection alone" {
		t.Errorf("%+v, %v", one, err)
	}
	number := check.ID()
	get := pipelineschecks.GetCheckConfigurationArgs{Project: &project, Id: &number}
	if c, err := d.checks.GetCheckConfiguration(context.Background(), get); err != nil || *c.Resource.Type != "endpoint" || *c.Resource.Id != connection.ID() {
		t.Errorf("%+v, %v", c, err)
	}
	check.Delete()
	if c, err := d.checks.GetCheckConfiguration(context.Background(), get); err == nil {
		t.Errorf("a deleted check: %+v", c)
	}
	o.check.Disable()
	o.check.Enable()
	if later := o.project.QueueRun(RunOptions{}).Stage("Production", o.env, connection); len(later.Approvals()) != 1 {
		t.Errorf("%d approvals, of one enabled and one deleted check", len(later.Approvals()))
	}
	r.Finish("succeeded")
	buildID := r.ID()
	b, err := d.build.GetBuild(context.Background(), build.GetBuildArgs{Project: &project, BuildId: &buildID})
	if err != nil || *b.Status != "completed" || *b.Result != "succeeded" || b.FinishTime == nil {
		t.Errorf("%+v, %v", b, err)
	}
}
