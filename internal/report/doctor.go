package report

import (
	"fmt"
	"strings"

	"acrpromote/internal/doctor"
	"acrpromote/internal/sanitize"
)

// Doctor is what doctor found besides its findings.
type Doctor struct {
	// FailOn is the severity from which on findings refuse.
	FailOn doctor.Severity `json:"failOn"`
	// Registries are the hosts of the registries that were judged.
	Registries []string `json:"registries"`
	// Accepted has the rights that the flow file expects.
	Accepted []doctor.Accepted `json:"accepted"`
	// Outbound are the hosts that agents have to reach, Inbound says from where
	// protected registries can be reached, and Commands are what narrows both.
	Outbound []string `json:"outbound"`
	Inbound  []string `json:"inbound"`
	Commands []string `json:"commands"`
}

// severities counts findings by severity, the most severe first.
func severities(findings []doctor.Finding) string {
	var parts []string
	for _, s := range []doctor.Severity{doctor.High, doctor.Unknown, doctor.Medium, doctor.Low} {
		n := 0
		for _, f := range findings {
			if f.Severity == s {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// findings writes what doctor found: each with its place, what it allows, and what
// mends it.
func (t *text) findings(r Result) {
	if len(r.Findings) > 0 {
		t.line("")
		t.line(t.paint(bold, "Findings") + "  " + severities(r.Findings))
	}
	for _, f := range r.Findings {
		colour := yellow
		if f.Severity == doctor.High || f.Severity == doctor.Unknown {
			colour = red
		}
		t.line("")
		t.line("  " + t.paint(colour, fmt.Sprintf("%-7s", sanitize.Visible(string(f.Severity), 20))) + "  " + sanitize.Visible(f.Where, longField) + "  " + t.paint(faint, sanitize.Visible(f.ID, 40)))
		for _, l := range wrap(sanitize.Visible(f.Allows, longField), t.width-11) {
			t.line("           " + l)
		}
		for i, l := range wrap(sanitize.Visible(f.Mend, longField), t.width-11) {
			t.line([2]string{"         → ", "           "}[min(i, 1)] + l)
		}
	}
	if r.Doctor == nil {
		return
	}
	if n := len(r.Doctor.Accepted); n > 0 {
		t.line("")
		t.line(t.paint(bold, "Expected") + "  " + counted(n, "right") + " that the flow file expects")
		for _, a := range r.Doctor.Accepted {
			t.entry(accepted(a))
		}
	}
	for i, list := range [][]string{r.Doctor.Outbound, r.Doctor.Inbound, r.Doctor.Commands} {
		if len(list) == 0 {
			continue
		}
		t.line("")
		t.line(t.paint(bold, advice[i]))
		for _, l := range list {
			t.entry(l)
		}
	}
}

// entry writes an entry of a list.
func (t *text) entry(s string) {
	for i, l := range wrap(sanitize.Visible(s, longField), t.width-4) {
		t.line(strings.Repeat(" ", 2+min(i, 1)*2) + l)
	}
}

// advice has the titles of the lists about networks.
var advice = [3]string{"Hosts that agents have to reach", "From where protected registries can be reached", "Commands that permit what agents need"}

func accepted(a doctor.Accepted) string {
	return fmt.Sprintf("%s of %s: %s, %s on %s", a.As, a.Registry, a.Principal, a.Role, a.Scope)
}

func (m *markdown) findings(r Result) {
	if len(r.Findings) > 0 {
		m.line("")
		m.line("| Severity | Where | What it allows | What mends it |")
		m.line("|---|---|---|---|")
		for _, f := range r.Findings[:min(len(r.Findings), m.rows)] {
			m.line("| %s | %s | %s | %s |", m.text(string(f.Severity)), m.text(f.Where), m.text(f.Allows), m.code(f.Mend))
		}
		m.more(max(len(r.Findings)-m.rows, 0))
	}
	if r.Doctor == nil {
		return
	}
	if n := len(r.Doctor.Accepted); n > 0 {
		m.line("")
		m.line("### Expected by the flow file")
		m.line("")
		for _, a := range r.Doctor.Accepted[:min(n, m.rows)] {
			m.line("- %s", m.text(accepted(a)))
		}
		m.more(max(n-m.rows, 0))
	}
	for i, list := range [][]string{r.Doctor.Outbound, r.Doctor.Inbound, r.Doctor.Commands} {
		if len(list) == 0 {
			continue
		}
		m.line("")
		m.line("### %s", advice[i])
		m.line("")
		for _, l := range list[:min(len(list), m.rows)] {
			m.line("- %s", m.code(l))
		}
		m.more(max(len(list)-m.rows, 0))
	}
}
