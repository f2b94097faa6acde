package acr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"acrpromote/internal/explain"
	"acrpromote/internal/ocierror"
	"acrpromote/internal/sanitize"
)

var _ explain.Error = (*Error)(nil)

// What an Error is about, for errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrDenied      = errors.New("denied")
	ErrUnreachable = errors.New("unreachable")
	// ErrDisallowed is a 405: the thing is locked, in quarantine, or the
	// registry is full.
	ErrDisallowed = errors.New("disallowed")
	// ErrUnsupported is a registry that keeps no attributes.
	ErrUnsupported = errors.New("unsupported")
)

// Bounds of what is read and told of an answer.
const (
	maxAnswer  = 1 << 20
	maxMessage = 512 // characters
	maxCode    = 64  // characters
	maxToken   = 64 << 10
)

// Error is something a registry or Microsoft Entra ID refused, or did not
// answer: at which host, what was being done, why, and what to do about it.
// Code and Message are the server's own words, made harmless; tokens are never
// among them.
type Error struct {
	Host, Op      string
	Status        int
	Code, Message string
	Remedy        string

	why string
	// scope marks the refusal of a token for a scope.
	scope bool
	kind  error
	cause error
}

// Reason is the error's sentence without the remedy.
func (e *Error) Reason() string {
	text := e.Host + ": " + e.Op + " failed"
	if e.why != "" {
		text += ": " + e.why
	}
	said := []string{}
	if e.Status != 0 {
		said = append(said, fmt.Sprintf("HTTP %d", e.Status))
	}
	if e.Code != "" {
		said = append(said, e.Code)
	}
	if e.Message != "" {
		said = append(said, "“"+e.Message+"”")
	}
	if len(said) > 0 {
		text += " (" + strings.Join(said, ", ") + ")"
	}
	return text
}

// Explanation implements explain.Error.
func (e *Error) Explanation() (reason, remedy string) { return e.Reason(), e.Remedy }

func (e *Error) Error() string { return explain.Text(e.Explanation()) }

// Unwrap gives the cause, if there is one besides the server's answer.
func (e *Error) Unwrap() error { return e.cause }

// Is matches ErrNotFound, ErrDenied and their like.
func (e *Error) Is(target error) bool { return e.kind != nil && target == e.kind }

// unanswered is a request that got no answer at all. What it says of it is the
// client's sentence, without the URL that http.Client puts around it.
func unanswered(host, op string, err error, secrets *sanitize.Secrets) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	e := &Error{Host: host, Op: op, why: secrets.Bounded(err.Error(), maxMessage), kind: ErrUnreachable, cause: err}
	if errors.Is(err, context.Canceled) {
		e.kind = nil
	}
	return e
}

// answered reads what a registry says when it does not do what it was asked.
// Secrets that an answer repeats are taken out of it.
func answered(host, op string, status int, body []byte, secrets *sanitize.Secrets) *Error {
	e := &Error{Host: host, Op: op, Status: status}
	e.Code, e.Message = said(body, secrets)
	address, firewall := ocierror.Error{Code: e.Code, Message: e.Message}.Firewall()
	switch {
	case status == http.StatusForbidden && firewall:
		if address == "" {
			address = "this machine's address"
		}
		e.kind, e.why = ErrDenied, "its firewall does not let this machine in"
		e.Remedy = "Let " + address + " in under Networking of the registry, or run this on an agent inside its network"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.kind, e.why = ErrDenied, "access is denied"
	case status == http.StatusNotFound && e.Code == "":
		e.kind, e.why = ErrUnsupported, "there is nothing at this address"
		e.Remedy = "Check that it is a registry of Azure"
	case status == http.StatusNotFound:
		e.kind, e.why = ErrNotFound, "it does not exist"
	case status == http.StatusMethodNotAllowed:
		e.kind, e.why = ErrDisallowed, "the registry does not allow it"
		e.Remedy = "It may be locked already, in quarantine, or the registry's storage be full: look at its attributes (az acr repository show)"
	case status == http.StatusTooManyRequests:
		e.kind, e.why = ErrUnreachable, "the registry asks for fewer requests"
		e.Remedy = "Run it again later, or with fewer images at once"
	case status >= 500:
		e.kind, e.why = ErrUnreachable, "the registry is in trouble"
		e.Remedy = "Run it again; if it stays so, look at the registry's health in Azure"
	case status >= 300 && status < 400:
		e.why = "it redirects to another address, which is not followed"
		e.Remedy = "Check the registry's name, and what stands in front of it"
	default:
		e.why = "an answer like this was not expected"
		e.Remedy = "Check the registry's name, and what stands in front of it"
	}
	return e
}

// said reads the first error of the distribution protocol's form, or OAuth's
// (RFC 6749, 5.2). Anything else says nothing.
func said(body []byte, secrets *sanitize.Secrets) (code, message string) {
	if e := ocierror.Parse(body, secrets); e != (ocierror.Error{}) {
		return e.Code, e.Message
	}
	var document struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(body, &document) != nil {
		return "", ""
	}
	_ = json.Unmarshal(document.Error, &code)
	return secrets.Bounded(code, maxCode), secrets.Bounded(document.Description, maxMessage)
}
