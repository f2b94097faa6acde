package acr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSuffix(t *testing.T) {
	long := strings.Repeat("a", 63)
	for host, want := range map[string]string{
		"prod.azurecr.io":                          "AzureCloud",
		"PROD.AzureCR.IO":                          "AzureCloud",
		"prod.azurecr.io:443":                      "AzureCloud",
		"prod.westeurope.azurecr.io":               "AzureCloud",
		"prod-a1b2.azurecr.io":                     "AzureCloud",
		long + ".azurecr.io":                       "AzureCloud",
		"prod.azurecr.cn":                          "AzureChinaCloud",
		"prod.azurecr.us":                          "AzureUSGovernment",
		"azurecr.io":                               "",
		".azurecr.io":                              "",
		"prod..azurecr.io":                         "",
		"prod.azurecr.io.":                         "",
		"prod.azurecr.io:":                         "",
		"prod.azurecr.io:80":                       "",
		"prod.azurecr.io:8443":                     "",
		"prod.azurecr.io:0443":                     "",
		"prod.azurecr.io:443:443":                  "",
		"evilazurecr.io":                           "",
		"prod.evilazurecr.io":                      "",
		"azurecr.io.evil.example":                  "",
		"prod.azurecr.io.evil.example":             "",
		"prod.azurecr.de":                          "",
		"evil.example/prod.azurecr.io":             "",
		"evil.example#.azurecr.io":                 "",
		"evil.example?.azurecr.io":                 "",
		"user@prod.azurecr.io":                     "",
		"evil.example\\.azurecr.io":                "",
		"prod.azurecr.io\n":                        "",
		" prod.azurecr.io":                         "",
		"prod\u3002azurecr.io":                     "",
		"prod.a\u017furecr.io":                     "",
		"pro\u212a.azurecr.io":                     "",
		"-prod.azurecr.io":                         "",
		"prod-.azurecr.io":                         "",
		"pr_od.azurecr.io":                         "",
		long + "a.azurecr.io":                      "",
		strings.Repeat(long+".", 4) + "azurecr.io": "",
		"": "",
	} {
		if cloud, ok := CloudOf(host); ok != (want != "") || cloud.Name != want {
			t.Errorf("%q: %q, %v", host, cloud.Name, ok)
		}
	}
}

// FuzzSuffix: what is taken for a registry of Azure ends, as a URL's host has
// it, in one of the three suffixes.
func FuzzSuffix(f *testing.F) {
	for _, seed := range []string{"prod.azurecr.io", "prod.azurecr.io:443", "x.azurecr.io.", "evil.example/.azurecr.io"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		cloud, ok := CloudOf(host)
		if !ok {
			return
		}
		req, err := http.NewRequest(http.MethodGet, "https://"+host+"/v2/", nil)
		if err != nil || !strings.HasSuffix(strings.ToLower(req.URL.Hostname()), "."+cloud.Suffix) || req.URL.Path != "/v2/" || req.URL.User != nil {
			t.Errorf("%q leads to %v, %v", host, req, err)
		}
	})
}

func TestHostsThatAreNoRegistriesOfAzureGetNoToken(t *testing.T) {
	for _, host := range []string{"evil.example", "azurecr.io.evil.example", "evilazurecr.io", "x.azurecr.io.", "azurecr.io", "prod.azurecr.io:8443", "127.0.0.1:5000"} {
		env := newTestEnv(t)
		identity := &fakeEntra{t: t}
		s := NewSignIn(host, Entra(identity, "tenant-1"), env.client(), map[string][]string{"a": {"pull"}}, false)
		_, _, err := fetch(t, env.signedClient(s), "GET", "https://"+host+"/v2/a/manifests/1", nil)
		if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "it is no registry of Azure") || !strings.Contains(err.Error(), host) {
			t.Errorf("%s: %v", host, err)
		}
		if identity.asked.Load() != 0 || len(env.hosts()) != 0 {
			t.Errorf("%s: Entra was asked %d times, dialled %v", host, identity.asked.Load(), env.hosts())
		}
	}
	// Neither does a registry over plain HTTP, whatever its name.
	identity := &fakeEntra{t: t}
	s := NewSignIn("prod.azurecr.io", Entra(identity, ""), newTestEnv(t).client(), nil, true)
	if _, err := (s.Transport(nil)).RoundTrip(httptest.NewRequest("GET", "http://prod.azurecr.io/v2/a/manifests/1", nil)); !errors.Is(err, ErrDenied) || identity.asked.Load() != 0 {
		t.Errorf("over plain HTTP: %v", err)
	}
}

func TestAHostileRealmIsNeverAsked(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	r.challenge = `Bearer realm="https://evil.example/oauth2/token",service="evil.example",scope="repository:a:pull"`
	r.answer = func(rw http.ResponseWriter, _ *http.Request) { r.unauthorized(rw, "") }
	client := env.signedClient(env.signIn("prod.azurecr.io", map[string][]string{"a": {"pull"}}))
	status, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil)
	if status != http.StatusUnauthorized || err != nil {
		t.Errorf("%d, %v; want the registry's 401", status, err)
	}
	if got := env.hosts(); !slices.Equal(got, []string{"prod.azurecr.io:443"}) {
		t.Errorf("dialled %v", got)
	}
	if exchanges, _ := r.counts(); exchanges != 1 {
		t.Errorf("%d exchanges", exchanges)
	}
}

func TestHostileRedirectsOfTokensAreNotFollowed(t *testing.T) {
	for _, path := range []string{"/oauth2/exchange", "/oauth2/token"} {
		for _, credential := range []Credential{Entra(&fakeEntra{t: t}, "tenant-1"), Password("u", "p4ss"), Anonymous()} {
			if path == "/oauth2/exchange" && credential.describe() != "with Microsoft Entra ID" {
				continue
			}
			for _, to := range []string{"https://evil.example/oauth2/exchange", "https://other.azurecr.io/oauth2/exchange"} {
				env := newTestEnv(t)
				r := newRegistry(env, "prod.azurecr.io")
				r.user, r.password = "u", "p4ss"
				env.handlers["prod.azurecr.io"] = func(rw http.ResponseWriter, req *http.Request) {
					if req.URL.Path == path {
						http.Redirect(rw, req, to, http.StatusTemporaryRedirect)
						return
					}
					r.serve(rw, req)
				}
				s := NewSignIn("prod.azurecr.io", credential, env.client(), nil, false)
				_, _, err := fetch(t, env.signedClient(s), "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil)
				if err == nil || !strings.Contains(err.Error(), "it redirects to another address, which is not followed (HTTP 307)") {
					t.Errorf("%s %s: %v", path, credential.describe(), err)
				}
				if got := env.hosts(); !slices.Equal(got, []string{"prod.azurecr.io:443"}) {
					t.Errorf("%s %s: dialled %v", path, credential.describe(), got)
				}
			}
		}
	}
}

func TestOnlyTheRegistrysOwnRequestsAreSigned(t *testing.T) {
	env := newTestEnv(t)
	newRegistry(env, "prod.azurecr.io")
	env.handlers["evil.example"] = func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.Header.Get("Authorization"))
	}
	env.handlers["dev.azurecr.io"] = env.handlers["evil.example"]
	client := env.signedClient(env.signIn("prod.azurecr.io", nil))
	for _, host := range []string{"evil.example", "dev.azurecr.io", "prod.azurecr.io:8443"} {
		if host == "prod.azurecr.io:8443" {
			env.handlers["prod.azurecr.io"] = env.handlers["evil.example"]
		}
		status, body, err := fetch(t, client, "GET", "https://"+host+"/v2/a/manifests/1", nil)
		if err != nil || status != 200 || body != "" {
			t.Errorf("%s: %d %q %v", host, status, body, err)
		}
	}
}

func TestConcurrentRequestsShareOneExchangeAndOneToken(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	needs := map[string][]string{"shop/cart": {"pull", "metadata_read"}, "shop/web": {"pull", "push"}}
	client := env.signedClient(env.signIn("PROD.azurecr.io:443", needs))
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			path := []string{"/v2/shop/cart/manifests/1", "/v2/shop/web/blobs/sha256:1", "/acr/v1/shop%2Fcart/_tags/1", "/v2/"}[i%4]
			if status, body, err := fetch(t, client, "GET", "https://prod.azurecr.io"+path, nil); status != 200 || err != nil {
				t.Errorf("%s: %d %q %v", path, status, body, err)
			}
		})
	}
	all.Wait()
	exchanges, asked := r.counts()
	if want := []string{"repository:shop/cart:metadata_read,pull repository:shop/web:pull,push"}; exchanges != 1 || !slices.Equal(asked, want) {
		t.Errorf("%d exchanges, tokens for %q; want 1 and %q", exchanges, asked, want)
	}
}

func TestACallersCancellationIsItsOwn(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	asked, release := make(chan struct{}, 1), make(chan struct{})
	env.handlers["prod.azurecr.io"] = func(rw http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/oauth2/exchange" {
			asked <- struct{}{}
			<-release
		}
		r.serve(rw, req)
	}
	client := env.signedClient(env.signIn("prod.azurecr.io", nil))
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil)
		_, err := client.Do(req)
		first <- err
	}()
	<-asked
	second := make(chan error, 1)
	go func() {
		_, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/2", nil)
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled one got %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Errorf("the other one got %v", err)
	}
}

func TestTokensAreReplacedAheadOfTheirEnd(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	s := env.signIn("prod.azurecr.io", map[string][]string{"a": {"pull"}})
	now := time.Now()
	s.now = func() time.Time { return now }
	client := env.signedClient(s)
	for _, step := range []struct {
		pass              time.Duration
		exchanges, tokens int
	}{
		{0, 1, 1},
		{60 * time.Minute, 1, 1},
		{6 * time.Minute, 1, 2}, // 9 minutes before the end
		{64 * time.Minute, 1, 2},
		{41 * time.Minute, 2, 3}, // 9 minutes before the refresh token's end
	} {
		now = now.Add(step.pass)
		if status, body, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil); status != 200 || err != nil {
			t.Fatalf("%d %q %v", status, body, err)
		}
		if exchanges, asked := r.counts(); exchanges != step.exchanges || len(asked) != step.tokens {
			t.Errorf("after %s more: %d exchanges, %d tokens; want %d and %d", step.pass, exchanges, len(asked), step.exchanges, step.tokens)
		}
	}
}

func TestNewToken(t *testing.T) {
	now := time.Now()
	unix := now.Unix()
	make := func(payload string) string { return "eyJ9." + encode(payload) + ".s" }
	for _, test := range []struct {
		text    string
		expires int64
		want    time.Duration
	}{
		{make(`{"iat":1000,"exp":4600}`), 0, 50 * time.Minute},
		{make(`{"iat":1000,"exp":1100}`), 3600, 80 * time.Second},
		{make(fmt.Sprintf(`{"exp":%d}`, unix+3600)), 0, 50 * time.Minute},
		{make(`{"exp":1000}`), 0, 4 * time.Minute}, // expired by our clock: the clock is wrong
		{make(`{"iat":2000,"exp":1000}`), 0, 4 * time.Minute},
		{make(`{"exp":"soon"}`), 0, 4 * time.Minute},
		{make(`{"exp":1e300}`), 0, 4 * time.Minute},
		{make(`{"iat":1,"exp":99999999999}`), 0, maxLifetime - maxRenewBefore},
		{"opaque", 600, 8 * time.Minute},
		{"opaque", 0, 4 * time.Minute},
		{"opaque", -5, 4 * time.Minute},
		{"opaque", 1 << 60, 4 * time.Minute},
		{"a.!.c", 600, 8 * time.Minute},
	} {
		got := newToken(test.text, test.expires, now).renewAt.Sub(now)
		if diff := got - test.want; diff < -time.Second || diff > time.Second {
			t.Errorf("%s, %d: replaced after %s; want %s", test.text, test.expires, got, test.want)
		}
	}
}

func TestATokenRefusedMidRunIsReplacedOnce(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	s := env.signIn("prod.azurecr.io", map[string][]string{"a": {"pull", "push"}})
	now := time.Now()
	s.now = func() time.Time { return now }
	client := env.signedClient(s)
	check := func(want string) func(status int, body string, err error) {
		t.Helper()
		return func(status int, body string, err error) {
			t.Helper()
			if err != nil || fmt.Sprint(status, " ", body) != want {
				t.Errorf("got %d %q %v; want %s", status, body, err, want)
			}
		}
	}
	check("200 GET /v2/a/manifests/1 ")(fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil))
	expire := func() {
		now = now.Add(time.Minute)
		r.revoke()
	}
	expire()
	check("200 GET /v2/a/manifests/1 ")(fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil))
	expire()
	check("200 PUT /v2/a/manifests/1 {}")(fetch(t, client, "PUT", "https://prod.azurecr.io/v2/a/manifests/1", strings.NewReader("{}")))
	expire()
	// A stream cannot be sent twice: its sender gets an error, and finds a good
	// token when it begins anew.
	stream := func() io.Reader { return io.MultiReader(strings.NewReader("layer")) }
	if status, _, err := fetch(t, client, "PUT", "https://prod.azurecr.io/v2/a/blobs/uploads/1", stream()); status != http.StatusUnauthorized || err != nil {
		t.Errorf("a stream: %d %v", status, err)
	}
	check("200 PUT /v2/a/blobs/uploads/1 layer")(fetch(t, client, "PUT", "https://prod.azurecr.io/v2/a/blobs/uploads/1", stream()))
	if exchanges, asked := r.counts(); exchanges != 1 || len(asked) != 4 {
		t.Errorf("%d exchanges, %d tokens", exchanges, len(asked))
	}
	// A registry that refuses every token is believed at the second.
	expire()
	r.answer = func(rw http.ResponseWriter, _ *http.Request) { r.unauthorized(rw, `,error="invalid_token"`) }
	if status, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil); status != http.StatusUnauthorized || err != nil {
		t.Errorf("%d %v", status, err)
	}
	if _, asked := r.counts(); len(asked) != 5 {
		t.Errorf("%d tokens", len(asked))
	}
}

func TestARevokedRefreshTokenIsReplacedOnce(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	s := env.signIn("prod.azurecr.io", nil)
	now := time.Now()
	s.now = func() time.Time { return now }
	client := env.signedClient(s)
	for i, step := range []struct{ status, exchanges int }{{200, 1}, {200, 2}, {0, 2}, {0, 2}} {
		_, _, err := fetch(t, client, "GET", fmt.Sprintf("https://prod.azurecr.io/v2/a%d/manifests/1", i), nil)
		if exchanges, _ := r.counts(); (err == nil) != (step.status == 200) || exchanges != step.exchanges {
			t.Errorf("step %d: %d exchanges, %v; want %d", i, exchanges, err, step.exchanges)
		}
		now = now.Add(2 * time.Minute)
		r.mu.Lock()
		r.refresh = "revoked"
		r.mu.Unlock()
	}
}

func TestCredentialsDoNotPrintThemselves(t *testing.T) {
	for _, secretive := range []any{Password("u", "s3cret"), Federation{JobToken: "s3cret"}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, secretive); strings.Contains(text, "s3cret") {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
}

func TestRefusedWideScopeFallsBackToNarrowOnes(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	r.grant = func(scopes []string) (int, string) {
		if strings.Contains(strings.Join(scopes, " "), "secret") {
			return http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"no access"}]}`
		}
		return 0, ""
	}
	s := env.signIn("prod.azurecr.io", map[string][]string{"a": {"pull", "push"}, "secret": {"pull"}})
	client := env.signedClient(s)
	if status, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil); status != 200 || err != nil {
		t.Errorf("%d %v", status, err)
	}
	if status, _, err := fetch(t, client, "POST", "https://prod.azurecr.io/v2/a/blobs/uploads/?mount=sha256:1&from=b", nil); status != 200 || err != nil {
		t.Errorf("%d %v", status, err)
	}
	_, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/secret/manifests/1", nil)
	want := `prod.azurecr.io: asking for a token for repository:secret:pull failed: access is denied (HTTP 401, UNAUTHORIZED, “no access”). Grant the identity the role Container Registry Repository Writer on prod.azurecr.io (content/read, content/write on a, secret); if it is in the mode “RBAC Registry Permissions”, AcrPush instead: az role assignment create --role "Container Registry Repository Writer" --assignee <client-id> --scope "$(az acr show --name prod --query id --output tsv)"`
	if own, ok := errors.AsType[*Error](err); !ok || own.Error() != want || !errors.Is(err, ErrDenied) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	exchanges, asked := r.counts()
	if want := []string{"repository:a:pull,push repository:secret:pull", "repository:a:pull", "repository:a:pull,push repository:b:pull", "repository:secret:pull"}; exchanges != 1 || !slices.Equal(asked, want) {
		t.Errorf("%d exchanges, tokens for %q", exchanges, asked)
	}
}

func TestAWideTokenThatGrantsTooLittle(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	serve := env.handlers["prod.azurecr.io"]
	env.handlers["prod.azurecr.io"] = func(rw http.ResponseWriter, req *http.Request) {
		serve(rw, req)
		// The registry leaves the second repository out of a wide token.
		r.mu.Lock()
		for text, scopes := range r.good {
			if len(scopes) == 2 {
				r.good[text] = scopes[:1]
			}
		}
		r.mu.Unlock()
	}
	client := env.signedClient(env.signIn("prod.azurecr.io", map[string][]string{"a": {"pull"}, "b": {"pull"}}))
	for range 3 {
		for _, repository := range []string{"b", "a"} {
			if status, body, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/"+repository+"/manifests/1", nil); status != 200 || err != nil {
				t.Fatalf("%s: %d %s %v", repository, status, body, err)
			}
		}
	}
	if _, asked := r.counts(); !slices.Equal(asked, []string{"repository:a:pull repository:b:pull", "repository:b:pull"}) {
		t.Errorf("tokens for %q", asked)
	}
}

func TestPasswordAndAnonymousAtARegistryOfAzure(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	r.user, r.password = "scope-map", "p4ss:ü"
	needs := map[string][]string{"a": {"pull"}, "b": {"pull", "push"}}
	client := env.signedClient(NewSignIn("prod.azurecr.io", Password("scope-map", "p4ss:ü"), env.client(), needs, false))
	for range 2 {
		if status, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil); status != 200 || err != nil {
			t.Errorf("%d %v", status, err)
		}
	}
	if exchanges, asked := r.counts(); exchanges != 0 || !slices.Equal(asked, []string{"repository:a:pull repository:b:pull,push"}) {
		t.Errorf("%d exchanges, tokens for %q", exchanges, asked)
	}
	client = env.signedClient(NewSignIn("prod.azurecr.io", Password("scope-map", "wr0ng"), env.client(), nil, false))
	_, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil)
	if !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), "wr0ng") || !strings.Contains(err.Error(), "Check user and password of the registry connection") {
		t.Errorf("a wrong password: %v", err)
	}
	r.user, r.password = "", ""
	client = env.signedClient(NewSignIn("prod.azurecr.io", Anonymous(), env.client(), needs, false))
	if status, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil); status != 200 || err != nil {
		t.Errorf("anonymous: %d %v", status, err)
	}
}

func TestOtherRegistries(t *testing.T) {
	for _, test := range []struct {
		name       string
		challenge  string // "" is none
		credential Credential
		header     string // that the data is asked with
		want       string // of the error
	}{
		{"open", "", Password("u", "p"), "", ""},
		{"basic", `Basic realm="Registry"`, Password("u", "p"), "Basic dTpw", ""},
		{"basic, anonymous", `Basic realm="Registry"`, Anonymous(), "", "it needs a user and password (HTTP 401). Name a Docker registry connection for registry.example in registryConnections"},
		{"bearer", `bEaReR realm="https://registry.example/auth?x=y",service="the \"service\""`, Password("u", "p"), "Bearer tok", ""},
		{"bearer, anonymous", `Bearer service="the \"service\"", realm="https://REGISTRY.example:443/auth?x=y"`, Anonymous(), "Bearer tok", ""},
		{"another host", `Bearer realm="https://evil.example/auth",service="s"`, Password("u", "p"), "", "it requires a token from https://evil.example"},
		{"another host, anonymous", `Bearer realm="https://evil.example/auth",service="s"`, Anonymous(), "", "no request was sent there"}, // without a client for it
		{"another port", `Bearer realm="https://registry.example:8443/auth",service="s"`, Password("u", "p"), "", "no request was sent there"},
		{"a port of zeros", `Bearer realm="https://registry.example:0443/auth",service="s"`, Password("u", "p"), "", "no request was sent there"},
		{"an empty port", `Bearer realm="https://registry.example:/auth",service="s"`, Password("u", "p"), "", "no request was sent there"},
		{"without TLS", `Bearer realm="http://registry.example/auth",service="s"`, Password("u", "p"), "", "no request was sent there"},
		{"a user in it", `Bearer realm="https://registry.example@evil.example/auth",service="s"`, Password("u", "p"), "", "can be understood"},
		{"no realm", `Bearer service="s"`, Password("u", "p"), "", "can be understood"},
		{"unknown", `Negotiate`, Password("u", "p"), "", "no way to sign in that is known here (negotiate)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := newTestEnv(t)
			var asked []string
			env.handlers["registry.example"] = func(rw http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.Path)
				switch r.URL.Path {
				case "/auth":
					q := r.URL.Query()
					if q.Get("service") != `the "service"` || q.Get("x") != "y" || !slices.Equal(q["scope"], []string{"repository:a:pull"}) {
						t.Errorf("a token was asked for with %s", r.URL.RawQuery)
					}
					fmt.Fprint(rw, `{"token":"tok","expires_in":300}`)
				default:
					got := r.Header.Get("Authorization")
					switch {
					case len(asked) == 1 && got != "":
						t.Error("the first request has a credential")
					case test.challenge != "" && got == "":
						rw.Header().Set("Www-Authenticate", test.challenge)
						rw.WriteHeader(http.StatusUnauthorized)
					case got != test.header:
						t.Errorf("the data was asked for with %q", got)
					}
				}
			}
			client := env.signedClient(NewSignIn("registry.example", test.credential, env.client(), nil, false))
			for range 2 {
				status, _, err := fetch(t, client, "GET", "https://registry.example/v2/a/manifests/1", nil)
				if test.want == "" && (err != nil || status != 200) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("%d, %v; want %q", status, err, test.want)
				}
			}
			if got := env.hosts(); !slices.Equal(got, []string{"registry.example:443"}) {
				t.Errorf("dialled %v", got)
			}
			// Nothing is asked but what is wanted: once more where that was
			// refused, and for a token where one is needed.
			want := 2
			if test.challenge != "" && test.want == "" {
				want++
			}
			if strings.HasPrefix(test.header, "Bearer") {
				want++
			}
			if len(asked) != want || slices.Contains(asked, "/v2/") {
				t.Errorf("asked %q, want %d requests", asked, want)
			}
		})
	}
}

func TestRefusedSignInsSayWhatToDo(t *testing.T) {
	const firewall = `{"errors":[{"code":"DENIED","message":"client with IP '203.0.113.7' is not allowed access, refer https://aka.ms/acr/firewall to grant access"}]}`
	for _, test := range []struct {
		name, path, body string
		status           int
		is               error
		want             string
	}{
		{"not accepted", "/oauth2/exchange", `{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}`, 401, ErrDenied,
			`prod.azurecr.io: exchanging the identity's token failed: the registry does not accept the identity (HTTP 401, UNAUTHORIZED, “no”). Check that it belongs to the registry's tenant and has a role there`},
		{"firewall", "/oauth2/exchange", firewall, 403, ErrDenied,
			`its firewall blocks this machine (HTTP 403, DENIED, “client with IP '203.0.113.7' is not allowed access, refer https://aka.ms/acr/firewall to grant access”). Allow 203.0.113.7 under Networking of the registry, or run this on an agent inside its network`},
		{"firewall at the token", "/oauth2/token", firewall, 403, ErrDenied, `Allow 203.0.113.7`},
		{"throttled", "/oauth2/exchange", ``, 429, ErrUnreachable, `the registry throttles requests (HTTP 429)`},
		{"in trouble", "/oauth2/token", `<html>`, 503, ErrUnreachable, `the registry is unavailable (HTTP 503). Run this again`},
		{"no token", "/oauth2/exchange", `{}`, 200, nil, `the response has no token`},
		{"null", "/oauth2/token", `null`, 200, nil, `the response has no token`},
		{"a line feed", "/oauth2/token", `{"access_token":"a\r\nX: y"}`, 200, nil, `the response has no token`},
		{"no JSON", "/oauth2/exchange", `<html>`, 200, ErrUnreachable, `exchanging the identity's token failed`},
		{"huge", "/oauth2/exchange", strings.Repeat(" ", maxResponse+1), 200, ErrUnreachable, `more than 1048576 bytes are not read`},
		{"echo", "/oauth2/exchange", `{"errors":[{"code":"X","message":"bad token ` + entraToken + ` and eyJhbGci.other.one\n##vso[task.complete]"}]}`, 401, ErrDenied, `“bad token *** and *** ##vso[task.complete]”`},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := newTestEnv(t)
			r := newRegistry(env, "prod.azurecr.io")
			refusals := 0
			env.handlers["prod.azurecr.io"] = func(rw http.ResponseWriter, req *http.Request) {
				if req.URL.Path == test.path {
					refusals++
					rw.WriteHeader(test.status)
					fmt.Fprint(rw, test.body)
					return
				}
				r.serve(rw, req)
			}
			client := env.signedClient(env.signIn("prod.azurecr.io", nil))
			for range 2 {
				_, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/manifests/1", nil)
				own, ok := errors.AsType[*Error](err)
				if !ok || !strings.Contains(own.Error(), test.want) || test.is != nil && !errors.Is(own, test.is) {
					t.Fatalf("got  %v\nwant %s", err, test.want)
				}
				if strings.ContainsAny(own.Error(), "\n\r") || strings.Contains(own.Error(), "eyJ") {
					t.Errorf("unsafe to print: %q", own.Error())
				}
			}
			if once := test.path == "/oauth2/exchange" && test.is == ErrDenied; once && refusals != 1 {
				t.Errorf("the exchange was tried %d times", refusals)
			}
		})
	}
}

func TestARegistryThatIsNotThere(t *testing.T) {
	env := newTestEnv(t)
	client := env.signedClient(env.signIn("gone.azurecr.io", nil))
	_, _, err := fetch(t, client, "GET", "https://gone.azurecr.io/v2/a/manifests/1", nil)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "gone.azurecr.io") || strings.Contains(err.Error(), "api-version") {
		t.Errorf("got %v", err)
	}
}

func TestAnIdentityOfAnotherCloudIsNotSentThere(t *testing.T) {
	env := newTestEnv(t)
	identity := &Identity{name: "release", cloud: public, inner: &fakeEntra{t: t}}
	client := env.signedClient(NewSignIn("prod.azurecr.cn", Entra(identity, ""), env.client(), nil, false))
	_, _, err := fetch(t, client, "GET", "https://prod.azurecr.cn/v2/a/manifests/1", nil)
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "it is a registry of AzureChinaCloud, but the identity belongs to AzureCloud; no token was asked for") || len(env.hosts()) != 0 {
		t.Errorf("%v, dialled %v", err, env.hosts())
	}
}

// TestStoragesRefusalIsNotTheRegistrys: a download that was followed below the
// signer ends at another host, whose 401 says nothing about the token.
func TestStoragesRefusalIsNotTheRegistrys(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	s := env.signIn("prod.azurecr.io", nil)
	followed := 0
	client := &http.Client{Transport: s.Transport(roundTrip(func(req *http.Request) (*http.Response, error) {
		followed++
		elsewhere := req.Clone(req.Context())
		elsewhere.URL.Host = "store.blob.example"
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody, Request: elsewhere}, nil
	}))}
	for range 2 {
		if status, _, err := fetch(t, client, "GET", "https://prod.azurecr.io/v2/a/blobs/sha256:1", nil); status != http.StatusUnauthorized || err != nil {
			t.Errorf("%d %v", status, err)
		}
	}
	if _, asked := r.counts(); followed != 2 || len(asked) != 1 {
		t.Errorf("%d downloads, %d tokens", followed, len(asked))
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
