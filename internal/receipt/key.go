package receipt

import (
	"acrpromote/internal/ref"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for crypto.SHA384
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// RSA keys have at least minRSA bits. More than maxRSA only take time.
const (
	minRSA = 2048
	maxRSA = 8192
)

// Key is a public key that can verify receipts.
type Key struct {
	public crypto.PublicKey
	sum    [sha256.Size]byte // of the key's SubjectPublicKeyInfo
}

// NewKey returns a key for receipts: ECDSA on P-256 or P-384, Ed25519, or RSA of
// 2048 to 8192 bits.
func NewKey(public crypto.PublicKey) (Key, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return Key{}, fmt.Errorf("the key is on the curve %s: use P-256 or P-384", curveName(k))
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return Key{}, fmt.Errorf("the RSA key has %d bits: use %d to %d", bits, minRSA, maxRSA)
		}
	case ed25519.PublicKey:
	default:
		return Key{}, fmt.Errorf("the key is of a kind that receipts do not use (%T): use P-256, P-384, Ed25519 or RSA", public)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("the key is not valid: %w", err)
	}
	return Key{public: public, sum: sha256.Sum256(der)}, nil
}

func curveName(k *ecdsa.PublicKey) string {
	if k.Curve == nil {
		return "none"
	}
	return k.Curve.Params().Name
}

// ParseKey returns the public key of a PEM file ("BEGIN PUBLIC KEY").
func ParseKey(file []byte) (Key, error) {
	block, rest := pem.Decode(file)
	switch {
	case block == nil:
		return Key{}, errors.New("the file is not a PEM file with a public key")
	case block.Type != "PUBLIC KEY":
		return Key{}, fmt.Errorf("the file has the PEM type %q instead of PUBLIC KEY", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return Key{}, errors.New("the file has more than one key: use one file for each")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, errors.New("the file's public key is not valid")
	}
	return NewKey(public)
}

// ID returns the key's ID: "sha256:" and the hash of its SubjectPublicKeyInfo (DER)
// in hexadecimal.
func (k Key) ID() string { return ref.EncodeDigest(k.sum[:]) }

// Verify reports whether a signature of a message is by this key. The key alone
// decides the algorithm: ECDSA with SHA-256 on P-256 and SHA-384 on P-384, the
// signature in DER; Ed25519; RSA with SHA-256, PKCS #1 v1.5 or PSS with a salt of 32
// bytes.
func (k Key) Verify(message, signature []byte) bool {
	sum, hash := digest(k.public, message)
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, sum, signature)
	case ed25519.PublicKey:
		return ed25519.Verify(public, message, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, hash, sum, signature) == nil ||
			rsa.VerifyPSS(public, hash, sum, signature, &rsa.PSSOptions{SaltLength: hash.Size()}) == nil
	}
	return false
}

// digest returns the digest of a message that a key signs, and its hash: SHA-384 for
// ECDSA on P-384, otherwise SHA-256.
func digest(public crypto.PublicKey, message []byte) ([]byte, crypto.Hash) {
	hash := crypto.SHA256
	if k, ok := public.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P384() {
		hash = crypto.SHA384
	}
	h := hash.New()
	h.Write(message)
	return h.Sum(nil), hash
}

// LocalSigner returns a signer for a private key. With RSA it signs by PKCS #1 v1.5,
// which other verifiers expect of an RSA key.
func LocalSigner(private crypto.Signer) (Signer, error) {
	if _, err := NewKey(private.Public()); err != nil {
		return nil, err
	}
	return local{private}, nil
}

type local struct{ private crypto.Signer }

func (l local) Public() crypto.PublicKey { return l.private.Public() }

func (l local) Sign(_ context.Context, message []byte) ([]byte, error) {
	if _, whole := l.Public().(ed25519.PublicKey); whole {
		return l.private.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum, hash := digest(l.Public(), message)
	return l.private.Sign(rand.Reader, sum, hash)
}
