package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"acrpromote/internal/testca"
)

// ca issues the certificates of this run's proxies.
var ca = sync.OnceValues(testca.New)

// serverConfig is the TLS configuration of a proxy.
func serverConfig() (*tls.Config, error) {
	authority, err := ca()
	if err != nil {
		return nil, fmt.Errorf("no certificates for TLS on loopback: %w", err)
	}
	config := authority.ServerConfig()
	// Requests of HTTP/2 could not be counted.
	config.NextProtos = []string{"http/1.1"}
	return config, nil
}

// trust returns what has to be in a program's environment so that it trusts the
// proxies. All the programs are written in Go, which reads this on Linux; on
// macOS and Windows it asks the system alone, and there every run over TLS is
// reported as failed.
func trust(home string) ([]string, error) {
	authority, err := ca()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(home, "ca.pem")
	return []string{"SSL_CERT_FILE=" + file}, os.WriteFile(file, authority.PEM(), 0o600)
}
