package topology

import (
	"regexp"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
)

// TagPattern is a glob for tags, or a range of semantic versions.
type TagPattern struct {
	glob  TagGlob
	text  string
	bound *semver.Constraints // nil for a glob
}

// read reads a range if the text begins with a comparison or contains a space.
func (p *TagPattern) read(text string) error {
	if !strings.ContainsRune("<>=!~^", rune(text[0])) && !strings.ContainsAny(text, " |,") {
		p.text = text
		return p.glob.read(text)
	}
	// ! without = would exclude something, which a pattern cannot do.
	wrong := mistake{quote(text) + " is not a range of semantic versions", "Write it as >=1.2 <2, ~1.4, ^2 or 1.2 - 1.4. A glob has no spaces."}
	if len(text) > maxPattern || text[0] == '!' && !strings.HasPrefix(text, "!=") {
		return wrong
	}
	bound, err := semver.NewConstraint(text)
	if err != nil {
		return wrong
	}
	p.text, p.bound = text, bound
	return nil
}

func (p TagPattern) String() string { return p.text }

// match reports whether the pattern matches a tag. A range matches tags that
// are versions: two or three numbers, with or without a leading v. A single
// number is a build or a date, not a version. Pre-releases are matched only by a
// range that names one, such as >=1.0.0-0.
func (p TagPattern) match(tag string) bool {
	if p.bound == nil {
		return p.glob.match(tag)
	}
	v, ok := version(tag)
	return ok && p.bound.Check(v)
}

// version reads a tag as a semantic version: without leading zeros, as
// https://semver.org has it, but for a patch number that may be left out.
func version(tag string) (*semver.Version, bool) {
	numbers := strings.TrimPrefix(tag, "v")
	if len(tag) > 128 || !strings.Contains(numbers, ".") {
		return nil, false
	}
	core := numbers
	if end := strings.IndexAny(numbers, "-+"); end >= 0 {
		core = numbers[:end]
	}
	if strings.Count(core, ".") == 1 {
		numbers = core + ".0" + numbers[len(core):]
	}
	v, err := semver.StrictNewVersion(numbers)
	return v, err == nil
}

// digit reports whether s begins with a digit.
func digit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// overlaps reports whether a tag can match both patterns. If in doubt, it
// reports true.
func (p TagPattern) overlaps(other TagPattern, spent *int) bool {
	switch {
	case p.bound == nil && other.bound == nil:
		return p.glob.overlaps(other.glob.glob, spent)
	case p.bound != nil && other.bound != nil:
		return rangesOverlap(p, other, spent)
	case p.bound == nil:
		return globOverlapsRange(p.glob, other, spent)
	}
	return globOverlapsRange(other.glob, p, spent)
}

func globOverlapsRange(g TagGlob, r TagPattern, spent *int) bool {
	if g.literal {
		return r.match(g.text)
	}
	*spent++
	// A version begins with a digit or a v.
	return strings.ContainsRune("v*?0123456789", rune(g.text[0]))
}

// named matches the versions in a range.
var named = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(\d+)(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(-[0-9A-Za-z.-]+)?`)
})

// rangesOverlap tries the versions at which a range can begin: those that either
// range names, the next ones, and the lowest. The intersection of two ranges
// begins at one of these, so it is empty if none is in both.
func rangesOverlap(a, b TagPattern, spent *int) bool {
	try := func(major, minor, patch uint64, pre string) bool {
		*spent += 20
		v := semver.New(major, minor, patch, pre, "")
		return a.bound.Check(v) && b.bound.Check(v)
	}
	near := func(major, minor, patch uint64) bool {
		return try(major, minor, patch, "") || try(major, minor, patch, "0") || try(major, minor, patch+1, "") || try(major, minor, patch+1, "0")
	}
	if near(0, 0, 0) {
		return true
	}
	for _, text := range []string{a.text, b.text} {
		for _, found := range named().FindAllStringSubmatch(text, -1) {
			v, err := semver.NewVersion(numbered(found[1]) + "." + numbered(found[2]) + "." + numbered(found[3]) + found[4])
			if err != nil {
				return true
			}
			if near(v.Major(), v.Minor(), v.Patch()) || near(v.Major(), v.Minor()+1, 0) || near(v.Major()+1, 0, 0) {
				return true
			}
			if pre := v.Prerelease(); pre != "" && (try(v.Major(), v.Minor(), v.Patch(), pre) || try(v.Major(), v.Minor(), v.Patch(), pre+".0")) {
				return true
			}
		}
	}
	return false
}

// numbered returns a part of a version; a wildcard or an empty part is 0.
func numbered(part string) string {
	if !digit(part) {
		return "0"
	}
	return part
}

// Tags is a list of tag patterns. An empty list covers every tag.
type Tags []TagPattern

// match reports whether a tag is covered. An empty tag, that of an image by
// digest, is covered only by an empty list.
func (t Tags) match(tag string) bool {
	if tag == "" {
		return len(t) == 0
	}
	for _, p := range t {
		if p.match(tag) {
			return true
		}
	}
	return len(t) == 0
}

func (t Tags) String() string { return patterns(t, "every tag") }

// Moves reports whether a tag at a target of the flow may move.
func (f *Flow) Moves(tag string) bool {
	for _, p := range f.MovingTags {
		if p.match(tag) {
			return true
		}
	}
	return false
}
