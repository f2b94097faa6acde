package agent

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"acrpromote/internal/expression"
	"acrpromote/internal/levenshtein"
	"acrpromote/internal/ref"
)

// Limits of an input's value: the longest environment variable on Windows, so
// that a pipeline works the same on every agent.
const (
	longestValue = 32766
	mostEntries  = 1000
)

// Bool is an optional boolean.
type Bool struct{ Given, Value bool }

// Or returns the value, or otherwise if none was given.
func (b Bool) Or(otherwise bool) bool {
	if b.Given {
		return b.Value
	}
	return otherwise
}

// EnvDecode accepts true and false in any case.
func (b *Bool) EnvDecode(v string) (err error) {
	b.Value, err = parseBool(v)
	b.Given = err == nil
	return err
}

// CodeKind is the optional kind of the approval code: image or plan. Value is empty if
// no code is required.
type CodeKind struct {
	Given bool
	Value string
}

// EnvDecode accepts image, plan, and true and false in any case: true means image.
func (c *CodeKind) EnvDecode(v string) error {
	c.Given, c.Value = true, v
	switch {
	case strings.EqualFold(v, "true"):
		c.Value = "image"
	case strings.EqualFold(v, "false"):
		c.Value = ""
	}
	return nil
}

// Int is an optional number.
type Int struct {
	Given bool
	Value int
}

// Or returns the value, or otherwise if none was given.
func (i Int) Or(otherwise int) int {
	if i.Given {
		return i.Value
	}
	return otherwise
}

// EnvDecode accepts positive integers.
func (i *Int) EnvDecode(v string) (err error) {
	i.Value, err = parseCount(v)
	i.Given = err == nil
	return err
}

// Duration is an optional duration. Value is 0 if none was given.
type Duration struct {
	Given bool
	Value time.Duration
}

// EnvDecode accepts Go's durations, and days such as 3d.
func (d *Duration) EnvDecode(v string) (err error) {
	d.Value, err = parseDuration(v)
	d.Given = err == nil
	return err
}

// Regexp is an optional pattern; it is nil if none was given.
type Regexp struct{ *regexp.Regexp }

// EnvDecode accepts RE2 regular expressions.
func (r *Regexp) EnvDecode(v string) (err error) {
	r.Regexp, err = regexp.Compile(v)
	return err
}

// List is a list of non-empty entries.
type List []string

// EnvDecode splits at line feeds.
func (l *List) EnvDecode(v string) error { *l = splitLines(v); return nil }

// CommaList is a list whose entries cannot contain commas.
type CommaList []string

// EnvDecode splits at line feeds and commas.
func (l *CommaList) EnvDecode(v string) error {
	*l = splitLines(strings.ReplaceAll(v, ",", "\n"))
	return nil
}

// Number is a number that the agent claims. Anything but a positive number is 0,
// which matches no record of the server.
type Number int

// EnvDecode accepts decimal numbers.
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
		return 0, fmt.Errorf("%s is not a positive integer", quote(v))
	}
	return int(n), nil
}

func parseDuration(v string) (time.Duration, error) {
	invalid := fmt.Errorf("%s is not a positive duration", quote(v))
	if days, ok := strings.CutSuffix(v, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || strings.ContainsFunc(days, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
			return 0, invalid
		}
		ns := n * float64(24*time.Hour)
		if !(ns >= 1 && ns < math.MaxInt64) {
			return 0, invalid
		}
		return time.Duration(ns), nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return 0, invalid
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

// checkValue validates the value of an input. The error quotes no more of the
// value than quote does.
func checkValue(in Input, v string) error {
	if len(v) > longestValue {
		return fmt.Errorf("the value has %d bytes, more than %d", len(v), longestValue)
	}
	if !utf8.ValidString(v) {
		return fmt.Errorf("the value is not valid UTF-8")
	}
	if bad := strings.IndexFunc(v, func(r rune) bool {
		return unicode.IsControl(r) && !(in.isList() && (r == '\n' || r == '\r' || r == '\t'))
	}); bad >= 0 {
		return fmt.Errorf("the value contains a line break or another control character")
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
		if slices.Contains(in.Picks, v) || in.isSwitch() && in.isSwitchValue(v) {
			return nil
		}
		return fmt.Errorf("%s is not one of %s", quote(v), strings.Join(in.Picks, ", "))
	case Pattern:
		if _, e := regexp.Compile(v); e != nil {
			err = fmt.Errorf("%s is not a valid RE2 regular expression: %s", quote(v), strings.TrimPrefix(e.Error(), "error parsing regexp: "))
		}
	case Lines, DockerLines:
		if n := len(splitLines(v)); n > mostEntries {
			err = fmt.Errorf("the list has %d entries, more than %d", n, mostEntries)
		}
	case Text:
		if in.Name == "digest" && !ref.IsDigest(v) {
			err = fmt.Errorf("%s is not a valid digest: want sha256: followed by 64 lower-case hexadecimal digits", quote(v))
		}
	}
	return err
}

// expressions returns what Azure Pipelines did not replace in a value.
func (in Input) expressions(v string) []expression.Expression {
	if in.Type == Pattern {
		return expression.FindInPattern(v)
	}
	return expression.Find(v)
}

// correction returns how to correct an invalid value.
func (in Input) correction(v string) string {
	switch in.Type {
	case Boolean:
		return "Write true or false, or leave it empty."
	case Count:
		return "Write an integer of at least 1."
	case Span:
		return "Write it as 72h, 90m or 3d."
	case Pick:
		return suggestion(v, in.Picks, "Use one of these, or leave it empty.")
	case Pattern:
		return "See https://github.com/google/re2/wiki/Syntax."
	}
	return "Correct the value, or leave it empty."
}

// suggestion suggests the candidate that is nearest to a mistyped name. If none
// is near, it returns otherwise.
func suggestion(name string, candidates []string, otherwise string) string {
	if near, ok := levenshtein.Nearest(name, candidates); ok {
		return fmt.Sprintf("Did you mean %s?", near)
	}
	return otherwise
}

// quote quotes an outside value, shortened if it is long. Only what is not
// printable, and quotes, are escaped: the backslashes of a pattern stay as they
// were written.
func quote(v string) string {
	const shown = 80
	if len(v) > shown {
		cut := shown
		for cut > 0 && !utf8.RuneStart(v[cut]) {
			cut--
		}
		v = v[:cut] + "…"
	}
	if utf8.ValidString(v) && !strings.ContainsFunc(v, func(r rune) bool { return r == '"' || !unicode.IsPrint(r) }) {
		return `"` + v + `"`
	}
	return strconv.Quote(v)
}
