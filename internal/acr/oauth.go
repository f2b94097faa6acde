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
)

// authentication is the SDK's client of this registry's /oauth2/*.
func (s *SignIn) authentication() (*azcontainerregistry.AuthenticationClient, error) {
	return azcontainerregistry.NewAuthenticationClient(s.scheme+"://"+s.host, &azcontainerregistry.AuthenticationClientOptions{
		ClientOptions: azcore.ClientOptions{
			Transport: bounded{client: s.client, only: s.host},
			Retry:     policy.RetryOptions{MaxRetries: -1},
		},
	})
}

// tokenError makes a sentence of what the SDK's client reports.
func (s *SignIn) tokenError(op string, err error, seen *troubles, scopes []string) error {
	if refused, ok := errors.AsType[*azcore.ResponseError](err); ok && refused.RawResponse != nil {
		var body []byte
		if refused.RawResponse.Body != nil {
			body, _ = io.ReadAll(io.LimitReader(refused.RawResponse.Body, maxAnswer))
		}
		return s.refusedToken(op, refused.StatusCode, body, scopes)
	}
	if cause := seen.first(); cause != nil {
		err = cause
	}
	return unanswered(s.host, op, err, &s.secrets)
}

// refusedToken reads the refusal of the registry's token endpoint.
func (s *SignIn) refusedToken(op string, status int, body []byte, scopes []string) *Error {
	e := answered(s.host, op, status, body, &s.secrets)
	e.scope = len(scopes) > 0
	if e.kind == ErrDenied && e.Remedy == "" {
		e.Remedy = remedy(scopes)
		if _, ok := s.credential.(password); ok && status == http.StatusUnauthorized {
			e.Remedy = "Check user and password of the registry connection, and what they permit"
		}
	}
	return e
}

// remedy names the role that grants what the scopes ask for.
func remedy(scopes []string) string {
	all := strings.Join(scopes, " ")
	switch {
	case strings.Contains(all, "metadata_write"):
		return "Grant the identity the role Container Registry Repository Writer on this registry (it needs …/registries/repositories/metadata/write; AcrPush does not have it)"
	case strings.Contains(all, "push"):
		return "Grant the identity AcrPush on this registry (Container Registry Repository Writer where the registry uses ABAC)"
	case strings.Contains(all, "metadata_read"):
		return "Grant the identity the role Container Registry Repository Reader on this registry (it needs …/registries/repositories/metadata/read; AcrPull does not have it)"
	case strings.Contains(all, "delete"):
		return "Grant the identity AcrDelete on this registry"
	default:
		return "Grant the identity AcrPull on this registry (Container Registry Repository Reader where the registry uses ABAC)"
	}
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

// fetchByGet asks for a token as the distribution protocol has it
// (https://distribution.github.io/distribution/spec/auth/token/), with user
// and password or as nobody, at the registry's own address alone.
func (s *SignIn) fetchByGet(ctx context.Context, scopes []string) (token, error) {
	op := "signing in " + s.credential.describe() + forScopes(scopes)
	realm, service := url.URL{Scheme: s.scheme, Host: s.host, Path: "/oauth2/token"}, s.host
	if !s.azure {
		challenge, err := s.ping(ctx)
		if err != nil {
			return token{}, err
		}
		realm, service = challenge.realm, challenge.service
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
	if err != nil {
		return token{}, unanswered(s.host, op, err, &s.secrets)
	}
	req.Header.Set("Accept", "application/json")
	if named {
		req.Header.Set("Authorization", basic(p))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return token{}, unanswered(s.host, op, err, &s.secrets)
	}
	body, err := readAll(resp.Body)
	if err != nil {
		return token{}, unanswered(s.host, op, err, &s.secrets)
	}
	if resp.StatusCode != http.StatusOK {
		return token{}, s.refusedToken(op, resp.StatusCode, body, scopes)
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
		return token{}, &Error{Host: s.host, Op: op, why: "the answer bears no token", Remedy: "Check the registry's name, and what stands in front of it"}
	}
	return s.issued(text, doc.ExpiresIn), nil
}
