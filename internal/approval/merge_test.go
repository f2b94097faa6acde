package approval

import (
	"slices"
	"testing"

	"acrpromote/internal/rule"
)

func TestMerge(t *testing.T) {
	manager, officer := Approver{ID: "1", Name: "Manager"}, Approver{ID: "2", Name: "Officer"}
	a := Verdict{Granted: true, Kind: Manual, Guards: "environment A", Approvers: []Approver{manager},
		Rules: []rule.Outcome{{Rule: rule.MinApprovers, Met: true}}, Refusals: []rule.Refusal{{Rule: rule.NotSealed, Subject: "x"}}}
	b := Verdict{Granted: true, Kind: Manual, Guards: "environment B", Approvers: []Approver{manager, officer},
		Rules: []rule.Outcome{{Rule: rule.MinApprovers, Met: true}, {Rule: rule.MinApprovers}}, Refusals: []rule.Refusal{{Rule: rule.NotSealed, Subject: "x"}, {Rule: rule.NotSealed, Subject: "y"}}}
	got := merge(a, b)
	if got.Guards != "environment A and environment B" || !slices.Equal(got.Approvers, []Approver{manager, officer}) || len(got.Rules) != 2 || len(got.Refusals) != 2 || !got.Granted {
		t.Errorf("%+v", got)
	}
	for _, pair := range [][2]bool{{true, false}, {false, true}, {false, false}} {
		if merge(Verdict{Granted: pair[0]}, Verdict{Granted: pair[1]}).Granted {
			t.Errorf("merging %v grants", pair)
		}
	}
}
