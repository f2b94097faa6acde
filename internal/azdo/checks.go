package azdo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

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
	} `json:"settings"`
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
	var list configurationList
	query := url.Values{"resourceType": {r.Type}, "resourceId": {r.ID}, "$expand": {"settings"}}
	err := s.get(ctx, areaChecks, locationConfigurations, "7.2-preview.1", s.inProject(nil), query, &list)
	what := "the checks of " + r.String()
	permission := fmt.Sprintf("the role Reader on %s", r)
	var a *statusError
	if errors.As(err, &a) && (a.Status == http.StatusForbidden || a.Status == http.StatusUnauthorized) {
		return approval.Configurations{Unknown: fmt.Sprintf("the job may not read %s (status %d). %s", what, a.Status, s.grant(permission))}, nil
	}
	if err == nil {
		var configurations approval.Configurations
		if configurations, err = list.configurations(); err == nil {
			return configurations, nil
		}
	}
	return approval.Configurations{}, []rule.Refusal{s.unreadable(what, err, permission)}
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
		out.Checks = append(out.Checks, approval.Configuration{
			ID: c.ID, Version: c.Version, Type: approval.GUID(c.Type.ID), Disabled: c.IsDisabled, Definition: definition, Resource: c.Resource.resource(),
		})
	}
	return out, nil
}
