package azdo

import (
	"fmt"
	"slices"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// record is one record of a build's timeline. Records come in any order, and
// record ids are the same in every run of a pipeline: they place a job within
// its run, and say nothing about which run it is.
type record struct {
	ID         string `json:"id"`
	ParentID   string `json:"parentId"`
	Type       string `json:"type"`
	Name       string `json:"name"`
	Identifier string `json:"identifier"`
	Attempt    int    `json:"attempt"`
	State      string `json:"state"`
}

type timeline struct {
	Records []record `json:"records"`

	byID     map[string]record
	children map[string][]record
}

// index prepares looking records up. A record without an id, or an id that
// stands twice, leaves open what belongs to what.
func (t *timeline) index() error {
	if len(t.Records) == 0 {
		return &malformed{"it has no records"}
	}
	t.byID = make(map[string]record, len(t.Records))
	t.children = map[string][]record{}
	for _, r := range t.Records {
		id := approval.GUID(r.ID)
		if id == "" {
			return &malformed{"a record bears no id"}
		}
		if _, twice := t.byID[id]; twice {
			return &malformed{"the record " + id + " is there twice"}
		}
		r.ID, r.ParentID = id, approval.GUID(r.ParentID)
		t.byID[id] = r
		if r.ParentID != "" {
			t.children[r.ParentID] = append(t.children[r.ParentID], r)
		}
	}
	return nil
}

// place finds the stage that this job runs in, from the job's record upwards,
// and compares it with what the agent claims.
func (t *timeline) place(s *Service) (record, []rule.Refusal) {
	c := s.claims
	subject := fmt.Sprintf("job %s of run %d", c.JobID, c.BuildID)
	job, ok := t.byID[approval.GUID(c.JobID)]
	if !ok || job.Type != "Job" {
		return record{}, []rule.Refusal{s.mismatch(subject, fmt.Sprintf("run %d has no job %s, which this step claims to run in", c.BuildID, c.JobID))}
	}
	if job.State != "inProgress" {
		return record{}, []rule.Refusal{s.mismatch(subject, fmt.Sprintf("the job %s of run %d is not in progress, so this step cannot run in it: its state is %q", c.JobID, c.BuildID, sanitize.Line(job.State)))}
	}
	phase := t.byID[job.ParentID]
	stage := t.byID[phase.ParentID]
	if phase.Type != "Phase" || stage.Type != "Stage" {
		return record{}, []rule.Refusal{s.mismatch(subject, fmt.Sprintf("the job %s of run %d does not hang under a stage", c.JobID, c.BuildID))}
	}
	var refusals []rule.Refusal
	if c.StageID != "" && !approval.SameGUID(c.StageID, stage.ID) {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("the job runs in the stage with the record %s, and not %s, as it claims", stage.ID, c.StageID)))
	}
	if stage.Identifier == "" || !approval.SameName(stage.Identifier, c.StageName) {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("the job runs in the stage %q, and not %q, as it claims", sanitize.Line(stage.Identifier), sanitize.Line(c.StageName))))
	}
	if stage.Attempt < 1 || stage.Attempt != c.StageAttempt {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("the job runs in attempt %d of its stage, and not %d, as it claims", stage.Attempt, c.StageAttempt)))
	}
	return stage, refusals
}

// stage finds another stage by its name: its newest attempt. known lists the
// stages there are.
func (t *timeline) stage(name string) (found record, known []string, err error) {
	several := false
	for _, r := range t.byID {
		if r.Type != "Stage" || r.Identifier == "" {
			continue
		}
		known = append(known, r.Identifier)
		if !approval.SameName(r.Identifier, name) {
			continue
		}
		switch {
		case found.ID == "" || r.Attempt > found.Attempt:
			found, several = r, false
		case r.Attempt == found.Attempt:
			several = true
		}
	}
	slices.Sort(known)
	known = slices.Compact(known)
	if several {
		return record{}, known, &malformed{fmt.Sprintf("the attempt %d of the stage %s is there twice", found.Attempt, name)}
	}
	return found, known, nil
}

// approvals lists the approvals under a stage: the id of such a record is the
// id of its approval. There is a Checkpoint, which succeeds, even where a
// stage has no check; a Checkpoint alone proves nothing.
func (t *timeline) approvals(stage record) (checkpoint string, ids []string, err error) {
	for _, r := range t.children[stage.ID] {
		if r.Type != "Checkpoint" {
			continue
		}
		if checkpoint != "" {
			return "", nil, &malformed{"the stage " + stage.Identifier + " has several checkpoints"}
		}
		checkpoint = r.ID
	}
	for _, r := range t.children[checkpoint] {
		if checkpoint != "" && r.Type == "Checkpoint.Approval" {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) > maxApprovals {
		return "", nil, &malformed{fmt.Sprintf("the stage %s has more than %d approvals", stage.Identifier, maxApprovals)}
	}
	return checkpoint, ids, nil
}

// maxApprovals bounds how many approvals of one stage are asked for: their ids
// travel in one address.
const maxApprovals = 40
