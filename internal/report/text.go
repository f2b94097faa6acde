package report

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"acrpromote/internal/card"
	"acrpromote/internal/manual"
	"acrpromote/internal/markup"
	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

// Text returns the result for people at a prompt: the images and their targets,
// the approval, all refusals and errors, and how the run ended. Sentences are
// wrapped to width. With colour, the text has SGR sequences; those in outside
// text are escaped.
func Text(r Result, width int, colour bool) string {
	t := newText(width, colour)
	t.facts(r)
	t.problems(r)
	for _, w := range r.Warnings {
		t.item(t.paint(yellow, "warning"), 9, sanitize.Visible(w, longField))
	}
	t.end(r)
	return t.b.String()
}

// Facts returns Text without warnings, refusals and errors: for the agent's log,
// where Issues are logged as issues of the run.
func Facts(r Result, width int) string {
	t := newText(width, false)
	t.facts(r)
	t.end(r)
	return t.b.String()
}

// Issues returns the warnings, and the refusals and errors with their remedies.
func Issues(r Result) (warnings, problems []string) {
	for _, w := range r.Warnings {
		warnings = append(warnings, sanitize.Visible(w, longField))
	}
	add := func(kind, subject, reason, remedy string) {
		problems = append(problems, kind+": "+sanitize.Visible(subject, longField)+": "+strings.TrimRight(sentence(sanitize.Visible(reason, longField))+" "+sanitize.Visible(remedy, longField), " "))
	}
	for _, f := range r.Refusals {
		remedy := f.Remedy
		if url := manual.URL(string(f.Rule)); url != "" {
			remedy = strings.TrimLeft(remedy+" More: "+url, " ")
		}
		add("refused, "+sanitize.Visible(string(f.Rule), 40), f.Subject, f.Reason, remedy)
	}
	for _, e := range withoutRepeats(r.Errors) {
		add(e.Side.label(), e.Subject, e.Reason, e.Remedy)
	}
	return warnings, problems
}

func newText(width int, colour bool) *text {
	return &text{width: min(max(width, 60), 160), colour: colour}
}

func (t *text) facts(r Result) {
	t.heading(r)
	t.images(r)
	t.drift(r)
	t.changes(r)
	t.code(r)
	t.approval(r.Approval)
	t.receipt(r.ReceiptVerdict)
	t.lives(r.Trace)
	t.findings(r)
	t.rights(r.shownRights())
	t.receipts(r)
	t.budget(r)
}

// changes writes how the images differ from those at their targets.
func (t *text) changes(r Result) {
	c, explained := cardOf(r)
	if !explained {
		return
	}
	for i, sentence := range card.Text(c) {
		if i == 0 {
			t.line("")
			t.line(t.paint(bold, "Changes"))
		}
		for j, l := range wrap(sentence, t.width-4) {
			t.line(strings.Repeat(" ", 2+min(j, 1)*2) + l)
		}
	}
}

// rights writes what a plan found of the rights that the action needs.
func (t *text) rights(rights []Right) {
	if len(rights) == 0 {
		return
	}
	t.line("")
	t.line(t.paint(bold, "Rights") + "  that the action needs, by the registries' tokens")
	for _, right := range rights {
		mark := t.paint(green, "granted    ")
		switch right.State {
		case RightMissing:
			mark = t.paint(red, "NOT GRANTED")
		case RightUnchecked:
			mark = t.paint(yellow, "not checked")
		}
		head := "  " + mark + " "
		for _, l := range wrap(right.text(), max(t.width-14, 27)) {
			t.line(head + l)
			head = strings.Repeat(" ", 14)
		}
	}
}

// text returns the registry and what is known of its rights.
func (r Right) text() string {
	s := sanitize.Visible(r.Registry, shortField)
	if r.Reason != "" {
		s += ": " + sanitize.Visible(r.Reason, longField)
	}
	return s
}

// budget writes the requests of a dry run or a plan.
func (t *text) budget(r Result) {
	if !r.writesNothing() || len(r.Budget) == 0 {
		return
	}
	t.line("")
	for i, b := range r.Budget {
		head := t.paint(bold, "Requests") + "  "
		if i > 0 {
			head = "          "
		}
		for _, l := range wrap(b.sentence(), t.width-10) {
			t.line(head + l)
			head = "            "
		}
	}
}

// sentence returns the requests to a registry and their shares.
func (b Budget) sentence() string {
	percent := func(s Share) string {
		if most := s.most(); most == 0 || most >= 0.01 {
			return fmt.Sprintf("%.0f %%", most*100)
		}
		return "less than 1 %"
	}
	return fmt.Sprintf("%s: %d read, %d write, %d ListReferrers, %d token; of a minute's limits %s (Basic), %s (Standard), %s (Premium)",
		sanitize.Visible(b.Registry, shortField), b.Requests.Read, b.Requests.Write, b.Requests.Referrers, b.Requests.Token, percent(b.Shares.Basic), percent(b.Shares.Standard), percent(b.Shares.Premium))
}

type text struct {
	b      strings.Builder
	width  int
	colour bool
}

func (t *text) paint(code, s string) string {
	if !t.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *text) line(s string) { t.b.WriteString(strings.TrimRight(s, " ") + "\n") }

func (t *text) heading(r Result) {
	s := "acrpromote"
	if r.Tool != "" {
		s += " " + sanitize.Visible(r.Tool, 40)
	}
	if r.Action != "" {
		s += "  " + t.paint(bold, sanitize.Visible(r.Action, 40))
	}
	if r.DryRun {
		s += "  (dry run)"
	}
	t.line(s)
	if place := r.Run.place(); place != "" {
		t.line(t.paint(faint, sanitize.Visible(place, longField)))
	}
}

func (t *text) images(r Result) {
	for _, image := range r.Images {
		t.line("")
		t.line(t.paint(bold, sanitize.Visible(image.Source, longField)))
		if image.Digest != "" {
			t.line("  " + sanitize.Visible(image.Digest, shortField))
		}
		var facts []string
		if image.Bytes > 0 {
			facts = append(facts, markup.Size(image.Bytes))
		}
		if image.SealedAt != "" {
			facts = append(facts, "sealed "+moment(image.SealedAt))
		}
		if len(facts) > 0 {
			t.line("  " + strings.Join(facts, ", "))
		}
		if attached := image.summary(); attached != "" {
			for i, l := range wrap(attached, t.width-4) {
				t.line(strings.Repeat(" ", 2+min(i, 1)*2) + l)
			}
		}
		t.table(image, r.writesNothing())
	}
}

func (t *text) table(image Image, dryRun bool) {
	widest := 0
	for _, target := range image.Targets {
		widest = max(widest, utf8.RuneCountInString(sanitize.Visible(target.Where(), longField)))
	}
	widest = min(widest, t.width/2)
	for _, target := range image.Targets {
		where := sanitize.Visible(target.Where(), longField)
		row := "  " + t.paint(stateColour(target.State), fmt.Sprintf("%-9s", sanitize.Visible(string(target.State), 20))) + " → " + where
		note := target.note(dryRun)
		if note == "" {
			t.line(row)
			continue
		}
		used := 2 + 9 + 3 + max(widest, utf8.RuneCountInString(where)) + 2
		lines := wrap(note, max(t.width-used, 20))
		if target.Error != "" || used+utf8.RuneCountInString(lines[0]) > t.width {
			t.line(row)
			for _, l := range wrap(note, t.width-14) {
				t.line("              " + l)
			}
			continue
		}
		t.line(row + strings.Repeat(" ", max(widest-utf8.RuneCountInString(where), 0)+2) + strings.Join(lines, " "))
	}
}

func stateColour(s outcome.State) string {
	switch s {
	case outcome.Copied, outcome.Mounted, outcome.Retagged, outcome.Present, outcome.Withdrawn, outcome.Restored, outcome.Absent, outcome.Recorded:
		return green
	case outcome.TargetFailed, outcome.TargetRefused:
		return red
	}
	return yellow
}

func (t *text) code(r Result) {
	if namesCode(r) {
		t.line("")
		t.line("Approval code: " + sanitize.Visible(r.ApprovalCode, 80))
	}
	if showsCode(r) {
		t.line("")
		t.line("Approve with this code: " + t.paint(bold, sanitize.Visible(r.ApprovalCode, 80)))
		t.line("An approver who quotes it in the comment approves these bytes and no others.")
	}
	if r.Plan != nil {
		t.line("")
		t.line("Code of the plan: " + t.paint(bold, sanitize.Visible(r.Plan.Code, 80)))
		t.line("  " + sanitize.Visible(r.Plan.Digest, shortField))
	}
}

func (t *text) approval(a Approval) {
	line := approvalLine(a)
	if line == "" {
		return
	}
	t.line("")
	t.line(t.paint(bold, "Approval") + "  " + line)
	for _, p := range a.Approvers {
		s := sanitize.Visible(p.Name, shortField)
		if p.At != "" {
			s += ", " + moment(p.At)
		}
		if p.Comment != "" {
			s += ": “" + sanitize.Visible(p.Comment, longField) + "”"
		}
		for i, l := range wrap(s, t.width-4) {
			t.line(strings.Repeat(" ", 2+min(i, 1)*2) + l)
		}
	}
	for _, o := range a.Rules {
		label, state := o.name(), o.state()
		head := label + ": " + state
		for i, l := range wrap(head+", "+o.note(), t.width-4) {
			// The label and the state are never broken.
			l = strings.Replace(l, head, label+": "+t.paint(stateColours[state], state), 1-min(i, 1))
			t.line(strings.Repeat(" ", 2+min(i, 1)*2) + l)
		}
	}
}

func (t *text) receipts(r Result) {
	for n, line := range receiptLines(r) {
		if n == 0 {
			t.line("")
		}
		for i, l := range wrap(line, t.width-10) {
			head := t.paint(bold, "Receipts") + "  "
			if i+n > 0 {
				head = "          "
			}
			t.line(head + l)
		}
	}
	for _, g := range r.Signing {
		if (r.DryRun || r.Action == "plan") && g.Signatures > 0 {
			for _, l := range wrap(fmt.Sprintf("%d signatures by %s", g.Signatures, sanitize.Visible(g.Key, shortField)), t.width-10) {
				t.line("          " + l)
			}
		}
	}
}

// The states of a rule, and their colours.
const (
	ruleMet     = "yes"
	ruleNotMet  = "no"
	rulePending = "pending"
)

var stateColours = map[string]string{ruleMet: green, ruleNotMet: red, rulePending: yellow}

// problems writes refusals and errors as one list.
func (t *text) problems(r Result) {
	total := len(r.Refusals) + len(r.Errors)
	if total == 0 {
		return
	}
	t.line("")
	n := 0
	entry := func(kind, subject, reason, remedy string) {
		n++
		number := ""
		if total > 1 {
			number = fmt.Sprintf("%d. ", n)
		}
		head := t.paint(red, number+kind)
		if subject != "" {
			head += "  " + sanitize.Visible(subject, longField)
		}
		t.line(head)
		for _, l := range wrap(sanitize.Visible(reason, longField), t.width-4) {
			t.line("    " + l)
		}
		if remedy == "" {
			return
		}
		for i, l := range wrap(sanitize.Visible(remedy, longField), t.width-6) {
			if i == 0 {
				t.line("  → " + l)
			} else {
				t.line("    " + l)
			}
		}
	}
	explained := map[rule.Name]bool{}
	for _, f := range r.Refusals {
		entry("refused: "+sanitize.Visible(string(f.Rule), 40), f.Subject, f.Reason, f.Remedy)
		if hint := manual.Hint(string(f.Rule)); hint != "" && !explained[f.Rule] {
			t.line("    " + hint)
			explained[f.Rule] = true
		}
	}
	for _, e := range withoutRepeats(r.Errors) {
		entry(e.Side.label(), e.Subject, e.Reason, e.Remedy)
	}
}

func (t *text) item(term string, indent int, sentence string) {
	t.line("")
	for i, l := range wrap(sentence, t.width-indent) {
		if i == 0 {
			t.line(term + ": " + l)
		} else {
			t.line(strings.Repeat(" ", indent) + l)
		}
	}
}

func (t *text) end(r Result) {
	t.line("")
	colour := red
	switch r.Outcome {
	case outcome.Done:
		colour = green
	case outcome.Partial, outcome.Cancelled:
		colour = yellow
	}
	t.line(t.paint(colour, string(r.Outcome)) + ": " + Headline(r))
}

// wrap breaks a text at spaces. A word that is longer than width is not broken,
// so that it can be copied.
func wrap(s string, width int) []string {
	var lines []string
	line, used := "", 0
	for word := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(word)
		if line != "" && used+1+n > width {
			lines = append(lines, line)
			line, used = "", 0
		}
		if line != "" {
			line += " "
			used++
		}
		line += word
		used += n
	}
	return append(lines, line)
}
