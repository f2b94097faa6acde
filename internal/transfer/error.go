package transfer

import (
	"errors"
	"fmt"

	"acrpromote/internal/explain"
	"acrpromote/internal/ref"
)

// Kind classifies errors by what has to be done about them. It is an error
// itself, for errors.Is(err, transfer.NotFound).
type Kind string

// The kinds of error.
const (
	NotFound    Kind = "not found"           // repository, manifest or blob is not there
	Denied      Kind = "denied"              // the identity has no such role, or the credential is wrong
	Firewall    Kind = "firewall"            // the registry does not accept this address
	Unreachable Kind = "unreachable"         // no response, or the connection broke
	Locked      Kind = "locked"              // ACR: locked, quarantined, or out of storage
	Corrupt     Kind = "corrupt"             // content does not match its digest or descriptor
	TooLarge    Kind = "too large"           // beyond a limit of the registry or of this package
	Throttled   Kind = "throttled"           // 429, after retries
	Conflict    Kind = "conflict"            // something at the target would be overwritten
	Unsupported Kind = "unsupported"         // a media type or digest that cannot be copied
	Cancelled   Kind = "cancelled"           // by the context
	Unexpected  Kind = "unexpected response" // anything else
)

func (k Kind) Error() string { return string(k) }

// Side is the side of a copy that failed.
type Side string

// The sides. A function that serves both leaves the side empty.
const (
	Source Side = "source"
	Target Side = "target"
)

// Error is the type of all errors of this package: which operation failed, at
// which registry and repository, why, and what to do next. Text from a registry
// is bounded and has no control characters. errors.Is matches a Kind, and what
// Err wraps.
type Error struct {
	Side       Side
	Registry   string // host[:port]
	Repository string
	Reference  string // tag or digest, "" if none
	Op         string // a noun phrase, as in "reading the manifest failed"
	Kind       Kind
	Status     int    // HTTP status, 0 if there was no response
	Code       string // the registry's own error code, "" if none
	Reason     string // a clause, without Op and Subject
	Remedy     string // a sentence, "" if only another attempt may help
	Err        error  // the cause, nil if Reason is all there is

	granted bool // Remedy says what to grant to whom
}

// Subject returns what the error is about: registry/repository:tag.
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
	side := ""
	if e.Side != "" {
		side = fmt.Sprintf(" (%s)", e.Side)
	}
	return fmt.Sprintf("%s failed for %s%s: %s", e.Op, e.Subject(), side, explain.Text(e.Reason, e.Remedy))
}

func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the error's Kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && e.Kind == k
}

// withSide returns err with its side set, if it has none. The role to grant
// depends on it.
func withSide(side Side, err error) error {
	var e *Error
	if err == nil || !errors.As(err, &e) || e.Side != "" {
		return err
	}
	sided := *e
	sided.Side = side
	if sided.Kind == Denied && sided.Status != 0 && !sided.granted {
		sided.Remedy = deniedRemedy(&sided)
	}
	return &sided
}

// deniedRemedy returns a remedy that names the missing role. A registry in ABAC
// mode honours only the second of each pair (learn.microsoft.com,
// container-registry-rbac-abac-repository-permissions).
func deniedRemedy(e *Error) string {
	role := "AcrPull (or, where permissions are by repository, Container Registry Repository Reader)"
	if e.Side == Target {
		role = "AcrPush (or, where permissions are by repository, Container Registry Repository Writer)"
	}
	if e.Status == 401 {
		// Azure responds with 401 to missing permissions as well.
		return fmt.Sprintf("Check the credential for %s, and that the identity has %s for repository %s.", e.Registry, role, e.Repository)
	}
	return fmt.Sprintf("Grant the identity %s on %s.", role, e.Registry)
}
