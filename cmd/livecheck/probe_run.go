package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// stage asks a question about a stage with at least one approval.
func (c *check) stage(name string, question func(*stageEvidence) answer) answer {
	if err := c.run.problems[name]; err != nil {
		return failed(err)
	}
	s := c.run.stages[name]
	if len(s.approvals) == 0 {
		return unchecked("stage " + name + " has no approval: add one to its environment")
	}
	return question(s)
}

// between returns A or B.
func between(isA bool, why string) answer {
	if isA {
		return answer{Answer: answerA, Why: why}
	}
	return answer{Answer: answerB, Why: why}
}

func probeApprovalID(_ context.Context, c *check) answer {
	return c.stage(approvedStage, func(s *stageEvidence) answer {
		same := 0
		for _, a := range s.approvals {
			for _, run := range s.suite.CheckRuns {
				if strings.EqualFold(a.ID, run.ID) {
					same++
				}
			}
		}
		if len(s.suite.CheckRuns) == 0 {
			return unchecked("the check suite has no check runs")
		}
		return between(same == len(s.approvals), fmt.Sprintf("%d of %d approvals", same, len(s.approvals)))
	})
}

func probeGraphNode(_ context.Context, c *check) answer {
	return c.stage(approvedStage, func(s *stageEvidence) answer {
		id, _ := s.suite.Context["GraphNode.Id"].(string)
		if node, ok := s.suite.Context["GraphNode"].(map[string]any); ok {
			id, _ = node["Id"].(string)
		}
		if id == "" {
			return answer{Answer: answerOther, Why: "the context has no GraphNode"}
		}
		return between(strings.EqualFold(id, s.record.ID), "")
	})
}

func probeSuiteContext(_ context.Context, c *check) answer {
	return c.stage(approvedStage, func(s *stageEvidence) answer {
		var keys []string
		for key := range s.suite.Context {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		why := strings.Join(keys, " ")
		switch {
		case slices.Contains(keys, "GraphNode"):
			return between(true, why)
		case slices.Contains(keys, "GraphNode.Id"):
			return between(false, why)
		}
		return answer{Answer: answerOther, Why: why}
	})
}

func probeSuiteRuns(_ context.Context, c *check) answer {
	return c.stage(approvedStage, func(s *stageEvidence) answer {
		return between(len(s.suite.CheckRuns) > 0, fmt.Sprintf("suite %s, %d check runs", s.suite.Status, len(s.suite.CheckRuns)))
	})
}

func probeApprovalOwner(_ context.Context, c *check) answer {
	return c.stage(approvedStage, func(s *stageEvidence) answer {
		switch owner := strings.Trim(string(s.approvals[0].Pipeline.Owner.ID), `"`); owner {
		case fmt.Sprint(c.run.build.ID):
			return between(true, "")
		case "", "null":
			return between(false, "")
		}
		return answer{Answer: answerOther, Why: "pipeline.owner.id is not the run"}
	})
}

// statuses describes an approval and its suite without persons.
func (s *stageEvidence) statuses() string {
	var parts []string
	for _, a := range s.approvals {
		part := "approval " + a.Status
		for _, step := range a.Steps {
			part += ", step " + step.Status
			if step.ActualApprover != nil {
				part += " with an actualApprover"
			}
		}
		parts = append(parts, part)
	}
	for _, run := range s.suite.CheckRuns {
		parts = append(parts, "check run "+run.Status)
	}
	return strings.Join(append(parts, "suite "+s.suite.Status), "; ")
}

func probeOneClick(_ context.Context, c *check) answer {
	return c.stage(approvedStage, func(s *stageEvidence) answer {
		steps := s.approvals[0].Steps
		if len(steps) < 2 || s.approvals[0].Status != "approved" {
			return unchecked("the approval needs two approvers, you and a group that you are in, and has to be approved: " + s.statuses())
		}
		var times []time.Time
		for _, step := range steps {
			at, err := time.Parse(time.RFC3339Nano, step.LastModifiedOn)
			if err != nil || step.Status != "approved" || step.ActualApprover == nil || step.ActualApprover.ID != steps[0].ActualApprover.ID {
				return answer{Answer: answerOther, Why: s.statuses()}
			}
			times = append(times, at)
		}
		apart := slices.MaxFunc(times, time.Time.Compare).Sub(slices.MinFunc(times, time.Time.Compare))
		return between(apart < 2*time.Second, fmt.Sprintf("%d steps, %v apart", len(steps), apart.Round(time.Millisecond)))
	})
}

func probeBypass(_ context.Context, c *check) answer {
	return c.stage(bypassedStage, func(s *stageEvidence) answer {
		bypassed := slices.ContainsFunc(s.suite.CheckRuns, func(run checkRun) bool { return run.Status == "bypassed" })
		a := answer{Answer: answerOther, Why: s.statuses()}
		switch status := s.approvals[0].Status; {
		case status == "pending":
			return unchecked("nobody has bypassed the check of stage " + bypassedStage)
		case status == "skipped" && bypassed:
			a.Answer = answerA
		case status == "approved":
			a.Answer = answerB
		}
		return a
	})
}

func probeDeferral(_ context.Context, c *check) answer {
	return c.stage(deferredStage, func(s *stageEvidence) answer {
		a := s.approvals[0]
		if a.Status != "approved" {
			return unchecked("the approval of stage " + deferredStage + " is " + a.Status + ": defer it, and check again when its time has come")
		}
		shown := a.DeferredTo != ""
		for _, step := range a.Steps {
			shown = shown || step.DeferredTo != ""
		}
		return between(shown, s.statuses())
	})
}

func probeAttachmentLink(_ context.Context, c *check) answer {
	list := c.run.attachments[reportAttachment]
	at := slices.IndexFunc(list, func(a attachment) bool { return strings.HasPrefix(a.Name, reportName) })
	if at < 0 {
		return unchecked("the run has no attachment of livecheck -job")
	}
	// …/builds/RUN/TIMELINE/RECORD/attachments/TYPE/NAME
	segments := strings.Split(list[at].Links.Self.Href, "/")
	index := slices.Index(segments, "attachments")
	if index < 2 {
		return answer{Answer: answerOther, Why: "the link has no record"}
	}
	record, known := c.run.timeline.byID(segments[index-1])
	switch {
	case !known:
		return between(false, "a record that the timeline does not have")
	case record.Type != "Task":
		return between(false, "a record of type "+record.Type)
	}
	return between(true, "")
}

func probeSummarySize(_ context.Context, c *check) answer {
	var names []string
	for _, a := range c.run.attachments[summaryAttachment] {
		names = append(names, a.Name)
	}
	if !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, summaryName) }) {
		if len(c.run.reports) == 0 {
			return unchecked("the run has no attachment of livecheck -job")
		}
		return between(false, "no summary is there")
	}
	slices.Sort(names)
	kept := slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, fmt.Sprintf("%s%04d", summaryName, 128)) })
	return between(kept, strings.Join(names, " "))
}

func probeGateNumber(_ context.Context, c *check) answer { return c.gate("FilterNumber") }
func probeGateText(_ context.Context, c *check) answer   { return c.gate("FilterText") }

// gate returns how the gate of a stage came out.
func (c *check) gate(stage string) answer {
	for _, e := range c.release.Environments {
		if !strings.EqualFold(e.Name, stage) || len(e.DeploySteps) == 0 {
			continue
		}
		switch status := e.DeploySteps[len(e.DeploySteps)-1].PreDeploymentGates.Status; status {
		case "succeeded":
			return between(true, status)
		case "failed":
			return between(false, status)
		default:
			return unchecked("the gate of stage " + stage + " is " + status)
		}
	}
	return unchecked("the release has no deployment of stage " + stage)
}

// claims returns the names of the claims of a token, and one of their values.
func claims(token, name string) (names []string, value string, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, "", fmt.Errorf("the token is not a JWT")
	}
	payload, err := rawURL(parts[1])
	if err != nil {
		return nil, "", err
	}
	var all map[string]any
	if err := json.Unmarshal(payload, &all); err != nil {
		return nil, "", err
	}
	for n := range all {
		names = append(names, n)
	}
	slices.Sort(names)
	if v, ok := all[name]; ok {
		value = fmt.Sprint(v)
	}
	return names, value, nil
}
