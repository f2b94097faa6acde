package approval

import (
	"fmt"
	"slices"
	"strings"
)

// SignIn is how this step signs in to one registry of the run. ConnectionID is
// the service connection; it is empty if access is anonymous or the user's own,
// which no check protects. Shared reports whether the connection uses the managed
// identity of the agent's machine: its checks protect nothing, because every script
// on that machine gets the identity's tokens without the connection. Writes reports
// whether the action writes there.
type SignIn struct {
	Host         string
	ConnectionID string
	Connection   string // its name; empty if it is not known
	Shared       bool
	Writes       bool
}

// Connections returns the IDs of the service connections that sign in, each once.
// A connection that the step names and that signs in to no registry of the run is
// not among them, because nothing depends on it.
func Connections(signIns []SignIn) []string {
	var ids []string
	for _, s := range signIns {
		if s.ConnectionID != "" && !slices.ContainsFunc(ids, func(id string) bool { return SameGUID(id, s.ConnectionID) }) {
			ids = append(ids, s.ConnectionID)
		}
	}
	return ids
}

// open returns the registries that the action writes to without a service
// connection.
func open(signIns []SignIn) []string {
	var hosts []string
	for _, s := range signIns {
		if s.Writes && s.ConnectionID == "" {
			hosts = append(hosts, s.Host)
		}
	}
	return hosts
}

// Guard is a service connection that signs in to a registry of this run, and the
// checks on it.
type Guard struct {
	Name   string
	Checks Configurations
}

// shared returns the registries that are signed in to with the managed identity of
// the agent's machine.
func shared(signIns []SignIn) []string {
	var hosts []string
	for _, s := range signIns {
		if s.Shared {
			hosts = append(hosts, s.Host)
		}
	}
	return hosts
}

// Protection describes how the registries are protected from other pipelines:
// "protected: …" if every connection in use has an enabled required template or
// approval, "unprotected: …" if one has neither, if a registry is written to
// without a connection, or if one is signed in to with the managed identity of the
// agent's machine, and "unknown: …" if the checks of one could not be read.
// guards are the connections in use. It refuses nothing, because a refusal would
// stop only this step, not the other pipelines.
func Protection(signIns []SignIn, guards []Guard) string {
	if hosts := open(signIns); len(hosts) > 0 {
		return fmt.Sprintf("unprotected: no service connection signs in to %s, so no check protects it", strings.Join(hosts, ", "))
	}
	if hosts := shared(signIns); len(hosts) > 0 {
		return fmt.Sprintf("unprotected: the managed identity of the agent's machine signs in to %s, and every script that runs on an agent of this pool can use it without the service connection", strings.Join(hosts, ", "))
	}
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
// rules: the file must be bound, and every check suite that was read for this stage
// must have been evaluated for it and show that a required template has passed on
// each service connection that signs in to a registry of this run. A registry that
// is written to without a connection, or signed in to with the managed identity of
// the agent's machine, leaves the rules unverified; reading one without a connection
// proves nothing and takes nothing away, because anyone can read it. If the rules are
// not verified, warning says why.
func RulesVerified(file FlowFile, stages []*Evidence, signIns []SignIn) (verified bool, warning string) {
	if !file.Bound {
		return false, fmt.Sprintf("the flow file %s is in the workspace, where the pipeline's author can change it: use NAME@REF:path, or pin it as path#sha256:%s", file.Path, file.SHA256)
	}
	if hosts := open(signIns); len(hosts) > 0 {
		return false, fmt.Sprintf("the rules are not verified: no service connection signs in to %s, so no required template protects it", strings.Join(hosts, ", "))
	}
	if hosts := shared(signIns); len(hosts) > 0 {
		return false, fmt.Sprintf("the rules are not verified: the managed identity of the agent's machine signs in to %s, and every script that runs on an agent of this pool can use it without a required template. Use a connection with workload identity federation", strings.Join(hosts, ", "))
	}
	if len(Connections(signIns)) == 0 {
		return false, "the rules are not verified: no service connection signs in to a registry of this run, so no required template protects it"
	}
	if len(stages) == 0 {
		return false, "the rules are not verified: no check suite of this stage was read"
	}
	var suites []*Suite
	for _, e := range stages {
		suites = append(suites, e.Suite)
		if e.Suite == nil {
			continue
		}
		complete, differs := e.compareContext(e.Suite.Context)
		switch {
		case !complete:
			return false, "the rules are not verified: the check suite of the stage does not say for which plan, run, stage and attempt it was evaluated"
		case len(differs) > 0:
			return false, "the rules are not verified: the check suite was not evaluated for this stage: " + strings.Join(differs, ", ")
		}
	}
	var missing []string
	for _, s := range signIns {
		if s.ConnectionID == "" || !slices.ContainsFunc(suites, func(suite *Suite) bool { return !templateRequired(suite, s.ConnectionID) }) {
			continue
		}
		missing = append(missing, fmt.Sprintf("%s, which signs in to %s", s.connectionName(suites), s.Host))
	}
	if len(missing) > 0 {
		return false, fmt.Sprintf("the rules are not verified: for this stage no required template has passed on the service connection %s, so the pipeline's author could use another flow file. Add the check Required template to the service connection", strings.Join(missing, ", nor on "))
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
// template on a service connection was evaluated and passed. Then the pipeline
// extends a template that its author did not choose. Of several templates on one
// connection all must have passed: one that was bypassed has not.
func templateRequired(suite *Suite, connection string) bool {
	if suite == nil {
		return false
	}
	passed := false
	for _, run := range suite.Runs {
		if !SameGUID(run.Type, TypeRequiredTemplate) || run.Resource.Type != "endpoint" || !SameGUID(connection, run.Resource.ID) {
			continue
		}
		if !strings.EqualFold(run.Status, "approved") {
			return false
		}
		passed = true
	}
	return passed
}

// connectionName returns the name of the service connection. If it is not known, a
// check on the connection may show it; otherwise it is the ID.
func (s SignIn) connectionName(suites []*Suite) string {
	if s.Connection != "" {
		return s.Connection
	}
	for _, suite := range suites {
		if suite == nil {
			continue
		}
		for _, run := range suite.Runs {
			if run.Resource.Type == "endpoint" && SameGUID(s.ConnectionID, run.Resource.ID) && run.Resource.Name != "" {
				return run.Resource.Name
			}
		}
	}
	return s.ConnectionID
}
