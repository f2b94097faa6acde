package outcome

import "testing"

func TestRank(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts Facts
		want  Outcome
	}{
		{"nothing to do", Facts{}, Done},
		{"all targets done", Facts{Targets: []State{Copied, Mounted, Present, Retagged, Planned}}, Done},
		{"misuse before everything", Facts{UsageError: true, Refused: true, Stopped: true, Unexecuted: true, Errors: 1, BeyondTargets: true}, Misuse},
		{"refused before cancelled", Facts{Refused: true, Stopped: true, Unexecuted: true, Errors: 1, BeyondTargets: true}, Refused},
		{"stopped before anything was executed", Facts{Stopped: true, Unexecuted: true}, Cancelled},
		{"stopped before anything was executed, and something failed", Facts{Stopped: true, Unexecuted: true, Errors: 1, BeyondTargets: true}, Cancelled},
		{"cancelled before failed", Facts{Stopped: true, Errors: 1, BeyondTargets: true, Targets: []State{TargetFailed}}, Cancelled},
		{"cancelled before partial", Facts{Stopped: true, Errors: 1, Targets: []State{Copied, Pending}}, Cancelled},
		{"stopped when everything was done", Facts{Stopped: true, Targets: []State{Copied}}, Done},
		{"the source failed", Facts{Errors: 1, BeyondTargets: true}, Failed},
		{"failed before partial", Facts{Errors: 2, BeyondTargets: true, Targets: []State{Copied, Pending}}, Failed},
		{"every target failed", Facts{Errors: 2, Targets: []State{TargetFailed, TargetFailed}}, Failed},
		{"every target waits", Facts{Targets: []State{Pending, Pending}}, Failed},
		{"an error, and no target is left", Facts{Errors: 1, Targets: []State{Copied}}, Failed},
		{"one target failed", Facts{Errors: 1, Targets: []State{Copied, TargetFailed}}, Partial},
		{"one target waits", Facts{Targets: []State{Present, Pending}}, Partial},
		{"a plan that could not read one target", Facts{Errors: 1, Targets: []State{Planned, Pending}, Whole: true}, Failed},
		{"a plan that could not read one target, refused", Facts{Errors: 1, Targets: []State{TargetRefused, Pending}, Whole: true, Refused: true}, Refused},
		{"a plan that read everything", Facts{Targets: []State{Planned, Present}, Whole: true}, Done},
		{"a plan that was stopped", Facts{Stopped: true, Unexecuted: true, Whole: true}, Cancelled},
		{"one target was refused", Facts{Errors: 1, Targets: []State{Present, TargetRefused}}, Partial},
	} {
		if got := Rank(c.facts); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestExitCode(t *testing.T) {
	for outcome, want := range map[Outcome]int{Done: 0, Failed: 1, Misuse: 2, Refused: 3, Partial: 4, Cancelled: 130, "": 1} {
		if got := outcome.ExitCode(); got != want {
			t.Errorf("%q: exit code %d, want %d", outcome, got, want)
		}
	}
}
