package transfer

import (
	"context"
	"time"
)

// A registry's retention policy deletes manifests that no tag protects. Until the
// root has its tag, that is all that was put before it: the manifests that an index
// contains, and the referrers. The registry refuses an index without its children,
// which are then put again. That a referrer is gone shows only when asked for.
// https://learn.microsoft.com/azure/container-registry/container-registry-retention-policy

// maxRestores bounds how often the children of one index are put again.
const maxRestores = 2

// putWithChildren puts a manifest, and before that its children once more if the
// registry does not have them any more, and its foreign layers if the registry demands
// them.
func (c *targetCopy) putWithChildren(ctx context.Context, n *node, reference string, retryUnknown bool) (listed bool, err error) {
	for restores := 0; ; restores++ {
		listed, err = c.dst.putManifest(ctx, c.repo, reference, n.Manifest, retryUnknown && (len(n.foreign) == 0 || restores > 0))
		if demanded := n.demandedForeign(err); len(demanded) > 0 && c.src != nil && restores == 0 {
			if err := c.sendForeign(ctx, demanded, err); err != nil {
				return false, err
			}
			continue
		}
		if !isUnknownReference(err) || len(n.children) == 0 || restores == maxRestores {
			return listed, err
		}
		err := forEach(ctx, n.children, func(ctx context.Context, child *node) error {
			m, err := c.tree.fullManifest(ctx, child)
			if err != nil {
				return err
			}
			_, err = c.putWithChildren(ctx, &node{Manifest: m, children: child.children}, child.Digest, true)
			return err
		})
		if err != nil {
			return false, err
		}
	}
}

// restoreReferrers looks for the referrers that were put long enough before the tag
// to be deleted, and puts those again that are gone. Now the tag protects them.
func (c *targetCopy) restoreReferrers(ctx context.Context) error {
	for _, n := range c.tree.order {
		since, put := c.dst.untaggedSince.Peek(key(c.repo, n.Digest))
		if n.referrerDepth == 0 || !put || time.Since(since) < c.dst.untaggedTTL {
			continue
		}
		_, err := c.dst.head(ctx, c.repo, n.Digest)
		if isNotFound(err) {
			_, err = c.dst.putManifest(ctx, c.repo, n.Digest, n.Manifest, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// PutTag puts the root of a tree by its tag, at a target where all of the tree has
// arrived by digest.
func (r *Registry) PutTag(ctx context.Context, repo, tag string, t *Tree) error {
	c := &targetCopy{tree: t, dst: r, repo: repo, tag: tag}
	return withSide(Target, c.putTag(ctx))
}

func (c *targetCopy) putTag(ctx context.Context) error {
	root := c.tree.root
	if there, err := c.dst.recheckTag(ctx, c.repo, c.tag, root.Digest); there || err != nil {
		return err
	}
	listed, err := c.putWithChildren(ctx, root, c.tag, true)
	if err == nil && root.subject != nil {
		_, err = c.dst.ensureListed(ctx, c.repo, root.subject.Digest, []Descriptor{root.Descriptor}, listed)
	}
	if err != nil {
		return err
	}
	return c.restoreReferrers(ctx)
}
