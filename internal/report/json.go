package report

import (
	_ "embed"
	"encoding/json"
	"io"
	"slices"

	"acrpromote/internal/rule"
)

// SchemaJSON is the JSON Schema (2020-12) of result.json.
//
//go:embed schema.json
var SchemaJSON []byte

// WriteJSON writes result.json: indented, without null lists, with invalid UTF-8
// replaced, and without escaping for HTML.
func WriteJSON(w io.Writer, r Result) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(Complete(r))
}

// Complete returns a copy of r as it is in result.json: with empty lists instead of nil
// ones.
func Complete(r Result) Result {
	if r.Schema == "" {
		r.Schema = Schema
	}
	if r.Run.Kind == "" {
		r.Run.Kind = "none"
	}
	if r.RulesInForce == nil {
		r.RulesInForce = map[string]RuleInForce{}
	}
	r.Identities = list(r.Identities)
	r.Approval.Approvers = list(r.Approval.Approvers)
	r.Approval.Approvals = list(r.Approval.Approvals)
	r.Approval.Rules = list(r.Approval.Rules)
	images := make([]Image, len(r.Images))
	for i, image := range r.Images {
		image.Attached = list(image.Attached)
		image.Targets = list(slices.Clone(image.Targets))
		for j := range image.Targets {
			image.Targets[j].Attached = list(image.Targets[j].Attached)
		}
		images[i] = image
	}
	r.Images = images
	r.Rights = list(r.Rights)
	r.Receipts = list(r.Receipts)
	r.Signing = list(r.Signing)
	r.Refusals = list[rule.Refusal](r.Refusals)
	r.Errors = list(r.Errors)
	r.Egress = list(r.Egress)
	r.Traffic = list(r.Traffic)
	r.Budget = list(r.Budget)
	r.Environment = list(r.Environment)
	r.ReceiptVerdict = r.ReceiptVerdict.filled()
	if r.Doctor != nil {
		d := *r.Doctor
		d.Registries, d.Accepted, d.Outbound, d.Inbound, d.Commands = list(d.Registries), list(d.Accepted), list(d.Outbound), list(d.Inbound), list(d.Commands)
		r.Doctor = &d
	}
	return r
}

// filled returns a copy of v with empty lists instead of nil ones.
func (v *ReceiptVerdict) filled() *ReceiptVerdict {
	if v == nil {
		return nil
	}
	full := *v
	full.Seals = list(v.Seals)
	if v.Receipt != nil {
		r := v.Receipt.filled()
		full.Receipt = &r
	}
	return &full
}

func (r ReceiptContent) filled() ReceiptContent {
	r.Manifests, r.Levels, r.To, r.Given = list(r.Manifests), list(r.Levels), list(r.To), list(r.Given)
	r.Checks, r.Resources, r.Redacted = list(r.Checks), list(r.Resources), list(r.Redacted)
	return r
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
