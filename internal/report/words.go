package report

import (
	"fmt"
	"strings"

	"acrpromote/internal/outcome"
	"acrpromote/internal/sanitize"
)

// What is shown of one value in a text for people, in bytes. The document has it
// whole.
const (
	shortField = 300
	longField  = 1500
)

// Headline says in one line how it ended.
func Headline(r Result) string {
	total, arrived, waiting := 0, 0, 0
	for _, image := range r.Images {
		for _, t := range image.Targets {
			total++
			switch t.State {
			case outcome.Copied, outcome.Mounted, outcome.Retagged, outcome.Present:
				arrived++
			case outcome.Planned:
				waiting++
			}
		}
	}
	switch r.Outcome {
	case outcome.Done:
		switch {
		case r.Action == "seal" && r.DryRun:
			return "would be sealed; nothing was written (dry run)"
		case r.Action == "seal" && r.Changed:
			return "sealed"
		case r.Action == "seal":
			return "nothing to do: it was sealed before"
		case r.Action == "verify":
			return "would be carried out; nothing was written"
		case r.Action == "audit":
			return fmt.Sprintf("everything has arrived in %s", targets(total))
		case r.DryRun && waiting == 0:
			return "nothing to do; nothing was written (dry run)"
		case r.DryRun:
			return fmt.Sprintf("would go to %d of %s; nothing was written (dry run)", waiting, targets(total))
		case !r.Changed:
			return "nothing to do: everything was there"
		}
		return fmt.Sprintf("arrived in %s", targets(total))
	case outcome.Refused:
		switch n := len(r.Refusals); n {
		case 0:
			return "nothing was written"
		case 1:
			return "1 reason stands against it; nothing was written"
		default:
			return fmt.Sprintf("%d reasons stand against it; nothing was written", n)
		}
	case outcome.Partial:
		return fmt.Sprintf("%d of %s done; run it again for the others", arrived, targets(total))
	case outcome.Misuse:
		return "the inputs cannot be obeyed; nothing was written"
	case outcome.Cancelled:
		return "told to stop; what had arrived stays, and no tag points at anything incomplete"
	}
	errors := "1 error"
	if n := len(r.Errors); n != 1 {
		errors = fmt.Sprintf("%d errors", n)
	}
	if r.Changed {
		return errors + "; what had arrived stays, and a rerun completes it"
	}
	return errors + "; nothing was written"
}

func targets(n int) string {
	if n == 1 {
		return "1 target"
	}
	return fmt.Sprintf("%d targets", n)
}

// showsCode tells whether an approver is to be told the code now: the image
// has just been sealed, or was so before.
func showsCode(r Result) bool {
	return r.Action == "seal" && r.Outcome == outcome.Done && !r.DryRun && r.ApprovalCode != ""
}

// words says where a problem lies.
func (s Side) words() string {
	switch s {
	case Source:
		return "error at the source"
	case AtTarget:
		return "error at the target"
	case Service:
		return "error at a service"
	case Input:
		return "error in the input"
	}
	return "error"
}

// where is a target as a reference.
func (t Target) where() string {
	s := t.Registry + "/" + t.Repository
	if t.Tag != "" {
		s += ":" + t.Tag
	}
	return s
}

// note says what else there is to know about a target, in few words.
func (t Target) note(dryRun bool) string {
	var notes []string
	switch t.State {
	case outcome.Present:
		notes = append(notes, "already there")
	case outcome.Mounted:
		notes = append(notes, "no bytes sent")
	case outcome.Pending:
		notes = append(notes, "not done yet")
	}
	if t.Referrers > 0 && t.State != outcome.TargetFailed && t.State != outcome.Pending {
		notes = append(notes, fmt.Sprintf("%d attached", t.Referrers))
	}
	if t.Previous != "" {
		moved := "moved from "
		if t.State == outcome.Planned {
			moved = "moves from "
		}
		if t.Rollback {
			moved = "rollback: " + moved
		}
		notes = append(notes, moved+short(t.Previous))
	}
	if t.Locked != "" && t.Locked != "none" && t.State != outcome.TargetFailed && t.State != outcome.TargetRefused {
		lock := "locked: "
		if t.State == outcome.Planned || t.State == outcome.Pending || dryRun {
			lock = "to be locked: "
		}
		notes = append(notes, lock+sanitize.Visible(t.Locked, shortField))
	}
	if t.Error != "" {
		// The sentence stands in the list of errors.
		notes = append(notes, "see below")
	}
	return strings.Join(notes, "; ")
}

// short is enough of a digest to tell it from others by eye.
func short(digest string) string {
	if algorithm, hex, ok := strings.Cut(digest, ":"); ok && len(hex) > 12 {
		return sanitize.Visible(algorithm, 20) + ":" + sanitize.Visible(hex[:12], 40) + "…"
	}
	return sanitize.Visible(digest, 80)
}

// moment shows RFC 3339 as people read it; anything else as it is.
func moment(at string) string {
	if len(at) >= 20 && at[10] == 'T' && strings.HasSuffix(at, "Z") {
		return sanitize.Visible(at[:10]+" "+at[11:16]+" UTC", 40)
	}
	return sanitize.Visible(at, 40)
}

// onWhoseWord says what the approval rests on; "" where none is taken.
func onWhoseWord(a Approval) string {
	guards := sanitize.Visible(a.Guards, shortField)
	switch {
	case a.Kind == "unapproved":
		return "unapproved: nobody was asked (--approval none)"
	case a.Kind == "none" && a.Granted:
		return "none required: the flow permits it"
	case a.Kind == "none" && guards == "" && len(a.Rules) == 0:
		// The action takes none, or was not understood.
		return ""
	case a.Kind == "" && guards == "" && len(a.Rules) == 0:
		return ""
	case a.Granted && guards == "":
		return "granted (" + sanitize.Visible(a.Kind, 40) + ")"
	case a.Granted:
		return guards + ": granted (" + sanitize.Visible(a.Kind, 40) + ")"
	case guards == "":
		return "not granted"
	}
	return guards + ": not granted"
}
