// Package outcome defines how a run can end, and the states of an image at a
// target. It decides the outcome of a run from plain values.
package outcome

import "slices"

// Outcome is how a run ended.
type Outcome string

const (
	Done      Outcome = "done"
	Failed    Outcome = "failed"
	Misuse    Outcome = "misuse"
	Refused   Outcome = "refused"
	Cancelled Outcome = "cancelled"
	Partial   Outcome = "partial"
)

// All has all outcomes, in the order of the documentation.
var All = []Outcome{Done, Failed, Misuse, Refused, Partial, Cancelled}

// ExitCode returns the exit code at a prompt. In a pipeline the exit code is 0,
// and task.complete has the result.
func (o Outcome) ExitCode() int {
	switch o {
	case Done:
		return 0
	case Misuse:
		return 2
	case Refused:
		return 3
	case Partial:
		return 4
	case Cancelled:
		return 130
	default:
		return 1
	}
}

// State is the state of an image at a target.
type State string

const (
	Planned       State = "planned"
	Copied        State = "copied"
	Mounted       State = "mounted"
	Present       State = "present"
	Retagged      State = "retagged"
	Pending       State = "pending"
	TargetRefused State = "refused"
	TargetFailed  State = "failed"
	// Left is what stays as it is: a referrer that is not copied, or an image that a
	// recall leaves readable.
	Left State = "left"

	// The states after a recall: reads are disabled, or enabled again; the image is not
	// there; the record is attached and reads stay enabled; the tags are deleted.
	Withdrawn State = "withdrawn"
	Restored  State = "restored"
	Absent    State = "absent"
	Recorded  State = "recorded"
	Untagged  State = "untagged"
)

// States has the states of an image at a target.
var States = []State{Planned, Copied, Mounted, Present, Retagged, Pending, TargetRefused, TargetFailed, Left, Withdrawn, Restored, Absent, Recorded, Untagged}

// Worse returns the worse of two states of a referrer.
func Worse(a, b State) State {
	ranked := []State{Present, Copied, Planned, Left, Pending, TargetFailed}
	if slices.Index(ranked, b) > slices.Index(ranked, a) {
		return b
	}
	return a
}

// left reports whether the image has not arrived.
func (s State) left() bool {
	return s == Pending || s == TargetFailed || s == TargetRefused
}

// Facts are what the outcome of a run depends on.
type Facts struct {
	UsageError bool // the inputs are invalid
	Refused    bool // at least one rule was not met
	// Stopped is set if the run was cancelled. Unexecuted is set if that happened
	// before anything was executed.
	Stopped, Unexecuted bool
	Errors              int  // the number of failures, including those at targets
	BeyondTargets       bool // something failed elsewhere than at a target
	Targets             []State
	// Whole reports that nothing is done at any target, as in a plan: it fails if
	// something is left at some of them.
	Whole bool
}

// Rank returns the outcome: misuse before refused before cancelled before
// failed before partial. A run that was cancelled after everything was done is
// done.
func Rank(f Facts) Outcome {
	left := 0
	for _, s := range f.Targets {
		if s.left() {
			left++
		}
	}
	switch {
	case f.UsageError:
		return Misuse
	case f.Refused:
		return Refused
	case f.Unexecuted:
		return Cancelled
	case f.Errors == 0 && left == 0:
		return Done
	case f.Stopped:
		return Cancelled
	case f.Whole || f.BeyondTargets || left == 0 || left == len(f.Targets):
		return Failed
	}
	return Partial
}
