// Package report tells one result to people (Markdown, text) and to programs
// (result.json). It renders what was decided and done elsewhere; it decides
// nothing, and it is one of the two packages that write to standard output.
package report

import (
	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
)

// Schema is the identifier of the result document's form.
const Schema = "acrpromote/result/v1"

// Result is result.json: everything that was asked, observed, decided and done.
type Result struct {
	Schema       string          `json:"schema"`
	Tool         string          `json:"tool"`
	Action       string          `json:"action"`
	DryRun       bool            `json:"dryRun"`
	Outcome      outcome.Outcome `json:"outcome"`
	Changed      bool            `json:"changed"`
	Direction    string          `json:"direction"`
	Rules        string          `json:"rules"`
	Protection   string          `json:"protection"`
	ApprovalCode string          `json:"approvalCode"`
	// Flow says which flow file was in force; nil without one.
	Flow     *FlowFile      `json:"flow,omitempty"`
	Run      Run            `json:"run"`
	Approval Approval       `json:"approval"`
	Images   []Image        `json:"images"`
	Refusals []rule.Refusal `json:"refusals"`
	Errors   []Problem      `json:"errors"`
	// Warnings are told in the log and the summary; they are no part of the
	// document.
	Warnings  []string  `json:"-"`
	Egress    []string  `json:"egress"`
	Proxy     string    `json:"proxy"`
	CA        string    `json:"ca"`
	Transport string    `json:"transport"`
	Traffic   []Traffic `json:"traffic"`
}

// FlowFile is the flow file that was read: from the server (repository, ref and
// the commit that it was read at) or from the workspace, and the SHA-256 of its
// bytes in hexadecimal. Pinned is the hash that the input demanded.
type FlowFile struct {
	Repository string `json:"repository,omitempty"`
	Ref        string `json:"ref,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Path       string `json:"path"`
	SHA256     string `json:"sha256"`
	Pinned     string `json:"-"`
}

// Run is the run of Azure Pipelines that the program was part of, as far as
// the server confirmed it. Kind is yaml, release or none.
type Run struct {
	Kind         string `json:"kind"`
	Organization string `json:"organization"`
	Project      string `json:"project"`
	ID           int    `json:"id"`
	Stage        string `json:"stage"`
	Attempt      int    `json:"attempt"`
	RequestedBy  string `json:"requestedBy"`
	Branch       string `json:"branch"`
	Commit       string `json:"commit"`
}

// Approval is the verdict as result.json tells it. Kind is manual, automated,
// none (a flow permits it) or unapproved.
type Approval struct {
	Granted   bool           `json:"granted"`
	Kind      string         `json:"kind"`
	Guards    string         `json:"guards"`
	Approvers []Approver     `json:"approvers"`
	Rules     []rule.Outcome `json:"rules"`
}

// Approver is a person whose approval counted. At is RFC 3339, UTC.
type Approver struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	At      string `json:"at"`
	Comment string `json:"comment"`
}

// Image is one image and what became of it at each target. Bytes counts the
// distinct blobs and manifests of the image itself, not of what is attached.
type Image struct {
	Source   string   `json:"source"`
	Digest   string   `json:"digest"`
	SealedAt string   `json:"sealedAt"`
	Bytes    int64    `json:"bytes"`
	Targets  []Target `json:"targets"`
}

// Target is one place an image went to. Previous is the digest that the tag
// bore before it was moved, else empty. Locked tells what was locked there.
type Target struct {
	Registry   string        `json:"registry"`
	Repository string        `json:"repository"`
	Tag        string        `json:"tag"`
	State      outcome.State `json:"state"`
	Referrers  int           `json:"referrers"`
	Error      string        `json:"error"`
	Previous   string        `json:"previous,omitempty"`
	// Rollback: the tag moved to an image that is older than the previous one.
	Rollback bool   `json:"rollback,omitempty"`
	Locked   string `json:"locked,omitempty"`
}

// Side says where a problem lies.
type Side string

const (
	Source   Side = "source"
	AtTarget Side = "target"
	Service  Side = "service"
	Input    Side = "input"
)

// Problem is one thing that failed: on which side, what, why, what to do next.
type Problem struct {
	Side    Side   `json:"side"`
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Remedy  string `json:"remedy"`
}

// Traffic is what one registry was asked for.
type Traffic struct {
	Registry     string   `json:"registry"`
	Requests     Requests `json:"requests"`
	BytesRead    int64    `json:"bytesRead"`
	BytesWritten int64    `json:"bytesWritten"`
	Retries      int      `json:"retries"`
	WaitedMs     int64    `json:"waitedMs"`
}

// Requests counts HTTP requests by kind.
type Requests struct {
	Read      int `json:"read"`
	Write     int `json:"write"`
	Referrers int `json:"referrers"`
	Token     int `json:"token"`
}
