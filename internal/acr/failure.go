package acr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"acrpromote/internal/explain"
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
	maxMessage = 512
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
func unanswered(host, op string, err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	e := &Error{Host: host, Op: op, why: harmless(err.Error(), maxMessage), kind: ErrUnreachable, cause: err}
	if errors.Is(err, context.Canceled) {
		e.kind = nil
	}
	return e
}

// answered reads what a registry says when it does not do what it was asked.
// Secrets that an answer repeats are taken out of it.
func answered(host, op string, status int, body []byte, secrets ...string) *Error {
	e := &Error{Host: host, Op: op, Status: status}
	e.Code, e.Message = said(body, secrets)
	switch {
	case status == http.StatusForbidden && (strings.Contains(e.Message, "client with IP") || strings.Contains(e.Message, "is not allowed access")):
		e.kind, e.why = ErrDenied, "its firewall does not let this machine in"
		e.Remedy = "Let " + clientAddress(e.Message) + " in under Networking of the registry, or run this on an agent inside its network"
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

// said reads the first error of the distribution protocol's form
// (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes),
// or OAuth's. Anything else says nothing.
//
// Secrets are taken out before anything is cut, lest half of one stays.
func said(body []byte, secrets []string) (code, message string) {
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return "", ""
	}
	if len(doc.Errors) > 0 {
		return harmless(without(doc.Errors[0].Code, secrets), 64), harmless(without(doc.Errors[0].Message, secrets), maxMessage)
	}
	_ = json.Unmarshal(doc.Error, &code)
	return harmless(without(code, secrets), 64), harmless(without(doc.Description, secrets), maxMessage)
}

// clientAddress finds the address that a registry's firewall tells:
// "client with IP '203.0.113.7' is not allowed access".
func clientAddress(message string) string {
	_, rest, found := strings.Cut(message, "IP '")
	address, _, closed := strings.Cut(rest, "'")
	if !found || !closed || len(address) > 45 || strings.Trim(address, "0123456789abcdefABCDEF.:") != "" {
		return "this machine's address"
	}
	return address
}

// without takes the secrets out of a text, and everything that looks like a
// JSON Web Token.
func without(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	for {
		i := strings.Index(text, "eyJ")
		if i < 0 {
			return text
		}
		end := strings.IndexFunc(text[i:], func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-+/=…", r)
		})
		if end < 0 {
			end = len(text) - i
		}
		text = text[:i] + "***" + text[i+end:]
	}
}

// harmless bounds text from outside and makes one printable line of it.
func harmless(text string, runes int) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "?") {
		if runes--; runes < 0 {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
