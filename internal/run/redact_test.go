package run

import (
	"reflect"
	"testing"

	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

func TestRulesAreRedacted(t *testing.T) {
	const secret = "hunter2-and-more"
	secrets := &sanitize.Secrets{}
	secrets.Add(secret)
	r := &report.Result{RulesInForce: map[string]report.RuleInForce{
		"environment":    {Value: "x " + secret, Others: []report.RuleValue{{Value: secret}}},
		"commentPattern": {Value: []any{secret, 7, map[string]any{"a": "y " + secret, "b": []any{true}}}},
	}}
	redact(r, secrets)
	hidden := secrets.Redact(secret)
	want := map[string]report.RuleInForce{
		"environment":    {Value: "x " + hidden, Others: []report.RuleValue{{Value: hidden}}},
		"commentPattern": {Value: []any{hidden, 7, map[string]any{"a": "y " + hidden, "b": []any{true}}}},
	}
	if hidden == secret || !reflect.DeepEqual(r.RulesInForce, want) {
		t.Errorf("%v, want %v", r.RulesInForce, want)
	}
}

func TestConnectionsAreNamed(t *testing.T) {
	before := "signing in as service connection azureSubscription failed; service connection targetSubscription"
	result := func() *report.Result {
		return &report.Result{
			Refusals: []rule.Refusal{{Reason: before}}, Errors: []report.Problem{{Subject: before, Remedy: before}}, Warnings: []string{before},
			Images:   []report.Image{{Targets: []report.Target{{Error: before}}}},
			Approval: report.Approval{Approvers: []report.Approver{{Comment: before}}},
		}
	}
	r := result()
	nameConnections(r, nil)
	if !reflect.DeepEqual(r, result()) {
		t.Errorf("unknown names: %+v", r)
	}
	nameConnections(r, map[string]string{"azureSubscription": "service connection targetSubscription"})
	const after = "signing in as service connection service connection targetSubscription failed; service connection targetSubscription"
	for _, got := range []string{r.Refusals[0].Reason, r.Errors[0].Subject, r.Errors[0].Remedy, r.Warnings[0], r.Images[0].Targets[0].Error} {
		if got != after {
			t.Errorf("%q, want %q", got, after)
		}
	}
	if r.Approval.Approvers[0].Comment != before {
		t.Errorf("a comment was changed: %q", r.Approval.Approvers[0].Comment)
	}
}
