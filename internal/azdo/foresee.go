package azdo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/rule"
	"acrpromote/internal/sorting"
)

// This file reads, for the action plan, what is known of an approval that may not
// have been asked for yet.

// mostStages limits the stages whose check suites are read to find the one that the
// named environment guards.
const mostStages = 8

// Foresee returns the evidence about an approval that may still be given. Without a
// stage in the query it is that of this job's stage, or else of the one stage that
// waits for an approval of the named resource. If there is none yet, the evidence is
// what the resource's checks are now. own is the evidence of this job's stage, nil if
// it was not read. The error is an *UnknownStageError, or nil.
func (s *Service) Foresee(ctx context.Context, q Query) (e approval.Evidence, own *approval.Evidence, err error) {
	run, refusals := s.Run(ctx)
	if run.Kind == approval.Release {
		e, err = s.foreseeRelease(q, run, refusals)
		return e, nil, err
	}
	e = s.evidence(run, refusals)
	stage, err := s.requestedStage(q, &e)
	if err != nil || stage.ID == "" {
		return e, nil, err
	}
	if q.Stage != "" {
		if s.run.timeline.begun(stage) {
			s.readStage(ctx, q, stage, &e)
			return e, nil, nil
		}
		s.readSettings(ctx, q, fmt.Sprintf("the stage %s has not begun", stage.Identifier), &e)
		return e, nil, nil
	}
	waiting, unread := s.run.timeline.waiting(stage)
	if unread != nil {
		e.Refusals = append(e.Refusals, s.unreadable(fmt.Sprintf("the timeline of run %d", s.claims.BuildID), unread, viewBuilds))
		return e, nil, nil
	}
	if len(waiting) == 0 {
		// Nobody has been asked, so both are needed.
		mine := e
		later := e
		var all sync.WaitGroup
		all.Go(func() {
			defer defect.Catch(ctx)
			s.readStage(ctx, Query{}, stage, &mine)
		})
		all.Go(func() {
			defer defect.Catch(ctx)
			s.readSettings(ctx, q, "no stage of this run asks for it yet", &later)
		})
		all.Wait()
		return s.notAsked(later, mine), &mine, nil
	}
	mine := e
	s.readStage(ctx, Query{Environment: q.Environment, Checks: q.Checks}, stage, &mine)
	if !mine.Complete || guards(mine.Suite, q) {
		if q.Authors {
			setAuthors(&mine, s.readAuthors(ctx))
		}
		return mine, &mine, nil
	}
	found, why := s.guarded(ctx, q, waiting, &e)
	switch {
	case found.ID != "":
		e.Stage, e.Attempt = found.Identifier, found.Attempt
		s.readStage(ctx, q, found, &e)
		return e, &mine, nil
	case len(e.Refusals) > 0:
		return e, &mine, nil
	}
	s.readSettings(ctx, q, why, &e)
	return s.notAsked(e, mine), &mine, nil
}

// notAsked returns the evidence about an approval that nobody has been asked for. If
// the check suite of this job's stage cannot be read, no other could be.
func (s *Service) notAsked(e, own approval.Evidence) approval.Evidence {
	if !own.Complete && len(own.Refusals) > len(e.Refusals) {
		e.Refusals, e.Complete = own.Refusals, false
	}
	e.Stage, e.Attempt = "", 0
	return e
}

// begun reports whether the checks of a stage have been evaluated, or need none.
func (t *timeline) begun(stage approval.TimelineRecord) bool {
	return stage.State != "pending" || slices.ContainsFunc(t.children[stage.ID], func(r approval.TimelineRecord) bool { return r.Type == "Checkpoint" })
}

// waiting returns the stages that may wait for an approval, sorted by name: this job's
// own, if it has approvals, and all others that have approvals and have not begun, or
// whose checks have not been decided.
func (t *timeline) waiting(own approval.TimelineRecord) ([]approval.TimelineRecord, error) {
	var stages []approval.TimelineRecord
	for _, r := range t.byID {
		if r.Type != "Stage" || r.Identifier == "" {
			continue
		}
		checkpoint, ids, err := t.approvals(r)
		if err != nil {
			return nil, err
		}
		open := r.State == "pending" || t.byID[checkpoint].State != "completed"
		if len(ids) > 0 && (r.ID == own.ID || open) {
			stages = append(stages, r)
		}
	}
	sorting.By(stages, func(a, b approval.TimelineRecord) int { return strings.Compare(a.Identifier, b.Identifier) })
	return stages, nil
}

// guards reports whether a suite has a check that the query is about.
func guards(suite *approval.Suite, q Query) bool {
	return suite != nil && slices.ContainsFunc(suite.Runs, func(run approval.CheckRun) bool {
		return approval.SameGUID(run.Type, approval.TypeApproval) && approval.NamesResource(q.Environment, run.Resource)
	})
}

// guarded returns the one stage that waits for an approval of the named resource. If
// there is not exactly one, why is the reason.
func (s *Service) guarded(ctx context.Context, q Query, waiting []approval.TimelineRecord, e *approval.Evidence) (found approval.TimelineRecord, why string) {
	waiting = slices.DeleteFunc(slices.Clone(waiting), func(r approval.TimelineRecord) bool { return r.ID == s.run.stage.ID })
	if len(waiting) > mostStages {
		return found, fmt.Sprintf("%d stages of this run wait for an approval; set approvalStage to the one that counts", len(waiting))
	}
	suites := make([]*approval.Suite, len(waiting))
	failures := make([]error, len(waiting))
	var all sync.WaitGroup
	for i, stage := range waiting {
		all.Go(func() {
			defer defect.Catch(ctx)
			checkpoint, _, _ := s.run.timeline.approvals(stage)
			suites[i], failures[i] = s.readSuite(ctx, checkpoint)
		})
	}
	all.Wait()
	var names []string
	for i, stage := range waiting {
		switch {
		case failures[i] != nil:
			e.Refusals = append(e.Refusals, s.unreadable(fmt.Sprintf("the check suite of stage %s of run %d", stage.Identifier, s.claims.BuildID), failures[i], viewApprovals))
		case guards(suites[i], q):
			names = append(names, stage.Identifier)
			found = stage
		}
	}
	switch {
	case len(e.Refusals) > 0:
		return approval.TimelineRecord{}, ""
	case len(names) > 1:
		return approval.TimelineRecord{}, fmt.Sprintf("the stages %s wait for it; set approvalStage to the one that counts", strings.Join(names, ", "))
	case len(names) == 0:
		return approval.TimelineRecord{}, "no stage of this run asks for it yet"
	}
	return found, ""
}

// readSettings reads the checks that the named resources have now, for an approval
// that nobody has been asked for; awaited is why.
func (s *Service) readSettings(ctx context.Context, q Query, awaited string, e *approval.Evidence) {
	e.Awaited = awaited
	var names []string
	for _, name := range append([]string{q.Environment}, q.Checks...) {
		if name != "" && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	read := make([]approval.Configurations, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			defer defect.Catch(ctx)
			read[i] = s.checksOf(ctx, approval.NamedResource(name))
		})
	}
	var authors authors
	if q.Authors {
		all.Go(func() {
			defer defect.Catch(ctx)
			authors = s.readAuthors(ctx)
		})
	}
	all.Wait()
	e.Configurations = joined(read)
	setAuthors(e, authors)
	e.Complete = len(e.Refusals) == 0
}

// checksOf reads the checks of a resource that is known by its name or its id. They
// are for messages: what cannot be read is unknown.
func (s *Service) checksOf(ctx context.Context, r approval.Resource) approval.Configurations {
	if r.ID == "" {
		id, unknown := s.find(ctx, r)
		if id == "" {
			return unknown
		}
		r.ID = id
	}
	found, refusals := s.checks(ctx, r)
	if len(refusals) > 0 {
		return approval.Configurations{Unknown: refusals[0].Reason + ". " + refusals[0].Remedy}
	}
	for i := range found.Checks {
		if own := &found.Checks[i].Resource; own.Type == r.Type && own.Name == "" && (own.ID == r.ID || approval.SameGUID(own.ID, r.ID)) {
			own.Name = r.Name
		}
	}
	return found
}

// find returns the id of an environment or a service connection by its name; if it is
// empty, unknown says why.
func (s *Service) find(ctx context.Context, r approval.Resource) (id string, unknown approval.Configurations) {
	var document struct {
		Value *[]struct {
			ID   identifier `json:"id"`
			Name string     `json:"name"`
		} `json:"value"`
	}
	var err error
	if r.Type == "endpoint" {
		err = s.get(ctx, areaEndpoints, locationEndpoints, "7.1-preview.4", s.inProject(nil), url.Values{"endpointNames": {r.Name}}, &document)
	} else {
		err = s.get(ctx, areaTask, locationEnvironments, "7.1-preview.1", s.inProject(nil), url.Values{"name": {r.Name}}, &document)
	}
	if err == nil && document.Value == nil {
		err = &malformed{reason: "it lists nothing"}
	}
	permission := fmt.Sprintf("the role Reader on %s", r)
	if err != nil {
		unread := s.unreadable(r.String(), err, permission)
		return "", approval.Configurations{Unknown: unread.Reason + ". " + unread.Remedy}
	}
	for _, v := range *document.Value {
		if !approval.SameName(v.Name, r.Name) || v.ID == "" {
			continue
		}
		if id != "" {
			return "", approval.Configurations{Unknown: fmt.Sprintf("Azure DevOps lists %s twice", r)}
		}
		id = string(v.ID)
	}
	if id == "" {
		kind := "environment"
		if r.Type == "endpoint" {
			kind = "service connection"
		}
		return "", approval.Configurations{Hidden: true,
			Unknown: fmt.Sprintf("%s sees no %s named %s in the project. Correct the name, or grant it %s: otherwise the approval cannot be found later either.", s.identity(), kind, quote(r.Name), permission)}
	}
	return id, unknown
}

// identifier is the number of an environment, or the GUID of a service connection.
type identifier string

func (i *identifier) UnmarshalJSON(raw []byte) error {
	var n number
	if n.UnmarshalJSON(raw) == nil && n.Set {
		*i = identifier(strconv.Itoa(n.Value))
		return nil
	}
	if len(raw) > 1 && raw[0] == '"' {
		*i = identifier(approval.GUID(string(raw[1 : len(raw)-1])))
	}
	return nil
}

// foreseeRelease returns the approvals of a stage in the release's record. Without a
// stage in the query, an environment that names another stage of the release means
// that one.
func (s *Service) foreseeRelease(q Query, run Run, refusals []rule.Refusal) (approval.Evidence, error) {
	if q.Stage == "" && q.Environment != "" && !approval.SameName(q.Environment, run.Stage) {
		other := q
		other.Stage = q.Environment
		e, err := s.releaseEvidence(other, run, refusals)
		var unknown *UnknownStageError
		if !errors.As(err, &unknown) {
			return e, err
		}
	}
	return s.releaseEvidence(q, run, refusals)
}
