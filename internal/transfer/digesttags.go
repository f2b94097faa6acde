package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"acrpromote/internal/ocierror"
	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// Cosign before version 3 attaches by the name of a tag alone: what belongs to
// the manifest sha256:<hex> lies under sha256-<hex> with one of these endings.
// https://github.com/sigstore/cosign/blob/v2.6.1/specs/SIGNATURE_SPEC.md#storage
var digestTagSuffixes = []string{".att", ".sbom", ".sig"}

const (
	tagsPage      = 1000     // tags asked for at once
	tagsBytes     = 16 << 20 // of one page
	maxTagPages   = 1000
	maxDigestTags = 100_000 // tags with the name of a digest, in one repository
)

// company are the tags of a repository that are named after digests. Where the
// registry does not tell its tags, each has to be asked for by its name.
type digestTags struct {
	listed bool
	tags   map[string]bool
}

// of gives the tags under which something may belong to the manifest.
func (c digestTags) tagsOf(digest string) []string {
	var tags []string
	for _, ending := range digestTagSuffixes {
		if tag := ref.DigestTag(digest) + ending; !c.listed || c.tags[tag] {
			tags = append(tags, tag)
		}
	}
	return tags
}

// bare tells whether there may be a list of referrers under the fallback tag,
// whatever the registry's own list says.
func (c digestTags) mayHaveFallbackList(digest string) bool {
	return !c.listed || c.tags[ref.DigestTag(digest)]
}

// company lists the tags that are named after digests, once a run.
func (r *Registry) digestTags(ctx context.Context, repo string) (digestTags, error) {
	c, err := r.digestTagLists.Get(ctx, repo, func(ctx context.Context) (digestTags, error) { return r.listDigestTags(ctx, repo) })
	return c, r.wrap(ctx, "listing the tags of", repo, "", err)
}

// listCompany reads the tags behind "sha256-" and stops where a sorted list
// has passed them. A registry that heeds neither is read to the end.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
func (r *Registry) listDigestTags(ctx context.Context, repo string) (digestTags, error) {
	const op = "listing the tags of"
	const before, behind = ref.DigestTagPrefix, ref.DigestTagPrefix + "g"
	c := digestTags{listed: true, tags: make(map[string]bool)}
	page := fmt.Sprintf("%stags/list?last=%s&n=%d", r.repositoryURL(repo), before, tagsPage)
	seen := make(map[string]bool)
	sorted, last := true, before
	for len(seen) < maxTagPages {
		seen[page] = true
		a, err := r.get(ctx, request{op: op, url: page, repo: repo, limit: tagsBytes})
		if err != nil {
			return digestTags{}, err
		}
		if a.status != http.StatusOK {
			if len(seen) == 1 && cannotListTags(a) {
				return digestTags{}, nil
			}
			return digestTags{}, r.statusError(op, repo, "", a.status, a.body)
		}
		var doc struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(a.body, &doc); err != nil {
			return digestTags{}, r.corruptError(op, repo, "", "the list is no valid JSON: "+sanitize.Bounded(err.Error(), 150))
		}
		for _, tag := range doc.Tags {
			sorted = sorted && tag > last
			last = tag
			if isDigestTag(tag) {
				c.tags[tag] = true
			}
		}
		if len(c.tags) > maxDigestTags {
			break
		}
		next, err := nextPage(page, r.repositoryURL(repo), a.header.Values("Link"))
		switch {
		case err != nil:
			return digestTags{}, r.corruptError(op, repo, "", err.Error())
		case next == "", sorted && last >= behind:
			return c, nil
		case seen[next]:
			return digestTags{}, r.corruptError(op, repo, "", "the pages of the list lead in a circle")
		}
		page = next
	}
	return digestTags{}, &Error{Registry: r.host, Repository: repo, Op: op, Kind: TooLarge,
		Reason: fmt.Sprintf("there are more than %d pages, or more than %d tags with the name of a digest", maxTagPages, maxDigestTags),
		Remedy: "remove what is no longer needed, or copy without referrers"}
}

// untold tells whether a registry, for this credential, has no list of tags.
func cannotListTags(a *response) bool {
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
		return true
	}
	return ocierror.Parse(a.body, nil).Code == "UNSUPPORTED"
}

// isCompany recognises sha256-<hex>, bare or with an ending.
func isDigestTag(tag string) bool {
	_, ending, ok := ref.ParseDigestTag(tag)
	return ok && (ending == "" || slices.Contains(digestTagSuffixes, ending))
}

// lookForCompany asks for the tags of the company, all at once. One that points
// elsewhere is moved only if nothing is lost by that: somebody may have signed
// at the target.
func (p *Presence) checkDigestTags(ctx context.Context, r *Registry, repo string) error {
	p.digestTagsChecked, p.tagsToPut = true, make(map[string]*node)
	if p.sameRepository {
		return nil
	}
	type place struct {
		tag  string
		node *node
	}
	var places []place
	for _, n := range p.tree.order {
		for _, tag := range n.tags {
			places = append(places, place{tag, n})
		}
	}
	var mu sync.Mutex
	err := forEach(ctx, places, func(ctx context.Context, at place) error {
		d, err := r.Resolve(ctx, repo, at.tag)
		if err == nil && d.Digest == at.node.Digest {
			return nil
		}
		if err == nil {
			var there *Manifest
			if there, err = r.manifest(ctx, repo, d.Digest, Descriptor{}); err == nil {
				var here *Manifest
				if here, err = p.tree.fullManifest(ctx, at.node); err != nil {
					return err
				}
				mine, theirs := contents(here), contents(there)
				if isSubset(mine, theirs) {
					return nil
				}
				if !isSubset(theirs, mine) {
					return &Error{Registry: r.host, Repository: repo, Reference: at.tag, Op: "attaching by", Kind: Conflict,
						Reason: fmt.Sprintf("the tag bears %s there, with contents that %s of the source has not", d.Digest, at.node.Digest),
						Remedy: "bring both together at the source, delete the tag at the target, or copy without referrers"}
				}
			}
		}
		if err != nil && !isNotFound(err) {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		p.tagsToPut[at.tag] = at.node
		return nil
	})
	var e *Error
	if errors.As(err, &e) && e.Kind == Conflict {
		p.conflict, err = e, nil
	}
	return r.wrap(ctx, "looking for", repo, "", err)
}

// parts are what a manifest brings, its config left aside.
func contents(m *Manifest) []Descriptor {
	if len(m.blobs) == 0 {
		return m.children
	}
	return m.blobs[1:]
}

func isSubset(part, whole []Descriptor) bool {
	for _, p := range part {
		if !slices.ContainsFunc(whole, func(w Descriptor) bool { return w.Digest == p.Digest }) {
			return false
		}
	}
	return true
}
