package sim

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ManagementHost is where Azure Resource Manager answers in Azure's public cloud, and
// ManagementAudience the audience of its tokens.
const (
	ManagementHost     = "management.azure.com"
	ManagementAudience = "https://management.core.windows.net/"
)

// armVersions are the versions of the interface by type of resource, newest first, as
// far as the specification has them (azure-rest-api-specs).
var armVersions = map[string][]string{
	"subscriptions":   {"2022-12-01", "2021-01-01", "2020-01-01"},
	"registries":      {"2025-11-01", "2025-06-01-preview", "2025-05-01-preview", "2025-04-01", "2023-07-01", "2023-01-01-preview"},
	"tasks":           {"2025-03-01-preview", "2019-06-01-preview", "2019-04-01"},
	"roleassignments": {"2022-04-01", "2020-10-01-preview", "2015-07-01"},
	"roledefinitions": {"2022-04-01", "2018-01-01-preview", "2015-07-01"},
}

// previewOnly are the types of resources that no stable version has.
var previewOnly = map[string]bool{"importpipelines": true, "exportpipelines": true, "pipelineruns": true}

// ResourceManager is one simulated Azure Resource Manager, as far as it shows container
// registries and who has rights on them. It answers GET alone, and counts everything
// else.
type ResourceManager struct {
	host   string
	tokens TokenVerifier

	mu          sync.Mutex
	registries  map[string]map[string]any            // documents by ID in lower case
	children    map[string]map[string]map[string]any // by collection in lower case, and by name
	assignments []map[string]any
	definitions map[string]map[string]any // by GUID
	readers     map[string][]string       // scopes by object ID
	page        int
	withdrawn   map[string]bool // versions that this cloud does not have
	writes      int
}

// ResourceManager opens Azure Resource Manager at a host. Nobody may read anything.
func (c *Cloud) ResourceManager(host string, tokens TokenVerifier) *ResourceManager {
	m := &ResourceManager{
		host: host, tokens: tokens, page: 100, registries: map[string]map[string]any{}, children: map[string]map[string]map[string]any{},
		definitions: map[string]map[string]any{}, readers: map[string][]string{}, withdrawn: map[string]bool{},
	}
	for guid, role := range armRoles() {
		m.definitions[guid] = role
	}
	c.Handle(host, m)
	return m
}

// AllowReading lets an identity read everything at and below a scope, as the role
// Reader does. An empty scope is the root.
func (m *ResourceManager) AllowReading(objectID, scope string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readers[objectID] = append(m.readers[objectID], strings.ToLower(scope))
}

// DenyReading takes all of an identity's rights to read away.
func (m *ResourceManager) DenyReading(objectID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.readers, objectID)
}

// SetPage sets how many resources a page has.
func (m *ResourceManager) SetPage(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.page = n
}

// WithdrawVersion makes this cloud not know a version.
func (m *ResourceManager) WithdrawVersion(version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.withdrawn[version] = true
}

// Writes is how many requests arrived that were not GET or HEAD.
func (m *ResourceManager) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// AddRegistry adds a registry with the properties that Azure gives one of the tier
// Premium, and returns its properties, which the caller may change before the program
// runs.
func (m *ResourceManager) AddRegistry(id, host string) map[string]any {
	off := func() map[string]any { return map[string]any{"status": "disabled"} }
	on := func() map[string]any { return map[string]any{"status": "enabled"} }
	properties := map[string]any{
		"loginServer": host, "creationDate": "2026-01-01T00:00:00Z", "provisioningState": "Succeeded", "adminUserEnabled": false,
		"networkRuleSet": map[string]any{"defaultAction": "Allow", "ipRules": []any{}},
		"policies": map[string]any{"quarantinePolicy": off(), "trustPolicy": map[string]any{"type": "Notary", "status": "disabled"},
			"retentionPolicy": map[string]any{"days": 7, "lastUpdatedTime": "2026-01-01T00:00:00+00:00", "status": "disabled"},
			"exportPolicy":    on(), "azureADAuthenticationAsArmPolicy": on(),
			"softDeletePolicy": map[string]any{"retentionDays": 7, "lastUpdatedTime": "2026-01-01T00:00:00+00:00", "status": "disabled"}},
		"encryption": off(), "dataEndpointEnabled": false, "dataEndpointHostNames": []any{}, "privateEndpointConnections": []any{},
		"publicNetworkAccess": "Enabled", "networkRuleBypassOptions": "AzureServices", "networkRuleBypassAllowedForTasks": false,
		"zoneRedundancy": "Disabled", "anonymousPullEnabled": false, "roleAssignmentMode": "LegacyRegistryPermissions",
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registries[strings.ToLower(id)] = map[string]any{
		"id": id, "name": id[strings.LastIndexByte(id, '/')+1:], "type": "Microsoft.ContainerRegistry/registries", "location": "westeurope",
		"sku": map[string]any{"name": "Premium", "tier": "Premium"}, "properties": properties, "tags": map[string]any{},
		// What a later version may add.
		"systemData": map[string]any{"createdAt": "2026-01-01T00:00:00Z"}, "futureProperty": []any{1, "two"},
	}
	return properties
}

// SetSKU sets the service tier of a registry.
func (m *ResourceManager) SetSKU(id, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registries[strings.ToLower(id)]["sku"] = map[string]any{"name": name, "tier": name}
}

// AddChild adds a resource to a collection of a registry, such as tokens. identity is
// the object ID of its managed identity, or empty.
func (m *ResourceManager) AddChild(registry, collection, name, identity string, properties map[string]any) (id string) {
	id = registry + "/" + collection + "/" + name
	document := map[string]any{"id": id, "name": name, "type": "Microsoft.ContainerRegistry/registries/" + collection, "properties": properties}
	if identity != "" {
		document["identity"] = map[string]any{"type": "SystemAssigned", "principalId": identity, "tenantId": guidOf("tenant")}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := strings.ToLower(registry + "/" + collection)
	if m.children[at] == nil {
		m.children[at] = map[string]map[string]any{}
	}
	m.children[at][name] = document
	return id
}

// Assign assigns a role, by the GUID of its definition, at a scope.
func (m *ResourceManager) Assign(principal, kind, role, scope string) {
	m.AssignOn(principal, kind, role, scope, "")
}

// AssignOn is Assign under a condition.
func (m *ResourceManager) AssignOn(principal, kind, role, scope, condition string) {
	name := guidOf(strings.Join([]string{"assignment", principal, role, scope}, "/"))
	properties := map[string]any{
		"roleDefinitionId": subscriptionOf(scope) + "/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": principal, "principalType": kind, "scope": scope,
		"condition": nil, "conditionVersion": nil, "createdOn": "2026-01-01T00:00:00Z", "createdBy": "", "delegatedManagedIdentityResourceId": nil,
	}
	if scope == "" {
		properties["scope"] = "/"
	}
	if condition != "" {
		properties["condition"], properties["conditionVersion"] = condition, "2.0"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.assignments = append(m.assignments, map[string]any{
		"id": scope + "/providers/Microsoft.Authorization/roleAssignments/" + name, "name": name, "type": "Microsoft.Authorization/roleAssignments", "properties": properties,
	})
}

// DefineRole adds a custom role and returns its GUID.
func (m *ResourceManager) DefineRole(name string, permissions ...map[string]any) string {
	guid := guidOf("role/" + name)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.definitions[guid] = armRole(guid, name, "CustomRole", permissions...)
	return guid
}

// The GUIDs of built-in roles that are simulated.
const (
	RoleOwner      = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	RoleReader     = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	RoleAcrPush    = "8311e382-0749-4cb8-b61a-304f252e45ec"
	RoleAcrPull    = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
	RoleRepoWriter = "2a1e307c-b015-4ebd-883e-5b7698a07328"
)

func armRoles() map[string]map[string]any {
	actions := func(guid, name string, actions ...any) map[string]any {
		return armRole(guid, name, "BuiltInRole", map[string]any{"actions": actions, "notActions": []any{}, "dataActions": []any{}, "notDataActions": []any{}})
	}
	const repositories = "Microsoft.ContainerRegistry/registries/repositories/"
	return map[string]map[string]any{
		RoleOwner:   actions(RoleOwner, "Owner", "*"),
		RoleReader:  actions(RoleReader, "Reader", "*/read"),
		RoleAcrPush: actions(RoleAcrPush, "AcrPush", "Microsoft.ContainerRegistry/registries/pull/read", "Microsoft.ContainerRegistry/registries/push/write"),
		RoleAcrPull: actions(RoleAcrPull, "AcrPull", "Microsoft.ContainerRegistry/registries/pull/read"),
		RoleRepoWriter: armRole(RoleRepoWriter, "Container Registry Repository Writer", "BuiltInRole", map[string]any{"actions": []any{}, "notActions": []any{},
			"dataActions": []any{repositories + "metadata/read", repositories + "content/read", repositories + "metadata/write", repositories + "content/write"}, "notDataActions": []any{}}),
	}
}

func armRole(guid, name, kind string, permissions ...map[string]any) map[string]any {
	return map[string]any{
		"id": "/providers/Microsoft.Authorization/roleDefinitions/" + guid, "name": guid, "type": "Microsoft.Authorization/roleDefinitions",
		"properties": map[string]any{"roleName": name, "type": kind, "description": "", "assignableScopes": []any{"/"}, "permissions": permissions},
	}
}

func subscriptionOf(scope string) string {
	parts := strings.Split(scope, "/")
	if len(parts) > 2 && strings.EqualFold(parts[1], "subscriptions") {
		return "/subscriptions/" + parts[2]
	}
	return ""
}

// armError answers as Azure Resource Manager refuses.
func armError(w http.ResponseWriter, status int, code, message string, arguments ...any) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"code": code, "message": fmt.Sprintf(message, arguments...)}})
}

// registryCollections are what a registry has.
var registryCollections = []string{"tokens", "scopeMaps", "tasks", "importPipelines", "exportPipelines", "cacheRules", "connectedRegistries", "credentialSets", "replications", "webhooks"}

func (m *ResourceManager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Ms-Request-Id", identifier())
	h.Set("X-Ms-Ratelimit-Remaining-Subscription-Reads", "11999")
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		m.writes++
		armError(w, http.StatusMethodNotAllowed, "HttpMethodNotSupported", "The HTTP method '%s' is not supported at scope '%s'.", r.Method, r.URL.Path)
		return
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		h.Set("Www-Authenticate", `Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="The authentication failed because of missing 'Authorization' header."`)
		armError(w, http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
		return
	}
	who, err := m.tokens.Verify(token, ManagementAudience)
	if err != nil {
		armError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
		return
	}
	path := strings.ToLower(strings.TrimSuffix(r.URL.Path, "/"))
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	kind := armKind(path)
	if kind == "" {
		armError(w, http.StatusNotFound, "InvalidResourceType", "The resource type could not be found for '%s'.", r.URL.Path)
		return
	}
	versions := armVersions[kind]
	if versions == nil {
		versions = armVersions["registries"]
	}
	version := r.URL.Query().Get("api-version")
	switch {
	case version == "":
		armError(w, http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
		return
	case !slices.Contains(versions, version) || m.withdrawn[version] || previewOnly[kind] && !strings.HasSuffix(version, "-preview"):
		armError(w, http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for location 'westeurope' and API version '%s' for type '%s'. The supported api-versions are '%s'. The supported locations are 'westeurope'.", version, kind, strings.Join(versions, ", "))
		return
	}
	m.answer(w, r, who, path, parts, kind, version)
}

// armKind returns the type of the resource or the collection at a path, or "".
func armKind(path string) string {
	for _, kind := range []string{"roleassignments", "roledefinitions"} {
		if strings.Contains(path, "/providers/microsoft.authorization/"+kind) {
			return kind
		}
	}
	_, rest, within := strings.Cut(path, "/providers/microsoft.containerregistry/registries")
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	switch {
	case !within && (path == "/subscriptions" || strings.HasPrefix(path, "/subscriptions/") && strings.Count(path, "/") == 2):
		return "subscriptions"
	case !within || len(parts) > 3:
		return ""
	case len(parts) < 2:
		return "registries"
	}
	for _, c := range registryCollections {
		if strings.EqualFold(parts[1], c) {
			return parts[1]
		}
	}
	return ""
}

// answer answers a valid request. m is locked.
func (m *ResourceManager) answer(w http.ResponseWriter, r *http.Request, who Principal, path string, parts []string, kind, version string) {
	registry, _, authorization := strings.Cut(path, "/providers/microsoft.authorization/")
	operation := map[string]string{"roleassignments": "Microsoft.Authorization/roleAssignments/read", "roledefinitions": "Microsoft.Authorization/roleDefinitions/read"}[kind]
	if operation == "" {
		operation = "Microsoft.ContainerRegistry/" + kind + "/read"
	}
	switch {
	case path == "/subscriptions":
		m.list(w, r, m.subscriptions(who))
	case kind == "subscriptions":
		armError(w, http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", parts[1])
	case strings.HasSuffix(path, "/providers/microsoft.containerregistry/registries"):
		m.list(w, r, m.registriesOf(who, strings.TrimSuffix(path, "/providers/microsoft.containerregistry/registries"), version))
	case !m.mayRead(who, path):
		armError(w, http.StatusForbidden, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.", who.ClientID, who.ObjectID, operation, r.URL.Path)
	case authorization && kind == "roleassignments":
		if r.URL.Query().Get("$filter") != "atScope()" {
			armError(w, http.StatusBadRequest, "UnsupportedQuery", "The filter '%s' is not simulated.", r.URL.Query().Get("$filter"))
			return
		}
		var found []map[string]any
		for _, a := range m.assignments {
			scope := strings.ToLower(text(a["properties"].(map[string]any), "scope"))
			if scope == "/" || strings.HasPrefix(registry+"/", scope+"/") || strings.HasPrefix(scope, "/providers/microsoft.management/") {
				found = append(found, a)
			}
		}
		m.list(w, r, found)
	case authorization:
		role := m.definitions[parts[len(parts)-1]]
		if role == nil {
			armError(w, http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", parts[len(parts)-1])
			return
		}
		writeJSON(w, http.StatusOK, role)
	case m.registries[path] != nil:
		writeJSON(w, http.StatusOK, shown(m.registries[path], version))
	case m.registries[path[:strings.LastIndexByte(path, '/')]] != nil:
		var found []map[string]any
		children := m.children[path]
		for _, name := range slices.Sorted(maps.Keys(children)) {
			found = append(found, children[name])
		}
		m.list(w, r, found)
	default:
		armError(w, http.StatusNotFound, "ResourceNotFound", "The Resource '%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", path, "")
	}
}

// mayRead reports whether an identity may read at a path.
func (m *ResourceManager) mayRead(who Principal, path string) bool {
	return slices.ContainsFunc(m.readers[who.ObjectID], func(scope string) bool { return strings.HasPrefix(path+"/", scope+"/") })
}

// subscriptions returns those in which an identity may read anything.
func (m *ResourceManager) subscriptions(who Principal) []map[string]any {
	ids := map[string]bool{}
	for id := range m.registries {
		if m.mayRead(who, id) {
			ids[subscriptionOf(id)] = true
		}
	}
	var found []map[string]any
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		found = append(found, map[string]any{"id": id, "subscriptionId": strings.TrimPrefix(id, "/subscriptions/"), "displayName": "contoso", "state": "Enabled"})
	}
	return found
}

// registriesOf returns the registries of a subscription that an identity may read.
func (m *ResourceManager) registriesOf(who Principal, subscription, version string) []map[string]any {
	var found []map[string]any
	for _, id := range slices.Sorted(maps.Keys(m.registries)) {
		if strings.HasPrefix(id, subscription+"/") && m.mayRead(who, id) {
			found = append(found, shown(m.registries[id], version))
		}
	}
	return found
}

// shown is a registry as a version of the interface shows it: only previews have the
// policy for soft delete.
func shown(document map[string]any, version string) map[string]any {
	if strings.HasSuffix(version, "-preview") {
		return document
	}
	document = maps.Clone(document)
	properties := maps.Clone(document["properties"].(map[string]any))
	if policies, ok := properties["policies"].(map[string]any); ok {
		policies = maps.Clone(policies)
		delete(policies, "softDeletePolicy")
		properties["policies"] = policies
	}
	document["properties"] = properties
	return document
}

// list answers with one page of a list, and the address of the next one.
func (m *ResourceManager) list(w http.ResponseWriter, r *http.Request, all []map[string]any) {
	query := r.URL.Query()
	from, err := strconv.Atoi(query.Get("$skiptoken"))
	if query.Has("$skiptoken") && (err != nil || from < 0 || from > len(all)) {
		armError(w, http.StatusBadRequest, "InvalidSkipToken", "The skip token is invalid.")
		return
	}
	to := min(from+m.page, len(all))
	page := map[string]any{"value": append([]map[string]any{}, all[from:to]...)}
	if to < len(all) {
		query.Set("$skiptoken", strconv.Itoa(to))
		page["nextLink"] = "https://" + m.host + r.URL.Path + "?" + query.Encode()
	}
	writeJSON(w, http.StatusOK, page)
}
