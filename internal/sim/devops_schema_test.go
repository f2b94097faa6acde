package sim

import (
	"slices"
	"testing"
)

// TestDeviations checks that documents that differ from the published descriptions
// are noticed.
func TestDeviations(t *testing.T) {
	const id = "7f1d5a30-52c5-4d7c-9f3a-0a6d5d7c1b11"
	type object = map[string]any
	for _, c := range []struct {
		name, kind string
		document   any
		want       []string
	}{
		{"equal", "Approval", object{"id": id, "status": "deferred", "steps": []any{object{"deferredTo": noTime, "order": 1}}, "pipeline": object{"x": 1}}, nil},
		{"null", "Approval", object{"id": nil, "steps": nil}, nil},
		{"another name", "Approval", object{"deferredTo": noTime}, []string{"Approval.deferredTo is not a name of Approval"}},
		{"another value", "Approval", object{"executionOrder": "random"}, []string{"Approval.executionOrder is random, not anyOrder|inSequence"}},
		{"another type", "Approval", object{"minRequiredApprovers": "1"}, []string{"Approval.minRequiredApprovers is 1, not integer"}},
		{"a fraction", "Approval", object{"minRequiredApprovers": 1.5}, []string{"Approval.minRequiredApprovers is 1.5, not integer"}},
		{"no GUID", "Approval", object{"id": "7"}, []string{"Approval.id is 7, not uuid"}},
		{"no time", "Approval", object{"createdOn": "today"}, []string{"Approval.createdOn is today, not time"}},
		{"no list", "Approval", object{"steps": object{}}, []string{"Approval.steps is not a list"}},
		{"no object", "Approval", object{"steps": []any{1}}, []string{"Approval.steps is not an object"}},
		{"a list", "[]Attachment", object{"count": 1, "value": []any{object{"name": "x"}}}, nil},
		{"a list with another count", "[]Attachment", object{"count": 2, "value": []any{object{"name": "x"}}}, []string{"[]Attachment is not a list with its count"}},
		{"a list without an envelope", "[]Attachment", []any{}, []string{"[]Attachment is not a list with its count"}},
		{"a map", "Artifact", object{"definitionReference": object{"branch": object{"id": 1}}}, []string{"Artifact.definitionReference.branch.id is 1, not string"}},
	} {
		if got := deviations(c.kind, c.document); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	o := newOrganization("contoso")
	o.verify("Approval", map[string]any{"id": "7"})
	o.verify("Approval", map[string]any{"id": "7"})
	if got := o.Deviations(); len(got) != 1 {
		t.Errorf("noted %v", got)
	}
	for _, kind := range []string{"Build", "Timeline", "Attachment", "Approval", "CheckSuite", "CheckConfiguration", "Release", "TaskHubOidcToken", "Location", "Area"} {
		if len(schema[kind]) == 0 {
			t.Errorf("there is no description of %s", kind)
		}
	}
}
