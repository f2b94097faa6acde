package transfer

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestReadArtifact: the content of an artifact is requested at most once, and not
// at all if its manifest embeds it.
func TestReadArtifact(t *testing.T) {
	const kind = "application/vnd.example.record.v1+json"
	content := []byte(`{"sealed":true}`)
	for _, inline := range []bool{false, true} {
		p := newPeer(t)
		root := p.image("r", "1.0", "a")
		d, err := p.registry().PutArtifact(t.Context(), "r", Artifact{Type: kind, Subject: root, Contents: []Content{{MediaType: kind, Data: content, Inline: inline}}})
		if err != nil {
			t.Fatal(err)
		}
		r := p.registry()
		got, err := r.ReadArtifact(t.Context(), "r", d.Digest)
		if err != nil || got.Type() != kind || got.ArtifactType != kind || got.ConfigType != "application/vnd.oci.empty.v1+json" || got.Subject != root.Digest || len(got.Layers) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		p.clear()
		for range 2 {
			got, err := r.ReadLayer(t.Context(), "r", got.Layers[0])
			if err != nil || string(got) != string(content) {
				t.Errorf("inline %v: %q, %v", inline, got, err)
			}
		}
		// A copy uses the cached content.
		body, err := r.download("r", got.Layers[0].Descriptor)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != string(content) {
			t.Errorf("inline %v: the copy is %q, %v", inline, got, err)
		}
		if requests, want := p.count("/blobs/"), map[bool]int{false: 1, true: 0}[inline]; requests != want {
			t.Errorf("inline %v: %d requests for blobs, want %d", inline, requests, want)
		}
		// Embedded content with another digest is not used.
		other := got.Layers[0]
		other.Data = []byte(`{"sealed":null}`)
		if got, err := p.registry().ReadLayer(t.Context(), "r", other); err != nil || string(got) != string(content) {
			t.Errorf("inline %v: another content in the manifest: %q, %v", inline, got, err)
		}
	}
}

func TestReadOtherManifests(t *testing.T) {
	p := newPeer(t)
	image := p.image("r", "1.0", "a")
	index := p.index("r", "2.0", image)
	r := p.registry()
	if got, err := r.ReadArtifact(t.Context(), "r", image.Digest); err != nil || got.ArtifactType != "" || got.Type() != got.ConfigType || got.Subject != "" {
		t.Errorf("an image: %+v, %v", got, err)
	}
	if got, err := r.ReadArtifact(t.Context(), "r", index.Digest); err != nil || got.Type() != "" || len(got.Layers) != 0 {
		t.Errorf("an index: %+v, %v", got, err)
	}
	if _, err := r.ReadArtifact(t.Context(), "r", "sha256:"+strings.Repeat("0", 64)); !errors.Is(err, NotFound) {
		t.Errorf("a manifest that does not exist: %v", err)
	}
	large := Layer{Descriptor: Descriptor{Digest: "sha256:" + strings.Repeat("0", 64), Size: maxLayer + 1}}
	if _, err := r.ReadLayer(t.Context(), "r", large); !errors.Is(err, TooLarge) {
		t.Errorf("a large blob: %v", err)
	}
	large.Size = 5
	if _, err := r.ReadLayer(t.Context(), "r", large); !errors.Is(err, NotFound) {
		t.Errorf("a blob that does not exist: %v", err)
	}
}
