// Package plan decides what to do: from the request, the state of the registries
// and the verdict on the approval it computes either the steps, or all refusals.
// It does no I/O: registries are read and plans are executed elsewhere, and
// nothing is written unless the list of refusals is empty.
package plan

import (
	"slices"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/recall"
	"acrpromote/internal/ref"
	"acrpromote/internal/referrer"
	"acrpromote/internal/rule"
	"acrpromote/internal/seal"
	"acrpromote/internal/topology"
)

// The actions that can be planned.
const (
	Seal         = "seal"
	Promote      = "promote"
	InvertedPush = "invertedPush"
	// Audit has no steps, and of the rules only that for the digest applies.
	Audit = "audit"
	// Recall withdraws an image, or lifts that. It has no steps of a plan, only an
	// approval.
	Recall = "recall"
)

// Wanted is what was requested: an action, its image and the targets.
type Wanted struct {
	Action  string
	Source  ref.Reference
	Targets []ref.Reference
	Digest  string // what the source must resolve to; if empty, anything
	MoveTag bool

	// Routes has the rules for each target, in their order. A seal, which has no
	// target, has one.
	Routes []Route
	// Covered is set if the routes come from a flow file, so that coverage and
	// direction are checked already.
	Covered bool
	// Named is set if the image was given by name, not found by a pattern.
	Named bool
	// SignSource is set if a receipt is attached at the source too.
	SignSource bool
	// SealExisting is set if a flow allows sealing what an earlier run pushed.
	SealExisting bool
}

// Route is how an image goes to one target: the rules in force and, with a flow
// file, the flow. MoveRefusal is why the tag may not move there; nil if it may.
type Route struct {
	Flow        *topology.Flow
	Rules       topology.Rules
	MoveRefusal *rule.Refusal
	// Immutable reports that no tag of the target's registry moves, digest tags
	// included.
	Immutable bool
}

// Lock is what to lock after everything has arrived.
type Lock string

const (
	// LockNone locks nothing.
	LockNone Lock = "none"
	// LockTag locks the tag against write and delete, and the manifest and its
	// children against delete.
	LockTag Lock = "tag"
	// LockImage locks the manifest and its children against write as well.
	LockImage Lock = "image"
)

// Attributes are the locks and the timestamps of a tag, manifest or repository,
// by the registry's clock.
type Attributes struct {
	Digest        string
	Created       time.Time
	Updated       time.Time
	WriteEnabled  bool
	DeleteEnabled bool
}

// Source is the state of the image at the source. Unreadable is set if it could
// not be read; the plan then has no steps for it.
type Source struct {
	Unreadable bool
	Missing    bool // the image does not exist; Unreadable is then set too
	Digest     string
	Children   []string    // digests of the manifests in an index, including nested ones
	Tag        *Attributes // for seal, if the source is given by tag
	Manifest   *Attributes // for seal, if the source is given by digest
	Records    []Record    // the seal records that refer to the digest
	RunStarted time.Time   // for seal: the build's startTime; zero outside any run
	Branch     string      // of the run, according to the server; empty outside any run
	Releasing  approval.Releasing
	Attached   []Attached // the artifacts that the flow requires, and what was found
	// Referrers are what is attached to the image. If the plan's code is needed,
	// all of it was read, with the times if the registry has them, which Timed says.
	Referrers []referrer.Referrer
	Timed     bool
	Approved  time.Time // when the first approval that counts was given, if times decide which artifacts are copied
	Now       time.Time // when the source was read
	// Outside reports that the image is planned outside any run: what the run of the
	// action must be is then pending.
	Outside bool
	// Recall is what the recall records of the image say, and Disabled is set if reads of
	// the image are disabled, so that it is Unreadable too.
	Recall   recall.Verdict
	Disabled bool
}

// Record is a seal record that refers to the image. Created is when it was
// pushed, according to the registry. Run is the run in the record, a claim that
// anyone who can push can make.
type Record struct {
	Digest  string
	Created time.Time
	Run     seal.Run
	// Sealing is what the server has of that run; nil if it was not read.
	Sealing *approval.SealRun
}

// Attached is a requirement of a flow for artifacts that refer to a manifest: how
// many of a type, the maximum age of the newest (0 for any age), and what was
// found. Times are read only if a rule depends on them.
type Attached struct {
	ArtifactType string
	Subject      string // the manifest's digest
	Want         int
	MaxAge       time.Duration
	Found        []referrer.Referrer
}

// Target is the state of a target. Unreachable is set if it could not be read.
type Target struct {
	Unreachable bool
	Disabled    bool        // reads of the image are disabled there
	TagDigest   string      // what the tag points at; empty if the tag does not exist
	Missing     int         // manifests and blobs of the image known to be missing
	Root        bool        // the image's own manifest exists
	Tag         *Attributes // the lock on the tag, if it was read
	Repository  *Attributes // the lock on the repository, if it was read
}

// Observed is the state of the registries. Targets is in the order of
// Wanted.Targets.
type Observed struct {
	Source  Source
	Targets []Target
}

// Work is what a step does at its target.
type Work string

const (
	// Nothing: everything exists, by digest and under its tag.
	Nothing Work = "nothing"
	// Copy: copy the image, or what is missing of it, and set the tag last.
	Copy Work = "copy"
	// Repair: the tag is right, but something that belongs to the image is missing.
	Repair Work = "repair"
	// Move: copy what is missing, and move the tag to the digest.
	Move Work = "move"
	// Wait: the target could not be read; a rerun does the work.
	Wait Work = "wait"
)

// Step is what to do at one target. Previous is the digest that a tag points at
// before it moves.
type Step struct {
	Target   ref.Reference
	Work     Work
	Previous string
	Lock     Lock
}

// Image is an image as requested and as found.
type Image struct {
	Wanted   Wanted
	Observed Observed
}

// Plan has the steps or the refusals for all images of a run: a refusal of one
// image refuses all.
type Plan struct {
	Direction string // checked or unchecked
	Parts     []Part // in the order of the images
	Refusals  []rule.Refusal
	// Withheld is set if an image given by name does not exist at the source. The
	// set is then not what was meant, and nothing of it is written.
	Withheld bool
	// Outcomes are rules about the images that were judged here, met or not.
	Outcomes []rule.Outcome
}

// Part is what to do with one image. Record is set if a seal record must be
// attached to the source before it is locked.
type Part struct {
	Wanted Wanted
	Digest string
	Record bool
	Steps  []Step // in the order of Wanted.Targets
	// Outcomes are the rules about this image that were judged here.
	Outcomes []rule.Outcome
}

// Make computes the plan. It finds all violations in one pass; against has those
// found earlier, in the flow file.
func Make(images []Image, v approval.Verdict, against ...rule.Refusal) Plan {
	p := Plan{Direction: "checked", Refusals: slices.Concat(v.Refusals, against)}
	p.Parts = make([]Part, 0, len(images))
	if !v.Granted && !v.Pending && v.Kind != approval.Unapproved && len(p.Refusals) == 0 && slices.ContainsFunc(images, func(i Image) bool { return Approved(i.Wanted.Action) }) {
		// No known verdict is like this. If there is one, it is not an approval.
		p.Refusals = append(p.Refusals, rule.Refusal{Rule: rule.ApprovalMissing, Subject: "this step",
			Reason: "the verdict on the approval neither grants nor refuses", Remedy: "Report this as a defect."})
	}
	refusals, outcomes := judgeBranches(images)
	p.Refusals, p.Outcomes = append(p.Refusals, refusals...), outcomes
	for _, i := range images {
		if d := direction(i.Wanted); d != "checked" {
			p.Direction = d
		}
		part, refusals, outcomes := i.plan()
		part.Outcomes = outcomes
		p.Parts = append(p.Parts, part)
		p.Outcomes = append(p.Outcomes, outcomes...)
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

// plan computes the part of one image.
func (i Image) plan() (part Part, refusals []rule.Refusal, outcomes []rule.Outcome) {
	w, source := i.Wanted, i.Observed.Source
	part = Part{Wanted: w, Digest: source.Digest}
	refusals = append(judgeDirection(w), judgeRecalled(w, source, i.Observed.Targets)...)
	if !source.Unreadable {
		refusals = append(refusals, JudgeDigest(w, source)...)
		if w.Action != Audit {
			refusals = append(refusals, judgeAttached(w, source)...)
		}
		if Approved(w.Action) {
			var against []rule.Refusal
			against, outcomes = judgeSealers(w, source)
			refusals = append(refusals, against...)
		}
		if w.Action == Seal {
			refusals = append(refusals, judgeAge(w, source)...)
			refusals = append(refusals, judgeSealing(w, source)...)
			part.Record = needsRecord(w, source)
			if len(w.Routes) > 0 { // else no flow covers it, which is a refusal
				part.Steps = append(part.Steps, Step{Target: w.Source, Work: Nothing, Lock: Lock(w.Routes[0].Rules.Lock)})
			}
		}
	}
	if w.Action == Audit {
		return part, refusals, outcomes
	}
	part.Steps = slices.Grow(part.Steps, len(w.Targets))
	for at := range w.Targets {
		step, against := judgeTarget(w, source, at, i.Observed.Targets[at])
		part.Steps = append(part.Steps, step)
		refusals = append(refusals, against...)
	}
	return part, refusals, outcomes
}

// judgeTarget returns the step for one target, and what refuses it.
func judgeTarget(w Wanted, source Source, at int, seen Target) (Step, []rule.Refusal) {
	target := w.Targets[at]
	step := Step{Target: target, Lock: Lock(w.Routes[at].Rules.Lock)}
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
		step.Work = Repair
	case target.Tag != "" && seen.TagDigest != "":
		step.Work, step.Previous = Move, seen.TagDigest
		refusals = append(refusals, judgeMove(w, source, at, seen)...)
	default:
		step.Work = Copy
	}
	return step, append(refusals, judgeLocks(target, seen, step.Work)...)
}
