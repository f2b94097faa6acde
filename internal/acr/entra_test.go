package acr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const (
	tenant        = "11111111-2222-3333-4444-555555555555"
	collectionURL = "https://dev.azure.com/shop/"
	requestURI    = "https://dev.azure.com/shop/p-1/_apis/distributedtask/hubs/build/plans/pl-1/jobs/j-1/oidctoken"
)

func connection() Connection {
	return Connection{Name: "release-identity", ID: "c-1", Cloud: public, Tenant: tenant, ClientID: "client-1"}
}

// entraHost answers as Microsoft Entra ID does; check judges the form of the
// token request.
func entraHost(env *testEnv, host string, check func(form map[string]string) (status int, body string)) {
	env.handlers[host] = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/" + tenant + "/v2.0/.well-known/openid-configuration":
			base := "https://" + host + "/" + tenant
			fmt.Fprintf(rw, `{"token_endpoint":%q,"authorization_endpoint":%q,"issuer":%q}`, base+"/oauth2/v2.0/token", base+"/oauth2/v2.0/authorize", base+"/v2.0")
		case "/" + tenant + "/oauth2/v2.0/token":
			if err := r.ParseForm(); err != nil {
				env.t.Error(err)
			}
			form := map[string]string{}
			for name := range r.PostForm {
				form[name] = r.PostForm.Get(name)
			}
			if !slices.Contains(strings.Fields(form["scope"]), tokenScope[0]) || form["client_id"] != "client-1" {
				env.t.Errorf("Entra was asked for %v", form)
			}
			status, body := check(form)
			rw.WriteHeader(status)
			fmt.Fprint(rw, body)
		default:
			env.t.Errorf("Entra was asked %s %s", r.Method, r.URL)
		}
	}
}

const granted = `{"token_type":"Bearer","expires_in":3600,"access_token":"` + entraToken + `"}`

func oidcHost(env *testEnv) {
	env.handlers["dev.azure.com"] = func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/oidctoken") || r.Header.Get("Authorization") != "Bearer job-token" ||
			q.Get("api-version") != "7.1" || q.Get("serviceConnectionId") != "c-1" || r.Header.Get("X-TFS-FedAuthRedirect") != "Suppress" {
			env.t.Errorf("the collection was asked %s %s", r.Method, r.URL)
		}
		fmt.Fprint(rw, `{"oidcToken":"federated.assertion"}`)
	}
}

func federation() Federation {
	return Federation{Collection: collectionURL, RequestURI: requestURI, JobToken: "job-token"}
}

func TestFederationFromTheJobToTheRegistry(t *testing.T) {
	env := newTestEnv(t)
	// Neither of these may have a say.
	t.Setenv("SYSTEM_OIDCREQUESTURI", "https://evil.example/oidctoken")
	t.Setenv("AZURE_AUTHORITY_HOST", "https://evil.example/")
	oidcHost(env)
	entraHost(env, "login.microsoftonline.com", func(form map[string]string) (int, string) {
		if form["client_assertion"] != "federated.assertion" || form["grant_type"] != "client_credentials" {
			t.Errorf("Entra was asked with %v", form)
		}
		return 200, granted
	})
	r := newRegistry(env, "prod.azurecr.io")
	identity, err := NewFederatedCredential(connection(), federation(), env.client())
	if err != nil {
		t.Fatal(err)
	}
	s := NewSignIn("prod.azurecr.io", Entra(identity, "tenant-1"), env.client(), map[string][]string{"a": {"pull"}}, false)
	for range 2 {
		if status, body, err := fetch(t, env.signedClient(s), "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil); status != 200 || err != nil {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	if exchanges, _ := r.counts(); exchanges != 1 {
		t.Errorf("%d exchanges", exchanges)
	}
	if got := env.hosts(); !slices.Equal(got, []string{"dev.azure.com:443", "login.microsoftonline.com:443", "prod.azurecr.io:443"}) {
		t.Errorf("dialled %v", got)
	}
}

func TestClientSecretInEachCloud(t *testing.T) {
	for host, c := range map[string]Connection{
		"login.microsoftonline.com": {Cloud: public, Authority: "https://login.windows.net/"},
		"login.chinacloudapi.cn":    {Cloud: china},
		"login.microsoftonline.us":  {Cloud: government, Authority: "https://login.microsoftonline.us"},
	} {
		env := newTestEnv(t)
		entraHost(env, host, func(form map[string]string) (int, string) {
			if form["client_secret"] != "s3cret" {
				t.Errorf("%s was asked with %v", host, form)
			}
			return 200, granted
		})
		c.Name, c.Tenant, c.ClientID = "release-identity", tenant, "client-1"
		identity, err := NewSecretCredential(c, "s3cret", env.client())
		if err != nil {
			t.Fatal(err)
		}
		token, err := identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
		if err != nil || token.Token != entraToken || identity.Cloud() != c.Cloud {
			t.Errorf("%s: %v", host, err)
		}
		if got := env.hosts(); !slices.Equal(got, []string{host + ":443"}) {
			t.Errorf("dialled %v", got)
		}
	}
}

func TestAuthority(t *testing.T) {
	for _, test := range []struct {
		cloud       Cloud
		named, host string
	}{
		{public, "", "login.microsoftonline.com"},
		{public, "https://login.microsoftonline.com/", "login.microsoftonline.com"},
		{public, "https://LOGIN.windows.net:443/", "login.microsoftonline.com"},
		{china, "https://login.partner.microsoftonline.cn/", "login.partner.microsoftonline.cn"},
		{china, "https://login.chinacloudapi.cn/", "login.chinacloudapi.cn"},
		{public, "https://login.chinacloudapi.cn/", ""},
		{public, "https://evil.example/", ""},
		{public, "http://login.microsoftonline.com/", ""},
		{public, "https://login.microsoftonline.com:8443/", ""},
		{public, "https://login.microsoftonline.com:0443/", ""},
		{public, "https://login.microsoftonline.com:/", ""},
		{public, "https://login.microsoftonline.com@evil.example/", ""},
		{public, "https://login.microsoftonline.com.evil.example/", ""},
		{public, "https://login.microsoftonline.com./", ""},
		{public, "login.microsoftonline.com", ""},
		{public, "://", ""},
	} {
		if host, err := test.cloud.authority(test.named); host != test.host || (err == nil) != (test.host != "") {
			t.Errorf("%s, %q: %q, %v", test.cloud.Name, test.named, host, err)
		}
	}
	for name, want := range map[string]string{"": "AzureCloud", "azurecloud": "AzureCloud", "AzureChinaCloud": "AzureChinaCloud", "AzureUSGovernment": "AzureUSGovernment", "AzureStack": ""} {
		if cloud, err := CloudByName(name); cloud.Name != want || (err == nil) != (want != "") {
			t.Errorf("%q: %v, %v", name, cloud, err)
		}
	}
}

func TestConnectionsThatCannotBeUsed(t *testing.T) {
	client := newTestEnv(t).client()
	for _, test := range []struct {
		name   string
		change func(*Connection, *Federation)
		want   string
	}{
		{"no address", func(_ *Connection, f *Federation) { f.RequestURI = "" }, "offers no address for its token (SYSTEM_OIDCREQUESTURI)"},
		{"another host", func(_ *Connection, f *Federation) { f.RequestURI = "https://evil.example/?secret" }, "is not known to be part of the collection dev.azure.com/shop, which the job's system connection names; nothing was sent there"},
		{"no job token", func(_ *Connection, f *Federation) { f.JobToken = "" }, "names the connection"},
		{"no id", func(c *Connection, _ *Federation) { c.ID = "" }, "names the connection"},
		{"no tenant", func(c *Connection, _ *Federation) { c.Tenant = "" }, "its tenant or its client id is missing"},
		{"a tenant that is none", func(c *Connection, _ *Federation) { c.Tenant = "evil.example/x" }, "cannot be used: invalid tenantID"},
		{"an authority of another cloud", func(c *Connection, _ *Federation) { c.Authority = "https://login.chinacloudapi.cn/" }, "belongs to AzureChinaCloud, but the connection to AzureCloud"},
	} {
		c, f := connection(), federation()
		test.change(&c, &f)
		if _, err := NewFederatedCredential(c, f, client); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "release-identity") {
			t.Errorf("%s: %v; want %q", test.name, err, test.want)
		}
	}
	if _, err := NewSecretCredential(connection(), "", client); err == nil || !strings.Contains(err.Error(), "has no client secret") {
		t.Errorf("got %v", err)
	}
}

func TestRefusalsOfEntra(t *testing.T) {
	refusal := func(kind, description string) string {
		body, _ := json.Marshal(map[string]any{"error": kind, "error_description": description, "error_codes": []int{1}})
		return string(body)
	}
	for _, test := range []struct {
		name, body string
		status     int
		is         error
		want       string
	}{
		{"wrong secret", refusal("invalid_client", "AADSTS7000215: Invalid client secret provided. Trace ID: abc Correlation ID: def"), 401, ErrDenied,
			"login.microsoftonline.com: signing in as service connection release-identity failed: the client secret is wrong (HTTP 401, invalid_client, “AADSTS7000215: Invalid client secret provided.”). Enter the connection's client secret again (the secret's value, not its id), or convert the connection to workload identity federation"},
		{"expired secret", refusal("invalid_client", "AADSTS7000222: The provided client secret keys are expired.\r\nTrace ID: abc"), 401, ErrDenied, "the client secret has expired (HTTP 401"},
		{"no federated identity", refusal("invalid_request", "AADSTS70021: No matching federated identity record found for presented assertion."), 400, ErrDenied, "no federated credential of the application matches this service connection"},
		{"another subject", refusal("invalid_client", "AADSTS700213: No matching federated identity record found for presented assertion subject 'sc://shop/p/x'."), 401, ErrDenied, "Compare issuer and subject"},
		{"unknown application", refusal("unauthorized_client", "AADSTS700016: Application was not found"), 400, ErrDenied, "the application is not known in the tenant"},
		{"unknown tenant", refusal("invalid_request", "AADSTS90002: Tenant not found"), 400, ErrDenied, "the tenant does not exist"},
		{"another code", refusal("invalid_client", "AADSTS999999: eyJhbGci.secret.echo ##vso[task.complete]\x1b"), 401, ErrDenied, "the identity is refused (HTTP 401, invalid_client, “AADSTS999999: *** ##vso[task.complete]”)"},
		{"in trouble", "<html>", 500, ErrUnreachable, "Microsoft Entra ID is unavailable (HTTP 500)"},
		{"a redirect", "", 302, ErrDenied, "which is not followed (HTTP 302)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := newTestEnv(t)
			entraHost(env, "login.microsoftonline.com", func(map[string]string) (int, string) { return test.status, test.body })
			identity, err := NewSecretCredential(connection(), "s3cret", env.client())
			if err != nil {
				t.Fatal(err)
			}
			_, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.is) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			} else if strings.Contains(err.Error(), "s3cret") || strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Errorf("unsafe to print: %q", err)
			}
		})
	}
}

func TestRefusalsOfTheJobsToken(t *testing.T) {
	for _, test := range []struct {
		name, body, location string
		status               int
		is                   error
		want                 string
	}{
		{"401", `{"message":"TF400813: not authorized, job-token"}`, "", 401, ErrDenied, "dev.azure.com: asking for the token of service connection release-identity failed: Azure DevOps does not give it (HTTP 401, “TF400813: not authorized, ***”). An input of this step must name the connection, the pipeline must be permitted to use it, and it must use workload identity federation"},
		{"403", ``, "", 403, ErrDenied, "Azure DevOps does not give it (HTTP 403)"},
		{"404", `<html>`, "", 404, ErrDenied, "Azure DevOps does not give it (HTTP 404)"},
		{"400, text in value", `{"count":31,"value":"There is no explicit reference\u001b\nto job-token"}`, "", 400, ErrDenied, "Azure DevOps does not give it: this job does not reference the connection (HTTP 400, “There is no explicit reference to ***”). An input of this step must name the connection"},
		{"400, message in value", `{"count":1,"value":{"Message":"There is no explicit reference"}}`, "", 400, ErrDenied, "(HTTP 400, “There is no explicit reference”)"},
		{"400, null in value", `{"count":1,"value":null}`, "", 400, ErrDenied, "Azure DevOps does not give it (HTTP 400)"},
		{"400, a list in value", `{"count":1,"value":[1]}`, "", 400, ErrDenied, "Azure DevOps does not give it (HTTP 400)"},
		{"400, long text in value", `{"value":"` + strings.Repeat("x", 1<<19) + `"}`, "", 400, ErrDenied, "(HTTP 400, “xxx"},
		{"400, null", `null`, "", 400, ErrDenied, "Azure DevOps does not give it (HTTP 400)"},
		{"a sign-in page", `<html>`, "", 203, nil, "the response has no token (HTTP 203)"},
		{"redirected", ``, "https://evil.example/", 307, nil, "the response has no token (HTTP 307)"},
		{"null", `null`, "", 200, nil, "the response has no token"},
		{"empty", `{"oidcToken":""}`, "", 200, nil, "the response has no token"},
		{"in trouble", ``, "", 503, ErrUnreachable, "Azure DevOps is in trouble (HTTP 503)"},
		{"huge", strings.Repeat(" ", maxResponse+1), "", 200, ErrUnreachable, "bytes are not read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := newTestEnv(t)
			entraHost(env, "login.microsoftonline.com", func(map[string]string) (int, string) {
				t.Error("Entra was asked for a token without an assertion")
				return 400, ""
			})
			env.handlers["dev.azure.com"] = func(rw http.ResponseWriter, _ *http.Request) {
				if test.location != "" {
					rw.Header().Set("Location", test.location)
				}
				rw.WriteHeader(test.status)
				fmt.Fprint(rw, test.body)
			}
			identity, err := NewFederatedCredential(connection(), federation(), env.client())
			if err != nil {
				t.Fatal(err)
			}
			_, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) || strings.Contains(err.Error(), "job-token") || len(err.Error()) > 2000 {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestTheSignInStaysAtItsAuthority(t *testing.T) {
	env := newTestEnv(t)
	entraHost(env, "login.microsoftonline.com", func(map[string]string) (int, string) { return 200, granted })
	t.Setenv("AZURE_REGIONAL_AUTHORITY_NAME", "westeurope")
	identity, err := NewSecretCredential(connection(), "s3cret", env.client())
	if err != nil {
		t.Fatal(err)
	}
	_, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
	if err == nil || !strings.Contains(err.Error(), "AZURE_REGIONAL_AUTHORITY_NAME must not be set") {
		t.Errorf("got %v", err)
	}
	if slices.ContainsFunc(env.hosts(), func(host string) bool { return host != "login.microsoftonline.com:443" }) {
		t.Errorf("dialled %v", env.hosts())
	}
}

func TestCancellationSurvivesTheSDK(t *testing.T) {
	env := newTestEnv(t)
	ctx, cancel := context.WithCancel(t.Context())
	env.handlers["login.microsoftonline.com"] = func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}
	identity, err := NewSecretCredential(connection(), "s3cret", env.client())
	if err != nil {
		t.Fatal(err)
	}
	_, err = identity.GetToken(ctx, policy.TokenRequestOptions{Scopes: tokenScope})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestUserCredential(t *testing.T) {
	env := newTestEnv(t)
	variables := map[string]string{"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential", "AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": "client-1", "AZURE_CLIENT_SECRET": "s3cret"}
	status, body := 200, granted
	entraHost(env, "login.microsoftonline.us", func(map[string]string) (int, string) { return status, body })
	open := func() *Identity {
		t.Helper()
		identity, err := NewUserCredential(government, variables, time.Now(), env.client(), env.client())
		if err != nil {
			t.Fatal(err)
		}
		return identity
	}
	identity := open()
	token, err := identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
	if err != nil || token.Token != entraToken || identity.Cloud() != government {
		t.Errorf("%v", err)
	}
	// A source that is configured and refused ends the search.
	status, body = 401, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`
	for _, selection := range []string{"EnvironmentCredential", "environmentcredential", "prod", ""} {
		variables["AZURE_TOKEN_CREDENTIALS"] = selection
		_, err = open().GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
		if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "AADSTS7000215") || strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: got %v", selection, err)
		}
	}
}

// TestUserSources checks which sources are tried, in which order, and why each cannot
// be used.
func TestUserSources(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // without az, azd and pwsh
	env := newTestEnv(t)
	file := filepath.Join(t.TempDir(), "certificate.pem")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	silent := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })}
	const (
		environment = "Environment variables (AZURE_*)"
		workload    = "Workload identity"
		managed     = "Managed identity"
		az          = "Azure CLI (az)"
		azd         = "Azure Developer CLI (azd)"
		powershell  = "Azure PowerShell"
	)
	all := []string{environment, workload, managed, az, azd, powershell}
	for name, c := range map[string]struct {
		variables map[string]string
		tried     []string
		says      string
	}{
		"nothing is set": {nil, all, "missing environment variable AZURE_TENANT_ID"},
		"no metadata":    {map[string]string{"AZURE_TOKEN_CREDENTIALS": "prod"}, all[:3], "the metadata service of this machine does not respond"},
		"tools":          {map[string]string{"AZURE_TOKEN_CREDENTIALS": "dev"}, all[3:], "not found on path"},
		"one tool":       {map[string]string{"AZURE_TOKEN_CREDENTIALS": "AzurePowerShellCredential"}, all[5:], "not found"},
		"no client":      {map[string]string{"AZURE_TENANT_ID": tenant}, all, "missing environment variable AZURE_CLIENT_ID"},
		"no secret":      {map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": "c"}, all, "missing environment variable AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH"},
		"no certificate": {map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_CERTIFICATE_PATH": file}, all, "AZURE_CLIENT_CERTIFICATE_PATH: it has no certificate in PEM"},
		"no file":        {map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_CERTIFICATE_PATH": file + "x"}, all, "no such file"},
		"no workload":    {map[string]string{"AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential"}, all[1:2], "no client ID specified"},
		"of a person":    {map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": "c", "AZURE_USERNAME": "u", "AZURE_PASSWORD": "p"}, all, "missing environment variable AZURE_CLIENT_SECRET"},
	} {
		t.Run(name, func(t *testing.T) {
			identity, err := NewUserCredential(public, c.variables, time.Now(), env.client(), silent)
			if err != nil {
				t.Fatal(err)
			}
			_, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want %q", err, c.says)
			}
			at := 0
			for _, source := range all {
				i := strings.Index(err.Error(), source+": ")
				if tried := slices.Contains(c.tried, source); tried != (i >= 0) || tried && i < at {
					t.Errorf("%s: tried %v, want %v, in order: %v", source, i >= 0, tried, err)
				}
				at = max(at, i)
			}
		})
	}
	identity, err := NewUserCredential(public, nil, time.Now(), env.client(), env.client())
	if err != nil {
		t.Fatal(err)
	}
	// What responds at the address of the metadata service knows no such identity.
	if _, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope}); err == nil || !strings.Contains(err.Error(), "Managed identity: failed to authenticate a system assigned identity") || !strings.Contains(err.Error(), az) {
		t.Errorf("got %v", err)
	}
	_, err = NewUserCredential(public, map[string]string{"AZURE_TOKEN_CREDENTIALS": "AzureCli"}, time.Now(), env.client(), env.client())
	if err == nil || !strings.Contains(err.Error(), `"AzureCli"`) || !strings.Contains(err.Error(), "AzureCLICredential") {
		t.Errorf("got %v", err)
	}
}

// TestTriedSources checks that each source has its name and a reason, also one that
// ends with the dump of a response.
func TestTriedSources(t *testing.T) {
	line := strings.Repeat("-", 80)
	got := (&Identity{}).tried("DefaultAzureCredential: failed to acquire a token.\nAttempted credentials:" +
		"\n\tEnvironmentCredential: missing environment variable AZURE_TENANT_ID" +
		"\n\tManagedIdentityCredential authentication failed. \n\t\tGET http://169.254.169.254/metadata/identity/oauth2/token\n\t\t" + line + "\n\t\tRESPONSE 403: 403 Forbidden\n\t\t" + line + "\n\t\tdenied" +
		"\n\tAzureCLICredential: Azure CLI not found on path")
	want := "Environment variables (AZURE_*): missing environment variable AZURE_TENANT_ID. " +
		"Managed identity: authentication failed. GET http://169.254.169.254/metadata/identity/oauth2/token RESPONSE 403: 403 Forbidden denied. " +
		"Azure CLI (az): Azure CLI not found on path."
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
