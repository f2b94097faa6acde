package transfer

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
)

// Presence is what of a tree is at a target, as one look at it showed.
type Presence struct {
	TagDigest string // what the tag points to there; "" if there is no such tag
	Root      bool   // the root is there

	tree           *Tree
	tag            string
	missing        map[string]Descriptor // manifests, by digest
	unlisted       map[string]bool       // manifests there, but not in the list of their subject's referrers
	missingBlobs   map[string]Descriptor // blobs that were looked for and are not there
	sameRepository bool                  // the target's repository is the source's

	digestTagsChecked bool             // the tags of the company were looked for
	tagsToPut         map[string]*node // those to be put
	conflict          error            // one that must not be moved
}

// Complete tells that there is nothing to do: the tag points to the root, and
// whatever was looked for is there.
func (p Presence) Complete() bool {
	return p.tree != nil && p.Root && (p.tag == "" || p.TagDigest == p.tree.Digest()) &&
		len(p.missing) == 0 && len(p.unlisted) == 0 && len(p.missingBlobs) == 0 && len(p.tagsToPut) == 0 && p.conflict == nil
}

// Conflict tells of something at the target that would be lost: a copy ends in
// this error.
func (p Presence) Conflict() error { return withSide(Target, p.conflict) }

// Missing lists manifests, then blobs, that are not there or, referrers, not
// listed there; in the order of the tree.
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
	for _, b := range p.tree.blobs {
		if _, missing := p.missingBlobs[b.Digest]; missing || !p.Root {
			list = append(list, b)
		}
	}
	return list
}

// Inspect looks at the target repository: where the tag points, and, only if
// the root is there, which of the contained and attached manifests are. With
// deep it also looks for every blob, instead of trusting that a manifest has
// what it names. tag "" looks for the root by its digest.
//
// What is refused is an error, never an absence. The tag is asked for with
// Resolve: an answer from earlier in the run counts.
func (r *Registry) Inspect(ctx context.Context, repo, tag string, t *Tree, deep bool) (Presence, error) {
	p, err := r.inspect(ctx, repo, tag, t, deep)
	return p, withSide(Target, err)
}

func (r *Registry) inspect(ctx context.Context, repo, tag string, t *Tree, deep bool) (Presence, error) {
	p := Presence{tree: t, tag: tag, missing: make(map[string]Descriptor), unlisted: make(map[string]bool), missingBlobs: make(map[string]Descriptor)}
	ref := tag
	if ref == "" {
		ref = t.Digest()
	}
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
		// The source was read here: it is all there.
		p.Root = true
	} else if !p.Root {
		for _, n := range t.order {
			p.missing[n.Digest] = n.Descriptor // and with them all blobs
		}
		return p, nil
	}
	if !p.sameRepository {
		if err := p.checkManifests(ctx, r, repo); err != nil {
			return Presence{}, err
		}
	}
	if deep {
		if slices.ContainsFunc(t.order, func(n *node) bool { return n.unread }) {
			return Presence{}, r.transportError(ctx, "looking for the blobs of", repo, tag, errors.New("the image was not read whole at its source"))
		}
		if err := p.checkBlobs(ctx, r, repo); err != nil {
			return Presence{}, err
		}
	}
	return p, nil
}

// lookForManifests asks for lists of referrers, and for each manifest that such
// a list does not vouch for: all at once.
func (p *Presence) checkManifests(ctx context.Context, r *Registry, repo string) error {
	bySubject := make(map[string][]*node)
	var alone []*node
	for _, n := range p.tree.order {
		switch {
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
				p.missing[n.Digest] = n.Descriptor
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
			mu.Lock()
			defer mu.Unlock()
			for _, n := range nodes {
				listed := list.has(n.Digest)
				switch {
				case list.api && listed:
					// The registry lists what it has.
				case list.api && n != p.tree.root:
					// It lists all that it has of them: this one it has not.
					p.missing[n.Digest] = n.Descriptor
				case list.api:
				default:
					// A fallback tag lists what somebody once wrote.
					if !listed {
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
		return r.wrap(ctx, "looking for", repo, "", err)
	}
	for _, n := range p.tagsToPut {
		p.missing[n.Digest] = n.Descriptor
	}
	return r.wrap(ctx, "looking for", repo, "", forEach(ctx, later, call))
}

// lookForBlobs asks for each blob.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#checking-if-content-exists-in-the-registry
func (p *Presence) checkBlobs(ctx context.Context, r *Registry, repo string) error {
	var mu sync.Mutex
	err := forEach(ctx, p.tree.blobs, func(ctx context.Context, b Descriptor) error {
		const op = "looking for the blob"
		c := request{op: op, method: http.MethodHead, url: r.url(repo, "blobs", b.Digest), repo: repo, ref: b.Digest}
		a, err := r.do(ctx, c)
		switch {
		case err != nil:
			return err
		case a.status == http.StatusNotFound:
			mu.Lock()
			p.missingBlobs[b.Digest] = b
			mu.Unlock()
			return nil
		case a.status != http.StatusOK:
			return r.headError(ctx, c, a.status)
		}
		return nil
	})
	return r.wrap(ctx, "looking for the blob", repo, "", err)
}
