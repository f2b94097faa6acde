package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
)

const (
	// maxLayer bounds a layer that is read into memory, in bytes.
	maxLayer = 64 << 10
	// maxLayers bounds the layers in the cache.
	maxLayers = 256
)

// ArtifactManifest is what the manifest of an artifact says. A list of referrers
// may say something else: anyone with push access may have written it.
type ArtifactManifest struct {
	MediaType    string
	ArtifactType string // "" if it has none
	ConfigType   string // the media type of the config; "" in an index
	Subject      string // digest; "" if it has none
	Layers       []Layer
}

// Layer is a layer of an artifact. Data is the content that is embedded in its
// descriptor, nil if there is none of the right size, or if it is too large to be
// read; it has not been compared with the digest.
type Layer struct {
	Descriptor
	Data []byte
}

// Type returns the artifact type.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
func (m ArtifactManifest) Type() string {
	if m.ArtifactType != "" {
		return m.ArtifactType
	}
	return m.ConfigType
}

// ReadArtifact reads and verifies the manifest of an artifact, by digest, once a
// run.
func (r *Registry) ReadArtifact(ctx context.Context, repo, digest string) (ArtifactManifest, error) {
	m, err := r.manifest(ctx, repo, digest, Descriptor{})
	if err != nil {
		return ArtifactManifest{}, withSide(Source, err)
	}
	s := ArtifactManifest{MediaType: m.MediaType, ArtifactType: m.ArtifactType}
	if m.subject != nil {
		s.Subject = m.subject.Digest
	}
	if types.MediaType(m.MediaType).IsIndex() {
		return s, nil
	}
	doc := imageDocument{Layers: descriptors(maxManifestLayers, "layers", func(document descriptorDocument, d Descriptor) {
		l := Layer{Descriptor: d}
		if data := document.Data.value; int64(len(data)) == d.Size && d.Size <= maxLayer {
			l.Data = data
		}
		s.Layers = append(s.Layers, l)
	})}
	err = r.decodeRaw(ctx, repo, m, func(raw []byte) error {
		if json.Unmarshal(raw, &doc) != nil {
			return r.corruptError("reading the manifest", repo, digest, "it is not a valid image manifest")
		}
		return nil
	})
	if err != nil {
		return ArtifactManifest{}, withSide(Source, r.wrap(ctx, "reading the manifest", repo, digest, err))
	}
	s.ArtifactType, s.ConfigType = doc.ArtifactType.value, doc.Config.value.MediaType.value
	return s, nil
}

// ReadLayer returns the content of a small layer: that in its descriptor if its
// digest is right, else the blob. A copy does not read it again.
func (r *Registry) ReadLayer(ctx context.Context, repo string, l Layer) ([]byte, error) {
	const op = "reading the blob"
	if l.Size > maxLayer {
		return nil, withSide(Source, &Error{Registry: r.host, Repository: repo, Reference: l.Digest, Op: op, Kind: TooLarge,
			Reason: fmt.Sprintf("it has %d bytes, more than %d", l.Size, maxLayer)})
	}
	content, err := r.layers.Get(ctx, l.Digest, func(ctx context.Context) ([]byte, error) {
		if err := r.keep(repo, l.Digest, listWeight+l.Size); err != nil {
			return nil, err
		}
		if int64(len(l.Data)) == l.Size && ref.DigestOf(l.Data) == l.Digest {
			return l.Data, nil
		}
		body, err := r.download(repo, l.Descriptor)(ctx)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		content, err := io.ReadAll(io.LimitReader(body, l.Size))
		if err != nil {
			return nil, err
		}
		if ref.DigestOf(content) != l.Digest {
			return nil, r.corruptError(op, repo, l.Digest, "the content has the digest "+ref.DigestOf(content))
		}
		return content, nil
	})
	return content, withSide(Source, r.wrap(ctx, op, repo, l.Digest, err))
}
