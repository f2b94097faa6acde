package transfer

import (
	"context"
	"encoding/json"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
)

// Content is the content of one layer of an artifact.
type Content struct {
	MediaType string
	Data      []byte
	// Inline embeds the data in the descriptor as well, so that reading the
	// manifest is enough. OCI 1.1 allows it, and oras does it for empty configs.
	Inline bool
}

// Artifact is a small artifact that refers to a manifest, such as a seal record.
type Artifact struct {
	Type     string     // artifactType
	Subject  Descriptor // with media type, digest and size
	Contents []Content
	// Annotations of the manifest; nil if there are none.
	Annotations map[string]string
}

// emptyConfig is the config of an artifact without one.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidance-for-an-empty-descriptor
var emptyConfig = []byte("{}")

// manifest returns the manifest of the artifact: always the same for the same
// artifact.
func (a Artifact) manifest() (*Manifest, error) {
	describe := func(mediaType string, data []byte) (v1.Descriptor, error) {
		h, err := v1.NewHash(ref.DigestOf(data))
		return v1.Descriptor{MediaType: types.MediaType(mediaType), Size: int64(len(data)), Digest: h}, err
	}
	config, err := describe(string(types.OCIEmptyJSON), emptyConfig)
	if err != nil {
		return nil, err
	}
	doc := v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  a.Type,
		Config:        config,
		Annotations:   a.Annotations,
	}
	for _, c := range a.Contents {
		d, err := describe(c.MediaType, c.Data)
		if err != nil {
			return nil, err
		}
		if c.Inline {
			d.Data = c.Data
		}
		doc.Layers = append(doc.Layers, d)
	}
	if len(doc.Layers) == 0 {
		// The spec requires at least one layer: the empty one again.
		doc.Layers = []v1.Descriptor{config}
	}
	if a.Subject.Digest != "" {
		h, err := v1.NewHash(a.Subject.Digest)
		if err != nil {
			return nil, err
		}
		doc.Subject = &v1.Descriptor{MediaType: types.MediaType(a.Subject.MediaType), Size: a.Subject.Size, Digest: h}
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	m, _, err := parseManifest(raw, "", "")
	return m, err
}

// PutArtifact attaches an artifact to its subject in a repository. It puts the
// blobs, then the manifest by its digest, and then the fallback tag if the
// registry does not list referrers itself.
func (r *Registry) PutArtifact(ctx context.Context, repo string, a Artifact) (Descriptor, error) {
	if err := r.PutArtifactBlobs(ctx, repo, a); err != nil {
		return Descriptor{}, err
	}
	return r.PutArtifactManifest(ctx, repo, a)
}

const attachingOp = "attaching the artifact"

// PutArtifactBlobs puts the blobs of artifacts, each once.
func (r *Registry) PutArtifactBlobs(ctx context.Context, repo string, artifacts ...Artifact) error {
	data := map[string][]byte{ref.DigestOf(emptyConfig): emptyConfig}
	var all []Descriptor
	subject := ""
	for _, a := range artifacts {
		subject = a.Subject.Digest
		m, err := a.manifest()
		if err != nil {
			return withSide(Target, r.transportError(ctx, attachingOp, repo, subject, err))
		}
		for _, c := range a.Contents {
			data[ref.DigestOf(c.Data)] = c.Data
		}
		all = append(all, m.blobs()...)
	}
	blobs, err := distinct(all)
	if err == nil {
		err = forEach(ctx, blobs, func(ctx context.Context, d Descriptor) error { return r.putSmallBlob(ctx, repo, data[d.Digest]) })
	}
	return withSide(Target, r.wrap(ctx, attachingOp, repo, subject, err))
}

// PutArtifactManifest puts the manifest of an artifact whose blobs are there, and the
// fallback tag if the registry does not list referrers itself.
func (r *Registry) PutArtifactManifest(ctx context.Context, repo string, a Artifact) (Descriptor, error) {
	m, err := a.manifest()
	if err != nil {
		return Descriptor{}, withSide(Target, r.transportError(ctx, attachingOp, repo, a.Subject.Digest, err))
	}
	listed, err := r.putManifest(ctx, repo, m.Digest, m, true)
	if err == nil && m.subject != nil {
		err = r.listArtifact(ctx, repo, m, listed)
	}
	if err != nil {
		return Descriptor{}, withSide(Target, err)
	}
	return m.Descriptor, nil
}

// listArtifact makes sure that the registry lists an artifact. One in no list would not
// be found.
func (r *Registry) listArtifact(ctx context.Context, repo string, m *Manifest, said bool) error {
	put := []Descriptor{m.Descriptor}
	if !r.listsReferrers {
		var err error
		if put, err = r.unlisted(ctx, repo, m.subject.Digest, put, said); err != nil || len(put) == 0 {
			return err
		}
	} else if said {
		return nil
	}
	_, err := r.addToFallbackList(ctx, repo, m.subject.Digest, put)
	return err
}

// putSmallBlob uploads a blob that is in memory, unless the repository has it.
func (r *Registry) putSmallBlob(ctx context.Context, repo string, data []byte) error {
	d := Descriptor{Digest: ref.DigestOf(data), Size: int64(len(data))}
	_, err := r.upload(ctx, repo, "", d, bytesOpener(data), false, noProgress{})
	var transient *transientError
	if errors.As(err, &transient) {
		err = transient.err
	}
	return withSide(Target, err)
}
