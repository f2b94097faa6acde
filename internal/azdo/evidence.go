package azdo

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/rule"
)

// stageOf returns this job's stage, or another one of the same run by name.
func (s *Service) stageOf(name string) (approval.TimelineRecord, error) {
	if name == "" || approval.SameName(name, s.run.stage.Identifier) {
		return s.run.stage, nil
	}
	stage, known, err := s.run.timeline.stage(name)
	if err == nil && stage.ID == "" {
		err = &UnknownStageError{Stage: name, Known: known}
	}
	return stage, err
}

// readStage reads the approvals of a stage, and what they guard.
func (s *Service) readStage(ctx context.Context, q Query, stage approval.TimelineRecord, e *approval.Evidence) {
	subject := fmt.Sprintf("stage %s of run %d", stage.Identifier, s.claims.BuildID)
	checkpoint, ids, err := s.run.timeline.approvals(stage)
	if err != nil {
		e.Refusals = append(e.Refusals, s.unreadable("the timeline of run "+fmt.Sprint(s.claims.BuildID), err, viewBuilds))
		return
	}
	if checkpoint == "" {
		e.Unchecked, e.Complete = true, true
		return
	}
	var approvalsErr, suiteErr error
	var all sync.WaitGroup
	if len(ids) > 0 {
		all.Go(func() {
			defer defect.Catch(ctx)
			e.Approvals, approvalsErr = s.readApprovals(ctx, ids)
		})
	}
	all.Go(func() {
		defer defect.Catch(ctx)
		e.Suite, suiteErr = s.readSuite(ctx, checkpoint)
	})
	var authors authors
	if q.Authors {
		all.Go(func() {
			defer defect.Catch(ctx)
			authors = s.readAuthors(ctx)
		})
	}
	all.Wait()
	setAuthors(e, authors)

	var refusals []rule.Refusal
	if approvalsErr != nil {
		refusals = append(refusals, s.unreadable("the approvals of "+subject, approvalsErr, viewApprovals))
	}
	if suiteErr != nil {
		refusals = append(refusals, s.unreadable("the check suite of "+subject, suiteErr, viewApprovals))
	}
	if len(refusals) == 0 {
		var unread []rule.Refusal
		e.Configurations, unread = s.configurations(ctx, q, e.Suite)
		refusals = append(refusals, unread...)
	}
	e.Refusals = append(e.Refusals, refusals...)
	e.Complete = len(refusals) == 0
}

// configurations reads the present checks of the resources that the decision
// depends on: what the approvals guard, and what automated checks do.
func (s *Service) configurations(ctx context.Context, q Query, suite *approval.Suite) (approval.Configurations, []rule.Refusal) {
	var resources []approval.Resource
	if guarded, ok := guardedResource(suite, q.Environment); ok {
		resources = append(resources, guarded)
	}
	for _, name := range q.Checks {
		for _, run := range suite.Runs {
			if approval.NamesResource(name, run.Resource) && run.Resource.ID != "" && !slices.Contains(resources, run.Resource) {
				resources = append(resources, run.Resource)
			}
		}
	}
	read := make([]approval.Configurations, len(resources))
	unread := make([][]rule.Refusal, len(resources))
	var all sync.WaitGroup
	for i, r := range resources {
		all.Go(func() {
			defer defect.Catch(ctx)
			read[i], unread[i] = s.checks(ctx, r)
		})
	}
	all.Wait()
	return joined(read), slices.Concat(unread...)
}

// joined returns the checks of several resources, which are read if those of each are.
func joined(read []approval.Configurations) approval.Configurations {
	var sum approval.Configurations
	for i, c := range read {
		sum.Read = c.Read && (i == 0 || sum.Read)
		sum.Hidden = sum.Hidden || c.Hidden
		if sum.Unknown == "" {
			sum.Unknown = c.Unknown
		}
		sum.Checks = append(sum.Checks, c.Checks...)
	}
	return sum
}

// guardedResource returns the named resource among those that the evaluated
// approvals guard. If there is none, or more than one, there is nothing to
// read: the decision is a refusal.
func guardedResource(suite *approval.Suite, environment string) (found approval.Resource, ok bool) {
	if suite == nil {
		return approval.Resource{}, false
	}
	for _, run := range suite.Runs {
		if run.Type != approval.TypeApproval || !approval.NamesResource(environment, run.Resource) {
			continue
		}
		if run.Resource.ID == "" || ok && run.Resource.ID != found.ID {
			return approval.Resource{}, false
		}
		found, ok = run.Resource, true
	}
	return found, ok
}
