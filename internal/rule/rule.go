// Package rule names the rules that can refuse an image, and holds what a
// refusal says. Names are stable: they stand in result.json, in the Azure
// DevOps log and as anchors of docs/troubleshooting.md. Judging is not done here.
package rule

// Name is the stable name of a rule.
type Name string

// The rules, in the order of the documentation. The comment of each names the
// functions that decide it, the main one first; a test keeps the names true.
const (
	// ApprovalMissing: nobody was asked for an approval, or there is none.
	// Decided by: approval.(*judge).bind, approval.(*judge).bindRelease,
	// approval.(*judge).judgeEntries, approval.(*judge).refuseStatus,
	// approval.Decide, plan.Make.
	ApprovalMissing Name = "approval-missing"

	// ApprovalPending: an approval was not answered yet.
	// Decided by: approval.(*judge).refuseStatus.
	ApprovalPending Name = "approval-pending"

	// ApprovalRejected: an approval was rejected, canceled or timed out.
	// Decided by: approval.(*judge).refuseStatus.
	ApprovalRejected Name = "approval-rejected"

	// ApprovalUnreadable: what the server says of an approval cannot be read,
	// is incomplete, or contradicts itself.
	// Decided by: approval.(*judge).judge, approval.(*judge).refuseStatus,
	// approval.(*judge).judgeEntries, approval.(*judge).judgeWitness,
	// approval.(*judge).readApprovers, approval.(*judge).judgeCandidate,
	// approval.(*judge).bind, approval.(*judge).approvalRuns,
	// approval.(*judge).distinctApprovals, approval.(*judge).join,
	// approval.(*judge).judgeContext, approval.(*judge).judgeAutomated,
	// approval.(*judge).judgeCheckOrder, approval.JudgeBuild,
	// approval.JudgeRelease, approval.ReleaseRecord.Evidence.
	// Where reading failed: azdo.(*Service).unreadable, run.unreadable.
	ApprovalUnreadable Name = "approval-unreadable"

	// ApprovalUnbound: an approval does not guard the named environment or
	// service connection.
	// Decided by: approval.(*judge).join, approval.(*judge).bind,
	// approval.(*judge).oneResource, approval.(*judge).judgeConfigurations,
	// approval.(*judge).bindRelease.
	ApprovalUnbound Name = "approval-unbound"

	// MinApprovers: too few eligible persons approved.
	// Decided by: approval.(*judge).judgeApprovers.
	MinApprovers Name = "min-approvers"

	// RequesterApproved: a person who requested the run approved it.
	// Decided by: approval.(*judge).judgeCandidate.
	RequesterApproved Name = "requester-approved"

	// AuthorApproved: the author of the source version approved it.
	// Decided by: approval.(*judge).judgeCandidate,
	// approval.(*judge).judgeAuthors.
	AuthorApproved Name = "author-approved"

	// ApproverNotListed: a person approved who is not on the list.
	// Decided by: approval.(*judge).judgeCandidate.
	ApproverNotListed Name = "approver-not-listed"

	// NotAPerson: something other than a person approved: a group, a service
	// principal, a build identity, or an identity of an unknown type.
	// Decided by: approval.(*judge).judgeCandidate.
	NotAPerson Name = "not-a-person"

	// ApprovalTooOld: the approval is older than the rules allow.
	// Decided by: approval.(*judge).judgeCandidate.
	ApprovalTooOld Name = "approval-too-old"

	// CommentPattern: the approver's comment lacks what a pattern demands.
	// Decided by: approval.(*judge).judgeCandidate.
	CommentPattern Name = "comment-pattern"

	// ApprovalCode: the approver's comment does not quote the approval code.
	// Decided by: approval.(*judge).judgeCandidate,
	// approval.(*judge).judgeAutomated.
	ApprovalCode Name = "approval-code"

	// AutomatedCheck: a named check did not pass for the stage.
	// Decided by: approval.(*judge).judgeAutomated, approval.(*judge).judge.
	AutomatedCheck Name = "automated-check"

	// NotSealed: the image is not sealed, or was sealed after the approval.
	// Decided by: approval.JudgeSeal, approval.(*judge).judgeSeals,
	// approval.(*judge).judgeOrder, approval.(*judge).judgeCheckOrder.
	NotSealed Name = "not-sealed"

	// ChangedSinceApproval: the image was changed after the approval.
	// Decided by: approval.(*judge).judgeOrder,
	// approval.(*judge).judgeCheckOrder.
	ChangedSinceApproval Name = "changed-since-approval"

	// RunMismatch: the job is not part of the run, stage or deployment that it
	// claims to be part of.
	// Decided by: approval.JudgeBuild, approval.JudgePlace,
	// approval.JudgeToken, approval.JudgeRelease, approval.JudgeClaims,
	// approval.(*judge).judgeContext.
	RunMismatch Name = "run-mismatch"

	// OlderThanRun: the image to seal was pushed before the run started.
	// Decided by: plan.judgeAge, approval.JudgeArtifact.
	OlderThanRun Name = "older-than-run"

	// TagWouldMove: a tag points at another digest and may not be moved.
	// Decided by: plan.judgeMove, plan.judgeNames, topology.(*File).MayMove.
	TagWouldMove Name = "tag-would-move"

	// DigestDiffers: the tag resolves to another digest than the input names.
	// Decided by: plan.judgeDigest.
	DigestDiffers Name = "digest-differs"

	// Upward: the image would go to a registry of more trust.
	// Decided by: plan.judgeDirection, plan.judgeWay, topology.(*File).Select.
	Upward Name = "upward"

	// Immutable: the target is locked, or its registry is immutable.
	// Decided by: plan.judgeLocks, topology.(*File).MayMove.
	Immutable Name = "immutable"

	// NotInFlow: no flow covers the image on its way to the target.
	// Decided by: topology.(*File).Select, plan.JudgeSubscribed,
	// plan.judgeWay.
	NotInFlow Name = "not-in-flow"

	// Branch: the run is of a branch that the flow does not take.
	// Decided by: plan.judgeBranch.
	Branch Name = "branch"

	// AttachedMissing: the image lacks an attached artifact that the flow
	// demands, or has only an old one.
	// Decided by: plan.judgeAttached.
	AttachedMissing Name = "attached-missing"

	// FlowUnverified: the flow file is not the one that was pinned, or could
	// not be read from the server.
	// Decided by: topology.JudgePin.
	// Where reading failed: azdo.(*Service).File, run.readFlow.
	FlowUnverified Name = "flow-unverified"
)

// All lists every rule name, in documentation order.
var All = []Name{
	ApprovalMissing, ApprovalPending, ApprovalRejected, ApprovalUnreadable, ApprovalUnbound,
	MinApprovers, RequesterApproved, AuthorApproved, ApproverNotListed, NotAPerson, ApprovalTooOld,
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
