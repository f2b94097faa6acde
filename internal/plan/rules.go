package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/recall"
	"acrpromote/internal/ref"
	"acrpromote/internal/referrer"
	"acrpromote/internal/rule"
	"acrpromote/internal/sorting"
)

// direction returns whether the direction of trust was checked. Without a flow
// file it is unknown which registry is more trusted, so a copy between registries
// is unchecked.
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

// judgeDirection checks that promote without a flow file stays within one
// registry.
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
			Reason:  fmt.Sprintf("promote would copy from %s to %s, which requires a flow file that allows it", w.Source.Registry, t.Registry),
			Remedy:  "Promote within one registry, or use invertedPush to bring a sealed image down to a less trusted registry.",
		})
	}
	return refusals
}

// JudgeDigest checks that the source resolves to the digest of the input digest, or
// to the one that the file of the set has after the tag.
func JudgeDigest(w Wanted, s Source) []rule.Refusal {
	if w.Digest == "" || w.Digest == s.Digest {
		return nil
	}
	return []rule.Refusal{{
		Rule:    rule.DigestDiffers,
		Subject: w.Source.String(),
		Reason:  fmt.Sprintf("it resolves to %s, but the requested digest is %s", s.Digest, w.Digest),
		Remedy:  "Find out who moved the tag, or correct the requested digest: that of the input digest or of the file in imagesFrom.",
	}}
}

// judgeRecalled checks that the image is not recalled: by a signed record at the source,
// or because reads of it are disabled at the source or at a target. An audit finds out
// elsewhere what follows from a recall.
func judgeRecalled(w Wanted, s Source, targets []Target) []rule.Refusal {
	if w.Action == Audit {
		return nil
	}
	refusals := recall.Refuse(w.Source.String(), s.Recall, s.Disabled)
	for i, t := range targets {
		if i < len(w.Targets) {
			refusals = append(refusals, recall.Refuse(w.Targets[i].String(), recall.Verdict{}, t.Disabled)...)
		}
	}
	return refusals
}

// judgeAttached checks that the artifacts which the flow requires are attached. One
// that is not copied with the image does not count: a target would not have it, and
// one that was attached after the approval was not approved.
func judgeAttached(w Wanted, s Source) []rule.Refusal {
	rules := w.ReferrerRules()
	rules.Until, rules.Event = s.Approved, referrer.Approval
	var refusals []rule.Refusal
	for _, a := range s.Attached {
		have, why, left := 0, "", ""
		var newest time.Time
		for i, reason := range rules.Select([]string{a.Subject}, a.Found) {
			one := a.Found[i]
			if reason != "" {
				left = fmt.Sprintf("; %s does not count because it is not copied: %s", one.Digest, reason)
				continue
			}
			have++
			if one.At.After(newest) {
				newest = one.At
			}
		}
		switch {
		case have < a.Want:
			why = fmt.Sprintf("%d of type %s are attached to %s, but the flow requires %d", have, a.ArtifactType, a.Subject, a.Want)
		case a.MaxAge > 0 && newest.IsZero():
			why = fmt.Sprintf("the registry does not say when the newest %s was attached to %s, but the flow requires one no older than %s", a.ArtifactType, a.Subject, a.MaxAge)
		case a.MaxAge > 0 && s.Now.Sub(newest) > a.MaxAge:
			why = fmt.Sprintf("the newest %s was attached to %s at %s, but the flow requires one no older than %s", a.ArtifactType, a.Subject, stamp(newest), a.MaxAge)
		default:
			continue
		}
		why += left
		refusals = append(refusals, rule.Refusal{Rule: rule.AttachedMissing, Subject: w.Source.String(), Reason: why,
			Remedy: "Let the build attach it (such as a scan result, an SBOM or a signature) before the approval."})
	}
	return refusals
}

// judgeAge checks that the run seals only what it pushed.
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
		Remedy:  "Seal in the run that pushes the image, after the push.",
	}}
}

// MayMove reports whether the tag of a target may move to the image: if that was
// requested within one registry, or if a flow allows it.
func (w Wanted) MayMove(at int) bool {
	if w.Covered {
		return w.Routes[at].MoveRefusal == nil
	}
	return w.Action == Promote && w.MoveTag && w.Targets[at].Registry == w.Source.Registry
}

// judgeMove checks that a tag which would move may do so.
func judgeMove(w Wanted, s Source, at int, seen Target) []rule.Refusal {
	if w.MayMove(at) {
		return nil
	}
	if w.Covered {
		return []rule.Refusal{*w.Routes[at].MoveRefusal}
	}
	remedy := "Give the image its own tag. A released tag does not move."
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

// judgeNames checks that no two images of a set get the same tag. Images that
// keep their names cannot.
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
			Reason: fmt.Sprintf("%d images of the set would get this tag but differ, such as %s and %s", len(names), names[0], names[1]),
			Remedy: "Keep only one of them in the set."})
	}
	sorting.By(refusals, func(a, b rule.Refusal) int { return strings.Compare(a.Subject, b.Subject) })
	return refusals
}

// renamed reports whether the image has another name at a target.
func renamed(i Image) bool {
	return slices.ContainsFunc(i.Wanted.Targets, func(t ref.Reference) bool {
		return t.Tag != i.Wanted.Source.Tag || t.Repository != i.Wanted.Source.Repository
	})
}

// judgeLocks checks that no lock prevents the write.
func judgeLocks(target ref.Reference, seen Target, work Work) []rule.Refusal {
	subject, locked := "", ""
	switch {
	case seen.Repository != nil && !seen.Repository.WriteEnabled:
		subject, locked = target.Registry+"/"+target.Repository, "the repository is locked against writes"
	case work == Move && seen.Tag != nil && !seen.Tag.WriteEnabled:
		subject, locked = target.String(), "the tag is locked against writes"
	default:
		return nil
	}
	return []rule.Refusal{{
		Rule:    rule.Immutable,
		Subject: subject,
		Reason:  locked,
		Remedy:  "Use another tag or repository. This program removes no locks.",
	}}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}
