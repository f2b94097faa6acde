package approval

import (
	"cmp"
	"slices"
	"time"

	"acrpromote/internal/rule"
)

// Case is what one step wants to do, and what was read about it.
type Case struct {
	// NeedsApproval reports whether the action needs an approval. Sealing and
	// auditing do not.
	NeedsApproval bool
	// Unapproved waives both approval and seal, which is possible only at a
	// prompt outside any run.
	Unapproved bool
	// InRun reports whether the step is part of a run of Azure Pipelines.
	InRun bool
	// Planning reports that approvals may still be given, even that there is no run
	// yet: for the action plan.
	Planning bool
	// Subject names the image or set of images.
	Subject string
	// Covered reports whether there are rules for every image on its way to every
	// target. Without rules nothing says that no approval is required.
	Covered bool
	// RunRefusals are why the run is not what the job claims, or why it could
	// not be read.
	RunRefusals []rule.Refusal
	// Parts are judged one by one. It is empty if no rule requires an approval.
	Parts []Part
	// Seals are the seals of images that must be sealed even if no rule requires
	// an approval.
	Seals []Seal
	// PlanCode returns the plan's code as of a time: the zero time is now. It
	// returns "" if it is unknown. It is needed if a part requires the plan's code.
	PlanCode func(at time.Time) string
}

// Part is a group of images under the same rules. Evidence is nil if it was not
// read.
type Part struct {
	Rules    Rules
	Evidence *Evidence
}

// Decide returns the verdict on a whole step. It is granted only if every part
// is.
func Decide(c Case, now time.Time) Verdict {
	switch {
	case !c.NeedsApproval:
		return Verdict{Kind: None, Refusals: c.RunRefusals}
	case c.Unapproved:
		return Verdict{Kind: Unapproved}
	case len(c.Parts) == 0:
		return notRequired(c)
	case !c.InRun && !c.Planning:
		return outsideRun(c.Subject)
	case len(c.RunRefusals) > 0 || c.InRun && slices.ContainsFunc(c.Parts, func(p Part) bool { return p.Evidence == nil }):
		v := Verdict{Kind: Manual, Refusals: slices.Clone(c.RunRefusals)}
		if c.Planning {
			v.Refusals = append(v.Refusals, judgeSeals(c.Seals)...)
		}
		return v
	}
	c.fillOutside()
	since := c.fixPlan(now)
	parts := make([]Verdict, len(c.Parts))
	for i, p := range c.Parts {
		parts[i] = c.judge(p, now)
	}
	sum := parts[0]
	for _, v := range parts[1:] {
		sum = merge(sum, v)
	}
	sum.PlanAt, sum.Parts = since, parts
	return sum
}

// never is a time after every approval.
var never = time.Unix(1<<40, 0)

// fixPlan sets the code of the parts that require the plan's, and returns the time
// that it is as of; the zero time is now.
//
// What the plan's code covers depends on when the first approval that counts was
// given, and whether an approval counts depends on the code. An approval fixes the
// plan if its comment quotes the code as of its own time, and if it counts otherwise.
// The earliest of these, and of the approvals that count in parts without the plan's
// code, is the first that counts: the plan is the one as of then. Every other
// approval must quote the same code. An earlier one cannot count, whatever it
// quotes: what it approved was not this plan.
func (c *Case) fixPlan(now time.Time) (since time.Time) {
	c.Parts = slices.Clone(c.Parts)
	planned := func(p Part) bool { return p.Rules.CodeOf == CodeOfPlan }
	if c.PlanCode == nil || !slices.ContainsFunc(c.Parts, planned) {
		return since
	}
	for _, p := range c.Parts {
		if !planned(p) {
			since = earlier(since, c.judge(p, now).First)
			continue
		}
		for _, candidate := range c.eligible(p, now) {
			if at := known(candidate.decided); Quotes(candidate.comment, c.PlanCode(at)) {
				since = earlier(since, at)
			}
		}
	}
	code, from := cmp.Or(c.PlanCode(since), UnknownCode), since
	if from.IsZero() {
		from = never // no approval was for the plan as of now
	}
	for i := range c.Parts {
		if planned(c.Parts[i]) {
			c.Parts[i].Rules.Code, c.Parts[i].Rules.CodeSince = code, from
		}
	}
	return since
}

// eligible returns the people whose approval counts if no code is required.
func (c *Case) eligible(p Part, now time.Time) []*candidate {
	r := p.Rules
	r.Code, r.CodeSince = "", time.Time{}
	if r.Approval == Any {
		r.Approval = Manual
	}
	j := &judge{e: *p.Evidence, r: r, now: now}
	if c.Planning {
		j.foresee()
	} else {
		j.judge()
	}
	return slices.DeleteFunc(j.candidates, func(c *candidate) bool { return !c.counts() })
}

// fillOutside adds what is known of an approval outside any run, for a plan: nothing.
func (c *Case) fillOutside() {
	if c.InRun {
		return
	}
	c.Parts = slices.Clone(c.Parts)
	for i := range c.Parts {
		c.Parts[i].Evidence = &Evidence{Awaited: "this is not a run of Azure Pipelines, so nobody can have been asked", Complete: true}
	}
}

func (c *Case) judge(p Part, now time.Time) Verdict {
	if c.Planning {
		return Foresee(*p.Evidence, p.Rules, now)
	}
	return Judge(*p.Evidence, p.Rules, now)
}

// notRequired returns the verdict if no rule in force requires an approval.
// There is no approval time to compare a seal with, but an unsealed image is
// still refused.
func notRequired(c Case) Verdict {
	v := Verdict{Kind: None, Granted: len(c.RunRefusals) == 0 && c.Covered, Refusals: slices.Clone(c.RunRefusals)}
	v.Refusals = append(v.Refusals, judgeSeals(c.Seals)...)
	return v
}

func judgeSeals(seals []Seal) []rule.Refusal {
	var refusals []rule.Refusal
	for _, s := range seals {
		refusals = append(refusals, JudgeSeal(s)...)
	}
	return refusals
}

func outsideRun(subject string) Verdict {
	return Verdict{Kind: Manual, Refusals: []rule.Refusal{{Rule: rule.ApprovalMissing, Subject: subject,
		Reason: "this is not a run of Azure Pipelines, so there is no stage with an approval",
		Remedy: "Run the task in the stage that deploys to the protected environment. At a prompt outside any run, --approval none skips approval and seal, and the result then says \"unapproved\"."}}}
}

// merge combines two verdicts without duplicates. The result is granted only if
// both are, and pending only if neither is refused.
func merge(a, b Verdict) Verdict {
	a.Pending = (a.Pending || a.Granted) && (b.Pending || b.Granted) && (a.Pending || b.Pending)
	a.Granted = a.Granted && b.Granted
	a.Guards += " and " + b.Guards
	a.Approvers = union(a.Approvers, b.Approvers)
	a.Records = union(a.Records, b.Records)
	a.Rules = union(a.Rules, b.Rules)
	a.Refusals = union(a.Refusals, b.Refusals)
	a.Warnings = union(a.Warnings, b.Warnings)
	a.First = earlier(a.First, b.First)
	a.Quoted = union(a.Quoted, b.Quoted)
	return a
}

func union[T comparable](a, b []T) []T {
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}
