package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/ocierror"
	"acrpromote/internal/ref"
	"acrpromote/internal/refusal"
	"acrpromote/internal/retryafter"
	"acrpromote/internal/sanitize"
)

// putManifest puts a manifest by tag or digest, and compares the digest that the
// registry returns, or, if it returns none or has only accepted the manifest, that of
// another request. Retries are
// safe: the same content has the same digest. listed reports whether the registry
// lists the manifest as a referrer itself (OCI-Subject).
//
// retryUnknown retries if the registry does not know something that was put
// before: its replicas may lag.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
func (r *Registry) putManifest(ctx context.Context, repo, reference string, m *Manifest, retryUnknown bool) (listed bool, err error) {
	const op = "pushing the manifest"
	m, release, err := m.whole(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	req := request{op: op, method: http.MethodPut, url: r.url(repo, "manifests", reference), repo: repo, ref: reference, contentType: m.MediaType, body: m.Raw}
	var count attemptCount
	for {
		var retryAfter time.Duration
		retry := false
		resp, err := r.do(ctx, req)
		switch {
		case err != nil:
			retry = isTransient(err)
		case resp.status == http.StatusCreated || resp.status == http.StatusOK || resp.status == http.StatusNoContent || resp.status == http.StatusAccepted:
			return r.confirmManifest(ctx, repo, reference, m, resp)
		default:
			e := r.statusError(op, repo, reference, resp.status, resp.body)
			if e.Kind == Locked && ref.NamesDigest(reference) {
				// A lock refuses an equal manifest too, which is fine if it exists.
				if d, err := r.head(ctx, repo, reference); err == nil && d.Digest == m.Digest {
					return true, nil
				}
			}
			r.explainRefusedManifest(e, resp.body)
			retryAfter = retryafter.Parse(resp.header, time.Now())
			retry = isTransientStatus(resp.status) || retryUnknown && isUnknownReference(e)
			err = e
		}
		last, n := count.add(err)
		if !retry || last {
			return false, err
		}
		if err := r.waitToRetry(ctx, failure{op, repo, reference, err}, n, retryAfter); err != nil {
			return false, r.transportError(ctx, op, repo, reference, err)
		}
	}
}

func (r *Registry) confirmManifest(ctx context.Context, repo, reference string, m *Manifest, resp *response) (listed bool, err error) {
	const op = "pushing the manifest"
	said := resp.header.Get("Docker-Content-Digest")
	if said == "" || resp.status == http.StatusAccepted {
		// 202 says that it may be stored later.
		d, err := r.readBack(ctx, repo, reference)
		if err != nil {
			return false, err
		}
		said = d.Digest
	}
	if said != m.Digest {
		return false, r.corruptError(op, repo, reference, fmt.Sprintf("the registry stored %s, but %s was sent", sanitize.Bounded(said, 100), m.Digest))
	}
	r.tags.Set(key(repo, reference), m.Descriptor)
	r.tags.Set(key(repo, m.Digest), m.Descriptor)
	if reference == m.Digest {
		r.untaggedSince.Set(key(repo, m.Digest), time.Now())
	}
	if isDigestTag(reference) {
		r.digestTagLists.Delete(repo)
	}
	if m.subject != nil {
		r.forgetReferrers(repo, m.subject.Digest)
	}
	return resp.header.Get("OCI-Subject") != "", nil
}

// readBack resolves what was just put, and retries while it does not exist.
func (r *Registry) readBack(ctx context.Context, repo, ref string) (Descriptor, error) {
	for n := 1; ; n++ {
		d, err := r.head(ctx, repo, ref)
		if !isNotFound(err) || n == maxAttempts {
			return d, err
		}
		if err := r.waitToRetry(ctx, failure{"existence check", repo, ref, err}, n, 0); err != nil {
			return d, r.transportError(ctx, "existence check", repo, ref, err)
		}
	}
}

// explainRefusedManifest adds what only a manifest may be refused for: it was
// deleted before, or what it refers to has been.
func (r *Registry) explainRefusedManifest(e *Error, body []byte) {
	said := strings.ToLower(ocierror.Parse(body, r.secrets).Message)
	const restore = "az acr manifest list-deleted shows it, and az acr manifest restore brings it back"
	switch {
	case strings.Contains(said, "soft deleted") || strings.Contains(said, "soft-deleted"):
		e.Kind = Conflict
	case e.Kind == Locked:
		e.Remedy += fmt.Sprintf(" It may also be soft-deleted: %s.", restore)
	case isUnknownReference(e):
		e.Reason = "what it refers to was pushed before, but is not there: " + e.Reason
		if entry, known := refusal.Find(refusal.Registry, refusal.Response{Code: "MANIFEST_BLOB_UNKNOWN"}); known {
			_, remedy := entry.Fill("host", r.host)
			e.Remedy = strings.TrimSuffix(remedy, ".") + "."
		}
	}
}

// isUnknownReference reports whether a registry does not know what a manifest
// refers to.
func isUnknownReference(err error) bool {
	var e *Error
	return errors.As(err, &e) && slices.Contains([]string{"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}, e.Code)
}

// mayLackSubject reports whether a referrer may have been refused because its
// subject does not exist. The spec forbids that, but registries differ.
func mayLackSubject(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status < 400 || e.Status >= 500 {
		return false
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusTooManyRequests:
		return false
	}
	return e.Kind != Locked && e.Kind != TooLarge
}
