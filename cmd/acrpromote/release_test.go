package main_test

import (
	"testing"

	"acrpromote/internal/sim"
)

// TestClassicRelease tests a push in a classic release.
func TestClassicRelease(t *testing.T) {
	for _, c := range []struct {
		name    string
		before  sim.ReleaseApprovals
		decide  func(s *sim.ReleaseStage) error
		in      inputs
		refused string
	}{
		{"approved", sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}, func(s *sim.ReleaseStage) error { return s.Approve(manager, "released") }, push(), ""},
		{"approved, the stage not named", sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}, func(s *sim.ReleaseStage) error { return s.Approve(manager, "") }, push("environment", ""), ""},
		{"another stage named", sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}, func(s *sim.ReleaseStage) error { return s.Approve(manager, "") }, push("environment", "Staging"), "approval-unbound"},
		{"pending", sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}, nil, push(), "approval-pending"},
		{"rejected", sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}, func(s *sim.ReleaseStage) error { return s.Reject(manager, "no") }, push(), "approval-rejected"},
		{"automated, so by nobody", sim.ReleaseApprovals{}, nil, push(), "approval-missing"},
		{"by the release's creator", sim.ReleaseApprovals{Approvers: []sim.Identity{developer}}, func(s *sim.ReleaseStage) error { return s.Approve(developer, "") }, push(), "requester-approved"},
		{"redeployed: what was approved before does not count", sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}, func(s *sim.ReleaseStage) error {
			if err := s.Approve(manager, ""); err != nil {
				return err
			}
			s.Begin()
			s.Finish("failed")
			s.Redeploy(developer)
			return nil
		}, push(), "approval-pending"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			image := env.sealed()
			stage := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: env.run}).Stage("Production", sim.ReleaseStageOptions{Before: c.before})
			if c.decide != nil {
				if err := c.decide(stage); err != nil {
					t.Fatal(err)
				}
			}
			stage.Begin()
			o := env.taskOf(stage, c.in)
			if c.refused != "" {
				o.refusedBy(c.refused)
				env.untouched(env.dev)
				return
			}
			o.want("done")
			if o.at("run", "kind") != "release" || o.at("approval", "granted") != true || env.dev.TagDigest(cart, release) != image.Digest {
				t.Errorf("run %v, approval %v", o.at("run"), o.at("approval"))
			}
		})
	}
}
