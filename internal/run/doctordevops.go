package run

import (
	"context"
	"maps"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/azdo"
	"acrpromote/internal/doctor"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
)

// readDevOps reads what the flows rely on in Azure DevOps, with the token of the step's
// job. It returns nil if nothing there matters: outside a run, and without a flow file.
// The input azureSubscription names the connection of the most trusted registries,
// targetSubscription that of the others. principal returns the registries at which an
// identity has a role, by its object ID.
func readDevOps(ctx context.Context, c *agent.Config, s *session.Session, flow *flowFile, registries []doctor.Registry, principal func(objectID string) []doctor.Access) *doctor.DevOps {
	if flow == nil && !c.InRun {
		return nil
	}
	service, err := s.AzureDevOps()
	if err != nil {
		reason := "there is no token of a job, outside of a run of a pipeline"
		if c.InRun {
			reason = err.Error()
		}
		return &doctor.DevOps{Unread: append([]doctor.Finding(nil), doctor.UnreadAt("Azure DevOps", "Azure DevOps", reason,
			"Run doctor as a step of a pipeline, or as a script of one with SYSTEM_ACCESSTOKEN mapped."))}
	}
	top := 0
	for _, r := range registries {
		top = max(top, r.Trust)
	}
	q := azdo.DoctorQuery{Known: func(host, objectID string) bool {
		for _, a := range principal(objectID) {
			if a.Host == host {
				return true
			}
		}
		return false
	}}
	for _, r := range registries {
		a := &doctor.Access{Host: r.Host, Trust: r.Trust, Target: isTarget(flow, r)}
		connection := c.Azure
		if r.Trust < top {
			connection = c.Target
		}
		if connection != nil {
			a.Connection = connection.ID
		}
		q.Registries = append(q.Registries, a)
	}
	var unknown []doctor.Finding
	if flow != nil {
		q.Environments, unknown = environments(flow.File)
		q.Repository, q.Ref, q.Path = flow.origin.Repository, flow.origin.Ref, flow.origin.Path
	}
	found := service.Doctor(ctx, q)
	found.Unread = append(found.Unread, unknown...)
	return found
}

// isTarget reports whether a flow leads to a registry.
func isTarget(flow *flowFile, r doctor.Registry) bool {
	if flow == nil {
		return r.Trust == 0
	}
	for _, f := range flow.Flows {
		if slices.Contains(f.To, r.Name) {
			return true
		}
	}
	return false
}

// environments returns the resources whose approval the flows count, with the rules of
// the flows, and what is not known of them.
func environments(f *topology.File) (all []*doctor.Environment, unknown []doctor.Finding) {
	for _, name := range slices.Sorted(maps.Keys(f.Flows)) {
		flow := f.Flows[name]
		a := flow.Require.Approval
		if a.Kind == topology.None || a.Kind == topology.Automated {
			continue
		}
		resources := flow.ApprovalResources()
		if len(resources) == 0 {
			unknown = append(unknown, doctor.UnreadAt("flow "+name, "The list of environments whose approval it counts",
				"their names contain the tag, and movingTags names none", "Name each tag in movingTags of the flow."))
		}
		for _, resource := range resources {
			e := &doctor.Environment{Where: resource, Flow: name, MinApprovers: a.MinApprovers.Or(1), RequesterCanApprove: a.RequesterCanApprove != nil && *a.RequesterCanApprove}
			if !merged(all, e) {
				all = append(all, e)
			}
		}
	}
	return all, unknown
}

// merged reports whether a resource is among those of other flows, which then get the
// stricter rules.
func merged(all []*doctor.Environment, e *doctor.Environment) bool {
	for _, known := range all {
		if e.Where == "" || !strings.EqualFold(known.Where, e.Where) {
			continue
		}
		if e.MinApprovers > known.MinApprovers {
			known.MinApprovers, known.Flow = e.MinApprovers, e.Flow
		}
		known.RequesterCanApprove = known.RequesterCanApprove && e.RequesterCanApprove
		return true
	}
	return false
}
