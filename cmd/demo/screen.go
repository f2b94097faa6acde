package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// columns is the width of all output.
const columns = 100

// screen is what a person reads.
type screen struct {
	out     io.Writer
	verbose bool
	colour  bool
	step    int
}

func newScreen(out io.Writer, verbose bool) *screen {
	return &screen{out: out, verbose: verbose, colour: takesColour(out)}
}

// takesColour: a terminal that understands it, and a person who wants it.
func takesColour(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	if runtime.GOOS == "windows" && os.Getenv("WT_SESSION") == "" && os.Getenv("TERM") == "" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	amber = "33"
)

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) line(text string) { fmt.Fprintln(s.out, text) }

// heading opens a step.
func (s *screen) heading(title string) {
	s.step++
	s.line(s.paint(bold, fmt.Sprintf("%2d  %s", s.step, title)))
}

// says is one thing that happened, under its step.
func (s *screen) says(text string) { s.entry("", "", text, 3) }

// row is a line of a table, as it is.
func (s *screen) row(text string) { s.line("    " + text) }

// refused tells a refusal: the rule or the answer, and the refuser's own words.
func (s *screen) refused(rule, reason string) { s.entry(amber, "refused "+rule+":", reason, 2) }

func (s *screen) entry(colour, lead, text string, limit int) {
	for i, l := range wrap(lead+" "+text, columns-4, limit) {
		if rest, ok := strings.CutPrefix(l, lead); ok && i == 0 && lead != "" {
			l = s.paint(colour, lead) + rest
		}
		s.line("    " + l)
	}
}

// program shows a step's whole output, if -v is set.
func (s *screen) program(output []byte) {
	if s.verbose {
		s.quote(output)
	}
}

func (s *screen) quote(output []byte) {
	for l := range bytes.Lines(output) {
		s.line(s.paint(dim, "    | "+strings.TrimRight(string(l), "\r\n")))
	}
}

// waiting and waited tell of what takes long enough to wonder about.
func (s *screen) waiting(text string) { s.line(s.paint(dim, text)) }

func (s *screen) waited(took time.Duration) {
	if took > 10*time.Second {
		s.line(s.paint(dim, fmt.Sprintf("built in %s; Go's build cache makes that short the next time", seconds(took))))
	}
}

func (s *screen) check(c check) {
	mark := s.paint(green, "✓")
	if c.failure != "" {
		mark = s.paint(red, "✗")
	}
	s.line(fmt.Sprintf(" %s  %s", mark, c.claim))
	if c.failure != "" {
		s.entry("", "", c.failure, 6)
	}
}

// wrap breaks text into lines of at most width characters; what is longer than
// limit lines ends in an ellipsis. A word is never broken.
func wrap(text string, width, limit int) []string {
	var lines []string
	var current string
	for word := range strings.FieldsSeq(text) {
		switch {
		case current == "":
			current = word
		case utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word) <= width:
			current += " " + word
		case len(lines)+1 == limit:
			return append(lines, strings.TrimRight(current, ",;:.")+" …")
		default:
			lines = append(lines, current)
			current = word
		}
	}
	return append(lines, current)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// shortDigest is enough of a digest to tell it from others by eye.
func shortDigest(digest string) string {
	if len(digest) > 19 {
		return digest[:19] + "…"
	}
	return digest
}
