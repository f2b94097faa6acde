package transfer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"acrpromote/internal/explain"
	"acrpromote/internal/ocierror"
)

const (
	maxErrorBody   = 8 << 10 // bytes of an error response
	maxExplanation = 600     // characters of an explanation
)

// statusError returns the error of a response whose status is not a success.
func (r *Registry) statusError(op, repo, ref string, status int, body []byte) *Error {
	said := ocierror.Parse(body, r.secrets)
	e := &Error{Registry: r.host, Repository: repo, Reference: ref, Op: op, Status: status, Code: said.Code}
	summary := fmt.Sprintf("the registry returned %d", status)
	if text := http.StatusText(status); text != "" {
		summary += " " + text
	}
	switch {
	case said.Code != "" && said.Message != "":
		summary += fmt.Sprintf(" (%s: %s)", said.Code, said.Message)
	case said.Code != "":
		summary += fmt.Sprintf(" (%s)", said.Code)
	}
	e.Reason = summary
	address, firewall := said.Firewall()
	switch {
	case status == http.StatusMethodNotAllowed || said.Code == "REGISTRY_DISALLOWED_OPERATION":
		// One code for three causes: shared with quarantine and full storage.
		e.Kind = Locked
		e.Reason = "the operation is not allowed: " + summary
		e.Remedy = fmt.Sprintf("%s is locked, quarantined or out of storage. Check its attributes (az acr repository show) and the storage usage of %s.", e.Subject(), r.host)
	case status == http.StatusForbidden && firewall:
		e.Kind = Firewall
		if address != "" {
			address = " " + address
		}
		e.Reason = fmt.Sprintf("the firewall of %s blocks this machine: %s", r.host, summary)
		e.Remedy = fmt.Sprintf("Allow the address%s in the network rules of %s, or run where its private endpoint is reachable.", address, r.host)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Kind = Denied
		e.Reason = "access is denied: " + summary
		e.Remedy = deniedRemedy(e)
	case status == http.StatusNotFound:
		e.Kind = NotFound
		e.Reason = "it does not exist: " + summary
		e.Remedy = "Check the names of registry, repository and tag."
	case status/100 == 3:
		e.Kind = Unexpected
		e.Reason = "the registry redirects to another address, which is followed for blobs only: " + summary
		e.Remedy = "Check the name of the registry, and any proxy in front of it."
	case status == http.StatusTooManyRequests:
		e.Kind = Throttled
		e.Reason = "the registry throttles requests: " + summary
		e.Remedy = "Run again later, or with fewer images at once."
	case status == http.StatusRequestEntityTooLarge:
		e.Kind = TooLarge
		e.Remedy = "The registry, or a proxy in front of it, does not accept anything this large."
	case said.Code == "DIGEST_INVALID":
		e.Kind = Corrupt
		e.Reason = "the registry received other content than was sent: " + summary
		e.Remedy = "Run again. If the error persists, something on the network path changes the bytes."
	default:
		e.Kind = Unexpected
		if status >= 500 {
			e.Remedy = "Run again later."
		}
	}
	return e
}

// transportError returns the error of a request without a response. It drops the
// URL that net/http adds, which has a signature after a redirect to storage.
func (r *Registry) transportError(ctx context.Context, op, repo, ref string, err error) *Error {
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
		e.Remedy = "Run again later."
	case ctx.Err() != nil:
		e.Kind, e.Err = Cancelled, ctx.Err()
		e.Reason = "cancelled"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			e.Reason = "the time limit was exceeded"
		}
	case errors.As(err, &explained) && !errors.Is(err, errBroken):
		// The HTTP client explains its own errors, such as those of signing in,
		// and those of the network between it and the registry.
		reason, remedy := explained.Explanation()
		if remedy != "" && !strings.HasSuffix(remedy, ".") {
			remedy += "."
		}
		e.Kind, e.Reason, e.Remedy = Unexpected, r.secrets.Bounded(reason, maxExplanation), r.secrets.Line(remedy)
		var refused interface{ Denied() bool }
		switch {
		case isNetworkError(err):
			e.Kind = Unreachable
		case errors.As(err, &refused) && refused.Denied():
			// No token for this right: the request was not even sent.
			e.Kind = Denied
		}
	case isCertificateError(err):
		e.Kind = Unreachable
		e.Reason = "its certificate is not trusted: " + r.secrets.Line(err.Error())
		e.Remedy = "Add the authority that signed it to the CA file in use."
	case isNetworkError(err):
		e.Kind = Unreachable
		e.Reason = "network error: " + r.secrets.Line(err.Error())
		e.Remedy = fmt.Sprintf("Check that %s exists, and that this machine can reach it and the storage that it redirects to.", r.host)
	default:
		e.Kind = Unexpected
		e.Reason = r.secrets.Bounded(err.Error(), maxExplanation)
	}
	return e
}

// netError is net.Error. This package does not dial, and does not import net.
type netError interface {
	error
	Timeout() bool
	Temporary() bool
}

func isCertificateError(err error) bool {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid)
}

// isNetworkError reports whether there was no response, or an incomplete one.
func isNetworkError(err error) bool {
	var n netError
	return errors.As(err, &n) || isCertificateError(err) || isBrokenConnection(err)
}

// isBrokenConnection reports whether a connection was closed in the middle. For
// HTTP/2 streams, and for servers that close early, net/http has only texts.
func isBrokenConnection(err error) bool {
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
