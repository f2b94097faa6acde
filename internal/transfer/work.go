package transfer

// Work is what a copy to one target is going to send.
type Work struct {
	Blobs     []BlobWork // each once
	Manifests int        // PUT of manifests and tags
	Lookups   int        // of digest tags
	Lists     int        // of referrers that lacked something, read again
}

// BlobWork is a blob that the target is not known to have.
type BlobWork struct {
	Digest string
	Mount  bool // from the source's repository, in the same registry
	Read   bool // from the source's registry; false if it is empty or in memory
}

// Work returns the work that is left, if there is any. A copy takes less if blobs
// turn out to exist, and more if the target has no lists of referrers.
func (p Presence) Work() Work {
	var w Work
	if p.tree == nil || p.Complete() {
		return w
	}
	t := p.tree
	mount := p.registry.same(t.source)
	wanted := map[string]bool{}
	lists := map[string]bool{}
	for digest := range p.missingBlobs {
		wanted[digest] = true
	}
	for _, n := range t.order {
		_, missing := p.missing[n.Digest]
		if !missing || !p.copies(n) {
			continue
		}
		for _, b := range n.contents {
			wanted[b.digest()] = true
		}
		switch {
		case n == t.root:
		case len(n.tags) == 0 || n.subject != nil && p.allows(n.Digest):
			w.Manifests++
		}
		if n.subject != nil && p.unproven[n.subject.Digest] {
			lists[n.subject.Digest] = true
		}
		if !p.digestTagsChecked {
			w.Manifests += len(n.tags)
			w.Lookups += len(n.tags)
		}
	}
	w.Lists = len(lists)
	w.Manifests += len(p.tagsToPut)
	if _, missing := p.missing[t.root.Digest]; p.tag == "" && missing || p.tag != "" && p.TagDigest != t.root.Digest {
		w.Manifests++
	}
	for _, b := range t.blobs() {
		if !wanted[b.Digest] {
			continue
		}
		content, cached := t.source.layers.Peek(b.Digest)
		inMemory := cached && int64(len(content)) == b.Size
		w.Blobs = append(w.Blobs, BlobWork{Digest: b.Digest, Mount: mount, Read: !mount && b.Size > 0 && !inMemory})
	}
	return w
}
