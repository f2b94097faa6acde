package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"acrpromote/internal/card"
	"acrpromote/internal/manual"
	"acrpromote/internal/markup"
)

// Limits of the summary on the run's page, in bytes: of all of it, and of what is not
// the approver's card.
const (
	longestPage    = 256 << 10
	longestSummary = 128 << 10
)

// Markdown returns the summary for the run's page: how the run ended, the images
// and their targets, the approval, and what to do next; the rest is folded.
// Outside text is escaped, so that it can contain neither markup nor links. If
// there are very many images, the first are shown and the others counted.
func Markdown(r Result) []byte {
	c, explained := cardOf(r)
	for rows := 500; ; rows /= 2 {
		m := &markdown{rows: rows, field: longField}
		if rows < 50 {
			m.field = shortField
		}
		m.title(r)
		top := m.b.String()
		m.b.Reset()
		m.rest(r, explained)
		// Without rows, only limited values are left, which fit.
		if len(top)+m.b.Len() > longestSummary && rows > 0 {
			continue
		}
		if explained {
			top += card.Markdown(c, longestPage-len(top)-m.b.Len())
		}
		return []byte(top + m.b.String())
	}
}

type markdown struct {
	b     strings.Builder
	rows  int // of each list
	field int // bytes of one value
}

func (m *markdown) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n", args...) }

func (m *markdown) text(s string) string { return markup.Text(s, m.field) }

func (m *markdown) code(s string) string { return markup.Code(s, m.field) }

// title writes what ran, and how it ended.
func (m *markdown) title(r Result) {
	title := "acrpromote"
	if r.Action != "" {
		title = m.text(r.Action)
	}
	if r.DryRun {
		title += " (dry run)"
	}
	m.line("## %s: %s", title, m.text(string(r.Outcome)))
	m.line("")
	m.line("%s.", markup.Escape(upperFirst(Headline(r))))
}

// rest writes everything but the title and what the approver's card has.
func (m *markdown) rest(r Result, explained bool) {
	if !explained {
		m.approvalCode(r)
		m.images(r)
	}
	m.drift(r)
	m.approvers(r.Approval)
	m.receipt(r.ReceiptVerdict)
	m.lives(r.Trace)
	m.findings(r)
	m.pending(r.Approval)
	m.rights(r.shownRights())
	m.receipts(r)
	m.next(r)
	m.warnings(r)
	m.details(r)
}

func upperFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[size:]
}

func (m *markdown) approvalCode(r Result) {
	if namesCode(r) {
		m.line("")
		m.line("Approval code: %s", m.code(r.ApprovalCode))
	}
	if !showsCode(r) {
		return
	}
	m.line("")
	m.line("### Approve with this code: %s", m.code(r.ApprovalCode))
	m.line("")
	m.line("An approver who quotes it in the comment approves these bytes and no others.")
}

func (m *markdown) images(r Result) {
	if len(r.Images) == 0 {
		return
	}
	m.line("")
	m.line("| Image | Digest | To | State |")
	m.line("|---|---|---|---|")
	rows, left := 0, 0
	for _, image := range r.Images {
		cells := fmt.Sprintf("| %s | %s |", m.code(image.Source), m.code(short(image.Digest)))
		if len(image.Targets) == 0 {
			state := "not moved"
			if r.ReceiptVerdict != nil {
				state = r.ReceiptVerdict.title()
			}
			if image.SealedAt != "" {
				state = "sealed " + m.text(moment(image.SealedAt))
			}
			if rows++; rows > m.rows {
				left++
				continue
			}
			m.line("%s – | %s |", cells, state)
			continue
		}
		for _, t := range image.Targets {
			if rows++; rows > m.rows {
				left++
				continue
			}
			state := "**" + m.text(string(t.State)) + "**"
			if note := t.note(r.writesNothing()); note != "" {
				state += ": " + m.text(note)
			}
			m.line("%s %s | %s |", cells, m.code(t.Where()), state)
		}
	}
	m.more(left)
}

func (m *markdown) more(left int) {
	if left > 0 {
		m.line("")
		m.line("… and %d more; result.json lists them all.", left)
	}
}

func (m *markdown) approvers(a Approval) {
	line := approvalLine(a)
	if line == "" {
		return
	}
	m.line("")
	m.line("### Approval")
	m.line("")
	m.line("%s.", m.text(upperFirst(line)))
	left := 0
	for i, p := range a.Approvers {
		if i >= m.rows {
			left++
			continue
		}
		if i == 0 {
			m.line("")
		}
		s := "- **" + m.text(p.Name) + "**"
		if p.At != "" {
			s += ", " + m.text(moment(p.At))
		}
		if p.Comment != "" {
			s += ": “" + m.text(p.Comment) + "”"
		}
		m.line("%s", s)
	}
	m.more(left)
}

// pending lists the rules that wait for an approval.
func (m *markdown) pending(a Approval) {
	left, n := 0, 0
	for _, o := range a.Rules {
		if !o.Pending {
			continue
		}
		if n++; n > m.rows {
			left++
			continue
		}
		if n == 1 {
			m.line("")
			m.line("Waits for:")
			m.line("")
		}
		m.line("- %s (%s): %s", m.text(o.name()), m.code(string(o.Rule)), m.text(o.Detail))
	}
	m.more(left)
}

// rights lists what a plan found of the rights that the action needs.
func (m *markdown) rights(rights []Right) {
	left := 0
	for i, r := range rights {
		if i >= m.rows {
			left++
			continue
		}
		if i == 0 {
			m.line("")
			m.line("### Rights that the action needs")
			m.line("")
		}
		state := map[RightState]string{RightGranted: "granted", RightMissing: "NOT GRANTED", RightUnchecked: "not checked"}[r.State]
		s := fmt.Sprintf("- %s: **%s**", m.code(r.Registry), state)
		if r.Reason != "" {
			s += ": " + m.text(r.Reason)
		}
		m.line("%s", s)
	}
	m.more(left)
}

func (m *markdown) receipts(r Result) {
	lines := receiptLines(r)
	if len(lines) == 0 {
		return
	}
	m.line("")
	m.line("### Receipts")
	m.line("")
	for _, line := range lines[:min(len(lines), max(m.rows, 1))] {
		m.line("- %s", m.text(upperFirst(line)))
	}
	for _, g := range r.Signing[:min(len(r.Signing), m.rows)] {
		if (r.DryRun || r.Action == "plan") && g.Signatures > 0 {
			m.line("- %d signatures by %s", g.Signatures, m.code(g.Key))
		}
	}
}

func (m *markdown) next(r Result) {
	if len(r.Refusals)+len(r.Errors) == 0 {
		return
	}
	m.line("")
	m.line("### What to do next")
	m.line("")
	n, left := 0, 0
	entry := func(kind, subject, reason, remedy string) {
		if n++; n > m.rows {
			left++
			return
		}
		s := fmt.Sprintf("%d. %s", n, kind)
		if subject != "" {
			s += " – " + m.code(subject)
		}
		s += ": " + m.text(sentence(reason))
		if remedy != "" {
			s += " **" + m.text(remedy) + "**"
		}
		m.line("%s", s)
	}
	for _, f := range r.Refusals {
		name := m.code(string(f.Rule))
		if url := manual.URL(string(f.Rule)); url != "" {
			name = "[" + name + "](" + url + ")"
		}
		entry(name, f.Subject, f.Reason, f.Remedy)
	}
	for _, e := range withoutRepeats(r.Errors) {
		entry(m.text(e.Side.label()), e.Subject, e.Reason, e.Remedy)
	}
	m.more(left)
	if len(r.Refusals) > 0 && manual.Address() == "" {
		m.line("")
		m.line("`acrpromote help RULE` explains a rule.")
	}
}

func (m *markdown) warnings(r Result) {
	left := 0
	for i, w := range r.Warnings {
		if i >= m.rows {
			left++
			continue
		}
		if i == 0 {
			m.line("")
			m.line("### Warnings")
			m.line("")
		}
		m.line("- %s", m.text(w))
	}
	m.more(left)
}

// details writes the folded details. The blank lines let the text within the
// HTML be read as Markdown.
func (m *markdown) details(r Result) {
	m.line("")
	m.line("<details><summary>Details: rules, digests, run, network</summary>")
	m.line("")
	if len(r.Approval.Rules) > 0 {
		m.line("| Rule | State | Detail |")
		m.line("|---|---|---|")
		for _, o := range r.Approval.Rules[:min(len(r.Approval.Rules), m.rows)] {
			name := m.text(o.name())
			if !o.Met && o.Label != "" {
				name += " (" + m.code(string(o.Rule)) + ")"
			}
			m.line("| %s | %s | %s |", name, o.state(), m.text(o.Detail))
		}
		m.line("")
	}
	if r.ApprovalCode != "" && !namesCode(r) {
		m.line("- Approval code: %s", m.code(r.ApprovalCode))
	}
	if r.Plan != nil {
		m.line("- Code of the plan: %s, of %s", m.code(r.Plan.Code), m.code(r.Plan.Digest))
	}
	for _, image := range r.Images[:min(len(r.Images), m.rows)] {
		if image.Digest != "" {
			m.line("- %s is %s, %s", m.code(image.Source), m.code(image.Digest), markup.Size(image.Bytes))
		}
		if attached := image.summary(); attached != "" {
			m.line("- %s: %s", m.code(image.Source), m.text(attached))
		}
	}
	if place := r.Run.place(); place != "" {
		m.line("- %s, requested by %s, %s at %s", m.text(upperFirst(place)), m.text(r.Run.RequestedBy), m.code(r.Run.Branch), m.code(r.Run.Commit))
	}
	for _, i := range r.Identities[:min(len(r.Identities), m.rows)] {
		m.line("- Signs in to %s %s", m.code(i.Host), m.text(i.signedIn()))
	}
	for _, fact := range facts(r) {
		if fact[1] != "" {
			m.line("- %s: %s", fact[0], m.text(fact[1]))
		}
	}
	if len(r.Egress) > 0 {
		hosts := make([]string, 0, len(r.Egress))
		for _, h := range r.Egress[:min(len(r.Egress), m.rows)] {
			hosts = append(hosts, m.code(h))
		}
		m.line("- Hosts contacted: %s", strings.Join(hosts, ", "))
	}
	if len(r.Traffic) > 0 {
		m.line("")
		m.line("| Registry | Read | Write | Referrers | Token | Received | Sent | Retries | Waited | Held back |")
		m.line("|---|---|---|---|---|---|---|---|---|---|")
		for _, t := range r.Traffic[:min(len(r.Traffic), m.rows)] {
			m.line("| %s | %d | %d | %d | %d | %s | %s | %d | %d ms | %d ms |", m.code(t.Registry), t.Requests.Read, t.Requests.Write, t.Requests.Referrers, t.Requests.Token, markup.Size(t.BytesRead), markup.Size(t.BytesWritten), t.Retries, t.WaitedMs, t.HeldMs)
		}
	}
	if len(r.Budget) > 0 && r.writesNothing() {
		m.line("")
		for _, b := range r.Budget[:min(len(r.Budget), m.rows)] {
			m.line("- Requests: %s", m.text(b.sentence()))
		}
		m.more(max(len(r.Budget)-m.rows, 0))
	}
	m.line("")
	m.line("</details>")
}
