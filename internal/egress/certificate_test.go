package egress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// clientCertificate writes a client certificate and its key to files.
func clientCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, content []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("client.pem", "CERTIFICATE", der), write("client.key", "PRIVATE KEY", encoded)
}

// asking returns a TLS server that asks for a client certificate, and counts
// the requests with and without one.
func asking(t *testing.T, status int, http2 bool) (server *httptest.Server, with, without *atomic.Int32) {
	t.Helper()
	with, without = new(atomic.Int32), new(atomic.Int32)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			with.Add(1)
		} else {
			without.Add(1)
		}
		if blob := strings.Contains(r.URL.Path, "/blobs/"); !blob && (r.ProtoMajor == 2) != http2 {
			t.Errorf("%s came over %s", r.URL.Path, r.Proto)
		}
		rw.WriteHeader(status)
	}))
	server.EnableHTTP2 = http2
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, with, without
}

func caFile(t *testing.T, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestClientCertificateIsShownToTheCollectionAlone: every other host may ask for
// it, and gets none, whatever the request.
func TestClientCertificateIsShownToTheCollectionAlone(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		collection, shown, hidden := asking(t, http.StatusOK, http2)
		registry, leaked, anonymous := asking(t, http.StatusOK, http2)
		certificate, key := clientCertificate(t)
		host := func(s *httptest.Server) string { return s.Listener.Addr().String() }
		n, err := New(Settings{CAFile: caFile(t, collection), ClientCert: certificate, ClientKey: key, ClientCertHosts: []string{host(collection)}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeIdle(n); n.identified.CloseIdleConnections() })
		n.Preconnect(host(registry), 1)
		client := n.Client(Phase{Hosts: []string{host(collection), host(registry)}, Redirects: FollowDownloads})
		paths := []string{"/v2/", "/v2/a/blobs/x", "/v2/a/manifests/x", "/oauth2/token"}
		for range 2 { // and with a resumed session
			for _, path := range paths {
				for _, s := range []*httptest.Server{collection, registry} {
					if _, _, err := get(t, client, s.URL+path); err != nil {
						t.Fatal(err)
					}
				}
			}
			closeIdle(n)
		}
		if shown.Load() != int32(2*len(paths)) || hidden.Load() != 0 {
			t.Errorf("HTTP/2 %v: the collection got %d requests with the certificate and %d without", http2, shown.Load(), hidden.Load())
		}
		if leaked.Load() != 0 || anonymous.Load() != int32(2*len(paths)) {
			t.Errorf("HTTP/2 %v: the registry got %d requests with the certificate and %d without", http2, leaked.Load(), anonymous.Load())
		}
	}
}

func TestClientCertificateIsShownToTheProxy(t *testing.T) {
	proxy, shown, hidden := asking(t, http.StatusForbidden, false)
	certificate, key := clientCertificate(t)
	address, _ := url.Parse(proxy.URL)
	n, err := New(Settings{CAFile: caFile(t, proxy), ClientCert: certificate, ClientKey: key, ClientCertHosts: []string{"dev.azure.com"}, Proxy: &Proxy{URL: address}})
	if err != nil {
		t.Fatal(err)
	}
	client := n.Client(Phase{Hosts: []string{"dev.azure.com", "prod.azurecr.io"}})
	for _, u := range []string{"https://dev.azure.com/contoso", "https://prod.azurecr.io/v2/", "https://prod.azurecr.io/v2/a/blobs/x"} {
		if _, _, err := get(t, client, u); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: %v", u, err)
		}
	}
	if shown.Load() != 3 || hidden.Load() != 0 {
		t.Errorf("the proxy got %d requests with the certificate and %d without", shown.Load(), hidden.Load())
	}
	if got := n.Hosts(); !slices.Equal(got, []string{"dev.azure.com:443", "prod.azurecr.io:443"}) {
		t.Errorf("hosts %v", got)
	}
}

// TestHostsAreThoseOfConnections: a request that is given up before a connection
// is attempted leaves no host, one whose connection fails does.
func TestHostsAreThoseOfConnections(t *testing.T) {
	n, err := New(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	const host = "127.0.0.1:1"
	client := n.Client(Phase{Hosts: []string{host}})
	for _, path := range []string{"/v2/a/blobs/x", "/v2/a/manifests/x"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
		}
	}
	if got := n.Hosts(); len(got) != 0 {
		t.Errorf("of requests that were given up: %v", got)
	}
	if _, _, err := get(t, client, "https://"+host+"/v2/"); err == nil {
		t.Error("somebody answered")
	}
	if got := n.Hosts(); !slices.Equal(got, []string{host}) {
		t.Errorf("of a refused connection: %v", got)
	}
}

// TestRedirectsOfBlobsAlone: what is not a blob stays where it was asked for.
func TestRedirectsOfBlobsAlone(t *testing.T) {
	env := newTestEnv(t)
	env.handle("evil.example", func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed: %s %s", r.Method, r.URL)
	})
	env.handle("prod.azurecr.io", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "https://evil.example/", http.StatusTemporaryRedirect)
	})
	n, _ := env.network(env.settings())
	client := n.Client(Phase{Hosts: []string{"prod.azurecr.io"}, Redirects: FollowDownloads})
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/manifests/1", "/v2/a/tags/list", "/v2/a/referrers/x", "/v2/blobs/manifests/1", "/v2/blobs/tags/list",
		"/acr/v1/a/_tags/1", "/acr/v1/a/blobs/x", "/oauth2/token", "/contoso/_apis/build/builds/1",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req, _ := http.NewRequest(method, "https://prod.azurecr.io"+path, nil)
			resp, err := client.Do(req)
			if err != nil {
				t.Errorf("%s %s: %v", method, path, err)
				continue
			}
			if resp.Body.Close(); resp.StatusCode != http.StatusTemporaryRedirect {
				t.Errorf("%s %s: status %d", method, path, resp.StatusCode)
			}
		}
	}
}
