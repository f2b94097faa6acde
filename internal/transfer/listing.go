package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
	"acrpromote/internal/sorting"
)

// Limits of what is listed of one repository.
const (
	attributesPage  = 100 // what Azure's own clients ask for
	maxListedTags   = 20_000
	maxListedImages = 200_000 // manifests
	// listedWeight is an estimate of what is kept of an entry, in bytes.
	listedWeight = 120
)

// Attributes says what may be done with a tag or a manifest. What the registry does
// not say counts as permitted: it shows no lock.
type Attributes struct {
	Read   bool `json:"readEnabled"`
	Write  bool `json:"writeEnabled"`
	Delete bool `json:"deleteEnabled"`
}

// Listing has the tags and manifests of one repository with their attributes, as an
// Azure registry lists them.
type Listing struct {
	entries []listed // sorted by name
	weight  int64

	relating sync.Once
	related  bool // which manifest refers to which is known
}

// listed is a tag or, with its digest as its name, a manifest. Digests are packed.
type listed struct {
	name, digest string
	Attributes
	index bool
}

// packedDigest returns a digest in half the bytes, and in a form that no tag has.
func packedDigest(digest string) string {
	sum, _ := ref.DecodeDigest(digest)
	return ":" + string(sum)
}

// Tags returns the names of the tags, sorted.
func (l *Listing) Tags() []string {
	var names []string
	for _, e := range l.entries {
		if !ref.NamesDigest(e.name) {
			names = append(names, e.name)
		}
	}
	return names
}

// Indexes returns the digests of the indexes that may be read.
func (l *Listing) Indexes() []string {
	var digests []string
	for _, e := range l.entries {
		if e.index && e.Read {
			digests = append(digests, ref.EncodeDigest([]byte(e.digest[1:])))
		}
	}
	return digests
}

// Find returns the digest that a tag points to, or that of a manifest, and its
// attributes.
func (l *Listing) Find(reference string) (digest string, a Attributes, ok bool) {
	if ref.NamesDigest(reference) {
		reference = packedDigest(reference)
	}
	at := sort.Search(len(l.entries), func(i int) bool { return l.entries[i].name >= reference })
	if at == len(l.entries) || l.entries[at].name != reference {
		return "", a, false
	}
	return ref.EncodeDigest([]byte(l.entries[at].digest[1:])), l.entries[at].Attributes, true
}

// List lists a repository of an Azure registry, once a run. From then on, Resolve asks
// only for what is not listed or may not be read. A repository that does not exist has
// an empty list.
func (r *Registry) List(ctx context.Context, repo string) (*Listing, error) {
	l, err := r.listings.Get(ctx, repo, func(ctx context.Context) (*Listing, error) {
		l := &Listing{}
		err := r.list(ctx, repo, "_tags", maxListedTags, l)
		if err == nil {
			err = r.list(ctx, repo, "_manifests", maxListedImages, l)
		}
		if isNotFound(err) {
			return &Listing{}, nil
		}
		sorting.By(l.entries, func(a, b listed) int { return strings.Compare(a.name, b.name) })
		return l, err
	})
	return l, r.wrap(ctx, "listing the attributes", repo, "", err)
}

// list reads all pages of a list. As in Azure's own clients, a page begins after the
// last entry of the one before.
// https://github.com/Azure/acr-cli/blob/main/internal/api/acrsdk.go
func (r *Registry) list(ctx context.Context, repo, what string, limit int, l *Listing) error {
	const op = "listing the attributes"
	page := fmt.Sprintf("%s://%s/acr/v1/%s/%s?n=%d", r.scheme, r.host, url.PathEscape(repo), what, attributesPage)
	tags, count := what == "_tags", 0
	for last := ""; ; {
		address, before := page, last
		if last != "" {
			address += "&last=" + url.QueryEscape(last)
		}
		entries := elements{add: func(decoder *json.Decoder) error {
			var document struct {
				Name       string     `json:"name"`
				Digest     string     `json:"digest"`
				MediaType  string     `json:"mediaType"`
				Attributes Attributes `json:"changeableAttributes"`
			}
			document.Attributes = Attributes{true, true, true}
			if err := decoder.Decode(&document); err != nil {
				return err
			}
			if count++; count > limit {
				return errTooManyNames
			}
			e := listed{document.Name, packedDigest(document.Digest), document.Attributes, types.MediaType(document.MediaType).IsIndex()}
			if last = document.Name; !tags {
				last, e.name = document.Digest, e.digest
			}
			if ref.IsDigest(document.Digest) && (!tags || ref.IsTag(e.name)) {
				l.entries = append(l.entries, e)
				l.weight += listedWeight
			}
			return nil
		}}
		weight := l.weight
		resp, err := r.get(ctx, request{op: op, url: address, repo: repo, limit: listBytes, parse: func(resp *response) error {
			document := struct {
				Tags      *elements `json:"tags"`
				Manifests *elements `json:"manifests"`
			}{Tags: &entries, Manifests: &entries}
			if err := json.Unmarshal(resp.body, &document); err != nil {
				return r.namesError(op, repo, err)
			}
			return r.keep(repo, "", l.weight-weight)
		}})
		switch {
		case errors.Is(err, errTooManyNames):
			return &Error{Registry: r.host, Repository: repo, Op: op, Kind: TooLarge,
				Reason: fmt.Sprintf("there are more than %d entries", limit), Remedy: "Remove what is no longer needed"}
		case err != nil:
			return err
		case resp.status != http.StatusOK:
			return r.statusError(op, repo, "", resp.status, resp.body)
		case resp.header.Get("Link") == "":
			return nil
		case last == before:
			return r.corruptError(op, repo, "", "a page of the list has no entries, and another page follows")
		}
	}
}

// Relate reads the manifests of a listed repository, and keeps which of them refer to
// which: one request for each, of which registries permit 20 times as many as they permit
// lists of referrers. It reports false, and all lists are requested, if there are more
// than most manifests, if one cannot be read, if the registry's own list for one of them
// differs, or if nothing has shown yet that the registry lists what refers to others.
func (r *Registry) Relate(ctx context.Context, repo string, most int) bool {
	l, err := r.List(ctx, repo)
	if err != nil {
		return false
	}
	l.relating.Do(func() { l.related = r.relate(ctx, repo, l, most) })
	return l.related
}

func (r *Registry) relate(ctx context.Context, repo string, l *Listing, most int) bool {
	var all []Descriptor
	for _, e := range l.entries {
		if e.name == e.digest {
			all = append(all, Descriptor{Digest: ref.EncodeDigest([]byte(e.digest[1:]))})
		}
	}
	if len(all) == 0 || len(all) > most {
		return false
	}
	var mu sync.Mutex
	lists := map[string]referrerList{}
	example := ""
	if forEach(ctx, all, func(ctx context.Context, d Descriptor) error {
		m, err := r.manifest(ctx, repo, d.Digest, Descriptor{})
		if err != nil || m.subject == nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		example = m.subject.Digest
		list := lists[example]
		list.entries = append(list.entries, m.Descriptor)
		lists[example] = list
		return nil
	}) != nil {
		return false
	}
	if example == "" {
		// Nothing refers to anything here, if the registry lists what does.
		if !r.manifestsShowReferrers.Load() {
			return false
		}
	} else {
		own, err := r.referrers(ctx, repo, example)
		if err != nil || !own.api || len(own.entries) != len(lists[example].entries) || len(own.lacking(lists[example].entries)) > 0 {
			return false
		}
		r.manifestsShowReferrers.Store(true)
	}
	for _, d := range all {
		list := lists[d.Digest]
		sorting.By(list.entries, func(a, b Descriptor) int { return strings.Compare(a.Digest, b.Digest) })
		list.api, list.weight = true, listWeight+descriptorsWeight(list.entries)
		if r.keep(repo, d.Digest, list.weight) != nil {
			return false
		}
		r.referrerLists.Set(key(repo, d.Digest), list)
	}
	return true
}

// listedDescriptor returns what a tag or a digest points to, if that was listed and may
// be read.
func (r *Registry) listedDescriptor(repo, reference string) (Descriptor, bool) {
	l, ok := r.listings.Peek(repo)
	if !ok {
		return Descriptor{}, false
	}
	digest, tag, _ := l.Find(reference)
	_, manifest, ok := l.Find(digest)
	return Descriptor{Digest: digest, Size: -1}, ok && tag.Read && manifest.Read
}
