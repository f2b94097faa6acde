package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/outcome"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/referrer"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
	"acrpromote/internal/transfer"
)

// timesAtOnce limits for how many attached artifacts of one image the times are read
// concurrently.
const timesAtOnce = 16

// referrers returns the artifacts attached to the image, with the types of package
// referrer.
func (f observation) referrers() []referrer.Referrer {
	var list []referrer.Referrer
	for _, a := range f.source.tree.Attached() {
		list = append(list, referrer.Referrer{
			Digest: a.Digest, Subject: a.Subject, Tag: a.Tag, Type: a.ArtifactType, Unread: a.Unread,
			Manifest: referrer.Manifest{MediaType: a.MediaType, Config: a.Config, Layers: a.Layers},
			Missing: slices.ContainsFunc(f.targets, func(t targetState) bool {
				return t.presence != nil && t.presence.Lacks(a.Digest, a.Tag)
			}),
		})
	}
	return list
}

// readReferrers finds which attached artifacts are missing at a target, and when
// each was attached if the rules depend on it. If the plan's code is needed, it reads
// when all of them were attached.
func (r *reader) readReferrers(ctx context.Context, wanted plan.Wanted, found *observation) {
	source := &found.source
	source.referrers = found.referrers()
	r.withholdReceipts(ctx, wanted, source.referrers)
	audit := r.c.Action == agent.Audit
	if !audit && !r.planned && !wanted.TimesReferrers() || !isAzure(wanted.Source.Registry) {
		return
	}
	rules := wanted.ReferrerRules()
	var group errgroup.Group
	group.SetLimit(timesAtOnce)
	if audit && slices.ContainsFunc(source.referrers, rules.Timed) {
		for j := range found.targets {
			group.Go(func() error {
				defer defect.Catch(ctx)
				r.readArrival(ctx, wanted.Targets[j], &found.targets[j])
				return nil
			})
		}
	}
	for i := range source.referrers {
		one := &source.referrers[i]
		asked := *one
		asked.Missing = one.Missing || r.planned
		if !rules.Timed(asked) || source.timed(one) {
			continue
		}
		group.Go(func() error {
			defer defect.Catch(ctx)
			var err error
			if one.At, err = r.attachedAt(ctx, wanted.Source.Registry, wanted.Source.Repository, *one); err != nil {
				one.Untimed = err.Error()
			}
			return nil
		})
	}
	_ = group.Wait()
}

// timed takes over when an artifact was attached if that is known from the seal
// records or from the artifacts that the flow requires.
func (s *sourceState) timed(one *referrer.Referrer) bool {
	if one.Tag != "" {
		return false
	}
	for _, record := range s.records {
		if record.Digest == one.Digest {
			one.At = record.Created
			return true
		}
	}
	for _, a := range s.attached {
		for _, found := range a.Found {
			if found.Digest == one.Digest && !found.At.IsZero() {
				one.At = found.At
				return true
			}
		}
	}
	return false
}

// attachedAt returns when an artifact was attached, by the registry's clock: when
// its manifest was pushed or, with a digest tag, when the tag was last moved.
func (r *reader) attachedAt(ctx context.Context, host, repository string, one referrer.Referrer) (time.Time, error) {
	at, err := r.s.Registry(host)
	if err != nil {
		return time.Time{}, err
	}
	if one.Tag == "" {
		return pushedAt(ctx, at, repository, one.Digest)
	}
	metadata, err := at.Metadata()
	if err != nil {
		return time.Time{}, err
	}
	read, err := metadata.Tag(ctx, repository, one.Tag)
	if err == nil && read.Digest != one.Digest {
		return time.Time{}, fmt.Errorf("the tag %s was moved to %s while it was being read", one.Tag, read.Digest)
	}
	return read.Updated, err
}

// readArrival reads when the image arrived at a target, by that registry's clock:
// when its tag was set or, without a tag, when its manifest was pushed.
func (r *reader) readArrival(ctx context.Context, target ref.Reference, t *targetState) {
	if t.presence == nil || !t.presence.Root || !t.registry.Azure {
		return
	}
	metadata, err := t.registry.Metadata()
	if err != nil {
		return
	}
	if target.Tag == "" {
		if read, err := metadata.Manifest(ctx, target.Repository, t.presence.Digest()); err == nil {
			t.arrived = read.Created
		}
		return
	}
	if read, err := metadata.Tag(ctx, target.Repository, target.Tag); err == nil && read.Digest == t.presence.TagDigest {
		t.arrived = read.Updated
	}
}

// selectReferrers decides which attached artifacts are copied with each image, and
// excludes the others.
func selectReferrers(o *order, f *findings, v approval.Verdict, result *collector) {
	for i, wanted := range o.images {
		found := &f.images[i]
		if found.source.tree == nil {
			continue
		}
		rules := wanted.ReferrerRules()
		if wanted.TimesReferrers() && isAzure(wanted.Source.Registry) {
			rules.Until, rules.Event = v.First, referrer.Approval
		}
		found.source.left = rules.Select(imageDigests(found.source.tree), found.source.referrers)
		found.source.bring = bring(found.source.referrers, found.source.left)
		for j := range found.targets {
			found.targets[j].restrict(found.source.bring)
		}
		warnOfReferrers(wanted, *found, result)
		warnOfUncovered(found.source, result)
	}
}

// warnOfUncovered warns about artifacts that the plan's code does not cover because it
// is unknown when they were attached: when the plan is executed, they may be.
func warnOfUncovered(s sourceState, result *collector) {
	uncovered := 0
	for i, one := range s.referrers {
		if s.covered == nil || s.covered[i] || one.Untimed == "" || s.left[i] != "" {
			continue
		}
		if uncovered++; uncovered <= mostWarnings {
			result.warn(fmt.Sprintf("attached %s %s is not covered by the plan's code: the registry does not say when it was attached: %s", one.Type, one.Digest, one.Untimed))
		}
	}
}

func imageDigests(tree *transfer.Tree) []string {
	var digests []string
	for _, m := range tree.Manifests() {
		digests = append(digests, m.Digest)
	}
	return digests
}

// bring returns the artifacts to write: selected, read, and missing at a target.
func bring(list []referrer.Referrer, left []string) map[string]bool {
	bring := map[string]bool{}
	for i, one := range list {
		switch {
		case left[i] != "" || one.Unread || !one.Missing:
		case one.Tag != "":
			bring[one.Tag] = true
		default:
			bring[one.Digest] = true
		}
	}
	return bring
}

// restrict makes sure that excluded artifacts do not count as missing at a target.
func (t *targetState) restrict(bring map[string]bool) {
	if t.presence == nil {
		return
	}
	t.lacked = *t.presence
	restricted := t.presence.Restrict(bring)
	t.presence = &restricted
}

// mostWarnings limits the warnings about artifacts of one image; result.json lists
// all artifacts.
const mostWarnings = 10

// warnOfReferrers warns about the artifacts that are not copied.
func warnOfReferrers(wanted plan.Wanted, found observation, result *collector) {
	var warnings []string
	for i, one := range found.source.referrers {
		if reason := found.source.left[i]; reason != "" && !slices.Contains(seal.LaterTypes, one.Type) {
			warnings = append(warnings, fmt.Sprintf("attached %s %s is not copied: %s", one.Type, one.Digest, reason))
		}
		for j, t := range found.targets {
			if at := t.lacked.Kept(one.Tag); at != "" && found.source.left[i] == "" {
				warnings = append(warnings, fmt.Sprintf("attached %s %s is not copied: %s", one.Type, one.Digest, kept(wanted.Targets[j].Registry, one.Tag, at)))
			}
		}
	}
	if more := len(warnings) - mostWarnings; more > 0 {
		warnings = append(warnings[:mostWarnings], fmt.Sprintf("%d more artifacts attached to %s are not copied; result.json lists them", more, wanted.Source))
	}
	for _, w := range warnings {
		result.warn(w)
	}
}

func kept(registry, tag, digest string) string {
	return fmt.Sprintf("%s is immutable, and its tag %s points to %s", registry, tag, digest)
}

// auditReferrers decides which artifacts an audit expects at one target, and returns
// for the others why they may be missing. An artifact with an unknown time is
// expected.
func (f *observation) auditReferrers(wanted plan.Wanted, at int) []string {
	t := &f.targets[at]
	rules := wanted.ReferrerRules()
	rules.Until, rules.Event = t.arrived, referrer.Arrival
	list := slices.Clone(f.source.referrers)
	for i := range list {
		list[i].Missing = !list[i].At.IsZero() && t.presence != nil && t.presence.Lacks(list[i].Digest, list[i].Tag)
	}
	left := rules.Select(imageDigests(f.source.tree), list)
	for i := range list {
		list[i].Missing = true
	}
	t.restrict(bring(list, left))
	return left
}

// attached returns the artifacts attached to an image with their states at one
// target: planned if they are to be copied. left has for each referrer the reason
// why it is not copied.
func (f observation) attached(at int, registry string, left []string) []report.Attached {
	var list []report.Attached
	t := f.targets[at]
	for i, one := range f.source.referrers {
		a := report.Attached{Digest: one.Digest, ArtifactType: one.Type, Subject: one.Subject, State: outcome.Present, Reason: left[i], InPlan: f.source.covered != nil && f.source.covered[i]}
		lacks := t.presence == nil || t.lacked.Lacks(one.Digest, one.Tag) || one.Unread && a.Reason != ""
		switch there := t.lacked.Kept(one.Tag); {
		case lacks && a.Reason != "":
			a.State = outcome.Left
		case t.presence == nil:
			a.State = outcome.Pending
		case there != "":
			a.State = outcome.Left
			if a.Reason == "" {
				a.Reason = kept(registry, one.Tag, there)
			}
		case lacks:
			a.State = outcome.Planned
		}
		list = append(list, a)
	}
	return report.MergeAttached(list)
}

// arrivals returns the number of artifacts that are or will be at a target.
func arrivals(attached []report.Attached) int {
	digests := map[string]bool{}
	for _, a := range attached {
		if a.State != outcome.Left {
			digests[a.Digest] = true
		}
	}
	return len(digests)
}

// settle sets the final state of planned artifacts.
func settle(attached []report.Attached, err error) {
	for i := range attached {
		switch {
		case attached[i].State != outcome.Planned:
		case err != nil:
			attached[i].State = outcome.TargetFailed
		default:
			attached[i].State = outcome.Copied
		}
	}
}
