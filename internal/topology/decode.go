package topology

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"acrpromote/internal/expression"
)

// scalar is a value that parses itself from text. The error is a mistake.
type scalar interface{ read(text string) error }

// numeric is a scalar that may be written as a number without quotes.
type numeric interface{ numeric() }

// logical is a scalar whose values include true and false, without quotes.
type logical interface{ logical() }

// place has the nodes of a value and of its key; key is nil if it has none.
type place struct{ value, key *yaml.Node }

// decoder decodes YAML nodes into the types of the flow file. It keeps the
// place of each value by its path (keys and indices joined by slashes) for the
// checks that follow.
type decoder struct {
	*problems
	places map[string]place
	// broken has the paths whose value could not be decoded; what depends on
	// them is not checked.
	broken map[string]bool
}

func newDecoder() *decoder {
	return &decoder{problems: &problems{}, places: map[string]place{}, broken: map[string]bool{}}
}

// decode decodes root into the value that into points to.
func (d *decoder) decode(root *yaml.Node, into any) {
	d.places[""] = place{value: root}
	d.value(root, reflect.ValueOf(into).Elem(), "")
}

func (d *decoder) fail(n *yaml.Node, path string, m mistake) {
	d.broken[path] = true
	d.addAt(path, n.Line, n.Column, m.reason, m.remedy)
}

// mistyped reports a node that is not what is expected there, by the name of its
// key.
func (d *decoder) mistyped(n *yaml.Node, path, what, remedy string) {
	m := expected(what, n, remedy)
	if name := keyName(path); name != "" {
		m.reason = name + ": " + m.reason
	}
	d.fail(n, path, m)
}

// keyName returns the last key of a path; an element of a list has its list's.
func keyName(path string) string {
	for {
		parent, name := path, ""
		if slash := strings.LastIndexByte(path, '/'); slash >= 0 {
			parent, name = path[:slash], path[slash+1:]
		}
		if _, err := strconv.Atoi(name); err != nil || name == "" {
			return name
		}
		path = parent
	}
}

// key is one key that a struct takes.
type key struct {
	name     string
	required bool
	index    int
}

// keysOf returns the keys of a struct, from its field tags.
func keysOf(t reflect.Type) []key {
	var found []key
	for i := range t.NumField() {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("flow"), ",")
		if name != "-" {
			found = append(found, key{name, option == "required", i})
		}
	}
	return found
}

// value decodes a node into v, which is at path.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		d.broken[path] = true
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.fail(n, path, mistake{"missing value", "Set a value, or remove the key."})
		return
	}
	if n.Kind == yaml.ScalarNode && d.unexpanded(n, path, v.Addr().Interface()) {
		return
	}
	if s, ok := v.Addr().Interface().(scalar); ok {
		_, number := s.(numeric)
		_, truth := s.(logical)
		switch quoted := n.Value == "true" || n.Value == "false"; {
		case truth && n.ShortTag() == "!!str" && quoted:
			d.mistyped(n, path, "true or false", "Write true or false, without quotes.")
			return
		case truth && n.ShortTag() == "!!bool":
		case !d.text(n, path, number):
			return
		}
		if err := s.read(n.Value); err != nil {
			var m mistake
			if !errors.As(err, &m) {
				m.reason = err.Error()
			}
			d.fail(n, path, m)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.sequence(n, v, path)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Value != "true" && n.Value != "false" {
			d.mistyped(n, path, "true or false", "Write true or false, without quotes.")
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.String:
		if d.text(n, path, false) {
			v.SetString(n.Value)
		}
	}
}

// pattern is a scalar in which a dollar sign can be something else than the begin
// of an expression.
type pattern interface {
	expressions(text string) []expression.Expression
}

// unexpanded reports whether a node has expressions of Azure Pipelines, which are
// not replaced in a flow file, and reports them.
func (d *decoder) unexpanded(n *yaml.Node, path string, into any) bool {
	find := expression.Find
	if p, ok := into.(pattern); ok {
		find = p.expressions
	}
	found := find(n.Value)
	for _, e := range found {
		reason, remedy := e.NotAllowed("a flow file")
		d.fail(n, path, mistake{reason, remedy})
	}
	return len(found) > 0
}

// text reports whether a node is text, or an integer if number is set.
func (d *decoder) text(n *yaml.Node, path string, number bool) bool {
	tag := n.ShortTag()
	switch {
	case n.Kind != yaml.ScalarNode:
		d.mistyped(n, path, "a single value", "Write one value.")
	case number && (tag == "!!int" || tag == "!!str"):
		return true
	case number:
		d.mistyped(n, path, "an integer", "")
	case tag != "!!str":
		d.mistyped(n, path, "text", fmt.Sprintf("Put it in quotes: %s.", quote(n.Value)))
	case n.Value == "":
		d.fail(n, path, mistake{"empty value", "Set a value, or remove the key."})
	default:
		return true
	}
	return false
}

// expected returns the mistake that a node is not what is expected there.
func expected(what string, n *yaml.Node, remedy string) mistake {
	return mistake{fmt.Sprintf("expected %s, found %s", what, found(n)), remedy}
}

// found describes a node.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	what := map[string]string{"!!int": "number", "!!float": "number", "!!bool": "boolean", "!!timestamp": "date", "!!str": "text"}[n.ShortTag()]
	switch what {
	case "":
		return "the value " + quote(n.Value)
	case "text":
		return "the text " + quote(n.Value)
	}
	return fmt.Sprintf("the %s %s", what, strings.Trim(quote(n.Value), `"`))
}

// pairs calls each for the keys of a mapping. It reports whether n is a mapping.
func (d *decoder) pairs(n *yaml.Node, path string, each func(name string, key, value *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		d.mistyped(n, path, "a mapping", "Write one key: value per line.")
		return false
	}
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind == yaml.AliasNode:
			// Reported already.
		case k.Kind != yaml.ScalarNode:
			m := expected("a name as the key", k, "")
			d.addAt(path, k.Line, k.Column, m.reason, m.remedy)
		case k.Value == "<<" && k.ShortTag() == "!!merge":
			d.addAt(path, k.Line, k.Column, "merge keys (<<) are not supported", "Write out the keys.")
		case first[k.Value] != nil:
			d.addAt(pathOf(path, k.Value), k.Line, k.Column, fmt.Sprintf("duplicate key %s, already in line %d", quote(k.Value), first[k.Value].Line), "Remove one of them.")
		default:
			first[k.Value] = k
			each(k.Value, k, v)
		}
	}
	return true
}

// pathOf returns the path of a key that is not known. What cannot be a key leaves
// the path as it is.
func pathOf(path, name string) string {
	if !isName(name) {
		return path
	}
	return path + "/" + name
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	takes := keysOf(v.Type())
	given := map[string]bool{}
	understood := d.pairs(n, path, func(name string, k, child *yaml.Node) {
		for _, t := range takes {
			if t.name == name {
				given[name] = true
				below := path + "/" + name
				d.places[below] = place{child, k}
				d.value(child, v.Field(t.index), below)
				return
			}
		}
		m := unknown("key", name, names(takes))
		if strings.HasPrefix(m.remedy, "Use one of") {
			m.remedy = fmt.Sprintf("Use one of: %s.", strings.Join(names(takes), ", "))
		}
		d.addAt(pathOf(path, name), k.Line, k.Column, m.reason, m.remedy)
	})
	if !understood {
		return
	}
	at := n
	if p := d.places[path]; p.key != nil {
		at = p.key
	}
	for _, t := range takes {
		if t.required && !given[t.name] {
			d.broken[path+"/"+t.name] = true
			d.addAt(path+"/"+t.name, at.Line, at.Column, fmt.Sprintf("missing key %s", t.name), "")
		}
	}
}

func names(keys []key) []string {
	var all []string
	for _, k := range keys {
		all = append(all, k.name)
	}
	return all
}

// maxEntries limits the entries of one list or mapping, and so the work of
// comparing them.
const maxEntries = 1000

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		d.fail(n, path, mistake{"empty mapping", "Add an entry."})
		return
	}
	if len(n.Content)/2 > maxEntries && n.Kind == yaml.MappingNode {
		d.fail(n, path, mistake{fmt.Sprintf("the mapping has %d entries, more than %d", len(n.Content)/2, maxEntries), "Split the file."})
		return
	}
	d.pairs(n, path, func(name string, k, child *yaml.Node) {
		if d.unexpanded(k, path+"/"+name, nil) {
			return
		}
		if !isName(name) {
			d.addAt(path, k.Line, k.Column, quote(name)+" is not a valid name", nameRemedy)
			return
		}
		below := path + "/" + name
		d.places[below] = place{child, k}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(child, element, below)
		if element.Kind() != reflect.Pointer || !element.IsNil() {
			v.SetMapIndex(reflect.ValueOf(name), element)
		}
	})
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		remedy := "Write [one, two], or one entry per line after a dash."
		if n.Kind == yaml.ScalarNode {
			remedy = fmt.Sprintf("Write [%s].", quote(n.Value))
		}
		d.mistyped(n, path, "a list", remedy)
		return
	}
	_, mayBeEmpty := v.Interface().(interface{ mayBeEmpty() })
	if len(n.Content) == 0 && !mayBeEmpty {
		d.fail(n, path, mistake{"empty list", "Add an entry, or remove the key."})
		return
	}
	if len(n.Content) > maxEntries {
		d.fail(n, path, mistake{fmt.Sprintf("the list has %d entries, more than %d", len(n.Content), maxEntries), "Use patterns."})
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	seen := map[string]bool{}
	for i, child := range n.Content {
		below := path + "/" + strconv.Itoa(i)
		d.places[below] = place{value: child}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(child, element, below)
		if child.Kind == yaml.ScalarNode {
			if seen[child.Value] {
				d.fail(child, below, mistake{"duplicate entry " + quote(child.Value), "Remove one of them."})
			}
			seen[child.Value] = true
		}
		list = reflect.Append(list, element)
	}
	v.Set(list)
}
