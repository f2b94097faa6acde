package egress

import (
	"bytes"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// echo takes a body and gives it back, and counts connections.
func echo(t *testing.T, secure bool) (n *Network, server *httptest.Server, connections *atomic.Int32) {
	t.Helper()
	connections = new(atomic.Int32)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ProtoMajor != 1 && strings.Contains(r.URL.Path, "/blobs/") {
			w.WriteHeader(400)
		}
		w.Write(body)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.EnableHTTP2 = true
	settings := Settings{}
	if secure {
		server.StartTLS()
		settings.CAFile = writeCA(t, server.Certificate().Raw)
	} else {
		server.Start()
		settings.PlainHTTP = []string{strings.TrimPrefix(server.URL, "http://")}
	}
	t.Cleanup(server.Close)
	n, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIdle(n) })
	return n, server, connections
}

// writeCA writes a certificate to a file of authorities.
func writeCA(t *testing.T, certificate []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLongBodiesArriveAsTheyAre(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, size := range []int{0, 1, longBody, copyBuffer - 1, copyBuffer, 3<<20 + 17} {
			n, server, _ := echo(t, secure)
			_, host, _ := strings.Cut(server.URL, "://")
			client := n.Client(Phase{Name: "moving images", Hosts: []string{host}, Registry: host})
			data := make([]byte, size)
			rand.Read(data)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/v2/a/blobs/uploads/1", struct{ io.Reader }{bytes.NewReader(data)})
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = int64(size)
			if size == 0 {
				req.Body = http.NoBody
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, data) || resp.StatusCode != 200 {
				t.Errorf("TLS %v, %d bytes: %d bytes came back, status %d, %v", secure, size, len(got), resp.StatusCode, err)
			}
		}
	}
}

func TestPreconnect(t *testing.T) {
	for _, secure := range []bool{false, true} {
		n, server, connections := echo(t, secure)
		_, host, _ := strings.Cut(server.URL, "://")
		n.Preconnect(host, 3)
		client := n.Client(Phase{Name: "moving images", Hosts: []string{host}, Registry: host})
		for range 5 {
			resp, err := client.Get(server.URL + "/v2/a/blobs/x")
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode != 200 {
				t.Errorf("status %d", resp.StatusCode)
			}
		}
		n.dialer.mu.Lock()
		waiting := 0
		for _, list := range n.dialer.preconnected {
			waiting += len(list)
		}
		n.dialer.mu.Unlock()
		if waiting != 2 {
			t.Errorf("TLS %v: %d of 3 wait, so none of them was used", secure, waiting)
		}
		if got := connections.Load(); got > 3 {
			t.Errorf("TLS %v: %d connections", secure, got)
		}
	}
	// Where nobody is, the caller gets an error.
	n, server, _ := echo(t, false)
	_, host, _ := strings.Cut(server.URL, "://")
	server.Close()
	n.Preconnect(host, 2)
	if _, err := n.Client(Phase{Name: "moving images", Hosts: []string{host}}).Get(server.URL + "/v2/a/blobs/x"); err == nil || !strings.Contains(err.Error(), "refuses the connection") {
		t.Errorf("error is %v", err)
	}
}
