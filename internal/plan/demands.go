package plan

import (
	"slices"

	"acrpromote/internal/topology"
)

// Demands lists the attached artifacts that the rules for any target require. An
// audit requires none.
func (w Wanted) Demands() []topology.Attached {
	if w.Action == Audit {
		return nil
	}
	var all []topology.Attached
	for _, way := range w.Ways {
		for _, a := range way.Rules.Attached {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// Excluded lists the artifact types that a flow of the image leaves behind.
func (w Wanted) Excluded() []string {
	var types []string
	for _, way := range w.Ways {
		if way.Flow == nil {
			continue
		}
		for _, t := range way.Flow.Referrers.Exclude {
			if !slices.Contains(types, string(t)) {
				types = append(types, string(t))
			}
		}
	}
	return types
}

// Atomic reports whether a flow of any image shows no tag of the set before all
// of the set has arrived.
func Atomic(images []Wanted) bool {
	return slices.ContainsFunc(images, func(w Wanted) bool {
		return slices.ContainsFunc(w.Ways, func(way Way) bool { return way.Flow != nil && way.Flow.Atomic })
	})
}

// WarnsOnPartial reports whether a step whose targets are partly done ends with
// a warning: all rules have to agree that some targets may wait.
func WarnsOnPartial(images []Wanted) bool {
	seen := false
	for _, w := range images {
		for _, way := range w.Ways {
			if way.Rules.OnPartial != topology.Warn {
				return false
			}
			seen = true
		}
	}
	return seen
}
