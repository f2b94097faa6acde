package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/outcome"
	"acrpromote/internal/plan"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// decide has the evidence judged and makes the plan, and adds both to the
// result. A refusal of one image refuses the whole step.
func decide(c *agent.Config, s *session.Session, o *order, f *findings, result *collector, now time.Time) plan.Plan {
	r := &result.result
	addRun(f, result)
	for i := range o.images {
		r.Images = append(r.Images, addSource(o, i, f.images[i].source, result))
		warnOfForeign(f.images[i].source, result)
	}
	if o.set {
		o.setDigest = setDigest(o, f)
	}
	r.ApprovalCode = approvalCode(o, f)
	addRules(s, o, f, result)
	addRights(f, result)

	images := observed(o, f, now)
	for i := range images {
		images[i].Observed.Source.Outside = c.Action == agent.Plan && !c.InRun
	}
	whole := slices.Concat(images, f.elsewhere)
	asked := plan.Case(o.action, images, o.groups, o.subject(), r.ApprovalCode, whole)
	asked.Covered = asked.Covered && len(o.refusals) == 0
	asked.Unapproved, asked.InRun, asked.RunRefusals = c.Unapproved(), c.InRun, f.runRefusals
	asked.Planning = c.Action == agent.Plan
	for i := range f.evidence {
		asked.Parts[i].Evidence = f.evidence[i]
	}
	verdict := approval.Decide(asked, now)
	for _, w := range verdict.Warnings {
		result.warn(w)
	}
	f.verdict = verdict
	if o.planned {
		r.Plan = planOf(whole, len(images), verdict.PlanAt)
		o.scope, _ = plan.ScopeAt(whole, verdict.PlanAt)
		o.quoted = verdict.Quoted
		for i := range images {
			f.images[i].source.covered = images[i].Covered(verdict.PlanAt)
		}
	}
	selectReferrers(o, f, verdict, result)
	observeApproval(images, verdict)
	observeTargets(images, f)
	addVerdict(verdict, result)

	p := plan.Make(images, verdict, o.refusals...)
	r.Direction, r.Refusals = p.Direction, p.Refusals
	r.Approval.Rules = append(r.Approval.Rules, report.RuleStates(p.Outcomes)...)
	for i, part := range p.Parts {
		if part.Wanted.Action == plan.Seal {
			continue
		}
		for j, step := range part.Steps {
			t := planned(step, f.images[i], j, result)
			if t.State == outcome.Planned && len(r.Refusals) > 0 {
				t.State = outcome.TargetRefused
			}
			r.Images[i].Targets = append(r.Images[i].Targets, t)
		}
	}
	return p
}

// addVerdict adds the verdict on the approval to the result.
func addVerdict(verdict approval.Verdict, result *collector) {
	r := &result.result
	r.Approval = report.Approval{
		Granted: verdict.Granted, Kind: string(verdict.Kind), Guards: verdict.Guards, Rules: report.RuleStates(verdict.Rules),
	}
	for _, a := range verdict.Approvers {
		r.Approval.Approvers = append(r.Approval.Approvers, report.Approver{Name: a.Name, UniqueName: a.UniqueName, ID: a.ID, At: formatTime(a.At), Comment: a.Comment})
	}

	for _, a := range verdict.Records {
		r.Approval.Approvals = append(r.Approval.Approvals, report.ApprovalRecord{
			ID: a.ID, Check: a.Check, Version: a.Version, CheckRun: a.Run, Resource: a.Resource.String(), ResourceID: a.Resource.ID,
			RequestedAt: formatTime(a.Requested),
		})
	}
}

// observed converts what was read of the images to the types of package plan.
func observed(o *order, f *findings, now time.Time) []plan.Image {
	images := make([]plan.Image, len(o.images))
	for i, wanted := range o.images {
		s := f.images[i].source
		source := planSource(wanted, s)
		source.Missing, source.Tag, source.Manifest = errors.Is(s.err, transfer.NotFound), attributes(s.tag), attributes(s.manifest)
		source.Records, source.Attached, source.Now = s.records, s.attached, now
		source.RunStarted, source.Branch, source.Releasing = f.run.Started, f.run.Branch, f.releasing
		source.Recall, source.Disabled = s.recall, s.disabled
		images[i] = plan.Image{Wanted: wanted, Observed: plan.Observed{Source: source}}
	}
	return images
}

// planSource converts what was read of an image and of what is attached to it to the
// types of package plan.
func planSource(wanted plan.Wanted, s sourceState) plan.Source {
	source := plan.Source{Unreadable: s.err != nil || s.tree == nil, Referrers: s.referrers, Timed: isAzure(wanted.Source.Registry)}
	if s.tree != nil {
		source.Digest = s.tree.Digest()
		for _, m := range s.tree.Manifests()[1:] {
			source.Children = append(source.Children, m.Digest)
		}
	}
	return source
}

// planOf returns the plan's digest and code as of a time, or nil if an image could
// not be read. own is the number of images of this job, which come first.
func planOf(images []plan.Image, own int, at time.Time) *report.Plan {
	scope, known := plan.ScopeAt(images, at)
	if !known {
		return nil
	}
	p := &report.Plan{Digest: scope.Digest(), Code: scope.Code()}
	if others, _ := plan.ScopeAt(images[own:], at); len(images) > own {
		p.Others = strings.Split(strings.TrimSuffix(others.Lines(), "\n"), "\n")[1:]
	}
	return p
}

// observeApproval adds when the first approval that counts was given, where that
// decides which artifacts are copied.
func observeApproval(images []plan.Image, v approval.Verdict) {
	for i := range images {
		if w := images[i].Wanted; w.TimesReferrers() && isAzure(w.Source.Registry) {
			images[i].Observed.Source.Approved = v.First
		}
	}
}

// observeTargets adds what was read of the targets, once it is decided what of
// the attached artifacts counts as missing there.
func observeTargets(images []plan.Image, f *findings) {
	for i := range images {
		for _, t := range f.images[i].targets {
			seen := plan.Target{Unreachable: t.err != nil, Disabled: t.disabled, Tag: attributes(t.tag), Repository: attributes(t.repository)}
			if t.presence != nil {
				seen.TagDigest = t.presence.TagDigest
				seen.Root = t.presence.Root
				seen.Missing = len(t.presence.Missing())
			}
			images[i].Observed.Targets = append(images[i].Observed.Targets, seen)
		}
	}
}

func attributes(a *acr.Attributes) *plan.Attributes {
	if a == nil {
		return nil
	}
	return &plan.Attributes{Digest: a.Digest, Created: a.Created, Updated: a.Updated, WriteEnabled: a.WriteEnabled, DeleteEnabled: a.DeleteEnabled}
}

// setDigest returns the digest of the set, including images that other jobs
// copy. It is empty if one of them could not be read.
func setDigest(o *order, f *findings) string {
	var members []seal.Member
	for i, wanted := range o.images {
		tree := f.images[i].source.tree
		if tree == nil {
			return ""
		}
		members = append(members, seal.Member{Repository: wanted.Source.Repository, Digest: tree.Digest()})
	}
	for _, other := range f.others {
		if other.Digest == "" {
			return ""
		}
		members = append(members, seal.Member{Repository: other.Repository, Digest: other.Digest})
	}
	return seal.SetDigest(members)
}

// approvalCode returns the approval code of the set or of the single image. It
// is empty if the digest is unknown.
func approvalCode(o *order, f *findings) string {
	digest := o.setDigest
	if !o.set && len(o.images) == 1 && f.images[0].source.tree != nil {
		digest = f.images[0].source.tree.Digest()
	}
	return approvalCodeOf(digest)
}

func approvalCodeOf(digest string) string {
	code, err := seal.Code(digest)
	if err != nil {
		return ""
	}
	return code
}

// addRun adds the run, as confirmed by the server, to the result.
func addRun(f *findings, result *collector) {
	if f.protection != "" {
		result.result.Protection = f.protection
	}
	for _, w := range f.warnings {
		result.warn(w)
	}
	run := f.run
	if run.ID == 0 {
		return
	}
	result.result.Run = report.Run{
		Kind: string(run.Kind), Organization: run.Organization, Project: run.Project, ID: run.ID, URL: run.URL,
		Pipeline: report.Pipeline{ID: run.Definition, Name: run.Pipeline}, Stage: run.Stage, Job: run.Job, Attempt: run.Attempt,
		RequestedBy: run.RequestedBy, Branch: run.Branch, Commit: run.Commit,
	}
	if len(run.Requesters) > 0 {
		first := run.Requesters[0]
		result.result.Run.RequestedByID, result.result.Run.RequestedByUniqueName = first.ID, first.UniqueName
	}
}

// addRules adds to the result whether the rules are verified, and a warning if
// they are not.
func addRules(s *session.Session, o *order, f *findings, result *collector) {
	if o.flow == nil {
		return
	}
	verified, warning := approval.RulesVerified(o.flow.judged(), f.stages, o.signIns(s))
	if verified {
		result.result.Rules = "verified"
		return
	}
	result.result.Rules = "unverified"
	result.warn(warning)
}

// addSource returns the image for the result, and adds the error if it could not
// be read.
func addSource(o *order, i int, s sourceState, result *collector) report.Image {
	image := report.Image{Source: o.images[i].Source.String()}
	if s.tree != nil {
		image.Digest = s.tree.Digest()
		image.Bytes = s.tree.Bytes()
	}
	for _, doubt := range s.doubts {
		result.warn(doubt)
	}
	if oldest, ok := plan.Oldest(s.records); ok {
		image.SealedAt = formatTime(oldest.Created)
	}
	for _, note := range unsignedNotes(image.Source, s.recall) {
		result.warn(note)
	}
	// What may not be read any more is a refusal; an audit judges none, and that of a whole
	// flow expects it.
	if s.err != nil && (!s.disabled || o.action == plan.Audit && o.whole == nil) {
		result.result.Errors = append(result.result.Errors, problem(report.SourceSide, s.err))
	}
	return image
}

// warnOfForeign adds a warning for each layer that is not copied.
func warnOfForeign(s sourceState, result *collector) {
	if s.tree == nil {
		return
	}
	for _, d := range s.tree.Foreign() {
		result.warn(fmt.Sprintf("layer %s is not distributable: it is copied only to a target that demands it, and the image still refers to its original location", d.Digest))
	}
}

// planned returns a target for the result before anything has been written.
func planned(step plan.Step, found observation, at int, result *collector) report.Target {
	seen := found.targets[at]
	t := report.Target{
		Registry: step.Target.Registry, Repository: step.Target.Repository, Tag: step.Target.Tag, Previous: step.Previous,
		Rollback: step.Previous != "" && seen.rollback,
	}
	switch {
	case seen.err != nil:
		p := problem(report.TargetSide, seen.err)
		t.State, t.Error = unreadState(seen.err), p.Reason
		if !seen.disabled && !result.reported(p, seen.err) {
			result.result.Errors = append(result.result.Errors, p)
		}
	case step.Work == plan.Wait:
		t.State = outcome.Pending
	case step.Work == plan.Nothing:
		t.State = outcome.Present
	default:
		t.State = outcome.Planned
	}
	if step.Lock != plan.LockNone && step.Lock != "" {
		t.Locked = string(step.Lock)
	}
	t.Attached = found.attached(at, step.Target.Registry, found.source.left)
	if seen.err == nil {
		t.Referrers = arrivals(t.Attached)
	}
	return t
}
