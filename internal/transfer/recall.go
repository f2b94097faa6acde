package transfer

import (
	"context"
	"errors"
	"net/http"
)

// Look is Resolve without the cache: what a client gets now.
func (r *Registry) Look(ctx context.Context, repo, reference string) (Descriptor, error) {
	d, err := r.head(ctx, repo, reference)
	return d, r.wrap(ctx, "existence check", repo, reference, err)
}

// ReferrersNow is Referrers without what was listed before.
func (r *Registry) ReferrersNow(ctx context.Context, repo, digest, artifactType string) ([]Descriptor, error) {
	r.forgetReferrers(repo, digest)
	return r.Referrers(ctx, repo, digest, artifactType)
}

// DeleteTag deletes a tag; the manifest stays. A tag that does not exist is no error.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#deleting-tags
func (r *Registry) DeleteTag(ctx context.Context, repo, tag string) error {
	const op = "deleting the tag"
	resp, err := r.do(ctx, request{op: op, method: http.MethodDelete, url: r.url(repo, "manifests", tag), repo: repo, ref: tag})
	if err == nil && resp.status/100 != 2 {
		err = r.statusError(op, repo, tag, resp.status, resp.body)
	}
	if errors.Is(err, NotFound) {
		return nil
	}
	return withSide(Target, r.wrap(ctx, op, repo, tag, err))
}

// AssumeTag records what a tag points to, if that is known from elsewhere and the
// registry does not resolve it.
func (r *Registry) AssumeTag(repo, tag, digest string) {
	r.tags.Set(key(repo, tag), Descriptor{Digest: digest, Size: -1})
}
