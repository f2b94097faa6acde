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
	"acrpromote/internal/refusal"
	"acrpromote/internal/sanitize"
)

// freshFor is the age up to which a token cannot have expired: if it is
// refused, it does not grant enough.
const freshFor = 10 * time.Second

// SignIn is the sign-in to one registry for one run. It exchanges an Entra
// token at most once before the registry's refresh token expires, caches access
// tokens, and renews them before they expire. Concurrent requests share each
// request for a token. It is safe for concurrent use.
type SignIn struct {
	host, scheme string
	credential   Credential
	client       *http.Client
	// tokenClient, if not nil, returns the client for tokens of another host.
	tokenClient func(host string) *http.Client
	needs       access
	cloud       Cloud
	azure       bool
	now         func() time.Time
	// secrets are removed from what responses repeat.
	secrets *sanitize.Secrets
	// prompt is set if the credential is the user's own, not a service connection's.
	prompt bool

	tokens     keyed.Flight[string, token]
	challenges keyed.Flight[string, challenge]

	mu                sync.Mutex
	tokenHost         string // that may issue tokens, besides the registry
	tokenHostWithheld string // why it may not
	cache             map[string]token
	needNarrow        map[string]bool // scopes for which the wide token does not do
	wideRefused       bool            // the wide scope was refused
	refresh           token
	exchangeErr       error     // the exchange was refused: for the whole run
	renewed           bool      // a refresh token was replaced because it was refused
	who               principal // that the Entra token is for
	challenge         *challenge
	serviceName       string        // that tokens are for, once a regional endpoint has named it
	probing           chan struct{} // closed when the request that learns the challenge has ended
}

// NewSignIn returns the sign-in to a registry; it sends nothing yet. The client
// is for tokens alone. needs lists the actions that this run will need, by
// repository ("pull", "push", "metadata_read", …): one token is requested for
// all of them.
func NewSignIn(host string, credential Credential, client *http.Client, needs map[string][]string, plain bool) *SignIn {
	s := &SignIn{
		host:       strings.ToLower(host),
		scheme:     "https",
		credential: credential,
		client:     withoutRedirects(client),
		needs:      access(needs),
		now:        time.Now,
		cache:      map[string]token{},
		needNarrow: map[string]bool{},
		secrets:    &sanitize.Secrets{},
	}
	if credential == nil {
		s.credential = Anonymous()
	}
	s.addPassword()
	if plain {
		s.scheme = "http"
	} else {
		s.host = ref.CanonicalHost(host)
		s.cloud, s.azure = CloudOf(s.host)
	}
	return s
}

// Redact makes the sign-in add its secrets to those of the whole run, and remove
// all of them from what responses repeat. It must be called before the first
// request.
func (s *SignIn) Redact(secrets *sanitize.Secrets) {
	s.secrets = secrets
	s.addPassword()
}

// AtPrompt makes messages say how a person signs in. It must be called before the
// first request.
func (s *SignIn) AtPrompt() { s.prompt = true }

func (s *SignIn) addPassword() {
	switch c := s.credential.(type) {
	case password:
		s.secrets.AddLogin(c.user, c.password)
	case identityToken:
		s.secrets.Add(c.token)
	}
}

// named reports whether the credential is for somebody, in contrast to anonymous
// access.
func (s *SignIn) named() bool { return s.credential != Anonymous() }

// RequestElsewhere sets a function that returns the client for tokens of another host
// than the registry; without it there are none. It must be called before the first
// request.
func (s *SignIn) RequestElsewhere(client func(host string) *http.Client) { s.tokenClient = client }

// Transport returns a transport that authorizes the requests to this registry,
// and no others.
func (s *SignIn) Transport(next http.RoundTripper) http.RoundTripper {
	return &authTransport{signIn: s, next: next}
}

type authTransport struct {
	signIn *SignIn
	next   http.RoundTripper
}

func (a *authTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	s := a.signIn
	if !s.owns(req.URL) {
		return a.next.RoundTrip(req)
	}
	if s.needsProbe() {
		still, resp, err := a.probe(req)
		if still == nil {
			return resp, err
		}
		req = still
	}
	want := requiredAccess(req.Method, req.URL, s.listTags())
	header, used, err := s.authorization(req.Context(), want)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := a.next.RoundTrip(withAuthorization(req, header))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || used.text == "" || resp.Request == nil || !s.owns(resp.Request.URL) {
		return resp, err
	}
	if used.withholds(s.needs, want) {
		return resp, nil
	}
	// A request that cannot be sent again gets a new token next time.
	s.drop(used, want, resp.Header)
	again := rewind(req)
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
	return a.next.RoundTrip(withAuthorization(again, header))
}

// listTags returns the action that listing tags needs: on Azure it reads metadata
// (github.com/Azure/acr/issues/676), unless the registry is open to all (663).
// Other registries have no such action.
func (s *SignIn) listTags() string {
	if _, open := s.credential.(anonymous); open || !s.azure {
		return "pull"
	}
	return reading
}

// replayable reports whether a request can be sent twice.
func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// rewind returns the request to be sent once more, nil if it cannot be sent
// twice.
func rewind(req *http.Request) *http.Request {
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

// discard reads an unwanted response to its end, so that its connection can be
// used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxToken)
	resp.Body.Close()
}

// owns reports whether the address is this registry's own.
func (s *SignIn) owns(u *url.URL) bool {
	at, ok := address(u)
	own, _ := address(&url.URL{Scheme: s.scheme, Host: s.host})
	return ok && u.Scheme == s.scheme && at == own
}

func withAuthorization(req *http.Request, header string) *http.Request {
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

// authorization returns the header for a request, and the token in it if it can
// be renewed.
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

// bearer returns a token for the access: the wide one if it grants it,
// otherwise one for exactly that.
func (s *SignIn) bearer(ctx context.Context, want access) (token, error) {
	narrow := want.scopes()
	key := strings.Join(narrow, " ")
	s.mu.Lock()
	wide := len(s.needs) > 0 && !s.wideRefused && !s.needNarrow[key] && s.needs.covers(want)
	s.mu.Unlock()
	if wide {
		t, err := s.scoped(ctx, s.needs.scopes())
		if err == nil || !isScopeRefused(err) || len(narrow) == 0 {
			return t, err
		}
		// A missing right on one repository must not affect the others.
		s.mu.Lock()
		s.wideRefused = true
		s.mu.Unlock()
	}
	return s.scoped(ctx, narrow)
}

func isScopeRefused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Denied()
}

func (s *SignIn) scoped(ctx context.Context, scopes []string) (token, error) {
	key := strings.Join(scopes, " ")
	s.mu.Lock()
	t := s.cache[key]
	s.mu.Unlock()
	if t.valid(s.now()) {
		return t, nil
	}
	return s.tokens.Do(ctx, "scope "+key, func(ctx context.Context) (token, error) {
		s.mu.Lock()
		t := s.cache[key]
		s.mu.Unlock()
		if t.valid(s.now()) {
			return t, nil
		}
		t, err := s.fetch(ctx, scopes)
		if err == nil {
			s.mu.Lock()
			s.cache[key] = t
			s.mu.Unlock()
		}
		return t, err
	})
}

// drop removes a refused token from the cache, unless another request has
// renewed it. A token that granted too little stays cached for others.
func (s *SignIn) drop(used token, want access, header http.Header) {
	tooLittle := strings.Contains(strings.ToLower(strings.Join(header.Values("Www-Authenticate"), " ")), "insufficient_scope")
	wide := strings.Join(s.needs.scopes(), " ")
	narrow := strings.Join(want.scopes(), " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, t := range s.cache {
		if t.text != used.text {
			continue
		}
		if key == wide && key != narrow && narrow != "" && (tooLittle || s.now().Sub(t.fetched) < freshFor) {
			s.needNarrow[narrow] = true
			continue
		}
		delete(s.cache, key)
	}
}

func (s *SignIn) fetch(ctx context.Context, scopes []string) (token, error) {
	if identity, ok := s.credential.(entra); ok {
		return s.fetchWithRefresh(ctx, identity, scopes)
	}
	return s.fetchFromRealm(ctx, scopes)
}

// fetchWithRefresh requests an access token with the registry's refresh token.
// A refresh token that is refused long after it was issued may have been
// revoked, or have expired on its way: it is renewed, but only once in a run, since a scope that is not
// granted looks the same.
func (s *SignIn) fetchWithRefresh(ctx context.Context, identity entra, scopes []string) (token, error) {
	for {
		refresh, err := s.exchange(ctx, identity)
		if err != nil {
			return token{}, err
		}
		t, err := s.accessToken(ctx, refresh, scopes)
		if !isScopeRefused(err) || s.now().Sub(refresh.fetched) < min(time.Minute, refresh.renewAt.Sub(refresh.fetched)/2) {
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

// receivedToken returns a token that was just issued, and adds it to the secrets.
// All are kept, to remove them from every text.
func (s *SignIn) receivedToken(op, text string, expiresIn int64) (token, error) {
	if s.secrets.Size()+len(text) > maxTokens {
		return token{}, &Error{Host: s.host, Op: op, detail: fmt.Sprintf("the tokens of this run have more than %d MiB", maxTokens>>20), Remedy: "Move fewer images in one run, and check what is in front of the registry"}
	}
	s.secrets.Add(text)
	return newToken(text, expiresIn, s.now()), nil
}

func (s *SignIn) accessToken(ctx context.Context, refresh token, scopes []string) (token, error) {
	op := "asking for a token" + forScopes(scopes)
	client, err := s.authenticationClient()
	if err != nil {
		return token{}, err
	}
	service, err := s.service(ctx)
	if err != nil {
		return token{}, err
	}
	grant := azcontainerregistry.TokenGrantTypeRefreshToken
	seen := &errorCapture{}
	defer seen.release()
	answer, err := client.ExchangeACRRefreshTokenForACRAccessToken(context.WithValue(ctx, errorCaptureKey{}, seen), service, strings.Join(scopes, " "), refresh.text,
		&azcontainerregistry.AuthenticationClientExchangeACRRefreshTokenForACRAccessTokenOptions{GrantType: &grant})
	if err != nil {
		return token{}, s.tokenError(op, err, seen, scopes)
	}
	if answer.AccessToken == nil || !wellFormed(*answer.AccessToken) {
		return token{}, &Error{Host: s.host, Op: op, detail: "the response has no token", Remedy: "Check the registry's name, and what is in front of it"}
	}
	return s.receivedToken(op, *answer.AccessToken, 0)
}

// exchange returns the registry's refresh token for the Entra token. This is
// the only place where an Entra token leaves the program: it is sent to
// /oauth2/exchange of a host under the cloud's registry suffix.
func (s *SignIn) exchange(ctx context.Context, identity entra) (token, error) {
	if !s.azure {
		return token{}, &Error{Host: s.host, Op: "signing in " + identity.describe(), detail: "it is no registry of Azure (" + public.Suffix + ", " + china.Suffix + ", " + government.Suffix + "), so no token was asked for or sent", Remedy: "Use a Docker registry connection with user and password for it", kind: ErrDenied}
	}
	s.mu.Lock()
	kept, rejected := s.refresh, s.exchangeErr
	s.mu.Unlock()
	switch {
	case rejected != nil:
		return token{}, rejected
	case kept.valid(s.now()):
		return kept, nil
	}
	return s.tokens.Do(ctx, "refresh", func(ctx context.Context) (token, error) {
		s.mu.Lock()
		kept := s.refresh
		s.mu.Unlock()
		if kept.valid(s.now()) {
			return kept, nil
		}
		t, err := s.exchangeOnce(ctx, identity)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			s.refresh = t
		} else if errors.Is(err, ErrDenied) {
			// It will be refused again, and registries throttle repeated
			// attempts.
			s.exchangeErr = err
		}
		return t, err
	})
}

func (s *SignIn) exchangeOnce(ctx context.Context, identity entra) (token, error) {
	op := "exchanging the identity's token"
	if c, ok := identity.credential.(cloudCredential); ok && c.Cloud() != s.cloud {
		return token{}, &Error{Host: s.host, Op: op, kind: ErrDenied,
			detail: fmt.Sprintf("it is a registry of %s, but the identity belongs to %s; no token was asked for", s.cloud.Name, c.Cloud().Name),
			Remedy: "Use a service connection whose environment is " + s.cloud.Name}
	}
	issuedByEntra, err := identity.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: tokenScope})
	if err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return token{}, err
		}
		return token{}, transportError(s.host, "signing in "+identity.describe(), err, s.secrets)
	}
	s.secrets.Add(issuedByEntra.Token)
	s.setPrincipal(readPrincipal(issuedByEntra.Token))
	client, err := s.authenticationClient()
	if err != nil {
		return token{}, err
	}
	service, err := s.service(ctx)
	if err != nil {
		return token{}, err
	}
	options := &azcontainerregistry.AuthenticationClientExchangeAADAccessTokenForACRRefreshTokenOptions{AccessToken: &issuedByEntra.Token}
	if identity.tenant != "" {
		options.Tenant = &identity.tenant
	}
	seen := &errorCapture{}
	defer seen.release()
	answer, err := client.ExchangeAADAccessTokenForACRRefreshToken(context.WithValue(ctx, errorCaptureKey{}, seen), azcontainerregistry.PostContentSchemaGrantTypeAccessToken, service, options)
	if err != nil {
		e := s.tokenError(op, err, seen, nil)
		if own, ok := errors.AsType[*Error](e); ok && own.Status == http.StatusUnauthorized {
			name := "registry-identity-refused"
			if s.principal().forResourceManager {
				name = "registry-arm-token"
			}
			own.detail, own.Remedy = refusal.Named(name).Fill("grant", s.Remedy(nil))
		}
		return token{}, e
	}
	if answer.RefreshToken == nil || !wellFormed(*answer.RefreshToken) {
		return token{}, &Error{Host: s.host, Op: op, detail: "the response has no token", Remedy: "Check the registry's name, and what is in front of it"}
	}
	return s.receivedToken(op, *answer.RefreshToken, 0)
}
