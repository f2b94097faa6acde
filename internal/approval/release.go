package approval

import (
	"fmt"

	"acrpromote/internal/rule"
)

// bindRelease returns the approvals of the stage, if it is the one that the
// rules name. In a classic release the approvals belong to the stage itself.
func (j *judge) bindRelease() []Approval {
	if j.r.Environment != "" && !namesStage(j.r.Environment, j.e.Stage) {
		j.refuse(rule.ApprovalUnbound, j.stage(),
			fmt.Sprintf("these are the approvals of the stage %s, but the input environment names %s", j.e.Stage, j.r.Environment),
			"In a classic release, leave environment empty or set it to the stage whose approval counts.")
		return nil
	}
	if len(j.e.Approvals) == 0 {
		j.refuse(rule.ApprovalMissing, j.stage(), "the stage has no approval", "Add an approver to the stage (Edit the release pipeline, Pre-deployment conditions, Pre-deployment approvals).")
		return nil
	}
	for _, a := range j.e.Approvals {
		j.records = append(j.records, Record{ID: a.ID, Resource: Resource{Type: "stage", Name: j.e.Stage}, Requested: a.requested()})
	}
	return j.e.Approvals
}

// namesStage reports whether environment, in the form of Rules.Environment, names a
// stage of a release. One that names a service connection, or a resource by its id,
// names no stage, however that is called.
func namesStage(environment, stage string) bool {
	kind, name := named(environment)
	return kind == "environment" && resourceID(kind, name) == "" && SameName(name, stage)
}

// judgeEntries judges the entries of one approval: as many as required must
// have been approved by people. If no approver is configured, Azure DevOps
// creates one entry and approves it automatically.
func (j *judge) judgeEntries(a Approval) bool {
	asked, given := 0, 0
	worst := severityNone
	var status string
	for _, s := range a.Steps {
		if s.Automated || s.Status == "reassigned" {
			continue
		}
		asked++
		if s.Status == approved {
			given++
		} else if at := severity(s.Status); at > worst {
			worst, status = at, s.Status
		}
	}
	if asked == 0 {
		j.refuse(rule.ApprovalMissing, j.guards(),
			fmt.Sprintf("nobody is asked for %s: Azure DevOps approved it automatically", j.which(a)),
			"Add an approver to the stage (Edit the release pipeline, Pre-deployment conditions, or Post-deployment conditions), create a release, and have it approved.")
		return false
	}
	required := a.Required
	if required <= 0 {
		required = asked
	}
	switch {
	case worst >= severityRejected:
		j.refuseStatus(a, status)
	case given >= required:
		return true
	case worst == severityNone:
		j.refuse(rule.ApprovalUnreadable, j.guards(),
			fmt.Sprintf("%s requires %s, but has only %d", j.which(a), plural(required, "approver"), asked),
			"Deploy the release to the stage again and have it approved. "+j.whoMay())
	default:
		j.refuseStatus(a, status)
	}
	return false
}

// Reasons for not granting a set of entries, by increasing severity. From
// severityRejected on, no number of approvals outweighs them.
const (
	severityNone = iota
	severitySkipped
	severityPending
	severityCanceled
	severityRejected
	severityUnknown
)

func severity(status string) int {
	switch status {
	case "skipped":
		return severitySkipped
	case "pending":
		return severityPending
	case "canceled":
		return severityCanceled
	case "rejected":
		return severityRejected
	}
	return severityUnknown
}
