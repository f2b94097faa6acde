package run

import (
	"cmp"
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
// targetSubscription that of the others.
// principal returns the registries at which an identity has a role.
func readDevOps(ctx context.Context, c *agent.Config, s *session.Session, flow *flowFile, registries []doctor.Registry, principal func(objectID string) []doctor.Access) *doctor.DevOps {
	if flow == nil && !c.InRun {
		return nil
	}
	service, err := s.AzureDevOps()
	if err != nil {
		why := doctor.Unread{What: "Azure DevOps", Reason: "there is no token of a job, outside of a run of a pipeline",
			Grant: "Run doctor as a step of a pipeline, or as a script of one with SYSTEM_ACCESSTOKEN mapped."}
		if c.InRun {
			why.Reason = err.Error()
		}
		return &doctor.DevOps{Unread: []doctor.UnreadIn{{Where: "Azure DevOps", Unread: why}}}
	}
	q := azdo.DoctorQuery{Access: map[string][]doctor.Access{}, Principal: principal}
	top := 0
	for _, r := range registries {
		top = max(top, r.Trust)
	}
	access := map[string]doctor.Access{}
	for _, r := range registries {
		target := r.Trust == 0
		if flow != nil {
			target = isTarget(flow.File, r.Name)
		}
		a := doctor.Access{Host: r.Host, Trust: r.Trust, Target: target}
		access[r.Host] = a
		connection := c.Azure
		if r.Trust < top {
			connection = c.Target
		}
		if connection != nil {
			q.Access[connection.ID] = append(q.Access[connection.ID], a)
		}
	}
	q.Host = func(host string) (doctor.Access, bool) {
		a, known := access[strings.ToLower(host)]
		return a, known
	}
	var unknown []doctor.UnreadIn
	if flow != nil {
		q.Environments, unknown = environments(flow.File)
		q.Repository, q.Ref, q.Path = flow.origin.Repository, flow.origin.Ref, flow.origin.Path
	}
	found := service.Doctor(ctx, q)
	found.Unread = append(found.Unread, unknown...)
	return &found
}

// isTarget reports whether a flow leads to a registry.
func isTarget(f *topology.File, name string) bool {
	for _, flow := range f.Flows {
		if slices.Contains(flow.To, name) {
			return true
		}
	}
	return false
}

// environments returns the resources whose approval the flows count, with the strictest
// rules of the flows that count each, and what is not known of them.
func environments(f *topology.File) (all []doctor.Environment, unknown []doctor.UnreadIn) {
	for _, name := range slices.Sorted(maps.Keys(f.Flows)) {
		flow := f.Flows[name]
		tags := flow.ApprovalTags()
		if len(tags) == 0 {
			unknown = append(unknown, doctor.UnreadIn{Where: "flow " + name, Unread: doctor.Unread{What: "The list of environments whose approval it counts",
				Reason: "their names contain the tag, and movingTags names none", Grant: "Name each tag in movingTags of the flow."}})
		}
		for _, tag := range tags {
			rules, err := flow.Tighten(tag, topology.Inputs{}, topology.Defaults{})
			if err != nil || rules.Kind == topology.None || rules.Kind == topology.Automated {
				continue
			}
			e := doctor.Environment{Where: rules.Environment, Flow: name, MinApprovers: rules.MinApprovers, RequesterCanApprove: rules.RequesterCanApprove}
			same := slices.IndexFunc(all, func(o doctor.Environment) bool { return e.Where != "" && strings.EqualFold(o.Where, e.Where) })
			if same < 0 {
				all = append(all, e)
				continue
			}
			known := &all[same]
			if e.MinApprovers > known.MinApprovers {
				known.MinApprovers, known.Flow = e.MinApprovers, cmp.Or(e.Flow, known.Flow)
			}
			known.RequesterCanApprove = known.RequesterCanApprove && e.RequesterCanApprove
		}
	}
	return all, unknown
}
