package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unique"

	"golang.org/x/sync/semaphore"
)

// Memory bounds what the clients of one run keep of responses. A registry can answer
// each request within the limits of a response and still fill the memory with a set
// of images, so these limits are for all registries of the run together.
//
// Nothing waits for memory to become free: trees are kept until their images have been
// copied, which is after all images have been read. The bytes of manifests that do not
// fit are read again when they are sent. If decoded content takes much memory, what only
// saves requests for other images is dropped; see Tree.Settle. If it does not fit even
// then, that is an error.
type Memory struct {
	raw     atomic.Int64        // bytes of manifests
	decoded atomic.Int64        // estimate of what was decoded, in bytes
	sending *semaphore.Weighted // bytes that were read to be sent
	copying *semaphore.Weighted // blobs of the copies that are running, at each target

	mu sync.Mutex // guards the kept field of manifests
}

const (
	maxKeptBytes   = 16 << 20 // of manifests, half of it for those above smallBody
	maxKeptDecoded = 48 << 20
	maxKept        = 56 << 20 // of both together, from which on bytes are not kept
	muchDecoded    = 8 << 20  // from which on caches are dropped
	maxSending     = 16 << 20
	maxCopying     = 30_000
)

// Estimates of what is kept, in bytes.
const (
	manifestWeight    = 750 // with its node in a tree
	cachedWeight      = 450
	listWeight        = 450
	descriptorWeight  = 160
	packedWeight      = 48 + 8
	annotationsWeight = 320
	annotationWeight  = 40
)

// NewMemory returns the limits for one run.
func NewMemory() *Memory {
	return &Memory{sending: semaphore.NewWeighted(maxSending), copying: semaphore.NewWeighted(maxCopying)}
}

// keptManifest is what keeps a manifest in memory: trees, and the cache of its client.
type keptManifest struct {
	trees  int32
	cached bool
}

func (k keptManifest) kept() bool { return k.trees > 0 || k.cached }

// keepManifest records that a manifest is cached, and drops its bytes if those of too
// many are kept already.
func (r *Registry) keepManifest(repo string, m *Manifest) error {
	m.source, m.repository = r, repo
	m.internDigests()
	if err := r.keep(repo, m.Digest, m.weight()+cachedWeight); err != nil {
		return err
	}
	m.kept.cached = true // see cacheManifest
	limit := int64(maxKeptBytes)
	if m.Size > smallBody {
		limit /= 2
	}
	limit = min(limit, maxKept-r.memory.decoded.Load())
	if r.memory.raw.Add(m.Size) > limit {
		r.memory.raw.Add(-m.Size)
		m.Raw = nil
	}
	return nil
}

// internDigests makes the digests of the manifest share their memory with those of
// the manifests that it refers to.
func (m *Manifest) internDigests() {
	m.Digest = intern(m.Digest)
	if m.subject != nil {
		m.subject.Digest = intern(m.subject.Digest)
	}
	for i := range m.children {
		m.children[i].Digest = intern(m.children[i].Digest)
	}
}

// weight is the estimate for a manifest without its bytes.
func (m *Manifest) weight() int64 {
	return manifestWeight + packedWeight*int64(len(m.contents)+len(m.foreign)) + descriptorsWeight(m.children, []Descriptor{m.Descriptor})
}

// keep records that decoded content is kept.
func (r *Registry) keep(repo, reference string, weight int64) error {
	if r.memory.decoded.Add(weight) <= maxKeptDecoded {
		return nil
	}
	r.memory.decoded.Add(-weight)
	return &Error{Registry: r.host, Repository: repo, Reference: reference, Op: "reading the manifest", Kind: TooLarge,
		Reason: fmt.Sprintf("the manifests and lists of this run take more than %d MiB of memory", maxKeptDecoded>>20),
		Remedy: "Copy fewer images in one run, or copy without referrers."}
}

// change changes what keeps a manifest in memory, and the estimates with it.
func (m *Manifest) change(change func(*keptManifest)) {
	if m.source == nil {
		return
	}
	memory := m.source.memory
	memory.mu.Lock()
	defer memory.mu.Unlock()
	before := m.kept.kept()
	change(&m.kept)
	after, sign := m.kept.kept(), int64(1)
	if before == after {
		return
	}
	if before {
		sign = -1
	}
	memory.decoded.Add(sign * m.weight())
	memory.raw.Add(sign * int64(len(m.Raw)))
}

// setCached records whether the client of the manifest's registry has it in its cache.
func (m *Manifest) setCached(cached bool) {
	m.change(func(k *keptManifest) {
		switch {
		case cached && !k.cached:
			m.source.memory.decoded.Add(cachedWeight)
		case !cached && k.cached:
			m.source.memory.decoded.Add(-cachedWeight)
		}
		k.cached = cached
	})
}

// retain records that the tree keeps its manifests.
func (t *Tree) retain() {
	for _, n := range t.order {
		if n.retained == n.Manifest {
			continue
		}
		n.releaseManifest()
		n.retained = n.Manifest
		n.change(func(k *keptManifest) { k.trees++ })
	}
}

func (n *node) releaseManifest() {
	if n.retained != nil {
		n.retained.change(func(k *keptManifest) { k.trees-- })
		n.retained = nil
	}
}

// Settle drops the responses that the clients have cached about the tree if the run
// keeps much: other images that share manifests with it read them again. It is called
// when the image and its targets have been read.
func (t *Tree) Settle() {
	if t.source.memory.decoded.Load() > muchDecoded {
		t.forget()
	}
}

// Release drops what the run keeps of the tree, when its image has been copied. The
// tree and its presences must not be used any more.
func (t *Tree) Release() {
	t.forget()
	for _, n := range t.order {
		n.releaseManifest()
	}
	t.root, t.nodes, t.order, t.distinct, t.foreign, t.skipped, t.digestTags = nil, nil, nil, nil, nil, nil, nil
}

// forget deletes the cached responses about the tree.
func (t *Tree) forget() {
	t.mu.Lock()
	places := append([]place{{t.source, t.repo}}, t.inspected...)
	t.mu.Unlock()
	for _, n := range t.order {
		for _, at := range places {
			at.registry.forgetManifest(at.repository, n.Digest)
		}
	}
}

// forgetManifest deletes the cached responses about a manifest.
func (r *Registry) forgetManifest(repo, digest string) {
	id := key(repo, digest)
	if m, ok := r.manifests.Take(id); ok {
		m.setCached(false)
	}
	r.tags.Delete(id)
	r.forgetReferrers(repo, digest)
}

// recordPlace records that the tree is looked for in a repository.
func (t *Tree) recordPlace(r *Registry, repo string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := (place{r, repo}); !slices.Contains(t.inspected, at) {
		t.inspected = append(t.inspected, at)
	}
}

func descriptorsWeight(lists ...[]Descriptor) int64 {
	weight := int64(0)
	for _, list := range lists {
		weight += descriptorWeight * int64(len(list))
		for _, d := range list {
			if d.Annotations == nil {
				continue
			}
			weight += annotationsWeight
			for name, value := range d.Annotations {
				weight += annotationWeight + int64(len(name)+len(value))
			}
		}
	}
	return weight
}

// intern returns a string with the memory of its equals: a manifest names a few types
// for many layers.
func intern(s string) string { return unique.Make(s).Value() }

// whole returns a manifest with its bytes, which are read again if they were not
// kept. The caller must call release when it has sent them. Waiting for others to
// send theirs holds nothing that they wait for.
func (m *Manifest) whole(ctx context.Context) (whole *Manifest, release func(), err error) {
	if m.Raw != nil || m.source == nil {
		return m, func() {}, nil
	}
	release, err = m.source.memory.acquireSending(ctx, m.Size)
	if err == nil {
		whole, err = m.source.fetch(ctx, m.repository, m.Digest, m.Descriptor, nil)
		if err != nil {
			release()
		}
	}
	if err != nil {
		return nil, nil, withSide(Source, m.source.wrap(ctx, "reading the manifest", m.repository, m.Digest, err))
	}
	return whole, release, nil
}

// errSending is the error of a large list that is read while others are being sent.
var errSending = errors.New("other manifests are being sent")

// fetchToSend reads a list of referrers to send another version of it. The caller
// must call release when it has been sent, whether there is an error or not. Reading
// a response waits for nothing: if others are being sent, a large list is read again
// when they are done.
func (r *Registry) fetchToSend(ctx context.Context, repo, tag string) (m *Manifest, release func(), err error) {
	release = func() {}
	m, err = r.fetch(ctx, repo, tag, Descriptor{}, func(m *Manifest) error {
		// The list, its entries, and the same of the new list.
		weight := min(4*m.Size, maxSending)
		if m.Size <= smallBody {
			return nil
		}
		if !r.memory.sending.TryAcquire(weight) {
			return errSending
		}
		release = func() { r.memory.sending.Release(weight) }
		return nil
	})
	if !errors.Is(err, errSending) {
		return m, release, err
	}
	if release, err = r.memory.acquireSending(ctx, maxSending); err != nil {
		return nil, func() {}, r.transportError(ctx, "listing the referrers", repo, tag, err)
	}
	m, err = r.fetch(ctx, repo, tag, Descriptor{}, nil)
	return m, release, err
}

// acquireSending waits until size bytes may be read to be sent.
func (m *Memory) acquireSending(ctx context.Context, size int64) (release func(), err error) {
	return acquire(ctx, m.sending, min(size, maxSending))
}

// acquireCopying waits until a copy of as many blobs may run: each takes some
// hundred bytes until the copy has ended.
func (m *Memory) acquireCopying(ctx context.Context, blobs int) (release func(), err error) {
	return acquire(ctx, m.copying, min(int64(blobs), maxCopying))
}

func acquire(ctx context.Context, of *semaphore.Weighted, weight int64) (release func(), err error) {
	if err := of.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	return func() { of.Release(weight) }, nil
}

// decodeRaw calls decode with the bytes of a manifest, as many at a time as responses
// are parsed at a time.
func (r *Registry) decodeRaw(ctx context.Context, repo string, m *Manifest, decode func(raw []byte) error) error {
	if m.Raw == nil {
		_, err := r.fetch(ctx, repo, m.Digest, m.Descriptor, func(read *Manifest) error { return decode(read.Raw) })
		return err
	}
	if m.Size > smallBody {
		weight := min(2*m.Size, maxLargeBodies)
		if err := largeBodies.Acquire(ctx, weight); err != nil {
			return err
		}
		defer largeBodies.Release(weight)
	}
	return decode(m.Raw)
}
