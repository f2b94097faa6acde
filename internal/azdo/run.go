package azdo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/rule"
)

// loadedRun is what was read of the run, kept for the evidence.
type loadedRun struct {
	run      Run
	refusals []rule.Refusal
	project  string

	build    *build
	timeline *timeline
	stage    approval.TimelineRecord // the one that this job runs in
	bound    bool                    // the build is this job's, and its stage was found

	release *release
	record  *approval.ReleaseRecord // of the release
}

// Permissions that the job's identity needs, as far as they are documented.
const (
	viewBuilds    = `the permission "View builds" on the pipeline`
	viewApprovals = `the permission "View builds" on the pipeline and the role Reader on the resources that the stage's checks guard (Azure DevOps does not document which of them is needed)`
)

// Run reads the run and compares it with the agent's claims. Requests: OPTIONS
// and the resource areas, then the build, its timeline and the run's own token
// in parallel. What does not match, or cannot be read, is returned as refusals.
func (s *Service) Run(ctx context.Context) (Run, []rule.Refusal) {
	s.read.Do(func() {
		source := s.claims.Source()
		if source != "" {
			s.run.run = Run{Kind: source, Organization: s.collection.Name()}
		}
		if refusals := approval.JudgeClaims(s.claims.Claims); len(refusals) > 0 {
			s.refuse(refusals...)
			return
		}
		if err := s.connect(ctx); err != nil {
			s.areas = nil
			s.refuse(s.unreadable("the collection "+s.collection.String(), err, `the permission "View project-level information"`))
			return
		}
		if source == approval.Release {
			s.loadRelease(ctx)
		} else {
			s.loadBuild(ctx)
		}
	})
	return s.run.run, slices.Clone(s.run.refusals)
}

func (s *Service) refuse(refusals ...rule.Refusal) {
	s.run.refusals = append(s.run.refusals, refusals...)
}

func (s *Service) loadBuild(ctx context.Context) {
	c := s.claims
	// These are independent of each other.
	var (
		b           build
		t           timeline
		token       approval.TokenResponse
		tokenUnread *rule.Refusal

		buildErr, timelineErr error
		all                   sync.WaitGroup
	)
	route := func() map[string]string {
		return s.inProject(map[string]string{"buildId": strconv.Itoa(c.BuildID)})
	}
	all.Go(func() {
		defer defect.Catch(ctx)
		buildErr = s.get(ctx, areaBuild, locationBuild, "7.1-preview.7", route(), nil, &b)
	})
	all.Go(func() {
		defer defect.Catch(ctx)
		if timelineErr = s.get(ctx, areaBuild, locationTimeline, "7.1-preview.2", route(), nil, &t); timelineErr == nil {
			timelineErr = t.index()
		}
	})
	all.Go(func() {
		defer defect.Catch(ctx)
		token, tokenUnread = s.readToken(ctx)
	})
	all.Wait()

	record := s.takeBuild(&b, buildErr)
	s.takeTimeline(&t, timelineErr)
	if tokenUnread != nil {
		s.refuse(*tokenUnread)
		return
	}
	var refusals []rule.Refusal
	s.run.run.Token, refusals = approval.JudgeToken(c.Claims, token, record)
	s.refuse(refusals...)
}

// takeBuild fills the run from the build's record and returns the record, nil
// if it could not be read.
func (s *Service) takeBuild(b *build, err error) *approval.BuildRecord {
	if err != nil {
		s.refuse(s.unreadable(fmt.Sprintf("the record of run %d", s.claims.BuildID), err, viewBuilds))
		return nil
	}
	s.run.build = b
	record := b.record()
	r := &s.run.run
	r.ID = b.ID.Value
	r.Started = record.Started
	r.Branch, r.Commit = b.SourceBranch, b.SourceVersion
	r.RequestedBy = names(record.Requesters)
	r.Requesters = append(record.Requesters, s.claims.Requesters()...)
	if b.Project != nil {
		r.Project, r.ProjectID, s.run.project = b.Project.Name, approval.GUID(b.Project.ID), b.Project.Name
	}
	if b.Definition != nil {
		r.Definition, r.Pipeline = b.Definition.ID.Value, b.Definition.Name
	}
	r.URL = s.page(b.Links, fmt.Sprintf("_build/results?buildId=%d", r.ID))
	if b.Queue != nil {
		r.Queue = b.Queue.Name
	}
	refusals := approval.JudgeBuild(s.claims.Claims, record)
	s.refuse(refusals...)
	s.run.bound = len(refusals) == 0
	return &record
}

// takeTimeline finds this job's stage.
func (s *Service) takeTimeline(t *timeline, err error) {
	if err != nil {
		s.refuse(s.unreadable(fmt.Sprintf("the timeline of run %d", s.claims.BuildID), err, viewBuilds))
		s.run.bound = false
		return
	}
	s.run.timeline = t
	stage, refusals := approval.JudgeTimeline(s.claims.Claims, t.byID)
	s.refuse(refusals...)
	s.run.stage = stage
	s.run.run.Stage, s.run.run.Attempt = stage.Identifier, stage.Attempt
	if stage.ID != "" {
		s.run.run.Job = jobName(stage.Identifier, t.byID[approval.GUID(s.claims.JobID)].Identifier)
	}
	s.run.bound = s.run.bound && stage.ID != ""
}

// Evidence reads the approvals of the requested stage and its check suite, in
// parallel; then the configuration of the checks on the named resource. The
// error is an *UnknownStageError, or nil: anything that cannot be read is a
// refusal in the evidence.
func (s *Service) Evidence(ctx context.Context, q Query) (approval.Evidence, error) {
	run, refusals := s.Run(ctx)
	if run.Kind == approval.Release {
		return s.releaseEvidence(q, run, refusals)
	}
	e := s.evidence(run, refusals)
	stage, err := s.requestedStage(q, &e)
	if err == nil && stage.ID != "" {
		s.readStage(ctx, q, stage, &e)
	}
	return e, err
}

// evidence returns the evidence of a YAML run without its approvals.
func (s *Service) evidence(run Run, refusals []rule.Refusal) approval.Evidence {
	return approval.Evidence{
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
		Reader:       s.identity(),
		Refusals:     refusals,
	}
}

// requestedStage finds the stage of a query and adds it to the evidence. The record is
// empty if nothing of it can be read. The error is an *UnknownStageError, or nil.
func (s *Service) requestedStage(q Query, e *approval.Evidence) (approval.TimelineRecord, error) {
	if s.run.timeline == nil {
		return approval.TimelineRecord{}, nil
	}
	stage, err := s.stageOf(q.Stage)
	var unknown *UnknownStageError
	if errors.As(err, &unknown) {
		return approval.TimelineRecord{}, unknown
	}
	if err != nil {
		e.Refusals = append(e.Refusals, s.unreadable(fmt.Sprintf("the stages of run %d", s.claims.BuildID), err, viewBuilds))
		return approval.TimelineRecord{}, nil
	}
	e.Stage, e.Attempt = stage.Identifier, stage.Attempt
	if !s.run.bound {
		return approval.TimelineRecord{}, nil
	}
	return stage, nil
}
