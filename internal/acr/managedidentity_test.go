package acr

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// metadataFunc answers as the metadata service.
type metadataFunc func(r *http.Request) (status int, body string)

func (f metadataFunc) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := f(r)
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// TestManagedIdentityTokenForEachResource: a token for registries is not passed off as
// one for vaults.
func TestManagedIdentityTokenForEachResource(t *testing.T) {
	identity, err := NewManagedIdentity(Connection{Name: "azureSubscription", Cloud: public}, &http.Client{Transport: metadataFunc(func(r *http.Request) (int, string) {
		return http.StatusOK, fmt.Sprintf(`{"access_token":%q,"expires_in":"3600"}`, "for."+r.URL.Query().Get("resource"))
	})})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, resource := range []string{"https://containerregistry.azure.net", "https://vault.azure.net"} {
			token, err := identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
			if err != nil || token.Token != "for."+resource {
				t.Errorf("got %q, %v; want one for %s", token.Token, err, resource)
			}
		}
	}
}

// TestManagedIdentityToken: the registries of a run share a token, for as long as the
// response says that it lives, whatever the token's own times are.
func TestManagedIdentityToken(t *testing.T) {
	for _, expiresIn := range []string{`"3600"`, `3600`} {
		var mu sync.Mutex
		var asked []string
		identity, err := NewManagedIdentity(Connection{Name: "azureSubscription", Cloud: public, ClientID: "client-1"}, &http.Client{Transport: metadataFunc(func(r *http.Request) (int, string) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, r.Header.Get("Metadata")+" "+r.URL.String())
			return http.StatusOK, fmt.Sprintf(`{"access_token":%q,"expires_in":%s,"client_id":"client-1"}`, jwt(24*time.Hour), expiresIn)
		})})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		identity.inner.(*managedIdentity).now = func() time.Time { return now }
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		const want = "true http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&client_id=client-1&resource=https%3A%2F%2Fcontainerregistry.azure.net"
		if len(asked) != 1 || asked[0] != want {
			t.Errorf("asked %q, want once %q", asked, want)
		}
		begin := now
		for _, step := range []struct {
			after    time.Duration
			requests int
		}{{40 * time.Minute, 1}, {55 * time.Minute, 2}} {
			now = begin.Add(step.after)
			if _, err := identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope}); err != nil || len(asked) != step.requests {
				t.Errorf("after %s: %d requests, %v", step.after, len(asked), err)
			}
		}
	}
}

// TestManagedIdentityRefusals: the metadata service's refusals, and what is not one.
func TestManagedIdentityRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		body     string
		says     string
		kind     error
		requests int
	}{
		"not assigned":     {400, `{"error":"invalid_request","error_description":"Identity not found"}`, "does not have a system-assigned identity", ErrDenied, 1},
		"several":          {400, `{"error":"invalid_request","error_description":"Multiple user assigned identities exist, please specify the clientId"}`, "has several user-assigned identities", ErrDenied, 1},
		"being updated":    {410, `{}`, "does not issue tokens at the moment", ErrUnreachable, 1 + metadataRetries},
		"in trouble":       {500, ``, "does not issue tokens at the moment", ErrUnreachable, 1},
		"no token":         {200, `{"access_token":""}`, "is not that of Azure's metadata service", nil, 1},
		"a token of lines": {200, `{"access_token":"a\nb","expires_in":"60"}`, "is not that of Azure's metadata service", nil, 1},
		"a page":           {200, `<html>`, "is not that of Azure's metadata service", nil, 1},
		"a redirect":       {302, ``, "is not that of Azure's metadata service", nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			identity, err := NewManagedIdentity(Connection{Name: "azureSubscription", Cloud: public}, &http.Client{Transport: metadataFunc(func(*http.Request) (int, string) {
				requests++
				return c.status, c.body
			})})
			if err != nil {
				t.Fatal(err)
			}
			identity.inner.(*managedIdentity).wait = time.Millisecond
			_, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
			if err == nil || !strings.Contains(err.Error(), c.says) || requests != c.requests || c.kind != nil && !errors.Is(err, c.kind) {
				t.Errorf("%d requests, %v", requests, err)
			}
		})
	}
}
