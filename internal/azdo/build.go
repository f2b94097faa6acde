package azdo

import (
	"fmt"
	"strings"
	"time"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// build is a build's record as far as it is needed.
type build struct {
	ID                number            `json:"id"`
	Status            string            `json:"status"`
	Reason            string            `json:"reason"`
	StartTime         *azuredevops.Time `json:"startTime"`
	SourceBranch      string            `json:"sourceBranch"`
	SourceVersion     string            `json:"sourceVersion"`
	RequestedFor      *identity         `json:"requestedFor"`
	RequestedBy       *identity         `json:"requestedBy"`
	OrchestrationPlan *struct {
		PlanID string `json:"planId"`
	} `json:"orchestrationPlan"`
	Project *struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"project"`
	Definition *struct {
		ID   number `json:"id"`
		Name string `json:"name"`
	} `json:"definition"`
	Repository *struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	} `json:"repository"`
	Queue *struct {
		Name string `json:"name"`
	} `json:"queue"`
}

func (b *build) started() time.Time { return at(b.StartTime) }

// bind compares the record with what the agent claims of the run: the ids of
// a build and of its plan are what tells two runs of a pipeline apart.
func (b *build) bind(s *Service) []rule.Refusal {
	c := s.claims
	subject := fmt.Sprintf("run %d", c.BuildID)
	var refusals []rule.Refusal
	if !b.ID.Set || b.ID.Value != c.BuildID {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("Azure DevOps answered with the record of another run than %d", c.BuildID)))
	}
	if b.OrchestrationPlan == nil || !approval.SameGUID(b.OrchestrationPlan.PlanID, c.PlanID) {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("run %d is not carried out by the plan %s, which this job claims to belong to", c.BuildID, c.PlanID)))
	}
	if b.Project == nil || !approval.SameGUID(b.Project.ID, c.ProjectID) {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("run %d does not belong to the project %s, which this job claims to belong to", c.BuildID, c.ProjectID)))
	}
	if b.Status != "inProgress" {
		refusals = append(refusals, s.mismatch(subject, fmt.Sprintf("run %d is not in progress, so this job cannot be part of it: its status is %q", c.BuildID, sanitize.Line(b.Status))))
	}
	if b.started().IsZero() {
		refusals = append(refusals, contradiction(subject, fmt.Sprintf("the record of run %d does not say when it started", c.BuildID)))
	}
	if len(b.requesters()) == 0 {
		refusals = append(refusals, contradiction(subject, fmt.Sprintf("the record of run %d does not say who requested it", c.BuildID)))
	}
	return refusals
}

// requesters are both whom the run was requested for and who queued it.
func (b *build) requesters() []approval.Requester {
	return asked([]asker{
		{b.RequestedFor, fmt.Sprintf("is the person that run %d was requested for", b.ID.Value)},
		{b.RequestedBy, fmt.Sprintf("queued run %d", b.ID.Value)},
	})
}

// asker is one who asked for something, and how.
type asker struct {
	who *identity
	as  string
}

func asked(askers []asker) []approval.Requester {
	var list []approval.Requester
	for _, a := range askers {
		if p := a.who.person(); p.ID != "" {
			list = append(list, approval.Requester{Person: p, As: a.as})
		}
	}
	return list
}

// claimed adds those who the agent says asked for the run, the stage or the
// deployment. A claim can only exclude a person more.
func (c Claims) claimed() []approval.Requester {
	var list []approval.Requester
	for _, id := range c.RequesterIDs {
		if id = approval.GUID(id); id != "" {
			list = append(list, approval.Requester{Person: approval.Person{ID: id}, As: "asked for this run or stage, as the agent says"})
		}
	}
	return list
}

// names joins the distinct names of requesters for result.json.
func names(list []approval.Requester) string {
	var words []string
	seen := map[string]bool{}
	for _, r := range list {
		name := r.Name
		if name == "" {
			name = r.UniqueName
		}
		if name != "" && !seen[r.ID] {
			seen[r.ID] = true
			words = append(words, name)
		}
	}
	return strings.Join(words, ", ")
}
