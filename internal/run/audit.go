package run

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/drift"
	"acrpromote/internal/outcome"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// audit reports what is missing of each image at each target.
func audit(c *agent.Config, s *session.Session, o *order, f *findings, result *collector) {
	addRun(f, result)
	addRules(s, o, f, result)
	if o.set {
		o.setDigest = setDigest(o, f)
	}
	if o.whole != nil {
		result.result.Drift = []drift.Finding{}
	}
	result.result.ApprovalCode = approvalCode(o, f)
	images := observed(o, f, time.Now())
	observeTargets(images, f)
	p := plan.Make(images, approval.Verdict{Kind: approval.None}, o.refusals...)
	result.result.Direction, result.result.Refusals = p.Direction, p.Refusals
	for i, wanted := range o.images {
		image := addSource(o, i, f.images[i].source, result)
		found := &f.images[i]
		image.Digest = cmp.Or(image.Digest, found.recalled)
		if !c.Deep.Or(false) {
			warnOfForeign(found.source, result)
		}
		if found.source.tree != nil {
			found.source.left = wanted.ReferrerRules().Select(imageDigests(found.source.tree), found.source.referrers)
			warnOfReferrers(wanted, *found, result)
		}
		for j := range wanted.Targets {
			image.Targets = append(image.Targets, auditTarget(wanted, j, found, o.whole != nil, result))
		}
		result.result.Images = append(result.result.Images, image)
	}
	addDrift(o, f, result)
}

// auditTarget reports what is missing at one target. whole is set in an audit of a whole
// flow.
func auditTarget(wanted plan.Wanted, at int, image *observation, whole bool, result *collector) report.Target {
	target, found := wanted.Targets[at], &image.targets[at]
	t := report.Target{Registry: target.Registry, Repository: target.Repository, Tag: target.Tag, State: outcome.Present}
	switch {
	case found.err != nil:
		p := problem(report.TargetSide, found.err)
		t.State, t.Error = unreadState(found.err), p.Reason
		t.Attached = image.attached(at, target.Registry, image.source.left)
		if !result.reported(p, found.err) {
			result.done(false, p)
		}
	case found.drift.Recalled:
		d := found.drift
		d.At, d.Digest, t.State = target, image.recalled, outcome.Withdrawn
		for _, one := range d.Judge() {
			t.State, t.Error = outcome.TargetFailed, one.Reason
			result.addDrift(one)
		}
	case found.presence == nil:
		t.State = outcome.Pending
		t.Attached = image.attached(at, target.Registry, image.source.left)
	default:
		left := image.auditReferrers(wanted, at)
		t.Attached = image.attached(at, target.Registry, left)
		settle(t.Attached, errMissing)
		t.Referrers = arrivals(t.Attached)
		for _, d := range found.presence.AbsentForeign() {
			result.warn(fmt.Sprintf("layer %s is not distributable and is not at %s: clients read it from its original location", d.Digest, target.Registry+"/"+target.Repository))
		}
		if list := missing(target, image.source.tree, *found, whole); len(list) > 0 {
			t.State, t.Error = outcome.TargetFailed, list[0].Reason
			for _, one := range list {
				if whole {
					result.addDrift(one)
					continue
				}
				result.done(false, driftProblem(one))
			}
		}
		if err := found.presence.Conflict(); err != nil {
			p := problem(report.TargetSide, err)
			t.State, t.Error = outcome.TargetFailed, cmp.Or(t.Error, p.Reason)
			result.done(false, p)
		}
	}
	return t
}

// errMissing is why an audit reports an attached artifact as failed.
var errMissing = errors.New("it is missing")

// missing returns the drift of an image at a target: every digest that is missing, the
// tag if it does not exist or points at another digest and, in an audit of a whole flow,
// everything else that is not as the flow leaves it.
func missing(target ref.Reference, tree *transfer.Tree, found targetState, whole bool) []drift.Finding {
	d := found.drift
	d.At, d.Digest, d.TagDigest = target, tree.Digest(), found.presence.TagDigest
	if whole && !found.presence.Root {
		// That the tag does not point to the image says it all.
		return d.Judge()
	}
	attached := tree.Attached()
	for _, m := range found.presence.Missing() {
		d.Missing = append(d.Missing, drift.Part{Digest: m.Digest, What: what(tree, m),
			Attached: slices.ContainsFunc(attached, func(a transfer.Attached) bool { return a.Digest == m.Digest })})
	}
	return d.Judge()
}

// what names something that belongs to an image, for people.
func what(tree *transfer.Tree, d transfer.Descriptor) string {
	isManifest := func(m transfer.Descriptor) bool { return m.Digest == d.Digest }
	for _, a := range tree.Attached() {
		if a.Digest == d.Digest {
			return fmt.Sprintf("attached %s %s", a.ArtifactType, d.Digest)
		}
	}
	name := "content"
	switch {
	case d.Digest == tree.Digest():
		name = "image"
	case slices.ContainsFunc(tree.Manifests(), isManifest):
		name = "platform manifest"
	case strings.Contains(d.MediaType, "config"):
		name = "configuration"
	case strings.Contains(d.MediaType, "layer"), strings.Contains(d.MediaType, "rootfs"):
		name = "layer"
	}
	return "the " + name + " " + d.Digest
}
