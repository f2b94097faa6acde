package sim

import (
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// federationAudience is the audience of every federated assertion.
	federationAudience = "api://AzureADTokenExchange"
	assertionType      = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// Directory is one Entra tenant. It knows the applications that were added to
// it and nobody else. It is a TokenVerifier for the tokens that it issued.
type Directory struct {
	tenantID string
	signer   *signer
	// assertions finds the Azure DevOps organisation that issues under this
	// name; nil where there is none.
	assertions func(issuer string) *Organization

	mu           sync.Mutex
	applications map[string]*Application // by client id, lower case
	lifetime     time.Duration
	used         map[string]bool // ids of the certificates' assertions that were accepted
	audience     string          // of tokens, whatever was asked for
}

// Application is a registered application with its service principal.
type Application struct {
	directory *Directory
	clientID  string
	objectID  string
	secrets   []string
	federated []federatedCredential
	// certificates are those whose keys may sign the application's assertions.
	certificates []*x509.Certificate
}

type federatedCredential struct{ issuer, subject string }

// Directory opens a tenant at login.microsoftonline.com, or at the authority
// hosts named; many tenants may share a host. Asked again for the same tenant,
// it returns the same directory, and opens it at the further hosts.
func (c *Cloud) Directory(tenantID string, hosts ...string) *Directory {
	if len(hosts) == 0 {
		hosts = []string{"login.microsoftonline.com"}
	}
	tenantID = strings.ToLower(tenantID)
	var d *Directory
	for _, host := range append([]string{"login.microsoftonline.com"}, hosts...) {
		if found, ok := c.existing(host, tenantID).(*Directory); ok {
			d = found
		}
	}
	if d == nil {
		d = newDirectory(tenantID, c.organizationOf)
	}
	for _, host := range hosts {
		front := c.front(host)
		front.add(tenantID, d)
		front.setFallback(http.HandlerFunc(instanceDiscovery))
	}
	return d
}

var _ TokenVerifier = (*Directory)(nil)

func newDirectory(tenantID string, assertions func(string) *Organization) *Directory {
	return &Directory{
		tenantID: tenantID, signer: newSigner("entra/" + tenantID), assertions: assertions,
		applications: map[string]*Application{}, lifetime: time.Hour, used: map[string]bool{},
	}
}

// SetLifetime sets how long tokens issued from now on are valid (an hour
// unless set). A negative lifetime issues tokens that have expired.
func (d *Directory) SetLifetime(lifetime time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lifetime = lifetime
}

// SetAudience makes tokens issued from now on be for this audience, whatever they
// were asked for: an identity whose tokens are for Azure Resource Manager.
func (d *Directory) SetAudience(audience string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.audience = audience
}

// AddApplication registers an application. Asked again for the same client id,
// it returns the same application.
func (d *Directory) AddApplication(clientID string) *Application {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := strings.ToLower(clientID)
	if d.applications[key] == nil {
		d.applications[key] = &Application{directory: d, clientID: clientID, objectID: guidOf("principal/" + d.tenantID + "/" + key)}
	}
	return d.applications[key]
}

// ObjectID is the id of the application's service principal: what roles are
// assigned to.
func (a *Application) ObjectID() string { return a.objectID }

// AddSecret adds a client secret.
func (a *Application) AddSecret(secret string) *Application {
	a.directory.mu.Lock()
	defer a.directory.mu.Unlock()
	a.secrets = append(a.secrets, secret)
	return a
}

// AddFederatedCredential lets assertions of this issuer for exactly this
// subject sign the application in.
func (a *Application) AddFederatedCredential(issuer, subject string) *Application {
	a.directory.mu.Lock()
	defer a.directory.mu.Unlock()
	a.federated = append(a.federated, federatedCredential{issuer, subject})
	return a
}

// Verify checks signature, lifetime and audience of a token of this directory.
func (d *Directory) Verify(token, audience string) (Principal, error) {
	claims, err := d.signer.open(token)
	if err != nil {
		return Principal{}, err
	}
	if now := time.Now().Unix(); now >= seconds(claims, "exp") || now < seconds(claims, "nbf") {
		return Principal{}, errors.New("the token has expired")
	}
	if got := text(claims, "aud"); strings.TrimSuffix(got, "/") != strings.TrimSuffix(audience, "/") {
		return Principal{}, fmt.Errorf("the token was issued for %s, not for %s", got, audience)
	}
	return Principal{ObjectID: text(claims, "oid"), TenantID: text(claims, "tid"), ClientID: text(claims, "appid")}, nil
}

// Token issues a token for the registries as the token endpoint would, to
// somebody who is no program under test.
func (d *Directory) Token(a *Application) string {
	token, _ := d.issue(a, Audience)
	return token
}

func (d *Directory) issue(a *Application, audience string) (string, time.Duration) {
	d.mu.Lock()
	lifetime := d.lifetime
	if d.audience != "" {
		audience = d.audience
	}
	d.mu.Unlock()
	now := time.Now()
	return d.signer.sign(map[string]any{
		"aud": audience, "iss": "https://sts.windows.net/" + d.tenantID + "/",
		"iat": now.Unix(), "nbf": now.Add(min(lifetime, 0) - time.Minute).Unix(), "exp": now.Add(lifetime).Unix(),
		"appid": a.clientID, "appidacr": "2", "idtyp": "app", "oid": a.objectID, "sub": a.objectID,
		"tid": d.tenantID, "uti": guidOf(fmt.Sprintf("token/%s/%d", a.clientID, now.UnixNano())), "ver": "1.0",
	}), lifetime
}

func (d *Directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, rest := cutSegment(r.URL.Path)
	switch {
	case r.Method == http.MethodGet && rest == "/v2.0/.well-known/openid-configuration":
		d.discovery(w, r)
	case r.Method == http.MethodGet && rest == "/discovery/v2.0/keys":
		writeJSON(w, http.StatusOK, d.signer.jwks())
	case r.Method == http.MethodPost && rest == "/oauth2/v2.0/token":
		d.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (d *Directory) discovery(w http.ResponseWriter, r *http.Request) {
	base := "https://" + r.Host + "/" + d.tenantID
	writeJSON(w, http.StatusOK, map[string]any{
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"issuer":                                base + "/v2.0",
		"request_uri_parameter_supported":       false,
		"userinfo_endpoint":                     "https://graph.microsoft.com/oidc/userinfo",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"http_logout_supported":                 true,
		"frontchannel_logout_supported":         true,
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout",
		"claims_supported":                      []string{"sub", "iss", "aud", "exp", "iat", "nonce", "tid", "ver"},
		"tenant_region_scope":                   "EU",
		"cloud_instance_name":                   "microsoftonline.com",
	})
}

// instanceDiscovery answers what belongs to no tenant.
func instanceDiscovery(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Path == "/common/discovery/instance" {
		writeJSON(w, http.StatusOK, map[string]any{
			"tenant_discovery_endpoint": r.URL.Query().Get("authorization_endpoint"),
			"api-version":               "1.1",
			"metadata": []any{map[string]any{
				"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host},
			}},
		})
		return
	}
	tenant, _ := cutSegment(r.URL.Path)
	entraRefusal{http.StatusBadRequest, "invalid_request", 90002,
		"Tenant '" + tenant + "' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."}.write(w, r)
}

// entraRefusal is an error as Entra ID tells it.
type entraRefusal struct {
	status  int
	kind    string
	code    int
	message string
}

func (e entraRefusal) write(w http.ResponseWriter, r *http.Request) {
	now := time.Now().UTC()
	trace := guidOf(fmt.Sprintf("trace/%d", now.UnixNano()))
	correlation := r.Header.Get("client-request-id")
	if correlation == "" {
		correlation = guidOf("correlation/" + trace)
	}
	stamp := now.Format("2006-01-02 15:04:05Z")
	writeJSON(w, e.status, map[string]any{
		"error": e.kind,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			e.code, e.message, trace, correlation, stamp),
		"error_codes": []int{e.code}, "timestamp": stamp, "trace_id": trace, "correlation_id": correlation,
		"error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", e.code),
	})
}

func (d *Directory) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		entraRefusal{http.StatusBadRequest, "invalid_request", 900144, "The request body cannot be read."}.write(w, r)
		return
	}
	app, refusal := d.signIn(r.PostForm.Get, "https://"+r.Host+r.URL.Path)
	var audience string
	if refusal == nil {
		audience, refusal = audienceOf(r.PostForm.Get("scope"))
	}
	if refusal != nil {
		refusal.write(w, r)
		return
	}
	token, lifetime := d.issue(app, audience)
	w.Header().Set("Cache-Control", "no-store, no-cache")
	writeJSON(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": int(lifetime.Seconds()) - 1, "ext_expires_in": int(lifetime.Seconds()) - 1,
		"access_token": token,
	})
}

func (d *Directory) signIn(form func(string) string, endpoint string) (*Application, *entraRefusal) {
	if grant := form("grant_type"); grant != "client_credentials" {
		return nil, &entraRefusal{http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '" + grant + "'."}
	}
	id, secret, assertion := form("client_id"), form("client_secret"), form("client_assertion")
	d.mu.Lock()
	app := d.applications[strings.ToLower(id)]
	var secrets []string
	var federated []federatedCredential
	if app != nil {
		secrets, federated = slices.Clone(app.secrets), slices.Clone(app.federated)
	}
	d.mu.Unlock()
	switch {
	case app == nil:
		return nil, &entraRefusal{http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '" + id + "' was not found in the directory '" + d.tenantID + "'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."}
	case assertion != "" && form("client_assertion_type") == assertionType && signedByCertificate(assertion):
		return app, d.checkCertificate(assertion, app, endpoint)
	case assertion != "" && form("client_assertion_type") == assertionType:
		return app, d.checkAssertion(assertion, federated)
	case secret != "":
		for _, s := range secrets {
			if subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 {
				return app, nil
			}
		}
		return nil, &entraRefusal{http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '" + id + "'."}
	default:
		return nil, &entraRefusal{http.StatusUnauthorized, "invalid_client", 7000216, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."}
	}
}

// checkAssertion accepts what an Azure DevOps organisation of this cloud
// signed, for a subject that the application trusts, and nothing else.
func (d *Directory) checkAssertion(assertion string, federated []federatedCredential) *entraRefusal {
	refuse := func(code int, format string, args ...any) *entraRefusal {
		return &entraRefusal{http.StatusUnauthorized, "invalid_client", code, fmt.Sprintf(format, args...)}
	}
	const hint = "Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
	claims, err := claimsOf(assertion)
	if err != nil {
		return refuse(50027, "JWT token is invalid or malformed.")
	}
	issuer, subject := text(claims, "iss"), text(claims, "sub")
	if !slices.ContainsFunc(federated, func(f federatedCredential) bool { return f.issuer == issuer }) {
		return refuse(700211, "No matching federated identity record found for presented assertion issuer '%s'. %s", issuer, hint)
	}
	if !slices.Contains(federated, federatedCredential{issuer, subject}) {
		return refuse(700213, "No matching federated identity record found for presented assertion subject '%s'. %s", subject, hint)
	}
	if audience := text(claims, "aud"); audience != federationAudience {
		return refuse(700212, "No matching federated identity record found for presented assertion audience '%s'. %s", audience, hint)
	}
	org := d.assertions(issuer)
	if org == nil {
		return refuse(50166, "Request to External OIDC endpoint failed.")
	}
	if _, err := org.signer.open(assertion); err != nil {
		return refuse(500571, "The signature of the presented assertion is not valid.")
	}
	if now := time.Now().Unix(); now >= seconds(claims, "exp") || now < seconds(claims, "nbf") {
		return refuse(700024, "Client assertion is not within its valid time range. Current time: %s.", time.Now().UTC().Format(time.RFC3339))
	}
	return nil
}

// audienceOf returns the audience of the one scope that is asked for, that of
// registries, of vaults or of Azure Resource Manager; MSAL adds three of its own.
func audienceOf(scope string) (string, *entraRefusal) {
	var resources []string
	for _, s := range strings.Fields(scope) {
		if s != "openid" && s != "offline_access" && s != "profile" {
			resources = append(resources, s)
		}
	}
	if len(resources) == 1 {
		if audience, ok := strings.CutSuffix(resources[0], "/.default"); ok && knownAudience(audience) {
			return audience, nil
		}
	}
	return "", &entraRefusal{http.StatusBadRequest, "invalid_scope", 70011, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope " + scope + " is not valid."}
}

func knownAudience(audience string) bool {
	for _, vaults := range vaultAudiences {
		if audience == vaults {
			return true
		}
	}
	return audience == Audience || audience == ManagementAudience
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("sim: answer: %v", err))
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b)
}
