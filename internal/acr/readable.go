package acr

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"acrpromote/internal/ref"
)

// Reading is what the registry's metadata shows of a manifest: whether reads of it are
// enabled, and what belongs to it.
type Reading struct {
	// Known reports whether the registry has the attribute readEnabled.
	Known, Enabled bool
	Children       []string // digests of the manifests in an index
	Tags           []string
}

// Reading returns whether a manifest may be read.
func (m *Metadata) Reading(ctx context.Context, repository, digest string) (Reading, error) {
	op := "reading the attributes of " + repository + "@" + digest
	seen := &errorCapture{}
	defer seen.release()
	answer, err := m.client.GetManifestProperties(context.WithValue(ctx, errorCaptureKey{}, seen), repository, digest, nil)
	if err != nil {
		return Reading{}, m.sdkError(op, repository, err, seen, reading)
	}
	a := answer.Manifest
	if a == nil || a.Digest == nil || *a.Digest != digest {
		return Reading{}, m.missing(op, "manifest of this digest")
	}
	r := Reading{}
	if c := a.ChangeableAttributes; c != nil && c.CanRead != nil {
		r.Known, r.Enabled = true, *c.CanRead
	}
	for _, child := range a.RelatedArtifacts {
		if child != nil && child.Digest != nil && ref.IsDigest(*child.Digest) {
			r.Children = append(r.Children, *child.Digest)
		}
	}
	for _, tag := range a.Tags {
		if tag != nil && len(*tag) <= maxTag {
			r.Tags = append(r.Tags, *tag)
		}
	}
	return r, nil
}

// SetReadable sets whether a manifest may be read. Its locks stay as they are.
func (m *Metadata) SetReadable(ctx context.Context, repository, digest string, readable bool) error {
	seen := &errorCapture{}
	defer seen.release()
	_, err := m.client.UpdateManifestProperties(context.WithValue(ctx, errorCaptureKey{}, seen), repository, digest, &azcontainerregistry.ClientUpdateManifestPropertiesOptions{
		Value: &azcontainerregistry.ManifestWriteableProperties{CanRead: &readable},
	})
	if err != nil {
		return m.sdkError("setting whether "+repository+"@"+digest+" may be read", repository, err, seen, writing)
	}
	return nil
}
