package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/rule"
)

// Verdict is a decision with its reasons: every rule in force, met or not, and
// all refusals. Pending is set if no rule is violated, but some wait for an approval
// that may still be given; only Foresee returns such a verdict.
type Verdict struct {
	Granted   bool
	Pending   bool
	Kind      Kind
	Guards    string // "environment Production"
	Approvers []Approver
	Records   []Record
	// Given are the approvals that count, and Passed the named checks that passed.
	Given    []Given
	Passed   []PassedCheck
	Rules    []rule.Outcome
	Refusals []rule.Refusal
	// First is the earliest time at which an approval that counts may have been
	// given: by a person, or by a named check. Zero if none counts.
	First time.Time
	// PlanAt is the time that the plan's code is as of, if it is required; zero if
	// it is now.
	PlanAt time.Time
	// Quoted are other codes that the comments of approvers quote instead of the
	// plan's.
	Quoted []string
	// Warnings has a sentence for each setting with which the approval could not
	// meet the rules.
	Warnings []string
	// Parts are the verdicts on the parts of a case, in its order, if they were
	// judged.
	Parts []Verdict
}

// Given is one person's approval that counts, with what it is of. Unlike that of an
// Approver in a Verdict, the name is the display name alone.
type Given struct {
	Approver
	Record
}

// PassedCheck is a named check that passed for the stage, on a resource.
type PassedCheck struct {
	Definition string
	Resource   Resource
	At         time.Time // zero if it is unknown
}

// Approver is a person whose approval counted.
type Approver struct {
	Name       string
	UniqueName string
	ID         string
	At         time.Time
	Comment    string
}

// Record identifies what was judged: an approval of the named resource, given or
// not, or a named check that passed. Check and Version are those of the check's
// configuration; they are 0 if they are unknown. What was evaluated for the stage is
// Run.
type Record struct {
	ID       string // of an approval
	Run      string
	Check    int
	Version  int
	Resource Resource
	// Requested is when the first approver could respond; zero if it is unknown.
	Requested time.Time
}

// Judge turns evidence into a verdict. It is granted if and only if no rule
// refuses. For None and Unapproved, Judge does not look at the evidence.
func Judge(e Evidence, r Rules, now time.Time) Verdict {
	switch r.Approval {
	case None:
		return Verdict{Granted: true, Kind: None}
	case Unapproved:
		return Verdict{Kind: Unapproved}
	case Any:
		return judgeAny(e, r, now)
	}
	j := &judge{e: e, r: r, now: now}
	j.judge()
	v := j.verdict()
	v.Granted = len(v.Refusals) == 0
	return v
}

func (j *judge) verdict() Verdict {
	kind := Manual
	if j.r.Approval == Automated {
		kind = Automated
	}
	return Verdict{
		Kind:      kind,
		Guards:    j.guards(),
		Approvers: j.approvers(),
		Records:   j.records,
		Given:     j.given(),
		Passed:    j.passedChecks,
		Rules:     j.outcomes(),
		Refusals:  j.refusals,
		First:     j.first(),
		Quoted:    j.quoted(),
	}
}

// judgeAny accepts a manual approval, or otherwise an automated one if the rules
// name checks.
func judgeAny(e Evidence, r Rules, now time.Time) Verdict {
	r.Approval = Manual
	manual := Judge(e, r, now)
	if manual.Granted || len(r.Checks) == 0 {
		return manual
	}
	r.Approval = Automated
	automated := Judge(e, r, now)
	if automated.Granted {
		return automated
	}
	// Report the refusals of both, without duplicates.
	for _, refusal := range automated.Refusals {
		if !slices.Contains(manual.Refusals, refusal) {
			manual.Refusals = append(manual.Refusals, refusal)
		}
	}
	return manual
}

// judge is the state of one judgement.
type judge struct {
	e   Evidence
	r   Rules
	now time.Time

	candidates []*candidate
	records    []Record
	passed     []time.Time // when each named check passed

	passedChecks []PassedCheck // on each resource

	unversioned bool // the version of a check is unknown
	refusals    []rule.Refusal
	results     []rule.Outcome
	open        bool // an approval may still be given
	warnings    []string
}

// begin judges what does not depend on the approval. It reports whether the evidence
// is complete.
func (j *judge) begin() bool {
	j.refusals = append(j.refusals, j.e.Refusals...)
	if !slices.Contains([]Kind{"", Manual, Automated}, j.r.Approval) {
		j.refuse(rule.AutomatedCheck, j.guards(), fmt.Sprintf("the kind of approval %q is unknown", j.r.Approval),
			"Use manual, automated or any.")
	}
	j.judgeSeals()
	if !j.e.Complete {
		if len(j.e.Refusals) == 0 {
			j.refuse(rule.ApprovalUnreadable, j.guards(),
				"the approvals were not read completely, for an unknown reason",
				"Run the step again. If the error persists, report it as a bug.")
		}
		return false
	}
	return true
}

func (j *judge) judge() {
	if !j.begin() {
		return
	}
	j.reportRun()
	if j.r.Approval == Automated {
		j.judgeAutomated()
		return
	}
	guarding := j.guarding()
	if len(guarding) == 0 {
		return
	}
	var granted []Approval
	for _, a := range guarding {
		if j.judgeStatus(a) {
			granted = append(granted, a)
		}
	}
	j.judgeGranted(guarding, granted)
}

// guarding returns the approvals that count. There are none if that is refused.
func (j *judge) guarding() []Approval {
	var guarding []Approval
	if j.e.Source == Release {
		guarding = j.bindRelease()
	} else {
		guarding = j.bind()
	}
	if len(guarding) > 0 {
		j.met(rule.ApprovalUnbound, fmt.Sprintf("%s of this stage for %s%s", plural(len(guarding), "approval"), j.guards(), j.configurationNote()))
	}
	return guarding
}

// judgeGranted judges who gave the approvals, of those that count.
func (j *judge) judgeGranted(guarding, granted []Approval) {
	if len(granted) == len(guarding) {
		j.judgeSuiteStatus()
		j.met(rule.ApprovalMissing, plural(len(granted), "approval")+" given")
	}
	for i, a := range granted {
		j.readApprovers(i, a)
	}
	j.judgeApprovers(len(granted))
}

// reportRun reports that the run matches. A mismatch is a refusal of the
// evidence.
func (j *judge) reportRun() {
	detail := "job, stage and run match the server's records"
	if j.e.Token.State != "" {
		detail += "; the run's own token: " + string(j.e.Token.State)
	}
	if j.e.Token.Detail != "" {
		detail += " (" + j.e.Token.Detail + ")"
	}
	j.met(rule.RunMismatch, detail)
	j.results = append(j.results, j.e.Notes...)
}

func (j *judge) refuse(name rule.Name, subject, reason, remedy string) {
	j.refusals = append(j.refusals, rule.Refusal{Rule: name, Subject: subject, Reason: reason, Remedy: remedy})
}

// met reports a rule as met, unless it is refused.
func (j *judge) met(name rule.Name, detail string) {
	j.results = append(j.results, rule.Outcome{Rule: name, Met: true, Detail: detail})
}

// inForce reports a rule as met, or as pending while an approval may still be given.
func (j *judge) inForce(name rule.Name, detail string) {
	j.results = append(j.results, rule.Outcome{Rule: name, Met: !j.open, Pending: j.open, Detail: detail})
}

// outcomes returns the judged rules in the order of rule.All. A refused rule is
// not met, even if it was also reported as met or pending.
func (j *judge) outcomes() []rule.Outcome {
	var list []rule.Outcome
	for _, name := range rule.All {
		outcome := rule.Outcome{Rule: name, Met: true}
		var reasons, details []string
		for _, r := range j.refusals {
			if r.Rule == name {
				reasons = append(reasons, r.Reason)
			}
		}
		for _, t := range j.results {
			if t.Rule == name {
				details = append(details, t.Detail)
				outcome.Met, outcome.Pending = outcome.Met && t.Met, outcome.Pending || t.Pending
			}
		}
		if len(reasons) > 0 {
			outcome.Met, outcome.Pending, details = false, false, reasons
		}
		if len(details) == 0 {
			continue
		}
		outcome.Detail = strings.Join(details, "; ")
		list = append(list, outcome)
	}
	return list
}

// approvers returns each eligible approver once, with their newest approval.
func (j *judge) approvers() []Approver {
	var list []Approver
	for _, c := range j.candidates {
		if !c.counts() {
			continue
		}
		i := slices.IndexFunc(list, func(a Approver) bool { return a.ID == c.id })
		if i < 0 {
			list = append(list, Approver{Name: c.label(), UniqueName: c.UniqueName, ID: c.id, At: c.at, Comment: c.comment})
		} else if c.at.After(list[i].At) {
			list[i].At, list[i].Comment = c.at, c.comment
		}
	}
	return list
}

// given returns all approvals that count, each with what it is of.
func (j *judge) given() []Given {
	var list []Given
	for _, c := range j.candidates {
		if c.counts() && c.approval < len(j.records) {
			list = append(list, Given{Approver{Name: c.Name, UniqueName: c.UniqueName, ID: c.id, At: c.at, Comment: c.comment}, j.records[c.approval]})
		}
	}
	return list
}

// first returns the earliest time at which an approval that counts may have been
// given. One whose time is not known may be as old as any.
func (j *judge) first() time.Time {
	times := j.passed
	for _, c := range j.candidates {
		if c.counts() {
			times = append(times, c.decided)
		}
	}
	var first time.Time
	for _, at := range times {
		first = earlier(first, known(at))
	}
	return first
}

// known returns a time before all others for one that is not known.
func known(at time.Time) time.Time {
	if at.IsZero() {
		return time.Unix(0, 0)
	}
	return at
}

// earlier returns the earlier of two times, of which a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// guards returns the name of the resource whose approval counts.
func (j *judge) guards() string {
	if j.e.Source == Release {
		return "stage " + j.e.Stage
	}
	if j.r.Environment == "" {
		return j.stage()
	}
	kind, name := named(j.r.Environment)
	return Resource{Type: kind, Name: name}.String()
}

// stage returns the name of the stage and run that the evidence is about.
func (j *judge) stage() string {
	s := "stage " + j.e.Stage
	switch {
	case j.e.Stage == "" && j.e.Awaited != "":
		return j.run()
	case j.e.Source == Release && j.e.ReleaseID != 0:
		s += fmt.Sprintf(" of release %d", j.e.ReleaseID)
	case j.e.BuildID != 0:
		s += fmt.Sprintf(" of run %d", j.e.BuildID)
	}
	return s
}

// String returns the kind and name of the resource, such as "service connection
// prod", or its id, as Rules.Environment may have it: "environment #7".
func (r Resource) String() string {
	name := r.Name
	switch {
	case name != "":
	case r.ID != "":
		name = "#" + r.ID
	default:
		name = "without a name"
	}
	switch r.Type {
	case "endpoint":
		return "service connection " + name
	case "variablegroup":
		return "variable group " + name
	case "queue":
		return "agent pool " + name
	case "securefile":
		return "secure file " + name
	case "":
		return "resource " + name
	}
	return r.Type + " " + name
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// list joins words, sorted and without duplicates, with commas.
func list(words []string) string {
	words = slices.Clone(words)
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}
