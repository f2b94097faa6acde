package plan

import (
	"slices"

	"acrpromote/internal/topology"
)

// RequiredArtifacts returns the attached artifacts that the rules for any target
// require. An audit requires none.
func (w Wanted) RequiredArtifacts() []topology.Attached {
	if w.Action == Audit {
		return nil
	}
	var all []topology.Attached
	for _, route := range w.Routes {
		for _, a := range route.Rules.Attached {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// Atomic reports whether a flow of any image sets no tag of the set until the
// whole set has arrived.
func Atomic(images []Wanted) bool {
	return slices.ContainsFunc(images, func(w Wanted) bool {
		return slices.ContainsFunc(w.Routes, func(route Route) bool { return route.Flow != nil && route.Flow.Atomic })
	})
}

// WarnsOnPartial reports whether a step ends with a warning if only some targets
// are done: the rules of all targets must allow it.
func WarnsOnPartial(images []Wanted) bool {
	seen := false
	for _, w := range images {
		for _, route := range w.Routes {
			if route.Rules.OnPartial != topology.Warn {
				return false
			}
			seen = true
		}
	}
	return seen
}
