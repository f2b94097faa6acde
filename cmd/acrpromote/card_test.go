package main_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"acrpromote/internal/testimage"
)

var updateCards = flag.Bool("update", false, "write the golden cards")

const cycloneType = "application/vnd.cyclonedx+json"

// built is an image as a build makes it, with labels and an SBOM.
type built struct {
	version, revision  string
	base, baseDigest   string
	user               string
	env, entrypoint    []string
	ports              []string
	layers             []string // seeds
	platforms          []string // architectures; amd64 if empty
	packages           []string // package URLs; no SBOM if empty
	withoutAttachments bool
}

func (b built) config(architecture string) v1.ConfigFile {
	labels := map[string]string{}
	for name, value := range map[string]string{
		"version": b.version, "revision": b.revision, "source": "https://dev.azure.com/contoso/shop/_git/cart",
		"base.name": b.base, "base.digest": b.baseDigest,
	} {
		if value != "" {
			labels["org.opencontainers.image."+name] = value
		}
	}
	ports := map[string]struct{}{}
	for _, p := range b.ports {
		ports[p] = struct{}{}
	}
	return v1.ConfigFile{OS: "linux", Architecture: architecture, Created: v1.Time{Time: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)},
		Config: v1.Config{User: b.user, Env: b.env, Entrypoint: b.entrypoint, ExposedPorts: ports, WorkingDir: "/srv", Labels: labels}}
}

func (b built) image(architecture string) v1.Image {
	var layers []v1.Layer
	for i, seed := range b.layers {
		layers = append(layers, testimage.Layer(seed, int64(20_000+1_000*i)))
	}
	return testimage.Configured(b.config(architecture), layers...)
}

// put stores the image with its SBOM, and returns its descriptor.
func (b built) put(s testimage.Store, repository, tag string) descriptor {
	var root descriptor
	if len(b.platforms) == 0 {
		root = testimage.Put(s, repository, tag, b.image("amd64"))
		b.attach(s, repository, root, spdxType, spdx(b.packages...))
		return root
	}
	var children []mutate.Appendable
	for _, p := range b.platforms {
		children = append(children, b.image(p))
	}
	root = testimage.Put(s, repository, tag, testimage.Index(children...))
	for _, child := range children {
		b.attach(s, repository, testimage.Of(child), spdxType, spdx(b.packages...))
	}
	return root
}

func (b built) attach(s testimage.Store, repository string, to descriptor, artifactType string, content []byte) {
	if len(b.packages) > 0 {
		testimage.Attach(s, repository, to, artifactType, content)
	}
}

// spdx returns an SPDX document of packages, by their package URLs.
func spdx(purls ...string) []byte {
	type object = map[string]any
	packages := []object{}
	for i, purl := range purls {
		packages = append(packages, object{"SPDXID": fmt.Sprint("SPDXRef-", i), "name": fmt.Sprint("package-", i),
			"externalRefs": []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}}})
	}
	raw, _ := json.Marshal(object{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "packages": packages})
	return raw
}

// cyclone returns the same in CycloneDX.
func cyclone(purls ...string) []byte {
	type object = map[string]any
	components := []object{}
	for _, purl := range purls {
		components = append(components, object{"type": "library", "name": purl, "purl": purl})
	}
	raw, _ := json.Marshal(object{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components})
	return raw
}

var (
	patchBefore = built{version: "1.4.1", revision: "1111111", base: "mcr.microsoft.com/azurelinux/base/core:3.0", baseDigest: "sha256:" + strings.Repeat("b", 64),
		user: "app", env: []string{"PATH=/bin", "CART_DB_HOST=db", "TOKEN=old-secret"}, entrypoint: []string{"/cart"}, ports: []string{"8080/tcp"},
		layers: []string{"base", "runtime", "cart 1.4.1"}, platforms: []string{"amd64", "arm64"},
		packages: []string{"pkg:rpm/azurelinux/openssl@3.3.0-1", "pkg:rpm/azurelinux/glibc@2.38-3", "pkg:golang/github.com/contoso/cart@v1.4.1", "pkg:golang/golang.org/x/net@v0.20.0"}}
	patchAfter = built{version: "1.4.2", revision: "2222222", base: patchBefore.base, baseDigest: patchBefore.baseDigest,
		user: "app", env: []string{"PATH=/bin", "CART_DB_HOST=db", "TOKEN=new-secret", "CART_RETRIES=3"}, entrypoint: []string{"/cart"}, ports: []string{"8080/tcp"},
		layers: []string{"base", "runtime", "cart 1.4.2"}, platforms: []string{"amd64", "arm64"},
		packages: []string{"pkg:rpm/azurelinux/openssl@3.3.0-1", "pkg:rpm/azurelinux/glibc@2.38-3", "pkg:golang/github.com/contoso/cart@v1.4.2", "pkg:golang/golang.org/x/net@v0.23.0", "pkg:golang/golang.org/x/text@v0.14.0"}}
)

// varying is what differs from run to run in a card.
var varying = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC, (less than an hour|\d+ (hour|day)s?) ago`), "TIME, AGE"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`), "TIME"},
}

// goldenCard compares the card of a run, up to the part that every summary has.
func goldenCard(t *testing.T, name string, o outcome) {
	t.Helper()
	card, _, _ := strings.Cut(o.summary, "\n<details><summary>Details: rules")
	for _, v := range varying {
		card = v.pattern.ReplaceAllString(card, v.text)
	}
	path := filepath.Join("testdata", "card-"+name+".md.golden")
	if *updateCards {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(card), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != card {
		t.Errorf("%s differs (run with -update to write it): %v\n%s", path, err, card)
	}
}

// TestCardOfSeal seals a patch release, and compares it with the version before it in
// its own repository.
func TestCardOfSeal(t *testing.T) {
	env := newTestEnv(t)
	env.clock.set(-30 * 24 * time.Hour)
	patchBefore.put(env.prod, cart, "1.4.1")
	env.clock.set(0)
	patchAfter.put(env.prod, cart, release)
	env.stage.Begin()
	o := env.task(sealing).want("done")
	goldenCard(t, "seal", o)
	t.Log(show(table(o)))
	t.Log(o.stdout)
	if strings.Contains(o.summary+o.stdout+fmt.Sprint(o.result), "secret") {
		t.Error("the value of an environment varying is shown")
	}
}
