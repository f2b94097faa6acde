package doctor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestIdentities joins the connections of Azure DevOps with the roles at the
// registries.
func TestIdentities(t *testing.T) {
	access := func(host string, trust int, target bool) *Access {
		return &Access{Host: host, Trust: trust, Target: target}
	}
	prod, dev, team := access("prod.azurecr.io", 1, false), access("dev.azurecr.io", 0, true), access("team.azurecr.io", 0, true)
	const one, two, object = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002", "22222222-0000-4000-8000-000000000001"
	for _, test := range []struct {
		name        string
		connections []*Connection
		writes      string // host
		want        string
	}{
		{"apart", []*Connection{{Name: "up", ClientID: one, Access: []*Access{prod}}, {Name: "down", ClientID: two, Access: []*Access{dev}}}, "prod.azurecr.io", ""},
		{"without an identity", []*Connection{{Name: "up", Access: []*Access{prod}}, {Name: "down", Access: []*Access{dev}}}, "", ""},
		{"equal trust", []*Connection{{Name: "down", ClientID: one, ObjectID: object, Access: []*Access{dev, team}}}, "dev.azurecr.io", ""},
		{"one connection", []*Connection{{Name: "both", Access: []*Access{prod, dev}}}, "", "identity-on-both-sides medium both: One identity (both) signs in to dev.azurecr.io, and to prod.azurecr.io"},
		{"one identity of two connections", []*Connection{{Name: "up", ClientID: strings.ToUpper(one), Access: []*Access{prod}}, {Name: "down", ClientID: one, Access: []*Access{dev}}}, "", "identity-on-both-sides medium down: "},
		{"it reads above", []*Connection{{Name: "both", ClientID: one, ObjectID: object, Access: []*Access{prod, dev}}}, "dev.azurecr.io", "identity-on-both-sides medium both: "},
		{"it writes above", []*Connection{{Name: "both", ClientID: one, ObjectID: object, Access: []*Access{prod, dev, team}}}, "prod.azurecr.io",
			"identity-writes-both-sides high both: The identity " + one + ", which signs in to dev.azurecr.io, team.azurecr.io, may write to prod.azurecr.io"},
		{"it writes above, by the other connection", []*Connection{{Name: "up", ClientID: one, Access: []*Access{prod}}, {Name: "down", ClientID: one, ObjectID: object, Access: []*Access{dev}}}, "prod.azurecr.io", "identity-writes-both-sides high down: "},
	} {
		j := &judge{}
		for _, c := range test.connections {
			j.identity(c, test.connections, func(host, objectID string) bool { return host == test.writes && objectID == object })
		}
		got := ""
		for _, f := range j.Findings {
			got += fmt.Sprintf("%s %s %s: %s", f.ID, f.Severity, strings.TrimPrefix(f.Where, "service connection "), f.Allows)
		}
		if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) || len(j.Findings) > 1 {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestListOfNames(t *testing.T) {
	var all []string
	for i := range 11 {
		all = append(all, fmt.Sprint("r", i), fmt.Sprint("r", i))
	}
	if got := list(all); got != "r0, r1, r2, r3, r4, r5, r6, r7, and 3 more" {
		t.Error(got)
	}
}

// TestUnknown checks that nothing is found about what was not read, but that it is
// unknown.
func TestUnknown(t *testing.T) {
	v := Judge(Setup{DevOps: &DevOps{
		Connections:  []*Connection{{Name: "c", Access: []*Access{{Host: "dev.azurecr.io", Target: true}}}},
		Environments: []*Environment{{Where: "environment Production", Flow: "released", MinApprovers: 1}},
		FlowFile:     &Branch{},
		Unread:       []Finding{UnreadAt("environment Production", "The checks", "status 403", "Grant it.")},
	}})
	if len(v.Findings) != 1 || v.Findings[0].Severity != Unknown || v.Findings[0].Where != "environment Production" || v.Findings[0].Mend != "Grant it." {
		t.Errorf("%+v", v.Findings)
	}
	if refusals := Refuse(v.Findings, High); len(refusals) != 1 {
		t.Errorf("%+v", refusals)
	}
}

// TestKindsAreDocumented checks that the page about doctor has every finding, with its
// severity.
func TestKindsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range slices.Concat(registryKinds, devopsKinds) {
		if row := fmt.Sprintf("| `%s` | %s |", k.ID, k.Severity); !strings.Contains(string(page), row) {
			t.Errorf("docs/doctor.md has no row %s", row)
		}
	}
}
