package azdo

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
)

// attachments is the list of attachments of a run's steps.
type attachments struct {
	Value *[]struct {
		Name  string `json:"name"`
		Links struct {
			Self struct {
				Href string `json:"href"`
			} `json:"self"`
		} `json:"_links"`
	} `json:"value"`
}

// maxAttachments limits the seals of one run that are read.
const maxAttachments = 20_000

// Releasing returns the fields of this job's run that are compared with the run
// that sealed an image. In a classic release it costs one request.
func (s *Service) Releasing(ctx context.Context) approval.Releasing {
	run, _ := s.Run(ctx)
	r := approval.Releasing{Source: run.Kind, ID: run.ID, ProjectID: run.ProjectID, Project: run.Project, PipelineID: run.Definition, Branch: run.Branch}
	if run.Kind != approval.Release {
		if b := s.run.build; b != nil {
			r.RepositoryID = b.record().RepositoryID
		}
		return r
	}
	r.ProjectID, r.PipelineID = "", 0
	if a := s.readArtifact(ctx); a.Unread == "" {
		r.ProjectID, r.Project, r.PipelineID, r.RepositoryID = approval.GUID(a.Build.ProjectID), a.Build.Project, a.Build.PipelineID.Value, a.Build.RepositoryID
	}
	return r
}

// ReleaseSeals returns the tasks of the classic release that this job is part of as
// possible seal steps, or nil in a YAML run.
func (s *Service) ReleaseSeals(ctx context.Context) *approval.SealRun {
	if _, _ = s.Run(ctx); s.run.record == nil {
		return nil
	}
	seals := s.run.record.Seals()
	return &seals
}

// SealRun reads a YAML run, its timeline and its seal attachments in parallel, and
// then the check suites of the stages that sealed one of the digests. digests has
// the digests by the names of their attachments. For the run that this job is part
// of, it reads only the attachments. If something cannot be read, the result has
// the reason.
func (s *Service) SealRun(ctx context.Context, project string, id int, digests map[string]string) approval.SealRun {
	out := approval.SealRun{Source: approval.YAML, ID: id}
	unread := func(what string, err error) approval.SealRun {
		refusal := s.unreadable(fmt.Sprintf("%s of run %d", what, id), err, fmt.Sprintf("the permission \"View builds\" on the pipeline of run %d, in its project", id))
		out.Unread, out.Remedy = refusal.Reason, refusal.Remedy
		return out
	}
	if _, refusals := s.Run(ctx); s.areas == nil {
		out.Unread, out.Remedy = "Azure DevOps could not be read", "Run the step again."
		if len(refusals) > 0 {
			out.Unread, out.Remedy = refusals[0].Reason, refusals[0].Remedy
		}
		return out
	}
	route := map[string]string{"project": project, "buildId": strconv.Itoa(id)}
	var b build
	var t timeline
	var a attachments
	var buildErr, timelineErr, attachmentsErr error
	var all sync.WaitGroup
	own := s.claims.Source() == approval.YAML && id == s.claims.BuildID && s.run.build != nil && s.run.timeline != nil
	if own {
		b, t = *s.run.build, *s.run.timeline
	} else {
		all.Go(func() {
			defer defect.Catch(ctx)
			buildErr = s.get(ctx, areaBuild, locationBuild, "7.1-preview.7", route, nil, &b)
		})
		all.Go(func() {
			defer defect.Catch(ctx)
			if timelineErr = s.get(ctx, areaBuild, locationTimeline, "7.1-preview.2", route, nil, &t); timelineErr == nil {
				timelineErr = t.index()
			}
		})
	}
	all.Go(func() {
		defer defect.Catch(ctx)
		with := map[string]string{"project": project, "buildId": strconv.Itoa(id), "type": approval.SealAttachment}
		attachmentsErr = s.get(ctx, areaBuild, locationAttachments, "7.1-preview.2", with, nil, &a)
		if attachmentsErr == nil && (a.Value == nil || len(*a.Value) > maxAttachments) {
			attachmentsErr = &malformed{reason: "it lists no attachments, or too many"}
		}
	})
	all.Wait()
	switch {
	case buildErr != nil:
		return unread("the record", buildErr)
	case timelineErr != nil:
		return unread("the timeline", timelineErr)
	case attachmentsErr != nil:
		return unread("the attachments", attachmentsErr)
	}
	out.Build = b.record()
	var stages []approval.TimelineRecord // of the steps
	for _, found := range *a.Value {
		digest := digests[found.Name]
		if digest == "" {
			continue
		}
		place, ok := placeOf(found.Links.Self.Href, approval.SealAttachment)
		if !ok || place.build != id || place.name != found.Name || !approval.SameGUID(place.timeline, t.ID) {
			continue
		}
		record, ok := t.byID[approval.GUID(place.record)]
		if !ok {
			continue
		}
		stage := t.above(record, "Stage")
		stages = append(stages, stage)
		out.Steps = append(out.Steps, approval.SealStep{
			Digest: digest, Kind: record.Type, TaskID: record.TaskID, State: record.State, Result: record.Result,
			Finished: record.Finished, Stage: stage.Identifier,
		})
	}
	s.readTemplates(ctx, project, &out, stages, &t)
	return out
}

// readTemplates sets Template for the steps whose stage passed a required template.
// A suite that cannot be read proves nothing.
func (s *Service) readTemplates(ctx context.Context, project string, run *approval.SealRun, stages []approval.TimelineRecord, t *timeline) {
	passed := map[string]bool{} // by the stage's record
	for i, stage := range stages {
		step := &run.Steps[i]
		if stage.ID == "" || !approval.SameGUID(step.TaskID, approval.SealTask) || step.Result != "succeeded" {
			continue
		}
		if _, known := passed[stage.ID]; !known {
			passed[stage.ID] = false
			checkpoint, _, err := t.approvals(stage)
			if err != nil || checkpoint == "" {
				continue
			}
			if suite, err := s.readSuiteOf(ctx, project, checkpoint); err == nil {
				passed[stage.ID] = approval.TemplatePassed(suite, run.ID, stage)
			}
		}
		step.Template = passed[stage.ID]
	}
}

// above returns the ancestor of a record that has the given type, or the zero record
// if there is none.
func (t *timeline) above(r approval.TimelineRecord, kind string) approval.TimelineRecord {
	for range 8 {
		if r.Type == kind {
			return r
		}
		r = t.byID[r.ParentID]
	}
	return approval.TimelineRecord{}
}

// place is the location of an attachment, from its link.
type place struct {
	build                  int
	timeline, record, name string
}

// placeOf parses …/build/builds/{id}/{timeline}/{record}/attachments/{type}/{name}.
func placeOf(href, kind string) (place, bool) {
	u, err := url.Parse(href)
	if err != nil {
		return place{}, false
	}
	parts := strings.Split(u.Path, "/")
	n := len(parts) - 7
	if n < 0 {
		return place{}, false
	}
	parts = parts[n:]
	id, err := strconv.Atoi(parts[1])
	if err != nil || !strings.EqualFold(parts[0], "builds") || !strings.EqualFold(parts[4], "attachments") || !strings.EqualFold(parts[5], kind) {
		return place{}, false
	}
	return place{build: id, timeline: parts[2], record: parts[3], name: parts[6]}, true
}
