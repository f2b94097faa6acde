package egress

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestUnreadResponses checks how much of its responses an HTTP/2 server can send while
// none is read, as responses do that wait for memory.
func TestUnreadResponses(t *testing.T) {
	const responses, size, piece = 8, 4 << 20, 32 << 10
	var sent atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the protocol is %s", r.Proto)
		}
		for range size / piece {
			if _, err := w.Write(make([]byte, piece)); err != nil {
				return
			}
			sent.Add(piece)
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	n, err := New(Settings{CAFile: writeCA(t, server.Certificate().Raw)})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIdle(n)
	host := strings.TrimPrefix(server.URL, "https://")
	client := n.Client(Phase{Name: "moving images", Hosts: []string{host}, Registry: host})
	var all sync.WaitGroup
	var bodies [responses]io.ReadCloser
	defer func() { // before the server is closed
		for _, body := range bodies {
			if body != nil {
				body.Close()
			}
		}
	}()
	for i := range responses {
		all.Go(func() {
			resp, err := client.Get(server.URL + "/v2/a/manifests/1")
			if err != nil {
				t.Error(err)
				return
			}
			bodies[i] = resp.Body
		})
	}
	all.Wait()
	for before := int64(-1); before != sent.Load(); time.Sleep(100 * time.Millisecond) {
		before = sent.Load()
	}
	// The server's own buffers take a piece for each response.
	if got, most := sent.Load(), int64(responses*(streamBuffer+2*piece)); got > most || got < responses*streamBuffer/2 {
		t.Errorf("%d bytes were sent, of at most %d", got, most)
	}
}
