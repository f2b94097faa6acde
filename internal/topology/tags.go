package topology

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
)

// TagPattern is a glob over tags, or a range of semantic versions.
type TagPattern struct {
	glob  TagGlob
	text  string
	bound *semver.Constraints // nil: a glob
}

// read takes a range where the text begins with a comparison or holds a space.
func (p *TagPattern) read(text string) error {
	if !strings.ContainsRune("<>=!~^", rune(text[0])) && !strings.ContainsAny(text, " |,") {
		p.text = text
		return p.glob.read(text)
	}
	// ! without = is a wish to leave something out, which no pattern can.
	wrong := mistake{fmt.Sprintf("%s is no range of semantic versions.", quote(text)), "Write it as >=1.2 <2, ~1.4, ^2 or 1.2 - 1.4; a glob has no spaces."}
	if len(text) > mostPattern || text[0] == '!' && !strings.HasPrefix(text, "!=") {
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

// Match says whether the pattern covers a tag. A range covers tags that are
// versions: two or three numbers, a v before them or not. A single number is
// a build or a date, and no version. Pre-releases are covered only by a range
// that names one, as >=1.0.0-0 does.
func (p TagPattern) Match(tag string) bool {
	if p.bound == nil {
		return p.glob.Match(tag)
	}
	v, ok := version(tag)
	return ok && p.bound.Check(v)
}

func version(tag string) (*semver.Version, bool) {
	numbers := strings.TrimPrefix(tag, "v")
	major, minor, parted := strings.Cut(numbers, ".")
	if len(tag) > 128 || !parted || !digit(major) || !digit(minor) {
		return nil, false
	}
	// Whole versions, which most are, are read without a regular expression.
	v, err := semver.StrictNewVersion(numbers)
	if err != nil {
		v, err = semver.NewVersion(numbers)
	}
	return v, err == nil
}

// digit says whether a text begins with one.
func digit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// overlaps says whether a tag may match both patterns. Where that cannot be
// told, it may.
func (p TagPattern) overlaps(other TagPattern, spent *int) bool {
	switch {
	case p.bound == nil && other.bound == nil:
		return p.glob.overlaps(other.glob.glob, spent)
	case p.bound != nil && other.bound != nil:
		return rangesMeet(p, other, spent)
	case p.bound == nil:
		return globMeetsRange(p.glob, other, spent)
	}
	return globMeetsRange(other.glob, p, spent)
}

func globMeetsRange(g TagGlob, r TagPattern, spent *int) bool {
	if g.literal {
		return r.Match(g.text)
	}
	*spent++
	// Versions begin with a digit or a v.
	return strings.ContainsRune("v*?0123456789", rune(g.text[0]))
}

// named finds the versions that a range names.
var named = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(\d+)(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(-[0-9A-Za-z.-]+)?`)
})

// rangesMeet tries the versions at which one of two ranges can begin: those
// that either names, their next ones, and the lowest of all. If none is in
// both, nothing is: what two ranges share begins at one of these.
func rangesMeet(a, b TagPattern, spent *int) bool {
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

// numbered is a part of a version, where a wildcard or nothing is 0.
func numbered(part string) string {
	if !digit(part) {
		return "0"
	}
	return part
}

// Tags are patterns of tags. None at all covers every tag.
type Tags []TagPattern

// Match says whether a tag is covered. An image by digest alone, with an empty
// tag, is covered only where every tag is.
func (t Tags) Match(tag string) bool {
	if tag == "" {
		return len(t) == 0
	}
	for _, p := range t {
		if p.Match(tag) {
			return true
		}
	}
	return len(t) == 0
}

func (t Tags) String() string { return patterns(t, "every tag") }

// Moves says whether a tag at a target of the flow may move.
func (f *Flow) Moves(tag string) bool {
	for _, p := range f.MovingTags {
		if p.Match(tag) {
			return true
		}
	}
	return false
}
