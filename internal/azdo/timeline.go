package azdo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/approval"
)

// record is one record of a build's timeline. Records come in any order.
type record struct {
	ID         string `json:"id"`
	ParentID   string `json:"parentId"`
	Type       string `json:"type"`
	Name       string `json:"name"`
	Identifier string `json:"identifier"`
	Attempt    int    `json:"attempt"`
	State      string `json:"state"`
	Result     string `json:"result"`
	Finished   string `json:"finishTime"`
	Task       *struct {
		ID string `json:"id"`
	} `json:"task"`
	Queue json.RawMessage `json:"queueId"` // of a job: a number, for doctor
}

func (r *record) record() approval.TimelineRecord {
	out := approval.TimelineRecord{
		ID: approval.GUID(r.ID), ParentID: approval.GUID(r.ParentID), Type: r.Type, Identifier: r.Identifier, Attempt: r.Attempt,
		State: r.State, Result: r.Result, Finished: completedAt(r.Finished),
	}
	if r.Task != nil {
		out.TaskID = approval.GUID(r.Task.ID)
	}
	return out
}

type timeline struct {
	ID      string   `json:"id"`
	Records []record `json:"records"`

	byID     map[string]approval.TimelineRecord
	children map[string][]approval.TimelineRecord
}

// index prepares lookups of records. A record without an id, or a duplicate id,
// makes the relations of records ambiguous.
func (t *timeline) index() error {
	if len(t.Records) == 0 {
		return &malformed{reason: "it has no records"}
	}
	t.byID = make(map[string]approval.TimelineRecord, len(t.Records))
	t.children = map[string][]approval.TimelineRecord{}
	for _, r := range t.Records {
		id := approval.GUID(r.ID)
		if id == "" {
			return &malformed{reason: "a record has no id"}
		}
		if _, twice := t.byID[id]; twice {
			return &malformed{reason: "the record " + id + " is listed twice"}
		}
		t.byID[id] = r.record()
		if parent := t.byID[id].ParentID; parent != "" {
			t.children[parent] = append(t.children[parent], t.byID[id])
		}
	}
	return nil
}

// stage returns the newest attempt of a stage by name. known lists the stages.
func (t *timeline) stage(name string) (found approval.TimelineRecord, known []string, err error) {
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
		return approval.TimelineRecord{}, known, &malformed{reason: fmt.Sprintf("the attempt %d of the stage %s is listed twice", found.Attempt, name)}
	}
	return found, known, nil
}

// approvals returns the approvals under a stage: the id of such a record is its
// approval's id. There is a Checkpoint, which succeeds, even if a stage has no
// check; a Checkpoint alone proves nothing.
func (t *timeline) approvals(stage approval.TimelineRecord) (checkpoint string, ids []string, err error) {
	for _, r := range t.children[stage.ID] {
		if r.Type != "Checkpoint" {
			continue
		}
		if checkpoint != "" {
			return "", nil, &malformed{reason: "the stage " + stage.Identifier + " has several checkpoints"}
		}
		checkpoint = r.ID
	}
	for _, r := range t.children[checkpoint] {
		if checkpoint != "" && r.Type == "Checkpoint.Approval" {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) > maxApprovals {
		return "", nil, &malformed{reason: fmt.Sprintf("the stage %s has more than %d approvals", stage.Identifier, maxApprovals)}
	}
	return checkpoint, ids, nil
}

// maxApprovals limits the approvals of one stage that are requested: their ids
// are part of one address.
const maxApprovals = 40

// jobName returns the name of a job in its stage, from the identifier of its record:
// "Production.Push.__default" is Push, and "Production.Push.job_2" is Push.job_2.
func jobName(stage, identifier string) string {
	const unnamed = "__default"
	if n := len(stage) + 1; len(identifier) > n && strings.EqualFold(identifier[:n], stage+".") {
		identifier = identifier[n:]
	}
	name, _ := strings.CutSuffix(identifier, "."+unnamed)
	if name == unnamed {
		return ""
	}
	return name
}
