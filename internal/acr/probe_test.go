package acr

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// protectedRegistry is a registry that accepts one user and password, and
// records requests.
type protectedRegistry struct {
	mu     sync.Mutex
	log    []string
	refuse func(rw http.ResponseWriter, r *http.Request) // those who are not signed in
}

func (g *protectedRegistry) serve(rw http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	signed := user == "u" && password == "p"
	_, _ = io.Copy(io.Discard, r.Body)
	g.mu.Lock()
	entry := r.Method + " " + r.URL.Path
	if signed {
		entry += " signed"
	}
	g.log = append(g.log, entry)
	g.mu.Unlock()
	if !signed {
		g.refuse(rw, r)
	}
}

func challenged(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Www-Authenticate", `Basic realm="r"`)
	rw.WriteHeader(http.StatusUnauthorized)
}

func newProtectedRegistry(t *testing.T, credential Credential, refuse func(http.ResponseWriter, *http.Request)) (*protectedRegistry, *http.Client) {
	env := newTestEnv(t)
	g := &protectedRegistry{refuse: refuse}
	env.handlers["registry.example"] = g.serve
	return g, env.signedClient(NewSignIn("registry.example", credential, env.client(), nil, false))
}

const protectedManifest = "https://registry.example/v2/a/manifests/1"

func TestOneRequestProbesForAll(t *testing.T) {
	g, client := newProtectedRegistry(t, Password("u", "p"), challenged)
	var group sync.WaitGroup
	for range 12 {
		group.Go(func() {
			if status, _, err := fetch(t, client, "GET", protectedManifest, nil); status != 200 || err != nil {
				t.Errorf("%d %v", status, err)
			}
		})
	}
	group.Wait()
	if len(g.log) != 13 || g.log[0] != "GET /v2/a/manifests/1" {
		t.Errorf("asked %d times: %q; want 12 times and one more", len(g.log), g.log)
	}
}

// TestUnrepeatableBodyIsNotProbedWith: its refusal would have cost the body.
func TestUnrepeatableBodyIsNotProbedWith(t *testing.T) {
	g, client := newProtectedRegistry(t, Password("u", "p"), challenged)
	once := struct{ io.Reader }{strings.NewReader("layer")}
	if status, _, err := fetch(t, client, "PUT", "https://registry.example/v2/a/blobs/uploads/1", once); status != 200 || err != nil {
		t.Errorf("%d %v", status, err)
	}
	if want := []string{"GET /v2/", "PUT /v2/a/blobs/uploads/1 signed"}; !slices.Equal(g.log, want) {
		t.Errorf("asked %q, want %q", g.log, want)
	}
}

// TestAnonymousAnswerIsNotBelieved: a registry may hide what it has from
// anonymous clients.
func TestAnonymousAnswerIsNotBelieved(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusForbidden, http.StatusUnauthorized} {
		g, client := newProtectedRegistry(t, Password("u", "p"), func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				challenged(rw, r)
				return
			}
			rw.WriteHeader(status)
		})
		for range 2 {
			if got, _, err := fetch(t, client, "GET", protectedManifest, nil); got != 200 || err != nil {
				t.Errorf("%d: %d %v", status, got, err)
			}
		}
		if want := []string{"GET /v2/a/manifests/1", "GET /v2/", "GET /v2/a/manifests/1 signed", "GET /v2/a/manifests/1 signed"}; !slices.Equal(g.log, want) {
			t.Errorf("%d: asked %q, want %q", status, g.log, want)
		}
	}
}

// TestOpenForReadingAlone: what is read unsigned may still be written signed.
func TestOpenForReadingAlone(t *testing.T) {
	g, client := newProtectedRegistry(t, Password("u", "p"), func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			challenged(rw, r)
		}
	})
	for _, method := range []string{"GET", "POST", "GET"} {
		if status, _, err := fetch(t, client, method, protectedManifest, nil); status != 200 || err != nil {
			t.Errorf("%s: %d %v", method, status, err)
		}
	}
	want := []string{"GET /v2/a/manifests/1", "POST /v2/a/manifests/1", "POST /v2/a/manifests/1 signed", "GET /v2/a/manifests/1 signed"}
	if !slices.Equal(g.log, want) {
		t.Errorf("asked %q, want %q", g.log, want)
	}
}

// TestBusyRegistrySetsNoChallenge: the next request probes again.
func TestBusyRegistrySetsNoChallenge(t *testing.T) {
	busy := true
	g, client := newProtectedRegistry(t, Password("u", "p"), func(rw http.ResponseWriter, r *http.Request) {
		if busy {
			busy = false
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		challenged(rw, r)
	})
	for _, want := range []int{503, 200, 200} {
		if status, _, err := fetch(t, client, "GET", protectedManifest, nil); status != want || err != nil {
			t.Errorf("%d %v, want %d", status, err, want)
		}
	}
	if len(g.log) != 4 {
		t.Errorf("asked %q", g.log)
	}
}
