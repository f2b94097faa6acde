package acr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"acrpromote/internal/testca"
)

// testEnv is a network in which every host name leads to one TLS server; a host
// that has no handler fails the test when it is asked, or only dialled.
type testEnv struct {
	t        *testing.T
	address  string
	roots    *x509.CertPool
	handlers map[string]http.HandlerFunc

	mu      sync.Mutex
	dialled []string
}

func newTestEnv(t *testing.T) *testEnv {
	t.Helper()
	env := &testEnv{t: t, handlers: map[string]http.HandlerFunc{}}
	ca, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	env.roots = ca.Pool()
	address, server, err := ca.Serve(func(host string) http.HandlerFunc { return env.handlers[host] },
		func(r *http.Request) { t.Errorf("%s was asked: %s %s", r.Host, r.Method, r.URL) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	env.address = address
	return env
}

// client follows redirects as http.Client does: what must not be followed is
// for the package to see to.
func (env *testEnv) client() *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: env.roots},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(address)
			env.mu.Lock()
			env.dialled = append(env.dialled, address)
			env.mu.Unlock()
			if host == "gone.azurecr.io" {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return (&net.Dialer{}).DialContext(ctx, network, env.address)
		},
	}
	env.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (env *testEnv) hosts() []string {
	env.mu.Lock()
	defer env.mu.Unlock()
	hosts := slices.Clone(env.dialled)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// signedClient is the environment's client, whose requests s signs.
func (env *testEnv) signedClient(s *SignIn) *http.Client {
	client := env.client()
	client.Transport = s.Transport(client.Transport)
	return client
}

const entraToken = "eyJentra.token.ofTheIdentity"

// fakeEntra gives one token, for the one right scope.
type fakeEntra struct {
	t     *testing.T
	asked atomic.Int64
}

func (f *fakeEntra) GetToken(_ context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	f.asked.Add(1)
	if !slices.Equal(options.Scopes, []string{"https://containerregistry.azure.net/.default"}) {
		f.t.Errorf("Entra is asked for %v", options.Scopes)
	}
	return azcore.AccessToken{Token: entraToken, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

var serial atomic.Int64

// jwt makes a token that no other is equal to.
func jwt(lifetime time.Duration) string {
	// The issuer's clock is a year behind: only the difference may count.
	from := time.Now().Add(-365 * 24 * time.Hour).Unix()
	payload, _ := json.Marshal(map[string]any{"iat": from, "exp": from + int64(lifetime/time.Second), "jti": serial.Add(1)})
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(payload) + "." + encode([]byte("signature"))
}

// registry answers as a registry of Azure does when it is signed in to. It
// grants what is asked for, unless grant has other ideas.
type registry struct {
	t    *testing.T
	host string
	// user and password for GET /oauth2/token; none is anonymous.
	user, password string
	grant          func(scopes []string) (status int, body string)
	// answer, if not nil, serves what is not /oauth2/, once the token is good.
	answer http.HandlerFunc
	// challenge is added to a 401.
	challenge string

	mu        sync.Mutex
	exchanges int
	refresh   string
	asked     []string            // scopes, each request's joined by a space
	good      map[string][]string // access tokens and what they grant
}

func newRegistry(env *testEnv, host string) *registry {
	r := &registry{t: env.t, host: host, good: map[string][]string{}}
	env.handlers[host] = r.serve
	return r
}

func (r *registry) serve(rw http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch req.URL.Path {
	case "/oauth2/exchange":
		form := r.form(req)
		if form["grant_type"] != "access_token" || form["service"] != r.host || form["tenant"] != "tenant-1" || form["access_token"] != entraToken {
			r.t.Errorf("the exchange was asked with %v", form)
		}
		r.exchanges++
		r.refresh = jwt(3 * time.Hour)
		fmt.Fprintf(rw, `{"refresh_token":%q}`, r.refresh)
	case "/oauth2/token":
		scopes, ok := r.scopes(req)
		if !ok {
			rw.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(rw, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		r.asked = append(r.asked, strings.Join(scopes, " "))
		if r.grant != nil {
			if status, body := r.grant(scopes); status != 0 {
				rw.WriteHeader(status)
				fmt.Fprint(rw, body)
				return
			}
		}
		text := jwt(75 * time.Minute)
		r.good[text] = scopes
		fmt.Fprintf(rw, `{"access_token":%q}`, text)
	default:
		bearer, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		granted, ok := r.good[bearer]
		if need := requiredAccess(req.Method, req.URL, reading).scopes(); ok && !covers(granted, need) {
			r.unauthorized(rw, `,error="insufficient_scope"`)
			return
		}
		switch {
		case !ok:
			r.unauthorized(rw, `,error="invalid_token"`)
		case r.answer != nil:
			r.answer(rw, req)
		default:
			body, _ := io.ReadAll(req.Body)
			fmt.Fprintf(rw, "%s %s %s", req.Method, req.URL.Path, body)
		}
	}
}

func (r *registry) unauthorized(rw http.ResponseWriter, why string) {
	challenge := r.challenge
	if challenge == "" {
		challenge = `Bearer realm="https://` + r.host + `/oauth2/token",service="` + r.host + `"` + why
	}
	rw.Header().Set("Www-Authenticate", challenge)
	rw.WriteHeader(http.StatusUnauthorized)
	fmt.Fprint(rw, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
}

func covers(granted, need []string) bool {
	have := access{}
	for _, scope := range granted {
		parts := strings.Split(scope, ":")
		have[parts[1]] = strings.Split(parts[2], ",")
	}
	for _, scope := range need {
		parts := strings.Split(scope, ":")
		if !have.covers(access{parts[1]: strings.Split(parts[2], ",")}) {
			return false
		}
	}
	return true
}

func (r *registry) form(req *http.Request) map[string]string {
	if req.Method != http.MethodPost || req.ParseForm() != nil {
		r.t.Errorf("%s %s is no form", req.Method, req.URL)
	}
	form := map[string]string{}
	for name := range req.PostForm {
		form[name] = req.PostForm.Get(name)
	}
	return form
}

// scopes reads a request for an access token, in either of its forms.
func (r *registry) scopes(req *http.Request) ([]string, bool) {
	if req.Method == http.MethodPost {
		form := r.form(req)
		if form["grant_type"] != "refresh_token" || form["service"] != r.host {
			r.t.Errorf("a token was asked for with %v", form)
		}
		return strings.Fields(form["scope"]), form["refresh_token"] == r.refresh
	}
	query := req.URL.Query()
	user, password, named := req.BasicAuth()
	if query.Get("service") != r.host || named && query.Get("account") != user {
		r.t.Errorf("a token was asked for with %v", query)
	}
	return query["scope"], user == r.user && password == r.password
}

// revoke makes all access tokens invalid.
func (r *registry) revoke() {
	r.mu.Lock()
	r.good = map[string][]string{}
	r.mu.Unlock()
}

func (r *registry) counts() (exchanges int, asked []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exchanges, slices.Clone(r.asked)
}

func (env *testEnv) signIn(host string, needs map[string][]string) *SignIn {
	return NewSignIn(host, Entra(&fakeEntra{t: env.t}, "tenant-1"), env.client(), needs, false)
}

func fetch(t *testing.T, client *http.Client, method, address string, body io.Reader) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}
