package transfer

import (
	"context"
	"sync"
	"time"
)

// Replica is the target that was the first to say what its tag points to. The
// targets are inspected while the source is still being read; where the first
// of them has the image already, ReadTree reads there what the image contains:
// one request then shows both what a manifest is and that the target has it.
// Of what is attached nothing is read where its descriptor is enough.
//
// It is a value that is set once and waited for, so that the reader of the
// source knows nothing of targets and those who inspect them nothing of it.
type Replica struct {
	once       sync.Once
	known      chan struct{}
	registry   *Registry
	repository string
	digest     string
}

// NewReplica returns a Replica of which nothing is known yet.
func NewReplica() *Replica { return &Replica{known: make(chan struct{})} }

// Answer says that a tag of the repository points to digest, or, where that is
// empty, that there is no such tag or that it could not be read. Only the first
// answer counts.
func (r *Replica) Set(registry *Registry, repository, digest string) {
	r.once.Do(func() {
		r.registry, r.repository, r.digest = registry, repository, digest
		close(r.known)
	})
}

// holding waits for the answer and returns the repository that has the image
// with this digest; nil if it has another or none.
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

// patience is how long the reader of a tree waits for its replica.
const maxReplicaWait = time.Second

// decide finds out whether the replica has the image.
func (t *Tree) resolveReplica(ctx context.Context, digest string) {
	if t.options.Replica == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, maxReplicaWait)
	defer cancel()
	near, repo := t.options.Replica.holding(ctx, digest)
	// To tell what is excluded, everything has to be read.
	if near != nil && len(t.options.Exclude) == 0 && !near.same(t.source) {
		t.replica, t.replicaRepo, t.replicaDeadline = near, repo, time.Now().Add(t.source.replicaTimeout)
	}
}

// holder is the place that has the image already, nil if there is none.
func (t *Tree) awaitReplica() *Registry {
	<-t.replicaKnown
	return t.replica
}
