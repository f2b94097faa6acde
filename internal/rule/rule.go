// Package rule names the rules that can refuse an image, and holds what a
// refusal says. Names are stable: they stand in result.json, in the Azure
// DevOps log and as anchors of docs/troubleshooting.md. Judging is not done here.
package rule

// Name is the stable name of a rule.
type Name string

// The rules, in the order in which the documentation tells them.
const (
	ApprovalMissing      Name = "approval-missing"
	ApprovalPending      Name = "approval-pending"
	ApprovalRejected     Name = "approval-rejected"
	ApprovalUnreadable   Name = "approval-unreadable"
	ApprovalUnbound      Name = "approval-unbound"
	MinApprovers         Name = "min-approvers"
	RequesterApproved    Name = "requester-approved"
	AuthorApproved       Name = "author-approved"
	ApproverNotListed    Name = "approver-not-listed"
	ApprovalTooOld       Name = "approval-too-old"
	CommentPattern       Name = "comment-pattern"
	ApprovalCode         Name = "approval-code"
	AutomatedCheck       Name = "automated-check"
	NotSealed            Name = "not-sealed"
	ChangedSinceApproval Name = "changed-since-approval"
	RunMismatch          Name = "run-mismatch"
	OlderThanRun         Name = "older-than-run"
	TagWouldMove         Name = "tag-would-move"
	DigestDiffers        Name = "digest-differs"
	Upward               Name = "upward"
	Immutable            Name = "immutable"
	NotInFlow            Name = "not-in-flow"
	Branch               Name = "branch"
	AttachedMissing      Name = "attached-missing"
	FlowUnverified       Name = "flow-unverified"
)

// All lists every rule name, in documentation order.
var All = []Name{
	ApprovalMissing, ApprovalPending, ApprovalRejected, ApprovalUnreadable, ApprovalUnbound,
	MinApprovers, RequesterApproved, AuthorApproved, ApproverNotListed, ApprovalTooOld,
	CommentPattern, ApprovalCode, AutomatedCheck, NotSealed, ChangedSinceApproval, RunMismatch,
	OlderThanRun, TagWouldMove, DigestDiffers, Upward, Immutable, NotInFlow, Branch,
	AttachedMissing, FlowUnverified,
}

// Refusal is one violated rule: what it is about, why, and what to do next.
// Reason and Remedy are sentences; they may carry text from outside and are
// made harmless where they are printed, not here.
type Refusal struct {
	Rule    Name   `json:"rule"`
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Remedy  string `json:"remedy"`
}

// Outcome tells whether one rule was met, by whom and when.
type Outcome struct {
	Rule   Name   `json:"rule"`
	Met    bool   `json:"met"`
	Detail string `json:"detail"`
}
