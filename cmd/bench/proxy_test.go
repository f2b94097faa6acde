package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// echo answers with the body that came.
func echo(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Whole: this server reads no further once it has begun to answer.
		content, _ := io.ReadAll(r.Body)
		w.Write(content)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestProxyCarriesAndCounts(t *testing.T) {
	content := make([]byte, 3<<20)
	rand.Read(content)
	for _, n := range []network{{Name: "direct"}, {Name: "far", Trip: 4 * time.Millisecond}, {Name: "narrow", Trip: 2 * time.Millisecond, Speed: 400 * mib},
		{Name: "secure", TLS: true}, {Name: "secure and far", TLS: true, Trip: 4 * time.Millisecond}} {
		t.Run(n.Name, func(t *testing.T) {
			p, err := startProxy(echo(t), n)
			if err != nil {
				t.Fatal(err)
			}
			defer p.stop()
			authority, err := ca()
			if err != nil {
				t.Fatal(err)
			}
			// Who would rather speak HTTP/2 is counted too.
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}, ForceAttemptHTTP2: true}}
			scheme := "http"
			if n.TLS {
				scheme = "https"
			}
			defer client.CloseIdleConnections()
			// In chunks, and with a length.
			for _, body := range []io.Reader{bytes.NewReader(content), io.MultiReader(bytes.NewReader(content))} {
				req, _ := http.NewRequest(http.MethodPatch, scheme+"://"+p.address()+"/v2/shop/a/blobs/uploads/1", body)
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%d bytes came back (%v), want the %d that were sent", len(got), err, len(content))
				}
			}
			p.stop()
			count, err := p.look()
			if err != nil {
				t.Fatal(err)
			}
			if count.Requests != 2 || count.Kinds["PATCH upload"] != 2 || count.Sent != int64(2*len(content)) || count.Received < int64(2*len(content)) {
				t.Errorf("counted %+v", count)
			}
		})
	}
}

func TestKindOf(t *testing.T) {
	for target, want := range map[string]string{
		"/v2/":                          "ping",
		"/v2/a/blobs/uploads/":          "upload",
		"/v2/a/blobs/uploads/?mount=x":  "mount",
		"/v2/a/blobs/sha256:0":          "blob",
		"/v2/a/manifests/1.0":           "manifest",
		"/v2/a/referrers/sha256:0":      "referrers",
		"/v2/a/tags/list?n=10":          "tags",
		"/v2/a/blobs/uploads/1?digest=": "upload",
	} {
		if got := kindOf(target); got != want {
			t.Errorf("%s is taken for a %s, want %s", target, got, want)
		}
	}
}

func TestPlainHTTPIsNotServedOverTLS(t *testing.T) {
	p, err := startProxy(echo(t), network{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if resp, err := http.Get("http://" + p.address() + "/v2/"); err == nil {
		resp.Body.Close()
		t.Errorf("it answered %s", resp.Status)
	}
	if count, err := p.look(); err != nil || count.Requests != 0 {
		t.Errorf("counted %+v, %v", count, err)
	}
}
