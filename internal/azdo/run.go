package azdo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// loaded is what reading the run found, kept for the evidence.
type loaded struct {
	run      Run
	refusals []rule.Refusal
	project  string

	build    *build
	timeline *timeline
	stage    record // the one that this job runs in
	bound    bool   // the build is this job's, and the stage was found

	release *release
}

// What the job's identity needs, as far as it is documented.
const (
	viewBuilds    = `the permission "View builds" on the pipeline`
	viewApprovals = `the permission "View builds" on the pipeline and the role Reader of what the stage's checks guard (which of them reading approvals takes is not documented)`
)

// Run reads the run and compares it with what the agent claims. It asks:
// OPTIONS and the resource areas, then the build, its timeline and the run's
// own token at once. What does not fit, or cannot be read, comes back as
// refusals.
func (s *Service) Run(ctx context.Context) (Run, []rule.Refusal) {
	s.read.Do(func() {
		switch {
		case s.claims.classic():
			s.loadRelease(ctx)
		case strings.EqualFold(s.claims.HostType, "build"):
			s.loadBuild(ctx)
		default:
			s.refuse(s.mismatch("this job", fmt.Sprintf("the agent says that this job is of the type %q, which is neither a YAML run nor a classic release", sanitize.Line(s.claims.HostType))))
		}
	})
	return s.run.run, slices.Clone(s.run.refusals)
}

func (s *Service) refuse(refusals ...rule.Refusal) {
	s.run.refusals = append(s.run.refusals, refusals...)
}

// incomplete lists the claims that are missing, or are not what they should be.
func (c Claims) incomplete() []string {
	var missing []string
	for _, claim := range []struct {
		name string
		ok   bool
	}{
		{"SYSTEM_TEAMPROJECTID", approval.GUID(c.ProjectID) != ""},
		{"SYSTEM_PLANID", approval.GUID(c.PlanID) != ""},
		{"SYSTEM_JOBID", approval.GUID(c.JobID) != ""},
		{"SYSTEM_STAGENAME", c.StageName != ""},
		{"SYSTEM_STAGEATTEMPT", c.StageAttempt > 0},
		{"BUILD_BUILDID", c.BuildID > 0},
	} {
		if !claim.ok {
			missing = append(missing, claim.name)
		}
	}
	return missing
}

func (s *Service) loadBuild(ctx context.Context) {
	c := s.claims
	s.run.run = Run{Kind: approval.YAML, Organization: s.organization()}
	if missing := c.incomplete(); len(missing) > 0 {
		s.refuse(s.mismatch("this job", "the agent does not say, in a form that can be used: "+strings.Join(missing, ", ")))
		return
	}
	if err := s.connect(ctx); err != nil {
		s.areas = nil
		s.refuse(s.unreadable("the collection "+s.collection.Host+s.collection.Path, err, `the permission "View project-level information"`))
		return
	}

	// Nothing here depends on anything else here.
	var (
		b             build
		t             timeline
		token         *runToken
		told          approval.Token
		tokenRefusals []rule.Refusal

		buildErr, timelineErr error
		all                   sync.WaitGroup
	)
	route := func() map[string]string {
		return s.inProject(map[string]string{"buildId": strconv.Itoa(c.BuildID)})
	}
	all.Go(func() {
		buildErr = s.get(ctx, areaBuild, locationBuild, "7.1-preview.7", route(), nil, &b)
	})
	all.Go(func() {
		if timelineErr = s.get(ctx, areaBuild, locationTimeline, "7.1-preview.2", route(), nil, &t); timelineErr == nil {
			timelineErr = t.index()
		}
	})
	all.Go(func() { token, told, tokenRefusals = s.readToken(ctx) })
	all.Wait()

	bound := s.takeBuild(&b, buildErr)
	found := s.takeTimeline(&t, timelineErr)
	s.run.bound = bound && found
	s.refuse(tokenRefusals...)
	if token != nil {
		mismatches := token.bind(s, s.run.build)
		s.refuse(mismatches...)
		if len(mismatches) == 0 {
			s.run.run.Token = told
		}
	} else {
		s.run.run.Token = told
	}
}

// takeBuild fills the run from the build's record; it tells whether the record
// is this job's.
func (s *Service) takeBuild(b *build, err error) bool {
	if err != nil {
		s.refuse(s.unreadable(fmt.Sprintf("the record of run %d", s.claims.BuildID), err, viewBuilds))
		return false
	}
	s.run.build = b
	r := &s.run.run
	r.ID = b.ID.Value
	r.Started = b.started()
	r.Branch, r.Commit = b.SourceBranch, b.SourceVersion
	r.RequestedBy = names(b.requesters())
	r.Requesters = append(b.requesters(), s.claims.claimed()...)
	if b.Project != nil {
		r.Project, r.ProjectID, s.run.project = b.Project.Name, approval.GUID(b.Project.ID), b.Project.Name
	}
	if b.Definition != nil {
		r.Definition = b.Definition.ID.Value
	}
	if b.Queue != nil {
		r.Queue = b.Queue.Name
	}
	mismatches := b.bind(s)
	s.refuse(mismatches...)
	return len(mismatches) == 0
}

// takeTimeline finds this job's stage; it tells whether there is one.
func (s *Service) takeTimeline(t *timeline, err error) bool {
	if err != nil {
		s.refuse(s.unreadable(fmt.Sprintf("the timeline of run %d", s.claims.BuildID), err, viewBuilds))
		return false
	}
	s.run.timeline = t
	stage, mismatches := t.place(s)
	s.refuse(mismatches...)
	s.run.stage = stage
	s.run.run.Stage, s.run.run.Attempt = stage.Identifier, stage.Attempt
	return stage.ID != ""
}

// Evidence reads the approvals of the stage that is asked for, and the check
// suite of that stage, at once; then the configuration of the checks on the
// named resource. The error is an *UnknownStage, or nil: whatever cannot be
// read stands in the evidence as a refusal.
func (s *Service) Evidence(ctx context.Context, q Question) (approval.Evidence, error) {
	run, refusals := s.Run(ctx)
	if s.claims.classic() {
		return s.releaseEvidence(q, run, refusals)
	}
	e := approval.Evidence{
		Source:       approval.YAML,
		Organization: run.Organization,
		Project:      run.Project,
		ProjectID:    s.claims.ProjectID,
		PlanID:       s.claims.PlanID,
		BuildID:      s.claims.BuildID,
		Stage:        run.Stage,
		Attempt:      run.Attempt,
		Requesters:   run.Requesters,
		Token:        run.Token,
		Refusals:     refusals,
	}
	if s.run.timeline == nil {
		return e, nil
	}
	stage, err := s.stageOf(q.Stage)
	var unknown *UnknownStage
	if errors.As(err, &unknown) {
		return e, unknown
	}
	if err != nil {
		e.Refusals = append(e.Refusals, s.unreadable(fmt.Sprintf("the stages of run %d", s.claims.BuildID), err, viewBuilds))
		return e, nil
	}
	e.Stage, e.Attempt = stage.Identifier, stage.Attempt
	if s.run.bound {
		s.readStage(ctx, q, stage, &e)
	}
	return e, nil
}
