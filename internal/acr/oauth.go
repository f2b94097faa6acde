package acr

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"acrpromote/internal/refusal"
)

// authenticationClient returns the SDK's client for this registry's /oauth2/*.
func (s *SignIn) authenticationClient() (*azcontainerregistry.AuthenticationClient, error) {
	return azcontainerregistry.NewAuthenticationClient(s.scheme+"://"+s.host, &azcontainerregistry.AuthenticationClientOptions{
		ClientOptions: azcore.ClientOptions{
			Transport: sdkTransport{client: s.client, only: s.host},
			Retry:     policy.RetryOptions{MaxRetries: -1},
		},
	})
}

// tokenError explains an error of the SDK's client.
func (s *SignIn) tokenError(op string, err error, seen *errorCapture, scopes []string) error {
	if refused, ok := errors.AsType[*azcore.ResponseError](err); ok && refused.RawResponse != nil {
		var body []byte
		if refused.RawResponse.Body != nil {
			body, _ = io.ReadAll(io.LimitReader(refused.RawResponse.Body, maxResponse))
		}
		return s.tokenResponseError(op, refused.StatusCode, body, scopes)
	}
	if cause := seen.first(); cause != nil {
		err = cause
	}
	return transportError(s.host, op, err, s.secrets)
}

// tokenResponseError reads a refusal of the registry's token endpoint.
func (s *SignIn) tokenResponseError(op string, status int, body []byte, scopes []string) *Error {
	e := responseError(s.host, op, status, body, s.secrets)
	e.scopeRefused = len(scopes) > 0
	if e.kind == ErrDenied && e.Remedy == "" {
		e.Remedy = s.Remedy(accessOf(scopes))
		if status == http.StatusUnauthorized {
			switch s.credential.(type) {
			case password:
				login := refusal.Named("registry-login-refused")
				e.detail = login.Cause
				if s.azure {
					e.Remedy = login.Remedy
				}
			case identityToken:
				e.Remedy = "Sign in to the registry again (`docker login " + s.host + "`)"
			}
		}
	}
	return e
}

func forScopes(scopes []string) string {
	switch len(scopes) {
	case 0:
		return ""
	case 1:
		return " for " + scopes[0]
	default:
		return " for " + scopes[0] + " and others"
	}
}

// tokenRequest returns the request for a token of the scopes: a GET with user and
// password or anonymously, and a POST with an identity token
// (https://distribution.github.io/distribution/spec/auth/oauth/).
func (s *SignIn) tokenRequest(ctx context.Context, realm url.URL, service string, scopes []string) (*http.Request, error) {
	if identity, ok := s.credential.(identityToken); ok {
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"acrpromote"}, "service": {service}, "scope": {strings.Join(scopes, " ")}, "refresh_token": {identity.token}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	query := realm.Query()
	if service != "" {
		query.Set("service", service)
	}
	for _, scope := range scopes {
		query.Add("scope", scope)
	}
	p, named := s.credential.(password)
	if named {
		query.Set("account", p.user)
	}
	realm.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err == nil && named {
		req.Header.Set("Authorization", basic(p))
	}
	return req, err
}

// fetchFromRealm requests a token as the distribution protocol specifies
// (https://distribution.github.io/distribution/spec/auth/token/), with user and
// password, an identity token or anonymously, at the registry's own address or where
// issuer permits it.
func (s *SignIn) fetchFromRealm(ctx context.Context, scopes []string) (token, error) {
	op := "signing in " + s.credential.describe() + forScopes(scopes)
	realm := url.URL{Scheme: s.scheme, Host: s.host, Path: "/oauth2/token"}
	service, err := s.service(ctx)
	if err != nil {
		return token{}, err
	}
	if !s.azure {
		challenge, err := s.ping(ctx)
		if err != nil {
			return token{}, err
		}
		realm, service = challenge.realm, challenge.service
	}
	req, err := s.tokenRequest(ctx, realm, service, scopes)
	if err != nil {
		return token{}, transportError(s.host, op, err, s.secrets)
	}
	req.Header.Set("Accept", "application/json")
	client := s.client
	if realm.Host != s.host {
		op += " at " + realm.Host
		client = withoutRedirects(s.tokenClient(realm.Host))
	}
	resp, err := client.Do(req)
	if err != nil {
		return token{}, transportError(s.host, op, err, s.secrets)
	}
	body, err := readAll(resp.Body)
	if err != nil {
		return token{}, transportError(s.host, op, err, s.secrets)
	}
	if resp.StatusCode != http.StatusOK {
		return token{}, s.tokenResponseError(op, resp.StatusCode, body, scopes)
	}
	var doc struct {
		AccessToken string `json:"access_token"`
		Token       string `json:"token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	_ = json.Unmarshal(body, &doc)
	text := doc.AccessToken
	if text == "" {
		text = doc.Token
	}
	if !wellFormed(text) {
		return token{}, &Error{Host: s.host, Op: op, detail: "the response has no token", Remedy: "Check the registry's name, and what is in front of it"}
	}
	return s.receivedToken(op, text, doc.ExpiresIn)
}
