package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/approval"
	"acrpromote/internal/plan"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/seal"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

// decide has the evidence judged and the plans made, and tells both: all that
// stands against any image stands against the whole step.
func (o *operation) decide(f *findings) {
	r := &o.result
	o.tellRun(f)
	for _, it := range o.items {
		r.Images = append(r.Images, o.tellSource(it))
	}
	o.tellSet(f)
	o.tellRules(f)
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
	p := plan.Make(images, verdict, append(o.against, o.judgeBranches(f)...)...)
	for i, it := range o.items {
		it.part = p.Parts[i]
	}
	o.result.Direction, o.result.Refusals = p.Direction, p.Refusals
}

// group is terms that one verdict judges, and the images that stand on it.
type group struct {
	terms topology.Terms
	items []*item
}

// approvals lists what has to be approved: usually one thing, and one for each
// target's tag where the flow names the environment after it.
func (o *operation) approvals() []*group {
	if o.action != plan.Promote && o.action != plan.InvertedPush {
		return nil
	}
	var groups []*group
	byKey := map[string]*group{}
	for _, it := range o.items {
		for _, t := range it.terms() {
			if t.Kind == topology.None {
				continue
			}
			key := approvalKey(t)
			g := byKey[key]
			if g == nil {
				g = &group{terms: t}
				byKey[key] = g
				groups = append(groups, g)
			}
			if !slices.Contains(g.items, it) {
				g.items = append(g.items, it)
			}
		}
	}
	return groups
}

// judge has package approval judge what was read: each group for itself, and
// what one lacks all lack.
func (o *operation) judge(f *findings) approval.Verdict {
	c := o.config
	if o.action != plan.Promote && o.action != plan.InvertedPush {
		return approval.Verdict{Kind: approval.None, Refusals: f.runRefusals}
	}
	if c.Unapproved() {
		return approval.Judge(approval.Evidence{}, approval.Rules{Approval: approval.Unapproved}, time.Now())
	}
	groups := o.approvals()
	if len(groups) == 0 {
		v := approval.Verdict{Kind: approval.None, Granted: len(f.runRefusals) == 0, Refusals: f.runRefusals}
		if len(o.items) == 0 {
			v.Granted = false
		}
		v.Refusals = append(v.Refusals, o.unsealed()...)
		return v
	}
	if !c.InRun {
		return approval.Verdict{Kind: approval.Manual, Refusals: []rule.Refusal{refusal(rule.ApprovalMissing, o.subject(),
			"this is no run of Azure Pipelines, so there is no stage whose approval could be read",
			"Run it as a task of the stage that deploys to the protected environment. At a prompt outside any run, --approval none does without approval and seal, and the result then says \"unapproved\".")}}
	}
	if f.evidence == nil || len(f.runRefusals) > 0 {
		return approval.Verdict{Kind: approval.Manual, Refusals: f.runRefusals}
	}
	var sum approval.Verdict
	for i, g := range groups {
		v := approval.Judge(*f.evidence[approvalKey(g.terms)], o.rules(g), time.Now())
		if i == 0 {
			sum = v
			continue
		}
		sum = both(sum, v)
	}
	return sum
}

// both joins two verdicts: granted only if both are, and told once.
func both(a, b approval.Verdict) approval.Verdict {
	a.Granted = a.Granted && b.Granted
	a.Guards += " and " + b.Guards
	for _, p := range b.Approvers {
		if !slices.Contains(a.Approvers, p) {
			a.Approvers = append(a.Approvers, p)
		}
	}
	for _, r := range b.Rules {
		if !slices.Contains(a.Rules, r) {
			a.Rules = append(a.Rules, r)
		}
	}
	for _, r := range b.Refusals {
		if !slices.Contains(a.Refusals, r) {
			a.Refusals = append(a.Refusals, r)
		}
	}
	return a
}

// rules puts the terms of a group into the terms of judging.
func (o *operation) rules(g *group) approval.Rules {
	rules := approval.Rules{
		Approval:            approval.Kind(g.terms.Kind),
		Environment:         g.terms.Environment,
		MinApprovers:        g.terms.MinApprovers,
		RequesterCanApprove: g.terms.RequesterCanApprove,
		AuthorCanApprove:    g.terms.AuthorCanApprove,
		Approvers:           g.terms.Approvers,
		MaxAge:              g.terms.MaxAge,
		CommentPatterns:     g.terms.CommentPatterns,
		Subject:             o.subject(),
	}
	for _, c := range g.terms.Checks {
		rules.Checks = append(rules.Checks, approval.Check{Definition: string(c.Definition), Resource: string(c.Resource)})
	}
	if g.terms.Code {
		rules.Code = o.result.ApprovalCode
		if rules.Code == "" {
			// No comment can quote what does not exist.
			rules.Code = "unknown, because an image could not be read"
		}
	}
	for _, it := range g.items {
		if it.sealed() && it.source.err == nil {
			rules.Seals = append(rules.Seals, it.seal())
		}
	}
	return rules
}

// unsealed judges seals where no approval is asked for: there is no time to
// compare, and still an unsealed image does not go.
func (o *operation) unsealed() []rule.Refusal {
	var refusals []rule.Refusal
	for _, it := range o.items {
		if it.sealed() && it.source.err == nil {
			refusals = append(refusals, approval.JudgeSeal(it.seal())...)
		}
	}
	return refusals
}

// judgeBranches holds the run to the branches that the flows name.
func (o *operation) judgeBranches(f *findings) []rule.Refusal {
	for _, it := range o.items {
		if refusals := plan.JudgeBranch(it.wanted, f.run.Branch); len(refusals) > 0 {
			return refusals
		}
	}
	return nil
}

// subject names what would be let out.
func (o *operation) subject() string {
	if len(o.items) == 1 && !o.set {
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
	observed.Source.Attached, observed.Source.Now = it.source.attached, time.Now()
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
		if code, err := seal.Code(image.Digest); err == nil && !o.set {
			o.result.ApprovalCode = code
		}
		for _, d := range s.tree.LeftOut() {
			o.result.Warnings = append(o.result.Warnings, fmt.Sprintf("attached %s %s stays behind, as the flow has it", d.ArtifactType, d.Digest))
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
		Rollback: step.Previous != "" && found.rollback,
	}
	switch {
	case found.err != nil:
		p := problem(report.AtTarget, found.err)
		t.State, t.Error = unjudged(found.err), p.Reason
		if !slices.Contains(o.result.Errors, p) {
			// Of a registry that does not answer one image tells for all.
			o.result.Errors = append(o.result.Errors, p)
		}
	case step.Work == plan.Wait:
		t.State = report.Pending
	case step.Work == plan.Nothing:
		t.State = report.Present
	default:
		t.State = report.Planned
	}
	if step.Lock != plan.LockNone && step.Lock != "" {
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
	if late := (*straggler)(nil); errors.As(err, &late) {
		return report.Pending
	}
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
