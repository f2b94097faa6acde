package egress

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestLinkLocal: the phase of the metadata service asks link-local addresses over plain
// HTTP and without the proxy; no other host, and no other phase.
func TestLinkLocal(t *testing.T) {
	env := newTestEnv(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.Host)) }))
	t.Cleanup(server.Close)
	n, err := New(Settings{Proxy: &Proxy{URL: &url.URL{Scheme: "http", Host: env.proxy.Addr().String()}}})
	if err != nil {
		t.Fatal(err)
	}
	var dialled []string
	n.linkLocal.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	hosts := []string{"169.254.169.254:80", "other.example:80", "10.0.0.1:80"}
	client := n.Client(Phase{Name: "signing in", Hosts: hosts, LinkLocal: true})
	if _, body, err := get(t, client, "http://169.254.169.254/metadata"); err != nil || body != "169.254.169.254" {
		t.Errorf("%q, %v", body, err)
	}
	for _, address := range []string{"http://other.example/", "http://10.0.0.1/", "https://other.example/", "http://169.254.169.253/"} {
		if _, _, err := get(t, client, address); err == nil {
			t.Errorf("%s was asked", address)
		}
	}
	if _, _, err := get(t, n.Client(Phase{Name: "signing in", Hosts: hosts}), "http://169.254.169.254/"); err == nil || !strings.Contains(err.Error(), "over plain HTTP") {
		t.Errorf("another phase: %v", err)
	}
	if !slices.Equal(dialled, []string{"169.254.169.254:80"}) || !slices.Equal(n.Hosts(), []string{"169.254.169.254:80"}) || len(env.asked) != 0 {
		t.Errorf("dialled %q, recorded %q, the proxy was asked for %q", dialled, n.Hosts(), env.asked)
	}
}
