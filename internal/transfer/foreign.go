package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Foreign layers are not distributed with their image: clients read them from the
// URLs in its manifest. Most registries accept the manifest without them.

// demandedForeign returns the foreign layers of a manifest that a registry may have
// refused it for: those that the error names, or all of them if it names no other blob.
func (m *Manifest) demandedForeign(err error) []Descriptor {
	var e *Error
	if len(m.foreign) == 0 || !isUnknownReference(err) || !errors.As(err, &e) {
		return nil
	}
	named := func(d Descriptor) bool { return strings.Contains(e.Reason, d.Digest) }
	var demanded []Descriptor
	for _, d := range unpack(m.foreign) {
		if named(d) {
			demanded = append(demanded, d)
		}
	}
	if len(demanded) == 0 && !slices.ContainsFunc(m.blobs(), named) {
		return unpack(m.foreign)
	}
	return demanded
}

// sendForeign sends foreign layers, which the target has refused a manifest for, if
// the source has them.
func (c *targetCopy) sendForeign(ctx context.Context, layers []Descriptor, refused error) error {
	return forEach(ctx, layers, func(ctx context.Context, d Descriptor) error {
		mounted, err := c.dst.upload(ctx, c.repo, c.mountFrom(), d, verify(c.src.download(c.srcRepo, d), d), false, noProgress{})
		var reading *sourceError
		var absent, demanding *Error
		switch {
		case errors.As(err, &reading) && errors.As(reading.err, &absent) && absent.Status == http.StatusNotFound && errors.As(refused, &demanding):
			e := *demanding
			e.Reason = fmt.Sprintf("it demands the layer %s, which is not distributable and which %s does not have either: %s", d.Digest, c.src.host, e.Reason)
			e.Remedy = fmt.Sprintf("Push the layer to %s, or use a target that accepts such layers by their URLs.", c.src.host)
			return &e
		case err != nil:
			return c.blobError(d, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if mounted {
			c.out.mounts++
		} else {
			c.out.blobs++
		}
		return nil
	})
}

// checkForeign looks for each foreign layer.
func (p *Presence) checkForeign(ctx context.Context, r *Registry, repo string) error {
	var mu sync.Mutex
	return forEach(ctx, p.tree.Foreign(), func(ctx context.Context, d Descriptor) error {
		there, err := r.hasBlob(ctx, repo, d)
		if err == nil && !there {
			mu.Lock()
			p.absentForeign = append(p.absentForeign, d)
			mu.Unlock()
		}
		return err
	})
}

// AbsentForeign returns the foreign layers that are not at the target, in the order of
// the tree. They are only looked for if Inspect is deep.
func (p Presence) AbsentForeign() []Descriptor {
	var list []Descriptor
	if p.tree == nil {
		return nil
	}
	for _, d := range p.tree.Foreign() {
		if slices.ContainsFunc(p.absentForeign, func(a Descriptor) bool { return a.Digest == d.Digest }) {
			list = append(list, d)
		}
	}
	return list
}
