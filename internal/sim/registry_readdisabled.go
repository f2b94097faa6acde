package sim

import "net/http"

// ReadDisabled is what a registry answers about a manifest with readEnabled: false.
// What Azure's answers is not documented. In the zero value the manifest is refused,
// and what is attached to it and its attributes are shown.
type ReadDisabled struct {
	Manifest   Hidden // a request of the manifest; HiddenNot is HiddenDisallow here
	Referrers  Hidden // the list of what is attached to it
	Attributes Hidden // the request of its attributes; they can be changed nevertheless
	// Refuses a manifest that names it as its subject.
	Subject bool
}

// Hidden is how something is hidden.
type Hidden string

// The ways to hide.
const (
	HiddenNot      Hidden = ""
	HiddenUnknown  Hidden = "unknown"    // 404 MANIFEST_UNKNOWN
	HiddenDenied   Hidden = "denied"     // 403 DENIED
	HiddenDisallow Hidden = "disallowed" // 405 REGISTRY_DISALLOWED_OPERATION
)

// hide answers a request about a manifest that is hidden.
func (h Hidden) hide(w http.ResponseWriter, digest string) {
	switch h {
	case HiddenUnknown:
		manifestUnknown(w, digest)
	case HiddenDenied:
		fail(w, http.StatusForbidden, "DENIED", "reading is disabled", nil)
	default:
		disallow(w)
	}
}

// readDisabled reports whether reading a manifest is disabled. It needs r.mu.
func (repo *repository) readDisabled(digest string) bool {
	return repo != nil && repo.manifests[digest] != nil && !repo.manifests[digest].attributes.read
}

// SetReadable sets whether a manifest may be read, from behind. It is false if there is
// no such manifest.
func (r *Registry) SetReadable(repository, digest string, readable bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repository(repository)
	if repo == nil || repo.manifests[digest] == nil {
		return false
	}
	repo.manifests[digest].attributes.read = readable
	return true
}
