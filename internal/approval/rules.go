package approval

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Kind is the kind of approval that is required or was given.
type Kind string

const (
	Manual    Kind = "manual"
	Automated Kind = "automated"
	Any       Kind = "any"
	// None means that a flow requires no approval.
	None Kind = "none"
	// Unapproved means no approval, at a prompt outside any run.
	Unapproved Kind = "unapproved"
)

// Rules are what an approval must meet. The zero value requires one manual
// approval by someone other than the requester and the author.
type Rules struct {
	Approval Kind // "" is Manual
	// Environment is the name of the resource whose approvals count:
	// an environment, or endpoint:NAME for a service connection. "#7" names
	// an environment by its id, "endpoint:#GUID" a service connection. In a
	// classic release it is the stage, and may be empty.
	Environment         string
	MinApprovers        int // distinct people; below 1 means 1
	RequesterCanApprove bool
	AuthorCanApprove    bool
	// Approvers are the unique names or descriptors of people and groups who
	// may approve, or [Project]\Group names. If it is empty, anyone may.
	Approvers []string
	MaxAge    time.Duration // 0 means no limit
	// CommentPatterns must all match the approver's comment.
	CommentPatterns []*regexp.Regexp
	// Checks are the checks that an automated approval requires.
	Checks []Check
	Code   string // "" if not required
	CodeOf CodeOf
	// CodeSince is the time that the plan's code is as of: an earlier approval
	// cannot have been for this plan.
	CodeSince time.Time
	// OtherCode is the image's code if the plan's is required, to recognize it.
	OtherCode string
	Seals     []Seal // nil if sealing is not required
	// Subject is the image or set of images to approve.
	Subject string
}

// CodeOf is what an approval code is computed over. One code never serves for the
// other.
type CodeOf int

const (
	// CodeOfImage is the code of the image or the set.
	CodeOfImage CodeOf = iota
	// CodeOfPlan is the code of the plan, which depends on when it was approved.
	CodeOfPlan
)

// UnknownCode stands for a code that cannot be computed. No comment can quote it.
const UnknownCode = "unknown, because an image could not be read"

// Seal is the state of the seal of one image, with the registry's timestamps.
// Problem is why there is no seal, or "" if there is one.
type Seal struct {
	Subject       string
	Locked        bool
	TagUpdated    time.Time
	RecordCreated time.Time
	Problem       string
}

// endpointPrefix marks a service connection in Rules.Environment, in any case.
const endpointPrefix = "endpoint:"

// NamesResource reports whether environment, in the form of Rules.Environment,
// names r. It ignores case.
func NamesResource(environment string, r Resource) bool {
	kind, name := named(environment)
	if id := resourceID(kind, name); id != "" {
		return r.Type == kind && (r.ID == id || SameGUID(r.ID, id))
	}
	return name != "" && r.Type == kind && SameName(r.Name, name)
}

// NamedResource returns the resource that a name in the form of Rules.Environment
// stands for, with its type and either its name or its id.
func NamedResource(environment string) Resource {
	kind, name := named(environment)
	if id := resourceID(kind, name); id != "" {
		return Resource{Type: kind, ID: id}
	}
	return Resource{Type: kind, Name: name}
}

// resourceID returns the id in a name such as "#7", or "": an environment's is a
// number, a service connection's a GUID.
func resourceID(kind, name string) string {
	id, marked := strings.CutPrefix(name, "#")
	if !marked {
		return ""
	}
	if kind == "endpoint" {
		return GUID(id)
	}
	if n, err := strconv.ParseUint(id, 10, 31); err != nil || n == 0 || strconv.FormatUint(n, 10) != id {
		return ""
	}
	return id
}

// named splits Rules.Environment into the type and the name of a resource.
func named(environment string) (kind, name string) {
	if n := len(endpointPrefix); len(environment) >= n && strings.EqualFold(environment[:n], endpointPrefix) {
		return "endpoint", environment[n:]
	}
	return "environment", environment
}

// SameName reports whether two names are equal, ignoring case. Both the lower
// and the upper case must be equal: one alone equates the Kelvin sign with k
// and the long s with s, so that anyone who can create environments could
// create a second "Release".
func SameName(a, b string) bool { return folded(a) == folded(b) }

func folded(s string) string { return strings.ToLower(s) + "\x00" + strings.ToUpper(s) }
