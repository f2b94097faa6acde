// Package seal makes the two things that sealing produces: the seal record, the
// content of an artifact that refers to the sealed image, and the approval code,
// which an approver quotes to approve exactly these bytes. The package is pure:
// package promote pushes the record and locks the image, and the time of sealing
// comes from the registry, never from the record.
package seal

import (
	"encoding/json"
	"fmt"
	"strings"

	"acrpromote/internal/ref"
)

// ArtifactType is the artifact type of seal records among an image's referrers.
const ArtifactType = "application/vnd.acrpromote.seal.v1+json"

// LaterTypes are the artifact types of what this program attaches once an image has
// been released: receipts and recall records. The plan's code does not cover them, so
// that an image can be released again.
var LaterTypes = []string{"application/vnd.acrpromote.receipt.v1+json", "application/vnd.acrpromote.recall.v1+json"}

// AttachmentName is the name of the attachment with which a step of Azure
// Pipelines shows that it sealed an image: the hex digits of its digest.
func AttachmentName(digest string) string {
	return strings.TrimPrefix(ref.DigestTag(digest), ref.DigestTagPrefix)
}

// Record is the content of a seal record. It has no timestamp, so a rerun of a
// job makes the same bytes and finds its record already there.
type Record struct {
	Schema string   `json:"schema"`
	Image  string   `json:"image"`
	Digest string   `json:"digest"`
	Run    Run      `json:"run"`
	Rules  []string `json:"rules"`
}

// Run identifies the run that sealed the image, as confirmed by the server. It
// is empty outside a run.
type Run struct {
	Kind         string `json:"kind"`
	Organization string `json:"organization,omitempty"`
	Project      string `json:"project,omitempty"`
	ID           int    `json:"id,omitempty"`
	Stage        string `json:"stage,omitempty"`
	Branch       string `json:"branch,omitempty"`
	Commit       string `json:"commit,omitempty"`
}

// schema is the version of the record's format.
const schema = "acrpromote/seal/v1"

// Encode returns the record as JSON. Equal records have equal bytes.
func (r Record) Encode() ([]byte, error) {
	r.Schema = schema
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot encode the seal record of %s: %w", r.Image, err)
	}
	return body, nil
}
