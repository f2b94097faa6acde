package approval

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"acrpromote/internal/rule"
)

// businessHours is the definition of Azure DevOps' check of the time of day. It
// looks at neither image nor run, so it is not an approval.
const businessHours = "445fde2f-6c39-441c-807f-8a59ff2e075f"

// Check identifies one automated check. Definition is the number of a
// configuration, or the GUID of a check type or of a task check's definition.
// Resource is what the check guards, in the form of Rules.Environment.
type Check struct {
	Definition string
	Resource   string
}

func (c Check) String() string { return fmt.Sprintf("check %s on %s", c.Definition, c.Resource) }

// judgeAutomated decides an automated approval: every named check must have been
// evaluated for this stage and have passed. A stage without checks never
// qualifies, and neither does one whose named checks look only at the time.
func (j *judge) judgeAutomated() {
	subject := j.stage()
	if len(j.r.Checks) == 0 {
		j.refuse(rule.AutomatedCheck, subject, "an automated approval is required, but the rules name no checks for it",
			"Name the checks in the flow file, or require a manual approval.")
		return
	}
	if j.e.Source != YAML {
		j.refuse(rule.AutomatedCheck, subject, "this is not a YAML run: Azure DevOps evaluates checks only for the stages of YAML runs", "Require a manual approval.")
		return
	}
	if j.r.Code != "" {
		j.refuse(rule.ApprovalCode, subject, "the approval code is required, but an automated check cannot quote it", "Require a manual approval, or no approval code.")
	}
	suite := j.e.Suite
	if j.e.Unchecked || suite == nil {
		j.refuse(rule.AutomatedCheck, subject, "the stage has no checks", "Add the named checks to the resources that the stage uses.")
		return
	}
	if !j.judgeContext(suite.Context) {
		return
	}
	if !strings.EqualFold(suite.Status, "approved") {
		j.refuseContradiction(fmt.Sprintf("the status of its check suite is %q", suite.Status))
		return
	}
	real := false
	var passed []string
	for _, c := range j.r.Checks {
		at, clock, runs, why := j.passedCheck(c, suite)
		if why != "" {
			remedy := "Make sure that the check passes for this stage, or correct the flow file."
			if hidden := unnamed(c.Resource, suite.Runs); len(hidden) > 0 {
				why += fmt.Sprintf(", as far as %s may view what its checks guard", j.reader())
				remedy = j.grantView(hidden)
			}
			j.refuse(rule.AutomatedCheck, c.Resource, fmt.Sprintf("%s %s. %s", c, why, guarded(suite)), remedy)
			continue
		}
		real = real || !clock
		passed = append(passed, fmt.Sprintf("%s passed at %s", c, formatTime(at)))
		j.passed = append(j.passed, at)
		for _, run := range runs {
			j.records = append(j.records, run.record(""))
			j.passedChecks = append(j.passedChecks, PassedCheck{Definition: c.Definition, Resource: run.Resource, At: at})
		}
		j.judgeCheckOrder(c, at)
	}
	if !real && len(passed) == len(j.r.Checks) {
		j.refuse(rule.AutomatedCheck, subject, "the named checks look only at the time of day, which is not an approval", "Name a check that looks at the image or the run.")
		return
	}
	j.met(rule.AutomatedCheck, strings.Join(passed, "; "))
}

// passedCheck returns when a named check passed, whether it is a check of the time
// of day, and its evaluations, or why it does not count.
func (j *judge) passedCheck(c Check, suite *Suite) (at time.Time, clock bool, runs []CheckRun, why string) {
	for _, run := range suite.Runs {
		if !NamesResource(c.Resource, run.Resource) || !j.defines(c.Definition, run) {
			continue
		}
		if SameGUID(run.Type, TypeApproval) {
			// The rules about people would not apply to who gave it.
			return at, false, nil, "is an approval by people, which is not an automated check"
		}
		if !strings.EqualFold(run.Status, "approved") {
			return at, false, nil, fmt.Sprintf("was evaluated, but its status is %q", run.Status)
		}
		configuration, known := j.configuration(run)
		switch {
		case !known && run.Type == TypeTaskCheck && !j.e.Configurations.Read:
			return at, false, nil, "passed, but its configuration cannot be read, so it could be a check of the time of day. " + j.e.Configurations.Unknown
		case known && configuration.Disabled:
			return at, false, nil, "is disabled now"
		case known && run.Version != 0 && configuration.Version != 0 && run.Version != configuration.Version:
			return at, false, nil, fmt.Sprintf("was evaluated in version %d, but its current version is %d", run.Version, configuration.Version)
		}
		clock = known && SameGUID(configuration.Definition, businessHours) || SameGUID(c.Definition, businessHours)
		if len(runs) == 0 || run.Completed.Before(at) {
			at = run.Completed
		}
		runs = append(runs, run)
	}
	if len(runs) == 0 {
		return at, false, nil, "was not evaluated for this stage"
	}
	return at, clock, runs, ""
}

// defines reports whether an evaluation is of the definition: a configuration's
// number, or the GUID of its type or of its task check.
func (j *judge) defines(definition string, run CheckRun) bool {
	if number, err := strconv.Atoi(definition); err == nil {
		return number == run.ConfigurationID
	}
	if SameGUID(definition, run.Type) {
		return true
	}
	configuration, known := j.configuration(run)
	return known && SameGUID(definition, configuration.Definition)
}

func (j *judge) configuration(run CheckRun) (Configuration, bool) {
	for _, c := range j.e.Configurations.Checks {
		if c.ID == run.ConfigurationID && c.ID != 0 {
			return c, true
		}
	}
	return Configuration{}, false
}

// judgeCheckOrder refuses an image that was changed or sealed after a check
// passed.
func (j *judge) judgeCheckOrder(c Check, at time.Time) {
	for _, s := range j.r.Seals {
		switch {
		case s.problem() != "":
		case at.IsZero():
			j.refuse(rule.ApprovalUnreadable, s.Subject, fmt.Sprintf("the server does not say when %s passed", c), "Run the stage again. If the error persists, require a manual approval.")
		case !at.After(s.TagUpdated):
			j.refuse(rule.ChangedSinceApproval, s.Subject, fmt.Sprintf("%s passed at %s, but the image was changed at %s", c, formatTime(at), formatTime(s.TagUpdated)), "Run the stage again.")
		case !at.After(s.RecordCreated):
			j.refuse(rule.NotSealed, s.Subject, fmt.Sprintf("%s passed at %s, but the image was sealed at %s", c, formatTime(at), formatTime(s.RecordCreated)), "Seal the image before the stage, then run the stage again.")
		}
	}
}
