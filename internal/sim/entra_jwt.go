package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// signer makes and checks tokens of the form that Entra ID and Azure DevOps
// give out: signed JWTs.
type signer struct {
	id  string
	key *ecdsa.PrivateKey
}

func newSigner(name string) *signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("sim: no key for %s: %v", name, err))
	}
	sum := sha1.Sum([]byte(name))
	return &signer{id: base64.RawURLEncoding.EncodeToString(sum[:]), key: key}
}

func (s *signer) sign(claims map[string]any) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(fmt.Sprintf("sim: claims: %v", err))
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	head := part(map[string]any{"typ": "JWT", "alg": "ES256", "kid": s.id, "x5t": s.id})
	body := head + "." + part(claims)
	sum := sha256.Sum256([]byte(body))
	r, t, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		panic(fmt.Sprintf("sim: signing: %v", err))
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	t.FillBytes(sig[32:])
	return body + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// open checks the signature and returns the claims; lifetime and audience are
// for the caller to judge.
func (s *signer) open(token string) (map[string]any, error) {
	head, payload, signature, err := parts(token)
	if err != nil {
		return nil, err
	}
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || len(sig) != 64 {
		return nil, errors.New("the token's signature cannot be read")
	}
	sum := sha256.Sum256([]byte(head + "." + payload))
	r, t := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	if !ecdsa.Verify(&s.key.PublicKey, sum[:], r, t) {
		return nil, errors.New("the token's signature is not of this issuer")
	}
	return claimsOf(token)
}

// jwks is the issuer's public key as a discovery document links to it.
func (s *signer) jwks() map[string]any {
	point, err := s.key.PublicKey.Bytes()
	if err != nil {
		panic(fmt.Sprintf("sim: public key: %v", err))
	}
	coordinate := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	return map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "use": "sig", "kid": s.id,
		"x": coordinate(point[1:33]), "y": coordinate(point[33:65]),
	}}}
}

func parts(token string) (head, payload, signature string, err error) {
	p := strings.Split(token, ".")
	if len(p) != 3 {
		return "", "", "", errors.New("not a JWT")
	}
	return p[0], p[1], p[2], nil
}

// claimsOf reads a token's claims without checking anything.
func claimsOf(token string) (map[string]any, error) {
	_, payload, _, err := parts(token)
	if err != nil {
		return nil, err
	}
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil, errors.New("not a JWT")
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		return nil, errors.New("not a JWT")
	}
	return claims, nil
}

func text(claims map[string]any, name string) string {
	s, _ := claims[name].(string)
	return s
}

func seconds(claims map[string]any, name string) int64 {
	n, _ := claims[name].(float64)
	return int64(n)
}

// guidOf derives a guid from a name, so that the same test sees the same ids.
func guidOf(name string) string {
	sum := sha1.Sum([]byte("acrpromote/sim/" + name))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x50
	b[8] = b[8]&0x3f | 0x80
	return formatGUID(b)
}

func formatGUID(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:32]
}

// TokenAudience returns the audience of a text that is a token, or "". The token is not
// verified.
func TokenAudience(token string) string {
	claims, err := claimsOf(token)
	if err != nil {
		return ""
	}
	return text(claims, "aud")
}
