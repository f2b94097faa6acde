// Package approval turns evidence into a verdict: did the right people let
// this image out? It is pure: it reads no clock, file or network, and what it
// judges was read elsewhere (Azure DevOps by package azdo, registries by
// package acr). What it cannot be sure of it refuses, in words.
package approval

import (
	"time"

	"acrpromote/internal/rule"
)

// Source says what kind of run the evidence is about.
type Source string

const (
	YAML    Source = "yaml"
	Release Source = "release"
)

// Types of checks as Azure DevOps numbers them (public check type ids).
const (
	TypeApproval         = "8c6f20a7-a545-4486-9777-f762fafe0d4d"
	TypeTaskCheck        = "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7"
	TypeRequiredTemplate = "4020e66e-b0f3-47e1-bc88-48f3cc59b5f3"
)

// Evidence is everything the server said about the approvals of one stage of
// one run. Complete says that all of it was read; what could not be read, or
// did not fit this run, stands in Refusals. Evidence that is neither complete
// nor says why is refused.
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

	// Requesters asked for this run, this stage or this deployment.
	Requesters []Requester
	// Authors pushed the source version, by the server's record. They count
	// only if AuthorsKnown; AuthorsUnknown says why they are not.
	Authors        []Person
	AuthorsKnown   bool
	AuthorsUnknown string

	// Unchecked: the stage has no checkpoint, so it waited for nothing.
	Unchecked      bool
	Approvals      []Approval
	Suite          *Suite // the second witness of a YAML run
	Configurations Configurations
	Token          Token

	Complete bool
	Refusals []rule.Refusal
	// Notes are facts that people should know and that refuse nothing.
	Notes []rule.Outcome
}

// Person is an identity as Azure DevOps describes it. Persons are compared by
// ID alone. Group is true for a group.
type Person struct {
	ID         string
	Name       string
	UniqueName string
	Descriptor string
	Group      bool
}

// Requester is a person who asked for the run, and how: "queued run 4711".
type Requester struct {
	Person
	As string
}

// Approval is one approval and what became of it. Status is the server's
// word. For a classic release it is the set of entries before, or after, one
// deployment of a stage: Phase names which, Required is how many must approve
// (0: all), and Status is empty because the entries alone tell it.
type Approval struct {
	ID       string
	Phase    string
	Status   string
	Required int
	Steps    []Step
}

// Step is one assigned approver's part of an approval. Times are the
// server's; Initiated is when the approver could first have answered,
// Modified when the answer was last written, by ModifiedBy (an id).
type Step struct {
	Status     string
	Assigned   Person
	Actual     *Person // nil: nobody is named
	Comment    string
	Initiated  time.Time
	Modified   time.Time
	ModifiedBy string
	Deferred   bool // answered early, for a later time
	Automated  bool // classic: no person was asked
}

// Suite is the check suite of a stage, evaluated by the server.
type Suite struct {
	ID      string
	Status  string
	Context Context
	Runs    []CheckRun
}

// Context says what a suite was evaluated for. Empty or zero: not told.
type Context struct {
	PlanID    string
	ProjectID string
	BuildID   int
	Stage     string
	Attempt   int
}

// CheckRun is one evaluated check. ConfigurationID and Version say which
// configuration was evaluated; a Version of 0 was not told.
type CheckRun struct {
	ID              string
	Status          string
	Type            string
	TypeName        string
	ConfigurationID int
	Version         int
	Completed       time.Time // zero: not told
	Resource        Resource
}

// Resource is what a check guards.
type Resource struct {
	Type string
	ID   string
	Name string
}

// Configurations are the checks that the named resource has now. Where they
// may not be read, Read is false and Unknown says why.
type Configurations struct {
	Read    bool
	Unknown string
	Checks  []Configuration
}

// Configuration is one check as it is configured now.
type Configuration struct {
	ID       int
	Version  int // 0: not told
	Type     string
	Disabled bool
	// Definition is the GUID of a task check's definition; empty for others.
	Definition string
	Resource   Resource
}

// Token tells what the run's own signed token said. A token that does not fit
// is a refusal, never a Token.
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
