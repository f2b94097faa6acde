package azdo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

type configurationList struct {
	Count number          `json:"count"`
	Value []configuration `json:"value"`
}

type configuration struct {
	ID         int       `json:"id"`
	Version    int       `json:"version"`
	Type       checkType `json:"type"`
	IsDisabled bool      `json:"isDisabled"`
	Resource   *resource `json:"resource"`
	Settings   *struct {
		Definition *struct {
			ID string `json:"id"`
		} `json:"definitionRef"`
		approvalSettings
	} `json:"settings"`
	Timeout json.RawMessage `json:"timeout"` // in minutes
}

// approvalSettings are the settings of an approval check. They are for messages: what
// has another form counts as absent.
type approvalSettings struct {
	Approvers         json.RawMessage `json:"approvers"`
	Required          json.RawMessage `json:"minRequiredApprovers"`
	RequesterExcluded json.RawMessage `json:"requesterCannotBeApprover"`
	Order             json.RawMessage `json:"executionOrder"`
}

// settings returns whom an approval check asks, nil if the response does not say.
func (c configuration) settings() *approval.ApprovalSettings {
	var approvers []*identity
	if c.Settings == nil || json.Unmarshal(c.Settings.Approvers, &approvers) != nil {
		return nil
	}
	out := &approval.ApprovalSettings{}
	for _, a := range approvers {
		out.Approvers = append(out.Approvers, a.person())
	}
	var order string
	var timeout int
	_ = json.Unmarshal(c.Settings.Required, &out.Required)
	_ = json.Unmarshal(c.Settings.RequesterExcluded, &out.RequesterExcluded)
	_ = json.Unmarshal(c.Settings.Order, &order)
	_ = json.Unmarshal(c.Timeout, &timeout)
	out.InSequence = order == "inSequence"
	out.Timeout = minutes(timeout)
	return out
}

// minutes returns a timeout that is given in minutes, 0 if it is none that a check
// can have.
func minutes(n int) time.Duration {
	const most = 10 * 365 * 24 * 60
	if n < 0 || n > most {
		return 0
	}
	return time.Duration(n) * time.Minute
}

// Checks reads the checks that a resource has now: "environment" and its
// number, or "endpoint" and the GUID of a service connection. If the job is not
// permitted to read them, Read is false and Unknown says what to grant. Any
// other failure returns a refusal.
func (s *Service) Checks(ctx context.Context, kind, id string) (approval.Configurations, []rule.Refusal) {
	if _, refusals := s.Run(ctx); s.areas == nil {
		return approval.Configurations{}, refusals
	}
	return s.checks(ctx, approval.Resource{Type: kind, ID: id})
}

func (s *Service) checks(ctx context.Context, r approval.Resource) (approval.Configurations, []rule.Refusal) {
	configurations, err := s.readChecks(ctx, r)
	if err == nil {
		return configurations, nil
	}
	what := "the checks of " + r.String()
	permission := fmt.Sprintf("the role Reader on %s", r)
	var a *statusError
	if errors.As(err, &a) && (a.Status == http.StatusForbidden || a.Status == http.StatusUnauthorized) {
		return approval.Configurations{Unknown: fmt.Sprintf("the job may not read %s (status %d). %s", what, a.Status, s.grant(permission))}, nil
	}
	return approval.Configurations{}, []rule.Refusal{s.unreadable(what, err, permission)}
}

func (s *Service) readChecks(ctx context.Context, r approval.Resource) (approval.Configurations, error) {
	var list configurationList
	query := url.Values{"resourceType": {r.Type}, "resourceId": {r.ID}, "$expand": {"settings"}}
	if err := s.get(ctx, areaChecks, locationConfigurations, "7.2-preview.1", s.inProject(nil), query, &list); err != nil {
		return approval.Configurations{}, err
	}
	return list.configurations()
}

func (l *configurationList) configurations() (approval.Configurations, error) {
	if l.Value == nil {
		return approval.Configurations{}, &malformed{reason: "it lists nothing"}
	}
	if l.Count.Set && l.Count.Value != len(l.Value) {
		return approval.Configurations{}, &malformed{reason: fmt.Sprintf("its count is %d, but it lists %d checks", l.Count.Value, len(l.Value))}
	}
	out := approval.Configurations{Read: true}
	for _, c := range l.Value {
		definition := ""
		if c.Settings != nil && c.Settings.Definition != nil {
			definition = approval.GUID(c.Settings.Definition.ID)
		}
		found := approval.Configuration{
			ID: c.ID, Version: c.Version, Type: approval.GUID(c.Type.ID), Disabled: c.IsDisabled, Definition: definition, Resource: c.Resource.resource(),
		}
		if found.Type == approval.TypeApproval {
			found.Settings = c.settings()
		}
		out.Checks = append(out.Checks, found)
	}
	return out, nil
}
