package doctor

import (
	"strings"
)

// Role is a role definition.
type Role struct {
	Name        string
	Permissions []Permission
}

// Permission is one set of permissions of a role. What is excluded is not granted by
// this set, but may be by another.
type Permission struct {
	Actions, NotActions, DataActions, NotDataActions []string
}

// Assignment is a role assignment that applies to a registry, its own or an inherited
// one.
type Assignment struct {
	Name      string // a GUID
	Principal string // object ID
	Type      string // of the principal
	Role      string // GUID of the role definition
	Scope     string
	Condition string
}

// ID returns the resource ID of the assignment.
func (a Assignment) ID() string {
	return strings.TrimSuffix(a.Scope, "/") + "/providers/Microsoft.Authorization/roleAssignments/" + a.Name
}

// kindOfRight is how a right leads to the content of a registry.
type kindOfRight int

const (
	// reads, writes: it is the right to read or write content.
	reads kindOfRight = iota
	writes
	// manages: it is a right of the control plane with which one can write or let
	// others write.
	manages
)

const (
	control = "Microsoft.ContainerRegistry/registries/"
	data    = "Microsoft.ContainerRegistry/registries/repositories/"
)

// rights are the permissions that lead to the content of a registry, with what they
// permit.
//
// In the mode "RBAC Registry Permissions" the registry honours actions such as
// push/write, in which roles like Owner and AcrPush have their rights to content, and
// Reader the one to pull. In the mode "RBAC Registry + ABAC Repository Permissions" it
// honours the data actions alone, and tasks have no rights of their own. Data actions
// are taken as honoured in both modes. Sources: Microsoft's pages
// container-registry-rbac-built-in-roles-directory-reference,
// container-registry-rbac-abac-repository-permissions and
// container-registry-rbac-custom-roles, and the operations of the resource provider
// Microsoft.ContainerRegistry.
var rights = []struct {
	permission string
	data       bool // a data action
	legacy     bool // only without ABAC
	kind       kindOfRight
	permits    string
}{
	{control + "push/write", false, true, writes, "push"},
	{control + "artifacts/delete", false, true, writes, "delete images"},
	{control + "metadata/write", false, true, writes, "set and remove locks"},
	{control + "quarantine/write", false, true, writes, "release from quarantine"},
	{data + "content/write", true, false, writes, "push"},
	{data + "content/delete", true, false, writes, "delete images"},
	{data + "metadata/write", true, false, writes, "set and remove locks"},
	{data + "metadata/delete", true, false, writes, "delete tags"},
	{control + "importImage/action", false, false, manages, "import images"},
	{control + "listCredentials/action", false, false, manages, "read the admin user's passwords"},
	{control + "regenerateCredential/action", false, false, manages, "set the admin user's passwords"},
	{control + "generateCredentials/action", false, false, manages, "create passwords of tokens"},
	{control + "tokens/write", false, false, manages, "create tokens"},
	{control + "scopeMaps/write", false, false, manages, "widen tokens"},
	{control + "scheduleRun/action", false, true, manages, "run tasks"},
	{control + "taskRuns/write", false, true, manages, "run tasks"},
	{control + "tasks/write", false, true, manages, "create tasks"},
	{control + "importPipelines/write", false, false, manages, "create import pipelines"},
	{control + "pipelineRuns/write", false, false, manages, "run transfer pipelines"},
	{control + "cacheRules/write", false, false, manages, "create cache rules"},
	{control + "connectedRegistries/write", false, false, manages, "connect registries"},
	{control + "write", false, false, manages, "change the registry's settings"},
	{control + "delete", false, false, manages, "delete the registry"},
	{"Microsoft.Authorization/roleAssignments/write", false, false, manages, "assign roles"},
	{"Microsoft.Authorization/roleAssignmentScheduleRequests/write", false, false, manages, "assign roles"},
	{"Microsoft.Authorization/roleEligibilityScheduleRequests/write", false, false, manages, "assign roles"},
	{"Microsoft.Authorization/roleDefinitions/write", false, false, manages, "change what roles permit"},
	{control + "pull/read", false, true, reads, "pull"},
	{data + "content/read", true, false, reads, "pull"},
	{control + "exportPipelines/write", false, false, reads, "export images to a storage account"},
}

// granted has what a role permits, by the kind of right.
type granted [manages + 1][]string

// permits returns what the role permits on a registry.
func (r Role) permits(abac bool) granted {
	var all granted
	for _, right := range rights {
		if right.legacy && abac || !r.grants(right.permission, right.data) {
			continue
		}
		known := false
		for _, other := range all[right.kind] {
			known = known || other == right.permits
		}
		if !known {
			all[right.kind] = append(all[right.kind], right.permits)
		}
	}
	return all
}

// grants reports whether one set of the role's permissions has a permission and does
// not exclude it.
func (r Role) grants(permission string, data bool) bool {
	for _, p := range r.Permissions {
		has, not := p.Actions, p.NotActions
		if data {
			has, not = p.DataActions, p.NotDataActions
		}
		if anyMatches(has, permission) && !anyMatches(not, permission) {
			return true
		}
	}
	return false
}

func anyMatches(patterns []string, permission string) bool {
	for _, p := range patterns {
		if matches(strings.ToLower(p), strings.ToLower(permission)) {
			return true
		}
	}
	return false
}

// matches reports whether a permission matches a pattern, in which * stands for any
// text.
func matches(pattern, permission string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == permission
	}
	permission, ok := strings.CutPrefix(permission, first)
	for ok {
		part, more, wild := strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(permission, part)
		}
		_, permission, ok = strings.Cut(permission, part)
		rest = more
	}
	return false
}
