package topology

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// terms returns a text for the rules of a flow, without its name and without
// the images and registries that it covers. Flows with equal texts have the
// same rules. The order of lists does not matter.
func (f *Flow) terms() string {
	bare := *f
	bare.Name, bare.From, bare.To = "", "", nil
	bare.Repositories, bare.Tags, bare.Teams = nil, nil, nil
	var b strings.Builder
	write(&b, reflect.ValueOf(bare))
	return b.String()
}

func write(b *strings.Builder, v reflect.Value) {
	if s, ok := v.Interface().(fmt.Stringer); ok {
		fmt.Fprintf(b, "%q", s.String())
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			b.WriteString("-")
			return
		}
		write(b, v.Elem())
	case reflect.Struct:
		for _, k := range keysOf(v.Type()) {
			b.WriteString(k.name + "{")
			write(b, v.Field(k.index))
			b.WriteString("}")
		}
	case reflect.Slice:
		var parts []string
		for i := range v.Len() {
			var part strings.Builder
			write(&part, v.Index(i))
			parts = append(parts, part.String())
		}
		slices.Sort(parts)
		b.WriteString(strings.Join(parts, ","))
	default:
		fmt.Fprintf(b, "%#v", v.Interface())
	}
}

// alike reports whether all flows have the same rules.
func alike(flows []*Flow) bool {
	for _, f := range flows[1:] {
		if f.terms() != flows[0].terms() {
			return false
		}
	}
	return true
}

// mostCompared limits the work of comparing the patterns of flows. It is far
// more than a thousand flows with a few patterns each need.
const mostCompared = 10_000_000

// overlaps reports whether two flows can bring the same image to the same
// target, under any name, and returns that target. Within one registry, only
// flows that can set the same tag overlap. If in doubt, flows overlap.
func (f *Flow) overlaps(g *Flow, spent *int) (target string, may bool) {
	if f.From != g.From || !repositoriesMeet(f.Repositories, g.Repositories, spent) ||
		!shared(f.Tags, g.Tags, spent, TagPattern.overlaps) {
		return "", false
	}
	for _, to := range f.To {
		if !slices.Contains(g.To, to) {
			continue
		}
		mine, yours := f.Teams[to], g.Teams[to]
		if repositoriesMeet(mine, yours, spent) && repositoriesMeet(mine, g.Repositories, spent) && repositoriesMeet(f.Repositories, yours, spent) &&
			(to != f.From || f.movesMeet(g, spent)) {
			return to, true
		}
	}
	return "", false
}

// movesMeet reports whether two flows within one registry can set the same tag.
func (f *Flow) movesMeet(g *Flow, spent *int) bool {
	if f.As != (As{}) || g.As != (As{}) {
		return true
	}
	return shared(f.MovingTags, g.MovingTags, spent, func(a, b TagGlob, spent *int) bool { return a.overlaps(b.glob, spent) })
}

func repositoriesMeet(a, b Repositories, spent *int) bool {
	return shared(a, b, spent, func(a, b RepositoryPattern, spent *int) bool { return a.overlaps(b.glob, spent) })
}

// shared reports whether two lists of patterns can match the same name. An
// empty list matches every name.
func shared[P any](a, b []P, spent *int, overlaps func(P, P, *int) bool) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	for _, p := range a {
		for _, q := range b {
			if *spent > mostCompared || overlaps(p, q, spent) {
				return true
			}
			*spent++
		}
	}
	return false
}
