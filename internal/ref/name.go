package ref

import "strings"

const (
	maxRepository = 255
	maxTag        = 128
)

// IsRepository reports whether s is a valid repository name.
func IsRepository(s string) bool {
	if len(s) > maxRepository {
		return false
	}
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

// isComponent reports whether s consists of lower-case letters and digits,
// separated by one dot, one or two underscores, or any number of dashes.
func isComponent(s string) bool {
	if s == "" || !isLowerOrDigit(s[0]) || !isLowerOrDigit(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		from := i
		for i < len(s) && !isLowerOrDigit(s[i]) {
			i++
		}
		switch separator := s[from:i]; separator {
		case "", ".", "_", "__":
		default:
			if strings.Trim(separator, "-") != "" {
				return false
			}
		}
		for i < len(s) && isLowerOrDigit(s[i]) {
			i++
		}
	}
	return true
}

// IsTag reports whether s is a valid tag.
func IsTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLowerOrDigit(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// IsScopeName reports whether s is safe as the name in a token's scope,
// "repository:NAME:ACTIONS". It is more lenient than IsRepository, because the
// name comes from an existing request and the registry validates it. But it
// must not add a second scope with a space or a colon.
func IsScopeName(s string) bool {
	const longest = 256
	return s != "" && len(s) <= longest &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == ""
}

func isLowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
