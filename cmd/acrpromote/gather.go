package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
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
	others      []ref.Reference               // with their digests, empty where one is not known
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
func (o *operation) readSource(ctx context.Context, it *item, first *transfer.Replica) (s sourceFound) {
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
		Resolved:  func(digest string) { known <- digest },
	}
	if len(wanted.Targets) > 0 && !o.config.Deep.Or(false) {
		options.Replica = first
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
