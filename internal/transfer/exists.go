package transfer

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// head requests a manifest's digest, size and media type. If the registry does not
// answer HEAD requests, it reads the manifest.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#checking-if-content-exists-in-the-registry
func (r *Registry) head(ctx context.Context, repo, reference string) (Descriptor, error) {
	const op = "existence check"
	if r.noHead.Load() {
		return r.headByGet(ctx, repo, reference)
	}
	req := request{op: op, method: http.MethodHead, url: r.url(repo, "manifests", reference), repo: repo, ref: reference, accept: acceptManifests}
	resp, err := r.do(ctx, req)
	if err != nil {
		return Descriptor{}, err
	}
	switch resp.status {
	case http.StatusOK:
		r.headWorks.Store(true)
	case http.StatusNotFound:
		if !r.headWorks.Load() && (r.doubtHead.Load() || !strings.Contains(resp.header.Get("Content-Type"), "json")) {
			// The registry has something, and no HEAD request has found anything yet;
			// or something else than the registry's API may have answered.
			return r.replaceHead(ctx, repo, reference)
		}
		return Descriptor{}, r.statusError(op, repo, reference, resp.status, nil)
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return r.replaceHead(ctx, repo, reference)
	default:
		return Descriptor{}, r.headError(ctx, req, resp.status)
	}
	digest := resp.header.Get("Docker-Content-Digest")
	if digest == "" {
		return r.headByGet(ctx, repo, reference)
	}
	if err := ref.CheckDigest(digest); err != nil {
		return Descriptor{}, r.corruptError(op, repo, reference, fmt.Sprintf("the digest header is %q: %v", sanitize.Bounded(digest, 100), err))
	}
	if ref.NamesDigest(reference) && digest != reference {
		return Descriptor{}, r.corruptError(op, repo, reference, "the registry returned another digest, "+digest)
	}
	size := int64(-1)
	if n := resp.header.Get("Content-Length"); n != "" {
		if v, err := strconv.ParseInt(n, 10, 64); err == nil && v >= 0 {
			size = v
		}
	}
	return Descriptor{MediaType: mediaType(resp.header.Get("Content-Type")), Digest: digest, Size: size}, nil
}

// replaceHead reads a manifest after a HEAD request that did not find it. If it is
// there, the registry gets no HEAD requests any more.
func (r *Registry) replaceHead(ctx context.Context, repo, reference string) (Descriptor, error) {
	d, err := r.headByGet(ctx, repo, reference)
	if err == nil {
		r.noHead.Store(true)
	}
	return d, err
}

// ResolveByGet is Resolve with a GET request, for registries that may answer HEAD
// requests with 404 whatever they have. Once a HEAD request has found something, it
// sends HEAD.
func (r *Registry) ResolveByGet(ctx context.Context, repo, reference string) (Descriptor, error) {
	if r.headWorks.Load() || r.noHead.Load() {
		return r.Resolve(ctx, repo, reference)
	}
	d, err := r.resolve(ctx, repo, reference, r.headByGet)
	if err == nil {
		r.doubtHead.Store(true)
	}
	return d, err
}

func (r *Registry) headByGet(ctx context.Context, repo, reference string) (Descriptor, error) {
	m, err := r.fetch(ctx, repo, reference, Descriptor{}, nil)
	if err != nil {
		return Descriptor{}, err
	}
	return m.Descriptor, nil
}

// headError returns the error of a HEAD request that failed. The response has no
// body, and a firewall names the blocked address only in the body, so the
// request is repeated as GET.
func (r *Registry) headError(ctx context.Context, req request, status int) error {
	plain := r.statusError(req.op, req.repo, req.ref, status, nil)
	if status != http.StatusForbidden && status != http.StatusUnauthorized && status != http.StatusMethodNotAllowed {
		return plain
	}
	req.method, req.limit = http.MethodGet, maxErrorBody
	resp, err := r.do(ctx, req)
	if err != nil || resp.status != status {
		return plain
	}
	return r.statusError(req.op, req.repo, req.ref, status, resp.body)
}

// hasBlob reports whether a repository has a blob. The HEAD request is not
// redirected: a registry's storage may accept its signed URLs for GET only. Where
// HEAD shows nothing, one byte is read.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#checking-if-content-exists-in-the-registry
func (r *Registry) hasBlob(ctx context.Context, repo string, d Descriptor) (bool, error) {
	req := request{op: "existence check of the blob", method: http.MethodHead, url: r.url(repo, "blobs", d.Digest), repo: repo, ref: d.Digest}
	resp, err := r.do(ctx, req)
	if err != nil {
		return false, err
	}
	switch {
	case resp.status == http.StatusNotFound:
		return false, nil
	case resp.status == http.StatusOK:
		if n, err := strconv.ParseInt(resp.header.Get("Content-Length"), 10, 64); err == nil && n != d.Size {
			return r.startsBlob(ctx, req, d)
		}
		return true, nil
	case resp.status/100 == 3, resp.status == http.StatusMethodNotAllowed, resp.status == http.StatusNotImplemented:
		return r.startsBlob(ctx, req, d)
	}
	return false, r.headError(ctx, req, resp.status)
}

// startsBlob reports whether the first byte of a blob can be read, wherever the
// registry redirects to.
func (r *Registry) startsBlob(ctx context.Context, req request, d Descriptor) (bool, error) {
	req.method = http.MethodGet
	if d.Size > 0 {
		req.byteRange = "bytes=0-0"
	}
	resp, err := r.do(ctx, req)
	if err != nil {
		return false, err
	}
	size := ""
	switch {
	case resp.status == http.StatusNotFound, resp.status == http.StatusRequestedRangeNotSatisfiable:
		return false, nil
	case resp.status == http.StatusOK:
		size = resp.header.Get("Content-Length")
	case resp.status == http.StatusPartialContent:
		_, size, _ = strings.Cut(resp.header.Get("Content-Range"), "/")
	case resp.host != r.host:
		return false, r.storageError(req.op, req.repo, d, resp.host, resp.status)
	default:
		return false, r.statusError(req.op, req.repo, req.ref, resp.status, resp.body)
	}
	if n, err := strconv.ParseInt(size, 10, 64); err == nil && n != d.Size && !isCompressed(resp.header) {
		return false, r.corruptError(req.op, req.repo, req.ref, fmt.Sprintf("it has %d bytes, but the manifest says %d", n, d.Size))
	}
	return true, nil
}
