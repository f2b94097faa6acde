package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible makes text from outside fit for one line: line ends are shown, what
// controls or hides (escape sequences, bidirectional overrides, characters of
// no width) is shown by its number, and at most limit bytes of it are kept.
func visible(text string, limit int) string {
	var b strings.Builder
	text = strings.TrimSpace(text)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if i+size > limit {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "<%02X>", text[i])
		case r == '\r' && strings.HasPrefix(text[i+1:], "\n"):
		case r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029':
			b.WriteRune('⏎')
		case r == '\t' || unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		case r == '\ufe0e' || r == '\ufe0f': // chooses between two looks of a sign
		case !unicode.IsPrint(r) || unicode.Is(unicode.Variation_Selector, r):
			fmt.Fprintf(&b, "<U+%04X>", r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// What is shown of one value in a text for people. The document has it whole.
const (
	shortField = 300
	longField  = 1500
)
