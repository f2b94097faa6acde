package transfer

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/keyed"
	"acrpromote/internal/ref"
)

// maxPrefetches bounds the prefetches of one tree at a time.
const maxPrefetches = 32

// treeReader requests the manifests and referrer lists of one tree, each once. It
// prefetches: what a manifest or a list names is requested as soon as it is
// known. readRounds finds the results in the caches, or requests what could not
// be prefetched.
type treeReader struct {
	tree *Tree
	ctx  context.Context

	manifests *keyed.Cache[string, *Manifest]    // by digest or tag
	lists     *keyed.Cache[string, []Descriptor] // by digest of the subject

	prefetches errgroup.Group
	count      atomic.Int64 // of manifests requested
	bytes      atomic.Int64 // of manifests read
}

func newTreeReader(ctx context.Context, t *Tree) *treeReader {
	r := &treeReader{
		tree: t, ctx: ctx,
		manifests: keyed.NewCache[string, *Manifest](0, keepErrors),
		lists:     keyed.NewCache[string, []Descriptor](0, keepErrors),
	}
	r.prefetches.SetLimit(maxPrefetches)
	return r
}

// keepErrors keeps all errors: the first one ends the reading of the tree.
func keepErrors(error) bool { return true }

// prefetch runs do in the background, unless too many prefetches are running.
func (r *treeReader) prefetch(do func()) {
	r.prefetches.TryGo(func() error {
		if r.ctx.Err() == nil {
			do()
		}
		return nil // readRounds finds the error in the cache
	})
}

// manifest reads the manifest of p; nil if p is a digest tag that does not exist.
func (r *treeReader) manifest(p pending) (*Manifest, error) {
	name := p.Digest
	if p.tag != "" {
		name = p.tag
	}
	return r.manifests.Get(r.ctx, name, func(context.Context) (*Manifest, error) {
		r.count.Add(1)
		m, err := r.tree.fetch(r.ctx, p)
		if err == nil && m != nil {
			r.bytes.Add(m.Size)
			r.prefetchContents(p, m)
		}
		return m, err
	})
}

// list reads the referrers of a manifest.
func (r *treeReader) list(p pending, digest string) ([]Descriptor, error) {
	return r.lists.Get(r.ctx, digest, func(context.Context) ([]Descriptor, error) {
		list, err := r.tree.listReferrers(r.ctx, digest)
		if err != nil {
			return list, err
		}
		for _, d := range list {
			if d.ArtifactType == "" || !r.tree.skips(d.ArtifactType) {
				r.prefetchManifest(pending{Descriptor: d, subject: digest, referrerDepth: p.referrerDepth + 1})
			}
		}
		r.prefetchAtReplica(digest, list)
		return list, nil
	})
}

// prefetchManifest prefetches a manifest and its referrers.
func (r *treeReader) prefetchManifest(p pending) {
	if p.indexDepth > maxNesting || p.referrerDepth > maxNesting || r.count.Load() > maxManifests || r.bytes.Load() > maxRawBytes || p.tag == "" && ref.CheckDigest(p.Digest) != nil {
		return // readRounds reports the error
	}
	r.prefetch(func() { _, _ = r.manifest(p) })
	if r.tree.options.Referrers && p.tag == "" {
		r.prefetch(func() { _, _ = r.list(p, p.Digest) })
	}
}

// prefetchContents prefetches the children and referrers of a manifest.
func (r *treeReader) prefetchContents(p pending, m *Manifest) {
	for _, c := range m.children {
		if isManifestType(c.MediaType) && p.referrerDepth == 0 {
			r.prefetchManifest(pending{Descriptor: c, parent: m.Digest, indexDepth: p.indexDepth + 1})
		}
	}
	if !r.tree.options.Referrers {
		return
	}
	if p.tag != "" {
		r.prefetch(func() { _, _ = r.list(p, m.Digest) })
	}
	r.prefetch(func() {
		if tags, err := r.tree.digestTags(); err == nil && tags.listed {
			for _, tag := range tags.tagsOf(m.Digest) {
				r.prefetchManifest(pending{Descriptor: Descriptor{Size: -1}, tag: tag, referrerDepth: p.referrerDepth + 1})
			}
		}
	})
}

// prefetchAtReplica prefetches what Inspect of the replica will request: its list
// of referrers, and each of them if the list is that of a fallback tag, which
// does not prove that they exist.
func (r *treeReader) prefetchAtReplica(subject string, list []Descriptor) {
	t := r.tree
	replica := t.awaitReplica()
	if replica == nil || len(list) == 0 {
		return
	}
	tagged := t.hasFallbackTag(subject)
	ask := func(do func(context.Context)) {
		r.prefetch(func() {
			ctx, cancel := context.WithDeadline(r.ctx, t.replicaDeadline)
			defer cancel()
			do(ctx)
		})
	}
	ask(func(ctx context.Context) {
		_, _ = replica.referrersExpecting(ctx, t.replicaRepo, subject, list, tagged)
	})
	if !tagged || replica.referrersAPI.Load() {
		return
	}
	for _, d := range list {
		ask(func(ctx context.Context) { _, _ = replica.Resolve(ctx, t.replicaRepo, d.Digest) })
	}
}
