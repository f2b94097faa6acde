package transfer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ocierror"
	"acrpromote/internal/ref"
	"acrpromote/internal/sorting"
)

// guessedSuffixes are the suffixes of digest tags that are looked for by name if a
// registry does not list its tags: cosign before version 3 attaches to the manifest
// sha256:<hex> by the tag sha256-<hex> and a suffix. Other tools have others.
// https://github.com/sigstore/cosign/blob/v2.6.1/specs/SIGNATURE_SPEC.md#storage
var guessedSuffixes = []string{".att", ".sbom", ".sig"}

const (
	tagsPage      = 1000     // tags of one page
	tagsBytes     = 16 << 20 // of one page
	maxTagPages   = 1000
	maxDigestTags = 100_000 // of one repository
)

// digestTags are the tags of a repository that are named after digests. If the
// registry does not list its tags, each has to be looked for by name.
type digestTags struct {
	listed  bool
	tags    []digestTag       // sorted
	endings []string          // of the tags; a fallback list has none
	numbers map[string]uint32 // of the endings, while tags are added
	weight  int64             // estimate of what is kept, in bytes
}

// digestTag is a tag with the name of a digest: the digest, and the number of its
// ending. A repository has such tags for every image that was ever signed.
type digestTag struct {
	sum    [sha256.Size]byte
	ending uint32
}

// Estimates of what is kept of a digest tag, and of an ending, in bytes.
const (
	digestTagWeight = sha256.Size + 16 // while its list grows
	endingWeight    = 64
)

func (t digestTag) compare(other digestTag) int {
	return cmp.Or(bytes.Compare(t.sum[:], other.sum[:]), cmp.Compare(t.ending, other.ending))
}

// add adds a tag if it is one with the name of a digest.
func (d *digestTags) add(tag string) {
	digest, ending, ok := ref.ParseDigestTag(tag)
	if !ok {
		return
	}
	number, known := d.numbers[ending]
	if !known {
		if d.numbers == nil {
			d.numbers = make(map[string]uint32)
		}
		ending = strings.Clone(ending) // not all of the response
		number = uint32(len(d.endings))
		d.numbers[ending], d.endings = number, append(d.endings, ending)
		d.weight += endingWeight + int64(len(ending))
	}
	t := digestTag{ending: number}
	sum, _ := ref.DecodeDigest(digest)
	copy(t.sum[:], sum)
	d.tags = append(d.tags, t)
	d.weight += digestTagWeight
}

// sort sorts the tags once all have been added.
func (d *digestTags) sort() {
	sorting.By(d.tags, digestTag.compare)
	d.tags = slices.Clone(slices.Compact(d.tags)) // as large as they are
	d.numbers = nil
}

// of returns the endings of the tags that have the name of a digest, sorted.
func (d digestTags) of(digest string) []string {
	var first digestTag
	sum, _ := ref.DecodeDigest(digest)
	copy(first.sum[:], sum)
	var endings []string
	at, _ := slices.BinarySearchFunc(d.tags, first, digestTag.compare)
	for _, t := range d.tags[at:] {
		if t.sum != first.sum {
			break
		}
		endings = append(endings, d.endings[t.ending])
	}
	slices.Sort(endings)
	return endings
}

// tagsOf returns the tags that may attach something to the manifest.
func (d digestTags) tagsOf(digest string) []string {
	suffixes := guessedSuffixes
	if d.listed {
		suffixes = d.of(digest)
	}
	var tags []string
	for _, suffix := range suffixes {
		if suffix != "" {
			tags = append(tags, ref.DigestTag(digest)+suffix)
		}
	}
	return tags
}

// mayHaveFallbackList reports whether the fallback tag of the manifest may exist.
func (d digestTags) mayHaveFallbackList(digest string) bool {
	return !d.listed || slices.Contains(d.of(digest), "")
}

// digestTags lists the digest tags of a repository, once a run.
func (r *Registry) digestTags(ctx context.Context, repo string) (digestTags, error) {
	d, err := r.digestTagLists.Get(ctx, repo, func(ctx context.Context) (digestTags, error) { return r.listDigestTags(ctx, repo) })
	return d, r.wrap(ctx, "listing the tags", repo, "", err)
}

// listDigestTags lists the tags after "sha256-", and stops when a sorted list has
// passed them. If the registry supports neither, it reads the whole list.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
func (r *Registry) listDigestTags(ctx context.Context, repo string) (digestTags, error) {
	const op = "listing the tags"
	const first, end = ref.DigestTagPrefix, ref.DigestTagPrefix + "g"
	d := digestTags{listed: true}
	page := fmt.Sprintf("%stags/list?last=%s&n=%d", r.repositoryURL(repo), first, tagsPage)
	seen := make(pages)
	sorted, last := true, first
	for len(seen) < maxTagPages {
		seen.add(page)
		var doc struct {
			Tags elements `json:"tags"`
		}
		doc.Tags = stringElements(func(tag string) error {
			sorted = sorted && tag > last
			last = tag
			d.add(tag)
			if len(d.tags) > maxDigestTags {
				return errTooManyNames
			}
			return nil
		})
		before := d.weight
		parse := func(resp *response) error {
			if err := json.Unmarshal(resp.body, &doc); err != nil {
				return r.namesError(op, repo, err)
			}
			return r.keep(repo, "", listWeight+d.weight-before)
		}
		resp, err := r.get(ctx, request{op: op, url: page, repo: repo, limit: tagsBytes, parse: parse})
		if errors.Is(err, errTooManyNames) {
			break
		}
		if err != nil {
			if len(seen) == 1 && errors.Is(r.wrap(ctx, op, repo, "", err), Denied) {
				return digestTags{}, nil
			}
			return digestTags{}, err
		}
		if resp.status != http.StatusOK {
			if len(seen) == 1 && cannotListTags(resp) {
				return digestTags{}, nil
			}
			return digestTags{}, r.statusError(op, repo, "", resp.status, resp.body)
		}
		next, err := nextPage(page, r.repositoryURL(repo), resp.header.Values("Link"))
		switch {
		case err != nil:
			return digestTags{}, r.corruptError(op, repo, "", err.Error())
		case next == "", sorted && last >= end:
			d.sort()
			return d, nil
		case seen.has(next):
			return digestTags{}, r.corruptError(op, repo, "", "the pages of the list form a loop")
		}
		page = next
	}
	return digestTags{}, &Error{Registry: r.host, Repository: repo, Op: op, Kind: TooLarge,
		Reason: fmt.Sprintf("there are more than %d pages, or more than %d digest tags", maxTagPages, maxDigestTags),
		Remedy: "Remove what is no longer needed, or copy without referrers."}
}

// keepDigestTags keeps the digest tags of all tags of a repository, so that they are
// not listed again.
func (r *Registry) keepDigestTags(repo string, tags []string) error {
	d := digestTags{listed: true}
	for _, tag := range tags {
		d.add(tag)
	}
	d.sort()
	if err := r.keep(repo, "", listWeight+d.weight); err != nil {
		return err
	}
	r.digestTagLists.Set(repo, d)
	return nil
}

// cannotListTags reports whether the registry does not list tags, at least not for
// this credential.
func cannotListTags(resp *response) bool {
	switch resp.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
		return true
	}
	return ocierror.Parse(resp.body, nil).Code == "UNSUPPORTED"
}

// isDigestTag reports whether tag is sha256-<hex>, with or without an ending.
func isDigestTag(tag string) bool {
	_, _, ok := ref.ParseDigestTag(tag)
	return ok
}

// checkDigestTags resolves the digest tags of the tree, all at once. A tag that
// points elsewhere may only move if nothing is lost: there may be signatures that
// were made at the target.
func (p *Presence) checkDigestTags(ctx context.Context, r *Registry, repo string) error {
	p.digestTagsChecked, p.tagsToPut = true, make(map[string]*node)
	p.conflicts, p.keptTags = make(map[string]error), make(map[string]string)
	if p.sameRepository {
		return nil
	}
	type tagged struct {
		tag  string
		node *node
	}
	var all []tagged
	for _, n := range p.tree.order {
		for _, tag := range n.tags {
			if p.allowed == nil || p.allows(tag) && p.copies(n) {
				all = append(all, tagged{tag, n})
			}
		}
	}
	var mu sync.Mutex
	err := forEach(ctx, all, func(ctx context.Context, at tagged) error {
		d, err := r.Resolve(ctx, repo, at.tag)
		if err == nil && d.Digest == at.node.Digest {
			return nil
		}
		if err == nil && p.immutable {
			mu.Lock()
			defer mu.Unlock()
			p.keptTags[at.tag] = d.Digest
			return nil
		}
		if err == nil {
			var there *Manifest
			if there, err = r.manifest(ctx, repo, d.Digest, Descriptor{}); err == nil {
				var here *Manifest
				if here, err = p.tree.fullManifest(ctx, at.node); err != nil {
					return err
				}
				ours, theirs := contents(here), contents(there)
				if isSubset(ours, theirs) {
					return nil
				}
				if !isSubset(theirs, ours) {
					mu.Lock()
					defer mu.Unlock()
					p.conflicts[at.tag] = &Error{Registry: r.host, Repository: repo, Reference: at.tag, Op: "attaching by digest tag", Kind: Conflict,
						Reason: fmt.Sprintf("the tag points to %s, which has contents that %s at the source does not have", d.Digest, at.node.Digest),
						Remedy: "Merge both at the source, delete the tag at the target, or copy without referrers."}
					return nil
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
	return r.wrap(ctx, "existence check", repo, "", err)
}

// contents returns the layers or children of a manifest.
func contents(m *Manifest) []Descriptor {
	if types.MediaType(m.MediaType).IsIndex() {
		return m.children
	}
	return unpack(m.layers())
}

func isSubset(part, whole []Descriptor) bool {
	for _, p := range part {
		if !slices.ContainsFunc(whole, func(w Descriptor) bool { return w.Digest == p.Digest }) {
			return false
		}
	}
	return true
}
