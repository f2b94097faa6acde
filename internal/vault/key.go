package vault

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.SHA256
	_ "crypto/sha512" // for crypto.SHA384
	"encoding/asn1"
	"errors"
	"math/big"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// Key is one version of a key in a vault. It signs, and is safe for concurrent use.
type Key struct {
	vault  *Vault
	public crypto.PublicKey
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// URL returns the key's URL, with the version that signs.
func (k *Key) URL() string { return k.vault.key.String() }

// Sign signs a message. The key alone decides how, as it does for cosign and
// slsa-verifier: ECDSA with SHA-256 on P-256 and with SHA-384 on P-384, the signature in
// DER; RSA with SHA-256 and PKCS #1 v1.5. The signature is verified before it is
// returned.
func (k *Key) Sign(ctx context.Context, message []byte) ([]byte, error) {
	v := k.vault
	op := "signing with the key " + v.key.Name
	algorithm, hash := algorithmOf(k.public)
	digest := hash.New()
	digest.Write(message)
	sum := digest.Sum(nil)
	answer, err := v.client.Sign(ctx, v.key.Name, v.key.Version, azkeys.SignParameters{Algorithm: to.Ptr(algorithm), Value: sum}, nil)
	if err != nil {
		return nil, v.explain(op, err, true)
	}
	if answer.KID != nil {
		if id, err := parseReference(string(*answer.KID)); err != nil || !v.key.names(id) {
			return nil, v.strange(op, "it is about another key, "+v.secrets.Bounded(string(*answer.KID), maxShown))
		}
	}
	signature, valid := answer.Result, false
	switch key := k.public.(type) {
	case *ecdsa.PublicKey:
		signature, err = derSignature(key, answer.Result)
		valid = err == nil && ecdsa.VerifyASN1(key, sum, signature)
	case *rsa.PublicKey:
		valid = rsa.VerifyPKCS1v15(key, hash, sum, signature) == nil
	}
	if !valid {
		return nil, v.strange(op, "its signature is not one by the key")
	}
	return signature, nil
}

// algorithmOf returns the algorithm that a key signs with, and its hash function.
func algorithmOf(public crypto.PublicKey) (azkeys.SignatureAlgorithm, crypto.Hash) {
	key, ec := public.(*ecdsa.PublicKey)
	switch {
	case !ec:
		return azkeys.SignatureAlgorithmRS256, crypto.SHA256
	case key.Params().BitSize == 384:
		return azkeys.SignatureAlgorithmES384, crypto.SHA384
	}
	return azkeys.SignatureAlgorithmES256, crypto.SHA256
}

// derSignature returns an ECDSA signature as ASN.1, which envelopes contain. The vault
// returns r and s, each as long as the curve's order (RFC 7518, 3.4).
func derSignature(key *ecdsa.PublicKey, rs []byte) ([]byte, error) {
	size := (key.Params().BitSize + 7) / 8
	if len(rs) != 2*size {
		return nil, errors.New("wrong length")
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(rs[:size]), new(big.Int).SetBytes(rs[size:])})
}
