package sim

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

var scope = policy.TokenRequestOptions{Scopes: []string{"https://containerregistry.azure.net/.default"}}

func options(n *Network) azcore.ClientOptions {
	return azcore.ClientOptions{Transport: n.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}
}

func TestClientSecret(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	tenant, client := guidOf("tenant/secret"), guidOf("client/secret")
	d := o.cloud.Directory(tenant)
	app := d.AddApplication(client).AddSecret("first").AddSecret("second")
	for _, c := range []struct{ client, secret, want string }{
		{client, "first", ""},
		{client, "second", ""},
		{client, "third", "AADSTS7000215"},
		{guidOf("nobody"), "first", "AADSTS700016"},
	} {
		credential, err := azidentity.NewClientSecretCredential(tenant, c.client, c.secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options(o.net), DisableInstanceDiscovery: true})
		if err != nil {
			t.Fatal(err)
		}
		token, err := credential.GetToken(context.Background(), scope)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", c.secret, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		who, err := d.Verify(token.Token, Audience)
		if err != nil || who != (Principal{ObjectID: app.ObjectID(), TenantID: tenant, ClientID: client}) {
			t.Errorf("%+v, %v", who, err)
		}
		if until := time.Until(token.ExpiresOn); until < 50*time.Minute || until > time.Hour {
			t.Errorf("valid for %s", until)
		}
	}
}

func TestVerifyTrustsItsOwnTokensAlone(t *testing.T) {
	c, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, other := c.Directory(guidOf("one")), c.Directory(guidOf("two"))
	token := d.Token(d.AddApplication("app"))
	if _, err := d.Verify(token, Audience); err != nil {
		t.Fatal(err)
	}
	claims, _ := claimsOf(token)
	claims["oid"] = "somebody-else"
	head, _, signature, _ := parts(token)
	_, forged, _, _ := parts(newSigner("forger").sign(claims))
	d.SetLifetime(-time.Minute)
	for name, bad := range map[string]string{
		"another tenant's":   other.Token(other.AddApplication("app")),
		"changed claims":     head + "." + forged + "." + signature,
		"another key's":      newSigner("forger").sign(claims),
		"expired":            d.Token(d.AddApplication("app")),
		"not a token at all": "x.y",
		"":                   "",
	} {
		if who, err := d.Verify(bad, Audience); err == nil {
			t.Errorf("%s token was taken as %+v", name, who)
		}
	}
	if _, err := d.Verify(token, "https://management.azure.com"); err == nil {
		t.Error("a token for the registries was taken for another audience")
	}
}

func TestFederation(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	tenant, client := guidOf("tenant/federated"), guidOf("client/federated")
	connection := o.project.FederatedConnection("release-identity", tenant, client)
	unnamed := o.project.FederatedConnection("other-identity", tenant, client)
	app := o.cloud.Directory(tenant).AddApplication(client)
	st := o.project.QueueRun(RunOptions{}).Stage("Production", o.env)
	st.Begin()
	t.Setenv("SYSTEM_OIDCREQUESTURI", st.JobRequest(connection).Variables["system.oidcRequestUri"])
	ask := func(id, token string) error {
		credential, err := azidentity.NewAzurePipelinesCredential(tenant, client, id, token,
			&azidentity.AzurePipelinesCredentialOptions{ClientOptions: options(o.net), DisableInstanceDiscovery: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = credential.GetToken(context.Background(), scope)
		return err
	}
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused(ask(connection.ID(), st.Token()), "AADSTS700211")
	app.AddFederatedCredential(o.org.Issuer(), unnamed.Subject())
	refused(ask(connection.ID(), st.Token()), "AADSTS700213")
	app.AddFederatedCredential(o.org.Issuer(), connection.Subject())
	if err := ask(connection.ID(), st.Token()); err != nil {
		t.Error(err)
	}
	refused(ask(unnamed.ID(), st.Token()), "400")
	refused(ask(connection.ID(), "job.wrong"), "401")
	st.JobRequest()
	refused(ask(connection.ID(), st.Token()), "400")
	if want := "sc://" + o.org.name + "/Shop/release-identity"; connection.Subject() != want {
		t.Errorf("subject %s, want %s", connection.Subject(), want)
	}
}

func TestForgedAssertions(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	d := o.cloud.Directory(guidOf("tenant/forged"))
	d.AddApplication("app").AddFederatedCredential(o.org.Issuer(), "sc://mine").AddFederatedCredential("https://vstoken.dev.azure.com/nobody", "sc://mine")
	now := time.Now()
	claims := func(change string, value any) map[string]any {
		c := map[string]any{"iss": o.org.Issuer(), "sub": "sc://mine", "aud": federationAudience,
			"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Minute).Unix()}
		c[change] = value
		return c
	}
	post := func(form url.Values) (int, []float64, string) {
		resp, err := o.net.Client().PostForm("https://login.microsoftonline.com/"+d.tenantID+"/oauth2/v2.0/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var doc struct {
			Error       string
			Codes       []float64 `json:"error_codes"`
			TraceID     string    `json:"trace_id"`
			AccessToken string    `json:"access_token"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if (doc.AccessToken == "") == (resp.StatusCode == 200) || resp.StatusCode != 200 && doc.TraceID == "" {
			t.Errorf("%d with %+v", resp.StatusCode, doc)
		}
		return resp.StatusCode, doc.Codes, doc.Error
	}
	form := func(assertion string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {"app"}, "client_assertion": {assertion},
			"client_assertion_type": {assertionType}, "scope": {Audience + "/.default openid offline_access profile"}}
	}
	for name, c := range map[string]struct {
		assertion string
		want      float64 // 0: taken
	}{
		"the service's own":    {o.org.signer.sign(claims("x", 1)), 0},
		"another key's":        {newSigner("forger").sign(claims("x", 1)), 500571},
		"another subject":      {o.org.signer.sign(claims("sub", "sc://yours")), 700213},
		"another case":         {o.org.signer.sign(claims("sub", "SC://mine")), 700213},
		"another audience":     {o.org.signer.sign(claims("aud", "api://else")), 700212},
		"another issuer":       {o.org.signer.sign(claims("iss", "https://evil.example.com")), 700211},
		"an issuer of nothing": {o.org.signer.sign(claims("iss", "https://vstoken.dev.azure.com/nobody")), 50166},
		"expired":              {o.org.signer.sign(claims("exp", now.Add(-time.Second).Unix())), 700024},
		"not yet valid":        {o.org.signer.sign(claims("nbf", now.Add(time.Minute).Unix())), 700024},
		"no JWT":               {"nonsense", 50027},
	} {
		status, codes, _ := post(form(c.assertion))
		if c.want == 0 && status != 200 || c.want != 0 && !slices.Equal(codes, []float64{c.want}) {
			t.Errorf("%s: %d %v, want %v", name, status, codes, c.want)
		}
	}
	good := o.org.signer.sign(claims("x", 1))
	for name, c := range map[string]struct {
		change, value, want string
	}{
		"other scope":    {"scope", "https://management.azure.com/.default", "invalid_scope"},
		"no scope":       {"scope", "openid", "invalid_scope"},
		"two scopes":     {"scope", Audience + "/.default https://management.azure.com/.default", "invalid_scope"},
		"other grant":    {"grant_type", "password", "unsupported_grant_type"},
		"no credentials": {"client_assertion", "", "invalid_client"},
		"no such type":   {"client_assertion_type", "saml", "invalid_client"},
	} {
		f := form(good)
		f.Set(c.change, c.value)
		if _, _, got := post(f); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAuthoritiesAndDiscovery(t *testing.T) {
	c, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := c.Network("agents", "10.1.0.4")
	one := c.Directory(guidOf("one"))
	if c.Directory(strings.ToUpper(guidOf("one"))) != one {
		t.Error("the same tenant asked for again is another one")
	}
	two := c.Directory(guidOf("two"), "login.microsoftonline.us")
	two.AddApplication("app").AddSecret("s")
	government := cloud.AzureGovernment
	government.ActiveDirectoryAuthorityHost = "https://login.microsoftonline.us/"
	o := options(n)
	o.Cloud = government
	credential, err := azidentity.NewClientSecretCredential(guidOf("two"), "app", "s", &azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := credential.GetToken(context.Background(), scope); err != nil {
		t.Error(err)
	}
	get := func(u string) (int, string) {
		resp, err := n.Client().Get(u)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if status, body := get("https://login.microsoftonline.com/" + guidOf("two") + "/v2.0/.well-known/openid-configuration"); status != 400 || !strings.Contains(body, "AADSTS90002") {
		t.Errorf("a tenant of another cloud: %d %s", status, body)
	}
	if status, body := get("https://login.microsoftonline.com/common/discovery/instance?api-version=1.1"); status != 200 || !strings.Contains(body, "metadata") {
		t.Errorf("instance discovery: %d %s", status, body)
	}
	if !slices.ContainsFunc(c.Requests(), func(r Request) bool { return r.Path == "/common/discovery/instance" }) {
		t.Error("instance discovery left no trace in the log")
	}
	if status, _ := get("https://login.microsoftonline.com/" + one.tenantID + "/discovery/v2.0/keys"); status != http.StatusOK {
		t.Errorf("keys: %d", status)
	}
}

func TestARegistryTakesTheDirectorysTokens(t *testing.T) {
	c, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, other := c.Directory(guidOf("one")), c.Directory(guidOf("two"))
	app := d.AddApplication("app")
	r := c.Registry("shop.azurecr.io", RegistryOptions{Tokens: d})
	r.Grant(app.ObjectID(), "shop/*", "pull")
	exchange := func(token string) int {
		resp, err := c.Network("agents", "10.1.0.4").Client().PostForm("https://shop.azurecr.io/oauth2/exchange", url.Values{
			"grant_type": {"access_token"}, "service": {"shop.azurecr.io"}, "tenant": {guidOf("one")}, "access_token": {token}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"the application's":          {d.Token(app), 200},
		"an application's, no grant": {d.Token(d.AddApplication("stranger")), 401},
		"another tenant's":           {other.Token(other.AddApplication("app")), 401},
	} {
		if got := exchange(c.token); got != c.want {
			t.Errorf("%s token: %d, want %d", name, got, c.want)
		}
	}
}
