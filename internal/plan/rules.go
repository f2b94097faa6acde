package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
)

// direction says whether the way of an image was checked. Without a flow file
// nothing tells which registry is trusted more, so a copy from one to another
// is unchecked; what stays inside one registry moves nowhere.
func direction(w Wanted) string {
	if w.Covered {
		return "checked"
	}
	for _, t := range w.Targets {
		if t.Registry != w.Source.Registry {
			return "unchecked"
		}
	}
	return "checked"
}

// judgeDirection: without a flow file, promote stays inside one registry.
func judgeDirection(w Wanted) []rule.Refusal {
	if w.Action != Promote || w.Covered {
		return nil
	}
	var refusals []rule.Refusal
	for _, t := range w.Targets {
		if t.Registry == w.Source.Registry {
			continue
		}
		refusals = append(refusals, rule.Refusal{
			Rule:    rule.Upward,
			Subject: t.String(),
			Reason:  fmt.Sprintf("promote would copy from registry %s to registry %s, and without a flow file nothing says that the second may receive from the first", w.Source.Registry, t.Registry),
			Remedy:  "Promote inside one registry, or use invertedPush to bring a sealed image down to a registry of less trust.",
		})
	}
	return refusals
}

// judgeDigest: the input digest names what the tag must resolve to.
func judgeDigest(w Wanted, s Source) []rule.Refusal {
	if w.Digest == "" || w.Digest == s.Digest {
		return nil
	}
	return []rule.Refusal{{
		Rule:    rule.DigestDiffers,
		Subject: w.Source.String(),
		Reason:  fmt.Sprintf("it resolves to %s, but the input digest demands %s", s.Digest, w.Digest),
		Remedy:  "Find out who moved the tag, or give the digest of the image that is meant.",
	}}
}

// judgeAttached: the image bears what its flow demands.
func judgeAttached(w Wanted, s Source) []rule.Refusal {
	var refusals []rule.Refusal
	for _, a := range s.Attached {
		why := ""
		switch {
		case a.Have < a.Want:
			why = fmt.Sprintf("%d of type %s are attached to %s, and the flow demands %d", a.Have, a.ArtifactType, a.Subject, a.Want)
		case a.MaxAge > 0 && a.Newest.IsZero():
			why = fmt.Sprintf("the registry does not say when the newest %s was attached to %s, and the flow demands one no older than %s", a.ArtifactType, a.Subject, a.MaxAge)
		case a.MaxAge > 0 && s.Now.Sub(a.Newest) > a.MaxAge:
			why = fmt.Sprintf("the newest %s was attached to %s at %s, and the flow demands one no older than %s", a.ArtifactType, a.Subject, stamp(a.Newest), a.MaxAge)
		default:
			continue
		}
		refusals = append(refusals, rule.Refusal{Rule: rule.AttachedMissing, Subject: w.Source.String(), Reason: why,
			Remedy: "Have the build attach it (a scan result, an SBOM, a signature) before this step."})
	}
	return refusals
}

// judgeAge: what this run did not push is not this run's to seal.
func judgeAge(w Wanted, s Source) []rule.Refusal {
	if s.RunStarted.IsZero() || w.SealExisting {
		return nil
	}
	seen, what := s.Tag, "the tag was last written"
	if w.Source.Tag == "" {
		seen, what = s.Manifest, "the manifest was pushed"
	}
	var at time.Time
	if seen != nil {
		at = seen.Updated
		if w.Source.Tag == "" {
			at = seen.Created
		}
	}
	if seen != nil && !at.Before(s.RunStarted) {
		return nil
	}
	return []rule.Refusal{{
		Rule:    rule.OlderThanRun,
		Subject: w.Source.String(),
		Reason:  fmt.Sprintf("%s at %s, before this run started at %s, so this run did not build it", what, stamp(at), stamp(s.RunStarted)),
		Remedy:  "Seal in the run that pushes the image, after its push.",
	}}
}

// MayMove reports whether the tag of a target may move off another digest to the
// image: where that was asked for inside one registry, or where a flow says so.
func (w Wanted) MayMove(at int) bool {
	if w.Covered {
		return w.Ways[at].Move == nil
	}
	return w.Action == Promote && w.MoveTag && w.Targets[at].Registry == w.Source.Registry
}

// judgeMove refuses to move a tag that may not move.
func judgeMove(w Wanted, s Source, at int, seen Target) []rule.Refusal {
	if w.MayMove(at) {
		return nil
	}
	if w.Covered {
		return []rule.Refusal{*w.Ways[at].Move}
	}
	remedy := "Give the image a tag of its own: a released tag does not move."
	if w.Action == Promote {
		remedy = "Give the image another tag, or set moveTag if this tag is meant to move."
	}
	return []rule.Refusal{{
		Rule:    rule.TagWouldMove,
		Subject: w.Targets[at].String(),
		Reason:  fmt.Sprintf("the tag points at %s and would be moved to %s", seen.TagDigest, s.Digest),
		Remedy:  remedy,
	}}
}

// judgeNames: of two images that would get one tag, whichever came last would
// have it. Images that keep their names cannot meet.
func judgeNames(images []Image) []rule.Refusal {
	if len(images) < 2 || !slices.ContainsFunc(images, renamed) {
		return nil
	}
	meeting := map[ref.Reference][]Image{}
	for _, i := range images {
		if i.Wanted.Action == Audit || i.Observed.Source.Unreadable {
			continue
		}
		for _, target := range i.Wanted.Targets {
			if target.Tag != "" {
				meeting[target] = append(meeting[target], i)
			}
		}
	}
	var refusals []rule.Refusal
	for target, list := range meeting {
		if !slices.ContainsFunc(list, func(i Image) bool { return i.Observed.Source.Digest != list[0].Observed.Source.Digest }) {
			continue
		}
		var names []string
		for _, i := range list {
			names = append(names, i.Wanted.Source.String())
		}
		slices.Sort(names)
		refusals = append(refusals, rule.Refusal{Rule: rule.TagWouldMove, Subject: target.String(),
			Reason: fmt.Sprintf("%d images of the set would get this tag, %s and %s among them, and they are not the same image", len(names), names[0], names[1]),
			Remedy: "Name one of them."})
	}
	slices.SortFunc(refusals, func(a, b rule.Refusal) int { return strings.Compare(a.Subject, b.Subject) })
	return refusals
}

func renamed(i Image) bool {
	return slices.ContainsFunc(i.Wanted.Targets, func(t ref.Reference) bool {
		return t.Tag != i.Wanted.Source.Tag || t.Repository != i.Wanted.Source.Repository
	})
}

// judgeLocks: a lock that was read beforehand is not run into.
func judgeLocks(target ref.Reference, seen Target, work Work) []rule.Refusal {
	subject, locked := "", ""
	switch {
	case seen.Repository != nil && !seen.Repository.WriteEnabled:
		subject, locked = target.Registry+"/"+target.Repository, "the repository is locked against write"
	case work == Move && seen.Tag != nil && !seen.Tag.WriteEnabled:
		subject, locked = target.String(), "the tag is locked against write"
	default:
		return nil
	}
	return []rule.Refusal{{
		Rule:    rule.Immutable,
		Subject: subject,
		Reason:  locked,
		Remedy:  "Use another tag or repository. This program opens no lock.",
	}}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}
