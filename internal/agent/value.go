package agent

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"acrpromote/internal/levenshtein"
	"acrpromote/internal/ref"
)

// What an input's value may measure: the longest environment variable that
// Windows knows, so that a pipeline means the same on every agent.
const (
	longestValue = 32766
	mostEntries  = 1000
)

// Bool is a boolean that may not have been given.
type Bool struct{ Given, Value bool }

// Or is the value, or what holds where none was given.
func (b Bool) Or(otherwise bool) bool {
	if b.Given {
		return b.Value
	}
	return otherwise
}

// EnvDecode takes true and false in any case.
func (b *Bool) EnvDecode(v string) (err error) {
	b.Value, err = parseBool(v)
	b.Given = err == nil
	return err
}

// Int is a number that may not have been given.
type Int struct {
	Given bool
	Value int
}

// Or is the value, or what holds where none was given.
func (i Int) Or(otherwise int) int {
	if i.Given {
		return i.Value
	}
	return otherwise
}

// EnvDecode takes integers from 1 up.
func (i *Int) EnvDecode(v string) (err error) {
	i.Value, err = parseCount(v)
	i.Given = err == nil
	return err
}

// Duration is a span of time that may not have been given; Value is then 0.
type Duration struct {
	Given bool
	Value time.Duration
}

// EnvDecode takes Go's durations, and days as 3d.
func (d *Duration) EnvDecode(v string) (err error) {
	d.Value, err = parseDuration(v)
	d.Given = err == nil
	return err
}

// Regexp is a pattern that may not have been given; it is then nil inside.
type Regexp struct{ *regexp.Regexp }

// EnvDecode takes RE2.
func (r *Regexp) EnvDecode(v string) (err error) {
	r.Regexp, err = regexp.Compile(v)
	return err
}

// List is a list of entries, none of them empty.
type List []string

// EnvDecode splits at line feeds.
func (l *List) EnvDecode(v string) error { *l = splitLines(v); return nil }

// CommaList is a list whose entries cannot hold a comma.
type CommaList []string

// EnvDecode splits at line feeds and commas.
func (l *CommaList) EnvDecode(v string) error {
	*l = splitLines(strings.ReplaceAll(v, ",", "\n"))
	return nil
}

// Number is a number that the agent claims; what is no positive number is 0,
// which no record of the server bears.
type Number int

// EnvDecode takes decimal numbers.
func (n *Number) EnvDecode(v string) error {
	if i, err := strconv.ParseInt(v, 10, 32); err == nil && i > 0 {
		*n = Number(i)
	}
	return nil
}

func parseBool(v string) (bool, error) {
	switch {
	case strings.EqualFold(v, "true"):
		return true, nil
	case strings.EqualFold(v, "false"):
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", quote(v))
}

func parseCount(v string) (int, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 1 || v[0] == '+' {
		return 0, fmt.Errorf("%s is no integer from 1 up", quote(v))
	}
	return int(n), nil
}

func parseDuration(v string) (time.Duration, error) {
	wrong := fmt.Errorf("%s is no duration above zero, such as 90m, 72h or 3d", quote(v))
	if days, ok := strings.CutSuffix(v, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || strings.ContainsFunc(days, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
			return 0, wrong
		}
		ns := n * float64(24*time.Hour)
		if !(ns >= 1 && ns < math.MaxInt64) {
			return 0, wrong
		}
		return time.Duration(ns), nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return 0, wrong
	}
	return d, nil
}

func splitLines(v string) []string {
	var entries []string
	for line := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(line); line != "" {
			entries = append(entries, line)
		}
	}
	return entries
}

// checkValue tells what is wrong with a value that was given, as the end of a
// sentence that begins with the input's name. It never echoes more than quote
// does.
func checkValue(in Input, v string) error {
	if len(v) > longestValue {
		return fmt.Errorf("is %d bytes long; at most %d are taken", len(v), longestValue)
	}
	if !utf8.ValidString(v) {
		return fmt.Errorf("is no valid UTF-8")
	}
	if bad := strings.IndexFunc(v, func(r rune) bool {
		return unicode.IsControl(r) && !(in.isList() && (r == '\n' || r == '\r' || r == '\t'))
	}); bad >= 0 {
		return fmt.Errorf("holds a line break or another control character")
	}
	var err error
	switch in.Type {
	case Boolean:
		_, err = parseBool(v)
	case Count:
		_, err = parseCount(v)
	case Span:
		_, err = parseDuration(v)
	case Pick:
		for _, p := range in.Picks {
			if v == p {
				return nil
			}
		}
		return fmt.Errorf("%s is none of %s", quote(v), strings.Join(in.Picks, ", "))
	case Pattern:
		if _, e := regexp.Compile(v); e != nil {
			err = fmt.Errorf("%s is no regular expression as RE2 knows them: %s", quote(v), strings.TrimPrefix(e.Error(), "error parsing regexp: "))
		}
	case Lines, DockerLines:
		if n := len(splitLines(v)); n > mostEntries {
			err = fmt.Errorf("has %d entries; at most %d are taken", n, mostEntries)
		}
	case Text:
		if in.Name == "digest" && !ref.IsDigest(v) {
			err = fmt.Errorf("%s is no digest: sha256: and 64 hexadecimal digits in lower case", quote(v))
		}
	}
	return err
}

// correction says how a value that is wrong should have been written.
func (in Input) correction(v string) string {
	switch in.Type {
	case Boolean:
		return "Write true or false, or leave it empty."
	case Count:
		return "Write a whole number, at least 1."
	case Span:
		return "Write it as 72h, 90m or 3d, above zero."
	case Pick:
		return suggestion(v, in.Picks, "Write one of these, or leave it empty.")
	case Pattern:
		return "Write a regular expression as RE2 knows them: https://github.com/google/re2/wiki/Syntax."
	}
	return "Correct the value, or leave it empty."
}

// suggestion proposes the candidate that is near a mistyped name; where none
// is, it returns otherwise.
func suggestion(name string, candidates []string, otherwise string) string {
	if near, ok := levenshtein.Nearest(name, candidates); ok {
		return fmt.Sprintf("Did you mean %s?", near)
	}
	return otherwise
}

// quote shows the beginning of a value from outside.
func quote(v string) string {
	const shown = 80
	if len(v) > shown {
		cut := shown
		for cut > 0 && !utf8.RuneStart(v[cut]) {
			cut--
		}
		v = v[:cut] + "…"
	}
	return strconv.Quote(v)
}
