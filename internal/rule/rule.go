// Package rule defines the names of the rules that can refuse an image. Names
// are stable: they appear in result.json, in the log, and as anchors of
// docs/troubleshooting.md.
package rule

// Name is the stable name of a rule.
type Name string

// The rules, in the order of the documentation. The comment of each names the
// functions that decide it, the main one first; a test verifies the names.
const (
	// ApprovalMissing: nobody was asked for an approval, or there is none.
	// Decided by: approval.(*judge).bind, approval.(*judge).bindRelease,
	// approval.(*judge).judgeEntries, approval.(*judge).refuseStatus,
	// approval.(*judge).judgeSettings, approval.(*judge).judgeReleaseSettings,
	// approval.Decide, plan.Make.
	ApprovalMissing Name = "approval-missing"

	// ApprovalPending: an approval was not answered yet.
	// Decided by: approval.(*judge).refuseStatus.
	ApprovalPending Name = "approval-pending"

	// ApprovalRejected: an approval was rejected, canceled or timed out.
	// Decided by: approval.(*judge).refuseStatus.
	ApprovalRejected Name = "approval-rejected"

	// ApprovalUnreadable: the server's records of an approval cannot be read,
	// are incomplete, or contradict each other.
	// Decided by: approval.(*judge).begin, approval.(*judge).refuseStatus,
	// approval.(*judge).judgeEntries, approval.(*judge).judgeSuiteStatus,
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
	// approval.(*judge).nameless, approval.(*judge).oneResource, approval.(*judge).judgeConfigurations,
	// approval.(*judge).bindRelease, approval.(*judge).foreseeAwaited.
	ApprovalUnbound Name = "approval-unbound"

	// MinApprovers: too few eligible people have approved.
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

	// CommentPattern: the approver's comment does not match a pattern.
	// Decided by: approval.(*judge).judgeCandidate.
	CommentPattern Name = "comment-pattern"

	// ApprovalCode: the approver's comment does not quote the approval code.
	// Decided by: approval.(*judge).judgeCode, approval.(*judge).refuseCode,
	// approval.(*judge).judgeAutomated, approval.(*judge).foreseeAutomated.
	ApprovalCode Name = "approval-code"

	// AutomatedCheck: a named check did not pass for the stage.
	// Decided by: approval.(*judge).judgeAutomated, approval.(*judge).begin,
	// approval.(*judge).foreseeAutomated, approval.(*judge).foreseeCheck.
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
	// Decided by: approval.JudgeBuild, approval.JudgeTimeline,
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
	// Decided by: plan.JudgeDigest.
	DigestDiffers Name = "digest-differs"

	// Upward: the image would go to a more trusted registry.
	// Decided by: plan.judgeDirection, plan.judgeRoute, topology.(*File).Select.
	Upward Name = "upward"

	// Immutable: the target is locked, or its registry is immutable.
	// Decided by: plan.judgeLocks, topology.(*File).MayMove.
	Immutable Name = "immutable"

	// NotInFlow: no flow covers the image on its way to the target.
	// Decided by: topology.(*File).Select, plan.JudgeSubscribed,
	// plan.judgeRoute, plan.RecallRequest.Routes, plan.RecallRequest.flows.
	NotInFlow Name = "not-in-flow"

	// Branch: the run is of a branch that the flow does not allow, or the image
	// was sealed by a run that it does not allow, or that cannot be shown.
	// Decided by: plan.judgeBranch, plan.judgeSealers, plan.judgeSealing.
	Branch Name = "branch"

	// AttachedMissing: the image lacks an attached artifact that the flow
	// requires, or the newest is too old.
	// Decided by: plan.judgeAttached.
	AttachedMissing Name = "attached-missing"

	// FlowUnverified: the flow file is not the pinned one, or could not be read
	// from the server.
	// Decided by: topology.JudgePin.
	// Where reading failed: azdo.(*Service).File, run.readFlow.
	FlowUnverified Name = "flow-unverified"

	// Recalled: the image is recalled.
	// Decided by: recall.Refuse.
	Recalled Name = "recalled"

	// ReceiptMissing: the image has no receipt.
	// Decided by: receipt.(*judge).decide.
	ReceiptMissing Name = "receipt-missing"

	// ReceiptInvalid: no receipt of the image is signed by one of the named keys,
	// is about this image, and can be read.
	// Decided by: receipt.(*judge).decide.
	ReceiptInvalid Name = "receipt-invalid"

	// ReceiptPolicy: no valid receipt of the image shows what is expected.
	// Decided by: receipt.(*judge).decide.
	ReceiptPolicy Name = "receipt-policy"

	// TrustTooWide: the configuration of Azure is wider than the flows need.
	// Decided by: doctor.Refuse.
	TrustTooWide Name = "trust-too-wide"
)

// All has all rule names, in the order of the documentation.
var All = []Name{
	ApprovalMissing, ApprovalPending, ApprovalRejected, ApprovalUnreadable, ApprovalUnbound,
	MinApprovers, RequesterApproved, AuthorApproved, ApproverNotListed, NotAPerson, ApprovalTooOld,
	CommentPattern, ApprovalCode, AutomatedCheck, NotSealed, ChangedSinceApproval, RunMismatch,
	OlderThanRun, TagWouldMove, DigestDiffers, Upward, Immutable, NotInFlow, Branch,
	AttachedMissing, FlowUnverified, Recalled, ReceiptMissing, ReceiptInvalid, ReceiptPolicy, TrustTooWide,
}

// Refusal is a rule that is not met: what it is about, why, and what to do next.
// Reason is a clause, and Remedy a sentence. They may contain outside text and
// must be escaped when printed.
type Refusal struct {
	Rule    Name   `json:"rule"`
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Remedy  string `json:"remedy"`
}

// Outcome reports whether a rule is met, and by whom and when. Pending is set for a
// rule that is not met yet, because it waits for an approval that may still be
// given.
type Outcome struct {
	Rule    Name   `json:"rule"`
	Met     bool   `json:"met"`
	Pending bool   `json:"pending"`
	Detail  string `json:"detail"`
}

// labels has, for each rule, what is true if it is met, for people.
var labels = map[Name]string{
	ApprovalMissing:      "Approval given",
	ApprovalPending:      "Approval answered",
	ApprovalRejected:     "Approval not rejected",
	ApprovalUnreadable:   "Approval records readable",
	ApprovalUnbound:      "Approval of the named resource",
	MinApprovers:         "Enough approvers",
	RequesterApproved:    "Approved by someone other than the requester",
	AuthorApproved:       "Approved by someone other than the author",
	ApproverNotListed:    "Approved by a listed approver",
	NotAPerson:           "Approved by a person",
	ApprovalTooOld:       "Approval recent enough",
	CommentPattern:       "Comment matches the pattern",
	ApprovalCode:         "Comment quotes the approval code",
	AutomatedCheck:       "Automated checks passed",
	NotSealed:            "Sealed before the approval",
	ChangedSinceApproval: "Unchanged since the approval",
	RunMismatch:          "Job, stage and run verified",
	OlderThanRun:         "Pushed by this run",
	TagWouldMove:         "No tag moves against the rules",
	DigestDiffers:        "Digest as requested",
	Upward:               "Direction allowed",
	Immutable:            "Target not locked",
	NotInFlow:            "Covered by a flow",
	Branch:               "Branch allowed",
	AttachedMissing:      "Required artifacts attached",
	FlowUnverified:       "Flow file verified",
	Recalled:             "Not recalled",
	ReceiptMissing:       "Receipt attached",
	ReceiptInvalid:       "Receipt signed by a named key",
	ReceiptPolicy:        "Receipt meets the expectations",
	TrustTooWide:         "Configuration no wider than needed",
}

// Label returns what is true if the rule is met, in a few words for people.
func (n Name) Label() string { return labels[n] }
