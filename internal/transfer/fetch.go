package transfer

import (
	"context"
	"fmt"
	"net/http"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// manifest reads and verifies a manifest, by tag or digest, once a run. A tag that
// has been resolved in this run is read by its digest. want is the descriptor as
// far as it is known.
func (r *Registry) manifest(ctx context.Context, repo, reference string, want Descriptor) (*Manifest, error) {
	if !ref.NamesDigest(reference) {
		d, ok := r.tags.Peek(key(repo, reference))
		if !ok {
			return r.manifestByTag(ctx, repo, reference)
		}
		reference = d.Digest
	}
	m, err := r.manifests.Get(ctx, key(repo, reference), func(ctx context.Context) (*Manifest, error) {
		return r.fetchToKeep(ctx, repo, reference, want)
	})
	if err != nil {
		return nil, r.wrap(ctx, "reading the manifest", repo, reference, err)
	}
	r.cacheManifest(repo, m)
	return m, nil
}

func (r *Registry) cacheManifest(repo string, m *Manifest) {
	id := key(repo, m.Digest)
	there, ok := r.manifests.Peek(id)
	if !ok {
		r.manifests.Set(id, m)
	}
	m.setCached(!ok || there == m)
}

// fetchToKeep is fetch for a manifest that is kept until the end of the run.
func (r *Registry) fetchToKeep(ctx context.Context, repo, reference string, want Descriptor) (*Manifest, error) {
	return r.fetch(ctx, repo, reference, want, func(m *Manifest) error { return r.keepManifest(repo, m) })
}

func (r *Registry) manifestByTag(ctx context.Context, repo, tag string) (*Manifest, error) {
	m, err := r.fetchToKeep(ctx, repo, tag, Descriptor{})
	if err != nil {
		return nil, err
	}
	r.cacheManifest(repo, m)
	r.tags.Set(key(repo, tag), m.Descriptor)
	return m, nil
}

// fetch reads one manifest and computes its digest, which has to be the one that
// was requested, or, of a tag, the one in the response's header if there is one. use,
// if not nil, is called with the manifest before the next large response is read; its
// error is returned.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
func (r *Registry) fetch(ctx context.Context, repo, reference string, want Descriptor, use func(*Manifest) error) (*Manifest, error) {
	const op = "reading the manifest"
	var m *Manifest
	resp, err := r.get(ctx, request{op: op, url: r.url(repo, "manifests", reference), repo: repo, ref: reference, accept: acceptManifests, limit: maxManifest,
		parse: func(resp *response) (err error) {
			m, err = r.verified(resp, repo, reference, want)
			if err == nil && use != nil {
				err = use(m)
			}
			return err
		}})
	if err != nil {
		return nil, err
	}
	if resp.status != http.StatusOK {
		return nil, r.statusError(op, repo, reference, resp.status, resp.body)
	}
	return m, nil
}

// verified returns the manifest of a response, once its digest has been compared
// with what was requested.
func (r *Registry) verified(resp *response, repo, reference string, want Descriptor) (*Manifest, error) {
	const op = "reading the manifest"
	digest := ref.DigestOf(resp.body)
	if ref.NamesDigest(reference) && digest != reference {
		return nil, r.corruptError(op, repo, reference, fmt.Sprintf("the content has the digest %s (%d bytes)", digest, len(resp.body)))
	}
	if said := resp.header.Get("Docker-Content-Digest"); said != "" && said != digest {
		return nil, r.corruptError(op, repo, reference, fmt.Sprintf("the registry returned the digest %s, but the content has %s", sanitize.Bounded(said, 100), digest))
	}
	m, kind, err := parseManifest(resp.body, mediaType(resp.header.Get("Content-Type")), want.MediaType)
	if err == nil && want.Digest != "" && want.Size >= 0 && want.Size != m.Size {
		kind, err = Corrupt, fmt.Errorf("it has %d bytes, but its descriptor says %d", m.Size, want.Size)
	}
	if err != nil {
		e := r.corruptError(op, repo, reference, err.Error())
		switch e.Kind = kind; kind {
		case Unsupported:
			e.Remedy = "Rebuild it in a current format, or leave it out."
		case TooLarge:
			e.Remedy = "Rebuild it with less in it, or leave it out."
		}
		return nil, e
	}
	return m, nil
}
