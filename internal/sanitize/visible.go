package sanitize

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hidden reports whether a character controls its reader or is not seen:
// control and format characters, what no Unicode version assigns, variation
// selectors, and letters that are blank.
func Hidden(r rune) bool {
	switch r {
	case '\u034f', '\u115f', '\u1160', '\u3164', '\uffa0':
		return true
	}
	return !unicode.IsPrint(r) || unicode.Is(unicode.Variation_Selector, r)
}

// Visible makes one line of text from outside, of at most limit bytes of it and
// then an ellipsis, in which everything shows: see Show.
func Visible(text string, limit int) string {
	var b strings.Builder
	text = strings.TrimSpace(text)
	for i := 0; i < len(text); {
		shown, size := Show(text[i:])
		if i+size > limit {
			b.WriteString("…")
			break
		}
		b.WriteString(shown)
		i += size
	}
	return b.String()
}

// Show returns how the first character of a text is shown in one line, and how
// many bytes of the text it takes: a line end as ⏎, any blank as a space, what
// is hidden by its number (<U+202E>), a byte that is not UTF-8 as well (<FF>).
// Selectors of a text or emoji style have no meaning of their own and are left
// out.
func Show(text string) (shown string, size int) {
	r, size := utf8.DecodeRuneInString(text)
	switch {
	case r == utf8.RuneError && size == 1:
		return fmt.Sprintf("<%02X>", text[0]), size
	case strings.HasPrefix(text, "\r\n"):
		return "⏎", 2
	case r == '\n', r == '\r', r == '\v', r == '\f', r == '\u0085', r == '\u2028', r == '\u2029':
		return "⏎", size
	case r == '\ufe0e', r == '\ufe0f':
		return "", size
	case r == '\t', unicode.Is(unicode.Zs, r):
		return " ", size
	case Hidden(r):
		return fmt.Sprintf("<U+%04X>", r), size
	}
	return text[:size], size
}
