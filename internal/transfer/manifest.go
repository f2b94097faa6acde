package transfer

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// maxManifest is the size in bytes that registries have to accept at least, and
// that ACR accepts at most.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
const maxManifest = 4 << 20

// acceptManifests lists the media types that are supported. Others are accepted as
// well, so that errors can name them.
const acceptManifests = string(types.OCIImageIndex) + ", " + string(types.OCIManifestSchema1) + ", " +
	string(types.DockerManifestList) + ", " + string(types.DockerManifestSchema2) + ", " + ociArtifactType + ", " + orasArtifactType + ", */*;q=0.1"

// Media types of artifacts from before images could be artifacts. Their manifests have
// blobs, and neither a config nor a schemaVersion.
// https://github.com/opencontainers/image-spec/blob/v1.1.0-rc2/artifact.md
// https://github.com/oras-project/artifacts-spec/blob/v1.0.0-rc.2/artifact-manifest.md
const (
	ociArtifactType  = "application/vnd.oci.artifact.manifest.v1+json"
	orasArtifactType = "application/vnd.cncf.oras.artifact.manifest.v1+json"
)

// isArtifactType reports whether a media type is that of a manifest of former artifacts.
func isArtifactType(mediaType string) bool {
	return mediaType == ociArtifactType || mediaType == orasArtifactType
}

// Manifest is an image manifest or an index: its bytes, and what they refer to. The
// descriptors of what it refers to are without annotations, which only lists of
// referrers repeat.
type Manifest struct {
	Descriptor        // of itself; ArtifactType is artifactType, else the type of the config
	Raw        []byte // as they are hashed; nil if they were not kept

	subject  *Descriptor  // the manifest that this one refers to
	children []Descriptor // manifests that an index contains
	contents []packed     // the config and the layers in their order, without foreign ones
	foreign  []packed     // layers that are not distributed with the image

	source     *Registry // where it was read, if it was kept
	repository string
	kept       keptManifest
	unread     bool // only the descriptor and the subject are known
}

// blobs returns the config and the layers in their order, without foreign ones.
func (m *Manifest) blobs() []Descriptor { return unpack(m.contents) }

func isManifestType(mediaType string) bool {
	t := types.MediaType(mediaType)
	return t.IsImage() || t.IsIndex() || isArtifactType(mediaType)
}

// mediaType returns a Content-Type without its parameters.
func mediaType(header string) string {
	t, _, err := mime.ParseMediaType(header)
	if err != nil {
		return sanitize.Bounded(header, 100)
	}
	return t
}

// parseManifest parses a manifest. contentType is its media type in the response's
// header, hint that of its descriptor. The one in the manifest takes precedence.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
// https://distribution.github.io/distribution/spec/manifest-v2-2/
func parseManifest(raw []byte, contentType, hint string) (*Manifest, Kind, error) {
	var shape struct {
		SchemaVersion once[int]    `json:"schemaVersion"`
		MediaType     once[string] `json:"mediaType"`
		Config        present      `json:"config"`
		Layers        present      `json:"layers"`
		Manifests     present      `json:"manifests"`
		FSLayers      present      `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &shape); err != nil {
		return nil, Corrupt, fmt.Errorf("it is not valid JSON: %s", sanitize.Bounded(err.Error(), 150))
	}
	if isManifestType(shape.MediaType.value) && isManifestType(contentType) && shape.MediaType.value != contentType {
		return nil, Corrupt, fmt.Errorf("its media type is %s, but the registry returned %s", shape.MediaType.value, contentType)
	}
	kind := shape.MediaType.value
	if kind == "" {
		// mediaType is optional in OCI manifests.
		kind = contentType
		if !isManifestType(kind) && isManifestType(hint) {
			kind = hint
		}
	}
	switch t := types.MediaType(kind); {
	case t.IsImage(), t.IsIndex(), isArtifactType(kind):
	case t.IsSchema1() || shape.SchemaVersion.value == 1:
		return nil, Unsupported, fmt.Errorf("it is a Docker schema 1 manifest, which registries no longer accept")
	default:
		return nil, Unsupported, fmt.Errorf("its media type %q is not supported: only OCI and Docker image manifests and indexes are", sanitize.Bounded(kind, 100))
	}
	index := types.MediaType(kind).IsIndex()
	if isManifestType(hint) && types.MediaType(hint).IsIndex() != index {
		return nil, Corrupt, fmt.Errorf("it is a %s, but its descriptor says %s", kind, hint)
	}
	artifact := isArtifactType(kind)
	// Engines read a manifest of a type that they do not know as Docker schema 1.
	// (containers/image, manifest: NormalizedMIMEType.)
	if artifact && (shape.MediaType.value != kind || bool(shape.Config || shape.Layers || shape.Manifests || shape.FSLayers)) {
		return nil, Corrupt, fmt.Errorf("it is both an artifact and something else")
	}
	if shape.SchemaVersion.value != 2 && !artifact {
		return nil, Corrupt, fmt.Errorf("its schemaVersion is %d, not 2", shape.SchemaVersion.value)
	}
	// Clients would not agree on what it is (CVE-2021-41190).
	if index && bool(shape.Config || shape.Layers) || !index && bool(shape.Manifests) {
		return nil, Corrupt, fmt.Errorf("it is both an image and an index")
	}

	m := &Manifest{Raw: raw, Descriptor: Descriptor{MediaType: kind, Digest: ref.DigestOf(raw), Size: int64(len(raw))}}
	var err error
	switch {
	case index:
		err = m.parseIndex()
	case artifact:
		err = m.parseArtifact()
	default:
		err = m.parseImage()
	}
	if _, excess := errors.AsType[*limitError](err); excess {
		return nil, TooLarge, err
	}
	if err != nil {
		return nil, Corrupt, err
	}
	if err := m.checkSizes(); err != nil {
		return nil, Corrupt, err
	}
	return m, "", nil
}

func (m *Manifest) parseIndex() error {
	doc := indexDocument{Manifests: descriptors(maxChildren, "manifests", func(_ descriptorDocument, d Descriptor) {
		d.Annotations = nil
		m.children = append(m.children, d)
	})}
	if err := json.Unmarshal(m.Raw, &doc); err != nil {
		return fmt.Errorf("it is not a valid index: %w", decodeError(err))
	}
	m.children = slices.Clone(m.children)
	m.ArtifactType = intern(doc.ArtifactType.value)
	return m.setSubject(doc.Subject.value, doc.Annotations.value)
}

func (m *Manifest) parseImage() error {
	var layers []packed
	doc := imageDocument{Layers: descriptors(maxManifestLayers, "layers", func(document descriptorDocument, d Descriptor) {
		if document.distributable() {
			layers = append(layers, pack(d))
		} else {
			m.foreign = append(m.foreign, pack(d))
		}
	})}
	if err := json.Unmarshal(m.Raw, &doc); err != nil {
		return fmt.Errorf("it is not a valid image manifest: %w", decodeError(err))
	}
	m.ArtifactType = doc.ArtifactType.value
	if m.ArtifactType == "" {
		// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
		m.ArtifactType = doc.Config.value.MediaType.value
	}
	m.ArtifactType = intern(m.ArtifactType)
	config, err := doc.Config.value.descriptor()
	if err != nil {
		return fmt.Errorf("its config: %w", err)
	}
	m.contents, m.foreign = slices.Concat([]packed{pack(config)}, layers), slices.Clone(m.foreign)
	return m.setSubject(doc.Subject.value, doc.Annotations.value)
}

func (m *Manifest) parseArtifact() error {
	doc := artifactDocument{Blobs: descriptors(maxManifestLayers, "blobs", func(_ descriptorDocument, d Descriptor) {
		m.contents = append(m.contents, pack(d))
	})}
	if err := json.Unmarshal(m.Raw, &doc); err != nil {
		return fmt.Errorf("it is not a valid artifact manifest: %w", decodeError(err))
	}
	m.contents = slices.Clone(m.contents)
	m.ArtifactType = intern(doc.ArtifactType.value)
	return m.setSubject(doc.Subject.value, doc.Annotations.value)
}

// layers returns the blobs of an image without its config, and those of an artifact.
func (m *Manifest) layers() []packed {
	if types.MediaType(m.MediaType).IsImage() {
		return m.contents[1:]
	}
	return m.contents
}

// setSubject sets the subject, and the annotations that a list of its referrers
// repeats.
func (m *Manifest) setSubject(subject *descriptorDocument, annotations map[string]string) error {
	if subject == nil {
		return nil
	}
	m.Annotations = annotations
	d, err := subject.descriptor()
	if err != nil {
		return fmt.Errorf("its subject: %w", err)
	}
	d.Annotations = nil
	m.subject = &d
	return nil
}

// checkSizes returns an error if a digest has two sizes.
func (m *Manifest) checkSizes() error {
	blobs := make(map[[sha256.Size]byte]int64, len(m.contents)+len(m.foreign))
	for _, list := range [][]packed{m.contents, m.foreign} {
		for _, b := range list {
			if err := b.sameSize(blobs); err != nil {
				return err
			}
		}
	}
	children := make(map[string]int64, len(m.children))
	for _, d := range m.children {
		if err := sameSize(children, d); err != nil {
			return err
		}
	}
	return nil
}

func sizesError(digest string, size, other int64) error {
	return fmt.Errorf("%s has two sizes, %d and %d bytes", digest, size, other)
}

func sameSize(sizes map[string]int64, d Descriptor) error {
	if size, ok := sizes[d.Digest]; ok && size != d.Size {
		return sizesError(d.Digest, size, d.Size)
	}
	sizes[d.Digest] = d.Size
	return nil
}
