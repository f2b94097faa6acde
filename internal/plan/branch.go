package plan

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// judgeBranches holds the run to the branches that the flows of the images name.
func judgeBranches(images []Image) []rule.Refusal {
	var refusals []rule.Refusal
	for _, i := range images {
		for _, r := range judgeBranch(i.Wanted, i.Observed.Source.Branch) {
			if !slices.Contains(refusals, r) {
				refusals = append(refusals, r)
			}
		}
	}
	return refusals
}

// judgeBranch: each flow that an image takes may bind it to branches, by the
// server's record of the run; branch is empty where there is no run.
func judgeBranch(w Wanted, branch string) []rule.Refusal {
	if w.Action == Audit {
		return nil
	}
	var refusals []rule.Refusal
	for _, way := range w.Ways {
		allowed := way.Rules.Branches
		if len(allowed) == 0 || slices.ContainsFunc(allowed, func(p topology.BranchPattern) bool { return p.Match(branch) }) {
			continue
		}
		var names []string
		for _, p := range allowed {
			names = append(names, p.String())
		}
		list := strings.Join(names, ", ")
		reason := fmt.Sprintf("the run is of %s, and the flow takes runs of %s alone", branch, list)
		if branch == "" {
			reason = "no run with a branch stands behind this, and the flow takes runs of " + list + " alone"
		}
		refusals = append(refusals, rule.Refusal{Rule: rule.Branch, Subject: w.Source.String(), Reason: reason, Remedy: "Run this in a pipeline run of such a branch."})
	}
	return refusals
}
