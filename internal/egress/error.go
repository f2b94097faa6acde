package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"

	"acrpromote/internal/explain"
	"acrpromote/internal/sanitize"
)

var (
	_ explain.Error = (*Error)(nil)
	_ explain.Error = (*HostNotAllowedError)(nil)
)

// HostNotAllowedError is a request to a host that its phase does not list. It
// was not sent.
type HostNotAllowedError struct{ Host, Phase string }

func (e *HostNotAllowedError) Error() string { return explain.Text(e.Explanation()) }

// Explanation implements explain.Error.
func (e *HostNotAllowedError) Explanation() (reason, remedy string) {
	return withPhase(e.Phase, e.Host+" is not among the hosts that may be asked here; nothing was sent to it"), ""
}

// Error is a request that was not sent or got no response: phase, host, cause,
// and what to check. It never contains a query, a user or a password. Unwrap
// returns the cause, for errors.Is and errors.As only.
type Error struct {
	Phase, Host    string
	Reason, Remedy string

	cause      error
	redirected bool
	final      bool
}

func (e *Error) Error() string { return explain.Text(e.Explanation()) }

// Explanation implements explain.Error. The reason includes phase and host.
func (e *Error) Explanation() (reason, remedy string) {
	host := e.Host
	if e.redirected {
		host += " (where a redirect led)"
	}
	return withPhase(e.Phase, host+" "+e.Reason), e.Remedy
}

func (e *Error) Unwrap() error { return e.cause }

func withPhase(phase, text string) string {
	if phase == "" {
		return text
	}
	return phase + ": " + text
}

// explain explains an error of the transport. An explained error stays as it
// is: it may be about another host, that of a body's source.
func (g *phaseTransport) explain(host string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	e := &Error{Phase: g.phase.Name, Host: host, cause: err}
	e.Reason, e.Remedy, e.final = classify(err)
	return e
}

// maxText limits a text from outside, in characters.
const maxText = 200

const (
	checkNetwork = "Check the name, the firewall on the way, and whether this machine needs a proxy"
	checkProxy   = "Check the agent's proxy settings"
)

func classify(err error) (reason, remedy string, final bool) {
	var (
		slow      *timeoutError
		long      *bodyLimitError
		answer    *proxyStatusError
		dns       *net.DNSError
		operation *net.OpError
		untrusted x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		timeout   net.Error
	)
	viaProxy := errors.As(err, &operation) && operation.Op == "proxyconnect"
	switch {
	case errors.As(err, &slow):
		return "was given up: " + slow.Error(), "Try again; if the error persists, check the network on the way", false
	case errors.As(err, &long):
		return "was not understood: " + long.Error(), "Check what is in front of it", true
	case errors.Is(err, context.Canceled):
		return "was not waited for: the run was told to stop", "", true
	case errors.Is(err, context.DeadlineExceeded):
		return "did not answer in the time that was given", "Try again; if the error persists, check the network on the way", false
	case errors.As(err, &answer):
		return proxyReason(answer)
	case errors.As(err, &dns):
		if viaProxy {
			return "cannot be reached: the name of the proxy does not resolve", checkProxy, dns.IsNotFound
		}
		if dns.IsNotFound {
			return "cannot be reached: the name does not resolve", "Check how it is written, and the DNS of this machine (a private endpoint resolves only inside its network)", true
		}
		return "cannot be reached: the DNS of this machine does not answer", "Check the DNS of this machine", false
	case errors.As(err, &untrusted):
		return "is not trusted: its certificate comes from an authority unknown here", "If that is right, trust its CA: give the agent a CA bundle (AGENT_CAINFO), or add it to this machine's authorities", true
	case errors.As(err, &name):
		return "is not trusted: its certificate is for another name", "Check the name, and what intercepts TLS on the way", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "is not trusted: its certificate has expired, or is not yet valid", "Renew it, or check the clock of this machine", true
	case errors.As(err, &verify):
		return "is not trusted: its certificate cannot be verified (" + sanitize.Bounded(verify.Err.Error(), maxText) + ")", "Check its certificate", true
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "does not speak TLS", "Check the port; at a prompt, --plain-http names a host that speaks HTTP", true
	case isAlert(operation):
		return "broke off the TLS handshake (" + sanitize.Bounded(operation.Err.Error(), maxText) + ")", "Check which TLS versions and client certificates it asks for", true
	case viaProxy:
		return "cannot be reached: the proxy does not answer (" + systemError(err) + ")", checkProxy, false
	case errors.Is(err, syscall.ECONNREFUSED):
		return "cannot be reached: it refuses the connection", checkNetwork, false
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "cannot be reached: there is no way to its network", checkNetwork, false
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "broke off the connection", "Try again; if the error persists, check the firewall and proxies on the way", false
	case errors.As(err, &timeout) && timeout.Timeout():
		return "did not answer in time", checkNetwork, false
	default:
		return "did not answer as HTTP should (" + sanitize.Bounded(err.Error(), maxText) + ")", checkNetwork, false
	}
}

// isAlert reports whether an error is a TLS alert, for which crypto/tls has no
// exported type.
func isAlert(e *net.OpError) bool {
	return e != nil && (e.Op == "remote error" || e.Op == "local error")
}

func proxyReason(answer *proxyStatusError) (reason, remedy string, final bool) {
	switch answer.status {
	case http.StatusProxyAuthRequired:
		return fmt.Sprintf("cannot be reached: the proxy %s wants another user or password (HTTP 407)", answer.proxy), "Check the agent's proxy user and password", true
	case http.StatusForbidden:
		return fmt.Sprintf("cannot be reached: the proxy %s forbids it (HTTP 403)", answer.proxy), "Have the host allowed there", true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Sprintf("cannot be reached: the proxy %s has no way to it (HTTP %d)", answer.proxy, answer.status), "Check the name, and the firewall behind the proxy", false
	default:
		return fmt.Sprintf("cannot be reached: the proxy %s answered HTTP %d", answer.proxy, answer.status), checkProxy, true
	}
}

// systemError returns the text of the innermost cause, which for a dial is the
// system's.
func systemError(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return sanitize.Bounded(err.Error(), maxText)
}
