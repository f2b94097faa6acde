package transfer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"acrpromote/internal/ref"
	"acrpromote/internal/testimage"
)

// catalogTransport responds like a registry with many images, without a network. All
// repositories have the same content.
type catalogTransport struct {
	mu        sync.Mutex
	manifests map[string]string // by digest, or by tag or the subject of a list
	types     map[string]string // of manifests, by digest
	padding   string            // what the manifests end with
}

func (c *catalogTransport) add(mediaType, manifest string) (descriptor string) {
	digest := ref.DigestOf([]byte(manifest))
	c.manifests[digest], c.types[digest] = manifest, mediaType
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digest, len(manifest))
}

// sumOf returns a digest that differs for each name.
func sumOf(name string, i ...int) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append([]byte(name), i)))
}

// newCatalog returns a registry with images of so many platforms and layers. Each
// index has a signature, and its first manifest a list of packages.
func newCatalog(images, platforms, layers int) *catalogTransport {
	c := &catalogTransport{manifests: map[string]string{}, types: map[string]string{}}
	image := func(subject string, layers int, of ...int) string {
		var b strings.Builder
		fmt.Fprintf(&b, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2000}`, testimage.ManifestType, sumOf("config"+subject, of...))
		b.WriteString(`,"layers":[`)
		for l := range layers {
			fmt.Fprintf(&b, `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d},`, sumOf("layer"+subject, append(of, l)...), 1000+l)
		}
		manifest := strings.TrimSuffix(b.String(), ",") + "]"
		if subject != "" {
			manifest += `,"artifactType":"application/vnd.example","annotations":{"org.opencontainers.image.created":"2026-01-01T00:00:00Z"},"subject":` + subject
		}
		return manifest + "}"
	}
	refer := func(subject string, of ...int) {
		digest, _, _ := strings.Cut(strings.SplitN(subject, `"digest":"`, 2)[1], `"`)
		d := c.add(testimage.ManifestType, image(subject, 1, of...))
		c.manifests["referrers/"+digest] = fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s,"artifactType":"application/vnd.example","annotations":{"org.opencontainers.image.created":"2026-01-01T00:00:00Z"}}]}`, testimage.IndexType, strings.TrimSuffix(d, "}"))
	}
	for i := range images {
		var children []string
		for p := range platforms {
			children = append(children, c.add(testimage.ManifestType, image("", layers, i, p)))
			if p == 0 {
				refer(children[p], i, p)
			}
		}
		index := c.add(testimage.IndexType, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, testimage.IndexType, strings.Join(children, ",")))
		refer(index, i)
		digest, _, _ := strings.Cut(strings.SplitN(index, `"digest":"`, 2)[1], `"`)
		c.manifests[fmt.Sprintf("1.%d", i)] = digest
	}
	return c
}

func (c *catalogTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	header, body, status := http.Header{}, "", http.StatusOK
	at := strings.LastIndex(r.URL.Path, "/")
	name := r.URL.Path[at+1:]
	switch {
	case strings.Contains(r.URL.Path, "/referrers/"):
		if body = c.manifests["referrers/"+name]; body == "" {
			body = `{"schemaVersion":2,"manifests":[]}`
		}
		header.Set("Content-Type", testimage.IndexType)
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		body = `{"tags":[]}`
	default:
		if tagged := c.manifests[name]; strings.HasPrefix(tagged, "sha256:") {
			name = tagged
		}
		body = c.manifests[name]
		header.Set("Content-Type", c.types[name])
		header.Set("Docker-Content-Digest", name)
		if body == "" {
			status = http.StatusNotFound
		}
	}
	length, content := len(body), io.Reader(strings.NewReader(body))
	if c.padding != "" && header.Get("Content-Type") == testimage.ManifestType {
		length, content = length+len(c.padding), io.MultiReader(content, strings.NewReader(c.padding))
	}
	return &http.Response{StatusCode: status, Header: header, ContentLength: int64(length), Body: io.NopCloser(content), Request: r}, nil
}

func (c *catalogTransport) registry(host string, memory *Memory) *Registry {
	r := NewRegistry(host, &http.Client{Transport: c}, true)
	r.ShareMemory(memory)
	return r
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestLargeSet reads a part of a set of 2,000 images of 8 platforms and 15 layers with
// two referrers each, and inspects a target that has none of them. The whole set fits into
// the memory of a run, the estimate covers what is really kept, and nothing is left when
// the images have been copied.
func TestLargeSet(t *testing.T) {
	const images, part = 2000, 250
	c := newCatalog(part, 8, 15)
	empty := newCatalog(0, 0, 0)
	memory := NewMemory()
	// By other images of the run.
	memory.decoded.Store(muchDecoded)
	memory.raw.Store(maxKeptBytes)
	source, target := c.registry("prod.azurecr.io", memory), empty.registry("dev.azurecr.io", memory)
	before := liveHeap()
	trees, presences, all := make([]*Tree, part), make([]Presence, part), make([]int, part)
	for i := range all {
		all[i] = i
	}
	err := forEach(t.Context(), all, func(ctx context.Context, i int) (err error) {
		repo, tag := fmt.Sprintf("team/shop/app%d", i), fmt.Sprintf("1.%d", i)
		if trees[i], err = ReadTree(ctx, source, repo, tag, Options{Referrers: true}); err != nil {
			return err
		}
		presences[i], err = target.Inspect(ctx, repo, tag, trees[i], false)
		trees[i].Settle()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	kept, estimate := liveHeap()-before, memory.decoded.Load()-muchDecoded
	t.Logf("%d bytes an image, %d estimated", kept/part, estimate/part)
	if kept > estimate+estimate/8 { // other goroutines of the test take memory too
		t.Errorf("%d bytes are kept, but %d are estimated", kept, estimate)
	}
	if whole := estimate / part * images; muchDecoded+whole > maxKeptDecoded {
		t.Errorf("a set of %d images takes %d MiB, more than %d", images, (muchDecoded+whole)>>20, maxKeptDecoded>>20)
	}
	runtime.KeepAlive(presences)
	for _, tree := range trees {
		tree.Release()
	}
	lists := int64(part * listWeight) // of digest tags, by repository
	if left := memory.decoded.Load() - muchDecoded - lists; left != 0 || memory.raw.Load() != maxKeptBytes {
		t.Errorf("after the copies, %d bytes are decoded, and %d are bytes of manifests", left, memory.raw.Load()-maxKeptBytes)
	}
}

// TestIndexOfLargeManifests reads an index of 200 manifests of 1 MiB, and each again
// as for sending it. Their bytes are not all kept.
func TestIndexOfLargeManifests(t *testing.T) {
	const size = 1 << 20
	c := newCatalog(0, 0, 0)
	c.padding = strings.Repeat(" ", size-1000)
	var children []string
	for i := range 200 {
		manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":2},"layers":[],"x":"%d"`, testimage.ManifestType, sumOf("config", i), i)
		manifest += strings.Repeat(" ", 999-len(manifest)) + "}"
		sum := sha256.New()
		_, _ = io.WriteString(sum, manifest+c.padding)
		digest := fmt.Sprintf("sha256:%x", sum.Sum(nil))
		c.manifests[digest], c.types[digest] = manifest, testimage.ManifestType
		children = append(children, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, testimage.ManifestType, digest, size))
	}
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, testimage.IndexType, strings.Join(children, ","))
	c.add(testimage.IndexType, index)
	source := c.registry("prod.azurecr.io", NewMemory())
	tree, err := ReadTree(t.Context(), source, "shop/cart", ref.DigestOf([]byte(index)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if raw := source.memory.raw.Load(); raw > maxKeptBytes/2+smallBody {
		t.Errorf("%d bytes of manifests are kept", raw)
	}
	err = forEach(t.Context(), tree.root.children, func(ctx context.Context, n *node) error {
		m, release, err := n.whole(ctx)
		if err == nil {
			defer release()
			if len(m.Raw) != size {
				t.Errorf("%s has %d bytes", n.Digest, len(m.Raw))
			}
		}
		return err
	})
	if err != nil || len(tree.root.children) != 200 {
		t.Errorf("%d manifests, %v", len(tree.root.children), err)
	}
}
