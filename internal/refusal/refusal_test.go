package refusal

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	name := regexp.MustCompile(`^(registry|entra|devops|vault)(-[a-z]+)+$`)
	known := []string{"host", "address", "grant", "what", "subject", "issuer", "audience", "vault", "name", "key"}
	seen := map[string]bool{}
	for _, r := range All {
		if !name.MatchString(r.Name) || seen[r.Name] {
			t.Errorf("%q is not a name, or is there twice", r.Name)
		}
		seen[r.Name] = true
		if r.Cause == "" || r.Remedy == "" || strings.HasSuffix(r.Cause, ".") || strings.HasSuffix(r.Remedy, ".") {
			t.Errorf("%s: the cause is a clause, the remedy a sentence without its full stop", r.Name)
		}
		for _, found := range regexp.MustCompile(`\{([^}]*)\}`).FindAllStringSubmatch(r.Cause+r.Remedy, -1) {
			if !slices.Contains(known, found[1]) {
				t.Errorf("%s: unknown placeholder %s", r.Name, found[0])
			}
		}
		for _, says := range r.Says {
			if says != strings.ToLower(says) {
				t.Errorf("%s: %q is not in lower case", r.Name, says)
			}
		}
		// Each entry is found by its own conditions: none hides a later one.
		said := Response{}
		if len(r.Status) > 0 {
			said.Status = r.Status[0]
		}
		if len(r.Codes) > 0 {
			said.Code = r.Codes[0]
		}
		if len(r.Says) > 0 {
			said.Message = strings.ToUpper(r.Says[0])
		}
		switch found, ok := Find(r.Service, said); {
		case r.identifies() && (!ok || found.Name != r.Name):
			t.Errorf("%s: %+v finds %q", r.Name, said, found.Name)
		case !r.identifies() && ok:
			t.Errorf("%s: without conditions, %q is found", r.Name, found.Name)
		}
		if Named(r.Name).Name != r.Name {
			t.Errorf("%s is not found by its name", r.Name)
		}
	}
	if _, ok := Find(Registry, Response{Status: 418}); ok {
		t.Error("an unknown response is explained")
	}
}

func TestCodes(t *testing.T) {
	for message, want := range map[string]string{
		"AADSTS7000215: Invalid client secret provided.": "AADSTS7000215",
		"AADSTS: nothing":       "",
		"AADSTS12a: no":         "",
		"AADSTS123":             "",
		"AADSTS123456789: long": "",
		"see AADSTS50076: no":   "",
		"":                      "",
	} {
		if got := EntraCode(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
	for message, want := range map[string]string{
		"TF400813: The user is not authorized.": "TF400813",
		"VS403463: The conditional access":      "VS403463",
		"TF: x":                                 "",
		"TF12345678: x":                         "",
		"TFVS1: x":                              "TFVS1",
		"404: x":                                "",
		"The project: none":                     "",
		"":                                      "",
	} {
		if got := DevOpsCode(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

func TestPresented(t *testing.T) {
	const now = "AADSTS700213: No matching federated identity record found for presented assertion subject 'sc://contoso/shop/release'. Check your federated identity credential."
	const old = "AADSTS70021: No matching federated identity record found for presented assertion. Assertion Issuer: 'https://vstoken.dev.azure.com/1'. Assertion Subject: 'sc://a/b/c'. Assertion Audience: 'api://x'."
	for _, c := range []struct{ what, message, want string }{
		{"subject", now, "“sc://contoso/shop/release”"},
		{"subject", old, "“sc://a/b/c”"},
		{"issuer", old, "“https://vstoken.dev.azure.com/1”"},
		{"audience", old, "“api://x”"},
		{"issuer", now, "the issuer in the message"},
		{"subject", "presented assertion subject 'cut off", "the subject in the message"},
		{"subject", "presented assertion subject ''", "the subject in the message"},
	} {
		if got := Presented(c.what, c.message); got != c.want {
			t.Errorf("%s of %q: %q, want %q", c.what, c.message, got, c.want)
		}
	}
}

func TestRoles(t *testing.T) {
	const reader, writer, contributor, lister = "Container Registry Repository Reader", "Container Registry Repository Writer", "Container Registry Repository Contributor", "Container Registry Repository Catalog Lister"
	list := map[string][]string{Catalog: {"*"}}
	in := func(actions ...string) Needs { return Needs{"shop/cart": actions} }
	for _, c := range []struct {
		needs      Needs
		abac, rbac []string
		rights     string
	}{
		{in(Pull), []string{reader}, []string{"AcrPull"}, "content/read"},
		{in(Pull, ReadMetadata), []string{reader}, []string{"AcrPull", LockReader}, "content/read metadata/read"},
		{in(Pull, Push), []string{writer}, []string{"AcrPush"}, "content/read content/write"},
		{in(Push), []string{writer}, []string{"AcrPush"}, "content/read content/write"},
		{in(Pull, Push, ReadMetadata), []string{writer}, []string{"AcrPush", LockReader}, "content/read content/write metadata/read"},
		{in(Pull, Push, ReadMetadata, WriteMetadata), []string{writer}, []string{"AcrPush", LockKeeper}, "content/read content/write metadata/read metadata/write"},
		{in(Pull, Delete), []string{contributor}, []string{"AcrPull", "AcrDelete"}, "content/read content/delete"},
		{Needs{"a": {Pull}, "b": {Pull, Push}}, []string{writer}, []string{"AcrPush"}, "content/read content/write"},
		{list, []string{lister}, []string{"AcrPull"}, ""},
		{Needs{Catalog: {"*"}, "a": {Pull}}, []string{reader, lister}, []string{"AcrPull"}, "content/read"},
		{nil, nil, nil, ""},
	} {
		if got := c.needs.Roles(ABAC); !slices.Equal(got, c.abac) {
			t.Errorf("%v: %q in ABAC mode, want %q", c.needs, got, c.abac)
		}
		if got := c.needs.Roles(RBAC); !slices.Equal(got, c.rbac) {
			t.Errorf("%v: %q in RBAC mode, want %q", c.needs, got, c.rbac)
		}
		if got := strings.Join(c.needs.Rights(), " "); got != c.rights {
			t.Errorf("%v: the rights %q, want %q", c.needs, got, c.rights)
		}
	}
}

func TestGrant(t *testing.T) {
	const id = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	release := Identity{Name: "service connection release", ClientID: id, ObjectID: "11111111-2222-3333-4444-555555555555"}
	source := Needs{"shop/cart": {Pull, ReadMetadata}}
	many := Needs{"a": {Pull}, "b": {Pull}, "c": {Pull}, "d": {Pull}, "e": {Pull}}
	for _, c := range []struct {
		name, got, want string
	}{
		{"both modes", Grant("contosoprod.azurecr.io", release, source, Unknown),
			`Grant service connection release (client ID aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee) the role Container Registry Repository Reader on contosoprod.azurecr.io (content/read, metadata/read on shop/cart); if it is in the mode “RBAC Registry Permissions”, AcrPull and the custom role “ACR lock reader” instead: az role assignment create --role "Container Registry Repository Reader" --assignee-object-id 11111111-2222-3333-4444-555555555555 --assignee-principal-type ServicePrincipal --scope "$(az acr show --name contosoprod --query id --output tsv)"`},
		{"the mode is likely", Grant("contosoprod.azurecr.io", Identity{ClientID: id}, source, RBAC),
			`Grant the identity (client ID aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee) the role AcrPull and the custom role “ACR lock reader” on contosoprod.azurecr.io (content/read, metadata/read on shop/cart); if it is in the mode “RBAC Registry + ABAC Repository Permissions”, Container Registry Repository Reader instead: az role assignment create --role "AcrPull" --assignee aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee --scope "$(az acr show --name contosoprod --query id --output tsv)" && az role assignment create --role "ACR lock reader" --assignee aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee --scope "$(az acr show --name contosoprod --query id --output tsv)"`},
		{"a person", Grant("contosoprod.azurecr.io", Identity{Name: "your own identity (az login)", ClientID: id, ObjectID: id, User: true}, Needs{Catalog: {"*"}}, ABAC),
			`Grant your own identity (az login) the role Container Registry Repository Catalog Lister on contosoprod.azurecr.io (listing the repositories); if it is in the mode “RBAC Registry Permissions”, AcrPull instead: az role assignment create --role "Container Registry Repository Catalog Lister" --assignee-object-id aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee --assignee-principal-type User --scope "$(az acr show --name contosoprod --query id --output tsv)"`},
		{"many repositories", Grant("contosoprod.azurecr.io", Identity{}, many, ABAC),
			`Grant the identity the role Container Registry Repository Reader on contosoprod.azurecr.io (content/read on a, b, c and 2 more); if it is in the mode “RBAC Registry Permissions”, AcrPull instead: az role assignment create --role "Container Registry Repository Reader" --assignee <client-id> --scope "$(az acr show --name contosoprod --query id --output tsv)"`},
		{"nothing known", Grant("contosoprod.azurecr.io", Identity{}, nil, Unknown), "Grant the identity a role on contosoprod.azurecr.io"},
		{"a repository-scoped token", GrantToken("contosodev.azurecr.io", Needs{"shop/cart": {Pull, Push}}),
			"Give the scope map of its token what this step does on contosodev.azurecr.io (content/read, content/write on shop/cart): az acr scope-map update --name <scope-map> --registry contosodev --add-repository shop/cart content/read content/write"},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, c.got, c.want)
		}
	}
}

func TestName(t *testing.T) {
	for host, want := range map[string]string{
		"contoso.azurecr.io": "contoso", "contoso-a1b2c3.azurecr.io": "contoso", "contoso.westeurope.geo.azurecr.io": "contoso",
	} {
		if got := Name(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

func TestRights(t *testing.T) {
	for _, c := range []struct {
		needs Needs
		want  string
	}{
		{Needs{"a": {Pull}}, ", and that the user may pull from a"},
		{Needs{"a": {Pull}, "b": {Push}}, ", and that the user may pull from and push to a, b"},
		{Needs{"a": {Push}, "b": {Push}, "c": {Push}, "d": {Push}, Catalog: {"*"}}, ", and that the user may pull from and push to a, b, c and 1 more"},
		{Needs{Catalog: {"*"}}, ""},
	} {
		if got := Rights(c.needs); got != c.want {
			t.Errorf("Rights(%v) = %q, want %q", c.needs, got, c.want)
		}
	}
}
