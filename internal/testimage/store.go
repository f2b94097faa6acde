package testimage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Media types of what is in an image.
const (
	ManifestType = string(types.OCIManifestSchema1)
	IndexType    = string(types.OCIImageIndex)
	ConfigType   = string(types.OCIConfigJSON)
	LayerType    = string(types.OCILayer)
)

// Descriptor describes a manifest or a blob as manifests do.
type Descriptor struct {
	MediaType    string       `json:"mediaType"`
	Digest       string       `json:"digest"`
	Size         int64        `json:"size"`
	ArtifactType string       `json:"artifactType,omitempty"`
	Platform     *v1.Platform `json:"platform,omitempty"`
}

// Describe returns the descriptor of a content.
func Describe(mediaType string, content []byte) Descriptor {
	return Descriptor{MediaType: mediaType, Digest: Digest(content), Size: int64(len(content))}
}

// Digest returns the digest of a content.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Manifest is an image manifest or an index, whichever it is.
type Manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType,omitempty"`
	Config        *Descriptor  `json:"config,omitempty"`
	Layers        []Descriptor `json:"layers,omitempty"`
	Manifests     []Descriptor `json:"manifests,omitempty"`
	Subject       *Descriptor  `json:"subject,omitempty"`
}

// Blobs returns the config and the layers.
func (m Manifest) Blobs() []Descriptor {
	var all []Descriptor
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	return append(all, m.Layers...)
}

// Parts are what an image, an artifact or an index is made of, each once.
type Parts struct {
	Manifests []Part // children come before what names them
	Blobs     []v1.Layer
}

// Part is a manifest with its bytes.
type Part struct {
	Descriptor
	Content []byte
}

// PartsOf takes an image, an artifact, or an index with all its children, apart.
func PartsOf(root mutate.Appendable) Parts {
	var p Parts
	seen := map[string]bool{}
	blob := func(l v1.Layer) {
		if digest := Of(l).Digest; !seen[digest] {
			seen[digest] = true
			p.Blobs = append(p.Blobs, l)
		}
	}
	var add func(root mutate.Appendable)
	add = func(root mutate.Appendable) {
		part := Part{Descriptor: Of(root)}
		if seen[part.Digest] {
			return
		}
		seen[part.Digest] = true
		switch root := root.(type) {
		case v1.ImageIndex:
			for _, child := range must(root.IndexManifest()).Manifests {
				if child.MediaType.IsIndex() {
					add(must(root.ImageIndex(child.Digest)))
				} else {
					add(must(root.Image(child.Digest)))
				}
			}
			part.Content = must(root.RawManifest())
		case v1.Image:
			m := must(root.Manifest())
			blob(static.NewLayer(must(root.RawConfigFile()), m.Config.MediaType))
			for _, l := range m.Layers {
				blob(must(root.LayerByDigest(l.Digest)))
			}
			part.Content, part.ArtifactType = must(root.RawManifest()), m.ArtifactType
		}
		p.Manifests = append(p.Manifests, part)
	}
	add(root)
	return p
}

// Of returns the descriptor of an image, an artifact, an index or a layer.
func Of(what mutate.Appendable) Descriptor {
	return Descriptor{MediaType: string(must(what.MediaType())), Digest: must(what.Digest()).String(), Size: must(what.Size())}
}

// Read returns the bytes of a layer.
func Read(l v1.Layer) []byte {
	r := must(l.Compressed())
	defer r.Close()
	return must(io.ReadAll(r))
}

// Store keeps what it is given, whether or not the rest of an image is there.
type Store interface {
	PutBlob(repository string, content []byte) (digest string)
	Push(repository, tag, mediaType string, content []byte) (digest string)
}

// Put stores an image, an artifact, or an index with all its children, under a
// tag; with the tag "" by its digest alone.
func Put(s Store, repository, tag string, root mutate.Appendable) Descriptor {
	parts := PartsOf(root)
	for _, b := range parts.Blobs {
		s.PutBlob(repository, Read(b))
	}
	last := len(parts.Manifests) - 1
	for i, m := range parts.Manifests {
		if i < last {
			s.Push(repository, "", m.MediaType, m.Content)
		} else {
			s.Push(repository, tag, m.MediaType, m.Content)
		}
	}
	return parts.Manifests[last].Descriptor
}

// Attach stores an artifact that refers to a manifest.
func Attach(s Store, repository string, subject Descriptor, artifactType string, content []byte) Descriptor {
	return Put(s, repository, "", Artifact(artifactType, subject, content, nil))
}

// List stores the tag that lists what refers to a manifest, as clients do where
// a registry has no referrers API.
func List(s Store, repository string, subject Descriptor, referrers ...Descriptor) Descriptor {
	content := encode(Manifest{SchemaVersion: 2, MediaType: IndexType, Manifests: referrers})
	s.Push(repository, FallbackTag(subject.Digest), IndexType, content)
	return Describe(IndexType, content)
}

// FallbackTag returns the tag that lists what refers to a digest. The tags that
// cosign puts next to an image begin so.
func FallbackTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

func encode(v any) []byte { return must(json.Marshal(v)) }
