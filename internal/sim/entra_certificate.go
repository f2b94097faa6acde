package sim

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxAssertionLife is how far ahead the end of a certificate's assertion may lie.
const maxAssertionLife = 24 * time.Hour

// AddCertificate lets assertions that are signed with the certificate's RSA key sign
// the application in, as long as the certificate is valid.
func (a *Application) AddCertificate(certificate *x509.Certificate) *Application {
	a.directory.mu.Lock()
	defer a.directory.mu.Unlock()
	a.certificates = append(a.certificates, certificate)
	return a
}

// signedByCertificate reports whether an assertion claims to be signed with a
// certificate: its header names a thumbprint, which an Azure DevOps assertion's does
// not (its x5t is a key ID).
func signedByCertificate(assertion string) bool { return thumbprint(assertion) != "" }

// thumbprint is the SHA-256 thumbprint in an assertion's header, as hexadecimal
// digits; "" if there is none.
func thumbprint(assertion string) string {
	head, _, _, err := parts(assertion)
	if err != nil {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		Algorithm string `json:"alg"`
		SHA256    string `json:"x5t#S256"`
	}
	if err != nil || json.Unmarshal(raw, &header) != nil || header.Algorithm != "PS256" {
		return ""
	}
	// The specification has it without padding, Microsoft's library with.
	plain := strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(header.SHA256)
	sum, err := base64.RawURLEncoding.DecodeString(plain)
	if err != nil || len(sum) != sha256.Size {
		return ""
	}
	return hex.EncodeToString(sum)
}

// checkCertificate accepts an assertion that the application signed for itself, once,
// for this token endpoint, with a valid certificate that it has.
func (d *Directory) checkCertificate(assertion string, app *Application, endpoint string) *entraRefusal {
	refuse := func(code int, format string, args ...any) *entraRefusal {
		return &entraRefusal{http.StatusUnauthorized, "invalid_client", code, fmt.Sprintf(format, args...)}
	}
	print := thumbprint(assertion)
	d.mu.Lock()
	known := slices.Clone(app.certificates)
	d.mu.Unlock()
	at := slices.IndexFunc(known, func(c *x509.Certificate) bool {
		sum := sha256.Sum256(c.Raw)
		return hex.EncodeToString(sum[:]) == print
	})
	if at < 0 {
		return refuse(700027, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '%s', Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '%s'.", strings.ToUpper(print), app.clientID)
	}
	certificate := known[at]
	if now := time.Now(); now.After(certificate.NotAfter) || now.Before(certificate.NotBefore) {
		return refuse(700027, "The certificate with identifier used to sign the client assertion is expired on application. [Reason - The key used is expired., Found key 'Start=%s, End=%s'.", certificate.NotBefore.UTC().Format(time.RFC3339), certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	head, payload, encoded, err := parts(assertion)
	signature, wrong := base64.RawURLEncoding.DecodeString(encoded)
	key, isRSA := certificate.PublicKey.(*rsa.PublicKey)
	sum := sha256.Sum256([]byte(head + "." + payload))
	if err != nil || wrong != nil || !isRSA || rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, nil) != nil {
		return refuse(700027, "Client assertion failed signature validation. [Reason - The provided signature value did not match the expected signature value.")
	}
	claims, err := claimsOf(assertion)
	if err != nil {
		return refuse(50027, "JWT token is invalid or malformed.")
	}
	now := time.Now()
	id := text(claims, "jti")
	switch {
	case !strings.EqualFold(text(claims, "iss"), app.clientID) || !strings.EqualFold(text(claims, "sub"), app.clientID):
		return refuse(700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	case text(claims, "aud") != endpoint:
		return refuse(700023, "Client assertion audience claim does not match Realm issuer. Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials.")
	case now.Unix() >= seconds(claims, "exp") || now.Unix() < seconds(claims, "nbf") || seconds(claims, "exp") > now.Add(maxAssertionLife).Unix():
		return refuse(700024, "Client assertion is not within its valid time range. Current time: %s.", now.UTC().Format(time.RFC3339))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if id == "" || d.used[id] {
		return refuse(50027, "JWT token is invalid or malformed.")
	}
	d.used[id] = true
	return nil
}
