package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

func (r *Registry) serveBlob(w http.ResponseWriter, req *http.Request, name, digest string) {
	if !validName(w, name) {
		return
	}
	action := "pull"
	if req.Method == http.MethodDelete {
		action = "delete"
	}
	if !r.authorize(w, req, repositoryScope(name, action)) {
		return
	}
	// Of another algorithm there is simply none.
	if !validDigest(digest) && !strings.HasPrefix(digest, "sha512:") {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest is invalid", map[string]string{"digest": digest})
		return
	}
	r.mu.Lock()
	repo := r.repository(name)
	b := r.seenBlob(req, name, digest)
	readable := repo == nil || repo.attributes.read
	deletable := repo == nil || repo.attributes.deletable()
	r.mu.Unlock()
	if b == nil {
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": digest})
		return
	}
	h := w.Header()
	switch req.Method {
	case http.MethodHead, http.MethodGet:
		if !readable {
			disallow(w)
			return
		}
		r.setDigest(w, digest)
		if req.Method == http.MethodGet || r.o.Quirks.RedirectedHead {
			h.Set("Location", r.downloadAddress(digest))
			h.Set("Content-Length", "0")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		h.Set("Accept-Ranges", "bytes")
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Length", strconv.FormatInt(b.size, 10))
		h.Set("ETag", `"`+digest+`"`)
		w.WriteHeader(http.StatusOK)
	case http.MethodDelete:
		if !deletable {
			disallow(w)
			return
		}
		r.mu.Lock()
		r.dropBlob(name, digest)
		r.mu.Unlock()
		r.setDigest(w, digest)
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusAccepted)
	default:
		unsupported(w)
	}
}

// upload is an open upload session.
type upload struct {
	id         string
	repository string

	mu    sync.Mutex // held while a body streams in
	spool *spool
	ended bool
}

// serveUpload is everything under /blobs/uploads/. An upload that broke in the
// middle of a body is lost: 404 BLOB_UPLOAD_INVALID ever after. So is one that
// is addressed without the _state of its last answer.
func (r *Registry) serveUpload(w http.ResponseWriter, req *http.Request, name, id string) {
	if !validName(w, name) {
		return
	}
	query := req.URL.Query()
	needed := []resource{repositoryScope(name, "pull", "push")}
	if from := query.Get("from"); from != "" && from != name && req.Method == http.MethodPost {
		needed = append(needed, repositoryScope(from, "pull"))
	}
	if !r.authorize(w, req, needed...) {
		return
	}
	if id == "" {
		if req.Method != http.MethodPost {
			unsupported(w)
			return
		}
		if !r.moveUpload(w, req) {
			r.startUpload(w, req, name, query)
		}
		return
	}

	r.mu.Lock()
	u, broken := r.uploads[id], r.broken[id]
	r.mu.Unlock()
	if broken {
		uploadInvalid(w)
		return
	}
	if u == nil || u.repository != name {
		fail(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", nil)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended || query.Get("_state") != r.uploadState(u) {
		uploadInvalid(w)
		return
	}
	if !follows(req, u.spool.size) {
		w.Header().Set("Range", uploadRange(u))
		fail(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "blob upload invalid: the chunk does not follow the last one", nil)
		return
	}
	switch req.Method {
	case http.MethodGet:
		r.tellUpload(w, u, http.StatusNoContent)
	case http.MethodPatch:
		if r.receive(w, req, u) {
			r.tellUpload(w, u, http.StatusAccepted)
		}
	case http.MethodPut:
		if r.receive(w, req, u) {
			r.finishUpload(w, req, u, query.Get("digest"))
		}
	case http.MethodDelete:
		r.endUpload(u, false)
		w.WriteHeader(http.StatusNoContent)
	default:
		unsupported(w)
	}
}

// startUpload mounts the blob if it is there to be mounted, else opens a
// session. A body sent along with the POST is not taken.
func (r *Registry) startUpload(w http.ResponseWriter, req *http.Request, name string, query url.Values) {
	r.mu.Lock()
	if repo := r.repository(name); repo != nil && !repo.attributes.write {
		r.mu.Unlock()
		disallow(w)
		return
	}
	digest := query.Get("mount")
	if r.mounts() && r.seenBlob(req, query.Get("from"), digest) != nil {
		r.arrives(req, name, digest, "", r.blobIn(name, digest) != nil)
		r.blobs[digest].repositories[name] = true
		r.mu.Unlock()
		if r.o.Quirks.Mount == MountsUnnamed {
			w.Header().Set("Location", "/v2/"+name+"/blobs/"+digest)
			w.WriteHeader(http.StatusCreated)
			return
		}
		r.tellBlob(w, name, digest)
		return
	}
	u := &upload{id: identifier(), repository: name, spool: newSpool(r.cloud.dir)}
	r.uploads[u.id] = u
	r.mu.Unlock()
	if digest != "" && !r.mounts() {
		r.mountsNothing(w, name, u)
		return
	}
	r.tellUpload(w, u, http.StatusAccepted)
}

// follows reports whether a body that says its place begins where the upload has
// come to.
func follows(req *http.Request, at int64) bool {
	given := req.Header.Get("Content-Range")
	if given == "" {
		return true
	}
	var start, end int64
	n, _ := fmt.Sscanf(given, "%d-%d", &start, &end)
	return n == 2 && start == at && (req.ContentLength < 0 || req.ContentLength == end-start+1)
}

// receive takes the body in; if it ends too early the session is lost.
func (r *Registry) receive(w http.ResponseWriter, req *http.Request, u *upload) bool {
	if err := u.spool.fill(req.Body, req.ContentLength); err != nil {
		r.endUpload(u, true)
		uploadInvalid(w)
		return false
	}
	return true
}

func (r *Registry) finishUpload(w http.ResponseWriter, req *http.Request, u *upload, digest string) {
	computed := u.spool.digest()
	if digest != computed {
		r.endUpload(u, true)
		fail(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content", map[string]string{"provided": digest, "computed": computed})
		return
	}
	c, err := u.spool.content()
	if err != nil {
		r.endUpload(u, true)
		fail(w, http.StatusInternalServerError, "UNKNOWN", err.Error(), nil)
		return
	}
	u.ended = true
	r.mu.Lock()
	delete(r.uploads, u.id)
	r.arrives(req, u.repository, digest, "", r.blobIn(u.repository, digest) != nil)
	r.addBlob(u.repository, digest, c)
	r.mu.Unlock()
	r.tellBlob(w, u.repository, digest)
}

// endUpload needs u.mu.
func (r *Registry) endUpload(u *upload, broken bool) {
	u.ended = true
	u.spool.discard()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.uploads, u.id)
	if broken {
		r.broken[u.id] = true
	}
}

func uploadInvalid(w http.ResponseWriter) {
	fail(w, http.StatusNotFound, "BLOB_UPLOAD_INVALID", "blob upload invalid", nil)
}

// uploadState changes with every chunk, as Azure's does.
func (r *Registry) uploadState(u *upload) string {
	return r.sign(fmt.Sprintf("upload %s at %d", u.id, u.spool.size))
}

func uploadRange(u *upload) string { return fmt.Sprintf("0-%d", max(u.spool.size-1, 0)) }

func (r *Registry) tellUpload(w http.ResponseWriter, u *upload, status int) {
	h := w.Header()
	query := url.Values{"_nouploadcache": {"false"}, "_state": {r.uploadState(u)}}
	h.Set("Location", "/v2/"+u.repository+"/blobs/uploads/"+u.id+"?"+query.Encode())
	h.Set("Docker-Upload-Uuid", u.id)
	h.Set("Range", uploadRange(u))
	if status != http.StatusNoContent {
		h.Set("Content-Length", "0")
	}
	w.WriteHeader(status)
}

func (r *Registry) tellBlob(w http.ResponseWriter, name, digest string) {
	w.Header().Set("Location", "/v2/"+name+"/blobs/"+digest)
	r.setDigest(w, digest)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}
