// Package sanitize makes text from outside fit to be shown: bounded, on one
// line, without characters that control a terminal or hide in a text, and
// without secrets. It is pure.
package sanitize

import (
	"strings"
	"unicode"
)

const (
	// sentence is how much of a text from outside goes into a sentence, in
	// characters.
	sentence = 300
	// longestText is how much of a text is looked at, in bytes, and
	// longestSecret what a secret takes of it at most.
	longestText   = 256 << 10
	longestSecret = 64 << 10
)

// Line is Bounded for what stands in a sentence: at most 300 characters.
func Line(text string) string { return Bounded(text, sentence) }

// Bounded makes one line of text from outside, of at most limit characters and
// then an ellipsis. Line ends, control characters, angle brackets and runs of
// blanks become one blank; characters that nobody sees are left out, among them
// those that turn the direction of writing; what has the form of a credential
// is replaced by ***.
func Bounded(text string, limit int) string { return (*Secrets)(nil).Bounded(text, limit) }

// Line is the function of this name, without the secrets too.
func (s *Secrets) Line(text string) string { return s.Bounded(text, sentence) }

// Bounded is the function of this name, without the secrets too.
//
// Secrets are replaced before the text is cut, or half of one would stay. They
// are looked for twice: as they are, and with the characters between theirs
// gone that the line leaves out.
func (s *Secrets) Bounded(text string, limit int) string {
	long := len(text) > longestText
	if long {
		text = text[:longestText]
	}
	text = s.withoutValues(strings.ToValidUTF8(text, "?"))
	text = line(text)
	text = withoutCredentials(s.withoutLines(s.withoutValues(text)))
	if long {
		// A secret may have been cut at the end.
		text = strings.ToValidUTF8(text[:max(0, len(text)-longestSecret)], "")
	}
	n := 0
	for i := range text {
		if n == limit {
			return strings.TrimSpace(text[:i]) + "…"
		}
		n++
	}
	if long {
		return strings.TrimSpace(text) + "…"
	}
	return text
}

// line makes one line of a text.
func line(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	blank := false
	for _, r := range strings.ToValidUTF8(text, "?") {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r), r == '<', r == '>':
			blank = true
		case Hidden(r):
		default:
			if blank && b.Len() > 0 {
				b.WriteByte(' ')
			}
			blank = false
			b.WriteRune(r)
		}
	}
	return b.String()
}
