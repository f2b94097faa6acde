package testimage

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// shelf is a store of one repository.
type shelf struct {
	blobs     map[string][]byte
	manifests map[string][]byte // by digest and by tag
	order     []string
}

func newShelf() *shelf {
	return &shelf{blobs: map[string][]byte{}, manifests: map[string][]byte{}}
}

func (s *shelf) PutBlob(_ string, content []byte) string {
	digest := Digest(content)
	s.blobs[digest] = content
	return digest
}

func (s *shelf) Push(_, tag, _ string, content []byte) string {
	digest := Digest(content)
	s.manifests[digest], s.manifests[tag] = content, content
	s.order = append(s.order, digest)
	return digest
}

func (s *shelf) read(t *testing.T, reference string) Manifest {
	t.Helper()
	var m Manifest
	if err := json.Unmarshal(s.manifests[reference], &m); err != nil {
		t.Fatalf("%s: %v", reference, err)
	}
	return m
}

// whole holds everything under a manifest to being there with its size.
func (s *shelf) whole(t *testing.T, reference string) (manifests, blobs int) {
	t.Helper()
	m := s.read(t, reference)
	for _, b := range m.Blobs() {
		if content, ok := s.blobs[b.Digest]; !ok || int64(len(content)) != b.Size {
			t.Errorf("%s: the blob %s has %d bytes, want %d", reference, b.Digest, len(content), b.Size)
		}
		blobs++
	}
	manifests = 1
	for _, child := range m.Manifests {
		if content := s.manifests[child.Digest]; int64(len(content)) != child.Size {
			t.Errorf("%s: the manifest %s has %d bytes, want %d", reference, child.Digest, len(content), child.Size)
		}
		more, below := s.whole(t, child.Digest)
		manifests, blobs = manifests+more, blobs+below
	}
	return manifests, blobs
}

func TestSameArgumentsSameBytes(t *testing.T) {
	make := func() v1.ImageIndex {
		shared := Layer("base", 1000)
		return Index(Image("amd64", shared, Layer("a", 10)), Image("arm64", shared, Layer("b", 10)))
	}
	// Anyone who changes this changes what the benchmark measures.
	const want = "sha256:e56c7b2a83fabcb6f811091c0ae4235cb3b3a3ade2e370f6e7f3935fd6d53bee"
	if got := Of(make()).Digest; got != want {
		t.Errorf("the index is %s, want %s", got, want)
	}
	if Of(Layer("a", 10)).Digest == Of(Layer("b", 10)).Digest {
		t.Error("two seeds give the same layer")
	}
}

func TestPut(t *testing.T) {
	s := newShelf()
	shared := Layer("base", 1000)
	amd64, arm64 := Image("amd64", shared, Layer("a", 10)), Image("arm64", shared, Layer("b", 0))
	root := Put(s, "shop/cart", "1.0", Index(Index(amd64, arm64), amd64))
	if manifests, blobs := s.whole(t, "1.0"); manifests != 5 || blobs != 9 {
		t.Errorf("%d manifests and %d blobs, want 5 and 9", manifests, blobs)
	}
	m := s.read(t, "1.0")
	if m.MediaType != IndexType || root != Describe(IndexType, s.manifests["1.0"]) || s.order[len(s.order)-1] != root.Digest {
		t.Errorf("the root is %+v, put in the order %q", root, s.order)
	}
	if p := m.Manifests[1].Platform; p == nil || p.OS != "linux" || p.Architecture != "amd64" || m.Manifests[0].Platform != nil {
		t.Errorf("the children are %+v", m.Manifests)
	}
	child := s.read(t, Of(amd64).Digest)
	if child.MediaType != ManifestType || child.Config.MediaType != ConfigType || child.Layers[0].MediaType != LayerType || child.Layers[0].Size != 1000 {
		t.Errorf("the image is %+v", child)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(s.blobs[child.Config.Digest], &config); err != nil || len(config.RootFS.DiffIDs) != 2 {
		t.Errorf("the config is %+v: %v", config, err)
	}
}

func TestAttach(t *testing.T) {
	s := newShelf()
	image := Put(s, "shop/cart", "1.0", Image("amd64", Layer("a", 10)))
	sbom := Attach(s, "shop/cart", image, "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
	s.whole(t, sbom.Digest)
	m := s.read(t, sbom.Digest)
	if m.ArtifactType != "application/spdx+json" || sbom.ArtifactType != m.ArtifactType || m.Subject == nil || *m.Subject != image || m.Layers[0].MediaType != m.ArtifactType ||
		string(s.blobs[m.Config.Digest]) != "{}" || string(s.blobs[m.Layers[0].Digest]) != `{"spdxVersion":"SPDX-2.3"}` {
		t.Errorf("the SBOM is %+v", m)
	}
	List(s, "shop/cart", image, sbom)
	if m := s.read(t, FallbackTag(image.Digest)); m.MediaType != IndexType || len(m.Manifests) != 1 || m.Manifests[0].Digest != sbom.Digest || m.Manifests[0].ArtifactType != sbom.ArtifactType {
		t.Errorf("the list is %+v", m)
	}
}

func TestSignature(t *testing.T) {
	s := newShelf()
	image := Put(s, "shop/cart", "1.0", Image("amd64", Layer("a", 10)))
	signature := Put(s, "shop/cart", FallbackTag(image.Digest)+".sig", Signature(Layer("signed", 100)))
	s.whole(t, signature.Digest)
	m := s.read(t, FallbackTag(image.Digest)+".sig")
	if m.Config.MediaType != ConfigType || len(m.Layers) != 1 || m.Layers[0].MediaType != SigningType || m.Layers[0].Size != 100 || m.Subject != nil {
		t.Errorf("the signature is %+v", m)
	}
}

func TestFiles(t *testing.T) {
	l, err := Files(map[string][]byte{"usr/bin/x": []byte("program"), "etc/passwd": []byte("nonroot")}, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	image := Image("amd64", l)
	if config, err := image.ConfigFile(); err != nil || config.RootFS.DiffIDs[0] != must(l.DiffID()) || must(l.DiffID()) == must(l.Digest()) {
		t.Errorf("the config is %+v: %v", config, err)
	}
	unpacked, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer unpacked.Close()
	found := map[string]string{}
	for r := tar.NewReader(unpacked); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = string(must(io.ReadAll(r)))
		if header.Mode != 0o755 {
			t.Errorf("%s has the mode %o", header.Name, header.Mode)
		}
	}
	if want := []string{"etc/passwd", "usr/bin/x"}; !slices.Equal(slices.Sorted(maps.Keys(found)), want) || found["usr/bin/x"] != "program" {
		t.Errorf("the files are %q", found)
	}
}
