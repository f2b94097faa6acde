package topology

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files and the schema")

// object is a JSON Schema.
type object = map[string]any

// fieldDocs returns the comments of the types' fields, by type and field.
func fieldDocs(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					if len(f.Names) == 1 {
						docs[spec.Name.Name+"."+f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
					}
				}
			}
			return true
		})
	}
	return docs
}

const namePattern = `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`

// scalars returns the schemas of values that parse themselves.
func scalars() map[reflect.Type]object {
	text := func(more object) object { more["type"] = "string"; return more }
	resource := text(object{"minLength": 1, "maxLength": 400})
	return map[reflect.Type]object{
		reflect.TypeFor[Version]():      {"const": 1},
		reflect.TypeFor[Count]():        {"type": "integer", "minimum": 1, "maximum": maxCount},
		reflect.TypeFor[Duration]():     text(object{"pattern": `^([0-9]+(\.[0-9]*)?|\.[0-9]+)d$|^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`}),
		reflect.TypeFor[Host]():         text(object{"pattern": `^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$`, "maxLength": 259}),
		reflect.TypeFor[ArtifactType](): text(object{"pattern": grammar().artifact.String()}),
		reflect.TypeFor[CheckID](): {"anyOf": []any{
			object{"type": "integer", "minimum": 1, "maximum": 1<<31 - 1},
			object{"type": "string", "pattern": `^[1-9][0-9]{0,9}$|^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`}}},
		reflect.TypeFor[Code]():               {"enum": []any{true, false, "image", "plan"}},
		reflect.TypeFor[Approver]():           resource,
		reflect.TypeFor[Project]():            text(object{"pattern": `^[^\\/:*?"<>;#${},+=\[\]|]+$`, "maxLength": 64}),
		reflect.TypeFor[ObjectID]():           text(object{"pattern": `^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`}),
		reflect.TypeFor[PipelineID]():         {"type": "integer", "minimum": 1, "maximum": 1<<31 - 1},
		reflect.TypeFor[Resource]():           resource,
		reflect.TypeFor[ReceiptKey]():         text(object{"minLength": 1, "maxLength": 400}),
		reflect.TypeFor[CommentPattern]():     text(object{"minLength": 1, "maxLength": 1000}),
		reflect.TypeFor[RepositoryPattern]():  text(object{"pattern": `^[a-z0-9._*?-]+(/[a-z0-9._*?-]+)*$`, "maxLength": maxPattern}),
		reflect.TypeFor[TagGlob]():            text(object{"pattern": `^[A-Za-z0-9._*?-]+$`, "maxLength": maxPattern}),
		reflect.TypeFor[TagPattern]():         text(object{"minLength": 1, "maxLength": maxPattern}),
		reflect.TypeFor[BranchPattern]():      text(object{"pattern": `^refs/[^ \\~^:\[]+$`, "maxLength": maxPattern}),
		reflect.TypeFor[RepositoryTemplate](): text(object{"pattern": `^[a-z0-9._/-]*(\{repository\}[a-z0-9._/-]*)*$`, "minLength": 1, "maxLength": maxPattern}),
		reflect.TypeFor[TagTemplate]():        text(object{"pattern": `^[A-Za-z0-9._-]*(\{tag\}[A-Za-z0-9._-]*)*$`, "minLength": 1, "maxLength": maxPattern}),
	}
}

// schemaOf generates the schema of a type.
func schemaOf(t *testing.T, docs map[string]string, typ reflect.Type) object {
	if known, ok := scalars()[typ]; ok {
		return known
	}
	if v, ok := reflect.New(typ).Interface().(scalar); ok {
		if e, ok := reflect.Zero(typ).Interface().(interface{ values() []string }); ok {
			return object{"type": "string", "enum": e.values()}
		}
		t.Fatalf("%T parses itself but has no schema", v)
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return schemaOf(t, docs, typ.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string", "pattern": namePattern}
	case reflect.Slice:
		list := object{"type": "array", "minItems": 1, "maxItems": maxEntries, "uniqueItems": true, "items": schemaOf(t, docs, typ.Elem())}
		if _, mayBeEmpty := reflect.Zero(typ).Interface().(interface{ mayBeEmpty() }); mayBeEmpty {
			delete(list, "minItems")
		}
		return list
	case reflect.Map:
		return object{"type": "object", "minProperties": 1, "maxProperties": maxEntries,
			"propertyNames": object{"pattern": namePattern}, "additionalProperties": schemaOf(t, docs, typ.Elem())}
	case reflect.Struct:
		properties, required := object{}, []string{}
		for _, k := range keysOf(typ) {
			field := schemaOf(t, docs, typ.Field(k.index).Type)
			described := object{}
			for name, value := range field {
				described[name] = value
			}
			doc := docs[typ.Name()+"."+typ.Field(k.index).Name]
			if doc == "" {
				t.Errorf("%s.%s has no comment", typ.Name(), typ.Field(k.index).Name)
			}
			described["description"] = doc
			properties[k.name] = described
			if k.required {
				required = append(required, k.name)
			}
		}
		o := object{"type": "object", "additionalProperties": false, "properties": properties}
		if len(required) > 0 {
			o["required"] = required
		}
		return o
	}
	t.Fatalf("no schema for %s", typ)
	return nil
}

func TestSchemaMatchesTypes(t *testing.T) {
	o := schemaOf(t, fieldDocs(t), reflect.TypeFor[File]())
	o["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	o["$id"] = "urn:acrpromote:flow:v1"
	o["title"] = "The flow file of acrpromote: which images may go where, and whose approval that takes"
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(o); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("flow.schema.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != string(schema(t)) {
		t.Fatal("flow.schema.json does not match the types: go test ./internal/topology -run Schema -update")
	}
}

// valid validates a document against the keywords that the schema uses.
func valid(t *testing.T, schema object, v any, at string) error {
	for keyword := range schema {
		if !slices.Contains([]string{"$schema", "$id", "title", "description", "type", "const", "enum", "anyOf", "pattern", "minLength", "maxLength",
			"minimum", "maximum", "minItems", "maxItems", "uniqueItems", "items", "minProperties", "maxProperties", "propertyNames",
			"additionalProperties", "properties", "required"}, keyword) {
			t.Fatalf("keyword %s is not supported", keyword)
		}
	}
	number := func(key string) (float64, bool) { n, ok := schema[key].(float64); return n, ok }
	if c, ok := schema["const"]; ok && c != v {
		return fmt.Errorf("%s: %v is not %v", at, v, c)
	}
	if list, ok := schema["enum"].([]any); ok && !slices.Contains(list, v) {
		return fmt.Errorf("%s: %v is not one of %v", at, v, list)
	}
	if list, ok := schema["anyOf"].([]any); ok {
		if !slices.ContainsFunc(list, func(s any) bool { return valid(t, s.(object), v, at) == nil }) {
			return fmt.Errorf("%s: %v matches nothing", at, v)
		}
	}
	text, isText := v.(string)
	if p, ok := schema["pattern"].(string); ok && isText && !regexp.MustCompile(p).MatchString(text) {
		return fmt.Errorf("%s: %v does not match %s", at, v, p)
	}
	types := map[string]bool{}
	switch v := v.(type) {
	case string:
		types["string"] = true
		if n, ok := number("minLength"); ok && len(v) < int(n) {
			return fmt.Errorf("%s: too short", at)
		}
		if n, ok := number("maxLength"); ok && len([]rune(v)) > int(n) {
			return fmt.Errorf("%s: too long", at)
		}
	case bool:
		types["boolean"] = true
	case float64:
		types["number"], types["integer"] = true, v == float64(int(v))
		if n, ok := number("minimum"); ok && v < n {
			return fmt.Errorf("%s: too small", at)
		}
		if n, ok := number("maximum"); ok && v > n {
			return fmt.Errorf("%s: too big", at)
		}
	case []any:
		types["array"] = true
		if n, ok := number("minItems"); ok && len(v) < int(n) {
			return fmt.Errorf("%s: too few", at)
		}
		for i, e := range v {
			if err := valid(t, schema["items"].(object), e, fmt.Sprintf("%s/%d", at, i)); err != nil {
				return err
			}
			for _, other := range v[:i] {
				if schema["uniqueItems"] == true && reflect.DeepEqual(other, e) {
					return fmt.Errorf("%s: %v twice", at, e)
				}
			}
		}
	case object:
		types["object"] = true
		if n, ok := number("minProperties"); ok && len(v) < int(n) {
			return fmt.Errorf("%s: too few", at)
		}
		required, _ := schema["required"].([]any)
		for _, r := range required {
			if _, ok := v[r.(string)]; !ok {
				return fmt.Errorf("%s: no %s", at, r)
			}
		}
		properties, _ := schema["properties"].(object)
		for name, e := range v {
			if names, ok := schema["propertyNames"].(object); ok {
				if err := valid(t, names, name, at); err != nil {
					return err
				}
			}
			s, ok := properties[name].(object)
			if !ok {
				if s, ok = schema["additionalProperties"].(object); !ok {
					return fmt.Errorf("%s: unknown %s", at, name)
				}
			}
			if err := valid(t, s, e, at+"/"+name); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s: %T", at, v)
	}
	if wanted, ok := schema["type"].(string); ok && !types[wanted] {
		return fmt.Errorf("%s: %v is not of type %s", at, v, wanted)
	}
	return nil
}

// asJSON returns YAML as a JSON decoder would return it.
func asJSON(t *testing.T, content []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(content, &v); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var decoded any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

// schema returns the JSON Schema (2020-12) of the flow file, for editors. It is
// generated from the types of this package and validates single values; only
// Parse finds mistakes that involve several.
func schema(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("flow.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func schemaObject(t *testing.T) object {
	t.Helper()
	var o object
	if err := json.Unmarshal(schema(t), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestSchemaAcceptsExamples(t *testing.T) {
	for name, content := range examples(t) {
		if err := valid(t, schemaObject(t), asJSON(t, content), ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemaRejectsMistakes checks the mistakes in single values.
func TestSchemaRejectsMistakes(t *testing.T) {
	refused := 0
	for _, c := range mistakes {
		if !c.single {
			continue
		}
		refused++
		if err := valid(t, schemaObject(t), asJSON(t, []byte(c.file())), ""); err == nil {
			t.Errorf("%s: the schema accepts it", c.name)
		}
	}
	if refused < 20 {
		t.Fatalf("only %d mistakes were tried", refused)
	}
}
