package receipt

import (
	"bytes"
	"context"
	"crypto"
	//lint:ignore SA1019 users may have such a key
	"crypto/dsa"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
)

//go:embed testdata/vectors.json
var vectorsJSON []byte

// TestVectors verifies signatures that openssl made.
func TestVectors(t *testing.T) {
	var vectors struct {
		Payload, PAE []byte
		Signatures   []struct {
			Key, Algorithm, PEM, KeyID string
			Signature                  []byte
		}
	}
	if err := json.Unmarshal(vectorsJSON, &vectors); err != nil {
		t.Fatal(err)
	}
	message := pae(payloadType, vectors.Payload)
	if !bytes.Equal(message, vectors.PAE) || len(vectors.Signatures) != 5 {
		t.Fatalf("%q", message)
	}
	for i, v := range vectors.Signatures {
		key, err := ParseKey([]byte(v.PEM))
		if err != nil {
			t.Fatal(err)
		}
		if key.ID() != v.KeyID {
			t.Errorf("%s: the key's ID is %s", v.Algorithm, key.ID())
		}
		if !key.Verify(message, v.Signature) {
			t.Errorf("%s: openssl's signature does not match", v.Algorithm)
		}
		if key.Verify(append(message, ' '), v.Signature) || key.Verify(message, v.Signature[1:]) || key.Verify(message, append(bytes.Clone(v.Signature), 0)) || key.Verify(message, nil) {
			t.Errorf("%s: a changed message or signature matches", v.Algorithm)
		}
		for _, other := range vectors.Signatures {
			if other.KeyID != v.KeyID && key.Verify(message, other.Signature) {
				t.Errorf("the signature %s matches the key of %s", other.Algorithm, v.Algorithm)
			}
		}
		content, err := envelope{vectors.Payload, payloadType, []signatureOf{{v.KeyID, v.Signature}}}.encode(MediaType, "")
		if err != nil {
			t.Fatal(err)
		}
		var all []Key
		for _, other := range vectors.Signatures[:i+1] {
			k, err := ParseKey([]byte(other.PEM))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, k)
		}
		if o, err := Open(MediaType, content, ours, all); err != nil || o.Key.ID() != v.KeyID || o.Summary == nil {
			t.Errorf("%s: %v, %v", v.Algorithm, o.Key.ID(), err)
		}
		if _, err := Open(MediaType, bytes.Replace(content, []byte(v.KeyID), []byte(ours), 1), ours, all); err == nil {
			t.Errorf("%s: accepted with the ID of another key", v.Algorithm)
		}
	}
}

// TestSpecificationsVector verifies the example of DSSE's specification
// (protocol.md), whose signature is r and s in 32 bytes each.
func TestSpecificationsVector(t *testing.T) {
	message := pae("http://example.com/HelloWorld", []byte("hello world"))
	if string(message) != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Errorf("%q", message)
	}
	x, _ := new(big.Int).SetString("46950820868899156662930047687818585632848591499744589407958293238635476079160", 10)
	y, _ := new(big.Int).SetString("5640078356564379163099075877009565129882514886557779369047442380624545832820", 10)
	point := append([]byte{4}, append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)...)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey(public)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==")
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
	if err != nil || !key.Verify(message, der) {
		t.Errorf("the signature of the specification does not match: %v", err)
	}
	if key.Verify(message, raw) {
		t.Error("a signature that is not in DER matches")
	}
}

func publicPEM(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestKeys(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short := &rsa.PublicKey{N: new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 2047), big.NewInt(1)), E: 65537}
	long := &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 8192), big.NewInt(1)), E: 65537}
	for name := range keys() {
		text := publicPEM(t, keys()[name].Public())
		key, err := ParseKey([]byte("\n" + text + "\n"))
		_, want := signerOf(t, name)
		if err != nil || key.ID() != want.ID() {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ParseKey([]byte(text + text)); err == nil || !strings.Contains(err.Error(), "more than one key") {
			t.Errorf("%s twice: %v", name, err)
		}
	}
	for _, c := range []struct {
		name string
		key  crypto.PublicKey
		why  string
	}{
		{"P-521", &p521.PublicKey, "the curve P-521: use P-256 or P-384"},
		{"P-224", &p224.PublicKey, "the curve P-224"},
		{"RSA of 2047 bits", short, "the RSA key has 2047 bits"},
		{"RSA of 8193 bits", long, "the RSA key has 8193 bits"},
		{"DSA", &dsa.PublicKey{}, "a kind that receipts do not use"},
		{"none", nil, "a kind that receipts do not use"},
		{"no curve", &ecdsa.PublicKey{}, "the curve none"},
	} {
		if _, err := NewKey(c.key); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.why)
		}
	}
	if _, err := LocalSigner(p521); err == nil {
		t.Error("a signer on P-521 was made")
	}
	private, err := x509.MarshalPKCS8PrivateKey(keys()["P-256"])
	if err != nil {
		t.Fatal(err)
	}
	for text, why := range map[string]string{
		"":                            "not a PEM file",
		"ssh-ed25519 AAAA":            "not a PEM file",
		publicPEM(t, &p521.PublicKey): "P-521",
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})):      `the PEM type "PRIVATE KEY"`,
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("key")})): "public key is not valid",
	} {
		if _, err := ParseKey([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want an error with %q", text, err, why)
		}
	}
}

// erring is a signer that fails, or signs with another key than it shows.
type erring struct {
	Signer
	public crypto.PublicKey
	err    error
}

func (e erring) Public() crypto.PublicKey { return e.public }

func (e erring) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if e.err != nil {
		return nil, e.err
	}
	return e.Signer.Sign(ctx, message)
}

func TestSignersThatErr(t *testing.T) {
	payload, err := sealing().Statement()
	if err != nil {
		t.Fatal(err)
	}
	signer, _ := signerOf(t, "P-256")
	for why, e := range map[string]erring{
		"the vault is down":                            {signer, signer.Public(), errors.New("the vault is down")},
		"the signature does not match the key sha256:": {signer, keys()["P-384"].Public(), nil},
		"a kind that receipts do not use":              {signer, nil, nil},
	} {
		if a, err := payload.Sign(context.Background(), e, DSSE); err == nil || a.Content != nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want an error with %q", err, why)
		}
	}
}

func TestArtifact(t *testing.T) {
	signer, key := signerOf(t, "P-256")
	payload, err := sealing().Statement()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := payload.Sign(context.Background(), signer, DSSE)
	if err != nil || plain.Type != ArtifactType || plain.MediaType != MediaType || plain.KeyID != key.ID() || plain.PredicateType != SealType ||
		plain.Annotations["org.opencontainers.image.created"] != "2026-11-27T12:00:00Z" || plain.Annotations["in-toto.io/predicate-type"] != SealType || len(plain.Annotations) != 2 {
		t.Errorf("%+v, %v", plain, err)
	}
	bundled, err := payload.Sign(context.Background(), signer, Bundle)
	if err != nil || bundled.Type != BundleType || bundled.MediaType != BundleType ||
		bundled.Annotations["dev.sigstore.bundle.content"] != "dsse-envelope" || bundled.Annotations["dev.sigstore.bundle.predicateType"] != SealType {
		t.Errorf("%+v, %v", bundled, err)
	}
	var sigstore struct {
		MediaType            string
		VerificationMaterial struct{ PublicKey struct{ Hint string } }
		DSSEEnvelope         struct {
			PayloadType, Payload string
			Signatures           []struct{ Sig string }
		}
	}
	if err := json.Unmarshal(bundled.Content, &sigstore); err != nil || sigstore.MediaType != BundleType || sigstore.DSSEEnvelope.PayloadType != "application/vnd.in-toto+json" ||
		sigstore.DSSEEnvelope.Payload != base64.StdEncoding.EncodeToString(payload.Content) || len(sigstore.DSSEEnvelope.Signatures) != 1 || len(sigstore.VerificationMaterial.PublicKey.Hint) != 44 {
		t.Errorf("%s, %v", bundled.Content, err)
	}
}

func TestManifestLayer(t *testing.T) {
	for _, c := range []struct {
		name     string
		manifest Manifest
		why      string
	}{
		{"a receipt", Manifest{ArtifactType, ours, []string{MediaType}}, ""},
		{"a bundle", Manifest{BundleType, ours, []string{BundleType}}, ""},
		{"another type", Manifest{"application/spdx+json", ours, []string{MediaType}}, "artifact type"},
		{"no type", Manifest{"", ours, []string{MediaType}}, "artifact type"},
		{"another image", Manifest{ArtifactType, theirs, []string{MediaType}}, "refers to"},
		{"no image", Manifest{ArtifactType, "", []string{MediaType}}, "refers to"},
		{"no layer", Manifest{ArtifactType, ours, nil}, "0 layers"},
		{"two layers", Manifest{ArtifactType, ours, []string{MediaType, MediaType}}, "2 layers"},
		{"another layer", Manifest{ArtifactType, ours, []string{BundleType}}, "media type"},
		{"a bundle with our layer", Manifest{BundleType, ours, []string{MediaType}}, "media type"},
	} {
		mediaType, err := c.manifest.Layer(ours)
		switch {
		case c.why == "" && (err != nil || mediaType != c.manifest.Layers[0]):
			t.Errorf("%s: %q, %v", c.name, mediaType, err)
		case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.why)
		}
	}
}

// TestEnvelopes has envelopes in the right form that are not taken, though the
// signature is valid.
func TestEnvelopes(t *testing.T) {
	signer, key := signerOf(t, "Ed25519")
	statement, err := sealing().Statement()
	if err != nil {
		t.Fatal(err)
	}
	signed := func(payloadType string, payload []byte) signatureOf {
		signature, err := signer.Sign(context.Background(), pae(payloadType, payload))
		if err != nil {
			t.Fatal(err)
		}
		return signatureOf{"", signature}
	}
	valid := signed(payloadType, statement.Content)
	large := append(bytes.Repeat([]byte(" "), maxPayload), statement.Content...)
	for _, c := range []struct {
		name     string
		envelope envelope
		why      string
	}{
		{"as it was", envelope{statement.Content, payloadType, []signatureOf{valid}}, ""},
		{"another type of payload", envelope{statement.Content, "application/json", []signatureOf{signed("application/json", statement.Content)}}, `"application/json"`},
		{"no signature", envelope{statement.Content, payloadType, []signatureOf{}}, "0 signatures"},
		{"null for signatures", envelope{statement.Content, payloadType, nil}, "0 signatures"},
		{"two signatures", envelope{statement.Content, payloadType, []signatureOf{valid, valid}}, "2 signatures"},
		{"a large statement", envelope{large, payloadType, []signatureOf{signed(payloadType, large)}}, "358400 are allowed"},
		{"a keyid that is not the key's", envelope{statement.Content, payloadType, []signatureOf{{ours, valid.Sig}}}, "not signed by one of the keys"},
		{"a keyid that is the key's", envelope{statement.Content, payloadType, []signatureOf{{key.ID(), valid.Sig}}}, ""},
	} {
		for _, mediaType := range []string{MediaType, BundleType} {
			content, err := c.envelope.encode(mediaType, key.hint())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Open(mediaType, content, ours, []Key{key}); (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, c.why)
			}
		}
	}
	bundled, err := envelope{statement.Content, payloadType, []signatureOf{valid}}.encode(BundleType, "another")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(BundleType, bundled, ours, []Key{key}); err == nil {
		t.Error("a bundle that names another key was accepted")
	}
}
