// Package ocierror reads what a registry says when it refuses a request.
package ocierror

import (
	"bytes"
	"encoding/json"
	"errors"
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
		Errors firstError `json:"errors"`
	}
	if json.Unmarshal(body, &document) != nil {
		return Error{}
	}
	first := document.Errors
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

// firstError is the first of a list of errors. The others are not decoded: a body
// of a few bytes for each would take a multiple of its size.
type firstError struct{ Code, Message string }

func (e *firstError) UnmarshalJSON(raw []byte) error {
	*e = firstError{}
	if string(raw) == "null" {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('[') {
		return errors.New("the errors are not a list")
	}
	if !decoder.More() {
		return nil
	}
	var first struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	err := decoder.Decode(&first)
	e.Code, e.Message = first.Code, first.Message
	return err
}
