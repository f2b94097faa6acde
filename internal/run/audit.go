package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
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
	result.result.ApprovalCode = approvalCode(o, f)
	images := observed(o, f, time.Now())
	observeTargets(images, f)
	p := plan.Make(images, approval.Verdict{Kind: approval.None}, o.refusals...)
	result.result.Direction, result.result.Refusals = p.Direction, p.Refusals
	for i, wanted := range o.images {
		image := addSource(o, i, f.images[i].source, result)
		found := &f.images[i]
		if !c.Deep.Or(false) {
			warnOfForeign(found.source, result)
		}
		if found.source.tree != nil {
			found.source.left = wanted.ReferrerRules().Select(imageDigests(found.source.tree), found.source.referrers)
			warnOfReferrers(wanted, *found, result)
		}
		for j := range wanted.Targets {
			image.Targets = append(image.Targets, auditTarget(wanted, j, found, result))
		}
		result.result.Images = append(result.result.Images, image)
	}
}

// auditTarget reports what is missing at one target.
func auditTarget(wanted plan.Wanted, at int, image *observation, result *collector) report.Target {
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
		if missing := missing(target, image.source.tree, *found.presence); len(missing) > 0 {
			t.State, t.Error = outcome.TargetFailed, missing[0].Reason
			result.done(false, missing...)
		}
	}
	return t
}

// errMissing is why an audit reports an attached artifact as failed.
var errMissing = errors.New("it is missing")

// missing lists every digest that is missing at the target, and the tag if it
// does not exist or points at another digest.
func missing(target ref.Reference, tree *transfer.Tree, p transfer.Presence) []report.Problem {
	var missing []report.Problem
	add := func(subject, reason string) {
		missing = append(missing, report.Problem{Side: report.TargetSide, Subject: subject, Reason: reason,
			Remedy: "Run the step that copies the image again: it sends only what is missing. An audit writes nothing."})
	}
	place := target.Registry + "/" + target.Repository
	switch {
	case target.Tag == "":
	case p.TagDigest == "":
		add(target.String(), fmt.Sprintf("the tag does not exist; it should point at %s", tree.Digest()))
	case p.TagDigest != tree.Digest():
		add(target.String(), fmt.Sprintf("the tag points at %s instead of %s", p.TagDigest, tree.Digest()))
	}
	for _, d := range p.Missing() {
		add(place+"@"+d.Digest, what(tree, d)+" is missing")
	}
	if err := p.Conflict(); err != nil {
		missing = append(missing, problem(report.TargetSide, err))
	}
	return missing
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
