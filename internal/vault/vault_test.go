package vault_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/egress"
	"acrpromote/internal/receipt"
	"acrpromote/internal/refusal"
	"acrpromote/internal/sanitize"
	"acrpromote/internal/sim"
	"acrpromote/internal/vault"
)

const (
	tenant   = "5a1c0000-0000-4000-8000-000000000001"
	clientID = "5a1c0000-0000-4000-8000-000000000002"
	secret   = "s3cret-of-the-application"
	host     = "receipts.vault.azure.net"
)

// env is a vault, and an identity that may read its keys and sign with them.
type env struct {
	t         *testing.T
	cloud     *sim.Cloud
	agents    *sim.Network
	directory *sim.Directory
	vault     *sim.Vault
	app       *sim.Application
	network   *egress.Network
	retries   int
}

func newEnv(t *testing.T, o sim.VaultOptions) *env { return newEnvAt(t, host, "AzureCloud", o) }

func newEnvAt(t *testing.T, host, named string, o sim.VaultOptions) *env {
	t.Helper()
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	e := &env{t: t, cloud: cloud, agents: cloud.Network("agents", "192.0.2.7"), retries: 8}
	where, err := acr.CloudByName(named)
	if err != nil {
		t.Fatal(err)
	}
	e.directory = cloud.Directory(tenant, where.Authority)
	e.app = e.directory.AddApplication(clientID).AddSecret(secret)
	o.Tokens, o.Tenant = e.directory, tenant
	e.vault = cloud.Vault(host, o)
	e.vault.Grant(clientID, "get", "sign")
	e.connect()
	return e
}

// connect begins with new connections.
func (e *env) connect() {
	e.t.Helper()
	proxy, err := url.Parse(e.agents.ProxyURL())
	if err != nil {
		e.t.Fatal(err)
	}
	if e.network, err = egress.New(egress.Settings{Proxy: &egress.Proxy{URL: proxy}, CAFile: e.cloud.CAFile()}); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(e.network.Close)
}

// block makes a host unreachable, until undo.
func (e *env) block(host string) (undo func()) {
	e.connect()
	e.agents.Block(host)
	return func() { e.agents.Block() }
}

// open returns a client for a key, with an identity of its own.
func (e *env) open(text string) *vault.Vault {
	e.t.Helper()
	key, err := vault.ParseReference(text)
	if err != nil {
		e.t.Fatal(err)
	}
	where, err := acr.CloudByName(key.Cloud())
	if err != nil {
		e.t.Fatal(err)
	}
	secrets := &sanitize.Secrets{}
	identity, err := acr.NewSecretCredential(acr.Connection{Name: "receiptConnection", Cloud: where, Tenant: tenant, ClientID: clientID, Secrets: secrets}, secret,
		e.network.Client(egress.Phase{Name: "signing in to Microsoft Entra ID", Hosts: []string{where.Authority}, BodyLimit: 1 << 20}))
	if err != nil {
		e.t.Fatal(err)
	}
	v, err := vault.New(key, identity, e.network.Client(egress.Phase{
		Name: "using the key in the vault", Hosts: []string{key.Host}, Paced: true, Retries: e.retries, RepeatWrites: true,
		Timeout: 10 * time.Second, BodyLimit: vault.MaxAnswer,
	}), vault.Options{Identity: identity.Name(), ClientID: clientID, Secrets: secrets, Limit: func(requests int, period time.Duration) { e.network.Pace(key.Host, requests, period) }})
	if err != nil {
		e.t.Fatal(err)
	}
	return v
}

func keyURL(name string) string { return "https://" + host + "/keys/" + name }

var _ receipt.Signer = (*vault.Key)(nil)

var message = []byte("DSSEv1 28 application/vnd.in-toto+json 2 {}")

// verified reports whether a signature is the one that cosign and slsa-verifier expect
// of the key.
func verified(public crypto.PublicKey, message, signature []byte) bool {
	sum256, sum384 := sha256.Sum256(message), sha512.Sum384(message)
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Params().BitSize == 384 {
			return ecdsa.VerifyASN1(key, sum384[:], signature)
		}
		return ecdsa.VerifyASN1(key, sum256[:], signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum256[:], signature) == nil
	}
	return false
}

func TestKeysSign(t *testing.T) {
	e := newEnv(t, sim.VaultOptions{})
	for name, key := range map[string]sim.VaultKey{
		"p256": {}, "p384": {Curve: "P-384"}, "p256-hsm": {Type: "EC-HSM"}, "rsa": {Type: "RSA"}, "rsa-hsm": {Type: "RSA-HSM"},
		"valid-now": {NotBefore: time.Now().Add(-time.Hour), Expires: time.Now().Add(time.Hour), Ops: []string{"verify", "sign"}},
	} {
		version := e.vault.CreateKey(name, key)
		v := e.open(keyURL(strings.ToUpper(name)))
		k, err := v.Ready(t.Context(), time.Now())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// The receipts' own view of the key.
		verifier, err := receipt.NewKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		for range 20 { // r and s often begin with zeros
			signature, err := k.Sign(t.Context(), message)
			if err != nil || !verifier.Verify(message, signature) || !verified(e.vault.Public(name, ""), message, signature) || verified(e.vault.Public(name, ""), []byte("other"), signature) {
				t.Fatalf("%s: the signature does not verify, %v", name, err)
			}
		}
		public, err := v.PublicKey(t.Context())
		if err != nil || !e.vault.Public(name, "").(interface{ Equal(crypto.PublicKey) bool }).Equal(public) || !public.(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Public()) {
			t.Errorf("%s: the public key is another, %v", name, err)
		}
		if want := keyURL(name) + "/" + version; k.URL() != want {
			t.Errorf("%s: the key is %s, want %s", name, k.URL(), want)
		}
	}
}

// TestRotationDoesNotMixVersions: a key that is named without a version signs with the
// version that was current when it was read; one that is named with a version uses it.
func TestRotationDoesNotMixVersions(t *testing.T) {
	e := newEnv(t, sim.VaultOptions{})
	first := e.vault.CreateKey("release", sim.VaultKey{})
	k, err := e.open(keyURL("release")).Ready(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	second := e.vault.CreateKey("release", sim.VaultKey{Curve: "P-384"})
	for _, c := range []struct {
		key     *vault.Key
		version string
	}{{k, first}, {nil, first}, {nil, second}} {
		if c.key == nil {
			if c.key, err = e.open(keyURL("release")+"/"+c.version).Ready(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		signature, err := c.key.Sign(t.Context(), message)
		if err != nil || !verified(e.vault.Public("release", c.version), message, signature) {
			t.Errorf("%s does not sign, %v", c.version, err)
		}
	}
	// Receipts of a retired version can be verified.
	e.vault.UpdateKey("release", first, func(k *sim.VaultKey) { k.Disabled, k.Expires = true, time.Now().Add(-time.Hour) })
	if public, err := e.open(keyURL("release") + "/" + first).PublicKey(t.Context()); err != nil || !e.vault.Public("release", first).(*ecdsa.PublicKey).Equal(public) {
		t.Errorf("the retired version: %v", err)
	}
}

// TestReadyFindsKeysThatCannotSign: before the first write, with the reason, and
// without a signature.
func TestReadyFindsKeysThatCannotSign(t *testing.T) {
	e := newEnv(t, sim.VaultOptions{})
	e.retries = 0
	past, future := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC)
	key := func(name string, o sim.VaultKey) string { e.vault.CreateKey(name, o); return keyURL(name) }
	good := key("good", sim.VaultKey{})
	for _, c := range []struct {
		name    string
		prepare func() (undo func())
		key     string
		kind    error
		want    string
	}{
		{"P-521", nil, key("p521", sim.VaultKey{Curve: "P-521"}), vault.ErrUnsuitable, "reading the key p521 failed: it has the curve P-521, which receipts are not signed with. Use an EC key with the curve P-256 or P-384"},
		{"P-256K", nil, key("p256k", sim.VaultKey{Curve: "P-256K"}), vault.ErrUnsuitable, "it has the curve P-256K"},
		{"symmetric", nil, key("oct", sim.VaultKey{Type: "oct-HSM"}), vault.ErrUnsuitable, "it is of the type oct-HSM"},
		{"without sign", nil, key("verify", sim.VaultKey{Ops: []string{"verify", "encrypt"}}), vault.ErrUnsuitable, "the key does not permit signing (permitted: verify, encrypt). Add sign to its permitted operations"},
		{"without operations", nil, key("none", sim.VaultKey{Ops: []string{}}), vault.ErrUnsuitable, "the key does not permit signing (permitted: none)"},
		{"disabled", nil, key("disabled", sim.VaultKey{Disabled: true}), vault.ErrDenied, "the key is disabled. Enable this version of the key"},
		{"expired", nil, key("expired", sim.VaultKey{Expires: past}), vault.ErrDenied, "the key expired at 2026-11-01T12:00:00Z. Rotate the key"},
		{"not yet valid", nil, key("early", sim.VaultKey{NotBefore: future}), vault.ErrDenied, "the key is not valid before 2199-01-01T00:00:00Z"},
		{"another name", nil, keyURL("other"), vault.ErrNotFound, "the vault has no key other (HTTP 404, KeyNotFound, “A key with (name/id) other was not found"},
		{"another version", nil, good + "/00000000000000000000000000000000", vault.ErrNotFound, "the vault has no key good with the version 00000000000000000000000000000000"},
		{"deleted", func() func() { e.vault.CreateKey("deleted", sim.VaultKey{}); e.vault.DeleteKey("deleted"); return nil }, keyURL("deleted"), vault.ErrNotFound, "az keyvault key list-deleted --vault-name receipts"},
		{"no role", func() func() { e.vault.Grant(clientID); return func() { e.vault.Grant(clientID, "get", "sign") } }, good, vault.ErrDenied,
			`Let service connection receiptConnection read and sign with the key: grant it the role Key Vault Crypto User on the key (az role assignment create --role "Key Vault Crypto User" --assignee ` + clientID + ` --scope "$(az keyvault show --name receipts --query id --output tsv)/keys/good"); in a vault with access policies: az keyvault set-policy --name receipts --spn ` + clientID + ` --key-permissions get sign`},
		{"a role that reads only", func() func() {
			e.vault.Grant(clientID, "get")
			return func() { e.vault.Grant(clientID, "get", "sign") }
		}, good, vault.ErrDenied, "signing with the key good failed: access is denied (HTTP 403, Forbidden, ForbiddenByRbac, “Caller is not authorized to perform action on resource."},
		{"firewall", func() func() { e.vault.AllowOnly("192.0.2.8"); return func() { e.vault.AllowOnly() } }, good, vault.ErrDenied, "the vault's firewall does not admit 192.0.2.7 (HTTP 403, Forbidden, ForbiddenByFirewall"},
		{"private endpoint", func() func() { e.vault.SetPrivate(true); return func() { e.vault.SetPrivate(false) } }, good, vault.ErrDenied, "the vault is reachable only over its private endpoint"},
		{"another audience", func() func() {
			e.directory.SetAudience("https://management.azure.com")
			return func() { e.directory.SetAudience("") }
		}, good, vault.ErrDenied, "the vault does not accept the identity's token (HTTP 401, Unauthorized, “AKV10022: Invalid audience."},
		{"unreachable", func() func() { return e.block(host) }, good, vault.ErrUnreachable, "reading the key good failed: using the key in the vault: receipts.vault.azure.net:443 cannot be reached: the proxy"},
		{"no sign-in", func() func() { return e.block("login.microsoftonline.com") }, good, vault.ErrUnreachable, "signing in as service connection receiptConnection failed"},
		{"throttled", func() func() {
			return e.answer(429, `{"error":{"code":"Throttled","message":"Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached"}}`)
		}, good, vault.ErrUnreachable, "the vault limits requests (HTTP 429, Throttled"},
		{"down", func() func() { return e.answer(503, "") }, good, vault.ErrUnreachable, "the vault is unavailable (HTTP 503)"},
		{"disabled between reading and signing", func() func() {
			return e.answerTo(http.MethodPost, 403, `{"error":{"code":"Forbidden","message":"Operation sign is not allowed on a disabled key.","innererror":{"code":"KeyDisabled"}}}`)
		}, good, vault.ErrDenied, "signing with the key good failed: the key is disabled (HTTP 403, Forbidden, KeyDisabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := e.vault.Signatures()
			if c.prepare != nil {
				if undo := c.prepare(); undo != nil {
					defer undo()
				}
			}
			_, err := e.open(c.key).Ready(t.Context(), time.Now())
			e.check(t, err, c.kind, c.want)
			if e.vault.Signatures() != before {
				t.Error("it signed")
			}
		})
	}
	if _, err := e.open(good).Ready(t.Context(), time.Now()); err != nil {
		t.Error(err)
	}
}

// TestHiddenDisabledKey: some vaults may not even show a key that is disabled.
func TestHiddenDisabledKey(t *testing.T) {
	e := newEnv(t, sim.VaultOptions{HideDisabled: true})
	e.vault.CreateKey("k", sim.VaultKey{Disabled: true})
	_, err := e.open(keyURL("k")).Ready(t.Context(), time.Now())
	e.check(t, err, vault.ErrDenied, "reading the key k failed: the key is disabled (HTTP 403, Forbidden, KeyDisabled")
}

func TestReadingAPublicKeyTakesNoRightToSign(t *testing.T) {
	e := newEnv(t, sim.VaultOptions{})
	e.vault.CreateKey("k", sim.VaultKey{Ops: []string{"verify"}})
	e.vault.Grant(clientID, "get")
	if _, err := e.open(keyURL("k")).PublicKey(t.Context()); err != nil {
		t.Error(err)
	}
	e.vault.Grant(clientID)
	_, err := e.open(keyURL("k")).PublicKey(t.Context())
	e.check(t, err, vault.ErrDenied, "--key-permissions get.")
	if requests := e.requests(host); len(requests) != 2 {
		t.Errorf("%d requests to the vault", len(requests))
	}
}

var kinds = []error{vault.ErrUnsuitable, vault.ErrNotFound, vault.ErrDenied, vault.ErrUnreachable}

// check checks an error: its text, that it is of this kind and no other, and that it
// shows no secret.
func (e *env) check(t *testing.T, err, kind error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error()+".", want) {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
	for _, k := range kinds {
		if errors.Is(err, k) != (k == kind) {
			t.Errorf("%v: is %v: %v", err, k, errors.Is(err, k))
		}
	}
	for _, hidden := range []string{secret, "Bearer eyJ", "\n", "\r", "\x1b"} {
		if strings.Contains(err.Error(), hidden) {
			t.Errorf("%q contains %q", err, hidden)
		}
	}
}

// answer makes the vault answer every request like this, until undo.
func (e *env) answer(status int, body string) (undo func()) { return e.answerTo("", status, body) }

func (e *env) answerTo(method string, status int, body string) (undo func()) {
	return e.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != host || method != "" && r.Method != method {
			return false
		}
		w.Header().Set("Location", "https://evil.example/keys/k")
		w.Header().Set("Www-Authenticate", `Bearer authorization="x", resource="https://evil.example"`)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		return true
	})
}

func (e *env) requests(host string) []sim.Request {
	return slices.DeleteFunc(e.cloud.Requests(), func(r sim.Request) bool { return r.Host != host })
}

// TestHostileVault: whatever a vault answers, there is an error that is cut and cleaned,
// and no signature that the public key does not verify.
func TestHostileVault(t *testing.T) {
	e := newEnv(t, sim.VaultOptions{})
	e.retries = 0
	version := e.vault.CreateKey("k", sim.VaultKey{})
	other := e.vault.CreateKey("other", sim.VaultKey{})
	b64 := base64.RawURLEncoding.EncodeToString
	bundle := func(kid, rest string) string { return fmt.Sprintf(`{"key":{"kid":%q,%s}}`, kid, rest) }
	id := keyURL("k") + "/" + version
	signed := func(kid string, signature []byte) string {
		return fmt.Sprintf(`{"kid":%q,"value":%q}`, kid, b64(signature))
	}
	const ec = `"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"`
	for _, c := range []struct {
		name, method string
		status       int
		body         string
		kind         error
		want         string
	}{
		{"no document", "GET", 200, "hello", nil, "the answer cannot be understood"},
		{"an empty document", "GET", 200, "{}", nil, "it has no key with a type and an ID"},
		{"no ID", "GET", 200, `{"key":{` + ec + `}}`, nil, "it has no key with a type and an ID"},
		{"another key", "GET", 200, bundle(keyURL("other")+"/"+other, ec), nil, "it is about another key, https://receipts.vault.azure.net/keys/other/"},
		{"another vault", "GET", 200, bundle("https://evil.vault.azure.net/keys/k/"+version, ec), nil, "it is about another key"},
		{"no version", "GET", 200, bundle(keyURL("k"), ec), nil, "it is about another key"},
		{"another host", "GET", 200, bundle("https://evil.example/keys/k/"+version, ec), nil, "it is about another key"},
		{"an ID that is none", "GET", 200, bundle("k", ec), nil, "it is about another key, k"},
		{"no point", "GET", 200, bundle(id, ec), nil, "the point of its public key is not on the curve"},
		{"a long point", "GET", 200, bundle(id, `"kty":"EC","crv":"P-256","x":"`+b64(make([]byte, 33))+`","y":"AQ"`), nil, "the point of its public key is not on the curve"},
		{"no curve", "GET", 200, bundle(id, `"kty":"EC"`), vault.ErrUnsuitable, "it has the curve"},
		{"a small RSA key", "GET", 200, bundle(id, `"kty":"RSA","e":"AQAB","n":"`+b64(append([]byte{0x80}, make([]byte, 127)...))+`"`), vault.ErrUnsuitable, "it is an RSA key of 1024 bits"},
		{"a huge RSA key", "GET", 200, bundle(id, `"kty":"RSA","e":"AQAB","n":"`+b64(append([]byte{0x80}, make([]byte, 4095)...))+`"`), vault.ErrUnsuitable, "it is an RSA key of 32768 bits"},
		{"an even exponent", "GET", 200, bundle(id, `"kty":"RSA","e":"Ag","n":"`+b64(append([]byte{0x80}, make([]byte, 255)...))+`"`), nil, "the exponent of its public key is not valid"},
		{"a huge exponent", "GET", 200, bundle(id, `"kty":"RSA","e":"`+b64(make([]byte, 300))+`","n":"`+b64(append([]byte{0x80}, make([]byte, 255)...))+`"`), nil, "the exponent of its public key is not valid"},
		{"a huge body", "GET", 200, strings.Repeat(" ", vault.MaxAnswer+1), vault.ErrUnreachable, "its answer is longer than 262144 bytes"},
		{"a huge refusal", "GET", 403, `{"error":{"code":"Forbidden","message":"` + strings.Repeat("a", 200_000) + `"}}`, vault.ErrDenied, "access is denied"},
		{"a refusal with control characters", "GET", 403, `{"error":{"code":"For\u001b[31mbidden","message":"a\nb\u001b[2J##vso[task.complete]"}}`, vault.ErrDenied, "access is denied"},
		{"a refusal that repeats the secret", "GET", 403, `{"error":{"code":"Forbidden","message":"` + secret + `"}}`, vault.ErrDenied, "access is denied"},
		{"a challenge", "GET", 401, "", vault.ErrDenied, "the vault does not accept the identity's token (HTTP 401)"},
		{"a redirect", "GET", 307, "", nil, "it redirects to another address, which is not followed (HTTP 307)"},
		{"a redirect of a signature", "POST", 308, "", nil, "it redirects to another address, which is not followed (HTTP 308)"},
		{"another status", "GET", 204, "", nil, "an answer like this was not expected (HTTP 204)"},
		{"a signature by another version", "POST", 200, signed(keyURL("k")+"/"+other, make([]byte, 64)), nil, "it is about another key"},
		{"a signature by another key", "POST", 200, signed(keyURL("other")+"/"+version, make([]byte, 64)), nil, "it is about another key"},
		{"a wrong signature", "POST", 200, signed(id, make([]byte, 64)), nil, "its signature is not one by the key"},
		{"a short signature", "POST", 200, signed(id, make([]byte, 63)), nil, "its signature is not one by the key"},
		{"no signature", "POST", 200, `{"kid":"` + id + `"}`, nil, "its signature is not one by the key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer e.answerTo(c.method, c.status, c.body)()
			k, err := e.open(keyURL("k")).Ready(t.Context(), time.Now())
			e.check(t, err, c.kind, c.want)
			if k != nil || len(err.Error()) > 2000 {
				t.Errorf("%v, %d bytes", k, len(err.Error()))
			}
		})
	}
	for _, r := range e.cloud.Requests() {
		if r.Host != host && r.Host != "login.microsoftonline.com" {
			t.Errorf("%s was asked", r.Host)
		}
	}
}

// TestEveryRefusal: each refusal of a vault in the program's table is explained by its
// entry, whether its code is the outer or the inner one.
func TestEveryRefusal(t *testing.T) {
	e := newEnv(t, sim.VaultOptions{})
	e.retries = 0
	for _, r := range refusal.All {
		if r.Service != refusal.KeyVault {
			continue
		}
		cause, _, _ := strings.Cut(r.Cause, "{")
		kind := map[int]error{401: vault.ErrDenied, 403: vault.ErrDenied, 404: vault.ErrNotFound, 429: vault.ErrUnreachable, 500: vault.ErrUnreachable}[r.Status[0]]
		if strings.HasPrefix(r.Name, "vault-key-operation") || strings.HasPrefix(r.Name, "vault-key-permission") {
			kind = vault.ErrUnsuitable
		}
		code, message := strings.Join(r.Codes, ""), strings.Join(r.Says, "")
		for _, body := range []string{
			fmt.Sprintf(`{"error":{"code":"Other","message":%q,"innererror":{"code":%q}}}`, message, code),
			fmt.Sprintf(`{"error":{"code":%q,"message":%q}}`, code, message),
		} {
			undo := e.answerTo("GET", r.Status[0], body)
			_, err := e.open(keyURL("k")).Ready(t.Context(), time.Now())
			undo()
			e.check(t, err, kind, cause)
		}
	}
}

// TestChallengesAreNotTaken: a vault that challenges a request in the middle of a run
// decides neither audience nor tenant of a token, and gets no second request.
func TestChallengesAreNotTaken(t *testing.T) {
	for _, challenge := range []string{
		`Bearer authorization="x", resource="https://vault.azure.net"`,
		`Bearer authorization="https://evil.example/other", resource="https://vault.azure.net"`,
		`Bearer authorization="https://login.microsoftonline.com/other", resource="https://management.azure.com"`,
		`Bearer realm="", error="insufficient_claims", claims="e30="`,
	} {
		e := newEnv(t, sim.VaultOptions{})
		e.vault.CreateKey("k", sim.VaultKey{})
		k, err := e.open(keyURL("k")).Ready(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		undo := e.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Host == host {
				w.Header().Set("Www-Authenticate", challenge)
				w.WriteHeader(http.StatusUnauthorized)
			}
			return r.Host == host
		})
		mark := e.cloud.Mark()
		_, err = k.Sign(t.Context(), message)
		e.check(t, err, vault.ErrDenied, "signing with the key k failed: the vault does not accept the identity's token (HTTP 401)")
		if requests := e.cloud.Since(mark); len(requests) != 1 {
			t.Errorf("%s: %d requests", challenge, len(requests))
		}
		undo()
	}
}

// TestVaultTokenGoesToTheVaultAlone: the identity's token for vaults is requested from
// Microsoft Entra ID and sent to the vault that the key names, whatever challenges and
// redirects say. No request is sent without a token, and none but these hosts is asked.
func TestVaultTokenGoesToTheVaultAlone(t *testing.T) {
	for _, c := range []struct{ host, cloud, authority string }{
		{"receipts.vault.azure.net", "AzureCloud", "login.microsoftonline.com"},
		{"receipts.vault.azure.cn", "AzureChinaCloud", "login.chinacloudapi.cn"},
		{"receipts.vault.usgovcloudapi.net", "AzureUSGovernment", "login.microsoftonline.us"},
	} {
		e := newEnvAt(t, c.host, c.cloud, sim.VaultOptions{})
		e.vault.CreateKey("k", sim.VaultKey{})
		k, err := e.open("https://"+c.host+"/keys/k").Ready(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		const signatures = 30
		var all sync.WaitGroup
		for range signatures {
			all.Go(func() {
				if _, err := k.Sign(t.Context(), message); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		tokens := slices.DeleteFunc(e.requests(c.authority), func(r sim.Request) bool { return r.Method == http.MethodGet })
		if len(tokens) != 1 || tokens[0].Path != "/"+tenant+"/oauth2/v2.0/token" || tokens[0].Authorization != "" {
			t.Errorf("%s: %d requests to Entra ID: %+v", c.host, len(tokens), tokens)
		}
		// One to read, one to find out whether it signs.
		if vaults := e.requests(c.host); len(vaults) != 2+signatures || slices.ContainsFunc(vaults, func(r sim.Request) bool { return r.Authorization != "Bearer" }) {
			t.Errorf("%s: %d requests to the vault: %+v", c.host, len(vaults), vaults)
		}
		if want := []string{c.authority + ":443", c.host + ":443"}; !slices.Equal(e.network.Hosts(), sorted(want)) || !slices.Equal(sorted(slices.Compact(sorted(e.agents.Dialled()))), sorted(want)) {
			t.Errorf("reached %v, dialled %v", e.network.Hosts(), e.agents.Dialled())
		}
	}
}

func sorted(s []string) []string { s = slices.Clone(s); slices.Sort(s); return s }

// TestThrottledSignaturesAreRepeated: a vault that takes fewer requests than it
// publishes gets all of them in the end, with Retry-After and without.
func TestThrottledSignaturesAreRepeated(t *testing.T) {
	for _, o := range []sim.VaultOptions{
		{Limit: 20, Window: 500 * time.Millisecond},
		{Limit: 40, Window: time.Second, RetryAfter: true},
	} {
		e := newEnv(t, o)
		e.vault.CreateKey("k", sim.VaultKey{})
		k, err := e.open(keyURL("k")).Ready(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 60 {
			all.Go(func() {
				if signature, err := k.Sign(t.Context(), message); err != nil || !verified(k.Public(), message, signature) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if e.vault.Throttled() == 0 || e.vault.Signatures() != 61 {
			t.Errorf("%+v: %d throttled, %d signatures", o, e.vault.Throttled(), e.vault.Signatures())
		}
	}
}

func TestCancelledWhileSigning(t *testing.T) {
	e := newEnv(t, sim.VaultOptions{})
	e.vault.CreateKey("k", sim.VaultKey{})
	k, err := e.open(keyURL("k")).Ready(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer e.cloud.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Host == host {
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	})()
	_, err = k.Sign(ctx, message)
	e.check(t, err, nil, "receipts.vault.azure.net: signing with the key k was cancelled")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
