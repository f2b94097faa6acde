package transfer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

const (
	maxNesting   = 8        // of indexes in indexes, and of referrers of referrers
	maxManifests = 20_000   // in one tree
	maxRawBytes  = 64 << 20 // of manifests in one tree
	maxBlobs     = 100_000  // distinct, in one tree
)

// Options say what belongs to an image.
type Options struct {
	// Referrers brings what is attached to the root and to everything that it
	// contains, recursively: what says so itself, and what the name of a tag says.
	Referrers bool
	// Exclude leaves attached artifacts of these types where they are, and all
	// that is attached to them.
	Exclude []string
	// Resolved, if not nil, is called with the root's digest as soon as it is known.
	Resolved func(digest string)
	// Replica, if not nil, is where the image may be already.
	Replica *Replica
}

// Tree is a whole image at its source: the root, what it contains, what is
// attached. It does not change after ReadTree has returned it, but for Complete.
type Tree struct {
	source     *Registry
	repo       string
	options    Options
	digestTags func() (digestTags, error) // of the repository

	replicaKnown    chan struct{} // closed when near is known
	replica         *Registry     // that has the image already; or nil
	replicaRepo     string
	replicaDeadline time.Time // from when on it is not waited for

	root     *node
	nodes    map[string]*node // by digest
	order    []*node          // as they were found: root, children, referrers
	blobs    []Descriptor     // configs and layers, each once, without foreign ones
	foreign  []Descriptor
	excluded []Descriptor // attached, and left out on purpose
	bytes    int64
}

// node is one manifest of a tree.
type node struct {
	*Manifest
	children      []*node
	referrerDepth int      // 0: part of the image; n: n referrers away from it
	indexDepth    int      // indexes above it
	tags          []string // under which it is found, being company
}

// lead is something to be read: a descriptor somebody gave, and where it hangs.
type pending struct {
	Descriptor
	tag           string // instead of a digest: it may be company of something
	parent        string // digest of the index that contains it, or ""
	subject       string // digest that it is listed as attached to, or ""
	referrerDepth int
	indexDepth    int
}

// Digest is the root's digest.
func (t *Tree) Digest() string { return t.root.Digest }

// Root is the manifest at the top.
func (t *Tree) Root() *Manifest { return t.root.Manifest }

// Bytes sums the distinct blobs and manifests of the image itself, without what
// is attached to it.
func (t *Tree) Bytes() int64 { return t.bytes }

// Foreign lists layers that are left where they are: their manifests name them
// as not distributable.
func (t *Tree) Foreign() []Descriptor { return t.foreign }

// Manifests lists the root, then everything that it contains.
func (t *Tree) Manifests() []Descriptor {
	return t.list(func(n *node) bool { return n.referrerDepth == 0 })
}

// Referrers lists what is attached, company included, with the artifact type that its own
// manifest gives. Manifests inside of an attached index are not listed.
func (t *Tree) Referrers() []Descriptor {
	return t.list(func(n *node) bool { return n.referrerDepth > 0 && n.indexDepth == 0 })
}

// LeftOut lists what is attached and was left out on purpose.
func (t *Tree) Excluded() []Descriptor { return t.excluded }

func (t *Tree) list(want func(*node) bool) []Descriptor {
	var list []Descriptor
	for _, n := range t.order {
		if want(n) {
			list = append(list, n.Descriptor)
		}
	}
	return list
}

// ReadTree reads a whole image by tag or digest, each manifest once and
// verified against its digest. Something that is named but not there, not what
// it is said to be, or nested too deep is an error that names it.
//
// It is put together in rounds, so that its order does not depend on who
// answers first: what a round finds is read by the next. The requests do not
// wait for that: see treeReader.
func ReadTree(ctx context.Context, src *Registry, repo, ref string, opt Options) (*Tree, error) {
	t, err := readTree(ctx, src, repo, ref, opt)
	return t, withSide(Source, err)
}

func readTree(ctx context.Context, src *Registry, repo, reference string, opt Options) (*Tree, error) {
	t := &Tree{source: src, repo: repo, options: opt, nodes: make(map[string]*node), replicaKnown: make(chan struct{})}
	// Whoever asks ahead ends before this does.
	var ahead sync.WaitGroup
	defer ahead.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if opt.Referrers {
		var tags digestTags
		var err error
		listed := make(chan struct{})
		ahead.Go(func() {
			defer close(listed)
			tags, err = src.digestTags(ctx, repo)
		})
		t.digestTags = func() (digestTags, error) {
			<-listed
			return tags, err
		}
	}
	if !ref.NamesDigest(reference) {
		// The root's digest has to be known before its referrers can be asked for.
		m, err := src.manifest(ctx, repo, reference, Descriptor{})
		if err != nil {
			close(t.replicaKnown)
			return nil, err
		}
		reference = m.Digest
	}
	if opt.Resolved != nil {
		opt.Resolved(reference)
	}
	ahead.Go(func() {
		defer close(t.replicaKnown)
		t.resolveReplica(ctx, reference)
	})
	r := newTreeReader(ctx, t)
	if err := t.readRounds(r, reference); err != nil {
		cancel()
		_ = r.prefetches.Wait()
		return nil, err
	}
	_ = r.prefetches.Wait()
	return t, nil
}

func (t *Tree) readRounds(r *treeReader, ref string) error {
	opt := t.options
	round := []pending{{Descriptor: Descriptor{Digest: ref, Size: -1}}}
	raw := int64(0)
	for len(round) > 0 {
		found, err := t.readRound(r, round)
		if err != nil {
			return err
		}
		var next []pending
		for i, f := range found {
			l := round[i]
			if f.manifest == nil {
				continue // no such company
			}
			if l.subject != "" && slices.Contains(opt.Exclude, f.manifest.ArtifactType) {
				t.excluded = append(t.excluded, f.manifest.Descriptor)
				continue
			}
			if n, ok := t.nodes[f.manifest.Digest]; ok {
				if l.tag != "" {
					n.tags = append(n.tags, l.tag)
				}
				continue
			}
			n := &node{Manifest: f.manifest, referrerDepth: l.referrerDepth, indexDepth: l.indexDepth}
			if l.tag != "" {
				n.tags = []string{l.tag}
			}
			if t.root == nil {
				t.root = n
			}
			t.nodes[n.Digest] = n
			t.order = append(t.order, n)
			raw += n.Size
			for _, c := range n.Manifest.children {
				next = append(next, pending{Descriptor: c, parent: n.Digest, referrerDepth: l.referrerDepth, indexDepth: l.indexDepth + 1})
			}
			for _, d := range f.referrers {
				if d.ArtifactType != "" && slices.Contains(opt.Exclude, d.ArtifactType) {
					t.excluded = append(t.excluded, d)
					continue
				}
				next = append(next, pending{Descriptor: d, subject: n.Digest, referrerDepth: l.referrerDepth + 1})
			}
			for _, tag := range f.digestTags {
				next = append(next, pending{Descriptor: Descriptor{Size: -1}, tag: tag, referrerDepth: l.referrerDepth + 1})
			}
		}
		if len(t.order)+len(next) > maxManifests || raw > maxRawBytes {
			return t.tooLargeError(t.root.Digest, fmt.Sprintf("it has more than %d manifests, or more than %d MiB of them", maxManifests, maxRawBytes>>20))
		}
		if round, err = t.dropKnown(next); err != nil {
			return err
		}
	}
	return t.finish()
}

// reading is what one lead led to.
type readResult struct {
	manifest   *Manifest
	referrers  []Descriptor
	digestTags []string // tags
}

func (t *Tree) readRound(r *treeReader, round []pending) ([]readResult, error) {
	found := make([]readResult, len(round))
	type job struct {
		i    int
		list bool
	}
	var jobs []job
	for i := range round {
		jobs = append(jobs, job{i, false})
		if t.options.Referrers && round[i].tag == "" {
			jobs = append(jobs, job{i, true})
		}
	}
	err := forEach(r.ctx, jobs, func(_ context.Context, j job) error {
		l := round[j.i]
		if j.list {
			list, err := r.list(l, l.Digest)
			found[j.i].referrers = list
			return err
		}
		m, err := t.read(r, l)
		found[j.i].manifest = m
		if err == nil && m != nil && l.tag != "" {
			found[j.i].referrers, err = r.list(l, m.Digest)
		}
		return err
	})
	if err != nil || !t.options.Referrers {
		return found, err
	}
	company, err := t.digestTags()
	for i, f := range found {
		if err == nil && f.manifest != nil {
			found[i].digestTags = company.tagsOf(f.manifest.Digest)
			if !company.listed && round[i].referrerDepth == maxNesting {
				found[i].digestTags = nil // nobody said that there is anything
			}
		}
	}
	return found, err
}

// attachedTo lists referrers: what the registry knows of, and what a fallback
// tag lists beside that, from a time before the registry kept lists itself.
// Where the list of tags tells of such a tag, both are asked for at once.
func (t *Tree) listReferrers(ctx context.Context, digest string) ([]Descriptor, error) {
	if t.source.noReferrersAPI.Load() {
		if company, err := t.digestTags(); err == nil && !company.mayHaveFallbackList(digest) {
			return nil, nil // the list of tags has told it
		}
	}
	var tagged sync.WaitGroup
	defer tagged.Wait()
	tagged.Go(func() {
		if t.hasFallbackTag(digest) {
			_, _ = t.source.fallbackList(ctx, t.repo, digest)
		}
	})
	list, err := t.source.referrers(ctx, t.repo, digest)
	if err != nil || !list.api {
		return list.entries, err
	}
	company, err := t.digestTags()
	if err != nil || !company.mayHaveFallbackList(digest) {
		return list.entries, err
	}
	old, err := t.source.fallbackList(ctx, t.repo, digest)
	if err != nil {
		return nil, err
	}
	all, err := unique(slices.Concat(list.entries, old.entries))
	if err != nil {
		return nil, t.source.corruptError("listing what is attached to", t.repo, digest, err.Error())
	}
	return all, nil
}

// listedByTag tells whether the source is known to have a fallback tag that
// lists what is attached to the manifest.
func (t *Tree) hasFallbackTag(digest string) bool {
	company, err := t.digestTags()
	return err == nil && company.listed && company.mayHaveFallbackList(digest)
}

func (t *Tree) read(r *treeReader, l pending) (*Manifest, error) {
	if l.parent != "" && !isManifestType(l.MediaType) {
		return nil, t.pendingError(l, Unsupported, fmt.Sprintf("%s names it with the media type %q, which is not one that is copied", l.parent, sanitize.Bounded(l.MediaType, 100)))
	}
	m, err := r.manifest(l)
	return t.checkPending(l, m, err)
}

func (t *Tree) pendingError(l pending, kind Kind, reason string) *Error {
	e := t.source.corruptError("reading the manifest", t.repo, l.Digest, reason)
	e.Kind = kind
	return e
}

// checked holds what was read to what led there.
func (t *Tree) checkPending(l pending, m *Manifest, err error) (*Manifest, error) {
	switch {
	case isNotFound(err) && l.parent != "":
		return nil, t.pendingError(l, NotFound, fmt.Sprintf("the index %s names it, but it is not there", l.parent))
	case isNotFound(err) && l.subject != "":
		e := t.pendingError(l, NotFound, fmt.Sprintf("it is listed as attached to %s, but it is not there", l.subject))
		e.Remedy = "mend the list of what is attached, or copy without referrers"
		return nil, e
	case err != nil || l.tag != "":
		return m, err
	}
	// A manifest read before, in another place of the tree or of the run, was
	// not compared with this descriptor.
	if l.Size >= 0 && m.Size != l.Size {
		return nil, t.pendingError(l, Corrupt, fmt.Sprintf("it has %d bytes, but what points to it says %d", m.Size, l.Size))
	}
	if isManifestType(l.MediaType) && types.MediaType(l.MediaType).IsIndex() != types.MediaType(m.MediaType).IsIndex() {
		return nil, t.pendingError(l, Corrupt, fmt.Sprintf("it is a %s, but what points to it calls it a %s", m.MediaType, l.MediaType))
	}
	if l.subject != "" && (m.subject == nil || m.subject.Digest != l.subject) {
		return nil, t.pendingError(l, Corrupt, fmt.Sprintf("it is listed as attached to %s, but does not say so itself", l.subject))
	}
	return m, nil
}

// fresh drops the leads to what was read already and refuses circles and what
// is nested too deep. (A circle takes a digest that contains itself, but bytes
// from outside are checked, not trusted.)
func (t *Tree) dropKnown(leads []pending) ([]pending, error) {
	var fresh []pending
	coming := make(map[string]int64)
	for _, l := range leads {
		if l.indexDepth > maxNesting || l.referrerDepth > maxNesting {
			return nil, t.tooLargeError(l.Digest, fmt.Sprintf("it is nested more than %d deep", maxNesting))
		}
		if l.tag != "" {
			fresh = append(fresh, l)
			continue
		}
		if n, ok := t.nodes[l.Digest]; ok {
			if n.Size != l.Size {
				return nil, t.source.corruptError("reading the manifest", t.repo, l.Digest, fmt.Sprintf("it is given two sizes, %d and %d bytes", n.Size, l.Size))
			}
			continue
		}
		if _, twice := coming[l.Digest]; !twice {
			fresh = append(fresh, l)
		}
		if err := sameSize(coming, l.Descriptor); err != nil {
			return nil, t.source.corruptError("reading the manifest", t.repo, l.Digest, err.Error())
		}
	}
	return fresh, nil
}

func (t *Tree) tooLargeError(digest, reason string) error {
	return &Error{Registry: t.source.host, Repository: t.repo, Reference: digest, Op: "reading the manifest", Kind: TooLarge,
		Reason: reason, Remedy: "copy its parts one by one"}
}

// finish links children, collects blobs and sums.
func (t *Tree) finish() error {
	t.blobs, t.foreign, t.bytes = nil, nil, 0
	sizes := make(map[string]int64)
	taken := make(map[string]bool)
	for _, n := range t.order {
		if n.referrerDepth == 0 {
			t.bytes += n.Size
		}
		for _, c := range n.Manifest.children {
			child := t.nodes[c.Digest]
			if !slices.Contains(n.children, child) {
				n.children = append(n.children, child)
			}
		}
		for _, foreign := range []bool{false, true} {
			list := n.blobs
			if foreign {
				list = n.foreign
			}
			for _, d := range list {
				if err := sameSize(sizes, d); err != nil {
					return t.source.corruptError("reading the manifest", t.repo, n.Digest, err.Error())
				}
				id := fmt.Sprint(foreign, d.Digest)
				if taken[id] {
					continue
				}
				taken[id] = true
				if foreign {
					t.foreign = append(t.foreign, d)
					continue
				}
				t.blobs = append(t.blobs, d)
				if n.referrerDepth == 0 {
					t.bytes += d.Size
				}
			}
		}
		if len(sizes) > maxBlobs {
			return t.tooLargeError(t.root.Digest, fmt.Sprintf("it has more than %d blobs", maxBlobs))
		}
	}
	return t.acyclic()
}

// acyclic makes sure that walking the children ends.
func (t *Tree) acyclic() error {
	const walking, done = 1, 2
	state := make(map[*node]int)
	var walk func(*node) error
	walk = func(n *node) error {
		switch state[n] {
		case done:
			return nil
		case walking:
			return t.source.corruptError("reading the manifest", t.repo, n.Digest, "it contains itself")
		}
		state[n] = walking
		for _, c := range n.children {
			if err := walk(c); err != nil {
				return err
			}
		}
		state[n] = done
		return nil
	}
	for _, n := range t.order {
		if err := walk(n); err != nil {
			return err
		}
	}
	return nil
}
