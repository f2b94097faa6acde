package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/rule"
)

// This file judges approvals before they have been given, for the action plan.

// Foresee is Judge for an approval that may still be given: a rule that waits for it
// is pending, and what is decided already is judged as Judge does. The verdict is
// granted if and only if Judge grants too.
func Foresee(e Evidence, r Rules, now time.Time) Verdict {
	switch r.Approval {
	case None, Unapproved:
		return Judge(e, r, now)
	case Any:
		return foreseeAny(e, r, now)
	}
	j := &judge{e: e, r: r, now: now}
	j.foresee()
	v := j.verdict()
	v.Pending = j.open && len(v.Refusals) == 0
	v.Granted = !j.open && len(v.Refusals) == 0
	v.Warnings = j.warnings
	return v
}

// foreseeAny accepts a manual approval, or otherwise an automated one if the rules
// name checks; of one that is refused and one that is pending, the latter.
func foreseeAny(e Evidence, r Rules, now time.Time) Verdict {
	r.Approval = Manual
	manual := Foresee(e, r, now)
	if manual.Granted || len(r.Checks) == 0 {
		return manual
	}
	r.Approval = Automated
	automated := Foresee(e, r, now)
	switch {
	case automated.Granted, automated.Pending && !manual.Pending:
		return automated
	case manual.Pending:
		if automated.Pending {
			manual.Rules = union(manual.Rules, automated.Rules)
		}
		return manual
	}
	manual.Refusals = union(manual.Refusals, automated.Refusals)
	manual.Warnings = union(manual.Warnings, automated.Warnings)
	return manual
}

// outside reports whether there is no run, so that nothing of an approval can be
// known.
func (e Evidence) outside() bool { return e.Source == "" && e.Awaited != "" }

func (j *judge) foresee() {
	if !j.begin() {
		return
	}
	if !j.e.outside() {
		j.reportRun()
	}
	switch {
	case j.r.Approval == Automated:
		j.foreseeAutomated()
		return
	case j.e.Awaited != "":
		j.foreseeAwaited()
		return
	}
	guarding := j.guarding()
	if len(guarding) == 0 {
		return
	}
	var granted, open []Approval
	for _, a := range guarding {
		before := len(j.refusals)
		switch {
		case j.unasked(a):
			j.judgeReleaseSettings(a)
			open = append(open, a)
		case j.judgeStatus(a):
			granted = append(granted, a)
		case j.refusals[before].Rule == rule.ApprovalPending:
			j.refusals = j.refusals[:before]
			open = append(open, a)
		}
	}
	if len(open) == 0 {
		j.judgeGranted(guarding, granted)
		return
	}
	j.judgeOpen(granted, open)
}

// unasked reports whether nobody has been asked for an approval of a classic release,
// because its stage has not been deployed yet. A stage without approvers has an entry
// that was approved automatically.
func (j *judge) unasked(a Approval) bool {
	return j.e.Source == Release && len(a.Steps) == 0 && a.Settings != nil
}

// foreseeAwaited judges an approval that nobody has been asked for: by the checks that
// the named resource has now.
func (j *judge) foreseeAwaited() {
	j.open = true
	if j.r.Environment == "" && !j.e.outside() {
		j.refuse(rule.ApprovalUnbound, j.run(), "the input environment is empty, so it is unknown which approval counts",
			"Set the input environment to the environment whose approval counts, or to endpoint:NAME for a service connection.")
		return
	}
	var asked []ApprovalSettings
	if c := j.e.Configurations; c.Read {
		asked = j.judgeSettings()
	} else if c.Hidden {
		j.warnings = append(j.warnings, c.Unknown)
	}
	if !j.e.outside() {
		j.judgeAuthors()
	}
	j.warnings = append(j.warnings, j.unmeetable(asked, nil)...)
	j.reportPending(j.e.Awaited, j.described("will be asked", asked))
}

// judgeSettings returns the settings of the approval checks that the named resource
// has, and refuses if it has none: then nobody would be asked.
func (j *judge) judgeSettings() []ApprovalSettings {
	var asked []ApprovalSettings
	found, disabled := false, false
	for _, c := range j.e.Configurations.Checks {
		switch {
		case !SameGUID(c.Type, TypeApproval) || !NamesResource(j.r.Environment, c.Resource):
		case c.Disabled:
			disabled = true
		default:
			found = true
			if c.Settings != nil {
				asked = append(asked, *c.Settings)
			}
		}
	}
	if !found {
		why := "has no approval check"
		if disabled {
			why = "has an approval check that is disabled"
		}
		j.refuse(rule.ApprovalMissing, j.guards(), fmt.Sprintf("%s %s, so nobody would be asked to approve", j.guards(), why), j.addCheck())
	}
	return asked
}

// addCheck returns the remedy for a resource that has no approval check.
func (j *judge) addCheck() string {
	where := "Project settings, Service connections"
	if kind, name := named(j.r.Environment); kind == "environment" {
		where = "Pipelines, Environments, " + name
	}
	return fmt.Sprintf("Add an approval to %s (%s, Approvals and checks), or name the resource whose approval counts.", j.guards(), where)
}

// judgeReleaseSettings refuses if a stage of a classic release has no approvers: Azure
// DevOps would approve it automatically.
func (j *judge) judgeReleaseSettings(a Approval) {
	if len(a.Settings.Approvers) == 0 {
		j.refuse(rule.ApprovalMissing, j.guards(),
			fmt.Sprintf("nobody would be asked for %s: the stage has no approvers", j.which(a)),
			"Add an approver to the stage (Edit the release pipeline, Pre-deployment conditions, or Post-deployment conditions), and create a release.")
	}
}

// judgeOpen judges a stage of which at least one approval is open: who has approved
// already, and what it waits for.
func (j *judge) judgeOpen(granted, open []Approval) {
	j.open = true
	j.judgeAuthors()
	for i, a := range granted {
		j.readApprovers(i, a)
	}
	j.refuseUnserved(len(granted), false)
	var asked []ApprovalSettings
	verb, awaited := "asked", ""
	for i, a := range open {
		if j.unasked(a) {
			asked = append(asked, *a.Settings)
			verb, awaited = "will be asked", fmt.Sprintf("nobody has been asked for the %s approval yet", a.Phase)
			continue
		}
		if a.Status != "" {
			awaited = "the status of the approval is " + a.Status
		}
		settings := ApprovalSettings{Required: a.Required}
		for _, s := range a.Steps {
			if s.Status == approved && !s.Automated && s.unclear() == "" {
				c := &candidate{Person: *s.Actual, approval: len(granted) + i, id: GUID(s.Actual.ID), at: s.Modified, decided: s.decided(), comment: s.Comment, step: s}
				j.judgeCandidate(c)
				j.candidates = append(j.candidates, c)
			}
			if s.Assigned != (Person{}) && s.Status != "reassigned" {
				settings.Approvers = append(settings.Approvers, s.Assigned)
			}
		}
		asked = append(asked, settings)
	}
	j.warnings = append(j.warnings, j.unmeetable(asked, granted)...)
	j.reportPending(awaited, j.described(verb, asked))
}

// reportPending reports the rules that wait for the approval. awaited is why there is
// none yet, and asked describes who is asked for it.
func (j *judge) reportPending(awaited, asked string) {
	wanted := plural(j.least(), "approver")
	if where := j.guards(); where != "" {
		wanted += " on " + where
	}
	switch {
	case !j.r.RequesterCanApprove && !j.r.AuthorCanApprove:
		wanted += ", other than the requester and the author"
	case !j.r.RequesterCanApprove:
		wanted += ", other than the requester"
	case !j.r.AuthorCanApprove:
		wanted += ", other than the author"
	}
	if len(j.r.Approvers) > 0 {
		wanted += "; only these count: " + list(j.r.Approvers)
	}
	if j.r.Code != "" {
		wanted += "; the comment must quote " + j.code()
	}
	if len(j.r.CommentPatterns) > 0 {
		wanted += "; the comment must match " + j.r.patterns()
	}
	j.inForce(rule.ApprovalMissing, strings.Join(nonEmpty(wanted, awaited, asked), "; "))
	j.inForce(rule.MinApprovers, j.counted(j.approvers()))
	j.reportRules()
}

func nonEmpty(words ...string) []string {
	return slices.DeleteFunc(words, func(w string) bool { return w == "" })
}

// mostAsked limits how many people are named.
const mostAsked = 10

// described returns a phrase with whom the approval checks ask, and how.
func (j *judge) described(verb string, asked []ApprovalSettings) string {
	var phrases []string
	for _, a := range asked {
		var names []string
		for _, p := range a.Approvers {
			if name := label(p); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		if more := len(names) - mostAsked; more > 0 {
			names = append(names[:mostAsked], fmt.Sprintf("%d more", more))
		}
		if len(names) == 0 {
			continue
		}
		of := fmt.Sprintf("%d of them must approve", a.needed())
		if a.needed() >= len(a.Approvers) {
			of = "all of them must approve"
		}
		if len(a.Approvers) == 1 {
			of = ""
		}
		order, requester, timeout := "", "", ""
		if a.InSequence {
			order = "one after another"
		}
		if a.RequesterExcluded {
			requester = "Azure DevOps does not let the requester approve"
		}
		if a.Timeout > 0 {
			timeout = "the check times out after " + period(a.Timeout)
		}
		phrase := verb + ": " + strings.Join(names, ", ")
		if details := strings.Join(nonEmpty(of, order, requester, timeout), ", "); details != "" {
			phrase += " (" + details + ")"
		}
		phrases = append(phrases, phrase)
	}
	switch {
	case len(phrases) > 0:
		return strings.Join(phrases, "; and ")
	case j.e.outside(), j.e.Source == Release:
		return ""
	case j.e.Configurations.Unknown != "":
		return "it is unknown who is asked: " + strings.TrimRight(j.e.Configurations.Unknown, ".")
	}
	return "it is unknown who is asked"
}

// needed returns how many of the approvers must approve.
func (a ApprovalSettings) needed() int {
	if a.Required <= 0 || a.Required > len(a.Approvers) {
		return len(a.Approvers)
	}
	return a.Required
}

// period writes a duration in days, hours or minutes.
func period(d time.Duration) string {
	switch {
	case d >= 24*time.Hour && d%(24*time.Hour) == 0:
		return plural(int(d/(24*time.Hour)), "day")
	case d >= time.Hour && d%time.Hour == 0:
		return plural(int(d/time.Hour), "hour")
	}
	return plural(int(d/time.Minute), "minute")
}

// unmeetable returns a sentence for each reason why the approval checks could never
// meet the rules, regardless of who approves. granted are the approvals that have been given.
func (j *judge) unmeetable(asked []ApprovalSettings, granted []Approval) []string {
	asked = slices.DeleteFunc(slices.Clone(asked), func(a ApprovalSettings) bool { return len(a.Approvers) == 0 })
	if len(asked) == 0 {
		return nil
	}
	var warnings []string
	most := 0
	for _, a := range granted {
		most += max(a.Required, 1)
	}
	eligible, unlimited := map[string]bool{}, len(granted) > 0
	for _, a := range asked {
		most += a.needed()
		can, excluded := 0, []string{}
		for _, p := range a.Approvers {
			if p.Group || p.Descriptor == "" { // perhaps a group
				unlimited = true
				can++
				continue
			}
			if why := j.ineligible(p); why != "" {
				excluded = append(excluded, label(p)+" "+why)
				continue
			}
			can++
			eligible[GUID(p.ID)] = true
		}
		if can == 0 {
			if more := len(excluded) - mostAsked; more > 0 {
				excluded = append(excluded[:mostAsked], fmt.Sprintf("%d more", more))
			}
			warnings = append(warnings, fmt.Sprintf("The approval check of %s asks nobody whose approval would count: %s. Add an approver to the check.", j.guards(), strings.Join(excluded, "; ")))
		}
	}
	least := j.least()
	switch {
	case len(warnings) > 0:
	case most < least:
		warnings = append(warnings, fmt.Sprintf("The rules require %s, but the approval of %s is given with %d. Raise the check's minimum number of approvers.", plural(least, "approver"), j.guards(), most))
	case !unlimited && len(eligible) < least:
		warnings = append(warnings, fmt.Sprintf("The rules require %s, but the approval check of %s asks only %d whose approval would count. Add approvers to the check.", plural(least, "approver"), j.guards(), len(eligible)))
	}
	return warnings
}

// ineligible returns why the approval of a person who is asked would not count,
// whatever they write, or "" if it may count.
func (j *judge) ineligible(p Person) string {
	switch {
	case !j.r.RequesterCanApprove && j.requestedHow(p.ID) != "":
		return j.requestedHow(p.ID)
	case !j.r.AuthorCanApprove && j.isAuthor(p.ID):
		return "pushed the source version"
	case p.notAPerson() != "" && !j.names(p):
		return "is " + p.notAPerson()
	case p.UniqueName != "" && !j.isListed(Step{Assigned: p}):
		return "is not on the list of approvers"
	}
	return ""
}

// run returns the name of the run that the evidence is about, "" if there is none.
func (j *judge) run() string {
	switch {
	case j.e.outside():
		return ""
	case j.e.Source == Release:
		return fmt.Sprintf("release %d", j.e.ReleaseID)
	}
	return fmt.Sprintf("run %d", j.e.BuildID)
}

// openStatuses are those of a check that has not been decided.
var openStatuses = []string{"none", "queued", "running", "rerunning", "deferred"}

// foreseeAutomated judges an automated approval: a named check that has not been
// evaluated yet is pending.
func (j *judge) foreseeAutomated() {
	suite := j.e.Suite
	switch {
	case len(j.r.Checks) == 0 || j.e.Source == Release || j.e.Awaited == "" && (suite == nil || !slices.Contains(openStatuses, suite.Status)):
		j.judgeAutomated()
		return
	case j.r.Code != "":
		j.refuse(rule.ApprovalCode, j.run(), "the approval code is required, but an automated check cannot quote it", "Require a manual approval, or no approval code.")
	}
	if j.e.Awaited == "" && !j.judgeContext(suite.Context) {
		return
	}
	j.open = true
	for _, c := range j.r.Checks {
		if j.e.Awaited != "" {
			j.foreseeCheck(c)
			continue
		}
		if slices.ContainsFunc(suite.Runs, func(run CheckRun) bool {
			return NamesResource(c.Resource, run.Resource) && j.defines(c.Definition, run) && slices.Contains(openStatuses, run.Status)
		}) {
			j.inForce(rule.AutomatedCheck, fmt.Sprintf("%s has not been decided yet", c))
			continue
		}
		at, _, _, why := j.passedCheck(c, suite)
		if why != "" {
			j.refuse(rule.AutomatedCheck, c.Resource, fmt.Sprintf("%s %s. %s", c, why, guarded(suite)), "Make sure that the check passes for this stage, or correct the flow file.")
			continue
		}
		j.inForce(rule.AutomatedCheck, fmt.Sprintf("%s passed at %s; the other checks of the stage have not been decided yet", c, formatTime(at)))
	}
}

// foreseeCheck judges a named check that nothing has been evaluated of, by what its
// resource has now.
func (j *judge) foreseeCheck(c Check) {
	configured := slices.ContainsFunc(j.e.Configurations.Checks, func(found Configuration) bool {
		run := CheckRun{Type: found.Type, ConfigurationID: found.ID}
		return !found.Disabled && NamesResource(c.Resource, found.Resource) && j.defines(c.Definition, run)
	})
	if j.e.Configurations.Read && !configured {
		j.refuse(rule.AutomatedCheck, c.Resource, fmt.Sprintf("%s is not configured, or is disabled, so it would not be evaluated", c), "Add the check to the resource, or correct the flow file.")
		return
	}
	detail := nonEmpty(c.String()+" must pass", j.e.Awaited)
	if !j.e.Configurations.Read && j.e.Configurations.Unknown != "" {
		detail = append(detail, "it is unknown whether it is configured: "+strings.TrimRight(j.e.Configurations.Unknown, "."))
	}
	j.inForce(rule.AutomatedCheck, strings.Join(detail, "; "))
}
