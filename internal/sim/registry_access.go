package sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Audience is what an Entra token must be issued for to be exchanged.
const Audience = "https://containerregistry.azure.net"

// tokenUser is the user that goes with a refresh token as password.
const tokenUser = "00000000-0000-0000-0000-000000000000"

// Roles, as the actions that they allow on a repository.
var (
	AcrPull          = []string{"pull"}
	AcrPush          = []string{"pull", "push"}
	RepositoryReader = []string{"pull", "metadata_read"}
	RepositoryWriter = []string{"pull", "push", "metadata_read", "metadata_write"}
	CatalogLister    = []string{"catalog"}
)

type grant struct {
	who     string
	pattern string
	actions []string
}

// Grant allows actions (pull, push, delete, metadata_read, metadata_write; or
// catalog, for which the pattern does not matter) on the repositories that the
// pattern covers: "**" is all, "shop/**" all below shop, else as path.Match.
// Who is the object ID or client ID of a principal, or the name of a user. A
// token issued earlier keeps what it was issued with.
func (r *Registry) Grant(principalOrUser, repositoryPattern string, actions ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants = append(r.grants, grant{principalOrUser, repositoryPattern, actions})
}

// Revoke takes every grant from a principal or user.
func (r *Registry) Revoke(principalOrUser string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants = slices.DeleteFunc(r.grants, func(g grant) bool { return g.who == principalOrUser })
}

// AddUser adds a user with a password (a repository-scoped token, or the
// admin user), who may do nothing until granted.
func (r *Registry) AddUser(user, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[user] = password
}

// IdentityToken issues a refresh token to a user, as a login does that stores it in
// Docker's configuration.
func (r *Registry) IdentityToken(user string) string {
	return r.issue("refresh_token", identity{user}, nil, r.o.RefreshLifetime)
}

// ExpireTokens ends every access token issued so far. Refresh tokens stay.
func (r *Registry) ExpireTokens() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation++
}

// resource is one entry of a scope.
type resource struct {
	Type, Name string
	Actions    []string
}

func repositoryScope(name string, actions ...string) resource {
	return resource{"repository", name, actions}
}

func (s resource) String() string {
	return s.Type + ":" + s.Name + ":" + strings.Join(s.Actions, ",")
}

// identity is who asks: every name that a grant may call it by; anonymous if
// none.
type identity []string

// grantedTo reports whether the identity may do this by its grants.
func (r *Registry) grantedTo(who identity, kind, name, action string) bool {
	if len(who) == 0 {
		return r.o.AnonymousPull && (kind == "registry" || action == "pull" || action == "metadata_read")
	}
	if kind == "registry" {
		action = "catalog"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.grants, func(g grant) bool {
		return slices.Contains(who, g.who) && slices.Contains(g.actions, action) && (action == "catalog" || covers(g.pattern, name))
	})
}

func (r *Registry) hasGrants(who identity) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.grants, func(g grant) bool { return slices.Contains(who, g.who) })
}

func covers(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "**"); ok {
		return strings.HasPrefix(name, prefix)
	}
	ok, _ := path.Match(pattern, name)
	return ok
}

// claims is the payload of a refresh or an access token.
type claims struct {
	ID         string     `json:"jti"`
	Subject    string     `json:"sub"`
	NotBefore  int64      `json:"nbf"`
	Expires    int64      `json:"exp"`
	IssuedAt   int64      `json:"iat"`
	Issuer     string     `json:"iss"`
	Audience   string     `json:"aud"`
	Version    string     `json:"version"`
	GrantType  string     `json:"grant_type"`
	Identity   identity   `json:"identity,omitempty"`
	Access     []resource `json:"access,omitempty"`
	Opaque     []resource `json:"o,omitempty"` // access that the token does not show
	Generation int        `json:"generation"`
}

func (r *Registry) issue(kind string, who identity, access []resource, lifetime time.Duration) string {
	now := time.Now()
	r.mu.Lock()
	generation := r.generation
	r.mu.Unlock()
	c := claims{
		ID: identifier(), NotBefore: now.Add(-15 * time.Minute).Unix(), Expires: now.Add(lifetime).Unix(), IssuedAt: now.Unix(),
		Issuer: "Azure Container Registry", Audience: r.host, Version: "1.0",
		GrantType: kind, Identity: who, Access: access, Generation: generation,
	}
	if len(who) > 0 {
		c.Subject = who[0]
	}
	if r.o.NoAccessClaim {
		c.Access, c.Opaque = nil, access
	}
	payload, _ := json.Marshal(c)
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	return signed + "." + r.sign(signed)
}

func (r *Registry) sign(text string) string {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// read checks a token that this registry issued. Tokens of another registry
// bear another key's signature.
func (r *Registry) read(kind, token string) (claims, bool) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || subtle.ConstantTimeCompare([]byte(token[at+1:]), []byte(r.sign(token[:at]))) == 0 {
		return claims{}, false
	}
	_, encoded, _ := strings.Cut(token[:at], ".")
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	var c claims
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return claims{}, false
	}
	if c.Opaque != nil {
		c.Access = c.Opaque
	}
	r.mu.Lock()
	current := c.Generation == r.generation
	r.mu.Unlock()
	fresh := time.Now().Unix() < c.Expires && (current || kind == "refresh_token")
	return c, fresh && c.GrantType == kind && c.Audience == r.host
}

// signedIn checks a user and password, or a refresh token as password.
func (r *Registry) signedIn(user, password string) (identity, bool) {
	if user == tokenUser {
		c, ok := r.read("refresh_token", password)
		return c.Identity, ok && len(c.Identity) > 0
	}
	r.mu.Lock()
	known, ok := r.users[user]
	r.mu.Unlock()
	return identity{user}, ok && user != "" && subtle.ConstantTimeCompare([]byte(known), []byte(password)) == 1
}

// authorize answers 401 unless the request may do all that is needed.
func (r *Registry) authorize(w http.ResponseWriter, req *http.Request, needed ...resource) bool {
	header := req.Header.Get("Authorization")
	if header == "" {
		r.challenge(w, req, needed, "")
		return false
	}
	var allows func(kind, name, action string) bool
	if token, ok := strings.CutPrefix(header, "Bearer "); ok {
		c, valid := r.read("access_token", token)
		if !valid {
			r.challenge(w, req, needed, "invalid_token")
			return false
		}
		allows = func(kind, name, action string) bool {
			return slices.ContainsFunc(c.Access, func(a resource) bool {
				return a.Type == kind && a.Name == name && slices.Contains(a.Actions, action)
			})
		}
	} else {
		user, password, _ := req.BasicAuth()
		who, valid := r.signedIn(user, password)
		if !valid {
			r.challenge(w, req, needed, "invalid_token")
			return false
		}
		allows = func(kind, name, action string) bool { return r.grantedTo(who, kind, name, action) }
	}
	for _, n := range needed {
		for _, action := range n.Actions {
			if !allows(n.Type, n.Name, action) {
				r.challenge(w, req, needed, "insufficient_scope")
				return false
			}
		}
	}
	return true
}

// anonymous reports whether a request has a token that was issued to nobody.
func (r *Registry) anonymous(req *http.Request) bool {
	token, bearer := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	c, valid := r.read("access_token", token)
	return bearer && valid && len(c.Identity) == 0
}

func (r *Registry) challenge(w http.ResponseWriter, req *http.Request, needed []resource, problem string) {
	host, service := r.endpoint(req)
	if r.o.TokenHost != "" {
		host = r.o.TokenHost
	}
	challenge := fmt.Sprintf(`Bearer realm="https://%s/oauth2/token",service="%s"`, host, service)
	var scopes []string
	var detail []map[string]string
	for _, n := range needed {
		scopes = append(scopes, n.String())
		for _, action := range n.Actions {
			detail = append(detail, map[string]string{"Type": n.Type, "Name": n.Name, "Action": action})
		}
	}
	if len(scopes) > 0 {
		challenge += fmt.Sprintf(`,scope="%s"`, strings.Join(scopes, " "))
	}
	if problem != "" {
		challenge += fmt.Sprintf(`,error="%s"`, problem)
	}
	w.Header().Set("Www-Authenticate", challenge)
	var d any
	if detail != nil {
		d = detail
	}
	fail(w, http.StatusUnauthorized, "UNAUTHORIZED", unauthorized, d)
}

const unauthorized = "authentication required, visit https://aka.ms/acr/authorization for more information."

// exchange is POST /oauth2/exchange: an Entra token for a refresh token. A principal without any role at the registry is refused.
func (r *Registry) exchange(w http.ResponseWriter, req *http.Request) {
	form, ok := postForm(w, req)
	if !ok {
		return
	}
	if _, service := r.endpoint(req); form.Get("grant_type") != "access_token" || form.Get("service") != service {
		fail(w, http.StatusBadRequest, "BAD_REQUEST", "grant_type must be access_token, and service the registry's login server", nil)
		return
	}
	if r.o.Tokens == nil {
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED", unauthorized, nil)
		return
	}
	p, err := r.o.Tokens.Verify(form.Get("access_token"), Audience)
	tenant := form.Get("tenant")
	who := identity{p.ObjectID, p.ClientID}
	if err != nil || tenant != "" && !strings.EqualFold(tenant, p.TenantID) || !r.hasGrants(who) {
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED", unauthorized, nil)
		return
	}
	answer(w, http.StatusOK, map[string]string{"refresh_token": r.issue("refresh_token", who, nil, r.o.RefreshLifetime)})
}

// token is /oauth2/token: an access token for what of the asked scope is
// granted. POST takes a refresh token, a user and password, or nobody's
// password grant; GET takes Basic or nobody.
func (r *Registry) token(w http.ResponseWriter, req *http.Request) {
	var form url.Values
	var who identity
	valid := false
	if req.Method == http.MethodGet {
		form = req.URL.Query()
		if user, password, given := req.BasicAuth(); given {
			who, valid = r.signedIn(user, password)
		} else {
			valid = r.o.AnonymousPull && req.Header.Get("Authorization") == ""
		}
	} else {
		var ok bool
		if form, ok = postForm(w, req); !ok {
			return
		}
		switch form.Get("grant_type") {
		case "refresh_token":
			var c claims
			c, valid = r.read("refresh_token", form.Get("refresh_token"))
			who = c.Identity
		case "password":
			if form.Get("username") == "" && form.Get("refresh_token") == "" {
				valid = r.o.AnonymousPull
			} else {
				who, valid = r.signedIn(form.Get("username"), form.Get("password"))
			}
		default:
			fail(w, http.StatusBadRequest, "BAD_REQUEST", "grant_type must be refresh_token or password", nil)
			return
		}
	}
	if _, service := r.endpoint(req); form.Get("service") != service {
		fail(w, http.StatusBadRequest, "BAD_REQUEST", "service must be the registry's login server", nil)
		return
	}
	if !valid {
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED", unauthorized, nil)
		return
	}
	access, all := r.grantScopes(who, form["scope"])
	if !all && r.o.StrictScopes {
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED", unauthorized, nil)
		return
	}
	answer(w, http.StatusOK, map[string]string{"access_token": r.issue("access_token", who, access, r.o.TokenLifetime)})
}

// grantScopes is what of the scopes (each may hold several, set apart by
// spaces) the identity is granted, and whether that is all of them. A wildcard
// repository is silently ignored, as a registry in ABAC mode does.
func (r *Registry) grantScopes(who identity, scopes []string) (access []resource, all bool) {
	all = true
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		at := strings.LastIndexByte(rest, ':')
		if at < 0 || kind != "repository" && kind != "registry" {
			all = false
			continue
		}
		granted := resource{Type: kind, Name: rest[:at]}
		wanted := strings.Split(rest[at+1:], ",")
		if kind == "repository" && slices.Equal(wanted, []string{"*"}) {
			wanted = []string{"pull", "push", "delete", "metadata_read", "metadata_write"}
		}
		for _, action := range wanted {
			if r.grantedTo(who, kind, granted.Name, action) && !strings.Contains(granted.Name, "*") {
				granted.Actions = append(granted.Actions, action)
			} else {
				all = false
			}
		}
		if len(granted.Actions) > 0 {
			access = append(access, granted)
		}
	}
	return access, all
}

func postForm(w http.ResponseWriter, req *http.Request) (url.Values, bool) {
	req.Body = http.MaxBytesReader(w, req.Body, 1<<20)
	if err := req.ParseForm(); err != nil || len(req.PostForm) == 0 {
		fail(w, http.StatusBadRequest, "BAD_REQUEST", "a form is needed", nil)
		return nil, false
	}
	return req.PostForm, true
}
