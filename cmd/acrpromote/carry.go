package main

import (
	"context"
	"errors"
	"fmt"

	"acrpromote/internal/acr"
	"acrpromote/internal/egress"
	"acrpromote/internal/plan"
	"acrpromote/internal/promote"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
	"acrpromote/internal/transfer"
)

// carryOut does what the plan says and tells what became of it.
func (o *operation) carryOut(ctx context.Context, p plan.Plan, f *findings) {
	image := promote.Image{Digest: p.Digest}
	for _, m := range f.source.tree.Manifests()[1:] {
		image.Children = append(image.Children, m.Digest)
	}
	if p.Wanted.Action == plan.Seal {
		o.seal(ctx, p, f, image)
		return
	}
	progress := o.teller.progress()
	defer progress.Stop()
	c := copier{operation: o, found: f, steps: p.Steps, progress: progress}
	locker := func(host string) (promote.Locker, error) { return o.locker(host) }
	for i, done := range promote.Targets(ctx, p, image, c, locker) {
		if p.Steps[i].Work == plan.Wait {
			continue
		}
		t := &o.result.Images[0].Targets[i]
		o.result.Changed = o.result.Changed || done.Changed
		t.Referrers, t.Locked = done.Referrers, done.Locked
		if done.Err != nil {
			problem := problem(report.AtTarget, done.Err)
			t.State, t.Error = report.TargetFailed, problem.Reason
			o.result.Errors = append(o.result.Errors, problem)
			continue
		}
		t.State = report.State(done.State)
	}
}

// copier brings the image to one target.
type copier struct {
	*operation
	found    *findings
	steps    []plan.Step
	progress *report.Progress
}

func (c copier) Copy(ctx context.Context, target plan.Reference) (promote.Arrival, error) {
	for i, step := range c.steps {
		if step.Target != target {
			continue
		}
		attached := len(c.found.source.tree.Referrers())
		if step.Work == plan.Nothing {
			return promote.Arrival{State: string(transfer.Present), Referrers: attached}, nil
		}
		source, err := c.registries.at(c.wanted.Source.Registry)
		if err != nil {
			return promote.Arrival{}, err
		}
		found := c.found.targets[i]
		outcome, err := transfer.Copy(ctx, c.found.source.tree, source.data, c.wanted.Source.Repository,
			found.registry.data, target.Repository, target.Tag, *found.presence, c.progress)
		arrival := promote.Arrival{State: string(outcome.State), Referrers: attached, Changed: outcome.Changed}
		return arrival, err
	}
	return promote.Arrival{}, fmt.Errorf("%s is no target of this plan", target)
}

// seal attaches the record and locks.
func (o *operation) seal(ctx context.Context, p plan.Plan, f *findings, image promote.Image) {
	source := o.wanted.Source
	at, err := o.registries.at(source.Registry)
	if err != nil {
		o.result.Errors = append(o.result.Errors, problem(report.Source, err))
		return
	}
	locker, err := o.locker(source.Registry)
	if err != nil {
		o.result.Errors = append(o.result.Errors, problem(report.Source, err))
		return
	}
	root := f.source.tree.Manifests()[0]
	record, err := seal.Record{
		Image: source.String(), Digest: p.Digest, Rules: []string{"older-than-run"},
		Run: seal.Run{
			Kind: o.result.Run.Kind, Organization: f.run.Organization, Project: f.run.Project, ID: f.run.ID,
			Stage: f.run.Stage, Branch: f.run.Branch, Commit: f.run.Commit,
		},
	}.Encode()
	if err != nil {
		o.result.Errors = append(o.result.Errors, problem(report.Source, err))
		return
	}
	present := ""
	if oldest := oldestRecord(f.source.records); oldest != nil {
		present = oldest.digest
	}
	sealed, err := promote.Seal(ctx, p, image, record, present, recorder{at.data, source.Repository, root}, locker)
	o.result.Changed = sealed.Changed
	o.result.Images[0].SealedAt = stamp(sealed.At)
	if err != nil {
		o.result.Errors = append(o.result.Errors, problem(report.Source, err))
	}
}

// recorder attaches seal records to one image.
type recorder struct {
	registry   *transfer.Registry
	repository string
	subject    transfer.Descriptor
}

func (r recorder) Attach(ctx context.Context, record []byte) (string, error) {
	attached, err := r.registry.PutArtifact(ctx, r.repository, transfer.Artifact{
		Type: seal.ArtifactType, Subject: r.subject,
		Contents: []transfer.Content{{MediaType: seal.ArtifactType, Data: record}},
	})
	return attached.Digest, err
}

// locker speaks of locks in the plan's terms.
func (o *operation) locker(host string) (promote.Locker, error) {
	at, err := o.registries.at(host)
	if err != nil {
		return nil, err
	}
	metadata, err := at.metadata()
	if err != nil {
		return nil, err
	}
	return locker{metadata}, nil
}

type locker struct{ *acr.Metadata }

func (l locker) Tag(ctx context.Context, repository, tag string) (plan.Attributes, error) {
	a, err := l.Metadata.Tag(ctx, repository, tag)
	return *attributes(&a), err
}

func (l locker) Manifest(ctx context.Context, repository, digest string) (plan.Attributes, error) {
	a, err := l.Metadata.Manifest(ctx, repository, digest)
	return *attributes(&a), err
}

// audit tells, of each target, what has not arrived.
func (o *operation) audit(f *findings) {
	o.tellRun(f)
	image := o.tellSource(f.source)
	o.result.Approval.Kind = "none"
	p := plan.Make(o.wanted, o.observed(f), noVerdict)
	o.result.Direction = p.Direction
	o.result.Refusals = p.Refusals
	for i, target := range o.wanted.Targets {
		found := f.targets[i]
		t := report.Target{Registry: target.Registry, Repository: target.Repository, Tag: target.Tag, State: report.Present}
		switch {
		case found.err != nil:
			p := problem(report.AtTarget, found.err)
			t.State, t.Error = unjudged(found.err), p.Reason
			o.result.Errors = append(o.result.Errors, p)
		case found.presence == nil:
			t.State = report.Pending
		default:
			t.Referrers = len(f.source.tree.Referrers())
			missing := o.missing(target, f.source.tree, *found.presence)
			if len(missing) > 0 {
				t.State, t.Error = report.TargetFailed, missing[0].Reason
				o.result.Errors = append(o.result.Errors, missing...)
			}
		}
		image.Targets = append(image.Targets, t)
	}
	o.result.Images = []report.Image{image}
}

// missing names every digest that is not at the target, and a tag that is not
// there or points elsewhere.
func (o *operation) missing(target plan.Reference, tree *transfer.Tree, p transfer.Presence) []report.Problem {
	var missing []report.Problem
	add := func(subject, reason string) {
		missing = append(missing, report.Problem{Side: report.AtTarget, Subject: subject, Reason: reason,
			Remedy: "Run the action that brings the image there again: it sends just what is missing."})
	}
	place := target.Registry + "/" + target.Repository
	switch {
	case target.Tag == "":
	case p.TagDigest == "":
		add(target.String(), fmt.Sprintf("the tag is not there; it should point at %s", tree.Digest()))
	case p.TagDigest != tree.Digest():
		add(target.String(), fmt.Sprintf("the tag points at %s instead of %s", p.TagDigest, tree.Digest()))
	}
	for _, d := range p.Missing() {
		add(place+"@"+d.Digest, fmt.Sprintf("%s is missing", what(d)))
	}
	return missing
}

func what(d transfer.Descriptor) string {
	switch {
	case d.ArtifactType != "":
		return fmt.Sprintf("attached %s %s", d.ArtifactType, d.Digest)
	default:
		return fmt.Sprintf("%s %s", d.MediaType, d.Digest)
	}
}

// problem puts an error into the result's terms: what failed, on which side,
// why, and what to do about it.
func problem(side report.Side, err error) report.Problem {
	p := report.Problem{Side: side, Subject: string(side), Reason: err.Error(), Remedy: "Run it again; if it stays, look at the reason."}
	var signIn *acr.Error
	var copying *transfer.Error
	var contradiction *promote.Contradiction
	var unanswered *egress.Error
	if errors.As(err, &copying) {
		p.Subject, p.Reason = copying.Subject(), copying.Op+" failed: "+copying.Reason
		if copying.Remedy != "" {
			p.Remedy = copying.Remedy
		}
		// A copy has two ends; the error knows which one failed.
		switch copying.Side {
		case transfer.Source:
			p.Side = report.Source
		case transfer.Target:
			p.Side = report.AtTarget
		}
	}
	if errors.As(err, &signIn) {
		p.Reason = signIn.Reason()
		if copying == nil {
			p.Subject = signIn.Host
		}
		if signIn.Remedy != "" {
			p.Remedy = signIn.Remedy
		}
	}
	if errors.As(err, &unanswered) {
		// What lies between is known best by who tried.
		p.Reason = unanswered.Host + " " + unanswered.Reason
		if unanswered.Remedy != "" {
			p.Remedy = unanswered.Remedy + "."
		}
	}
	if errors.As(err, &contradiction) {
		p.Subject, p.Reason = contradiction.At.String(), contradiction.Reason
		p.Remedy = "Look at who else writes to this registry, then run it again."
	}
	return p
}
