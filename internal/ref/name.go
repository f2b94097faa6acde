package ref

import "strings"

const (
	maxRepository = 255
	maxTag        = 128
)

// IsRepository reports whether s is the name of a repository.
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

// isComponent reports whether s is letters and digits, separated by one dot,
// one or two underscores, or any number of dashes.
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

// IsTag reports whether s is a tag.
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

// IsScopeName reports whether s can stand for a repository in a token's scope,
// "repository:NAME:ACTIONS". It is more lenient than IsRepository, because the
// name comes out of a request that is already made and the registry judges it;
// what it must not do is bring a second scope in, by a blank or a colon.
func IsScopeName(s string) bool {
	const longest = 256
	return s != "" && len(s) <= longest &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == ""
}

func isLowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
