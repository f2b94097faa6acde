package run

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
)

// findings are everything that was read before anything is decided.
type findings struct {
	run         azdo.Run
	protection  string
	runRefusals []rule.Refusal
	evidence    []*approval.Evidence // of the order's groups; nil where it was not read
	suites      []*approval.Suite    // of this stage, whosever approval counts
	images      []observation        // of the order's images
	others      []ref.Reference      // with their digests, empty where one is not known
}

// observation is one image and its targets, as their registries show them.
type observation struct {
	source  sourceFound
	targets []targetFound
}

// imagesAtOnce bounds how many images are inspected, or moved, side by side.
const imagesAtOnce = 32

// reader reads what an order is decided by.
type reader struct {
	c *agent.Config
	s *session.Session
	*order
}

// read reads everything side by side: the run and its approvals from Azure
// DevOps, the image from its registry, and what is already there from each
// target. What cannot be read is kept, not returned: it has to be reported
// together with everything else that is wrong. The error is a usage error.
func read(ctx context.Context, c *agent.Config, s *session.Session, o *order) (*findings, error) {
	r := &reader{c, s, o}
	f := &findings{images: make([]observation, len(o.images))}
	if !c.ReadOnly() {
		s.DialAhead(plan.Registries(o.images, o.others))
	}
	var all sync.WaitGroup
	var wrong error
	all.Go(func() { wrong = r.readRun(ctx, f) })
	all.Go(func() { f.others = r.resolveOthers(ctx) })
	var images errgroup.Group
	images.SetLimit(imagesAtOnce)
	for i, wanted := range o.images {
		images.Go(func() error {
			f.images[i] = r.observe(ctx, wanted)
			return nil
		})
	}
	_ = images.Wait()
	all.Wait()
	return f, wrong
}

// resolveOthers finds the digests of the images of the set that other jobs
// bring: the code is that of the whole set.
func (r *reader) resolveOthers(ctx context.Context) []ref.Reference {
	found := make([]ref.Reference, len(r.others))
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, other := range r.others {
		found[i] = other
		if other.Digest != "" {
			continue
		}
		group.Go(func() error {
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
