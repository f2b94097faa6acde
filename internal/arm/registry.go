package arm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"acrpromote/internal/doctor"
	"acrpromote/internal/explain"
)

// The versions of the interface, newest first. Stable and preview versions differ in
// what they have: previews alone have transfer pipelines and the policy for soft
// delete. Source: azure-rest-api-specs, specification/containerregistry (Registry and
// RegistryTasks) and specification/authorization.
var (
	stable      = []string{"2025-11-01", "2025-04-01", "2023-07-01"}
	preview     = []string{"2025-06-01-preview", "2025-05-01-preview", "2023-01-01-preview"}
	both        = []string{"2025-11-01", "2025-06-01-preview", "2023-01-01-preview"}
	taskAPI     = []string{"2025-03-01-preview", "2019-06-01-preview", "2019-04-01"}
	authorize   = []string{"2022-04-01"}
	subscribing = []string{"2022-12-01", "2020-01-01"}
)

// Limits of how many resources are read.
const (
	maxSubscriptions = 5_000
	maxRegistries    = 10_000
	maxAssignments   = 20_000
	maxChildren      = 5_000
	maxRoles         = 500
)

// resource is a registry, or what belongs to one: as much of all their documents as is
// judged.
type resource struct {
	ID, Name string
	SKU      struct{ Name string }
	Identity struct {
		PrincipalID            string
		UserAssignedIdentities map[string]struct{ PrincipalID string }
	}
	Properties json.RawMessage
}

// identities returns the object IDs of the managed identities.
func (r *resource) identities() []string {
	var all []string
	if id := r.Identity.PrincipalID; id != "" {
		all = append(all, id)
	}
	for _, assigned := range r.Identity.UserAssignedIdentities {
		if assigned.PrincipalID != "" {
			all = append(all, assigned.PrincipalID)
		}
	}
	return all
}

// status is a policy of a registry.
type status struct {
	Status string
	Days   int
}

// registryProperties are those of a registry. Each version may add others.
type registryProperties struct {
	LoginServer                            string
	AdminUserEnabled, AnonymousPullEnabled *bool
	NetworkRuleSet                         struct {
		DefaultAction string
		IPRules       []struct{ Value string }
	}
	Policies struct {
		QuarantinePolicy, RetentionPolicy, ExportPolicy, AzureADAuthenticationAsArmPolicy, SoftDeletePolicy status
	}
	DataEndpointEnabled        bool
	DataEndpointHostNames      []string
	PrivateEndpointConnections []struct {
		Name       string
		Properties struct {
			PrivateEndpoint                   struct{ ID string }
			PrivateLinkServiceConnectionState struct{ Status string }
		}
	}
	PublicNetworkAccess              string
	NetworkRuleBypassOptions         string
	NetworkRuleBypassAllowedForTasks bool
	RoleAssignmentMode               string
}

// childProperties are those of tokens, scope maps, tasks, pipelines, cache rules and
// connected registries.
type childProperties struct {
	Status, ScopeMapID, Mode           string
	SourceRepository, TargetRepository string
	Actions                            []string
	Credentials                        struct {
		Passwords    []struct{ Expiry string }
		Certificates []json.RawMessage
	}
	Source, Target struct{ URI string }
	Parent         struct{ ID string }
	Step           struct {
		ContextPath, TaskFilePath                string
		EncodedTaskContent, EncodedValuesContent string
		Values                                   []struct{ Value string }
	}
}

// Find looks for registries by their login servers, in the first subscriptions and then
// in all that the identity sees, until each is found. is returns the index of the
// registry that has a login server, or -1, and n is how many there are.
func (c *Client) Find(ctx context.Context, n int, is func(loginServer string) int, first ...string) ([]*Found, error) {
	found, left := make([]*Found, n), n
	seen := map[string]bool{}
	look := func(subscription string) error {
		if subscription == "" || seen[strings.ToLower(subscription)] || left == 0 {
			return nil
		}
		seen[strings.ToLower(subscription)] = true
		return c.list(ctx, "/subscriptions/"+escaped(subscription)+"/providers/Microsoft.ContainerRegistry/registries", stable, "", maxRegistries, func(element json.RawMessage) error {
			f := &Found{}
			if err := json.Unmarshal(element, &f.resource); err != nil {
				return err
			}
			if err := json.Unmarshal(f.Properties, &f.properties); err != nil {
				return err
			}
			if i := is(f.properties.LoginServer); i >= 0 && found[i] == nil && f.ID != "" {
				found[i] = f
				left--
			}
			return nil
		})
	}
	for _, subscription := range first {
		// A subscription that the connection names need not be the one of the registry.
		if err := look(subscription); unanswered(err) {
			return found, err
		}
	}
	if left == 0 {
		return found, nil
	}
	var all []string
	err := c.list(ctx, "/subscriptions", subscribing, "", maxSubscriptions, func(element json.RawMessage) error {
		var s struct{ SubscriptionID string }
		if err := json.Unmarshal(element, &s); err != nil {
			return err
		}
		all = append(all, s.SubscriptionID)
		return nil
	})
	for _, subscription := range all {
		failed := look(subscription)
		err = errors.Join(err, failed)
		if unanswered(failed) {
			break
		}
	}
	return found, err
}

// unanswered reports whether there was no answer, so that another request would have to
// wait for one, too.
func unanswered(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == 0
}

// escaped keeps what Azure says from being more than one segment of a path.
func escaped(id string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("/?#%", r) {
			return '_'
		}
		return r
	}, id)
}

// Found is a registry that was found.
type Found struct {
	resource
	properties registryProperties
}

// collections are what belongs to a registry.
var collections = []struct {
	name, what string
	versions   []string
	premium    bool // registries of smaller tiers have none
}{
	{"scopeMaps", "The scope maps of its tokens", stable, false},
	{"tokens", "The list of its tokens", stable, false},
	{"tasks", "The list of its tasks", taskAPI, false},
	{"importPipelines", "The list of its import pipelines", preview, true},
	{"exportPipelines", "The list of its export pipelines", preview, true},
	{"cacheRules", "The list of its cache rules", stable, false},
	{"credentialSets", "The list of credential sets of its cache rules", stable, false},
	{"connectedRegistries", "The list of its connected registries", both, true},
}

// Read adds to a registry what belongs to it, and who has rights on it. What cannot be
// read is added to what is unread.
func (c *Client) Read(ctx context.Context, f *Found, r *doctor.Registry) {
	r.ID = strings.TrimSuffix(f.ID, "/")
	r.Identities = f.identities()
	c.settings(ctx, f, r)
	c.assignments(ctx, r)
	r.ScopeMaps = map[string][]string{}
	for _, of := range collections {
		if of.premium && r.Settings.Small() {
			continue
		}
		c.unread(r, of.what, c.list(ctx, r.ID+"/"+of.name, of.versions, "", maxChildren, func(element json.RawMessage) error {
			return add(r, of.name, element)
		}))
	}
}

// add adds an element of a collection to the registry.
func add(r *doctor.Registry, collection string, element json.RawMessage) error {
	var child resource
	var p childProperties
	if err := json.Unmarshal(element, &child); err != nil {
		return err
	}
	if len(child.Properties) > 0 {
		if err := json.Unmarshal(child.Properties, &p); err != nil {
			return err
		}
	}
	r.Identities = append(r.Identities, child.identities()...)
	switch collection {
	case "scopeMaps":
		r.ScopeMaps[strings.ToLower(child.ID)] = p.Actions
	case "tokens":
		t := doctor.Token{Name: child.Name, Status: p.Status, ScopeMap: p.ScopeMapID, Certificates: len(p.Credentials.Certificates)}
		for _, password := range p.Credentials.Passwords {
			t.Passwords = append(t.Passwords, password.Expiry)
		}
		r.Tokens = append(r.Tokens, t)
	case "tasks":
		r.Tasks = append(r.Tasks, task(child.Name, &p))
	case "importPipelines":
		r.Pipelines = append(r.Pipelines, doctor.Pipeline{Name: child.Name, URI: p.Source.URI})
	case "exportPipelines":
		r.Pipelines = append(r.Pipelines, doctor.Pipeline{Name: child.Name, URI: p.Target.URI, Export: true})
	case "cacheRules":
		r.CacheRules = append(r.CacheRules, doctor.CacheRule{Name: child.Name, Source: p.SourceRepository, Target: p.TargetRepository})
	case "connectedRegistries":
		r.Connected = append(r.Connected, doctor.Connected{Name: child.Name, Mode: p.Mode, Parent: p.Parent.ID})
	}
	return nil
}

// settings reads the properties of the registry. Those of the stable version are known;
// the policy for soft delete is in preview.
func (c *Client) settings(ctx context.Context, f *Found, r *doctor.Registry) {
	p := &f.properties
	r.Settings = doctor.Settings{
		Read: true, SKU: f.SKU.Name, RoleAssignmentMode: p.RoleAssignmentMode, AdminUser: p.AdminUserEnabled, AnonymousPull: p.AnonymousPullEnabled,
		PublicNetworkAccess: p.PublicNetworkAccess, DefaultAction: p.NetworkRuleSet.DefaultAction, BypassOptions: p.NetworkRuleBypassOptions, BypassForTasks: p.NetworkRuleBypassAllowedForTasks,
		DataEndpoint: p.DataEndpointEnabled, DataEndpoints: p.DataEndpointHostNames, ExportPolicy: p.Policies.ExportPolicy.Status, ARMTokens: p.Policies.AzureADAuthenticationAsArmPolicy.Status,
		Quarantine: p.Policies.QuarantinePolicy.Status, Retention: p.Policies.RetentionPolicy.Status, RetentionDays: p.Policies.RetentionPolicy.Days,
	}
	for _, rule := range p.NetworkRuleSet.IPRules {
		r.Settings.IPRules = append(r.Settings.IPRules, rule.Value)
	}
	for _, e := range p.PrivateEndpointConnections {
		id := strings.Split(e.Properties.PrivateEndpoint.ID, "/")
		endpoint := doctor.Endpoint{Name: e.Name, Status: e.Properties.PrivateLinkServiceConnectionState.Status}
		if len(id) > 2 {
			endpoint.Subscription = id[2]
		}
		r.Settings.Endpoints = append(r.Settings.Endpoints, endpoint)
	}
	var newer struct{ Properties registryProperties }
	err := c.get(ctx, r.ID, preview, "", &newer)
	r.Settings.SoftDelete, r.Settings.SoftDeleteRead = newer.Properties.Policies.SoftDeletePolicy.Status, err == nil
	c.unread(r, "The policy for soft delete", err)
}

// task returns a task with the text of its steps.
func task(name string, p *childProperties) doctor.Task {
	t := doctor.Task{Name: name, Status: p.Status}
	steps, err := base64.StdEncoding.DecodeString(p.Step.EncodedTaskContent)
	values, _ := base64.StdEncoding.DecodeString(p.Step.EncodedValuesContent)
	t.Steps = string(steps) + "\n" + string(values)
	for _, value := range p.Step.Values {
		t.Steps += "\n" + value.Value
	}
	t.Outside = err != nil || p.Step.EncodedTaskContent == "" || p.Step.ContextPath != "" && p.Step.ContextPath != "/dev/null" || p.Step.TaskFilePath != ""
	return t
}

// assignments reads the role assignments at the registry and above it, and what their
// roles permit.
func (c *Client) assignments(ctx context.Context, r *doctor.Registry) {
	const provider = "/providers/Microsoft.Authorization/"
	same := map[string]string{} // texts that occur often are kept once
	kept := func(s string) string {
		if known, ok := same[s]; ok {
			return known
		}
		same[s] = s
		return s
	}
	r.Roles = map[string]doctor.Role{}
	var roles []string
	c.unread(r, "Who has roles on it", c.list(ctx, r.ID+provider+"roleAssignments", authorize, "&%24filter=atScope%28%29", maxAssignments, func(element json.RawMessage) error {
		var a struct {
			Name       string
			Properties struct{ RoleDefinitionID, PrincipalID, PrincipalType, Scope, Condition string }
		}
		if err := json.Unmarshal(element, &a); err != nil {
			return err
		}
		p := a.Properties
		role := kept(strings.ToLower(p.RoleDefinitionID[strings.LastIndexByte(p.RoleDefinitionID, '/')+1:]))
		if _, known := r.Roles[role]; !known {
			r.Roles[role] = doctor.Role{}
			roles = append(roles, role)
		}
		r.Assignments = append(r.Assignments, doctor.Assignment{
			Name: a.Name, Principal: kept(strings.ToLower(p.PrincipalID)), Type: kept(p.PrincipalType), Role: role, Scope: kept(p.Scope), Condition: kept(p.Condition),
		})
		return nil
	}))
	for i, role := range roles {
		delete(r.Roles, role)
		if i < maxRoles {
			if found, ok := c.role(ctx, r.ID+provider+"roleDefinitions/", role); ok {
				r.Roles[role] = found
			}
		}
	}
}

// role reads what a role permits. A role is the same for all registries of a directory.
func (c *Client) role(ctx context.Context, path, guid string) (doctor.Role, bool) {
	if known, ok := c.roles.Load(guid); ok {
		return known.(doctor.Role), true
	}
	var d struct {
		Properties struct {
			RoleName    string
			Permissions []doctor.Permission
		}
	}
	if err := c.get(ctx, path+escaped(guid), authorize, "", &d); err != nil || d.Properties.Permissions == nil {
		return doctor.Role{}, false
	}
	role := doctor.Role{Name: d.Properties.RoleName, Permissions: d.Properties.Permissions}
	c.roles.Store(guid, role)
	return role, true
}

// unread adds what could not be read to a registry.
func (c *Client) unread(r *doctor.Registry, what string, err error) {
	if err != nil {
		r.Unread = append(r.Unread, doctor.Unread{What: what, Reason: strings.TrimSuffix(err.Error(), "."), Grant: c.Remedy(err, r.ID)})
	}
}

// Grant returns the command that lets the identity read everything at and below a
// scope.
func (c *Client) Grant(scope string) string {
	identity := c.clientID
	if identity == "" {
		identity = "<object-id>"
	}
	return "az role assignment create --assignee " + identity + " --role Reader --scope " + doctor.Quote(scope)
}

// Remedy returns the command or the sentence that makes something readable, at or below
// a scope.
func (c *Client) Remedy(err error, scope string) string {
	refused, ok := errors.AsType[*Error](err)
	switch {
	case ok && refused.unknownVersion():
		return "Update acrpromote: this cloud has other versions of Azure Resource Manager's interface."
	case ok && refused.denied():
		return c.Grant(scope)
	case ok && refused.Status == http.StatusOK:
		return "Run doctor again. If the error persists, update acrpromote."
	}
	_, remedy := explain.Split(err, "Run doctor again. If the error persists, fix its cause.")
	return strings.TrimSuffix(remedy, ".") + "."
}
