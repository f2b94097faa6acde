package sim

import (
	"encoding/json"
	"slices"
	"time"
)

// What is here acts on the registry from behind: no sign-in, no firewall, no
// lock stands in its way, and nothing of it is in the request log.

// Attributes are the times and locks of a tag or a manifest.
type Attributes struct {
	Digest           string
	Created, Updated time.Time
	Write, Delete    bool // what is not locked
	Read, List       bool
}

// Push stores a manifest as it is, whether or not what it names is there, even
// if it is no JSON; the tag may be empty. It returns the digest.
func (r *Registry) Push(repository, tag, mediaType string, content []byte) string {
	var d document
	if json.Unmarshal(content, &d) != nil {
		d = document{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addManifest(repository, tag, mediaType, slices.Clone(content), d)
}

// PutBlob stores a blob and returns its digest.
func (r *Registry) PutBlob(repository string, blob []byte) string {
	digest := digestOf(blob)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addBlob(repository, digest, content{size: int64(len(blob)), data: slices.Clone(blob)})
	return digest
}

// TagDigest is the digest that the tag points at, "" if there is no such tag.
func (r *Registry) TagDigest(repository, tag string) string {
	a, _ := r.TagAttributes(repository, tag)
	return a.Digest
}

// Tags lists the repository's tags, sorted.
func (r *Registry) Tags(repository string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	if repo := r.repository(repository); repo != nil {
		for name := range repo.tags {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Manifest is a manifest as it is stored, by tag or digest.
func (r *Registry) Manifest(repository, reference string) (mediaType string, content []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, m := r.repository(repository).resolve(reference)
	if m == nil {
		return "", nil, false
	}
	return m.mediaType, slices.Clone(m.content), true
}

// Digests lists the repository's manifests, sorted.
func (r *Registry) Digests(repository string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var digests []string
	if repo := r.repository(repository); repo != nil {
		for digest := range repo.manifests {
			digests = append(digests, digest)
		}
	}
	slices.Sort(digests)
	return digests
}

// Blobs lists the repository's blobs, sorted.
func (r *Registry) Blobs(repository string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var digests []string
	for digest := range r.blobs {
		if r.blobIn(repository, digest) != nil {
			digests = append(digests, digest)
		}
	}
	slices.Sort(digests)
	return digests
}

// Blob is a blob as it is stored.
func (r *Registry) Blob(repository, digest string) ([]byte, bool) {
	r.mu.Lock()
	b := r.blobIn(repository, digest)
	r.mu.Unlock()
	if b == nil {
		return nil, false
	}
	data, err := b.bytes()
	return slices.Clone(data), err == nil
}

// Referrers lists the manifests whose subject is the digest, in order of
// arrival, whether or not the referrers API is on.
func (r *Registry) Referrers(repository, digest string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.repository(repository).referrers(digest)
}

// TagAttributes are the tag's attributes; ok is false if there is no such tag.
func (r *Registry) TagAttributes(repository, tag string) (a Attributes, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repository(repository)
	if repo == nil || repo.tags[tag] == nil {
		return Attributes{}, false
	}
	t := repo.tags[tag]
	return tellAttributes(t.digest, t.created, t.updated, t.attributes), true
}

// ManifestAttributes are the manifest's attributes; ok is false if there is no
// such manifest.
func (r *Registry) ManifestAttributes(repository, digest string) (a Attributes, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repository(repository)
	if repo == nil || repo.manifests[digest] == nil {
		return Attributes{}, false
	}
	m := repo.manifests[digest]
	return tellAttributes(digest, m.created, m.updated, m.attributes), true
}

func tellAttributes(digest string, created, updated time.Time, a attributes) Attributes {
	return Attributes{digest, created, updated, a.write, a.delete, a.read, a.list}
}

// SetTagLock sets whether the tag may be written and deleted. Like the two
// below it changes no time, and is false if there is nothing to lock.
func (r *Registry) SetTagLock(repository, tag string, write, delete bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repository(repository)
	if repo == nil || repo.tags[tag] == nil {
		return false
	}
	repo.tags[tag].attributes.write, repo.tags[tag].attributes.delete = write, delete
	return true
}

// SetManifestLock sets whether the manifest may be written and deleted.
func (r *Registry) SetManifestLock(repository, digest string, write, delete bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repository(repository)
	if repo == nil || repo.manifests[digest] == nil {
		return false
	}
	repo.manifests[digest].attributes.write, repo.manifests[digest].attributes.delete = write, delete
	return true
}

// SetRepositoryLock sets whether the repository may be written and deleted.
func (r *Registry) SetRepositoryLock(repository string, write, delete bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repository(repository)
	if repo == nil {
		return false
	}
	repo.attributes.write, repo.attributes.delete = write, delete
	return true
}

// RemoveBlob takes a blob away from under the manifests that name it.
func (r *Registry) RemoveBlob(repository, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropBlob(repository, digest)
}

// RemoveManifest takes a manifest away, with its tags.
func (r *Registry) RemoveManifest(repository, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.repository(repository) != nil {
		r.removeManifest(repository, digest)
	}
}

// RemoveTag takes a tag away; its manifest stays.
func (r *Registry) RemoveTag(repository, tag string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if repo := r.repository(repository); repo != nil {
		delete(repo.tags, tag)
	}
}

// Corrupt serves what change makes of a manifest or blob instead of the stored
// bytes, to GET alone; nil serves the stored bytes again.
func (r *Registry) Corrupt(digest string, change func([]byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if change == nil {
		delete(r.corrupted, digest)
		return
	}
	r.corrupted[digest] = change
}

// DigestHeader rewrites the Docker-Content-Digest header of every answer; ""
// leaves it out, and a nil rewrite stops.
func (r *Registry) DigestHeader(rewrite func(digest string) string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.digestHeader = rewrite
}

// ExpireDownloads ends every signed download address issued so far.
func (r *Registry) ExpireDownloads() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.downloads++
}
