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
	code = bare(code)
	return len(code) == codeLength && strings.Contains(bare(comment), code)
}

// bare removes spaces and dashes and converts ASCII letters to upper case. It
// keeps other letters, because Unicode maps the long s to S.
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

// spell formats a code in groups of four, as seal shows it.
func spell(code string) string {
	code = bare(code)
	var groups []string
	for len(code) > 4 {
		groups, code = append(groups, code[:4]), code[4:]
	}
	return strings.Join(append(groups, code), "-")
}
