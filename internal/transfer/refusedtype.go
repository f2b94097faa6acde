package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"acrpromote/internal/defect"
)

// Many registries no longer take the manifests of former artifacts, or never did. That
// must not keep the image from its target: only what is refused stays behind.

// Left are referrers that a target refused for their type alone: why, by digest.
type Left struct {
	mu      sync.Mutex
	reasons map[string]string
}

// Reason returns why a referrer stays behind, "" if it does not.
func (l *Left) Reason(digest string) string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reasons[digest]
}

// leaveIfRefused leaves a referrer behind if err says that the target does not take
// manifests of its type. It returns any other error.
func (c *targetCopy) leaveIfRefused(n *node, err error) error {
	if err == nil || !isArtifactType(n.MediaType) || !refusesManifest(err) {
		return err
	}
	var e *Error
	errors.As(err, &e)
	reason := fmt.Sprintf("%s does not take manifests of the deprecated type %s: %s", c.dst.host, n.MediaType, e.Reason)
	c.leave(n, reason)
	c.dst.warn("attached %s %s is not copied; referrers.exclude in the flow leaves out its type: %s", n.ArtifactType, n.Digest, reason)
	return nil
}

func (c *targetCopy) leave(n *node, reason string) {
	c.mu.Lock()
	if c.out.Left == nil {
		c.out.Left = &Left{reasons: make(map[string]string)}
	}
	left := c.out.Left
	c.mu.Unlock()
	left.mu.Lock()
	defer left.mu.Unlock()
	left.reasons[n.Digest] = reason
}

// subjectLeft leaves a referrer behind if its subject stays behind, and reports whether
// it does.
func (c *targetCopy) subjectLeft(n *node) bool {
	c.mu.Lock()
	left := c.out.Left
	c.mu.Unlock()
	if n.subject == nil || left.Reason(n.subject.Digest) == "" {
		return false
	}
	c.leave(n, fmt.Sprintf("it is attached to %s, which stays behind", n.subject.Digest))
	return true
}

// refusesManifest reports whether a registry refused a manifest for what it is, and not
// for who sent it, for its size, or because something else is missing.
func refusesManifest(err error) bool {
	var e *Error
	if !errors.As(err, &e) || isUnknownReference(err) {
		return false
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return true
	}
	return false
}

// checkHeldBlobs is that of all presences.
func checkHeldBlobs(ctx context.Context, t *Tree, to []Destination) []Destination {
	to = slices.Clone(to)
	var group sync.WaitGroup
	for i := range to {
		if p := &to[i].Presence; p.tree == t {
			group.Go(func() {
				defer defect.Catch(ctx)
				p.checkHeldBlobs(ctx, to[i].Repository)
			})
		}
	}
	group.Wait()
	return to
}

// checkHeldBlobs looks for the blobs of missing referrers if the target has the image,
// and may have refused one of them before: what is there is not sent again. An error
// says nothing.
func (p *Presence) checkHeldBlobs(ctx context.Context, repo string) {
	var blobs []Descriptor
	refused := false
	for _, n := range p.tree.order {
		if p.Root && p.lacks(n) && n.referrerDepth > 0 {
			blobs = append(blobs, n.blobs()...)
			refused = refused || isArtifactType(n.MediaType)
		}
	}
	if !refused {
		return
	}
	r := p.registry
	var mu sync.Mutex
	held := make(map[string]bool)
	_ = forEach(ctx, blobs, func(ctx context.Context, b Descriptor) error {
		if there, err := r.hasBlob(ctx, repo, b); err == nil && there {
			mu.Lock()
			defer mu.Unlock()
			held[b.Digest] = true
		}
		return nil
	})
	p.heldBlobs = held
}
