package transfer

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
)

// addToFallbackList adds referrers to the fallback tag of their subject, for a
// registry that does not list them itself. It reads, appends and puts the list. If
// another client writes it in between, that change is lost; the protocol has no
// way to prevent it.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests-with-subject
func (r *Registry) addToFallbackList(ctx context.Context, repo, subject string, referrers []Descriptor) (wrote bool, err error) {
	const op = "listing the referrers"
	unlock, err := r.fallbackWrites.Lock(ctx, key(repo, subject))
	if err != nil {
		return false, r.transportError(ctx, op, repo, subject, err)
	}
	defer unlock()

	var entries []json.RawMessage // unparsed, to keep fields of other clients
	tag := ref.DigestTag(subject)
	present, release, err := r.fetchToSend(ctx, repo, tag)
	defer release()
	var doc struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []json.RawMessage `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	var listed []Descriptor
	switch {
	case isNotFound(err):
	case err != nil:
		return false, err
	default:
		if listed, err = parseReferrers(present.Raw); err != nil {
			return false, r.corruptError(op, repo, tag, err.Error())
		}
		if err := json.Unmarshal(present.Raw, &doc); err != nil {
			return false, r.corruptError(op, repo, tag, err.Error())
		}
		entries = doc.Manifests
	}
	changed := false
	for _, d := range referrers {
		if slices.ContainsFunc(listed, func(l Descriptor) bool { return l.Digest == d.Digest }) {
			continue
		}
		raw, err := json.Marshal(d)
		if err != nil {
			return false, r.transportError(ctx, op, repo, tag, err)
		}
		entries = append(entries, raw)
		listed = append(listed, d)
		changed = true
	}
	if !changed {
		return false, nil
	}
	doc.SchemaVersion, doc.MediaType, doc.Manifests = 2, string(types.OCIImageIndex), entries
	raw, err := json.Marshal(doc)
	if err != nil {
		return false, r.transportError(ctx, op, repo, tag, err)
	}
	if len(raw) > maxManifest || len(entries) > maxReferrers {
		return false, r.tooManyError(op, repo, subject)
	}
	m := &Manifest{Raw: raw, Descriptor: Descriptor{MediaType: doc.MediaType, Digest: ref.DigestOf(raw), Size: int64(len(raw))}}
	if _, err := r.putManifest(ctx, repo, tag, m, true); err != nil {
		return false, err
	}
	r.forgetReferrers(repo, subject)
	return true, nil
}
