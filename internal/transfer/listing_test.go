package transfer

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"acrpromote/internal/ref"
)

// TestList checks that the pages of both lists are read, what they show, and that
// Resolve then asks only for what is not listed or may not be read.
func TestList(t *testing.T) {
	digest := func(s string) string { return "sha256:" + strings.Repeat(s, 64) }
	tag := func(name, of, attributes string) string {
		return fmt.Sprintf(`{"name":%q,"digest":%q,"changeableAttributes":{%s}}`, name, of, attributes)
	}
	manifest := func(of, attributes string) string {
		return fmt.Sprintf(`{"digest":%q,"tags":["1.0"],"changeableAttributes":{%s}}`, of, attributes)
	}
	pages := map[string]string{
		"_tags":      `"tags":[` + tag("1.0", digest("a"), `"readEnabled":true,"writeEnabled":false,"deleteEnabled":false`) + "," + tag("bad tag", digest("a"), "") + "]",
		"_tags 1":    `"tags":[` + tag("2.0", digest("b"), `"writeEnabled":false`) + "," + tag("3.0", digest("c"), `"readEnabled":false`) + "," + tag("4.0", "sha256:1", "") + "]",
		"_manifests": `"manifests":[` + manifest(digest("b"), `"readEnabled":false`) + "," + manifest(digest("a"), `"deleteEnabled":false`) + "," + manifest(digest("c"), "") + "]",
	}
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.EscapedPath()+"?"+r.URL.RawQuery)
		what := strings.TrimPrefix(r.URL.EscapedPath(), "/acr/v1/shop%2Fcart/")
		switch {
		case strings.HasPrefix(r.URL.Path, "/v2/"):
			w.Header().Set("Docker-Content-Digest", digest("d"))
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		case strings.HasPrefix(r.URL.EscapedPath(), "/acr/v1/shop%2Fgone/"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}`)
		case strings.HasPrefix(r.URL.EscapedPath(), "/acr/v1/shop%2Floop/"):
			w.Header().Set("Link", `</acr/v1/shop/loop/_tags>; rel="next"`)
			fmt.Fprint(w, `{"tags":[]}`)
		case strings.HasPrefix(r.URL.EscapedPath(), "/acr/v1/shop%2Fcut/"):
			fmt.Fprint(w, `{"tags":[{"name":"1.0"`)
		default:
			if r.URL.Query().Get("last") == "bad tag" {
				what += " 1"
			} else if what == "_tags" {
				// Another form of the path than the one that was asked for.
				w.Header().Set("Link", `</acr/v1/shop/cart/_tags?last=bad+tag&n=100>; rel="next"`)
			}
			fmt.Fprintf(w, `{"registry":"r","imageName":"shop/cart",%s}`, pages[what])
		}
	}))
	t.Cleanup(s.Close)
	r := newTestRegistry(strings.TrimPrefix(s.URL, "http://"))
	l, err := r.List(t.Context(), "shop/cart")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.List(t.Context(), "shop/cart"); err != nil {
		t.Fatal(err)
	}
	want := []string{"GET /acr/v1/shop%2Fcart/_tags?n=100", "GET /acr/v1/shop%2Fcart/_tags?n=100&last=bad+tag", "GET /acr/v1/shop%2Fcart/_manifests?n=100"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	if got := l.Tags(); !slices.Equal(got, []string{"1.0", "2.0", "3.0"}) {
		t.Errorf("tags %q", got)
	}
	for _, c := range []struct {
		tag, digest string
		want        Attributes
	}{{"1.0", digest("a"), Attributes{Read: true}}, {"2.0", digest("b"), Attributes{Read: true, Delete: true}}, {"3.0", digest("c"), Attributes{Write: true, Delete: true}}} {
		if d, a, ok := l.Find(c.tag); !ok || d != c.digest || a != c.want {
			t.Errorf("%s: %s %v %v", c.tag, d, a, ok)
		}
	}
	if _, a, ok := l.Find(digest("a")); !ok || a != (Attributes{Read: true, Write: true}) {
		t.Errorf("manifest: %v %v", a, ok)
	}
	if _, _, ok := l.Find(digest("e")); ok {
		t.Error("a manifest that is not listed")
	}
	for _, c := range []struct {
		reference, digest string
		asks              int
	}{
		{"1.0", digest("a"), 0}, {digest("a"), digest("a"), 0}, {digest("c"), digest("c"), 0},
		{"2.0", digest("d"), 1}, {"3.0", digest("d"), 1}, {"5.0", digest("d"), 1}, // not readable, or not listed
	} {
		asked = nil
		if d, err := r.Resolve(t.Context(), "shop/cart", c.reference); err != nil || d.Digest != c.digest || len(asked) != c.asks {
			t.Errorf("%s: %s, %v, asked %q", c.reference, d.Digest, err, asked)
		}
	}
	if l, err := r.List(t.Context(), "shop/gone"); err != nil || len(l.Tags()) != 0 {
		t.Errorf("a repository that does not exist: %v %v", l, err)
	}
	for _, repository := range []string{"shop/loop", "shop/cut"} {
		if _, err := r.List(t.Context(), repository); !errors.Is(err, Corrupt) {
			t.Errorf("%s: %v", repository, err)
		}
	}
}

// TestRelate checks that the referrers of all manifests of a repository are known by
// their subjects, and that they are listed one by one if that is not certain.
func TestRelate(t *testing.T) {
	type content struct{ digest, text string }
	made := func(text string) content { return content{ref.DigestOf([]byte(text)), text} }
	empty := `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`
	image := made(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + empty + `,"layers":[]}`)
	other := made(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + empty + `,"layers":[` + empty + `]}`)
	sbom := made(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/spdx+json","config":%s,"layers":[],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}}`, empty, image.digest, len(image.text)))
	listed := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"artifactType":"application/spdx+json"}`, sbom.digest, len(sbom.text))
	for _, c := range []struct {
		name      string
		most      int
		list      string // of the image's referrers
		unread    bool   // the manifests may not be read
		want      bool
		referrers int // lists that are requested in all
	}{
		{"related", 3, listed, false, true, 1},
		{"too many manifests", 2, listed, false, false, 2},
		{"the list has less", 3, "", false, false, 2},
		{"the list has more", 3, listed + "," + strings.Replace(listed, sbom.digest, other.digest, 1), false, false, 2},
		{"a manifest that cannot be read", 3, listed, true, false, 2},
	} {
		lists := map[string]int{}
		var mu sync.Mutex
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch path := r.URL.EscapedPath(); {
			case path == "/acr/v1/shop%2Fcart/_tags":
				fmt.Fprintf(w, `{"tags":[{"name":"1.0","digest":%q}]}`, image.digest)
			case strings.HasPrefix(path, "/acr/v1/shop%2Fbare"):
				fmt.Fprintf(w, `{"manifests":[{"digest":%q}]}`, image.digest)
			case path == "/acr/v1/shop%2Fcart/_manifests":
				fmt.Fprintf(w, `{"manifests":[{"digest":%q},{"digest":%q},{"digest":%q}]}`, image.digest, other.digest, sbom.digest)
			case strings.HasPrefix(path, "/v2/shop/cart/referrers/"):
				mu.Lock()
				lists[path]++
				mu.Unlock()
				entries := ""
				if strings.HasSuffix(path, image.digest) {
					entries = c.list
				}
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}`, entries)
			default:
				for _, m := range []content{image, other, sbom} {
					if strings.HasSuffix(path, m.digest) && !(c.unread && m == other) {
						w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
						fmt.Fprint(w, m.text)
						return
					}
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"requested access is denied"}]}`)
			}
		}))
		r := newTestRegistry(strings.TrimPrefix(s.URL, "http://"))
		if r.Relate(t.Context(), "shop/bare2", 3) {
			t.Errorf("%s: nothing has shown yet that the registry lists what refers to others", c.name)
		}
		if got := r.Relate(t.Context(), "shop/cart", c.most); got != c.want || r.Relate(t.Context(), "shop/cart", c.most) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if got := r.Relate(t.Context(), "shop/bare", 3); got != c.want {
			t.Errorf("%s: a repository in which nothing refers to anything: %v", c.name, got)
		}
		for _, m := range []content{image, other} {
			found, err := r.Referrers(t.Context(), "shop/cart", m.digest, "")
			if err != nil || c.want && m == image && (len(found) != 1 || found[0].Digest != sbom.digest || found[0].ArtifactType != "application/spdx+json" || found[0].Size != int64(len(sbom.text))) || m == other && len(found) > 0 {
				t.Errorf("%s: %v, %v", c.name, found, err)
			}
		}
		if len(lists) != c.referrers {
			t.Errorf("%s: lists %v, want %d", c.name, lists, c.referrers)
		}
		s.Close()
	}
}
