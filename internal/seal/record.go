// Package seal makes what sealing leaves behind: the seal record, which goes
// into an artifact that refers to the sealed image, and the approval code,
// which an approver quotes to name these bytes and no others. It is pure:
// pushing the record and locking the image are done elsewhere, and when a
// record was made is told by the registry's own times, never by the record.
package seal

import (
	"encoding/json"
	"fmt"
)

// ArtifactType marks a seal record of this program among an image's referrers.
const ArtifactType = "application/vnd.acrpromote.seal.v1+json"

// Record is what a seal record says. It bears no time: two runs of one job
// make the same bytes, so a rerun finds its record in place.
type Record struct {
	Schema string   `json:"schema"`
	Image  string   `json:"image"`
	Digest string   `json:"digest"`
	Run    Run      `json:"run"`
	Rules  []string `json:"rules"`
}

// Run names the run that sealed, as the server confirmed it; empty outside any
// run.
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

// Encode writes the record: the same bytes for the same record, always.
func (r Record) Encode() ([]byte, error) {
	r.Schema = schema
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("the seal record of %s cannot be written: %w", r.Image, err)
	}
	return body, nil
}
