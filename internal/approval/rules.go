package approval

import (
	"regexp"
	"strings"
	"time"
)

// Kind is which approval is asked for, or was given.
type Kind string

const (
	Manual    Kind = "manual"
	Automated Kind = "automated"
	Any       Kind = "any"
	// None: a flow permits it.
	None Kind = "none"
	// Unapproved: asked for at a prompt, outside any run.
	Unapproved Kind = "unapproved"
)

// Rules are what an approval must meet. The zero value asks for one manual
// approval by somebody other than the requester and the author.
type Rules struct {
	Approval Kind // "" is Manual
	// Environment is the name of the resource whose approvals count:
	// an environment, or endpoint:NAME for a service connection. In a
	// classic release it is the stage, and may be empty.
	Environment         string
	MinApprovers        int // distinct persons; below 1 is 1
	RequesterCanApprove bool
	AuthorCanApprove    bool
	// Approvers are the unique names or descriptors of persons and groups
	// who may approve, or [Project]\Group names; empty is anybody.
	Approvers []string
	MaxAge    time.Duration // 0: none
	// CommentPatterns must all be found in the approver's comment.
	CommentPatterns []*regexp.Regexp
	// Checks are what makes an automated approval.
	Checks []Check
	Code   string // "": not demanded
	Seals  []Seal // nil: sealing is not demanded
	// Subject is the image, or set of images, that would be let out.
	Subject string
}

// Seal is what the registry says about the seal of one image, by its own
// times. Problem says why there is no seal; it is empty if there is one.
type Seal struct {
	Subject       string
	Locked        bool
	TagUpdated    time.Time
	RecordCreated time.Time
	Problem       string
}

// endpointPrefix marks a service connection in Rules.Environment.
const endpointPrefix = "endpoint:"

// Names tells whether environment, as Rules.Environment has it, names r.
// Names are compared without case.
func Names(environment string, r Resource) bool {
	kind, name := named(environment)
	return name != "" && r.Type == kind && SameName(r.Name, name)
}

// named splits Rules.Environment into the type and the name of a resource.
func named(environment string) (kind, name string) {
	if name, ok := strings.CutPrefix(environment, endpointPrefix); ok {
		return "endpoint", name
	}
	return "environment", environment
}

// SameName compares two names without case. Both foldings have to agree:
// folding one way alone takes the Kelvin sign for k and the long s for s, and
// whoever may create an environment could so create a second "Release".
func SameName(a, b string) bool { return folded(a) == folded(b) }

func folded(s string) string { return strings.ToLower(s) + "\x00" + strings.ToUpper(s) }
