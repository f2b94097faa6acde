package azdo

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"acrpromote/internal/approval"
)

// The library's models of 7.1 lack an approval's run and deferral; these have
// them.
type approvalList struct {
	Count number         `json:"count"`
	Value []approvalItem `json:"value"`
}

type approvalItem struct {
	ID       string         `json:"id"`
	Status   string         `json:"status"`
	Steps    []approvalStep `json:"steps"`
	Required int            `json:"minRequiredApprovers"`
	// DeferredTo is when a deferred decision takes effect.
	DeferredTo *azuredevops.Time `json:"deferredTo"`
	Pipeline   *struct {
		Owner *struct {
			ID number `json:"id"`
		} `json:"owner"`
	} `json:"pipeline"`
}

type approvalStep struct {
	Status           string            `json:"status"`
	AssignedApprover *identity         `json:"assignedApprover"`
	ActualApprover   *identity         `json:"actualApprover"`
	Comment          string            `json:"comment"`
	InitiatedOn      *azuredevops.Time `json:"initiatedOn"`
	LastModifiedOn   *azuredevops.Time `json:"lastModifiedOn"`
	LastModifiedBy   *identity         `json:"lastModifiedBy"`
	DeferredTo       *azuredevops.Time `json:"deferredTo"`
}

// readApprovals reads the approvals with the given ids: each exactly once, and
// no others.
func (s *Service) readApprovals(ctx context.Context, ids []string) ([]approval.Approval, error) {
	var list approvalList
	query := url.Values{"approvalIds": {strings.Join(ids, ",")}, "$expand": {"steps"}}
	if err := s.get(ctx, areaApprovals, locationApprovals, "7.2-preview.2", s.inProject(nil), query, &list); err != nil {
		return nil, err
	}
	return list.approvals(ids, s.claims.BuildID)
}

func (l *approvalList) approvals(ids []string, buildID int) ([]approval.Approval, error) {
	if l.Count.Set && l.Count.Value != len(l.Value) {
		return nil, &malformed{reason: fmt.Sprintf("its count is %d, but it lists %d approvals", l.Count.Value, len(l.Value))}
	}
	byID := map[string]approvalItem{}
	for _, item := range l.Value {
		id := approval.GUID(item.ID)
		if id == "" {
			return nil, &malformed{reason: "an approval has no id"}
		}
		if _, twice := byID[id]; twice {
			return nil, &malformed{reason: "the approval " + id + " is listed twice"}
		}
		byID[id] = item
	}
	var approvals []approval.Approval
	for _, id := range ids {
		item, ok := byID[id]
		if !ok {
			return nil, &malformed{reason: "the approval " + id + " of the stage is missing"}
		}
		delete(byID, id)
		if p := item.Pipeline; p != nil && p.Owner != nil && p.Owner.ID.Set && p.Owner.ID.Value != buildID {
			return nil, &malformed{reason: fmt.Sprintf("the approval %s belongs to run %d", id, p.Owner.ID.Value)}
		}
		approvals = append(approvals, item.approval(id))
	}
	if len(byID) > 0 {
		return nil, &malformed{reason: "it lists approvals that were not requested"}
	}
	return approvals, nil
}

func (i approvalItem) approval(id string) approval.Approval {
	a := approval.Approval{ID: id, Status: i.Status, Required: i.Required}
	for _, s := range i.Steps {
		step := approval.Step{
			Status:     s.Status,
			Assigned:   s.AssignedApprover.person(),
			Comment:    s.Comment,
			Initiated:  at(s.InitiatedOn),
			Modified:   at(s.LastModifiedOn),
			ModifiedBy: s.LastModifiedBy.person().ID,
			Deferred:   !at(s.DeferredTo).IsZero() || !at(i.DeferredTo).IsZero(),
		}
		if s.ActualApprover != nil {
			actual := s.ActualApprover.person()
			step.Actual = &actual
		}
		a.Steps = append(a.Steps, step)
	}
	return a
}

// inProject adds the project to the values of a route.
func (s *Service) inProject(route map[string]string) map[string]string {
	if route == nil {
		route = map[string]string{}
	}
	route["project"] = s.claims.ProjectID
	return route
}
