package vault

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"acrpromote/internal/regularfile"
)

// Limits of keys.
const (
	maxKeyFile = 64 << 10 // bytes
	minRSABits = 2048
	maxRSABits = 8192
)

const (
	remedyPEM    = "Store it as PKCS #8 in PEM (BEGIN PRIVATE KEY)"
	remedyPKCS8  = "Convert it: openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem"
	remedyCurves = "Use a P-256, P-384 or Ed25519 key, or an RSA key of at least 2048 bits: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
)

// ReadPrivateKey returns the private key of a PEM file: PKCS #8, not encrypted; P-256,
// P-384, Ed25519, or RSA of at least 2048 bits. Every error is an *Error of the kind
// ErrUnsuitable, and contains nothing of the file.
func ReadPrivateKey(path string) (crypto.Signer, error) {
	content, err := regularfile.Read(path, maxKeyFile)
	switch {
	case err != nil && IsKey(path):
		return nil, &Error{reason: "the key itself is given instead of the path of its file", remedy: "Store it as a secure file, and name the output secureFilePath of DownloadSecureFile@1", kind: ErrUnsuitable}
	case err != nil:
		return nil, unreadable(path, "cannot be used: "+regularfile.ErrorText(err), "Check its path; a secure file's is the output secureFilePath of DownloadSecureFile@1")
	}
	private, what, remedy := parsePrivate(content)
	if what != "" {
		return nil, unreadable(path, what, remedy)
	}
	return private, nil
}

// IsKey reports whether what should be the path of a file, and is not, may be a key or
// a line of one: it must not be shown.
func IsKey(path string) bool {
	_, err := base64.StdEncoding.DecodeString(path)
	return strings.Contains(path, "-----") || err == nil && len(path) >= minLine
}

// minLine is the length in characters from which base64 is taken for a line of a key.
const minLine = 32

// parsePrivate returns the private key of a PEM text, or a clause about what is wrong
// with it and the next step.
func parsePrivate(text []byte) (key crypto.Signer, what, remedy string) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, "has no key in PEM", remedyPEM
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] != "" || block.Headers["DEK-Info"] != "":
		return nil, "is encrypted", "Store the key without a password, as a secure file is encrypted already: openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem"
	case block.Type == "EC PARAMETERS" || block.Type == "EC PRIVATE KEY":
		return nil, "has a key in the form SEC 1 (BEGIN " + block.Type + "), not PKCS #8", remedyPKCS8
	case block.Type == "RSA PRIVATE KEY":
		return nil, "has a key in the form PKCS #1 (BEGIN RSA PRIVATE KEY), not PKCS #8", remedyPKCS8
	case block.Type == "OPENSSH PRIVATE KEY":
		return nil, "has a key of OpenSSH, not PKCS #8", "Convert a copy of it: ssh-keygen -p -m PKCS8 -N \"\" -f copy"
	case block.Type == "PUBLIC KEY" || block.Type == "RSA PUBLIC KEY":
		return nil, "has a public key, which cannot sign", "Name the file of the private key"
	case block.Type == "CERTIFICATE":
		return nil, "has a certificate, which cannot sign", "Name the file of the private key, without a certificate"
	case block.Type != "PRIVATE KEY":
		return nil, "has no private key", remedyPEM
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, "has more than one private key", "Leave only the key in it"
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		// The error is not shown: it could quote the key.
		return nil, "has a private key that cannot be read", remedyCurves
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return nil, "has a key with the curve " + key.Params().Name + ", which receipts are not signed with", remedyCurves
		}
		return key, "", ""
	case ed25519.PrivateKey:
		return key, "", ""
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Sprintf("has an RSA key of %d bits", bits), remedyCurves
		}
		return key, "", ""
	}
	return nil, "has a key of a kind that receipts are not signed with", remedyCurves
}
