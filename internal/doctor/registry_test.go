package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

const (
	releaser  = "aaaaaaaa-0000-4000-8000-000000000001" // writes to PROD
	clusters  = "aaaaaaaa-0000-4000-8000-000000000002" // read PROD
	owners    = "aaaaaaaa-0000-4000-8000-000000000003" // own the subscription
	devWriter = "aaaaaaaa-0000-4000-8000-000000000004" // writes to DEV
	stranger  = "aaaaaaaa-0000-4000-8000-000000000009"

	subscription = "/subscriptions/bbbbbbbb-0000-4000-8000-000000000001"
	prodID       = subscription + "/resourceGroups/release/providers/Microsoft.ContainerRegistry/registries/prod"
	devID        = subscription + "/resourceGroups/build/providers/Microsoft.ContainerRegistry/registries/dev"
)

// builtIn has the permissions of built-in roles, as Microsoft publishes them, and of
// custom roles.
func builtIn() map[string]Role {
	actions := func(name string, actions ...string) Role {
		return Role{Name: name, Permissions: []Permission{{Actions: actions}}}
	}
	dataActions := func(name string, actions ...string) Role {
		return Role{Name: name, Permissions: []Permission{{DataActions: actions}}}
	}
	return map[string]Role{
		"owner":       actions("Owner", "*"),
		"contributor": {Name: "Contributor", Permissions: []Permission{{Actions: []string{"*"}, NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action"}}}},
		"reader":      actions("Reader", "*/read"),
		"admin":       actions("User Access Administrator", "*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"),
		"acrpush":     actions("AcrPush", control+"pull/read", control+"push/write"),
		"acrpull":     actions("AcrPull", control+"pull/read"),
		"acrdelete":   actions("AcrDelete", control+"artifacts/delete"),
		"repowriter":  dataActions("Container Registry Repository Writer", data+"content/read", data+"content/write", data+"metadata/read", data+"metadata/write"),
		"reporeader":  dataActions("Container Registry Repository Reader", data+"content/read", data+"metadata/read"),
		"importer":    {Name: "Container Registry Data Importer and Data Reader", Permissions: []Permission{{Actions: []string{control + "importImage/action"}, DataActions: []string{data + "content/read", data + "metadata/read"}}}},
		"tasks":       actions("Container Registry Tasks Contributor", control+"tasks/*", control+"scheduleRun/action"),
		"config":      actions("Container Registry Configuration Reader and Data Access Configuration Reader", control+"read", control+"tokens/read", control+"scopeMaps/read"),
		"monitor":     actions("Monitoring Reader", "Microsoft.Insights/*/read"),
		"custompush":  {Name: "Uploader", Permissions: []Permission{{DataActions: []string{"Microsoft.ContainerRegistry/*/content/*"}, NotDataActions: []string{data + "content/delete"}}}},
		"customsafe":  {Name: "Nearly all", Permissions: []Permission{{Actions: []string{"Microsoft.ContainerRegistry/registries/*/read"}, NotActions: []string{control + "PULL/read"}, DataActions: []string{data + "*"}, NotDataActions: []string{data + "content/*", data + "metadata/*"}}}},
		"customtwo":   {Name: "Two sets", Permissions: []Permission{{Actions: []string{control + "*"}, NotActions: []string{control + "*"}}, {Actions: []string{control + "listCredentials/action"}}}},
	}
}

func assigned(principal, role, scope string) Assignment {
	return Assignment{Name: "name-" + principal + "-" + role, Principal: principal, Type: "ServicePrincipal", Role: role, Scope: scope}
}

// clean returns a set-up that is as narrow as its flows allow.
func clean() Setup {
	off := func() *bool { return new(bool) }
	settings := Settings{
		Read: true, SKU: "Premium", RoleAssignmentMode: "LegacyRegistryPermissions", AdminUser: off(), AnonymousPull: off(),
		PublicNetworkAccess: "Disabled", DefaultAction: "Deny", BypassOptions: "None", DataEndpoint: true, ExportPolicy: "disabled", ARMTokens: "disabled",
		Quarantine: "disabled", Retention: "disabled", RetentionDays: 7, SoftDelete: "enabled", SoftDeleteRead: true,
		Endpoints: []Endpoint{{"clusters", "Approved", "bbbbbbbb-0000-4000-8000-000000000001"}, {"former", "Rejected", ""}},
	}
	above := []Assignment{assigned(owners, "owner", subscription), assigned(stranger, "monitor", subscription)}
	return Setup{Now: now, Registries: []Registry{
		{Name: "prod", Host: "prod.azurecr.io", Azure: true, Trust: 1, Source: true, ID: prodID, Settings: settings, Roles: builtIn(),
			Writers: []string{releaser, owners}, Readers: []string{clusters},
			Assignments: append([]Assignment{assigned(releaser, "acrpush", prodID), assigned(clusters, "acrpull", prodID), assigned(clusters, "config", prodID)}, above...),
			ScopeMaps:   map[string][]string{},
			Tokens:      []Token{{Name: "expired", Status: "enabled", Passwords: []string{"2026-11-01T00:00:00Z"}}, {Name: "disabled", Status: "disabled", Passwords: []string{""}}},
			Tasks:       []Task{{Name: "old", Status: "Disabled", Steps: "purge --include-locked"}},
		},
		// DEV is a sandbox: who writes there is nobody's concern.
		{Name: "dev", Host: "dev.azurecr.io", Azure: true, Trust: 0, ID: devID, Settings: Settings{Read: true, SKU: "Basic", AdminUser: new(true), PublicNetworkAccess: "Enabled"}, Roles: builtIn(),
			Assignments: append([]Assignment{assigned(devWriter, "acrpush", devID)}, above...),
			ScopeMaps:   map[string][]string{"map": {"repositories/*/content/write"}},
			Tokens:      []Token{{Name: "build", Status: "enabled", ScopeMap: "map", Passwords: []string{"2026-12-20T00:00:00Z"}}},
			Tasks:       []Task{{Name: "build", Status: "Enabled", Outside: true}},
			CacheRules:  []CacheRule{{"hub", "docker.io/library/*", "hub/*"}},
			Connected:   []Connected{{"edge", "ReadWrite", devID}},
			Pipelines:   []Pipeline{{Name: "in", URI: "https://store.blob.core.windows.net/in"}},
			Identities:  []string{"aaaaaaaa-0000-4000-8000-000000000008"},
		},
	}}
}

// abac makes the PROD registry one that honours data actions alone.
func abac(s *Setup) *Registry {
	p := &s.Registries[0]
	p.Settings.RoleAssignmentMode = abacMode
	p.Assignments[0] = assigned(releaser, "repowriter", prodID)
	p.Assignments[1] = assigned(clusters, "reporeader", prodID)
	return p
}

func grant(s *Setup, who, role, scope string) {
	s.Registries[0].Assignments = append(s.Registries[0].Assignments, assigned(who, role, scope))
}

// faults are set-ups that are wider than the flows need, each with what is found.
var faults = []struct {
	name string
	seed func(s *Setup, prod, dev *Registry)
	want []string
}{
	{"another writer", func(s *Setup, p, d *Registry) { grant(s, stranger, "acrpush", prodID) }, []string{"writer-unexpected"}},
	{"another writer by an inherited role", func(s *Setup, p, d *Registry) { grant(s, stranger, "contributor", subscription) }, []string{"writer-unexpected"}},
	{"another writer by a role of the root", func(s *Setup, p, d *Registry) { grant(s, stranger, "owner", "/") }, []string{"writer-unexpected"}},
	{"somebody deletes", func(s *Setup, p, d *Registry) { grant(s, stranger, "acrdelete", prodID) }, []string{"writer-unexpected"}},
	{"somebody assigns roles", func(s *Setup, p, d *Registry) {
		r := p.Roles["admin"]
		r.Permissions[0].Actions = r.Permissions[0].Actions[1:]
		grant(s, stranger, "admin", subscription)
	}, []string{"manager-unexpected"}},
	{"somebody imports", func(s *Setup, p, d *Registry) { grant(s, stranger, "importer", prodID) }, []string{"manager-unexpected"}},
	{"somebody runs tasks", func(s *Setup, p, d *Registry) { grant(s, stranger, "tasks", prodID) }, []string{"manager-unexpected"}},
	{"a custom role with wildcards", func(s *Setup, p, d *Registry) { grant(s, stranger, "custompush", prodID) }, []string{"writer-unexpected"}},
	{"a custom role of two sets", func(s *Setup, p, d *Registry) { grant(s, stranger, "customtwo", prodID) }, []string{"manager-unexpected"}},
	{"another reader", func(s *Setup, p, d *Registry) { grant(s, stranger, "acrpull", prodID) }, []string{"reader-unexpected"}},
	{"Reader can pull", func(s *Setup, p, d *Registry) { grant(s, stranger, "reader", subscription) }, []string{"reader-unexpected"}},
	{"the readers may write", func(s *Setup, p, d *Registry) { grant(s, clusters, "acrpush", prodID) }, []string{"reader-may-write"}},
	{"the readers may take the admin's password", func(s *Setup, p, d *Registry) { grant(s, clusters, "customtwo", prodID) }, []string{"reader-may-write"}},
	{"a writer of DEV reads PROD", func(s *Setup, p, d *Registry) { grant(s, devWriter, "acrpull", prodID) }, []string{"lower-identity"}},
	{"a writer of DEV has any role on PROD", func(s *Setup, p, d *Registry) { grant(s, devWriter, "monitor", prodID) }, []string{"lower-identity"}},
	{"a managed identity of DEV in capital letters", func(s *Setup, p, d *Registry) {
		d.Identities = []string{strings.ToUpper(d.Identities[0])}
		grant(s, strings.ToLower(d.Identities[0]), "acrpull", prodID)
	}, []string{"lower-identity"}},
	{"somebody changes roles", func(s *Setup, p, d *Registry) {
		p.Roles["roles"] = Role{Permissions: []Permission{{Actions: []string{"Microsoft.Authorization/roleDefinitions/*"}}}}
		grant(s, stranger, "roles", subscription)
	}, []string{"manager-unexpected"}},
	{"somebody makes others eligible for roles", func(s *Setup, p, d *Registry) {
		p.Roles["eligible"] = Role{Permissions: []Permission{{Actions: []string{"*/write"}, NotActions: []string{"Microsoft.ContainerRegistry/*", "Microsoft.Authorization/roleAssignments/*", "Microsoft.Authorization/roleDefinitions/*"}}}}
		grant(s, stranger, "eligible", subscription)
	}, []string{"manager-unexpected"}},
	{"somebody runs one task", func(s *Setup, p, d *Registry) {
		p.Roles["runs"] = Role{Permissions: []Permission{{Actions: []string{"microsoft.containerregistry/registries/taskruns/write"}}}}
		grant(s, stranger, "runs", prodID)
	}, []string{"manager-unexpected"}},
	{"a managed identity of DEV reads PROD", func(s *Setup, p, d *Registry) { grant(s, d.Identities[0], "acrpull", prodID) }, []string{"lower-identity"}},
	{"a role that cannot be read", func(s *Setup, p, d *Registry) { grant(s, stranger, "unknown", prodID) }, []string{"role-unread"}},
	{"ABAC: Owner manages", func(s *Setup, p, d *Registry) { abac(s); grant(s, stranger, "owner", subscription) }, []string{"manager-unexpected"}},
	{"ABAC: another writer under a condition", func(s *Setup, p, d *Registry) {
		abac(s)
		a := assigned(stranger, "repowriter", prodID)
		a.Condition = "@Request[Microsoft.ContainerRegistry/registries/repositories:name] StringStartsWith 'shop/'"
		p.Assignments = append(p.Assignments, a)
	}, []string{"writer-unexpected"}},
	{"ABAC: another reader", func(s *Setup, p, d *Registry) { abac(s); grant(s, stranger, "reporeader", subscription) }, []string{"reader-unexpected"}},
	{"a mode that is not known", func(s *Setup, p, d *Registry) { p.Settings.RoleAssignmentMode = "Next" }, []string{"setting-unknown"}},
	{"no expectations", func(s *Setup, p, d *Registry) { p.Writers, p.Readers = nil, nil }, []string{"reader-unexpected", "writer-unexpected", "writer-unexpected"}},

	{"the admin user", func(s *Setup, p, d *Registry) { p.Settings.AdminUser = new(true) }, []string{"admin-user"}},
	{"the admin user is not shown", func(s *Setup, p, d *Registry) { p.Settings.AdminUser = nil }, []string{"setting-unknown"}},
	{"anonymous pull", func(s *Setup, p, d *Registry) { p.Settings.AnonymousPull = new(true) }, []string{"anonymous-pull"}},
	{"public access", func(s *Setup, p, d *Registry) {
		p.Settings.PublicNetworkAccess, p.Settings.DefaultAction = "Enabled", "Allow"
	}, []string{"network-open"}},
	{"public access is the default", func(s *Setup, p, d *Registry) {
		p.Settings.PublicNetworkAccess, p.Settings.DefaultAction = "", ""
	}, []string{"network-open"}},
	{"an access that is not known", func(s *Setup, p, d *Registry) { p.Settings.PublicNetworkAccess = "SecuredByPerimeter" }, []string{"setting-unknown"}},
	{"a wide range in the firewall", func(s *Setup, p, d *Registry) {
		p.Settings.PublicNetworkAccess, p.Settings.IPRules = "Enabled", []string{"192.0.2.7", "192.0.2.0/24", "198.51.0.0/16"}
	}, []string{"network-range"}},
	{"no private endpoint", func(s *Setup, p, d *Registry) { p.Settings.Endpoints = nil }, []string{"no-private-endpoint"}},
	{"a private endpoint waits", func(s *Setup, p, d *Registry) {
		p.Settings.Endpoints = append(p.Settings.Endpoints, Endpoint{"new", "Pending", "s"})
	}, []string{"endpoint-pending"}},
	{"a private endpoint of others", func(s *Setup, p, d *Registry) {
		p.Settings.Endpoints = append(p.Settings.Endpoints, Endpoint{"theirs", "Approved", "s"})
	}, []string{"endpoint-foreign"}},
	{"trusted services", func(s *Setup, p, d *Registry) { p.Settings.BypassOptions = "" }, []string{"trusted-services"}},
	{"tasks pass the firewall", func(s *Setup, p, d *Registry) { p.Settings.BypassForTasks = true }, []string{"tasks-bypass"}},
	{"tokens for ARM", func(s *Setup, p, d *Registry) { p.Settings.ARMTokens = "" }, []string{"arm-tokens"}},
	{"export", func(s *Setup, p, d *Registry) { p.Settings.ExportPolicy = "enabled" }, []string{"export-policy"}},
	{"no data endpoint", func(s *Setup, p, d *Registry) { p.Settings.DataEndpoint = false }, []string{"data-endpoint"}},
	{"no soft delete", func(s *Setup, p, d *Registry) { p.Settings.SoftDelete = "disabled" }, []string{"soft-delete"}},
	{"retention", func(s *Setup, p, d *Registry) { p.Settings.Retention = "Enabled" }, []string{"retention"}},
	{"quarantine", func(s *Setup, p, d *Registry) { p.Settings.Quarantine = "enabled" }, []string{"quarantine"}},
	{"a service tier that is not known", func(s *Setup, p, d *Registry) { p.Settings.SKU = "Ultimate" }, []string{"setting-unknown"}},
	{"a service tier that is not shown", func(s *Setup, p, d *Registry) { p.Settings.SKU = "" }, []string{"setting-unknown"}},
	{"a small service tier", func(s *Setup, p, d *Registry) { p.Settings.SKU = "Basic" }, []string{"sku"}},

	{"a token writes", func(s *Setup, p, d *Registry) {
		p.ScopeMaps["m"] = []string{"repositories/shop/cart/content/read", "repositories/shop/cart/content/write"}
		p.Tokens = append(p.Tokens, Token{Name: "ci", Status: "enabled", ScopeMap: "M", Passwords: []string{"2026-12-01T00:00:00Z"}})
	}, []string{"token-writes"}},
	{"a token writes, in capital letters", func(s *Setup, p, d *Registry) {
		p.ScopeMaps["m"] = []string{"Repositories/shop/cart/Content/Write"}
		p.Tokens = append(p.Tokens, Token{Name: "ci", ScopeMap: "m", Passwords: []string{"2026-12-01T00:00:00Z"}})
	}, []string{"token-writes"}},
	{"a token reads, by a certificate", func(s *Setup, p, d *Registry) {
		p.ScopeMaps["m"] = []string{"repositories/*/content/read", "repositories/*/metadata/read"}
		p.Tokens = append(p.Tokens, Token{Name: "edge", ScopeMap: "m", Certificates: 1})
	}, []string{"token-reads"}},
	{"a token whose scope map is gone", func(s *Setup, p, d *Registry) {
		p.Tokens = append(p.Tokens, Token{Name: "ci", ScopeMap: "gone", Passwords: []string{"2026-12-01T00:00:00Z"}})
	}, []string{"token-unread"}},
	{"a token of DEV without expiry", func(s *Setup, p, d *Registry) { d.Tokens[0].Passwords = append(d.Tokens[0].Passwords, "") }, []string{"token-no-expiry"}},
	{"a task", func(s *Setup, p, d *Registry) { p.Tasks = []Task{{Name: "build", Status: "Enabled", Outside: true}} }, []string{"task"}},
	{"a purge task", func(s *Setup, p, d *Registry) {
		p.Tasks = []Task{{Name: "purge", Steps: "version: v1.1.0\nsteps:\n  - cmd: acr purge --filter 'shop/.*:.*' --ago 90d\n    timeout: 3600\n"}}
	}, []string{"purge-task"}},
	{"a task that purges and does more", func(s *Setup, p, d *Registry) {
		p.Tasks = []Task{{Name: "purge", Steps: "steps:\n- cmd: acr purge --ago 90d\n- cmd: prod.azurecr.io/tool\n"}}
	}, []string{"task"}},
	{"a task that purges and does more, in another form of YAML", func(s *Setup, p, d *Registry) {
		p.Tasks = []Task{{Name: "purge", Steps: "# purge\nsteps:\n- cmd: acr purge --ago 90d\n- {cmd: prod.azurecr.io/tool}\n"}}
	}, []string{"task"}},
	{"a purge of locked images", func(s *Setup, p, d *Registry) {
		p.Tasks = []Task{{Name: "purge", Steps: "steps:\n- cmd: acr purge --ago 90d --include-locked\n"}}
	}, []string{"purge-locked"}},
	{"an import pipeline", func(s *Setup, p, d *Registry) {
		p.Pipelines = []Pipeline{{Name: "in", URI: "https://x.blob.core.windows.net/in"}}
	}, []string{"import-pipeline"}},
	{"an export pipeline that DEV imports from", func(s *Setup, p, d *Registry) {
		p.Pipelines = []Pipeline{{Name: "out", URI: d.Pipelines[0].URI + "/", Export: true}}
	}, []string{"export-pipeline", "import-of-trusted"}},
	{"a cache rule in PROD", func(s *Setup, p, d *Registry) {
		p.CacheRules = []CacheRule{{"hub", "docker.io/library/nginx", "nginx"}}
	}, []string{"cache-rule"}},
	{"DEV caches PROD", func(s *Setup, p, d *Registry) {
		d.CacheRules = append(d.CacheRules, CacheRule{"prod", "PROD.azurecr.io/*", "prod/*"})
	}, []string{"cache-of-trusted"}},
	{"DEV caches PROD by another name", func(s *Setup, p, d *Registry) {
		p.Hosts = []string{"prod.westeurope.geo.azurecr.io", "prod-a1b2.azurecr.io"}
		d.CacheRules = append(d.CacheRules, CacheRule{"prod", "prod-a1b2.azurecr.io/shop/cart", "cart"})
	}, []string{"cache-of-trusted"}},
	{"DEV caches PROD by a regional endpoint", func(s *Setup, p, d *Registry) {
		d.CacheRules = append(d.CacheRules, CacheRule{"prod", "Prod.WestEurope.geo.azurecr.io/shop/cart", "cart"})
	}, []string{"cache-of-trusted"}},
	{"a connected registry that pushes", func(s *Setup, p, d *Registry) { p.Connected = []Connected{{"edge", "ReadWrite", ""}} }, []string{"connected-writes"}},
	{"a connected registry that pulls", func(s *Setup, p, d *Registry) { p.Connected = []Connected{{"edge", "ReadOnly", ""}} }, []string{"connected-reads"}},
	{"a connected registry of DEV below PROD", func(s *Setup, p, d *Registry) {
		d.Connected[0].Parent = strings.ToUpper(prodID) + "/connectedRegistries/edge"
	}, []string{"connected-to-trusted"}},
	{"PROD is of another kind", func(s *Setup, p, d *Registry) { *p = Registry{Host: "registry.example.com", Trust: 1} }, []string{"not-azure-protected"}},
	{"DEV is of another kind", func(s *Setup, p, d *Registry) { *d = Registry{Host: "registry.example.com"} }, []string{"not-azure"}},
	{"something was not read", func(s *Setup, p, d *Registry) {
		d.Unread = []Unread{{"its tokens", "403 AuthorizationFailed", "az role assignment create …"}}
	}, []string{"unread"}},
}

func ids(findings []Finding) []string {
	var all []string
	for _, f := range findings {
		all = append(all, f.ID)
	}
	slices.Sort(all)
	return all
}

func TestCleanSetUpHasNoFindings(t *testing.T) {
	twin := func(name string, change func(s *Setup)) {
		s := clean()
		change(&s)
		if v := Judge(s); len(v.Findings) > 0 {
			t.Errorf("%s: %+v", name, v.Findings)
		}
	}
	twin("RBAC", func(*Setup) {})
	twin("ABAC", func(s *Setup) { abac(s) })
	twin("ABAC: AcrPush, AcrPull and Reader have no effect", func(s *Setup) {
		abac(s)
		for _, role := range []string{"acrpush", "acrpull", "acrdelete", "reader"} {
			grant(s, stranger, role, prodID)
		}
	})
	twin("ABAC: tasks have no rights of their own", func(s *Setup) {
		abac(s).Tasks = []Task{{Name: "build", Outside: true}}
	})
	twin("a custom role without what matters", func(s *Setup) { grant(s, stranger, "customsafe", prodID) })
	twin("object IDs in another case", func(s *Setup) { s.Registries[0].Assignments[0].Principal = strings.ToUpper(releaser) })
	twin("a firewall for some addresses", func(s *Setup) {
		p := &s.Registries[0].Settings
		p.PublicNetworkAccess, p.IPRules, p.Endpoints = "Enabled", []string{"192.0.2.7", "192.0.2.0/24"}, nil
	})
	twin("documented defaults of what is not shown", func(s *Setup) {
		p := &s.Registries[0].Settings
		p.Quarantine, p.Retention, p.RoleAssignmentMode = "", "", ""
	})
	twin("only one registry", func(s *Setup) { s.Registries = s.Registries[:1] })
	twin("an identity that writes to PROD writes to DEV, too", func(s *Setup) {
		s.Registries[1].Assignments = append(s.Registries[1].Assignments, assigned(releaser, "acrpush", devID))
	})
}

// TestFaultsAreFound seeds each fault into the clean set-up, and checks that it is
// found, and nothing else.
func TestFaultsAreFound(t *testing.T) {
	found := map[string]bool{}
	for _, fault := range faults {
		s := clean()
		fault.seed(&s, &s.Registries[0], &s.Registries[1])
		v := Judge(s)
		got := ids(v.Findings)
		if !slices.Equal(got, fault.want) {
			t.Errorf("%s: found %v, want %v: %+v", fault.name, got, fault.want, v.Findings)
		}
		for _, f := range v.Findings {
			found[f.ID] = true
			switch {
			case strings.ContainsAny(f.Allows+f.Mend, "{}") && !strings.Contains(f.Mend, "[?"):
				t.Errorf("%s: a placeholder is left: %+v", fault.name, f)
			case !strings.HasSuffix(f.Allows, "."), strings.Contains(f.Allows, ".."), f.Mend == "", !strings.HasPrefix(f.Where, "registry "):
				t.Errorf("%s: %+v", fault.name, f)
			}
		}
	}
	for _, k := range registryKinds {
		if !found[k.ID] && k.ID != "assignments-more" {
			t.Errorf("no fault leads to %s", k.ID)
		}
	}
	t.Logf("%d faults", len(faults))
}

// TestRegistryInBetween checks that a registry between two others is protected, and that
// it is below the one that is trusted more.
func TestRegistryInBetween(t *testing.T) {
	const tester = "aaaaaaaa-0000-4000-8000-000000000007"
	s := clean()
	stage := s.Registries[0]
	stage.Name, stage.Host, stage.ID, stage.Trust = "stage", "stage.azurecr.io", strings.Replace(prodID, "/prod", "/stage", 1), 1
	stage.CacheRules = []CacheRule{{"prod", "prod.azurecr.io/*", "*"}}
	stage.Assignments = append([]Assignment{assigned(tester, "acrpush", stage.ID)}, stage.Assignments[3:]...)
	s.Registries[0].Trust = 2
	grant(&s, tester, "acrpull", prodID)
	s.Registries = append(s.Registries, stage)
	var got []string
	for _, f := range Judge(s).Findings {
		got = append(got, f.ID+" "+f.Where)
	}
	want := []string{"lower-identity registry prod (prod.azurecr.io)", "writer-unexpected registry stage (stage.azurecr.io)", "cache-of-trusted registry stage (stage.azurecr.io)"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestManyAssignments checks that the findings of 10,000 role assignments are limited,
// and say how many there are.
func TestManyAssignments(t *testing.T) {
	s := clean()
	for i := range 10_000 {
		grant(&s, fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", 1000+i), "acrpull", prodID)
	}
	v := Judge(s)
	if len(v.Findings) != mostListed+1 {
		t.Fatalf("%d findings", len(v.Findings))
	}
	if last := v.Findings[mostListed]; last.ID != "assignments-more" || !strings.Contains(last.Allows, "9900 more") {
		t.Errorf("%+v", last)
	}
}

func TestAccepted(t *testing.T) {
	want := []Accepted{
		{"prod.azurecr.io", releaser, "AcrPush", prodID, "writer"}, {"prod.azurecr.io", clusters, "AcrPull", prodID, "reader"},
		{"prod.azurecr.io", owners, "Owner", subscription, "writer"},
	}
	if got := Judge(clean()).Accepted; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestRefuse(t *testing.T) {
	one := func(s Severity) []Finding { return []Finding{{Severity: s}} }
	for _, c := range []struct {
		found, failOn Severity
		refused       bool
	}{
		{Low, Low, true}, {Low, Medium, false}, {Medium, Medium, true}, {Medium, High, false}, {High, High, true}, {Unknown, High, true}, {Unknown, Low, true},
	} {
		if got := len(Refuse(one(c.found), c.failOn)) == 1; got != c.refused {
			t.Errorf("%s with failOn %s: refused is %v", c.found, c.failOn, got)
		}
	}
	if Refuse(nil, Low) != nil {
		t.Error("no finding is refused")
	}
}

func TestOrderOfFindings(t *testing.T) {
	s := clean()
	s.Registries[0].Settings.DataEndpoint = false
	s.Registries[0].Settings.BypassForTasks = true
	s.Registries[1].CacheRules = []CacheRule{{"prod", "prod.azurecr.io/*", "*"}}
	var got []Severity
	for _, f := range Judge(s).Findings {
		got = append(got, f.Severity)
	}
	if !slices.Equal(got, []Severity{High, Medium, Low}) {
		t.Errorf("%v", got)
	}
}

// TestNamesAreQuoted checks that a name that others choose is one word of the command.
func TestNamesAreQuoted(t *testing.T) {
	s := clean()
	s.Registries[0].Tasks = []Task{{Name: "x; curl evil'$(id)"}}
	v := Judge(s)
	if len(v.Findings) != 1 || !strings.HasSuffix(v.Findings[0].Mend, ` --name 'x; curl evil'\''$(id)'`) {
		t.Errorf("%+v", v.Findings)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, permission string
		want                bool
	}{
		{"*", "a/b", true}, {"a/b", "a/b", true}, {"a/b", "a/b/c", false}, {"*/read", "a/b/read", true}, {"*/read", "a/reads", false},
		{"a/*", "a/", true}, {"a/*/write", "a/b/c/write", true}, {"a/*/write", "a/write", false}, {"a/*b*/c", "a/xbx/c", true}, {"a/*b*/c", "a/xx/c", false},
		{"aba*aba", "aba", false}, {"", "a", false}, {"**", "a", true},
	} {
		if got := matches(c.pattern, c.permission); got != c.want {
			t.Errorf("%s, %s: %v", c.pattern, c.permission, got)
		}
	}
}
