package sim_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

func TestManifestIsKeptAsItWasPut(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.stock()
	body := " " + image("two")
	digest := sha(body)
	got := l.want(l.as("PUT", "/v2/shop/cart/manifests/2.0", header{"Content-Type": ociImage}, body), 201, "")
	if got.Header.Get("Docker-Content-Digest") != digest || got.Header.Get("Location") != "/v2/shop/cart/manifests/"+digest {
		t.Errorf("PUT: %v", got.Header)
	}
	for _, reference := range []string{"2.0", digest} {
		for _, path := range []string{"/v2/shop/cart/manifests/", "/v2/shop%2Fcart/manifests/"} {
			got := l.want(l.as("GET", path+reference, header{"Accept": "text/html, " + ociImage + ";q=0.9"}, ""), 200, "")
			if got.Body != body || got.Header.Get("Content-Type") != ociImage || got.Header.Get("Docker-Content-Digest") != digest {
				t.Errorf("GET %s: %v %q", reference, got.Header, got.Body)
			}
		}
		got := l.want(l.as("HEAD", "/v2/shop/cart/manifests/"+reference, nil, ""), 200, "")
		if got.Body != "" || got.Header.Get("Content-Length") != fmt.Sprint(len(body)) || got.Header.Get("Docker-Content-Digest") != digest {
			t.Errorf("HEAD %s: %v", reference, got.Header)
		}
	}
	l.want(l.as("GET", "/v2/shop/cart/manifests/2.0", header{"Accept": ociIndex}, ""), 404, "MANIFEST_UNKNOWN")
}

func TestManifestRefusals(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	digest := l.stock()
	index := func(children ...string) string {
		var list []string
		for _, child := range children {
			list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1}`, ociImage, child))
		}
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, strings.Join(list, ","))
	}
	large := func(size int) string {
		m := image("one")
		return m + strings.Repeat(" ", size-len(m))
	}
	foreign := strings.Replace(image("one", "elsewhere"), `"size":9`, `"size":9,"urls":["https://example.com/layer"]`, 1)
	for _, test := range []struct {
		name, reference, mediaType, body string
		status                           int
		code                             string
	}{
		{"image", "a", ociImage, image("one"), 201, ""},
		{"image without layers", "a", ociImage, image(), 201, ""},
		{"index", "a", ociIndex, index(digest), 201, ""},
		{"index of nothing", "a", ociIndex, index(), 201, ""},
		{"foreign layer", "a", ociImage, foreign, 201, ""},
		{"subject missing", "a", ociImage, referrer(sha("missing"), "x/y", 1), 201, ""},
		{"of 4 MiB", "a", ociImage, large(4 << 20), 201, ""},
		{"of more", "a", ociImage, large(4<<20 + 1), 413, "MANIFEST_INVALID"},
		{"layer missing", "a", ociImage, image("one", "three"), 400, "MANIFEST_BLOB_UNKNOWN"},
		{"child missing", "a", ociIndex, index(digest, sha("missing")), 404, "MANIFEST_UNKNOWN"},
		{"child is a blob", "a", ociIndex, index(sha("one")), 404, "MANIFEST_UNKNOWN"},
		{"another digest", sha("x"), ociImage, image("one"), 400, "DIGEST_INVALID"},
		{"another algorithm", "sha512:00", ociImage, image("one"), 400, "DIGEST_INVALID"},
		{"bad tag", ".a", ociImage, image("one"), 400, "TAG_INVALID"},
		{"long tag", strings.Repeat("a", 129), ociImage, image("one"), 400, "TAG_INVALID"},
		{"another media type", "a", ociIndex, image("one"), 400, "MANIFEST_INVALID"},
		{"unknown media type", "a", "application/json", image("one"), 400, "MANIFEST_INVALID"},
		{"no media type", "a", "", image("one"), 400, "MANIFEST_INVALID"},
		{"truncated", "a", ociImage, image("one")[:200], 400, "MANIFEST_INVALID"},
		{"no config", "a", ociImage, `{"schemaVersion":2,"layers":[]}`, 400, "MANIFEST_INVALID"},
		{"image with children", "a", ociImage, strings.Replace(image("one"), `"layers"`, `"manifests":[],"layers"`, 1), 400, "MANIFEST_INVALID"},
		{"bad descriptor", "a", ociImage, strings.Replace(image("one"), sha("one"), "sha256:1", 1), 400, "MANIFEST_INVALID"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := header{}
			if test.mediaType != "" {
				h["Content-Type"] = test.mediaType
			}
			got := l.as("PUT", "/v2/shop/cart/manifests/"+test.reference, h, test.body)
			if got.Status != test.status || got.code() != test.code {
				t.Errorf("got %d %s, want %d %s", got.Status, got.Body, test.status, test.code)
			}
			if test.status == 201 && l.registry.TagDigest("shop/cart", "a") != sha(test.body) {
				t.Error("the tag does not point at it")
			}
		})
	}
	// Blobs and children of another repository do not count.
	l.want(l.as("PUT", "/v2/shop/basket/manifests/a", header{"Content-Type": ociImage}, image("one")), 400, "MANIFEST_BLOB_UNKNOWN")
	l.want(l.as("PUT", "/v2/shop/basket/manifests/a", header{"Content-Type": ociIndex}, index(digest)), 404, "MANIFEST_UNKNOWN")
	l.registry.Grant("ci", "Shop", sim.AcrPush...)
	l.want(l.as("PUT", "/v2/Shop/manifests/a", header{"Content-Type": ociImage}, image("one")), 400, "NAME_INVALID")
	l.want(l.as("GET", "/v2/shop/cart/manifests/none", nil, ""), 404, "MANIFEST_UNKNOWN")
	l.want(l.as("GET", "/v2/shop/none/manifests/1.0", nil, ""), 404, "MANIFEST_UNKNOWN")
	l.want(l.as("POST", "/v2/shop/cart/manifests/1.0", nil, ""), 405, "UNSUPPORTED")
}

func TestManifestDeletion(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	digest := l.stock()
	l.registry.Push("shop/cart", "again", ociImage, []byte(image("one", "two")))
	l.want(l.as("DELETE", "/v2/shop/cart/manifests/again", nil, ""), 202, "")
	if got := l.registry.Tags("shop/cart"); !slices.Equal(got, []string{"1.0"}) {
		t.Errorf("tags %q", got)
	}
	l.want(l.as("DELETE", "/v2/shop/cart/manifests/"+digest, nil, ""), 202, "")
	if len(l.registry.Tags("shop/cart")) != 0 || len(l.registry.Digests("shop/cart")) != 0 {
		t.Error("something is left")
	}
	l.want(l.as("DELETE", "/v2/shop/cart/manifests/"+digest, nil, ""), 404, "MANIFEST_UNKNOWN")
}

// follow reads a list page by page and returns the bodies.
func (l *lab) follow(path string) []reply {
	l.t.Helper()
	var pages []reply
	for path != "" && len(pages) < 20 {
		got := l.want(l.as("GET", path, nil, ""), 200, "")
		pages = append(pages, got)
		link := got.Header.Get("Link")
		if link != "" && !strings.HasSuffix(link, `>; rel="next"`) {
			l.t.Fatalf("Link %q", link)
		}
		path = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	}
	return pages
}

func TestListsArePaged(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.stock()
	l.registry.PutBlob("shop/basket", []byte("{}"))
	for i := range 105 {
		l.registry.Push("shop/basket", fmt.Sprintf("t%03d", i), ociImage, []byte(image()))
	}
	for _, test := range []struct {
		path, key string
		pages     []int
	}{
		{"/v2/shop/basket/tags/list", "tags", []int{100, 5}},
		{"/v2/shop/basket/tags/list?n=60", "tags", []int{60, 45}},
		{"/v2/shop/basket/tags/list?n=105", "tags", []int{105}},
		{"/v2/shop/basket/tags/list?n=0", "tags", []int{0}},
		{"/v2/shop/basket/tags/list?n=3&last=t101", "tags", []int{3}},
		{"/v2/shop/basket/tags/list?last=t1019", "tags", []int{3}},
		{"/v2/_catalog?n=1", "repositories", []int{1, 1}},
		{"/acr/v1/_catalog", "repositories", []int{2}},
		{"/acr/v1/shop%2Fbasket/_tags?n=100", "tags", []int{100, 5}},
		{"/acr/v1/shop/cart/_manifests?n=1", "manifests", []int{1}},
	} {
		var sizes []int
		seen := map[string]bool{}
		for _, p := range l.follow(test.path) {
			var document map[string]json.RawMessage
			var items []json.RawMessage
			if err := json.Unmarshal([]byte(p.Body), &document); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(document[test.key], &items); err != nil || items == nil {
				t.Fatalf("%s: %v in %s", test.path, err, p.Body)
			}
			sizes = append(sizes, len(items))
			for _, item := range items {
				if seen[string(item)] {
					t.Errorf("%s: %s comes twice", test.path, item)
				}
				seen[string(item)] = true
			}
		}
		if !slices.Equal(sizes, test.pages) {
			t.Errorf("%s: pages of %v, want %v", test.path, sizes, test.pages)
		}
	}
	l.want(l.as("GET", "/v2/shop/basket/tags/list?n=x", nil, ""), 400, "PAGINATION_NUMBER_INVALID")
	l.want(l.as("GET", "/v2/shop/none/tags/list", nil, ""), 404, "NAME_UNKNOWN")
}

func TestReferrers(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{ReferrersPage: 2})
	subject := l.stock()
	var digests []string
	for i := range 5 {
		kind := []string{"a/sbom", "a/signature"}[i%2]
		got := l.want(l.as("PUT", "/v2/shop/cart/manifests/"+sha(referrer(subject, kind, i)), header{"Content-Type": ociImage}, referrer(subject, kind, i)), 201, "")
		if got.Header.Get("OCI-Subject") != subject {
			t.Errorf("OCI-Subject %q", got.Header.Get("OCI-Subject"))
		}
		digests = append(digests, got.Header.Get("Docker-Content-Digest"))
	}
	if got := l.registry.Referrers("shop/cart", subject); !slices.Equal(got, digests) {
		t.Errorf("stored %q", got)
	}
	type list struct {
		MediaType string
		Manifests []struct {
			MediaType, Digest, ArtifactType string
			Size                            int
			Annotations                     map[string]string
		}
	}
	read := func(path string) (found []string, filtered bool, pages int) {
		for _, p := range l.follow(path) {
			var document list
			if err := json.Unmarshal([]byte(p.Body), &document); err != nil {
				t.Fatal(err)
			}
			if document.MediaType != ociIndex || p.Header.Get("Content-Type") != ociIndex || document.Manifests == nil {
				t.Errorf("%s: %s", path, p.Body)
			}
			for _, m := range document.Manifests {
				found = append(found, m.Digest)
				if m.MediaType != ociImage || m.ArtifactType == "" || m.Size == 0 || m.Annotations["n"] == "" {
					t.Errorf("%s: %+v", path, m)
				}
			}
			filtered = p.Header.Get("OCI-Filters-Applied") == "artifactType"
			pages++
		}
		return found, filtered, pages
	}
	path := "/v2/shop/cart/referrers/" + subject
	if got, filtered, pages := read(path); !slices.Equal(got, digests) || filtered || pages != 3 {
		t.Errorf("got %q in %d pages, filtered %v", got, pages, filtered)
	}
	if got, filtered, pages := read(path + "?artifactType=a/sbom"); !slices.Equal(got, []string{digests[0], digests[2], digests[4]}) || !filtered || pages != 2 {
		t.Errorf("got %q in %d pages, filtered %v", got, pages, filtered)
	}
	for _, path := range []string{"/v2/shop/cart/referrers/" + sha("missing"), "/v2/shop/none/referrers/" + subject} {
		if got, _, _ := read(path); len(got) != 0 {
			t.Errorf("%s: got %q", path, got)
		}
	}
	l.want(l.as("GET", "/v2/shop/cart/referrers/1.0", nil, ""), 400, "DIGEST_INVALID")
	l.want(l.do("GET", path, nil, ""), 401, "UNAUTHORIZED")
}

func TestReferrersAPICanBeOff(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{NoReferrers: true})
	subject := l.stock()
	got := l.want(l.as("PUT", "/v2/shop/cart/manifests/sha256-fallback", header{"Content-Type": ociImage}, referrer(subject, "a/sbom", 1)), 201, "")
	if got.Header.Get("OCI-Subject") != "" {
		t.Error("OCI-Subject is sent")
	}
	l.want(l.as("GET", "/v2/shop/cart/referrers/"+subject, nil, ""), 404, "")
}

func TestCorruption(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	digest := l.stock()
	flip := func(b []byte) []byte { b[0] ^= 1; return b }
	l.registry.Corrupt(digest, flip)
	l.registry.Corrupt(sha("one"), flip)
	l.registry.DigestHeader(func(string) string { return "" })

	got := l.want(l.as("GET", "/v2/shop/cart/manifests/1.0", nil, ""), 200, "")
	if sha(got.Body) == digest || got.Header.Get("Docker-Content-Digest") != "" {
		t.Errorf("the manifest is intact: %v", got.Header)
	}
	location := l.as("GET", "/v2/shop/cart/blobs/"+sha("one"), nil, "").Header.Get("Location")
	if got := l.want(l.do("GET", location, nil, ""), 200, ""); got.Body != "nne" {
		t.Errorf("the blob is %q", got.Body)
	}
	l.registry.Corrupt(digest, nil)
	l.registry.DigestHeader(nil)
	got = l.as("GET", "/v2/shop/cart/manifests/1.0", nil, "")
	if sha(got.Body) != digest || got.Header.Get("Docker-Content-Digest") != digest {
		t.Error("the manifest is still corrupt")
	}
	if stored, ok := l.registry.Blob("shop/cart", sha("one")); !ok || string(stored) != "one" {
		t.Errorf("the stored blob is %q", stored)
	}

	l.registry.RemoveBlob("shop/cart", sha("one"))
	l.want(l.as("GET", "/v2/shop/cart/blobs/"+sha("one"), nil, ""), 404, "BLOB_UNKNOWN")
	l.want(l.do("GET", location, nil, ""), 404, "")
	l.registry.RemoveTag("shop/cart", "1.0")
	l.want(l.as("GET", "/v2/shop/cart/manifests/1.0", nil, ""), 404, "MANIFEST_UNKNOWN")
	l.want(l.as("GET", "/v2/shop/cart/manifests/"+digest, nil, ""), 200, "")
	l.registry.RemoveManifest("shop/cart", digest)
	l.want(l.as("GET", "/v2/shop/cart/manifests/"+digest, nil, ""), 404, "MANIFEST_UNKNOWN")

	// What no client could push can be stored from behind.
	broken := l.registry.Push("shop/cart", "broken", ociImage, []byte(`{"schemaVersion":`))
	if mediaType, content, ok := l.registry.Manifest("shop/cart", "broken"); !ok || mediaType != ociImage || sha(string(content)) != broken {
		t.Errorf("stored %q %q", mediaType, content)
	}
}

func TestTimesOfTags(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.stock()
	start := l.clock.Now()
	put := func(body string) sim.Attributes {
		l.clock.Advance(time.Minute)
		l.want(l.as("PUT", "/v2/shop/cart/manifests/1.0", header{"Content-Type": ociImage}, body), 201, "")
		a, ok := l.registry.TagAttributes("shop/cart", "1.0")
		if !ok {
			t.Fatal("no tag")
		}
		return a
	}
	if a := put(image("one", "two")); !a.Created.Equal(start) || !a.Updated.Equal(start.Add(time.Minute)) {
		t.Errorf("after an equal PUT: %+v", a)
	}
	if a := put(image("one")); !a.Created.Equal(start) || !a.Updated.Equal(start.Add(2*time.Minute)) || a.Digest != sha(image("one")) {
		t.Errorf("after a move: %+v", a)
	}
	if m, ok := l.registry.ManifestAttributes("shop/cart", sha(image("one"))); !ok || !m.Created.Equal(start.Add(2*time.Minute)) {
		t.Errorf("the manifest: %+v", m)
	}
}
