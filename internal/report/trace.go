package report

import (
	"cmp"
	"fmt"
	"strings"

	"acrpromote/internal/sanitize"
	"acrpromote/internal/trace"
)

// basis is the width of the longest basis of a line.
const basis = len(trace.Registry)

// lives writes the lives of images: events by time, each with what it rests on, and
// the places.
func (t *text) lives(lives []trace.Life) {
	for _, l := range lives {
		t.line("")
		t.line(t.paint(bold, "Life of ") + sanitize.Visible(l.Image, longField))
		t.line("  " + sanitize.Visible(l.Digest, shortField))
		for _, e := range l.Events {
			t.fact(sanitize.Visible(string(e.Basis), 20), cmp.Or(moment(e.Time), "no time"), e.Words())
		}
		for _, p := range l.Places {
			t.fact(string(trace.Registry), sanitize.Visible(p.State, 20), placeWords(p))
		}
	}
}

// fact writes a line of a life: what it rests on, a time or a state, and words.
func (t *text) fact(on, head, words string) {
	first := fmt.Sprintf("  %-*s  %-20s  ", basis, on, head)
	for i, l := range wrap(sanitize.Visible(words, longField), max(t.width-len(first), 30)) {
		if i > 0 {
			first = strings.Repeat(" ", len(first))
		}
		t.line(first + l)
	}
}

func placeWords(p trace.Place) string {
	words := p.Name
	if len(p.Tags) > 0 {
		words += ", tagged " + strings.Join(p.Tags, ", ")
	}
	return words
}

func (m *markdown) lives(lives []trace.Life) {
	left := 0
	for i, l := range lives {
		if i >= m.rows {
			left++
			continue
		}
		m.line("")
		m.line("### Life of %s", m.code(l.Image))
		m.line("")
		m.line("| Basis | When | What |")
		m.line("|---|---|---|")
		for _, e := range l.Events[:min(len(l.Events), m.rows)] {
			m.line("| %s | %s | %s |", m.text(string(e.Basis)), m.text(moment(e.Time)), m.text(e.Words()))
		}
		for _, p := range l.Places[:min(len(l.Places), m.rows)] {
			m.line("| %s | %s | %s |", trace.Registry, m.text(p.State), m.text(placeWords(p)))
		}
		m.more(max(len(l.Events)-m.rows, 0) + max(len(l.Places)-m.rows, 0))
	}
	m.more(left)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
