package main_test

import (
	"encoding/json"
	"strings"
	"testing"

	"acrpromote/internal/testimage"
)

// TestRealRegistryVariants promotes between two CNCF registries what the simulated
// variants have: an attestation in the index that refers to its sibling, a digest tag of
// another tool, and tags with the name of a digest that are not lists. The registry has
// no referrers API.
func TestRealRegistryVariants(t *testing.T) {
	t.Parallel()
	from, to := startRegistry(t), startRegistry(t)
	platform := testimage.Put(from, cart, "", child(1, 0))
	attestation := testimage.Attach(from, cart, platform, "application/vnd.in-toto+json", []byte("built"))
	raw, err := json.Marshal(testimage.Manifest{SchemaVersion: 2, MediaType: testimage.IndexType, Manifests: []descriptor{attestation, platform}})
	if err != nil {
		t.Fatal(err)
	}
	index := testimage.Describe(testimage.IndexType, raw)
	from.Push(cart, release, testimage.IndexType, raw)
	testimage.List(from, cart, platform, attestation)
	sbom := testimage.Attach(from, cart, index, "application/spdx+json", []byte("bill"))
	testimage.List(from, cart, index, sbom)
	meta := testimage.FallbackTag(index.Digest) + ".meta"
	signature := testimage.Put(from, cart, meta, testimage.Signature(testimage.Layer("meta", 100)))
	// The SBOM's digest is the name of another image, and the target uses the image's for another.
	testimage.Put(from, cart, testimage.FallbackTag(sbom.Digest), image("amd64", 77, 1, 64))
	taken := testimage.Put(to, cart, testimage.FallbackTag(index.Digest), image("amd64", 77, 1, 64))

	p := newPerson(t, map[string]string{from.host: realUser + ":" + realPassword, to.host: realUser + ":" + realPassword})
	flags := []string{"--source", from.host + "/" + cart + ":" + release, "--targets", to.host, "--output", "json", "--plain-http", from.host, "--plain-http", to.host}
	push := append([]string{"invertedPush", "--approval", "none"}, flags...)
	for i, want := range []string{"copied", "present"} {
		o := p.run(push...).wantCode(0).wantStates(want)
		if changed := o.at("changed"); changed != (i == 0) || !strings.Contains(o.stderr, "in no list") {
			t.Errorf("%s: changed %v, warnings %s", want, changed, o.stderr)
		}
		for reference, digest := range map[string]string{release: index.Digest, meta: signature.Digest, sbom.Digest: sbom.Digest, attestation.Digest: attestation.Digest,
			testimage.FallbackTag(index.Digest): taken.Digest} {
			if got := to.digest(cart, reference); got != digest {
				t.Errorf("%s: %s is %q, want %s", want, reference, got, digest)
			}
		}
	}
	p.run(append([]string{"audit"}, flags...)...).wantCode(0)
	o := p.run(append([]string{"audit", "--deep"}, flags...)...).wantCode(0)
	if o.at("outcome") != "done" {
		t.Errorf("a deep audit: %s", o.against())
	}
}
