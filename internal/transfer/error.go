package transfer

import (
	"errors"
	"fmt"
	"strings"

	"acrpromote/internal/ref"
)

// Kind sorts what can go wrong by what somebody has to do about it. It is an
// error itself, so that errors.Is(err, transfer.NotFound) asks for it.
type Kind string

// The kinds of error.
const (
	NotFound    Kind = "not found"         // repository, manifest or blob is not there
	Denied      Kind = "denied"            // a role is missing, or the credential is wrong
	Firewall    Kind = "firewall"          // this address may not reach the registry
	Unreachable Kind = "unreachable"       // nobody answered, or the connection broke
	Locked      Kind = "locked"            // ACR: a lock, a quarantine or full storage
	Corrupt     Kind = "corrupt"           // bytes are not what their digest or descriptor says
	TooLarge    Kind = "too large"         // beyond what a registry or this package takes
	Throttled   Kind = "throttled"         // 429, even after waiting
	Conflict    Kind = "conflict"          // the target has something else that would be lost
	Unsupported Kind = "unsupported"       // a media type or digest that is not copied
	Cancelled   Kind = "cancelled"         // told to stop
	Unexpected  Kind = "unexpected answer" // anything else
)

func (k Kind) Error() string { return string(k) }

// Side is the end of a copy at which something failed.
type Side string

// The sides; empty where a function serves both.
const (
	Source Side = "source"
	Target Side = "target"
)

// Error is every error of this package: what was being done, to which registry
// and repository, why it failed, and what to do next. Text from a registry in
// it is short and free of control characters. errors.Is takes a Kind, and
// whatever Err wraps.
type Error struct {
	Side       Side
	Registry   string // host[:port]
	Repository string
	Reference  string // tag or digest, "" if none
	Op         string // "reading the manifest"
	Kind       Kind
	Status     int    // HTTP status, 0 if there was no answer
	Code       string // the registry's own error code, "" if none
	Reason     string // why, without op and place
	Remedy     string // what to do, "" where nothing helps but trying again
	Err        error  // the cause, nil if there is none beyond Reason
}

// Subject is the place that the error is about: registry/repository:tag.
func (e *Error) Subject() string {
	s := e.Registry
	if e.Repository != "" {
		s += "/" + e.Repository
	}
	switch {
	case e.Reference == "":
	case ref.NamesDigest(e.Reference):
		s += "@" + e.Reference
	default:
		s += ":" + e.Reference
	}
	return s
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Op, e.Subject())
	if e.Side != "" {
		fmt.Fprintf(&b, " (the %s)", e.Side)
	}
	fmt.Fprintf(&b, ": %s", e.Reason)
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is lets a Kind be asked for.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && e.Kind == k
}

// at says on which side an error happened, where that is not known yet; the
// role to grant depends on it.
func withSide(side Side, err error) error {
	var e *Error
	if err == nil || !errors.As(err, &e) || e.Side != "" {
		return err
	}
	told := *e
	told.Side = side
	if told.Kind == Denied {
		told.Remedy = deniedRemedy(&told)
	}
	return &told
}

// denied tells which role is missing. A registry in ABAC mode honours only the
// second of each pair (learn.microsoft.com, container-registry-rbac-abac-
// repository-permissions).
func deniedRemedy(e *Error) string {
	role := "AcrPull (or, where permissions are by repository, Container Registry Repository Reader)"
	if e.Side == Target {
		role = "AcrPush (or, where permissions are by repository, Container Registry Repository Writer)"
	}
	if e.Status == 401 {
		// Azure answers so, too, to whom a right is missing.
		return fmt.Sprintf("check the credential for %s, and that the identity has %s for repository %s", e.Registry, role, e.Repository)
	}
	return fmt.Sprintf("grant the identity %s on %s", role, e.Registry)
}
