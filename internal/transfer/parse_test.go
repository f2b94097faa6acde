package transfer

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"acrpromote/internal/ref"
)

const config = `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`

func layer(digest string, size any, mediaType string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%v}`, mediaType, digest, size)
}

var manifests = []struct {
	name, raw, contentType, hint string
	kind                         Kind   // "" = good
	contains                     string // in the error
}{
	{"OCI image", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[]}`, ociImage, ociImage, "", ""},
	{"no mediaType, known by header", `{"schemaVersion":2,` + config + `,"layers":[]}`, ociImage, "", "", ""},
	{"no mediaType, known by descriptor", `{"schemaVersion":2,` + config + `,"layers":[]}`, "application/octet-stream", ociImage, "", ""},
	{"no mediaType anywhere", `{"schemaVersion":2,` + config + `,"layers":[]}`, "text/plain", "", Unsupported, `"text/plain"`},
	{"Docker image", `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",` + config + `,"layers":[]}`, "", "", "", ""},
	{"Docker list", `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}`, "", "", "", ""},
	{"header differs", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `}`, ociIndex, "", Corrupt, "the registry returned"},
	{"unknown header does not matter", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `}`, "application/json", "", "", ""},
	{"descriptor differs", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `}`, "", ociIndex, Corrupt, "its descriptor says"},
	{"unknown type", `{"schemaVersion":2,"mediaType":"application/vnd.example.thing+json"}`, "", "", Unsupported, `"application/vnd.example.thing+json"`},
	{"schema 1", `{"schemaVersion":1,"name":"x","fsLayers":[]}`, "application/vnd.docker.distribution.manifest.v1+prettyjws", "", Unsupported, "schema 1"},
	{"truncated", `{"schemaVersion":2,"mediaType":"` + ociImage + `","config":{`, ociImage, "", Corrupt, "not valid JSON"},
	{"something after it", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `}{}`, ociImage, "", Corrupt, "not valid JSON"},
	{"image and index in one", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"manifests":[]}`, "", "", Corrupt, "both an image and an index"},
	{"index and image in one", `{"schemaVersion":2,"mediaType":"` + ociIndex + `",` + config + `,"manifests":[]}`, "", "", Corrupt, "both an image and an index"},
	{"no config", `{"schemaVersion":2,"mediaType":"` + ociImage + `","layers":[]}`, "", "", Corrupt, "has no digest"},
	{"schemaVersion 3", `{"schemaVersion":3,"mediaType":"` + ociImage + `",` + config + `}`, "", "", Corrupt, "schemaVersion is 3"},
	{"negative size", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[` + layer(emptyDigest, -1, ociLayer) + `]}`, "", "", Corrupt, "size of"},
	{"immense size", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[` + layer(emptyDigest, int64(1)<<60, ociLayer) + `]}`, "", "", Corrupt, "size of"},
	{"two sizes", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[` + layer(emptyDigest, 0, ociLayer) + "," + layer(emptyDigest, 1, ociLayer) + `]}`, "", "", Corrupt, "two sizes"},
	{"md5", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[` + layer("md5:d41d8cd98f00b204e9800998ecf8427e", 0, ociLayer) + `]}`, "", "", Corrupt, "md5"},
	{"sha512", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[` + layer("sha512:"+strings.Repeat("ab", 64), 0, ociLayer) + `]}`, "", "", Corrupt, "not a sha256 digest"},
	{"digest too short", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + layer("sha256:abcd", 0, ociImage) + `]}`, "", "", Corrupt, "hexadecimal digits"},
	{"no JSON object", `[]`, ociImage, "", Corrupt, "not valid JSON"},
	{"nothing", ``, ociImage, "", Corrupt, "not valid JSON"},
}

func TestParseManifest(t *testing.T) {
	for _, c := range manifests {
		t.Run(c.name, func(t *testing.T) {
			m, kind, err := parseManifest([]byte(c.raw), c.contentType, c.hint)
			switch {
			case c.kind == "" && err != nil:
				t.Fatal(err)
			case c.kind == "" && (m.Digest != ref.DigestOf([]byte(c.raw)) || m.Size != int64(len(c.raw))):
				t.Errorf("it describes itself as %+v", m.Descriptor)
			case c.kind != "" && (err == nil || kind != c.kind || !strings.Contains(err.Error(), c.contains)):
				t.Errorf("kind %q, error %v; want %q and %q", kind, err, c.kind, c.contains)
			}
		})
	}
}

func TestParseManifestReferences(t *testing.T) {
	digest := func(i int) string { return fmt.Sprintf("sha256:%064d", i) }
	m, _, err := parseManifest(fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,%s,"layers":[%s,%s,%s,%s,%s],"subject":%s,"annotations":{"a":"b"}}`, ociImage, config,
		layer(digest(1), 1, ociLayer), layer(digest(1), 1, ociLayer), layer(digest(2), 2, "application/vnd.oci.image.layer.v1.tar+zstd"),
		elsewhere(layer(digest(3), 3, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")),
		elsewhere(layer(digest(4), 4, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")), layer(digest(5), 5, ociImage)), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.blobs()) != 4 || len(m.foreign) != 2 || m.ArtifactType != "application/vnd.oci.image.config.v1+json" || m.Annotations["a"] != "b" {
		t.Errorf("manifest is %+v", m)
	}
	if s := m.subject; s == nil || s.Digest != digest(5) || s.Size != 5 {
		t.Errorf("subject is %+v", s)
	}
}

// elsewhere adds a URL to a descriptor.
func elsewhere(layer string) string {
	return strings.TrimSuffix(layer, "}") + `,"urls":["https://layers.example/1"]}`
}

// TestForeignLayers checks that a layer stays only if its type says that it may not be
// distributed and its descriptor says where it is.
func TestForeignLayers(t *testing.T) {
	const restricted = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	digest := fmt.Sprintf("sha256:%064d", 1)
	for _, mediaType := range []string{restricted, restricted + "+gzip", restricted + "+zstd", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", ociLayer} {
		plain := layer(digest, 1, mediaType)
		for raw, foreign := range map[string]bool{
			plain:            false,
			elsewhere(plain): mediaType != ociLayer,
			strings.TrimSuffix(plain, "}") + `,"urls":[]}`:   false,
			strings.TrimSuffix(plain, "}") + `,"urls":null}`: false,
			strings.TrimSuffix(plain, "}") + `,"urls":[""]}`: false,
			strings.TrimSuffix(plain, "}") + `,"urls":"x"}`:  false,
		} {
			m, _, err := parseManifest(fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,%s,"layers":[%s]}`, ociImage, config, raw), "", "")
			if err != nil || len(m.foreign) == 1 != foreign || len(m.blobs()) == 2 == foreign {
				t.Errorf("%s: %+v, %v", raw, m, err)
			}
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	for _, c := range manifests {
		f.Add([]byte(c.raw), c.contentType, c.hint)
	}
	f.Fuzz(func(t *testing.T, raw []byte, contentType, hint string) {
		m, kind, err := parseManifest(raw, contentType, hint)
		if (err == nil) == (m == nil) || (err == nil) != (kind == "") {
			t.Fatalf("manifest %v, kind %q, error %v", m, kind, err)
		}
		if err != nil {
			return
		}
		for _, list := range [][]Descriptor{m.blobs(), unpack(m.foreign), m.children} {
			for _, d := range list {
				if ref.CheckDigest(d.Digest) != nil || d.Size < 0 || d.Size > maxBlobSize {
					t.Errorf("took %+v", d)
				}
			}
		}
		if !isManifestType(m.MediaType) {
			t.Errorf("took a %s", m.MediaType)
		}
	})
}

func FuzzParseReferrers(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + layer(emptyDigest, 0, ociImage) + `]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":null}`))
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"` + ociImage + `"}`))
	f.Add([]byte(`{"manifests":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parseReferrers(raw)
		if err != nil {
			return
		}
		for _, d := range list {
			if ref.CheckDigest(d.Digest) != nil || d.Size < 0 {
				t.Errorf("took %+v", d)
			}
		}
		if once, err := distinct(list); err == nil && len(once) > len(list) {
			t.Error("more became of it")
		}
	})
}

func TestNextPage(t *testing.T) {
	const page = "https://r.example/v2/a/b/referrers/" + emptyDigest + "?n=1"
	const within = "https://r.example/v2/a/b/"
	for _, c := range []struct {
		links []string
		next  string // "!" = error
	}{
		{nil, ""},
		{[]string{`</v2/a/b/referrers/x?last=1>; rel="next"`}, "https://r.example/v2/a/b/referrers/x?last=1"},
		{[]string{`<?last=2>;rel=next`}, "https://r.example/v2/a/b/referrers/" + emptyDigest + "?last=2"},
		{[]string{`</v2/a/b/x>; rel="prev"`, `</v2/a/b/y>; title="a, b"; REL="first NEXT"`}, "https://r.example/v2/a/b/y"},
		{[]string{`</v2/a/b/x>; rel="prev"; title="<no, no>", </v2/a/b/y>; rel="next"`}, "https://r.example/v2/a/b/y"},
		{[]string{`</v2/a/b/x>; rel="prev"`}, ""},
		{[]string{`<https://collector.example.com/v2/a/b/x>; rel="next"`}, "!"},
		{[]string{`<//collector.example.com/v2/a/b/x>; rel="next"`}, "!"},
		{[]string{`<http://r.example/v2/a/b/x>; rel="next"`}, "!"},
		{[]string{`<https://u:p@r.example/v2/a/b/x>; rel="next"`}, "!"},
		{[]string{`</v2/a/other/x>; rel="next"`}, "!"},
		{[]string{`</v2/a/b/../../../oauth2/token>; rel="next"`}, "!"},
		{[]string{`<:%zz>; rel="next"`}, "!"},
		{[]string{`</v2/a/b/x; rel="next"`}, "!"},
		{[]string{`nonsense`}, ""},
	} {
		next, err := nextPage(page, within, c.links)
		if (err != nil) != (c.next == "!") || err == nil && next != c.next {
			t.Errorf("%q: %q, %v; want %q", c.links, next, err, c.next)
		}
	}
}

func FuzzNextPage(f *testing.F) {
	f.Add(`</v2/a/referrers/x?last=1>; rel="next"`)
	f.Add(`</v2/a/x>; rel="prev", </v2/a/y>; title="\"<,"; rel=next`)
	f.Add(`<//h/v2/a/>;rel=next`)
	f.Fuzz(func(t *testing.T, link string) {
		const within = "https://r.example/v2/a/"
		next, err := nextPage(within+"referrers/x", within, []string{link})
		if err == nil && next != "" {
			if _, err := http.NewRequest("GET", next, nil); err != nil || !strings.HasPrefix(next, "https://r.example/v2/a/") {
				t.Errorf("leads to %q", next)
			}
		}
	})
}

func TestInvalidReferences(t *testing.T) {
	r := NewRegistry("registry.example", &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("requested %s", r.URL)
		return nil, http.ErrNotSupported
	})}, false)
	for _, bad := range [][2]string{{"a/../b", "1"}, {"a..b", "1"}, {"A", "1"}, {"a", "../x"}, {"a", ".x"}, {"a", "sha256:xx"}, {"a", "sha512:" + strings.Repeat("ab", 64)}, {"", "1"}} {
		if _, err := r.Resolve(t.Context(), bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "Correct the reference.") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestArtifactIsStable(t *testing.T) {
	a := Artifact{Type: "application/vnd.example.record+json", Subject: Descriptor{MediaType: ociImage, Digest: emptyDigest, Size: 5}, Contents: []Content{{MediaType: "application/json", Data: []byte("{1}")}}}
	m, err := a.manifest()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[{"mediaType":"application/json","size":3,"digest":"` + ref.DigestOf([]byte("{1}")) + `"}],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":5,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"artifactType":"application/vnd.example.record+json"}`
	if string(m.Raw) != want || m.ArtifactType != a.Type {
		t.Errorf("manifest is %s", m.Raw)
	}
	a.Annotations = map[string]string{"b": "2", "a": "1"}
	if m, err := a.manifest(); err != nil || string(m.Raw) != strings.Replace(want, `,"subject"`, `,"annotations":{"a":"1","b":"2"},"subject"`, 1) {
		t.Errorf("with annotations: %s, %v", m.Raw, err)
	}
	if m, err := (Artifact{Type: "x/y"}).manifest(); err != nil || len(m.blobs()) != 2 {
		t.Errorf("an artifact without contents: %v", err)
	}
	if _, err := (Artifact{Type: "x/y", Subject: Descriptor{Digest: "sha256:1"}}).manifest(); err == nil {
		t.Error("took a wrong subject")
	}
}
