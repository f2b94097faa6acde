package approval

import (
	"strings"
	"testing"
)

// exclusiveLock is the type of a check that asks nobody.
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
		{"one of two connections is bare", []Guard{read("a", check(TypeApproval, false)), read("b", check(exclusiveLock, false))}, "unprotected: b bears"},
		{"a disabled check guards nothing", []Guard{read("a", check(TypeApproval, true))}, "unprotected: a bears"},
		{"two", []Guard{read("a", check(TypeApproval, false)), read("b", check(TypeRequiredTemplate, false))}, "protected: approval on a; required template on b"},
		{"unread", []Guard{read("a", check(TypeApproval, false)), unread}, "unknown: the checks on hidden: grant Reader"},
		{"bare outweighs unread", []Guard{read("a"), unread}, "unprotected: a bears"},
		{"none in use", nil, "unprotected: no service connection"},
	} {
		if got := Protection(c.guards); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
