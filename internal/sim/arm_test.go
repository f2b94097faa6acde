package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestResourceManager checks that the simulator is as strict as Azure Resource Manager.
func TestResourceManager(t *testing.T) {
	c, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	n := c.Network("agents", "192.0.2.7")
	d := c.Directory(guidOf("tenant/arm"))
	app := d.AddApplication(guidOf("client/arm"))
	m := c.ResourceManager(ManagementHost, d)
	const (
		subscription = "/subscriptions/s-1"
		prod         = subscription + "/resourceGroups/release/providers/Microsoft.ContainerRegistry/registries/prod"
		other        = subscription + "/resourceGroups/other/providers/Microsoft.ContainerRegistry/registries/other"
		stable       = "?api-version=2025-11-01"
		filtered     = "?api-version=2022-04-01&$filter=atScope()"
	)
	properties := m.AddRegistry(prod, "prod.azurecr.io")
	m.AddRegistry(other, "other.azurecr.io")
	m.AllowReading(app.ObjectID(), prod)
	m.SetPage(2)
	for i := range 3 {
		m.AddChild(prod, "tokens", fmt.Sprint("t", i), "", map[string]any{"status": "enabled"})
	}
	m.Assign("p-1", "User", RoleOwner, "")
	m.Assign("p-2", "User", RoleReader, subscription)
	m.Assign("p-3", "User", RoleReader, other)
	m.Assign("p-4", "User", RoleReader, prod)
	custom := m.DefineRole("Uploader", map[string]any{"actions": []any{"a"}})

	get := func(method, path, audience string) (int, string) {
		t.Helper()
		address := path
		if !strings.HasPrefix(path, "https://") {
			address = "https://" + ManagementHost + path
		}
		r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if audience != "" {
			token, _ := d.issue(app, audience)
			r.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := n.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	for _, c := range []struct {
		name, method, path, audience string
		status                       int
		has                          string
	}{
		{"no token", "GET", prod + stable, "", 401, "AuthenticationFailed"},
		{"a token for registries", "GET", prod + stable, Audience, 401, "InvalidAuthenticationToken"},
		{"no version", "GET", prod, ManagementAudience, 400, "MissingApiVersionParameter"},
		{"a version of another type", "GET", prod + "?api-version=2022-04-01", ManagementAudience, 400, "NoRegisteredProviderFound"},
		{"pipelines in a stable version", "GET", prod + "/importPipelines" + stable, ManagementAudience, 400, "NoRegisteredProviderFound"},
		{"pipelines", "GET", prod + "/importPipelines?api-version=2025-06-01-preview", ManagementAudience, 200, `"value":[]`},
		{"an unknown type", "GET", prod + "/secrets" + stable, ManagementAudience, 404, "InvalidResourceType"},
		{"a registry", "GET", prod + stable, ManagementAudience, 200, `"loginServer":"prod.azurecr.io"`},
		{"in another case", "GET", strings.ToUpper(prod) + stable, ManagementAudience, 200, "prod.azurecr.io"},
		{"a registry of others", "GET", other + stable, ManagementAudience, 403, "AuthorizationFailed"},
		{"no registry", "GET", prod + "/tokens/x/y" + stable, ManagementAudience, 404, "InvalidResourceType"},
		{"the list shows what may be read", "GET", subscription + "/providers/Microsoft.ContainerRegistry/registries" + stable, ManagementAudience, 200, "prod.azurecr.io"},
		{"subscriptions", "GET", "/subscriptions?api-version=2022-12-01", ManagementAudience, 200, "s-1"},
		{"assignments without the filter", "GET", prod + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01", ManagementAudience, 400, ""},
		{"a built-in role", "GET", prod + "/providers/Microsoft.Authorization/roleDefinitions/" + RoleAcrPush + "?api-version=2022-04-01", ManagementAudience, 200, "push/write"},
		{"a custom role", "GET", prod + "/providers/Microsoft.Authorization/roleDefinitions/" + custom + "?api-version=2022-04-01", ManagementAudience, 200, "CustomRole"},
		{"a role that was deleted", "GET", prod + "/providers/Microsoft.Authorization/roleDefinitions/x?api-version=2022-04-01", ManagementAudience, 404, "RoleDefinitionDoesNotExist"},
		{"a write", "PATCH", prod + stable, ManagementAudience, 405, "HttpMethodNotSupported"},
		{"a post", "POST", prod + "/listCredentials" + stable, ManagementAudience, 405, ""},
	} {
		status, body := get(c.method, c.path, c.audience)
		if status != c.status || !strings.Contains(body, c.has) {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
		if strings.Contains(body, "other.azurecr.io") {
			t.Errorf("%s shows a registry that may not be read: %s", c.name, body)
		}
	}
	if m.Writes() != 2 {
		t.Errorf("%d writes", m.Writes())
	}

	// Lists have pages, and the assignments are those at the registry and above it.
	all := func(path string) (found []string) {
		for path != "" {
			status, body := get("GET", path, ManagementAudience)
			var page struct {
				Value    []struct{ Name string }
				NextLink string
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil || status != 200 || len(page.Value) > 2 {
				t.Fatalf("%s: %d %s", path, status, body)
			}
			for _, v := range page.Value {
				found = append(found, v.Name)
			}
			path = page.NextLink
		}
		return found
	}
	if got := all(prod + "/tokens" + stable); fmt.Sprint(got) != "[t0 t1 t2]" {
		t.Errorf("tokens %v", got)
	}
	if got := all(prod + "/providers/Microsoft.Authorization/roleAssignments" + filtered); len(got) != 3 {
		t.Errorf("assignments %v", got)
	}

	// Only previews show the policy for soft delete.
	for version, shows := range map[string]bool{"2025-11-01": false, "2025-06-01-preview": true} {
		if _, body := get("GET", prod+"?api-version="+version, ManagementAudience); strings.Contains(body, "softDeletePolicy") != shows {
			t.Errorf("%s: %s", version, body)
		}
	}
	properties["adminUserEnabled"] = true
	if _, body := get("GET", prod+stable, ManagementAudience); !strings.Contains(body, `"adminUserEnabled":true`) {
		t.Error(body)
	}
	m.WithdrawVersion("2025-11-01")
	if status, _ := get("GET", prod+stable, ManagementAudience); status != 400 {
		t.Errorf("a version that was withdrawn: %d", status)
	}
	m.DenyReading(app.ObjectID())
	if _, body := get("GET", "/subscriptions?api-version=2022-12-01", ManagementAudience); body != `{"value":[]}` {
		t.Errorf("%s", body)
	}
}
