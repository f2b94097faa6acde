package egress

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestClosed checks that nothing connects after Close, so that the list of hosts that
// is read then is complete.
func TestClosed(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	host := server.Listener.Addr().String()
	n, err := New(Settings{PlainHTTP: []string{host}})
	if err != nil {
		t.Fatal(err)
	}
	client := n.Client(Phase{Name: "reading", Hosts: []string{host}})
	n.Close()
	n.Preconnect(host, 1)
	resp, err := client.Get(server.URL)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, errClosed) {
		t.Errorf("error %v", err)
	}
	if hosts := n.Hosts(); len(hosts) != 0 {
		t.Errorf("hosts %v", hosts)
	}
}
