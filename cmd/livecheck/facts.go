package main

import "context"

// part is what a fact is asked of, and so what has to be given to check it.
type part string

const (
	ofRegistry   part = "a registry (-registry)"
	ofRegional   part = "a regional endpoint (-regional)"
	ofSoftDelete part = "a registry with soft delete (-soft-delete)"
	ofRetention  part = "a registry that deletes untagged manifests (-retention)"
	ofKeys       part = "a registry with customer-managed keys (-customer-keys)"
	ofReader     part = "a token that may only pull (LIVECHECK_READER, LIVECHECK_READER_PASSWORD)"
	ofRun        part = "a run of the printed pipeline (-run)"
	ofJob        part = "a job of the printed pipeline (livecheck -job there)"
	ofRelease    part = "a classic release (-release)"
	ofReleaseJob part = "a job of a classic release (livecheck -job there, then -answers)"
	ofServerJob  part = "a job of a run on Azure DevOps Server (livecheck -job there)"
)

// fact is one question that public documentation leaves open, and two answers to
// it that the program is right with.
type fact struct {
	id       string
	question string
	a, b     string
	of       part
	does     string // what the probe does, for -list
	probe    func(ctx context.Context, c *check) answer
}

// answer is what a probe found out.
type answer struct {
	Answer string `json:"answer"` // A, B, other, not checked
	Why    string `json:"why,omitempty"`
	Status int    `json:"status,omitempty"`
	Code   string `json:"code,omitempty"`
	Body   string `json:"body,omitempty"`
}

const (
	answerA     = "A"
	answerB     = "B"
	answerOther = "other"
	notChecked  = "not checked"
)

func unchecked(why string) answer { return answer{Answer: notChecked, Why: why} }

// failed is the answer of a probe that could not put its question.
func failed(err error) answer { return answer{Answer: notChecked, Why: err.Error()} }

// facts are in the order in which they are checked.
var facts = []fact{
	{"locked-tag-equal-put", "What does a PUT of the same manifest to a locked tag answer?",
		"refused", "accepted", ofRegistry,
		"pushes an image, locks its tag, puts the same manifest under the tag again", probeLockedTagPut},
	{"locked-tag-patch", "Does a locked tag let its attributes be changed?",
		"accepted", "refused", ofRegistry,
		"locks a tag, then sends the same attributes again", probeLockedTagPatch},
	{"locked-manifest-referrer", "Does a write lock on a manifest stop others from being attached to it?",
		"accepted", "refused", ofRegistry,
		"locks a manifest against writes, puts a manifest with it as subject", probeLockedManifestReferrer},
	{"locked-manifest-tag", "Does a write lock on a manifest stop new tags on it?",
		"refused", "accepted", ofRegistry,
		"locks a manifest against writes, puts it under another tag", probeLockedManifestTag},
	{"read-disabled-manifest", "What does a GET of a manifest with readEnabled false answer?",
		"405", "404", ofRegistry,
		"disables reads of a manifest, gets it by digest", probeReadDisabledManifest},
	{"read-disabled-attributes", "Are the attributes of a manifest with readEnabled false readable?",
		"readable", "refused", ofRegistry,
		"disables reads of a manifest, gets its attributes", probeReadDisabledAttributes},
	{"read-disabled-referrers", "Are the referrers of a manifest with readEnabled false listed?",
		"listed", "refused", ofRegistry,
		"attaches an artifact, disables reads of the subject, lists its referrers", probeReadDisabledReferrers},
	{"read-disabled-subject", "Can something be attached to a manifest with readEnabled false?",
		"accepted", "refused", ofRegistry,
		"disables reads of a manifest, puts a manifest with it as subject", probeReadDisabledSubject},
	{"read-disabled-put", "What does a PUT of a manifest with readEnabled false do?",
		"it stays unreadable", "it can be read again", ofRegistry,
		"disables reads of a manifest, puts the same manifest under another tag, gets it by digest", probeReadDisabledPut},
	{"listed-referrers", "Does the list of a repository's manifests have those that refer to others?",
		"yes", "no", ofRegistry,
		"attaches an artifact to an image, lists the manifests", probeListedReferrers},
	{"pull-token-tags", "Does a token with only pull list the tags of a repository?",
		"refused", "listed", ofRegistry,
		"asks for a token with pull alone, gets tags/list with it", probePullTokenTags},
	{"pull-token-attributes", "Does a token with only pull read the attributes of a tag?",
		"refused", "readable", ofRegistry,
		"asks for a token with pull alone, gets the attributes of a tag with it", probePullTokenAttributes},
	{"partial-scope", "What does the token endpoint answer if only a part of the scope is granted?",
		"a token for the part", "refused", ofReader,
		"asks for pull and push as an identity that may only pull", probePartialScope},
	{"soft-deleted-put", "What does a PUT of a soft-deleted manifest answer?",
		"refused", "accepted", ofSoftDelete,
		"pushes an image, deletes it, puts the same manifest again", probeSoftDeletedPut},
	{"untagged-retention", "Does a retention policy of 0 days delete an untagged manifest within -wait?",
		"deleted", "kept", ofRetention,
		"pushes a manifest by digest, without a tag, and waits", probeRetention},
	{"regional-service", "Which service does the challenge of a regional endpoint name?",
		"the login server", "the regional endpoint", ofRegional,
		"gets /v2/ without a credential, then asks for a token under either name", probeRegionalService},
	{"regional-lock", "Does a regional endpoint show a lock as soon as it is set at the login server?",
		"at once", "later", ofRegional,
		"pushes an image, locks its tag at the login server, reads the attributes at the regional endpoint", probeRegionalLock},
	{"customer-key-referrers", "Does a registry with customer-managed keys have a referrers API?",
		"no", "yes", ofKeys,
		"lists the referrers of an image", probeKeysReferrers},

	{"approval-check-id", "Does an approval have the id of its check run?",
		"the same id", "another id", ofRun,
		"compares the approvals of stage Approved with its check suite", probeApprovalID},
	{"graph-node-id", "Is GraphNode.Id of a check suite the id of the stage's record?",
		"the same id", "another id", ofRun,
		"compares the check suite of stage Approved with the timeline", probeGraphNode},
	{"suite-context", "Does the context of a check suite have nested or flat keys?",
		"nested", "flat", ofRun,
		"reads the check suite of stage Approved", probeSuiteContext},
	{"suite-check-runs", "Does the check suite of an approved stage list its check runs?",
		"listed", "an empty list", ofRun,
		"reads the check suite of stage Approved", probeSuiteRuns},
	{"approval-owner", "Does an approval name the run that it belongs to?",
		"pipeline.owner.id is the run", "absent", ofRun,
		"reads the approval of stage Approved", probeApprovalOwner},
	{"one-click", "Does one click answer every step that the person may act for?",
		"every step at once", "one step", ofRun,
		"compares the times of the two steps of stage Approved's approval", probeOneClick},
	{"bypass", "What do the records show after an administrator's bypass?",
		"approval skipped, check run bypassed", "approval approved", ofRun,
		"reads approval and check suite of stage Bypassed", probeBypass},
	{"deferral", "Does an approval that was deferred still show it after it was given?",
		"deferredTo stays", "deferredTo is gone", ofRun,
		"reads the approval of stage Deferred", probeDeferral},
	{"attachment-link", "Does the link of an attachment name the record of the step that wrote it?",
		"the step's record", "another record", ofRun,
		"lists the attachments of the job and looks their records up in the timeline", probeAttachmentLink},
	{"summary-size", "Is a summary of 128 KiB kept whole?",
		"kept", "lost or cut", ofRun,
		"reads the summaries that the job uploaded, of 64 KiB to 1 MiB", probeSummarySize},

	{"approvals-right", "Can the build service read the approvals of its run?",
		"readable", "refused", ofJob,
		"reads the approval of stage Approved with the job's token", probeApprovalsRight},
	{"resource-name", "Does a check suite show the build service the names of the resources?",
		"named", "type and id alone", ofJob,
		"reads the check suite of stage Approved with the job's token", probeResourceName},
	{"run-token", "Does a job get a signed token of its own run?",
		"a token with run_id", "refused", ofJob,
		"asks for an OIDC token without a service connection", probeRunToken},
	{"job-token-other-step", "May a job's token write an attachment under another step's record?",
		"refused", "accepted", ofJob,
		"puts an attachment under the record of the job's first step", probeOtherStep},
	{"job-token-patch-record", "May a job's token change another step's record?",
		"refused", "accepted", ofJob,
		"patches the record of the job's first step and reads the timeline again", probePatchRecord},
	{"job-token-other-run", "May a job's token write an attachment in another run?",
		"refused", "accepted", ofJob,
		"puts an attachment under a record of the run LIVECHECK_OTHER_RUN", probeOtherRun},
	{"resource-rights", "May a job's token read who administers an environment, and which pipelines may use it?",
		"readable", "refused", ofJob,
		"reads the roles and the pipeline permissions of the environment of stage Approved", probeResourceRights},
	{"repository-rights", "May a job's token read who has permissions on a repository?",
		"readable", "refused", ofJob,
		"reads the access control list of the run's repository", probeRepositoryRights},
	{"inherited-rights", "Does an access control list have what is inherited?",
		"listed", "left out", ofJob,
		"reads the access control list of the run's repository with its extended information", probeInheritedRights},
	{"server-run-token", "Does a job of Azure DevOps Server get a signed token of its own run?",
		"a token with run_id", "refused", ofServerJob,
		"asks for an OIDC token without a service connection", probeServerToken},

	{"release-run-token", "Does a job of a classic release get a signed token of its own?",
		"a token", "refused", ofReleaseJob,
		"asks for an OIDC token without a service connection", probeReleaseToken},
	{"release-hosts", "Do the addresses that a release job gets name one host?",
		"one host", "several", ofReleaseJob,
		"compares SYSTEM_COLLECTIONURI, SYSTEM_TEAMFOUNDATIONSERVERURI and SYSTEM_OIDCREQUESTURI", probeReleaseHosts},
	{"gate-filter-number", "Does the expression of a gate support a filter that compares numbers?",
		"yes", "no", ofRelease,
		"reads the state of the gate of stage FilterNumber", probeGateNumber},
	{"gate-filter-text", "Does the expression of a gate support a filter that compares text in doubled quotes?",
		"yes", "no", ofRelease,
		"reads the state of the gate of stage FilterText", probeGateText},
}
