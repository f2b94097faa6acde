package approval

import (
	"fmt"
	"strings"

	"acrpromote/internal/rule"
)

// approved is the only status that grants.
const approved = "approved"

// judgeStatus reports whether an approval was given, and refuses if it was not.
func (j *judge) judgeStatus(a Approval) bool {
	if j.e.Source == Release {
		return j.judgeEntries(a)
	}
	if a.Status == approved {
		return true
	}
	j.refuseStatus(a, a.Status)
	return false
}

// refuseStatus refuses because of a status other than approved.
func (j *judge) refuseStatus(a Approval, status string) {
	subject := j.guards()
	switch status {
	case "pending", "uninitiated", "deferred":
		j.refuse(rule.ApprovalPending, subject,
			fmt.Sprintf("%s has not been given yet: its status is %s", j.which(a), status),
			"Wait for the approval. "+j.whoMay())
	case "rejected", "canceled", "timedOut", "failed":
		j.refuse(rule.ApprovalRejected, subject,
			fmt.Sprintf("%s was not given: its status is %s%s", j.which(a), status, rejecters(a)),
			"Run the stage again and have it approved. "+j.whoMay())
	case "skipped":
		j.refuse(rule.ApprovalMissing, subject,
			fmt.Sprintf("%s was skipped%s: nobody approved", j.which(a), skippers(a)),
			"Run the stage again and have it approved. "+j.whoMay())
	default:
		if status == "" {
			status = "missing"
		}
		j.refuse(rule.ApprovalUnreadable, subject,
			fmt.Sprintf("%s is not known to have been given: its status is %s", j.which(a), status),
			"Only an approval with the status approved and a named approver counts. Run the stage again and have it approved. "+j.whoMay())
	}
}

// judgeSuiteStatus refuses unless the suite's status is approved too.
func (j *judge) judgeSuiteStatus() {
	if j.e.Source == Release {
		return
	}
	if j.e.Suite.Status != approved {
		j.refuseContradiction(fmt.Sprintf("the status of the approval is approved, but the status of its check suite is %q", j.e.Suite.Status))
	}
	for _, run := range j.e.Suite.Runs {
		if SameGUID(run.Type, TypeApproval) && NamesResource(j.r.Environment, run.Resource) && run.Status != approved {
			j.refuseContradiction(fmt.Sprintf("the status of the approval is approved, but the status of its check on %s is %q", run.Resource, run.Status))
		}
	}
}

// which returns a name for an approval within a sentence.
func (j *judge) which(a Approval) string {
	if a.Phase != "" {
		return "the " + a.Phase + " approval of " + j.stage()
	}
	return "the approval for " + j.guards()
}

// skippers names the administrators who bypassed the check instead of approving.
func skippers(a Approval) string {
	var words []string
	for _, s := range a.Steps {
		if s.Status == "skipped" && s.Actual != nil {
			words = append(words, label(*s.Actual))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return ", by " + list(words) + ", who bypassed the check"
}

// rejecters returns who rejected an approval, with their comments.
func rejecters(a Approval) string {
	var words []string
	for _, s := range a.Steps {
		if s.Status == "rejected" && s.Actual != nil {
			said := label(*s.Actual)
			if s.Comment != "" {
				said += fmt.Sprintf(" (%q)", s.Comment)
			}
			words = append(words, said)
		}
	}
	if len(words) == 0 {
		return ""
	}
	return ", by " + strings.Join(words, ", ")
}

// whoMay returns a sentence that says who is asked to approve and who is
// eligible.
func (j *judge) whoMay() string {
	asked := false
	var names []string
	for _, a := range j.e.Approvals {
		for _, s := range a.Steps {
			if s.Assigned == (Person{}) {
				continue
			}
			asked = true
			person := Step{Assigned: s.Assigned}
			eligible := s.Assigned.notAPerson() == "" || j.names(s.Assigned)
			if s.Assigned.Group || eligible && j.isListed(person) && (j.r.RequesterCanApprove || j.requestedHow(s.Assigned.ID) == "") {
				names = append(names, label(s.Assigned))
			}
		}
	}
	who := "Anyone whom the check asks can approve"
	switch {
	case len(names) > 0:
		who = "Asked to approve: " + list(names)
	case asked:
		who = "None of the people whom the check asks is eligible: add an approver to the check"
	}
	var but []string
	if !j.r.RequesterCanApprove {
		but = append(but, "the requester of the run does not count")
	}
	if !j.r.AuthorCanApprove {
		but = append(but, "the author of the source version does not count")
	}
	if len(j.r.Approvers) > 0 {
		but = append(but, "only these count: "+list(j.r.Approvers))
	}
	if len(but) > 0 {
		who += "; " + strings.Join(but, "; ")
	}
	return who + "."
}
