package transfer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/defect"
)

// Replica is a target that may have the image already: the first target whose
// tag was resolved. Targets are inspected while the source is still being read.
// If the replica has the image, ReadTree reads the manifests that the image
// contains from there: one request returns a manifest and shows that the target
// has it. Referrers are not read at all if their descriptors are enough.
//
// A Replica is set once and waited for. The reader of the source needs to know
// nothing about targets, and their inspection nothing about the reader.
type Replica struct {
	once       sync.Once
	known      chan struct{}
	registry   *Registry
	repository string
	digest     string
}

// NewReplica returns a Replica that is not set.
func NewReplica() *Replica { return &Replica{known: make(chan struct{})} }

// Set sets the target, and the digest that its tag points to: empty if there is
// no such tag, or if it could not be read. Only the first call has an effect.
func (r *Replica) Set(registry *Registry, repository, digest string) {
	r.once.Do(func() {
		r.registry, r.repository, r.digest = registry, repository, digest
		close(r.known)
	})
}

// holding waits until r is set and returns its registry and repository if the
// tag there points to digest, and nil otherwise.
func (r *Replica) holding(ctx context.Context, digest string) (*Registry, string) {
	select {
	case <-r.known:
		if r.digest == digest {
			return r.registry, r.repository
		}
	case <-ctx.Done():
	}
	return nil, ""
}

// maxReplicaWait is how long ReadTree waits for the replica.
const maxReplicaWait = time.Second

// resolveReplica finds out whether the replica has the image.
func (t *Tree) resolveReplica(ctx context.Context, digest string) {
	if t.options.Replica == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, maxReplicaWait)
	defer cancel()
	replica, repo := t.options.Replica.holding(ctx, digest)
	// To find out what is excluded, everything has to be read.
	if replica != nil && t.options.Skip == nil && !replica.same(t.source) {
		t.replica, t.replicaRepo, t.replicaDeadline = replica, repo, time.Now().Add(t.source.replicaTimeout)
	}
}

// awaitReplica returns the registry that has the image already, nil if there is
// none.
func (t *Tree) awaitReplica() *Registry {
	<-t.replicaKnown
	return t.replica
}

// fetch reads one manifest. If there is a replica, manifests that the image
// contains are read from there, which shows that they exist there as well; of
// referrers the descriptor is enough.
func (t *Tree) fetch(ctx context.Context, p pending) (*Manifest, error) {
	inside := p.tag != "" || p.parent != "" || p.subject != ""
	switch {
	case !inside || t.awaitReplica() == nil:
	case p.tag != "":
		if m, ok := t.sameTag(ctx, p.tag); ok {
			return m, nil
		}
	case p.parent != "":
		short, cancel := context.WithDeadline(ctx, t.replicaDeadline)
		m, err := t.replica.manifest(short, t.replicaRepo, p.Digest, p.Descriptor)
		cancel()
		if err == nil {
			return m, nil
		}
	case p.subject != "" && p.ArtifactType != "" && p.Size >= 0 && types.MediaType(p.MediaType).IsImage():
		return &Manifest{Descriptor: p.Descriptor, subject: &Descriptor{Digest: p.subject}, unread: true}, nil
	}
	return t.readManifest(ctx, p)
}

// readManifest reads one manifest at the source.
func (t *Tree) readManifest(ctx context.Context, p pending) (*Manifest, error) {
	if p.tag == "" {
		return t.source.manifest(ctx, t.repo, p.Digest, p.Descriptor)
	}
	m, err := t.source.manifest(ctx, t.repo, p.tag, Descriptor{})
	switch {
	case isNotFound(err):
		return nil, nil
	case errors.Is(err, Unsupported):
		// Anyone may name a tag so, for anything.
		var e *Error
		errors.As(err, &e)
		t.source.warn("%s/%s:%s has the name of a digest, and is not copied: %s", t.source.host, t.repo, p.tag, e.Reason)
		return nil, nil
	}
	return m, err
}

// sameTag returns the descriptor of a digest tag, without reading the manifest,
// if the tag points to the same manifest at the replica.
func (t *Tree) sameTag(ctx context.Context, tag string) (*Manifest, bool) {
	var here, there Descriptor
	var mine, theirs error
	var both sync.WaitGroup
	both.Go(func() {
		defer defect.Catch(ctx)
		short, cancel := context.WithDeadline(ctx, t.replicaDeadline)
		defer cancel()
		there, theirs = t.replica.Resolve(short, t.replicaRepo, tag)
	})
	here, mine = t.source.Resolve(ctx, t.repo, tag)
	both.Wait()
	if isNotFound(mine) {
		return nil, true
	}
	if mine != nil || theirs != nil || here.Digest != there.Digest || here.Size < 0 || !types.MediaType(here.MediaType).IsImage() {
		return nil, false
	}
	return &Manifest{Descriptor: here, unread: true}, true
}

// Complete reads the manifests that were not read because a replica has the
// image, and that one of these targets lacks; without targets, all of them. It
// must not run concurrently with other uses of the tree.
func (t *Tree) Complete(ctx context.Context, targets ...Presence) error {
	return withSide(Source, t.source.wrap(ctx, "reading the manifest", t.repo, t.Digest(), t.complete(ctx, targets)))
}

func (t *Tree) complete(ctx context.Context, targets []Presence) error {
	var unread []*node
	for _, n := range t.order {
		lacking := len(targets) == 0 || slices.ContainsFunc(targets, func(p Presence) bool { return p.lacks(n) })
		if n.unread && lacking {
			unread = append(unread, n)
		}
	}
	if len(unread) == 0 {
		return nil
	}
	err := forEach(ctx, unread, func(ctx context.Context, n *node) error {
		m, err := t.fullManifest(ctx, n)
		if err == nil {
			n.Manifest = m
		}
		return err
	})
	if err != nil {
		return err
	}
	return t.finish()
}

// fullManifest returns the whole manifest of a node.
func (t *Tree) fullManifest(ctx context.Context, n *node) (*Manifest, error) {
	if !n.unread {
		return n.Manifest, nil
	}
	p := pending{Descriptor: n.Descriptor, referrerDepth: n.referrerDepth}
	if n.subject != nil {
		p.subject = n.subject.Digest
	}
	m, err := t.readManifest(ctx, p)
	if m, err = t.checkPending(p, m, err); err == nil && m == nil {
		err = t.pendingError(p, NotFound, "the tag has just been deleted")
	}
	return m, withSide(Source, err)
}
