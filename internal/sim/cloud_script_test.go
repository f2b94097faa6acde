package sim_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// TestScript: faults happen to the requests that they name, as often as they
// say, and to no other.
func TestScript(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.cloud.HTTP1("plain.invalid")
	l.cloud.Handle("plain.invalid", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Content-Digest", "sha256:0")
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("0123456789"))
	}))
	// Go asks again by itself where a connection was used before.
	l.client.Transport.(*http.Transport).DisableKeepAlives = true
	get := func(path string) string {
		resp, err := l.client.Get("https://plain.invalid" + path)
		if err != nil {
			return "broken"
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return resp.Status[:3] + " " + string(body) + " broken"
		}
		return resp.Status[:3] + " " + strings.TrimSpace(string(body)) + " " + resp.Header.Get("Docker-Content-Digest") + resp.Header.Get("Retry-After")
	}
	const whole = "200 0123456789 sha256:0"
	for _, c := range []struct {
		fault sim.Fault
		path  string
		want  []string
	}{
		{sim.Fault{Do: sim.Status(503)}, "/a", []string{"503 Service Unavailable ", whole}},
		{sim.Fault{Host: "other.invalid", Do: sim.Status(503)}, "/a", []string{whole}},
		{sim.Fault{Path: "/b$", Do: sim.Status(503)}, "/a", []string{whole}},
		{sim.Fault{Method: "PUT HEAD", Do: sim.Status(503)}, "/a", []string{whole}},
		{sim.Fault{Query: "q", Do: sim.Status(503)}, "/a", []string{whole}},
		{sim.Fault{Query: "q", Method: "PUT GET", Do: sim.Status(503)}, "/a?q=1", []string{"503 Service Unavailable "}},
		{sim.Fault{Skip: 1, Times: 2, Do: sim.Reset()}, "/a", []string{whole, "broken", "broken", whole}},
		{sim.Fault{Every: 2, Times: sim.Always, Do: sim.Reset()}, "/a", []string{whole, "broken", whole, "broken"}},
		{sim.Fault{Do: sim.Cut(4)}, "/a", []string{"200 0123 broken", whole}},
		{sim.Fault{Do: sim.Flip(1)}, "/a", []string{"200 0023456789 sha256:0", whole}},
		{sim.Fault{Do: sim.WrongLength(5)}, "/a", []string{"200 0123456789 broken"}},
		{sim.Fault{Do: sim.WithHeader("Docker-Content-Digest", func(string) string { return "" })}, "/a", []string{"200 0123456789 ", whole}},
		{sim.Fault{Do: sim.Both(sim.Flip(0), sim.Cut(2))}, "/a", []string{"200 11 broken", whole}},
		{sim.Fault{Do: sim.Lose()}, "/a", []string{"broken", whole}},
		{sim.Fault{Do: sim.Throttle(7 * time.Second)}, "/a", []string{`429 {"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]} 7`}},
	} {
		script := l.cloud.Script(c.fault)
		for i, want := range c.want {
			got := get(c.path)
			if got != want {
				t.Errorf("%+v: answer %d is %q, want %q", c.fault, i, got, want)
			}
		}
		spoiled := 0
		for _, want := range c.want {
			if want != whole {
				spoiled++
			}
		}
		if happened := script.Happened(); !slices.Equal(happened, []int{spoiled}) {
			t.Errorf("%+v happened %v times, want %d", c.fault, happened, spoiled)
		}
		script.Stop()
		if got := get("/a"); got != whole {
			t.Errorf("%+v goes on: %q", c.fault, got)
		}
	}
}

// TestLag: what one connection has written others see later.
func TestLag(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{Lag: sim.Lag{Requests: 4}})
	writer, reader := l.network.Client(), l.network.Client()
	manifest := `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[]}`
	ask := func(client *http.Client, method, path, body string) int {
		req, err := http.NewRequest(method, "https://"+labHost+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("ci", "secret")
		req.Header.Set("Content-Type", ociIndex)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	const path = "/v2/shop/cart/manifests/1"
	if got := ask(writer, "PUT", path, manifest); got != 201 {
		t.Fatalf("PUT %d", got)
	}
	var statuses []int
	for range 3 {
		statuses = append(statuses, ask(reader, "HEAD", path, ""))
	}
	statuses = append(statuses, ask(writer, "HEAD", path, ""), ask(reader, "HEAD", path, ""))
	if want := []int{404, 404, 404, 200, 200}; !slices.Equal(statuses, want) {
		t.Errorf("%v, want %v", statuses, want)
	}
	// A tag that moves is the old one meanwhile.
	ask(writer, "PUT", path, strings.Replace(manifest, "[]", "[ ]", 1))
	if got := ask(reader, "HEAD", path, ""); got != 200 {
		t.Errorf("the tag that is moving: %d", got)
	}
	if got := ask(reader, "GET", "/acr/v1/shop/cart/_tags/1", ""); got != 200 {
		t.Errorf("its attributes: %d", got)
	}
}
