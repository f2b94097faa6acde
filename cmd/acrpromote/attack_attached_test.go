package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// Media types of attached artifacts.
const (
	emptyType        = "application/vnd.oci.empty.v1+json"
	envelopeType     = "application/vnd.dsse.envelope.v1+json"
	spdxType         = "application/spdx+json"
	dockerImage      = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfigType = "application/vnd.docker.container.image.v1+json"
	dockerLayer      = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	dockerListType   = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// made is a manifest to attach, with the types of its config and layers.
type made struct {
	media, artifact, config string
	layers                  []string
	tag                     string // instead of a subject
}

// put pushes the manifest to a registry, with unique blobs.
func (m made) put(s testimage.Store, repository string, subject descriptor) descriptor {
	if m.media == "" {
		m.media = testimage.ManifestType
	}
	blob := func(mediaType, content string) testimage.Descriptor {
		s.PutBlob(repository, []byte(content))
		return testimage.Describe(mediaType, []byte(content))
	}
	config := blob(m.config, fmt.Sprintf(`{"os":"linux","architecture":"amd64","of":%q}`, fmt.Sprint(m, subject.Digest)))
	if m.config == emptyType {
		config = blob(emptyType, "{}")
	}
	manifest := testimage.Manifest{SchemaVersion: 2, MediaType: m.media, ArtifactType: m.artifact, Config: &config}
	for i, l := range m.layers {
		manifest.Layers = append(manifest.Layers, blob(l, fmt.Sprintf("layer %d of %v %s", i, m, subject.Digest)))
	}
	if m.tag == "" {
		manifest.Subject = &testimage.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	}
	return store(s, repository, m.tag, manifest)
}

func store(s testimage.Store, repository, tag string, m testimage.Manifest) descriptor {
	content, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	s.Push(repository, tag, m.MediaType, content)
	d := testimage.Describe(m.MediaType, content)
	d.ArtifactType = m.ArtifactType
	return d
}

var (
	program   = made{artifact: spdxType, config: testimage.ConfigType, layers: []string{testimage.LayerType}}
	orasSBOM  = made{artifact: spdxType, config: emptyType, layers: []string{"application/vnd.oci.image.layer.v1.tar"}}
	signature = made{config: testimage.ConfigType, layers: []string{testimage.SigningType}}
)

// under attaches the manifest by a digest tag.
func (m made) under(subject descriptor, ending string) made {
	m.tag = testimage.FallbackTag(subject.Digest) + ending
	return m
}

// attachedEntry is one entry of images[0].attached or of a target's list.
type attachedEntry struct{ digest, artifactType, subject, state, reason string }

func (o outcome) attached(path ...any) map[string]attachedEntry {
	o.t.Helper()
	list, ok := o.at(append(append([]any{"images", 0}, path...), "attached")...).([]any)
	if !ok {
		o.t.Fatalf("there is no list of what is attached\n%s", o.stdout)
	}
	found := map[string]attachedEntry{}
	for _, e := range list {
		m := e.(map[string]any)
		text := func(name string) string { s, _ := m[name].(string); return s }
		a := attachedEntry{text("digest"), text("artifactType"), text("subject"), text("state"), text("reason")}
		found[a.digest] = a
	}
	return found
}

// wantAttached fails the test unless result.json has the given state and reason of an
// artifact.
func (o outcome) wantAttached(digest, state, reason string) outcome {
	o.t.Helper()
	a, ok := o.attached()[digest]
	if !ok || a.state != state || !strings.Contains(a.reason, reason) {
		o.t.Errorf("%s is %+v, want %s, %q\n%s", digest, a, state, reason, o.stdout)
	}
	return o
}

// wantStays fails the test if a registry has a manifest or one of its blobs.
func (env *testEnv) wantStays(r *sim.Registry, d descriptor) {
	env.t.Helper()
	if slices.Contains(r.Digests(cart), d.Digest) {
		env.t.Errorf("%s has %s", r.Host(), d.Digest)
	}
	_, content, _ := env.prod.Manifest(cart, d.Digest)
	if content == nil {
		_, content, _ = env.dev.Manifest(cart, d.Digest)
	}
	var m testimage.Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		env.t.Fatal(err)
	}
	for _, b := range m.Blobs() {
		if b.MediaType != emptyType && slices.Contains(r.Blobs(cart), b.Digest) {
			env.t.Errorf("%s has the blob %s of %s", r.Host(), b.Digest, d.Digest)
		}
	}
}

const wouldRun = "a container engine would run it"

// TestAttackRunnableAttached checks that no attached artifact that a container engine
// would run is copied with the approved image, however it is disguised.
func TestAttackRunnableAttached(t *testing.T) {
	with := func(change func(*made)) made {
		m := program
		m.layers = slices.Clone(m.layers)
		change(&m)
		return m
	}
	config := func(mediaType string) made { return with(func(m *made) { m.config = mediaType }) }
	for name, m := range map[string]made{
		"OCI config":                     program,
		"Docker config":                  {media: dockerImage, config: dockerConfigType, layers: []string{dockerLayer}},
		"Docker config in an OCI image":  config(dockerConfigType),
		"Docker plugin":                  {media: dockerImage, config: "application/vnd.docker.plugin.v1+json", layers: []string{dockerLayer}},
		"JSON config":                    config("application/json"),
		"bytes as config":                config("application/octet-stream"),
		"HTML as config":                 config("text/html"),
		"config without a type":          config(""),
		"config in another case":         config("Application/Vnd.OCI.Image.Config.V1+Json"),
		"config with parameters":         config(testimage.ConfigType + "; charset=utf-8"),
		"no layers":                      with(func(m *made) { m.layers = nil }),
		"a layer only containerd takes":  with(func(m *made) { m.layers = []string{"application/vnd.oci.image.layer.v2.tar+other"} }),
		"a signature and a layer":        with(func(m *made) { m.layers = []string{testimage.SigningType, testimage.LayerType} }),
		"a signature's type, other case": with(func(m *made) { m.layers = []string{strings.ToUpper(testimage.SigningType)} }),
		"a signature's artifact type":    with(func(m *made) { m.artifact = "application/vnd.cncf.notary.signature" }),
		"as the seal record":             with(func(m *made) { m.artifact = recordType }),
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late %v", name, late), func(t *testing.T) {
				env := newTestEnv(t)
				image := env.sealed()
				if late {
					env.approve(manager, "")
				}
				attack := m.put(env.prod, cart, image)
				if !late {
					env.approve(manager, "")
				}
				o := env.task(push()).want("done").wantStates("copied").wantAttached(attack.Digest, "left", wouldRun)
				env.wantStays(env.dev, attack)
				if !strings.Contains(strings.Join(o.warnings, "\n"), attack.Digest) {
					t.Errorf("nobody is warned of it: %q", o.warnings)
				}
				if again := env.task(push()).want("done").wantStates("present"); again.at("changed") != false {
					t.Error("a rerun wrote something")
				}
			})
		}
	}
}

// TestAttackWaysToAttach checks the same for every way to attach an artifact.
func TestAttackWaysToAttach(t *testing.T) {
	digestTag := func(ending string) func(*testEnv, descriptor) descriptor {
		return func(env *testEnv, image descriptor) descriptor {
			return program.under(image, ending).put(env.prod, cart, image)
		}
	}
	for name, attach := range map[string]func(env *testEnv, image descriptor) descriptor{
		"to the index": func(env *testEnv, image descriptor) descriptor { return program.put(env.prod, cart, image) },
		"to a child": func(env *testEnv, _ descriptor) descriptor {
			return program.put(env.prod, cart, testimage.Of(child(1, 1)))
		},
		"to something attached": func(env *testEnv, image descriptor) descriptor {
			return program.put(env.prod, cart, orasSBOM.put(env.prod, cart, image))
		},
		"to the seal record": func(env *testEnv, image descriptor) descriptor {
			return program.put(env.prod, cart, descriptor{MediaType: testimage.ManifestType, Digest: env.prod.Referrers(cart, image.Digest)[0], Size: 1})
		},
		"under .sig":  digestTag(".sig"),
		"under .att":  digestTag(".att"),
		"under .sbom": digestTag(".sbom"),
		"under .sig of a signature": func(env *testEnv, image descriptor) descriptor {
			sig := signature.under(image, ".sig").put(env.prod, cart, image)
			return program.under(sig, ".sig").put(env.prod, cart, sig)
		},
		"as an index": func(env *testEnv, image descriptor) descriptor {
			other := program.put(env.prod, cart, pushImage(env.prod, cart, "other", 77, 1, 500))
			return store(env.prod, cart, "", testimage.Manifest{SchemaVersion: 2, MediaType: testimage.IndexType, ArtifactType: spdxType,
				Manifests: []descriptor{other}, Subject: &testimage.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size}})
		},
		"as an index under .sig": func(env *testEnv, image descriptor) descriptor {
			other := pushImage(env.prod, cart, "other", 77, 1, 500)
			return store(env.prod, cart, testimage.FallbackTag(image.Digest)+".sig",
				testimage.Manifest{SchemaVersion: 2, MediaType: testimage.IndexType, Manifests: []descriptor{other}})
		},
		"as a Docker list": func(env *testEnv, image descriptor) descriptor {
			other := pushImage(env.prod, cart, "other", 77, 1, 500)
			return store(env.prod, cart, testimage.FallbackTag(image.Digest)+".att",
				testimage.Manifest{SchemaVersion: 2, MediaType: dockerListType, Manifests: []descriptor{other}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			image := pushIndex(env.prod, cart, release, 1)
			env.record(image)
			env.lock(release)
			attack := attach(env, image)
			onAttack := orasSBOM.put(env.prod, cart, attack)
			env.approve(manager, "")
			env.task(push()).want("done").wantStates("copied").wantAttached(attack.Digest, "left", wouldRun).
				wantAttached(onAttack.Digest, "left", "it is attached to "+attack.Digest+", which stays behind")
			env.wantStays(env.dev, attack)
			env.wantStays(env.dev, onAttack)
			for _, tag := range env.dev.Tags(cart) {
				if env.dev.TagDigest(cart, tag) == attack.Digest {
					t.Errorf("DEV has it under %s", tag)
				}
			}
			for _, other := range []string{"other"} {
				if digest := env.prod.TagDigest(cart, other); digest != "" && slices.Contains(env.dev.Digests(cart), digest) {
					t.Errorf("DEV has %s, which the index contains", digest)
				}
			}
			env.task(push()).want("done").wantStates("present")
		})
	}
}

// TestAttackDigestTagOfImage checks that a digest tag that points at the image itself,
// or at a part of it, is not a signature.
func TestAttackDigestTagOfImage(t *testing.T) {
	env := newTestEnv(t)
	image := pushIndex(env.prod, cart, release, 1)
	env.record(image)
	env.lock(release)
	for ending, d := range map[string]descriptor{".sig": image, ".att": testimage.Of(child(1, 0))} {
		_, content, _ := env.prod.Manifest(cart, d.Digest)
		env.prod.Push(cart, testimage.FallbackTag(image.Digest)+ending, d.MediaType, content)
	}
	env.approve(manager, "")
	env.task(push()).want("done").wantStates("copied").wantAttached(image.Digest, "left", wouldRun).wantAttached(testimage.Of(child(1, 0)).Digest, "left", wouldRun)
	if got := env.dev.Tags(cart); !slices.Equal(got, []string{release}) {
		t.Errorf("DEV has the tags %q", got)
	}
	if again := env.task(push()).want("done").wantStates("present"); again.at("changed") != false {
		t.Error("a rerun wrote something")
	}
}

// TestAttackUpward tests a flow up into PROD, where the attack would be worst.
func TestAttackUpward(t *testing.T) {
	env := newTestEnv(t)
	env.prod.AllowOnly()
	flows := env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production, immutable: true}
  dev: {host: ` + devHost + `, trust: sandbox}
flows:
  up:
    from: dev
    to: [prod]
    referrers: {include: ["` + testimage.ConfigType + `", "` + spdxType + `"], afterApproval: bring}
    require: {approval: {kind: manual, environment: Production}, sealed: false}
`)
	image := pushImage(env.dev, cart, release, 1, 2, 1000)
	env.approve(manager, "")
	attacks := []descriptor{program.put(env.dev, cart, image), program.under(image, ".sig").put(env.dev, cart, image)}
	o := env.task(inputs{"action": "promote", "source": devHost + "/" + cart + ":" + release, "targets": prodHost, "flowFile": flows}).want("done")
	for _, a := range attacks {
		o.wantAttached(a.Digest, "left", wouldRun)
		env.wantStays(env.prod, a)
	}
	env.tagged(env.prod, cart, release, image)
}

// TestEvidenceIsCopied checks that signatures, attestations and SBOMs are copied and
// listed.
func TestEvidenceIsCopied(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	want := map[string]string{} // subject by digest
	for _, m := range []made{
		orasSBOM,
		{artifact: spdxType, config: emptyType, layers: []string{spdxType}},
		{artifact: "application/vnd.dev.sigstore.bundle.v0.3+json", config: emptyType, layers: []string{"application/vnd.dev.sigstore.bundle.v0.3+json"}},
		{config: "application/vnd.cncf.notary.signature", layers: []string{"application/jose+json"}},
		{artifact: "application/vnd.dev.cosign.artifact.sig.v1+json", config: testimage.ConfigType, layers: []string{testimage.SigningType}},
		signature.under(image, ".sig"),
		{config: testimage.ConfigType, layers: []string{envelopeType, envelopeType}, tag: testimage.FallbackTag(image.Digest) + ".att"},
		{config: testimage.ConfigType, layers: []string{"text/spdx+json"}, tag: testimage.FallbackTag(image.Digest) + ".sbom"},
	} {
		want[m.put(env.prod, cart, image).Digest] = image.Digest
	}
	deep := orasSBOM.put(env.prod, cart, descriptor{MediaType: testimage.ManifestType, Digest: env.prod.TagDigest(cart, testimage.FallbackTag(image.Digest)+".sig"), Size: 1})
	want[deep.Digest] = env.prod.TagDigest(cart, testimage.FallbackTag(image.Digest)+".sig")
	env.approve(manager, "")
	planned := env.task(push("dryRun", "true")).want("done")
	o := env.task(push()).want("done").wantStates("copied")
	again := env.task(push()).want("done").wantStates("present")
	want[env.prod.Referrers(cart, image.Digest)[0]] = image.Digest // the seal record
	for _, c := range []struct {
		o     outcome
		state string
	}{{planned, "planned"}, {o, "copied"}, {again, "present"}} {
		for _, list := range []map[string]attachedEntry{c.o.attached(), c.o.attached("targets", 0)} {
			if len(list) != len(want) {
				t.Errorf("%s: %d are listed, want %d", c.state, len(list), len(want))
			}
			for digest, subject := range want {
				if a := list[digest]; a.state != c.state || a.subject != subject || a.reason != "" || a.artifactType == "" && c.state != "present" {
					t.Errorf("%s of %s is %+v", digest, subject, a)
				}
			}
		}
		if got := c.o.at("images", 0, "targets", 0, "referrers"); got != float64(len(want)) {
			t.Errorf("%s: %v referrers", c.state, got)
		}
	}
	for digest := range want {
		if !slices.Contains(env.dev.Digests(cart), digest) {
			t.Errorf("DEV lacks %s", digest)
		}
	}
	for _, ending := range []string{".sig", ".att", ".sbom"} {
		tag := testimage.FallbackTag(image.Digest) + ending
		if got := env.dev.TagDigest(cart, tag); got != env.prod.TagDigest(cart, tag) {
			t.Errorf("%s is %q", tag, got)
		}
	}
	for _, text := range []string{o.stdout, o.summary} {
		for _, word := range []string{fmt.Sprintf("%d attached", len(want)), recordType} {
			if !strings.Contains(strings.NewReplacer("&#46;", ".", "&#43;", "+").Replace(text), word) {
				t.Errorf("nobody reads %q in\n%s", word, text)
			}
		}
	}
}

// TestLateAttached checks that artifacts attached after the first counted approval,
// and artifacts attached to those, are not copied. For a digest tag the time of its
// last change counts.
func TestLateAttached(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	early := orasSBOM.put(env.prod, cart, image)
	sig := signature.under(image, ".sig").put(env.prod, cart, image)
	moved := made{config: testimage.ConfigType, layers: []string{envelopeType}, tag: testimage.FallbackTag(image.Digest) + ".att"}
	moved.put(env.prod, cart, image)
	env.approve(manager, "")
	late := made{artifact: "application/vnd.cncf.notary.signature", config: emptyType, layers: []string{"application/cose"}}.put(env.prod, cart, image)
	onLate := orasSBOM.put(env.prod, cart, late)
	onEarly := orasSBOM.put(env.prod, cart, early)
	moved.layers = []string{envelopeType, envelopeType}
	att := moved.put(env.prod, cart, image)

	check := func(o outcome) {
		t.Helper()
		o.wantAttached(late.Digest, "left", "after the first approval that counts was given at").
			wantAttached(onLate.Digest, "left", "after the first approval").
			wantAttached(onEarly.Digest, "left", "after the first approval").
			wantAttached(att.Digest, "left", "after the first approval")
		for _, d := range []descriptor{late, onLate, onEarly, att} {
			env.wantStays(env.dev, d)
		}
		if got := env.dev.TagDigest(cart, moved.tag); got != "" {
			t.Errorf("DEV has %s under %s", got, moved.tag)
		}
	}
	check(env.task(push("dryRun", "true")).want("done").wantAttached(early.Digest, "planned", ""))
	o := env.task(push()).want("done").wantStates("copied").wantAttached(early.Digest, "copied", "").wantAttached(sig.Digest, "copied", "")
	check(o)
	if !strings.Contains(strings.Join(o.warnings, "\n"), late.Digest) {
		t.Errorf("nobody is warned: %q", o.warnings)
	}
	again := env.task(push()).want("done").wantStates("present").wantAttached(early.Digest, "present", "")
	check(again)
	if again.at("changed") != false {
		t.Error("a rerun wrote something")
	}
	if !slices.Contains(env.dev.Digests(cart), early.Digest) || env.dev.TagDigest(cart, testimage.FallbackTag(image.Digest)+".sig") != sig.Digest {
		t.Error("DEV lacks what was attached in time")
	}

	// A new run with a new approval copies them.
	env.queue()
	env.approve(manager, "")
	env.task(push()).want("done").wantAttached(late.Digest, "copied", "").wantAttached(onLate.Digest, "copied", "").wantAttached(att.Digest, "copied", "")
	if env.dev.TagDigest(cart, moved.tag) != att.Digest {
		t.Error("the tag was not brought")
	}
}

// TestLateForFirstOfTwo checks that the first of two approvals decides.
func TestLateForFirstOfTwo(t *testing.T) {
	env := newTestEnv(t)
	env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager, officer}, MinRequired: 2})
	image := env.sealed()
	early := orasSBOM.put(env.prod, cart, image)
	if err := env.stage.Approve(manager, ""); err != nil {
		t.Fatal(err)
	}
	between := signature.under(image, ".sig").put(env.prod, cart, image)
	env.approve(officer, "")
	env.task(push("minApprovers", "2")).want("done").wantAttached(early.Digest, "copied", "").wantAttached(between.Digest, "left", "after the first approval")
	env.wantStays(env.dev, between)
}

// TestLateAndNotCounted checks that an approval that does not count is not the first.
func TestLateAndNotCounted(t *testing.T) {
	env := newTestEnv(t)
	env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: 2})
	image := env.sealed()
	if err := env.stage.Approve(developer, ""); err != nil { // who requested the run
		t.Fatal(err)
	}
	between := orasSBOM.put(env.prod, cart, image)
	env.approve(manager, "")
	env.task(push()).want("done").wantAttached(between.Digest, "copied", "")
}

// TestTimeUnreadable checks that artifacts without a time are not copied, and are
// reported.
func TestTimeUnreadable(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"denied":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
		"not there":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"no document": func(w http.ResponseWriter) { fmt.Fprint(w, `{"manifest":{}}`) },
		"no time": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"manifest":{"digest":"x","changeableAttributes":{"writeEnabled":true,"deleteEnabled":true}},"tag":{"changeableAttributes":{"writeEnabled":true,"deleteEnabled":true}}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			image := env.sealed()
			sbom := orasSBOM.put(env.prod, cart, image)
			sig := signature.under(image, ".sig").put(env.prod, cart, image)
			env.approve(manager, "")
			env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Host != prodHost || !strings.HasPrefix(r.URL.Path, "/acr/v1/") || !strings.Contains(r.URL.Path, sbom.Digest) && !strings.Contains(r.URL.Path, ".sig") {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				answer(w)
				return true
			})
			env.task(push()).want("done").wantStates("copied").
				wantAttached(sbom.Digest, "left", "does not say when it was attached").wantAttached(sig.Digest, "left", "does not say when it was attached")
			env.wantStays(env.dev, sbom)
			env.wantStays(env.dev, sig)
		})
	}
}

// TestDigestTagMovedWhileRead checks that the time of a tag counts only for the
// manifest that it points at.
func TestDigestTagMovedWhileRead(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	sig := signature.under(image, ".sig").put(env.prod, cart, image)
	env.approve(manager, "")
	env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host == prodHost && strings.HasPrefix(r.URL.Path, "/acr/v1/") && strings.HasSuffix(r.URL.Path, ".sig") {
			other := signature.under(image, ".sig")
			other.layers = []string{testimage.SigningType, testimage.SigningType}
			other.put(env.prod, cart, image)
		}
		return false
	})
	env.task(push()).want("done").wantAttached(sig.Digest, "left", "was moved to")
	env.wantStays(env.dev, sig)
}

// flowOf returns a flow file with one flow down, with additional keys.
func (env *testEnv) flowOf(more string) string {
	env.t.Helper()
	return env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production, immutable: true}
  dev: {host: ` + devHost + `, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev]
` + more)
}

func down(flows string) inputs {
	return inputs{"action": "invertedPush", "source": source, "flowFile": flows}
}

// TestReferrersOfFlow tests include and exclude, and artifacts attached after the
// approval.
func TestReferrersOfFlow(t *testing.T) {
	const manual = "    require: {approval: {kind: manual, environment: Production}}\n"
	for _, c := range []struct {
		name, more              string
		sbom, sig, late, attack string // the states
	}{
		{"no statement", manual, "copied", "copied", "left", "left"},
		{"leave", "    referrers: {afterApproval: leave}\n" + manual, "copied", "copied", "left", "left"},
		{"bring", "    referrers: {afterApproval: bring}\n" + manual, "copied", "copied", "copied", "left"},
		{"exclude", "    referrers: {exclude: [" + spdxType + "]}\n" + manual, "left", "copied", "left", "left"},
		{"exclude in another case", "    referrers: {exclude: [Application/SPDX+JSON]}\n" + manual, "left", "copied", "left", "left"},
		{"exclude by a layer", "    referrers: {exclude: [" + testimage.SigningType + "]}\n" + manual, "copied", "left", "left", "left"},
		{"include", "    referrers: {include: [" + spdxType + "]}\n" + manual, "copied", "left", "left", "left"},
		{"include by a layer", "    referrers: {include: [" + testimage.SigningType + "]}\n" + manual, "left", "copied", "left", "left"},
		{"include what would run", "    referrers: {include: [" + testimage.ConfigType + ", " + testimage.LayerType + ", " + spdxType + "], afterApproval: bring}\n" + manual, "copied", "copied", "copied", "left"},
		{"exclude wins", "    referrers: {include: [" + spdxType + ", " + testimage.SigningType + "], exclude: [" + spdxType + "]}\n" + manual, "left", "copied", "left", "left"},
		{"no approval", "    require: {approval: {kind: none}}\n", "copied", "copied", "copied", "left"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			image := env.sealed()
			sbom := orasSBOM.put(env.prod, cart, image)
			sig := signature.under(image, ".sig").put(env.prod, cart, image)
			attack := made{artifact: "a/b", config: testimage.ConfigType, layers: []string{testimage.LayerType}}.put(env.prod, cart, image)
			env.approve(manager, "")
			late := made{artifact: spdxType, config: emptyType, layers: []string{spdxType}}.put(env.prod, cart, image)
			in := down(env.flowOf(c.more))
			o := env.task(in).want("done")
			for d, state := range map[descriptor]string{sbom: c.sbom, sig: c.sig, late: c.late, attack: c.attack} {
				o.wantAttached(d.Digest, state, "")
				if state == "left" {
					env.wantStays(env.dev, d)
				}
			}
			if again := env.task(in).want("done").wantStates("present"); again.at("changed") != false {
				t.Error("a rerun wrote something")
			}
		})
	}
}

// TestLateForAutomatedApproval checks that the earliest of the named checks decides.
func TestLateForAutomatedApproval(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	early := orasSBOM.put(env.prod, cart, image)
	gate := env.project.Environment("Gate")
	scan := gate.AddCheck(sim.TaskCheck)
	env.stage = env.run.Stage("Checked", gate, env.connection)
	env.stage.Begin()
	flows := env.flowOf(fmt.Sprintf("    require: {approval: {kind: automated, checks: [{definition: %d, resource: Gate}]}}\n", scan.ID()))
	late := signature.under(image, ".sig").put(env.prod, cart, image)
	env.task(down(flows)).want("done").wantAttached(early.Digest, "copied", "").wantAttached(late.Digest, "left", "after the first approval")
	env.wantStays(env.dev, late)
}

// TestImmutableDigestTags checks that a different digest tag at an immutable registry
// stays and is reported, and that the rest is copied.
func TestImmutableDigestTags(t *testing.T) {
	for name, theirs := range map[string][]string{"less": {testimage.SigningType}, "other": {testimage.SigningType, envelopeType}, "more": {testimage.SigningType, testimage.SigningType, testimage.SigningType}} {
		for _, there := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, image there %v", name, there), func(t *testing.T) {
				env := newTestEnv(t)
				image := env.sealed()
				sbom := orasSBOM.put(env.prod, cart, image)
				mine := signature.under(image, ".sig")
				mine.layers = []string{testimage.SigningType, testimage.SigningType}
				sig := mine.put(env.prod, cart, image)
				att := made{config: testimage.ConfigType, layers: []string{envelopeType}, tag: testimage.FallbackTag(image.Digest) + ".att"}.put(env.prod, cart, image)
				if there {
					pushImage(env.dev, cart, release, 1, 2, 2048)
				}
				kept := made{config: testimage.ConfigType, layers: theirs, tag: mine.tag}.put(env.dev, cart, image)
				env.approve(manager, "")
				flows := env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production, immutable: true}
  dev: {host: ` + devHost + `, trust: sandbox, immutable: true}
flows:
  released:
    from: prod
    to: [dev]
    require: {approval: {kind: manual, environment: Production}}
`)
				check := func(o outcome, state string) {
					t.Helper()
					o.wantAttached(sig.Digest, "left", "is immutable, and its tag "+mine.tag+" points to "+kept.Digest).
						wantAttached(sbom.Digest, state, "").wantAttached(att.Digest, state, "")
					if !strings.Contains(strings.Join(o.warnings, "\n"), mine.tag) {
						t.Errorf("nobody is warned: %q", o.warnings)
					}
				}
				check(env.task(down(flows).with("dryRun", "true")).want("done"), "planned")
				check(env.task(down(flows)).want("done").wantStates("copied"), "copied")
				if got := env.dev.TagDigest(cart, mine.tag); got != kept.Digest {
					t.Errorf("the tag was moved to %s", got)
				}
				env.wantStays(env.dev, sig)
				env.tagged(env.dev, cart, release, image)
				again := env.task(down(flows)).want("done").wantStates("present")
				check(again, "present")
				if again.at("changed") != false {
					t.Error("a rerun wrote something")
				}
			})
		}
	}
}

// TestAuditOfAttached checks that an audit expects only artifacts that would be copied
// and were attached before the image arrived.
func TestAuditOfAttached(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	early := orasSBOM.put(env.prod, cart, image)
	attack := program.put(env.prod, cart, image)
	env.approve(manager, "")
	env.task(push()).want("done")
	late := signature.under(image, ".sig").put(env.prod, cart, image)
	lateToo := made{artifact: spdxType, config: emptyType, layers: []string{spdxType}}.put(env.prod, cart, image)

	audit := inputs{"action": "audit", "source": source, "targets": devHost}
	env.task(audit).want("done").wantStates("present").
		wantAttached(early.Digest, "present", "").wantAttached(attack.Digest, "left", wouldRun).
		wantAttached(late.Digest, "left", "after the image arrived there at").wantAttached(lateToo.Digest, "left", "after the image arrived there at")

	// An artifact that had arrived is lost.
	env.dev.RemoveManifest(cart, early.Digest)
	env.broken = true
	env.task(audit).want("failed").wantStates("failed").says(early.Digest).wantAttached(early.Digest, "failed", "").wantAttached(late.Digest, "left", "")

	// An artifact with an unknown time is expected.
	env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != devHost || !strings.HasPrefix(r.URL.Path, "/acr/v1/") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	env.task(audit).want("failed").says(early.Digest, late.Digest, lateToo.Digest)
	// An artifact that the flow excludes is not expected.
	flows := env.flowOf("    referrers: {exclude: [" + spdxType + ", " + testimage.SigningType + "]}\n    require: {approval: {kind: none}}\n")
	env.task(audit.with("flowFile", flows)).want("done").wantAttached(early.Digest, "left", "the flow excludes its type")
}

// TestAttachedBrought checks that artifacts at DEV from an earlier version are not
// read again, not reported as left, and not removed.
func TestAttachedBrought(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	pushImage(env.dev, cart, release, 1, 2, 2048)
	attack := program.put(env.prod, cart, image)
	program.put(env.dev, cart, image)
	env.approve(manager, "")
	env.task(push()).want("done").wantStates("copied").wantAttached(attack.Digest, "present", "")
}

// TestRequestsOfAttached counts the requests for three attached artifacts, one of them
// the seal record: the times of the other two, in parallel.
func TestRequestsOfAttached(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	orasSBOM.put(env.prod, cart, image)
	signature.under(image, ".sig").put(env.prod, cart, image)
	env.approve(manager, "")
	cold := env.task(push()).want("done").wantStates("copied")
	again := env.task(push()).want("done").wantStates("present")
	t.Logf("cold:\n%s\nagain:\n%s", show(table(cold)), show(table(again)))
	if got := table(cold)[prodHost+" attributes"]; got != 4 {
		t.Errorf("%d attributes are read at PROD, want 4: the tag, the record, and what is attached", got)
	}
	if got := table(again)[prodHost+" attributes"]; got != 2 {
		t.Errorf("%d attributes are read at PROD in a rerun, want 2", got)
	}
}
