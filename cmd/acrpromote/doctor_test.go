package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

const (
	subscription = "/subscriptions/bbbbbbbb-0000-4000-8000-000000000001"
	prodResource = subscription + "/resourceGroups/release/providers/Microsoft.ContainerRegistry/registries/contosoprod"
	devResource  = subscription + "/resourceGroups/build/providers/Microsoft.ContainerRegistry/registries/contosodev"
	dev2Resource = subscription + "/resourceGroups/build/providers/Microsoft.ContainerRegistry/registries/contosodev2"

	releaserID = "aaaaaaaa-0000-4000-8000-000000000001"
	clustersID = "aaaaaaaa-0000-4000-8000-000000000002"
	strangerID = "aaaaaaaa-0000-4000-8000-000000000009"
)

// atRegistries returns the findings that are about registries.
func (o outcome) atRegistries() []string {
	o.t.Helper()
	found := []string{}
	for _, f := range o.at("findings").([]any) {
		f := f.(map[string]any)
		if where := fmt.Sprint(f["where"]); strings.HasPrefix(where, "registry ") {
			found = append(found, fmt.Sprintf("%v %v %s", f["severity"], f["id"], strings.Fields(where)[1]))
		}
	}
	slices.Sort(found)
	return found
}

// azure opens an Azure Resource Manager with the three registries, PROD as narrow as it
// can be, and a flow file that expects those who have rights there.
func (env *testEnv) azure() (m *sim.ResourceManager, prod map[string]any, flow string) {
	env.t.Helper()
	m = env.cloud.ResourceManager(sim.ManagementHost, env.directory)
	m.AllowReading(env.application.ObjectID(), "")
	m.SetPage(2)
	prod = m.AddRegistry(prodResource, prodHost)
	for _, r := range [][2]string{{devResource, devHost}, {dev2Resource, dev2Host}} {
		m.AddRegistry(r[0], r[1])
		m.SetSKU(r[0], "Basic")
	}
	prod["publicNetworkAccess"], prod["networkRuleBypassOptions"], prod["dataEndpointEnabled"] = "Disabled", "None", true
	prod["dataEndpointHostNames"] = []any{"contosoprod.westeurope.data.azurecr.io"}
	prod["privateEndpointConnections"] = []any{map[string]any{"name": "clusters", "properties": map[string]any{
		"privateEndpoint":                   map[string]any{"id": subscription + "/resourceGroups/net/providers/Microsoft.Network/privateEndpoints/clusters"},
		"privateLinkServiceConnectionState": map[string]any{"status": "Approved"}}}}
	policies := prod["policies"].(map[string]any)
	for name, status := range map[string]string{"exportPolicy": "disabled", "azureADAuthenticationAsArmPolicy": "disabled", "softDeletePolicy": "enabled"} {
		policies[name].(map[string]any)["status"] = status
	}
	m.Assign(releaserID, "ServicePrincipal", sim.RoleAcrPush, prodResource)
	m.Assign(clustersID, "Group", sim.RoleAcrPull, prodResource)
	m.Assign(env.application.ObjectID(), "ServicePrincipal", sim.RoleReader, subscription)
	m.Assign("aaaaaaaa-0000-4000-8000-000000000004", "ServicePrincipal", sim.RoleAcrPush, devResource)
	flow = strings.Replace(sandbox, "immutable: true}", fmt.Sprintf("immutable: true, expect: {writers: [%s], readers: [%s, %s]}}", releaserID, clustersID, env.application.ObjectID()), 1)
	return m, prod, env.flowFile(flow)
}

// TestDoctor reads registries that are as narrow as the flows allow, and then wider. It
// sends nothing but reads, and the token for Azure Resource Manager nowhere else.
func TestDoctor(t *testing.T) {
	env := newTestEnv(t)
	m, prod, flow := env.azure()
	in := inputs{"action": "doctor", "flowFile": flow}
	o := env.task(in)
	if got := o.atRegistries(); len(got) > 0 {
		t.Errorf("a narrow set-up has the findings %q\n%s", got, o.stdout)
	}
	if got := len(o.at("doctor", "accepted").([]any)); got != 3 {
		t.Errorf("%d accepted rights: %v", got, o.at("doctor", "accepted"))
	}
	if hosts := fmt.Sprint(o.at("doctor", "outbound")); !strings.Contains(hosts, "contosoprod.westeurope.data.azurecr.io") || !strings.Contains(hosts, "*.blob.core.windows.net") ||
		!strings.Contains(hosts, entraHost) || strings.Contains(hosts, sim.ManagementHost) {
		t.Errorf("outbound %s", hosts)
	}
	if got, want := fmt.Sprint(o.at("doctor", "inbound")), "["+prodHost+" from the private endpoint clusters]"; got != want {
		t.Errorf("inbound %s", got)
	}
	if o.at("rules") != "verified" || o.at("doctor", "failOn") != "high" {
		t.Errorf("rules %v, failOn %v", o.at("rules"), o.at("doctor", "failOn"))
	}

	prod["adminUserEnabled"], prod["anonymousPullEnabled"], prod["networkRuleBypassAllowedForTasks"] = true, true, true
	m.Assign(strangerID, "User", sim.RoleOwner, "")
	m.AssignOn(strangerID, "User", sim.RoleRepoWriter, prodResource, "@Request[Microsoft.ContainerRegistry/registries/repositories:name] StringStartsWith 'shop/'")
	m.Assign(strangerID, "User", "cccccccc-0000-4000-8000-000000000001", subscription)
	maps := m.AddChild(prodResource, "scopeMaps", "push", "", map[string]any{"type": "UserDefined", "actions": []any{"repositories/shop/cart/content/write"}})
	for i, expiry := range []any{nil, "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"} {
		password := map[string]any{"name": "password1", "creationTime": "2026-01-01T00:00:00Z"}
		if expiry != nil {
			password["expiry"] = expiry
		}
		m.AddChild(prodResource, "tokens", fmt.Sprintf("token-%d", i), "", map[string]any{"status": "enabled", "scopeMapId": maps, "credentials": map[string]any{"passwords": []any{password}, "certificates": []any{}}})
	}
	m.AddChild(prodResource, "tasks", "purge", "", map[string]any{"status": "Enabled", "step": map[string]any{"type": "EncodedTask",
		"encodedTaskContent": "dmVyc2lvbjogdjEuMS4wCnN0ZXBzOgogIC0gY21kOiBhY3IgcHVyZ2UgLS1maWx0ZXIgJ3Nob3AvLio6LionIC0tYWdvIDkwZCAtLWluY2x1ZGUtbG9ja2VkCg=="}, "credentials": map[string]any{"sourceRegistry": nil}})
	m.AddChild(prodResource, "importPipelines", "in", "", map[string]any{"source": map[string]any{"type": "AzureStorageBlobContainer", "uri": "https://contoso.blob.core.windows.net/in", "keyVaultUri": "https://v"}})
	m.AddChild(devResource, "cacheRules", "released", "dddddddd-0000-4000-8000-000000000001", map[string]any{"sourceRepository": prodHost + "/*", "targetRepository": "prod/*"})
	m.Assign("dddddddd-0000-4000-8000-000000000001", "ServicePrincipal", sim.RoleAcrPull, prodResource)
	o = env.task(in)
	o.refusedBy("trust-too-wide")
	want := []string{"high admin-user prod", "high anonymous-pull prod", "high cache-of-trusted dev", "high import-pipeline prod", "high lower-identity prod", "high purge-locked prod",
		"high token-writes prod", "high token-writes prod", "high writer-unexpected prod", "high writer-unexpected prod", "medium tasks-bypass prod", "medium token-no-expiry prod", "unknown role-unread prod"}
	if got := o.atRegistries(); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if !strings.Contains(o.summary, "purge") || !strings.Contains(fmt.Sprint(o.at("findings")), "az role assignment delete --ids") {
		t.Errorf("%s\n%v", o.summary, o.at("findings"))
	}
	if m.Writes() > 0 {
		t.Errorf("%d requests would have written", m.Writes())
	}
}

// TestDoctorReadsOnly checks by the log of all services that doctor sends GET alone,
// except to get tokens, and that its token for Azure Resource Manager goes to that host
// alone: to the address of a next page that is elsewhere it sends nothing.
func TestDoctorReadsOnly(t *testing.T) {
	env := newTestEnv(t)
	_, _, flow := env.azure()
	const elsewhere = "management.azure.com.example.com"
	env.cloud.Handle(elsewhere, http.NotFoundHandler())
	var stray []string
	env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != sim.ManagementHost && isManagementToken(r) {
			stray = append(stray, r.Host+r.URL.Path)
		}
		return false
	})
	script := env.cloud.Script(sim.Fault{Host: sim.ManagementHost, Path: "/tokens$", Times: sim.Always, Do: func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
		fmt.Fprintf(w, `{"value": [], "nextLink": "https://%s/next"}`, elsewhere)
	}})
	o := env.task(inputs{"action": "doctor", "flowFile": flow})
	o.refusedBy("trust-too-wide")
	if script.Happened()[0] != 3 || !strings.Contains(fmt.Sprint(o.at("findings")), "the next page is at another address") {
		t.Errorf("%v: %v", script.Happened(), o.at("findings"))
	}
	managed := 0
	for _, r := range o.requests {
		switch {
		case r.Host == elsewhere:
			t.Errorf("%s %s%s", r.Method, r.Host, r.Path)
		case r.Host == sim.ManagementHost:
			managed++
			fallthrough
		default:
			token := r.Host == entraHost || strings.HasSuffix(r.Path, "/oidctoken")
			if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions && !token {
				t.Errorf("%s %s%s", r.Method, r.Host, r.Path)
			}
		}
	}
	if managed < 20 || len(stray) > 0 {
		t.Errorf("%d requests to Azure Resource Manager; its token was sent to %v", managed, stray)
	}
	for _, action := range []string{"verify", "audit"} {
		for _, r := range env.task(inputs{"action": action, "source": source, "targets": devHost}).requests {
			if r.Host == sim.ManagementHost {
				t.Errorf("%s asks Azure Resource Manager", action)
			}
		}
	}
}

// isManagementToken reports whether a request has a token for Azure Resource Manager.
func isManagementToken(r *http.Request) bool {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	for _, text := range []string{token, string(body)} {
		if strings.Contains(sim.TokenAudience(text), "management") {
			return true
		}
	}
	return false
}

// TestDoctorCannotRead checks that what Azure does not show is unknown, with the right to
// grant, and refuses: no rights, throttling, an answer that is cut, and a version that
// the cloud does not have.
func TestDoctorCannotRead(t *testing.T) {
	env := newTestEnv(t)
	m, _, flow := env.azure()
	in := inputs{"action": "doctor", "flowFile": flow, "failOn": "high"}
	throttled := func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"error":{"code":"TooManyRequests","message":"The request is being throttled."}}`)
	}
	script := env.cloud.Script(
		sim.Fault{Host: sim.ManagementHost, Path: "/contosoprod/providers/.*/roleAssignments$", Do: throttled},
		sim.Fault{Host: sim.ManagementHost, Path: "/contosoprod/tasks$", Times: sim.Always, Do: func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
			fmt.Fprint(w, `{"value": [{"name": "build", "properties": {"sta`)
		}},
		sim.Fault{Host: sim.ManagementHost, Path: "/contosodev/tokens$", Times: sim.Always, Do: func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
			fmt.Fprint(w, `{"future": []}`)
		}},
		sim.Fault{Host: sim.ManagementHost, Path: "/contosodev2/tokens$", Times: sim.Always, Do: func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"error": {"code": "AuthorizationFailed", "message": "The token %s has no right."}}`, r.Header.Get("Authorization"))
		}})
	m.WithdrawVersion("2025-11-01")
	o := env.task(in)
	o.refusedBy("trust-too-wide")
	if got, want := o.atRegistries(), []string{"unknown unread dev", "unknown unread prod", "unknown unread web"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if h := script.Happened(); h[0] != 1 || !strings.Contains(o.stdout, "retrying in") {
		t.Errorf("%v", h)
	}
	script.Stop()

	m.DenyReading(env.application.ObjectID())
	m.AllowReading(env.application.ObjectID(), devResource)
	o = env.task(in)
	o.refusedBy("trust-too-wide")
	if got, want := o.atRegistries(), []string{"unknown unread prod", "unknown unread web"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if !strings.Contains(fmt.Sprint(o.at("findings")), "az role assignment create --assignee "+clientID+" --role Reader") {
		t.Errorf("%v", o.at("findings"))
	}
}
