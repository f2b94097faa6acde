package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"slices"
	"time"
)

// spillAt is the size from which a blob lives in a file instead of in memory.
const spillAt = 8 << 20

// content is bytes that never change, in memory or in a file.
type content struct {
	size int64
	data []byte
	file string
}

func (c content) open() (io.ReadSeekCloser, error) {
	if c.file != "" {
		return os.Open(c.file)
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{bytes.NewReader(c.data), io.NopCloser(nil)}, nil
}

func (c content) bytes() ([]byte, error) {
	if c.file != "" {
		return os.ReadFile(c.file)
	}
	return c.data, nil
}

// spool takes bytes in, hashing them, and moves to a file when they get many.
type spool struct {
	dir  string
	hash hash.Hash
	size int64
	data []byte
	file *os.File
}

func newSpool(dir string) *spool { return &spool{dir: dir, hash: sha256.New()} }

func (s *spool) Write(p []byte) (int, error) {
	s.hash.Write(p)
	s.size += int64(len(p))
	if s.file == nil && s.size <= spillAt {
		s.data = append(s.data, p...)
		return len(p), nil
	}
	if s.file == nil {
		file, err := os.CreateTemp(s.dir, "blob-")
		if err != nil {
			return 0, err
		}
		s.file = file
		if _, err := file.Write(s.data); err != nil {
			return 0, err
		}
		s.data = nil
	}
	return s.file.Write(p)
}

// fill takes in a body of the announced length (negative if unknown).
func (s *spool) fill(body io.Reader, length int64) error {
	if s.file == nil && length > 0 && s.size+length <= spillAt {
		s.data = slices.Grow(s.data, int(length))
	}
	_, err := io.CopyBuffer(s, body, make([]byte, 128<<10))
	return err
}

func (s *spool) digest() string { return "sha256:" + hex.EncodeToString(s.hash.Sum(nil)) }

func (s *spool) content() (content, error) {
	c := content{size: s.size, data: s.data}
	if s.file != nil {
		c.file = s.file.Name()
		return c, s.file.Close()
	}
	return c, nil
}

func (s *spool) discard() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
	s.file, s.data = nil, nil
}

// blob is content that one or more repositories hold.
type blob struct {
	content
	repositories map[string]bool
}

type attributes struct {
	delete, write, list, read bool
}

var unlocked = attributes{true, true, true, true}

// deletable: a write lock forbids deletion too (Azure/acr#561).
func (a attributes) deletable() bool { return a.delete && a.write }

type repository struct {
	created, updated time.Time
	attributes       attributes
	manifests        map[string]*manifest
	tags             map[string]*tag
}

type tag struct {
	digest           string
	created, updated time.Time
	attributes       attributes
}

type manifest struct {
	content          []byte
	mediaType        string
	document         document
	created, updated time.Time
	attributes       attributes
	sequence         int // order of arrival
}

// descriptor is an OCI descriptor, as far as the registry reads it.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Platform     *struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	} `json:"platform,omitempty"`
}

// document is any manifest, as far as the registry reads it.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Blobs         []descriptor      `json:"blobs"` // of OCI's former artifact manifest
	Manifests     []descriptor      `json:"manifests"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

func (d document) artifactType() string {
	if d.ArtifactType == "" && d.Config != nil {
		return d.Config.MediaType
	}
	return d.ArtifactType
}

// needs lists the blobs that must be there before the manifest. Foreign layers
// live elsewhere.
func (d document) needs() []descriptor {
	var all []descriptor
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	for _, layer := range slices.Concat(d.Layers, d.Blobs) {
		if !isForeign(layer) {
			all = append(all, layer)
		}
	}
	return all
}

// foreign lists the layers that live elsewhere.
func (d document) foreign() []descriptor {
	var all []descriptor
	for _, layer := range slices.Concat(d.Layers, d.Blobs) {
		if isForeign(layer) {
			all = append(all, layer)
		}
	}
	return all
}

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// now is the registry's clock, as finely as Azure tells time.
func (r *Registry) now() time.Time { return r.o.Now().UTC().Truncate(100 * time.Nanosecond) }

// The methods below need r.mu.

// repository is nil if there is none of the name.
func (r *Registry) repository(name string) *repository { return r.repositories[name] }

func (r *Registry) blobIn(name, digest string) *blob {
	if b := r.blobs[digest]; b != nil && b.repositories[name] {
		return b
	}
	return nil
}

// addBlob keeps the content, unless it is there already.
func (r *Registry) addBlob(name, digest string, c content) {
	b := r.blobs[digest]
	if b == nil {
		b = &blob{content: c, repositories: map[string]bool{}}
		r.blobs[digest] = b
		if c.file != "" {
			r.spilled = append(r.spilled, c.file)
		}
	} else if c.file != "" && c.file != b.file {
		os.Remove(c.file)
	}
	b.repositories[name] = true
}

// dropBlob takes the blob from the repository, and its content with the last
// one. A file stays until the cloud is closed: somebody may be reading it.
func (r *Registry) dropBlob(name, digest string) {
	b := r.blobIn(name, digest)
	if b == nil {
		return
	}
	delete(b.repositories, name)
	if len(b.repositories) == 0 {
		delete(r.blobs, digest)
	}
}

// addManifest stores a manifest, and points the tag at it if there is one.
func (r *Registry) addManifest(name, tagName, mediaType string, body []byte, d document) string {
	now := r.now()
	repo := r.repositories[name]
	if repo == nil {
		repo = &repository{created: now, attributes: unlocked, manifests: map[string]*manifest{}, tags: map[string]*tag{}}
		r.repositories[name] = repo
	}
	repo.updated = now
	digest := digestOf(body)
	m := repo.manifests[digest]
	if m == nil {
		r.sequence++
		m = &manifest{content: body, created: now, attributes: unlocked, sequence: r.sequence}
		repo.manifests[digest] = m
	}
	m.mediaType, m.document, m.updated = mediaType, d, now
	if tagName == "" {
		return digest
	}
	t := repo.tags[tagName]
	if t == nil {
		t = &tag{created: now, attributes: unlocked}
		repo.tags[tagName] = t
	}
	t.digest, t.updated = digest, now
	return digest
}

// resolve is the digest that a tag points at, or the digest itself, and its
// manifest; nil if there is none.
func (repo *repository) resolve(reference string) (string, *manifest) {
	if repo == nil {
		return "", nil
	}
	if t := repo.tags[reference]; t != nil {
		reference = t.digest
	}
	return reference, repo.manifests[reference]
}

// referrers lists the digests of the manifests whose subject is the digest, in
// order of arrival.
func (repo *repository) referrers(subject string) []string {
	var found []string
	if repo == nil {
		return nil
	}
	for digest, m := range repo.manifests {
		if m.document.Subject != nil && m.document.Subject.Digest == subject {
			found = append(found, digest)
		}
	}
	slices.SortFunc(found, func(a, b string) int { return repo.manifests[a].sequence - repo.manifests[b].sequence })
	return found
}

// platform is what an image's config says that the image runs on.
func (r *Registry) platform(name string, d document) (architecture, os string) {
	if d.Config == nil || d.Config.Size > 1<<20 {
		return "", ""
	}
	b := r.blobIn(name, d.Config.Digest)
	if b == nil {
		return "", ""
	}
	var config struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	if data, err := b.bytes(); err != nil || json.Unmarshal(data, &config) != nil {
		return "", ""
	}
	return config.Architecture, config.OS
}

// close waits for uploads whose connection has just been cut.
func (r *Registry) close() {
	r.mu.Lock()
	uploads := slices.Collect(maps.Values(r.uploads))
	r.mu.Unlock()
	for _, u := range uploads {
		u.mu.Lock()
		u.spool.discard()
		u.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, file := range r.spilled {
		os.Remove(file)
	}
	r.spilled = nil
}
