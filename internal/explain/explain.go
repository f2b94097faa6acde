// Package explain is about errors that explain themselves, so that a package
// passes on the explanation of another one without importing it.
package explain

import "strings"

// Error is an error that says why something failed and what to do about it.
// Whatever passes it on adds what was being done, and no cause of its own.
type Error interface {
	error
	// Explanation returns the reason, a sentence without its full stop, and
	// the remedy, empty if there is none. Error returns Text of both.
	Explanation() (reason, remedy string)
}

// Text writes an explanation as one text.
func Text(reason, remedy string) string {
	if remedy == "" {
		return reason
	}
	return strings.TrimSuffix(reason, ".") + ". " + remedy
}
