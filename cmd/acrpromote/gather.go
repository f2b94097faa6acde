package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/plan"
	"acrpromote/internal/rule"
	"acrpromote/internal/seal"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

// findings are everything that was read before anything is decided.
type findings struct {
	run         azdo.Run
	protection  string
	runRefusals []rule.Refusal
	evidence    map[string]*approval.Evidence // by approvalKey of the terms
	suites      []*approval.Suite             // of this stage, whosever approval counts
	others      []plan.Reference              // with their digests, empty where one is not known
	misuse      error
}

// sourceFound is the image as its registry shows it. Of a source that was
// named by tag, tag bears the attributes; else manifest does.
type sourceFound struct {
	tree     *transfer.Tree
	tag      *acr.Attributes
	manifest *acr.Attributes
	records  []recordFound
	attached []plan.Attached
	err      error
}

// recordFound is a seal record that refers to the image, and when the registry
// says that it was pushed.
type recordFound struct {
	digest  string
	created time.Time
}

// targetFound is one target as its registry shows it.
type targetFound struct {
	registry   *registry
	presence   *transfer.Presence
	tag        *acr.Attributes
	repository *acr.Attributes
	rollback   bool // the tag would move to an older image, by the registry's own times
	err        error
}

// mostRecords bounds how many seal records of one image are looked at.
const mostRecords = 16

// gather reads everything side by side: the run and its approvals from Azure
// DevOps, the image from its registry, and what is already there from each
// target. What cannot be read is kept, not returned: it has to be told
// together with everything else that is wrong.
func (o *operation) gather(ctx context.Context) *findings {
	f := &findings{}
	var group sync.WaitGroup
	o.dialAhead()
	group.Go(func() { o.readRun(ctx, f) })
	group.Go(func() { o.readOthers(ctx, f) })
	slots := make(chan struct{}, itemsAtOnce)
	for _, it := range o.items {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			o.observe(ctx, it)
		})
	}
	group.Wait()
	return f
}

// itemsAtOnce bounds how many images are looked at, or moved, side by side.
const itemsAtOnce = 32

// stragglerGrace is how long targets that do not answer yet are waited for once
// half of them have been read: every target is its own island, and one that is
// down or throttled waits for a rerun instead of holding up the others.
const stragglerGrace = 5 * time.Second

// observe reads one image and its targets, these while the image is still
// being read.
func (o *operation) observe(ctx context.Context, it *item) {
	it.targets = make([]targetFound, len(it.wanted.Targets))
	ready := make(chan struct{})
	looking, giveUp := context.WithCancel(ctx)
	defer giveUp()
	read := make(chan struct{}, len(it.targets))
	first := &firstAnswer{done: make(chan struct{})}
	var group sync.WaitGroup
	group.Go(func() {
		defer close(ready)
		it.source = o.readSource(ctx, it, first)
	})
	for i, target := range it.wanted.Targets {
		group.Go(func() {
			it.targets[i] = o.readTarget(looking, it, target, first, ready)
			if ctx.Err() == nil && looking.Err() != nil && it.targets[i].err != nil {
				it.targets[i].err = &straggler{target.Registry, it.targets[i].err}
				if late := it.targets[i].registry; late != nil {
					late.lose(it.targets[i].err)
				}
			}
			read <- struct{}{}
		})
	}
	if len(it.targets) > 1 {
		group.Go(func() {
			<-ready
			for range (len(it.targets) + 1) / 2 {
				<-read
			}
			grace := time.NewTimer(stragglerGrace)
			defer grace.Stop()
			for range len(it.targets) / 2 {
				select {
				case <-read:
				case <-grace.C:
					giveUp()
					return
				}
			}
		})
	}
	group.Wait()
	if tree := it.source.tree; tree != nil && it.source.err == nil && it.lacking() {
		// The first target had everything, another has not.
		it.source.err = tree.Complete(ctx)
	}
}

// lacking tells whether any target lacks something of the image.
func (it *item) lacking() bool {
	return slices.ContainsFunc(it.targets, func(t targetFound) bool { return t.presence != nil && !t.presence.Complete() })
}

// firstAnswer is where the tag points at the target that answered first: it is
// likely to point there at all of them.
type firstAnswer struct {
	once       sync.Once
	done       chan struct{}
	registry   *transfer.Registry
	repository string
	digest     string // "" if there is no such tag, or the target cannot be read
}

func (f *firstAnswer) give(registry *transfer.Registry, repository, digest string) {
	f.once.Do(func() {
		f.registry, f.repository, f.digest = registry, repository, digest
		close(f.done)
	})
}

// holding gives the target if it has the image already.
func (f *firstAnswer) holding(ctx context.Context, digest string) (*transfer.Registry, string) {
	select {
	case <-f.done:
		if f.digest == digest {
			return f.registry, f.repository
		}
	case <-ctx.Done():
	}
	return nil, ""
}

// straggler is a target that had not answered when the others long had.
type straggler struct {
	registry string
	err      error
}

func (s *straggler) Error() string {
	return fmt.Sprintf("%s has not answered %s after most other targets had", s.registry, stragglerGrace)
}

// readRun reads the run, and the approvals where the action takes one.
func (o *operation) readRun(ctx context.Context, f *findings) {
	c := o.config
	if !c.InRun || c.Unapproved() || c.Action == agent.Audit {
		return
	}
	service, err := o.azureDevOps()
	if err != nil {
		f.runRefusals = []rule.Refusal{refusal(rule.ApprovalUnreadable, "Azure DevOps", err.Error(),
			"Run this as a task of an Azure Pipelines job, or as a script in one with SYSTEM_ACCESSTOKEN mapped.")}
		return
	}
	// Run comes first: what follows stands on it, side by side.
	var refusals []rule.Refusal
	f.run, refusals = service.Run(ctx)
	asked := o.approvals()
	if len(asked) == 0 {
		f.runRefusals = refusals
		o.readTemplate(ctx, service, f)
		if o.action == plan.Seal && c.Claims.Classic() {
			started, refused := service.ArtifactStarted(ctx)
			f.run.Started = started
			if refused != nil {
				f.runRefusals = append(f.runRefusals, *refused)
			}
		}
		return
	}
	var guards sync.WaitGroup
	guards.Go(func() { f.protection = o.protection(ctx, service) })
	defer guards.Wait()
	f.evidence = map[string]*approval.Evidence{}
	read := map[string]*approval.Evidence{}
	for _, group := range asked {
		question := o.question(group.terms)
		key := strings.ToLower(fmt.Sprint(question))
		if read[key] == nil {
			evidence, err := service.Evidence(ctx, question)
			var unknown *azdo.UnknownStage
			if errors.As(err, &unknown) {
				f.misuse = misused("approvalStage", unknown, "Name a stage of this run, or leave approvalStage empty for this stage.")
				return
			}
			if err != nil {
				f.runRefusals = []rule.Refusal{refusal(rule.ApprovalUnreadable, "Azure DevOps", err.Error(), "Run this again; if it stays, look at the service's state.")}
				return
			}
			read[key] = &evidence
		}
		f.evidence[approvalKey(group.terms)] = read[key]
	}
	if o.config.ApprovalStage == "" {
		f.suites = suites(f.evidence)
		return
	}
	o.readTemplate(ctx, service, f)
}

func suites(evidence map[string]*approval.Evidence) []*approval.Suite {
	var all []*approval.Suite
	for _, e := range evidence {
		all = append(all, e.Suite)
	}
	return all
}

// readTemplate reads the suite of this stage where no approval of it was read:
// it tells whether the pipeline extends a template that its author did not
// choose, and with it the flow file.
func (o *operation) readTemplate(ctx context.Context, service *azdo.Service, f *findings) {
	if o.flows == nil || !o.flows.bound || o.config.Claims.Classic() {
		return
	}
	if evidence, err := service.Evidence(ctx, azdo.Question{}); err == nil {
		f.suites = []*approval.Suite{evidence.Suite}
	}
}

// question is what the evidence is wanted for, by the terms.
func (o *operation) question(t topology.Terms) azdo.Question {
	q := azdo.Question{
		Stage:          o.config.ApprovalStage,
		Environment:    t.Environment,
		PostDeployment: o.config.PostDeployment.Or(false),
		Authors:        !t.AuthorCanApprove,
	}
	for _, c := range t.Checks {
		q.Checks = append(q.Checks, string(c.Resource))
	}
	return q
}

// connections are the service connections of this step, each once.
func (o *operation) connections() []*agent.Connection {
	var used []*agent.Connection
	seen := map[string]bool{}
	for _, c := range append([]*agent.Connection{o.config.Azure, o.config.Target}, o.config.Registries...) {
		if c != nil && !seen[c.ID] {
			seen[c.ID] = true
			used = append(used, c)
		}
	}
	return used
}

// protection reads the checks on the service connections in use: what keeps
// others from going to the registries without this step.
func (o *operation) protection(ctx context.Context, service *azdo.Service) string {
	if o.config.Claims.Classic() {
		return "unprotected: in a classic release Azure DevOps evaluates no checks on service connections"
	}
	var guards []approval.Guard
	for _, used := range o.connections() {
		checks, refusals := service.Checks(ctx, "endpoint", used.ID)
		if len(refusals) > 0 {
			checks = approval.Configurations{Unknown: refusals[0].Reason + ". " + refusals[0].Remedy}
		}
		name := "service connection " + used.ID
		if len(checks.Checks) > 0 && checks.Checks[0].Resource.Name != "" {
			name = checks.Checks[0].Resource.Name
		}
		guards = append(guards, approval.Guard{Name: name, Checks: checks})
	}
	return approval.Protection(guards)
}

// readSource reads the image, and where sealing is made or demanded the locks
// and seal records too.
func (o *operation) readSource(ctx context.Context, it *item, first *firstAnswer) (s sourceFound) {
	wanted, source := it.wanted, it.wanted.Source
	at, err := o.registries.at(source.Registry)
	if err != nil {
		s.err = err
		return s
	}
	sealing := wanted.Action == plan.Seal
	attributes := sealing || it.sealed()
	ref := source.Tag
	if ref == "" {
		ref = source.Digest
	}

	var group sync.WaitGroup
	var attributesErr error
	if attributes {
		group.Go(func() {
			metadata, err := at.metadata()
			if err != nil {
				attributesErr = err
				return
			}
			var read acr.Attributes
			if source.Tag != "" {
				read, attributesErr = metadata.Tag(ctx, source.Repository, source.Tag)
				s.tag = &read
			} else {
				read, attributesErr = metadata.Manifest(ctx, source.Repository, source.Digest)
				s.manifest = &read
			}
		})
	}
	known := make(chan string, 1)
	options := transfer.Options{
		Referrers: o.config.Referrers.Or(true) && !sealing,
		Exclude:   it.excluded(),
		Root: func(ctx context.Context, digest string) (*transfer.Registry, string) {
			known <- digest
			if len(wanted.Targets) == 0 || o.config.Deep.Or(false) {
				return nil, ""
			}
			return first.holding(ctx, digest)
		},
	}
	var recordsErr error
	group.Go(func() {
		// Beside the tree, which knows the digest first.
		if digest, ok := <-known; ok && attributes {
			s.records, recordsErr = readRecords(ctx, at, source.Repository, digest)
		}
	})
	s.tree, err = transfer.ReadTree(ctx, at.data, source.Repository, ref, options)
	close(known)
	if err == nil {
		s.attached, err = it.readAttached(ctx, at, s.tree)
	}
	group.Wait()
	switch {
	case err != nil:
		s.err = err
	case recordsErr != nil:
		s.err = recordsErr
	case attributesErr != nil:
		s.err = attributesErr
	}
	return s
}

// readRecords finds the seal records among the image's referrers and asks the
// registry when each was pushed.
func readRecords(ctx context.Context, at *registry, repository, digest string) ([]recordFound, error) {
	referrers, err := at.data.Referrers(ctx, repository, digest, seal.ArtifactType)
	if err != nil {
		return nil, err
	}
	if len(referrers) > mostRecords {
		referrers = referrers[:mostRecords]
	}
	if len(referrers) == 0 {
		return nil, nil
	}
	metadata, err := at.metadata()
	if err != nil {
		return nil, err
	}
	records := make([]recordFound, len(referrers))
	failures := make([]error, len(referrers))
	var group sync.WaitGroup
	for i, r := range referrers {
		group.Go(func() {
			var read acr.Attributes
			read, failures[i] = metadata.Manifest(ctx, repository, r.Digest)
			records[i] = recordFound{digest: r.Digest, created: read.Created}
		})
	}
	group.Wait()
	return records, errors.Join(failures...)
}

// readTarget looks at one target: its tag while the source is still being
// read, the rest when it is known what to look for.
func (o *operation) readTarget(ctx context.Context, it *item, target plan.Reference, first *firstAnswer, ready <-chan struct{}) (t targetFound) {
	defer first.give(nil, "", "") // however it ends
	if t.registry, t.err = o.registries.at(target.Registry); t.err != nil {
		return t
	}
	at := t.registry
	if t.err = at.lost(); t.err != nil {
		return t
	}
	defer func() { at.lose(t.err) }()
	var tagDigest string
	if target.Tag != "" {
		d, err := at.data.Resolve(ctx, target.Repository, target.Tag)
		if err != nil && !errors.Is(err, transfer.NotFound) {
			t.err = err
			return t
		}
		tagDigest = d.Digest
	}
	first.give(at.data, target.Repository, tagDigest)
	if tagDigest == "" && o.config.Action != agent.Audit {
		readLocks(ctx, target, false, &t)
	}
	<-ready
	tree := it.source.tree
	if tree == nil {
		return t
	}
	presence, err := at.data.Inspect(ctx, target.Repository, target.Tag, tree, o.config.Deep.Or(false))
	if err != nil {
		t.err = err
		return t
	}
	t.presence = &presence
	if tagDigest != "" && tagDigest != tree.Digest() && o.config.Action != agent.Audit {
		if it.moves(target) {
			readLocks(ctx, target, true, &t)
		}
		t.rollback = o.older(ctx, it, at, target, tagDigest)
	}
	return t
}

// older tells whether the image is older than what a tag points at now, as far
// as the registries tell: then moving the tag is a rollback.
func (o *operation) older(ctx context.Context, it *item, at *registry, target plan.Reference, current string) bool {
	from, err := o.registries.at(it.wanted.Source.Registry)
	if err != nil || !from.azure || !at.azure {
		return false
	}
	created := func(r *registry, repository, digest string) time.Time {
		metadata, err := r.metadata()
		if err != nil {
			return time.Time{}
		}
		read, err := metadata.Manifest(ctx, repository, digest)
		if err != nil {
			return time.Time{}
		}
		return read.Created
	}
	var ours, theirs time.Time
	var group sync.WaitGroup
	group.Go(func() { ours = created(from, it.wanted.Source.Repository, it.source.tree.Digest()) })
	group.Go(func() { theirs = created(at, target.Repository, current) })
	group.Wait()
	return !ours.IsZero() && ours.Before(theirs)
}

// moves tells whether a tag that is there may move to the image.
func (it *item) moves(target plan.Reference) bool {
	if !it.wanted.Covered {
		return it.wanted.MoveTag
	}
	i := slices.Index(it.wanted.Targets, target)
	return i >= 0 && it.wanted.Ways[i].Move == nil
}

// readLocks reads the locks that a write would run into, while there is still
// time to refuse: the repository's where something new would come into it, the
// tag's where it would move. Reading them takes a right that pushing does not;
// where it is missing, the registry itself will refuse a forbidden write.
func readLocks(ctx context.Context, target plan.Reference, moves bool, t *targetFound) {
	if !t.registry.azure {
		return
	}
	metadata, err := t.registry.metadata()
	if err != nil {
		return
	}
	var group sync.WaitGroup
	group.Go(func() {
		if read, err := metadata.Repository(ctx, target.Repository); err == nil {
			t.repository = &read
		}
	})
	if moves {
		group.Go(func() {
			if read, err := metadata.Tag(ctx, target.Repository, target.Tag); err == nil {
				t.tag = &read
			}
		})
	}
	group.Wait()
}
