package approval_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

func number(n int) approval.Number { return approval.Number{Value: n, Set: true} }

func releaseEntry(id, attempt int, kind, status string) approval.Entry {
	bob := people["bob"]
	return approval.Entry{ID: number(id), Kind: kind, Attempt: attempt, ReleaseID: number(88), StageID: number(302),
		Step: approval.Step{Status: status, Assigned: bob, Actual: &bob, Modified: now.Add(-time.Hour)}}
}

// releaseRecord returns a release in the second deployment of its stage
// Production.
func releaseRecord() approval.ReleaseRecord {
	by := func(name, as string) []approval.Requester {
		return []approval.Requester{{Person: people[name], As: as}}
	}
	return approval.ReleaseRecord{
		ID: number(88), ProjectID: project, Requesters: by("alice", "created release 88"),
		Stages: []approval.ReleaseStage{
			{ID: number(301), Name: "Test",
				Deployments: []approval.Deployment{{Attempt: 1, ID: number(1001), Status: "succeeded", PlanIDs: []string{other}}},
				Before: approval.Entries{List: []approval.Entry{
					{ID: number(11), Kind: "preDeploy", Attempt: 1, Step: approval.Step{Status: "approved", Automated: true}},
					{ID: number(12), Kind: "preDeploy", Attempt: 2, Step: approval.Step{Status: "pending"}},
				}}},
			{ID: number(302), Name: "Production",
				Deployments: []approval.Deployment{
					{Attempt: 1, ID: number(1002), Status: "failed", PlanIDs: []string{other}, Requesters: by("bob", "requested attempt 1 of the deployment")},
					{Attempt: 2, ID: number(1003), Status: "inProgress", PlanIDs: []string{plan}, Requesters: by("carol", "requested attempt 2 of the deployment"),
						GatesBefore: &approval.Gates{Status: "none"}, GatesAfter: &approval.Gates{Status: "succeeded"}},
				},
				Before: approval.Entries{Required: 1, List: []approval.Entry{releaseEntry(21, 1, "preDeploy", "rejected"), releaseEntry(22, 2, "preDeploy", "approved")}},
				After:  approval.Entries{Required: 2, List: []approval.Entry{releaseEntry(23, 2, "postDeploy", "pending")}}},
		},
	}
}

// TestReleaseEvidence starts from the evidence of a job in the stage Production.
func TestReleaseEvidence(t *testing.T) {
	const contradiction = "approval-unreadable, release 88: "
	before := func(change func(*approval.Entry)) func(*approval.Evidence, *approval.ReleaseRecord) {
		return func(_ *approval.Evidence, r *approval.ReleaseRecord) { change(&r.Stages[1].Before.List[1]) }
	}
	record := func(change func(*approval.ReleaseRecord)) func(*approval.Evidence, *approval.ReleaseRecord) {
		return func(_ *approval.Evidence, r *approval.ReleaseRecord) { change(r) }
	}
	refused := rule.Refusal{Rule: rule.RunMismatch, Subject: "release 88", Reason: "refused before"}
	none := func(*approval.Evidence, *approval.ReleaseRecord) {}
	for _, c := range []struct {
		name    string
		change  func(*approval.Evidence, *approval.ReleaseRecord)
		stage   string
		post    bool
		missing bool // there is no such stage
		want    string
		at      string // stage and attempts of the approvals, where the evidence is complete
	}{
		{name: "its own stage", change: none, at: "Production 2: pre-deployment 1 of approved"},
		{name: "its own stage by name", change: none, stage: "PRODUCTION", at: "Production 2: pre-deployment 1 of approved"},
		{name: "after the deployment too", change: none, post: true, at: "Production 2: pre-deployment 1 of approved, post-deployment 2 of pending"},
		{name: "an attempt without a deployment", change: record(func(r *approval.ReleaseRecord) { r.Stages[1].Deployments = nil }), at: "Production 2: pre-deployment 1 of approved"},
		{name: "another stage, whose newest attempt waits", change: none, stage: "test", at: "Test 2: pre-deployment 0 of pending"},
		{name: "another stage, deployed again", change: record(func(r *approval.ReleaseRecord) { r.Stages[0].Deployments[0].Attempt = 3 }), stage: "Test", at: "Test 3: pre-deployment 0 of "},
		{name: "no such stage", change: none, stage: "Prod", missing: true},
		{name: "the job has no stage", change: func(e *approval.Evidence, _ *approval.ReleaseRecord) {
			e.Stage, e.Refusals = "", []rule.Refusal{refused}
		}, want: said([]rule.Refusal{refused})},
		{name: "the job is not part of it", change: func(e *approval.Evidence, _ *approval.ReleaseRecord) { e.Refusals = []rule.Refusal{refused} }, want: said([]rule.Refusal{refused})},
		{name: "a stage's name twice", change: record(func(r *approval.ReleaseRecord) { r.Stages[0].Name = "PRODUCTION" }), want: contradiction + "the release has the stage Production twice"},
		{name: "a stage's name twice, and the job is not part of it", change: func(e *approval.Evidence, r *approval.ReleaseRecord) {
			e.Refusals, r.Stages[0].Name = []rule.Refusal{refused}, "PRODUCTION"
		}, want: said([]rule.Refusal{refused}) + "\n" + contradiction + "the release has the stage Production twice"},
		{name: "an attempt twice", change: record(func(r *approval.ReleaseRecord) { r.Stages[1].Deployments[0].Attempt = 2 }), want: contradiction + "the stage Production has the attempt 2 twice"},
		{name: "an entry without a number", change: before(func(e *approval.Entry) { e.ID.Set = false }), want: contradiction + "a pre-deployment approval of the stage Production has no number, or the same number as another"},
		{name: "an entry twice", change: before(func(e *approval.Entry) { e.ID.Value = 21 }), want: contradiction + "a pre-deployment approval of the stage Production has no number, or the same number as another"},
		{name: "an entry of the other kind", change: before(func(e *approval.Entry) { e.Kind = "postDeploy" }), want: contradiction + `one of the pre-deployment approvals of the stage Production has the type "postDeploy"`},
		{name: "an entry of no kind", change: before(func(e *approval.Entry) { e.Kind = "" }), at: "Production 2: pre-deployment 1 of approved"},
		{name: "an entry of another release", change: before(func(e *approval.Entry) { e.ReleaseID.Value = 87 }), want: contradiction + "a pre-deployment approval of the stage Production belongs to another release or stage"},
		{name: "an entry of another stage", change: before(func(e *approval.Entry) { e.StageID.Value = 301 }), want: contradiction + "a pre-deployment approval of the stage Production belongs to another release or stage"},
		{name: "an entry that names neither", change: before(func(e *approval.Entry) { e.ReleaseID, e.StageID = approval.Number{}, approval.Number{} }), at: "Production 2: pre-deployment 1 of approved"},
		{name: "an entry after it of the other kind", post: true, change: record(func(r *approval.ReleaseRecord) { r.Stages[1].After.List[0].Kind = "preDeploy" }),
			want: contradiction + `one of the post-deployment approvals of the stage Production has the type "preDeploy"`},
		{name: "the same, not requested", change: record(func(r *approval.ReleaseRecord) { r.Stages[1].After.List[0].Kind = "preDeploy" }), at: "Production 2: pre-deployment 1 of approved"},
		{name: "nobody requested it", change: func(e *approval.Evidence, r *approval.ReleaseRecord) {
			e.Requesters, r.Stages[1].Deployments[1].Requesters = nil, nil
		},
			want: contradiction + "the record of the release does not say who requested it"},
	} {
		e := approval.Evidence{Source: approval.Release, ReleaseID: 88, Stage: "Production", Attempt: 2, Requesters: []approval.Requester{{Person: people["alice"], As: "created release 88"}}}
		r := releaseRecord()
		c.change(&e, &r)
		e, found := r.Evidence(e, c.stage, c.post)
		if got := said(e.Refusals); got != c.want || found == c.missing || e.Complete != (c.at != "") {
			t.Errorf("%s: found %v, complete %v:\n got %s\nwant %s", c.name, found, e.Complete, got, c.want)
		}
		if !e.Complete {
			continue
		}
		var sets []string
		for _, a := range e.Approvals {
			set := a.Phase + " " + string(rune('0'+a.Required)) + " of "
			for _, s := range a.Steps {
				set += s.Status
			}
			sets = append(sets, set)
		}
		if at := e.Stage + " " + string(rune('0'+e.Attempt)) + ": " + strings.Join(sets, ", "); at != c.at {
			t.Errorf("%s: %q, want %q", c.name, at, c.at)
		}
	}
}

// TestReleaseEvidenceOfOneAttempt checks that requesters and gates of another
// attempt do not count.
func TestReleaseEvidenceOfOneAttempt(t *testing.T) {
	r := releaseRecord()
	r.Stages[1].Deployments[0].GatesBefore = &approval.Gates{Status: "failed"}
	r.Stages[1].Deployments[1].GatesBefore = &approval.Gates{Status: "none", Ignored: []string{"Query <work> items"}}
	e, _ := r.Evidence(approval.Evidence{Stage: "Production", Attempt: 2, ReleaseID: 88}, "", true)
	if len(e.Requesters) != 1 || e.Requesters[0].As != "requested attempt 2 of the deployment" {
		t.Errorf("requesters: %+v", e.Requesters)
	}
	note := func(detail string) rule.Outcome {
		return rule.Outcome{Rule: rule.AutomatedCheck, Met: true, Detail: detail + "; for information only"}
	}
	want := []rule.Outcome{
		note("pre-deployment gates: none; ignored manually, which bypasses them: Query work items"),
		note("post-deployment gates: succeeded"),
	}
	if !reflect.DeepEqual(e.Notes, want) {
		t.Errorf("notes: %+v, want %+v", e.Notes, want)
	}
	if e.Approvals[0].ID != "preDeploy/302/2" || e.Approvals[1].ID != "postDeploy/302/2" {
		t.Errorf("approvals: %+v", e.Approvals)
	}
}
