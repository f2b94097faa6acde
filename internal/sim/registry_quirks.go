package sim

import (
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
	// DigestNames answers a tag sha256-<hex> that does not exist with the manifest
	// of that digest.
	DigestNames bool
	// Refuses are media types of manifests that are refused, with RefusedBy: 400
	// MANIFEST_INVALID if it is nil.
	Refuses   []string
	RefusedBy *Answer
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
