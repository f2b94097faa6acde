package approval_test

import (
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

func TestJudgeArtifact(t *testing.T) {
	started := now.Add(-time.Hour)
	const remedy = "Seal in the pipeline that builds and pushes the image, or make its build the primary artifact of the release."
	const silent = "the record of build 4711, which made the release's artifact, does not say when it started"
	for _, c := range []struct {
		name   string
		change func(*approval.Artifact)
		reason string
		remedy string
	}{
		{"a build", func(*approval.Artifact) {}, "", ""},
		{"no primary artifact", func(a *approval.Artifact) { *a = approval.Artifact{ReleaseID: 88} }, "the release has no primary artifact, so it is unknown when the image was built", remedy},
		{"no build", func(a *approval.Artifact) { a.BuildID = 0 }, "the primary artifact was not made by a build of Azure Pipelines, so it is unknown when the image was built", remedy},
		{"another build", func(a *approval.Artifact) { a.Build.ID.Value = 4712 }, silent, remedy},
		{"a build without a number", func(a *approval.Artifact) { a.Build.ID.Set = false }, silent, remedy},
		{"a build that did not start", func(a *approval.Artifact) { a.Build.Started = time.Time{} }, silent, remedy},
		{"unread", func(a *approval.Artifact) { a.Unread, a.Remedy = "status 403", "Grant it." }, "status 403", "Grant it."},
	} {
		a := approval.Artifact{ReleaseID: 88, Primary: true, BuildID: 4711, Build: approval.BuildRecord{ID: number(4711), Started: started}}
		c.change(&a)
		at, refused := approval.JudgeArtifact(a)
		if c.reason == "" {
			if refused != nil || !at.Equal(started) {
				t.Errorf("%s: %v, %+v", c.name, at, refused)
			}
			continue
		}
		want := rule.Refusal{Rule: rule.OlderThanRun, Subject: "release 88", Reason: c.reason, Remedy: c.remedy}
		if refused == nil || *refused != want || !at.IsZero() {
			t.Errorf("%s: %v, %+v, want %+v", c.name, at, refused, want)
		}
	}
}
