package run

import (
	"context"
	"strings"
	"sync"

	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/report"
)

// readRights reads, for a plan, which of the rights that the action cannot do without
// the step's identities have. A token for the rights to write is requested for that alone, so
// that its refusal does not affect what is read.
func (r *reader) readRights(ctx context.Context, f *findings) {
	if r.c.Action != agent.Plan {
		return
	}
	rights := plan.RequiredRights(r.images, r.others, plan.Usage{Writes: true, Azure: isAzure, Required: true})
	hosts := plan.Registries(r.images, r.others)
	f.rights = make([]report.Right, len(hosts))
	var all sync.WaitGroup
	for i, host := range hosts {
		all.Go(func() {
			defer defect.Catch(ctx)
			f.rights[i] = r.right(ctx, host, rights[host])
		})
	}
	all.Wait()
}

// right returns what is known of the rights in one registry.
func (r *reader) right(ctx context.Context, host string, rights map[string][]string) report.Right {
	right := report.Right{Registry: host, State: report.RightGranted}
	at, err := r.s.Registry(host)
	if err != nil {
		right.State, right.Reason = report.RightUnchecked, err.Error()
		return right
	}
	grants := at.Grants(ctx, rights)
	switch {
	case grants.Unchecked != "":
		right.State, right.Reason = report.RightUnchecked, grants.Unchecked
	case grants.ReadOnly:
		right.State, right.Remedy = report.RightUnchecked, grants.Remedy
		right.Reason = "the identity of this step may only read there: not granted: " + grants.Missing + ". Whether the action may write is not checked, if it signs in with another service connection"
	case grants.Missing != "":
		right.State, right.Reason, right.Remedy = report.RightMissing, grants.Missing, grants.Remedy
	}
	return right
}

// addRights adds the rights to the result, and a warning for each that is missing.
func addRights(f *findings, result *collector) {
	result.result.Rights = f.rights
	for _, right := range f.rights {
		if right.Remedy == "" {
			continue
		}
		reason, remedy := "not granted: "+right.Reason, right.Remedy
		if right.State == report.RightUnchecked {
			reason, remedy = right.Reason, "If it signs in with this one: "+strings.ToLower(remedy[:1])+remedy[1:]
		}
		result.warn("Rights on " + right.Registry + ": " + reason + ". " + strings.TrimRight(remedy, ".") + ".")
	}
}
