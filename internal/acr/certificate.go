package acr

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// parseCertificate returns the certificates and the private key of a PEM text,
// as a service connection has them. The errors contain nothing of the text.
func parseCertificate(text []byte, now time.Time) ([]*x509.Certificate, *rsa.PrivateKey, error) {
	var certificates []*x509.Certificate
	var key *rsa.PrivateKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, errors.New("its certificate cannot be read")
			}
			certificates = append(certificates, c)
		case "PRIVATE KEY", "RSA PRIVATE KEY":
			if key != nil {
				return nil, nil, errors.New("its certificate has more than one private key")
			}
			var err error
			if key, err = rsaKey(block); err != nil {
				return nil, nil, err
			}
		case "EC PRIVATE KEY":
			return nil, nil, errNotRSA
		case "ENCRYPTED PRIVATE KEY":
			return nil, nil, errors.New("the private key of its certificate is encrypted; store it without a password")
		}
	}
	switch {
	case len(certificates) == 0:
		return nil, nil, errors.New("it has no certificate in PEM (BEGIN CERTIFICATE)")
	case key == nil:
		return nil, nil, errors.New("its certificate has no private key (BEGIN PRIVATE KEY); store both in one PEM text")
	}
	for _, c := range certificates {
		if !key.PublicKey.Equal(c.PublicKey) {
			continue
		}
		switch {
		case now.After(c.NotAfter):
			return nil, nil, fmt.Errorf("its certificate expired on %s; renew it in the app registration and in the connection", c.NotAfter.UTC().Format(time.DateOnly))
		case now.Before(c.NotBefore):
			return nil, nil, fmt.Errorf("its certificate is not valid before %s; check the clock of the agent", c.NotBefore.UTC().Format(time.DateOnly))
		}
		return certificates, key, nil
	}
	return nil, nil, errors.New("its private key does not belong to its certificate")
}

var errNotRSA = errors.New("the private key of its certificate is not an RSA key, which Microsoft Entra ID needs")

func rsaKey(block *pem.Block) (*rsa.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key of its certificate cannot be read")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errNotRSA
	}
	return key, nil
}
