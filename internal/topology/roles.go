package topology

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/refusal"
)

// grants are the roles that the pipeline's identities need.
type grants struct {
	roles   []roleGrant
	foreign []roleGrant // registries outside Azure
	// pulled has the registry whose base images other teams pull, with repositories: a
	// DEV registry if there is one, so that no team gets a secret of PROD.
	pulled       string
	repositories []string
}

// roleGrant is what one identity needs in one registry.
type roleGrant struct {
	who, registry, why string
	abac, rbac         []string
}

// roles returns exactly what the pipeline of Init needs. No identity can write to
// both sides.
func (a Answers) roles(hosts []string) grants {
	var g grants
	add := func(who, host, why string, actions ...string) {
		name, azure := registryName(host)
		if !azure {
			g.foreign = append(g.foreign, roleGrant{who: who, registry: host, why: why})
			return
		}
		needs := refusal.Needs{"": actions}
		g.roles = append(g.roles, roleGrant{who, name, why, needs.Roles(refusal.ABAC), needs.Roles(refusal.RBAC)})
	}
	read := []string{refusal.Pull, refusal.ReadMetadata}
	write := append(slices.Clone(read), refusal.Push)
	add(buildConnection, hosts[0], "push the release candidate, seal and lock it", append(slices.Clone(write), refusal.WriteMetadata)...)
	if len(a.Environments) > 0 {
		add(moveConnection, hosts[0], "read images and their locks, move the environment tags", write...)
	}
	if len(hosts) > 1 {
		add(readConnection, hosts[0], "read images and their locks, list tags", read...)
	}
	for _, host := range hosts[1:] {
		add(targetConnection, host, "push released images", refusal.Pull, refusal.Push)
	}
	for _, host := range hosts {
		add(planConnection, host, "read images, locks and tags for the plan", read...)
	}
	for _, host := range slices.Concat(hosts[1:], hosts[:1]) {
		if name, azure := registryName(host); azure {
			g.pulled = name
			break
		}
	}
	if g.pulled != "" {
		for _, pattern := range a.Repositories {
			if !strings.ContainsAny(pattern, "*?[{!") {
				g.repositories = append(g.repositories, pattern)
			}
		}
		if len(g.repositories) == 0 {
			g.repositories = []string{"<repository>"}
		}
	}
	return g
}

// Data actions of the custom roles, of which the reader has the first.
var lockActions = []string{
	"Microsoft.ContainerRegistry/registries/repositories/metadata/read",
	"Microsoft.ContainerRegistry/registries/repositories/metadata/write",
}

// customRoles returns the definitions of the custom roles that RBAC mode needs.
func (g grants) customRoles() map[string]string {
	definitions := map[string]string{}
	for _, one := range g.roles {
		for _, role := range one.rbac {
			actions := map[string][]string{refusal.LockReader: lockActions[:1], refusal.LockKeeper: lockActions}[role]
			if actions != nil {
				definitions[role] = fmt.Sprintf(`{"Name": %q, "IsCustom": true, "Description": "Locks of repositories, tags and manifests.", "Actions": [], "DataActions": ["%s"], "AssignableScopes": ["/subscriptions/<subscription-id>"]}`,
					role, strings.Join(actions, `", "`))
			}
		}
	}
	return definitions
}

const (
	about = `# The roles that the pipeline's identities need, and no others. No identity
# can write to both sides. Replace everything in <angle brackets>: the object IDs
# are those of each service connection's service principal.
#
# A registry assigns roles in one of two modes. Where permissions are by
# repository (ABAC), a condition can limit each role to its repositories.
# Otherwise AcrPull and AcrPush apply, and custom roles add the locks. Update the
# Azure CLI first: an old one does not show the mode.
#
# These roles do not make this task the only way to push. For that, add a
# required template and an approval as checks on each service connection.
`
	tokenAbout = `# For teams that only pull base images, without an identity in this tenant: a
# token with a scope map of its own, in the registry that they pull from: a DEV
# registry, if there is one. metadata/read lets it list tags, which
# _repositories_pull does not. The token's passwords are shown once.
`
)

// bash returns the script for the Azure CLI in bash.
func (g grants) bash() string {
	var b strings.Builder
	b.WriteString("#!/usr/bin/env bash\n" + about + `set -euo pipefail

# grant WHO REGISTRY ROLE-BY-REPOSITORY ROLE...
grant() {
  local who=$1 registry=$2 abac=$3 id
  shift 3
  id=$(az acr show --name "$registry" --query id --output tsv)
  if [ "$(az acr show --name "$registry" --query roleAssignmentMode --output tsv)" = AbacRepositoryPermissions ]; then
    set -- "$abac"
  fi
  for role in "$@"; do
    az role assignment create --role "$role" --assignee-object-id "$who" --assignee-principal-type ServicePrincipal --scope "$id"
  done
}
`)
	definitions := g.customRoles()
	if len(definitions) > 0 {
		b.WriteString("\n# Custom roles, for registries whose permissions are not by repository.\n")
	}
	for _, role := range []string{refusal.LockKeeper, refusal.LockReader} {
		if definition := definitions[role]; definition != "" {
			fmt.Fprintf(&b, "definition='%s'\naz role definition create --role-definition \"$definition\" || az role definition update --role-definition \"$definition\"\n", definition)
		}
	}
	for _, one := range g.roles {
		fmt.Fprintf(&b, "\n# %s on %s: %s.\ngrant '<object ID of %s>' %s", one.who, one.registry, one.why, one.who, one.registry)
		for _, role := range slices.Concat(one.abac, one.rbac) {
			fmt.Fprintf(&b, " %q", role)
		}
		b.WriteString("\n")
	}
	g.others(&b)
	g.pullToken(&b, "\\")
	return b.String()
}

// powerShell returns the same script for PowerShell.
func (g grants) powerShell() string {
	var b strings.Builder
	b.WriteString(about + `$ErrorActionPreference = 'Stop'

function Grant([string] $Who, [string] $Registry, [string] $Abac, [string[]] $Rbac) {
  $id = az acr show --name $Registry --query id --output tsv
  $mode = az acr show --name $Registry --query roleAssignmentMode --output tsv
  $roles = if ($mode -eq 'AbacRepositoryPermissions') { @($Abac) } else { $Rbac }
  foreach ($role in $roles) {
    az role assignment create --role $role --assignee-object-id $Who --assignee-principal-type ServicePrincipal --scope $id
    if ($LASTEXITCODE -ne 0) { throw "granting $role on $Registry failed" }
  }
}
`)
	definitions := g.customRoles()
	if len(definitions) > 0 {
		b.WriteString("\n# Custom roles, for registries whose permissions are not by repository.\n")
	}
	for _, role := range []string{refusal.LockKeeper, refusal.LockReader} {
		if definition := definitions[role]; definition != "" {
			file := strings.ReplaceAll(strings.ToLower(role), " ", "-") + ".json"
			fmt.Fprintf(&b, "Set-Content -Path %[1]s -Value '%[2]s'\naz role definition create --role-definition '@%[1]s'\nif ($LASTEXITCODE -ne 0) { az role definition update --role-definition '@%[1]s' }\n", file, definition)
		}
	}
	for _, one := range g.roles {
		fmt.Fprintf(&b, "\n# %s on %s: %s.\nGrant '<object ID of %s>' '%s' '%s' @('%s')\n", one.who, one.registry, one.why, one.who, one.registry, one.abac[0], strings.Join(one.rbac, "', '"))
	}
	g.others(&b)
	g.pullToken(&b, "`")
	return b.String()
}

// pullToken writes the scope map and the token of a team that only pulls. continuation
// is the shell's mark for a command that goes on in the next line.
func (g grants) pullToken(b *strings.Builder, continuation string) {
	if g.pulled == "" {
		return
	}
	b.WriteString("\n" + tokenAbout)
	fmt.Fprintf(b, "az acr scope-map create --name base-images-pull --registry %s --description 'Pull base images and list their tags'", g.pulled)
	for _, repository := range g.repositories {
		fmt.Fprintf(b, " %s\n  --repository '%s' content/read metadata/read", continuation, repository)
	}
	fmt.Fprintf(b, "\naz acr token create --name '<team>' --registry %s --scope-map base-images-pull\n", g.pulled)
}

// others writes what has to be done at registries outside Azure.
func (g grants) others(b *strings.Builder) {
	for _, one := range g.foreign {
		fmt.Fprintf(b, "\n# %s is not an Azure Container Registry: by its own means, grant %s the right to %s.\n", one.registry, one.who, one.why)
	}
}

// registryName returns the name of the Azure registry that a host belongs to.
func registryName(host string) (string, bool) {
	_, domain, _ := strings.Cut(host, ".")
	switch domain {
	case "azurecr.io", "azurecr.cn", "azurecr.us":
		return refusal.Name(host), true
	}
	return "", false
}
