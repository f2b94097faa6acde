// Package explain is about errors that explain themselves, so that a package
// passes on the explanation of another one without importing it.
package explain

import (
	"errors"
	"strings"
)

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
	if reason = strings.TrimSuffix(reason, "."); !strings.HasSuffix(reason, "?") {
		reason += "."
	}
	return reason + " " + remedy
}

// Split returns the explanation of an error or, if it has none, its text and the
// given remedy. An explanation without a remedy gets the given one.
func Split(err error, otherwise string) (reason, remedy string) {
	var explained Error
	if !errors.As(err, &explained) {
		return err.Error(), otherwise
	}
	reason, remedy = explained.Explanation()
	// What was added in front of it stays.
	if before, found := strings.CutSuffix(err.Error(), explained.Error()); found {
		reason = before + reason
	}
	if remedy == "" {
		remedy = otherwise
	}
	return reason, remedy
}
