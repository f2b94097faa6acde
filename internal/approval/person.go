package approval

import (
	"fmt"
	"slices"
	"strings"
)

// label returns a name for a person that distinguishes people with the same
// display name.
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

// requested returns how the person requested the run, or "" if they did not.
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

// wrote reports whether the person pushed the source version.
func (j *judge) wrote(id string) bool {
	return slices.ContainsFunc(j.e.Authors, func(p Person) bool { return SameGUID(p.ID, id) })
}

// listed reports whether the person who approved, or the group on whose behalf
// they approved, is on the list of approvers.
func (j *judge) listed(s Step) bool {
	if len(j.r.Approvers) == 0 {
		return true
	}
	person := s.Assigned // if there is no response yet
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

// onBehalf reports whether someone responded for a group that was asked. People
// can choose any display name, but cannot make themselves a group.
func onBehalf(s Step) bool {
	return s.Assigned.Group && s.Actual != nil && !SameGUID(s.Assigned.ID, s.Actual.ID)
}

// groupName reports whether a name has the form [Project]\Group.
func groupName(name string) bool {
	scope, group, ok := strings.Cut(name, `]\`)
	return ok && strings.HasPrefix(scope, "[") && group != ""
}
