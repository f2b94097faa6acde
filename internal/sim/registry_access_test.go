package sim_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// payload is what a token says of itself.
func payload(t *testing.T, token string) (claims struct {
	Exp    int64
	Aud    string
	Access []struct {
		Type, Name string
		Actions    []string
	}
}) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func (l *lab) refreshToken() string {
	l.t.Helper()
	got := l.form("/oauth2/exchange?api-version=2021-07-01", url.Values{"grant_type": {"access_token"}, "service": {labHost}, "access_token": {"entra-token"}})
	return field(l.t, l.want(got, 200, "").Body, "refresh_token")
}

// accessToken asks by the lab's user.
func (l *lab) accessToken(scopes ...string) string {
	l.t.Helper()
	query := url.Values{"service": {labHost}, "scope": scopes}
	return field(l.t, l.want(l.as("GET", "/oauth2/token?"+query.Encode(), nil, ""), 200, "").Body, "access_token")
}

func TestChallenge(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	realm := `Bearer realm="https://contoso.azurecr.io/oauth2/token",service="contoso.azurecr.io"`
	pull := l.accessToken("repository:shop/cart:pull")
	for _, test := range []struct {
		name, method, path, authorization, want string
	}{
		{"ping", "GET", "/v2/", "", realm},
		{"pull", "GET", "/v2/shop/cart/manifests/1.0", "", realm + `,scope="repository:shop/cart:pull"`},
		{"push", "POST", "/v2/shop/cart/blobs/uploads/", "", realm + `,scope="repository:shop/cart:pull,push"`},
		{"mount", "POST", "/v2/shop/cart/blobs/uploads/?mount=x&from=shop/base", "", realm + `,scope="repository:shop/cart:pull,push repository:shop/base:pull"`},
		{"delete", "DELETE", "/v2/shop/cart/manifests/1.0", "", realm + `,scope="repository:shop/cart:delete"`},
		{"catalog", "GET", "/v2/_catalog", "", realm + `,scope="registry:catalog:*"`},
		{"tags", "GET", "/v2/shop/cart/tags/list", "", realm + `,scope="repository:shop/cart:metadata_read"`},
		{"tags with the right to pull", "GET", "/v2/shop/cart/tags/list", "Bearer " + pull, realm + `,scope="repository:shop/cart:metadata_read",error="insufficient_scope"`},
		{"metadata read", "GET", "/acr/v1/shop%2Fcart/_tags/1.0", "", realm + `,scope="repository:shop/cart:metadata_read"`},
		{"metadata write", "PATCH", "/acr/v1/shop/cart/_tags/1.0", "", realm + `,scope="repository:shop/cart:metadata_write"`},
		{"no token", "GET", "/v2/", "Bearer nonsense", realm + `,error="invalid_token"`},
		{"Entra's token", "GET", "/v2/", "Bearer entra-token", realm + `,error="invalid_token"`},
		{"wrong password", "GET", "/v2/", basic("ci", "wrong"), realm + `,error="invalid_token"`},
		{"another scheme", "GET", "/v2/", "Negotiate x", realm + `,error="invalid_token"`},
		{"less than needed", "PUT", "/v2/shop/cart/manifests/1.0", "Bearer " + pull, realm + `,scope="repository:shop/cart:pull,push",error="insufficient_scope"`},
		{"another repository", "GET", "/v2/shop/basket/manifests/1.0", "Bearer " + pull, realm + `,scope="repository:shop/basket:pull",error="insufficient_scope"`},
		{"user without right", "GET", "/v2/other/cart/manifests/1.0", basic("ci", "secret"), realm + `,scope="repository:other/cart:pull",error="insufficient_scope"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := header{}
			if test.authorization != "" {
				h["Authorization"] = test.authorization
			}
			got := l.do(test.method, test.path, h, "")
			if got.Status != 401 || got.code() != "UNAUTHORIZED" || got.Header.Get("Www-Authenticate") != test.want {
				t.Errorf("got %d %s\n%s\nwant\n%s", got.Status, got.Body, got.Header.Get("Www-Authenticate"), test.want)
			}
		})
	}
	got := l.do("POST", "/v2/shop/cart/blobs/uploads/", nil, "")
	want := `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required, visit https://aka.ms/acr/authorization for more information.","detail":[{"Action":"pull","Name":"shop/cart","Type":"repository"},{"Action":"push","Name":"shop/cart","Type":"repository"}]}]}`
	if got.Body != want {
		t.Errorf("body\n%s\nwant\n%s", got.Body, want)
	}
}

func TestExchange(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.registry.Grant("client-1", "shop/**", sim.AcrPull...)
	good := url.Values{"grant_type": {"access_token"}, "service": {labHost}, "access_token": {"entra-token"}, "tenant": {"tenant-1"}}
	for _, test := range []struct {
		name, key, value string
		status           int
	}{
		{"good", "", "", 200},
		{"without tenant", "tenant", "", 200},
		{"another service", "service", "other.azurecr.io", 400},
		{"another grant", "grant_type", "refresh_token", 400},
		{"another token", "access_token", "stolen", 401},
		{"another tenant", "tenant", "tenant-2", 401},
	} {
		form := url.Values{}
		for key := range good {
			form.Set(key, good.Get(key))
		}
		if test.key != "" {
			form.Set(test.key, test.value)
		}
		got := l.form("/oauth2/exchange", form)
		if got.Status != test.status {
			t.Errorf("%s: got %d %s", test.name, got.Status, got.Body)
		}
	}
	if lifetime := time.Until(time.Unix(payload(t, l.refreshToken()).Exp, 0)); lifetime < 175*time.Minute || lifetime > 3*time.Hour {
		t.Errorf("a refresh token lives %v", lifetime)
	}
	if got := l.do("GET", "/oauth2/exchange?"+good.Encode(), nil, ""); got.Status != 404 {
		t.Errorf("GET: got %d", got.Status)
	}
	l.registry.Revoke("client-1")
	l.want(l.form("/oauth2/exchange", good), 401, "UNAUTHORIZED")
}

func TestTokenHoldsWhatIsGranted(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.registry.Grant("object-1", "shop/*", sim.RepositoryReader...)
	l.registry.Grant("object-1", "base", sim.AcrPush...)
	refresh := l.refreshToken()
	for _, test := range []struct {
		name   string
		scopes []string
		want   string
	}{
		{"granted", []string{"repository:shop/cart:pull"}, "repository:shop/cart:pull"},
		{"subset", []string{"repository:shop/cart:pull,push,metadata_read"}, "repository:shop/cart:pull,metadata_read"},
		{"several in one", []string{"repository:shop/cart:pull repository:base:pull,push"}, "repository:shop/cart:pull repository:base:pull,push"},
		{"several", []string{"repository:shop/cart:pull", "repository:base:push"}, "repository:shop/cart:pull repository:base:push"},
		{"all", []string{"repository:base:*"}, "repository:base:pull,push"},
		{"nothing", []string{"repository:other:pull", "repository:shop/a/b:pull", "registry:catalog:*", "nonsense"}, ""},
		{"wildcard name", []string{"repository:*:*", "repository:shop/*:pull"}, ""},
	} {
		form := url.Values{"grant_type": {"refresh_token"}, "service": {labHost}, "refresh_token": {refresh}, "scope": test.scopes}
		got := l.form("/oauth2/token?api-version=2021-07-01", form)
		var access []string
		for _, a := range payload(t, field(t, l.want(got, 200, "").Body, "access_token")).Access {
			access = append(access, a.Type+":"+a.Name+":"+strings.Join(a.Actions, ","))
		}
		if strings.Join(access, " ") != test.want {
			t.Errorf("%s: got %q, want %q", test.name, access, test.want)
		}
	}
}

func TestTokenRefusals(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{StrictScopes: true})
	l.registry.Grant("client-1", "shop/**", sim.AcrPull...)
	other := l.cloud.Registry("other.azurecr.io", sim.RegistryOptions{Tokens: passport{sim.Principal{ObjectID: "object-1", ClientID: "client-1"}}})
	other.Grant("client-1", "**", sim.AcrPush...)
	foreign := l.form("https://other.azurecr.io/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "service": {"other.azurecr.io"}, "access_token": {"entra-token"}})
	refresh := l.refreshToken()
	access := l.accessToken("repository:shop/cart:pull")
	scope := "repository:shop/cart:pull"
	for _, test := range []struct {
		name   string
		form   url.Values
		status int
	}{
		{"good", url.Values{"grant_type": {"refresh_token"}, "service": {labHost}, "refresh_token": {refresh}, "scope": {scope}}, 200},
		{"of another registry", url.Values{"grant_type": {"refresh_token"}, "service": {labHost}, "refresh_token": {field(t, foreign.Body, "refresh_token")}, "scope": {scope}}, 401},
		{"an access token", url.Values{"grant_type": {"refresh_token"}, "service": {labHost}, "refresh_token": {access}, "scope": {scope}}, 401},
		{"an Entra token", url.Values{"grant_type": {"refresh_token"}, "service": {labHost}, "refresh_token": {"entra-token"}, "scope": {scope}}, 401},
		{"another service", url.Values{"grant_type": {"refresh_token"}, "service": {"other.azurecr.io"}, "refresh_token": {refresh}, "scope": {scope}}, 400},
		{"too wide", url.Values{"grant_type": {"refresh_token"}, "service": {labHost}, "refresh_token": {refresh}, "scope": {scope + ",push"}}, 401},
		{"no grant type", url.Values{"service": {labHost}, "refresh_token": {refresh}}, 400},
		{"password", url.Values{"grant_type": {"password"}, "service": {labHost}, "username": {"ci"}, "password": {"secret"}, "scope": {scope}}, 200},
		{"wrong password", url.Values{"grant_type": {"password"}, "service": {labHost}, "username": {"ci"}, "password": {"wrong"}, "scope": {scope}}, 401},
		{"nobody", url.Values{"grant_type": {"password"}, "service": {labHost}, "scope": {scope}}, 401},
		{"no form", nil, 400},
	} {
		if got := l.form("/oauth2/token", test.form); got.Status != test.status {
			t.Errorf("%s: got %d %s, want %d", test.name, got.Status, got.Body, test.status)
		}
	}
	query := "/oauth2/token?service=" + labHost + "&scope=" + scope
	l.want(l.do("GET", query, nil, ""), 401, "UNAUTHORIZED")
	l.want(l.do("GET", query, header{"Authorization": basic("ci", "wrong")}, ""), 401, "UNAUTHORIZED")
	l.want(l.do("GET", query, header{"Authorization": basic("00000000-0000-0000-0000-000000000000", refresh)}, ""), 200, "")
	l.want(l.do("PUT", query, nil, ""), 404, "")

	// A token of one registry is worth nothing at another.
	l.want(l.do("GET", "https://other.azurecr.io/v2/", header{"Authorization": "Bearer " + access}, ""), 401, "UNAUTHORIZED")
	l.want(l.do("GET", "/v2/", header{"Authorization": "Bearer " + access}, ""), 200, "")
	// Nor does a refresh token open anything by itself, but as a password.
	l.want(l.do("GET", "/v2/", header{"Authorization": "Bearer " + refresh}, ""), 401, "UNAUTHORIZED")
	l.want(l.do("GET", "/v2/", header{"Authorization": basic("00000000-0000-0000-0000-000000000000", refresh)}, ""), 200, "")
}

func TestTokensExpire(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	token := l.accessToken()
	bearer := header{"Authorization": "Bearer " + token}
	if lifetime := time.Until(time.Unix(payload(t, token).Exp, 0)); lifetime < 70*time.Minute || lifetime > 75*time.Minute {
		t.Errorf("an access token lives %v", lifetime)
	}
	l.want(l.do("GET", "/v2/", bearer, ""), 200, "")
	l.registry.ExpireTokens()
	l.want(l.do("GET", "/v2/", bearer, ""), 401, "UNAUTHORIZED")
	l.want(l.do("GET", "/v2/", header{"Authorization": "Bearer " + l.accessToken()}, ""), 200, "")

	past := startLab(t, sim.RegistryOptions{TokenLifetime: -time.Second})
	past.want(past.do("GET", "/v2/", header{"Authorization": "Bearer " + past.accessToken()}, ""), 401, "UNAUTHORIZED")
}

func TestAnonymousPull(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{AnonymousPull: true})
	l.stock()
	scope := "repository:shop/cart:pull,push"
	l.want(l.do("GET", "/v2/", nil, ""), 401, "UNAUTHORIZED")
	for name, got := range map[string]reply{
		"GET":  l.do("GET", "/oauth2/token?service="+labHost+"&scope="+scope, nil, ""),
		"POST": l.form("/oauth2/token", url.Values{"grant_type": {"password"}, "service": {labHost}, "scope": {scope}, "refresh_token": {""}}),
	} {
		bearer := header{"Authorization": "Bearer " + field(t, l.want(got, 200, "").Body, "access_token"), "Content-Type": ociImage}
		if got := l.do("GET", "/v2/shop/cart/manifests/1.0", bearer, ""); got.Status != 200 {
			t.Errorf("%s: pull got %d", name, got.Status)
		}
		l.want(l.do("GET", "/v2/shop/cart/tags/list", bearer, ""), 200, "")
		l.want(l.do("PUT", "/v2/shop/cart/manifests/2.0", bearer, image()), 401, "UNAUTHORIZED")
	}
}

func TestFirewall(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.stock()
	l.registry.AllowOnly("198.51.100.1", "198.51.100.2")
	want := `{"errors":[{"code":"DENIED","message":"client with IP '203.0.113.7' is not allowed access. Refer https://aka.ms/acr/firewall to grant access."}]}`
	for _, path := range []string{"/v2/", "/v2/shop/cart/manifests/1.0", "/oauth2/exchange", "/oauth2/token?service=" + labHost, "/acr/v1/shop/cart", "/nothing"} {
		got := l.as("GET", path, nil, "")
		if got.Status != 403 || got.Body != want {
			t.Errorf("%s: got %d %s", path, got.Status, got.Body)
		}
	}
	inside := &lab{t: t, client: l.cloud.Network("inside", "198.51.100.2").Client()}
	inside.want(inside.as("GET", "/v2/", nil, ""), 200, "")
	l.registry.AllowOnly()
	l.want(l.as("GET", "/v2/", nil, ""), 200, "")

	seen := l.cloud.Requests()
	if !slices.ContainsFunc(seen, func(r sim.Request) bool { return r.Client == "198.51.100.2" && r.Status == 200 }) {
		t.Error("the log lacks the request from inside")
	}
}
