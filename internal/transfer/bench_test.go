package transfer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"acrpromote/internal/ref"
)

// BenchmarkLayer moves one layer of 64 MiB from one socket to the other, hashed
// on the way: the target keeps nothing.
func BenchmarkLayer(b *testing.B) {
	const size = 64 << 20
	content := strings.Repeat("layers are mostly alike, ", size/25+1)[:size]
	d := Descriptor{MediaType: ociLayer, Digest: ref.DigestOf([]byte(content)), Size: size}
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.WriteString(w, content)
	}))
	defer source.Close()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", r.URL.Path+"1")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	}))
	defer target.Close()
	from := newTestRegistry(strings.TrimPrefix(source.URL, "http://"))
	b.SetBytes(size)
	for range b.N {
		// One that remembers the blob would not send it again.
		to := newTestRegistry(strings.TrimPrefix(target.URL, "http://"))
		if _, err := to.upload(b.Context(), "r", "", d, verify(from.download("r", d), d), true, noProgress{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHash is the part of BenchmarkLayer that cannot be avoided.
func BenchmarkHash(b *testing.B) {
	content := make([]byte, 64<<20)
	d := Descriptor{Digest: ref.DigestOf(content), Size: int64(len(content))}
	b.SetBytes(d.Size)
	for range b.N {
		source, err := verify(bytesOpener(content), d)(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, source); err != nil || n != d.Size {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkReferrers reads an image with 1,000 referrers from a list of ten
// pages: whole, and if a target has it already.
func BenchmarkReferrers(b *testing.B) {
	p := &peer{api: true, blobs: map[string][]byte{}, manifests: map[string]storedManifest{}}
	p.server = httptest.NewServer(p)
	defer p.server.Close()
	image := p.image("r", "1.0", "layer")
	var all []Descriptor
	for i := range 1000 {
		a := p.attach("r", fmt.Sprintf("application/example.%d", i), image)
		a.ArtifactType = fmt.Sprintf("application/example.%d", i)
		all = append(all, a)
	}
	p.handler = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		page := 0
		_, _ = fmt.Sscan(r.URL.Query().Get("page"), &page)
		list := []Descriptor{}
		if strings.HasSuffix(r.URL.Path, image.Digest) {
			list = all[page*100 : page*100+100]
			if page < 9 {
				w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page+1))
			}
		}
		_ = json.NewEncoder(w).Encode(document{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
		return true
	}
	elsewhere := httptest.NewServer(p)
	defer elsewhere.Close()
	for _, whole := range []bool{true, false} {
		b.Run(map[bool]string{true: "whole", false: "replica"}[whole], func(b *testing.B) {
			for range b.N {
				options := Options{Referrers: true}
				if !whole {
					target := newTestRegistry(strings.TrimPrefix(elsewhere.URL, "http://"))
					options.Replica = NewReplica()
					options.Replica.Set(target, "r", image.Digest)
				}
				tree, err := ReadTree(b.Context(), p.registry(), "r", "1.0", options)
				if err != nil || len(tree.referrers()) != len(all) {
					b.Fatal(err)
				}
			}
		})
	}
}
