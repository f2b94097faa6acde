package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ocierror"
	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

const (
	maxReferrers     = 10_000 // of one manifest
	maxReferrerPages = 200
)

// referrerList is a list of the referrers of one manifest.
type referrerList struct {
	entries []Descriptor
	api     bool // from the referrers API, not from a fallback tag
	// occupied says that the fallback tag points to something that is not a list.
	occupied bool
	weight   int64 // in memory, as an estimate
}

func (l referrerList) has(digest string) bool {
	return slices.ContainsFunc(l.entries, func(d Descriptor) bool { return d.Digest == digest })
}

// lacking returns those of the referrers that are not listed.
func (l referrerList) lacking(wanted []Descriptor) []Descriptor {
	return slices.DeleteFunc(slices.Clone(wanted), func(d Descriptor) bool { return l.has(d.Digest) })
}

// Referrers returns the referrers of a manifest with an artifact type, or all if
// artifactType is empty. A manifest that does not exist has none.
//
// It does not use the registry's filter, so that one response serves all calls of
// a run. If the list has no artifact type of a referrer, its manifest is read.
func (r *Registry) Referrers(ctx context.Context, repo, digest, artifactType string) ([]Descriptor, error) {
	list, err := r.referrers(ctx, repo, digest)
	if err != nil {
		return nil, err
	}
	var found []Descriptor
	for _, d := range list.entries {
		if artifactType != "" && d.ArtifactType != artifactType {
			// Some registries list the media type of the config instead.
			if d.ArtifactType != "" && d.ArtifactType != string(types.OCIEmptyJSON) {
				continue
			}
			m, err := r.manifest(ctx, repo, d.Digest, d)
			if err != nil {
				return nil, err
			}
			if d.ArtifactType = m.ArtifactType; d.ArtifactType != artifactType {
				continue
			}
		}
		found = append(found, d)
	}
	return found, nil
}

func (r *Registry) referrers(ctx context.Context, repo, digest string) (referrerList, error) {
	if !ref.NamesDigest(digest) {
		return referrerList{}, &Error{Registry: r.host, Repository: repo, Op: "listing the referrers", Kind: Unsupported,
			Reason: fmt.Sprintf("%q is not a digest", sanitize.Bounded(digest, 100)), Remedy: "Resolve the tag first."}
	}
	list, err := r.referrerLists.Get(ctx, key(repo, digest), func(ctx context.Context) (referrerList, error) {
		return r.listReferrers(ctx, repo, digest)
	})
	return list, r.wrap(ctx, "listing the referrers", repo, digest, err)
}

// listReferrers reads the list of the referrers API, or the fallback tag if the
// registry has no such API.
func (r *Registry) listReferrers(ctx context.Context, repo, digest string) (referrerList, error) {
	list, err := r.listByAPI(ctx, repo, digest)
	if errors.Is(err, errNoReferrersAPI) {
		return r.listByFallbackTag(ctx, repo, digest)
	}
	return list, err
}

// errNoReferrersAPI is the error of a registry without the referrers API.
var errNoReferrersAPI = errors.New("the registry has no referrers API")

// listByAPI reads all pages of the referrers API.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
func (r *Registry) listByAPI(ctx context.Context, repo, digest string) (referrerList, error) {
	const op = "listing the referrers"
	release := func() {}
	if !r.referrersAPI.Load() && !r.noReferrersAPI.Load() {
		// One request finds out for all whether there is such an API.
		if err := r.apiProbe.Acquire(ctx, 1); err != nil {
			return referrerList{}, err
		}
		release = sync.OnceFunc(func() { r.apiProbe.Release(1) })
		defer release()
	}
	if r.noReferrersAPI.Load() {
		return referrerList{}, errNoReferrersAPI
	}
	if r.referrersAPI.Load() {
		release()
	}
	list := referrerList{api: true}
	page := r.url(repo, "referrers", digest)
	seen := make(pages)
	for len(seen) < maxReferrerPages {
		seen.add(page)
		first := len(seen) == 1
		var entries []Descriptor
		parse := func(resp *response) (err error) {
			if first && !isIndex(resp) {
				return errNoReferrersAPI
			}
			if entries, err = parseReferrers(resp.body); err != nil {
				return r.listError(op, repo, digest, err)
			}
			list.weight += listWeight + descriptorsWeight(entries)
			return r.keep(repo, digest, listWeight+descriptorsWeight(entries))
		}
		resp, err := r.get(ctx, request{op: op, url: page, repo: repo, ref: digest, accept: string(types.OCIImageIndex), limit: maxManifest, parse: parse})
		if err == nil && first && lacksReferrersAPI(resp) {
			err = errNoReferrersAPI
		}
		if errors.Is(err, errNoReferrersAPI) {
			// That the repository is unknown says nothing about the registry, nor does
			// one manifest if others are listed.
			if !r.referrersAPI.Load() && (resp == nil || ocierror.Parse(resp.body, nil).Code != "NAME_UNKNOWN") {
				r.noReferrersAPI.Store(true)
			}
		}
		if err != nil {
			return referrerList{}, err
		}
		if resp.status != http.StatusOK {
			return referrerList{}, r.statusError(op, repo, digest, resp.status, resp.body)
		}
		r.referrersAPI.Store(true)
		release()
		list.entries = append(list.entries, entries...)
		if len(list.entries) > maxReferrers {
			return referrerList{}, r.tooManyError(op, repo, digest)
		}
		next, err := nextPage(page, r.repositoryURL(repo), resp.header.Values("Link"))
		if err != nil {
			return referrerList{}, r.corruptError(op, repo, digest, err.Error())
		}
		if next == "" {
			list.entries, err = distinct(list.entries)
			if err != nil {
				return referrerList{}, r.corruptError(op, repo, digest, err.Error())
			}
			return list, nil
		}
		if seen.has(next) {
			return referrerList{}, r.corruptError(op, repo, digest, "the pages of the list form a loop")
		}
		page = next
	}
	return referrerList{}, r.tooManyError(op, repo, digest)
}

// listByFallbackTag is fallbackList for the cache of lists: the list is counted once.
func (r *Registry) listByFallbackTag(ctx context.Context, repo, digest string) (referrerList, error) {
	list, err := r.fallbackList(ctx, repo, digest)
	list.weight = 0
	return list, err
}

// listError returns an error of parseReferrers as an *Error.
func (r *Registry) listError(op, repo, digest string, err error) error {
	if _, excess := errors.AsType[*limitError](err); excess {
		return r.tooManyError(op, repo, digest)
	}
	return r.corruptError(op, repo, digest, err.Error())
}

func (r *Registry) tooManyError(op, repo, digest string) *Error {
	return &Error{Registry: r.host, Repository: repo, Reference: digest, Op: op, Kind: TooLarge,
		Reason: fmt.Sprintf("the list has more than %d entries or %d pages", maxReferrers, maxReferrerPages),
		Remedy: "Remove what is no longer needed, or copy without referrers."}
}

// lacksReferrersAPI reports whether the status is that of a registry without the API:
// 404 by the spec; others refuse the method, the media type or the whole request. A
// response that denies access, or that is an error of the server, says nothing.
func lacksReferrersAPI(resp *response) bool {
	code := ocierror.Parse(resp.body, nil).Code
	switch resp.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusNotAcceptable, http.StatusNotImplemented:
		return true
	case http.StatusMethodNotAllowed:
		return code != "REGISTRY_DISALLOWED_OPERATION" // a lock against reading
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return false
	}
	return resp.status < 500 && code == "UNSUPPORTED"
}

// isIndex reports whether a successful response is an index, whatever is in it.
// Registries without the API may respond with a web page or another document. What
// is said to be an index, and cannot be parsed, is one that is broken.
func isIndex(resp *response) bool {
	var shape struct {
		MediaType once[string] `json:"mediaType"`
		Manifests present      `json:"manifests"`
	}
	said := mediaType(resp.header.Get("Content-Type")) == string(types.OCIImageIndex)
	if json.Unmarshal(resp.body, &shape) != nil {
		return said
	}
	return shape.MediaType.value == string(types.OCIImageIndex) || shape.MediaType.value == "" && (said || bool(shape.Manifests))
}

// referrersExpecting is referrers for a caller that expects some. tagged says that
// a fallback tag lists them at the source. If such a tag lists all of them here,
// there is no need to find out whether the registry has the API: one that has it
// must list them as well.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#enabling-the-referrers-api
func (r *Registry) referrersExpecting(ctx context.Context, repo, subject string, wanted []Descriptor, tagged bool) (referrerList, error) {
	if tagged && !r.referrersAPI.Load() && !r.noReferrersAPI.Load() {
		list, err := r.fallbackList(ctx, repo, subject)
		if err == nil && len(list.lacking(wanted)) == 0 {
			return list, nil
		}
	}
	return r.referrers(ctx, repo, subject)
}

// fallbackList reads the fallback tag of a manifest, once a run. There is no
// request if the repository's tags are known and it is not among them.
func (r *Registry) fallbackList(ctx context.Context, repo, digest string) (referrerList, error) {
	return r.fallbackLists.Get(ctx, key(repo, digest), func(ctx context.Context) (referrerList, error) {
		return r.readFallbackList(ctx, repo, digest)
	})
}

func (r *Registry) readFallbackList(ctx context.Context, repo, digest string) (referrerList, error) {
	if tags, ok := r.digestTagLists.Wait(ctx, repo); ok && !tags.mayHaveFallbackList(digest) {
		return referrerList{}, nil
	}
	tag := ref.DigestTag(digest)
	var list referrerList
	m, err := r.fetch(ctx, repo, tag, Descriptor{}, func(m *Manifest) (err error) {
		if list.occupied = !isListOf(m, digest); list.occupied {
			return nil
		}
		if list.entries, err = parseReferrers(m.Raw); err == nil {
			list.entries, err = distinct(list.entries)
		}
		if err != nil {
			return r.listError("listing the referrers", repo, digest, err)
		}
		list.weight = listWeight + descriptorsWeight(list.entries)
		return r.keep(repo, digest, list.weight)
	})
	what := "a manifest of an unknown type"
	switch {
	case isNotFound(err):
		return referrerList{}, nil
	case errors.Is(err, Unsupported):
		list.occupied = true
	case err != nil:
		return referrerList{}, err
	default:
		what = m.MediaType + " " + m.Digest
	}
	if list.occupied {
		r.warn("%s/%s:%s is not a list of referrers, although it has the name of one: it points to %s", r.host, repo, tag, what)
	}
	return list, nil
}

// isListOf reports whether what the fallback tag of a manifest points to may be a list
// of its referrers. Some give an image the name of its own digest, and some registries
// answer such a name with the manifest itself.
func isListOf(m *Manifest, subject string) bool {
	return m.MediaType == string(types.OCIImageIndex) && m.Digest != subject
}

// parseReferrers parses a list of referrers: an OCI index.
func parseReferrers(raw []byte) ([]Descriptor, error) {
	var list []Descriptor
	doc := indexDocument{Manifests: descriptors(maxReferrers, "entries", func(_ descriptorDocument, d Descriptor) { list = append(list, d) })}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("the list is not valid: %w", decodeError(err))
	}
	if mediaType := doc.MediaType.value; doc.SchemaVersion.value != 2 || mediaType != "" && mediaType != string(types.OCIImageIndex) {
		return nil, fmt.Errorf("the list is not an OCI index, but %q", sanitize.Bounded(mediaType, 100))
	}
	return list, nil
}

func distinct(list []Descriptor) ([]Descriptor, error) {
	sizes := make(map[string]int64, len(list))
	var kept []Descriptor
	for _, d := range list {
		if _, twice := sizes[d.Digest]; !twice {
			kept = append(kept, d)
		}
		if err := sameSize(sizes, d); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// nextPage returns the URL of the next page (RFC 8288). It has to begin with
// prefix, the same repository of the same registry, since the token is sent there.
func nextPage(page, prefix string, links []string) (string, error) {
	for _, header := range links {
		for len(header) > 0 {
			_, rest, ok := strings.Cut(header, "<")
			if !ok {
				break
			}
			target, rest, ok := strings.Cut(rest, ">")
			if !ok {
				return "", fmt.Errorf("the Link header is not valid")
			}
			params, rest := linkParams(rest)
			header = rest
			if !isRelNext(params) {
				continue
			}
			base, err := url.Parse(page)
			if err != nil {
				return "", fmt.Errorf("the Link header is not valid")
			}
			next, err := base.Parse(target)
			if err != nil {
				return "", fmt.Errorf("the Link header is not valid")
			}
			if next.User != nil || !strings.HasPrefix(next.Scheme+"://"+next.Host+next.Path, prefix) || strings.Contains(next.Path, "/../") {
				return "", fmt.Errorf("the next page of the list is at another location (%s)", sanitize.Bounded(next.Host+next.Path, 100))
			}
			next.Fragment = ""
			return next.String(), nil
		}
	}
	return "", nil
}

// linkParams splits a link's parameters from the links after it. A comma in quotes
// does not end them.
func linkParams(s string) (params, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func isRelNext(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(rel, "next") {
				return true
			}
		}
	}
	return false
}
