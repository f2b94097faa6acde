package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bodies and codes of the vault follow the REST reference, the SDKs' recordings and
// what users report of the service's errors.

// vaultAudiences are the audiences of the tokens for vaults, by the suffix of their
// hosts.
var vaultAudiences = map[string]string{
	"vault.azure.net":         "https://vault.azure.net",
	"vault.azure.cn":          "https://vault.azure.cn",
	"vault.usgovcloudapi.net": "https://vault.usgovcloudapi.net",
}

// VaultOptions say what a vault is like. The zero value is a vault without a firewall
// that nobody can sign in to.
type VaultOptions struct {
	Tokens  TokenVerifier // nil: every token is refused
	Tenant  string        // of the vault, for its challenges
	Latency time.Duration // of each request
	// Limit is how many requests for a 2,048-bit RSA or an EC software key the vault
	// takes in a window, 4,000 in 10 seconds as published; 0 is no limit. Requests
	// for other keys weigh more.
	Limit  int
	Window time.Duration // 0 is 10 seconds
	// RetryAfter adds the header to 429. Reports of the service's responses have none.
	RetryAfter bool
	// HideDisabled refuses to show a key that is disabled, as the service does with
	// secrets. Reports about keys contradict each other; most say that it is shown.
	HideDisabled bool
}

// Vault is one simulated Key Vault, as far as it has keys that sign.
type Vault struct {
	cloud *Cloud
	host  string
	o     VaultOptions

	mu         sync.Mutex
	keys       map[string][]*vaultKey // by name in lower case, oldest version first
	grants     map[string][]string    // actions by object ID or client ID
	allowed    map[string]bool        // client addresses; nil is every one
	private    bool
	spent      []vaultRequest
	throttled  int
	signatures int
	sequence   int
}

type vaultKey struct {
	name, version string
	private       crypto.Signer // nil: a curve or a type that is not simulated
	document      map[string]any
	weight        int // 4,000 divided by what the service takes in a window
	o             VaultKey
}

type vaultRequest struct {
	at     time.Time
	weight int
}

// VaultKey says what a key is like. The zero value is a P-256 key in software that
// is enabled and permits everything.
type VaultKey struct {
	Type      string // EC, RSA, EC-HSM, RSA-HSM or oct-HSM; "" is EC
	Curve     string // P-256, P-384, P-521 or P-256K; "" is P-256
	Bits      int    // of RSA; 0 is 2048
	Disabled  bool
	NotBefore time.Time
	Expires   time.Time
	Ops       []string // nil is all
}

// Vault opens a vault at host.
func (c *Cloud) Vault(host string, o VaultOptions) *Vault {
	if o.Window == 0 {
		o.Window = 10 * time.Second
	}
	v := &Vault{cloud: c, host: strings.ToLower(host), o: o, keys: map[string][]*vaultKey{}, grants: map[string][]string{}}
	c.Handle(host, v)
	return v
}

// Host is the vault's host name.
func (v *Vault) Host() string { return v.host }

// CreateKey adds a version of a key, which becomes the current one, and returns it.
func (v *Vault) CreateKey(name string, o VaultKey) (version string) {
	k := newVaultKey(o)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sequence++
	k.name, k.version = name, strings.ReplaceAll(guidOf(fmt.Sprintf("%s/%s/%d", v.host, name, v.sequence)), "-", "")
	id := strings.ToLower(name)
	v.keys[id] = append(v.keys[id], k)
	return k.version
}

// UpdateKey changes a version of a key, the current one if version is empty. Type,
// curve and bits stay.
func (v *Vault) UpdateKey(name, version string, change func(*VaultKey)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k := v.find(name, version); k != nil {
		change(&k.o)
	}
}

// DeleteKey deletes all versions of a key. They are kept for recovery, and show as
// not found.
func (v *Vault) DeleteKey(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.keys, strings.ToLower(name))
}

// Public returns the public key of a version, of the current one if version is empty.
func (v *Vault) Public(name, version string) crypto.PublicKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k := v.find(name, version); k != nil && k.private != nil {
		return k.private.Public()
	}
	return nil
}

// Grant allows a principal actions: get, sign. Who is its object ID or client ID.
func (v *Vault) Grant(who string, actions ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.grants[who] = actions
}

// AllowOnly raises the firewall; without an address every client is let in again.
func (v *Vault) AllowOnly(ips ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.allowed = nil
	for _, ip := range ips {
		if v.allowed == nil {
			v.allowed = map[string]bool{}
		}
		v.allowed[ip] = true
	}
}

// SetPrivate makes the vault reachable over a private endpoint alone.
func (v *Vault) SetPrivate(private bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.private = private
}

// Signatures is how many signatures the vault has made.
func (v *Vault) Signatures() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.signatures
}

// Throttled is how many requests exceeded the limit.
func (v *Vault) Throttled() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.throttled
}

// find returns a version of a key, nil if there is none. The vault must be locked.
func (v *Vault) find(name, version string) *vaultKey {
	versions := v.keys[strings.ToLower(name)]
	if version == "" && len(versions) > 0 {
		return versions[len(versions)-1]
	}
	at := slices.IndexFunc(versions, func(k *vaultKey) bool { return k.version == version })
	if at < 0 {
		return nil
	}
	return versions[at]
}

func newVaultKey(o VaultKey) *vaultKey {
	if o.Type == "" {
		o.Type = "EC"
	}
	if o.Curve == "" {
		o.Curve = "P-256"
	}
	if o.Bits == 0 {
		o.Bits = 2048
	}
	if o.Ops == nil {
		o.Ops = []string{"sign", "verify"}
		if strings.HasPrefix(o.Type, "RSA") {
			o.Ops = []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
		}
	}
	k := &vaultKey{o: o, weight: 1, document: map[string]any{"kty": o.Type}}
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[o.Curve]
	var err error
	switch {
	case strings.HasPrefix(o.Type, "RSA"):
		var private *rsa.PrivateKey
		if private, err = rsa.GenerateKey(rand.Reader, o.Bits); err == nil {
			k.private = private
			k.document["n"] = encode(private.N.Bytes())
			k.document["e"] = "AQAB"
		}
		k.weight = map[int]int{3072: 4, 4096: 8}[o.Bits]
		k.weight = max(k.weight, 1)
	case strings.HasPrefix(o.Type, "EC") && curve != nil:
		var private *ecdsa.PrivateKey
		if private, err = ecdsa.GenerateKey(curve, rand.Reader); err == nil {
			var point []byte
			point, err = private.PublicKey.Bytes()
			k.private = private
			k.document["crv"] = o.Curve
			k.document["x"], k.document["y"] = encode(point[1:len(point)/2+1]), encode(point[len(point)/2+1:])
		}
	case strings.HasPrefix(o.Type, "EC"):
		k.document["crv"] = o.Curve
		k.document["x"], k.document["y"] = encode(make([]byte, 32)), encode(make([]byte, 32))
	}
	if err != nil {
		panic(fmt.Sprintf("sim: no vault key: %v", err))
	}
	if strings.HasSuffix(o.Type, "-HSM") {
		k.weight *= 2
	}
	return k
}

// bundle is the document that the vault shows of a key.
func (v *Vault) bundle(k *vaultKey) map[string]any {
	key := map[string]any{"kid": v.id(k), "key_ops": k.o.Ops}
	for name, value := range k.document {
		key[name] = value
	}
	attributes := map[string]any{"enabled": !k.o.Disabled, "created": 1790000000, "updated": 1790000000, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90, "exportable": false}
	if !k.o.NotBefore.IsZero() {
		attributes["nbf"] = k.o.NotBefore.Unix()
	}
	if !k.o.Expires.IsZero() {
		attributes["exp"] = k.o.Expires.Unix()
	}
	return map[string]any{"key": key, "attributes": attributes, "tags": map[string]string{}}
}

func (v *Vault) id(k *vaultKey) string {
	return "https://" + v.host + "/keys/" + k.name + "/" + k.version
}

// spend counts a request, and returns how long to wait if there was one too many.
func (v *Vault) spend(now time.Time, weight int) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.o.Limit == 0 {
		return 0
	}
	for len(v.spent) > 0 && now.Sub(v.spent[0].at) >= v.o.Window {
		v.spent = v.spent[1:]
	}
	sum := weight
	for _, r := range v.spent {
		sum += r.weight
	}
	if sum > v.o.Limit {
		v.throttled++
		return v.spent[0].at.Add(v.o.Window).Sub(now)
	}
	v.spent = append(v.spent, vaultRequest{now, weight})
	return 0
}

var _ http.Handler = (*Vault)(nil)
