package run

import (
	"cmp"
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/defect"
	"acrpromote/internal/drift"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// findings are what the read phase found.
type findings struct {
	run         azdo.Run
	protection  string
	warnings    []string
	runRefusals []rule.Refusal
	releasing   approval.Releasing
	verdict     approval.Verdict     // set in the decide phase
	evidence    []*approval.Evidence // by group of the order; nil if it was not read
	stages      []*approval.Evidence // of this stage, even if another stage's approval counts
	images      []observation        // by image of the order
	rights      []report.Right       // for a plan, by registry
	others      []ref.Reference      // with their digests; empty if unknown
	elsewhere   []plan.Image         // by image of other jobs, if the plan's code is needed
	astray      []drift.Finding      // of an audit of a whole flow: what belongs to no image
	keysErr     error                // why the keys whose receipts count could not be read
}

// observation is the state of one image and its targets in their registries.
type observation struct {
	source   sourceState
	targets  []targetState
	recalled string // for an audit of a whole flow: the digest if the image is recalled
}

// imagesAtOnce limits how many images are inspected or copied concurrently.
const imagesAtOnce = 32

// reader reads what is needed to decide an order.
type reader struct {
	c *agent.Config
	s *session.Session
	*order
}

// read reads everything concurrently: the run and its approvals from Azure
// DevOps, the images from their registries, and the current state of each target.
// Failures are part of the findings, to be reported together with everything else
// that is wrong. The error is a usage error.
func read(ctx context.Context, c *agent.Config, s *session.Session, o *order) (*findings, error) {
	r := &reader{c, s, o}
	f := &findings{images: make([]observation, len(o.images))}
	if !c.ReadOnly() {
		s.Preconnect(plan.Registries(o.images, o.others))
	}
	var all sync.WaitGroup
	var wrong error
	all.Go(func() {
		defer defect.Catch(ctx)
		wrong = r.readRun(ctx, f)
	})
	all.Go(func() {
		defer defect.Catch(ctx)
		r.readySigners(ctx)
	})
	all.Go(func() {
		defer defect.Catch(ctx)
		f.elsewhere = r.readOthers(ctx)
		f.others = r.resolveOthers(ctx, f.elsewhere)
	})
	all.Go(func() {
		defer defect.Catch(ctx)
		r.readRights(ctx, f)
	})
	r.fetchKeys(ctx, f)
	var images errgroup.Group
	images.SetLimit(imagesAtOnce)
	for i, wanted := range o.images {
		images.Go(func() error {
			defer defect.Catch(ctx)
			f.images[i] = r.observe(ctx, wanted)
			return nil
		})
	}
	_ = images.Wait()
	r.explainAbsent(ctx, f)
	r.readTags(ctx, f)
	all.Wait()
	r.readRecalls(ctx, f)
	r.readRecalled(ctx, f)
	r.readSealers(ctx, f)
	return f, wrong
}

// readOthers reads the images that other jobs copy, and what is attached to them.
// One that could not be read has no digest.
func (r *reader) readOthers(ctx context.Context) []plan.Image {
	found := make([]plan.Image, len(r.elsewhere))
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, wanted := range r.elsewhere {
		found[i].Wanted = wanted
		group.Go(func() error {
			defer defect.Catch(ctx)
			found[i].Observed.Source = r.readOther(ctx, wanted)
			return nil
		})
	}
	_ = group.Wait()
	return found
}

func (r *reader) readOther(ctx context.Context, wanted plan.Wanted) plan.Source {
	source := wanted.Source
	at, err := r.s.Registry(source.Registry)
	if err != nil {
		return plan.Source{Unreadable: true}
	}
	tree, err := transfer.ReadTree(ctx, at.Data, source.Repository, cmp.Or(wanted.Digest, source.Tag, source.Digest), r.treeOptions(wanted))
	if err != nil {
		return plan.Source{Unreadable: true}
	}
	found := observation{source: sourceState{tree: tree}}
	r.readReferrers(ctx, wanted, &found)
	s := planSource(wanted, found.source)
	tree.Settle()
	return s
}

// treeOptions returns how an image is read at its source.
func (r *reader) treeOptions(wanted plan.Wanted) transfer.Options {
	options := transfer.Options{Referrers: r.c.Referrers.Or(true) && wanted.Action != plan.Seal}
	if rules := wanted.ReferrerRules(); len(rules.Include)+len(rules.Exclude) > 0 {
		options.Skip = func(artifactType string) bool { return rules.Leaves(artifactType) != "" }
	}
	return options
}

// resolveOthers finds the digests of images that other jobs copy: the approval
// code is the code of the whole set. read has those that were read.
func (r *reader) resolveOthers(ctx context.Context, read []plan.Image) []ref.Reference {
	digests := map[ref.Reference]string{}
	for _, image := range read {
		digests[image.Wanted.Source] = image.Observed.Source.Digest
	}
	found := make([]ref.Reference, len(r.others))
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, other := range r.others {
		found[i] = other
		if other.Digest != "" {
			continue
		}
		if digest, known := digests[other]; known {
			found[i].Digest = digest
			continue
		}
		group.Go(func() error {
			defer defect.Catch(ctx)
			at, err := r.s.Registry(other.Registry)
			if err != nil {
				return nil
			}
			if d, err := at.Data.Resolve(ctx, other.Repository, other.Tag); err == nil {
				found[i].Digest = d.Digest
			}
			return nil
		})
	}
	_ = group.Wait()
	return found
}
