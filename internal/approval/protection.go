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
		return "unprotected: no service connection is in use, so no check protects the registries"
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
		return fmt.Sprintf("unprotected: %s has neither a required template nor an approval, so any pipeline that can use it can write to the registries without this step; add one under Approvals and checks", strings.Join(bare, ", "))
	case len(unknown) > 0:
		return "unknown: " + strings.Join(unknown, "; ")
	}
	return "protected: " + strings.Join(protected, "; ")
}

// FlowFile says where the rules in force were read. Bound is true where the
// author of the pipeline could not choose the file's content: the server's copy,
// or a pinned hash.
type FlowFile struct {
	Path   string
	SHA256 string
	Bound  bool
}

// RulesVerified reports whether the author of the pipeline could not have chosen
// other rules: the file must be bound, and in every suite that was read of this
// stage a required template on one of the step's service connections, by id,
// must have passed. If the rules are not verified, warning says why.
func RulesVerified(file FlowFile, suites []*Suite, connections []string) (verified bool, warning string) {
	if !file.Bound {
		return false, fmt.Sprintf("the flow file %s is in the workspace, where the pipeline's author can change it: use NAME@REF:path, or pin it as path#sha256:%s", file.Path, file.SHA256)
	}
	for _, suite := range suites {
		if !templateRequired(suite, connections) {
			return false, "the rules are not verified: no required template on a service connection of this step has passed for this stage, so the pipeline's author could use another flow file. Add the check Required template to the service connection"
		}
	}
	if len(suites) == 0 {
		return false, "the rules are not verified: no check suite of this stage was read"
	}
	return true, ""
}

// templateRequired reports whether the stage's suite shows that a required
// template on one of the service connections, by id, was evaluated and passed:
// then the pipeline extends a template that its author did not choose.
func templateRequired(suite *Suite, connections []string) bool {
	if suite == nil {
		return false
	}
	return slices.ContainsFunc(suite.Runs, func(run CheckRun) bool {
		return SameGUID(run.Type, TypeRequiredTemplate) && strings.EqualFold(run.Status, "approved") && run.Resource.Type == "endpoint" &&
			slices.ContainsFunc(connections, func(id string) bool { return SameGUID(id, run.Resource.ID) })
	})
}
