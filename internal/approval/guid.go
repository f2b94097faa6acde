package approval

import "strings"

const zeroGUID = "00000000-0000-0000-0000-000000000000"

// GUID returns a GUID in canonical form: in lower case, with dashes. It returns
// "" for the zero GUID and for anything that is not a GUID.
func GUID(s string) string {
	if len(s) != len(zeroGUID) || s == zeroGUID {
		return ""
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case zeroGUID[i] == '-':
			if c != '-' {
				return ""
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return ""
		}
	}
	return strings.ToLower(s)
}

// SameGUID reports whether two GUIDs are equal. The zero GUID and anything that
// is not a GUID equal nothing, not even themselves.
func SameGUID(a, b string) bool {
	a, b = GUID(a), GUID(b)
	return a != "" && a == b
}
