package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// skew is the tolerated difference between the server's clock and this
// machine's.
const skew = 5 * time.Minute

// candidate is one person's response to one approval, with every rule it fails.
type candidate struct {
	Person
	approval int
	id       string
	at       time.Time // when the response was last written
	decided  time.Time // the earliest time at which the person may have decided
	comment  string
	step     Step
	fails    []failure
}

// failure is one rule that a candidate fails. why continues a sentence that
// begins with the person's name.
type failure struct {
	rule rule.Name
	why  string
}

// when returns a phrase with the earliest time of the decision, to follow the
// person's name.
func (c *candidate) when() string {
	switch {
	case c.decided.IsZero():
		return "responded at an unknown time"
	case !c.decided.Equal(c.at):
		return fmt.Sprintf("may have responded as early as %s", formatTime(c.decided))
	}
	return "approved at " + formatTime(c.decided)
}

func (c *candidate) counts() bool  { return len(c.fails) == 0 }
func (c *candidate) label() string { return label(c.Person) }

func (c *candidate) fail(name rule.Name, format string, args ...any) {
	c.fails = append(c.fails, failure{name, fmt.Sprintf(format, args...)})
}

// readApprovers collects and judges the people who gave a granted approval.
func (j *judge) readApprovers(index int, a Approval) {
	unknown := func(what string) {
		j.refuse(rule.ApprovalUnreadable, j.guards(), j.which(a)+" is granted, but "+what,
			"An approval counts only if the server says who gave it and when. Run the stage again and have it approved. "+j.whoMay())
	}
	before, knowable := len(j.candidates), true
	for _, s := range a.Steps {
		why := s.unclear()
		switch {
		case why != "":
			unknown(why)
			knowable = false
		case s.Status == approved && !s.Automated:
			c := &candidate{
				Person: *s.Actual, approval: index, id: GUID(s.Actual.ID),
				at: s.Modified, decided: s.decided(), comment: s.Comment, step: s,
			}
			j.judgeCandidate(c)
			j.candidates = append(j.candidates, c)
		}
	}
	if len(j.candidates) == before && knowable {
		unknown("it names no approver: the check may have been bypassed")
	}
}

// unclear returns why a step of a granted approval does not show who approved,
// or "" if it does. Steps that are still pending do not matter.
func (s Step) unclear() string {
	switch {
	case s.Status == "rejected":
		return "it was also rejected" + rejecters(Approval{Steps: []Step{s}})
	case s.Status != approved || s.Automated:
		return ""
	case s.Actual == nil || GUID(s.Actual.ID) == "":
		return "it does not say which person approved"
	case s.Modified.IsZero():
		return fmt.Sprintf("it does not say when %s approved", label(*s.Actual))
	}
	return ""
}

// decided returns the earliest time at which the approver may have decided. That
// is when the response was written, unless it was deferred or last written by
// someone else: then it may be as old as the request for approval. The earliest
// time is the strict one for every rule that compares times: an approval has to
// be younger than the seal, younger than its maximum age, and younger than what
// is attached to the image.
func (s Step) decided() time.Time {
	if s.Deferred || GUID(s.ModifiedBy) != "" && !SameGUID(s.ModifiedBy, s.Actual.ID) {
		return s.Initiated
	}
	return s.Modified
}

// judgeCandidate checks one person's response against every rule.
func (j *judge) judgeCandidate(c *candidate) {
	if c.at.After(j.now.Add(skew)) {
		c.fail(rule.ApprovalUnreadable, "approved at %s, which is %s in the future by this machine's clock: one of the clocks is wrong", formatTime(c.at), c.at.Sub(j.now).Round(time.Second))
	}
	if !j.r.RequesterCanApprove {
		if as := j.requestedHow(c.id); as != "" {
			c.fail(rule.RequesterApproved, "%s", as)
		}
	}
	if !j.r.AuthorCanApprove && j.isAuthor(c.id) {
		c.fail(rule.AuthorApproved, "pushed the source version")
	}
	if what := c.notAPerson(); what != "" && (c.Group || !j.names(c.Person)) {
		c.fail(rule.NotAPerson, "is %s", what)
	}
	if !j.isListed(c.step) {
		c.fail(rule.ApproverNotListed, "is not on the list of approvers, and neither is the group that was asked")
	}
	if j.r.MaxAge > 0 && j.now.Sub(c.decided) > j.r.MaxAge {
		c.fail(rule.ApprovalTooOld, "%s", c.when())
	}
	if !j.r.matches(c.comment) {
		c.fail(rule.CommentPattern, "wrote %s", quoted(c.comment))
	}
	j.judgeCode(c)
	j.judgeOrder(c)
}

// judgeApprovers counts the eligible approvers. Each approval needs at least
// one, and all approvals together need the required number of distinct people.
func (j *judge) judgeApprovers(granted int) {
	j.judgeAuthors()
	least := j.least()
	counted := j.approvers()
	short := len(counted) < least
	j.refuseUnserved(granted, short)
	detail := j.counted(counted)
	switch {
	case !short:
		j.met(rule.MinApprovers, detail)
	case granted > 0 && least > 1, len(j.refusals) == 0:
		j.refuse(rule.MinApprovers, j.guards(), "not enough eligible approvers: "+detail,
			fmt.Sprintf("%s must approve. Raise the check's minimum number of approvers accordingly and run the stage again. %s", more(least-len(counted)), j.whoMay()))
	default:
		j.results = append(j.results, rule.Outcome{Rule: rule.MinApprovers, Detail: detail})
	}
	if len(j.candidates) > 0 {
		j.reportRules()
	}
}

// least returns how many people must approve.
func (j *judge) least() int { return max(j.r.MinApprovers, 1) }

// counted returns how many of the required approvers have approved, and who.
func (j *judge) counted(approvers []Approver) string {
	detail := fmt.Sprintf("%d of %d", len(approvers), j.least())
	for i, a := range approvers {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		detail += fmt.Sprintf("%s%s at %s", sep, a.Name, formatTime(a.At))
	}
	return detail
}

// refuseUnserved refuses the first approvals, which are granted, if nobody counts who
// gave one of them. If too few people count at all, it gives the reasons of all.
func (j *judge) refuseUnserved(granted int, short bool) {
	excluded := map[rule.Name][]*candidate{}
	for i := range granted {
		served := slices.ContainsFunc(j.candidates, func(c *candidate) bool { return c.approval == i && c.counts() })
		for _, c := range j.candidates {
			if c.approval != i || served && !short {
				continue
			}
			for _, f := range c.fails {
				excluded[f.rule] = append(excluded[f.rule], c)
			}
		}
	}
	for _, name := range rule.All {
		if len(excluded[name]) > 0 {
			j.refuseExcluded(name, excluded[name])
		}
	}
}

func more(n int) string {
	if n == 1 {
		return "One more person"
	}
	return fmt.Sprintf("%d more people", n)
}

// judgeAuthors refuses if the author is unknown but may not approve: without the
// author, nobody can be shown to be someone else.
func (j *judge) judgeAuthors() {
	if j.r.AuthorCanApprove || j.e.AuthorsKnown {
		return
	}
	why := j.e.AuthorsUnknown
	if why == "" {
		why = "the server's record of the push was not read"
	}
	j.refuse(rule.AuthorApproved, j.guards(),
		"the author of the source version may not approve it, but the author is unknown: "+why,
		"Build from an Azure Repos repository whose pushes can be read, or allow the author to approve (authorCanApprove).")
}

// refuseExcluded refuses because of the people who fail one rule.
func (j *judge) refuseExcluded(name rule.Name, excluded []*candidate) {
	var words []string
	for _, c := range excluded {
		for _, f := range c.fails {
			if f.rule == name {
				words = append(words, c.label()+" "+f.why)
			}
		}
	}
	slices.Sort(words)
	persons := strings.Join(slices.Compact(words), "; ")
	again := "Run the stage again and let "
	switch name {
	case rule.RequesterApproved:
		j.refuse(name, j.guards(), "the approver also requested this run: "+persons, again+"another person approve. "+j.whoMay())
	case rule.AuthorApproved:
		j.refuse(name, j.guards(), "the approver is the author: "+persons, again+"another person approve. "+j.whoMay())
	case rule.ApproverNotListed:
		j.refuse(name, j.guards(), "the approver is not allowed to approve: "+persons, again+"one of these approve: "+list(j.r.Approvers)+".")
	case rule.NotAPerson:
		j.refuse(name, j.guards(), "the approver is not a person: "+persons,
			again+"a person approve. To allow a service identity to approve, list its unique name or descriptor in approvers. "+j.whoMay())
	case rule.ApprovalTooOld:
		j.refuse(name, j.guards(), fmt.Sprintf("the approval is older than %s: %s", j.r.MaxAge, persons), "Run the stage again and have it approved again. "+j.whoMay())
	case rule.CommentPattern:
		j.refuse(name, j.guards(), fmt.Sprintf("the approver's comment does not match %s: %s", j.r.patterns(), persons), again+"the approver write a comment that matches.")
	case rule.ApprovalCode:
		j.refuseCode(persons, again)
	case rule.ChangedSinceApproval:
		j.refuse(name, j.sealed(), "the image may have changed since it was approved: "+persons, "Have the stage approved again: an approval counts only for images that were sealed before it. "+j.whoMay())
	case rule.NotSealed:
		j.refuse(name, j.sealed(), "the image was approved before it was sealed: "+persons, "Have the stage approved again, now that the image is sealed. "+j.whoMay())
	default:
		j.refuse(name, j.guards(), persons, "Correct the clock of the agent, then run the step again.")
	}
}

// reportRules reports each rule in force about the approvers as met, unless it was
// refused, or as pending while an approval may still be given.
func (j *judge) reportRules() {
	switch {
	case !j.r.RequesterCanApprove && j.e.outside():
		j.inForce(rule.RequesterApproved, "the approval of the person who requests the run does not count")
	case !j.r.RequesterCanApprove:
		j.inForce(rule.RequesterApproved, "requested by "+j.requesterNames()+", whose approval does not count"+j.notCounted(rule.RequesterApproved))
	}
	if !j.r.AuthorCanApprove {
		j.inForce(rule.AuthorApproved, "the author's approval does not count"+j.notCounted(rule.AuthorApproved))
	}
	if len(j.r.Approvers) > 0 {
		j.inForce(rule.ApproverNotListed, "only these count: "+list(j.r.Approvers)+j.notCounted(rule.ApproverNotListed))
	}
	j.inForce(rule.NotAPerson, "only people count"+j.namedServices()+j.notCounted(rule.NotAPerson))
	if j.r.MaxAge > 0 {
		j.inForce(rule.ApprovalTooOld, fmt.Sprintf("not older than %s", j.r.MaxAge)+j.notCounted(rule.ApprovalTooOld))
	}
	if len(j.r.CommentPatterns) > 0 {
		j.inForce(rule.CommentPattern, fmt.Sprintf("the comment matches %s", j.r.patterns())+j.notCounted(rule.CommentPattern))
	}
	if j.r.Code != "" {
		of := ""
		if j.r.CodeOf == CodeOfPlan {
			of = ", the plan's code"
		}
		j.inForce(rule.ApprovalCode, "the comment quotes "+j.code()+of+j.notCounted(rule.ApprovalCode))
	}
	if len(j.r.Seals) > 0 && !slices.ContainsFunc(j.r.Seals, func(s Seal) bool { return s.problem() != "" }) {
		if j.open {
			j.met(rule.NotSealed, plural(len(j.r.Seals), "image")+" sealed")
			j.inForce(rule.ChangedSinceApproval, "must not change before the approved action has ended")
			return
		}
		j.met(rule.NotSealed, plural(len(j.r.Seals), "image")+" sealed before the approval"+j.notCounted(rule.NotSealed))
		j.met(rule.ChangedSinceApproval, "unchanged since before the approval"+j.notCounted(rule.ChangedSinceApproval))
	}
}

// namedServices lists the identities that count although they are not people.
func (j *judge) namedServices() string {
	var words []string
	for _, c := range j.candidates {
		if what := c.notAPerson(); what != "" && c.counts() {
			words = append(words, c.label()+", "+what)
		}
	}
	if len(words) == 0 {
		return ""
	}
	return ", and service identities listed in approvers: " + list(words)
}

// notCounted lists the people who approved but fail a rule that others meet.
func (j *judge) notCounted(name rule.Name) string {
	var words []string
	for _, c := range j.candidates {
		if slices.ContainsFunc(c.fails, func(f failure) bool { return f.rule == name }) {
			words = append(words, c.label())
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "; not counted: " + list(words)
}

// code returns the approval code that a comment must quote, for messages.
func (j *judge) code() string {
	if len(normalizeCode(j.r.Code)) != codeLength {
		return "the approval code, which is " + j.r.Code
	}
	return formatCode(j.r.Code)
}

func (j *judge) requesterNames() string {
	var words []string
	for _, r := range j.e.Requesters {
		if r.Name != "" || r.UniqueName != "" {
			words = append(words, label(r.Person))
		}
	}
	if len(words) == 0 {
		return "an unnamed person"
	}
	return list(words)
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func quoted(comment string) string {
	if comment == "" {
		return "no comment"
	}
	return fmt.Sprintf("%q", comment)
}

// matches reports whether a comment matches all patterns.
func (r Rules) matches(comment string) bool {
	for _, p := range r.CommentPatterns {
		if !p.MatchString(comment) {
			return false
		}
	}
	return true
}

// patterns lists the patterns as they were written: quoting would double their
// backslashes.
func (r Rules) patterns() string {
	var words []string
	for _, p := range r.CommentPatterns {
		words = append(words, `"`+sanitize.Line(p.String())+`"`)
	}
	return list(words)
}
