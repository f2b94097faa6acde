package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
	"acrpromote/internal/sorting"
	"acrpromote/internal/topology"
)

// This file holds the run that sealed an image to what the flows say of it. A
// seal record names that run, which anyone who can push may have written; what
// counts is what the server has of it.

// Claim is a run that a seal record names: the project to look for it in, and
// its id.
type Claim struct {
	Project string
	ID      int
}

// Claims lists the runs that have to be read to judge who made a seal record. Of
// a classic release that releases the image there is nothing else to read.
func (i Image) Claims(r Record) []Claim {
	var claims []Claim
	if r.Run.ID == 0 || r.Run.Kind != string(approval.YAML) {
		return nil
	}
	for _, sealer := range i.Wanted.sealers() {
		for _, project := range projects(sealer, i.Observed.Source.Releasing, r.Run.Project) {
			if c := (Claim{project, r.Run.ID}); !slices.Contains(claims, c) {
				claims = append(claims, c)
			}
		}
	}
	return claims
}

// projects lists where a run may be that a record says is of a project, by name:
// the releasing run's own project, or those of the flow that are called so, and
// those of the flow that are known by their ID alone.
func projects(sealer *topology.Sealer, releasing approval.Releasing, claimed string) []string {
	if len(sealer.Projects) == 0 {
		if releasing.ProjectID == "" {
			return nil
		}
		return []string{releasing.ProjectID}
	}
	var list []string
	for _, p := range sealer.Projects {
		if approval.SameName(string(p), claimed) || approval.GUID(string(p)) != "" {
			list = append(list, string(p))
		}
	}
	return list
}

// sealers lists what the flows of the image say of the run that sealed it.
func (w Wanted) sealers() []*topology.Sealer {
	var list []*topology.Sealer
	if w.Action == Audit {
		return nil
	}
	for _, route := range w.Routes {
		if s := route.Rules.Sealer; s != nil && !slices.ContainsFunc(list, func(other *topology.Sealer) bool { return words(other) == words(s) }) {
			list = append(list, s)
		}
	}
	return list
}

// BindsSealer reports whether a flow of any image says which run must have
// sealed it.
func BindsSealer(images []Wanted) bool {
	return slices.ContainsFunc(images, Wanted.NeedsRecords)
}

// words describes which runs may seal.
func words(s *topology.Sealer) string {
	var branches, pipelines, projects []string
	for _, p := range s.Branches {
		branches = append(branches, p.String())
	}
	for _, p := range s.Pipelines {
		pipelines = append(pipelines, strconv.Itoa(int(p)))
	}
	for _, p := range s.Projects {
		projects = append(projects, string(p))
	}
	text := "runs of this pipeline"
	if len(pipelines) > 0 {
		text = "runs of pipeline " + strings.Join(pipelines, ", ")
	}
	if len(projects) > 0 {
		text += " in project " + strings.Join(projects, ", ")
	}
	if len(branches) > 0 {
		text += " on " + strings.Join(branches, ", ")
	}
	return text
}

// judgeSealers: for each flow of the image, one of its seal records must be that
// of a run which the flow takes, and which the server shows to have sealed it.
// Who sealed it is reported as an outcome.
func judgeSealers(w Wanted, s Source) (refusals []rule.Refusal, outcomes []rule.Outcome) {
	for _, sealer := range w.sealers() {
		shown, reasons, remedy := s.sealedBy(sealer)
		switch {
		case shown != "":
			outcomes = append(outcomes, rule.Outcome{Rule: rule.Branch, Met: true, Detail: fmt.Sprintf("the seal of %s is %s", w.Source, shown)})
			continue
		case len(s.Records) == 0 && w.NeedsSeal():
			continue // that it is not sealed is refused already
		case s.Outside && s.Releasing.ID == 0:
			outcomes = append(outcomes, rule.Outcome{Rule: rule.Branch, Pending: true, Detail: fmt.Sprintf("the flow takes images sealed by %s alone, and outside a run it cannot be read which run sealed %s", words(sealer), w.Source)})
			continue
		}
		why := fmt.Sprintf("the flow accepts only images sealed by %s, but no seal record of %s is shown to be of such a run", words(sealer), s.Digest)
		if len(reasons) > 0 {
			why += ": " + strings.Join(reasons, "; ")
		}
		refusals = append(refusals, rule.Refusal{Rule: rule.Branch, Subject: w.Source.String(), Reason: why, Remedy: remedy})
		outcomes = append(outcomes, rule.Outcome{Rule: rule.Branch, Detail: why})
	}
	return refusals, outcomes
}

// mostReasons bounds how many records are told of in one refusal.
const mostReasons = 5

// sealedBy finds the record of a run that a flow takes. shown says which run
// that is; if it is empty, reasons says of each record why it is not one.
func (s Source) sealedBy(sealer *topology.Sealer) (shown string, reasons []string, remedy string) {
	remedy = "Seal the image in such a run, in a job before the one that releases it. Let the step seal there again if the image was sealed elsewhere or by an earlier version (a flow with sealExisting allows it for older tags)."
	records := slices.Clone(s.Records)
	sorting.StableBy(records, func(a, b Record) int { return a.Created.Compare(b.Created) })
	for _, r := range records {
		how, why := s.sealing(r, sealer)
		if how != "" {
			return how, nil, ""
		}
		if r.Sealing != nil && r.Sealing.Unread != "" {
			remedy = r.Sealing.Remedy
		}
		if !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	if more := len(reasons) - mostReasons; more > 0 {
		reasons = append(reasons[:mostReasons], fmt.Sprintf("and %d more records", more))
	}
	return "", reasons, remedy
}

// sealing reports how a record's run is shown to have sealed the image, as the
// flow has it, or why it is not.
func (s Source) sealing(r Record, sealer *topology.Sealer) (shown, why string) {
	switch {
	case r.Run.ID == 0 || r.Run.Kind != string(approval.YAML) && r.Run.Kind != string(approval.Release):
		return "", "one was made outside any run"
	case r.Run.Kind == string(approval.Release):
		return s.sealedByRelease(r, sealer)
	case s.Releasing.ID == 0:
		return "", fmt.Sprintf("one names run %d, and outside a run nothing of it can be read", r.Run.ID)
	case r.Sealing == nil:
		return "", fmt.Sprintf("one names run %d of the project %q", r.Run.ID, r.Run.Project)
	case r.Sealing.Unread != "":
		return "", r.Sealing.Unread
	}
	b := r.Sealing.Build
	if why := s.otherRun(r.Run.ID, b, sealer); why != "" {
		return "", why
	}
	step, why := r.Sealing.Shown(s.Digest, r.Created)
	if why != "" {
		return "", why
	}
	if step.Template {
		return fmt.Sprintf("proved: made by run %d of %s in its stage %s, which passed a required template", r.Run.ID, b.Branch, step.Stage), ""
	}
	return fmt.Sprintf("claimed by run %d of %s, whose stage %s passed no required template", r.Run.ID, b.Branch, step.Stage), ""
}

// otherRun says why the record of a run is not that of a run which the flow
// takes; empty if it is.
func (s Source) otherRun(id int, b approval.BuildRecord, sealer *topology.Sealer) string {
	switch {
	case !b.ID.Set || b.ID.Value != id:
		return fmt.Sprintf("the server answered for run %d with the record of another one", id)
	case !s.takesProject(b.ProjectID, b.Project, sealer):
		return fmt.Sprintf("run %d is of the project %q", id, b.Project)
	case !s.takesPipeline(b.PipelineID.Value, sealer):
		return fmt.Sprintf("run %d is of pipeline %d", id, b.PipelineID.Value)
	case !takesBranch(b.Branch, sealer.Branches):
		return fmt.Sprintf("run %d is of %s", id, b.Branch)
	case s.Releasing.RepositoryID == "" || !strings.EqualFold(b.RepositoryID, s.Releasing.RepositoryID):
		return fmt.Sprintf("run %d is of another repository than the run that releases the image", id)
	}
	return ""
}

func (s Source) takesProject(id, name string, sealer *topology.Sealer) bool {
	if len(sealer.Projects) == 0 {
		return approval.SameGUID(id, s.Releasing.ProjectID)
	}
	return slices.ContainsFunc(sealer.Projects, func(p topology.Project) bool {
		return name != "" && approval.SameName(string(p), name) || approval.SameGUID(string(p), id)
	})
}

func (s Source) takesPipeline(id int, sealer *topology.Sealer) bool {
	if len(sealer.Pipelines) == 0 {
		return id != 0 && id == s.Releasing.PipelineID
	}
	return slices.Contains(sealer.Pipelines, topology.PipelineID(id))
}

func takesBranch(branch string, allowed []topology.BranchPattern) bool {
	return len(allowed) == 0 || slices.ContainsFunc(allowed, func(p topology.BranchPattern) bool { return p.Match(branch) })
}

// sealedByRelease: a classic release may seal itself, shown by its own record.
func (s Source) sealedByRelease(r Record, sealer *topology.Sealer) (shown, why string) {
	switch {
	case s.Releasing.Source != approval.Release || s.Releasing.ID != r.Run.ID || r.Sealing == nil:
		return "", fmt.Sprintf("one names release %d, but only that release itself can show that it sealed an image", r.Run.ID)
	case !s.takesProject(s.Releasing.ProjectID, s.Releasing.Project, sealer) || !s.takesPipeline(s.Releasing.PipelineID, sealer) || !takesBranch(s.Releasing.Branch, sealer.Branches):
		return "", fmt.Sprintf("release %d is of pipeline %d on %s in the project %q, by its primary artifact", r.Run.ID, s.Releasing.PipelineID, s.Releasing.Branch, s.Releasing.Project)
	}
	step, why := r.Sealing.Shown(s.Digest, r.Created)
	if why != "" {
		return "", why
	}
	return fmt.Sprintf("claimed by release %d of %s, in its stage %s", r.Run.ID, s.Releasing.Branch, step.Stage), ""
}

// judgeSealing holds a run that seals to what the flow says of such runs: later
// no other would do.
func judgeSealing(w Wanted, s Source) []rule.Refusal {
	var refusals []rule.Refusal
	for _, sealer := range w.sealers() {
		why := ""
		switch {
		case s.Releasing.ID == 0:
			// Where the flow names branches, that there is no run is refused already.
			if len(sealer.Branches) == 0 {
				why = "this is not a run of Azure Pipelines"
			}
		case !s.takesProject(s.Releasing.ProjectID, s.Releasing.Project, sealer):
			why = fmt.Sprintf("this run is of the project %q", s.Releasing.Project)
		case !s.takesPipeline(s.Releasing.PipelineID, sealer):
			why = fmt.Sprintf("this run is of pipeline %d", s.Releasing.PipelineID)
		}
		if why != "" {
			refusals = append(refusals, rule.Refusal{Rule: rule.Branch, Subject: w.Source.String(),
				Reason: fmt.Sprintf("%s, but the flow accepts only images sealed by %s", why, words(sealer)), Remedy: "Seal the image in such a run."})
		}
	}
	return refusals
}

// needsRecord reports whether the run that seals has to attach a record of its
// own: an image has at least one, and who releases it finds this run by it. By a
// flow that does not say who must have sealed it, any record serves; by one that
// does, the record of a run that it takes.
func needsRecord(w Wanted, s Source) bool {
	switch {
	case len(s.Records) == 0:
		return true
	case s.Releasing.ID == 0 || slices.ContainsFunc(s.Records, func(r Record) bool { return s.own(r) }):
		return false
	case w.Covered:
		return slices.ContainsFunc(w.sealers(), func(sealer *topology.Sealer) bool {
			shown, _, _ := s.sealedBy(sealer)
			return shown == ""
		})
	}
	return true
}

// own reports whether a record is one of the run that seals: it names this run,
// and was not there before it.
func (s Source) own(r Record) bool {
	return r.Run.ID == s.Releasing.ID && r.Run.Kind == string(s.Releasing.Source) && !r.Created.Before(s.RunStarted.Add(-approval.SealSlack))
}
