package agent

import "strings"

// Problem is a mistake in the configuration. Subject is the input, flag or
// variable; Reason is a clause, and Remedy a sentence or empty.
type Problem struct {
	Subject, Reason, Remedy string
}

// UsageError is the error for an invalid configuration, with all its mistakes.
type UsageError struct{ Problems []Problem }

func (e *UsageError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Reason
		if p.Remedy != "" {
			lines[i] += ". " + p.Remedy
		}
	}
	return strings.Join(lines, "\n")
}

// OrNil returns nil if there is no mistake.
func (e *UsageError) OrNil() error {
	if len(e.Problems) == 0 {
		return nil
	}
	return e
}

func (e *UsageError) add(subject, reason, remedy string) {
	e.Problems = append(e.Problems, Problem{Subject: subject, Reason: reason, Remedy: remedy})
}
