package agent

import "strings"

// Problem is a mistake in the configuration. Subject is the input, flag or
// variable; Reason is a clause, and Remedy a sentence or empty.
type Problem struct {
	Subject, Reason, Remedy string
}

// Misuse is the error for an invalid configuration, with all its mistakes.
type Misuse struct{ Problems []Problem }

func (m *Misuse) Error() string {
	lines := make([]string, len(m.Problems))
	for i, p := range m.Problems {
		lines[i] = p.Reason
		if p.Remedy != "" {
			lines[i] += ". " + p.Remedy
		}
	}
	return strings.Join(lines, "\n")
}

func (m *Misuse) add(subject, reason, remedy string) {
	m.Problems = append(m.Problems, Problem{Subject: subject, Reason: reason, Remedy: remedy})
}
