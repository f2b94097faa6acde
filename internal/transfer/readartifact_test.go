package transfer

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestReadArtifact: an artifact is read by its manifest, and a record that lies
// in it is not asked for again.
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
		stated, err := r.ReadArtifact(t.Context(), "r", d.Digest)
		if err != nil || stated.Type() != kind || stated.ArtifactType != kind || stated.ConfigType != "application/vnd.oci.empty.v1+json" || stated.Subject != root.Digest || len(stated.Layers) != 1 {
			t.Fatalf("%+v, %v", stated, err)
		}
		p.clear()
		for range 2 {
			got, err := r.ReadLayer(t.Context(), "r", stated.Layers[0])
			if err != nil || string(got) != string(content) {
				t.Errorf("inline %v: %q, %v", inline, got, err)
			}
		}
		// Copying it takes what was read.
		body, err := r.download("r", stated.Layers[0].Descriptor)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != string(content) {
			t.Errorf("inline %v: the copy is %q, %v", inline, got, err)
		}
		if asked, want := p.count("/blobs/"), map[bool]int{false: 1, true: 0}[inline]; asked != want {
			t.Errorf("inline %v: %d requests for blobs, want %d", inline, asked, want)
		}
		// What lies in the manifest is not believed if it is something else.
		lie := stated.Layers[0]
		lie.Data = []byte(`{"sealed":null}`)
		if got, err := p.registry().ReadLayer(t.Context(), "r", lie); err != nil || string(got) != string(content) {
			t.Errorf("inline %v: another content in the manifest: %q, %v", inline, got, err)
		}
	}
}

func TestReadArtifactOfAnotherKind(t *testing.T) {
	p := newPeer(t)
	image := p.image("r", "1.0", "a")
	index := p.index("r", "2.0", image)
	r := p.registry()
	if stated, err := r.ReadArtifact(t.Context(), "r", image.Digest); err != nil || stated.ArtifactType != "" || stated.Type() != stated.ConfigType || stated.Subject != "" {
		t.Errorf("an image: %+v, %v", stated, err)
	}
	if stated, err := r.ReadArtifact(t.Context(), "r", index.Digest); err != nil || stated.Type() != "" || len(stated.Layers) != 0 {
		t.Errorf("an index: %+v, %v", stated, err)
	}
	if _, err := r.ReadArtifact(t.Context(), "r", "sha256:"+strings.Repeat("0", 64)); !errors.Is(err, NotFound) {
		t.Errorf("what is not there: %v", err)
	}
	large := Layer{Descriptor: Descriptor{Digest: "sha256:" + strings.Repeat("0", 64), Size: maxLayer + 1}}
	if _, err := r.ReadLayer(t.Context(), "r", large); !errors.Is(err, TooLarge) {
		t.Errorf("a large blob: %v", err)
	}
	large.Size = 5
	if _, err := r.ReadLayer(t.Context(), "r", large); !errors.Is(err, NotFound) {
		t.Errorf("a blob that is not there: %v", err)
	}
}
