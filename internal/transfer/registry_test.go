package transfer

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"acrpromote/internal/ref"
)

func TestResolveIsCached(t *testing.T) {
	p := newPeer(t)
	root := p.image("r", "1.0", "a")
	r := p.registry()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			d, err := r.Resolve(t.Context(), "r", "1.0")
			if err != nil || d.Digest != root.Digest || d.Size != root.Size || d.MediaType != ociImage {
				t.Errorf("%+v, %v", d, err)
			}
			if _, err := r.Resolve(t.Context(), "r", "none"); !errors.Is(err, NotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(p.log) != 2 {
		t.Errorf("requests: %q", p.log)
	}
	// The tree is that of the digest that was resolved, whatever the tag does.
	p.image("r", "1.0", "b")
	tree, err := ReadTree(t.Context(), r, "r", "1.0", Options{})
	if err != nil || tree.Digest() != root.Digest {
		t.Errorf("%v, %v", tree, err)
	}
}

func TestResolveWithoutDigestHeaderHashes(t *testing.T) {
	p := newPeer(t)
	p.noDigest = true
	root := p.image("r", "1.0", "a")
	if d, err := p.registry().Resolve(t.Context(), "r", "1.0"); err != nil || d.Digest != root.Digest {
		t.Errorf("%v, %v", d, err)
	}
}

// The tag of a target that was resolved while the source was read is not
// requested again.
func TestInspectUsesResolvedTag(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.image("r", "1.0", "a")
	a, b := src.registry(), dst.registry()
	if _, err := b.Resolve(t.Context(), "r", "1.0"); !errors.Is(err, NotFound) {
		t.Fatal(err)
	}
	tree, err := ReadTree(t.Context(), a, "r", "1.0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Inspect(t.Context(), "r", "1.0", tree, false)
	if err != nil || p.TagDigest != "" || len(p.Missing()) != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	if len(dst.log) != 1 {
		t.Errorf("requests: %q", dst.log)
	}
	if _, err := copyToOne(t.Context(), tree, b, "r", "2.0", p, nil); err == nil {
		t.Error("copied by another tag than was inspected")
	}
	if _, err := copyToOne(t.Context(), tree, b, "r", "1.0", p, nil); err != nil {
		t.Error(err)
	}
	// What was written is known.
	if d, err := b.Resolve(t.Context(), "r", "1.0"); err != nil || d.Digest != tree.Digest() || dst.requests("HEAD") != 1 {
		t.Errorf("%v, %v", d, err)
	}
}

func TestInspectReturnsTagDigest(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.image("r", "1.0", "a")
	other := dst.image("r", "1.0", "b")
	tree, err := ReadTree(t.Context(), src.registry(), "r", "1.0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := dst.registry().Inspect(t.Context(), "r", "1.0", tree, true)
	if err != nil || p.TagDigest != other.Digest || p.Root || p.Complete() {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestPutArtifact(t *testing.T) {
	quiet := ggcr.Logger(log.New(io.Discard, "", 0))
	foreign := httptest.NewServer(ggcr.New(quiet, ggcr.WithReferrersSupport(true)))
	defer foreign.Close()
	for _, c := range []struct {
		name string
		make func(p *peer) string
	}{
		{"API", func(p *peer) string { return p.host() }},
		{"fallback tag", func(p *peer) string { p.api = false; return p.host() }},
		{"a list with the config's type", func(p *peer) string {
			host := strings.TrimPrefix(foreign.URL, "http://")
			tree, err := ReadTree(t.Context(), p.registry(), "r", "1.0", Options{})
			if err != nil {
				t.Fatal(err)
			}
			b := newTestRegistry(host)
			look, err := b.Inspect(t.Context(), "r", "1.0", tree, false)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := copyToOne(t.Context(), tree, b, "r", "1.0", look, nil); err != nil {
				t.Fatal(err)
			}
			return host
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			root := p.image("r", "1.0", "a")
			r := newTestRegistry(c.make(p))
			const kind = "application/vnd.example.record.v1+json"
			if list, err := r.Referrers(t.Context(), "r", root.Digest, kind); err != nil || len(list) != 0 {
				t.Fatalf("%v, %v", list, err)
			}
			a := Artifact{Type: kind, Subject: root, Contents: []Content{{MediaType: "application/json", Data: []byte(`{"sealed":true}`)}}}
			d, err := r.PutArtifact(t.Context(), "r", a)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.PutArtifact(t.Context(), "r", Artifact{Type: "application/vnd.example.other", Subject: root}); err != nil {
				t.Fatal(err)
			}
			for _, reader := range []*Registry{r, newTestRegistry(r.host)} {
				list, err := reader.Referrers(t.Context(), "r", root.Digest, kind)
				if err != nil || len(list) != 1 || list[0].Digest != d.Digest || list[0].ArtifactType != kind {
					t.Fatalf("%v, %v", list, err)
				}
				if all, err := reader.Referrers(t.Context(), "r", root.Digest, ""); err != nil || len(all) != 2 {
					t.Errorf("%v, %v", all, err)
				}
				m, err := reader.manifest(t.Context(), "r", list[0].Digest, Descriptor{})
				if err != nil {
					t.Fatal(err)
				}
				if s := m.subject; s == nil || s.Digest != root.Digest {
					t.Errorf("subject is %v", s)
				}
				blob, err := verify(reader.download("r", m.blobs()[1]), m.blobs()[1])(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if data, err := io.ReadAll(blob); err != nil || string(data) != `{"sealed":true}` {
					t.Errorf("%s, %v", data, err)
				}
			}
		})
	}
}

// Concurrent writes of one fallback tag in a run lose no entries.
func TestConcurrentFallbackWrites(t *testing.T) {
	p := newPeer(t)
	p.api = false
	root := p.image("r", "1.0", "a")
	r := p.registry()
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if _, err := r.PutArtifact(t.Context(), "r", Artifact{Type: fmt.Sprintf("application/vnd.example.n%d", i), Subject: root}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := p.registry().Referrers(t.Context(), "r", root.Digest, ""); err != nil || len(list) != 12 {
		t.Errorf("%d are listed, %v", len(list), err)
	}
}

// Entries of other clients are not changed.
func TestFallbackListKeepsOtherEntries(t *testing.T) {
	p := newPeer(t)
	p.api = false
	root := p.image("r", "1.0", "a")
	old := p.image("r", "", "old")
	p.manifest("r", ref.DigestTag(root.Digest), ociIndex, document{"schemaVersion": 2, "mediaType": ociIndex, "annotations": map[string]string{"by": "another"},
		"manifests": []document{{"mediaType": ociImage, "digest": old.Digest, "size": old.Size, "platform": map[string]string{"os": "x", "architecture": "y"}, "strange": 1}}})
	d, err := p.registry().PutArtifact(t.Context(), "r", Artifact{Type: "application/vnd.example", Subject: root})
	if err != nil {
		t.Fatal(err)
	}
	raw := string(p.manifests["r:"+ref.DigestTag(root.Digest)].raw)
	for _, want := range []string{`"strange":1`, `"by":"another"`, old.Digest, d.Digest} {
		if !strings.Contains(raw, want) {
			t.Errorf("%s is gone: %s", want, raw)
		}
	}
}

func TestLargeReferrerList(t *testing.T) {
	serve := func(total int) *Registry {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from := 0
			fmt.Sscan(query(r.URL.RawQuery).Get("from"), &from)
			entries := []string{}
			for i := from; i < min(from+1000, total); i++ {
				entries = append(entries, layer(fmt.Sprintf("sha256:%064d", i), 10, ociImage))
			}
			if from+1000 < total {
				w.Header().Set("Link", fmt.Sprintf(`<?from=%d>; rel=next`, from+1000))
			}
			fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, strings.Join(entries, ","))
		}))
		t.Cleanup(s.Close)
		return newTestRegistry(strings.TrimPrefix(s.URL, "http://"))
	}
	if list, err := serve(maxReferrers).Referrers(t.Context(), "r", emptyDigest, ""); err != nil || len(list) != maxReferrers {
		t.Errorf("%d, %v", len(list), err)
	}
	if _, err := serve(maxReferrers+1).Referrers(t.Context(), "r", emptyDigest, ""); !errors.Is(err, TooLarge) {
		t.Error(err)
	}
}
