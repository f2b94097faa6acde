package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
)

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
	emptyType    = "application/vnd.oci.empty.v1+json"
	bothTypes    = indexType + ", " + manifestType
)

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Platform     map[string]string `json:"platform,omitempty"`
}

// document is a manifest or an index.
type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType,omitempty"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
	Subject       *descriptor  `json:"subject,omitempty"`
}

func (d document) blobs() []descriptor {
	var all []descriptor
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	return append(all, d.Layers...)
}

// image is one that stands in the source registry.
type image struct {
	repository, tag string
	root            string
	bytes           int64    // of its distinct blobs
	manifests       []string // digests of all, what is attached included
	attached        []string // of these, what is attached
	blobs           []string
	tags            map[string]string // further tags that belong to it, and their digests
}

func (i image) source() string { return i.repository + ":" + i.tag }

// shelf puts images into a registry, directly.
type shelf struct {
	address string
	random  *rand.ChaCha8
}

// newShelf makes contents that no compression or cache can shorten, the same
// in every run.
func newShelf(address, name string) *shelf {
	return &shelf{address, rand.NewChaCha8(sha256.Sum256([]byte(name)))}
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func send(ctx context.Context, method, address, mediaType string, length int64, body io.Reader, want int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := direct.Do(req)
	if err != nil {
		return nil, err
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	resp.Body.Close()
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s answered %s: %s", method, address, resp.Status, text)
	}
	return resp, nil
}

// upload is where an upload goes on, by the answer to what came before; a
// digest ends it.
func upload(before *http.Response, digest string) (string, error) {
	at, err := before.Location()
	if err != nil {
		return "", fmt.Errorf("an upload has no location: %w", err)
	}
	if digest != "" {
		query := at.Query()
		query.Set("digest", digest)
		at.RawQuery = query.Encode()
	}
	return at.String(), nil
}

// layer streams a blob of random bytes into a repository: its digest is known
// only afterwards.
func (s *shelf) layer(ctx context.Context, repository string, size int64) (descriptor, error) {
	resp, err := send(ctx, http.MethodPost, "http://"+s.address+"/v2/"+repository+"/blobs/uploads/", "", 0, nil, http.StatusAccepted)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.New()
	content := io.TeeReader(io.LimitReader(s.random, size), sum)
	session, err := upload(resp, "")
	if err != nil {
		return descriptor{}, err
	}
	resp, err = send(ctx, http.MethodPatch, session, "application/octet-stream", size, content, http.StatusAccepted)
	if err != nil {
		return descriptor{}, err
	}
	digest := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if session, err = upload(resp, digest); err != nil {
		return descriptor{}, err
	}
	_, err = send(ctx, http.MethodPut, session, "", 0, nil, http.StatusCreated)
	return descriptor{MediaType: layerType, Digest: digest, Size: size}, err
}

func (s *shelf) small(ctx context.Context, repository, mediaType string, content []byte) (descriptor, error) {
	resp, err := send(ctx, http.MethodPost, "http://"+s.address+"/v2/"+repository+"/blobs/uploads/", "", 0, nil, http.StatusAccepted)
	if err != nil {
		return descriptor{}, err
	}
	digest := digestOf(content)
	session, err := upload(resp, digest)
	if err != nil {
		return descriptor{}, err
	}
	_, err = send(ctx, http.MethodPut, session, "application/octet-stream", int64(len(content)), bytes.NewReader(content), http.StatusCreated)
	return descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(content))}, err
}

func (s *shelf) mount(ctx context.Context, from, repository string, d descriptor) error {
	_, err := send(ctx, http.MethodPost, "http://"+s.address+"/v2/"+repository+"/blobs/uploads/?"+
		url.Values{"mount": {d.Digest}, "from": {from}}.Encode(), "", 0, nil, http.StatusCreated)
	return err
}

// put stores a manifest under a reference, "" being its digest.
func (s *shelf) put(ctx context.Context, repository, reference string, d document) (descriptor, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return descriptor{}, err
	}
	digest := digestOf(raw)
	if reference == "" {
		reference = digest
	}
	_, err = send(ctx, http.MethodPut, "http://"+s.address+"/v2/"+repository+"/manifests/"+reference, d.MediaType,
		int64(len(raw)), bytes.NewReader(raw), http.StatusCreated)
	return descriptor{MediaType: d.MediaType, ArtifactType: d.ArtifactType, Digest: digest, Size: int64(len(raw))}, err
}

// platform makes a manifest of a config and layers, with what was there before
// in front.
func (s *shelf) platform(ctx context.Context, i *image, reference, architecture string, shared []descriptor, sizes []int64) (descriptor, error) {
	var unique [8]byte
	binary.LittleEndian.PutUint64(unique[:], s.random.Uint64())
	config, err := s.small(ctx, i.repository, configType,
		fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{"Labels":{"unique":"%x"}},"rootfs":{"type":"layers","diff_ids":[]}}`, architecture, unique))
	if err != nil {
		return descriptor{}, err
	}
	d := document{SchemaVersion: 2, MediaType: manifestType, Config: &config, Layers: append([]descriptor(nil), shared...)}
	for _, size := range sizes {
		l, err := s.layer(ctx, i.repository, size)
		if err != nil {
			return descriptor{}, err
		}
		d.Layers = append(d.Layers, l)
	}
	made, err := s.put(ctx, i.repository, reference, d)
	i.add(made, d)
	return made, err
}

// add notes what a manifest brings along.
func (i *image) add(made descriptor, d document) {
	i.manifests = append(i.manifests, made.Digest)
	for _, b := range d.blobs() {
		if !contains(i.blobs, b.Digest) {
			i.blobs = append(i.blobs, b.Digest)
			i.bytes += b.Size
		}
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// artifact attaches something to a manifest. This registry keeps no lists of
// its own: list writes the tag that stands for one.
func (s *shelf) artifact(ctx context.Context, i *image, subject descriptor, artifactType string, size int64) (descriptor, error) {
	empty, err := s.small(ctx, i.repository, emptyType, []byte("{}"))
	if err != nil {
		return descriptor{}, err
	}
	content, err := s.layer(ctx, i.repository, size)
	if err != nil {
		return descriptor{}, err
	}
	content.MediaType = artifactType
	subject.ArtifactType, subject.Platform = "", nil
	d := document{SchemaVersion: 2, MediaType: manifestType, ArtifactType: artifactType, Config: &empty, Layers: []descriptor{content}, Subject: &subject}
	made, err := s.put(ctx, i.repository, "", d)
	i.add(made, d)
	i.attached = append(i.attached, made.Digest)
	return made, err
}

func (s *shelf) list(ctx context.Context, i *image, subject descriptor, attached ...descriptor) error {
	_, err := s.put(ctx, i.repository, fallbackTag(subject.Digest), document{SchemaVersion: 2, MediaType: indexType, Manifests: attached})
	return err
}

func fallbackTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }
