package report

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/outcome"
)

// TestStored checks that a stored result is what was written.
func TestStored(t *testing.T) {
	for name, r := range cases() {
		if name == "hostile" {
			continue
		}
		var written, again bytes.Buffer
		if err := WriteJSON(&written, r); err != nil {
			t.Fatal(err)
		}
		read, err := Stored(written.Bytes())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := WriteJSON(&again, read); err != nil || !bytes.Equal(again.Bytes(), written.Bytes()) {
			t.Errorf("%s: %v: it is not the same:\n%s", name, err, again.Bytes())
		}
		// The card and the warnings are not in the file.
		r.Card, r.Warnings = nil, nil
		if got, want := Headline(read), Headline(r); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestStoredRefuses(t *testing.T) {
	var good bytes.Buffer
	if err := WriteJSON(&good, cases()["done"]); err != nil {
		t.Fatal(err)
	}
	whole := good.String()
	change := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("%s is not in the result", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	for _, c := range []struct{ name, content, want string }{
		{"nothing", "", "not one valid JSON object"},
		{"no object", "[]", "not one valid JSON object"},
		{"another document", "{}", "its schema is not acrpromote/result/v1"},
		{"a schema that is no text", `{"schema":1}`, "not a result of acrpromote"},
		{"another format", change("acrpromote/result/v1", "acrpromote/result/v2"), "its schema is not acrpromote/result/v1"},
		{"cut", whole[:len(whole)/2], "not one valid JSON object"},
		{"more after it", whole + "{}", "not one valid JSON object"},
		{"a name twice", change(`"tool":`, `"Tool": "x", "tool":`), "twice"},
		{"an unknown field", change(`"tool":`, `"newer": [], "tool":`), `unknown field "newer"`},
		{"a field of another type", change(`"dryRun": false`, `"dryRun": "no"`), "cannot unmarshal string"},
		{"an unknown outcome", change(`"outcome": "done"`, `"outcome": "fine"`), `unknown outcome "fine"`},
		{"an unknown state", change(`"state": "copied"`, `"state": "beamed"`), `unknown state "beamed"`},
		{"an unknown state of an artifact", change(`"attached": []`, `"attached": [{"state": "lost"}]`), `unknown state "lost"`},
		{"an unknown state of a receipt", change(`"receipts": []`, `"receipts": [{"state": "revoked"}]`), `unknown state "revoked"`},
		{"an unknown state of a right", change(`"rights": []`, `"rights": [{"state": "expired"}]`), `unknown state "expired"`},
		{"invalid UTF-8", change(`"tool": "`, "\"tool\": \"\xff"), "not one valid JSON object"},
		{"deep", `{"schema":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", "not one valid JSON object"},
		{"an unknown field of a check", `{"problems":[],"registries":1,"flows":[],"x":1}`, `unknown field "x"`},
	} {
		_, err := Stored([]byte(c.content))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

// TestStoredCheck checks that the problems of a check become errors with a place.
func TestStoredCheck(t *testing.T) {
	r, err := Stored([]byte(`{"problems":[{"file":"flows.yml","line":3,"column":5,"key":"flows.a","reason":"unknown key."},{"file":"flows.yml","line":0,"column":0,"key":"","reason":"it is empty"}],"registries":1,"flows":[{"name":"a","direction":"up"}]}`))
	want := []Problem{
		{Side: InputSide, Subject: "flows.yml:3:5", Reason: "unknown key", File: "flows.yml", Line: 3, Column: 5},
		{Side: InputSide, Subject: "flows.yml", Reason: "it is empty", File: "flows.yml"},
	}
	if err != nil || r.Action != "check" || r.Outcome != outcome.Misuse || !reflect.DeepEqual(r.Errors, want) {
		t.Errorf("%v: %+v", err, r)
	}
	if r, err := Stored([]byte(`{"problems":[],"registries":1,"flows":[]}`)); err != nil || r.Outcome != outcome.Done || len(r.Errors) != 0 {
		t.Errorf("%v: %+v", err, r)
	}
}

// TestStatesAreInTheSchema checks that a result with any state can be read.
func TestStatesAreInTheSchema(t *testing.T) {
	schema := parseJSON(t, SchemaJSON).(map[string]any)
	var found []string
	var walk func(v any)
	walk = func(v any) {
		m, _ := v.(map[string]any)
		if properties, ok := m["properties"].(map[string]any); ok && properties["rollback"] != nil {
			for _, state := range properties["state"].(map[string]any)["enum"].([]any) {
				found = append(found, state.(string))
			}
		}
		for _, inner := range m {
			walk(inner)
		}
	}
	walk(schema)
	for _, state := range outcome.States {
		if !slices.Contains(found, string(state)) {
			t.Errorf("the schema lacks the state %s", state)
		}
	}
	if len(found) != len(outcome.States) {
		t.Errorf("the schema has the states %v, and the program %v", found, outcome.States)
	}
}

// TestStarted checks that times are in order although the digits after the second vary in
// number.
func TestStarted(t *testing.T) {
	var last time.Time
	for i, at := range []string{"", "x", "2026-11-23T12:01:00Z", "2026-11-23T12:01:00.1Z", "2026-11-23T12:01:00.12Z", "2026-11-23T14:01:01+02:00"} {
		started := Result{StartedAt: at}.Started()
		if started.Before(last) || i > 1 && !started.After(last) {
			t.Errorf("%s is before what comes before it", at)
		}
		last = started
	}
}
