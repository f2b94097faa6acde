package approval_test

import (
	"slices"
	"testing"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

func ruleNames(refusals []rule.Refusal) []rule.Name {
	var list []rule.Name
	for _, r := range refusals {
		list = append(list, r.Rule)
	}
	return list
}

func TestDecide(t *testing.T) {
	mismatch := rule.Refusal{Rule: rule.RunMismatch, Subject: "run 1"}
	sealed := approval.Seal{Subject: "a", Locked: true, TagUpdated: now, RecordCreated: now}
	unsealed := approval.Seal{Subject: "b", Problem: "no seal record"}
	part := func(s scenario) approval.Part {
		e, r := s.build()
		return approval.Part{Rules: r, Evidence: &e}
	}
	granted, missing := with(), with(dApprovals, "0")
	for _, c := range []struct {
		name     string
		c        approval.Case
		granted  bool
		kind     approval.Kind
		refusals []rule.Name
	}{
		{"sealing asks nobody", approval.Case{InRun: true, Covered: true}, false, approval.None, nil},
		{"sealing in a run that does not fit", approval.Case{InRun: true, Covered: true, RunRefusals: []rule.Refusal{mismatch}}, false, approval.None, []rule.Name{rule.RunMismatch}},
		{"waived at a prompt", approval.Case{NeedsApproval: true, Unapproved: true, Covered: true, Seals: []approval.Seal{unsealed}}, false, approval.Unapproved, nil},
		{"no rule requires an approval", approval.Case{NeedsApproval: true, Covered: true}, true, approval.None, nil},
		{"no rule covers an image", approval.Case{NeedsApproval: true}, false, approval.None, nil},
		{"no rule requires an approval, outside any run", approval.Case{NeedsApproval: true, Covered: true, InRun: false}, true, approval.None, nil},
		{"no rule requires an approval, and the image is sealed", approval.Case{NeedsApproval: true, Covered: true, Seals: []approval.Seal{sealed}}, true, approval.None, nil},
		{"no rule requires an approval, and an image is not sealed", approval.Case{NeedsApproval: true, Covered: true, Seals: []approval.Seal{sealed, unsealed}}, true, approval.None, []rule.Name{rule.NotSealed}},
		{"no rule requires an approval, and the run does not match", approval.Case{NeedsApproval: true, InRun: true, Covered: true, RunRefusals: []rule.Refusal{mismatch}}, false, approval.None, []rule.Name{rule.RunMismatch}},
		{"no images", approval.Case{NeedsApproval: true, InRun: true}, false, approval.None, nil},
		{"required outside any run", approval.Case{NeedsApproval: true, Covered: true, Parts: []approval.Part{part(granted)}}, false, approval.Manual, []rule.Name{rule.ApprovalMissing}},
		{"the run does not match", approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: []approval.Part{part(granted)}, RunRefusals: []rule.Refusal{mismatch}}, false, approval.Manual, []rule.Name{rule.RunMismatch}},
		{"the evidence was not read", approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: []approval.Part{part(granted), {}}}, false, approval.Manual, nil},
		{"granted", approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: []approval.Part{part(granted)}}, true, approval.Manual, nil},
		{"granted twice", approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: []approval.Part{part(granted), part(granted)}}, true, approval.Manual, nil},
		{"the first part is not granted", approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: []approval.Part{part(missing), part(granted)}}, false, approval.Manual, []rule.Name{rule.ApprovalMissing}},
		{"the second part is not granted", approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: []approval.Part{part(granted), part(missing)}}, false, approval.Manual, []rule.Name{rule.ApprovalMissing}},
		{"both parts have the same refusal", approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: []approval.Part{part(missing), part(missing)}}, false, approval.Manual, []rule.Name{rule.ApprovalMissing}},
	} {
		v := approval.Decide(c.c, now)
		if v.Granted != c.granted || v.Kind != c.kind || !slices.Equal(ruleNames(v.Refusals), c.refusals) {
			t.Errorf("%s: granted %v, kind %s, refusals %v; want %v, %s, %v", c.name, v.Granted, v.Kind, ruleNames(v.Refusals), c.granted, c.kind, c.refusals)
		}
	}
}
