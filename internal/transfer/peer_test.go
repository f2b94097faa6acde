package transfer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"acrpromote/internal/ref"
	"acrpromote/internal/testimage"
)

// peer is a registry for tests, stricter than real ones: blobs belong to
// repositories, a manifest needs its blobs, an index its children. It keeps a
// log, and a handler can respond in its place.
type peer struct {
	t      *testing.T
	server *httptest.Server

	mu        sync.Mutex
	blobs     map[string][]byte         // repo@digest
	manifests map[string]storedManifest // repo:tag and repo@digest
	sessions  int
	log       []string // "PUT /v2/…", without queries
	visible   []string // tags in the order in which they were put

	api          bool // referrers API and OCI-Subject
	needsSubject bool
	noSelfMount  bool
	noDigest     bool // no Docker-Content-Digest anywhere
	locked       bool // refuses all manifests with 405
	page         int  // referrers, or tags, a page, 0 = all
	noTags       bool // tags are not listed
	unsorted     bool // tags are listed from the last to the first

	// handler may respond to a request itself; then it returns true.
	handler func(w http.ResponseWriter, r *http.Request) bool
}

type storedManifest struct {
	mediaType string
	raw       []byte
}

func newPeer(t *testing.T) *peer {
	p := &peer{t: t, api: true, blobs: map[string][]byte{}, manifests: map[string]storedManifest{}}
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	return p
}

func (p *peer) host() string { return strings.TrimPrefix(p.server.URL, "http://") }

// registry returns a client of the peer with empty caches and short timeouts.
func (p *peer) registry() *Registry { return newTestRegistry(p.host()) }

func newTestRegistry(host string) *Registry {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	r := NewRegistry(host, &http.Client{Transport: transport}, true)
	r.retryPause = time.Millisecond
	return r
}

func (p *peer) requests(method string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.log {
		if strings.HasPrefix(l, method+" ") {
			n++
		}
	}
	return n
}

func (p *peer) count(part string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.log {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func (p *peer) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log, p.visible = nil, nil
}

func (p *peer) tag(repo, tag string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m, ok := p.manifests[repo+":"+tag]; ok {
		return ref.DigestOf(m.raw)
	}
	return ""
}

func (p *peer) has(repo, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.manifests[repo+"@"+digest]
	return ok
}

func (p *peer) drop(keys ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		delete(p.blobs, k)
		delete(p.manifests, k)
	}
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.log = append(p.log, r.Method+" "+r.URL.Path)
	script := p.handler
	p.mu.Unlock()
	if script != nil && script(w, r) {
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	for i, part := range parts {
		repo, rest := strings.Join(parts[:i], "/"), parts[i+1:]
		switch {
		case part == "manifests" && len(rest) == 1:
			p.serveManifest(w, r, repo, rest[0])
			return
		case part == "referrers" && len(rest) == 1 && p.api:
			p.serveReferrers(w, r, repo, rest[0])
			return
		case part == "tags" && len(rest) == 1 && !p.noTags:
			p.serveTags(w, r, repo)
			return
		case part == "blobs" && len(rest) == 1:
			p.serveBlob(w, r, repo, rest[0])
			return
		case part == "blobs" && len(rest) == 2 && rest[0] == "uploads":
			p.serveUpload(w, r, repo, rest[1])
			return
		}
	}
	http.NotFound(w, r)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

func (p *peer) serveBlob(w http.ResponseWriter, r *http.Request, repo, digest string) {
	p.mu.Lock()
	data, ok := p.blobs[repo+"@"+digest]
	p.mu.Unlock()
	if !ok {
		refuse(w, 404, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.Method == http.MethodGet {
		w.Write(data)
	}
}

func (p *peer) serveUpload(w http.ResponseWriter, r *http.Request, repo, session string) {
	q := r.URL.Query()
	switch r.Method {
	case http.MethodPost:
		p.mu.Lock()
		defer p.mu.Unlock()
		if from := q.Get("from"); from != "" {
			if from == repo && p.noSelfMount {
				refuse(w, 400, "UNSUPPORTED", "no")
				return
			}
			if data, ok := p.blobs[from+"@"+q.Get("mount")]; ok {
				p.blobs[repo+"@"+q.Get("mount")] = data
				if !p.noDigest {
					w.Header().Set("Docker-Content-Digest", q.Get("mount"))
				}
				w.WriteHeader(201)
				return
			}
		}
		p.sessions++
		w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/uploads/%d?_state=a%%2Fb", repo, p.sessions))
		w.WriteHeader(202)
	case http.MethodPut:
		if q.Get("_state") != "a/b" || r.ContentLength < 0 {
			refuse(w, 400, "BLOB_UPLOAD_INVALID", "state lost")
			return
		}
		data, err := io.ReadAll(r.Body)
		if err != nil || ref.DigestOf(data) != q.Get("digest") {
			refuse(w, 400, "DIGEST_INVALID", "wrong")
			return
		}
		p.mu.Lock()
		p.blobs[repo+"@"+q.Get("digest")] = data
		p.mu.Unlock()
		w.WriteHeader(201)
	default:
		w.WriteHeader(405)
	}
}

func (p *peer) serveManifest(w http.ResponseWriter, r *http.Request, repo, reference string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Method == http.MethodPut {
		p.putManifest(w, r, repo, reference)
		return
	}
	m, ok := p.manifests[key(repo, reference)]
	if !ok {
		refuse(w, 404, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	w.Header().Set("Content-Type", m.mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(m.raw)))
	if !p.noDigest {
		w.Header().Set("Docker-Content-Digest", ref.DigestOf(m.raw))
	}
	if r.Method == http.MethodGet {
		w.Write(m.raw)
	}
}

func (p *peer) putManifest(w http.ResponseWriter, r *http.Request, repo, reference string) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if p.locked {
		refuse(w, 405, "REGISTRY_DISALLOWED_OPERATION", "The operation is disallowed on this registry, repository or image.")
		return
	}
	m, _, err := parseManifest(raw, r.Header.Get("Content-Type"), "")
	if err != nil {
		refuse(w, 400, "MANIFEST_INVALID", err.Error())
		return
	}
	for _, b := range m.blobs() {
		if _, ok := p.blobs[repo+"@"+b.Digest]; !ok {
			refuse(w, 400, "MANIFEST_BLOB_UNKNOWN", b.Digest)
			return
		}
	}
	for _, c := range m.children {
		if _, ok := p.manifests[repo+"@"+c.Digest]; !ok {
			refuse(w, 400, "MANIFEST_BLOB_UNKNOWN", c.Digest)
			return
		}
	}
	if m.subject != nil {
		if _, ok := p.manifests[repo+"@"+m.subject.Digest]; !ok && p.needsSubject {
			refuse(w, 400, "MANIFEST_UNKNOWN", "subject unknown")
			return
		}
		if p.api {
			w.Header().Set("OCI-Subject", m.subject.Digest)
		}
	}
	s := storedManifest{m.MediaType, raw}
	p.manifests[repo+"@"+m.Digest] = s
	p.manifests[key(repo, reference)] = s
	if !ref.NamesDigest(reference) {
		p.visible = append(p.visible, reference)
	}
	if !p.noDigest {
		w.Header().Set("Docker-Content-Digest", m.Digest)
	}
	w.WriteHeader(201)
}

func (p *peer) serveReferrers(w http.ResponseWriter, r *http.Request, repo, digest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []Descriptor{}
	for k, s := range p.manifests {
		if !strings.HasPrefix(k, repo+"@") {
			continue
		}
		if m, _, err := parseManifest(s.raw, s.mediaType, ""); err == nil && m.subject != nil && m.subject.Digest == digest {
			list = append(list, m.Descriptor)
		}
	}
	slices.SortFunc(list, func(a, b Descriptor) int { return strings.Compare(a.Digest, b.Digest) })
	from := 0
	fmt.Sscan(r.URL.Query().Get("from"), &from)
	list = list[min(from, len(list)):]
	if p.page > 0 && len(list) > p.page {
		list = list[:p.page]
		w.Header().Set("Link", fmt.Sprintf(`<%s?from=%d>; rel="next"`, r.URL.Path, from+p.page))
	}
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list})
}

func (p *peer) serveTags(w http.ResponseWriter, r *http.Request, repo string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var tags []string
	for k := range p.manifests {
		if tag, ok := strings.CutPrefix(k, repo+":"); ok && (p.unsorted || tag > r.URL.Query().Get("last")) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	if p.unsorted {
		slices.Reverse(tags)
	}
	from := 0
	fmt.Sscan(r.URL.Query().Get("from"), &from)
	tags = tags[min(from, len(tags)):]
	if p.page > 0 && len(tags) > p.page {
		tags = tags[:p.page]
		w.Header().Set("Link", fmt.Sprintf(`<%s?last=%s&from=%d>; rel="next"`, r.URL.Path, r.URL.Query().Get("last"), from+p.page))
	}
	json.NewEncoder(w).Encode(map[string]any{"name": repo, "tags": tags})
}

// The methods below store content directly, and log nothing.

const (
	ociImage = testimage.ManifestType
	ociIndex = testimage.IndexType
	ociLayer = testimage.LayerType
)

func (p *peer) blob(repo, mediaType string, data []byte) Descriptor {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := Descriptor{MediaType: mediaType, Digest: ref.DigestOf(data), Size: int64(len(data))}
	p.blobs[repo+"@"+d.Digest] = data
	return d
}

func (p *peer) manifest(repo, tag, mediaType string, doc any) Descriptor {
	raw, ok := doc.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(doc); err != nil {
			p.t.Fatal(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := Descriptor{MediaType: mediaType, Digest: ref.DigestOf(raw), Size: int64(len(raw))}
	p.manifests[repo+"@"+d.Digest] = storedManifest{mediaType, raw}
	if tag != "" {
		p.manifests[repo+":"+tag] = storedManifest{mediaType, raw}
	}
	return d
}

type document map[string]any

// PutBlob and Push make the peer a store for package testimage.
func (p *peer) PutBlob(repo string, data []byte) string { return p.blob(repo, "", data).Digest }

func (p *peer) Push(repo, tag, mediaType string, raw []byte) string {
	return p.manifest(repo, tag, mediaType, raw).Digest
}

// image makes an image of layers with the given seeds.
func (p *peer) image(repo, tag string, seeds ...string) Descriptor {
	var layers []v1.Layer
	for _, s := range seeds {
		layers = append(layers, testimage.Layer(s, layerSize))
	}
	return descriptorOf(testimage.Put(p, repo, tag, testimage.Image("amd64", layers...)))
}

// imageOf makes an image of layers that may be anything.
func (p *peer) imageOf(repo, tag string, layers ...Descriptor) Descriptor {
	return p.manifest(repo, tag, ociImage, document{"schemaVersion": 2, "mediaType": ociImage,
		"config": p.blob(repo, testimage.ConfigType, []byte("{}")), "layers": layers})
}

func descriptorOf(d testimage.Descriptor) Descriptor {
	return Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

const layerSize = 100 << 10

func layerOf(seed string) []byte { return testimage.Read(testimage.Layer(seed, layerSize)) }

func (p *peer) index(repo, tag string, children ...Descriptor) Descriptor {
	return p.manifest(repo, tag, ociIndex, document{"schemaVersion": 2, "mediaType": ociIndex, "manifests": children})
}

// attach stores a referrer, and lists it by the fallback tag if there is no API.
func (p *peer) attach(repo, artifactType string, subject Descriptor) Descriptor {
	d := descriptorOf(testimage.Attach(p, repo, testimage.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		artifactType, layerOf(artifactType+subject.Digest)))
	if !p.api {
		tag := ref.DigestTag(subject.Digest)
		list := []Descriptor{}
		if old, ok := p.manifests[repo+":"+tag]; ok {
			list, _ = parseReferrers(old.raw)
		}
		d.ArtifactType = artifactType
		p.index(repo, tag, append(list, d)...)
	}
	return d
}

// rich is an index of two platforms, with referrers of the index, of a child,
// and of a referrer: 3 manifests, 4 referrers.
func (p *peer) rich(repo, tag string) Descriptor {
	a, b := p.image(repo, "", "base", "a"), p.image(repo, "", "base", "b")
	root := p.index(repo, tag, a, b)
	signature := p.attach(repo, "application/example.signature", root)
	p.attach(repo, "application/spdx+json", root)
	p.attach(repo, "application/example.signature", a)
	p.attach(repo, "application/example.countersignature", signature)
	return root
}

// signed is rich with digest tags: a signature of the index and one of a child,
// an SBOM of the child, and a signature of that.
func (p *peer) signed(repo, tag string) Descriptor {
	root := p.rich(repo, tag)
	m, _, _ := parseManifest(p.manifests[repo+"@"+root.Digest].raw, ociIndex, "")
	child := m.children[0]
	p.image(repo, ref.DigestTag(root.Digest)+".sig", "signature")
	p.image(repo, ref.DigestTag(child.Digest)+".sig", "another signature")
	sbom := p.image(repo, ref.DigestTag(child.Digest)+".sbom", "bill")
	p.image(repo, ref.DigestTag(sbom.Digest)+".att", "statement")
	return root
}

func query(s string) url.Values {
	v, _ := url.ParseQuery(s)
	return v
}
