package transfer

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"acrpromote/internal/explain"
)

const (
	refusalBytes = 8 << 10 // of a refusal's body that are read
	refusalRunes = 300     // of its message that are told
)

// refusal is what a registry says when it does not do what it was asked.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
type refusal struct {
	Code    string
	Message string
}

// parseRefusal reads the first error of a refusal's body; whatever is not of
// the form of the spec is no message.
func parseRefusal(body []byte) refusal {
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &doc) != nil || len(doc.Errors) == 0 {
		return refusal{}
	}
	first := doc.Errors[0]
	return refusal{Code: harmless(unsigned(first.Code), 64), Message: harmless(unsigned(first.Message), refusalRunes)}
}

// credential is what an Authorization header bears, or a signed token alone.
var credential = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:bearer|basic)\s+[a-z0-9._~+/=-]{16,}|\beyJ[a-z0-9._~+/=-]{8,}`)
})

// unsigned takes credentials out of a text: a registry may repeat what it was
// sent.
func unsigned(s string) string { return credential().ReplaceAllString(s, "***") }

// harmless removes what could steer a terminal or a log, and cuts.
func harmless(s string, runes int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			if !unicode.IsSpace(r) {
				continue
			}
			r = ' '
		}
		if n == runes {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}

// refused turns an answer that is no success into an error.
func (r *Registry) refused(op, repo, ref string, status int, body []byte) *Error {
	said := parseRefusal(body)
	e := &Error{Registry: r.host, Repository: repo, Reference: ref, Op: op, Status: status, Code: said.Code}
	answer := fmt.Sprintf("the registry answered %d", status)
	if text := http.StatusText(status); text != "" {
		answer += " " + text
	}
	switch {
	case said.Code != "" && said.Message != "":
		answer += fmt.Sprintf(" (%s: %s)", said.Code, said.Message)
	case said.Code != "":
		answer += fmt.Sprintf(" (%s)", said.Code)
	}
	e.Reason = answer
	switch {
	case status == http.StatusMethodNotAllowed || said.Code == "REGISTRY_DISALLOWED_OPERATION":
		// One code for three causes: shared with quarantine and full storage.
		e.Kind = Locked
		e.Reason = "the operation is not allowed there: " + answer
		e.Remedy = fmt.Sprintf("%s is locked, quarantined or out of storage: look at its attributes (az acr repository show) and at the usage of %s", e.Subject(), r.host)
	case status == http.StatusForbidden && strings.Contains(said.Message, "client with IP"):
		e.Kind = Firewall
		address := clientAddress(said.Message)
		e.Reason = fmt.Sprintf("the firewall of %s does not let this machine in: %s", r.host, answer)
		e.Remedy = fmt.Sprintf("allow the address%s in the network rules of %s, or run where its private endpoint is reached", address, r.host)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Kind = Denied
		e.Reason = "access is denied: " + answer
		e.Remedy = denied(e)
	case status == http.StatusNotFound:
		e.Kind = NotFound
		e.Reason = "it is not there: " + answer
		e.Remedy = "check the names of registry, repository and tag"
	case status == http.StatusTooManyRequests:
		e.Kind = Throttled
		e.Reason = "the registry is asked too often: " + answer
		e.Remedy = "run again later, or with fewer copies at the same time"
	case status == http.StatusRequestEntityTooLarge:
		e.Kind = TooLarge
		e.Remedy = "the registry, or a proxy before it, does not take anything this large"
	case said.Code == "DIGEST_INVALID":
		e.Kind = Corrupt
		e.Reason = "what arrived is not what was sent: " + answer
		e.Remedy = "run again; if it repeats, something on the way changes the bytes"
	default:
		e.Kind = Unexpected
		if status >= 500 {
			e.Remedy = "run again later"
		}
	}
	return e
}

// clientAddress finds the address in ACR's "client with IP '203.0.113.7' is not
// allowed access", with a space before it; "" if there is none.
func clientAddress(message string) string {
	_, rest, _ := strings.Cut(message, "client with IP '")
	text, _, ok := strings.Cut(rest, "'")
	if !ok {
		return ""
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return " " + a.String()
	}
	return ""
}

// failed turns an error without an answer into one of this package. The address
// that net/http puts around it is dropped: after a redirect to storage it bears
// a signature.
func (r *Registry) failed(ctx context.Context, op, repo, ref string, err error) *Error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	e := &Error{Registry: r.host, Repository: repo, Reference: ref, Op: op, Err: err}
	var explained explain.Error
	switch {
	case errors.Is(err, errStalled) || errors.Is(context.Cause(ctx), errStalled):
		e.Kind, e.Err = Unreachable, errStalled
		e.Reason = errStalled.Error()
		e.Remedy = "run again later"
	case ctx.Err() != nil:
		e.Kind, e.Err = Cancelled, ctx.Err()
		e.Reason = "stopped before it was done"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			e.Reason = "the time given was not enough"
		}
	case errors.As(err, &explained) && !errors.Is(err, errCut):
		// The client that was given to us explains what it refuses, signing in
		// for one, and what lies between it and the registry.
		reason, remedy := explained.Explanation()
		e.Kind, e.Reason, e.Remedy = Unexpected, harmless(reason, 2*refusalRunes), harmless(remedy, refusalRunes)
		if network(err) {
			e.Kind = Unreachable
		}
	case certificate(err):
		e.Kind = Unreachable
		e.Reason = "its certificate is not trusted: " + harmless(err.Error(), refusalRunes)
		e.Remedy = "add the authority that signed it to the CA file in use"
	case network(err):
		e.Kind = Unreachable
		e.Reason = "no answer: " + harmless(err.Error(), refusalRunes)
		e.Remedy = fmt.Sprintf("check that %s exists and that this machine reaches it, and the storage that it redirects to", r.host)
	default:
		e.Kind = Unexpected
		e.Reason = harmless(err.Error(), 2*refusalRunes)
	}
	return e
}

// netError is what a net.Error is; this package does not dial, and does not
// import net.
type netError interface {
	error
	Timeout() bool
	Temporary() bool
}

func certificate(err error) bool {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid)
}

// network tells whether an error means that nobody answered, or not to the end.
func network(err error) bool {
	var n netError
	return errors.As(err, &n) || certificate(err) || broken(err)
}

// broken tells whether a connection ended in the middle. net/http has no type
// for it in HTTP/2 streams and for a server that closes early; it gives text.
func broken(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	text := err.Error()
	for _, s := range []string{"connection reset", "broken pipe", "use of closed network connection", "server closed idle connection", "stream error", "client connection lost", "GOAWAY", "transport connection broken"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}
