package main_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	version, revision string
	base, baseDigest  string
	user              string
	env, entrypoint   []string
	ports             []string
	layers            []string // seeds
	platforms         []string // architectures; amd64 if empty
	packages          []string // package URLs; no SBOM if empty
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
	card, _, _ = strings.Cut(card, "\n### Approval\n")
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
	t.Logf("requests:\n%s", show(table(o)))
	if strings.Contains(o.summary+o.stdout+fmt.Sprint(o.result), "secret") {
		t.Error("the value of an environment varying is shown")
	}
}

// changes returns what result.json has on how the image differs.
func (o outcome) changes() []map[string]any {
	o.t.Helper()
	list, _ := o.at("images", 0, "changes").([]any)
	var changes []map[string]any
	for _, c := range list {
		changes = append(changes, c.(map[string]any))
	}
	return changes
}

// TestCardOfBadSBOMs attaches to the new image what is no SBOM, or one that must not be
// compared. The card says so, and the run ends as it does without.
func TestCardOfBadSBOMs(t *testing.T) {
	const inToto = "application/vnd.in-toto+json"
	before, after := patchBefore, patchAfter
	before.platforms, after.platforms, after.packages = nil, nil, nil
	good := spdx(patchAfter.packages...)
	statement := func(subject string) func(descriptor) []byte {
		return func(image descriptor) []byte {
			if subject == "" {
				subject = strings.TrimPrefix(image.Digest, "sha256:")
			}
			return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":"https://spdx.dev/Document","predicate":%s}`, subject, good)
		}
	}
	plain := func(content []byte) func(descriptor) []byte { return func(descriptor) []byte { return content } }
	large := append(slices.Clone(good[:len(good)-1]), []byte(`,"comment":["`+strings.Repeat(strings.Repeat("x", 1000)+`","`, 50_000)+`"]}`)...)
	many := make([]string, 20_001)
	for i := range many {
		many[i] = fmt.Sprintf("pkg:npm/p%d@1", i)
	}
	nasty := "pkg:npm/%0D%0A%23%23vso%5Btask.complete%20result=Failed%5D%1B%5B31m%E2%80%AE%3Cscript%3E|`x`@" + strings.Repeat("9", 300_000)
	type attached struct {
		artifactType string
		content      func(descriptor) []byte
		annotations  map[string]string
	}
	predicate := map[string]string{"in-toto.io/predicate-type": "https://spdx.dev/Document"}
	for name, c := range map[string]struct {
		attached []attached
		note     string
		packages int
	}{
		"good":                  {[]attached{{spdxType, plain(good), nil}}, "", 1},
		"none":                  {nil, "the new image has no SBOM that can be read", 0},
		"another kind of image": {[]attached{{spdxType, plain(cyclone("pkg:npm/a@1")), nil}}, "its type stands for SPDX, but its content is CycloneDX", 0},
		"no JSON":               {[]attached{{spdxType, plain([]byte("<xml/>")), nil}}, "not valid JSON", 0},
		"50 MB":                 {[]attached{{spdxType, plain(large), nil}}, "too large to compare", 0},
		"too many packages":     {[]attached{{spdxType, plain(spdx(many...)), nil}}, "more than 20000 packages", 0},
		"contradiction":         {[]attached{{spdxType, plain(good), nil}, {spdxType, plain(spdx("pkg:npm/a@1")), nil}}, "two SBOMs contradict each other and are not compared: sha256:", 0},
		"the same twice":        {[]attached{{spdxType, plain(good), nil}, {spdxType, plain(append(slices.Clone(good), ' ')), nil}}, "", 1},
		"another format":        {[]attached{{cycloneType, plain(cyclone(patchAfter.packages...)), nil}}, "different formats", 1},
		"statement":             {[]attached{{inToto, statement(""), predicate}}, "", 1},
		"statement of another":  {[]attached{{inToto, statement(strings.Repeat("0", 64)), predicate}}, "is about another image", 0},
		"statement of nothing":  {[]attached{{inToto, plain([]byte(`{}`)), predicate}}, "neither an SPDX 2", 0},
		"hostile names":         {[]attached{{spdxType, plain(spdx(nasty)), nil}}, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			before.put(env.prod, cart, "1.4.1")
			image := after.put(env.prod, cart, release)
			for _, a := range c.attached {
				testimage.Put(env.prod, cart, "", testimage.Artifact(a.artifactType, image, a.content(image), a.annotations))
			}
			env.stage.Begin()
			o := env.task(sealing).want("done")
			changes := o.changes()
			if len(changes) != 1 {
				t.Fatalf("%d changes\n%s", len(changes), o.summary)
			}
			packages, _ := changes[0]["packages"].([]any)
			notes := fmt.Sprint(changes[0]["notes"])
			if len(packages) != c.packages || !strings.Contains(notes, c.note) || c.note == "" && notes != "[]" {
				t.Errorf("%d comparisons of packages, notes %s; want %d and %q", len(packages), notes, c.packages, c.note)
			}
			if c.note != "" && !strings.Contains(strings.Join(strings.Fields(o.stdout), " "), c.note[min(len(c.note), 1):]) {
				t.Errorf("the log does not say %q:\n%s", c.note, o.stdout)
			}
			if name == "contradiction" && strings.Count(notes, "sha256:") != 2 {
				t.Errorf("the two SBOMs are not named: %s", notes)
			}
			if len(o.summary) > 256<<10 {
				t.Errorf("the summary has %d bytes", len(o.summary))
			}
			for _, bad := range []string{"<script", "\x1b", "\u202e", "##vso"} {
				if strings.Contains(o.summary, bad) {
					t.Errorf("the summary contains %q", bad)
				}
			}
		})
	}
}

// TestCardOfBuildKit compares images as BuildKit pushes them: with the SBOM of a
// platform as a manifest of the index.
func TestCardOfBuildKit(t *testing.T) {
	env := newTestEnv(t)
	push := func(b built, tag string) {
		b.platforms = nil
		child := testimage.Put(env.prod, cart, "", b.image("amd64"))
		content := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"pkg:docker/cart","digest":{"sha256":%q}}],"predicateType":"https://spdx.dev/Document","predicate":%s}`,
			strings.TrimPrefix(child.Digest, "sha256:"), spdx(b.packages...))
		blob := testimage.Describe("application/vnd.in-toto+json", content)
		env.prod.PutBlob(cart, content)
		config := []byte(`{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":["` + blob.Digest + `"]}}`)
		env.prod.PutBlob(cart, config)
		manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"in-toto.io/predicate-type":"https://spdx.dev/Document"}}]}`,
			testimage.ManifestType, testimage.ConfigType, testimage.Digest(config), len(config), blob.MediaType, blob.Digest, blob.Size)
		attestation := env.prod.Push(cart, "", testimage.ManifestType, manifest)
		index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%[2]q,"digest":%[3]q,"size":%[4]d,"platform":{"architecture":"amd64","os":"linux"}},
			{"mediaType":%[2]q,"digest":%[5]q,"size":%[6]d,"annotations":{"vnd.docker.reference.digest":%[3]q,"vnd.docker.reference.type":"attestation-manifest"},"platform":{"architecture":"unknown","os":"unknown"}}]}`,
			testimage.IndexType, testimage.ManifestType, child.Digest, child.Size, attestation, len(manifest))
		env.prod.Push(cart, tag, testimage.IndexType, index)
	}
	push(patchBefore, "1.4.1")
	push(patchAfter, release)
	env.stage.Begin()
	o := env.task(sealing).want("done")
	if got := o.at("images", 0, "changes", 0, "packages", 0, "counts"); fmt.Sprint(got) != "map[added:1 changed:2 removed:0]" {
		t.Errorf("counts %v\n%s", got, o.summary)
	}
	if got := fmt.Sprint(o.at("images", 0, "description", "platforms")); got != "[linux/amd64]" {
		t.Errorf("platforms %s", got)
	}
}

var (
	baseBefore = built{version: "1.4.2", revision: "2222222", base: "mcr.microsoft.com/azurelinux/base/core:3.0", baseDigest: "sha256:" + strings.Repeat("b", 64),
		entrypoint: []string{"/cart"}, env: []string{"PATH=/bin", "SSL_CERT_DIR=/etc/pki"}, layers: []string{"base", "runtime", "cart 1.4.2"},
		packages: []string{"pkg:rpm/azurelinux/openssl@3.3.0-1", "pkg:rpm/azurelinux/glibc@2.38-3", "pkg:rpm/azurelinux/zlib@1.3.1-1", "pkg:rpm/azurelinux/curl@8.8.0-2", "pkg:golang/github.com/contoso/cart@v1.4.2"}}
	baseAfter = built{version: "1.4.2", revision: "2222222", base: "mcr.microsoft.com/azurelinux/base/core:3.0", baseDigest: "sha256:" + strings.Repeat("c", 64),
		user: "65532", entrypoint: []string{"/cart"}, env: []string{"PATH=/usr/bin", "SSL_CERT_DIR=/etc/pki"}, layers: []string{"base of March", "runtime", "cart 1.4.2"},
		packages: []string{"pkg:rpm/azurelinux/openssl@3.3.2-1", "pkg:rpm/azurelinux/glibc@2.38-8", "pkg:rpm/azurelinux/zlib@1.2.13-9", "pkg:rpm/azurelinux/ca-certificates@3.0.0-7", "pkg:golang/github.com/contoso/cart@v1.4.2"}}
)

const rebuilt = "1.4.2-20260301"

// TestCardOfPatchRelease plans a patch release for one registry that has the version
// before it, and for one that has nothing.
func TestCardOfPatchRelease(t *testing.T) {
	env := newTestEnv(t)
	env.clock.set(-30 * 24 * time.Hour)
	patchBefore.put(env.prod, cart, "1.4.1")
	env.clock.set(-29 * 24 * time.Hour)
	patchBefore.put(env.dev, cart, "1.4.1")
	env.clock.set(-24 * time.Hour)
	env.record(patchAfter.put(env.prod, cart, release))
	env.lock(release)
	env.clock.set(0)
	env.queuePlan()
	o := env.task(planned("targets", devHost+"\n"+dev2Host, "approvalCode", "plan", "lock", "tag")).want("done").wroteNothing()
	goldenCard(t, "patch", o)
	t.Logf("requests:\n%s", show(table(o)))
	if strings.Contains(o.summary+o.stdout+fmt.Sprint(o.result), "secret") {
		t.Error("the value of an environment variable is shown")
	}
}

// TestCardOfBaseImage plans an image that was built again on a newer base image.
func TestCardOfBaseImage(t *testing.T) {
	env := newTestEnv(t)
	env.clock.set(-10 * 24 * time.Hour)
	baseBefore.put(env.dev, cart, "1.4.2-20260201")
	env.clock.set(-24 * time.Hour)
	env.record(baseAfter.put(env.prod, cart, rebuilt))
	env.lock(rebuilt)
	env.clock.set(0)
	env.queuePlan()
	o := env.task(planned("source", prodHost+"/"+cart+":"+rebuilt, "approvalCode", "image")).want("done").wroteNothing()
	goldenCard(t, "base", o)
}

// TestCardOfRollback plans to move a tag back to the image before.
func TestCardOfRollback(t *testing.T) {
	env := newTestEnv(t)
	env.clock.set(-30 * 24 * time.Hour)
	image := patchBefore.put(env.prod, cart, "1.4.1")
	env.record(image)
	env.lock("1.4.1")
	env.clock.set(-24 * time.Hour)
	patchAfter.put(env.prod, cart, release)
	patchAfter.put(env.prod, cart, "stable")
	env.clock.set(0)
	env.queuePlan()
	o := env.task(planned("source", prodHost+"/"+cart+":1.4.1", "targets", stable, "moveTag", "true")).want("done").wroteNothing()
	goldenCard(t, "rollback", o)
	if o.at("images", 0, "targets", 0, "rollback") != true || o.at("images", 0, "changes", 0, "basis") != "moved" {
		t.Errorf("target %v", o.at("images", 0, "targets", 0))
	}
}

// TestCardOfSet plans a set: one image that a target has already, one that is new
// there, and one that follows another version.
func TestCardOfSet(t *testing.T) {
	env := newTestEnv(t)
	cart1, _, _ := env.three()
	pushIndex(env.dev, cart, "1.0", 1)
	testimage.Put(env.dev2, cart, "0.9", child(1, 0))
	env.queuePlan()
	o := env.task(inputs{"action": "plan", "flowFile": env.flowFile(sandbox), "flow": "released", "images": "shop/cart:*\nshop/pay:1.0"}).want("done").wroteNothing()
	goldenCard(t, "set", o)
	if got := fmt.Sprint(o.at("images", 0, "changes", 1, "layersShared", "count")); got != "2" || o.at("images", 0, "digest") != cart1.Digest {
		t.Errorf("%s layers are shared\n%v", got, o.at("images", 0))
	}
}

// TestCardWithoutRights plans with an identity that may not list the tags of a target.
// The card says so; the plan is what it is without.
func TestCardWithoutRights(t *testing.T) {
	env := newTestEnv(t)
	image := patchAfter.put(env.prod, cart, release)
	env.record(image)
	env.lock(release)
	patchBefore.put(env.dev, cart, "1.4.1")
	env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host != devHost || !strings.HasSuffix(r.URL.Path, "/_tags") {
			return false
		}
		rw.WriteHeader(http.StatusForbidden)
		_, _ = rw.Write([]byte(`{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`))
		return true
	})
	env.queuePlan()
	o := env.task(planned()).want("done").wroteNothing()
	if note := fmt.Sprint(o.at("images", 0, "changes", 0, "notes")); !strings.Contains(note, "the tags of contosodev.azurecr.io/shop/cart could not be listed") {
		t.Errorf("notes %s", note)
	}
	if !strings.Contains(o.summary, "could not be listed") || !strings.Contains(o.summary, "not compared") {
		t.Errorf("the card does not say so:\n%s", o.summary)
	}
}
