package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"acrpromote/internal/levenshtein"
	"acrpromote/internal/sorting"
)

// Problem is a mistake in a file, with its position and what to do about it.
// Line and Column count from 1, columns in characters. Key is the place in a flow
// file, such as flows.released.to[1], or empty if it is the file itself. Reason is
// a clause, and Remedy a sentence, or empty.
type Problem struct {
	Line, Column   int
	Key            string
	Reason, Remedy string
}

// Explanation returns the reason and the remedy in one text.
func (p Problem) Explanation() string { return mistake{p.Reason, p.Remedy}.Error() }

func (p Problem) String() string {
	return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Explanation())
}

// Invalid is the error for a file with mistakes: the first twenty problems by
// position, and the number of further ones.
type Invalid struct {
	Name     string
	Problems []Problem
	More     int

	all []Problem
}

// All returns the problems that were kept, and the number of further ones.
func (e *Invalid) All() ([]Problem, int) {
	return e.all, e.More - (len(e.all) - len(e.Problems))
}

// Error returns one problem per line, each as NAME:LINE:COLUMN: REASON. REMEDY
func (e *Invalid) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.Name + ":" + p.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.More)
	}
	return b.String()
}

const (
	maxReported = 20
	// maxKept limits the memory for a file that consists of mistakes.
	maxKept = 2000
)

// problems collects the problems of one file.
type problems struct {
	found []Problem
	lost  int
}

func (p *problems) add(line, column int, reason, remedy string) {
	p.addAt("", line, column, reason, remedy)
}

// addAt adds a problem at a path.
func (p *problems) addAt(path string, line, column int, reason, remedy string) {
	if len(p.found) >= maxKept {
		p.lost++
		return
	}
	p.found = append(p.found, Problem{line, column, keyPath(path), reason, remedy})
}

// keyPath returns a path as people write it: /flows/released/to/1 is
// flows.released.to[1].
func keyPath(path string) string {
	var b strings.Builder
	parent := ""
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		// Only in these mappings can a key be a number.
		named := parent == "registries" || parent == "flows" || parent == "teams"
		switch _, err := strconv.Atoi(name); {
		case err == nil && !named:
			b.WriteString("[" + name + "]")
		case parent == "":
			b.WriteString(name)
		default:
			b.WriteString("." + name)
		}
		parent = name
	}
	return b.String()
}

// sorted returns the problems by position, each once.
func (p *problems) sorted() []Problem {
	sorting.By(p.found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Remedy, b.Remedy))
	})
	p.found = slices.Compact(p.found)
	return p.found
}

// err returns an *Invalid, or nil if there are no problems.
func (p *problems) err(name string) error {
	found := p.sorted()
	if len(found) == 0 {
		return nil
	}
	shown := min(len(found), maxReported)
	return &Invalid{Name: name, Problems: found[:shown], More: len(found) - shown + p.lost, all: found}
}

// quote quotes outside text, shortened if it is long. Only what is not printable,
// and quotes, are escaped: the backslashes of a pattern stay as they were written.
func quote(s string) string {
	const shown = 60
	if len(s) > shown {
		cut := shown
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r == '"' || !unicode.IsPrint(r) }) {
		return `"` + s + `"`
	}
	return strconv.Quote(s)
}

// mistake is an error about a value: the reason, a clause, and the remedy, a
// sentence or empty.
type mistake struct{ reason, remedy string }

func (m mistake) Error() string {
	if m.remedy == "" {
		return m.reason
	}
	return m.reason + ". " + m.remedy
}

// Explanation returns the reason and the remedy.
func (m mistake) Explanation() (reason, remedy string) { return m.reason, m.remedy }

// unknown returns the mistake that a name is not among the valid ones. Its
// remedy suggests the nearest, or lists them.
func unknown(what, name string, valid []string) mistake {
	m := mistake{reason: fmt.Sprintf("unknown %s %s", what, quote(name))}
	switch near, ok := levenshtein.Nearest(name, valid); {
	case ok:
		m.remedy = fmt.Sprintf("Did you mean %s?", near)
	case len(valid) > 0:
		m.remedy = fmt.Sprintf("Use one of: %s.", listed(valid))
	}
	return m
}
