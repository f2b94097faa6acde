package plan

import (
	"slices"

	"acrpromote/internal/referrer"
	"acrpromote/internal/topology"
)

// ReferrerRules returns the rules by which referrers are copied with the image,
// without times. They are the strictest of all routes: routes differ by target,
// and the referrers of the image do not.
func (w Wanted) ReferrerRules() referrer.Rules {
	var rules referrer.Rules
	for _, route := range w.Routes {
		if route.Flow == nil {
			continue
		}
		for _, t := range route.Flow.Referrers.Exclude {
			if !slices.Contains(rules.Exclude, string(t)) {
				rules.Exclude = append(rules.Exclude, string(t))
			}
		}
		if len(route.Flow.Referrers.Include) == 0 {
			continue
		}
		var types []string
		for _, t := range route.Flow.Referrers.Include {
			types = append(types, string(t))
		}
		if !slices.ContainsFunc(rules.Include, func(list []string) bool { return slices.Equal(list, types) }) {
			rules.Include = append(rules.Include, types)
		}
	}
	return rules
}

// TimesReferrers reports whether times decide which referrers are copied: a route
// requires an approval, and leaves what was attached later.
func (w Wanted) TimesReferrers() bool {
	return Approved(w.Action) && slices.ContainsFunc(w.Routes, func(r Route) bool {
		return r.Rules.Kind != topology.None && (r.Flow == nil || r.Flow.Referrers.AfterApproval != topology.Bring)
	})
}
