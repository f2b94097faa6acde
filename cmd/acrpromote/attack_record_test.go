package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// recordOf returns the content of a seal record.
func recordOf(image descriptor) []byte {
	return fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q}`, image.Digest)
}

// TestSealRecordIsRead checks that a seal record counts only if its manifest and its
// content belong to this image.
func TestSealRecordIsRead(t *testing.T) {
	other := testimage.Of(layer(9, 9, 9))
	for _, c := range []struct {
		name    string
		content func(image descriptor) []byte
		layer   string // its media type; "" is the record's
		counts  bool
		says    string
	}{
		{"a record", recordOf, "", true, ""},
		{"a record of another image", func(descriptor) []byte { return recordOf(other) }, "", false, "is for the image"},
		{"both images in one record", func(i descriptor) []byte {
			return fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q,"digest":%q}`, other.Digest, i.Digest)
		}, "", false, "twice"},
		{"no image", func(descriptor) []byte { return []byte(`{"schema":"acrpromote/seal/v1"}`) }, "", false, "is for the image"},
		{"another schema", func(i descriptor) []byte { return fmt.Appendf(nil, `{"schema":"x","digest":%q}`, i.Digest) }, "", false, "schema"},
		{"not JSON", func(descriptor) []byte { return []byte("sealed, honestly") }, "", false, "not one valid JSON"},
		{"something after the record", func(i descriptor) []byte { return append(recordOf(i), "{}"...) }, "", false, "not one valid JSON"},
		{"a layer of another type", recordOf, "application/json", false, "no record layer"},
		{"a very large record", func(i descriptor) []byte { return append(recordOf(i), bytes.Repeat([]byte(" "), 70_000)...) }, "", false, "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			image := pushImage(env.prod, cart, release, 1, 1, 300)
			mediaType := c.layer
			if mediaType == "" {
				mediaType = recordType
			}
			testimage.Put(env.prod, cart, "", testimage.ArtifactOf(recordType, image, static.NewLayer(c.content(image), types.MediaType(mediaType)), nil))
			env.lock(release)
			env.approve(manager, "released")
			o := env.task(push())
			if c.counts {
				o.want("done")
				return
			}
			o.refusedBy("not-sealed")
			env.untouched(env.dev)
			if told := strings.Join(o.warnings, "\n"); strings.Count(told, "does not count") != 1 || !strings.Contains(told, c.says) {
				t.Errorf("warnings %q, want one that says %q", o.warnings, c.says)
			}
			// One valid record is enough; others have no effect.
			env.record(image)
			env.queue()
			env.approve(manager, "released")
			env.task(push()).want("done")
		})
	}
}

// TestSealRecordOfList checks that the entries of a referrers tag, which anyone who can
// push can write if a registry has no referrers API, are not evidence.
func TestSealRecordOfList(t *testing.T) {
	for _, c := range []struct {
		name string
		list func(r *sim.Registry, image descriptor) descriptor
		says string // "" is a record
	}{
		{"a record", func(r *sim.Registry, image descriptor) descriptor {
			return testimage.Attach(r, cart, image, recordType, recordOf(image))
		}, ""},
		{"another image's record", func(r *sim.Registry, _ descriptor) descriptor {
			other := pushImage(r, cart, "other", 5, 1, 300)
			return testimage.Attach(r, cart, other, recordType, recordOf(other))
		}, "refers to"},
		{"another image's record with this image's name in it", func(r *sim.Registry, image descriptor) descriptor {
			other := pushImage(r, cart, "other", 5, 1, 300)
			return testimage.Attach(r, cart, other, recordType, recordOf(image))
		}, "refers to"},
		{"an SBOM that is listed as a record", func(r *sim.Registry, image descriptor) descriptor {
			return testimage.Attach(r, cart, image, "application/spdx+json", recordOf(image))
		}, "artifact type"},
		{"an image that is listed as a record", func(r *sim.Registry, _ descriptor) descriptor {
			return pushImage(r, cart, "other", 5, 1, 300)
		}, "artifact type"},
		{"a missing record", func(r *sim.Registry, image descriptor) descriptor {
			d := testimage.Of(testimage.Artifact(recordType, image, recordOf(image), nil))
			return d
		}, "sha256:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			host := "contosokeys.azurecr.io"
			keys := env.cloud.Registry(host, sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, NoReferrers: true})
			keys.Grant(clientID, "**", sim.RepositoryWriter...)
			image := pushImage(keys, cart, release, 1, 1, 300)
			entry := c.list(keys, image)
			entry.ArtifactType = recordType
			testimage.List(keys, cart, image, entry)
			keys.SetTagLock(cart, release, false, false)
			env.approve(manager, "released")
			in := push("source", host+"/"+cart+":"+release, "referrers", "false")
			o := env.task(in)
			if c.says == "" {
				o.want("done")
				return
			}
			o.refusedBy("not-sealed")
			if told := strings.Join(o.warnings, "\n"); !strings.Contains(told, "does not count") || !strings.Contains(told, c.says) {
				t.Errorf("warnings %q, want one that says %q", o.warnings, c.says)
			}
			// If attached artifacts are copied, a wrong list must not let the image
			// through.
			if o := env.task(in.with("referrers", "true")); o.result["outcome"] == "done" {
				t.Errorf("it was let out:\n%s", o.stdout)
			}
			env.untouched(env.dev)
		})
	}
}

// TestAttachedIsRead checks that required artifacts are counted by their own
// manifests, not by the entries of a list.
func TestAttachedIsRead(t *testing.T) {
	const scan = "application/vnd.example.scan+json"
	for _, c := range []struct {
		name   string
		list   func(r *sim.Registry, image descriptor) descriptor
		counts bool
	}{
		{"a scan", func(r *sim.Registry, image descriptor) descriptor {
			return testimage.Attach(r, cart, image, scan, []byte(`{}`))
		}, true},
		{"a scan of another image", func(r *sim.Registry, _ descriptor) descriptor {
			return testimage.Attach(r, cart, pushImage(r, cart, "other", 5, 1, 300), scan, []byte(`{}`))
		}, false},
		{"something else that is listed as a scan", func(r *sim.Registry, image descriptor) descriptor {
			return testimage.Attach(r, cart, image, "text/plain", []byte(`{}`))
		}, false},
		{"a missing scan", func(_ *sim.Registry, image descriptor) descriptor {
			return testimage.Of(testimage.Artifact(scan, image, []byte(`{}`), nil))
		}, false},
	} {
		for _, on := range []string{"index", "children"} {
			t.Run(c.name+", on "+on, func(t *testing.T) {
				env := newTestEnv(t)
				host := "contosokeys.azurecr.io"
				keys := env.cloud.Registry(host, sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, NoReferrers: true})
				keys.Grant(clientID, "**", sim.RepositoryWriter...)
				subject := pushIndex(keys, cart, release, 1)
				subjects := []descriptor{subject}
				if on == "children" {
					subjects = childrenOf(t, keys, subject)
				}
				for _, s := range subjects {
					entry := c.list(keys, s)
					entry.ArtifactType = scan
					testimage.List(keys, cart, s, entry)
				}
				env.approve(manager, "released")
				flows := env.flowFile(`version: 1
trust: [dev, production]
registries: {prod: {host: ` + host + `, trust: production}, dev: {host: ` + devHost + `, trust: dev}}
flows:
  down: {from: prod, to: [dev], require: {approval: {environment: Production}, sealed: false, attached: [{artifactType: ` + scan + `, on: ` + on + `}]}}
`)
				o := env.task(inputs{"action": "invertedPush", "source": host + "/" + cart + ":" + release, "flowFile": flows, "referrers": "false"})
				if c.counts {
					o.want("done")
					return
				}
				o.refusedBy("attached-missing")
				env.untouched(env.dev)
			})
		}
	}
}

// childrenOf returns the manifests of an index.
func childrenOf(t *testing.T, r *sim.Registry, index descriptor) []descriptor {
	t.Helper()
	_, content, ok := r.Manifest(cart, index.Digest)
	var m testimage.Manifest
	if err := json.Unmarshal(content, &m); !ok || err != nil {
		t.Fatalf("there is no index %s: %v", index.Digest, err)
	}
	return m.Manifests
}
