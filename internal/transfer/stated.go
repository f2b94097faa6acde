package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
)

const (
	// maxContent bounds a blob that is read into memory, in bytes.
	maxContent = 64 << 10
	// maxContents bounds how many of them are kept.
	maxContents = 256
)

// Stated is what the manifest of an artifact says of itself. What a list of
// referrers says of it may have been written by anyone who can push.
type Stated struct {
	ArtifactType string // "" if it has none
	ConfigType   string // the media type of the config; "" in an index
	Subject      string // digest; "" if it refers to nothing
	Layers       []Layer
}

// Layer is a layer of an artifact. Data is what the descriptor holds inline,
// not yet compared with the digest; nil if it holds nothing.
type Layer struct {
	Descriptor
	Data []byte
}

// Type is the type that an artifact has by its own manifest.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
func (s Stated) Type() string {
	if s.ArtifactType != "" {
		return s.ArtifactType
	}
	return s.ConfigType
}

// ReadArtifact reads the manifest of an artifact by digest, verified, once a
// run.
func (r *Registry) ReadArtifact(ctx context.Context, repo, digest string) (Stated, error) {
	m, err := r.manifest(ctx, repo, digest, Descriptor{})
	if err != nil {
		return Stated{}, withSide(Source, err)
	}
	s := Stated{ArtifactType: m.ArtifactType}
	if m.subject != nil {
		s.Subject = m.subject.Digest
	}
	if types.MediaType(m.MediaType).IsIndex() {
		return s, nil
	}
	var doc v1.Manifest
	if err := json.Unmarshal(m.Raw, &doc); err != nil {
		return Stated{}, withSide(Source, r.corruptError("reading the manifest", repo, digest, "it is no valid image manifest"))
	}
	s.ArtifactType, s.ConfigType = doc.ArtifactType, string(doc.Config.MediaType)
	for _, l := range doc.Layers {
		d, err := fromV1(l)
		if err != nil {
			return Stated{}, withSide(Source, r.corruptError("reading the manifest", repo, digest, err.Error()))
		}
		s.Layers = append(s.Layers, Layer{d, l.Data})
	}
	return s, nil
}

// ReadContent returns the content of a small layer: what its descriptor holds
// inline, if that is the layer's content, else the blob. A copy does not read
// it again.
func (r *Registry) ReadContent(ctx context.Context, repo string, l Layer) ([]byte, error) {
	const op = "reading the blob"
	if l.Size > maxContent {
		return nil, withSide(Source, &Error{Registry: r.host, Repository: repo, Reference: l.Digest, Op: op, Kind: TooLarge,
			Reason: fmt.Sprintf("it has %d bytes, more than %d", l.Size, maxContent)})
	}
	content, err := r.contents.Get(ctx, l.Digest, func(ctx context.Context) ([]byte, error) {
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
			return nil, r.corruptError(op, repo, l.Digest, "what came has the digest "+ref.DigestOf(content))
		}
		return content, nil
	})
	return content, withSide(Source, r.wrap(ctx, op, repo, l.Digest, err))
}
