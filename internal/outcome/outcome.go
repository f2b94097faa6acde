// Package outcome ranks how a run of the program ended, and what became of an
// image at each target. It decides from plain values; what they are is found
// out elsewhere.
package outcome

// Outcome is how a run of the program ended.
type Outcome string

const (
	Done      Outcome = "done"
	Failed    Outcome = "failed"
	Misuse    Outcome = "misuse"
	Refused   Outcome = "refused"
	Cancelled Outcome = "cancelled"
	Partial   Outcome = "partial"
)

// ExitCode returns the exit code at a prompt. In a pipeline the exit code is 0
// and task.complete carries the result.
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

// State is what became of an image at one target.
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
)

// left reports whether a rerun still has to bring the image there.
func (s State) left() bool {
	return s == Pending || s == TargetFailed || s == TargetRefused
}

// Facts is what the outcome of a run is ranked by.
type Facts struct {
	UsageError bool // the inputs could not be understood or obeyed
	Refused    bool // at least one rule was not met
	// Stopped: the program was told to stop at some time. Unexecuted: it was
	// told so before anything was executed.
	Stopped, Unexecuted bool
	Errors              int  // everything that failed, at the targets too
	BeyondTargets       bool // some of it failed elsewhere than at a target
	Targets             []State
}

// Rank returns the outcome: misuse before refused before cancelled before
// failed before partial. A run that was told to stop when everything was done
// is done.
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
	case f.BeyondTargets || left == 0 || left == len(f.Targets):
		return Failed
	}
	return Partial
}
