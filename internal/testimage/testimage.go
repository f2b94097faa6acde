// Package testimage makes images, and what is attached to images, for tests,
// the demo and the benchmark. The same arguments give the same bytes.
//
// What it makes are go-containerregistry's images and indexes: Put stores them
// in a registry that can be written directly, and that library's package remote
// pushes them to any other.
package testimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Random returns size bytes that the seed decides and no compression shortens.
func Random(seed string, size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(seed))), size)
}

// Layer returns a layer of exactly these random bytes. They are generated when
// they are read: a layer of gigabytes takes no memory. (go-containerregistry's
// own random layers are in memory, and larger than asked for.)
func Layer(seed string, size int64) v1.Layer {
	l := &layer{seed: seed, size: size}
	l.digest = sync.OnceValues(func() (v1.Hash, error) {
		digest, _, err := v1.SHA256(Random(seed, size))
		return digest, err
	})
	return l
}

type layer struct {
	seed   string
	size   int64
	digest func() (v1.Hash, error)
}

func (l *layer) Digest() (v1.Hash, error)             { return l.digest() }
func (l *layer) DiffID() (v1.Hash, error)             { return l.digest() }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }
func (l *layer) Compressed() (io.ReadCloser, error)   { return io.NopCloser(Random(l.seed, l.size)), nil }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }

// Files returns a layer of files with these contents and this mode, packed as
// container engines do.
func Files(contents map[string][]byte, mode int64) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, path := range slices.Sorted(maps.Keys(contents)) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: mode, Size: int64(len(contents[path])), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(contents[path]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
}

// Image returns an image for Linux of these layers.
func Image(architecture string, layers ...v1.Layer) v1.Image {
	return Configured(v1.ConfigFile{OS: "linux", Architecture: architecture}, layers...)
}

// Configured returns an image with this config, to which the layers are added.
func Configured(config v1.ConfigFile, layers ...v1.Layer) v1.Image {
	config.RootFS = v1.RootFS{Type: "layers"}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	return must(mutate.AppendLayers(must(mutate.ConfigFile(base, &config)), layers...))
}

// Index returns an index of images, each under the platform that its config
// names, and of indexes.
func Index(children ...mutate.Appendable) v1.ImageIndex {
	var adds []mutate.IndexAddendum
	for _, child := range children {
		add := mutate.IndexAddendum{Add: child}
		if image, ok := child.(v1.Image); ok {
			add.Platform = must(image.ConfigFile()).Platform()
		}
		adds = append(adds, add)
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), adds...)
}

// Artifact returns an artifact with one layer, such as an SBOM, that refers to
// a manifest. Annotations are the layer's.
func Artifact(artifactType string, subject Descriptor, content []byte, annotations map[string]string) v1.Image {
	return ArtifactOf(artifactType, subject, static.NewLayer(content, types.MediaType(artifactType)), annotations)
}

// ArtifactOf returns an artifact with this layer.
func ArtifactOf(artifactType string, subject Descriptor, content v1.Layer, annotations map[string]string) v1.Image {
	config := static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json")
	layer := must(partial.Descriptor(content))
	layer.Annotations = annotations
	core := &artifact{layer: content, manifest: v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  artifactType,
		Config:        *must(partial.Descriptor(config)),
		Layers:        []v1.Descriptor{*layer},
		Subject: &v1.Descriptor{
			MediaType: types.MediaType(subject.MediaType),
			Digest:    must(v1.NewHash(subject.Digest)),
			Size:      subject.Size,
		},
	}}
	return must(partial.CompressedToImage(core))
}

// SigningType is the media type of the layers of cosign's signatures.
const SigningType = "application/vnd.dev.cosign.simplesigning.v1+json"

// Signature returns what cosign stores under a digest tag: the config of an image,
// and a layer that is none of an image's.
func Signature(content v1.Layer) v1.Image { return Image("", signed{content}) }

type signed struct{ v1.Layer }

func (signed) MediaType() (types.MediaType, error) { return SigningType, nil }

// artifact is what mutate cannot make: an image manifest without an image's
// config.
type artifact struct {
	manifest v1.Manifest
	layer    v1.Layer
}

func (a *artifact) RawConfigFile() ([]byte, error)      { return []byte("{}"), nil }
func (a *artifact) MediaType() (types.MediaType, error) { return a.manifest.MediaType, nil }
func (a *artifact) Manifest() (*v1.Manifest, error)     { return &a.manifest, nil }
func (a *artifact) RawManifest() ([]byte, error)        { return encode(a.manifest), nil }
func (a *artifact) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	if digest != a.manifest.Layers[0].Digest {
		return nil, fmt.Errorf("the artifact has no layer %s", digest)
	}
	return a.layer, nil
}

// must returns a value of this package's own making: nothing that is in memory
// fails.
func must[T any](value T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("testimage: %v", err))
	}
	return value
}
