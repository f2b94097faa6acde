package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

const (
	listPage     = 1000     // names of one page
	listBytes    = 16 << 20 // of one page
	maxListPages = 1000
)

// Repositories returns the registry's repositories, sorted. It leaves out names
// that are not valid, since no request can be made for them.
// https://distribution.github.io/distribution/spec/api/#catalog
func (r *Registry) Repositories(ctx context.Context, limit int) ([]string, error) {
	const op = "listing the repositories"
	var names []string
	count := 0
	err := r.eachPage(ctx, op, "", fmt.Sprintf("%s://%s/v2/_catalog?n=%d", r.scheme, r.host, listPage), fmt.Sprintf("%s://%s/v2/_catalog", r.scheme, r.host), func(body []byte) error {
		var page struct {
			Repositories elements `json:"repositories"`
		}
		page.Repositories = stringElements(func(name string) error {
			if count++; count > limit {
				return errTooManyNames
			}
			if ref.IsRepository(name) {
				names = append(names, name)
			}
			return nil
		})
		return json.Unmarshal(body, &page)
	}, limit)
	slices.Sort(names)
	return slices.Compact(names), withSide(Source, r.wrap(ctx, op, "", "", err))
}

// Tags returns the tags of a repository, sorted. Its digest tags are known then, too.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
func (r *Registry) Tags(ctx context.Context, repo string, limit int) ([]string, error) {
	const op = "listing the tags"
	var names []string
	err := r.eachPage(ctx, op, repo, fmt.Sprintf("%stags/list?n=%d", r.repositoryURL(repo), listPage), r.repositoryURL(repo), func(body []byte) error {
		var page struct {
			Tags elements `json:"tags"`
		}
		page.Tags = stringElements(func(tag string) error {
			if len(names) == limit {
				return errTooManyNames
			}
			names = append(names, tag)
			return nil
		})
		return json.Unmarshal(body, &page)
	}, limit)
	slices.Sort(names)
	if err == nil {
		err = r.keepDigestTags(repo, names)
	}
	return slices.Compact(names), withSide(Source, r.wrap(ctx, op, repo, "", err))
}

// pages are the addresses of the pages that were read, as hashes: the registry
// chooses how long an address is.
type pages map[[sha256.Size]byte]bool

func (p pages) add(address string)      { p[sha256.Sum256([]byte(address))] = true }
func (p pages) has(address string) bool { return p[sha256.Sum256([]byte(address))] }

// errTooManyNames ends the reading of a list.
var errTooManyNames = errors.New("there are too many names")

// namesError returns an error of decoding a list of names.
func (r *Registry) namesError(op, repo string, err error) error {
	if err == nil || errors.Is(err, errTooManyNames) {
		return err
	}
	return r.corruptError(op, repo, "", "the list is not valid JSON: "+sanitize.Bounded(err.Error(), 150))
}

// eachPage reads the pages of a list. It calls add with each body, which returns
// errTooManyNames if there are more than limit names.
func (r *Registry) eachPage(ctx context.Context, op, repo, page, prefix string, add func([]byte) error, limit int) error {
	seen := make(pages)
	for len(seen) < maxListPages {
		seen.add(page)
		resp, err := r.get(ctx, request{op: op, url: page, repo: repo, limit: listBytes,
			parse: func(resp *response) error { return r.namesError(op, repo, add(resp.body)) }})
		if errors.Is(err, errTooManyNames) {
			break
		}
		if err != nil {
			return err
		}
		if resp.status != http.StatusOK {
			return r.statusError(op, repo, "", resp.status, resp.body)
		}
		next, err := nextPage(page, prefix, resp.header.Values("Link"))
		switch {
		case err != nil:
			return r.corruptError(op, repo, "", err.Error())
		case next == "":
			return nil
		case seen.has(next):
			return r.corruptError(op, repo, "", "the pages of the list form a loop")
		}
		page = next
	}
	return &Error{Registry: r.host, Repository: repo, Op: op, Kind: TooLarge,
		Reason: fmt.Sprintf("there are more than %d names, or more than %d pages", limit, maxListPages),
		Remedy: "List the images by name, or narrow the patterns."}
}
