package main

import (
	"errors"
	"fmt"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/approval"
	"acrpromote/internal/plan"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/seal"
	"acrpromote/internal/transfer"
)

// demandsSeal tells whether a seal counts: not where the user lifted approval
// and seal together at a prompt.
func (o *operation) demandsSeal(wanted plan.Wanted) bool {
	return wanted.Action != plan.Seal && o.config.DemandsSeal() && !o.config.Unapproved()
}

// decide has the evidence judged and the plans made, and tells both: all that
// stands against any image stands against the whole step.
func (o *operation) decide(f *findings) {
	r := &o.result
	o.tellRun(f)
	for _, it := range o.items {
		r.Images = append(r.Images, o.tellSource(it))
	}
	verdict := o.judge(f)
	r.Approval = report.Approval{
		Granted: verdict.Granted, Kind: string(verdict.Kind), Guards: verdict.Guards, Rules: verdict.Rules,
	}
	for _, a := range verdict.Approvers {
		r.Approval.Approvers = append(r.Approval.Approvers, report.Approver{Name: a.Name, ID: a.ID, At: stamp(a.At), Comment: a.Comment})
	}
	o.plan(f, verdict)
	for i, it := range o.items {
		if it.wanted.Action == plan.Seal {
			continue
		}
		for j, step := range it.part.Steps {
			t := o.tellStep(it, step, it.targets[j])
			if t.State == report.Planned && len(r.Refusals) > 0 {
				t.State = report.TargetRefused
			}
			r.Images[i].Targets = append(r.Images[i].Targets, t)
		}
	}
}

// plan has package plan decide, and keeps each image's part.
func (o *operation) plan(f *findings, verdict approval.Verdict) {
	var images []plan.Image
	for _, it := range o.items {
		images = append(images, plan.Image{Wanted: it.wanted, Observed: it.observed(f)})
	}
	p := plan.Make(images, verdict)
	for i, it := range o.items {
		it.part = p.Parts[i]
	}
	o.result.Direction, o.result.Refusals = p.Direction, p.Refusals
}

// judge has package approval judge what was read.
func (o *operation) judge(f *findings) approval.Verdict {
	c := o.config
	subject := o.subject()
	if !c.NeedsApproval() {
		return approval.Verdict{Kind: approval.None, Refusals: f.runRefusals}
	}
	rules := approval.Rules{
		Approval:            approval.Kind(c.Approval),
		Environment:         c.Environment,
		MinApprovers:        c.Quorum(),
		RequesterCanApprove: c.RequesterCanApprove.Or(false),
		AuthorCanApprove:    c.AuthorCanApprove.Or(true),
		Approvers:           c.Approvers,
		MaxAge:              c.ApprovalMaxAge.Value,
		CommentPattern:      c.CommentPattern.Regexp,
		Subject:             subject,
	}
	if c.Unapproved() {
		rules.Approval = approval.Unapproved
		return approval.Judge(approval.Evidence{}, rules, time.Now())
	}
	if c.ApprovalCode.Or(false) {
		rules.Code = o.result.ApprovalCode
	}
	for _, it := range o.items {
		if o.demandsSeal(it.wanted) && it.source.err == nil {
			rules.Seals = append(rules.Seals, it.seal())
		}
	}
	if !c.InRun {
		return approval.Verdict{Kind: approval.Manual, Refusals: []rule.Refusal{refusal(rule.ApprovalMissing, subject,
			"this is no run of Azure Pipelines, so there is no stage whose approval could be read",
			"Run it as a task of the stage that deploys to the protected environment. At a prompt outside any run, --approval none does without approval and seal, and the result then says \"unapproved\".")}}
	}
	if f.evidence == nil {
		return approval.Verdict{Kind: approval.Manual, Refusals: f.runRefusals}
	}
	verdict := approval.Judge(*f.evidence, rules, time.Now())
	if len(f.runRefusals) > 0 {
		verdict.Granted = false
		verdict.Refusals = append(f.runRefusals, verdict.Refusals...)
	}
	return verdict
}

// subject names what would be let out.
func (o *operation) subject() string {
	if len(o.items) == 1 {
		return o.items[0].wanted.Source.String()
	}
	return fmt.Sprintf("%d images", len(o.items))
}

// seal tells what the registry shows of the image's seal. Of several records
// the oldest counts: a later one takes nothing away.
func (it *item) seal() approval.Seal {
	s := it.source
	found := approval.Seal{Subject: it.wanted.Source.String()}
	switch {
	case s.tag != nil:
		found.Locked = !s.tag.WriteEnabled && !s.tag.DeleteEnabled
		found.TagUpdated = s.tag.Updated
		if s.tag.Digest != s.tree.Digest() {
			found.Problem = fmt.Sprintf("the tag pointed at %s and then at %s while it was being read", s.tree.Digest(), s.tag.Digest)
		}
	case s.manifest != nil:
		found.Locked = !s.manifest.DeleteEnabled
		found.TagUpdated = s.manifest.Created
	}
	if len(s.records) == 0 && found.Problem == "" {
		found.Problem = "no seal record of this program refers to " + s.tree.Digest()
	}
	if oldest := oldestRecord(s.records); oldest != nil {
		found.RecordCreated = oldest.created
	}
	return found
}

// oldestRecord finds the seal record that was there first; nil if there is none.
func oldestRecord(records []recordFound) *recordFound {
	var oldest *recordFound
	for i := range records {
		if oldest == nil || records[i].created.Before(oldest.created) {
			oldest = &records[i]
		}
	}
	return oldest
}

// observed puts what was read into the plan's terms.
func (it *item) observed(f *findings) plan.Observed {
	observed := plan.Observed{Source: plan.Source{Unreadable: it.source.err != nil || it.source.tree == nil}}
	if tree := it.source.tree; tree != nil {
		observed.Source.Digest = tree.Digest()
		for _, m := range tree.Manifests()[1:] {
			observed.Source.Children = append(observed.Source.Children, m.Digest)
		}
	}
	observed.Source.Tag = attributes(it.source.tag)
	observed.Source.Manifest = attributes(it.source.manifest)
	observed.Source.Sealed = len(it.source.records) > 0
	observed.Source.RunStarted = f.run.Started
	for _, t := range it.targets {
		seen := plan.Target{Unreachable: t.err != nil, Tag: attributes(t.tag), Repository: attributes(t.repository)}
		if t.presence != nil {
			seen.TagDigest = t.presence.TagDigest
			seen.Root = t.presence.Root
			seen.Missing = len(t.presence.Missing())
		}
		observed.Targets = append(observed.Targets, seen)
	}
	return observed
}

func attributes(a *acr.Attributes) *plan.Attributes {
	if a == nil {
		return nil
	}
	return &plan.Attributes{Digest: a.Digest, Created: a.Created, Updated: a.Updated, WriteEnabled: a.WriteEnabled, DeleteEnabled: a.DeleteEnabled}
}

// tellRun puts the run into the result, as the server confirmed it.
func (o *operation) tellRun(f *findings) {
	if f.protection != "" {
		o.result.Protection = f.protection
	}
	run := f.run
	if run.ID == 0 {
		return
	}
	o.result.Run = report.Run{
		Kind: string(run.Kind), Organization: run.Organization, Project: run.Project, ID: run.ID,
		Stage: run.Stage, Attempt: run.Attempt, RequestedBy: run.RequestedBy, Branch: run.Branch, Commit: run.Commit,
	}
}

// tellSource puts the image into the result, or why it could not be read.
func (o *operation) tellSource(it *item) report.Image {
	s := it.source
	image := report.Image{Source: it.wanted.Source.String()}
	if s.tree != nil {
		image.Digest = s.tree.Digest()
		image.Bytes = s.tree.Bytes()
		if code, err := seal.Code(image.Digest); err == nil {
			o.result.ApprovalCode = code
		}
		for _, d := range s.tree.Foreign() {
			o.result.Warnings = append(o.result.Warnings, fmt.Sprintf("layer %s is not distributable: it stays where it is, and the image names its place", d.Digest))
		}
	}
	if oldest := oldestRecord(s.records); oldest != nil {
		image.SealedAt = stamp(oldest.created)
	}
	if s.err != nil {
		o.result.Errors = append(o.result.Errors, problem(report.Source, s.err))
	}
	return image
}

// tellStep puts a target into the result as it is before anything was done.
func (o *operation) tellStep(it *item, step plan.Step, found targetFound) report.Target {
	t := report.Target{
		Registry: step.Target.Registry, Repository: step.Target.Repository, Tag: step.Target.Tag, Previous: step.Previous,
	}
	switch {
	case found.err != nil:
		p := problem(report.AtTarget, found.err)
		t.State, t.Error = unjudged(found.err), p.Reason
		o.result.Errors = append(o.result.Errors, p)
	case step.Work == plan.Wait:
		t.State = report.Pending
	case step.Work == plan.Nothing:
		t.State = report.Present
	default:
		t.State = report.Planned
	}
	if step.Lock != plan.LockNone {
		t.Locked = string(step.Lock)
	}
	if it.source.tree != nil && found.err == nil {
		t.Referrers = len(it.source.tree.Referrers())
	}
	return t
}

// unjudged: a target that cannot be reached waits for a rerun; one that
// answered no has failed.
func unjudged(err error) report.State {
	if errors.Is(err, acr.ErrDenied) {
		return report.TargetFailed
	}
	for _, kind := range []error{transfer.Unreachable, transfer.Throttled, transfer.Cancelled, acr.ErrUnreachable} {
		if errors.Is(err, kind) {
			return report.Pending
		}
	}
	return report.TargetFailed
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
