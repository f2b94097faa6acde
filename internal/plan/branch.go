package plan

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/rule"
)

// judgeBranches checks the run's branch against the flows of all images. If there is no
// run yet, the rule is pending.
func judgeBranches(images []Image) (refusals []rule.Refusal, outcomes []rule.Outcome) {
	for _, i := range images {
		for _, r := range judgeBranch(i.Wanted, i.Observed.Source.Branch) {
			if i.Observed.Source.Outside {
				outcome := rule.Outcome{Rule: rule.Branch, Pending: true, Detail: r.Reason}
				if !slices.Contains(outcomes, outcome) {
					outcomes = append(outcomes, outcome)
				}
				continue
			}
			if !slices.Contains(refusals, r) {
				refusals = append(refusals, r)
			}
		}
	}
	return refusals, outcomes
}

// judgeBranch checks the run's branch, according to the server's record, against
// the flows of an image. branch is empty if there is no run.
func judgeBranch(w Wanted, branch string) []rule.Refusal {
	if w.Action == Audit {
		return nil
	}
	var refusals []rule.Refusal
	for _, route := range w.Routes {
		allowed := route.Rules.Branches
		if sealer := route.Rules.Sealer; w.Action == Seal && sealer != nil {
			allowed = sealer.Branches
		}
		if takesBranch(branch, allowed) {
			continue
		}
		var names []string
		for _, p := range allowed {
			names = append(names, p.String())
		}
		list := strings.Join(names, ", ")
		reason := fmt.Sprintf("the run is of branch %s, but the flow allows only %s", branch, list)
		if branch == "" {
			reason = "there is no run of a branch, but the flow allows only runs of " + list
		}
		refusals = append(refusals, rule.Refusal{Rule: rule.Branch, Subject: w.Source.String(), Reason: reason, Remedy: "Run this in a pipeline, on one of these branches."})
	}
	return refusals
}
