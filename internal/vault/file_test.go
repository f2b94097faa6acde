package vault

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrpromote/internal/receipt"
)

func TestReadPrivateKey(t *testing.T) {
	curve := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	rsaKey := func(bits int) *rsa.PrivateKey {
		// Go's own limit is below the one that is tested.
		t.Setenv("GODEBUG", "rsa1024min=0")
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	block := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return block("PRIVATE KEY", der, err)
	}
	p256, small, big := curve(elliptic.P256()), rsaKey(1024), rsaKey(2048)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	public, errPublic := x509.MarshalPKIXPublicKey(&p256.PublicKey)
	directory := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, key := range map[string]crypto.Signer{"p256": p256, "p384": curve(elliptic.P384()), "ed25519": edwards, "rsa": big} {
		got, err := ReadPrivateKey(write(name, pkcs8(key)+"\n\n"))
		if err != nil || !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(got.Public()) {
			t.Fatalf("%s: %v", name, err)
		}
		// Every key that is read signs receipts that its public key verifies.
		signer, err := receipt.LocalSigner(got)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		verifier, err := receipt.NewKey(got.Public())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		signature, err := signer.Sign(t.Context(), []byte("message"))
		if err != nil || !verifier.Verify([]byte("message"), signature) {
			t.Errorf("%s: the signature does not verify, %v", name, err)
		}
	}
	//lint:ignore SA1019 users have such keys
	old, errOld := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", sec1, []byte("word"), x509.PEMCipherAES256)
	if errOld != nil {
		t.Fatal(errOld)
	}
	for name, c := range map[string]struct{ text, want string }{
		"encrypted":       {block("ENCRYPTED PRIVATE KEY", sec1, nil), "is encrypted. Store the key without a password, as a secure file is encrypted already: openssl pkcs8 -topk8 -nocrypt"},
		"encrypted SEC 1": {string(pem.EncodeToMemory(old)), "is encrypted"},
		"SEC 1":           {block("EC PRIVATE KEY", sec1, err), "SEC 1 (BEGIN EC PRIVATE KEY), not PKCS #8. Convert it: openssl pkcs8"},
		"parameters":      {block("EC PARAMETERS", []byte{1}, nil) + block("EC PRIVATE KEY", sec1, nil), "SEC 1"},
		"PKCS #1":         {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(big), nil), "PKCS #1 (BEGIN RSA PRIVATE KEY), not PKCS #8. Convert it"},
		"OpenSSH":         {block("OPENSSH PRIVATE KEY", sec1, nil), "a key of OpenSSH"},
		"public":          {block("PUBLIC KEY", public, errPublic), "a public key, which cannot sign"},
		"certificate":     {block("CERTIFICATE", public, nil) + pkcs8(p256), "a certificate, which cannot sign"},
		"another block":   {block("X509 CRL", public, nil), "has no private key"},
		"two keys":        {pkcs8(p256) + pkcs8(p256), "has more than one private key"},
		"key and garbage": {pkcs8(p256) + "garbage", "has more than one private key"},
		"garbage":         {block("PRIVATE KEY", []byte("garbage"), nil), "has a private key that cannot be read"},
		"no PEM":          {"garbage", "has no key in PEM"},
		"empty":           {"", "has no key in PEM"},
		"P-521":           {pkcs8(curve(elliptic.P521())), "has a key with the curve P-521, which receipts are not signed with. Use a P-256"},
		"P-224":           {pkcs8(curve(elliptic.P224())), "has a key with the curve P-224"},
		"X25519":          {pkcs8(agreement), "has a key of a kind that receipts are not signed with"},
		"RSA 1024":        {pkcs8(small), "has an RSA key of 1024 bits"},
		"long":            {pkcs8(p256) + strings.Repeat("\n", maxKeyFile), "cannot be used: it is larger than 65536 bytes"},
	} {
		path := write(strings.NewReplacer(" ", "-", "#", "").Replace(name), c.text)
		checkUnsuitable(t, path, c.want)
	}
	checkUnsuitable(t, directory, "cannot be used: it is a directory")
	checkUnsuitable(t, filepath.Join(directory, "missing"), "cannot be used: it cannot be read: no such file or directory. Check its path")
}

// checkUnsuitable checks that a file is refused, with an error that quotes nothing of it.
func checkUnsuitable(t *testing.T, path, want string) {
	t.Helper()
	_, err := ReadPrivateKey(path)
	if err == nil || !errors.Is(err, ErrUnsuitable) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), filepath.Base(path)) {
		t.Errorf("%s: %v\nwant %s", path, err, want)
		return
	}
	content, _ := os.ReadFile(path)
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") && strings.Contains(err.Error(), line) {
			t.Errorf("%v quotes the file", err)
		}
	}
}

func FuzzParsePrivate(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, what, remedy := parsePrivate(text)
		if (key == nil) == (what == "") || (what == "") != (remedy == "") {
			t.Errorf("%v, %q, %q", key, what, remedy)
		}
	})
}
