package sim

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bodies, codes and headers of the registry follow the recordings that the
// Azure SDKs keep of the real service, and, where these are silent, the
// distribution project that Azure Container Registry descends from.

// TokenVerifier checks an Entra access token: its signature, its lifetime and
// that it was issued for the audience.
type TokenVerifier interface {
	Verify(token, audience string) (Principal, error)
}

// Principal is who an Entra token was issued to.
type Principal struct{ ObjectID, TenantID, ClientID string }

// RegistryOptions say what a registry is like. The zero value is a registry
// with a referrers API and without anonymous pull that nobody can sign in to by
// Entra.
type RegistryOptions struct {
	Tokens            TokenVerifier    // nil: every exchange is refused
	Now               func() time.Time // drives createdTime and lastUpdateTime; nil is time.Now. Tokens run by real time
	TokenLifetime     time.Duration    // of access tokens, whole seconds; 0 is 75 minutes
	RefreshLifetime   time.Duration    // of refresh tokens, whole seconds; 0 is 3 hours
	NoAccessClaim     bool             // access tokens do not show what they grant
	StrictScopes      bool             // refuse a token (401) unless all of the asked scope is granted, instead of granting less
	AnonymousPull     bool
	NoReferrers       bool          // no referrers API, as with customer-managed keys
	ReferrersPage     int           // descriptors in one answer; 0 is 100
	TokenHost         string        // where tokens are issued; "" is the registry itself
	StorageHost       string        // where blob downloads are sent, one for each registry; "" is <name>.blob.core.windows.net
	DownloadLifetime  time.Duration // of a signed download address, whole seconds; 0 is 20 minutes
	Lag               Lag           // until a write is seen by other connections
	Limits            Limits        // requests that one identity may send; the zero value is no limit
	EqualTagPut       bool          // take a PUT of the digest that a locked tag points at already, instead of refusing it
	LockedPatch       bool          // refuse every PATCH of a tag or manifest that is locked for writing (azure-sdk-for-net#22827)
	ReadDisabled      ReadDisabled  // what is answered about a manifest that may not be read
	UnlistedReferrers bool          // the list of manifests leaves out those that refer to others
	SoftDelete        SoftDelete    // keep what is deleted, and refuse to take it again
	PurgeEvery        int           // delete what is untagged before every so many requests, as a retention policy of 0 days; 0 is never
	HTTP2             bool          // offer HTTP/2 as well as HTTP/1.1, at the storage too
	Quirks            Quirks        // what other registries do
}

// Registry is one simulated Azure container registry.
type Registry struct {
	cloud   *Cloud
	host    string
	storage string
	o       RegistryOptions
	key     []byte // signs its tokens and download addresses

	mu           sync.Mutex
	users        map[string]string // password by user
	grants       []grant
	generation   int             // of access tokens; older ones are expired
	downloads    int             // the same of download addresses
	allowed      map[string]bool // client addresses; nil is every one
	repositories map[string]*repository
	blobs        map[string]*blob
	uploads      map[string]*upload
	broken       map[string]bool // uploads that ended in the middle
	corrupted    map[string]func([]byte) []byte
	digestHeader func(string) string
	sequence     int
	requests     int // that have come so far
	arrivals     map[place]arrival
	locksBefore  map[place]lateLock
	deleted      map[place]bool    // manifests that are soft-deleted
	regional     map[string]string // the service that a regional endpoint names, by its host
	spent        map[spender]*spending
	refused      []Refused
	spilled      []string
}

// Registry opens a registry at host, and its storage.
func (c *Cloud) Registry(host string, o RegistryOptions) *Registry {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TokenLifetime == 0 {
		o.TokenLifetime = 75 * time.Minute
	}
	if o.RefreshLifetime == 0 {
		o.RefreshLifetime = 3 * time.Hour
	}
	if o.DownloadLifetime == 0 {
		o.DownloadLifetime = 20 * time.Minute
	}
	if o.ReferrersPage == 0 {
		o.ReferrersPage = 100
	}
	if o.StorageHost == "" {
		name, _, _ := strings.Cut(host, ".")
		o.StorageHost = name + ".blob.core.windows.net"
	}
	r := &Registry{
		cloud: c, host: host, storage: o.StorageHost, o: o,
		key:          []byte(rand.Text()),
		users:        map[string]string{},
		repositories: map[string]*repository{},
		blobs:        map[string]*blob{},
		uploads:      map[string]*upload{},
		broken:       map[string]bool{},
		arrivals:     map[place]arrival{},
		locksBefore:  map[place]lateLock{},
		deleted:      map[place]bool{},
		regional:     map[string]string{},
		spent:        map[spender]*spending{},
		corrupted:    map[string]func([]byte) []byte{},
	}
	c.mu.Lock()
	c.registries = append(c.registries, r)
	c.mu.Unlock()
	if !o.HTTP2 {
		c.HTTP1(host, r.storage)
	}
	c.Handle(host, r)
	c.Handle(r.storage, http.HandlerFunc(r.serveStorage))
	if o.TokenHost != "" {
		c.Handle(o.TokenHost, http.HandlerFunc(r.token))
	}
	return r
}

// Host is the registry's login server.
func (r *Registry) Host() string { return r.host }

// StorageHost is the host that blob downloads are sent to.
func (r *Registry) StorageHost() string { return r.storage }

// AllowOnly raises the firewall: any other client address gets 403, whatever
// the path. Without an address every client is let in again. The storage is
// guarded by the signature of its addresses alone.
func (r *Registry) AllowOnly(ips ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allowed = nil
	for _, ip := range ips {
		if r.allowed == nil {
			r.allowed = map[string]bool{}
		}
		r.allowed[ip] = true
	}
}

// ServeHTTP answers for the registry's login server.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Server", "openresty")
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Ms-Correlation-Request-Id", identifier())

	ip := ClientIP(req)
	r.mu.Lock()
	r.requests++
	denied := r.allowed != nil && !r.allowed[ip]
	if r.o.PurgeEvery > 0 && r.requests%r.o.PurgeEvery == 0 {
		r.purgeUntagged()
	}
	r.mu.Unlock()
	if denied {
		fail(w, http.StatusForbidden, "DENIED", fmt.Sprintf("client with IP '%s' is not allowed access. Refer https://aka.ms/acr/firewall to grant access.", ip), nil)
		return
	}

	if !r.withinLimits(w, req) {
		return
	}
	path := req.URL.Path // decoded: the slash of a repository name may be escaped
	switch {
	case path == "/oauth2/exchange" && req.Method == http.MethodPost:
		r.exchange(w, req)
	case path == "/oauth2/token" && (req.Method == http.MethodPost || req.Method == http.MethodGet):
		r.token(w, req)
	case path == "/v2" || path == "/v2/":
		if r.authorize(w, req) {
			answer(w, http.StatusOK, struct{}{})
		}
	case path == "/v2/_catalog" || path == "/acr/v1/_catalog":
		r.catalog(w, req)
	case strings.HasPrefix(path, "/v2/"):
		r.serveDistribution(w, req, strings.TrimPrefix(path, "/v2/"))
	case strings.HasPrefix(path, "/acr/v1/"):
		r.serveMetadata(w, req, strings.TrimPrefix(path, "/acr/v1/"))
	default:
		http.NotFound(w, req)
	}
}

func (r *Registry) serveDistribution(w http.ResponseWriter, req *http.Request, path string) {
	if name, ok := strings.CutSuffix(path, "/tags/list"); ok {
		r.tagsList(w, req, name)
		return
	}
	if at := strings.LastIndex(path, "/blobs/uploads"); at > 0 {
		id := strings.TrimPrefix(path[at+len("/blobs/uploads"):], "/")
		r.serveUpload(w, req, path[:at], id)
		return
	}
	for part, serve := range map[string]func(http.ResponseWriter, *http.Request, string, string){
		"/manifests/": r.serveManifest,
		"/blobs/":     r.serveBlob,
		"/referrers/": r.serveReferrers,
	} {
		at := strings.LastIndex(path, part)
		if at > 0 && !strings.Contains(path[at+len(part):], "/") {
			serve(w, req, path[:at], path[at+len(part):])
			return
		}
	}
	http.NotFound(w, req)
}

// validName reports whether the name is one that a repository may have, and
// answers if it is not.
func validName(w http.ResponseWriter, name string) bool {
	ok := name != "" && len(name) <= 255
	for component := range strings.SplitSeq(name, "/") {
		ok = ok && component != "" && isAlphanumeric(component[0]) && isAlphanumeric(component[len(component)-1])
		for _, c := range []byte(component) {
			ok = ok && (isAlphanumeric(c) || c == '.' || c == '_' || c == '-')
		}
	}
	if !ok {
		fail(w, http.StatusBadRequest, "NAME_INVALID", "invalid repository name", map[string]string{"name": name})
	}
	return ok
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func validTag(tag string) bool {
	for i, c := range []byte(tag) {
		word := isAlphanumeric(c) || 'A' <= c && c <= 'Z' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return tag != "" && len(tag) <= 128
}

func validDigest(digest string) bool {
	hexadecimal, ok := strings.CutPrefix(digest, "sha256:")
	raw, err := hex.DecodeString(hexadecimal)
	return ok && err == nil && len(raw) == 32 && strings.ToLower(hexadecimal) == hexadecimal
}

// page is the part of the names that comes after last, at most n of them, and
// whether there is more.
func page(names []string, last string, n int) ([]string, bool) {
	if last != "" {
		at := slices.Index(names, last)
		if at < 0 && slices.IsSorted(names) {
			at, _ = slices.BinarySearch(names, last)
			at--
		}
		names = names[at+1:]
	}
	if len(names) > n {
		return names[:n], true
	}
	return names, false
}

// fail answers with the error document of the distribution protocol.
func fail(w http.ResponseWriter, status int, code, message string, detail any) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	answer(w, status, map[string][]entry{"errors": {{code, message, detail}}})
}

// disallow is the answer to whatever a lock forbids.
func disallow(w http.ResponseWriter) {
	fail(w, http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION", "The operation is disallowed on this registry, repository or image. View troubleshooting steps at https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation", struct{}{})
}

func unsupported(w http.ResponseWriter) {
	fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.", nil)
}

func answer(w http.ResponseWriter, status int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// identifier is a random UUID.
func identifier() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
