package azdo

import (
	"fmt"
	"strings"
	"time"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"acrpromote/internal/approval"
)

// build is a build's record, with the fields that are needed.
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
	Links links `json:"_links"`
}

// links are the links of a record.
type links struct {
	Web *struct {
		Href string `json:"href"`
	} `json:"web"`
}

// longestLink limits the length of a link in bytes.
const longestLink = 2048

// page returns the address of a record's page: the server's own, if it is in the
// collection, or otherwise the one that it usually has.
func (s *Service) page(of links, usual string) string {
	if of.Web != nil && len(of.Web.Href) <= longestLink && s.collection.Contains(of.Web.Href) {
		return of.Web.Href
	}
	return s.collection.URL() + "/" + s.claims.ProjectID + "/" + usual
}

func (b *build) started() time.Time { return at(b.StartTime) }

// record returns the values that are compared with the job's claims.
func (b *build) record() approval.BuildRecord {
	r := approval.BuildRecord{ID: approval.Number(b.ID), Status: b.Status, Branch: b.SourceBranch, Started: b.started(), Requesters: b.requesters()}
	if b.OrchestrationPlan != nil {
		r.PlanID = b.OrchestrationPlan.PlanID
	}
	if b.Project != nil {
		r.ProjectID, r.Project = b.Project.ID, b.Project.Name
	}
	if b.Definition != nil {
		r.PipelineID = approval.Number(b.Definition.ID)
	}
	if b.Repository != nil {
		r.RepositoryID = b.Repository.ID
	}
	return r
}

// requesters returns whom the run was requested for, and who queued it.
func (b *build) requesters() []approval.Requester {
	return requestersOf([]role{
		{b.RequestedFor, fmt.Sprintf("is the person that run %d was requested for", b.ID.Value)},
		{b.RequestedBy, fmt.Sprintf("queued run %d", b.ID.Value)},
	})
}

// role is an identity and what it did to request something.
type role struct {
	identity *identity
	as       string
}

func requestersOf(askers []role) []approval.Requester {
	var list []approval.Requester
	for _, a := range askers {
		if p := a.identity.person(); p.ID != "" {
			list = append(list, approval.Requester{Person: p, As: a.as})
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
