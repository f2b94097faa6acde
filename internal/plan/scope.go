package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/referrer"
	"acrpromote/internal/seal"
)

// scopeVersion is the first line of a scope.
const scopeVersion = "acrpromote/plan/v1"

// Scope is what the plan's code covers: the images, their targets with the locks,
// and what is attached to the images. Nothing that was observed at a target is in
// it, so that a rerun has the same scope.
type Scope struct{ images, targets, attached []string }

// AddImage adds an image by its repository and its digest.
func (s *Scope) AddImage(source ref.Reference, digest string) {
	source.Tag, source.Digest = "", digest
	s.images = append(s.images, "image "+reference(source))
}

// AddTarget adds a target of the image with the given digest, and what is locked
// there.
func (s *Scope) AddTarget(digest string, target ref.Reference, lock Lock) {
	if lock == "" {
		lock = LockNone
	}
	target.Digest = ""
	s.targets = append(s.targets, "target "+digest+" "+reference(target)+" lock="+string(lock))
}

// AddAttached adds an artifact that is attached to a manifest.
func (s *Scope) AddAttached(digest, subject string) {
	s.attached = append(s.attached, "attached "+digest+" "+subject)
}

// reference returns a reference with its host in lower case.
func reference(r ref.Reference) string {
	r.Registry = strings.ToLower(r.Registry)
	return r.String()
}

// Lines returns the text that the digest is computed over: the version, the images,
// the targets and what is attached, each group sorted bytewise and without
// duplicates. Each line ends with a line feed.
func (s Scope) Lines() string {
	var b strings.Builder
	b.WriteString(scopeVersion + "\n")
	for _, group := range s.groups() {
		for _, line := range group {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// groups returns the lines by group, sorted and without duplicates.
func (s Scope) groups() [3][]string {
	groups := [3][]string{s.images, s.targets, s.attached}
	for i, group := range groups {
		group = slices.Clone(group)
		slices.Sort(group)
		groups[i] = slices.Compact(group)
	}
	return groups
}

// Digest returns the digest of the scope.
func (s Scope) Digest() string { return ref.DigestOf([]byte(s.Lines())) }

// Code returns the plan's code: the approval code of the scope's digest.
func (s Scope) Code() string {
	code, err := seal.Code(s.Digest())
	if err != nil {
		return "" // never, for a digest of our own
	}
	return code
}

// Equal reports whether two scopes have the same lines.
func (s Scope) Equal(other Scope) bool { return s.Lines() == other.Lines() }

// ParseScope parses the lines of a scope.
func ParseScope(lines string) (Scope, error) {
	rest, versioned := strings.CutPrefix(lines, scopeVersion+"\n")
	if !versioned || rest != "" && !strings.HasSuffix(rest, "\n") {
		return Scope{}, errors.New("it is not the text of a plan")
	}
	var list []string
	for line := range strings.Lines(rest) {
		list = append(list, strings.TrimSuffix(line, "\n"))
	}
	s, err := ParseLines(list)
	if err == nil && s.Lines() != lines {
		err = errors.New("its lines are not sorted")
	}
	return s, err
}

// ParseLines parses lines of a scope, in any order and without the version.
func ParseLines(lines []string) (Scope, error) {
	var s Scope
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n") {
			return Scope{}, errors.New("it has a line that plans do not have")
		}
		kind, _, _ := strings.Cut(line, " ")
		switch kind {
		case "image":
			s.images = append(s.images, line)
		case "target":
			s.targets = append(s.targets, line)
		case "attached":
			s.attached = append(s.attached, line)
		default:
			return Scope{}, errors.New("it has a line that plans do not have")
		}
	}
	return s, nil
}

// Changes lists what another scope has in addition to s, and what it lacks, in
// words. It lists at most most of each kind, and counts the others.
func (s Scope) Changes(now Scope, most int) []string {
	var changes []string
	before, after := s.groups(), now.groups()
	for i, kind := range []string{"image", "target", "attached artifact"} {
		for _, side := range []struct {
			what     string
			has, not []string
		}{{"added", after[i], before[i]}, {"removed", before[i], after[i]}} {
			found := 0
			for _, line := range side.has {
				if _, both := slices.BinarySearch(side.not, line); both {
					continue
				}
				if found++; found <= most {
					_, what, _ := strings.Cut(line, " ")
					changes = append(changes, fmt.Sprintf("%s %s: %s", kind, side.what, what))
				}
			}
			if more := found - most; more > 0 {
				changes = append(changes, fmt.Sprintf("%s %s: %d more", kind, side.what, more))
			}
		}
	}
	return changes
}

// ScopeAt returns the scope of a set of images as an approval at a time covers it:
// with what was attached before. The zero time is now. known is false if an image
// could not be read: what its plan is, is then unknown.
func ScopeAt(images []Image, at time.Time) (s Scope, known bool) {
	for _, i := range images {
		if i.Observed.Source.Unreadable || i.Observed.Source.Digest == "" {
			return Scope{}, false
		}
		i.addTo(&s, at)
	}
	return s, true
}

func (i Image) addTo(s *Scope, at time.Time) {
	w, source := i.Wanted, i.Observed.Source
	s.AddImage(w.Source, source.Digest)
	for j, target := range w.Targets {
		s.AddTarget(source.Digest, target, Lock(w.Routes[j].Rules.Lock))
	}
	for j, in := range i.Covered(at) {
		if in {
			s.AddAttached(source.Referrers[j].Digest, source.Referrers[j].Subject)
		}
	}
}

// Covered reports for each referrer of the image whether an approval at a time
// covers it: it would be copied to a target that has nothing, and was attached
// before. If times decide what is copied, an artifact whose time is unknown is not
// covered, because it is never copied. Otherwise it may be as old as any.
func (i Image) Covered(at time.Time) []bool {
	w, source := i.Wanted, i.Observed.Source
	timed := w.TimesReferrers() && source.Timed
	var earlier []referrer.Referrer
	var places []int
	for j, one := range source.Referrers {
		later := !at.IsZero() && !one.At.IsZero() && !one.At.Before(at)
		if later || timed && one.At.IsZero() {
			continue
		}
		earlier, places = append(earlier, one), append(places, j)
	}
	covered := make([]bool, len(source.Referrers))
	for j, why := range w.ReferrerRules().Select(append([]string{source.Digest}, source.Children...), earlier) {
		covered[places[j]] = why == "" && !slices.Contains(seal.LaterTypes, earlier[j].Type)
	}
	return covered
}
