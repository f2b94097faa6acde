// Package report renders the result of a run for people (text, Markdown) and for
// programs (result.json). It decides nothing.
package report

import (
	"slices"

	"acrpromote/internal/card"
	"acrpromote/internal/doctor"
	"acrpromote/internal/drift"
	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
	"acrpromote/internal/trace"
)

// Schema identifies the format of result.json.
const Schema = "acrpromote/result/v1"

// Result is the result of a run, as in result.json: what was requested, found,
// decided and done.
type Result struct {
	Schema       string          `json:"schema"`
	Tool         string          `json:"tool"`
	Action       string          `json:"action"`
	DryRun       bool            `json:"dryRun"`
	StartedAt    string          `json:"startedAt"`  // RFC 3339, UTC
	FinishedAt   string          `json:"finishedAt"` // RFC 3339, UTC
	Outcome      outcome.Outcome `json:"outcome"`
	Changed      bool            `json:"changed"`
	Direction    string          `json:"direction"`
	Rules        string          `json:"rules"`
	Protection   string          `json:"protection"`
	ApprovalCode string          `json:"approvalCode"`
	// Plan is set if the plan's code was computed.
	Plan *Plan `json:"plan,omitempty"`
	// Flow is the flow file in force; nil if there is none.
	Flow *FlowFile `json:"flow,omitempty"`
	// Registries are those of the flow file, sorted by name.
	Registries []Registry `json:"registries,omitempty"`
	// RulesInForce has the rules in force, by the name of the input or of the key in
	// a flow file. It is empty if the rules are not known.
	RulesInForce map[string]RuleInForce `json:"rulesInForce"`
	// Identities says how the step signs in to each registry.
	Identities []Identity `json:"identities"`
	Run        Run        `json:"run"`
	Approval   Approval   `json:"approval"`
	Images     []Image    `json:"images"`
	// Receipts are signed with the keys in Signing.
	Receipts []Receipt `json:"receipts"`
	Signing  []Signing `json:"signing"`
	// Rights is what a plan found of the rights that the action needs.
	Rights   []Right        `json:"rights"`
	Refusals []rule.Refusal `json:"refusals"`
	Errors   []Problem      `json:"errors"`
	// Warnings are shown in the log and in the summary, but are not in
	// result.json.
	Warnings  []string  `json:"-"`
	Egress    []string  `json:"egress"`
	Proxy     string    `json:"proxy"`
	CA        string    `json:"ca"`
	Transport string    `json:"transport"`
	Traffic   []Traffic `json:"traffic"`
	Budget    []Budget  `json:"budget"`
	// Card is set if the summary begins with the approver's card.
	Card *CardFacts `json:"-"`
	// ReceiptVerdict is set by verifyReceipt if the image's receipts were read.
	ReceiptVerdict *ReceiptVerdict `json:"receiptVerdict,omitempty"`
	// Recall is set by recall.
	Recall *Recall `json:"recall,omitempty"`
	// Trace has the lives of images, set by trace.
	Trace []trace.Life `json:"trace,omitempty"`
	// Findings has where the configuration is wider than the flows need, the most
	// severe first. It is nil for all actions but doctor.
	Findings []doctor.Finding `json:"findings,omitzero"`
	Doctor   *Doctor          `json:"doctor,omitempty"`
	// Drift has what an audit of a whole flow found. It is nil for all others.
	Drift []drift.Finding `json:"drift,omitzero"`
	// Environment lists the names of suspicious environment variables that were
	// set.
	Environment []string `json:"environment"`
}

// Recall is why images are recalled, or why that is lifted. The record is among the
// receipts; its KeyID is empty if it is not signed.
type Recall struct {
	Reason string `json:"reason"`
	Lift   bool   `json:"lift"`
}

// ReceiptVerdict is what the signed receipts of an image show. Receipt is the oldest
// one that meets all expectations or, if none does, the oldest valid one; it is nil if
// none is valid. Valid counts those that are.
type ReceiptVerdict struct {
	Met     bool            `json:"met"`
	Valid   int             `json:"valid"`
	Receipt *ReceiptContent `json:"receipt,omitempty"`
	Seals   []SignedSeal    `json:"seals"`
}

// ReceiptContent is what a receipt says; all of it is signed by the key. From and To are
// references with tags, and Resource is the image that the receipt is for. Manifests
// has the digests of its two artifacts.
type ReceiptContent struct {
	KeyID         string           `json:"keyId"`
	Time          string           `json:"time"` // RFC 3339, UTC
	Manifests     []string         `json:"manifests"`
	Resource      string           `json:"resource"`
	Levels        []string         `json:"levels"`
	Tool          string           `json:"tool"`
	Action        string           `json:"action"`
	From          string           `json:"from"`
	To            []string         `json:"to"`
	Run           Run              `json:"run"`
	ApprovalKind  string           `json:"approvalKind"`
	Approvers     int              `json:"approvers"`
	Given         []SignedApproval `json:"given"`
	Checks        []string         `json:"checks"`
	Resources     []string         `json:"resources"`
	RulesVerified bool             `json:"rulesVerified"`
	Flow          *FlowFile        `json:"flow,omitempty"`
	Redacted      []string         `json:"redacted"`
}

// SignedApproval is an approval that a receipt shows.
type SignedApproval struct {
	Name       string `json:"name"`
	UniqueName string `json:"uniqueName"`
	ID         string `json:"id"`
	At         string `json:"at"`
	Comment    string `json:"comment"`
	Resource   string `json:"resource"`
}

// SignedSeal is a seal that is signed by one of the keys.
type SignedSeal struct {
	Time   string `json:"time"`
	Image  string `json:"image"`
	Record string `json:"record"`
	Run    Run    `json:"run"`
}

// texts returns the texts of a receipt that come from elsewhere.
func (r *ReceiptContent) texts() []*string {
	all := append(r.Run.texts(), &r.Time, &r.Resource, &r.Tool, &r.Action, &r.From, &r.ApprovalKind)
	for _, list := range [][]string{r.Levels, r.To, r.Checks, r.Resources, r.Redacted} {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	for i := range r.Given {
		g := &r.Given[i]
		all = append(all, &g.Name, &g.UniqueName, &g.ID, &g.At, &g.Comment, &g.Resource)
	}
	if r.Flow != nil {
		all = append(all, &r.Flow.Repository, &r.Flow.Ref, &r.Flow.Commit, &r.Flow.Path, &r.Flow.SHA256)
	}
	return all
}

// Texts returns the texts of the verdict that come from elsewhere.
func (v *ReceiptVerdict) Texts() []*string {
	var all []*string
	if v.Receipt != nil {
		all = v.Receipt.texts()
	}
	for i := range v.Seals {
		s := &v.Seals[i]
		all = append(append(all, s.Run.texts()...), &s.Time, &s.Image, &s.Record)
	}
	return all
}

func (r *Run) texts() []*string {
	return []*string{&r.Organization, &r.Project, &r.Pipeline.Name, &r.URL, &r.Stage, &r.Job, &r.RequestedBy, &r.RequestedByID, &r.RequestedByUniqueName, &r.Branch, &r.Commit}
}

// Plan has the digest and the code of the plan. Others are the lines of the images
// that other jobs of a set copy, and that are not in this result.
type Plan struct {
	Digest string   `json:"digest"`
	Code   string   `json:"code"`
	Others []string `json:"others,omitempty"`
}

// CardFacts has what the approver's card shows besides the rest of the result: the
// action that would be executed, when it was judged, and what of the set was not
// compared.
type CardFacts struct {
	Operation string
	At        string
	Lock      string // of a seal
	Notes     []string
}

// FlowFile is the flow file that was read: from the server (Repository, Ref, and
// Commit) or from the workspace. SHA256 is the hash of its content in
// hexadecimal, and Pinned the hash that the input requires.
type FlowFile struct {
	Repository string `json:"repository,omitempty"`
	Ref        string `json:"ref,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Path       string `json:"path"`
	SHA256     string `json:"sha256"`
	Pinned     string `json:"-"`
}

// Registry is a registry of the flow file. Hosts are its other names, and Level is the
// place of its trust level in the file: 0 for the least trusted.
type Registry struct {
	Name  string   `json:"name"`
	Host  string   `json:"host"`
	Hosts []string `json:"hosts,omitempty"`
	Trust string   `json:"trust"`
	Level int      `json:"level"`
}

// Run is the Azure Pipelines run that the program is part of, as far as the
// server confirmed it. Kind is yaml, release or none.
type Run struct {
	Kind         string   `json:"kind"`
	Organization string   `json:"organization"`
	Project      string   `json:"project"`
	Pipeline     Pipeline `json:"pipeline"`
	ID           int      `json:"id"`
	URL          string   `json:"url"` // of the run's page
	Stage        string   `json:"stage"`
	Job          string   `json:"job"`
	Attempt      int      `json:"attempt"`
	// RequestedBy has the names of all people who requested the run, and
	// RequestedByID and RequestedByUniqueName are those of the first.
	RequestedBy           string `json:"requestedBy"`
	RequestedByID         string `json:"requestedById"`
	RequestedByUniqueName string `json:"requestedByUniqueName"`
	Branch                string `json:"branch"`
	Commit                string `json:"commit"`
}

// Pipeline is the definition of a run or of a classic release.
type Pipeline struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// RuleInForce is the effective value of a rule, and where it comes from: input, flow
// or default. Flow is the flow that covers the image. If other images or targets of
// the step have other values, Others has these, each once.
type RuleInForce struct {
	Value  any         `json:"value"`
	From   string      `json:"from"`
	Flow   string      `json:"flow,omitempty"`
	Others []RuleValue `json:"others,omitempty"`
}

// RuleValue is the value of a rule for some of the images or targets.
type RuleValue struct {
	Value any    `json:"value"`
	From  string `json:"from"`
	Flow  string `json:"flow,omitempty"`
}

// Identity says how the step signs in to a registry: on which side, and with which
// service connection, by its name or, if that cannot be read, by its ID. Without a
// connection, access is anonymous or the user's own.
type Identity struct {
	Side       Side   `json:"side"`
	Host       string `json:"host"`
	Connection string `json:"connection"`
	ID         string `json:"id"`
	ClientID   string `json:"clientId"`
}

// Approval is the verdict on the approval. Kind is manual, automated, none (the
// flow or the action requires no approval) or unapproved (--approval none).
type Approval struct {
	Granted   bool             `json:"granted"`
	Kind      string           `json:"kind"`
	Guards    string           `json:"guards"`
	Approvers []Approver       `json:"approvers"`
	Approvals []ApprovalRecord `json:"approvals"`
	Rules     []RuleState      `json:"rules"`
}

// RuleState is a rule that was judged. Label is what is true if the rule is met.
type RuleState struct {
	Rule    rule.Name `json:"rule"`
	Label   string    `json:"label"`
	Met     bool      `json:"met"`
	Pending bool      `json:"pending"`
	Detail  string    `json:"detail"`
}

// RuleStates returns outcomes with the labels of their rules.
func RuleStates(outcomes []rule.Outcome) []RuleState {
	var states []RuleState
	for _, o := range outcomes {
		states = append(states, RuleState{Rule: o.Rule, Label: o.Rule.Label(), Met: o.Met, Pending: o.Pending, Detail: o.Detail})
	}
	return states
}

// Approver is a person whose approval counted. At is in RFC 3339, UTC.
type Approver struct {
	Name       string `json:"name"`
	UniqueName string `json:"uniqueName"`
	ID         string `json:"id"`
	At         string `json:"at"`
	Comment    string `json:"comment"`
}

// ApprovalRecord identifies an approval that was judged, or a check of an automated
// approval. Check and Version are the number and the version of the check's
// configuration, 0 if they are unknown; CheckRun is its evaluation for the stage.
type ApprovalRecord struct {
	ID         string `json:"id"`
	Check      int    `json:"check"`
	Version    int    `json:"version"`
	CheckRun   string `json:"checkRun"`
	Resource   string `json:"resource"`
	ResourceID string `json:"resourceId"`
	// RequestedAt is when the first approver could respond. It is empty if that is
	// unknown, and for a check.
	RequestedAt string `json:"requestedAt"`
}

// Image is an image and its state at each target. Bytes is the size of the
// distinct blobs and manifests of the image, without attached artifacts.
type Image struct {
	Source   string `json:"source"`
	Digest   string `json:"digest"`
	SealedAt string `json:"sealedAt"`
	Bytes    int64  `json:"bytes"`
	// Attached is what is attached to the image, with the worst state over all
	// targets.
	Attached []Attached `json:"attached"`
	Targets  []Target   `json:"targets"`
	// Description and Changes are set if the image was compared with others: those
	// that its targets have.
	Description *card.Description `json:"description,omitempty"`
	// Types has the types of what is attached to an image of which that was read for
	// the card alone.
	Types   []string      `json:"-"`
	Changes []card.Change `json:"changes,omitempty"`
}

// Attached is one artifact that is attached to the image, or to something that
// belongs to it: planned, copied, present, left, pending or failed. Reason says
// why it stays behind.
type Attached struct {
	Digest       string        `json:"digest"`
	ArtifactType string        `json:"artifactType"`
	Subject      string        `json:"subject"`
	State        outcome.State `json:"state"`
	Reason       string        `json:"reason"`
	// InPlan is set if the plan's code covers it.
	InPlan bool `json:"inPlan,omitempty"`
}

// Receipt is a signed statement that is attached to an image, or will be: the digest
// of its manifest, once it is known, and that of the image.
type Receipt struct {
	Registry      string       `json:"registry"`
	Repository    string       `json:"repository"`
	Digest        string       `json:"digest"`
	Subject       string       `json:"subject"`
	PredicateType string       `json:"predicateType"`
	KeyID         string       `json:"keyId"`
	State         ReceiptState `json:"state"`
}

// ReceiptState is the state of a receipt.
type ReceiptState string

// The states: one that is present was attached by an earlier run.
const (
	ReceiptPlanned  ReceiptState = "planned"
	ReceiptAttached ReceiptState = "attached"
	ReceiptPresent  ReceiptState = "present"
	ReceiptFailed   ReceiptState = "failed"
)

// Signing is a key that signs receipts, and how many signatures the plan takes.
type Signing struct {
	Key        string `json:"key"`
	KeyID      string `json:"keyId"`
	Signatures int    `json:"signatures"`
}

// MergeAttached joins lists, of several targets for example: each artifact once,
// in its worst state.
func MergeAttached(lists ...[]Attached) []Attached {
	merged := []Attached{}
	at := map[[2]string]int{} // by digest and subject
	for _, a := range slices.Concat(lists...) {
		key := [2]string{a.Digest, a.Subject}
		i, seen := at[key]
		switch {
		case !seen:
			at[key] = len(merged)
			merged = append(merged, a)
		case outcome.Worse(merged[i].State, a.State) != merged[i].State:
			a.InPlan = a.InPlan || merged[i].InPlan
			merged[i] = a
		default:
			merged[i].InPlan = merged[i].InPlan || a.InPlan
		}
	}
	return merged
}

// Target is an image's target and its state. Previous is the digest that the tag
// pointed at before it was moved, and Locked is what was locked. Rollback is set
// if the tag moved to an older image.
type Target struct {
	Registry   string        `json:"registry"`
	Repository string        `json:"repository"`
	Tag        string        `json:"tag"`
	State      outcome.State `json:"state"`
	Referrers  int           `json:"referrers"`
	Attached   []Attached    `json:"attached"`
	Error      string        `json:"error"`
	Previous   string        `json:"previous,omitempty"`
	Rollback   bool          `json:"rollback,omitempty"`
	Locked     string        `json:"locked,omitempty"`
	// Readable has the digests of what belongs to a recalled image and stays readable,
	// because others have it too.
	Readable []string `json:"readable,omitempty"`
}

// Right is what is known of the rights that the planned action needs in one registry,
// by the claims of the registry's token: a hint. Reason is a clause, and Remedy a
// sentence without its full stop.
type Right struct {
	Registry string     `json:"registry"`
	State    RightState `json:"state"`
	Reason   string     `json:"reason"`
	Remedy   string     `json:"remedy"`
}

// RightState is granted, missing or unchecked.
type RightState string

const (
	RightGranted   RightState = "granted"
	RightMissing   RightState = "missing"
	RightUnchecked RightState = "unchecked"
)

// Side is the side on which something failed.
type Side string

const (
	SourceSide  Side = "source"
	TargetSide  Side = "target"
	ServiceSide Side = "service"
	InputSide   Side = "input"
)

// Problem is a failure: its side, what failed, why, and what to do next. Reason
// is a clause, and Remedy a sentence or empty.
type Problem struct {
	Side    Side   `json:"side"`
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Remedy  string `json:"remedy"`
	// File, Line and Column say where a mistake in a flow file is. Line is 0 if it is
	// about the whole file.
	File         string `json:"-"`
	Line, Column int    `json:"-"`
}

// Traffic has the requests to a registry.
type Traffic struct {
	Registry     string   `json:"registry"`
	Requests     Requests `json:"requests"`
	BytesRead    int64    `json:"bytesRead"`
	BytesWritten int64    `json:"bytesWritten"`
	Retries      int      `json:"retries"`
	WaitedMs     int64    `json:"waitedMs"`
	HeldMs       int64    `json:"heldMs"`
}

// Budget has the requests of the whole run to an Azure registry, as counted before
// anything was written, and by service tier the part that they are of what one
// identity may send in a minute.
type Budget struct {
	Registry string   `json:"registry"`
	Requests Requests `json:"requests"`
	Shares   Shares   `json:"shares"`
}

// Shares has a share for each service tier.
type Shares struct {
	Basic    Share `json:"basic"`
	Standard Share `json:"standard"`
	Premium  Share `json:"premium"`
}

// Share is a part of one minute's limits by kind of request; 1 is all of them.
type Share struct {
	Read      float64 `json:"read"`
	Write     float64 `json:"write"`
	Referrers float64 `json:"referrers"`
}

// most returns the largest part.
func (s Share) most() float64 { return max(s.Read, s.Write, s.Referrers) }

// Requests counts HTTP requests by kind.
type Requests struct {
	Read      int `json:"read"`
	Write     int `json:"write"`
	Referrers int `json:"referrers"`
	Token     int `json:"token"`
}
