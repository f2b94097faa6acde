// Package ocierror reads what a registry says when it refuses a request.
package ocierror

import (
	"encoding/json"
	"net/netip"
	"strings"

	"acrpromote/internal/sanitize"
)

// Bounds of what is kept, in characters.
const (
	codeLimit    = 64
	messageLimit = 300
)

// Error is a registry's error, fit to be shown. Either may be empty.
type Error struct {
	Code    string // such as MANIFEST_UNKNOWN
	Message string // for people
}

// Parse reads the first error of a response's body. A body of another form than
// the specification's is no error. Secrets in it are replaced: a registry may
// repeat what it was sent.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
func Parse(body []byte, secrets *sanitize.Secrets) Error {
	var document struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &document) != nil || len(document.Errors) == 0 {
		return Error{}
	}
	first := document.Errors[0]
	return Error{Code: secrets.Bounded(first.Code, codeLimit), Message: secrets.Bounded(first.Message, messageLimit)}
}

// Firewall reports whether the firewall of an Azure Container Registry refused
// the request, and the address that it came from, "" if the message has none:
// "client with IP '203.0.113.7' is not allowed access".
func (e Error) Firewall() (address string, refused bool) {
	if !strings.Contains(e.Message, "client with IP") && !strings.Contains(e.Message, "is not allowed access") {
		return "", false
	}
	_, rest, _ := strings.Cut(e.Message, "client with IP '")
	text, _, closed := strings.Cut(rest, "'")
	if a, err := netip.ParseAddr(text); closed && err == nil {
		// A zone may be any text.
		return a.WithZone("").String(), true
	}
	return "", true
}
