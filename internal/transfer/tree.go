package transfer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/defect"
	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
	"acrpromote/internal/sorting"
)

const (
	maxNesting   = 8         // of indexes in indexes, and of referrers of referrers
	maxManifests = 20_000    // in one tree
	maxRawBytes  = 512 << 20 // of manifests in one tree, most of them read twice
	maxBlobs     = 100_000   // distinct, in one tree
)

// Options are options of ReadTree.
type Options struct {
	// Referrers includes the referrers of the root and of all manifests that it
	// contains, recursively: those with a subject, and those under digest tags.
	Referrers bool
	// Skip, if not nil, reports whether referrers of an artifact type are not read,
	// nor their referrers.
	Skip func(artifactType string) bool
	// Resolved, if not nil, is called with the root's digest as soon as it is known.
	Resolved func(digest string)
	// Replica, if not nil, is a target that may have the image already.
	Replica *Replica
}

// Tree is an image at its source: the root manifest, the manifests that it
// contains, and the referrers. Only Complete and Release change it after ReadTree.
type Tree struct {
	source     *Registry
	repo       string
	options    Options
	digestTags func() (digestTags, error) // of the repository

	replicaKnown    chan struct{} // closed when the next three are set
	replica         *Registry     // that has the image already, or nil
	replicaRepo     string
	replicaDeadline time.Time // of requests to it

	root     *node
	nodes    map[string]*node // by digest
	order    []*node          // root, children, referrers
	distinct []position       // of configs and layers, each once, without foreign ones
	foreign  []packed
	skipped  []Attached // referrers that were not read
	absent   []pending  // manifests that an index contains, and that do not exist
	bytes    int64

	mu        sync.Mutex
	inspected []place // where Inspect has looked for the tree
}

// place is a repository of a registry.
type place struct {
	registry   *Registry
	repository string
}

func (t *Tree) blob(p position) packed { return t.order[p.node].contents[p.at] }

// blobs returns the configs and layers, each once, without foreign ones.
func (t *Tree) blobs() []Descriptor {
	all := make([]Descriptor, len(t.distinct))
	for i, p := range t.distinct {
		all[i] = t.blob(p).descriptor()
	}
	return all
}

// node is one manifest of a tree.
type node struct {
	*Manifest
	children      []*node
	referrerDepth int      // 0: part of the image; n: referrer of a manifest with n-1
	indexDepth    int      // number of indexes above it
	tags          []string // its digest tags
	retained      *Manifest
}

// pending is a manifest that is to be read: its descriptor, and where it was found.
type pending struct {
	Descriptor
	tag           string // a digest tag, instead of a digest
	parent        string // digest of the index that contains it, or ""
	subject       string // digest of the manifest that lists it as a referrer, or ""
	referrerDepth int
	indexDepth    int
}

// Digest returns the digest of the root manifest.
func (t *Tree) Digest() string { return t.root.Digest }

// Root returns the root manifest.
func (t *Tree) Root() *Manifest { return t.root.Manifest }

// Bytes returns the size of the image: distinct blobs and manifests, without
// referrers.
func (t *Tree) Bytes() int64 { return t.bytes }

// Foreign returns the layers that are copied only to targets which demand them: their
// media types mark them as not distributable, and their descriptors have URLs.
func (t *Tree) Foreign() []Descriptor { return unpack(t.foreign) }

// Manifests returns the root, then all manifests that it contains.
func (t *Tree) Manifests() []Descriptor {
	return t.list(func(n *node) bool { return n.referrerDepth == 0 })
}

func (t *Tree) list(want func(*node) bool) []Descriptor {
	var list []Descriptor
	for _, n := range t.order {
		if want(n) {
			list = append(list, n.Descriptor)
		}
	}
	return list
}

// ReadTree reads an image by tag or digest. It reads each manifest once, and
// verifies it against its digest. A manifest that does not exist, does not match
// its descriptor or is nested too deep is an error that names it.
//
// The tree is built in rounds, so that its order does not depend on timing: what
// a round finds is read in the next. The requests are made earlier; see
// treeReader.
func ReadTree(ctx context.Context, src *Registry, repo, ref string, opt Options) (*Tree, error) {
	t, err := readTree(ctx, src, repo, ref, opt)
	return t, withSide(Source, err)
}

func readTree(ctx context.Context, src *Registry, repo, reference string, opt Options) (*Tree, error) {
	t := &Tree{source: src, repo: repo, options: opt, nodes: make(map[string]*node), replicaKnown: make(chan struct{})}
	var background sync.WaitGroup
	defer background.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if opt.Referrers {
		var tags digestTags
		var err error
		listed := make(chan struct{})
		background.Go(func() {
			defer defect.Catch(ctx)
			defer close(listed)
			tags, err = src.digestTags(ctx, repo)
		})
		t.digestTags = func() (digestTags, error) {
			<-listed
			return tags, err
		}
	}
	if !ref.NamesDigest(reference) {
		// Listing referrers takes the root's digest.
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
	background.Go(func() {
		defer defect.Catch(ctx)
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
	round := []pending{{Descriptor: Descriptor{Digest: ref, Size: -1}}}
	raw := int64(0)
	for len(round) > 0 {
		found, err := t.readRound(r, round)
		if err != nil {
			return err
		}
		var next []pending
		for i, f := range found {
			p := round[i]
			if f.manifest == nil {
				continue // there is no such digest tag, or the child of an index is absent
			}
			if p.subject != "" && t.skips(f.manifest.ArtifactType) {
				t.skipped = append(t.skipped, Attached{Descriptor: f.manifest.Descriptor, Subject: p.subject, Unread: true})
				continue
			}
			if n, ok := t.nodes[f.manifest.Digest]; ok {
				if p.tag != "" {
					n.tags = append(n.tags, p.tag)
				}
				continue
			}
			n := &node{Manifest: f.manifest, referrerDepth: p.referrerDepth, indexDepth: p.indexDepth}
			if p.tag != "" {
				n.tags = []string{p.tag}
			}
			if t.root == nil {
				t.root = n
			}
			t.nodes[n.Digest] = n
			t.order = append(t.order, n)
			raw += n.Size
			next = append(next, n.pendingChildren()...)
			for _, d := range f.referrers {
				if d.ArtifactType != "" && t.skips(d.ArtifactType) {
					t.skipped = append(t.skipped, Attached{Descriptor: d, Subject: n.Digest, Unread: true})
					continue
				}
				next = append(next, pending{Descriptor: d, subject: n.Digest, referrerDepth: p.referrerDepth + 1})
			}
			for _, tag := range f.digestTags {
				next = append(next, pending{Descriptor: Descriptor{Size: -1}, tag: tag, referrerDepth: p.referrerDepth + 1})
			}
		}
		if len(t.order)+len(next) > maxManifests || raw > maxRawBytes {
			return t.tooLargeError(t.root.Digest, fmt.Sprintf("it has more than %d manifests, or more than %d MiB of them", maxManifests, maxRawBytes>>20))
		}
		if round, err = t.dropKnown(next); err != nil {
			return err
		}
	}
	if len(t.absent) > 0 {
		return t.sparseError()
	}
	return t.finish()
}

// pendingChildren returns the manifests that an index of the image contains. Those
// of an index among the referrers are not needed: it is never copied.
func (n *node) pendingChildren() []pending {
	if n.referrerDepth > 0 {
		return nil
	}
	var children []pending
	for _, c := range n.Manifest.children {
		children = append(children, pending{Descriptor: c, parent: n.Digest, indexDepth: n.indexDepth + 1})
	}
	return children
}

// skips reports whether referrers of an artifact type are not read.
func (t *Tree) skips(artifactType string) bool {
	return t.options.Skip != nil && t.options.Skip(artifactType)
}

// readResult is what reading a pending manifest found.
type readResult struct {
	manifest   *Manifest
	referrers  []Descriptor
	digestTags []string
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
	var absent sync.Mutex
	err := forEach(r.ctx, jobs, func(_ context.Context, j job) error {
		p := round[j.i]
		if j.list {
			list, err := r.list(p, p.Digest)
			found[j.i].referrers = list
			return err
		}
		m, err := t.read(r, p)
		found[j.i].manifest = m
		if p.parent != "" && isNotFound(err) {
			absent.Lock()
			defer absent.Unlock()
			t.absent = append(t.absent, p)
			return nil
		}
		if err == nil && m != nil && p.tag != "" {
			found[j.i].referrers, err = r.list(p, m.Digest)
		}
		return err
	})
	if err != nil || !t.options.Referrers {
		return found, err
	}
	tags, err := t.digestTags()
	for i, f := range found {
		if err == nil && f.manifest != nil {
			found[i].digestTags = tags.tagsOf(f.manifest.Digest)
			if !tags.listed && round[i].referrerDepth == maxNesting {
				found[i].digestTags = nil // guessed: too deep to look for them
			}
		}
	}
	return found, err
}

// listReferrers lists the referrers of a manifest: those that the registry lists,
// and those that a fallback tag lists, which may be older than the registry's
// own list. If the list of tags has such a tag, both are requested at once.
func (t *Tree) listReferrers(ctx context.Context, digest string) ([]Descriptor, error) {
	if t.source.noReferrersAPI.Load() {
		if tags, err := t.digestTags(); err == nil && !tags.mayHaveFallbackList(digest) {
			return nil, nil // there is no fallback tag
		}
	}
	var tagged sync.WaitGroup
	defer tagged.Wait()
	tagged.Go(func() {
		defer defect.Catch(ctx)
		if t.hasFallbackTag(digest) {
			_, _ = t.source.fallbackList(ctx, t.repo, digest)
		}
	})
	list, err := t.source.referrers(ctx, t.repo, digest)
	if err != nil || !list.api {
		return list.entries, err
	}
	tags, err := t.digestTags()
	if err != nil || !tags.mayHaveFallbackList(digest) {
		return list.entries, err
	}
	old, err := t.source.fallbackList(ctx, t.repo, digest)
	if err != nil {
		return nil, err
	}
	all, err := distinct(slices.Concat(list.entries, old.entries))
	if err != nil {
		return nil, t.source.corruptError("listing the referrers", t.repo, digest, err.Error())
	}
	return all, nil
}

// hasFallbackTag reports whether the source is known to have a fallback tag with
// the referrers of the manifest.
func (t *Tree) hasFallbackTag(digest string) bool {
	tags, err := t.digestTags()
	return err == nil && tags.listed && tags.mayHaveFallbackList(digest)
}

func (t *Tree) read(r *treeReader, p pending) (*Manifest, error) {
	if p.parent != "" && !isManifestType(p.MediaType) {
		return nil, t.pendingError(p, Unsupported, fmt.Sprintf("%s refers to it with the media type %q, which is not supported", p.parent, sanitize.Bounded(p.MediaType, 100)))
	}
	m, err := r.manifest(p)
	return t.checkPending(p, m, err)
}

func (t *Tree) pendingError(p pending, kind Kind, reason string) *Error {
	e := t.source.corruptError("reading the manifest", t.repo, p.Digest, reason)
	e.Kind = kind
	return e
}

// maxAbsent bounds the manifests that one error names.
const maxAbsent = 100

// sparseError returns the error of indexes of which not all manifests exist. It names
// them all: they have to be pushed again together.
func (t *Tree) sparseError() error {
	sorting.By(t.absent, func(a, b pending) int {
		return cmp.Or(cmp.Compare(a.parent, b.parent), cmp.Compare(a.Digest, b.Digest))
	})
	var names []string
	for _, p := range t.absent[:min(len(t.absent), maxAbsent)] {
		names = append(names, p.Digest)
	}
	if more := len(t.absent) - maxAbsent; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	e := t.pendingError(t.absent[0], NotFound, fmt.Sprintf("the index %s refers to it, but it does not exist", t.absent[0].parent))
	if len(t.absent) > 1 {
		e.Reference = t.absent[0].parent
		e.Reason = fmt.Sprintf("the index refers to %d manifests that do not exist: %s", len(t.absent), strings.Join(names, ", "))
	}
	e.Remedy = "Push the index again with all its platforms, or make an index of those that exist."
	return e
}

// checkPending compares a manifest with what was expected.
func (t *Tree) checkPending(p pending, m *Manifest, err error) (*Manifest, error) {
	switch {
	case isNotFound(err) && p.parent != "":
		return nil, t.pendingError(p, NotFound, fmt.Sprintf("the index %s refers to it, but it does not exist", p.parent))
	case isNotFound(err) && p.subject != "":
		e := t.pendingError(p, NotFound, fmt.Sprintf("it is listed as a referrer of %s, but it does not exist", p.subject))
		e.Remedy = "Repair the list of referrers, or copy without referrers."
		return nil, e
	case err != nil || p.tag != "":
		return m, err
	}
	// The manifest may have been read before, by another descriptor.
	if p.Size >= 0 && m.Size != p.Size {
		return nil, t.pendingError(p, Corrupt, fmt.Sprintf("it has %d bytes, but its descriptor says %d", m.Size, p.Size))
	}
	if isManifestType(p.MediaType) && types.MediaType(p.MediaType).IsIndex() != types.MediaType(m.MediaType).IsIndex() {
		return nil, t.pendingError(p, Corrupt, fmt.Sprintf("it is a %s, but its descriptor says %s", m.MediaType, p.MediaType))
	}
	if p.subject != "" && (m.subject == nil || m.subject.Digest != p.subject) {
		return nil, t.pendingError(p, Corrupt, fmt.Sprintf("it is listed as a referrer of %s, but has another subject", p.subject))
	}
	return m, nil
}

// dropKnown returns those of found that have not been read yet, and an error if
// one is nested too deep.
func (t *Tree) dropKnown(found []pending) ([]pending, error) {
	var unread []pending
	sizes := make(map[string]int64)
	// A manifest that the image contains is part of it, even if it is a referrer too.
	sorting.StableBy(found, func(a, b pending) int { return min(a.referrerDepth, 1) - min(b.referrerDepth, 1) })
	for i := 0; i < len(found); i++ {
		p := found[i]
		if p.indexDepth > maxNesting || p.referrerDepth > maxNesting {
			return nil, t.tooLargeError(p.Digest, fmt.Sprintf("it is nested more than %d levels deep", maxNesting))
		}
		if p.tag != "" {
			unread = append(unread, p)
			continue
		}
		if n, ok := t.nodes[p.Digest]; ok {
			if n.Size != p.Size {
				return nil, t.source.corruptError("reading the manifest", t.repo, p.Digest, fmt.Sprintf("it has two sizes, %d and %d bytes", n.Size, p.Size))
			}
			if p.referrerDepth > 0 || n.referrerDepth == 0 {
				continue
			}
			// It was found as a referrer first.
			n.referrerDepth, n.indexDepth = 0, p.indexDepth
			if !n.unread {
				found = append(found, n.pendingChildren()...)
				continue
			}
			delete(t.nodes, n.Digest)
			t.order = slices.DeleteFunc(t.order, func(other *node) bool { return other == n })
		}
		if _, twice := sizes[p.Digest]; !twice {
			unread = append(unread, p)
		}
		if err := sameSize(sizes, p.Descriptor); err != nil {
			return nil, t.source.corruptError("reading the manifest", t.repo, p.Digest, err.Error())
		}
	}
	return unread, nil
}

func (t *Tree) tooLargeError(digest, reason string) error {
	return &Error{Registry: t.source.host, Repository: t.repo, Reference: digest, Op: "reading the manifest", Kind: TooLarge,
		Reason: reason, Remedy: "Copy its parts one by one."}
}

// finishing lets one tree at a time be finished: a tree of many blobs takes maps of
// all of them.
var finishing sync.Mutex

// finish links children to their parents, and collects the blobs.
func (t *Tree) finish() error {
	finishing.Lock()
	defer finishing.Unlock()
	t.distinct, t.foreign, t.bytes = nil, nil, 0
	sizes := make(map[[sha256.Size]byte]int64)
	taken := map[bool]map[[sha256.Size]byte]bool{false: {}, true: {}} // foreign or not
	for i, n := range t.order {
		if n.referrerDepth == 0 {
			t.bytes += n.Size
		}
		for _, c := range n.pendingChildren() {
			child := t.nodes[c.Digest]
			if !slices.Contains(n.children, child) {
				n.children = append(n.children, child)
			}
		}
		for _, foreign := range []bool{false, true} {
			list := n.contents
			if foreign {
				list = n.foreign
			}
			for at, b := range list {
				if err := b.sameSize(sizes); err != nil {
					return t.source.corruptError("reading the manifest", t.repo, n.Digest, err.Error())
				}
				if taken[foreign][b.sum] {
					continue
				}
				taken[foreign][b.sum] = true
				if foreign {
					t.foreign = append(t.foreign, b)
					continue
				}
				t.distinct = append(t.distinct, position{uint32(i), uint32(at)})
				if n.referrerDepth == 0 {
					t.bytes += b.size
				}
			}
		}
		if len(sizes) > maxBlobs {
			return t.tooLargeError(t.root.Digest, fmt.Sprintf("it has more than %d blobs", maxBlobs))
		}
	}
	t.distinct, t.foreign = slices.Clone(t.distinct), slices.Clone(t.foreign)
	t.retain()
	return t.acyclic()
}

// acyclic returns an error if a manifest contains itself, or refers to itself by
// subjects. That takes a digest that contains itself, but content from outside, such as
// a list of referrers, is not trusted.
func (t *Tree) acyclic() error {
	const walking, done = 1, 2
	state := make(map[*node]int)
	var walk func(*node) error
	walk = func(n *node) error {
		switch state[n] {
		case done:
			return nil
		case walking:
			return t.source.corruptError("reading the manifest", t.repo, n.Digest, "it contains itself, or refers to itself")
		}
		state[n] = walking
		for _, c := range n.children {
			if err := walk(c); err != nil {
				return err
			}
		}
		if n.subject != nil && t.nodes[n.subject.Digest] != nil {
			if err := walk(t.nodes[n.subject.Digest]); err != nil {
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
