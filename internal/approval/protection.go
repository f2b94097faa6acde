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

// Protection describes how the service connections are protected from other
// pipelines: "protected: …" if every connection in use has an enabled required
// template or approval, "unprotected: …" if one has neither, and "unknown: …"
// if the checks of one could not be read. It refuses nothing, because a refusal
// would stop only this step, not the other pipelines.
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

// FlowFile is where the rules in force were read. Bound reports whether the
// pipeline's author could not change the content: it is the server's copy, or
// its hash is pinned.
type FlowFile struct {
	Path   string
	SHA256 string
	Bound  bool
}

// RulesVerified reports whether the pipeline's author could not have used other
// rules: the file must be bound, and in every check suite of this stage a
// required template on one of the step's service connections, given by id, must
// have passed. If the rules are not verified, warning says why.
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

// TemplatePassed reports whether a suite shows that a stage of a run passed a
// required template.
func TemplatePassed(suite *Suite, build int, stage TimelineRecord) bool {
	if suite == nil || !strings.EqualFold(suite.Status, "approved") || suite.Context.BuildID != build ||
		!SameName(suite.Context.Stage, stage.Identifier) || suite.Context.Attempt != stage.Attempt {
		return false
	}
	return slices.ContainsFunc(suite.Runs, func(run CheckRun) bool {
		return SameGUID(run.Type, TypeRequiredTemplate) && strings.EqualFold(run.Status, "approved")
	})
}

// templateRequired reports whether, according to the stage's suite, a required
// template on one of the service connections, given by id, was evaluated and
// passed. Then the pipeline extends a template that its author did not choose.
func templateRequired(suite *Suite, connections []string) bool {
	if suite == nil {
		return false
	}
	return slices.ContainsFunc(suite.Runs, func(run CheckRun) bool {
		return SameGUID(run.Type, TypeRequiredTemplate) && strings.EqualFold(run.Status, "approved") && run.Resource.Type == "endpoint" &&
			slices.ContainsFunc(connections, func(id string) bool { return SameGUID(id, run.Resource.ID) })
	})
}
