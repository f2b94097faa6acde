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

// subjectTypes describes the subject types of Azure DevOps that are not people
// (Microsoft.VisualStudio.Services.Graph.Constants in its client libraries). A
// descriptor begins with the type and a dot.
var subjectTypes = map[string]string{
	"aadgp": "a group", "vssgp": "a group", "ungrp": "a group", "scp": "a group", "agg": "an aggregate identity",
	"aadsp": "a service principal", "s2s": "a service principal of Azure DevOps", "acs": "a service identity",
	"svc": "a service identity, such as a build service", "bnd": "an account that has not signed in yet",
	"csp": "a partner's identity", "uauth": "an identity that did not sign in", "tst": "a test identity",
}

// people are the subject types of people: accounts of Microsoft Entra ID,
// Microsoft accounts, Windows accounts and imported accounts.
var people = []string{"aad", "msa", "win", "imp"}

// notAPerson returns what an identity is if it is not known to be a person, or ""
// if it is a person. An identity without a descriptor, or of a type that the
// server does not know (unusr), is a person only if the server calls it a user.
// The type comes first, because the server also calls build services users.
func (p Person) notAPerson() string {
	kind, id, _ := strings.Cut(p.Descriptor, ".")
	switch {
	case p.Group:
		return "a group"
	case p.Kind != "" && p.Kind != "user":
		return fmt.Sprintf("a subject of kind %q", p.Kind)
	case id != "" && slices.Contains(people, kind):
		return ""
	case p.Kind == "user" && (p.Descriptor == "" || kind == "unusr"):
		return ""
	case p.Descriptor == "":
		return "an identity of unknown type"
	case subjectTypes[kind] != "":
		return fmt.Sprintf("%s (subject type %s)", subjectTypes[kind], kind)
	}
	return fmt.Sprintf("an identity of the unknown subject type %q", kind)
}

// requestedHow returns how the person requested the run, or "" if they did not.
func (j *judge) requestedHow(id string) string {
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

// isAuthor reports whether the person pushed the source version.
func (j *judge) isAuthor(id string) bool {
	return slices.ContainsFunc(j.e.Authors, func(p Person) bool { return SameGUID(p.ID, id) })
}

// isListed reports whether the person who approved, or the group on whose behalf
// they approved, is on the list of approvers.
func (j *judge) isListed(s Step) bool {
	if len(j.r.Approvers) == 0 {
		return true
	}
	person := s.Assigned // if there is no response yet
	if s.Actual != nil {
		person = *s.Actual
	}
	if j.names(person) {
		return true
	}
	for _, entry := range j.r.Approvers {
		if entry == "" {
			continue
		}
		if onBehalf(s) && (SameName(entry, s.Assigned.UniqueName) || entry == s.Assigned.Descriptor ||
			isGroupName(entry) && SameName(entry, s.Assigned.Name)) {
			return true
		}
	}
	return false
}

// names reports whether this identity itself, not just a group that it is in, is
// on the list of approvers.
func (j *judge) names(p Person) bool {
	return slices.ContainsFunc(j.r.Approvers, func(entry string) bool {
		return entry != "" && (SameName(entry, p.UniqueName) || entry == p.Descriptor)
	})
}

// onBehalf reports whether someone responded for a group that was asked. People
// can choose any display name, but cannot make themselves a group.
func onBehalf(s Step) bool {
	return s.Assigned.Group && s.Actual != nil && !SameGUID(s.Assigned.ID, s.Actual.ID)
}

// isGroupName reports whether a name has the form [Project]\Group.
func isGroupName(name string) bool {
	scope, group, ok := strings.Cut(name, `]\`)
	return ok && strings.HasPrefix(scope, "[") && group != ""
}
