package acr

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Opaque values: no form gives them away.
const (
	aPassword     = `pass "word"&<1>`
	anEntraToken  = "opaque-entra-token.0123456789"
	aRefreshToken = "opaque-refresh-token.0123456789"
	anAccessToken = "opaque-access-token.0123456789"
	aJobToken     = "opaque-job-token.0123456789"
	anAssertion   = "opaque-assertion.0123456789"
	aClientSecret = "opaque-client-secret~0123456789"
)

type opaqueEntra struct{}

func (opaqueEntra) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: anEntraToken}, nil
}

// echo repeats in an error all that it was sent, in several encodings, after a
// padding that moves the end of what is kept through it.
func echo(rw http.ResponseWriter, r *http.Request, padding int) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	header := r.Header.Get("Authorization")
	_, value, _ := strings.Cut(header, " ")
	decoded, _ := base64.StdEncoding.DecodeString(value)
	said := strings.Repeat("x", padding)
	for _, part := range []string{header, value, string(decoded), string(body), fmt.Sprint(form), base64.StdEncoding.EncodeToString(body), base64.StdEncoding.EncodeToString([]byte(header)), fmt.Sprintf("%q", decoded)} {
		said += " " + part
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"errors": []any{map[string]string{"code": "DENIED", "message": said}}, "message": said,
		"error": "invalid_client", "error_description": "AADSTS7000215: " + said,
	})
}

// TestServersThatEchoWhatTheyWereSent: of no credential is so much as a part
// told.
func TestEchoedSecretsAreRemoved(t *testing.T) {
	const host = "prod.azurecr.io"
	for _, test := range []struct {
		name    string
		echoes  string // path of which host
		request func(env *testEnv) error
	}{
		{"a password", host + "/oauth2/token", func(env *testEnv) error {
			_, _, err := fetch(t, env.signedClient(NewSignIn(host, Password("pusher", aPassword), env.client(), nil, false)), "GET", "https://"+host+"/v2/a/manifests/1", nil)
			return err
		}},
		{"a password at another registry", "registry.example/auth", func(env *testEnv) error {
			_, _, err := fetch(t, env.signedClient(NewSignIn("registry.example", Password("pusher", aPassword), env.client(), nil, false)), "GET", "https://registry.example/v2/a/manifests/1", nil)
			return err
		}},
		{"Entra's token", host + "/oauth2/exchange", func(env *testEnv) error {
			_, _, err := fetch(t, env.signedClient(NewSignIn(host, Entra(opaqueEntra{}, ""), env.client(), nil, false)), "GET", "https://"+host+"/v2/a/manifests/1", nil)
			return err
		}},
		{"a refresh token", host + "/oauth2/token", func(env *testEnv) error {
			_, _, err := fetch(t, env.signedClient(NewSignIn(host, Entra(opaqueEntra{}, ""), env.client(), nil, false)), "GET", "https://"+host+"/v2/a/manifests/1", nil)
			return err
		}},
		{"an access token", host + "/acr/v1/", func(env *testEnv) error {
			m, err := NewMetadata(host, NewSignIn(host, Entra(opaqueEntra{}, ""), env.client(), nil, false), env.client(), false)
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Tag(t.Context(), "a", "1")
			return err
		}},
		{"a client secret", "login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token", func(env *testEnv) error {
			identity, err := NewSecretCredential(connection(), aClientSecret, env.client())
			if err != nil {
				t.Fatal(err)
			}
			_, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
			return err
		}},
		{"a job's token", "dev.azure.com/", func(env *testEnv) error { return federated(t, env) }},
		{"an assertion", "login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token", func(env *testEnv) error { return federated(t, env) }},
	} {
		for _, padding := range []int{0, 180, 250, 270, 285, 480, 495} {
			t.Run(fmt.Sprintf("%s after %d", test.name, padding), func(t *testing.T) {
				env := newTestEnv(t)
				echoed := false
				handle := func(host string, handler http.HandlerFunc) {
					env.handlers[host] = func(rw http.ResponseWriter, r *http.Request) {
						if strings.HasPrefix(r.Host+r.URL.Path, test.echoes) {
							echoed = true
							echo(rw, r, padding)
							return
						}
						handler(rw, r)
					}
				}
				handle(host, func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("Content-Type", "application/json")
					fmt.Fprintf(rw, `{"refresh_token":%q,"access_token":%q}`, aRefreshToken, anAccessToken)
				})
				handle("registry.example", func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("WWW-Authenticate", `Bearer realm="https://registry.example/auth",service="s"`)
					rw.WriteHeader(http.StatusUnauthorized)
				})
				entraHost(env, "login.microsoftonline.com", func(map[string]string) (int, string) { return http.StatusOK, granted })
				handle("login.microsoftonline.com", env.handlers["login.microsoftonline.com"])
				handle("dev.azure.com", func(rw http.ResponseWriter, r *http.Request) {
					fmt.Fprintf(rw, `{"oidcToken":%q}`, anAssertion)
				})
				err := test.request(env)
				own, ok := errors.AsType[*Error](err)
				if !ok || !echoed || padding > 0 && !strings.Contains(own.Message, "x") {
					t.Fatalf("echoed: %t, error: %v", echoed, err)
				}
				for _, secret := range []string{aPassword, anEntraToken, aRefreshToken, anAccessToken, aJobToken, anAssertion, aClientSecret} {
					for _, written := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("pusher:" + secret))} {
						if strings.Contains(err.Error(), written[:8]) {
							t.Errorf("%q is shown in %v", written, err)
						}
					}
				}
			})
		}
	}
}

func federated(t *testing.T, env *testEnv) error {
	f := federation()
	f.JobToken = aJobToken
	identity, err := NewFederatedCredential(connection(), f, env.client())
	if err != nil {
		t.Fatal(err)
	}
	_, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: tokenScope})
	return err
}
