package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/testimage"
)

// registryKinds are independent implementations of a registry. None of them sends
// OCI-Subject, and only one has the referrers API.
var registryKinds = []struct {
	name  string
	api   bool
	start func(*testing.T) *realRegistry
}{
	{"CNCF " + registryVersion, false, startRegistry},
	{"docker-registry " + registry2Version, false, func(t *testing.T) *realRegistry { return serveRegistry(t, registry2Program(t), "127.0.0.1") }},
	{"go-containerregistry", false, func(t *testing.T) *realRegistry { return startLibraryRegistry(t, false) }},
	{"go-containerregistry, referrers API", true, func(t *testing.T) *realRegistry { return startLibraryRegistry(t, true) }},
}

// startLibraryRegistry starts go-containerregistry's own registry, which keeps
// everything in memory.
func startLibraryRegistry(t *testing.T, referrers bool) *realRegistry {
	t.Helper()
	library := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != realUser || password != realPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		library.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return &realRegistry{t: t, host: strings.TrimPrefix(server.URL, "http://")}
}

// countedRegistry is a registry behind a proxy that counts the writes.
type countedRegistry struct {
	*realRegistry
	address string // of the proxy

	mu     sync.Mutex
	writes []string
}

func countWrites(t *testing.T, r *realRegistry) *countedRegistry {
	t.Helper()
	c := &countedRegistry{realRegistry: r}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: r.host})
		p.Out.Host = p.In.Host // the registry puts it into locations
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			c.mu.Lock()
			c.writes = append(c.writes, r.Method+" "+r.URL.Path)
			c.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.address = strings.TrimPrefix(server.URL, "http://")
	return c
}

// written returns the writes to a repository since the beginning.
func (c *countedRegistry) written(repository string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var some []string
	for _, w := range c.writes {
		if strings.Contains(w, "/"+repository+"/") {
			some = append(some, w)
		}
	}
	return some
}

// referrersOf returns the digests that a registry lists for a manifest, by its API
// and under the fallback tag.
func (r *realRegistry) referrersOf(repository, digest string) map[string]bool {
	r.t.Helper()
	listed := map[string]bool{}
	for _, path := range []string{"/referrers/" + digest, "/manifests/" + testimage.FallbackTag(digest)} {
		response := r.send(http.MethodGet, "/v2/"+repository+path, "", nil)
		if response.StatusCode != http.StatusOK {
			continue
		}
		var list testimage.Manifest
		if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
			r.t.Fatal(err)
		}
		for _, m := range list.Manifests {
			listed[m.Digest] = true
		}
	}
	return listed
}

// dockerIndex returns a manifest list of two images, all of Docker's media types.
func dockerIndex() v1.ImageIndex {
	var adds []mutate.IndexAddendum
	for i, architecture := range []string{"amd64", "arm64"} {
		base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.DockerManifestSchema2), types.DockerConfigJSON)
		base, err := mutate.ConfigFile(base, &v1.ConfigFile{OS: "linux", Architecture: architecture, RootFS: v1.RootFS{Type: "layers"}})
		if err != nil {
			panic(err)
		}
		image, err := mutate.AppendLayers(base, static.NewLayer([]byte(fmt.Sprintf("layer %d", i)), types.DockerLayer))
		if err != nil {
			panic(err)
		}
		adds = append(adds, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.DockerManifestList), adds...)
}

// TestRegistryKinds promotes between all kinds of registries, with everything that
// is attached: the first run copies, the second changes nothing and writes nothing,
// and the audit finds everything.
func TestRegistryKinds(t *testing.T) {
	t.Parallel()
	// Two of each kind, so that each is a source and a target of its own kind, too.
	passwords := map[string]string{}
	var sources []*realRegistry
	var targets []*countedRegistry
	for _, kind := range registryKinds {
		source, target := kind.start(t), countWrites(t, kind.start(t))
		passwords[source.host], passwords[target.address] = realUser+":"+realPassword, realUser+":"+realPassword
		sources, targets = append(sources, source), append(targets, target)
	}
	p := newPerson(t, passwords)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, from := range registryKinds {
		passed := 0
		for j, to := range registryKinds {
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				source, target := sources[i], targets[j]
				repository := fmt.Sprintf("shop/cart%d%d", i, j)
				image := pushIndex(source, repository, release, 1)
				platform := testimage.PartsOf(testimage.Index(child(1, 0), child(1, 1))).Manifests[0].Descriptor
				// What is attached has attachments too: the signature of an SBOM.
				sbom := testimage.Attach(source, repository, image, "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
				signature := testimage.Attach(source, repository, sbom, "application/vnd.example.signature.v1+json", []byte("signed"))
				scan := testimage.Attach(source, repository, platform, "application/vnd.example.scan.v1+json", []byte("scanned"))
				attached := map[string]descriptor{image.Digest: sbom, sbom.Digest: signature, platform.Digest: scan}
				if !from.api {
					for subject, referrer := range attached {
						testimage.List(source, repository, descriptor{Digest: subject}, referrer)
					}
				}
				cosign := testimage.FallbackTag(image.Digest) + ".sig"
				signed := testimage.Put(source, repository, cosign, testimage.Signature(static.NewLayer([]byte("payload"), types.MediaType(testimage.SigningType))))
				docker := testimage.Put(source, repository, "docker", dockerIndex())

				arguments := func(tag string) []string {
					return []string{"--source", source.host + "/" + repository + ":" + tag, "--targets", target.address,
						"--plain-http", source.host, "--plain-http", target.address, "--output", "json"}
				}
				for tag, want := range map[string]descriptor{release: image, "docker": docker} {
					p.run(append([]string{"invertedPush", "--approval", "none"}, arguments(tag)...)...).wantCode(0).wantStates("copied")
					if got := target.digest(repository, tag); got != want.Digest {
						t.Errorf("%s is %q at the target, want %s", tag, got, want.Digest)
					}
				}
				written := len(target.written(repository))
				p.run(append([]string{"invertedPush", "--approval", "none"}, arguments(release)...)...).wantCode(0).wantStates("present")
				if again := target.written(repository)[written:]; written == 0 || len(again) > 0 {
					t.Errorf("%d writes in the first runs, in the second %q", written, again)
				}
				p.run(append([]string{"audit", "--deep"}, arguments(release)...)...).wantCode(0)
				for subject, referrer := range attached {
					if !target.referrersOf(repository, subject)[referrer.Digest] {
						t.Errorf("%s of %s is not listed at the target", referrer.Digest, subject)
					}
				}
				if got := target.digest(repository, cosign); got != signed.Digest {
					t.Errorf("the tag of cosign is %q, want %s", got, signed.Digest)
				}
				if !t.Failed() {
					passed++
				}
			})
		}
		row := "| " + from.name + strings.Repeat(" | copied, present, complete", len(registryKinds)) + " |\n"
		if passed == len(registryKinds) && !strings.Contains(string(page), row) {
			t.Errorf("docs/conformance.md does not say\n%s", row)
		}
	}
}
