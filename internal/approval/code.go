package approval

import (
	"strings"
	"unicode"
)

// codeLength is how many characters an approval code has. A shorter one could
// be forged, and an empty one is quoted by every comment.
const codeLength = 24

// Quotes tells whether a comment quotes an approval code. Upper and lower
// case, spaces and dashes are forgiven, nothing else.
func Quotes(comment, code string) bool {
	code = bare(code)
	return len(code) == codeLength && strings.Contains(bare(comment), code)
}

// bare removes spaces and dashes and raises ASCII letters. Other letters stay
// as they are: Unicode would raise the long s to S.
func bare(s string) string {
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

// spell writes a code in groups of four, as seal shows it.
func spell(code string) string {
	code = bare(code)
	var groups []string
	for len(code) > 4 {
		groups, code = append(groups, code[:4]), code[4:]
	}
	return strings.Join(append(groups, code), "-")
}
