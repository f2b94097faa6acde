package acr

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestGrants checks what is said of the rights of an identity, by the token that a
// registry issues for them.
func TestGrants(t *testing.T) {
	claims := func(access string) func([]string) (int, string) {
		return func([]string) (int, string) {
			payload := base64.RawURLEncoding.EncodeToString([]byte(`{"iat":1,"exp":9999999999,"access":` + access + `}`))
			return http.StatusOK, `{"access_token":"a.` + payload + `.c"}`
		}
	}
	const push = `[{"type":"repository","name":"shop/cart","actions":["pull","push"]}]`
	refuse := func(scopes []string) (int, string) {
		return http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}`
	}
	needs := map[string][]string{"shop/cart": {"pull"}}
	for name, c := range map[string]struct {
		host      string
		grant     func([]string) (int, string)
		rights    map[string][]string
		missing   string
		readOnly  bool
		unchecked string
	}{
		"everything": {grant: claims(push), rights: map[string][]string{"shop/cart": {"pull", "push"}}},
		"a lock is missing": {grant: claims(push), rights: map[string][]string{"shop/cart": {"pull", "push", "metadata_read", "metadata_write"}},
			missing: "metadata/read on shop/cart; metadata/write on shop/cart"},
		"one repository is missing": {grant: claims(push), rights: map[string][]string{"shop/cart": {"pull", "push"}, "shop/web": {"pull", "push"}},
			missing: "content/read on shop/web; content/write on shop/web"},
		"many repositories are missing": {grant: claims(`[]`), rights: map[string][]string{"a": {"pull"}, "b": {"pull"}, "c": {"pull"}, "d": {"pull"}, "e": {"pull"}},
			missing: "content/read on a, b, c and 2 more"},
		"a reader": {grant: claims(`[{"type":"repository","name":"shop/cart","actions":["pull"]}]`), rights: map[string][]string{"shop/cart": {"pull", "push"}},
			missing: "content/write on shop/cart", readOnly: true},
		"all actions":            {grant: claims(`[{"type":"repository","name":"shop/cart","actions":["*"]}]`), rights: map[string][]string{"shop/cart": {"pull", "push"}}},
		"all or nothing":         {grant: refuse, rights: map[string][]string{"shop/cart": {"pull", "push"}}, missing: "content/write on shop/cart", readOnly: true},
		"a list of other form":   {grant: claims(`{"a":1}`), rights: needs, unchecked: "does not show what it grants"},
		"a token that is opaque": {grant: func([]string) (int, string) { return http.StatusOK, `{"access_token":"opaque"}` }, rights: needs, unchecked: "does not show what it grants"},
		"no token":               {grant: func([]string) (int, string) { return http.StatusOK, `{}` }, rights: needs, unchecked: "the response has no token"},
		"an error":               {grant: func([]string) (int, string) { return http.StatusInternalServerError, "" }, rights: needs, unchecked: "HTTP 500"},
		"unreachable":            {host: "gone.azurecr.io", rights: needs, unchecked: "gone.azurecr.io"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			host := "prod.azurecr.io"
			if c.host != "" {
				host = c.host
			} else {
				newRegistry(env, host).grant = c.grant
			}
			s := env.signIn(host, needs)
			got := s.Grants(t.Context(), c.rights)
			if got.Missing != c.missing || got.ReadOnly != c.readOnly || (got.Remedy != "") != (c.missing != "") {
				t.Errorf("%+v", got)
			}
			if (got.Unchecked != "") != (c.unchecked != "") || !strings.Contains(got.Unchecked, c.unchecked) {
				t.Errorf("unchecked %q, want %q", got.Unchecked, c.unchecked)
			}
		})
	}
}

// TestGrantsElsewhere checks registries other than Azure's: of those that issue no
// token, nothing is known.
func TestGrantsElsewhere(t *testing.T) {
	for header, unchecked := range map[string]string{"": "asks for no sign-in", `Basic realm="x"`: "issues no token"} {
		env := newTestEnv(t)
		env.handlers["registry.example"] = func(w http.ResponseWriter, r *http.Request) {
			if header == "" {
				fmt.Fprint(w, "{}")
				return
			}
			w.Header().Set("Www-Authenticate", header)
			w.WriteHeader(http.StatusUnauthorized)
		}
		s := NewSignIn("registry.example", Password("user", "secret-of-user"), env.client(), nil, false)
		if got := s.Grants(t.Context(), map[string][]string{"a": {"pull"}}); !strings.Contains(got.Unchecked, unchecked) || got.Missing != "" {
			t.Errorf("%q: %+v", header, got)
		}
	}
}

// TestGrantsTakeTheTokenOfTheRun checks that no further token is requested if the run
// has one for at least these rights.
func TestGrantsTakeTheTokenOfTheRun(t *testing.T) {
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	s := env.signIn("prod.azurecr.io", map[string][]string{"a": {"pull", "metadata_read"}})
	s.Grants(t.Context(), map[string][]string{"a": {"pull"}})
	s.Grants(t.Context(), map[string][]string{"a": {"pull", "metadata_read"}})
	if _, asked := r.counts(); len(asked) != 1 || asked[0] != "repository:a:metadata_read,pull" {
		t.Errorf("tokens were requested for %q", asked)
	}
}
