package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"acrpromote/internal/outcome"
	"acrpromote/internal/sanitize"
	"acrpromote/internal/sorting"
)

// Limits of one value in a text for people, in bytes. result.json has the whole
// value.
const (
	shortField = 300
	longField  = 1500
)

// Headline returns one line that says how the run ended.
func Headline(r Result) string {
	total, arrived, waiting := 0, 0, 0
	for _, image := range r.Images {
		for _, t := range image.Targets {
			total++
			switch t.State {
			case outcome.Copied, outcome.Mounted, outcome.Retagged, outcome.Present,
				outcome.Withdrawn, outcome.Restored, outcome.Absent, outcome.Recorded, outcome.Untagged, outcome.Left:
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
			return "the image would be sealed; nothing was written (dry run)"
		case r.Action == "seal" && r.Changed:
			return "sealed"
		case r.Action == "seal":
			return "nothing to do: already sealed"
		case r.Action == "plan" && r.pending():
			return fmt.Sprintf("%s; waits for approval; nothing was written", wouldChange(waiting, total))
		case r.Action == "plan":
			return wouldChange(waiting, total) + "; nothing was written"
		case r.Action == "verify":
			return "the action would be executed; nothing was written"
		case r.Action == "verifyReceipt" && r.ReceiptVerdict != nil && r.ReceiptVerdict.Receipt != nil:
			return "approved: " + sanitize.Visible(r.ReceiptVerdict.Receipt.approval(), shortField)
		case r.Action == "trace":
			return fmt.Sprintf("traced %s; nothing was written", counted(len(r.Trace), "image"))
		case r.Action == "doctor" && len(r.Findings) > 0:
			return "findings: " + severities(r.Findings) + "; nothing was written"
		case r.Action == "doctor":
			return "no findings; nothing was written"
		case r.Drift != nil:
			return driftHeadline(r, arrived, total)
		case r.Action == "audit":
			if len(r.Images) > 1 {
				return fmt.Sprintf("everything of %d images has arrived at %s", len(r.Images), registries(r.Images))
			}
			return fmt.Sprintf("everything has arrived at %s", targets(total))
		case r.DryRun && waiting == 0 && plannedReceipts(r) > 0:
			return fmt.Sprintf("%d receipts would be attached; nothing was written (dry run)", plannedReceipts(r))
		case r.DryRun && waiting == 0:
			return "nothing to do; nothing was written (dry run)"
		case r.DryRun:
			return fmt.Sprintf("%d of %s would change; nothing was written (dry run)", waiting, targets(total))
		case r.Recall != nil && !r.Changed:
			return "nothing to do: " + r.Recall.state()
		case r.Recall != nil:
			return r.Recall.state()
		case !r.Changed:
			return "nothing to do: everything already exists"
		case len(r.Images) > 1:
			return fmt.Sprintf("%d images arrived at %s", len(r.Images), registries(r.Images))
		}
		return fmt.Sprintf("arrived at %s", targets(total))
	case outcome.Refused:
		if r.Action == "doctor" {
			return "findings: " + severities(r.Findings) + "; nothing was written"
		}
		switch n := len(r.Refusals); n {
		case 0:
			return "nothing was written"
		case 1:
			return "1 rule not met; nothing was written"
		default:
			return fmt.Sprintf("%d rules not met; nothing was written", n)
		}
	case outcome.Partial, outcome.Failed:
		switch {
		case r.Drift != nil:
			return driftHeadline(r, arrived, total)
		case r.Action == "audit" && total > 0:
			return fmt.Sprintf("%d of %s complete", arrived, targets(total))
		case r.Outcome == outcome.Partial:
			return fmt.Sprintf("%d of %s done; the errors say what to do about the others", arrived, targets(total))
		}
	case outcome.Misuse:
		return "invalid inputs; nothing was written"
	case outcome.Cancelled:
		if r.Recall != nil {
			return "stopped; run the step again to do the rest"
		}
		return "stopped; content that arrived stays, and no tag points at an incomplete image"
	}
	errors := "1 error"
	if n := len(r.Errors); n != 1 {
		errors = fmt.Sprintf("%d errors", n)
	}
	switch {
	case r.Changed && r.Recall != nil:
		return errors + "; what was done stays, and a rerun does the rest"
	case r.Changed:
		return errors + "; content that arrived stays"
	}
	return errors + "; nothing was written"
}

// state says what is true after a recall.
func (r Recall) state() string {
	if r.Lift {
		return "the recall is lifted"
	}
	return "recalled"
}

// recallNotes says what a state after a recall means.
var recallNotes = map[outcome.State]string{
	outcome.Withdrawn: "reads are disabled",
	outcome.Restored:  "can be read",
	outcome.Absent:    "not there",
	outcome.Recorded:  "the record is attached; can still be read",
	outcome.Untagged:  "the tags are deleted; can still be read by its digest",
	outcome.Left:      "can still be read: this registry cannot disable reads",
}

// sentence ends a clause from elsewhere with a full stop, unless it is a
// sentence already.
func sentence(s string) string {
	s = strings.TrimRight(s, ". ")
	if s == "" || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "…") {
		return s
	}
	return s + "."
}

// withoutRepeats returns problems for people: of those that follow each other with
// the same remedy, only the last has it.
func withoutRepeats(problems []Problem) []Problem {
	shown := slices.Clone(problems)
	for i := range shown {
		if i+1 < len(shown) && shown[i].Remedy == shown[i+1].Remedy && shown[i].Side == shown[i+1].Side {
			shown[i].Remedy = ""
		}
	}
	return shown
}

// targets returns a number of targets in words.
// pending reports whether a rule waits for an approval.
func (r Result) pending() bool {
	return slices.ContainsFunc(r.Approval.Rules, func(s RuleState) bool { return s.Pending })
}

// writesNothing reports whether the result is about what would be done.
func (r Result) writesNothing() bool { return r.DryRun || r.Action == "plan" }

func wouldChange(waiting, total int) string {
	if waiting == 0 {
		return "nothing to do"
	}
	return fmt.Sprintf("%d of %s would change", waiting, targets(total))
}

func targets(n int) string {
	if n == 1 {
		return "1 target"
	}
	return fmt.Sprintf("%d targets", n)
}

// registries returns the number of registries that images go to in words.
func registries(images []Image) string {
	hosts := map[string]bool{}
	for _, image := range images {
		for _, t := range image.Targets {
			hosts[t.Registry] = true
		}
	}
	if len(hosts) == 1 {
		return "1 registry"
	}
	return fmt.Sprintf("%d registries", len(hosts))
}

// showsCode reports whether to show the approval code: the image is sealed now,
// by this run or an earlier one.
func showsCode(r Result) bool {
	return r.Action == "seal" && r.Outcome == outcome.Done && !r.DryRun && r.ApprovalCode != ""
}

// namesCode reports whether to name the approval code without asking for it: it is
// what the approver's comment can quote.
func namesCode(r Result) bool {
	return (r.Action == "verify" || r.Action == "plan" && (r.Plan == nil || r.asksFor("image"))) && (r.Outcome == outcome.Done || r.Outcome == outcome.Refused) && r.ApprovalCode != ""
}

// place returns the run, stage and job of a result in words, or "" if there is no
// run.
func (r Run) place() string {
	kind := "run"
	switch r.Kind {
	case "", "none":
		return ""
	case "release":
		kind = "release"
	}
	words := fmt.Sprintf("%s %d of %s", kind, r.ID, r.Project)
	if r.Pipeline.Name != "" {
		words = fmt.Sprintf("%s %d of the pipeline %s in %s", kind, r.ID, r.Pipeline.Name, r.Project)
	}
	words += ", stage " + r.Stage
	if r.Job != "" {
		words += ", job " + r.Job
	}
	return fmt.Sprintf("%s, attempt %d", words, r.Attempt)
}

// signedIn returns how the step signs in to a registry in words.
func (i Identity) signedIn() string {
	if i.Connection == "" {
		return "without a service connection"
	}
	words := "with the service connection " + i.Connection
	if i.ClientID != "" {
		words += " (client ID " + i.ClientID + ")"
	}
	return words
}

// facts returns values of the result with their meanings, for people.
func facts(r Result) [][2]string {
	meaning := func(value string, meanings map[string]string) string { return cmp.Or(meanings[value], value) }
	return [][2]string{
		{"Direction of trust", meaning(r.Direction, map[string]string{"unchecked": "unchecked, because no flow file says which registry is more trusted"})},
		{"Rules", meaning(r.Rules, map[string]string{
			"inputs": "from the inputs of the step", "verified": "from the flow file, verified", "unverified": "from the flow file, not verified",
		})},
		{"Protection", r.Protection},
		{"Network", meaning(r.Transport, map[string]string{"claimed": "with the agent's proxy or CA settings"})},
		{"Proxy", r.Proxy}, {"CA", r.CA}, {"Version", r.Tool},
	}
}

// label returns the kind of an error on this side.
func (s Side) label() string {
	switch s {
	case SourceSide:
		return "error at the source"
	case TargetSide:
		return "error at the target"
	case ServiceSide:
		return "error at a service"
	case InputSide:
		return "input error"
	}
	return "error"
}

// Where returns the target as a reference.
func (t Target) Where() string {
	s := t.Registry + "/" + t.Repository
	if t.Tag != "" {
		s += ":" + t.Tag
	}
	return s
}

// note returns details about a target, in a few words.
func (t Target) note(dryRun bool) string {
	var notes []string
	if meaning := recallNotes[t.State]; meaning != "" {
		notes = append(notes, meaning)
	}
	if len(t.Readable) > 0 {
		notes = append(notes, "other images have it too, so that it stays readable: "+strings.Join(shortened(t.Readable), ", "))
	}
	switch t.State {
	case outcome.Present:
		notes = append(notes, "already exists")
	case outcome.Mounted:
		notes = append(notes, "no bytes sent")
	case outcome.Pending:
		if t.Error == "" {
			notes = append(notes, "incomplete")
		}
	}
	if t.Referrers > 0 && t.State != outcome.TargetFailed && t.State != outcome.Pending {
		notes = append(notes, fmt.Sprintf("%d attached", t.Referrers))
	}
	if t.Previous != "" {
		const stays = "tag stays at "
		moved := "moved from "
		switch t.State {
		case outcome.Planned:
			moved = "moves from "
		case outcome.TargetRefused, outcome.TargetFailed, outcome.Pending:
			moved = stays
		}
		if t.Rollback && moved != stays {
			moved = "rollback: " + moved
		}
		notes = append(notes, moved+short(t.Previous))
	}
	if t.Locked != "" && t.Locked != "none" && t.State != outcome.TargetFailed && t.State != outcome.TargetRefused {
		lock := "locked: "
		if t.State == outcome.Planned || t.State == outcome.Pending || dryRun {
			lock = "will be locked: "
		}
		notes = append(notes, lock+sanitize.Visible(t.Locked, shortField))
	}
	if t.Error != "" {
		// The error is in the list of errors.
		notes = append(notes, "see below")
	}
	return strings.Join(notes, "; ")
}

// shownRights returns the rights as they are shown: a reason that is one of the errors,
// or that of an earlier right, is not repeated.
func (r Result) shownRights() []Right {
	shown := slices.Clone(r.Rights)
	for i, right := range shown {
		if right.Reason == "" {
			continue
		}
		for _, e := range r.Errors {
			if strings.HasSuffix(e.Reason, right.Reason) {
				shown[i].Reason = "see below"
			}
		}
		for _, earlier := range r.Rights[:i] {
			if shown[i].Reason == right.Reason && earlier.Reason == right.Reason {
				shown[i].Reason = "as for " + earlier.Registry
			}
		}
	}
	return shown
}

// mostTypes bounds how many types of what is attached are shown.
const mostTypes = 5

// summary says how much is attached to an image, of which types, and how much of
// it stays behind; "" if nothing is attached.
func (i Image) summary() string {
	if len(i.Attached) == 0 {
		return ""
	}
	left := 0
	counts := map[string]int{}
	for _, a := range i.Attached {
		counts[a.ArtifactType]++
		if a.State == outcome.Left {
			left++
		}
	}
	types := slices.Collect(maps.Keys(counts))
	sorting.By(types, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var words []string
	for _, t := range types[:min(len(types), mostTypes)] {
		words = append(words, fmt.Sprintf("%d %s", counts[t], sanitize.Visible(t, shortField)))
	}
	if more := len(types) - mostTypes; more > 0 {
		words = append(words, fmt.Sprintf("and %d more types", more))
	}
	s := fmt.Sprintf("%d attached (%s)", len(i.Attached), strings.Join(words, ", "))
	if left > 0 {
		s += fmt.Sprintf(", %d of them left behind", left)
	}
	return s
}

// shortened returns the first digests of a list, each shortened.
func shortened(digests []string) (list []string) {
	for _, d := range digests[:min(len(digests), mostTypes)] {
		list = append(list, short(d))
	}
	return list
}

// short returns the beginning of a digest.
func short(digest string) string {
	if algorithm, hex, ok := strings.Cut(digest, ":"); ok && len(hex) > 12 {
		return sanitize.Visible(algorithm, 20) + ":" + sanitize.Visible(hex[:12], 40) + "…"
	}
	return sanitize.Visible(digest, 80)
}

// moment returns a time in RFC 3339 in a readable form, and anything else as it
// is.
func moment(at string) string {
	if len(at) >= 20 && at[10] == 'T' && strings.HasSuffix(at, "Z") {
		return sanitize.Visible(at[:10]+" "+at[11:16]+" UTC", 40)
	}
	return sanitize.Visible(at, 40)
}

// approvalLine returns one line about the approval, or "" if the action takes
// none.
func approvalLine(a Approval) string {
	guards := sanitize.Visible(a.Guards, shortField)
	switch {
	case a.Kind == "unapproved":
		return "unapproved (--approval none)"
	case a.Kind == "none" && a.Granted:
		return "none required by the flow"
	case a.Kind == "none" && guards == "" && len(a.Rules) == 0:
		// The action takes no approval, or is unknown.
		return ""
	case a.Kind == "" && guards == "" && len(a.Rules) == 0:
		return ""
	case a.Granted && guards == "":
		return "granted (" + sanitize.Visible(a.Kind, 40) + ")"
	case a.Granted:
		return guards + ": granted (" + sanitize.Visible(a.Kind, 40) + ")"
	}
	state := "not granted"
	if a.open() {
		state = "pending"
	}
	if guards == "" {
		return state
	}
	return guards + ": " + state
}

// open reports whether an approval may still be given.
func (a Approval) open() bool {
	return slices.ContainsFunc(a.Rules, func(s RuleState) bool { return s.Pending }) &&
		!slices.ContainsFunc(a.Rules, func(s RuleState) bool { return !s.Met && !s.Pending })
}

// receiptLines returns what there is to say about the receipts of an approval, or of a
// seal: each key with the states and the places, and where there are none. It returns
// nothing if nothing was approved or signed.
func receiptLines(r Result) []string {
	if r.ReceiptVerdict != nil {
		return nil // it shows more
	}
	if len(r.Receipts) == 0 {
		if r.Recall != nil || !r.Approval.Granted || r.Approval.Kind != "manual" && r.Approval.Kind != "automated" {
			return nil
		}
		return []string{"none: the approval is not signed"}
	}
	signed := "signed by %s: %s"
	words := map[ReceiptState]string{ReceiptPlanned: "would be attached at", ReceiptAttached: "attached at", ReceiptPresent: "already at", ReceiptFailed: "failed, and the approval unsigned, at"}
	if !r.writesNothing() && r.Action != "verify" {
		words[ReceiptPlanned] = "not attached at"
	}
	if r.Recall != nil {
		signed, words[ReceiptFailed] = "recall record signed by %s: %s", "failed at"
	}
	var lines []string
	keys := map[string]map[ReceiptState][]string{}
	seen := map[string]bool{}
	for _, one := range r.Receipts {
		if keys[one.KeyID] == nil {
			keys[one.KeyID] = map[ReceiptState][]string{}
		}
		if place := one.KeyID + "\x00" + string(one.State) + "\x00" + one.Registry; !seen[place] {
			seen[place] = true
			keys[one.KeyID][one.State] = append(keys[one.KeyID][one.State], one.Registry)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		var parts []string
		for _, state := range []ReceiptState{ReceiptAttached, ReceiptPlanned, ReceiptPresent, ReceiptFailed} {
			if at := keys[key][state]; len(at) > 0 {
				parts = append(parts, words[state]+" "+sanitize.Visible(strings.Join(at, ", "), shortField))
			}
		}
		lines = append(lines, fmt.Sprintf(signed, cmp.Or(sanitize.Visible(key, shortField), "no key"), strings.Join(parts, "; ")))
	}
	return lines
}

// plannedReceipts returns the number of places where receipts would be attached.
func plannedReceipts(r Result) int {
	places := map[string]bool{}
	for _, one := range r.Receipts {
		if one.State == ReceiptPlanned {
			places[one.Registry+"/"+one.Repository+"@"+one.Subject] = true
		}
	}
	return len(places)
}

// name returns the label of a rule, or else its name.
func (s RuleState) name() string {
	return sanitize.Visible(cmp.Or(s.Label, string(s.Rule)), shortField)
}

// state returns the state of a rule in a word.
func (s RuleState) state() string {
	switch {
	case s.Met:
		return ruleMet
	case s.Pending:
		return rulePending
	}
	return ruleNotMet
}

// note returns the detail of a rule, with its name if it is not met.
func (s RuleState) note() string {
	detail := sanitize.Visible(s.Detail, longField)
	if s.Met || s.Label == "" {
		return detail
	}
	return detail + " (" + sanitize.Visible(string(s.Rule), 40) + ")"
}
