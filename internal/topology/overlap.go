package topology

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// rules returns a text for the rules of a flow, without its name and without
// the images and registries that it covers. Flows with equal texts have the
// same rules. The order of lists does not matter.
func (f *Flow) rules() string {
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

// sameRules reports whether all flows have the same rules.
func sameRules(flows []*Flow) bool {
	for _, f := range flows[1:] {
		if f.rules() != flows[0].rules() {
			return false
		}
	}
	return true
}

// maxCompared limits the work of comparing the patterns of flows. It is far
// more than a thousand flows with a few patterns each need.
const maxCompared = 10_000_000

// overlaps reports whether two flows can bring the same image to the same
// target, under any name, and returns that target. Within one registry, only
// flows that can set the same tag overlap. If in doubt, flows overlap.
func (f *Flow) overlaps(g *Flow, spent *int) (target string, may bool) {
	if f.From != g.From || !repositoriesOverlap(f.Repositories, g.Repositories, spent) ||
		!anyOverlap(f.Tags, g.Tags, spent, TagPattern.overlaps) {
		return "", false
	}
	for _, to := range f.To {
		if !slices.Contains(g.To, to) {
			continue
		}
		mine, yours := f.Teams[to], g.Teams[to]
		if repositoriesOverlap(mine, yours, spent) && repositoriesOverlap(mine, g.Repositories, spent) && repositoriesOverlap(f.Repositories, yours, spent) &&
			(to != f.From || f.movesOverlap(g, spent)) {
			return to, true
		}
	}
	return "", false
}

// movesOverlap reports whether two flows within one registry can set the same tag.
func (f *Flow) movesOverlap(g *Flow, spent *int) bool {
	if f.As != (As{}) || g.As != (As{}) {
		return true
	}
	return anyOverlap(f.MovingTags, g.MovingTags, spent, func(a, b TagGlob, spent *int) bool { return a.overlaps(b.glob, spent) })
}

func repositoriesOverlap(a, b Repositories, spent *int) bool {
	return anyOverlap(a, b, spent, func(a, b RepositoryPattern, spent *int) bool { return a.overlaps(b.glob, spent) })
}

// anyOverlap reports whether two lists of patterns can match the same name. An
// empty list matches every name.
func anyOverlap[P any](a, b []P, spent *int, overlaps func(P, P, *int) bool) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	for _, p := range a {
		for _, q := range b {
			if *spent > maxCompared || overlaps(p, q, spent) {
				return true
			}
			*spent++
		}
	}
	return false
}
