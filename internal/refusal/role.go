package refusal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Mode is how a registry assigns roles.
type Mode string

// The modes, as the portal names them. A registry does not say which one it has.
const (
	Unknown Mode = ""
	RBAC    Mode = "RBAC Registry Permissions"
	ABAC    Mode = "RBAC Registry + ABAC Repository Permissions"
)

// Actions of a token's scope.
const (
	Pull          = "pull"
	Push          = "push"
	Delete        = "delete"
	ReadMetadata  = "metadata_read"
	WriteMetadata = "metadata_write"
)

// Needs are the actions that a step needs in one registry, by repository. An entry
// of Catalog stands for listing the repositories.
type Needs map[string][]string

// Catalog is the name of the scope that belongs to no repository.
const Catalog = "registry:catalog"

// Has reports whether an action is needed in any repository.
func (n Needs) Has(action string) bool {
	for repository, actions := range n {
		if repository != Catalog && slices.Contains(actions, action) {
			return true
		}
	}
	return false
}

func (n Needs) catalog() bool { _, is := n[Catalog]; return is }

// rights names the actions as scope maps and role definitions do.
var rights = []struct{ action, right string }{
	{Pull, "content/read"}, {Push, "content/write"}, {Delete, "content/delete"}, {ReadMetadata, "metadata/read"}, {WriteMetadata, "metadata/write"},
}

// Rights returns the rights that the actions need, as scope maps and role
// definitions name them.
func (n Needs) Rights() []string {
	var list []string
	for _, r := range rights {
		if n.Has(r.action) || r.action == Pull && n.Has(Push) {
			list = append(list, r.right)
		}
	}
	return list
}

// List returns each right, as scope maps and role definitions name it, with the
// repositories where it is needed.
func (n Needs) List() string {
	var parts []string
	for _, r := range rights {
		var where []string
		for _, repository := range n.Repositories() {
			if slices.Contains(n[repository], r.action) {
				where = append(where, repository)
			}
		}
		if len(where) == 0 {
			continue
		}
		part := r.right + " on " + strings.Join(firstOf(where), ", ")
		if more := len(where) - shownRepositories; more > 0 {
			part += fmt.Sprintf(" and %d more", more)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// Repositories returns the repositories, sorted.
func (n Needs) Repositories() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(n)), func(name string) bool { return name == Catalog })
}

// The custom roles of docs/permissions.md that have the locks, or reading them, and
// nothing else.
const (
	LockKeeper = "ACR lock keeper"
	LockReader = "ACR lock reader"
)

// Roles returns the fewest roles of Azure that cover all needs in a mode. In RBAC
// mode, AcrPull and AcrPush have neither metadata/read nor metadata/write, so a
// custom role adds them; in ABAC mode they have no effect at all.
// https://learn.microsoft.com/azure/container-registry/container-registry-rbac-built-in-roles-directory-reference
func (n Needs) Roles(mode Mode) []string {
	var roles []string
	writes := n.Has(Push) || n.Has(WriteMetadata)
	if mode == RBAC {
		switch {
		case n.Has(Push):
			roles = append(roles, "AcrPush")
		case n.Has(Pull), n.catalog():
			roles = append(roles, "AcrPull")
		}
		if n.Has(Delete) {
			roles = append(roles, "AcrDelete")
		}
		switch {
		case n.Has(WriteMetadata):
			roles = append(roles, LockKeeper)
		case n.Has(ReadMetadata):
			roles = append(roles, LockReader)
		}
		return roles
	}
	switch {
	case n.Has(Delete):
		roles = append(roles, "Container Registry Repository Contributor")
	case writes:
		roles = append(roles, "Container Registry Repository Writer")
	case n.Has(Pull), n.Has(ReadMetadata):
		roles = append(roles, "Container Registry Repository Reader")
	}
	if n.catalog() {
		roles = append(roles, "Container Registry Repository Catalog Lister")
	}
	return roles
}

// Identity is who was refused. IDs are empty if they are unknown.
type Identity struct {
	Name               string // such as "service connection azureSubscription"
	ClientID, ObjectID string
	User               bool // a person at a prompt
}

func (i Identity) String() string {
	name := i.Name
	if name == "" {
		name = "the identity"
	}
	if i.ClientID != "" && !i.User {
		name += " (client ID " + i.ClientID + ")"
	}
	return name
}

// assignee returns the options of az role assignment create that name the identity.
func (i Identity) assignee() string {
	switch {
	case i.ObjectID != "" && i.User:
		return "--assignee-object-id " + i.ObjectID + " --assignee-principal-type User"
	case i.ObjectID != "":
		return "--assignee-object-id " + i.ObjectID + " --assignee-principal-type ServicePrincipal"
	case i.ClientID != "":
		return "--assignee " + i.ClientID
	}
	return "--assignee <client-id>"
}

// Grant returns the sentence that says which roles an identity needs for all that a
// step does in a registry, and the command that assigns them. It names the roles of
// both modes, those of the likely mode first.
func Grant(host string, to Identity, needs Needs, likely Mode) string {
	first, second := ABAC, RBAC
	if likely == RBAC {
		first, second = RBAC, ABAC
	}
	roles := needs.Roles(first)
	if len(roles) == 0 {
		return fmt.Sprintf("Grant %s a role on %s", to, host)
	}
	text := fmt.Sprintf("Grant %s the role %s on %s%s; if it is in the mode “%s”, %s instead",
		to, join(roles), host, needs.purpose(), second, join(needs.Roles(second)))
	var commands []string
	for _, role := range roles {
		commands = append(commands, fmt.Sprintf("az role assignment create --role %q %s --scope \"$(az acr show --name %s --query id --output tsv)\"", role, to.assignee(), Name(host)))
	}
	return text + ": " + strings.Join(commands, " && ")
}

// join lists roles for people. The page on permissions defines the custom roles.
func join(roles []string) string {
	named := slices.Clone(roles)
	for i, role := range named {
		if role == LockKeeper || role == LockReader {
			named[i] = "the custom role “" + role + "”"
		}
	}
	return strings.Join(named, " and ")
}

// GrantToken returns the sentence for a repository-scoped token, whose rights come
// from a scope map.
func GrantToken(host string, needs Needs) string {
	rights := needs.Rights()
	command := "az acr scope-map update --name <scope-map> --registry " + Name(host)
	for _, repository := range firstOf(needs.Repositories()) {
		command += fmt.Sprintf(" --add-repository %s %s", repository, strings.Join(rights, " "))
	}
	return fmt.Sprintf("Give the scope map of its token what this step does on %s%s: %s", host, needs.purpose(), command)
}

// shownRepositories limits the repositories in a sentence.
const shownRepositories = 3

func firstOf(list []string) []string { return list[:min(len(list), shownRepositories)] }

// purpose returns the rights in parentheses, and where.
func (n Needs) purpose() string {
	var parts []string
	if repositories := n.Repositories(); len(repositories) > 0 {
		on := strings.Join(firstOf(repositories), ", ")
		if more := len(repositories) - shownRepositories; more > 0 {
			on += fmt.Sprintf(" and %d more", more)
		}
		parts = append(parts, strings.Join(n.Rights(), ", ")+" on "+on)
	}
	if n.catalog() {
		parts = append(parts, "listing the repositories")
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

// Rights returns the rights that a user of a registry outside Azure needs, as the
// end of a sentence.
func Rights(needs Needs) string {
	verb := "pull from"
	if needs.Has(Push) {
		verb = "pull from and push to"
	}
	on := strings.Join(firstOf(needs.Repositories()), ", ")
	if more := len(needs.Repositories()) - shownRepositories; more > 0 {
		on += fmt.Sprintf(" and %d more", more)
	}
	if on == "" {
		return ""
	}
	return ", and that the user may " + verb + " " + on
}

// WantsTLS explains the refusal of plain HTTP by a registry outside Azure, as cause
// and remedy of a Refusal.
func WantsTLS(host string) (cause, remedy string) {
	return "it expects HTTPS, but was sent plain HTTP", "Remove " + host + " from --plain-http"
}

// Name returns the name of the registry that a host of Azure belongs to. The host
// can have a hash after the name, which itself has no dash, and a region.
func Name(host string) string {
	label, _, _ := strings.Cut(host, ".")
	name, _, _ := strings.Cut(label, "-")
	return name
}
