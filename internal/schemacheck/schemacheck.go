// Package schemacheck validates documents against the JSON Schemas of this
// repository, and schemas against the Go types that they describe. It is for
// tests, and knows only the keywords that the schemas use.
package schemacheck

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Violations returns what a value violates of a schema. A property or keyword that
// is not known is a violation, too.
func Violations(schema map[string]any, v any, path string) []string {
	return check(schema, schema, v, path)
}

// Differences returns how a schema differs from the type whose JSON it describes.
// Every field must be a property, required unless it may be left out.
func Differences(schema map[string]any, goType reflect.Type, path string) []string {
	return compare(schema, schema, goType, path)
}

// resolve returns the schema that a reference names.
func resolve(root, schema map[string]any) map[string]any {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	name, _ := strings.CutPrefix(ref, "#/$defs/")
	return root["$defs"].(map[string]any)[name].(map[string]any)
}

func check(root, schema map[string]any, v any, path string) (violations []string) {
	violate := func(format string, args ...any) {
		violations = append(violations, path+": "+fmt.Sprintf(format, args...))
	}
	for keyword, want := range resolve(root, schema) {
		switch keyword {
		case "$schema", "$id", "$defs", "title", "description":
		case "type":
			var is string
			switch n := v.(type) {
			case string:
				is = "string"
			case bool:
				is = "boolean"
			case float64:
				if is = "number"; n == float64(int64(n)) {
					is = "integer"
				}
			case []any:
				is = "array"
			case map[string]any:
				is = "object"
			}
			if is != want && (is != "integer" || want != "number") {
				violate("is %s, not %v", is, want)
			}
		case "const":
			if v != want {
				violate("is not %v", want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				violate("%v is not one of %v", v, want)
			}
		case "oneOf":
			matching := 0
			for _, one := range want.([]any) {
				if len(check(root, one.(map[string]any), v, path)) == 0 {
					matching++
				}
			}
			if matching != 1 {
				violate("matches %d of the alternatives", matching)
			}
		case "pattern":
			if s, ok := v.(string); !ok || !regexp.MustCompile(want.(string)).MatchString(s) {
				violate("%v does not match %v", v, want)
			}
		case "minimum":
			if n, ok := v.(float64); !ok || n < want.(float64) {
				violate("%v is below %v", v, want)
			}
		case "required":
			object, _ := v.(map[string]any)
			for _, name := range want.([]any) {
				if _, ok := object[name.(string)]; !ok {
					violate("%s is missing", name)
				}
			}
		case "properties":
			object, _ := v.(map[string]any)
			for name, value := range object {
				s, ok := want.(map[string]any)[name].(map[string]any)
				if !ok {
					violate("%s is unknown", name)
					continue
				}
				violations = append(violations, check(root, s, value, path+"."+name)...)
			}
		case "additionalProperties":
			others, ok := want.(map[string]any)
			if !ok {
				continue // what is not among the properties is a violation anyway
			}
			object, _ := v.(map[string]any)
			for name, value := range object {
				violations = append(violations, check(root, others, value, path+"."+name)...)
			}
		case "minItems":
			if array, ok := v.([]any); !ok || float64(len(array)) < want.(float64) {
				violate("has fewer than %v items", want)
			}
		case "items":
			array, _ := v.([]any)
			for i, value := range array {
				violations = append(violations, check(root, want.(map[string]any), value, fmt.Sprintf("%s[%d]", path, i))...)
			}
		default:
			violate("unknown keyword %s", keyword)
		}
	}
	return violations
}

func compare(root, schema map[string]any, goType reflect.Type, path string) (differences []string) {
	schema = resolve(root, schema)
	switch goType.Kind() {
	case reflect.Pointer:
		return compare(root, schema, goType.Elem(), path)
	case reflect.Slice:
		return compare(root, schema["items"].(map[string]any), goType.Elem(), path+"[]")
	case reflect.Map:
		properties, _ := schema["properties"].(map[string]any)
		for name, property := range properties {
			differences = append(differences, compare(root, property.(map[string]any), goType.Elem(), path+"."+name)...)
		}
	case reflect.Struct:
		if goType == reflect.TypeFor[time.Time]() {
			return nil
		}
		properties := schema["properties"].(map[string]any)
		required := schema["required"].([]any)
		seen := 0
		for _, f := range reflect.VisibleFields(goType) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" || name == "" && f.Anonymous {
				continue // the fields of an embedded struct are visible themselves
			}
			seen++
			property, ok := properties[name].(map[string]any)
			if !ok {
				differences = append(differences, fmt.Sprintf("%s has no %s", path, name))
				continue
			}
			if slices.Contains(required, any(name)) == (options == "omitempty" || options == "omitzero") {
				differences = append(differences, fmt.Sprintf("%s.%s: required and %s contradict each other", path, name, options))
			}
			differences = append(differences, compare(root, property, f.Type, path+"."+name)...)
		}
		if seen != len(properties) {
			differences = append(differences, fmt.Sprintf("%s: the schema has %d properties, the type %d", path, len(properties), seen))
		}
	}
	return differences
}
