package transfer

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/types"
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
}

// Tree is a whole image at its source: the root, what it contains, what is
// attached. It is complete when ReadTree returns it and does not change after.
type Tree struct {
	source  *Registry
	repo    string
	options Options
	company func() (company, error) // of the repository, while the tree is read

	root    *node
	nodes   map[string]*node // by digest
	order   []*node          // as they were found: root, children, referrers
	blobs   []Descriptor
	foreign []Descriptor
	left    []Descriptor // attached, and left out on purpose
	bytes   int64
}

// node is one manifest of a tree.
type node struct {
	*Manifest
	children []*node
	attached int      // 0: part of the image; n: n referrers away from it
	nesting  int      // indexes above it
	tags     []string // under which it is found, being company
}

// lead is something to be read: a descriptor somebody gave, and where it hangs.
type lead struct {
	Descriptor
	tag      string // instead of a digest: it may be company of something
	parent   string // digest of the index that contains it, or ""
	subject  string // digest that it is listed as attached to, or ""
	attached int
	nesting  int
}

// Digest is the root's digest.
func (t *Tree) Digest() string { return t.root.Digest }

// MediaType is the root's media type.
func (t *Tree) MediaType() string { return t.root.MediaType }

// Root is the manifest at the top.
func (t *Tree) Root() *Manifest { return t.root.Manifest }

// Repository is where the tree was read.
func (t *Tree) Repository() string { return t.repo }

// Bytes sums the distinct blobs and manifests, referrers included.
func (t *Tree) Bytes() int64 { return t.bytes }

// Blobs lists distinct configs and layers, without foreign ones.
func (t *Tree) Blobs() []Descriptor { return t.blobs }

// Foreign lists layers that are left where they are: their manifests name them
// as not distributable.
func (t *Tree) Foreign() []Descriptor { return t.foreign }

// Manifests lists the root, then everything that it contains.
func (t *Tree) Manifests() []Descriptor { return t.list(func(n *node) bool { return n.attached == 0 }) }

// Referrers lists what is attached, company included, with the artifact type that its own
// manifest gives. Manifests inside of an attached index are not listed.
func (t *Tree) Referrers() []Descriptor {
	return t.list(func(n *node) bool { return n.attached > 0 && n.nesting == 0 })
}

// LeftOut lists what is attached and was left out on purpose.
func (t *Tree) LeftOut() []Descriptor { return t.left }

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
// It goes in rounds: what a round finds, the next one reads, all at once. The
// list of a manifest's referrers is asked for beside the manifest itself, and
// that of the repository's tags beside the root.
func ReadTree(ctx context.Context, src *Registry, repo, ref string, opt Options) (*Tree, error) {
	t, err := readTree(ctx, src, repo, ref, opt)
	return t, at(Source, err)
}

func readTree(ctx context.Context, src *Registry, repo, ref string, opt Options) (*Tree, error) {
	t := &Tree{source: src, repo: repo, options: opt, nodes: make(map[string]*node)}
	if opt.Referrers {
		// Asked for ahead: the rounds find this answer.
		var ahead sync.WaitGroup
		defer ahead.Wait()
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		var tags company
		var err error
		ahead.Go(func() { tags, err = src.company(ctx, repo) })
		t.company = func() (company, error) {
			ahead.Wait()
			return tags, err
		}
	}
	if !isDigest(ref) {
		// The root's digest has to be known before its referrers can be asked for.
		m, err := src.manifest(ctx, repo, ref, Descriptor{})
		if err != nil {
			return nil, err
		}
		ref = m.Digest
	}
	round := []lead{{Descriptor: Descriptor{Digest: ref, Size: -1}}}
	raw := int64(0)
	for len(round) > 0 {
		found, err := t.readRound(ctx, round)
		if err != nil {
			return nil, err
		}
		var next []lead
		for i, f := range found {
			l := round[i]
			if f.manifest == nil {
				continue // no such company
			}
			if l.subject != "" && slices.Contains(opt.Exclude, f.manifest.ArtifactType) {
				t.left = append(t.left, f.manifest.Descriptor)
				continue
			}
			if n, ok := t.nodes[f.manifest.Digest]; ok {
				if l.tag != "" {
					n.tags = append(n.tags, l.tag)
				}
				continue
			}
			n := &node{Manifest: f.manifest, attached: l.attached, nesting: l.nesting}
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
				next = append(next, lead{Descriptor: c, parent: n.Digest, attached: l.attached, nesting: l.nesting + 1})
			}
			for _, d := range f.referrers {
				if d.ArtifactType != "" && slices.Contains(opt.Exclude, d.ArtifactType) {
					t.left = append(t.left, d)
					continue
				}
				next = append(next, lead{Descriptor: d, subject: n.Digest, attached: l.attached + 1})
			}
			for _, tag := range f.company {
				next = append(next, lead{Descriptor: Descriptor{Size: -1}, tag: tag, attached: l.attached + 1})
			}
		}
		if len(t.order)+len(next) > maxManifests || raw > maxRawBytes {
			return nil, t.tooLarge(t.root.Digest, fmt.Sprintf("it has more than %d manifests, or more than %d MiB of them", maxManifests, maxRawBytes>>20))
		}
		if round, err = t.fresh(next); err != nil {
			return nil, err
		}
	}
	if err := t.finish(); err != nil {
		return nil, err
	}
	return t, nil
}

// reading is what one lead led to.
type reading struct {
	manifest  *Manifest
	referrers []Descriptor
	company   []string // tags
}

func (t *Tree) readRound(ctx context.Context, round []lead) ([]reading, error) {
	found := make([]reading, len(round))
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
	err := each(ctx, jobs, func(ctx context.Context, j job) error {
		l := round[j.i]
		if j.list {
			list, err := t.attachedTo(ctx, l.Digest)
			found[j.i].referrers = list
			return err
		}
		m, err := t.read(ctx, l)
		found[j.i].manifest = m
		if err == nil && m != nil && l.tag != "" {
			found[j.i].referrers, err = t.attachedTo(ctx, m.Digest)
		}
		return err
	})
	if err != nil || !t.options.Referrers {
		return found, err
	}
	company, err := t.company()
	for i, f := range found {
		if err == nil && f.manifest != nil {
			found[i].company = company.of(f.manifest.Digest)
			if !company.listed && round[i].attached == maxNesting {
				found[i].company = nil // nobody said that there is anything
			}
		}
	}
	return found, err
}

// attachedTo lists referrers: what the registry knows of, and what a fallback
// tag lists beside that, from a time before the registry kept lists itself.
func (t *Tree) attachedTo(ctx context.Context, digest string) ([]Descriptor, error) {
	if t.source.noReferrersAPI.Load() {
		if company, err := t.company(); err == nil && !company.bare(digest) {
			return nil, nil // the list of tags has told it
		}
	}
	list, err := t.source.referrers(ctx, t.repo, digest)
	if err != nil || !list.api {
		return list.entries, err
	}
	company, err := t.company()
	if err != nil || !company.bare(digest) {
		return list.entries, err
	}
	old, err := t.source.fallbackList(ctx, t.repo, digest)
	if err != nil {
		return nil, err
	}
	all, err := distinct(slices.Concat(list.entries, old.entries))
	if err != nil {
		return nil, t.source.corrupt("listing what is attached to", t.repo, digest, err.Error())
	}
	return all, nil
}

func (t *Tree) read(ctx context.Context, l lead) (*Manifest, error) {
	wrong := func(kind Kind, reason string) error {
		e := t.source.corrupt("reading the manifest", t.repo, l.Digest, reason)
		e.Kind = kind
		return e
	}
	if l.tag != "" {
		m, err := t.source.manifest(ctx, t.repo, l.tag, Descriptor{})
		if isNotFound(err) {
			return nil, nil
		}
		return m, err
	}
	if l.parent != "" && !known(l.MediaType) {
		return nil, wrong(Unsupported, fmt.Sprintf("%s names it with the media type %q, which is not one that is copied", l.parent, harmless(l.MediaType, 100)))
	}
	m, err := t.source.manifest(ctx, t.repo, l.Digest, l.Descriptor)
	switch {
	case isNotFound(err) && l.parent != "":
		return nil, wrong(NotFound, fmt.Sprintf("the index %s names it, but it is not there", l.parent))
	case isNotFound(err) && l.subject != "":
		e := wrong(NotFound, fmt.Sprintf("it is listed as attached to %s, but it is not there", l.subject))
		e.(*Error).Remedy = "mend the list of what is attached, or copy without referrers"
		return nil, e
	case err != nil:
		return nil, err
	}
	// A manifest read before, in another place of the tree or of the run, was
	// not compared with this descriptor.
	if l.Size >= 0 && m.Size != l.Size {
		return nil, wrong(Corrupt, fmt.Sprintf("it has %d bytes, but what points to it says %d", m.Size, l.Size))
	}
	if known(l.MediaType) && types.MediaType(l.MediaType).IsIndex() != types.MediaType(m.MediaType).IsIndex() {
		return nil, wrong(Corrupt, fmt.Sprintf("it is a %s, but what points to it calls it a %s", m.MediaType, l.MediaType))
	}
	if l.subject != "" && (m.subject == nil || m.subject.Digest != l.subject) {
		return nil, wrong(Corrupt, fmt.Sprintf("it is listed as attached to %s, but does not say so itself", l.subject))
	}
	return m, nil
}

// fresh drops the leads to what was read already and refuses circles and what
// is nested too deep. (A circle takes a digest that contains itself, but bytes
// from outside are checked, not trusted.)
func (t *Tree) fresh(leads []lead) ([]lead, error) {
	var fresh []lead
	coming := make(map[string]int64)
	for _, l := range leads {
		if l.nesting > maxNesting || l.attached > maxNesting {
			return nil, t.tooLarge(l.Digest, fmt.Sprintf("it is nested more than %d deep", maxNesting))
		}
		if l.tag != "" {
			fresh = append(fresh, l)
			continue
		}
		if n, ok := t.nodes[l.Digest]; ok {
			if n.Size != l.Size {
				return nil, t.source.corrupt("reading the manifest", t.repo, l.Digest, fmt.Sprintf("it is given two sizes, %d and %d bytes", n.Size, l.Size))
			}
			continue
		}
		if _, twice := coming[l.Digest]; !twice {
			fresh = append(fresh, l)
		}
		if err := sameSize(coming, l.Descriptor); err != nil {
			return nil, t.source.corrupt("reading the manifest", t.repo, l.Digest, err.Error())
		}
	}
	return fresh, nil
}

func (t *Tree) tooLarge(digest, reason string) error {
	return &Error{Registry: t.source.host, Repository: t.repo, Reference: digest, Op: "reading the manifest", Kind: TooLarge,
		Reason: reason, Remedy: "copy its parts one by one"}
}

// finish links children, collects blobs and sums.
func (t *Tree) finish() error {
	sizes := make(map[string]int64)
	taken := make(map[string]bool)
	for _, n := range t.order {
		t.bytes += n.Size
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
					return t.source.corrupt("reading the manifest", t.repo, n.Digest, err.Error())
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
				t.bytes += d.Size
			}
		}
		if len(sizes) > maxBlobs {
			return t.tooLarge(t.root.Digest, fmt.Sprintf("it has more than %d blobs", maxBlobs))
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
			return t.source.corrupt("reading the manifest", t.repo, n.Digest, "it contains itself")
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

// once runs a function once for each node, and lets later callers wait for it.
type once struct {
	mu   sync.Mutex
	runs map[*node]*run
}

type run struct {
	done chan struct{}
	err  error
}

func (o *once) do(ctx context.Context, n *node, f func() error) error {
	o.mu.Lock()
	if o.runs == nil {
		o.runs = make(map[*node]*run)
	}
	if r, ok := o.runs[n]; ok {
		o.mu.Unlock()
		select {
		case <-r.done:
			return r.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r := &run{done: make(chan struct{})}
	o.runs[n] = r
	o.mu.Unlock()
	r.err = f()
	close(r.done)
	return r.err
}

func (o *once) forget(nodes []*node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range nodes {
		delete(o.runs, n)
	}
}
