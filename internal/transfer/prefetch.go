package transfer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"acrpromote/internal/keyed"
	"acrpromote/internal/ref"
)

// aheadWidth is how many requests of one tree are made before their turn.
const maxPrefetches = 32

// treeReader asks for what belongs to one tree, each thing once, and ahead: what
// a manifest or a list names is asked for as soon as it is known. The rounds of
// readRounds find the answers, or ask themselves where nobody was free to.
type treeReader struct {
	tree *Tree
	ctx  context.Context

	manifests *keyed.Cache[string, *Manifest]    // by digest or tag
	lists     *keyed.Cache[string, []Descriptor] // by digest of the subject

	prefetches errgroup.Group
	count      atomic.Int64 // manifests asked for
	bytes      atomic.Int64 // in them
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

// keepAll keeps errors as answers: an error ends the reading of the tree.
func keepErrors(error) bool { return true }

// ahead does something before its turn, if somebody is free to.
func (r *treeReader) prefetch(do func()) {
	r.prefetches.TryGo(func() error {
		if r.ctx.Err() == nil {
			do()
		}
		return nil // what failed is asked for again, or kept until its turn
	})
}

// manifest reads what a lead names; nil if it is company that there is not.
func (r *treeReader) manifest(l pending) (*Manifest, error) {
	name := l.Digest
	if l.tag != "" {
		name = l.tag
	}
	return r.manifests.Get(r.ctx, name, func(context.Context) (*Manifest, error) {
		r.count.Add(1)
		m, err := r.tree.fetch(r.ctx, l)
		if err == nil && m != nil {
			r.bytes.Add(int64(len(m.Raw)))
			r.prefetchContents(l, m)
		}
		return m, err
	})
}

// list reads what is attached to a manifest.
func (r *treeReader) list(l pending, digest string) ([]Descriptor, error) {
	return r.lists.Get(r.ctx, digest, func(context.Context) ([]Descriptor, error) {
		list, err := r.tree.listReferrers(r.ctx, digest)
		if err != nil {
			return list, err
		}
		for _, d := range list {
			if d.ArtifactType == "" || !slices.Contains(r.tree.options.Exclude, d.ArtifactType) {
				r.prefetchManifest(pending{Descriptor: d, subject: digest, referrerDepth: l.referrerDepth + 1})
			}
		}
		r.prefetchAtReplica(digest, list)
		return list, nil
	})
}

// read asks ahead for a manifest, and for what is attached to it.
func (r *treeReader) prefetchManifest(l pending) {
	if l.indexDepth > maxNesting || l.referrerDepth > maxNesting || r.count.Load() > maxManifests || r.bytes.Load() > maxRawBytes || l.tag == "" && ref.CheckDigest(l.Digest) != nil {
		return // its turn will tell
	}
	r.prefetch(func() { _, _ = r.manifest(l) })
	if r.tree.options.Referrers && l.tag == "" {
		r.prefetch(func() { _, _ = r.list(l, l.Digest) })
	}
}

// follow asks ahead for what a manifest leads to.
func (r *treeReader) prefetchContents(l pending, m *Manifest) {
	for _, c := range m.children {
		if isManifestType(c.MediaType) {
			r.prefetchManifest(pending{Descriptor: c, parent: m.Digest, referrerDepth: l.referrerDepth, indexDepth: l.indexDepth + 1})
		}
	}
	if !r.tree.options.Referrers {
		return
	}
	if l.tag != "" {
		r.prefetch(func() { _, _ = r.list(l, m.Digest) })
	}
	r.prefetch(func() {
		if company, err := r.tree.digestTags(); err == nil && company.listed {
			for _, tag := range company.tagsOf(m.Digest) {
				r.prefetchManifest(pending{Descriptor: Descriptor{Size: -1}, tag: tag, referrerDepth: l.referrerDepth + 1})
			}
		}
	})
}

// lookNear asks ahead for what Inspect of the place that holds the image will
// want to know: its list of what is attached, and where that is a tag, which
// vouches for nothing, each of it.
func (r *treeReader) prefetchAtReplica(subject string, list []Descriptor) {
	t := r.tree
	near := t.awaitReplica()
	if near == nil || len(list) == 0 {
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
	ask(func(ctx context.Context) { _, _ = near.referrersExpecting(ctx, t.replicaRepo, subject, list, tagged) })
	if !tagged || near.referrersAPI.Load() {
		return
	}
	for _, d := range list {
		ask(func(ctx context.Context) { _, _ = near.Resolve(ctx, t.replicaRepo, d.Digest) })
	}
}

// fetch makes the requests for one manifest. Where the image is somewhere
// already, what it contains is read there, which tells also that it is there;
// and of what is attached the descriptor is enough.
func (t *Tree) fetch(ctx context.Context, l pending) (*Manifest, error) {
	inside := l.tag != "" || l.parent != "" || l.subject != ""
	switch {
	case !inside || t.awaitReplica() == nil:
	case l.tag != "":
		if m, ok := t.sameTag(ctx, l.tag); ok {
			return m, nil
		}
	case l.parent != "":
		short, cancel := context.WithDeadline(ctx, t.replicaDeadline)
		m, err := t.replica.manifest(short, t.replicaRepo, l.Digest, l.Descriptor)
		cancel()
		if err == nil {
			return m, nil
		}
	case l.subject != "" && l.ArtifactType != "" && l.Size >= 0 && types.MediaType(l.MediaType).IsImage():
		return &Manifest{Descriptor: l.Descriptor, subject: &Descriptor{Digest: l.subject}, unread: true}, nil
	}
	return t.readManifest(ctx, l)
}

// readManifest reads one manifest at the source.
func (t *Tree) readManifest(ctx context.Context, l pending) (*Manifest, error) {
	if l.tag == "" {
		return t.source.manifest(ctx, t.repo, l.Digest, l.Descriptor)
	}
	m, err := t.source.manifest(ctx, t.repo, l.tag, Descriptor{})
	if isNotFound(err) {
		return nil, nil
	}
	return m, err
}

// glimpse looks at company without reading it, where the place that holds the
// image has the same under this tag.
func (t *Tree) sameTag(ctx context.Context, tag string) (*Manifest, bool) {
	var here, there Descriptor
	var mine, theirs error
	var both sync.WaitGroup
	both.Go(func() {
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

// Complete reads what was left unread because a place holds the image already:
// somebody lacks it after all. It must not run beside other uses of the tree.
func (t *Tree) Complete(ctx context.Context) error {
	return withSide(Source, t.source.wrap(ctx, "reading the manifest", t.repo, t.Digest(), t.complete(ctx)))
}

func (t *Tree) complete(ctx context.Context) error {
	var unread []*node
	for _, n := range t.order {
		if n.unread {
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

// full is a node's manifest, read whole.
func (t *Tree) fullManifest(ctx context.Context, n *node) (*Manifest, error) {
	if !n.unread {
		return n.Manifest, nil
	}
	l := pending{Descriptor: n.Descriptor, referrerDepth: n.referrerDepth}
	if n.subject != nil {
		l.subject = n.subject.Digest
	}
	m, err := t.readManifest(ctx, l)
	if m, err = t.checkPending(l, m, err); err == nil && m == nil {
		err = t.pendingError(l, NotFound, "the tag was there a moment ago")
	}
	return m, withSide(Source, err)
}
