package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// vaultRefusal is an error as Key Vault tells it.
type vaultRefusal struct {
	status               int
	code, inner, message string
}

func (e *vaultRefusal) write(w http.ResponseWriter) {
	inner := map[string]any{"code": e.code, "message": e.message}
	if e.inner != "" {
		inner["innererror"] = map[string]string{"code": e.inner}
	}
	writeJSON(w, e.status, map[string]any{"error": inner})
}

func forbidden(inner, message string, arguments ...any) *vaultRefusal {
	return &vaultRefusal{http.StatusForbidden, "Forbidden", inner, fmt.Sprintf(message, arguments...)}
}

func badParameter(message string, arguments ...any) *vaultRefusal {
	return &vaultRefusal{http.StatusBadRequest, "BadParameter", "", fmt.Sprintf(message, arguments...)}
}

// vaultAPI are the versions of the interface that have GET key and sign.
var vaultAPI = []string{"7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01"}

func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Ms-Keyvault-Region", "westeurope")
	h.Set("X-Ms-Request-Id", identifier())
	h.Set("Strict-Transport-Security", "max-age=31536000;includeSubDomains")
	time.Sleep(v.o.Latency)
	// What is sent without a token has no effect.
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return
	}
	who, refusal := v.authenticate(w, r)
	if refusal == nil {
		refusal = v.admit(r, who)
	}
	if refusal != nil {
		refusal.write(w)
		return
	}
	if version := r.URL.Query().Get("api-version"); !slices.Contains(vaultAPI, version) {
		badParameter("The specified version (%s) is not recognized. Consider using the latest supported version (7.6).", version).write(w)
		return
	}
	// The path is /keys/NAME[/VERSION[/sign]]; an empty version is the current one.
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	operation := "get"
	if last := len(parts) - 1; last > 1 && parts[last] == "sign" {
		operation, parts = "sign", parts[:last]
	}
	parts = append(parts, "", "")[:max(len(parts), 3)]
	method := map[string]string{"get": http.MethodGet, "sign": http.MethodPost}[operation]
	if parts[0] != "keys" || parts[1] == "" || len(parts) > 3 || r.Method != method {
		(&vaultRefusal{http.StatusMethodNotAllowed, "MethodNotAllowed", "", "The resource doesn't support specified HTTP verb."}).write(w)
		return
	}
	v.operate(w, who, operation, parts[1], parts[2], body)
}

// authenticate returns whom the token was issued to.
func (v *Vault) authenticate(w http.ResponseWriter, r *http.Request) (Principal, *vaultRefusal) {
	_, suffix, _ := strings.Cut(v.host, ".")
	audience := vaultAudiences[suffix]
	refuse := func(message string) (Principal, *vaultRefusal) {
		w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`, v.o.Tenant, audience))
		return Principal{}, &vaultRefusal{http.StatusUnauthorized, "Unauthorized", "", message}
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		return refuse("AKV10000: Request is missing a Bearer or PoP token.")
	}
	if v.o.Tokens == nil {
		return refuse("AKV10032: Invalid issuer. Expected one of https://sts.windows.net/" + v.o.Tenant + "/.")
	}
	who, err := v.o.Tokens.Verify(token, audience)
	if err != nil {
		if claims, unreadable := claimsOf(token); unreadable == nil && text(claims, "aud") != audience {
			return refuse("AKV10022: Invalid audience. Expected " + audience + ", found: " + text(claims, "aud") + ".")
		}
		return refuse("AKV10032: Invalid issuer. Expected one of https://sts.windows.net/" + v.o.Tenant + "/.")
	}
	return who, nil
}

// admit is the firewall.
func (v *Vault) admit(r *http.Request, who Principal) *vaultRefusal {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch name, _, _ := strings.Cut(v.host, "."); {
	case v.private:
		return forbidden("ForbiddenByConnection", "Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\nCaller: appid=%s;oid=%s;iss=https://sts.windows.net/%s/\r\nVault: %s;location=westeurope", who.ClientID, who.ObjectID, who.TenantID, name)
	case v.allowed != nil && !v.allowed[ClientIP(r)]:
		return forbidden("ForbiddenByFirewall", "Client address is not authorized and caller is not a trusted service.\r\nClient address: %s\r\nCaller: appid=%s;oid=%s;iss=https://sts.windows.net/%s/\r\nVault: %s;location=westeurope", ClientIP(r), who.ClientID, who.ObjectID, who.TenantID, name)
	}
	return nil
}

// operate does what is asked for with a key.
func (v *Vault) operate(w http.ResponseWriter, who Principal, operation, name, version string, body []byte) {
	v.mu.Lock()
	granted := slices.Contains(v.grants[who.ObjectID], operation) || slices.Contains(v.grants[who.ClientID], operation)
	k := v.find(name, version)
	var copied vaultKey
	if k != nil {
		copied = *k
	}
	v.mu.Unlock()
	if !granted {
		action := map[string]string{"get": "read", "sign": "sign/action"}[operation]
		forbidden("ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: appid=%s;oid=%s;iss=https://sts.windows.net/%s/\r\nAction: 'Microsoft.KeyVault/vaults/keys/%s'\r\nResource: '%s/keys/%s'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null\r\n", who.ClientID, who.ObjectID, who.TenantID, action, v.host, name).write(w)
		return
	}
	if k == nil {
		(&vaultRefusal{http.StatusNotFound, "KeyNotFound", "", "A key with (name/id) " + strings.TrimSuffix(name+"/"+version, "/") + " was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"}).write(w)
		return
	}
	if wait := v.spend(time.Now(), k.weight); wait > 0 {
		if v.o.RetryAfter {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		}
		(&vaultRefusal{http.StatusTooManyRequests, "Throttled", "", "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached"}).write(w)
		return
	}
	if operation == "get" {
		if v.o.HideDisabled && copied.o.Disabled {
			forbidden("KeyDisabled", "Operation get is not allowed on a disabled key.").write(w)
			return
		}
		writeJSON(w, http.StatusOK, v.bundle(&copied))
		return
	}
	signature, refusal := copied.sign(v.id(k), body, time.Now())
	if refusal != nil {
		refusal.write(w)
		return
	}
	v.mu.Lock()
	v.signatures++
	v.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]string{"kid": v.id(k), "value": encode(signature)})
}

// vaultHashes are the hash functions of the signature algorithms.
var vaultHashes = map[string]crypto.Hash{
	"ES256": crypto.SHA256, "ES384": crypto.SHA384, "ES512": crypto.SHA512,
	"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
	"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512,
}

// sign signs a digest, of the length of the algorithm's hash, with the one key that
// fits the algorithm. An ECDSA signature is r and s, each as long as the curve.
func (k *vaultKey) sign(id string, body []byte, now time.Time) ([]byte, *vaultRefusal) {
	var request struct{ Alg, Value string }
	if json.Unmarshal(body, &request) != nil {
		return nil, badParameter("Property  has invalid value")
	}
	digest, err := base64.RawURLEncoding.DecodeString(request.Value)
	hash, known := vaultHashes[request.Alg]
	curve := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[request.Alg]
	switch {
	case k.o.Disabled:
		return nil, forbidden("KeyDisabled", "Operation sign is not allowed on a disabled key.")
	case !k.o.NotBefore.IsZero() && now.Before(k.o.NotBefore):
		return nil, forbidden("KeyNotYetValid", "Operation sign is not allowed on a key that is not yet valid.")
	case !k.o.Expires.IsZero() && !now.Before(k.o.Expires):
		return nil, forbidden("KeyExpired", "Operation sign is not allowed on an expired key.")
	case !slices.Contains(k.o.Ops, "sign"):
		return nil, forbidden("KeyOperationForbidden", "Operation sign is not permitted on this key.")
	case !known || err != nil:
		return nil, badParameter("Property alg or value has invalid value")
	case len(digest) != hash.Size():
		return nil, badParameter("Invalid length of 'value': %d bytes. %s requires %d bytes, encoded with base64url.", len(digest), request.Alg, hash.Size())
	case curve != "" && (!strings.HasPrefix(k.o.Type, "EC") || k.o.Curve != curve):
		return nil, badParameter("Key and signing algorithm are incompatible. Key %s uses curve '%s', and algorithm '%s' can only be used with curve '%s'.", id, k.o.Curve, request.Alg, curve)
	case curve == "" && !strings.HasPrefix(k.o.Type, "RSA"):
		return nil, badParameter("Key and signing algorithm are incompatible. Key %s is of type '%s', and algorithm '%s' can only be used with key type 'RSA' or 'RSA-HSM'.", id, k.o.Type, request.Alg)
	}
	var signature []byte
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey:
		r, s, failed := ecdsa.Sign(rand.Reader, private, digest)
		if failed != nil {
			panic(fmt.Sprintf("sim: signing: %v", failed))
		}
		size := (private.Params().BitSize + 7) / 8
		signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	case *rsa.PrivateKey:
		if strings.HasPrefix(request.Alg, "PS") {
			signature, err = rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(rand.Reader, private, hash, digest)
		}
		if err != nil {
			panic(fmt.Sprintf("sim: signing: %v", err))
		}
	}
	return signature, nil
}
