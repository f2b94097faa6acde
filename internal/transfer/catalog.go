package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

const (
	listPage     = 1000     // names asked for at once
	listBytes    = 16 << 20 // of one page
	maxListPages = 1000
)

// Repositories lists the registry's repositories, sorted. Names that the
// specification does not know are left out: nothing can be asked of them.
// https://distribution.github.io/distribution/spec/api/#catalog
func (r *Registry) Repositories(ctx context.Context, most int) ([]string, error) {
	const op = "listing the repositories"
	var names []string
	err := r.eachPage(ctx, op, "", fmt.Sprintf("%s://%s/v2/_catalog?n=%d", r.scheme, r.host, listPage), fmt.Sprintf("%s://%s/v2/_catalog", r.scheme, r.host), func(body []byte) (int, error) {
		var page struct {
			Repositories []string `json:"repositories"`
		}
		err := json.Unmarshal(body, &page)
		names = append(names, page.Repositories...)
		return len(names), err
	}, most)
	names = slices.DeleteFunc(names, func(name string) bool { return !ref.IsRepository(name) })
	slices.Sort(names)
	return slices.Compact(names), withSide(Source, r.wrap(ctx, op, "", "", err))
}

// Tags lists the tags of a repository, sorted.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
func (r *Registry) Tags(ctx context.Context, repo string, most int) ([]string, error) {
	const op = "listing the tags of"
	var names []string
	err := r.eachPage(ctx, op, repo, fmt.Sprintf("%stags/list?n=%d", r.repositoryURL(repo), listPage), r.repositoryURL(repo), func(body []byte) (int, error) {
		var page struct {
			Tags []string `json:"tags"`
		}
		err := json.Unmarshal(body, &page)
		names = append(names, page.Tags...)
		return len(names), err
	}, most)
	slices.Sort(names)
	return slices.Compact(names), withSide(Source, r.wrap(ctx, op, repo, "", err))
}

// pages reads the pages of a list; take is given each body and tells how many
// names there are so far.
func (r *Registry) eachPage(ctx context.Context, op, repo, page, within string, take func([]byte) (int, error), most int) error {
	seen := map[string]bool{}
	for len(seen) < maxListPages {
		seen[page] = true
		a, err := r.get(ctx, request{op: op, url: page, repo: repo, limit: listBytes})
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return r.statusError(op, repo, "", a.status, a.body)
		}
		count, err := take(a.body)
		if err != nil {
			return r.corruptError(op, repo, "", "the list is no valid JSON: "+sanitize.Bounded(err.Error(), 150))
		}
		if count > most {
			break
		}
		next, err := nextPage(page, within, a.header.Values("Link"))
		switch {
		case err != nil:
			return r.corruptError(op, repo, "", err.Error())
		case next == "":
			return nil
		case seen[next]:
			return r.corruptError(op, repo, "", "the pages of the list lead in a circle")
		}
		page = next
	}
	return &Error{Registry: r.host, Repository: repo, Op: op, Kind: TooLarge,
		Reason: fmt.Sprintf("there are more than %d names, or more than %d pages", most, maxListPages),
		Remedy: "name the images one by one, or narrow the patterns"}
}
