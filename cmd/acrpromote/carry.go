package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"acrpromote/internal/acr"
	"acrpromote/internal/egress"
	"acrpromote/internal/plan"
	"acrpromote/internal/promote"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
	"acrpromote/internal/transfer"
)

// carryOut does what the plan says and tells what became of it, image by
// image, several side by side.
func (o *operation) carryOut(ctx context.Context, f *findings) {
	progress := o.teller.progress()
	defer progress.Stop()
	if o.atomic() {
		o.deliverAtomically(ctx, progress)
		return
	}
	o.sideBySide(func(i int, it *item, free func()) {
		if it.wanted.Action == plan.Seal {
			o.seal(ctx, it, f, &o.result.Images[i])
			return
		}
		copier := &copier{operation: o, item: it, progress: progress, free: free}
		o.deliver(ctx, it, &o.result.Images[i], copier)
	})
}

// tell adds what became of one image; images are done side by side.
func (o *operation) tell(changed bool, problems ...report.Problem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.result.Changed = o.result.Changed || changed
	o.result.Errors = append(o.result.Errors, problems...)
}

// deliver brings one image to its targets.
func (o *operation) deliver(ctx context.Context, it *item, image *report.Image, copier promote.Copier) {
	locker := func(host string) (promote.Locker, error) { return o.locker(host) }
	for i, done := range promote.Targets(ctx, it.part, it.image(), copier, locker) {
		if it.part.Steps[i].Work != plan.Wait {
			o.tellDone(it, &image.Targets[i], done)
		}
	}
}

// tellDone puts into the result what became of one target.
func (o *operation) tellDone(it *item, t *report.Target, done promote.Done) {
	t.Referrers, t.Locked = len(it.source.tree.Referrers()), done.Locked
	if done.Err != nil {
		problem := problem(report.AtTarget, done.Err)
		t.State, t.Error = report.TargetFailed, problem.Reason
		o.tell(done.Changed, problem)
		return
	}
	t.State = report.State(done.State)
	o.tell(done.Changed)
}

// image is what is locked together.
func (it *item) image() promote.Image {
	image := promote.Image{Digest: it.part.Digest}
	for _, m := range it.source.tree.Manifests()[1:] {
		image.Children = append(image.Children, m.Digest)
	}
	return image
}

// copier brings one image to its targets, all at once: what several of them
// lack is read once.
type copier struct {
	*operation
	*item
	progress *report.Progress
	free     func() // lets the next image begin after stragglerGrace
	// untagged brings everything by digest and leaves the tags as they are.
	untagged bool
}

func (c *copier) Copy(ctx context.Context, steps []plan.Step, arrived func(int, promote.Arrival, error)) {
	deliveries := make([]transfer.Delivery, len(steps))
	failures := make([]error, len(steps))
	var looks sync.WaitGroup
	for i, step := range steps {
		looks.Go(func() { deliveries[i], failures[i] = c.delivery(ctx, step.Target) })
	}
	looks.Wait()
	var to []transfer.Delivery
	var index []int // of each delivery's step
	for i, err := range failures {
		if err != nil {
			arrived(i, promote.Arrival{}, err)
			continue
		}
		to, index = append(to, deliveries[i]), append(index, i)
	}
	var ended atomic.Int32
	transfer.Deliver(ctx, c.source.tree, to, c.progress, func(i int, out transfer.Outcome, err error) {
		step := steps[index[i]]
		c.found(step.Target).registry.strike(err)
		arrived(index[i], promote.Arrival{State: string(out.State), Changed: out.Changed}, err)
		if int(ended.Add(1)) == (len(to)+1)/2 {
			// One that is slow is not to keep the others from the rest of the set.
			c.free()
		}
	})
}

// delivery is how the image goes to one target.
func (c *copier) delivery(ctx context.Context, target ref.Reference) (transfer.Delivery, error) {
	found := c.found(target)
	if gone := found.registry.lost(); gone != nil {
		return transfer.Delivery{}, gone
	}
	d := transfer.Delivery{To: found.registry.data, Repository: target.Repository, Tag: target.Tag, Presence: *found.presence}
	if !c.untagged || d.Tag == "" {
		return d, nil
	}
	var err error
	d.Tag = ""
	d.Presence, err = d.To.Inspect(ctx, d.Repository, d.Tag, c.source.tree, c.config.Deep.Or(false))
	return d, err
}

// found is what was read of a target.
func (it *item) found(target ref.Reference) *targetFound {
	return &it.targets[slices.Index(it.wanted.Targets, target)]
}

// seal attaches the record and locks.
func (o *operation) seal(ctx context.Context, it *item, f *findings, image *report.Image) {
	source := it.wanted.Source
	at, err := o.registries.at(source.Registry)
	if err != nil {
		o.tell(false, problem(report.Source, err))
		return
	}
	locker, err := o.locker(source.Registry)
	if err != nil {
		o.tell(false, problem(report.Source, err))
		return
	}
	root := it.source.tree.Manifests()[0]
	record, err := seal.Record{
		Image: source.String(), Digest: it.part.Digest, Rules: []string{"older-than-run"},
		Run: seal.Run{
			Kind: o.result.Run.Kind, Organization: f.run.Organization, Project: f.run.Project, ID: f.run.ID,
			Stage: f.run.Stage, Branch: f.run.Branch, Commit: f.run.Commit,
		},
	}.Encode()
	if err != nil {
		o.tell(false, problem(report.Source, err))
		return
	}
	present := ""
	if oldest := oldestRecord(it.source.records); oldest != nil {
		present = oldest.digest
	}
	sealed, err := promote.Seal(ctx, it.part, it.image(), record, present, recorder{at.data, source.Repository, root}, locker)
	image.SealedAt = stamp(sealed.At)
	if err != nil {
		o.tell(sealed.Changed, problem(report.Source, err))
		return
	}
	o.tell(sealed.Changed)
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

// audit tells, of each image and target, what has not arrived.
func (o *operation) audit(f *findings) {
	o.tellRun(f)
	o.plan(f, noVerdict)
	for _, it := range o.items {
		image := o.tellSource(it)
		for i, target := range it.wanted.Targets {
			image.Targets = append(image.Targets, o.auditTarget(it, target, it.targets[i]))
		}
		o.result.Images = append(o.result.Images, image)
	}
}

func (o *operation) auditTarget(it *item, target ref.Reference, found targetFound) report.Target {
	t := report.Target{Registry: target.Registry, Repository: target.Repository, Tag: target.Tag, State: report.Present}
	switch {
	case found.err != nil:
		p := problem(report.AtTarget, found.err)
		t.State, t.Error = unjudged(found.err), p.Reason
		o.tell(false, p)
	case found.presence == nil:
		t.State = report.Pending
	default:
		t.Referrers = len(it.source.tree.Referrers())
		if missing := missing(target, it.source.tree, *found.presence); len(missing) > 0 {
			t.State, t.Error = report.TargetFailed, missing[0].Reason
			o.tell(false, missing...)
		}
	}
	return t
}

// missing names every digest that is not at the target, and a tag that is not
// there or points elsewhere.
func missing(target ref.Reference, tree *transfer.Tree, p transfer.Presence) []report.Problem {
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
	if err := p.Conflict(); err != nil {
		missing = append(missing, problem(report.AtTarget, err))
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
	if late := (*straggler)(nil); errors.As(err, &late) {
		p.Subject, p.Reason = late.registry, late.Error()
		p.Remedy = "Look at the registry's health and throttling, and run it again: only what is left is done."
		return p
	}
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
