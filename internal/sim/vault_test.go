package sim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

const testVault = "receipts.vault.azure.net"

// newVault opens a vault whose keys an application may get and sign with.
func newVault(t *testing.T, o VaultOptions) (*Cloud, *Network, *Vault, *Application) {
	t.Helper()
	c, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	n := c.Network("agents", "192.0.2.7")
	tenant := guidOf("tenant/vault")
	d := c.Directory(tenant)
	app := d.AddApplication(guidOf("client/vault")).AddSecret("secret")
	o.Tokens, o.Tenant = d, tenant
	v := c.Vault(testVault, o)
	v.Grant(app.ObjectID(), "get", "sign")
	return c, n, v, app
}

// vaultCall sends a request with a token for an audience, and returns status and body.
func vaultCall(t *testing.T, n *Network, d *Directory, app *Application, method, path, audience, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+testVault+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if audience != "" {
		token, _ := d.issue(app, audience)
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := n.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Www-Authenticate") + string(text)
}

// TestVaultSignsForAzuresOwnClient: azkeys, with its own way to sign in, gets a key and
// a signature that the public key verifies.
func TestVaultSignsForAzuresOwnClient(t *testing.T) {
	_, n, v, app := newVault(t, VaultOptions{})
	credential, err := azidentity.NewClientSecretCredential(v.o.Tenant, app.clientID, "secret", &azidentity.ClientSecretCredentialOptions{ClientOptions: options(n), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	client, err := azkeys.NewClient("https://"+testVault, credential, &azkeys.ClientOptions{ClientOptions: options(n)})
	if err != nil {
		t.Fatal(err)
	}
	sum256, sum384 := sha256.Sum256([]byte("message")), sha512.Sum384([]byte("message"))
	for _, c := range []struct {
		key    VaultKey
		alg    azkeys.SignatureAlgorithm
		digest []byte
		verify func(crypto.PublicKey, []byte) bool
	}{
		{VaultKey{}, azkeys.SignatureAlgorithmES256, sum256[:], verifyRS(sum256[:])},
		{VaultKey{Type: "EC-HSM", Curve: "P-384"}, azkeys.SignatureAlgorithmES384, sum384[:], verifyRS(sum384[:])},
		{VaultKey{Type: "RSA"}, azkeys.SignatureAlgorithmRS256, sum256[:], func(key crypto.PublicKey, s []byte) bool {
			return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, sum256[:], s) == nil
		}},
		{VaultKey{Type: "RSA-HSM"}, azkeys.SignatureAlgorithmPS256, sum256[:], func(key crypto.PublicKey, s []byte) bool {
			return rsa.VerifyPSS(key.(*rsa.PublicKey), crypto.SHA256, sum256[:], s, nil) == nil
		}},
	} {
		first, second := v.CreateKey("Release", c.key), v.CreateKey("Release", c.key)
		got, err := client.GetKey(t.Context(), "release", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if id := string(*got.Key.KID); id != "https://"+testVault+"/keys/Release/"+second || first == second {
			t.Errorf("the current version is %s", id)
		}
		signed, err := client.Sign(t.Context(), "Release", first, azkeys.SignParameters{Algorithm: &c.alg, Value: c.digest}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.verify(v.Public("Release", first), signed.Result) || c.verify(v.Public("Release", second), signed.Result) {
			t.Errorf("%s: the signature is not of the version that was asked for", c.alg)
		}
		v.DeleteKey("Release")
	}
	if got := v.Signatures(); got != 4 {
		t.Errorf("%d signatures", got)
	}
}

func verifyRS(digest []byte) func(crypto.PublicKey, []byte) bool {
	return func(key crypto.PublicKey, s []byte) bool {
		half := len(s) / 2
		return ecdsa.Verify(key.(*ecdsa.PublicKey), digest, new(big.Int).SetBytes(s[:half]), new(big.Int).SetBytes(s[half:]))
	}
}

func TestVaultRefusals(t *testing.T) {
	_, n, v, app := newVault(t, VaultOptions{})
	d := app.directory
	digest := encode(bytes.Repeat([]byte{1}, 32))
	sign := func(alg, value string) string { return fmt.Sprintf(`{"alg":%q,"value":%q}`, alg, value) }
	const get, post, vaults, api = http.MethodGet, http.MethodPost, "https://vault.azure.net", "?api-version=7.6"
	good := v.CreateKey("good", VaultKey{})
	key := func(name string, o VaultKey) string { return "/keys/" + name + "/" + v.CreateKey(name, o) }
	nobody := d.AddApplication(guidOf("client/nobody"))
	for _, c := range []struct {
		name, method, path, audience, body string
		status                             int
		want                               string
	}{
		{"no token", get, "/keys/good" + api, "", "", 401, `Bearer authorization="https://login.microsoftonline.com/` + v.o.Tenant + `", resource="https://vault.azure.net"{"error":{"code":"Unauthorized","message":"AKV10000`},
		{"a token for registries", get, "/keys/good" + api, Audience, "", 401, "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://containerregistry.azure.net."},
		{"no version of the interface", get, "/keys/good", vaults, "", 400, "BadParameter"},
		{"another name", get, "/keys/bad" + api, vaults, "", 404, "KeyNotFound"},
		{"another version", get, "/keys/good/" + strings.Repeat("0", 32) + api, vaults, "", 404, "KeyNotFound"},
		{"wrong method", post, "/keys/good" + api, vaults, "{}", 405, "MethodNotAllowed"},
		{"a short digest", post, "/keys/good/" + good + "/sign" + api, vaults, sign("ES256", encode([]byte("short"))), 400, "Invalid length of 'value': 5 bytes. ES256 requires 32 bytes"},
		{"an algorithm for another curve", post, "/keys/good/" + good + "/sign" + api, vaults, sign("ES384", encode(bytes.Repeat([]byte{1}, 48))), 400, "algorithm 'ES384' can only be used with curve 'P-384'"},
		{"an algorithm for another type", post, "/keys/good/" + good + "/sign" + api, vaults, sign("RS256", digest), 400, "is of type 'EC'"},
		{"an unknown algorithm", post, "/keys/good/" + good + "/sign" + api, vaults, sign("none", digest), 400, "invalid value"},
		{"no document", post, "/keys/good/" + good + "/sign" + api, vaults, "", 400, "invalid value"},
		{"disabled", post, key("disabled", VaultKey{Disabled: true}) + "/sign" + api, vaults, sign("ES256", digest), 403, "KeyDisabled"},
		{"expired", post, key("expired", VaultKey{Expires: time.Now().Add(-time.Hour)}) + "/sign" + api, vaults, sign("ES256", digest), 403, "KeyExpired"},
		{"not yet valid", post, key("early", VaultKey{NotBefore: time.Now().Add(time.Hour)}) + "/sign" + api, vaults, sign("ES256", digest), 403, "KeyNotYetValid"},
		{"not for signing", post, key("verify", VaultKey{Ops: []string{"verify"}}) + "/sign" + api, vaults, sign("ES256", digest), 403, "not permitted"},
	} {
		status, text := vaultCall(t, n, d, app, c.method, c.path, c.audience, c.body)
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s, want %d with %s", c.name, status, text, c.status, c.want)
		}
	}
	if status, text := vaultCall(t, n, d, nobody, get, "/keys/good"+api, vaults, ""); status != 403 || !strings.Contains(text, "ForbiddenByRbac") || !strings.Contains(text, "Microsoft.KeyVault/vaults/keys/read") {
		t.Errorf("somebody without a role: %d %s", status, text)
	}
	v.AllowOnly("192.0.2.8")
	if status, text := vaultCall(t, n, d, app, get, "/keys/good"+api, vaults, ""); status != 403 || !strings.Contains(text, "ForbiddenByFirewall") || !strings.Contains(text, "192.0.2.7") {
		t.Errorf("firewall: %d %s", status, text)
	}
	v.SetPrivate(true)
	if status, text := vaultCall(t, n, d, app, get, "/keys/good"+api, vaults, ""); status != 403 || !strings.Contains(text, "ForbiddenByConnection") {
		t.Errorf("private: %d %s", status, text)
	}
	if v.Signatures() != 0 {
		t.Errorf("%d signatures", v.Signatures())
	}
}

// TestVaultShowsKeysThatCannotSign: a vault shows a key that cannot sign; with
// HideDisabled it refuses one that is disabled.
func TestVaultShowsKeysThatCannotSign(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		_, n, v, app := newVault(t, VaultOptions{HideDisabled: hidden})
		v.CreateKey("k", VaultKey{Disabled: true, Ops: []string{"verify"}})
		status, text := vaultCall(t, n, app.directory, app, http.MethodGet, "/keys/k?api-version=7.6", "https://vault.azure.net", "")
		if hidden {
			if status != 403 || !strings.Contains(text, "KeyDisabled") {
				t.Errorf("hidden: %d %s", status, text)
			}
			continue
		}
		var bundle struct {
			Key struct {
				X   string   `json:"x"`
				Ops []string `json:"key_ops"`
			}
			Attributes struct{ Enabled *bool }
		}
		if err := json.Unmarshal([]byte(text), &bundle); err != nil || status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		x, err := base64.RawURLEncoding.DecodeString(bundle.Key.X)
		if err != nil || len(x) != 32 || len(bundle.Key.Ops) != 1 || bundle.Attributes.Enabled == nil || *bundle.Attributes.Enabled {
			t.Errorf("shown as %s", text)
		}
	}
}

// TestVaultLimitsWeigh: an RSA key of 3,072 bits in an HSM takes eight times what an EC
// key in software takes.
func TestVaultLimitsWeigh(t *testing.T) {
	_, _, v, _ := newVault(t, VaultOptions{Limit: 20})
	now := time.Now()
	for _, c := range []struct {
		key   VaultKey
		taken int
	}{{VaultKey{}, 20}, {VaultKey{Type: "EC-HSM"}, 10}, {VaultKey{Type: "RSA-HSM", Bits: 3072}, 2}} {
		k := newVaultKey(c.key)
		taken := 0
		for v.spend(now, k.weight) == 0 {
			taken++
		}
		if taken != c.taken {
			t.Errorf("%+v: %d requests in a window, want %d", c.key, taken, c.taken)
		}
		now = now.Add(10 * time.Second)
	}
	if v.Throttled() != 3 {
		t.Errorf("%d were throttled", v.Throttled())
	}
}
