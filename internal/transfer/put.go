package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/retryafter"
	"acrpromote/internal/sanitize"
)

// putManifest puts a manifest by tag or digest, and compares the digest that
// the registry answers; where it answers none, it is asked for. Repeating is
// harmless: the same bytes have the same digest. listed reports that the registry
// processes the subject by itself (OCI-Subject).
//
// lag repeats where something that was put before is not seen yet: replicas of
// a registry agree a little later.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
func (r *Registry) putManifest(ctx context.Context, repo, reference string, m *Manifest, lag bool) (listed bool, err error) {
	const op = "putting the manifest"
	c := request{op: op, method: http.MethodPut, url: r.url(repo, "manifests", reference), repo: repo, ref: reference, contentType: m.MediaType, body: m.Raw}
	var count attemptCount
	for {
		var asked time.Duration
		again := false
		a, err := r.do(ctx, c)
		switch {
		case err != nil:
			again = isTransient(err)
		case a.status == http.StatusCreated || a.status == http.StatusOK || a.status == http.StatusNoContent:
			return r.confirmManifest(ctx, repo, reference, m, a)
		default:
			e := r.statusError(op, repo, reference, a.status, a.body)
			if e.Kind == Locked && ref.NamesDigest(reference) {
				// A lock refuses an equal manifest too; what is there is there.
				if d, err := r.head(ctx, repo, reference); err == nil && d.Digest == m.Digest {
					return true, nil
				}
			}
			asked = retryafter.Parse(a.header, time.Now())
			again = isTransientStatus(a.status) || lag && isUnknownReference(e)
			err = e
		}
		over, n := count.add(err)
		if !again || over {
			return false, err
		}
		if err := r.waitToRetry(ctx, failure{op, repo, reference, err}, n, asked); err != nil {
			return false, r.transportError(ctx, op, repo, reference, err)
		}
	}
}

func (r *Registry) confirmManifest(ctx context.Context, repo, ref string, m *Manifest, a *response) (listed bool, err error) {
	const op = "putting the manifest"
	said := a.header.Get("Docker-Content-Digest")
	if said == "" {
		d, err := r.readBack(ctx, repo, ref)
		if err != nil {
			return false, err
		}
		said = d.Digest
	}
	if said != m.Digest {
		return false, r.corruptError(op, repo, ref, fmt.Sprintf("the registry says that it stored %s, but %s was sent", sanitize.Bounded(said, 100), m.Digest))
	}
	r.tags.Set(key(repo, ref), m.Descriptor)
	r.tags.Set(key(repo, m.Digest), m.Descriptor)
	if isDigestTag(ref) {
		r.digestTagLists.Delete(repo)
	}
	if m.subject != nil {
		r.forgetReferrers(repo, m.subject.Digest)
	}
	return a.header.Get("OCI-Subject") != "", nil
}

// readBack asks for what was just put; that it is not there yet is lag.
func (r *Registry) readBack(ctx context.Context, repo, ref string) (Descriptor, error) {
	for n := 1; ; n++ {
		d, err := r.head(ctx, repo, ref)
		if !isNotFound(err) || n == maxAttempts {
			return d, err
		}
		if err := r.waitToRetry(ctx, failure{"looking for", repo, ref, err}, n, 0); err != nil {
			return d, r.transportError(ctx, "looking for", repo, ref, err)
		}
	}
}

// lagging tells whether a registry misses something that it took before.
func isUnknownReference(e *Error) bool {
	return slices.Contains([]string{"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}, e.Code)
}

// subjectMissing tells whether a referrer may have been refused because its
// subject is not there. The spec forbids that; registries differ.
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
