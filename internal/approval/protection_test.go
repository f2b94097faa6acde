package approval

import (
	"slices"
	"strings"
	"testing"
)

// exclusiveLock is the type of a check that involves no person.
const exclusiveLock = "2ef31ad6-baa0-403a-8b45-2cbc9b4e5563"

func TestProtection(t *testing.T) {
	check := func(kind string, disabled bool) Configuration {
		return Configuration{Type: kind, Disabled: disabled}
	}
	read := func(name string, checks ...Configuration) Guard {
		return Guard{Name: name, Checks: Configurations{Read: true, Checks: checks}}
	}
	unread := Guard{Name: "hidden", Checks: Configurations{Unknown: "grant Reader to the build service"}}
	for _, c := range []struct {
		name    string
		guards  []Guard
		want    string
		signIns []SignIn
	}{
		{"both", []Guard{read("release-identity", check(TypeApproval, false), check(TypeRequiredTemplate, false))}, "protected: required template, approval on release-identity", nil},
		{"one of two connections is bare", []Guard{read("a", check(TypeApproval, false)), read("b", check(exclusiveLock, false))}, "unprotected: b has", nil},
		{"a disabled check guards nothing", []Guard{read("a", check(TypeApproval, true))}, "unprotected: a has", nil},
		{"two", []Guard{read("a", check(TypeApproval, false)), read("b", check(TypeRequiredTemplate, false))}, "protected: approval on a; required template on b", nil},
		{"unread", []Guard{read("a", check(TypeApproval, false)), unread}, "unknown: the checks on hidden: grant Reader", nil},
		{"bare outweighs unread", []Guard{read("a"), unread}, "unprotected: a has", nil},
		{"none in use", nil, "unprotected: no service connection", nil},
		{"written to without a connection", []Guard{read("a", check(TypeApproval, false))}, "unprotected: no service connection signs in to r.example.com",
			[]SignIn{{Host: "prod.azurecr.io", ConnectionID: "a"}, {Host: "r.example.com", Writes: true}}},
		{"a managed identity", []Guard{read("a", check(TypeRequiredTemplate, false))}, "unprotected: the managed identity of the agent's machine signs in to prod.azurecr.io, and",
			[]SignIn{{Host: "prod.azurecr.io", ConnectionID: "b", Shared: true}, {Host: "dev.azurecr.io", ConnectionID: "a", Writes: true}}},
		{"read without a connection", []Guard{read("a", check(TypeApproval, false))}, "protected: approval on a",
			[]SignIn{{Host: "r.example.com"}, {Host: "dev.azurecr.io", ConnectionID: "a", Writes: true}}},
	} {
		if got := Protection(c.signIns, c.guards); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestConnections(t *testing.T) {
	const one, two = "AAAAAAAA-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002"
	got := Connections([]SignIn{{Host: "a", ConnectionID: one}, {Host: "b", Writes: true}, {Host: "c", ConnectionID: two, Writes: true}, {Host: "d", ConnectionID: strings.ToLower(one), Writes: true}})
	if !slices.Equal(got, []string{one, two}) {
		t.Errorf("%q", got)
	}
}

// TestRulesVerified: every connection that signs in counts, and no other.
func TestRulesVerified(t *testing.T) {
	const connection, other, unused = "11111111-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002", "33333333-0000-0000-0000-000000000003"
	template := func(id, status, kind string) CheckRun {
		return CheckRun{Type: TypeRequiredTemplate, Status: status, Resource: Resource{Type: kind, ID: id}}
	}
	stage := Evidence{PlanID: "44444444-0000-0000-0000-000000000004", ProjectID: "55555555-0000-0000-0000-000000000005", BuildID: 4711, Stage: "Production", Attempt: 2}
	context := Context{PlanID: stage.PlanID, ProjectID: stage.ProjectID, BuildID: stage.BuildID, Stage: stage.Stage, Attempt: stage.Attempt}
	suite := func(runs ...CheckRun) *Suite { return &Suite{Context: context, Runs: runs} }
	on := func(ids ...string) *Suite {
		s := suite()
		for _, id := range ids {
			s.Runs = append(s.Runs, template(id, "approved", "endpoint"))
		}
		return s
	}
	read := func(suites []*Suite) (stages []*Evidence) {
		for _, s := range suites {
			e := stage
			e.Suite = s
			stages = append(stages, &e)
		}
		return stages
	}
	passed := on(connection)
	one := []SignIn{{Host: "prod.azurecr.io", ConnectionID: connection}, {Host: "dev.azurecr.io", ConnectionID: connection, Writes: true}}
	two := []SignIn{{Host: "prod.azurecr.io", ConnectionID: connection}, {Host: "dev.azurecr.io", ConnectionID: other, Writes: true}}
	anonymous := []SignIn{{Host: "mirror.example.com"}, {Host: "dev.azurecr.io", ConnectionID: connection, Writes: true}}
	of := func(change func(*Context)) []*Suite {
		s := on(connection)
		change(&s.Context)
		return []*Suite{passed, s}
	}
	const incomplete, another = "does not say for which plan, run, stage and attempt", "was not evaluated for this stage"
	bound := FlowFile{Path: "flows.yml", SHA256: "ab", Bound: true}
	for _, c := range []struct {
		name    string
		file    FlowFile
		suites  []*Suite
		signIns []SignIn
		want    bool
		says    string
	}{
		{"a required template has passed", bound, []*Suite{passed}, one, true, ""},
		{"in every suite", bound, []*Suite{passed, passed}, one, true, ""},
		{"in capitals", bound, []*Suite{on(strings.ToUpper(connection))}, one, true, ""},
		{"on both connections", bound, []*Suite{on(other, connection)}, two, true, ""},
		{"on the source's connection alone", bound, []*Suite{passed}, two, false, other + ", which signs in to dev.azurecr.io"},
		{"on the target's connection alone", bound, []*Suite{on(other)}, two, false, connection + ", which signs in to prod.azurecr.io"},
		{"on neither", bound, []*Suite{on(unused)}, two, false, "nor on " + other},
		{"on one in each suite", bound, []*Suite{on(connection), on(other)}, two, false, ""},
		{"the file lies in the workspace", FlowFile{Path: "flows.yml"}, []*Suite{passed}, one, false, "workspace"},
		{"no suite was read", bound, nil, one, false, "no check suite"},
		{"a suite that is not there", bound, []*Suite{passed, nil}, one, false, ""},
		{"a suite without checks", bound, []*Suite{passed, suite()}, one, false, ""},
		{"the template was rejected", bound, []*Suite{suite(template(connection, "rejected", "endpoint"))}, one, false, ""},
		{"the template was bypassed", bound, []*Suite{suite(template(connection, "bypassed", "endpoint"))}, one, false, ""},
		{"one of two templates was bypassed", bound, []*Suite{suite(template(connection, "approved", "endpoint"), template(connection, "bypassed", "endpoint"))}, one, false, ""},
		{"a template on an environment", bound, []*Suite{suite(template(connection, "approved", "environment"))}, one, false, ""},
		{"a template on a connection that the run does not use", bound, []*Suite{on(unused)}, one, false, ""},
		{"an approval on the connection", bound, []*Suite{suite(CheckRun{Type: TypeApproval, Status: "approved", Resource: Resource{Type: "endpoint", ID: connection}})}, one, false, ""},
		{"a source that anyone can read", bound, []*Suite{passed}, anonymous, true, ""},
		{"a source that anyone can read, and no template", bound, []*Suite{suite()}, anonymous, false, ""},
		{"a target without a connection", bound, []*Suite{passed}, []SignIn{{Host: "prod.azurecr.io", ConnectionID: connection}, {Host: "mirror.example.com", Writes: true}}, false, "no service connection signs in to mirror.example.com"},
		{"a managed identity at the source", bound, []*Suite{on(other, connection)}, []SignIn{{Host: "prod.azurecr.io", ConnectionID: connection, Shared: true}, {Host: "dev.azurecr.io", ConnectionID: other, Writes: true}}, false, "the managed identity of the agent's machine signs in to prod.azurecr.io"},
		{"no connection at all", bound, []*Suite{passed}, []SignIn{{Host: "mirror.example.com"}}, false, "no service connection"},
		{"no registry", bound, []*Suite{passed}, nil, false, "no service connection"},
		{"the suite of another plan", bound, of(func(c *Context) { c.PlanID = connection }), one, false, another + ": plan " + connection},
		{"the suite of another run", bound, of(func(c *Context) { c.BuildID = 4710 }), one, false, another + ": run 4710 instead of 4711"},
		{"the suite of another stage", bound, of(func(c *Context) { c.Stage = "Test" }), one, false, another + ": stage Test instead of Production"},
		{"the suite of another attempt", bound, of(func(c *Context) { c.Attempt = 1 }), one, false, another + ": attempt 1 instead of 2"},
		{"the suite of another project", bound, of(func(c *Context) { c.ProjectID = connection }), one, false, another + ": project " + connection},
		{"the stage in other case", bound, of(func(c *Context) { c.Stage = "PRODUCTION" }), one, true, ""},
		{"a suite without its project", bound, of(func(c *Context) { c.ProjectID = "" }), one, true, ""},
		{"a suite without its plan", bound, of(func(c *Context) { c.PlanID = "" }), one, false, incomplete},
		{"a suite without its run", bound, of(func(c *Context) { c.BuildID = 0 }), one, false, incomplete},
		{"a suite without its stage", bound, of(func(c *Context) { c.Stage = "" }), one, false, incomplete},
		{"a suite without its attempt", bound, of(func(c *Context) { c.Attempt = 0 }), one, false, incomplete},
	} {
		got, warning := RulesVerified(c.file, read(c.suites), c.signIns)
		if got != c.want || (warning == "") != c.want || !strings.Contains(warning, c.says) {
			t.Errorf("%s: verified %v, warning %q", c.name, got, warning)
		}
	}
	named := suite(CheckRun{Type: TypeApproval, Status: "approved", Resource: Resource{Type: "endpoint", ID: connection, Name: "release-identity"}})
	if _, warning := RulesVerified(bound, read([]*Suite{nil, named}), one); !strings.Contains(warning, "the service connection release-identity, which signs in to prod.azurecr.io") {
		t.Errorf("%q", warning)
	}
}
