package transfer

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestReadImageManifest reads an index, its children and an artifact, and checks
// that what was not cached is not kept.
func TestReadImageManifest(t *testing.T) {
	p := newPeer(t)
	image := p.image("r", "", "a", "b")
	type object = map[string]any
	index := p.manifest("r", "1.0", "application/vnd.oci.image.index.v1+json", object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "annotations": object{"org.opencontainers.image.version": "1.0"},
		"manifests": []object{
			{"mediaType": image.MediaType, "digest": image.Digest, "size": image.Size, "annotations": object{"a": "b"},
				"platform": object{"architecture": "arm", "os": "linux", "variant": "v7"}},
			{"mediaType": image.MediaType, "digest": image.Digest, "size": image.Size},
		}})
	r := p.registry()
	got, err := r.ReadImageManifest(t.Context(), "r", index.Digest)
	if err != nil || got.Annotations["org.opencontainers.image.version"] != "1.0" || len(got.Children) != 2 || got.Children[1].Platform != nil ||
		*got.Children[0].Platform != (Platform{"arm", "linux", "v7", ""}) || got.Children[0].Digest != image.Digest || got.Children[0].Annotations["a"] != "b" {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = r.ReadImageManifest(t.Context(), "r", image.Digest)
	if err != nil || len(got.Layers) != 2 || got.Config.Digest == "" || got.Subject != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if n := r.memory.decoded.Load(); n != 0 {
		t.Errorf("%d bytes are kept", n)
	}
	artifact := p.attach("r", "application/spdx+json", image)
	if got, err := r.ReadImageManifest(t.Context(), "r", artifact.Digest); err != nil || got.Subject != image.Digest {
		t.Errorf("%+v, %v", got, err)
	}
	// A manifest that the run has read is not requested again.
	if _, err := ReadTree(t.Context(), r, "r", "1.0", Options{}); err != nil {
		t.Fatal(err)
	}
	p.clear()
	if _, err := r.ReadImageManifest(t.Context(), "r", index.Digest); err != nil || p.count("/manifests/") != 0 {
		t.Errorf("%v, %d requests", err, p.count("/manifests/"))
	}
	if _, err := r.ReadImageManifest(t.Context(), "r", "sha256:"+strings.Repeat("0", 64)); !errors.Is(err, NotFound) {
		t.Errorf("a manifest that does not exist: %v", err)
	}
	bad := p.manifest("r", "", "application/vnd.oci.image.index.v1+json", object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
		"manifests": []object{{"mediaType": image.MediaType, "digest": image.Digest, "size": image.Size, "platform": "linux"}}})
	if _, err := r.ReadImageManifest(t.Context(), "r", bad.Digest); !errors.Is(err, Corrupt) {
		t.Errorf("a platform that is a string: %v", err)
	}
}

func TestReadBlob(t *testing.T) {
	p := newPeer(t)
	d := p.blob("r", "application/json", []byte(`{"a":1}`))
	r := p.registry()
	read := func(d Descriptor, limit int64, use func(io.Reader) error) error {
		return r.ReadBlob(t.Context(), "r", d, limit, use)
	}
	content := ""
	all := func(body io.Reader) error {
		raw, err := io.ReadAll(body)
		content = string(raw)
		return err
	}
	if err := read(d, 7, all); err != nil || content != `{"a":1}` {
		t.Errorf("%q, %v", content, err)
	}
	p.clear()
	if err := read(d, 6, all); !errors.Is(err, TooLarge) || p.count("/blobs/") != 0 {
		t.Errorf("over the limit: %v, %d requests", err, p.count("/blobs/"))
	}
	broken := errors.New("not an SBOM")
	if err := read(d, 7, func(io.Reader) error { return broken }); err != broken {
		t.Errorf("error %v, want that of use", err)
	}
	// Other bytes than the digest's are an error, even if use reads none of them.
	lie := d
	lie.Size = 5
	if err := read(lie, 7, func(io.Reader) error { return nil }); err == nil {
		t.Error("another size is not an error")
	}
	absent := Descriptor{Digest: "sha256:" + strings.Repeat("0", 64), Size: 5}
	if err := read(absent, 7, all); !errors.Is(err, NotFound) {
		t.Errorf("a blob that does not exist: %v", err)
	}
}
