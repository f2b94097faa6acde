package run

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/outcome"
	"acrpromote/internal/plan"
	"acrpromote/internal/promote"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// slowTargetGrace is how long to wait for the remaining targets once half of
// them have been read or have the image. A target that is down or throttled
// becomes pending until a rerun, so that it does not delay the others.
const slowTargetGrace = 5 * time.Second

// slowTargetWaits is how many times slowTargetGrace a target that serves requests for
// other images is waited for.
const slowTargetWaits = 12

// executor executes a plan.
type executor struct {
	c  *agent.Config
	s  *session.Session
	to *reporter
	*order
	found    *findings
	parts    []plan.Part
	receipts *receipts
	progress *report.Progress
	result   *collector
}

// execute executes the plan, several images at once, and adds each result.
func execute(ctx context.Context, c *agent.Config, s *session.Session, o *order, f *findings, p plan.Plan, rs *receipts, to *reporter, result *collector) {
	progress := to.progress()
	defer progress.Stop()
	e := &executor{c: c, s: s, to: to, order: o, found: f, parts: p.Parts, receipts: rs, progress: progress, result: result}
	defer rs.conclude()
	if o.set && plan.Atomic(o.images) {
		e.executeAtomically(ctx)
		return
	}
	e.images(ctx, func(i int, next func()) {
		defer e.release(i)
		if o.images[i].Action == plan.Seal {
			e.seal(ctx, i)
			return
		}
		wait := e.startSource(ctx, i)
		defer wait()
		done := promote.Execute(ctx, e.parts[i], e.image(i), &copier{executor: e, at: i, next: next}, attester{e, i}, e.locker)
		e.recheckRecall(ctx, i, done)
		for j, step := range e.parts[i].Steps {
			if step.Work != plan.Wait {
				e.done(i, j, done[j])
			}
		}
	})
}

// images calls do for every image that was read, several at once. A call to next
// lets another image start after slowTargetGrace, even if this one is still
// running.
func (e *executor) images(ctx context.Context, do func(i int, next func())) {
	var group sync.WaitGroup
	slots := semaphore.NewWeighted(imagesAtOnce)
	for i := range e.order.images {
		if e.found.images[i].source.err != nil {
			continue
		}
		// Not ctx: a cancelled run also reports a result for each image.
		_ = slots.Acquire(context.Background(), 1)
		group.Go(func() {
			defer defect.Catch(ctx)
			free := sync.OnceFunc(func() { slots.Release(1) })
			defer free()
			do(i, func() { time.AfterFunc(slowTargetGrace, free) })
		})
	}
	group.Wait()
}

// release frees the memory of an image that is done.
func (e *executor) release(i int) {
	found := &e.found.images[i]
	found.source.tree.Release()
	found.source, found.targets = sourceState{}, nil
}

// image returns the digests that are locked together.
func (e *executor) image(i int) promote.Image {
	image := promote.Image{Digest: e.parts[i].Digest}
	for _, m := range e.found.images[i].source.tree.Manifests()[1:] {
		image.Children = append(image.Children, m.Digest)
	}
	return image
}

// done adds the result of one image at one target.
func (e *executor) done(i, j int, r promote.Result) {
	t := &e.result.result.Images[i].Targets[j]
	t.Locked = r.Locked
	settle(t.Attached, r.Err)
	if r.Err != nil {
		problem := problem(report.TargetSide, r.Err)
		t.State, t.Error = outcome.TargetFailed, problem.Reason
		e.result.done(r.Changed, problem)
		return
	}
	t.State = outcome.State(r.State)
	e.result.done(r.Changed)
}

// copier copies one image to all its targets at once, so that content that
// several of them lack is read only once.
type copier struct {
	*executor
	at   int    // index of the image
	next func() // lets another image start after slowTargetGrace
	// untagged copies by digest and leaves the tags as they are.
	untagged bool
}

func (c *copier) Copy(ctx context.Context, steps []plan.Step, done func(int, promote.CopyResult, error)) {
	deliveries := make([]transfer.Destination, len(steps))
	failures := make([]error, len(steps))
	var inspected sync.WaitGroup
	for i, step := range steps {
		inspected.Go(func() {
			defer defect.Catch(ctx)
			deliveries[i], failures[i] = c.delivery(ctx, step.Target)
		})
	}
	inspected.Wait()
	var to []transfer.Destination
	var index []int // of each delivery's step
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for i, err := range failures {
		if err != nil {
			done(i, promote.CopyResult{}, err)
			continue
		}
		if p := c.place(c.at, steps[i]); p != nil && !c.untagged {
			stops = append(stops, p.start(ctx))
			deliveries[i].Finish = p.finish
		}
		to, index = append(to, deliveries[i]), append(index, i)
	}
	var ended atomic.Int32
	transfer.Copy(ctx, c.source().tree, to, c.progress, func(i int, out transfer.Outcome, err error) {
		step := steps[index[i]]
		c.target(step.Target).registry.Sent(err)
		c.leave(step.Target, out.Left)
		if p := c.place(c.at, step); p != nil && !c.untagged {
			p.conclude(err)
			out.Changed = out.Changed || p.wrote()
		}
		done(index[i], promote.CopyResult{State: string(out.State), Changed: out.Changed}, err)
		if int(ended.Add(1)) == (len(to)+1)/2 {
			// A slow target must not delay the rest of the set.
			c.next()
		}
	})
}

// leave records what a target refused of what is attached.
func (c *copier) leave(target ref.Reference, left *transfer.Left) {
	t := &c.result.result.Images[c.at].Targets[slices.Index(c.order.images[c.at].Targets, target)]
	for i, a := range t.Attached {
		if reason := left.Reason(a.Digest); reason != "" && a.State == outcome.Planned {
			t.Attached[i].State, t.Attached[i].Reason = outcome.Left, reason
			t.Referrers--
		}
	}
}

// delivery returns the delivery of the image to one target.
func (c *copier) delivery(ctx context.Context, target ref.Reference) (transfer.Destination, error) {
	found := c.target(target)
	if err := found.registry.Open(); err != nil {
		return transfer.Destination{}, err
	}
	d := transfer.Destination{Registry: found.registry.Data, Repository: target.Repository, Tag: target.Tag, Presence: *found.presence}
	if !c.untagged || d.Tag == "" {
		return d, nil
	}
	var err error
	d.Tag = ""
	at := slices.Index(c.order.images[c.at].Targets, target)
	d.Presence, err = inspect(ctx, d.Registry, c.order.images[c.at], at, d.Tag, c.source().tree, c.c.Deep.Or(false))
	if err == nil {
		d.Presence = d.Presence.Restrict(c.source().bring)
	}
	return d, err
}

func (c *copier) source() sourceState { return c.found.images[c.at].source }

// target returns what was read of a target.
func (c *copier) target(target ref.Reference) *targetState {
	return &c.found.images[c.at].targets[slices.Index(c.order.images[c.at].Targets, target)]
}

// seal attaches the seal record to an image and locks it.
func (e *executor) seal(ctx context.Context, i int) {
	source, found := e.order.images[i].Source, e.found.images[i].source
	fail := func(changed bool, err error) { e.result.done(changed, problem(report.SourceSide, err)) }
	at, err := e.s.Registry(source.Registry)
	if err != nil {
		fail(false, err)
		return
	}
	locker, err := e.locker(source.Registry)
	if err != nil {
		fail(false, err)
		return
	}
	run := e.found.run
	record, err := seal.Record{
		Image: source.String(), Digest: e.parts[i].Digest, Rules: sealRules,
		Run: seal.Run{
			Kind: e.result.result.Run.Kind, Organization: run.Organization, Project: run.Project, ID: run.ID,
			Stage: run.Stage, Branch: run.Branch, Commit: run.Commit,
		},
	}.Encode()
	if err != nil {
		fail(false, err)
		return
	}
	oldest, _ := plan.Oldest(found.records)
	sealed, err := promote.Seal(ctx, e.parts[i], e.image(i), record, oldest.Digest, recorder{at.Data, source.Repository, found.tree.Manifests()[0], e.receipts.seals[i]}, locker)
	e.result.result.Images[i].SealedAt = formatTime(sealed.At)
	if err != nil {
		fail(sealed.Changed, err)
		return
	}
	if err := e.to.attachSeal(e.parts[i].Digest, record); err != nil {
		e.result.done(sealed.Changed, report.Problem{Side: report.InputSide, Subject: "reportFolder", Reason: err.Error(),
			Remedy: "Set reportFolder to a folder that this step can write to, and run it again: the image is sealed, but the attachment that proves it is missing."})
		return
	}
	e.result.done(sealed.Changed)
}

// recorder attaches seal records to one image.
type recorder struct {
	registry   *transfer.Registry
	repository string
	subject    transfer.Descriptor
	signed     *sealPlace // nil if no statement is signed
}

// sealRules are the rules that a seal says were checked.
var sealRules = []string{"older-than-run"}

func (r recorder) Attach(ctx context.Context, record []byte) (string, error) {
	attached, err := r.registry.PutArtifact(ctx, r.repository, transfer.Artifact{
		Type: seal.ArtifactType, Subject: r.subject,
		Contents: []transfer.Content{{MediaType: seal.ArtifactType, Data: record, Inline: true}},
	})
	return attached.Digest, err
}

func (r recorder) Sign(ctx context.Context, record string) (changed bool, err error) {
	if r.signed == nil {
		return false, nil
	}
	return r.signed.attach(ctx, record)
}

// locker returns access to the locks of a registry, with the types of package
// plan.
func (e *executor) locker(host string) (promote.Locker, error) {
	at, err := e.s.Registry(host)
	if err != nil {
		return nil, err
	}
	metadata, err := at.Metadata()
	if err != nil {
		return nil, err
	}
	return locker{metadata}, nil
}

type locker struct{ *acr.Metadata }

func (l locker) Tag(ctx context.Context, repository, tag string) (plan.Attributes, error) {
	a, err := l.Metadata.Tag(ctx, repository, tag)
	return *attributes(&a), lockError(err)
}

func (l locker) Manifest(ctx context.Context, repository, digest string) (plan.Attributes, error) {
	a, err := l.Metadata.Manifest(ctx, repository, digest)
	return *attributes(&a), lockError(err)
}

func (l locker) SetTag(ctx context.Context, repository, tag string, write, del bool) error {
	return lockError(l.Metadata.SetTag(ctx, repository, tag, write, del))
}

func (l locker) SetManifest(ctx context.Context, repository, digest string, write, del bool) error {
	return lockError(l.Metadata.SetManifest(ctx, repository, digest, write, del))
}

// lockError adds to an error its kind in package promote.
func lockError(err error) error {
	switch {
	case errors.Is(err, acr.ErrNotFound):
		return &kindError{err, promote.ErrNotFound}
	case errors.Is(err, acr.ErrDisallowed):
		return &kindError{err, promote.ErrDisallowed}
	}
	return err
}

// kindError is an error that is of a kind of another package too.
type kindError struct {
	error
	kind error
}

func (k *kindError) Unwrap() error        { return k.error }
func (k *kindError) Is(target error) bool { return target == k.kind }
