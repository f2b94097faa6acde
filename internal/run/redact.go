package run

import (
	"strings"

	"acrpromote/internal/report"
	"acrpromote/internal/sanitize"
)

// redact removes the secrets of the run from every text of the result that may
// repeat what a service said. The adapters do so before they cut such a text;
// this is for the texts that no adapter expects to have a secret. Values that
// other steps read (references, digests, states) stay as they are.
func redact(r *report.Result, secrets *sanitize.Secrets) {
	texts := []*string{
		&r.Protection, &r.Run.Organization, &r.Run.Project, &r.Run.Stage, &r.Run.Job, &r.Run.URL, &r.Run.Pipeline.Name, &r.Run.RequestedBy, &r.Run.RequestedByUniqueName, &r.Run.Branch,
		&r.Approval.Guards, &r.Proxy, &r.CA,
	}
	for i := range r.Approval.Approvers {
		a := &r.Approval.Approvers[i]
		texts = append(texts, &a.Name, &a.UniqueName, &a.ID, &a.Comment)
	}
	for i := range r.Approval.Approvals {
		texts = append(texts, &r.Approval.Approvals[i].Resource)
	}
	if r.Recall != nil {
		texts = append(texts, &r.Recall.Reason)
	}
	for i := range r.Trace {
		texts = append(texts, r.Trace[i].Texts()...)
	}
	for i := range r.Findings {
		texts = append(texts, r.Findings[i].Texts()...)
	}
	for i := range r.Drift {
		texts = append(texts, r.Drift[i].Texts()...)
	}
	if r.Doctor != nil {
		for i := range r.Doctor.Accepted {
			a := &r.Doctor.Accepted[i]
			texts = append(texts, &a.Role, &a.Scope)
		}
		for _, list := range [][]string{r.Doctor.Outbound, r.Doctor.Inbound, r.Doctor.Commands} {
			for i := range list {
				texts = append(texts, &list[i])
			}
		}
	}
	if r.ReceiptVerdict != nil {
		texts = append(texts, r.ReceiptVerdict.Texts()...)
	}
	for i := range r.Identities {
		texts = append(texts, &r.Identities[i].Connection)
	}
	for i := range r.Approval.Rules {
		texts = append(texts, &r.Approval.Rules[i].Detail)
	}
	attached := func(list []report.Attached) {
		for i := range list {
			texts = append(texts, &list[i].ArtifactType, &list[i].Reason)
		}
	}
	for i := range r.Images {
		image := &r.Images[i]
		attached(image.Attached)
		if image.Description != nil {
			texts = append(texts, image.Description.Texts()...)
		}
		for j := range image.Changes {
			texts = append(texts, image.Changes[j].Texts()...)
		}
		for j := range image.Targets {
			texts = append(texts, &image.Targets[j].Error)
			attached(image.Targets[j].Attached)
		}
	}
	for i := range r.Rights {
		texts = append(texts, &r.Rights[i].Reason, &r.Rights[i].Remedy)
	}
	for i := range r.Refusals {
		f := &r.Refusals[i]
		texts = append(texts, &f.Subject, &f.Reason, &f.Remedy)
	}
	for i := range r.Errors {
		e := &r.Errors[i]
		texts = append(texts, &e.Subject, &e.Reason, &e.Remedy)
	}
	for i := range r.Warnings {
		texts = append(texts, &r.Warnings[i])
	}
	for name, rule := range r.RulesInForce {
		rule.Value = redactValue(rule.Value, secrets)
		for i := range rule.Others {
			rule.Others[i].Value = redactValue(rule.Others[i].Value, secrets)
		}
		r.RulesInForce[name] = rule
	}
	// A redirect may name a host that has a secret in its name.
	for i := range r.Egress {
		texts = append(texts, &r.Egress[i])
	}
	for _, text := range texts {
		*text = secrets.Redact(*text)
	}
}

// redactValue removes the secrets from the texts of a rule's value.
func redactValue(value any, secrets *sanitize.Secrets) any {
	switch v := value.(type) {
	case string:
		return secrets.Redact(v)
	case []any:
		for i := range v {
			v[i] = redactValue(v[i], secrets)
		}
	case map[string]any:
		for key := range v {
			v[key] = redactValue(v[key], secrets)
		}
	}
	return value
}

// nameConnections puts the names of service connections into what went wrong. A
// request may fail before they are read, so that its error has the input instead.
func nameConnections(r *report.Result, names map[string]string) {
	var pairs []string
	for input, name := range names {
		pairs = append(pairs, "service connection "+input, "service connection "+name)
	}
	if len(pairs) == 0 {
		return
	}
	named := strings.NewReplacer(pairs...)
	texts := []*string{}
	for i := range r.Refusals {
		f := &r.Refusals[i]
		texts = append(texts, &f.Subject, &f.Reason, &f.Remedy)
	}
	for i := range r.Errors {
		e := &r.Errors[i]
		texts = append(texts, &e.Subject, &e.Reason, &e.Remedy)
	}
	for i := range r.Warnings {
		texts = append(texts, &r.Warnings[i])
	}
	for i := range r.Images {
		for j := range r.Images[i].Targets {
			texts = append(texts, &r.Images[i].Targets[j].Error)
		}
	}
	for _, text := range texts {
		*text = named.Replace(*text)
	}
}
