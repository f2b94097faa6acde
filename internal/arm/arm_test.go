package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"acrpromote/internal/doctor"
	"acrpromote/internal/sanitize"
)

const host = "management.azure.com"

// answers answers requests, by their path and query.
type answers func(r *http.Request) (status int, body string)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || r.URL.Scheme != "https" || !strings.EqualFold(r.URL.Host, host) || r.Header.Get("Authorization") == "" {
		return nil, fmt.Errorf("%s %s", r.Method, r.URL)
	}
	status, body := f(r)
	if status == 0 {
		return nil, errors.New("connection reset")
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// issuer issues tokens for ARM.
type issuer struct {
	issued   int
	lifetime time.Duration
	err      error
}

func (i *issuer) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://management.core.windows.net//.default" {
		return azcore.AccessToken{}, fmt.Errorf("scopes %q", o.Scopes)
	}
	i.issued++
	return azcore.AccessToken{Token: fmt.Sprintf("token-%d-of-arm", i.issued), ExpiresOn: time.Now().Add(i.lifetime)}, i.err
}

func client(t *testing.T, f answers) *Client {
	t.Helper()
	c, err := New("AzureCloud", &issuer{lifetime: time.Hour}, &http.Client{Transport: f}, "client-1", &sanitize.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// count lists a path and returns how many elements there are.
func count(c *Client, limit int) (n int, err error) {
	err = c.list(context.Background(), "/subscriptions", []string{"2", "1"}, "", limit, func(element json.RawMessage) error {
		n++
		var e struct{ Name string }
		return json.Unmarshal(element, &e)
	})
	return n, err
}

func TestList(t *testing.T) {
	page := func(next string, names ...string) string {
		var all []string
		for _, name := range names {
			all = append(all, fmt.Sprintf(`{"name": %q, "later": {"x": []}}`, name))
		}
		return fmt.Sprintf(`{"value": [%s], "nextLink": %q, "count": 7}`, strings.Join(all, ","), next)
	}
	for _, c := range []struct {
		name string
		f    answers
		n    int
		want string // of the error
	}{
		{"two pages", func(r *http.Request) (int, string) {
			if r.URL.Query().Has("$skiptoken") {
				return 200, page("", "c")
			}
			return 200, page("https://Management.Azure.com/subscriptions?api-version=2&$skiptoken=x", "a", "b")
		}, 3, ""},
		{"no next page in null", func(*http.Request) (int, string) { return 200, `{"value": [], "nextLink": null}` }, 0, ""},
		{"another host", func(*http.Request) (int, string) { return 200, page("https://management.azure.com.evil.example/x") }, 0, "the next page is at another address"},
		{"another host as a user", func(*http.Request) (int, string) { return 200, page("https://management.azure.com@evil.example/x") }, 0, "another address"},
		{"a user at the host", func(*http.Request) (int, string) { return 200, page("https://evil@management.azure.com/x") }, 0, "another address"},
		{"without TLS", func(*http.Request) (int, string) { return 200, page("http://management.azure.com/x") }, 0, "another address"},
		{"another port", func(*http.Request) (int, string) { return 200, page("https://management.azure.com:8443/x") }, 0, "another address"},
		{"pages without end", func(*http.Request) (int, string) { return 200, page("https://management.azure.com/x") }, 0, "more than 2000 pages"},
		{"too many", func(*http.Request) (int, string) { return 200, page("", strings.Fields(strings.Repeat("a ", 11))...) }, 10, "there are more than 10"},
		{"cut", func(*http.Request) (int, string) { return 200, `{"value": [{"na` }, 0, "not complete"},
		{"no list", func(*http.Request) (int, string) { return 200, `{"error": {}}` }, 0, "no list"},
		{"another form", func(*http.Request) (int, string) { return 200, `{"value": [{"name": 7}]}` }, 1, "not of the documented form"},
		{"an older version", func(r *http.Request) (int, string) {
			if r.URL.Query().Get("api-version") == "2" {
				return 400, `{"error": {"code": "NoRegisteredProviderFound", "message": "supported: 1"}}`
			}
			return 200, page("", "a")
		}, 1, ""},
		{"no version", func(*http.Request) (int, string) {
			return 400, `{"error": {"code": "InvalidApiVersionParameter", "message": "No."}}`
		}, 0, "HTTP 400 InvalidApiVersionParameter, “No”"},
		{"denied", func(*http.Request) (int, string) {
			return 403, `{"error": {"code": "AuthorizationFailed", "message": "The client has no right."}}`
		}, 0, "HTTP 403 AuthorizationFailed"},
		{"not JSON", func(*http.Request) (int, string) { return 502, "<html>" }, 0, "HTTP 502"},
		{"a redirect", func(*http.Request) (int, string) { return 307, "" }, 0, "HTTP 307"},
		{"no answer", func(*http.Request) (int, string) { return 0, "" }, 0, "connection reset"},
	} {
		n, err := count(client(t, c.f), 10)
		switch {
		case n != c.n, (err == nil) != (c.want == ""), err != nil && !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %d, %v", c.name, n, err)
		case err != nil && strings.Contains(err.Error(), "token-1-of-arm"):
			t.Errorf("%s: the error has the token: %v", c.name, err)
		}
	}
}

// explained is an error of a sign-in.
type explained struct{}

func (explained) Error() string                        { return "it failed. Sign in" }
func (explained) Explanation() (reason, remedy string) { return "it failed", "Sign in" }

// TestRemedies checks what a finding says about something that could not be read.
func TestRemedies(t *testing.T) {
	c := client(t, nil)
	for _, e := range []struct {
		err  error
		want string
	}{
		{&Error{Status: 403, Code: "AuthorizationFailed"}, "az role assignment create --assignee client-1 --role Reader --scope /s"},
		{&Error{Status: 404, Code: "ResourceNotFound"}, "az role assignment create "},
		{&Error{Status: 404, Code: "InvalidResourceType"}, "Update acrpromote"},
		{&Error{Status: 200}, "Run doctor again. If the error persists, update"},
		{&Error{Status: 429}, "Run doctor again."},
		{errors.New("x"), "Run doctor again."},
		{c.unanswered(explained{}), "Sign in."},
	} {
		if got := c.Remedy(e.err, "/s"); !strings.HasPrefix(got, e.want) {
			t.Errorf("%+v: %q", e.err, got)
		}
	}
	// Names of resource groups may have parentheses, which a shell reads.
	if got := c.Grant("/resourceGroups/shop(prod)"); !strings.HasSuffix(got, " --scope '/resourceGroups/shop(prod)'") {
		t.Errorf("%q", got)
	}
}

// TestTokens checks that a token is used until it is about to expire, and that there is
// no request without one.
func TestTokens(t *testing.T) {
	i := &issuer{lifetime: time.Hour}
	c, err := New("AzureCloud", i, &http.Client{Transport: answers(func(*http.Request) (int, string) { return 200, `{"value": []}` })}, "", &sanitize.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := count(c, 1); err != nil {
			t.Fatal(err)
		}
	}
	if i.issued != 1 {
		t.Errorf("%d tokens", i.issued)
	}
	c.token.ExpiresOn = time.Now().Add(time.Minute)
	if _, err := count(c, 1); err != nil || i.issued != 2 {
		t.Errorf("%v, %d tokens", err, i.issued)
	}
	c.token, i.err = azcore.AccessToken{}, errors.New("no sign-in")
	if _, err := count(c, 1); err == nil || !strings.Contains(err.Error(), "no sign-in") {
		t.Errorf("%v", err)
	}
	for _, cloud := range []string{"", "AzureStackCloud"} {
		if _, err := New(cloud, i, nil, "", nil); err == nil {
			t.Errorf("the cloud %q is known", cloud)
		}
	}
}

// TestTask checks what is known of a task's steps.
func TestTask(t *testing.T) {
	for _, c := range []struct{ step, steps, outside string }{
		{`{"encodedTaskContent": "c3RlcHM=", "encodedValuesContent": "dmFsdWVz", "values": [{"name": "a", "value": "--include-locked"}], "contextPath": "/dev/null"}`, "steps\nvalues\n--include-locked", "false"},
		{`{"encodedTaskContent": "c3RlcHM="}`, "steps\n", "false"},
		{`{"encodedTaskContent": "?"}`, "\n", "true"},
		{`{"encodedTaskContent": "c3RlcHM=", "contextPath": "https://github.com/contoso/shop"}`, "steps\n", "true"},
		{`{"taskFilePath": "purge.yaml", "contextPath": "https://github.com/contoso/shop"}`, "\n", "true"},
		{`null`, "\n", "true"},
	} {
		r := &doctor.Registry{}
		if err := add(r, "tasks", json.RawMessage(fmt.Sprintf(`{"name": "t", "properties": {"status": "Enabled", "step": %s}}`, c.step))); err != nil {
			t.Fatal(err)
		}
		if got := r.Tasks[0]; got.Steps != c.steps || fmt.Sprint(got.Outside) != c.outside {
			t.Errorf("%s: %+v", c.step, got)
		}
	}
}

// TestHosts checks that each cloud has its own host and audience.
func TestHosts(t *testing.T) {
	for cloud, want := range map[string]string{"AzureCloud": host, "AzureChinaCloud": "management.chinacloudapi.cn", "AzureUSGovernment": "management.usgovcloudapi.net", "": ""} {
		if got := Host(cloud); got != want {
			t.Errorf("%s: %s", cloud, got)
		}
	}
}

const registryID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/prod"

// TestManyAssignments reads 10,000 role assignments, some of them to identities that were
// deleted, by pages, and keeps one text for each scope and role.
func TestManyAssignments(t *testing.T) {
	const all, each = 10_000, 100
	c := client(t, func(r *http.Request) (int, string) {
		switch {
		case strings.Contains(r.URL.Path, "/roleDefinitions/"):
			return 200, `{"properties": {"roleName": "AcrPull", "type": "BuiltInRole", "permissions": [{"actions": ["Microsoft.ContainerRegistry/registries/pull/read"], "notActions": null}]}}`
		case strings.Contains(r.URL.Path, "/roleAssignments"):
			if !strings.Contains(r.URL.RawQuery, "atScope") {
				return 400, ""
			}
			from, _ := strconv.Atoi(r.URL.Query().Get("$skiptoken"))
			var page strings.Builder
			for i := from; i < from+each; i++ {
				kind := []string{`"ServicePrincipal"`, `"Unknown"`, "null"}[i%3]
				fmt.Fprintf(&page, `{"name": "n%d", "properties": {"roleDefinitionId": "/x/7F951DDA", "principalId": "P%d", "principalType": %s, "scope": "%s", "condition": null}},`, i, i, kind, registryID)
			}
			next := ""
			if from+each < all {
				next = fmt.Sprintf("https://%s%s?$filter=atScope()&$skiptoken=%d", host, r.URL.Path, from+each)
			}
			return 200, fmt.Sprintf(`{"value": [%s], "nextLink": %q}`, strings.TrimSuffix(page.String(), ","), next)
		case strings.HasSuffix(r.URL.Path, "/registries/prod"):
			return 200, `{"properties": {"policies": {"softDeletePolicy": {"status": "enabled"}}}}`
		}
		return 200, `{"value": []}`
	})
	r := &doctor.Registry{Azure: true}
	found := &Found{resource: resource{ID: registryID}}
	found.SKU.Name = "Premium"
	c.Read(context.Background(), found, r)
	if len(r.Assignments) != all || len(r.Unread) > 0 || len(r.Roles) != 1 || r.Roles["7f951dda"].Name != "AcrPull" || r.Settings.SoftDelete != "enabled" {
		t.Fatalf("%d assignments, unread %+v, roles %+v", len(r.Assignments), r.Unread, r.Roles)
	}
	if a := r.Assignments[1]; a.Principal != "p1" || a.Type != "Unknown" || a.ID() != registryID+"/providers/Microsoft.Authorization/roleAssignments/n1" {
		t.Errorf("%+v", a)
	}
}

// TestFind looks first in the subscription that a connection names, and then in the
// others; what it cannot list is an error only for a registry that was not found.
func TestFind(t *testing.T) {
	var asked []string
	c := client(t, func(r *http.Request) (int, string) {
		asked = append(asked, r.URL.Path)
		switch r.URL.Path {
		case "/subscriptions":
			return 200, `{"value": [{"subscriptionId": "one"}, {"subscriptionId": "two/../three"}]}`
		case "/subscriptions/first/providers/Microsoft.ContainerRegistry/registries":
			return 200, `{"value": [{"id": "/a", "name": "prod", "sku": {"name": "Premium"}, "properties": {"loginServer": "Prod.azurecr.io"}}]}`
		case "/subscriptions/one/providers/Microsoft.ContainerRegistry/registries":
			return 403, `{"error": {"code": "AuthorizationFailed"}}`
		}
		return 200, `{"value": []}`
	})
	is := func(names ...string) func(string) int {
		return func(loginServer string) int {
			for i, name := range names {
				if strings.EqualFold(name, loginServer) {
					return i
				}
			}
			return -1
		}
	}
	found, err := c.Find(context.Background(), 1, is("prod.azurecr.io"), "first")
	if err != nil || found[0] == nil || found[0].ID != "/a" || len(asked) != 1 {
		t.Errorf("%v, %v, %q", found, err, asked)
	}
	asked = nil
	silent := client(t, func(r *http.Request) (int, string) {
		asked = append(asked, r.URL.Path)
		return 0, ""
	})
	if found, err = silent.Find(context.Background(), 1, is("prod.azurecr.io"), "first"); err == nil || found[0] != nil || len(asked) != 1 {
		t.Errorf("no answer: %v, %v, %q", found, err, asked)
	}
	asked = nil
	found, err = c.Find(context.Background(), 2, is("prod.azurecr.io", "dev.azurecr.io"), "first")
	if err == nil || found[0] == nil || found[1] != nil || len(asked) != 4 || strings.Contains(strings.Join(asked, " "), "..//") {
		t.Errorf("%v, %v, %q", found, err, asked)
	}
}
