package sim

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// SoftDelete is how a registry that keeps deleted manifests refuses to take one
// again. That it does is documented
// (https://learn.microsoft.com/azure/container-registry/container-registry-soft-delete-policy),
// the form of its answer is not.
type SoftDelete string

// The answers. The zero value is a registry without the policy.
const (
	SoftDeleteDisallows SoftDelete = "disallows" // 405, as locks do
	SoftDeleteConflicts SoftDelete = "conflicts" // 409, with a message that says why
)

func (s SoftDelete) refuse(w http.ResponseWriter, digest string) {
	if s == SoftDeleteDisallows {
		disallow(w)
		return
	}
	fail(w, http.StatusConflict, "MANIFEST_CONFLICT", fmt.Sprintf("manifest %s is soft deleted; restore it instead of pushing it again", digest), nil)
}

// Restore takes a manifest out of the soft-deleted ones: it may be pushed again.
func (r *Registry) Restore(repository, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.deleted, place{repository, digest})
}

// PurgeUntagged deletes what a retention policy deletes: manifests that no tag
// points at, unless they are part of, or attached to, one that is kept, or are
// locked. It returns how many there were.
// https://learn.microsoft.com/azure/container-registry/container-registry-retention-policy
func (r *Registry) PurgeUntagged() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.purgeUntagged()
}

// purgeUntagged needs r.mu.
func (r *Registry) purgeUntagged() int {
	purged := 0
	for name, repo := range r.repositories {
		kept := map[string]bool{}
		var keep func(digest string)
		keep = func(digest string) {
			m := repo.manifests[digest]
			if m == nil || kept[digest] {
				return
			}
			kept[digest] = true
			for _, child := range m.document.Manifests {
				keep(child.Digest)
			}
			for _, referrer := range repo.referrers(digest) {
				keep(referrer)
			}
		}
		for _, t := range repo.tags {
			keep(t.digest)
		}
		for _, digest := range slices.Collect(maps.Keys(repo.manifests)) {
			if kept[digest] || !repo.attributes.deletable() || !repo.manifests[digest].attributes.deletable() {
				continue
			}
			r.removeManifest(name, digest)
			purged++
		}
	}
	return purged
}
