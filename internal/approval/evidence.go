// Package approval turns evidence into a verdict: whether the right people
// approved these images. It is pure: it uses no clock, file or network. Package
// azdo reads the evidence from Azure DevOps, and package acr from registries.
// Whatever is uncertain is refused, with a reason.
package approval

import (
	"time"

	"acrpromote/internal/rule"
)

// Source is the kind of run that the evidence is about.
type Source string

const (
	YAML    Source = "yaml"
	Release Source = "release"
)

// Check types of Azure DevOps (public ids).
const (
	TypeApproval         = "8c6f20a7-a545-4486-9777-f762fafe0d4d"
	TypeTaskCheck        = "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7"
	TypeRequiredTemplate = "4020e66e-b0f3-47e1-bc88-48f3cc59b5f3"
)

// Evidence is everything that the server reported about the approvals of one
// stage of one run. Complete reports whether all of it was read. Refusals has
// what could not be read or does not match this run. Evidence that is
// incomplete without a refusal is refused too.
type Evidence struct {
	Source       Source
	Organization string
	Project      string
	ProjectID    string
	PlanID       string
	BuildID      int // of a YAML run
	ReleaseID    int // of a classic release
	Stage        string
	Attempt      int

	// Requesters requested this run, this stage or this deployment.
	Requesters []Requester
	// Authors pushed the source version, according to the server's record. They
	// are valid only if AuthorsKnown; otherwise AuthorsUnknown is the reason.
	Authors        []Person
	AuthorsKnown   bool
	AuthorsUnknown string

	// Awaited is why nobody has been asked for an approval yet; empty if the stage's
	// checks have been evaluated. Then Configurations is all that is known, and
	// without a run, where Source is empty too, nothing is.
	Awaited string

	// Unchecked reports that the stage has no checkpoint, so it waited for
	// nothing.
	Unchecked      bool
	Approvals      []Approval
	Suite          *Suite // of a YAML run; it must agree with Approvals
	Configurations Configurations
	Token          Token

	// Reader is the identity that read the evidence, as Azure DevOps names it. It
	// is empty if it is not known.
	Reader string

	Complete bool
	Refusals []rule.Refusal
	// Notes are facts to report that refuse nothing.
	Notes []rule.Outcome
}

// Person is an identity of Azure DevOps. People are compared only by ID. Group
// reports whether the identity is a group. Whether it is a person at all is
// decided by its descriptor, which begins with the type of the subject.
type Person struct {
	ID         string
	Name       string
	UniqueName string
	Descriptor string
	Kind       string // subjectKind of the Graph API: user, group, …; empty if the server does not say
	Group      bool
}

// Requester is a person who requested the run. As says how: "queued run 4711".
type Requester struct {
	Person
	As string
}

// Approval is one approval and its result. Status is as the server sent it. In
// a classic release an approval is the set of entries before or after one
// deployment of a stage: Phase says which, Required is how many must approve (0
// means all), and Status is empty because it follows from the entries.
type Approval struct {
	ID       string
	Phase    string
	Status   string
	Required int
	Steps    []Step
	// Settings is whom the release asks, in a classic release. Before the stage is
	// deployed there are no steps.
	Settings *ApprovalSettings
}

// Step is one assigned approver's part of an approval. Times are the server's:
// Initiated is when the approver could first respond, Modified when the response
// was last written. ModifiedBy is the id of the person who wrote it.
type Step struct {
	Status     string
	Assigned   Person
	Actual     *Person // nil if the server names nobody
	Comment    string
	Initiated  time.Time
	Modified   time.Time
	ModifiedBy string
	Deferred   bool // the response takes effect at a later time
	Automated  bool // in a classic release: nobody was asked
}

// Suite is the check suite of a stage, as evaluated by the server.
type Suite struct {
	ID      string
	Status  string
	Context Context
	Runs    []CheckRun
}

// Context is what a suite was evaluated for. A field is empty or zero if the
// server did not send it.
type Context struct {
	PlanID    string
	ProjectID string
	BuildID   int
	Stage     string
	Attempt   int
}

// CheckRun is one evaluated check. ConfigurationID and Version identify the
// configuration that was evaluated; Version is 0 if it is unknown.
type CheckRun struct {
	ID              string
	Status          string
	Type            string
	TypeName        string
	ConfigurationID int
	Version         int
	Completed       time.Time // zero if unknown
	Resource        Resource
}

// Resource is what a check guards.
type Resource struct {
	Type string
	ID   string
	Name string
}

// Configurations are the checks that the named resource has now. If they could
// not be read, Read is false and Unknown is the reason; Hidden reports that no
// resource of the name is visible.
type Configurations struct {
	Read    bool
	Unknown string
	Hidden  bool
	Checks  []Configuration
}

// Configuration is the current configuration of one check.
type Configuration struct {
	ID       int
	Version  int // 0 if unknown
	Type     string
	Disabled bool
	// Definition is the GUID of a task check's definition; empty for others.
	Definition string
	Resource   Resource
	// Settings is whom an approval check asks; nil if the server does not say.
	Settings *ApprovalSettings
}

// ApprovalSettings is whom an approval check asks, or the stage of a classic release.
type ApprovalSettings struct {
	Approvers []Person
	Required  int // how many of them must approve; 0 means all
	// RequesterExcluded reports that Azure DevOps does not let the requester approve.
	RequesterExcluded bool
	InSequence        bool
	Timeout           time.Duration // 0 if there is none, or if it is unknown
}

// Token is the result of checking the run's own signed token. A token that does
// not match is a refusal, never a Token.
type Token struct {
	State  TokenState
	Detail string
}

// TokenState is matched or absent.
type TokenState string

const (
	TokenMatched TokenState = "matched"
	TokenAbsent  TokenState = "absent"
)
