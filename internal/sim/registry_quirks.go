package sim

import (
	"compress/gzip"
	"net/http"
	"slices"
	"strings"
)

// Quirks are what registries other than Azure's do, by public bug reports. The zero
// value has none of them.
type Quirks struct {
	// Referrers, if not nil, is the answer to every request for referrers. Manifests
	// with a subject are then taken without OCI-Subject.
	Referrers *Answer
	// Unlisted takes manifests with a subject with OCI-Subject, but lists none.
	Unlisted bool
	// NoSubjectHeader lists referrers, but takes them without OCI-Subject.
	NoSubjectHeader bool
	// StrictSubject refuses a manifest whose subject does not exist.
	StrictSubject bool
	// LockedSubject refuses a manifest whose subject is locked against writes.
	LockedSubject bool
	// DigestNames answers a tag sha256-<hex> that does not exist with the manifest
	// of that digest.
	DigestNames bool
	// TagsByPull lists tags by the right to pull.
	TagsByPull bool
	// Refuses are media types of manifests that are refused, with RefusedBy: 400
	// MANIFEST_INVALID if it is nil.
	Refuses   []string
	RefusedBy *Answer
	// Mount is what is answered to a mount.
	Mount MountAnswer
	// MovedUploads is the status of a redirect that answers the opening of an upload,
	// to the host MovedUploadsTo: the registry itself if it is empty.
	MovedUploads   int
	MovedUploadsTo string
	// AcceptedPut answers 202 to the PUT of a manifest.
	AcceptedPut bool
	// NoHead, if not nil, is the answer to HEAD of every manifest.
	NoHead *Answer
	// Gzip compresses manifests that were asked for as they are, and GzipBlobs what
	// the storage has.
	Gzip, GzipBlobs bool
	// RedirectedHead sends HEAD of a blob to the storage, as GET.
	RedirectedHead bool
	// SignedForGET has the storage take signed addresses for GET alone.
	SignedForGET bool
	// NeedsForeign takes no manifest whose foreign layers are not there.
	NeedsForeign bool
}

// Answer is an answer that is always the same.
type Answer struct {
	Status      int
	ContentType string
	Body        string
}

func (a Answer) write(w http.ResponseWriter) {
	if a.ContentType != "" {
		w.Header().Set("Content-Type", a.ContentType)
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write([]byte(a.Body))
}

// refusesType refuses a manifest of a type that the registry does not take.
func (q Quirks) refusesType(w http.ResponseWriter, mediaType string) bool {
	if !slices.Contains(q.Refuses, mediaType) {
		return false
	}
	if q.RefusedBy != nil {
		q.RefusedBy.write(w)
	} else {
		fail(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid: unknown media type", nil)
	}
	return true
}

// namesSubject reports whether a manifest with a subject is answered with
// OCI-Subject.
func (r *Registry) namesSubject() bool {
	return !r.o.NoReferrers && r.o.Quirks.Referrers == nil && !r.o.Quirks.NoSubjectHeader
}

// named returns the digest that a reference names, if it does so by its spelling.
func (q Quirks) named(reference string) string {
	if hex, ok := strings.CutPrefix(reference, "sha256-"); ok && q.DigestNames && validDigest("sha256:"+hex) {
		return "sha256:" + hex
	}
	return reference
}

// MountAnswer is what a registry answers to a mount.
type MountAnswer string

// The answers.
const (
	MountsNamed    MountAnswer = ""         // 201 with the digest where it was mounted, else an upload
	MountsUnnamed  MountAnswer = "unnamed"  // the same without the digest's header
	MountsUpload   MountAnswer = "upload"   // 201 with an upload, and nothing is mounted
	MountsPretends MountAnswer = "pretends" // 201 without digest, and nothing is mounted
)

// moveUpload answers a request that opens an upload with a redirect, once.
func (r *Registry) moveUpload(w http.ResponseWriter, req *http.Request) bool {
	v := r.o.Quirks
	if v.MovedUploads == 0 || req.URL.Query().Has("moved") {
		return false
	}
	query := req.URL.Query()
	query.Set("moved", "1")
	host := v.MovedUploadsTo
	if host == "" {
		host = req.Host
	}
	w.Header().Set("Location", "https://"+host+req.URL.EscapedPath()+"?"+query.Encode())
	w.WriteHeader(v.MovedUploads)
	return true
}

// compressed makes the answer a compressed one if it has content.
func compressed(w http.ResponseWriter) (answer http.ResponseWriter, end func()) {
	c := &compressing{ResponseWriter: w}
	return c, c.end
}

type compressing struct {
	http.ResponseWriter
	to *gzip.Writer
}

func (c *compressing) WriteHeader(status int) {
	if status == http.StatusOK {
		c.Header().Del("Content-Length")
		c.Header().Set("Content-Encoding", "gzip")
		c.to = gzip.NewWriter(c.ResponseWriter)
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *compressing) Write(p []byte) (int, error) {
	if c.to != nil {
		return c.to.Write(p)
	}
	return c.ResponseWriter.Write(p)
}

func (c *compressing) end() {
	if c.to != nil {
		c.to.Close()
	}
}

// mountsNothing answers a mount without mounting, as the variant says.
func (r *Registry) mountsNothing(w http.ResponseWriter, name string, u *upload) {
	h := w.Header()
	if r.o.Quirks.Mount == MountsUpload {
		h.Set("Location", "/v2/"+name+"/blobs/uploads/"+u.id)
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

// mounts reports whether a mount that can be done is done.
func (r *Registry) mounts() bool {
	return r.o.Quirks.Mount == MountsNamed || r.o.Quirks.Mount == MountsUnnamed
}

// isForeign reports whether a layer is not distributed with its image: it says where
// else it is.
func isForeign(layer descriptor) bool { return len(layer.URLs) > 0 }
