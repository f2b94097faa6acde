package agent

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"acrpromote/internal/sanitize"
)

// longestLine limits one line of the log, in bytes before escaping.
const longestLine = 16 << 10

// Escape escapes outside text for one line of the agent's log.
//
// The agent finds logging commands anywhere in a line, and a lone CR ends a
// line. It compares text as .NET does, which may ignore invisible characters.
// Therefore every pair of number signs is separated, whatever follows; line ends
// become ⏎; and control characters, invisible characters and invalid UTF-8
// become their code.
func Escape(text string) string {
	return escape(text, func(string) int { return 0 })
}

// escape escapes text, except the program's own sequences: keep returns the
// number of bytes at the beginning of its argument that stay unchanged.
func escape(text string, keep func(string) int) string {
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
		shown, size := sanitize.Show(text)
		text = text[size:]
		if shown == "" {
			continue
		}
		if shown == "#" && sign {
			b.WriteByte(' ')
		}
		sign = shown == "#"
		b.WriteString(shown)
	}
	if rest > 0 {
		fmt.Fprintf(&b, "… (%d more bytes)", rest)
	}
	return b.String()
}
