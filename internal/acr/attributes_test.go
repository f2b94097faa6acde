package acr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// metadata gives the attributes of a registry that answers this.
func metadata(t *testing.T, answer http.HandlerFunc) (*Metadata, *registry) {
	t.Helper()
	env := newTestEnv(t)
	r := newRegistry(env, "prod.azurecr.io")
	r.answer = answer
	m, err := NewMetadata("prod.azurecr.io", env.signIn("prod.azurecr.io", map[string][]string{"shop/cart": {"metadata_read", "metadata_write", "pull"}}), env.client(), false)
	if err != nil {
		t.Fatal(err)
	}
	return m, r
}

const (
	tagAttributes        = `{"registry":"prod.azurecr.io","imageName":"shop/cart","tag":{"name":"1.4.2","digest":"` + digest + `","createdTime":"2026-11-23T12:00:00.1234567Z","lastUpdateTime":"2026-11-23T13:00:00Z","signed":false,"changeableAttributes":{"deleteEnabled":false,"writeEnabled":false,"readEnabled":true,"listEnabled":true}}}`
	manifestAttributes   = `{"registry":"prod.azurecr.io","imageName":"shop/cart","manifest":{"digest":"` + digest + `","imageSize":1,"createdTime":"2026-11-23T12:00:00.1234567Z","lastUpdateTime":"2026-11-23T13:00:00Z","changeableAttributes":{"deleteEnabled":false,"writeEnabled":true,"readEnabled":true,"listEnabled":true}}}`
	repositoryAttributes = `{"registry":"prod.azurecr.io","imageName":"shop/cart","createdTime":"2026-11-23T12:00:00.1234567Z","lastUpdateTime":"2026-11-23T13:00:00Z","manifestCount":1,"tagCount":1,"changeableAttributes":{"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true}}`
)

func TestAttributes(t *testing.T) {
	asked := ""
	m, r := metadata(t, func(rw http.ResponseWriter, req *http.Request) {
		asked = req.Method + " " + req.URL.EscapedPath()
		switch {
		case strings.Contains(asked, "_tags"):
			fmt.Fprint(rw, tagAttributes)
		case strings.Contains(asked, "_manifests"):
			fmt.Fprint(rw, manifestAttributes)
		default:
			fmt.Fprint(rw, repositoryAttributes)
		}
	})
	created, updated := time.Date(2026, 11, 23, 12, 0, 0, 123456700, time.UTC), time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		read func() (Attributes, error)
		path string
		want Attributes
	}{
		{func() (Attributes, error) { return m.Tag(t.Context(), "shop/cart", "1.4.2") }, "GET /acr/v1/shop%2Fcart/_tags/1.4.2", Attributes{digest, created, updated, false, false}},
		{func() (Attributes, error) { return m.Manifest(t.Context(), "shop/cart", digest) }, "GET /acr/v1/shop%2Fcart/_manifests/" + digest, Attributes{digest, created, updated, true, false}},
		{func() (Attributes, error) { return m.Repository(t.Context(), "shop/cart") }, "GET /acr/v1/shop%2Fcart", Attributes{"", created, updated, true, true}},
	} {
		got, err := test.read()
		if err != nil || got != test.want || asked != test.path {
			t.Errorf("%s: %+v, %v", asked, got, err)
		}
	}
	if exchanges, tokens := r.counts(); exchanges != 1 || len(tokens) != 1 {
		t.Errorf("%d exchanges, tokens for %q", exchanges, tokens)
	}
}

// TestWhatAnAnswerDoesNotTellIsAnError: an absent attribute is neither locked
// nor open.
func TestMissingAttributeIsAnError(t *testing.T) {
	answer := ""
	m, _ := metadata(t, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, answer) })
	readers := map[string]func() (Attributes, error){
		tagAttributes:        func() (Attributes, error) { return m.Tag(t.Context(), "shop/cart", "1.4.2") },
		manifestAttributes:   func() (Attributes, error) { return m.Manifest(t.Context(), "shop/cart", digest) },
		repositoryAttributes: func() (Attributes, error) { return m.Repository(t.Context(), "shop/cart") },
	}
	for whole, read := range readers {
		for _, change := range [][2]string{
			{`"writeEnabled":`, `"x":`},
			{`"deleteEnabled":`, `"x":`},
			{`"createdTime":`, `"x":`},
			{`"lastUpdateTime":`, `"x":`},
			{`"changeableAttributes":`, `"x":`},
			{`"digest":"` + digest, `"x":"`},
			{digest, "sha256:1"},
			{`"tag":`, `"x":`},
			{`"manifest":`, `"x":`},
			{`"name":"1.4.2"`, `"name":"1.4.1"`},
			{`"2026-11-23T13:00:00Z"`, `"0001-01-01T00:00:00Z"`},
			{`"2026-11-23T13:00:00Z"`, `"yesterday"`},
			{`"2026-11-23T13:00:00Z"`, `null`},
			{whole, `null`},
			{whole, `{}`},
			{whole, `<html>`},
			{whole, ``},
		} {
			if answer = strings.Replace(whole, change[0], change[1], 1); answer == whole {
				continue
			}
			got, err := read()
			if own, ok := errors.AsType[*Error](err); !ok || got != (Attributes{}) || !strings.Contains(own.Error(), "prod.azurecr.io") {
				t.Errorf("%s\n%+v, %v", answer, got, err)
			}
		}
	}
	answer = strings.Replace(manifestAttributes, "0123", "3210", 1)
	if got, err := readers[manifestAttributes](); err == nil || !strings.Contains(err.Error(), "no manifest of this digest") || got.WriteEnabled {
		t.Errorf("another digest's attributes: %+v, %v", got, err)
	}
}

func TestLocksAreSetAtTheFirstTry(t *testing.T) {
	var asked []string
	m, _ := metadata(t, func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		asked = append(asked, req.Method+" "+req.URL.EscapedPath()+" "+string(body))
		fmt.Fprint(rw, tagAttributes)
	})
	if err := m.SetTag(t.Context(), "shop/cart", "1.4.2", false, true); err != nil {
		t.Error(err)
	}
	if err := m.SetManifest(t.Context(), "shop/cart", digest, true, false); err != nil {
		t.Error(err)
	}
	want := []string{
		`PATCH /acr/v1/shop%2Fcart/_tags/1.4.2 {"deleteEnabled":true,"writeEnabled":false}`,
		`PATCH /acr/v1/shop%2Fcart/_manifests/` + digest + ` {"deleteEnabled":false,"writeEnabled":true}`,
	}
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked\n%s", strings.Join(asked, "\n"))
	}
}

func TestRefusedAttributesSayWhatToDo(t *testing.T) {
	code := func(code, message string) string {
		return fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message)
	}
	for _, test := range []struct {
		name, body  string
		status      int
		is          error
		read, write string
	}{
		{"denied", code("DENIED", "requested access to the resource is denied"), 403, ErrDenied,
			"prod.azurecr.io: reading the attributes of shop/cart:1.4.2 failed: access is denied (HTTP 403, DENIED, “requested access to the resource is denied”). Grant the identity the role Container Registry Repository Writer on prod.azurecr.io (content/read, metadata/read, metadata/write on shop/cart); if it is in the mode “RBAC Registry Permissions”, AcrPull and the custom role “ACR lock keeper” instead: az role assignment create --role \"Container Registry Repository Writer\" --assignee <client-id> --scope \"$(az acr show --name prod --query id --output tsv)\"",
			"prod.azurecr.io: setting the lock of shop/cart:1.4.2 failed: access is denied (HTTP 403, DENIED, “requested access to the resource is denied”). Grant the identity the role Container Registry Repository Writer on prod.azurecr.io (content/read, metadata/read, metadata/write on shop/cart); if it is in the mode “RBAC Registry Permissions”, AcrPull and the custom role “ACR lock keeper” instead: az role assignment create --role \"Container Registry Repository Writer\" --assignee <client-id> --scope \"$(az acr show --name prod --query id --output tsv)\""},
		{"unauthorized", code("UNAUTHORIZED", "authentication required"), 401, ErrDenied, "(HTTP 401, UNAUTHORIZED, “authentication required”). Grant the identity the role Container Registry Repository Writer", "Grant the identity the role Container Registry Repository Writer"},
		{"firewall", code("DENIED", "client with IP '2001:db8::1' is not allowed access"), 403, ErrDenied, "Allow 2001:db8::1 under Networking", "Allow 2001:db8::1 under Networking"},
		{"absent", code("TAG_UNKNOWN", "the specified tag does not exist"), 404, ErrNotFound, "it does not exist: the repository does not have this tag or digest (HTTP 404, TAG_UNKNOWN", "it does not exist"},
		{"no registry of Azure", "404 page not found", 404, ErrUnsupported, "this registry keeps no attributes and locks (HTTP 404)", "keeps no attributes"},
		{"disallowed", code("REGISTRY_DISALLOWED_OPERATION", "The operation is disallowed"), 405, ErrDisallowed, "the operation is not allowed (HTTP 405, REGISTRY_DISALLOWED_OPERATION", "is locked, quarantined or out of storage"},
		{"in trouble", "", 502, ErrUnreachable, "the registry is unavailable (HTTP 502)", "the registry is unavailable"},
		{"redirected", "", 302, nil, "it redirects to another address, which is not followed (HTTP 302)", "which is not followed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, r := metadata(t, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Location", "https://evil.example/")
				rw.Header().Set("Www-Authenticate", `Bearer realm="https://evil.example/token",service="evil.example",scope="x"`)
				rw.WriteHeader(test.status)
				fmt.Fprint(rw, test.body)
			})
			_, read := m.Tag(t.Context(), "shop/cart", "1.4.2")
			write := m.SetTag(t.Context(), "shop/cart", "1.4.2", false, false)
			for err, want := range map[error]string{read: test.read, write: test.write} {
				if err == nil || !strings.Contains(err.Error(), want) || test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("got  %v\nwant %s", err, want)
				}
				for _, other := range []error{ErrNotFound, ErrDenied, ErrUnreachable, ErrDisallowed, ErrUnsupported} {
					if other != test.is && errors.Is(err, other) {
						t.Errorf("%v is also %v", err, other)
					}
				}
			}
			if exchanges, _ := r.counts(); exchanges != 1 {
				t.Errorf("%d exchanges", exchanges)
			}
		})
	}
}

func TestAttributesAreAskedForWithTheirOwnSignIn(t *testing.T) {
	env := newTestEnv(t)
	for host, plain := range map[string]bool{"dev.azurecr.io": false, "prod.azurecr.io": true, "prod.azurecr.io:8443": false} {
		if _, err := NewMetadata(host, env.signIn("prod.azurecr.io", nil), env.client(), plain); err == nil {
			t.Errorf("%s, plain %v: no error", host, plain)
		}
	}
}

func TestAttributesOfARegistryThatIsNotThere(t *testing.T) {
	env := newTestEnv(t)
	m, err := NewMetadata("gone.azurecr.io", NewSignIn("gone.azurecr.io", Anonymous(), env.client(), nil, false), env.client(), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = m.Tag(t.Context(), "shop/cart", "1"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "gone.azurecr.io") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = m.Tag(ctx, "shop/cart", "1"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

// TestHostileAttributes reads attributes with so many parts that they would take many times their size.
func TestHostileAttributes(t *testing.T) {
	for _, answer := range []string{
		`{"manifest":{"references":[` + strings.Repeat("{},", 300_000) + `{}]}}`,
		`{` + strings.Repeat(`"a":0,`, 150_000) + `"b":0}`,
		strings.Repeat("[", 1_000_000),
	} {
		m, _ := metadata(t, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, answer) })
		if _, err := m.Manifest(t.Context(), "shop/cart", digest); err == nil || !strings.Contains(err.Error(), "more than 50000 values") {
			t.Errorf("%.20s: %v", answer, err)
		}
	}
}
