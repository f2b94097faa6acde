package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"acrpromote/internal/levenshtein"
)

// Problem is one thing that is wrong, where it stands, and what to do. Line
// and Column count from 1, columns in characters.
type Problem struct {
	Line, Column   int
	Reason, Remedy string
}

func (p Problem) String() string {
	s := fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Reason)
	if p.Remedy != "" {
		s += " " + p.Remedy
	}
	return s
}

// Invalid is everything that is wrong with a text: the first twenty problems
// by position, and how many more there are.
type Invalid struct {
	Name     string
	Problems []Problem
	More     int
}

// Error writes one problem a line, as NAME:LINE:COLUMN: and sentences.
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
	mostTold = 20
	// mostKept bounds the memory that a text of nothing but mistakes takes.
	mostKept = 2000
)

// problems collects what is wrong with one text.
type problems struct {
	found []Problem
	lost  int
}

func (p *problems) add(line, column int, reason, remedy string) {
	if len(p.found) >= mostKept {
		p.lost++
		return
	}
	p.found = append(p.found, Problem{line, column, reason, remedy})
}

// sorted orders by position, and drops what is told twice.
func (p *problems) sorted() []Problem {
	slices.SortFunc(p.found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Remedy, b.Remedy))
	})
	p.found = slices.Compact(p.found)
	return p.found
}

// err is nil if nothing is wrong.
func (p *problems) err(name string) error {
	found := p.sorted()
	if len(found) == 0 {
		return nil
	}
	told := min(len(found), mostTold)
	return &Invalid{Name: name, Problems: found[:told], More: len(found) - told + p.lost}
}

// quote shows the beginning of a text from outside.
func quote(s string) string {
	const shown = 60
	if len(s) > shown {
		cut := shown
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strconv.Quote(s)
}

// mistake is a sentence about a value, and what to write instead.
type mistake struct{ reason, remedy string }

func (m mistake) Error() string { return strings.TrimSuffix(m.reason+" "+m.remedy, " ") }

// unknown says that a name is none of those there are, and which was meant.
func unknown(what, name string, valid []string) mistake {
	m := mistake{reason: fmt.Sprintf("There is no %s %s.", what, quote(name))}
	switch near, ok := levenshtein.Nearest(name, valid); {
	case ok:
		m.remedy = fmt.Sprintf("Did you mean %s?", near)
	case len(valid) > 0:
		m.remedy = fmt.Sprintf("There are: %s.", listed(valid))
	}
	return m
}
