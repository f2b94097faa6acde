package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/plan"
	"acrpromote/internal/rule"
	"acrpromote/internal/seal"
	"acrpromote/internal/transfer"
)

// findings are everything that was read before anything is decided.
type findings struct {
	run         azdo.Run
	protection  string
	runRefusals []rule.Refusal
	evidence    *approval.Evidence
	misuse      error
}

// sourceFound is the image as its registry shows it. Of a source that was
// named by tag, tag bears the attributes; else manifest does.
type sourceFound struct {
	tree     *transfer.Tree
	tag      *acr.Attributes
	manifest *acr.Attributes
	records  []recordFound
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
	group.Go(func() { o.readRun(ctx, f) })
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

// observe reads one image and its targets, these while the image is still
// being read.
func (o *operation) observe(ctx context.Context, it *item) {
	it.targets = make([]targetFound, len(it.wanted.Targets))
	ready := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(ready)
		it.source = o.readSource(ctx, it.wanted)
	})
	for i, target := range it.wanted.Targets {
		group.Go(func() { it.targets[i] = o.readTarget(ctx, it, target, ready) })
	}
	group.Wait()
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
	if !c.NeedsApproval() {
		f.run, f.runRefusals = service.Run(ctx)
		return
	}
	// Run comes first: what follows stands on it, side by side.
	f.run, _ = service.Run(ctx)
	var guards sync.WaitGroup
	guards.Go(func() { f.protection = o.protection(ctx, service) })
	defer guards.Wait()
	evidence, err := service.Evidence(ctx, azdo.Question{
		Stage:          c.ApprovalStage,
		Environment:    c.Environment,
		PostDeployment: c.PostDeployment.Or(false),
		Authors:        !c.AuthorCanApprove.Or(true),
	})
	var unknown *azdo.UnknownStage
	if errors.As(err, &unknown) {
		f.misuse = &agent.Misuse{Problems: []agent.Problem{{Subject: "approvalStage", Reason: unknown.Error(), Remedy: "Name a stage of this run, or leave approvalStage empty for this stage."}}}
		return
	}
	if err != nil {
		f.runRefusals = []rule.Refusal{refusal(rule.ApprovalUnreadable, "Azure DevOps", err.Error(), "Run this again; if it stays, look at the service's state.")}
		return
	}
	f.evidence = &evidence
}

// protection reads the checks on the service connections in use: what keeps
// others from going to the registries without this step.
func (o *operation) protection(ctx context.Context, service *azdo.Service) string {
	if o.config.Claims.Classic() {
		return "unprotected: in a classic release Azure DevOps evaluates no checks on service connections"
	}
	var guards []approval.Guard
	seen := map[string]bool{}
	for _, used := range append([]*agent.Connection{o.config.Azure, o.config.Target}, o.config.Registries...) {
		if used == nil || seen[used.ID] {
			continue
		}
		seen[used.ID] = true
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
func (o *operation) readSource(ctx context.Context, wanted plan.Wanted) (s sourceFound) {
	source := wanted.Source
	at, err := o.registries.at(source.Registry)
	if err != nil {
		s.err = err
		return s
	}
	sealing := wanted.Action == plan.Seal
	attributes := sealing || o.demandsSeal(wanted)
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
	s.tree, err = transfer.ReadTree(ctx, at.data, source.Repository, ref, transfer.Options{Referrers: o.config.Referrers.Or(true) && !sealing})
	if err == nil && attributes {
		s.records, err = readRecords(ctx, at, source.Repository, s.tree)
	}
	group.Wait()
	switch {
	case err != nil:
		s.err = err
	case attributesErr != nil:
		s.err = attributesErr
	}
	return s
}

// readRecords finds the seal records among the image's referrers and asks the
// registry when each was pushed.
func readRecords(ctx context.Context, at *registry, repository string, tree *transfer.Tree) ([]recordFound, error) {
	referrers, err := at.data.Referrers(ctx, repository, tree.Digest(), seal.ArtifactType)
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
func (o *operation) readTarget(ctx context.Context, it *item, target plan.Reference, ready <-chan struct{}) (t targetFound) {
	if t.registry, t.err = o.registries.at(target.Registry); t.err != nil {
		return t
	}
	at := t.registry
	var tagErr error
	var tagDigest string
	if target.Tag != "" {
		var d transfer.Descriptor
		d, tagErr = at.data.Resolve(ctx, target.Repository, target.Tag)
		if errors.Is(tagErr, transfer.NotFound) {
			tagErr = nil
		}
		tagDigest = d.Digest
	}
	if tagErr == nil && o.config.Action != agent.Audit {
		readLocks(ctx, target, tagDigest, it.wanted.MoveTag, &t)
	}
	<-ready
	tree := it.source.tree
	if tree == nil {
		t.err = tagErr
		return t
	}
	presence, err := at.data.Inspect(ctx, target.Repository, target.Tag, tree, o.config.Deep.Or(false))
	if err != nil {
		t.err = err
		return t
	}
	t.presence = &presence
	return t
}

// readLocks reads the locks that a write would run into, while there is still
// time to refuse: the repository's where something new would come into it, the
// tag's where it would move. Reading them takes a right that pushing does not;
// where it is missing, the registry itself will refuse a forbidden write.
func readLocks(ctx context.Context, target plan.Reference, tagDigest string, moveTag bool, t *targetFound) {
	moves := tagDigest != "" && moveTag
	if tagDigest != "" && !moves || !t.registry.azure {
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
