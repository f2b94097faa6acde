package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// changeable is changeableAttributes, as it is sent.
type changeable struct {
	Delete bool `json:"deleteEnabled"`
	Write  bool `json:"writeEnabled"`
	Read   bool `json:"readEnabled"`
	List   bool `json:"listEnabled"`
}

func tellChangeable(a attributes) changeable { return changeable{a.delete, a.write, a.read, a.list} }

// change is changeableAttributes, as it is asked for: what is absent stays.
type change struct {
	Delete *bool `json:"deleteEnabled"`
	Write  *bool `json:"writeEnabled"`
	Read   *bool `json:"readEnabled"`
	List   *bool `json:"listEnabled"`
}

func (c change) apply(a *attributes) {
	for _, field := range []struct {
		from *bool
		to   *bool
	}{{c.Delete, &a.delete}, {c.Write, &a.write}, {c.Read, &a.read}, {c.List, &a.list}} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
}

type tagRecord struct {
	Name       string     `json:"name"`
	Digest     string     `json:"digest"`
	Created    string     `json:"createdTime"`
	Updated    string     `json:"lastUpdateTime"`
	Signed     bool       `json:"signed"`
	Changeable changeable `json:"changeableAttributes"`
}

type childRecord struct {
	Digest       string `json:"digest"`
	Architecture string `json:"architecture,omitempty"`
	OS           string `json:"os,omitempty"`
}

type manifestRecord struct {
	Digest       string        `json:"digest"`
	Size         int64         `json:"imageSize"`
	Created      string        `json:"createdTime"`
	Updated      string        `json:"lastUpdateTime"`
	Architecture string        `json:"architecture,omitempty"`
	OS           string        `json:"os,omitempty"`
	MediaType    string        `json:"mediaType"`
	ConfigType   string        `json:"configMediaType,omitempty"`
	Tags         []string      `json:"tags,omitempty"`
	Changeable   changeable    `json:"changeableAttributes"`
	References   []childRecord `json:"references,omitempty"`
}

func tellTime(t time.Time) string { return t.Format("2006-01-02T15:04:05.9999999Z") }

func tellTag(name string, t *tag) tagRecord {
	return tagRecord{name, t.digest, tellTime(t.created), tellTime(t.updated), false, tellChangeable(t.attributes)}
}

// tellManifest needs r.mu.
func (r *Registry) tellManifest(name, digest string) manifestRecord {
	repo := r.repositories[name]
	m := repo.manifests[digest]
	record := manifestRecord{
		Digest: digest, Created: tellTime(m.created), Updated: tellTime(m.updated),
		MediaType: m.mediaType, Changeable: tellChangeable(m.attributes),
	}
	for _, b := range m.document.needs() {
		record.Size += b.Size
	}
	if m.document.Config != nil {
		record.ConfigType = m.document.Config.MediaType
		record.Architecture, record.OS = r.platform(name, m.document)
	}
	for _, child := range m.document.Manifests {
		c := childRecord{Digest: child.Digest}
		if child.Platform != nil {
			c.Architecture, c.OS = child.Platform.Architecture, child.Platform.OS
		}
		record.References = append(record.References, c)
	}
	for tagName, t := range repo.tags {
		if t.digest == digest {
			record.Tags = append(record.Tags, tagName)
		}
	}
	slices.Sort(record.Tags)
	return record
}

// serveMetadata is /acr/v1: attributes and locks. They need metadata_read and
// metadata_write; deletion needs delete.
func (r *Registry) serveMetadata(w http.ResponseWriter, req *http.Request, path string) {
	name, kind, reference := path, "", ""
	for _, k := range []string{"_tags", "_manifests"} {
		if before, after, ok := strings.Cut(path+"/", "/"+k+"/"); ok {
			name, kind, reference = before, k, strings.TrimSuffix(after, "/")
		}
	}
	action, ok := map[string]string{
		http.MethodGet: "metadata_read", http.MethodPatch: "metadata_write", http.MethodDelete: "delete",
	}[req.Method]
	listing := kind != "" && reference == ""
	if !ok || listing && req.Method != http.MethodGet || kind == "_manifests" && req.Method == http.MethodDelete {
		unsupported(w)
		return
	}
	if !validName(w, name) || !r.authorize(w, req, repositoryScope(name, action)) {
		return
	}
	var wanted change
	if req.Method == http.MethodPatch {
		if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<20)).Decode(&wanted); err != nil {
			fail(w, http.StatusBadRequest, "BAD_REQUEST", "the body is no set of attributes", nil)
			return
		}
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repository(name)
	if repo == nil {
		nameUnknown(w, name)
		return
	}
	document := map[string]any{"registry": r.host, "imageName": name}
	switch {
	case kind == "" && req.Method == http.MethodDelete:
		r.deleteRepository(w, name)
		return
	case kind == "":
		wanted.apply(&repo.attributes)
		document["createdTime"], document["lastUpdateTime"] = tellTime(repo.created), tellTime(repo.updated)
		document["manifestCount"], document["tagCount"] = len(repo.manifests), len(repo.tags)
		document["changeableAttributes"] = tellChangeable(repo.attributes)
	case listing && kind == "_tags":
		tags, ok := paged(w, req, inOrder(req, repo.tagNames(), func(n string) time.Time { return repo.tags[n].updated }))
		if !ok {
			return
		}
		records := []tagRecord{}
		for _, n := range tags {
			if digest := req.URL.Query().Get("digest"); digest == "" || digest == repo.tags[n].digest {
				records = append(records, tellTag(n, repo.tags[n]))
			}
		}
		document["tags"] = records
	case listing:
		digests := []string{}
		for digest, m := range repo.manifests {
			if m.attributes.list && !(r.o.UnlistedReferrers && m.document.Subject != nil) {
				digests = append(digests, digest)
			}
		}
		slices.Sort(digests)
		digests, ok := paged(w, req, inOrder(req, digests, func(d string) time.Time { return repo.manifests[d].updated }))
		if !ok {
			return
		}
		records := []manifestRecord{}
		for _, digest := range digests {
			record := r.tellManifest(name, digest)
			record.References = nil
			records = append(records, record)
		}
		document["manifests"] = records
	case kind == "_tags":
		t := repo.tags[reference]
		if before, hidden := r.hides(req, name, reference); t == nil || hidden && before == "" {
			fail(w, http.StatusNotFound, "TAG_UNKNOWN", "the specified tag does not exist", nil)
			return
		}
		if req.Method == http.MethodDelete {
			r.deleteTag(w, repo, reference)
			return
		}
		if req.Method == http.MethodPatch && !r.patches(w, req, name, reference, &t.attributes, wanted) {
			return
		}
		shown := *t
		shown.attributes = r.seenLock(req, name, reference, t.attributes)
		if before, hidden := r.hides(req, name, reference); hidden {
			shown.digest = before
		}
		document["tag"] = tellTag(reference, &shown)
	default:
		m := repo.manifests[reference]
		if _, hidden := r.hides(req, name, reference); m == nil || hidden {
			manifestUnknown(w, reference)
			return
		}
		if how := r.o.ReadDisabled.Attributes; how != HiddenNot && req.Method == http.MethodGet && !m.attributes.read {
			how.hide(w, reference)
			return
		}
		if req.Method == http.MethodPatch && !r.patches(w, req, name, reference, &m.attributes, wanted) {
			return
		}
		record := r.tellManifest(name, reference)
		record.Changeable = tellChangeable(r.seenLock(req, name, reference, m.attributes))
		document["manifest"] = record
	}
	answer(w, http.StatusOK, document)
}

// patches applies the change, and answers 405 if the lock forbids it. It needs
// r.mu.
func (r *Registry) patches(w http.ResponseWriter, req *http.Request, name, reference string, a *attributes, wanted change) bool {
	if r.o.LockedPatch && !a.write {
		disallow(w)
		return false
	}
	r.locks(req, name, reference, *a)
	wanted.apply(a)
	return true
}

// inOrder sorts the names by time if the request asks for that.
func inOrder(req *http.Request, names []string, updated func(string) time.Time) []string {
	order := req.URL.Query().Get("orderby")
	if order == "timeasc" || order == "timedesc" {
		slices.SortStableFunc(names, func(a, b string) int { return updated(a).Compare(updated(b)) })
	}
	if order == "timedesc" {
		slices.Reverse(names)
	}
	return names
}

// deleteRepository needs r.mu. One lock anywhere in it protects all of it.
func (r *Registry) deleteRepository(w http.ResponseWriter, name string) {
	repo := r.repositories[name]
	deletable := repo.attributes.deletable()
	tags, manifests := []string{}, []string{}
	for tagName, t := range repo.tags {
		deletable = deletable && t.attributes.deletable()
		tags = append(tags, tagName)
	}
	for digest, m := range repo.manifests {
		deletable = deletable && m.attributes.deletable()
		manifests = append(manifests, digest)
	}
	if !deletable {
		disallow(w)
		return
	}
	delete(r.repositories, name)
	for digest := range r.blobs {
		r.dropBlob(name, digest)
	}
	slices.Sort(tags)
	slices.Sort(manifests)
	answer(w, http.StatusAccepted, map[string][]string{"manifestsDeleted": manifests, "tagsDeleted": tags})
}
