// Package vault signs with a key in Azure Key Vault, which never leaves it, or with a
// private key in a PEM file.
//
// A token for vaults is sent only to the vault that the key's URL names, which must be
// under the vault suffix of one of Azure's clouds. The package reaches the network
// through the http.Client that it is given.
package vault

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"acrpromote/internal/sanitize"
)

// Options are what a vault is used with.
type Options struct {
	// Identity is what the identity is called in messages, ClientID its application
	// (client) ID; both may be empty.
	Identity, ClientID string
	// Secrets, if not nil, are removed from what the vault says.
	Secrets *sanitize.Secrets
	// Limit, if not nil, is called before the first signature with how many requests
	// to send to the vault in a period, at most.
	Limit func(requests int, period time.Duration)
}

// Vault reads one key of a Key Vault. It is safe for concurrent use.
type Vault struct {
	key                Reference
	client             *azkeys.Client
	identity, clientID string
	secrets            *sanitize.Secrets
	limit              func(int, time.Duration)
}

// New returns a client for the key. It sends nothing yet. The client must not follow
// redirects, and limits and repeats requests.
func New(key Reference, credential azcore.TokenCredential, client *http.Client, o Options) (*Vault, error) {
	if _, known := cloudOf(key.Host); !known {
		return nil, fmt.Errorf("%s is not a Key Vault", sanitize.Bounded(key.Host, maxShown))
	}
	transport := newTransport(key, client)
	sdk, err := azkeys.NewClient("https://"+key.Host, vaultCredential{credential, key.audience()}, &azkeys.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: transport, Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		return nil, fmt.Errorf("the vault %s cannot be asked: %w", key.Host, err)
	}
	return &Vault{
		key: key, client: sdk, secrets: o.Secrets, limit: o.Limit,
		identity: cmp.Or(o.Identity, "the identity"), clientID: cmp.Or(o.ClientID, "<client-id>"),
	}, nil
}

// PublicKey returns the public key, for verifying. The key may be disabled or expired:
// what it signed before stays valid.
func (v *Vault) PublicKey(ctx context.Context) (crypto.PublicKey, error) {
	op := "reading the key " + v.key.Name
	bundle, _, err := v.read(ctx, op, false)
	if err != nil {
		return nil, err
	}
	return v.public(op, bundle.Key)
}

// Ready checks that the key can sign now: it reads the key, and makes a signature that
// is thrown away, since the right to read says nothing about the right to sign. The key
// that it returns is the version that was read, whatever becomes the current one.
func (v *Vault) Ready(ctx context.Context, now time.Time) (*Key, error) {
	op := "reading the key " + v.key.Name
	bundle, id, err := v.read(ctx, op, true)
	if err != nil {
		return nil, err
	}
	public, err := v.public(op, bundle.Key)
	if err != nil {
		return nil, err
	}
	if err := v.usable(op, bundle, now); err != nil {
		return nil, err
	}
	pinned := *v
	pinned.key = id
	k := &Key{vault: &pinned, public: public}
	if v.limit != nil {
		v.limit(rate(*bundle.Key.Kty, public), ratePeriod)
	}
	if _, err := k.Sign(ctx, probe); err != nil {
		return nil, err
	}
	return k, nil
}

// probe is signed to find out whether the identity may sign. Nothing that is signed
// for receipts begins like this.
var probe = []byte("acrpromote asks whether this key can sign\n")

// read reads the key, and checks that the answer is about it.
func (v *Vault) read(ctx context.Context, op string, signing bool) (azkeys.KeyBundle, Reference, error) {
	answer, err := v.client.GetKey(ctx, v.key.Name, v.key.Version, nil)
	if err != nil {
		return azkeys.KeyBundle{}, Reference{}, v.explain(op, err, signing)
	}
	if answer.Key == nil || answer.Key.Kty == nil || answer.Key.KID == nil {
		return azkeys.KeyBundle{}, Reference{}, v.strange(op, "it has no key with a type and an ID")
	}
	id, err := parseReference(string(*answer.Key.KID))
	if err != nil || !v.key.names(id) || id.Version == "" {
		return azkeys.KeyBundle{}, Reference{}, v.strange(op, "it is about another key, "+v.secrets.Bounded(string(*answer.Key.KID), maxShown))
	}
	return answer.KeyBundle, id, nil
}

// strange is the error for an answer that a Key Vault does not give.
func (v *Vault) strange(op, what string) error {
	return v.failed(op, nil, "Check that it is a Key Vault, and what is in front of it", "the answer is not that of a Key Vault: %s", what)
}

const keyKinds = "Use an EC key with the curve P-256 or P-384, or an RSA key of 2048, 3072 or 4096 bits"

// public returns the public key, if it is of a kind that signs receipts.
func (v *Vault) public(op string, key *azkeys.JSONWebKey) (crypto.PublicKey, error) {
	switch strings.TrimSuffix(string(*key.Kty), "-HSM") {
	case "EC":
		name := azkeys.CurveName("")
		if key.Crv != nil {
			name = *key.Crv
		}
		curve := map[azkeys.CurveName]elliptic.Curve{azkeys.CurveNameP256: elliptic.P256(), azkeys.CurveNameP384: elliptic.P384()}[name]
		if curve == nil {
			return nil, v.failed(op, ErrUnsuitable, keyKinds, "it has the curve %s, which receipts are not signed with", v.secrets.Bounded(string(name), maxCode))
		}
		size := (curve.Params().BitSize + 7) / 8
		if len(key.X) > size || len(key.Y) > size {
			return nil, v.strange(op, "the point of its public key is not on the curve")
		}
		point := make([]byte, 1+2*size)
		point[0] = 4 // uncompressed
		copy(point[1+size-len(key.X):], key.X)
		copy(point[1+2*size-len(key.Y):], key.Y)
		public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil {
			return nil, v.strange(op, "the point of its public key is not on the curve")
		}
		return public, nil
	case "RSA":
		n, e := new(big.Int).SetBytes(key.N), new(big.Int).SetBytes(key.E)
		if bits := n.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, v.failed(op, ErrUnsuitable, keyKinds, "it is an RSA key of %d bits", bits)
		}
		if e.BitLen() > 31 || e.Bit(0) == 0 || e.Cmp(big.NewInt(3)) < 0 {
			return nil, v.strange(op, "the exponent of its public key is not valid")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	}
	return nil, v.failed(op, ErrUnsuitable, keyKinds, "it is of the type %s, which receipts are not signed with", v.secrets.Bounded(string(*key.Kty), maxCode))
}

// usable checks the key's attributes. What the answer does not say is left to the
// vault, which refuses to sign.
func (v *Vault) usable(op string, bundle azkeys.KeyBundle, now time.Time) error {
	a := bundle.Attributes
	if a == nil {
		a = &azkeys.KeyAttributes{}
	}
	switch {
	case bundle.Key.KeyOps != nil && !slices.ContainsFunc(bundle.Key.KeyOps, isSign):
		return v.failed(op, ErrUnsuitable, "Add sign to its permitted operations, or use another key", "the key does not permit signing (permitted: %s)", v.operations(bundle.Key.KeyOps))
	case a.Enabled != nil && !*a.Enabled:
		return v.failed(op, ErrDenied, "Enable this version of the key, or name another key or version", "the key is disabled")
	case a.Expires != nil && !now.Before(*a.Expires):
		return v.failed(op, ErrDenied, "Rotate the key, or extend this version's expiration date", "the key expired at %s", a.Expires.UTC().Format(time.RFC3339))
	case a.NotBefore != nil && now.Before(*a.NotBefore):
		return v.failed(op, ErrDenied, "Change this version's activation date, or name another version", "the key is not valid before %s", a.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

func isSign(operation *azkeys.KeyOperation) bool {
	return operation != nil && *operation == azkeys.KeyOperationSign
}

// operations lists a key's permitted operations.
func (v *Vault) operations(all []*azkeys.KeyOperation) string {
	var names []string
	for _, operation := range all {
		if operation != nil {
			names = append(names, string(*operation))
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return v.secrets.Bounded(strings.Join(names, ", "), maxShown)
}

// ratePeriod is the period of the published limits.
const ratePeriod = 10 * time.Second

// rate returns how many requests for a key to send to its vault in a period: nine
// tenths of what the vault takes of all its users, so that those are not refused.
// https://learn.microsoft.com/azure/key-vault/general/service-limits
func rate(kty azkeys.KeyType, public crypto.PublicKey) int {
	limit := 4000
	if key, ok := public.(*rsa.PublicKey); ok {
		switch bits := key.N.BitLen(); {
		case bits > 3072:
			limit = 500
		case bits > 2048:
			limit = 1000
		}
	}
	if strings.HasSuffix(string(kty), "-HSM") {
		limit /= 2
	}
	return limit * 9 / 10
}
