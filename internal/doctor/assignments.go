package doctor

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// mostListed limits the role assignments that are listed of each kind.
const mostListed = 100

// assignments judges who has rights on the registry.
func (r *registryJudge) assignments() {
	abac := r.abac()
	lower := r.lowerIdentities()
	roles := map[string]granted{}
	for id, role := range r.Roles {
		roles[id] = role.permits(abac)
	}
	listed, unread := map[string]int{}, map[string]int{}
	add := func(kind string, facts []string) {
		if listed[kind]++; listed[kind] <= mostListed {
			r.add(kind, facts...)
		}
	}
	for _, a := range r.Assignments {
		permits, known := roles[a.Role]
		if !known {
			unread[a.Role]++
			continue
		}
		role := r.Roles[a.Role].Name
		facts := []string{"type", or(a.Type, "Identity"), "principal", a.Principal, "role", role, "scope", or(a.Scope, "/"), "condition", "", "assignment", a.ID(), "narrow", "AcrPull"}
		if a.Condition != "" {
			facts[9] = " under the condition " + a.Condition
		}
		if abac {
			facts[13] = "Container Registry Repository Reader"
		}
		may := func(kinds ...kindOfRight) []string {
			var all []string
			for _, k := range kinds {
				all = append(all, permits[k]...)
			}
			return append(facts, "rights", strings.Join(all, ", "))
		}
		writer, reader := contains(r.Writers, a.Principal), contains(r.Readers, a.Principal)
		strong := len(permits[writes]) + len(permits[manages])
		switch {
		case writer && strong > 0:
			r.accept(a, role, "writer")
		case (writer || reader) && strong == 0:
			if len(permits[reads]) > 0 {
				r.accept(a, role, "reader")
			}
		case reader:
			add("reader-may-write", may(writes, manages))
		case lower[a.Principal] != "":
			add("lower-identity", append(facts, "lower", lower[a.Principal]))
		case len(permits[writes]) > 0:
			add("writer-unexpected", may(writes, manages))
		case len(permits[manages]) > 0:
			add("manager-unexpected", may(manages))
		case len(permits[reads]) > 0:
			add("reader-unexpected", may(reads))
		}
	}
	for _, k := range registryKinds {
		if more := listed[k.ID] - mostListed; more > 0 {
			r.add("assignments-more", "count", strconv.Itoa(more), "shown", strconv.Itoa(mostListed), "kind", k.ID)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(unread)) {
		r.add("role-unread", "role", role, "count", strconv.Itoa(unread[role]))
	}
}

func (r *registryJudge) accept(a Assignment, role, as string) {
	r.Accepted = append(r.Accepted, Accepted{Registry: r.Host, Principal: a.Principal, Role: role, Scope: or(a.Scope, "/"), As: as})
}

// lowerIdentities returns the identities that belong to registries of less trust: those
// that may write content there by an assignment that does not apply here, and the
// managed identities of the registry itself.
func (r *registryJudge) lowerIdentities() map[string]string {
	here := map[string]bool{}
	for _, a := range r.Assignments {
		here[a.ID()] = true
	}
	found := map[string]string{}
	for i := range r.setup.Registries {
		other := &r.setup.Registries[i]
		if other.Trust >= r.Trust {
			continue
		}
		abac := other.abac()
		for _, a := range other.Assignments {
			if role, known := other.Roles[a.Role]; known && !here[a.ID()] && len(role.permits(abac)[writes]) > 0 {
				found[a.Principal] = other.where()
			}
		}
		for _, id := range other.Identities {
			found[strings.ToLower(id)] = other.where()
		}
	}
	return found
}

// permits returns what the role assignments of an identity permit on the registry.
func (r *Registry) permits(objectID string) granted {
	var all granted
	for _, a := range r.Assignments {
		if objectID != "" && strings.EqualFold(a.Principal, objectID) {
			for kind, permits := range r.Roles[a.Role].permits(r.abac()) {
				all[kind] = append(all[kind], permits...)
			}
		}
	}
	return all
}

// writes reports whether an identity may write to a registry.
func (s Setup) writes(host, objectID string) bool {
	for i := range s.Registries {
		if r := &s.Registries[i]; r.Host == host {
			may := r.permits(objectID)
			return len(may[writes])+len(may[manages]) > 0
		}
	}
	return false
}

// Access returns the registries on whose content an identity has a right.
func (s Setup) Access(objectID string) []Access {
	var all []Access
	for i := range s.Registries {
		r := &s.Registries[i]
		if may := r.permits(objectID); len(may[reads])+len(may[writes])+len(may[manages]) > 0 {
			all = append(all, Access{Host: r.Host, Trust: r.Trust})
		}
	}
	return all
}
