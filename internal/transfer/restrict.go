package transfer

import (
	"maps"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Restrict returns the presence with these referrers only: digests of manifests,
// and digest tags. All others are neither missing nor written, whatever is found
// at the target later.
func (p Presence) Restrict(referrers map[string]bool) Presence {
	p.allowed = make(map[string]bool, len(referrers))
	maps.Copy(p.allowed, referrers)
	p.unlisted = maps.Clone(p.unlisted)
	p.dropMissing(func(n *node) bool { return !p.copies(n) })
	maps.DeleteFunc(p.unlisted, func(digest string, _ bool) bool { return !p.copies(p.tree.nodes[digest]) })
	p.tagsToPut, p.conflicts = maps.Clone(p.tagsToPut), maps.Clone(p.conflicts)
	maps.DeleteFunc(p.tagsToPut, func(tag string, n *node) bool { return !p.allows(tag) || !p.copies(n) })
	maps.DeleteFunc(p.conflicts, func(tag string, _ error) bool { return !p.allows(tag) })
	if p.digestTagsChecked {
		p.dropUntagged()
	}
	needed := p.neededBlobs()
	p.missingBlobs = maps.Clone(p.missingBlobs)
	maps.DeleteFunc(p.missingBlobs, func(digest string, _ Descriptor) bool { return !needed[digest] })
	return p
}

// allows reports whether a referrer may be written: a manifest by its digest, or a
// digest tag.
func (p Presence) allows(key string) bool { return p.allowed == nil || p.allowed[key] }

// copies reports whether a manifest may be written. An index among the referrers
// may not: the manifests that it contains are not read.
func (p Presence) copies(n *node) bool {
	switch {
	case n.referrerDepth == 0:
		return true
	case types.MediaType(n.MediaType).IsIndex():
		return false
	case n.subject != nil && p.allows(n.Digest):
		return true
	}
	return slices.ContainsFunc(n.tags, func(tag string) bool { return p.allows(tag) && p.keptTags[tag] == "" })
}

// onlyTagged reports whether a referrer is attached by digest tags alone.
func (n *node) onlyTagged() bool { return n.referrerDepth > 0 && n.subject == nil }

// dropUntagged removes referrers from the missing manifests that would only be put
// by a digest tag, and whose digest tags are not put.
func (p *Presence) dropUntagged() {
	p.dropMissing(func(n *node) bool {
		return n.onlyTagged() && !slices.ContainsFunc(n.tags, func(tag string) bool { return p.tagsToPut[tag] == n })
	})
}

// dropMissing removes manifests from the missing ones, which other presences and the
// tree may share.
func (p *Presence) dropMissing(drop func(*node) bool) {
	for _, n := range p.missing {
		if drop(n) {
			p.missing = maps.Clone(p.missing)
			maps.DeleteFunc(p.missing, func(_ string, n *node) bool { return drop(n) })
			return
		}
	}
}

// neededBlobs returns the digests of the blobs of all manifests that may be
// written.
func (p Presence) neededBlobs() map[string]bool {
	needed := make(map[string]bool)
	for _, n := range p.tree.order {
		if !p.copies(n) {
			continue
		}
		for _, b := range n.contents {
			needed[b.digest()] = true
		}
	}
	return needed
}

// lacks reports whether a manifest is not known to be there.
func (p Presence) lacks(n *node) bool {
	_, missing := p.missing[n.Digest]
	return missing
}

// Lacks reports whether a referrer is missing at the target: its manifest or the
// entry in the list of referrers, or, if tag is not empty, that digest tag.
func (p Presence) Lacks(digest, tag string) bool {
	switch {
	case p.sameRepository:
		return false
	case tag == "":
		_, missing := p.missing[digest]
		return missing || p.unlisted[digest]
	case !p.digestTagsChecked:
		return true
	}
	return p.tagsToPut[tag] != nil || p.conflicts[tag] != nil
}

// Kept returns the digest that a digest tag points to at the target, if the tag
// does not move although it points to another digest at the source; else "".
func (p Presence) Kept(tag string) string { return p.keptTags[tag] }

// Digest returns the digest of the image that was looked for.
func (p Presence) Digest() string { return p.tree.Digest() }

// conflict returns the error of the first digest tag that would overwrite
// something.
func (p Presence) conflict() error {
	for _, tag := range slices.Sorted(maps.Keys(p.conflicts)) {
		return p.conflicts[tag]
	}
	return nil
}
