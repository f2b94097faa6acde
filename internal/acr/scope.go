package acr

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/refusal"
)

// Catalog is the only scope that belongs to no repository: the right to list the
// repositories.
const Catalog = refusal.Catalog

// access maps repositories to the actions required there. The actions of
// Azure's registries are pull, push, delete, metadata_read and metadata_write.
type access map[string][]string

// scopes returns the access as token scopes, one for each repository, in a
// fixed order: they are also the cache key of tokens.
func (a access) scopes() []string {
	all := make([]string, 0, len(a))
	for _, repository := range slices.Sorted(maps.Keys(a)) {
		actions := slices.Clone(a[repository])
		slices.Sort(actions)
		name := "repository:" + repository
		if repository == Catalog {
			name = Catalog
		}
		all = append(all, name+":"+strings.Join(slices.Compact(actions), ","))
	}
	return all
}

// accessOf is the reverse of scopes.
func accessOf(scopes []string) access {
	a := access{}
	for _, scope := range scopes {
		name, actions, _ := strings.Cut(strings.TrimPrefix(scope, "repository:"), ":")
		if scope == Catalog+":*" {
			name, actions = Catalog, "*"
		}
		a[name] = strings.Split(actions, ",")
	}
	return a
}

func (a access) covers(b access) bool {
	for repository, actions := range b {
		for _, action := range actions {
			if !a.has(repository, action) {
				return false
			}
		}
	}
	return true
}

// has reports whether the access includes an action; a token's claims may list "*" for
// all.
func (a access) has(repository, action string) bool {
	return slices.Contains(a[repository], action) || slices.Contains(a[repository], "*")
}

// requiredAccess returns the access that a request needs; listTags is the action
// that listing tags needs. The access is empty for a request of an unknown form;
// the registry decides anyway.
func requiredAccess(method string, u *url.URL, listTags string) access {
	path := u.EscapedPath()
	reading := method == http.MethodGet || method == http.MethodHead
	if rest, ok := strings.CutPrefix(path, "/acr/v1/"); ok {
		first, _, _ := strings.Cut(rest, "/")
		repository, err := url.PathUnescape(first)
		switch {
		case err != nil:
			return nil
		case repository == "_catalog":
			return access{Catalog: {"*"}}
		case !ref.IsScopeName(repository):
			return nil
		case method == http.MethodDelete:
			return access{repository: {"delete"}}
		case reading:
			return access{repository: {"metadata_read"}}
		default:
			return access{repository: {"metadata_write"}}
		}
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok || rest == "" {
		return nil
	}
	if rest == "_catalog" {
		return access{Catalog: {"*"}}
	}
	repository := repositoryOf(rest)
	if !ref.IsScopeName(repository) {
		return nil
	}
	switch {
	case reading && rest == repository+"/tags/list":
		return access{repository: {listTags}}
	case reading:
		return access{repository: {"pull"}}
	case method == http.MethodDelete && !strings.Contains(rest, "/blobs/uploads/"):
		return access{repository: {"delete"}}
	}
	need := access{repository: {"pull", "push"}}
	if from := u.Query().Get("from"); from != repository && ref.IsScopeName(from) {
		need[from] = []string{"pull"}
	}
	return need
}

// repositoryOf returns the repository in the path after /v2/: what precedes the
// last of the protocol's own words, which are two segments (three for uploads)
// from the end. A repository's name may contain such words.
func repositoryOf(rest string) string {
	if i := strings.LastIndex(rest, "/blobs/uploads/"); i > 0 {
		return rest[:i]
	}
	last := -1
	for _, word := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		last = max(last, strings.LastIndex(rest, word))
	}
	if last < 0 {
		return ""
	}
	return rest[:last]
}
