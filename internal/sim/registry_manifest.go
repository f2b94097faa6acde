package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxManifest is the size of the largest manifest that is taken.
const maxManifest = 4 << 20

// listPage is how many names an answer holds if the request does not say.
const listPage = 100

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociArtifact    = "application/vnd.oci.artifact.manifest.v1+json"
	orasArtifact   = "application/vnd.cncf.oras.artifact.manifest.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

func (r *Registry) serveManifest(w http.ResponseWriter, req *http.Request, name, reference string) {
	if !validName(w, name) {
		return
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		if !r.authorize(w, req, repositoryScope(name, "pull")) {
			return
		}
		if answer := r.o.Quirks.NoHead; answer != nil && req.Method == http.MethodHead {
			answer.write(w)
			return
		}
		if r.o.Quirks.Gzip {
			answer, end := compressed(w)
			defer end()
			w = answer
		}
		r.getManifest(w, req, name, reference)
	case http.MethodPut:
		if r.authorize(w, req, repositoryScope(name, "pull", "push")) {
			r.putManifest(w, req, name, reference)
		}
	case http.MethodDelete:
		if r.authorize(w, req, repositoryScope(name, "delete")) {
			r.deleteManifest(w, name, reference)
		}
	default:
		unsupported(w)
	}
}

func (r *Registry) getManifest(w http.ResponseWriter, req *http.Request, name, reference string) {
	r.mu.Lock()
	repo := r.repository(name)
	digest, m := r.seen(req, name, reference)
	if m == nil {
		digest, m = r.seen(req, name, r.o.Quirks.named(reference))
	}
	if m == nil {
		r.mu.Unlock()
		manifestUnknown(w, reference)
		return
	}
	readable := repo.attributes.read && m.attributes.read
	if t := repo.tags[reference]; t != nil {
		readable = readable && t.attributes.read
	}
	body, mediaType := m.content, m.mediaType
	corrupt := r.corrupted[digest]
	r.mu.Unlock()

	if !readable {
		r.o.ReadDisabled.Manifest.hide(w, digest)
		return
	}
	if accept := req.Header.Values("Accept"); len(accept) > 0 && !accepts(accept, mediaType) {
		kind := "manifest"
		if mediaType == ociIndex || mediaType == dockerList {
			kind = "index"
		}
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("OCI %s found, but accept header does not support OCI %ss", kind, kind), nil)
		return
	}
	if corrupt != nil && req.Method == http.MethodGet {
		body = corrupt(slices.Clone(body))
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("ETag", `"`+digest+`"`)
	r.setDigest(w, digest)
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodGet {
		w.Write(body)
	}
}

func (r *Registry) setDigest(w http.ResponseWriter, digest string) {
	r.mu.Lock()
	rewrite := r.digestHeader
	r.mu.Unlock()
	if rewrite != nil {
		digest = rewrite(digest)
	}
	if digest != "" {
		w.Header().Set("Docker-Content-Digest", digest)
	}
}

func accepts(accept []string, mediaType string) bool {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, _, err := mime.ParseMediaType(part)
		if err == nil && (kind == mediaType || kind == "*/*") {
			return true
		}
	}
	return false
}

func manifestUnknown(w http.ResponseWriter, reference string) {
	message := fmt.Sprintf("manifest tagged by %q is not found", reference)
	if strings.Contains(reference, ":") {
		message = fmt.Sprintf("manifest %s is not found", reference)
	}
	fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN", message, map[string]string{"Name": reference})
}

func nameUnknown(w http.ResponseWriter, name string) {
	fail(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry", map[string]string{"name": name})
}

// putManifest takes a manifest whose blobs and children are there already. Its
// subject may be missing.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, name, reference string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		fail(w, http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "manifest is larger than 4 MiB", nil)
		return
	} else if err != nil {
		fail(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest could not be read whole", nil)
		return
	}
	digest, tagName := digestOf(body), reference
	if strings.Contains(reference, ":") {
		if reference != digest {
			fail(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content", map[string]string{"provided": reference, "computed": digest})
			return
		}
		tagName = ""
	} else if !validTag(reference) {
		fail(w, http.StatusBadRequest, "TAG_INVALID", "manifest tag did not match URI", nil)
		return
	}
	mediaType, d, problem := readManifest(req.Header.Get("Content-Type"), body)
	if problem != "" {
		fail(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid: "+problem, nil)
		return
	}
	if r.o.Quirks.refusesType(w, mediaType) {
		return
	}

	r.mu.Lock()
	repo := r.repository(name)
	if repo != nil {
		locked := !repo.attributes.write
		if m := repo.manifests[digest]; m != nil {
			locked = locked || !m.attributes.write
		}
		if t := repo.tags[tagName]; t != nil {
			locked = locked || !t.attributes.write && !(r.o.EqualTagPut && t.digest == digest)
		}
		if locked {
			r.mu.Unlock()
			disallow(w)
			return
		}
	}
	if r.deleted[place{name, digest}] {
		r.mu.Unlock()
		r.o.SoftDelete.refuse(w, digest)
		return
	}
	needed := d.needs()
	if r.o.Quirks.NeedsForeign {
		needed = append(needed, d.foreign()...)
	}
	for _, b := range needed {
		if r.seenBlob(req, name, b.Digest) == nil {
			r.mu.Unlock()
			fail(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": b.Digest})
			return
		}
	}
	for _, child := range d.Manifests {
		if _, m := r.seen(req, name, child.Digest); m == nil {
			r.mu.Unlock()
			manifestUnknown(w, child.Digest)
			return
		}
	}
	if d.Subject != nil && r.o.Quirks.LockedSubject && repo != nil {
		if m := repo.manifests[d.Subject.Digest]; m != nil && !m.attributes.write {
			r.mu.Unlock()
			disallow(w)
			return
		}
	}
	if d.Subject != nil && r.o.ReadDisabled.Subject && repo.readDisabled(d.Subject.Digest) {
		r.mu.Unlock()
		r.o.ReadDisabled.Manifest.hide(w, d.Subject.Digest)
		return
	}
	if d.Subject != nil && r.o.Quirks.StrictSubject {
		if _, m := r.seen(req, name, d.Subject.Digest); m == nil {
			r.mu.Unlock()
			manifestUnknown(w, d.Subject.Digest)
			return
		}
	}
	_, there := repo.resolve(digest)
	r.arrives(req, name, digest, "", there != nil)
	if tagName != "" {
		before := ""
		if repo != nil && repo.tags[tagName] != nil {
			before = repo.tags[tagName].digest
		}
		r.arrives(req, name, tagName, before, before == digest)
	}
	r.addManifest(name, tagName, mediaType, body, d)
	r.mu.Unlock()

	if d.Subject != nil && r.namesSubject() {
		w.Header().Set("OCI-Subject", d.Subject.Digest)
	}
	w.Header().Set("Location", "/v2/"+name+"/manifests/"+digest)
	r.setDigest(w, digest)
	w.Header().Set("Content-Length", "0")
	if r.o.Quirks.AcceptedPut {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// readManifest checks a manifest's form and says what is wrong with it.
func readManifest(contentType string, body []byte) (mediaType string, d document, problem string) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", d, "it has no media type"
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return "", d, "it is no JSON document"
	}
	switch mediaType {
	case ociManifest, dockerManifest:
		if d.Config == nil {
			return "", d, "it has no config"
		}
		if d.Manifests != nil {
			return "", d, "it has the children of an index"
		}
	case ociIndex, dockerList:
		if d.Config != nil || d.Layers != nil {
			return "", d, "it has the config or layers of an image"
		}
	case ociArtifact, orasArtifact:
	default:
		return "", d, "its media type is unknown"
	}
	if d.MediaType != "" && d.MediaType != mediaType {
		return "", d, "its media type is not the one of the request"
	}
	named := slices.Concat(d.needs(), d.Manifests)
	if d.Subject != nil {
		named = append(named, *d.Subject)
	}
	for _, n := range named {
		if !validDigest(n.Digest) || n.Size < 0 {
			return "", d, "it has a descriptor that is invalid"
		}
	}
	return mediaType, d, ""
}

// deleteManifest deletes a tag, or a manifest by digest with its tags. A lock
// on any of its tags protects the manifest.
func (r *Registry) deleteManifest(w http.ResponseWriter, name, reference string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repository(name)
	digest, m := repo.resolve(reference)
	if m == nil {
		manifestUnknown(w, reference)
		return
	}
	if t := repo.tags[reference]; t != nil {
		r.deleteTag(w, repo, reference)
		return
	}
	deletable := repo.attributes.deletable() && m.attributes.deletable()
	for _, t := range repo.tags {
		deletable = deletable && (t.digest != digest || t.attributes.deletable())
	}
	if !deletable {
		disallow(w)
		return
	}
	r.removeManifest(name, digest)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
}

// deleteTag needs r.mu.
func (r *Registry) deleteTag(w http.ResponseWriter, repo *repository, name string) {
	t := repo.tags[name]
	if !repo.attributes.deletable() || !t.attributes.deletable() {
		disallow(w)
		return
	}
	delete(repo.tags, name)
	repo.updated = r.now()
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
}

// removeManifest needs r.mu.
func (r *Registry) removeManifest(name, digest string) {
	repo := r.repositories[name]
	if r.o.SoftDelete != "" && repo.manifests[digest] != nil {
		r.deleted[place{name, digest}] = true
	}
	delete(repo.manifests, digest)
	for tagName, t := range repo.tags {
		if t.digest == digest {
			delete(repo.tags, tagName)
		}
	}
	repo.updated = r.now()
}

// tagsList lists tags by the right to read metadata, as Azure does
// (github.com/Azure/acr/issues/600 and 676). Only anonymous pull includes it
// (issue 663).
func (r *Registry) tagsList(w http.ResponseWriter, req *http.Request, name string) {
	action := "metadata_read"
	if r.anonymous(req) || r.o.Quirks.TagsByPull {
		action = "pull"
	}
	if !validName(w, name) || !r.authorize(w, req, repositoryScope(name, action)) {
		return
	}
	if req.Method != http.MethodGet {
		unsupported(w)
		return
	}
	r.mu.Lock()
	repo := r.repository(name)
	if repo == nil {
		r.mu.Unlock()
		nameUnknown(w, name)
		return
	}
	tags := slices.DeleteFunc(repo.tagNames(), func(tag string) bool {
		before, hidden := r.hides(req, name, tag)
		return hidden && before == ""
	})
	r.mu.Unlock()
	tags, ok := paged(w, req, tags)
	if ok {
		answer(w, http.StatusOK, map[string]any{"name": name, "tags": tags})
	}
}

// tagNames lists the tags that may be listed, in order. It needs r.mu.
func (repo *repository) tagNames() []string {
	names := []string{}
	for name, t := range repo.tags {
		if t.attributes.list {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (r *Registry) catalog(w http.ResponseWriter, req *http.Request) {
	if !r.authorize(w, req, resource{"registry", "catalog", []string{"*"}}) {
		return
	}
	if req.Method != http.MethodGet {
		unsupported(w)
		return
	}
	names := []string{}
	r.mu.Lock()
	for name, repo := range r.repositories {
		if repo.attributes.list {
			names = append(names, name)
		}
	}
	r.mu.Unlock()
	slices.Sort(names)
	names, ok := paged(w, req, names)
	if ok {
		answer(w, http.StatusOK, map[string]any{"repositories": names})
	}
}

// paged is the page of the names that the request asks for by n and last; it
// sets Link if there is more, and answers if n is no number.
func paged(w http.ResponseWriter, req *http.Request, names []string) ([]string, bool) {
	query := req.URL.Query()
	n := listPage
	if query.Has("n") {
		var err error
		if n, err = strconv.Atoi(query.Get("n")); err != nil || n < 0 {
			fail(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "invalid number of results requested", map[string]string{"n": query.Get("n")})
			return nil, false
		}
	}
	names, more := page(names, query.Get("last"), n)
	if more && n > 0 {
		next := url.Values{"last": {names[n-1]}, "n": {strconv.Itoa(n)}, "orderby": {query.Get("orderby")}}
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, req.URL.EscapedPath(), next.Encode()))
	}
	return names, true
}

// serveReferrers is the referrers API: an index of what refers to the digest,
// empty where nothing does, whether or not the subject is there.
func (r *Registry) serveReferrers(w http.ResponseWriter, req *http.Request, name, subject string) {
	if r.o.NoReferrers {
		http.NotFound(w, req)
		return
	}
	if !validName(w, name) || !r.authorize(w, req, repositoryScope(name, "pull")) {
		return
	}
	if r.o.Quirks.Referrers != nil {
		r.o.Quirks.Referrers.write(w)
		return
	}
	if req.Method != http.MethodGet {
		unsupported(w)
		return
	}
	if !validDigest(subject) {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest is invalid", map[string]string{"digest": subject})
		return
	}
	query := req.URL.Query()
	found := map[string]descriptor{}
	var digests []string
	r.mu.Lock()
	repo := r.repository(name)
	if how := r.o.ReadDisabled.Referrers; how != HiddenNot && repo.readDisabled(subject) {
		r.mu.Unlock()
		how.hide(w, subject)
		return
	}
	for _, digest := range repo.referrers(subject) {
		m := repo.manifests[digest]
		if _, hidden := r.hides(req, name, digest); hidden || r.o.Quirks.Unlisted {
			continue
		}
		if filter := query.Get("artifactType"); filter != "" && filter != m.document.artifactType() {
			continue
		}
		digests = append(digests, digest)
		found[digest] = descriptor{
			MediaType: m.mediaType, Digest: digest, Size: int64(len(m.content)),
			ArtifactType: m.document.artifactType(), Annotations: m.document.Annotations,
		}
	}
	r.mu.Unlock()
	if query.Get("artifactType") != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	digests, more := page(digests, query.Get("nextToken"), r.o.ReferrersPage)
	if more {
		query.Set("nextToken", digests[len(digests)-1])
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, req.URL.EscapedPath(), query.Encode()))
	}
	list := make([]descriptor, 0, len(digests))
	for _, digest := range digests {
		list = append(list, found[digest])
	}
	body, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
	w.Header().Set("Content-Type", ociIndex)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	w.Write(body)
}
