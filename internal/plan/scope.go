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
		words := strings.Split(line, " ")
		printable := !strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' })
		switch {
		case words[0] == "image" && len(words) == 2 && printable:
			s.images = append(s.images, line)
		case words[0] == "target" && len(words) == 4 && printable:
			s.targets = append(s.targets, line)
		case words[0] == "attached" && len(words) == 3 && printable:
			s.attached = append(s.attached, line)
		default:
			return Scope{}, errors.New("it has a line that plans do not have")
		}
	}
	return s, nil
}

// Changes lists in words what another scope has in addition to s, what it lacks and
// what differs. It lists at most most of each kind, and counts the others.
func (s Scope) Changes(now Scope, most int) []string {
	var changes []string
	before, after := s.groups(), now.groups()
	for i, kind := range []string{"image", "target", "attached artifact"} {
		gone, come := missingFrom(after[i], before[i]), missingFrom(before[i], after[i])
		var found []string
		for _, line := range gone {
			if other := slices.IndexFunc(come, func(l string) bool { return subjectOf(l) == subjectOf(line) }); other >= 0 {
				found = append(found, fmt.Sprintf("%s %s: %s instead of %s", kind, subjectOf(line), stateOf(come[other]), stateOf(line)))
				come = slices.Delete(come, other, other+1)
				continue
			}
			found = append(found, fmt.Sprintf("%s %s (%s) removed", kind, subjectOf(line), stateOf(line)))
		}
		for _, line := range come {
			found = append(found, fmt.Sprintf("%s %s (%s) added", kind, subjectOf(line), stateOf(line)))
		}
		if more := len(found) - most; more > 0 {
			found = append(found[:most], fmt.Sprintf("%d more changes of this kind", more))
		}
		changes = append(changes, found...)
	}
	return changes
}

// missingFrom returns the lines that a sorted group lacks.
func missingFrom(group, lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		_, has := slices.BinarySearch(group, line)
		return has
	})
}

// subjectOf returns what a line is about: the repository of an image, a target, or an
// attached artifact.
func subjectOf(line string) string {
	subject, _ := parts(line)
	return subject
}

// stateOf returns the rest of a line: the digest of an image, the digest and the lock
// of a target, or what an artifact is attached to.
func stateOf(line string) string {
	_, state := parts(line)
	return state
}

func parts(line string) (subject, state string) {
	words := strings.Split(line, " ")
	switch {
	case words[0] == "image" && len(words) == 2:
		repository, digest, _ := strings.Cut(words[1], "@")
		return repository, digest
	case words[0] == "target" && len(words) == 4:
		return words[2], words[1] + ", " + words[3]
	case words[0] == "attached" && len(words) == 3:
		return words[1], "to " + words[2]
	}
	return line, ""
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
