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
	"acrpromote/internal/transfer"
)

// timesAtOnce bounds how many attached artifacts of one image are asked about at
// the same time.
const timesAtOnce = 16

// referrers returns what is attached to the image, in the terms of the rules.
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

// readReferrers finds out of what is attached whether it is missing somewhere, and
// when it was attached, where that decides.
func (r *reader) readReferrers(ctx context.Context, wanted plan.Wanted, found *observation) {
	source := &found.source
	source.referrers = found.referrers()
	audit := r.c.Action == agent.Audit
	if !audit && !wanted.TimesReferrers() || !isAzure(wanted.Source.Registry) {
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
		if !rules.Timed(*one) {
			continue
		}
		if at := slices.IndexFunc(source.records, func(record plan.Record) bool { return record.Digest == one.Digest }); at >= 0 && one.Tag == "" {
			one.At = source.records[at].Created
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

// attachedAt returns when something was attached, by the registry's own clock: a
// manifest when it was pushed, by a digest tag when that was last moved.
func (r *reader) attachedAt(ctx context.Context, host, repository string, one referrer.Referrer) (time.Time, error) {
	at, err := r.s.Registry(host)
	if err != nil {
		return time.Time{}, err
	}
	metadata, err := at.Metadata()
	if err != nil {
		return time.Time{}, err
	}
	if one.Tag == "" {
		read, err := metadata.Manifest(ctx, repository, one.Digest)
		return read.Created, err
	}
	read, err := metadata.Tag(ctx, repository, one.Tag)
	if err == nil && read.Digest != one.Digest {
		return time.Time{}, fmt.Errorf("the tag %s was moved to %s while it was being read", one.Tag, read.Digest)
	}
	return read.Updated, err
}

// readArrival reads when the image came to a target, by that registry's clock:
// when its tag was set, or, without a tag, when its manifest was pushed.
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

// selectReferrers decides what travels with each image, and keeps everything else
// from being written.
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
	}
}

func imageDigests(tree *transfer.Tree) []string {
	var digests []string
	for _, m := range tree.Manifests() {
		digests = append(digests, m.Digest)
	}
	return digests
}

// bring returns what may be written: what travels, was read, and is missing
// somewhere.
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

// restrict keeps what stays behind from being missing at a target.
func (t *targetState) restrict(bring map[string]bool) {
	if t.presence == nil {
		return
	}
	t.lacked = *t.presence
	restricted := t.presence.Restrict(bring)
	t.presence = &restricted
}

// mostWarnings bounds how many artifacts of one image are named in warnings;
// result.json lists all.
const mostWarnings = 10

// warnOfReferrers says what stays behind, and why.
func warnOfReferrers(wanted plan.Wanted, found observation, result *collector) {
	var warnings []string
	for i, one := range found.source.referrers {
		if reason := found.source.left[i]; reason != "" {
			warnings = append(warnings, fmt.Sprintf("attached %s %s stays behind: %s", one.Type, one.Digest, reason))
		}
		for j, t := range found.targets {
			if at := t.lacked.Kept(one.Tag); at != "" && found.source.left[i] == "" {
				warnings = append(warnings, fmt.Sprintf("attached %s %s stays behind: %s", one.Type, one.Digest, kept(wanted.Targets[j].Registry, one.Tag, at)))
			}
		}
	}
	if more := len(warnings) - mostWarnings; more > 0 {
		warnings = append(warnings[:mostWarnings], fmt.Sprintf("%d more artifacts attached to %s stay behind; result.json lists them", more, wanted.Source))
	}
	for _, w := range warnings {
		result.warn(w)
	}
}

func kept(registry, tag, digest string) string {
	return fmt.Sprintf("%s is immutable, and its tag %s points to %s", registry, tag, digest)
}

// auditReferrers decides what an audit misses of an image at one target, and
// returns why the rest may be missing. A time that is not known is no excuse.
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

// attached lists what is attached to an image and what becomes of it at one
// target, with planned for what is to be brought. left says of each of the
// referrers why it stays behind.
func (f observation) attached(at int, registry string, left []string) []report.Attached {
	var list []report.Attached
	t := f.targets[at]
	for i, one := range f.source.referrers {
		a := report.Attached{Digest: one.Digest, ArtifactType: one.Type, Subject: one.Subject, State: outcome.Present, Reason: left[i]}
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

// arrivals counts the artifacts that are at a target, or will be.
func arrivals(attached []report.Attached) int {
	digests := map[string]bool{}
	for _, a := range attached {
		if a.State != outcome.Left {
			digests[a.Digest] = true
		}
	}
	return len(digests)
}

// settle says what became of what was planned.
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
