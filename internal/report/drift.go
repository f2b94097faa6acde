package report

import (
	"fmt"
	"strings"

	"acrpromote/internal/sanitize"
)

// driftLines returns a line for each kind of drift: the first place, and how many more
// there are. The errors have them all.
func driftLines(r Result) (lines []string) {
	counts := map[string]int{}
	for _, f := range r.Drift {
		counts[string(f.Kind)]++
	}
	for _, f := range r.Drift {
		n := counts[string(f.Kind)]
		if n == 0 {
			continue
		}
		counts[string(f.Kind)] = 0
		line := fmt.Sprintf("%s: %s", f.Kind, f.Subject())
		if n > 1 {
			line += fmt.Sprintf(" and %d more", n-1)
		}
		lines = append(lines, line)
	}
	return lines
}

// driftHeadline says how an audit of a whole flow ended.
func driftHeadline(r Result, arrived, total int) string {
	if len(r.Drift) == 0 && len(r.Errors) == 0 {
		return fmt.Sprintf("no drift in %s at %s", counted(len(r.Images), "image"), registries(r.Images))
	}
	return fmt.Sprintf("%s of drift; %d of %s complete", counted(len(r.Drift), "finding"), arrived, targets(total))
}

func (t *text) drift(r Result) {
	for i, line := range driftLines(r) {
		if i == 0 {
			t.line("")
			t.line(t.paint(bold, "Drift"))
		}
		for j, l := range wrap(sanitize.Visible(line, longField), t.width-4) {
			t.line(strings.Repeat(" ", 2+min(j, 1)*2) + l)
		}
	}
}

func (m *markdown) drift(r Result) {
	for i, line := range driftLines(r) {
		if i == 0 {
			m.line("")
			m.line("### Drift")
			m.line("")
		}
		m.line("- %s", m.text(line))
	}
}
