package schemacheck

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

const schema = `{"type": "object", "required": ["a", "list"], "properties": {
	"a": {"$ref": "#/$defs/word"},
	"one": {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "integer", "minimum": 5}]},
	"n": {"type": "integer", "minimum": 1},
	"closed": {"type": "object", "properties": {"k": {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}}, "additionalProperties": false},
	"map": {"type": "object", "additionalProperties": {"enum": ["x", "y"]}},
	"list": {"type": "array", "minItems": 1, "items": {"type": "object", "properties": {"yes": {"const": true}}, "required": ["yes"]}}},
	"$defs": {"word": {"type": "string", "pattern": "^[a-z]+$"}}}`

func parse(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestViolations(t *testing.T) {
	s := parse(t, schema).(map[string]any)
	if found := Violations(s, parse(t, `{"a": "b", "one": 1, "n": 1, "map": {"k": "x"}, "list": [{"yes": true}]}`), "v"); len(found) > 0 {
		t.Error(found)
	}
	for text, want := range map[string]string{
		`{"a": "b"}`:                                              "list is missing",
		`{"a": 1, "list": [{"yes": true}]}`:                       "v.a: is integer",
		`{"a": "B", "list": [{"yes": true}]}`:                     "does not match",
		`{"a": "b", "list": []}`:                                  "fewer",
		`{"a": "b", "list": [{"yes": false}]}`:                    "v.list[0].yes: is not true",
		`{"a": "b", "n": 0, "list": [{"yes": true}]}`:             "below",
		`{"a": "b", "n": 1.5, "list": [{"yes": true}]}`:           "is number",
		`{"a": "b", "map": {"k": "z"}, "list": [{"yes": true}]}`:  "not one of",
		`{"a": "b", "one": 5, "list": [{"yes": true}]}`:           "matches 2 of",
		`{"a": "b", "one": true, "list": [{"yes": true}]}`:        "matches 0 of",
		`{"a": "b", "c": 1, "list": [{"yes": true}]}`:             "c is unknown",
		`{"a": "b", "closed": {"l": 1}, "list": [{"yes": true}]}`: "l is unknown",
	} {
		if found := strings.Join(Violations(s, parse(t, text), "v"), "\n"); !strings.Contains(found, want) {
			t.Errorf("%s: %q, want %q", text, found, want)
		}
	}
}

func TestDifferences(t *testing.T) {
	s := parse(t, schema).(map[string]any)
	type element struct {
		Yes bool `json:"yes"`
	}
	if found := Differences(s, reflect.TypeFor[*struct {
		A      string             `json:"a"`
		One    any                `json:"one,omitempty"`
		Closed map[string]element `json:"closed,omitempty"`
		N      int                `json:"n,omitempty"`
		Map    map[string]string  `json:"map,omitempty"`
		List   []element          `json:"list"`
		Out    int                `json:"-"`
	}](), "v"); len(found) > 0 {
		t.Error(found)
	}
	found := strings.Join(Differences(s, reflect.TypeFor[struct {
		A      string `json:"a,omitempty"`
		B      string `json:"b"`
		Closed map[string]struct {
			Maybe bool `json:"maybe"`
		} `json:"closed"`
		List []struct {
			No bool `json:"no"`
		} `json:"list"`
	}](), "v"), "\n")
	for _, want := range []string{"v.a: required and omitempty", "v has no b", "v.list[] has no no", "v.closed.k has no maybe", "v: the schema has 6 properties, the type 4"} {
		if !strings.Contains(found, want) {
			t.Errorf("%q lacks %q", found, want)
		}
	}
}
