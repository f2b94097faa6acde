package transfer

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Presence is what a target has of a tree, as Inspect found it.
type Presence struct {
	TagDigest string // that the tag points to, "" if there is no such tag
	Root      bool   // the root manifest is there

	registry       *Registry
	tree           *Tree
	tag            string
	missing        map[string]*node      // by digest; the nodes of the tree if nothing is there
	unlisted       map[string]bool       // manifests that are there, but not in the list of their subject's referrers
	unproven       map[string]bool       // subjects of which the registry does not list all referrers
	absentForeign  []Descriptor          // known to be missing, if Inspect is deep
	missingBlobs   map[string]Descriptor // known to be missing: only looked for if Inspect is deep
	heldBlobs      map[string]bool       // of missing manifests: known to be there
	sameRepository bool                  // the target is the source's repository

	digestTagsChecked bool
	tagsToPut         map[string]*node  // digest tags
	conflicts         map[string]error  // digest tags that must not move
	immutable         bool              // no digest tag moves
	keptTags          map[string]string // digest tags that do not move, with their digests at the target

	allowed map[string]bool // referrers that may be written, see Restrict; nil: all
}

// Complete reports whether there is nothing to copy: the tag points to the root,
// and nothing is missing.
func (p Presence) Complete() bool {
	return p.tree != nil && p.Root && (p.tag == "" || p.TagDigest == p.tree.Digest()) &&
		len(p.missing) == 0 && len(p.unlisted) == 0 && len(p.missingBlobs) == 0 && len(p.tagsToPut) == 0 && len(p.conflicts) == 0
}

// Conflict returns an error if a copy would overwrite something at the target: it
// fails with that error.
func (p Presence) Conflict() error { return withSide(Target, p.conflict()) }

// Missing returns the manifests, then the blobs, that are missing, in the order of
// the tree. Referrers that are there but not listed count as missing.
func (p Presence) Missing() []Descriptor {
	if p.tree == nil {
		return nil
	}
	var list []Descriptor
	for _, n := range p.tree.order {
		_, missing := p.missing[n.Digest]
		if missing || p.unlisted[n.Digest] {
			list = append(list, n.Descriptor)
		}
	}
	needed := p.neededBlobs()
	for _, b := range p.tree.blobs() {
		if _, missing := p.missingBlobs[b.Digest]; needed[b.Digest] && (missing || !p.Root) {
			list = append(list, b)
		}
	}
	return list
}

// Inspect finds out what the target repository has of a tree: where the tag
// points, and, if the root is there, which of the other manifests are. If deep is
// set it looks for every blob as well, instead of trusting that a manifest's
// blobs exist. An empty tag looks for the root by digest.
//
// A request that is denied is an error, and never counts as absence. The tag is
// resolved with Resolve: a result from earlier in the run counts.
func (r *Registry) Inspect(ctx context.Context, repo, tag string, t *Tree, deep bool) (Presence, error) {
	p, err := r.inspect(ctx, repo, tag, t, deep, false)
	return p, withSide(Target, err)
}

// InspectImmutable is like Inspect, for a registry where no digest tag moves: one
// that points to another manifest stays as it is.
func (r *Registry) InspectImmutable(ctx context.Context, repo, tag string, t *Tree, deep bool) (Presence, error) {
	p, err := r.inspect(ctx, repo, tag, t, deep, true)
	return p, withSide(Target, err)
}

func (r *Registry) inspect(ctx context.Context, repo, tag string, t *Tree, deep, immutable bool) (Presence, error) {
	p := Presence{registry: r, tree: t, tag: tag, immutable: immutable, unlisted: make(map[string]bool), unproven: make(map[string]bool), missingBlobs: make(map[string]Descriptor)}
	ref := tag
	if ref == "" {
		ref = t.Digest()
	}
	t.recordPlace(r, repo)
	p.sameRepository = r.same(t.source) && repo == t.repo
	d, err := r.Resolve(ctx, repo, ref)
	switch {
	case isNotFound(err):
	case err != nil:
		return Presence{}, err
	default:
		p.Root = d.Digest == t.Digest()
		if tag != "" {
			p.TagDigest = d.Digest
		}
	}
	if p.sameRepository {
		// The source has been read from here: everything exists.
		p.Root = true
	} else if !p.Root {
		p.missing = t.nodes // and their blobs
		if !immutable {
			return p, nil
		}
		// Before anything is sent that cannot get its tag.
		err := p.checkDigestTags(ctx, r, repo)
		p.dropUntagged()
		return p, err
	}
	if p.missing = make(map[string]*node); !p.sameRepository {
		if err := p.checkManifests(ctx, r, repo); err != nil {
			return Presence{}, err
		}
	}
	if deep {
		if slices.ContainsFunc(t.order, func(n *node) bool { return n.unread }) {
			return Presence{}, r.transportError(ctx, "existence check of the blobs", repo, tag, errors.New("the image was not read completely at its source"))
		}
		if err := p.checkBlobs(ctx, r, repo); err != nil {
			return Presence{}, err
		}
	}
	return p, nil
}

// checkManifests requests lists of referrers, and each manifest whose existence
// no such list shows, all at once.
func (p *Presence) checkManifests(ctx context.Context, r *Registry, repo string) error {
	bySubject := make(map[string][]*node)
	var alone []*node
	for _, n := range p.tree.order {
		switch {
		case p.allowed != nil && !p.copies(n): // not looked for
		case p.tree.options.Referrers && n.subject != nil:
			bySubject[n.subject.Digest] = append(bySubject[n.subject.Digest], n)
		case n != p.tree.root && len(n.tags) == 0:
			alone = append(alone, n)
		}
	}
	var mu sync.Mutex
	head := func(n *node) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := r.Resolve(ctx, repo, n.Digest)
			if isNotFound(err) {
				mu.Lock()
				p.missing[n.Digest] = n
				mu.Unlock()
				err = nil
			}
			return err
		}
	}
	var jobs, later []func(context.Context) error
	for subject, nodes := range bySubject {
		jobs = append(jobs, func(ctx context.Context) error {
			wanted := make([]Descriptor, len(nodes))
			for i, n := range nodes {
				wanted[i] = n.Descriptor
			}
			list, err := r.referrersExpecting(ctx, repo, subject, wanted, p.tree.hasFallbackTag(subject))
			if err != nil {
				return err
			}
			var tagged referrerList
			if list.api && len(list.lacking(wanted)) > 0 {
				// What the registry did not list has been added to the fallback tag.
				if tagged, err = r.fallbackList(ctx, repo, subject); err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, n := range nodes {
				listed := list.has(n.Digest)
				switch {
				case list.api && listed:
					// The registry lists only what exists.
				case list.api && tagged.has(n.Digest):
					if n != p.tree.root {
						later = append(later, head(n))
					}
				case list.api && n != p.tree.root:
					// It lists everything: this one does not exist.
					p.missing[n.Digest] = n
					p.unproven[subject] = true
				case list.api:
				default:
					// A fallback tag lists what a client has written.
					switch {
					case list.occupied:
						r.warnOfNoList(repo, subject)
					case !listed:
						p.unlisted[n.Digest] = true
					}
					if n != p.tree.root {
						later = append(later, head(n))
					}
				}
			}
			return nil
		})
	}
	for _, n := range alone {
		jobs = append(jobs, head(n))
	}
	if !p.digestTagsChecked {
		jobs = append(jobs, func(ctx context.Context) error { return p.checkDigestTags(ctx, r, repo) })
	}
	call := func(ctx context.Context, job func(context.Context) error) error { return job(ctx) }
	if err := forEach(ctx, jobs, call); err != nil {
		return r.wrap(ctx, "existence check", repo, "", err)
	}
	for _, n := range p.tagsToPut {
		if n.onlyTagged() {
			p.missing[n.Digest] = n
		}
	}
	return r.wrap(ctx, "existence check", repo, "", forEach(ctx, later, call))
}

// checkBlobs looks for each blob.
func (p *Presence) checkBlobs(ctx context.Context, r *Registry, repo string) error {
	var mu sync.Mutex
	err := forEach(ctx, p.tree.blobs(), func(ctx context.Context, b Descriptor) error {
		there, err := r.hasBlob(ctx, repo, b)
		if err == nil && !there {
			mu.Lock()
			p.missingBlobs[b.Digest] = b
			mu.Unlock()
		}
		return err
	})
	if err == nil {
		err = p.checkForeign(ctx, r, repo)
	}
	return r.wrap(ctx, "existence check of the blob", repo, "", err)
}
