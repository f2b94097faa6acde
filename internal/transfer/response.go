package transfer

import (
	"cmp"
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
	"acrpromote/internal/refusal"
)

const (
	maxErrorBody   = 64 << 10 // bytes of an error response
	maxExplanation = 600      // characters of an explanation
)

// statusError returns the error of a response whose status is not a success.
func (r *Registry) statusError(op, repo, ref string, status int, body []byte) *Error {
	said := ocierror.Parse(body, r.secrets)
	e := &Error{Registry: r.host, Repository: repo, Reference: ref, Op: op, Status: status, Code: said.Code}
	summary := fmt.Sprintf("the registry returned %d", status)
	if text := http.StatusText(status); text != "" {
		summary += " " + text
	}
	if text := said.Text(); text != "" {
		summary += " (" + text + ")"
	}
	e.Reason = summary
	address, firewall := said.Firewall()
	if entry, known := refusal.Find(refusal.Registry, refusal.Response{Status: status, Code: said.Code, Message: said.Message}); known {
		grant := ""
		if r.grant != nil {
			grant = r.grant()
		}
		cause, remedy := entry.Fill("host", r.host, "address", cmp.Or(address, "this machine's address"), "grant", grant)
		e.Reason = cause + ": " + summary
		e.Remedy = strings.TrimSuffix(remedy, ".") + "."
		e.granted = grant != ""
	}
	if ocierror.WantsTLS(status, body) {
		e.Reason, e.Remedy = refusal.WantsTLS(r.host)
		e.Remedy += "."
	}
	switch {
	case status == http.StatusMethodNotAllowed || said.Code == "REGISTRY_DISALLOWED_OPERATION":
		// One code for three causes: shared with quarantine and full storage.
		e.Kind = Locked
	case status == http.StatusForbidden && firewall:
		e.Kind = Firewall
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Kind = Denied
		if !e.granted {
			e.Remedy = deniedRemedy(e)
		}
	case status == http.StatusNotFound:
		e.Kind = NotFound
	case status == http.StatusTooManyRequests:
		e.Kind = Throttled
	case status == http.StatusRequestEntityTooLarge:
		e.Kind = TooLarge
	case said.Code == "DIGEST_INVALID":
		e.Kind = Corrupt
	default:
		e.Kind = Unexpected
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
