package transfer

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"acrpromote/internal/ref"
	"acrpromote/internal/testimage"
)

// referrers returns the referrers, those under digest tags included, with the
// artifact types of their own manifests. Manifests that an index among them
// contains are not read.
func (t *Tree) referrers() []Descriptor {
	return t.list(func(n *node) bool { return n.referrerDepth > 0 })
}

func TestReadTree(t *testing.T) {
	p := newPeer(t)
	shared := p.image("shop/cart", "", "base", "shared")
	inner := p.index("shop/cart", "", shared)
	foreign := p.manifest("shop/cart", "", ociImage, document{"schemaVersion": 2, "mediaType": ociImage, "config": p.blob("shop/cart", testimage.ConfigType, []byte("{}")), "layers": []any{
		document{"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": fmt.Sprintf("sha256:%064d", 7), "size": 1 << 30, "urls": []string{"https://layers.example/7"}},
		p.blob("shop/cart", ociLayer, nil), // of size 0
		p.blob("shop/cart", ociLayer, layerOf("base"))}})
	root := p.index("shop/cart", "1.0", inner, shared, shared, foreign)
	tree, err := ReadTree(t.Context(), p.registry(), "shop/cart", "1.0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if tree.Digest() != root.Digest || tree.Root().MediaType != ociIndex || len(tree.Manifests()) != 4 || tree.Manifests()[0].Digest != root.Digest {
		t.Errorf("manifests are %+v", tree.Manifests())
	}
	// base, shared, nothing, and two configs.
	if len(tree.blobs()) != 5 || len(tree.Foreign()) != 1 {
		t.Errorf("blobs are %+v, foreign are %+v", tree.blobs(), tree.Foreign())
	}
	want := int64(0)
	for _, b := range tree.blobs() {
		want += b.Size
	}
	for _, m := range tree.Manifests() {
		want += m.Size
	}
	if tree.Bytes() != want {
		t.Errorf("%d bytes, want %d", tree.Bytes(), want)
	}
	dst := newPeer(t)
	j := copyJob{src: p, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}
	j.mustRun(t)
	j.checkComplete(t)
	if p.count("GET /v2/shop/cart/blobs/"+emptyDigest) != 0 {
		t.Error("nothing was downloaded")
	}
}

func TestReadTreeErrors(t *testing.T) {
	missing := Descriptor{MediaType: ociImage, Digest: fmt.Sprintf("sha256:%064d", 1), Size: 100}
	for _, c := range []struct {
		name     string
		make     func(p *peer)
		kind     Kind
		contains []string
	}{
		{"an index that names a missing child", func(p *peer) {
			p.index("r", "1.0", p.image("r", "", "a"), missing)
		}, NotFound, []string{missing.Digest, "refers to it, but it does not exist"}},
		{"a manifest of 4 MiB and one byte", func(p *peer) {
			p.manifest("r", "1.0", ociImage, []byte(strings.Repeat(" ", maxManifest+1)))
		}, TooLarge, []string{"longer than 4 MiB"}},
		{"a truncated manifest", func(p *peer) {
			p.manifest("r", "1.0", ociImage, []byte(`{"schemaVersion":2,"config":`))
		}, Corrupt, []string{"not valid JSON"}},
		{"a child of unknown type", func(p *peer) {
			p.index("r", "1.0", Descriptor{MediaType: "application/vnd.example.cache", Digest: missing.Digest, Size: 1})
		}, Unsupported, []string{"application/vnd.example.cache"}},
		{"a child of another size", func(p *peer) {
			d := p.image("r", "", "a")
			d.Size++
			p.index("r", "1.0", d)
		}, Corrupt, []string{"its descriptor says"}},
		{"a child with two sizes", func(p *peer) {
			d := p.image("r", "", "a")
			e := d
			e.Size++
			p.index("r", "1.0", d, e)
		}, Corrupt, []string{"two sizes"}},
		{"a blob with two sizes in two children", func(p *peer) {
			a := p.image("r", "", "a")
			b := p.imageOf("r", "", Descriptor{MediaType: ociLayer, Digest: ref.DigestOf(layerOf("a")), Size: 5})
			p.index("r", "1.0", a, b)
		}, Corrupt, []string{"two sizes"}},
		{"an index nested 20 deep", func(p *peer) {
			d := p.image("r", "", "a")
			for range 20 {
				d = p.index("r", "1.0", d)
			}
		}, TooLarge, []string{"more than 8 levels deep"}},
		{"an index that contains itself", func(p *peer) {
			d := Descriptor{MediaType: ociIndex, Digest: fmt.Sprintf("sha256:%064d", 2), Size: 9}
			root := p.index("r", "1.0", d)
			_ = root
			p.handler = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/manifests/"+d.Digest) {
					return false
				}
				w.Header().Set("Content-Type", ociIndex)
				w.Write(p.manifests["r:1.0"].raw)
				return true
			}
		}, Corrupt, []string{"the content has the digest"}},
		{"a wrong digest header", func(p *peer) {
			p.image("r", "1.0", "a")
			p.handler = func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Docker-Content-Digest", missing.Digest)
				w.Header().Set("Content-Type", ociImage)
				w.Write(p.manifests["r:1.0"].raw)
				return true
			}
		}, Corrupt, []string{missing.Digest}},
		{"a flipped bit in a child", func(p *peer) {
			d := p.image("r", "", "a")
			p.index("r", "1.0", d)
			p.handler = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/manifests/"+d.Digest) {
					return false
				}
				raw := []byte(string(p.manifests["r@"+d.Digest].raw))
				raw[len(raw)-3] ^= 1
				w.Write(raw)
				return true
			}
		}, Corrupt, []string{"the content has the digest"}},
		{"a referrer that is listed and not there", func(p *peer) {
			p.api = false
			root := p.image("r", "1.0", "a")
			p.index("r", ref.DigestTag(root.Digest), missing)
		}, NotFound, []string{"listed as a referrer of", "copy without referrers"}},
		{"a referrer of something else", func(p *peer) {
			p.api = false
			root := p.image("r", "1.0", "a")
			p.index("r", ref.DigestTag(root.Digest), p.image("r", "", "b"))
		}, Corrupt, []string{"but has another subject"}},
		{"a list of referrers that is broken", func(p *peer) {
			p.api = false
			root := p.image("r", "1.0", "a")
			p.manifest("r", ref.DigestTag(root.Digest), ociIndex, []byte(`{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[{"digest":"sha256:0"}]}`))
		}, Corrupt, []string{"sha256:0"}},
		{"a list in a circle", func(p *peer) {
			p.image("r", "1.0", "a")
			p.handler = serveReferrers(func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("Link", fmt.Sprintf(`<?n=%d>; rel="next"`, (n+1)%3))
			})
		}, Corrupt, []string{"form a loop"}},
		{"a list without end", func(p *peer) {
			p.image("r", "1.0", "a")
			p.handler = serveReferrers(func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("Link", fmt.Sprintf(`<?n=%d>; rel="next"`, n+1))
			})
		}, TooLarge, []string{"more than 10000 entries or 200 pages"}},
		{"a list that goes on elsewhere", func(p *peer) {
			p.image("r", "1.0", "a")
			p.handler = serveReferrers(func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("Link", `<http://collector.example.com/>; rel="next"`)
			})
		}, Corrupt, []string{"is at another location (collector.example.com/)"}},
		{"a list that may not be read", func(p *peer) {
			p.image("r", "1.0", "a")
			p.handler = serveReferrers(func(w http.ResponseWriter, r *http.Request, n int) { refuse(w, 403, "DENIED", "no") })
		}, Denied, []string{"listing the referrers"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			c.make(p)
			tree, err := ReadTree(t.Context(), p.registry(), "r", "1.0", Options{Referrers: true})
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.kind || e.Side != Source || tree != nil {
				t.Fatalf("tree %v, error %#v", tree, err)
			}
			for _, text := range c.contains {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not contain %q", err, text)
				}
			}
		})
	}
}

// serveReferrers serves lists of referrers: empty, but for what add adds.
func serveReferrers(add func(w http.ResponseWriter, r *http.Request, n int)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		n := 0
		fmt.Sscan(query(r.URL.RawQuery).Get("n"), &n)
		add(w, r, n)
		fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, ociIndex)
		return true
	}
}

// Manifests that contain each other are an error.
func TestAcyclic(t *testing.T) {
	a := &node{Manifest: &Manifest{Descriptor: Descriptor{Digest: "a"}}}
	b := &node{Manifest: &Manifest{Descriptor: Descriptor{Digest: "b"}}, children: []*node{a}}
	tree := &Tree{source: newTestRegistry("r.example"), repo: "r", order: []*node{a, b}}
	if err := tree.acyclic(); err != nil {
		t.Error(err)
	}
	a.children = []*node{b}
	if err := tree.acyclic(); err == nil || !strings.Contains(err.Error(), "contains itself") {
		t.Errorf("error is %v", err)
	}
}

// A web page at an unknown path means that there is no API.
func TestWebPageMeansNoReferrersAPI(t *testing.T) {
	p := newPeer(t)
	p.api = false
	root := p.image("r", "1.0", "a")
	p.attach("r", "application/spdx+json", root)
	p.handler = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write([]byte("<html>"))
		return true
	}
	tree, err := ReadTree(t.Context(), p.registry(), "r", "1.0", Options{Referrers: true})
	if err != nil || len(tree.referrers()) != 1 || tree.referrers()[0].ArtifactType != "application/spdx+json" {
		t.Fatalf("%v, %v", tree, err)
	}
	if n := p.count("/referrers/"); n > 2 {
		t.Errorf("%d requests for a manifest that does not exist", n)
	}
}
