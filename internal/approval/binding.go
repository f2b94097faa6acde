package approval

import (
	"fmt"
	"slices"
	"time"

	"acrpromote/internal/levenshtein"
	"acrpromote/internal/rule"
)

// bind returns the approvals that the check suite links to the named resource.
// An approval on any other resource does not count, because a contributor can
// create an environment, is its administrator, and can approve there.
func (j *judge) bind() []Approval {
	suite := j.e.Suite
	if j.e.Unchecked {
		j.refuse(rule.ApprovalMissing, j.stage(), "the stage has no checks, so nobody was asked to approve", j.addApproval())
		return nil
	}
	if suite == nil {
		j.refuse(rule.ApprovalUnreadable, j.stage(),
			"the check suite of the stage was not read, so it is unknown what its approvals guard",
			"Run the step again. If the error persists, report it as a bug.")
		return nil
	}
	if !j.judgeContext(suite.Context) {
		return nil
	}
	approvals, readable := j.approvalRuns(suite)
	if !readable {
		return nil
	}
	if !j.distinctApprovals() {
		return nil
	}
	if j.r.Environment == "" {
		j.refuse(rule.ApprovalUnbound, j.stage(),
			"the input environment is empty, so it is unknown which approval counts. "+guarded(suite),
			"Set the input environment to the environment whose approval counts, or to endpoint:NAME for a service connection.")
	}
	if len(j.e.Approvals) == 0 {
		if len(approvals) > 0 {
			j.refuseContradiction("its check suite lists an approval that is missing in the run's timeline")
		} else {
			j.refuse(rule.ApprovalMissing, j.stage(), "the stage has no approval. "+guarded(suite), j.addApproval())
		}
		return nil
	}
	if j.r.Environment == "" {
		return nil
	}
	if j.nameless(approvals) {
		return nil
	}
	bound, runs := j.join(approvals)
	if !j.oneResource(runs) {
		return nil
	}
	j.identify(bound, runs)
	j.judgeConfigurations(runs)
	return bound
}

// identify records approvals with their checks, which all guard one resource. With
// other ids than those of the checks, it is unknown which check is whose, unless
// there is only one.
func (j *judge) identify(approvals []Approval, runs []CheckRun) {
	for _, a := range approvals {
		record := Record{ID: a.ID}
		for _, run := range runs {
			record.Resource = run.Resource
			if SameGUID(run.ID, a.ID) || len(runs) == 1 {
				record = run.record(a.ID)
				break
			}
		}
		record.Requested = a.requested()
		j.records = append(j.records, record)
	}
}

// requested returns when the first approver could respond, or zero.
func (a Approval) requested() time.Time {
	var first time.Time
	for _, s := range a.Steps {
		if !s.Initiated.IsZero() && (first.IsZero() || s.Initiated.Before(first)) {
			first = s.Initiated
		}
	}
	return first
}

// record identifies an evaluated check, with the id of its approval.
func (r CheckRun) record(approval string) Record {
	return Record{ID: approval, Run: r.ID, Check: r.ConfigurationID, Version: r.Version, Resource: r.Resource}
}

// approvalRuns returns the evaluated approvals of the suite.
func (j *judge) approvalRuns(s *Suite) (runs []CheckRun, readable bool) {
	seen := map[string]bool{}
	for _, run := range s.Runs {
		if run.Type == "" {
			j.refuseContradiction("its check suite lists a check without a type")
			return nil, false
		}
		if id := GUID(run.ID); id != "" {
			if seen[id] {
				j.refuseContradiction("its check suite lists the check " + run.ID + " twice")
				return nil, false
			}
			seen[id] = true
		}
		if SameGUID(run.Type, TypeApproval) {
			runs = append(runs, run)
		}
	}
	return runs, true
}

// nameless refuses if no approval guards a resource of the given name, but some
// guard resources whose names are not shown: Azure DevOps leaves out the name of a
// resource that the identity may not view.
func (j *judge) nameless(runs []CheckRun) bool {
	hidden := unnamed(j.r.Environment, runs)
	if len(hidden) == 0 {
		return false
	}
	j.refuse(rule.ApprovalUnbound, j.stage(),
		fmt.Sprintf("the approvals of the stage guard %s, whose name Azure DevOps does not show to %s, so it is unknown whether that is %s", list(words(hidden)), j.reader(), j.guards()),
		j.grantView(hidden))
	return true
}

// unnamed returns the resources without a name that may be the named one, if none
// of the checks is on a resource of that name.
func unnamed(environment string, runs []CheckRun) []Resource {
	kind, name := named(environment)
	if resourceID(kind, name) != "" {
		return nil
	}
	var hidden []Resource
	for _, run := range runs {
		switch {
		case NamesResource(environment, run.Resource):
			return nil
		case run.Resource.Type == kind && run.Resource.Name == "" && run.Resource.ID != "" && !slices.Contains(hidden, run.Resource):
			hidden = append(hidden, run.Resource)
		}
	}
	return hidden
}

func words(resources []Resource) []string {
	var names []string
	for _, r := range resources {
		names = append(names, r.String())
	}
	return names
}

// reader returns the identity that read the evidence.
func (j *judge) reader() string {
	if j.e.Reader == "" {
		return "the job's identity"
	}
	return j.e.Reader
}

// grantView returns the remedy for resources whose names are not shown.
func (j *judge) grantView(hidden []Resource) string {
	where, prefix, address := "Pipelines, Environments, the environment, Security", "", "_environments/"
	if hidden[0].Type == "endpoint" {
		where, prefix, address = "Project settings, Service connections, the service connection, Security", endpointPrefix, "resourceId="
	}
	collection := ""
	if j.e.Organization != "" {
		collection = fmt.Sprintf(", or \"Project Collection Build Service (%s)\" if the job's authorization scope is not limited to the project,", j.e.Organization)
	}
	return fmt.Sprintf("Grant %s%s the role Reader on %s (%s). Or name the resource by its id, as %s%s, after checking in its address (%s%s) that it is the one whose approval counts.",
		j.reader(), collection, list(words(hidden)), where, prefix, "#"+hidden[0].ID, address, hidden[0].ID)
}

// distinctApprovals refuses approvals without an id and duplicate ids.
func (j *judge) distinctApprovals() bool {
	seen := map[string]bool{}
	for _, a := range j.e.Approvals {
		id := GUID(a.ID)
		if id == "" || seen[id] {
			j.refuseContradiction("an approval has no id, or the same id as another")
			return false
		}
		seen[id] = true
	}
	return true
}

// join links approvals to check runs. Azure DevOps does not document how they
// are related. Equal ids are certain. Without them, the link is unambiguous
// only if every evaluated approval guards the named resource and there are as
// many of them as approvals.
func (j *judge) join(runs []CheckRun) (bound []Approval, guarding []CheckRun) {
	byID := map[string]CheckRun{}
	everyRunGuards := true
	for _, run := range runs {
		byID[GUID(run.ID)] = run
		everyRunGuards = everyRunGuards && NamesResource(j.r.Environment, run.Resource)
	}
	var loose []Approval
	tied := map[string]bool{}
	for _, a := range j.e.Approvals {
		id := GUID(a.ID)
		run, ok := byID[id]
		switch {
		case !ok:
			loose = append(loose, a)
		case NamesResource(j.r.Environment, run.Resource):
			bound, guarding = append(bound, a), append(guarding, run)
			tied[id] = true
		}
	}
	if everyRunGuards && len(runs) == len(j.e.Approvals) {
		return j.e.Approvals, runs
	}
	for _, a := range loose {
		j.refuse(rule.ApprovalUnbound, "approval "+a.ID+" of "+j.stage(),
			fmt.Sprintf("the approval %s cannot be linked to %s: the check suite has no check with that id. %s", a.ID, j.guards(), guarded(j.e.Suite)),
			j.addApproval())
	}
	if len(loose) > 0 {
		return nil, nil
	}
	for _, run := range runs {
		if NamesResource(j.r.Environment, run.Resource) && !tied[GUID(run.ID)] {
			j.refuseContradiction(fmt.Sprintf("its check suite lists an approval for %s that is missing in the run's timeline", run.Resource))
			return nil, nil
		}
	}
	if len(bound) == 0 {
		j.refuse(rule.ApprovalUnbound, j.stage(),
			fmt.Sprintf("no approval of the stage guards %s. %s", j.guards(), guarded(j.e.Suite)),
			j.addApproval())
	}
	return bound, guarding
}

// oneResource refuses if several resources have the given name.
func (j *judge) oneResource(runs []CheckRun) bool {
	for _, run := range runs {
		if run.Resource.ID == "" || run.Resource.ID != runs[0].Resource.ID {
			j.refuse(rule.ApprovalUnbound, j.stage(),
				fmt.Sprintf("the approvals of the stage guard several resources named %q, or one without an id, so it is ambiguous which of them counts", runs[0].Resource.Name),
				"Give each resource a unique name.")
			return false
		}
	}
	return true
}

// judgeConfigurations compares the evaluated checks with their current
// configuration.
func (j *judge) judgeConfigurations(runs []CheckRun) {
	if !j.e.Configurations.Read {
		return
	}
	for _, run := range runs {
		if why := j.configurationProblem(run); why != "" {
			j.refuse(rule.ApprovalUnbound, run.Resource.String(),
				fmt.Sprintf("the approval check %d of %s %s", run.ConfigurationID, run.Resource, why),
				fmt.Sprintf("Ask an administrator of %s to review its checks (Approvals and checks), then run the stage again and have it approved.", run.Resource))
		}
	}
}

func (j *judge) configurationProblem(run CheckRun) string {
	var found *Configuration
	for i, c := range j.e.Configurations.Checks {
		if c.ID != run.ConfigurationID {
			continue
		}
		if found != nil {
			return "is configured twice with the same number"
		}
		found = &j.e.Configurations.Checks[i]
	}
	switch {
	case found == nil:
		return "was evaluated for this stage, but is no longer configured there"
	case found.Disabled:
		return "is disabled now"
	case !SameGUID(found.Type, TypeApproval):
		return "is no longer an approval"
	case found.Resource.Type != run.Resource.Type || found.Resource.ID != run.Resource.ID:
		return "is now configured on another resource: " + found.Resource.String()
	case found.Version == 0 || run.Version == 0:
		j.unversioned = true
	case found.Version != run.Version:
		return fmt.Sprintf("was evaluated in version %d, but its current version is %d", run.Version, found.Version)
	}
	return ""
}

// configurationNote returns what is known about changes of the check.
func (j *judge) configurationNote() string {
	switch {
	case j.e.Source == Release:
		return ""
	case j.e.Configurations.Read && j.unversioned:
		return "; the check is enabled, but the server does not report which version was evaluated and which is current"
	case j.e.Configurations.Read:
		return "; the check is enabled and unchanged since it was evaluated"
	case j.e.Configurations.Unknown != "":
		return "; it is unknown whether the check has changed since it was evaluated: " + j.e.Configurations.Unknown
	}
	return "; it is unknown whether the check has changed since it was evaluated"
}

// refuseContradiction refuses if suite and timeline contradict each other.
func (j *judge) refuseContradiction(why string) {
	j.refuse(rule.ApprovalUnreadable, j.stage(), "the server contradicts itself about the stage: "+why,
		"Run the stage again and have it approved: contradictory records never count.")
}

// guarded returns a sentence that lists what the checks of the stage guard.
func guarded(s *Suite) string {
	var words []string
	for _, run := range s.Runs {
		if SameGUID(run.Type, TypeApproval) {
			words = append(words, run.Resource.String()+" (approval)")
		} else if run.Resource != (Resource{}) {
			words = append(words, run.Resource.String())
		}
	}
	if len(words) == 0 {
		return "The checks of this stage guard no resource."
	}
	return "The checks of this stage guard: " + list(words) + "."
}

// addApproval returns the remedy for a missing approval.
func (j *judge) addApproval() string {
	kind, name := named(j.r.Environment)
	if name == "" {
		return "Let a job of the stage deploy to an environment with an approval (Pipelines, Environments, Approvals and checks), and set the input environment to its name."
	}
	add := "Add an approval"
	if meant := j.meant(kind, name); meant != "" {
		add = fmt.Sprintf("Did you mean %s? If not, add an approval", meant)
	}
	if kind == "endpoint" {
		return add + fmt.Sprintf(" to the service connection %s (Project settings, Service connections, Approvals and checks), and use it in this stage.", name)
	}
	return add + fmt.Sprintf(" to the environment %s (Pipelines, Environments, %s, Approvals and checks), and let a job of this stage deploy to it.", name, name)
}

// meant returns the guarded resource of the stage that was probably meant: one with
// a name that is near, or with this name but of the other kind; "" if there is none.
func (j *judge) meant(kind, name string) string {
	if j.e.Suite == nil {
		return ""
	}
	var names []string
	for _, run := range j.e.Suite.Runs {
		r := run.Resource
		switch {
		case r.Type == kind:
			names = append(names, r.Name)
		case r.Type == "endpoint" && SameName(r.Name, name):
			return "endpoint:" + r.Name
		case r.Type == "environment" && SameName(r.Name, name):
			return r.Name + ", without endpoint:"
		}
	}
	near, _ := levenshtein.Nearest(name, names)
	return near
}
