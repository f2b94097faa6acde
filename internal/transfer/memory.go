package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"unique"

	"golang.org/x/sync/semaphore"
)

// Memory bounds what the clients of one run keep of responses. A registry can answer
// each request within the limits of a response and still fill the memory with a set
// of images, so these limits are for all registries of the run together.
//
// Nothing waits for memory to become free: what is kept is kept until the end. The
// bytes of manifests that do not fit are read again when they are sent, and decoded
// content that does not fit is an error.
type Memory struct {
	raw     atomic.Int64        // bytes of manifests
	decoded atomic.Int64        // estimate of what was decoded, in bytes
	sending *semaphore.Weighted // bytes that were read to be sent
	copying *semaphore.Weighted // blobs of the copies that are running, at each target
}

const (
	maxKeptBytes   = 16 << 20 // of manifests, half of it for those above smallBody
	maxKeptDecoded = 40 << 20
	maxSending     = 16 << 20
	maxCopying     = 40_000
)

// Estimates of what is kept, in bytes, with the entries in caches and trees.
const (
	manifestWeight    = 1500
	listWeight        = 400
	descriptorWeight  = 224
	annotationsWeight = 320
	annotationWeight  = 40
)

// NewMemory returns the limits for one run.
func NewMemory() *Memory {
	return &Memory{sending: semaphore.NewWeighted(maxSending), copying: semaphore.NewWeighted(maxCopying)}
}

// keepManifest records that a manifest is kept, and drops its bytes if those of too
// many are kept already.
func (r *Registry) keepManifest(repo string, m *Manifest) error {
	weight := int64(manifestWeight) + descriptorsWeight(m.children, m.blobs, m.foreign, []Descriptor{m.Descriptor})
	if err := r.keep(repo, m.Digest, weight); err != nil {
		return err
	}
	m.source, m.repository = r, repo
	limit := int64(maxKeptBytes)
	if m.Size > smallBody {
		limit /= 2
	}
	if r.memory.raw.Add(m.Size) > limit {
		r.memory.raw.Add(-m.Size)
		m.Raw = nil
	}
	return nil
}

// keepList records that a list of referrers is kept.
func (r *Registry) keepList(repo, digest string, entries []Descriptor) error {
	return r.keep(repo, digest, listWeight+descriptorsWeight(entries))
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

// intern returns a media type or artifact type with the memory of its equals: a
// manifest names a few types for many layers.
func intern(mediaType string) string { return unique.Make(mediaType).Value() }

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
