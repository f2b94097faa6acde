package approval

import (
	"fmt"
	"slices"
	"strings"
)

// Guard is a service connection that this step uses, and the checks on it.
type Guard struct {
	Name   string
	Checks Configurations
}

// Protection says what stands between a service connection and whoever writes
// a pipeline: "protected: …" where every connection in use bears an enabled
// required template or approval, "unprotected: …" where one bears neither, and
// "unknown: …" where one could not be read. It refuses nothing: a refusal here
// binds only those who must come this way.
func Protection(guards []Guard) string {
	if len(guards) == 0 {
		return "unprotected: no service connection is in use, so no check guards the way to the registries"
	}
	var protected, bare, unknown []string
	for _, g := range guards {
		var by []string
		for _, c := range g.Checks.Checks {
			name := map[string]string{TypeRequiredTemplate: "required template", TypeApproval: "approval"}[c.Type]
			if name != "" && !c.Disabled && !slices.Contains(by, name) {
				by = append(by, name)
			}
		}
		switch {
		case !g.Checks.Read:
			unknown = append(unknown, fmt.Sprintf("the checks on %s: %s", g.Name, g.Checks.Unknown))
		case len(by) == 0:
			bare = append(bare, g.Name)
		default:
			slices.Sort(by)
			slices.Reverse(by)
			protected = append(protected, strings.Join(by, ", ")+" on "+g.Name)
		}
	}
	switch {
	case len(bare) > 0:
		return fmt.Sprintf("unprotected: %s bears neither a required template nor an approval, so any pipeline that may use it can write to the registries without this step; add one under Approvals and checks", strings.Join(bare, ", "))
	case len(unknown) > 0:
		return "unknown: " + strings.Join(unknown, "; ")
	}
	return "protected: " + strings.Join(protected, "; ")
}

// TemplateRequired tells whether the stage's suite shows that a required
// template on one of the service connections, by id, was evaluated and passed:
// then the pipeline extends a template that its author did not choose.
func TemplateRequired(suite *Suite, connections []string) bool {
	if suite == nil {
		return false
	}
	return slices.ContainsFunc(suite.Runs, func(run CheckRun) bool {
		return SameGUID(run.Type, TypeRequiredTemplate) && strings.EqualFold(run.Status, "approved") && run.Resource.Type == "endpoint" &&
			slices.ContainsFunc(connections, func(id string) bool { return SameGUID(id, run.Resource.ID) })
	})
}
