package approval_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

const (
	project = "3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33"
	plan    = "8b0a7c1d-2e3f-4a5b-8c6d-7e8f9a0b1c2d"
	job     = "11111111-aaaa-4aaa-8aaa-111111111111"
	phase   = "22222222-aaaa-4aaa-8aaa-222222222222"
	stage   = "33333333-aaaa-4aaa-8aaa-333333333333"
	other   = "44444444-aaaa-4aaa-8aaa-444444444444"
	zero    = "00000000-0000-0000-0000-000000000000"
	long    = 400 // longer than a name in a sentence may be
)

// said formats refusals for comparison, one line each.
func said(refusals []rule.Refusal) string {
	var lines []string
	for _, r := range refusals {
		lines = append(lines, fmt.Sprintf("%s, %s: %s", r.Rule, r.Subject, r.Reason))
	}
	return strings.Join(lines, "\n")
}

// remedied checks that each refusal has the remedy of its rule.
func remedied(t *testing.T, refusals []rule.Refusal) {
	t.Helper()
	for _, r := range refusals {
		want := map[rule.Name]string{
			rule.RunMismatch:        "Run the step in the job that it belongs to, and remove pipeline variables that have the names of agent variables.",
			rule.ApprovalUnreadable: "Run the stage again: ambiguous records never count.",
		}[r.Rule]
		if strings.Contains(r.Reason, "SYSTEM_OIDCREQUESTURI") {
			want = "If the pipeline sets the variable SYSTEM_OIDCREQUESTURI, remove it: only the agent may set it. If the server has several names, configure the agent with the one that the server's settings name as its public address."
		}
		if r.Remedy != want {
			t.Errorf("remedy of %s: %q", r.Rule, r.Remedy)
		}
	}
}

func yamlClaims() approval.Claims {
	return approval.Claims{
		HostType: "build", ProjectID: project, PlanID: plan,
		BuildID: 4711, JobID: job, StageID: stage, StageName: "Production", StageAttempt: 2,
	}
}

func releaseClaims() approval.Claims {
	return approval.Claims{
		HostType: "release", ProjectID: project, PlanID: plan,
		ReleaseID: 88, EnvironmentID: 302, EnvironmentName: "Production", ReleaseAttempt: 2, DeploymentID: 1003,
	}
}

func TestSource(t *testing.T) {
	for host, want := range map[string]approval.Source{
		"build": approval.YAML, "Build": approval.YAML,
		"release": approval.Release, "RELEASE": approval.Release, "deployment": approval.Release, "Deployment": approval.Release,
		"": "", "gates": "", "builds": "",
	} {
		// The variables of the other kind have no effect.
		c := approval.Claims{HostType: host, BuildID: 1, ReleaseID: 1}
		if got := c.Source(); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestClaimedRequesters(t *testing.T) {
	c := approval.Claims{RequesterIDs: []string{strings.ToUpper(job), "", zero, "no id", stage}}
	var got []string
	for _, r := range c.Requesters() {
		if r.As != "requested this run or stage, according to the agent" {
			t.Errorf("as %q", r.As)
		}
		got = append(got, r.ID)
	}
	if want := []string{job, stage}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestJudgeClaims(t *testing.T) {
	const unusable = "run-mismatch, this job: these variables of the agent are missing or invalid: "
	for _, c := range []struct {
		name   string
		claims func() approval.Claims
		change func(*approval.Claims)
		want   string
	}{
		{"a YAML run", yamlClaims, func(*approval.Claims) {}, ""},
		{"a YAML run of an older agent", yamlClaims, func(c *approval.Claims) { c.StageID = "" }, ""},
		{"a YAML run with variables of a release", yamlClaims, func(c *approval.Claims) { c.ReleaseID, c.EnvironmentID = 88, 3 }, ""},
		{"ids in capitals", yamlClaims, func(c *approval.Claims) { c.PlanID, c.JobID = strings.ToUpper(plan), strings.ToUpper(job) }, ""},
		{"no project", yamlClaims, func(c *approval.Claims) { c.ProjectID = "" }, unusable + "SYSTEM_TEAMPROJECTID"},
		{"a project that is a path", yamlClaims, func(c *approval.Claims) { c.ProjectID = "../other" }, unusable + "SYSTEM_TEAMPROJECTID"},
		{"no plan", yamlClaims, func(c *approval.Claims) { c.PlanID = "" }, unusable + "SYSTEM_PLANID"},
		{"the zero plan", yamlClaims, func(c *approval.Claims) { c.PlanID = zero }, unusable + "SYSTEM_PLANID"},
		{"no job", yamlClaims, func(c *approval.Claims) { c.JobID = "" }, unusable + "SYSTEM_JOBID"},
		{"the zero job", yamlClaims, func(c *approval.Claims) { c.JobID = zero }, unusable + "SYSTEM_JOBID"},
		{"no stage", yamlClaims, func(c *approval.Claims) { c.StageName = "" }, unusable + "SYSTEM_STAGENAME"},
		{"no attempt", yamlClaims, func(c *approval.Claims) { c.StageAttempt = 0 }, unusable + "SYSTEM_STAGEATTEMPT"},
		{"a negative attempt", yamlClaims, func(c *approval.Claims) { c.StageAttempt = -1 }, unusable + "SYSTEM_STAGEATTEMPT"},
		{"no build", yamlClaims, func(c *approval.Claims) { c.BuildID = 0 }, unusable + "BUILD_BUILDID"},
		{"nothing but a host type", yamlClaims, func(c *approval.Claims) { *c = approval.Claims{HostType: "build"} },
			unusable + "SYSTEM_TEAMPROJECTID, SYSTEM_PLANID, SYSTEM_JOBID, SYSTEM_STAGENAME, SYSTEM_STAGEATTEMPT, BUILD_BUILDID"},

		{"a release", releaseClaims, func(*approval.Claims) {}, ""},
		{"a release whose stage has no name", releaseClaims, func(c *approval.Claims) { c.EnvironmentName, c.DeploymentID = "", 0 }, ""},
		{"a release without a project", releaseClaims, func(c *approval.Claims) { c.ProjectID = "x" }, unusable + "SYSTEM_TEAMPROJECTID"},
		{"a release without a plan", releaseClaims, func(c *approval.Claims) { c.PlanID = "x" }, unusable + "SYSTEM_PLANID"},
		{"no release", releaseClaims, func(c *approval.Claims) { c.ReleaseID = 0 }, unusable + "RELEASE_RELEASEID"},
		{"no environment", releaseClaims, func(c *approval.Claims) { c.EnvironmentID = 0 }, unusable + "RELEASE_ENVIRONMENTID"},
		{"no attempt of a release", releaseClaims, func(c *approval.Claims) { c.ReleaseAttempt = 0 }, unusable + "RELEASE_ATTEMPTNUMBER"},
		{"nothing of a deployment", releaseClaims, func(c *approval.Claims) { *c = approval.Claims{HostType: "deployment"} },
			unusable + "SYSTEM_TEAMPROJECTID, SYSTEM_PLANID, RELEASE_RELEASEID, RELEASE_ENVIRONMENTID, RELEASE_ATTEMPTNUMBER"},

		{"an unknown host type", yamlClaims, func(c *approval.Claims) { c.HostType = "gates" },
			`run-mismatch, this job: the agent reports the host type "gates", which is neither a YAML run nor a classic release`},
		{"a host type with markup", yamlClaims, func(c *approval.Claims) { c.HostType = "<b>\n" },
			`run-mismatch, this job: the agent reports the host type "b", which is neither a YAML run nor a classic release`},
	} {
		claims := c.claims()
		c.change(&claims)
		refusals := approval.JudgeClaims(claims)
		remedied(t, refusals)
		if got := said(refusals); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func buildRecord() approval.BuildRecord {
	return approval.BuildRecord{
		ID: approval.Number{Value: 4711, Set: true}, PlanID: plan, ProjectID: project, PipelineID: approval.Number{Value: 12, Set: true},
		Status: "inProgress", Started: now.Add(-time.Hour), Requesters: []approval.Requester{{Person: people["alice"], As: "queued run 4711"}},
	}
}

func TestJudgeBuild(t *testing.T) {
	const (
		anotherRun     = "run-mismatch, run 4711: Azure DevOps returned the record of another run, not of 4711"
		anotherPlan    = "run-mismatch, run 4711: run 4711 is not executed by the plan " + plan + ", which this job claims to belong to"
		anotherProject = "run-mismatch, run 4711: run 4711 does not belong to the project " + project + ", which this job claims to belong to"
		over           = "run-mismatch, run 4711: run 4711 is not in progress, so this job cannot be part of it: its status is "
		noStart        = "approval-unreadable, run 4711: the record of run 4711 does not say when it started"
		noRequester    = "approval-unreadable, run 4711: the record of run 4711 does not say who requested it"
	)
	for _, c := range []struct {
		name   string
		change func(*approval.BuildRecord)
		want   []string
	}{
		{"this run", func(*approval.BuildRecord) {}, nil},
		{"ids in capitals", func(b *approval.BuildRecord) {
			b.PlanID, b.ProjectID = strings.ToUpper(b.PlanID), strings.ToUpper(b.ProjectID)
		}, nil},
		{"no pipeline", func(b *approval.BuildRecord) { b.PipelineID = approval.Number{} }, nil},
		{"another run", func(b *approval.BuildRecord) { b.ID.Value = 4712 }, []string{anotherRun}},
		{"no number", func(b *approval.BuildRecord) { b.ID = approval.Number{} }, []string{anotherRun}},
		{"a number that was not sent", func(b *approval.BuildRecord) { b.ID.Set = false }, []string{anotherRun}},
		{"another plan", func(b *approval.BuildRecord) { b.PlanID = other }, []string{anotherPlan}},
		{"no plan", func(b *approval.BuildRecord) { b.PlanID = "" }, []string{anotherPlan}},
		{"another project", func(b *approval.BuildRecord) { b.ProjectID = other }, []string{anotherProject}},
		{"no project", func(b *approval.BuildRecord) { b.ProjectID = "" }, []string{anotherProject}},
		{"a run that is over", func(b *approval.BuildRecord) { b.Status = "completed" }, []string{over + `"completed"`}},
		{"no status", func(b *approval.BuildRecord) { b.Status = "" }, []string{over + `""`}},
		{"a status in another case", func(b *approval.BuildRecord) { b.Status = "InProgress" }, []string{over + `"InProgress"`}},
		{"a status with markup", func(b *approval.BuildRecord) { b.Status = "<inProgress>" }, []string{over + `"inProgress"`}},
		{"a status without an end", func(b *approval.BuildRecord) { b.Status = strings.Repeat("x", long) }, []string{over + `"` + strings.Repeat("x", 300) + `…"`}},
		{"no start", func(b *approval.BuildRecord) { b.Started = time.Time{} }, []string{noStart}},
		{"no requester", func(b *approval.BuildRecord) { b.Requesters = nil }, []string{noRequester}},
		{"nothing", func(b *approval.BuildRecord) { *b = approval.BuildRecord{} },
			[]string{anotherRun, anotherPlan, anotherProject, over + `""`, noStart, noRequester}},
	} {
		b := buildRecord()
		c.change(&b)
		refusals := approval.JudgeBuild(yamlClaims(), b)
		remedied(t, refusals)
		if got, want := said(refusals), strings.Join(c.want, "\n"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
		}
	}
}

func TestJudgeTimeline(t *testing.T) {
	const (
		subject  = "run-mismatch, job " + job + " of run 4711: "
		noJob    = subject + "run 4711 has no job " + job + ", which this step claims to run in"
		over     = subject + "the job " + job + " of run 4711 is not in progress, so this step cannot run in it: its state is "
		nowhere  = subject + "the job " + job + " of run 4711 is not part of a stage"
		otherID  = subject + "the job runs in the stage with the record " + stage + ", not " + other + " as it claims"
		attempts = subject + "the job runs in attempt %d of its stage, not %d as it claims"
	)
	type records = map[string]approval.TimelineRecord
	set := func(id string, change func(*approval.TimelineRecord)) func(*approval.Claims, records) {
		return func(_ *approval.Claims, r records) {
			record := r[id]
			change(&record)
			r[id] = record
		}
	}
	claim := func(change func(*approval.Claims)) func(*approval.Claims, records) {
		return func(c *approval.Claims, _ records) { change(c) }
	}
	for _, c := range []struct {
		name   string
		change func(*approval.Claims, records)
		placed bool
		want   []string
	}{
		{"in its stage", func(*approval.Claims, records) {}, true, nil},
		{"an older agent", claim(func(c *approval.Claims) { c.StageID = "" }), true, nil},
		{"ids in capitals", claim(func(c *approval.Claims) { c.JobID, c.StageID = strings.ToUpper(job), strings.ToUpper(stage) }), true, nil},
		{"the stage's name in capitals", claim(func(c *approval.Claims) { c.StageName = "PRODUCTION" }), true, nil},

		{"no such job", func(_ *approval.Claims, r records) { delete(r, job) }, false, []string{noJob}},
		{"no id, and a record without one", func(c *approval.Claims, r records) {
			c.JobID = zero
			r[zero] = r[job]
		}, false, []string{strings.ReplaceAll(noJob, job, zero)}},
		{"a task", set(job, func(r *approval.TimelineRecord) { r.Type = "Task" }), false, []string{noJob}},
		{"a job of no type", set(job, func(r *approval.TimelineRecord) { r.Type = "" }), false, []string{noJob}},
		{"a job that is over", set(job, func(r *approval.TimelineRecord) { r.State = "completed" }), false, []string{over + `"completed"`}},
		{"a job of no state", set(job, func(r *approval.TimelineRecord) { r.State = "" }), false, []string{over + `""`}},
		{"a state with markup", set(job, func(r *approval.TimelineRecord) { r.State = " inProgress" }), false, []string{over + `"inProgress"`}},
		{"a job under nothing", set(job, func(r *approval.TimelineRecord) { r.ParentID = "" }), false, []string{nowhere}},
		{"a job right under the stage", set(job, func(r *approval.TimelineRecord) { r.ParentID = stage }), false, []string{nowhere}},
		{"a phase under nothing", set(phase, func(r *approval.TimelineRecord) { r.ParentID = "" }), false, []string{nowhere}},
		{"no phase", set(phase, func(r *approval.TimelineRecord) { r.Type = "Job" }), false, []string{nowhere}},
		{"no stage", set(stage, func(r *approval.TimelineRecord) { r.Type = "Phase" }), false, []string{nowhere}},

		{"another stage's id", claim(func(c *approval.Claims) { c.StageID = other }), true, []string{otherID}},
		{"no id of a stage", claim(func(c *approval.Claims) { c.StageID = zero }), true, []string{strings.ReplaceAll(otherID, other, zero)}},
		{"another stage's name", claim(func(c *approval.Claims) { c.StageName = "Test" }), true,
			[]string{subject + `the job runs in the stage "Production", not "Test" as it claims`}},
		{"a name with a long s", func(c *approval.Claims, r records) {
			c.StageName = "Teſt"
			set(stage, func(r *approval.TimelineRecord) { r.Identifier = "Test" })(c, r)
		}, true, []string{subject + `the job runs in the stage "Test", not "Teſt" as it claims`}},
		{"a stage without a name", func(c *approval.Claims, r records) {
			c.StageName = ""
			set(stage, func(r *approval.TimelineRecord) { r.Identifier = "" })(c, r)
		}, true, []string{subject + `the job runs in the stage "", not "" as it claims`}},
		{"names with markup", func(c *approval.Claims, r records) {
			c.StageName = "<a>\n"
			set(stage, func(r *approval.TimelineRecord) { r.Identifier = "<b>" })(c, r)
		}, true, []string{subject + `the job runs in the stage "b", not "a" as it claims`}},
		{"another attempt", claim(func(c *approval.Claims) { c.StageAttempt = 1 }), true, []string{fmt.Sprintf(attempts, 2, 1)}},
		{"no attempt", func(c *approval.Claims, r records) {
			c.StageAttempt = 0
			set(stage, func(r *approval.TimelineRecord) { r.Attempt = 0 })(c, r)
		}, true, []string{fmt.Sprintf(attempts, 0, 0)}},
		{"another stage in every way", claim(func(c *approval.Claims) { c.StageID, c.StageName, c.StageAttempt = other, "Test", 1 }), true,
			[]string{otherID, subject + `the job runs in the stage "Production", not "Test" as it claims`, fmt.Sprintf(attempts, 2, 1)}},
	} {
		claims := yamlClaims()
		r := records{
			job:   {ID: job, ParentID: phase, Type: "Job", State: "inProgress", Attempt: 1},
			phase: {ID: phase, ParentID: stage, Type: "Phase", State: "inProgress", Attempt: 1},
			stage: {ID: stage, Type: "Stage", Identifier: "Production", State: "inProgress", Attempt: 2},
		}
		c.change(&claims, r)
		found, refusals := approval.JudgeTimeline(claims, r)
		remedied(t, refusals)
		if got, want := strings.ReplaceAll(said(refusals), strings.ToUpper(job), job), strings.Join(c.want, "\n"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
		}
		want := approval.TimelineRecord{}
		if c.placed {
			want = r[stage]
		}
		if found != want {
			t.Errorf("%s: found %+v", c.name, found)
		}
	}
}

func TestJudgeToken(t *testing.T) {
	const (
		subject = "run-mismatch, the run's own token: "
		names   = subject + "the run's own token names another %s, but this job claims to be part of run 4711"
	)
	token := func(run, pipeline, project string) approval.TokenResponse {
		return approval.TokenResponse{Claims: approval.TokenClaims{RunID: run, PipelineID: pipeline, ProjectID: project}}
	}
	withoutPipeline := buildRecord()
	withoutPipeline.PipelineID = approval.Number{}
	record := buildRecord()
	matched := approval.Token{State: approval.TokenMatched}
	for _, c := range []struct {
		name   string
		answer approval.TokenResponse
		build  *approval.BuildRecord
		token  approval.Token
		want   string
	}{
		{"the token of this run", token("4711", "12", project), &record, matched, ""},
		{"a project in capitals", token("4711", "12", strings.ToUpper(project)), &record, matched, ""},
		{"the record was not read", token("4711", "13", project), nil, matched, ""},
		{"another run", token("4710", "12", project), &record, approval.Token{}, fmt.Sprintf(names, "run")},
		{"no run", token("", "12", project), &record, approval.Token{}, fmt.Sprintf(names, "run")},
		{"a run with a zero before it", token("04711", "12", project), &record, approval.Token{}, fmt.Sprintf(names, "run")},
		{"another project", token("4711", "12", other), &record, approval.Token{}, fmt.Sprintf(names, "project")},
		{"no project", token("4711", "12", ""), &record, approval.Token{}, fmt.Sprintf(names, "project")},
		{"another pipeline", token("4711", "13", project), &record, approval.Token{}, fmt.Sprintf(names, "pipeline")},
		{"no pipeline", token("4711", "", project), &record, approval.Token{}, fmt.Sprintf(names, "pipeline")},
		{"a record without a pipeline", token("4711", "0", project), &withoutPipeline, approval.Token{}, fmt.Sprintf(names, "pipeline")},
		{"a token of nothing", token("", "", ""), &record, approval.Token{}, fmt.Sprintf(names, "run and another project and another pipeline")},
		{"another run, and the record was not read", token("4710", "12", project), nil, approval.Token{}, fmt.Sprintf(names, "run")},

		{"absent", approval.TokenResponse{Absent: "the server provides none (status 404)"}, &record,
			approval.Token{State: approval.TokenAbsent, Detail: "the server provides none (status 404)"}, ""},
		{"outside the collection", approval.TokenResponse{Outside: "dev.azure.com/contoso"}, &record, approval.Token{},
			subject + "the address for the run's own token (SYSTEM_OIDCREQUESTURI) is not known to be part of the collection dev.azure.com/contoso, which the job's system connection names, so no request was sent"},
		{"of another job", approval.TokenResponse{OtherJob: true}, &record, approval.Token{},
			subject + "the address for the run's own token is that of another job than " + job + " of the plan " + plan + ", which this step claims to run in, so no request was sent"},
		{"denied", approval.TokenResponse{Denied: 403}, &record, approval.Token{},
			subject + "Azure DevOps denies this job the run's own token: status 403"},
	} {
		token, refusals := approval.JudgeToken(yamlClaims(), c.answer, c.build)
		remedied(t, refusals)
		if got := said(refusals); got != c.want || token != c.token {
			t.Errorf("%s:\n got %+v %s\nwant %+v %s", c.name, token, got, c.token, c.want)
		}
	}
}

func TestJudgeRelease(t *testing.T) {
	const (
		mismatch      = "run-mismatch, release 88: "
		contradiction = "approval-unreadable, release 88: "
		otherRelease  = mismatch + "Azure DevOps returned the record of another release, not of 88"
		otherProject  = mismatch + "release 88 does not belong to the project " + project + ", which this job claims to belong to"
		otherPlan     = mismatch + "attempt 2 is not executed by the plan " + plan + ", which this job claims to belong to"
	)
	record := func(change func(*approval.ReleaseRecord)) func(*approval.Claims, *approval.ReleaseRecord) {
		return func(_ *approval.Claims, r *approval.ReleaseRecord) { change(r) }
	}
	deployment := func(change func(*approval.Deployment)) func(*approval.Claims, *approval.ReleaseRecord) {
		return record(func(r *approval.ReleaseRecord) { change(&r.Stages[1].Deployments[1]) })
	}
	claim := func(change func(*approval.Claims)) func(*approval.Claims, *approval.ReleaseRecord) {
		return func(c *approval.Claims, _ *approval.ReleaseRecord) { change(c) }
	}
	for _, c := range []struct {
		name   string
		change func(*approval.Claims, *approval.ReleaseRecord)
		stage  string // empty: the job has no place
		want   []string
	}{
		{"in its deployment", func(*approval.Claims, *approval.ReleaseRecord) {}, "Production", nil},
		{"a project in capitals", record(func(r *approval.ReleaseRecord) { r.ProjectID = strings.ToUpper(project) }), "Production", nil},
		{"a record without a project", record(func(r *approval.ReleaseRecord) { r.ProjectID = "" }), "Production", nil},
		{"a claim without a name", claim(func(c *approval.Claims) { c.EnvironmentName = "" }), "Production", nil},
		{"a name in capitals", claim(func(c *approval.Claims) { c.EnvironmentName = "PRODUCTION" }), "Production", nil},
		{"a claim without a deployment", claim(func(c *approval.Claims) { c.DeploymentID = 0 }), "Production", nil},
		{"a record without plans", deployment(func(d *approval.Deployment) { d.PlanIDs = nil }), "Production", nil},
		{"plans that are none", deployment(func(d *approval.Deployment) { d.PlanIDs = []string{"", zero, "x"} }), "Production", nil},
		{"one of several plans", deployment(func(d *approval.Deployment) { d.PlanIDs = []string{"", other, strings.ToUpper(plan)} }), "Production", nil},

		{"another release", record(func(r *approval.ReleaseRecord) { r.ID = number(89) }), "Production", []string{otherRelease}},
		{"no number", record(func(r *approval.ReleaseRecord) { r.ID.Set = false }), "Production", []string{otherRelease}},
		{"another project", record(func(r *approval.ReleaseRecord) { r.ProjectID = other }), "Production", []string{otherProject}},
		{"a project that is not an id", record(func(r *approval.ReleaseRecord) { r.ProjectID = "x" }), "Production", []string{otherProject}},
		{"no such stage", claim(func(c *approval.Claims) { c.EnvironmentID = 303 }), "",
			[]string{mismatch + "release 88 has no stage with the number 303, which this job claims to run in"}},
		{"a stage whose number was not sent", record(func(r *approval.ReleaseRecord) { r.Stages[1].ID.Set = false }), "",
			[]string{mismatch + "release 88 has no stage with the number 302, which this job claims to run in"}},
		{"a stage twice", record(func(r *approval.ReleaseRecord) { r.Stages[0].ID, r.Stages[1].Name = number(302), "<b>" }), "",
			[]string{contradiction + "the release has the stage b twice"}},
		{"another stage's name", claim(func(c *approval.Claims) { c.EnvironmentName = "Test" }), "Production",
			[]string{mismatch + `the stage with the number 302 is named "Production", not "Test" as this job claims`}},
		{"names with markup", func(c *approval.Claims, r *approval.ReleaseRecord) {
			c.EnvironmentName, r.Stages[1].Name = "<a>", "<b>"
		}, "<b>", []string{mismatch + `the stage with the number 302 is named "b", not "a" as this job claims`}},
		{"no such attempt", claim(func(c *approval.Claims) { c.ReleaseAttempt = 3 }), "",
			[]string{mismatch + "the stage Production of release 88 has no attempt 3, which this job claims to be part of"}},
		{"an attempt twice", record(func(r *approval.ReleaseRecord) { r.Stages[1].Deployments[0].Attempt = 2 }), "",
			[]string{contradiction + "the stage Production has the attempt 2 twice"}},
		{"a deployment that is over", deployment(func(d *approval.Deployment) { d.Status = "succeeded" }), "Production",
			[]string{mismatch + `attempt 2 is not in progress, so this job cannot be part of it: its status is "succeeded"`}},
		{"a status with markup", deployment(func(d *approval.Deployment) { d.Status = "<inProgress>" }), "Production",
			[]string{mismatch + `attempt 2 is not in progress, so this job cannot be part of it: its status is "inProgress"`}},
		{"another deployment", claim(func(c *approval.Claims) { c.DeploymentID = 1002 }), "Production",
			[]string{mismatch + "attempt 2 is deployment 1003, not 1002 as this job claims"}},
		{"a deployment whose number was not sent", deployment(func(d *approval.Deployment) { d.ID = approval.Number{} }), "Production",
			[]string{mismatch + "attempt 2 is deployment 0, not 1003 as this job claims"}},
		{"another plan", deployment(func(d *approval.Deployment) { d.PlanIDs = []string{"", other} }), "Production", []string{otherPlan}},
		{"everything at once", func(c *approval.Claims, r *approval.ReleaseRecord) {
			r.ID, r.ProjectID = approval.Number{}, other
			c.EnvironmentName, c.ReleaseAttempt = "Test", 1
		}, "Production", []string{
			otherRelease, otherProject,
			mismatch + `the stage with the number 302 is named "Production", not "Test" as this job claims`,
			mismatch + `attempt 1 is not in progress, so this job cannot be part of it: its status is "failed"`,
			mismatch + "attempt 1 is deployment 1002, not 1003 as this job claims",
			mismatch + "attempt 1 is not executed by the plan " + plan + ", which this job claims to belong to",
		}},
		{"another release without the stage", func(c *approval.Claims, r *approval.ReleaseRecord) {
			r.ID, r.Stages = number(89), nil
		}, "", []string{otherRelease, mismatch + "release 88 has no stage with the number 302, which this job claims to run in"}},
	} {
		claims, r := releaseClaims(), releaseRecord()
		c.change(&claims, &r)
		stage, d, refusals := approval.JudgeRelease(claims, r)
		remedied(t, refusals)
		if got, want := said(refusals), strings.Join(c.want, "\n"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
		}
		if stage != c.stage || (d != nil) != (c.stage != "") || d != nil && d.Attempt != claims.ReleaseAttempt {
			t.Errorf("%s: stage %q, deployment %+v", c.name, stage, d)
		}
	}
}
