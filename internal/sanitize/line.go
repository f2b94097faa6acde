// Package sanitize makes text from outside fit to be shown. It is pure.
package sanitize

import (
	"strings"
	"unicode"
)

// lineLimit bounds, in runes, what Line keeps.
const lineLimit = 300

// Line makes text from outside fit for a sentence: one line, without markup,
// of at most 300 runes.
func Line(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, "?") {
		if n++; n > lineLimit {
			b.WriteString("…")
			break
		}
		if unicode.IsControl(r) || r == '<' || r == '>' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
