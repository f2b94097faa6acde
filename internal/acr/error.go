package acr

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"acrpromote/internal/explain"
	"acrpromote/internal/ocierror"
	"acrpromote/internal/refusal"
	"acrpromote/internal/sanitize"
)

var _ explain.Error = (*Error)(nil)

// Kinds of Error, for errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrDenied      = errors.New("denied")
	ErrUnreachable = errors.New("unreachable")
	// ErrDisallowed is a 405: the resource is locked or in quarantine, or the
	// registry is full.
	ErrDisallowed = errors.New("disallowed")
	// ErrUnsupported is a registry without attributes.
	ErrUnsupported = errors.New("unsupported")
)

// Limits of what is read and shown of a response.
const (
	maxResponse = 1 << 20
	maxMessage  = 512 // characters
	maxCode     = 64  // characters
	maxToken    = 64 << 10
	maxTokens   = 4 << 20 // of all tokens of a run
)

// Error is a request that a registry or Microsoft Entra ID refused or did not
// answer: the host, the operation, the cause, and the next step. Code and
// Message are the server's own, cleaned; they contain no secrets.
type Error struct {
	Host, Op      string
	Status        int
	Code, Message string
	Remedy        string

	more   string // what the registry said beside that
	detail string
	// scopeRefused is set if a token for a scope was refused.
	scopeRefused bool
	kind         error
	cause        error
}

// Reason returns the error's sentence without the remedy.
func (e *Error) Reason() string {
	text := e.Host + ": " + e.Op + " failed"
	if e.detail != "" {
		text += ": " + e.detail
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
	if e.more != "" {
		said = append(said, e.more)
	}
	if len(said) > 0 {
		text += " (" + strings.Join(said, ", ") + ")"
	}
	return text
}

// Explanation implements explain.Error.
func (e *Error) Explanation() (reason, remedy string) { return e.Reason(), e.Remedy }

func (e *Error) Error() string { return explain.Text(e.Explanation()) }

// Denied reports whether a token for the right that a request needs was refused, so
// that the request was not sent.
func (e *Error) Denied() bool {
	return e.scopeRefused && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

// Unwrap returns the cause, or nil if the response is the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is the error's kind, such as ErrNotFound.
func (e *Error) Is(target error) bool { return e.kind != nil && target == e.kind }

// transportError is a request without a response. Its text is the client's,
// without the URL that http.Client adds.
func transportError(host, op string, err error, secrets *sanitize.Secrets) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	e := &Error{Host: host, Op: op, detail: secrets.Bounded(err.Error(), maxMessage), kind: ErrUnreachable, cause: err}
	if errors.Is(err, context.Canceled) {
		e.kind = nil
	}
	return e
}

// responseError reads a registry's refusal. Secrets are removed from it.
func responseError(host, op string, status int, body []byte, secrets *sanitize.Secrets) *Error {
	e := &Error{Host: host, Op: op, Status: status}
	e.Code, e.Message = parseError(body, secrets)
	registry := ocierror.Parse(body, secrets)
	e.more = ocierror.Error{Detail: registry.Detail, Others: registry.Others}.Text()
	said := refusal.Response{Status: status, Code: e.Code, Message: e.Message}
	entry, known := refusal.Find(refusal.Registry, said)
	if !known {
		e.detail = "an answer like this was not expected"
		e.Remedy = "Check the registry's name, and what is in front of it"
	}
	address, _ := ocierror.Error{Code: e.Code, Message: e.Message}.Firewall()
	if known {
		// What to grant is known to the caller.
		e.detail, e.Remedy = entry.Fill("host", host, "address", cmp.Or(address, "this machine's address"), "grant", "")
	}
	if ocierror.WantsTLS(status, body) {
		e.detail, e.Remedy = refusal.WantsTLS(host)
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.kind = ErrDenied
	case status == http.StatusNotFound && e.Code == "":
		e.kind = ErrUnsupported
	case status == http.StatusNotFound:
		e.kind = ErrNotFound
	case status == http.StatusMethodNotAllowed:
		e.kind = ErrDisallowed
	case status == http.StatusTooManyRequests, status >= 500:
		e.kind = ErrUnreachable
	}
	return e
}

// parseError reads the first error of the distribution protocol's form, or
// OAuth's (RFC 6749, 5.2). Both results are empty for any other form.
func parseError(body []byte, secrets *sanitize.Secrets) (code, message string) {
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
