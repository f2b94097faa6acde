package agent

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longestLine limits one line of the log, in bytes before escaping.
const longestLine = 16 << 10

// Harmless escapes outside text for one line of the agent's log.
//
// The agent finds logging commands anywhere in a line, and a lone CR ends a
// line. It compares text as .NET does, which may ignore invisible characters.
// Therefore every pair of number signs is separated, whatever follows; line ends
// become ⏎; and control characters, invisible characters and invalid UTF-8
// become their code.
func Harmless(text string) string {
	return harmless(text, func(string) int { return 0 })
}

// harmless escapes text, except the program's own sequences: keep returns the
// number of bytes at the beginning of its argument that stay unchanged.
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
	sign := false // the last visible character was '#'
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
			// Shown with the line feed.
		case r == '\n', r == '\r', r == '\u2028', r == '\u2029', r == '\u0085', r == '\v', r == '\f':
			b.WriteRune('⏎')
		case r == '\ufe0e', r == '\ufe0f':
			// Variation selectors of symbols are dropped.
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

// hides reports whether a character is a control character or invisible.
func hides(r rune) bool {
	return unicode.IsControl(r) || !unicode.IsPrint(r) || unicode.Is(unicode.Variation_Selector, r) || r == '\u034f' || r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0'
}
