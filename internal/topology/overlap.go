package topology

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// terms writes down everything that a flow says about the images it covers:
// not its name, and not which images and registries these are. Two flows with
// the same terms never disagree. The order of lists does not count.
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

// alike says whether flows all have the same terms.
func alike(flows []*Flow) bool {
	for _, f := range flows[1:] {
		if f.terms() != flows[0].terms() {
			return false
		}
	}
	return true
}

// mostCompared bounds the work of comparing flows' patterns: far above what a
// file of a thousand flows with a few patterns each takes.
const mostCompared = 10_000_000

// overlaps says to which target two flows may bring the same image, under
// whatever name; inside one registry the tag it gets counts too. What cannot
// be told apart may be the same.
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

// movesMeet says whether two flows inside one registry may set the same tag.
func (f *Flow) movesMeet(g *Flow, spent *int) bool {
	if f.As != (As{}) || g.As != (As{}) {
		return true
	}
	return shared(f.MovingTags, g.MovingTags, spent, func(a, b TagGlob, spent *int) bool { return a.overlaps(b.glob, spent) })
}

func repositoriesMeet(a, b Repositories, spent *int) bool {
	return shared(a, b, spent, func(a, b RepositoryPattern, spent *int) bool { return a.overlaps(b.glob, spent) })
}

// shared says whether two lists of patterns have a name in common. An empty
// list covers every name.
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
