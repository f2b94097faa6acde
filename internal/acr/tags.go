package acr

import (
	"context"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"acrpromote/internal/ref"
)

// maxTag is the length of the longest tag.
const maxTag = 128

// Tag is a tag of a repository: what it points to, and when it was set.
type Tag struct {
	Name    string
	Digest  string
	Updated time.Time
}

// NewestTags returns at most n tags of a repository, those that were set last, in
// one request. Entries that are not complete are left out.
func (m *Metadata) NewestTags(ctx context.Context, repository string, n int32) ([]Tag, error) {
	return m.tags(ctx, repository, "", n)
}

// TagsOf is NewestTags for the tags that point to a digest.
func (m *Metadata) TagsOf(ctx context.Context, repository, digest string, n int32) ([]Tag, error) {
	tags, err := m.tags(ctx, repository, digest, n)
	return slices.DeleteFunc(tags, func(t Tag) bool { return t.Digest != digest }), err
}

// tags lists tags, of a digest unless it is empty.
func (m *Metadata) tags(ctx context.Context, repository, digest string, n int32) ([]Tag, error) {
	op := "listing the tags of " + repository
	seen := &errorCapture{}
	defer seen.release()
	order := azcontainerregistry.ArtifactTagOrderByLastUpdatedOnDescending
	options := &azcontainerregistry.ClientListTagsOptions{MaxNum: &n, OrderBy: &order}
	if digest != "" {
		options.Digest = &digest
	}
	pager := m.client.NewListTagsPager(repository, options)
	page, err := pager.NextPage(context.WithValue(ctx, errorCaptureKey{}, seen))
	if err != nil {
		return nil, m.sdkError(op, repository, err, seen, reading)
	}
	var tags []Tag
	for _, t := range page.Tags {
		if len(tags) == int(n) {
			break
		}
		if t == nil || t.Name == nil || len(*t.Name) > maxTag || t.Digest == nil || !ref.IsDigest(*t.Digest) || t.LastUpdatedOn == nil {
			continue
		}
		tags = append(tags, Tag{*t.Name, *t.Digest, t.LastUpdatedOn.UTC()})
	}
	return tags, nil
}
