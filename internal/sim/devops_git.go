package sim

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Repository is a git repository of a project, as far as its files are read:
// refs, the commits they point at, and what each holds.
type Repository struct {
	project *Project
	name    string
	id      string
	refs    map[string]string // commit by full ref
	commits map[string]map[string][]byte

	policies []*BranchPolicy
}

// Repository opens a repository. Asked again for the same name, in any case,
// it returns the same one.
func (p *Project) Repository(name string) *Repository {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	if r := p.repository(name); r != nil {
		return r
	}
	r := &Repository{project: p, name: name, id: guidOf("repository/" + p.org.name + "/" + p.name + "/" + name),
		refs: map[string]string{}, commits: map[string]map[string][]byte{}}
	p.repositories = append(p.repositories, r)
	return r
}

// repository finds by name or id. Callers hold mu.
func (p *Project) repository(nameOrID string) *Repository {
	for _, r := range p.repositories {
		if strings.EqualFold(r.name, nameOrID) || strings.EqualFold(r.id, nameOrID) {
			return r
		}
	}
	return nil
}

// ID is the repository's guid.
func (r *Repository) ID() string { return r.id }

// Commit puts files, by path, on top of what a full ref (refs/heads/main,
// refs/tags/v1) points at, moves the ref there and returns the commit's id. A
// nil content removes a file.
func (r *Repository) Commit(ref string, files map[string][]byte) string {
	o := r.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	parent := r.refs[ref]
	tree := maps.Clone(r.commits[parent])
	if tree == nil {
		tree = map[string][]byte{}
	}
	for name, content := range files {
		name = path.Join("/", name)
		if content == nil {
			delete(tree, name)
			continue
		}
		tree[name] = slices.Clone(content)
	}
	h := sha1.New()
	fmt.Fprintf(h, "%s %s %d\n", r.id, parent, len(r.commits))
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		fmt.Fprintf(h, "%s %s\n", gitID("blob", tree[name]), name)
	}
	commit := hex.EncodeToString(h.Sum(nil))
	r.commits[commit] = tree
	r.refs[ref] = commit
	return commit
}

// Point makes a full ref point at a commit that is there.
func (r *Repository) Point(ref, commit string) {
	r.project.org.mu.Lock()
	defer r.project.org.mu.Unlock()
	if r.commits[commit] == nil {
		panic("sim: no such commit: " + commit)
	}
	r.refs[ref] = commit
}

// gitID is the id that git gives an object.
func gitID(kind string, content []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

// resolve finds the commit of a version descriptor. Callers hold mu.
func (r *Repository) resolve(kind, version string) (commit string, ok bool) {
	switch strings.ToLower(kind) {
	case "", "branch":
		if version == "" {
			version = "main"
		}
		commit, ok = r.refs["refs/heads/"+version]
	case "tag":
		commit, ok = r.refs["refs/tags/"+version]
	case "commit":
		_, ok = r.commits[version]
		commit = version
	}
	return commit, ok
}

// serveItem answers for one item of a repository.
//
// https://learn.microsoft.com/rest/api/azure/devops/git/items/get
func (p *Project) serveItem(w http.ResponseWriter, repository string, query url.Values) {
	if p.refuseRepository(w) {
		return
	}
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	r := p.repository(repository)
	if r == nil {
		noRepository(w, repository)
		return
	}
	kind, version := query.Get("versionDescriptor.versionType"), query.Get("versionDescriptor.version")
	commit, ok := r.resolve(kind, version)
	if !ok {
		restRefusal{http.StatusNotFound, fmt.Sprintf("TF401175: The version descriptor <%s: %s > could not be resolved to a version in the repository %s", title(kind), version, r.name),
			"Microsoft.TeamFoundation.Git.Server.GitUnresolvableToCommitException", 3000}.write(w)
		return
	}
	name := path.Join("/", query.Get("path"))
	link := fmt.Sprintf("%s/_apis/git/repositories/%s/items%s?versionType=%s&version=%s&versionOptions=None", p.url(), r.id, (&url.URL{Path: name}).EscapedPath(), title(kind), url.QueryEscape(version))
	document := map[string]any{
		"commitId": commit, "path": name, "url": link,
		"_links": map[string]any{
			"self":       map[string]any{"href": link},
			"repository": map[string]any{"href": fmt.Sprintf("%s/_apis/git/repositories/%s", p.url(), r.id)},
		},
	}
	content, ok := r.commits[commit][name]
	switch {
	case ok:
		document["objectId"], document["gitObjectType"] = gitID("blob", content), "blob"
		if strings.EqualFold(query.Get("includeContent"), "true") {
			// What is no text is read in some encoding, and the bytes are lost.
			document["content"] = strings.ToValidUTF8(string(content), "\ufffd")
		}
		if strings.EqualFold(query.Get("includeContentMetadata"), "true") {
			document["contentMetadata"] = map[string]any{"encoding": 65001, "contentType": "text/plain", "fileName": path.Base(name), "extension": strings.TrimPrefix(path.Ext(name), "."), "isBinary": !utf8.Valid(content)}
		}
	case r.folder(commit, name):
		document["objectId"], document["gitObjectType"], document["isFolder"] = gitID("tree", []byte(name)), "tree", true
	default:
		restRefusal{http.StatusNotFound, fmt.Sprintf("TF401174: The item '%s' could not be found in the repository '%s' at the version specified by '<%s: %s >' (resolved to commit '%s')", name, r.name, title(kind), version, commit),
			"Microsoft.TeamFoundation.Git.Server.GitItemNotFoundException", 3000}.write(w)
		return
	}
	writeJSON(w, http.StatusOK, document)
}

// folder reports whether files lie below a path. Callers hold mu.
func (r *Repository) folder(commit, name string) bool {
	for file := range r.commits[commit] {
		if strings.HasPrefix(file, strings.TrimSuffix(name, "/")+"/") {
			return true
		}
	}
	return false
}

// refuseRepository answers 403 where repositories are denied.
func (p *Project) refuseRepository(w http.ResponseWriter) bool {
	p.org.mu.Lock()
	denied := p.denied[Repositories]
	p.org.mu.Unlock()
	if denied {
		restRefusal{http.StatusForbidden, "TF401027: You need the Git 'GenericRead' permission to perform this action. Details: identity '" + p.buildService() + "', scope 'repository'.",
			"Microsoft.TeamFoundation.Git.Server.GitNeedsPermissionException", 3000}.write(w)
	}
	return denied
}
