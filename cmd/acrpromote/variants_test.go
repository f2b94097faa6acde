package main_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// variant is a pair of registries of which one differs from Azure's, or an image that
// differs from others. The cells are "done", "done, with a warning" or "failed at the
// source" (or the target), and what is said.
type variant struct {
	name           string
	source, target sim.RegistryOptions
	// prepare changes the source or the target before the first run.
	prepare func(v *variantTest)
	// first, rerun and audit are what is expected. Empty is done, for rerun and audit
	// the same as first.
	first, rerun, audit string
	says                string // by each run that is not simply done
	left                int    // attached artifacts that stay behind
	deep                bool   // audit with deep too, to the same end
}

const (
	fromHost     = "images.example"
	toHost       = "mirror.example"
	variantRepo  = "base/app"
	variantsFile = "../../docs/conformance.md"

	warned   = "done, with a warning"
	atSource = "failed at the source"
	atTarget = "failed at the target"

	ociArtifact  = "application/vnd.oci.artifact.manifest.v1+json"
	orasArtifact = "application/vnd.cncf.oras.artifact.manifest.v1+json"
	dockerList   = "application/vnd.docker.distribution.manifest.list.v2+json"
)

func quirks(q sim.Quirks) sim.RegistryOptions { return sim.RegistryOptions{Quirks: q} }

func answering(status int, contentType, body string) sim.RegistryOptions {
	return quirks(sim.Quirks{Referrers: &sim.Answer{Status: status, ContentType: contentType, Body: body}})
}

func refusing(mediaType string, status int, code string) sim.RegistryOptions {
	return quirks(sim.Quirks{Refuses: []string{mediaType}, RefusedBy: &sim.Answer{Status: status, ContentType: "application/json", Body: `{"errors":[{"code":"` + code + `","message":"no"}]}`}})
}

func withoutAPI(o sim.RegistryOptions) sim.RegistryOptions {
	o.NoReferrers = true
	return o
}

// variants are all of them. At a source without the referrers API, a fallback tag lists
// what is attached to the index, and another what is attached to one of its platforms.
func variants() []variant {
	var list []variant
	for _, side := range []string{"source", "target"} {
		at := func(o sim.RegistryOptions) (source, target sim.RegistryOptions) {
			if side == "source" {
				return o, sim.RegistryOptions{}
			}
			return sim.RegistryOptions{}, o
		}
		add := func(v variant, o sim.RegistryOptions) {
			v.source, v.target = at(o)
			v.name = side + ": " + v.name
			list = append(list, v)
		}
		add(variant{name: "no referrers API"}, sim.RegistryOptions{NoReferrers: true})
		for _, status := range []int{400, 404, 405, 406, 501} {
			add(variant{name: fmt.Sprintf("referrers answered with %d", status)}, answering(status, "application/json", `{"errors":[{"code":"UNKNOWN","message":"no"}]}`))
		}
		add(variant{name: "referrers answered with a web page"}, answering(200, "text/html", "<html>"))
		add(variant{name: "referrers answered with text"}, answering(200, "text/plain", "welcome"))
		add(variant{name: "referrers answered with an empty object"}, answering(200, "application/json", "{}"))
		add(variant{name: "referrers answered with a list of another kind"}, answering(200, "application/json", `["a"]`))
		for _, status := range []int{401, 403, 500} {
			failed := map[string]string{"source": atSource, "target": atTarget}[side]
			add(variant{name: fmt.Sprintf("referrers answered with %d", status), first: failed, says: fmt.Sprint(status)}, answering(status, "application/json", `{"errors":[{"code":"X","message":"no"}]}`))
		}
		add(variant{name: "referrers answered with a broken index", first: map[string]string{"source": atSource, "target": atTarget}[side], says: "not valid"},
			answering(200, testimage.IndexType, `{"schemaVersion":2,`))
		add(variant{name: "tags named after digests answered with the manifest"}, quirks(sim.Quirks{DigestNames: true}))
	}
	return slices.Concat(list, layerVariants(), []variant{
		{name: "source: the image has a tag with the name of its own digest", first: warned, says: "not a list of referrers", prepare: func(v *variantTest) { v.tag(v.from, v.image) }},
		{name: "source: the same, without the referrers API", source: sim.RegistryOptions{NoReferrers: true}, first: warned, says: "not a list of referrers", left: 2,
			prepare: func(v *variantTest) { v.tag(v.from, v.image) }},
		{name: "source: a Docker list has the name of a digest", first: warned, says: "not a list of referrers", prepare: func(v *variantTest) {
			v.from.Push(variantRepo, testimage.FallbackTag(v.image.Digest), dockerList, []byte(`{"schemaVersion":2,"mediaType":"`+dockerList+`","manifests":[]}`))
		}},
		{name: "target: no referrers API, and digests as names", target: sim.RegistryOptions{NoReferrers: true, Quirks: sim.Quirks{DigestNames: true}}, first: warned, says: "in no list"},
		{name: "target: no referrers API, and the name is taken", target: sim.RegistryOptions{NoReferrers: true}, first: warned, says: "in no list",
			prepare: func(v *variantTest) { v.tag(v.to, v.image) }},
		{name: "target: the name is taken", prepare: func(v *variantTest) { v.tag(v.to, v.image) }},
		{name: "target: OCI-Subject, but nothing is listed", target: quirks(sim.Quirks{Unlisted: true})},
		{name: "target: everything is listed, without OCI-Subject", target: quirks(sim.Quirks{NoSubjectHeader: true})},
		{name: "target: subjects must exist", target: quirks(sim.Quirks{StrictSubject: true})},
		{name: "target: subjects must exist, no referrers API", target: sim.RegistryOptions{NoReferrers: true, Quirks: sim.Quirks{StrictSubject: true}}},

		{name: "source: a former OCI artifact is attached", prepare: func(v *variantTest) { v.artifact(ociArtifact) }},
		{name: "source: a former ORAS artifact is attached", prepare: func(v *variantTest) { v.artifact(orasArtifact) }},
		{name: "source: the same, without the referrers API", source: sim.RegistryOptions{NoReferrers: true}, prepare: func(v *variantTest) { v.artifact(orasArtifact) }},
		{name: "source: a former OCI artifact is a program too", first: atSource, says: "both an artifact and something else", prepare: func(v *variantTest) { v.schema1(ociArtifact) }},
		{name: "source: a former ORAS artifact is a program too", first: atSource, says: "both an artifact and something else", prepare: func(v *variantTest) { v.schema1(orasArtifact) }},
		{name: "target: refuses former artifacts, with 400", target: quirks(sim.Quirks{Refuses: []string{ociArtifact}}),
			first: warned, audit: atTarget, says: "referrers.exclude", left: 2, prepare: func(v *variantTest) { v.artifact(ociArtifact) }},
		{name: "target: refuses former artifacts, with 405", target: refusing(orasArtifact, 405, "UNSUPPORTED"),
			first: warned, audit: atTarget, says: "referrers.exclude", left: 2, prepare: func(v *variantTest) { v.artifact(orasArtifact) }},
		{name: "target: refuses former artifacts, with 415, and has no referrers API", target: withoutAPI(refusing(ociArtifact, 415, "UNSUPPORTED")),
			first: warned, audit: atTarget, says: "referrers.exclude", left: 2, prepare: func(v *variantTest) { v.artifact(ociArtifact) }},

		{name: "source: digest tags of other tools", prepare: func(v *variantTest) {
			for _, ending := range []string{".meta", ".signature-2", "-provenance"} {
				v.digestTag(ending, testimage.Signature(testimage.Layer(ending, 100)), true)
			}
		}},
		{name: "source: a digest tag on a program", first: warned, says: "would run it", prepare: func(v *variantTest) {
			v.digestTag(".copy", image("amd64", 78, 1, 64), false)
		}},
		{name: "source: a digest tag on a manifest of an unknown type", first: warned, says: "is not supported", prepare: func(v *variantTest) {
			v.from.Push(variantRepo, testimage.FallbackTag(v.image.Digest)+".x", "application/x", []byte(`{"schemaVersion":2,"mediaType":"application/x"}`))
		}},

		{name: "source: an index without two of its platforms", first: atSource, audit: atSource, says: testimage.Of(child(1, 0)).Digest + ", " + testimage.Of(child(1, 1)).Digest, prepare: func(v *variantTest) {
			v.from.RemoveManifest(variantRepo, testimage.Of(child(1, 0)).Digest)
			v.from.RemoveManifest(variantRepo, testimage.Of(child(1, 1)).Digest)
		}},
		{name: "source: a layer of another size", first: atSource, audit: atTarget, says: "bytes, but the manifest says", prepare: func(v *variantTest) {
			v.from.Corrupt(childLayer(), func(b []byte) []byte { return append(b, 'x') })
		}},
		{name: "source: a layer of other bytes", first: atSource, audit: atTarget, says: "the content has the digest", prepare: func(v *variantTest) {
			v.from.Corrupt(childLayer(), func(b []byte) []byte { b[9] ^= 1; return b })
		}},
		{name: "source: a platform with two sizes", first: atSource, says: "two sizes", prepare: func(v *variantTest) {
			a := testimage.Of(child(1, 0))
			b := a
			b.Size++
			v.image = v.push("1.0", testimage.IndexType, testimage.Manifest{SchemaVersion: 2, MediaType: testimage.IndexType, Manifests: []descriptor{a, b}})
		}},
		{name: "source: a digest of another algorithm", first: atSource, says: "not a sha256 digest", prepare: func(v *variantTest) {
			a := testimage.Of(child(1, 0))
			a.Digest = "sha512:" + strings.Repeat("a", 128)
			v.image = v.push("1.0", testimage.IndexType, testimage.Manifest{SchemaVersion: 2, MediaType: testimage.IndexType, Manifests: []descriptor{a}})
		}},
	})
}

// variantTest is one variant.
type variantTest struct {
	*testEnv
	variant
	from, to *sim.Registry
	image    descriptor
	attached []descriptor // in the order in which they were pushed
	tags     []string     // digest tags
	in       inputs
	change   []func(*fakeagent.Environment)
}

func newVariantTest(t *testing.T, c variant) *variantTest {
	t.Helper()
	env := newTestEnv(t)
	env.stage.Begin()
	v := &variantTest{testEnv: env, variant: c}
	var connections []*sim.ServiceConnection
	open := func(host string, o sim.RegistryOptions) *sim.Registry {
		o.Now, o.Quirks.TagsByPull = env.clock.now, true
		r := env.cloud.Registry(host, o)
		r.AddUser("robot", "a-password~of-"+host)
		r.Grant("robot", "**", sim.RepositoryWriter...)
		connections = append(connections, env.project.DockerConnection(host, host, "robot", "a-password~of-"+host))
		return r
	}
	v.from, v.to = open(fromHost, c.source), open(toHost, c.target)
	v.change = append(v.change, connected("registryConnections", connections...))
	v.fill()
	v.in = inputs{"action": "invertedPush", "flow": "base", "images": variantRepo + ":1.0", "flowFile": env.flowFile(`version: 1
trust: [low, high]
registries:
  from: {host: ` + fromHost + `, trust: high}
  to: {host: ` + toHost + `, trust: low}
flows:
  base:
    from: from
    to: [to]
    require: {approval: {kind: none}, sealed: false}
`)}
	return v
}

// fill pushes an index of two platforms and of an attestation whose subject is one of
// them, as build tools make it, two artifacts that are attached to the index and to a
// platform, and a signature by digest tag.
func (v *variantTest) fill() {
	platforms := []descriptor{testimage.Put(v.from, variantRepo, "", child(1, 0)), testimage.Put(v.from, variantRepo, "", child(1, 1))}
	attestation := testimage.Attach(v.from, variantRepo, platforms[1], "application/vnd.in-toto+json", []byte("built"))
	v.attached = append(v.attached, attestation)
	v.image = v.push("1.0", testimage.IndexType, testimage.Manifest{SchemaVersion: 2, MediaType: testimage.IndexType, Manifests: []descriptor{attestation, platforms[0], platforms[1]}})
	sbom := testimage.Attach(v.from, variantRepo, v.image, "application/spdx+json", []byte("bill"))
	scan := testimage.Attach(v.from, variantRepo, platforms[0], "application/sarif+json", []byte("scan"))
	note := testimage.Attach(v.from, variantRepo, sbom, "application/note", []byte("note"))
	v.attached = append(v.attached, sbom, scan, note)
	v.digestTag(".sig", testimage.Signature(testimage.Layer("signature", 100)), true)
	if v.source.NoReferrers || v.source.Quirks.Referrers != nil {
		testimage.List(v.from, variantRepo, v.image, sbom)
		testimage.List(v.from, variantRepo, platforms[0], scan)
		testimage.List(v.from, variantRepo, platforms[1], attestation)
		testimage.List(v.from, variantRepo, sbom, note)
	}
	if v.prepare != nil {
		v.prepare(v)
	}
}

// push pushes a manifest to the source.
func (v *variantTest) push(tag, mediaType string, manifest any) descriptor {
	raw, err := json.Marshal(manifest)
	if err != nil {
		v.t.Fatal(err)
	}
	v.from.Push(variantRepo, tag, mediaType, raw)
	return testimage.Describe(mediaType, raw)
}

// tag gives an image the name of another's digest: at the source its own, at the target
// that of the image that will come.
func (v *variantTest) tag(r *sim.Registry, named descriptor) {
	if r == v.to {
		testimage.Put(r, variantRepo, testimage.FallbackTag(named.Digest), image("amd64", 77, 1, 64))
		return
	}
	mediaType, content, _ := r.Manifest(variantRepo, named.Digest)
	r.Push(variantRepo, testimage.FallbackTag(named.Digest), mediaType, content)
}

// digestTag attaches something to the image by a tag.
func (v *variantTest) digestTag(ending string, what v1.Image, comes bool) {
	tag := testimage.FallbackTag(v.image.Digest) + ending
	testimage.Put(v.from, variantRepo, tag, what)
	if comes {
		v.tags = append(v.tags, tag)
	}
}

// artifact attaches an artifact with a manifest of before images could be artifacts, and
// another one to it.
func (v *variantTest) artifact(mediaType string) {
	blob := []byte("what it says")
	v.from.PutBlob(variantRepo, blob)
	artifact := v.push("", mediaType, map[string]any{"mediaType": mediaType, "artifactType": "application/former",
		"blobs": []descriptor{testimage.Describe("text/plain", blob)}, "subject": v.image})
	note := testimage.Attach(v.from, variantRepo, artifact, "application/note", []byte("on the artifact"))
	v.attached = append(v.attached, artifact, note)
	if v.source.NoReferrers {
		artifact.ArtifactType = "application/former"
		testimage.List(v.from, variantRepo, v.image, v.attached[1], artifact)
		testimage.List(v.from, variantRepo, artifact, note)
	}
}

// schema1 attaches an artifact that engines run which do not know its type: it is a
// Docker image of schema 1 too.
func (v *variantTest) schema1(mediaType string) {
	layer := []byte("a program")
	v.from.PutBlob(variantRepo, layer)
	v.push("", mediaType, map[string]any{"mediaType": mediaType, "artifactType": "application/former",
		"blobs": []descriptor{testimage.Describe("text/plain", layer)}, "subject": v.image,
		"schemaVersion": 1, "name": variantRepo, "tag": "1.0", "architecture": "amd64",
		"fsLayers": []any{map[string]any{"blobSum": testimage.Digest(layer)}}, "history": []any{map[string]any{"v1Compatibility": "{}"}}})
}

// cell returns how a run ended.
func (v *variantTest) cell(o outcome) string {
	v.t.Helper()
	said := ""
	end := ""
	switch o.result["outcome"] {
	case "done":
		end = "done"
		warnings := slices.DeleteFunc(slices.Clone(o.warnings), func(w string) bool { return strings.HasPrefix(w, "the rules are not verified") })
		if len(warnings) > 0 {
			end, said = warned, strings.Join(warnings, "\n")
		}
	case "failed":
		end, said = "failed at the "+fmt.Sprint(o.at("errors", 0, "side")), o.against()
	default:
		end = fmt.Sprint(o.result["outcome"])
	}
	if audit := o.result["action"] == "audit"; said != "" && !audit && !strings.Contains(said, v.says) {
		v.t.Errorf("nothing says %q:\n%s", v.says, said)
	}
	return end
}

// whole fails the test unless the target has all that the source has of the image, and
// lists what is attached where the source's lists do.
func (v *variantTest) whole(end string) {
	v.t.Helper()
	if got := v.to.TagDigest(variantRepo, "1.0"); got != v.image.Digest {
		v.t.Errorf("the tag points to %q, want %s", got, v.image.Digest)
	}
	missing := lacking(v.to, variantRepo, "1.0")
	left := 0
	for _, a := range v.attached {
		if _, _, ok := v.to.Manifest(variantRepo, a.Digest); !ok {
			left++
			continue
		}
		missing = append(missing, lacking(v.to, variantRepo, a.Digest)...)
		if end != warned && !v.lists(a.Digest) {
			v.t.Errorf("%s is in no list", a.Digest)
		}
	}
	if len(missing) > 0 || left != v.left {
		v.t.Errorf("the target lacks %v, and %d artifacts stayed behind, want %d", missing, left, v.left)
	}
	for _, tag := range v.tags {
		if got, want := v.to.TagDigest(variantRepo, tag), v.from.TagDigest(variantRepo, tag); got != want {
			v.t.Errorf("%s is %q, want %s", tag, got, want)
		}
	}
	for _, tag := range v.to.Tags(variantRepo) {
		if name, ending := tag[:min(len(tag), 71)], tag[min(len(tag), 71):]; strings.HasPrefix(name, "sha256-") && ending != "" && !slices.Contains(v.tags, tag) {
			v.t.Errorf("the tag %s came along", tag)
		}
	}
}

// lists reports whether the target lists a referrer, by what a client may ask.
func (v *variantTest) lists(digest string) bool {
	_, content, _ := v.to.Manifest(variantRepo, digest)
	var m testimage.Manifest
	if json.Unmarshal(content, &m) != nil || m.Subject == nil {
		return true
	}
	o := v.target
	if !o.NoReferrers && o.Quirks.Referrers == nil && !o.Quirks.Unlisted {
		return slices.Contains(v.to.Referrers(variantRepo, m.Subject.Digest), digest)
	}
	_, content, _ = v.to.Manifest(variantRepo, testimage.FallbackTag(m.Subject.Digest))
	var list testimage.Manifest
	_ = json.Unmarshal(content, &list)
	return slices.ContainsFunc(list.Manifests, func(d descriptor) bool { return d.Digest == digest })
}

// accepted returns the requests to the target that it took as writes.
func accepted(requests []sim.Request) []string {
	var list []string
	for _, r := range requests {
		if r.Host == toHost && r.Status/100 == 2 && strings.HasPrefix(r.Path, "/v2/") && r.Method != http.MethodGet && r.Method != http.MethodHead {
			list = append(list, r.Method+" "+r.Path)
		}
	}
	return list
}

// TestRegistryVariants promotes one image between registries of every variant: first,
// again, and with an audit. Every cell of the table in docs/conformance.md is the
// result of this test: the right bytes or one clear error, never a visible part.
func TestRegistryVariants(t *testing.T) {
	list := variants()
	rows := make([]string, len(list))
	t.Run("all", func(t *testing.T) {
		for i, c := range list {
			t.Run(c.name, func(t *testing.T) {
				v := newVariantTest(t, c)
				v.broken = true // the target's tags are judged here
				began := time.Now()
				first := v.cell(v.task(v.in, v.change...))
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("the first run took %s", took)
				}
				if strings.HasPrefix(first, "done") {
					v.whole(first)
				} else if got := v.to.TagDigest(variantRepo, "1.0"); got != "" {
					t.Errorf("it failed, and the tag points to %s", got)
				}
				o := v.task(v.in, v.change...)
				rerun := v.cell(o)
				if strings.HasPrefix(rerun, "done") {
					v.whole(rerun)
					if wrote := accepted(o.requests); len(wrote) > 0 || o.output["changed"] != "false" || o.states() != "present" {
						t.Errorf("the rerun is %s, and wrote %v", o.states(), wrote)
					}
				} else if got := v.to.TagDigest(variantRepo, "1.0"); got != "" {
					t.Errorf("the rerun failed, and the tag points to %s", got)
				}
				audit := v.cell(v.task(v.in.with("action", "audit"), v.change...))
				if c.deep {
					if deep := v.cell(v.task(v.in.with("action", "audit", "deep", "true"), v.change...)); deep != audit {
						t.Errorf("audit %s, and with deep %s", audit, deep)
					}
				}
				want := cmp.Or(c.first, "done")
				if first != want || rerun != cmp.Or(c.rerun, want) || audit != cmp.Or(c.audit, want) {
					t.Errorf("%s, then %s, audit %s; want %s, %s, %s", first, rerun, audit, want, cmp.Or(c.rerun, want), cmp.Or(c.audit, want))
				}
				rows[i] = fmt.Sprintf("| %s | %s | %s | %s |", c.name, first, rerun, audit)
			})
		}
	})
	table := "| variant | first run | rerun | audit |\n|---|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
	t.Logf("%d variants:\n%s", len(rows), table)
	if slices.Contains(rows, "") {
		return // only some were run
	}
	holdVariants(t, table)
}

// holdVariants compares the table in docs/conformance.md, or writes it if
// ACRPROMOTE_UPDATE is 1.
func holdVariants(t *testing.T, table string) {
	t.Helper()
	content, err := os.ReadFile(variantsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), "| variant | first run |")
	if !found {
		t.Fatalf("%s has no table of variants", variantsFile)
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	whole := before + table + "\n" + after
	if whole == string(content) {
		return
	}
	if os.Getenv("ACRPROMOTE_UPDATE") != "1" {
		t.Errorf("the table in %s differs; write it with ACRPROMOTE_UPDATE=1", variantsFile)
		return
	}
	if err := os.WriteFile(variantsFile, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
}
