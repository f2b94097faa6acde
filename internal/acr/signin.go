package acr

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"acrpromote/internal/keyed"
	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// freshFor is how young a token is that cannot have expired yet: if it is
// refused, it is for what it does not grant.
const freshFor = 10 * time.Second

// SignIn is the sign-in to one registry for one run. It exchanges an Entra
// token at most once before the registry's refresh token expires, keeps
// access tokens, and replaces them ahead of their end. It is safe for use by
// several goroutines, who share each request for a token.
type SignIn struct {
	host, scheme string
	credential   Credential
	client       *http.Client
	needs        access
	cloud        Cloud
	azure        bool
	now          func() time.Time
	// secrets are what no answer may repeat into an error.
	secrets sanitize.Secrets

	tokens     keyed.Flight[string, token]
	challenges keyed.Flight[string, challenge]

	mu        sync.Mutex
	kept      map[string]token
	narrow    map[string]bool // scopes for which the wide token does not do
	refused   bool            // the wide scope was refused
	refresh   token
	rejected  error // the exchange was refused: for the whole run
	renewed   bool  // a refresh token was replaced because it was refused
	challenge *challenge
	learning  chan struct{} // closed when the request that learns the challenge has ended
}

// NewSignIn prepares the sign-in to a registry; nothing is sent. The client is
// for tokens alone. needs lists what this run will want, by repository
// ("pull", "push", "metadata_read", …): all of it is asked for in one token.
func NewSignIn(host string, credential Credential, client *http.Client, needs map[string][]string, plain bool) *SignIn {
	s := &SignIn{
		host:       strings.ToLower(host),
		scheme:     "https",
		credential: credential,
		client:     withoutRedirects(client),
		needs:      access(needs),
		now:        time.Now,
		kept:       map[string]token{},
		narrow:     map[string]bool{},
	}
	if credential == nil {
		s.credential = Anonymous()
	}
	if p, ok := s.credential.(password); ok {
		s.secrets.AddLogin(p.user, p.password)
	}
	if plain {
		s.scheme = "http"
	} else {
		s.host = ref.CanonicalHost(host)
		s.cloud, s.azure = Suffix(s.host)
	}
	return s
}

// Transport authorises the requests that go to this registry, and no others.
func (s *SignIn) Transport(next http.RoundTripper) http.RoundTripper {
	return &authorizing{signIn: s, next: next}
}

type authorizing struct {
	signIn *SignIn
	next   http.RoundTripper
}

func (a *authorizing) RoundTrip(req *http.Request) (*http.Response, error) {
	s := a.signIn
	if !s.owns(req.URL) {
		return a.next.RoundTrip(req)
	}
	if s.asks() {
		still, resp, err := a.approach(req)
		if still == nil {
			return resp, err
		}
		req = still
	}
	want := wanted(req.Method, req.URL)
	header, used, err := s.authorization(req.Context(), want)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := a.next.RoundTrip(signed(req, header))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || used.text == "" || resp.Request == nil || !s.owns(resp.Request.URL) {
		return resp, err
	}
	// Whoever cannot send the request again finds a new token the next time.
	s.drop(used, want, resp.Header)
	again := anew(req)
	if again == nil {
		return resp, nil
	}
	header, _, err = s.authorization(req.Context(), want)
	if err != nil {
		closeBody(again)
		resp.Body.Close()
		return nil, err
	}
	discard(resp)
	return a.next.RoundTrip(signed(again, header))
}

// replayable tells whether a request can be sent twice.
func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// anew is the request once more, nil if it cannot be sent twice.
func anew(req *http.Request) *http.Request {
	if !replayable(req) {
		return nil
	}
	if req.GetBody == nil {
		return req
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	again := req.Clone(req.Context())
	again.Body = body
	return again
}

// discard reads off an answer nobody wants, so that its connection serves on.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxToken)
	resp.Body.Close()
}

// owns says whether the address is this registry's own.
func (s *SignIn) owns(u *url.URL) bool {
	at, ok := address(u)
	own, _ := address(&url.URL{Scheme: s.scheme, Host: s.host})
	return ok && u.Scheme == s.scheme && at == own
}

func signed(req *http.Request, header string) *http.Request {
	own := req.Clone(req.Context())
	own.Header.Del("Authorization")
	if header != "" {
		own.Header.Set("Authorization", header)
	}
	return own
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// authorization gives the header for a request, and the token in it if it is
// one that can be replaced.
func (s *SignIn) authorization(ctx context.Context, want access) (string, token, error) {
	if !s.azure {
		challenge, err := s.ping(ctx)
		if err != nil {
			return "", token{}, err
		}
		switch challenge.scheme {
		case "":
			return "", token{}, nil
		case "basic":
			return basic(s.credential.(password)), token{}, nil
		}
	}
	t, err := s.bearer(ctx, want)
	if err != nil {
		return "", token{}, err
	}
	return "Bearer " + t.text, t, nil
}

func basic(p password) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user+":"+p.password))
}

// bearer gives a token for what is wanted: the wide one if it does, else one
// for just that.
func (s *SignIn) bearer(ctx context.Context, want access) (token, error) {
	narrow := want.scopes()
	key := strings.Join(narrow, " ")
	s.mu.Lock()
	wide := len(s.needs) > 0 && !s.refused && !s.narrow[key] && s.needs.covers(want)
	s.mu.Unlock()
	if wide {
		t, err := s.scoped(ctx, s.needs.scopes())
		if err == nil || !refusedScope(err) || len(narrow) == 0 {
			return t, err
		}
		// One repository without a right must not cost the others theirs.
		s.mu.Lock()
		s.refused = true
		s.mu.Unlock()
	}
	return s.scoped(ctx, narrow)
}

func refusedScope(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.scope && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

func (s *SignIn) scoped(ctx context.Context, scopes []string) (token, error) {
	key := strings.Join(scopes, " ")
	s.mu.Lock()
	t := s.kept[key]
	s.mu.Unlock()
	if t.good(s.now()) {
		return t, nil
	}
	return s.tokens.Do(ctx, "scope "+key, func(ctx context.Context) (token, error) {
		s.mu.Lock()
		t := s.kept[key]
		s.mu.Unlock()
		if t.good(s.now()) {
			return t, nil
		}
		t, err := s.fetch(ctx, scopes)
		if err == nil {
			s.mu.Lock()
			s.kept[key] = t
			s.mu.Unlock()
		}
		return t, err
	})
}

// drop forgets a token that was refused, unless another request has replaced
// it meanwhile; one that granted too little stays good for others.
func (s *SignIn) drop(used token, want access, header http.Header) {
	tooLittle := strings.Contains(strings.ToLower(strings.Join(header.Values("Www-Authenticate"), " ")), "insufficient_scope")
	wide := strings.Join(s.needs.scopes(), " ")
	narrow := strings.Join(want.scopes(), " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, t := range s.kept {
		if t.text != used.text {
			continue
		}
		if key == wide && key != narrow && narrow != "" && (tooLittle || s.now().Sub(t.fetched) < freshFor) {
			s.narrow[narrow] = true
			continue
		}
		delete(s.kept, key)
	}
}

func (s *SignIn) fetch(ctx context.Context, scopes []string) (token, error) {
	if identity, ok := s.credential.(entra); ok {
		return s.fetchWithRefresh(ctx, identity, scopes)
	}
	return s.fetchByGet(ctx, scopes)
}

// fetchWithRefresh asks for an access token with the registry's refresh token.
// One that is refused long after it was made may have been revoked: it is made
// anew, but only once in a run, since a scope that is not granted looks alike.
func (s *SignIn) fetchWithRefresh(ctx context.Context, identity entra, scopes []string) (token, error) {
	for {
		refresh, err := s.exchange(ctx, identity)
		if err != nil {
			return token{}, err
		}
		t, err := s.accessToken(ctx, refresh, scopes)
		if !refusedScope(err) || s.now().Sub(refresh.fetched) < time.Minute {
			return t, err
		}
		s.mu.Lock()
		again := !s.renewed || s.refresh.text != refresh.text
		s.renewed = true
		if again && s.refresh.text == refresh.text {
			s.refresh = token{}
		}
		s.mu.Unlock()
		if !again {
			return t, err
		}
	}
}

// issued dates a token that was just given, and knows it as a secret.
func (s *SignIn) issued(text string, expiresIn int64) token {
	s.secrets.Add(text)
	return issued(text, expiresIn, s.now())
}

func (s *SignIn) accessToken(ctx context.Context, refresh token, scopes []string) (token, error) {
	op := "asking for a token" + forScopes(scopes)
	client, err := s.authentication()
	if err != nil {
		return token{}, err
	}
	grant := azcontainerregistry.TokenGrantTypeRefreshToken
	seen := &troubles{}
	answer, err := client.ExchangeACRRefreshTokenForACRAccessToken(context.WithValue(ctx, troublesKey{}, seen), s.host, strings.Join(scopes, " "), refresh.text,
		&azcontainerregistry.AuthenticationClientExchangeACRRefreshTokenForACRAccessTokenOptions{GrantType: &grant})
	if err != nil {
		return token{}, s.tokenError(op, err, seen, scopes)
	}
	if answer.AccessToken == nil || !wellFormed(*answer.AccessToken) {
		return token{}, &Error{Host: s.host, Op: op, why: "the answer bears no token", Remedy: "Check the registry's name, and what stands in front of it"}
	}
	return s.issued(*answer.AccessToken, 0), nil
}

// exchange gives the registry's refresh token for the Entra token. This is the
// one place where an Entra token leaves the program, and it goes nowhere but
// to /oauth2/exchange of a host under the cloud's registry suffix.
func (s *SignIn) exchange(ctx context.Context, identity entra) (token, error) {
	if !s.azure {
		return token{}, &Error{Host: s.host, Op: "signing in " + identity.describe(), why: "it is no registry of Azure (" + public.Suffix + ", " + china.Suffix + ", " + government.Suffix + "), so no token was asked for or sent", Remedy: "Use a Docker registry connection with user and password for it", kind: ErrDenied}
	}
	s.mu.Lock()
	kept, rejected := s.refresh, s.rejected
	s.mu.Unlock()
	switch {
	case rejected != nil:
		return token{}, rejected
	case kept.good(s.now()):
		return kept, nil
	}
	return s.tokens.Do(ctx, "refresh", func(ctx context.Context) (token, error) {
		s.mu.Lock()
		kept := s.refresh
		s.mu.Unlock()
		if kept.good(s.now()) {
			return kept, nil
		}
		t, err := s.exchangeOnce(ctx, identity)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			s.refresh = t
		} else if errors.Is(err, ErrDenied) {
			// It will not be accepted the next time either, and registries
			// throttle those who try.
			s.rejected = err
		}
		return t, err
	})
}

func (s *SignIn) exchangeOnce(ctx context.Context, identity entra) (token, error) {
	op := "exchanging the identity's token"
	if c, ok := identity.credential.(clouded); ok && c.Cloud() != s.cloud {
		return token{}, &Error{Host: s.host, Op: op, kind: ErrDenied,
			why:    fmt.Sprintf("it is a registry of %s, but the identity belongs to %s; no token was asked for", s.cloud.Name, c.Cloud().Name),
			Remedy: "Use a service connection whose environment is " + s.cloud.Name}
	}
	issuedByEntra, err := identity.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: tokenScope})
	if err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return token{}, err
		}
		return token{}, unanswered(s.host, "signing in "+identity.describe(), err, &s.secrets)
	}
	s.secrets.Add(issuedByEntra.Token)
	client, err := s.authentication()
	if err != nil {
		return token{}, err
	}
	options := &azcontainerregistry.AuthenticationClientExchangeAADAccessTokenForACRRefreshTokenOptions{AccessToken: &issuedByEntra.Token}
	if identity.tenant != "" {
		options.Tenant = &identity.tenant
	}
	seen := &troubles{}
	answer, err := client.ExchangeAADAccessTokenForACRRefreshToken(context.WithValue(ctx, troublesKey{}, seen), azcontainerregistry.PostContentSchemaGrantTypeAccessToken, s.host, options)
	if err != nil {
		e := s.tokenError(op, err, seen, nil)
		if own, ok := errors.AsType[*Error](e); ok && own.Status == http.StatusUnauthorized {
			own.why = "the registry does not accept the identity"
			own.Remedy = "Check that it belongs to the registry's tenant and has a role there: Container Registry Repository Reader to read, Repository Writer to write and lock (AcrPull and AcrPush where the registry does not use ABAC)"
		}
		return token{}, e
	}
	if answer.RefreshToken == nil || !wellFormed(*answer.RefreshToken) {
		return token{}, &Error{Host: s.host, Op: op, why: "the answer bears no token", Remedy: "Check the registry's name, and what stands in front of it"}
	}
	return s.issued(*answer.RefreshToken, 0), nil
}
