package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
)

// errOccupied is the error of a fallback tag that points to something else.
var errOccupied = errors.New("the tag is not a list of referrers")

// ensureListed makes sure that the registry lists referrers that have just been put.
// said is what the registry said: that it lists them itself (OCI-Subject). That counts
// for registries that are known to do so; of others the list is read.
func (r *Registry) ensureListed(ctx context.Context, repo, subject string, put []Descriptor, said bool) (wrote bool, err error) {
	switch {
	case !r.listsReferrers:
		return r.proveListed(ctx, repo, subject, put, said)
	case said:
		return false, nil
	}
	return r.listByTag(ctx, repo, subject, put)
}

// proveListed reads the list, and adds what is not in it to the fallback tag.
func (r *Registry) proveListed(ctx context.Context, repo, subject string, put []Descriptor, said bool) (wrote bool, err error) {
	put, err = r.unlisted(ctx, repo, subject, put, said)
	if err != nil || len(put) == 0 {
		return false, err
	}
	return r.listByTag(ctx, repo, subject, put)
}

// listByTag adds referrers to the fallback tag. If that is taken, there is no list,
// and a warning.
func (r *Registry) listByTag(ctx context.Context, repo, subject string, put []Descriptor) (wrote bool, err error) {
	wrote, err = r.addToFallbackList(ctx, repo, subject, put)
	if errors.Is(err, errOccupied) {
		r.warnOfNoList(repo, subject)
		return false, nil
	}
	return wrote, err
}

func (r *Registry) warnOfNoList(repo, subject string) {
	r.warn("what is attached to %s/%s@%s is in no list there: the registry has no referrers API, and the tag %s points to something else", r.host, repo, subject, ref.DigestTag(subject))
}

// unlisted returns those of the referrers that the referrers API does not list. A list
// that is said to have them may lag.
func (r *Registry) unlisted(ctx context.Context, repo, subject string, put []Descriptor, said bool) ([]Descriptor, error) {
	const op = "listing the referrers"
	for n := 1; ; n++ {
		r.forgetReferrers(repo, subject)
		list, err := r.listByAPI(ctx, repo, subject)
		if errors.Is(err, errNoReferrersAPI) {
			return put, nil
		}
		if err != nil {
			return nil, r.wrap(ctx, op, repo, subject, err)
		}
		put = list.lacking(put)
		if len(put) == 0 || !said || n == maxAttempts {
			return put, nil
		}
		late := fmt.Errorf("%d of the referrers are not listed yet", len(put))
		if err := r.waitToRetry(ctx, failure{op, repo, subject, late}, n, 0); err != nil {
			return nil, r.transportError(ctx, op, repo, subject, err)
		}
	}
}

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
	case errors.Is(err, Unsupported), err == nil && !isListOf(present, subject):
		return false, &Error{Registry: r.host, Repository: repo, Reference: tag, Op: op, Kind: Conflict, Err: errOccupied,
			Reason: "the registry has no referrers API, and the tag that would list the referrers points to something else",
			Remedy: "Delete the tag, or use a registry with the referrers API."}
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
