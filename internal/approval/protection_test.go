package approval

import (
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
		name   string
		guards []Guard
		want   string
	}{
		{"both", []Guard{read("release-identity", check(TypeApproval, false), check(TypeRequiredTemplate, false))}, "protected: required template, approval on release-identity"},
		{"one of two connections is bare", []Guard{read("a", check(TypeApproval, false)), read("b", check(exclusiveLock, false))}, "unprotected: b has"},
		{"a disabled check guards nothing", []Guard{read("a", check(TypeApproval, true))}, "unprotected: a has"},
		{"two", []Guard{read("a", check(TypeApproval, false)), read("b", check(TypeRequiredTemplate, false))}, "protected: approval on a; required template on b"},
		{"unread", []Guard{read("a", check(TypeApproval, false)), unread}, "unknown: the checks on hidden: grant Reader"},
		{"bare outweighs unread", []Guard{read("a"), unread}, "unprotected: a has"},
		{"none in use", nil, "unprotected: no service connection"},
	} {
		if got := Protection(c.guards); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRulesVerified(t *testing.T) {
	const connection, other = "11111111-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002"
	template := func(id, status, kind string) CheckRun {
		return CheckRun{Type: TypeRequiredTemplate, Status: status, Resource: Resource{Type: kind, ID: id}}
	}
	suite := func(runs ...CheckRun) *Suite { return &Suite{Runs: runs} }
	passed := suite(template(connection, "approved", "endpoint"))
	bound := FlowFile{Path: "flows.yml", SHA256: "ab", Bound: true}
	for _, c := range []struct {
		name   string
		file   FlowFile
		suites []*Suite
		want   bool
	}{
		{"a required template has passed", bound, []*Suite{passed}, true},
		{"in every suite", bound, []*Suite{passed, passed}, true},
		{"the file lies in the workspace", FlowFile{Path: "flows.yml"}, []*Suite{passed}, false},
		{"no suite was read", bound, nil, false},
		{"a suite that is not there", bound, []*Suite{passed, nil}, false},
		{"a suite without checks", bound, []*Suite{passed, suite()}, false},
		{"the template was rejected", bound, []*Suite{suite(template(connection, "rejected", "endpoint"))}, false},
		{"a template on an environment", bound, []*Suite{suite(template(connection, "approved", "environment"))}, false},
		{"a template on a connection of another step", bound, []*Suite{suite(template(other, "approved", "endpoint"))}, false},
		{"an approval on the connection", bound, []*Suite{suite(CheckRun{Type: TypeApproval, Status: "approved", Resource: Resource{Type: "endpoint", ID: connection}})}, false},
	} {
		got, warning := RulesVerified(c.file, c.suites, []string{connection})
		if got != c.want || (warning == "") != c.want {
			t.Errorf("%s: verified %v, warning %q", c.name, got, warning)
		}
	}
}
