package agent

import "strings"

// Problem is one thing about the configuration that cannot be understood or
// obeyed. Subject is the input, flag or variable.
type Problem struct {
	Subject, Reason, Remedy string
}

// Misuse lists everything that is wrong with a configuration.
type Misuse struct{ Problems []Problem }

func (m *Misuse) Error() string {
	sentences := make([]string, len(m.Problems))
	for i, p := range m.Problems {
		sentences[i] = p.Reason
		if p.Remedy != "" {
			sentences[i] += " " + p.Remedy
		}
	}
	return strings.Join(sentences, "\n")
}

func (m *Misuse) add(subject, reason, remedy string) {
	m.Problems = append(m.Problems, Problem{Subject: subject, Reason: reason, Remedy: remedy})
}
