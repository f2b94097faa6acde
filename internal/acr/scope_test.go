package acr

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"acrpromote/internal/sanitize"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestRequiredAccess(t *testing.T) {
	for _, test := range []struct{ method, path, want string }{
		{"GET", "/v2/", ""},
		{"GET", "/v2", ""},
		{"GET", "/v2/_catalog", "registry:catalog:*"},
		{"GET", "/v2/shop/cart/manifests/1.4.2", "repository:shop/cart:pull"},
		{"HEAD", "/v2/shop/cart/blobs/sha256:1", "repository:shop/cart:pull"},
		{"GET", "/v2/shop/cart/referrers/sha256:1?artifactType=x", "repository:shop/cart:pull"},
		{"GET", "/v2/shop/cart/tags/list", "repository:shop/cart:metadata_read"},
		{"GET", "/v2/shop/cart/tags/list?last=sha256-&n=1000", "repository:shop/cart:metadata_read"},
		{"GET", "/v2/shop/tags/list/manifests/1", "repository:shop/tags/list:pull"},
		{"PUT", "/v2/shop/cart/manifests/1.4.2", "repository:shop/cart:pull,push"},
		{"DELETE", "/v2/shop/cart/manifests/sha256:1", "repository:shop/cart:delete"},
		{"POST", "/v2/shop/cart/blobs/uploads/", "repository:shop/cart:pull,push"},
		{"POST", "/v2/shop/cart/blobs/uploads/?mount=sha256:1&from=base/os", "repository:base/os:pull repository:shop/cart:pull,push"},
		{"POST", "/v2/shop/cart/blobs/uploads/?mount=sha256:1&from=shop/cart", "repository:shop/cart:pull,push"},
		{"POST", "/v2/shop/cart/blobs/uploads/?mount=sha256:1&from=x:push%20registry:catalog:*", "repository:shop/cart:pull,push"},
		{"PUT", "/v2/shop/cart/blobs/uploads/u-1?_state=x&digest=sha256:1", "repository:shop/cart:pull,push"},
		{"DELETE", "/v2/shop/cart/blobs/uploads/u-1", "repository:shop/cart:pull,push"},
		{"GET", "/v2/a/manifests/b/blobs/sha256:1", "repository:a/manifests/b:pull"},
		{"GET", "/acr/v1/shop%2Fcart", "repository:shop/cart:metadata_read"},
		{"GET", "/acr/v1/shop%2Fcart/_tags/1", "repository:shop/cart:metadata_read"},
		{"PATCH", "/acr/v1/shop%2Fcart/_manifests/sha256:1", "repository:shop/cart:metadata_write"},
		{"DELETE", "/acr/v1/shop%2Fcart/_tags/1", "repository:shop/cart:delete"},
		{"GET", "/acr/v1/_catalog", "registry:catalog:*"},
		{"GET", "/acr/v1/a%20b/_tags/1", ""},
		{"GET", "/v2/a%3Apush/manifests/1", ""},
		{"GET", "/oauth2/token", ""},
	} {
		u, err := url.Parse("https://prod.azurecr.io" + test.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(requiredAccess(test.method, u, reading).scopes(), " "); got != test.want {
			t.Errorf("%s %s: %q; want %q", test.method, test.path, got, test.want)
		}
	}
}

// FuzzWanted: whatever a path says, no scope brings another with it.
func FuzzRequiredAccess(f *testing.F) {
	f.Add("PATCH", "/acr/v1/a%2Fb/_tags/1", "")
	f.Add("POST", "/v2/a/blobs/uploads/", "from=b")
	f.Add("GET", "/v2//manifests/", "")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		u, err := url.Parse("https://prod.azurecr.io/" + strings.TrimPrefix(path, "/"))
		if err != nil {
			return
		}
		u.RawQuery = query
		for _, scope := range requiredAccess(method, u, reading).scopes() {
			if strings.Count(scope, ":") != 2 || strings.ContainsFunc(scope, unicode.IsSpace) {
				t.Errorf("%s %s: %q", method, u, scope)
			}
		}
	})
}

func FuzzChallenge(f *testing.F) {
	for _, seed := range []string{`Bearer realm="https://a/b",service="c"`, `Basic`, `Bearer realm=`, `Bearer "=,"`, `bearer a="\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		scheme, parameters := parseChallenge(header)
		if len(scheme) > len(header)*4 || len(parameters) > 20 {
			t.Errorf("%q: %q %v", header, scheme, parameters)
		}
	})
}

func FuzzRefusal(f *testing.F) {
	f.Add([]byte(`{"errors":[{"code":"DENIED","message":"client with IP '203.0.113.7' is not allowed access"}]}`), 403)
	f.Add([]byte(`{"error":"invalid_grant","error_description":"eyJhbGciOi.eyJ"}`), 401)
	f.Add([]byte(`{"errors":[{"code":"a\u2028##vso[x]","message":"\u001b[2J"}]}`), 404)
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		secrets := &sanitize.Secrets{}
		secrets.Add("s3cret")
		text := responseError("prod.azurecr.io", "reading", status, body, secrets).Error()
		if len(text) > 4*maxMessage+1000 || strings.Contains(text, "eyJ") || strings.Contains(text, "s3cret") {
			t.Errorf("%q", text)
		}
		for _, r := range text {
			if !unicode.IsPrint(r) {
				t.Errorf("%q is in %q", r, text)
			}
		}
	})
}
