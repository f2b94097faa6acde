package approval

import (
	"fmt"
	"slices"
	"strings"
)

// label names a person so that two of the same display name can be told apart.
func label(p Person) string {
	switch {
	case p.Name == "" && p.UniqueName == "":
		if p.ID == "" {
			return "an unnamed person"
		}
		return p.ID
	case p.Name == "":
		return p.UniqueName
	case p.UniqueName == "" || p.UniqueName == p.Name || p.Group:
		return p.Name
	}
	return fmt.Sprintf("%s (%s)", p.Name, p.UniqueName)
}

// requested says how the person asked for the run; empty if not at all.
func (j *judge) requested(id string) string {
	for _, r := range j.e.Requesters {
		if SameGUID(r.ID, id) {
			if r.As == "" {
				return "requested the run"
			}
			return r.As
		}
	}
	return ""
}

// wrote tells whether the person pushed the source version.
func (j *judge) wrote(id string) bool {
	return slices.ContainsFunc(j.e.Authors, func(p Person) bool { return SameGUID(p.ID, id) })
}

// listed tells whether the list of approvers has the person who approved, or
// the group on whose behalf they did.
func (j *judge) listed(s Step) bool {
	if len(j.r.Approvers) == 0 {
		return true
	}
	person := s.Assigned // not answered yet: the person who is asked
	if s.Actual != nil {
		person = *s.Actual
	}
	for _, entry := range j.r.Approvers {
		if entry == "" {
			continue
		}
		if SameName(entry, person.UniqueName) || entry == person.Descriptor {
			return true
		}
		if onBehalf(s) && (SameName(entry, s.Assigned.UniqueName) || entry == s.Assigned.Descriptor ||
			groupName(entry) && SameName(entry, s.Assigned.Name)) {
			return true
		}
	}
	return false
}

// onBehalf tells whether somebody answered for a group that was asked. A person
// may choose a display name at will, but not be asked as a group.
func onBehalf(s Step) bool {
	return s.Assigned.Group && s.Actual != nil && !SameGUID(s.Assigned.ID, s.Actual.ID)
}

// groupName tells whether a name has the form [Project]\Group.
func groupName(name string) bool {
	scope, group, ok := strings.Cut(name, `]\`)
	return ok && strings.HasPrefix(scope, "[") && group != ""
}
