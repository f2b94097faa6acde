package agent

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longestLine bounds one line of the log, in bytes of what was to be said.
const longestLine = 16 << 10

// Harmless makes text from outside fit for one line of the agent's log.
//
// The agent finds a logging command anywhere in a line, and a bare CR ends a
// line too; it compares as .NET does, where characters that show nothing may
// count for nothing. So every pair of number signs is parted, whatever follows;
// line ends are shown as ⏎; and what controls or hides (control and format
// characters, invalid UTF-8) is shown by its number.
func Harmless(text string) string {
	return harmless(text, func(string) int { return 0 })
}

// harmless keeps what keep says is the program's own: the number of bytes at
// the beginning of its argument that are to pass unchanged.
func harmless(text string, keep func(string) int) string {
	var b strings.Builder
	rest := 0
	if len(text) > longestLine {
		cut := longestLine
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		rest = len(text) - cut
		text = text[:cut]
	}
	sign := false // the last character that shows was '#'
	for len(text) > 0 {
		if n := keep(text); n > 0 {
			b.WriteString(text[:n])
			text = text[n:]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == '#':
			if sign {
				b.WriteByte(' ')
			}
			b.WriteByte('#')
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "<%02X>", text[0])
		case r == '\r' && strings.HasPrefix(text[1:], "\n"):
			// shown with the line feed
		case r == '\n', r == '\r', r == '\u2028', r == '\u2029', r == '\u0085', r == '\v', r == '\f':
			b.WriteRune('⏎')
		case r == '\ufe0e', r == '\ufe0f':
			// Chooses between two looks of a sign, and is dropped.
			text = text[size:]
			continue
		case r == '\t' || unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		case hides(r):
			fmt.Fprintf(&b, "<U+%04X>", r)
		default:
			b.WriteRune(r)
		}
		sign = r == '#'
		text = text[size:]
	}
	if rest > 0 {
		fmt.Fprintf(&b, "… (%d more bytes)", rest)
	}
	return b.String()
}

// hides tells of characters that control the reader or that nobody sees.
func hides(r rune) bool {
	return unicode.IsControl(r) || !unicode.IsPrint(r) || unicode.Is(unicode.Variation_Selector, r) || r == '\u034f' || r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0'
}
