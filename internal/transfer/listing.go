package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sorting"
)

// Limits of what is listed of one repository.
const (
	attributesPage  = 100 // what Azure's own clients ask for
	maxListedTags   = 20_000
	maxListedImages = 200_000 // manifests
	// listedWeight is an estimate of what is kept of an entry, in bytes.
	listedWeight = 110
)

// Attributes says what may be done with a tag or a manifest. What the registry does
// not say counts as permitted: it shows no lock.
type Attributes struct{ Read, Write, Delete bool }

// Listing has the tags and manifests of one repository with their attributes, as an
// Azure registry lists them.
type Listing struct {
	tags      []listed // sorted by name
	manifests []listed // sorted by digest
}

// listed is a tag, or a manifest without a name.
type listed struct {
	name string
	sum  [sha256.Size]byte
	Attributes
}

// Tags returns the names of the tags, sorted.
func (l *Listing) Tags() []string {
	names := make([]string, 0, len(l.tags))
	for _, t := range l.tags {
		names = append(names, t.name)
	}
	return names
}

// Tag returns the digest that a tag points to, and its attributes.
func (l *Listing) Tag(name string) (digest string, a Attributes, ok bool) {
	at, ok := slices.BinarySearchFunc(l.tags, name, func(t listed, name string) int { return strings.Compare(t.name, name) })
	if !ok {
		return "", a, false
	}
	return ref.EncodeDigest(l.tags[at].sum[:]), l.tags[at].Attributes, true
}

// Manifest returns the attributes of a manifest.
func (l *Listing) Manifest(digest string) (a Attributes, ok bool) {
	sum, err := ref.DecodeDigest(digest)
	if err != nil {
		return a, false
	}
	at, ok := slices.BinarySearchFunc(l.manifests, sum, func(m listed, sum []byte) int { return bytes.Compare(m.sum[:], sum) })
	if ok {
		a = l.manifests[at].Attributes
	}
	return a, ok
}

// List lists a repository of an Azure registry, once a run. From then on, Resolve asks
// only for what is not listed or may not be read. A repository that does not exist has
// an empty list.
func (r *Registry) List(ctx context.Context, repo string) (*Listing, error) {
	l, err := r.listings.Get(ctx, repo, func(ctx context.Context) (*Listing, error) {
		l := &Listing{}
		err := r.list(ctx, repo, "_tags", maxListedTags, &l.tags)
		if err == nil {
			err = r.list(ctx, repo, "_manifests", maxListedImages, &l.manifests)
		}
		if isNotFound(err) {
			return &Listing{}, nil
		}
		if err != nil {
			return nil, err
		}
		sorting.By(l.tags, func(a, b listed) int { return strings.Compare(a.name, b.name) })
		sorting.By(l.manifests, func(a, b listed) int { return bytes.Compare(a.sum[:], b.sum[:]) })
		return l, nil
	})
	return l, r.wrap(ctx, "listing the attributes", repo, "", err)
}

// list reads all pages of a list. As in Azure's own clients, a page begins after the
// last entry of the one before.
// https://github.com/Azure/acr-cli/blob/main/internal/api/acrsdk.go
func (r *Registry) list(ctx context.Context, repo, what string, limit int, into *[]listed) error {
	const op = "listing the attributes"
	page := fmt.Sprintf("%s://%s/acr/v1/%s/%s?n=%d", r.scheme, r.host, url.PathEscape(repo), what, attributesPage)
	for last := ""; ; {
		address, before := page, last
		if last != "" {
			address += "&last=" + url.QueryEscape(last)
		}
		entries := elements{add: func(decoder *json.Decoder) error {
			var document struct {
				Name       string `json:"name"`
				Digest     string `json:"digest"`
				Attributes struct {
					Read   *bool `json:"readEnabled"`
					Write  *bool `json:"writeEnabled"`
					Delete *bool `json:"deleteEnabled"`
				} `json:"changeableAttributes"`
			}
			if err := decoder.Decode(&document); err != nil {
				return err
			}
			if last = document.Digest; what == "_tags" {
				last = document.Name
			}
			permitted := func(b *bool) bool { return b == nil || *b }
			a := document.Attributes
			one := listed{strings.Clone(document.Name), [sha256.Size]byte{}, Attributes{permitted(a.Read), permitted(a.Write), permitted(a.Delete)}}
			if sum, err := ref.DecodeDigest(document.Digest); err == nil && (what != "_tags" || ref.IsTag(document.Name)) {
				copy(one.sum[:], sum)
				*into = append(*into, one)
			}
			if len(*into) > limit {
				return errTooManyNames
			}
			return nil
		}}
		count := len(*into)
		resp, err := r.get(ctx, request{op: op, url: address, repo: repo, limit: listBytes, parse: func(resp *response) error {
			document := struct {
				Tags      *elements `json:"tags"`
				Manifests *elements `json:"manifests"`
			}{Tags: &entries, Manifests: &entries}
			if err := json.Unmarshal(resp.body, &document); err != nil {
				return r.namesError(op, repo, err)
			}
			return r.keep(repo, "", int64(len(*into)-count)*listedWeight)
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

// listedDescriptor returns what a tag or a digest points to, if that was listed and may
// be read.
func (r *Registry) listedDescriptor(repo, reference string) (Descriptor, bool) {
	l, ok := r.listings.Peek(repo)
	if !ok {
		return Descriptor{}, false
	}
	digest := reference
	if !ref.NamesDigest(reference) {
		var a Attributes
		if digest, a, ok = l.Tag(reference); !ok || !a.Read {
			return Descriptor{}, false
		}
	}
	a, ok := l.Manifest(digest)
	return Descriptor{Digest: digest, Size: -1}, ok && a.Read
}
