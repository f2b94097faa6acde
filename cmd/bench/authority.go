package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// authority vouches for the proxies of this run, and for nobody else. Its key
// is never stored.
type authority struct {
	server *tls.Config
	pem    []byte // its certificate, for the programs
	roots  *x509.CertPool
}

var ownAuthority = sync.OnceValues(newAuthority)

func newAuthority() (*authority, error) {
	fail := func(err error) (*authority, error) {
		return nil, fmt.Errorf("no certificates for TLS on loopback: %w", err)
	}
	now := time.Now()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	rootRaw, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return fail(err)
	}
	signed, err := x509.ParseCertificate(rootRaw)
	if err != nil {
		return fail(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, signed, key.Public(), rootKey)
	if err != nil {
		return fail(err)
	}
	a := &authority{pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootRaw}), roots: x509.NewCertPool()}
	a.roots.AddCert(signed)
	a.server = &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}},
		// Requests of HTTP/2 could not be counted.
		NextProtos: []string{"http/1.1"},
	}
	return a, nil
}

// believe is what a program's environment has to hold so that it believes the
// authority. All of them are written in Go, which looks there on Linux; on
// macOS and Windows it asks the system alone, and over TLS they all are told as
// failed.
func believe(home string) ([]string, error) {
	a, err := ownAuthority()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(home, "authority.pem")
	return []string{"SSL_CERT_FILE=" + file}, os.WriteFile(file, a.pem, 0o600)
}
