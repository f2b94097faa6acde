package approval_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// attachments are when something was attached, in minutes before now: the plan's code
// changes with each.
type attachments []int

func (a attachments) code(at time.Time) string {
	if at.IsZero() {
		at = now.Add(time.Hour)
	}
	n := 0
	for _, minutes := range a {
		if now.Add(-time.Duration(minutes) * time.Minute).Before(at) {
			n++
		}
	}
	return fmt.Sprintf("P1AN-0000-0000-0000-0000-%04d", n)
}

// given is one person's approval: when, in minutes before now, and with which
// comment.
type given struct {
	who     string
	minutes int
	comment string
}

func (g given) at() time.Time { return now.Add(-time.Duration(g.minutes) * time.Minute) }

// askedFor returns the part of a step with these approvals, by at most two people.
func askedFor(plan bool, by ...given) approval.Part {
	s := with()
	if len(by) > 1 {
		s = with(dSecond, "carol approved")
	}
	e, r := s.build()
	r.Seals, r.MaxAge = nil, 0
	for i, g := range by {
		person := people[g.who]
		step := &e.Approvals[0].Steps[i]
		step.Actual, step.Comment, step.Initiated, step.Modified, step.ModifiedBy = &person, g.comment, g.at(), g.at(), person.ID
	}
	if plan {
		r.CodeOf, r.OtherCode = approval.CodeOfPlan, imageCode
	}
	return approval.Part{Rules: r, Evidence: &e}
}

const imageCode = "1MAG-E000-0000-0000-0000-0000"

func decided(a attachments, parts ...approval.Part) approval.Verdict {
	return approval.Decide(approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: parts, PlanCode: a.code}, now)
}

func TestPlanCode(t *testing.T) {
	// Something was attached an hour and ten minutes ago.
	a := attachments{60, 10}
	before, between, after := given{"bob", 70, "P1AN-0000-0000-0000-0000-0000"}, given{"bob", 30, "ok P1AN-0000-0000-0000-0000-0001"}, given{"bob", 5, "p1an 0000 0000 0000 0000 0002"}
	with := func(g given, change func(*given)) given { change(&g); return g }
	carol := func(g given) given { return with(g, func(g *given) { g.who = "carol" }) }
	alice := func(g given) given { return with(g, func(g *given) { g.who = "alice" }) }
	comment := func(g given, text string) given { return with(g, func(g *given) { g.comment = text }) }
	nothing := given{"bob", 30, "fine"}
	for _, c := range []struct {
		name  string
		parts []approval.Part
		at    int // in minutes before now that the plan is as of; 0 is now
		says  string
	}{
		{"before everything", []approval.Part{askedFor(true, before)}, 70, ""},
		{"what came later voids nothing", []approval.Part{askedFor(true, between)}, 30, ""},
		{"after everything", []approval.Part{askedFor(true, after)}, 5, ""},
		{"of what had not come yet", []approval.Part{askedFor(true, comment(between, after.comment))}, 0, "approved at 2026-11-23T11:30:00Z, before this was the plan"},
		{"of what was before", []approval.Part{askedFor(true, comment(after, between.comment))}, 0, "the plan is stale: the comment quotes the code of another plan, not P1AN-0000-0000-0000-0000-0002: Bob"},
		{"no code", []approval.Part{askedFor(true, nothing)}, 0, "does not quote the plan's code P1AN-0000-0000-0000-0000-0002: Bob (bob@example.com) wrote \"fine\""},
		{"the image's code", []approval.Part{askedFor(true, comment(between, imageCode))}, 0, "quotes the code of the image and not that of the plan"},
		{"both codes", []approval.Part{askedFor(true, comment(between, imageCode+" "+between.comment))}, 30, ""},
		{"the first of two fixes the plan", []approval.Part{askedFor(true, between, carol(with(between, func(g *given) { g.minutes = 5 })))}, 30, ""},
		{"the second quotes a later plan", []approval.Part{askedFor(true, between, carol(after)), askedFor(true, between)}, 30, ""},
		{"the first quotes what the second fixes", []approval.Part{askedFor(true, comment(before, between.comment), carol(between))}, 30, ""},
		{"the requester fixes nothing", []approval.Part{askedFor(true, alice(before), carol(between))}, 30, ""},
		{"only the requester quotes the code", []approval.Part{askedFor(true, alice(before), comment(carol(between), "fine"))}, 0, "does not quote the plan's code"},
		{"two parts of one plan", []approval.Part{askedFor(true, between), askedFor(true, carol(with(between, func(g *given) { g.minutes = 20 })))}, 30, ""},
		{"two parts of two plans", []approval.Part{askedFor(true, between), askedFor(true, carol(after))}, 30, "Carol (carol@example.com) wrote \"p1an 0000 0000 0000 0000 0002\", which quotes the code of another plan"},
		{"the first part is as of before", []approval.Part{askedFor(false, with(nothing, func(g *given) { g.minutes = 90 })), askedFor(true, carol(between))}, 90, "P1AN-0000-0000-0000-0000-0000"},
		{"a part without a code, of the same plan", []approval.Part{askedFor(false, with(nothing, func(g *given) { g.minutes = 50 })), askedFor(true, carol(between))}, 50, ""},
		{"a part without a code, later", []approval.Part{askedFor(false, with(nothing, func(g *given) { g.minutes = 1 })), askedFor(true, carol(between))}, 30, ""},
	} {
		v := decided(a, c.parts...)
		want := time.Time{}
		if c.at > 0 {
			want = now.Add(-time.Duration(c.at) * time.Minute)
		}
		if v.Granted != (c.says == "") || !v.PlanAt.Equal(want) || v.Granted && !v.First.Equal(want) {
			t.Errorf("%s: granted %v, the plan is as of %s, the first approval of %s: %v", c.name, v.Granted, v.PlanAt, v.First, v.Refusals)
		}
		text := ""
		for _, r := range v.Refusals {
			if r.Rule != rule.ApprovalCode && r.Rule != rule.RequesterApproved {
				t.Errorf("%s: refused by %s", c.name, r.Rule)
			}
			text += r.Reason + "\n"
		}
		if !strings.Contains(text, c.says) {
			t.Errorf("%s: %q does not say %q", c.name, text, c.says)
		}
	}
}

// TestPlanApprovedBefore: who approved before the plan was fixed did not approve it,
// even if they knew its code.
func TestPlanApprovedBefore(t *testing.T) {
	a := attachments{60}
	late := given{"carol", 30, "P1AN-0000-0000-0000-0000-0001"}
	v := decided(a, askedFor(true, given{"bob", 90, late.comment}), askedFor(true, late))
	if v.Granted || !strings.Contains(v.Refusals[0].Reason, "approved at "+now.Add(-90*time.Minute).UTC().Format(time.RFC3339)+", before this was the plan") {
		t.Errorf("granted %v: %v", v.Granted, v.Refusals)
	}
}

func TestUnknownPlanCode(t *testing.T) {
	for _, code := range []string{"", "short"} {
		for _, comment := range []string{"", "unknown, because an image could not be read", "UNKN-OWN,", "short"} {
			v := approval.Decide(approval.Case{NeedsApproval: true, InRun: true, Covered: true, PlanCode: func(time.Time) string { return code },
				Parts: []approval.Part{askedFor(true, given{"bob", 30, comment})}}, now)
			if v.Granted || !slices.Equal(ruleNames(v.Refusals), []rule.Name{rule.ApprovalCode}) {
				t.Errorf("%q, %q: granted %v, %v", code, comment, v.Granted, v.Refusals)
			}
		}
	}
}

// TestPlanCodeOfKinds: an automated check quotes nothing.
func TestPlanCodeOfKinds(t *testing.T) {
	a := attachments{60}
	part := askedFor(true, given{"bob", 30, a.code(time.Time{})})
	part.Rules.Approval = approval.Any
	if v := decided(a, part); !v.Granted {
		t.Errorf("any: %v", v.Refusals)
	}
	part.Rules.Approval, part.Rules.Checks = approval.Automated, []approval.Check{{Definition: "1", Resource: "Production"}}
	if v := decided(a, part); v.Granted || !slices.Contains(ruleNames(v.Refusals), rule.ApprovalCode) {
		t.Errorf("automated: %v", v.Refusals)
	}
}

// TestPlanCodeIsConsistent compares with the definition on generated approvals: the
// plan is the one as of the first approval that counts, everyone who counts quotes
// its code, and nothing that was attached later changes the verdict.
func TestPlanCodeIsConsistent(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	grants := 0
	for range 4000 {
		var a attachments
		for range r.IntN(4) {
			a = append(a, 1+r.IntN(20))
		}
		var parts []approval.Part
		var all [][]given
		var plans []bool
		for range 1 + r.IntN(3) {
			var by []given
			for _, who := range [][]string{{"bob", "alice"}, {"carol", "alice"}}[:1+r.IntN(2)] {
				g := given{who: who[min(r.IntN(4)/3, 1)], minutes: 1 + r.IntN(20)}
				switch r.IntN(6) {
				case 0:
					g.comment = "fine"
				case 1:
					g.comment = a.code(now.Add(-time.Duration(r.IntN(20)) * time.Minute))
				default:
					g.comment = a.code(g.at())
				}
				by = append(by, g)
			}
			if len(by) == 2 && by[0].who == by[1].who {
				by = by[:1]
			}
			plan := r.IntN(4) > 0
			parts, all, plans = append(parts, askedFor(plan, by...)), append(all, by), append(plans, plan)
		}
		v := decided(a, parts...)

		// By the definition.
		oldest := 0
		for i, by := range all {
			for _, g := range by {
				if g.who != "alice" && (!plans[i] || g.comment == a.code(g.at())) {
					oldest = max(oldest, g.minutes)
				}
			}
		}
		fixed := time.Time{}
		if oldest > 0 && slices.Contains(plans, true) {
			fixed = now.Add(-time.Duration(oldest) * time.Minute)
		}
		granted := true
		for i, by := range all {
			granted = granted && slices.ContainsFunc(by, func(g given) bool {
				return g.who != "alice" && (!plans[i] || g.comment == a.code(fixed) && g.minutes <= oldest)
			})
		}
		if v.Granted != granted || !v.PlanAt.Equal(fixed) {
			t.Fatalf("granted %v as of %s, want %v as of %s: attached %v, approvals %v, plans %v: %v", v.Granted, v.PlanAt, granted, fixed, a, all, plans, v.Refusals)
		}
		if !granted || fixed.IsZero() {
			continue
		}
		grants++
		if !v.First.Equal(fixed) {
			t.Fatalf("the first approval that counts is of %s, and the plan as of %s", v.First, fixed)
		}
		for later := range oldest {
			if again := decided(append(slices.Clone(a), later), parts...); later > 0 && !again.Granted {
				t.Fatalf("what was attached %d minutes ago voids the approval of %s: attached %v, approvals %v", later, fixed, a, all)
			}
		}
		slices.Reverse(parts)
		if again := decided(a, parts...); !again.Granted || !again.PlanAt.Equal(fixed) {
			t.Fatalf("the order of the parts matters: %+v", again)
		}
	}
	if grants < 400 {
		t.Errorf("only %d of the generated cases are granted", grants)
	}
}
