package topology

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalar is a value that reads itself from text. The error is a mistake.
type scalar interface{ read(text string) error }

// numeric is a scalar whose text may be a number without quotes.
type numeric interface{ numeric() }

// place is where a value stands, and its key if it has one.
type place struct{ value, key *yaml.Node }

// decoder fills the types of the flow file from YAML nodes. Places are kept by
// path (keys and indices joined by slashes) for the checks that follow.
type decoder struct {
	*problems
	places map[string]place
	// broken are paths whose value could not be understood; what rests on
	// them is not judged.
	broken map[string]bool
}

func newDecoder() *decoder {
	return &decoder{problems: &problems{}, places: map[string]place{}, broken: map[string]bool{}}
}

// decode fills what into points at.
func (d *decoder) decode(root *yaml.Node, into any) {
	d.places[""] = place{value: root}
	d.value(root, reflect.ValueOf(into).Elem(), "")
}

func (d *decoder) fail(n *yaml.Node, path string, m mistake) {
	d.broken[path] = true
	d.add(n.Line, n.Column, m.reason, m.remedy)
}

// key is one key that a struct takes.
type key struct {
	name     string
	required bool
	index    int
}

// keysOf reads the keys of a struct from its tags.
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

// value decodes one node into v, which path leads to.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		d.broken[path] = true
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.fail(n, path, mistake{"There is no value.", "Give one, or remove the key."})
		return
	}
	if s, ok := v.Addr().Interface().(scalar); ok {
		_, number := s.(numeric)
		if d.text(n, path, number) {
			if err := s.read(n.Value); err != nil {
				var m mistake
				if !errors.As(err, &m) {
					m.reason = err.Error()
				}
				d.fail(n, path, m)
			}
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
			d.fail(n, path, mistake{found(n) + ", and true or false is wanted.", "Write true or false, without quotes."})
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.String:
		if d.text(n, path, false) {
			v.SetString(n.Value)
		}
	}
}

// text says whether a node is text.
func (d *decoder) text(n *yaml.Node, path string, number bool) bool {
	tag := n.ShortTag()
	switch {
	case n.Kind != yaml.ScalarNode:
		d.fail(n, path, mistake{found(n) + ", and a single value is wanted.", "Write one value."})
	case number && (tag == "!!int" || tag == "!!str"):
		return true
	case number:
		d.fail(n, path, mistake{found(n) + ", and an integer is wanted.", ""})
	case tag != "!!str":
		d.fail(n, path, mistake{found(n) + ", and text is wanted.", fmt.Sprintf("Put it in quotes: %s.", quote(n.Value))})
	case n.Value == "":
		d.fail(n, path, mistake{"The text is empty.", "Give a value, or remove the key."})
	default:
		return true
	}
	return false
}

// found says what a node is.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "Here is a mapping"
	case yaml.SequenceNode:
		return "Here is a list"
	}
	what := map[string]string{"!!int": "number", "!!float": "number", "!!bool": "boolean", "!!timestamp": "date", "!!str": "text"}[n.ShortTag()]
	switch what {
	case "":
		return "Here is the value " + quote(n.Value)
	case "text":
		return "Here is the text " + quote(n.Value)
	}
	return fmt.Sprintf("Here is the %s %s", what, strings.Trim(quote(n.Value), `"`))
}

// pairs walks the keys of a mapping, each once.
func (d *decoder) pairs(n *yaml.Node, path string, each func(name string, key, value *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, mistake{found(n) + ", and a mapping is wanted.", "Write key: value, one a line."})
		return false
	}
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind == yaml.AliasNode:
			// Told already.
		case k.Kind != yaml.ScalarNode:
			d.add(k.Line, k.Column, found(k)+" as a key.", "A key is a name.")
		case k.Value == "<<" && k.ShortTag() == "!!merge":
			d.add(k.Line, k.Column, "There is a merge key, <<.", "Merge keys are not taken: write the keys out.")
		case first[k.Value] != nil:
			d.add(k.Line, k.Column, fmt.Sprintf("The key %s is here twice; it stands in line %d too.", quote(k.Value), first[k.Value].Line), "Remove one of them.")
		default:
			first[k.Value] = k
			each(k.Value, k, v)
		}
	}
	return true
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
		if strings.HasPrefix(m.remedy, "There are") {
			m.remedy = fmt.Sprintf("The keys here are %s.", strings.Join(names(takes), ", "))
		}
		d.add(k.Line, k.Column, m.reason, m.remedy)
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
			d.add(at.Line, at.Column, fmt.Sprintf("The key %s is missing.", t.name), "")
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

// What one list or mapping may hold. It bounds the work of comparing them.
const mostEntries = 1000

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		d.fail(n, path, mistake{"The mapping is empty.", "Name something in it."})
		return
	}
	if len(n.Content)/2 > mostEntries && n.Kind == yaml.MappingNode {
		d.fail(n, path, mistake{fmt.Sprintf("There are %d entries; at most %d are taken.", len(n.Content)/2, mostEntries), "Split the file."})
		return
	}
	d.pairs(n, path, func(name string, k, child *yaml.Node) {
		if !isName(name) {
			d.add(k.Line, k.Column, fmt.Sprintf("%s is no name.", quote(name)), nameRemedy)
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
		remedy := "Write [one, two], or one a line after a dash."
		if n.Kind == yaml.ScalarNode {
			remedy = fmt.Sprintf("Write [%s].", quote(n.Value))
		}
		d.fail(n, path, mistake{found(n) + ", and a list is wanted.", remedy})
		return
	}
	if len(n.Content) == 0 {
		d.fail(n, path, mistake{"The list is empty.", "Name something in it, or remove the key."})
		return
	}
	if len(n.Content) > mostEntries {
		d.fail(n, path, mistake{fmt.Sprintf("The list has %d entries; at most %d are taken.", len(n.Content), mostEntries), "Use patterns."})
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
				d.fail(child, below, mistake{fmt.Sprintf("%s is in this list twice.", quote(child.Value)), "Remove one of them."})
			}
			seen[child.Value] = true
		}
		list = reflect.Append(list, element)
	}
	v.Set(list)
}
