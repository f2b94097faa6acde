package approval

import (
	"strings"
	"unicode"
)

// codeLength is the number of characters of an approval code. A shorter code
// could be forged, and every comment contains an empty one.
const codeLength = 24

// Quotes reports whether a comment quotes an approval code. It ignores case,
// spaces and dashes, and nothing else.
func Quotes(comment, code string) bool {
	code = normalizeCode(code)
	return len(code) == codeLength && strings.Contains(normalizeCode(comment), code)
}

// normalizeCode removes spaces and dashes and converts ASCII letters to upper
// case. It keeps other letters, because Unicode maps the long s to S.
func normalizeCode(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Pd, r):
			return -1
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// formatCode formats a code in groups of four, as seal shows it.
func formatCode(code string) string {
	code = normalizeCode(code)
	var groups []string
	for len(code) > 4 {
		groups, code = append(groups, code[:4]), code[4:]
	}
	return strings.Join(append(groups, code), "-")
}
