package transfer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"acrpromote/internal/ref"
)

// fill returns begin, as many elements with commas as fit into size, and end.
func fill(size int, begin, element, end string) string {
	n := (size - len(begin) - len(end)) / (len(element) + 1)
	return begin + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + end
}

// many returns n elements with commas.
func many(n int, element func(int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(element(i))
	}
	return b.String()
}

func child(i int) string { return layer(fmt.Sprintf("sha256:%064d", i), 1, ociImage) }

func annotation(i int) string { return `"` + strconv.Itoa(i) + `":""` }

var hostileManifests = []struct {
	name, raw string
	kind      Kind
	tells     string
}{
	{"index of empty objects", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`, `{}`, `]}`), Corrupt, "has no digest"},
	{"index of nulls", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`, `null`, `]}`), Corrupt, "has no digest"},
	{"index of numbers", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`, `0`, `]}`), Corrupt, "cannot unmarshal"},
	{"index of lists", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`, `[]`, `]}`), Corrupt, "cannot unmarshal"},
	{"index of bad digests", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`, layer("sha256:ab", 1, ociImage), `]}`), Corrupt, "hexadecimal digits"},
	{"index of negative sizes", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`, layer(emptyDigest, -1, ociImage), `]}`), Corrupt, "size of"},
	{"index of one child", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`, layer(emptyDigest, 1, ""), `]}`), TooLarge, "more than 20000 manifests"},
	{"image of empty layers", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociImage+`",`+config+`,"layers":[`, `{}`, `]}`), Corrupt, "has no digest"},
	{"image of one layer", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociImage+`",`+config+`,"layers":[`, layer(emptyDigest, 0, ""), `]}`), TooLarge, "more than 10000 layers"},
	{"annotations", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"annotations":{` + many(1001, annotation) + `}}`, TooLarge, "more than 1000 annotations"},
	{"annotations of a layer", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[{"annotations":{` + many(1001, annotation) + `}}]}`, TooLarge, "more than 1000 annotations"},
	{"annotation twice", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociImage+`",`+config+`,"annotations":{`, `"":""`, `}}`), TooLarge, "more than 1000 annotations"},
	{"annotations of numbers", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"annotations":{"a":1}}`, Corrupt, "cannot unmarshal"},
	{"annotations as a list", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"annotations":[]}`, Corrupt, "not an object"},
	{"layers as an object", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":{}}`, Corrupt, "no list"},
	{"layers twice", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[],"Layers":[]}`, Corrupt, "twice"},
	{"config twice", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,` + config + `}`, Corrupt, "twice"},
	{"mediaType twice", `{"schemaVersion":2,"mediaType":"` + ociImage + `","mediatype":"` + ociIndex + `",` + config + `}`, Corrupt, "twice"},
	{"manifests twice", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[],"manifests":[` + child(1) + `]}`, Corrupt, "twice"},
	{"digest twice", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[{"digest":"` + emptyDigest + `","digest":"` + emptyDigest + `"}]}`, Corrupt, "twice"},
	{"subject twice", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","subject":` + child(1) + `,"subject":` + child(2) + `}`, Corrupt, "twice"},
	{"huge number", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[{"digest":"` + emptyDigest + `","size":` + strings.Repeat("9", 1<<20) + `}]}`, Corrupt, "cannot unmarshal"},
	{"huge string", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[{"digest":"` + strings.Repeat("9", 1<<20) + `"}]}`, Corrupt, "digest"},
	{"deep lists", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","x":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`, Corrupt, "max depth"},
	{"deep objects", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","x":` + strings.Repeat(`{"x":`, 1<<19) + `0` + strings.Repeat("}", 1<<19) + `}`, Corrupt, "max depth"},
}

// TestHostileManifests parses manifests that are made to take memory. Each may
// allocate 32 MiB, which the whole of a list of "{}" exceeds 15 times.
func TestHostileManifests(t *testing.T) {
	for _, c := range hostileManifests {
		t.Run(c.name, func(t *testing.T) {
			var err error
			var kind Kind
			if took := allocated(func() { _, kind, err = parseManifest([]byte(c.raw), "", "") }); took > 32<<20+uint64(len(c.raw)) {
				t.Errorf("it allocated %d MiB", took>>20)
			}
			if err == nil || kind != c.kind || !strings.Contains(err.Error(), c.tells) {
				t.Errorf("kind %q, error %v; want %q and %q", kind, err, c.kind, c.tells)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// TestLargeManifests parses manifests that are large, and that registries have to
// accept.
func TestLargeManifests(t *testing.T) {
	for _, c := range []struct{ name, raw string }{
		{"500 children", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + many(500, child) + `]}`},
		{"as many children as are taken", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + many(maxChildren, child) + `]}`},
		{"as many layers as are taken", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"layers":[` + many(maxManifestLayers, child) + `]}`},
		{"as many annotations as are taken", `{"schemaVersion":2,"mediaType":"` + ociImage + `",` + config + `,"annotations":{` + many(maxAnnotations, annotation) + `}}`},
		{"4 MiB of one annotation", fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociImage+`",`+config+`,"annotations":{"a":"`, `xxxxxxx`, `"}}`)},
		{"500 children of 8 KiB of annotations", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + many(500, func(i int) string {
			return strings.TrimSuffix(child(i), "}") + `,"platform":{"os":"linux"},"urls":["https://example.com"],"data":"YQ==","annotations":{"a":"` + strings.Repeat("x", 8000) + `"}}`
		}) + `]}`},
		{"nulls", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":null,"annotations":null,"subject":null,"config":null,"layers":null}`},
		{"unknown fields", `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[],"x":1,"x":2}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := parseManifest([]byte(c.raw), "", ""); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHostileReferrers(t *testing.T) {
	begin := `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[`
	for _, c := range []struct {
		name, raw, tells string
		excess           bool
	}{
		{"empty objects", fill(maxManifest, begin, `{}`, `]}`), "has no digest", false},
		{"one entry", fill(maxManifest, begin, layer(emptyDigest, 1, ""), `]}`), "more than 10000 entries", true},
		{"annotations", begin + `{"annotations":{` + many(200_000, annotation) + `}}]}`, "more than 1000 annotations", true},
		{"manifests twice", begin + `],"manifests":[]}`, "twice", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			if took := allocated(func() { _, err = parseReferrers([]byte(c.raw)) }); took > 20<<20+uint64(len(c.raw)) {
				t.Errorf("it allocated %d MiB", took>>20)
			}
			if _, excess := errors.AsType[*limitError](err); err == nil || excess != c.excess || !strings.Contains(err.Error(), c.tells) {
				t.Errorf("error %v, want %q", err, c.tells)
			}
		})
	}
}

// TestHostileLists reads lists of 16 MiB of empty names.
func TestHostileLists(t *testing.T) {
	for path, read := range map[string]func(*Registry) error{
		"/v2/_catalog":      func(r *Registry) error { _, err := r.Repositories(t.Context(), 1000); return err },
		"/v2/r/tags/list":   func(r *Registry) error { _, err := r.Tags(t.Context(), "r", 1000); return err },
		"/v2/all/tags/list": func(r *Registry) error { _, err := r.digestTags(t.Context(), "all"); return err },
	} {
		name := "tags"
		if strings.HasSuffix(path, "catalog") {
			name = "repositories"
		}
		element, kind := `""`, TooLarge
		if strings.Contains(path, "all") {
			element, kind = `0`, Corrupt
		}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, fill(listBytes, `{"`+name+`":[`, element, `]}`))
		}))
		t.Cleanup(s.Close)
		err := read(newTestRegistry(strings.TrimPrefix(s.URL, "http://")))
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != kind {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// allocated returns the bytes that f allocated. The test must not run in parallel.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestReadBody reads bodies of every kind of length, and holds no part of the
// bound afterwards.
func TestReadBody(t *testing.T) {
	for _, c := range []struct {
		name          string
		size          int
		length, limit int64
		tells         string
	}{
		{"empty", 0, 0, 100, ""},
		{"small", 100, 100, 100, ""},
		{"small without a length", 100, -1, 100, ""},
		{"too long", 101, 101, 100, "longer than 100 bytes"},
		{"too long without a length", 101, -1, 100, "longer than 100 bytes"},
		{"as large as is small", smallBody, smallBody, maxManifest, ""},
		{"as large as is small, without a length", smallBody, -1, maxManifest, ""},
		{"large", maxManifest, maxManifest, maxManifest, ""},
		{"large without a length", maxManifest, -1, maxManifest, ""},
		{"large and too long", maxManifest + 1, maxManifest + 1, maxManifest, "longer"},
		{"large and too long, without a length", maxManifest + 1, -1, maxManifest, "longer"},
		{"broken off", 100, 101, 1000, "unexpected EOF"},
		{"large and broken off", maxManifest - 1, maxManifest, maxManifest, "unexpected EOF"},
		{"a list", listBytes, -1, listBytes, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := strings.Repeat("x", c.size)
			resp := &http.Response{ContentLength: c.length, Body: io.NopCloser(iotest.HalfReader(strings.NewReader(content)))}
			ctx, watch := withWatchdog(t.Context())
			defer watch.stop()
			data, release, err := readBody(ctx, resp, c.limit, watch, newTestRegistry("r").stallTimeout)
			release()
			switch {
			case c.tells == "" && (err != nil || string(data) != content):
				t.Errorf("%d bytes, error %v", len(data), err)
			case c.tells != "" && (err == nil || !strings.Contains(err.Error(), c.tells)):
				t.Errorf("error %v, want %q", err, c.tells)
			}
			if !largeBodies.TryAcquire(maxLargeBodies) {
				t.Fatal("a part of the bound is still held")
			}
			largeBodies.Release(maxLargeBodies)
		})
	}
}

// TestHostileFallbackList appends to a list that is larger than what is read.
func TestHostileFallbackList(t *testing.T) {
	p := newPeer(t)
	p.api = false
	root := p.image("r", "1.0", "a")
	p.manifest("r", ref.DigestTag(root.Digest), ociIndex, []byte(fill(maxManifest, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`, `{}`, `]}`)))
	_, err := p.registry().addToFallbackList(t.Context(), "r", root.Digest, []Descriptor{root})
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Corrupt {
		t.Errorf("error %v", err)
	}
}
