// Package plan decides what is to be done: from what was asked, what was
// observed and the verdict on the approval it computes either the steps or
// every reason why not. It is pure; observing and carrying out happen
// elsewhere, and nothing is written unless the list of refusals is empty.
package plan

import (
	"slices"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/seal"
	"acrpromote/internal/topology"
)

// The actions that a plan can be made for.
const (
	Seal         = "seal"
	Promote      = "promote"
	InvertedPush = "invertedPush"
	// Audit plans nothing; of the rules only the digest's is judged.
	Audit = "audit"
)

// Wanted is what was asked: the action, its image and where it should go.
type Wanted struct {
	Action  string
	Source  ref.Reference
	Targets []ref.Reference
	Digest  string // what the source must resolve to; empty: anything
	MoveTag bool

	// Ways are the rules for each target, in their order; of a seal, which has
	// no target, one.
	Ways []Way
	// Covered: the ways are those of a flow file, by which coverage and
	// direction were judged when they were found.
	Covered bool
	// Named: the image was given by name, not found by a pattern.
	Named bool
	// SealExisting: a flow permits sealing what an earlier run pushed.
	SealExisting bool
}

// Way is how an image goes to one target: the rules in force, and, by a flow
// file, the flow and why a tag may not move there, nil if it may.
type Way struct {
	Flow  *topology.Flow
	Rules topology.Rules
	Move  *rule.Refusal
}

// Lock is what is locked once everything has arrived.
type Lock string

const (
	// LockNone locks nothing.
	LockNone Lock = "none"
	// LockTag locks the tag against write and delete, the manifest and its
	// children against delete.
	LockTag Lock = "tag"
	// LockImage locks the manifest and its children against write too.
	LockImage Lock = "image"
)

// Attributes are the locks on one thing and when it last changed, by the
// registry's own clock.
type Attributes struct {
	Digest        string
	Created       time.Time
	Updated       time.Time
	WriteEnabled  bool
	DeleteEnabled bool
}

// Source is what was observed of the image. Unreadable says that it could not
// be read; then the plan holds no step.
type Source struct {
	Unreadable bool
	Missing    bool // it is not there; then it is unreadable too
	Digest     string
	Children   []string    // digests of the manifests that an index names, nested ones too
	Tag        *Attributes // for seal, where the source was named by tag
	Manifest   *Attributes // for seal, where the source was named by digest
	Records    []Record    // the seal records that refer to the digest
	RunStarted time.Time   // for seal: the build's startTime; zero outside any run
	Branch     string      // of the run, by the server's record; empty outside any run
	Attached   []Attached  // what the flow demands, and what is there
	Now        time.Time   // when this was observed
}

// Record is a seal record that refers to the image. Created is when the registry
// says that it was pushed; Run is the run that the record claims, which anyone
// who can push may have written.
type Record struct {
	Digest  string
	Created time.Time
	Run     seal.Run
}

// Attached is one demand of a flow on what refers to a manifest: how many of a
// type, how old the newest may be (0: any age), and what was found.
type Attached struct {
	ArtifactType string
	Subject      string // the manifest's digest
	Want, Have   int
	MaxAge       time.Duration
	Newest       time.Time // read only where MaxAge is above 0
}

// Target is what was observed of one target, in the order of Wanted.Targets.
// Unreachable says that it could not be judged.
type Target struct {
	Unreachable bool
	TagDigest   string      // what the tag points at; empty: there is no such tag
	Missing     int         // manifests and blobs of the image known to be missing
	Root        bool        // the image's own manifest is there
	Tag         *Attributes // where it was read: the lock on the tag
	Repository  *Attributes // where it was read: the lock on the whole repository
}

// Observed is what was found in the registries.
type Observed struct {
	Source  Source
	Targets []Target
}

// Work is what a step does at its target.
type Work string

const (
	// Nothing: everything is there, by digest and under its tag.
	Nothing Work = "nothing"
	// Copy: the image, or what is missing of it, is brought, and the tag set last.
	Copy Work = "copy"
	// Mend: the tag is right, something that belongs to the image is missing.
	Mend Work = "mend"
	// Move: the tag is pointed at a digest that is already there, or will be.
	Move Work = "move"
	// Wait: the target could not be judged; a rerun does it.
	Wait Work = "wait"
)

// Step is what is to be done at one target. Previous is the digest that a
// moved tag bore.
type Step struct {
	Target   ref.Reference
	Work     Work
	Previous string
	Lock     Lock
}

// Image is one image as it was asked for and as it was found.
type Image struct {
	Wanted   Wanted
	Observed Observed
}

// Plan is either steps or refusals, for all images of a run together: what
// stands against one stands against all.
type Plan struct {
	Direction string // checked or unchecked
	Parts     []Part // in the order of the images
	Refusals  []rule.Refusal
	// Withheld: an image that was given by name does not exist at the source, so
	// the set is not what was meant, and nothing of it is written.
	Withheld bool
}

// Part is what is to be done with one image. Record tells that a seal record
// is to be attached to the source before it is locked.
type Part struct {
	Wanted Wanted
	Digest string
	Record bool
	Steps  []Step // in the order of Wanted.Targets
}

// Make computes the plan. Every violation is found in one pass; against is
// what was found before, in the flow file.
func Make(images []Image, v approval.Verdict, against ...rule.Refusal) Plan {
	p := Plan{Direction: "checked", Refusals: slices.Concat(v.Refusals, against)}
	p.Parts = make([]Part, 0, len(images))
	if !v.Granted && v.Kind != approval.Unapproved && len(v.Refusals) == 0 && slices.ContainsFunc(images, func(i Image) bool { return Approved(i.Wanted.Action) }) {
		// No verdict known is so; were there one, it would not be a yes.
		p.Refusals = append(p.Refusals, rule.Refusal{Rule: rule.ApprovalMissing, Subject: "this step",
			Reason: "the approvals were judged, and the verdict neither grants nor refuses", Remedy: "Report it as a defect."})
	}
	p.Refusals = append(p.Refusals, judgeBranches(images)...)
	for _, i := range images {
		if d := direction(i.Wanted); d != "checked" {
			p.Direction = d
		}
		part, refusals := i.plan()
		p.Parts = append(p.Parts, part)
		p.Refusals = append(p.Refusals, refusals...)
	}
	p.Refusals = append(p.Refusals, judgeNames(images)...)
	if p.Withheld = slices.ContainsFunc(images, func(i Image) bool { return i.Wanted.Named && i.Observed.Source.Missing }); p.Withheld {
		for _, part := range p.Parts {
			for i := range part.Steps {
				part.Steps[i].Work = Wait
			}
		}
	}
	return p
}

// plan decides about one image.
func (i Image) plan() (Part, []rule.Refusal) {
	w, source := i.Wanted, i.Observed.Source
	part := Part{Wanted: w, Digest: source.Digest}
	refusals := judgeDirection(w)
	if !source.Unreadable {
		refusals = append(refusals, judgeDigest(w, source)...)
		if w.Action != Audit {
			refusals = append(refusals, judgeAttached(w, source)...)
		}
		if w.Action == Seal {
			refusals = append(refusals, judgeAge(w, source)...)
			part.Record = len(source.Records) == 0
			part.Steps = append(part.Steps, Step{Target: w.Source, Work: Nothing, Lock: Lock(w.Ways[0].Rules.Lock)})
		}
	}
	if w.Action == Audit {
		return part, refusals
	}
	part.Steps = slices.Grow(part.Steps, len(w.Targets))
	for at := range w.Targets {
		step, against := judgeTarget(w, source, at, i.Observed.Targets[at])
		part.Steps = append(part.Steps, step)
		refusals = append(refusals, against...)
	}
	return part, refusals
}

// judgeTarget decides what is to be done at one target, or why it may not be.
func judgeTarget(w Wanted, source Source, at int, seen Target) (Step, []rule.Refusal) {
	target := w.Targets[at]
	step := Step{Target: target, Lock: Lock(w.Ways[at].Rules.Lock)}
	if source.Unreadable || seen.Unreachable {
		step.Work = Wait
		return step, nil
	}
	var refusals []rule.Refusal
	inPlace := target.Tag == "" && seen.Root || target.Tag != "" && seen.TagDigest == source.Digest
	switch {
	case inPlace && seen.Missing == 0:
		step.Work = Nothing
		return step, nil
	case inPlace:
		step.Work = Mend
	case target.Tag != "" && seen.TagDigest != "":
		step.Work, step.Previous = Move, seen.TagDigest
		refusals = append(refusals, judgeMove(w, source, at, seen)...)
	default:
		step.Work = Copy
	}
	return step, append(refusals, judgeLocks(target, seen, step.Work)...)
}
