// Package drift finds where the targets of a flow no longer are as the flow leaves them,
// from what was read of their registries. It does no I/O.
package drift

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// Kind is a kind of drift.
type Kind string

// The kinds of drift.
const (
	Missing          Kind = "missing"           // the tag, or a part of the image
	Differs          Kind = "differs"           // the tag points to another image, and this one is not there
	TagMoved         Kind = "tag-moved"         // the image is there, but the tag points to another one
	ExtraTag         Kind = "extra-tag"         // in the flow's names, and not at the source
	Unlocked         Kind = "unlocked"          // although the flow locks it
	ReceiptMissing   Kind = "receipt-missing"   // although the flow signs receipts
	ReceiptInvalid   Kind = "receipt-invalid"   // no receipt is valid for the image in this place
	ReceiptOther     Kind = "receipt-other"     // only receipts of another digest are attached
	AttachedMissing  Kind = "attached-missing"  // what is attached to the image at the source
	RecalledReadable Kind = "recalled-readable" // the image was recalled, and can be pulled
	NotSubscribed    Kind = "not-subscribed"    // the flow does not bring the repository here
	Unread           Kind = "unread"            // it could not be read whether there is drift
)

// Finding is one place where a target is not as the flow leaves it.
type Finding struct {
	Kind       Kind   `json:"kind"`
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag"`    // empty if it is about a manifest or about the repository
	Digest     string `json:"digest"` // of the manifest or the blob that it is about; empty if it is about the repository
	Reason     string `json:"reason"` // a clause
	// Mend is what to do about it if that is more precise than the remedy of its kind.
	Mend string `json:"-"`
}

// Remedy returns what to do about it.
func (f Finding) Remedy() string { return cmp.Or(f.Mend, f.Kind.remedy()) }

// Subject returns the place of the finding, for a message.
func (f Finding) Subject() string {
	at := ref.Reference{Registry: f.Registry, Repository: f.Repository, Tag: f.Tag}
	if f.Tag == "" {
		at.Digest = f.Digest
	}
	if at.Tag == "" && at.Digest == "" {
		return strings.TrimSuffix(f.Registry+"/"+f.Repository, "/")
	}
	return at.String()
}

// Texts returns the texts of the finding that come from elsewhere.
func (f *Finding) Texts() []*string { return []*string{&f.Reason, &f.Mend} }

const copyAgain = "Run the step that copies the image again: it sends only what is missing. An audit writes nothing."

// remedy returns what to do about drift of this kind. An audit repairs nothing.
func (k Kind) remedy() string {
	switch k {
	case TagMoved, Differs:
		return "If the tag may move, run the step that copies the image again. If not, find out who moved it: that step refuses to overwrite it. An audit writes nothing."
	case ExtraTag:
		return "Find out who pushed it: the source has no such tag. Delete it, or push it at the source. No step of the flow removes a tag."
	case Unlocked:
		return "Run the step that copies the image again: it locks what it finds unlocked. Find out who removed the lock. An audit writes nothing."
	case ReceiptMissing, ReceiptInvalid, ReceiptOther:
		return "Run the step that copies the image again, with its approval: it attaches a receipt where no valid one is. An audit writes nothing."
	case RecalledReadable:
		return "Run the recall again: it disables reading wherever it finds the image readable. An audit writes nothing."
	case NotSubscribed:
		return "Delete the repository there, or ask the owners of the flow file to add it to the team's repositories."
	}
	return copyAgain
}

// Attributes says what may be done with a tag or a manifest.
type Attributes struct{ Read, Write, Delete bool }

// Part is a part of an image, or an artifact that is attached to it, that is missing.
type Part struct {
	Digest   string
	What     string // for people, such as "the layer sha256:…"
	Attached bool
}

// Manifest is a manifest of an image and its attributes at a target.
type Manifest struct {
	Digest string
	Attributes
}

// Target is what one target shows of an image.
type Target struct {
	At        ref.Reference // with the tag that the image has there, if it has one
	Digest    string        // of the image
	TagDigest string        // that the tag points to; empty if it does not exist
	There     bool          // the image's manifest is there, whatever the tag points to
	Missing   []Part

	// Lock is what the flow locks. Tag and Manifests are what the registry says of the
	// tag, nil if it does not say it, and of the image's manifests.
	Lock      topology.Lock
	Tag       *Attributes
	Manifests []Manifest

	// Receipt is the verdict on the receipts at the target; nil if the flow signs none.
	// OtherDigest is set if none is valid, and one of them is about another image.
	Receipt     *receipt.Verdict
	OtherDigest bool

	// Recalled is set if the image was recalled, and Readable if it can be pulled.
	Recalled, Readable bool
}

// Judge returns the drift of an image at a target.
func (t Target) Judge() []Finding {
	var found []Finding
	add := func(kind Kind, tag, digest, reason string) {
		found = append(found, Finding{Kind: kind, Registry: t.At.Registry, Repository: t.At.Repository, Tag: tag, Digest: digest, Reason: reason})
	}
	if t.Recalled {
		if t.Readable {
			add(RecalledReadable, "", t.Digest, "the image was recalled, and can be pulled here")
		}
		return found
	}
	arrived := t.At.Tag == "" || t.TagDigest == t.Digest
	switch {
	case arrived:
	case t.TagDigest == "":
		add(Missing, t.At.Tag, t.Digest, "the tag does not exist; it should point at "+t.Digest)
	default:
		kind := Differs
		if t.There {
			kind = TagMoved
		}
		add(kind, t.At.Tag, t.TagDigest, fmt.Sprintf("the tag points at %s instead of %s", t.TagDigest, t.Digest))
	}
	for _, part := range t.Missing {
		kind := Missing
		if part.Attached {
			kind = AttachedMissing
		}
		add(kind, "", part.Digest, part.What+" is missing")
	}
	if !arrived {
		return found
	}
	if locked := t.Lock == topology.LockTag || t.Lock == topology.LockImage; locked {
		if t.At.Tag != "" && t.Tag != nil && (t.Tag.Write || t.Tag.Delete) {
			add(Unlocked, t.At.Tag, t.Digest, "the tag "+permits(*t.Tag, true)+", but the flow locks it")
		}
		for _, m := range t.Manifests {
			if m.Delete || m.Write && t.Lock == topology.LockImage {
				add(Unlocked, "", m.Digest, "the manifest "+permits(m.Attributes, t.Lock == topology.LockImage)+", but the flow locks it")
			}
		}
	}
	if t.Receipt != nil && !t.Receipt.Met {
		kind, reason := ReceiptMissing, "the image has no receipt"
		if len(t.Receipt.Refusals) > 0 {
			reason = t.Receipt.Refusals[0].Reason
			if t.Receipt.Refusals[0].Rule != rule.ReceiptMissing {
				kind = ReceiptInvalid
			}
		}
		if kind == ReceiptInvalid && t.OtherDigest {
			kind = ReceiptOther
		}
		add(kind, "", t.Digest, reason)
	}
	return found
}

// permits returns what is not locked.
func permits(a Attributes, write bool) string {
	switch {
	case a.Write && write && a.Delete:
		return "can be written and deleted"
	case a.Delete:
		return "can be deleted"
	}
	return "can be written"
}

// Home is what the source has of a flow: the images that the flow covers, by repository
// and tag.
type Home map[ref.Reference]bool

// Extra is a tag at a target in the names of the flow that the source does not have, by
// its names there and at the source.
type Extra struct{ At, Source ref.Reference }

// maxNamed is how many tags one reason names.
const maxNamed = 5

// JudgeTags judges the tags that a repository of a target has. Extra tags are to be
// confirmed at the source: they may have been pushed since it was read. Tags that may
// move at the target, that are named after a digest, or that another flow may have
// brought there are left out.
func JudgeTags(f *topology.File, flow *topology.Flow, home Home, at ref.Reference, tags []string) (extra []Extra, found []Finding) {
	target, known := f.ByHost(at.Registry)
	from := f.Registries[flow.From]
	if !known || from == nil {
		return nil, nil
	}
	var strange []string
	for _, tag := range tags {
		repository, sourceTag, covered := flow.SourceNames(at.Repository, tag)
		_, _, attached := ref.ParseDigestTag(tag)
		if !covered || attached || flow.Moves(tag) {
			continue
		}
		subscribed := slices.Contains(flow.TargetsFor(repository), target.Name)
		switch {
		case otherwise(f, flow, subscribed, target.Name, at.Repository, tag):
		case !subscribed:
			strange = append(strange, tag)
		case !home[ref.Reference{Repository: repository, Tag: sourceTag}]:
			one := Extra{At: at, Source: ref.Reference{Registry: string(from.Host), Repository: repository, Tag: sourceTag}}
			one.At.Tag = tag
			extra = append(extra, one)
		}
	}
	if len(strange) > 0 {
		named := strings.Join(strange[:min(len(strange), maxNamed)], ", ")
		if more := len(strange) - maxNamed; more > 0 {
			named += fmt.Sprintf(" and %d more", more)
		}
		found = append(found, Finding{Kind: NotSubscribed, Registry: at.Registry, Repository: at.Repository,
			Reason: fmt.Sprintf("flow %s does not bring this repository here, but it is here, with the tags %s", flow.Name, named)})
	}
	return extra, found
}

// otherwise reports whether another flow may have brought a tag to a target: one from
// another registry, if elsewhere is set, because the source does not have it.
func otherwise(f *topology.File, flow *topology.Flow, elsewhere bool, target, repository, tag string) bool {
	for _, other := range f.Flows {
		if other == flow || !slices.Contains(other.To, target) {
			continue
		}
		source, _, covered := other.SourceNames(repository, tag)
		covered = covered && other.From != target && !(elsewhere && other.From == flow.From)
		if source != "" && (covered || other.Moves(tag)) && slices.Contains(other.TargetsFor(source), target) {
			return true
		}
	}
	return false
}

// Finding returns the finding of an extra tag that the source does not have.
func (e Extra) Finding() Finding {
	return Finding{Kind: ExtraTag, Registry: e.At.Registry, Repository: e.At.Repository, Tag: e.At.Tag,
		Reason: fmt.Sprintf("the flow would bring it from %s, which does not exist", e.Source)}
}

// Merge makes one finding of what could not be read in a registry for one reason.
func Merge(all []Finding) []Finding {
	var list []Finding
	var more []int // findings that each stands for
next:
	for _, f := range all {
		for i, g := range list {
			if f.Kind == Unread && g.Kind == Unread && g.Registry == f.Registry && general(g) == general(f) {
				more[i]++
				continue next
			}
		}
		list, more = append(list, f), append(more, 0)
	}
	for i, n := range more {
		if n > 0 {
			list[i].Reason += fmt.Sprintf(" (and %d more for the same reason)", n)
		}
	}
	return list
}

// general returns the reason of a finding without the name of its repository.
func general(f Finding) string {
	if f.Repository == "" {
		return f.Reason
	}
	return strings.ReplaceAll(f.Reason, f.Repository, "")
}
