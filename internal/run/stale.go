package run

import (
	"context"
	"strings"

	"acrpromote/internal/approval"
	"acrpromote/internal/plan"
	"acrpromote/internal/sanitize"
	"acrpromote/internal/session"
)

const (
	// mostPlans limits how many other plans are read to explain a refusal.
	mostPlans = 4
	// mostChanges limits how many changes of each kind are named.
	mostChanges = 5
	// longestChange limits the bytes of one change.
	longestChange = 500
)

// explainStale adds to a refusal what has changed since the plan whose code an
// approver quotes. A plan that a step of this run has published is only a claim, but
// its lines are those of the code if that code is computed from them.
func explainStale(ctx context.Context, s *session.Session, o *order, result *collector) {
	if len(o.quoted) == 0 || ctx.Err() != nil {
		return
	}
	service, err := s.AzureDevOps()
	if err != nil {
		return
	}
	var since []string
	service.Plans(ctx, o.quoted[:min(len(o.quoted), mostPlans)], func(code, content string) bool {
		was, err := plan.ParseScope(content)
		if err != nil || was.Code() != code {
			return false
		}
		changes := was.Changes(o.scope, mostChanges)
		for i := range changes {
			changes[i] = sanitize.Bounded(changes[i], longestChange)
		}
		since = append(since, "; compared with the plan "+code+": "+strings.Join(changes, "; "))
		return true
	})
	for i, refusal := range result.result.Refusals {
		if strings.HasPrefix(refusal.Reason, approval.StalePlan) {
			result.result.Refusals[i].Reason += strings.Join(since, "")
		}
	}
}

// publishPlan attaches the lines of the plan to the step, so that the step that executes
// it can say what has changed since.
func publishPlan(o *order, to *reporter, result *collector) {
	p := result.result.Plan
	if p == nil {
		return
	}
	if err := to.attach(approval.PlanAttachment, p.Code, "acrpromote-plan-*.txt", []byte(o.scope.Lines())); err != nil {
		result.warn("the plan could not be attached to this step, so that a later step cannot say what has changed since: " + err.Error())
	}
}
