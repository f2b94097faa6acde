package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/acr"
	"acrpromote/internal/defect"
	"acrpromote/internal/promote"
	"acrpromote/internal/recall"
	"acrpromote/internal/ref"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// withdrawal is one image that is withdrawn, and all that is known of it.
type withdrawal struct {
	image   int // index in the order
	record  int // index among the receipts of the result; negative if there is none
	source  ref.Reference
	digest  string
	subject transfer.Descriptor // without a digest if no registry shows it
	// contents has the children of the image's indexes, and complete reports that one
	// registry has shown them all.
	contents map[string][]string
	complete bool
	// apart are the parts that are recalled by themselves: a lift does not undo that.
	apart  map[string]bool
	places []*recallPlace // the source first
	kept   recall.Verdict
	err    error
}

// recallPlace is a repository that may have the image.
type recallPlace struct {
	ref.Reference // by digest
	registry      *session.Registry
	root          recall.State
	children      map[string]recall.State
	shared        map[string]bool // children that stay readable
	tags          []string        // of the image; only if they are deleted
	changed       bool
	err           error
	// unsure is why it is not known which children others have too: all stay readable.
	unsure error
}

// each calls do for each place, several at once.
func each(ctx context.Context, places []*recallPlace, do func(*recallPlace)) {
	atOnce(ctx, len(places), placesAtOnce, func(i int) { do(places[i]) })
}

// atOnce calls do for the numbers below n, a limited number at once.
func atOnce(ctx context.Context, n, limit int, do func(int)) {
	var group errgroup.Group
	group.SetLimit(limit)
	for i := range n {
		group.Go(func() error {
			defer defect.Catch(ctx)
			do(i)
			return nil
		})
	}
	_ = group.Wait()
}

// nowhere reports whether there is no sign of the image in any place.
func (m *withdrawal) nowhere() bool {
	for _, p := range m.places {
		if p.err != nil || p.root != recall.Absent {
			return false
		}
	}
	return true
}

// sight returns what a registry shows of a manifest, and its attributes. A manifest
// itself is asked for only if they do not show whether it may be read.
func (p *recallPlace) sight(ctx context.Context, digest string) (seen recall.Sight, attributes acr.Reading, err error) {
	if p.registry.Azure {
		metadata, err := p.registry.Metadata()
		if err != nil {
			return seen, attributes, err
		}
		attributes, err = metadata.Reading(ctx, p.Repository, digest)
		if !errors.Is(err, acr.ErrUnsupported) {
			if seen.Attributes, err = seenAnswer(err); err != nil {
				return seen, attributes, err
			}
		}
		if seen.Known, seen.Enabled = attributes.Known, attributes.Enabled; seen.Known {
			return seen, attributes, nil
		}
	}
	_, unseen := p.registry.Data.Look(ctx, p.Repository, digest)
	if seen.Manifest, err = seenAnswer(unseen); err != nil {
		return seen, attributes, err
	}
	if seen.Attributes == "" { // a registry without attributes, which hides nothing
		if seen.Attributes = seen.Manifest; seen.Manifest == recall.Refused {
			return seen, attributes, unseen
		}
	}
	return seen, attributes, nil
}

// veiled reports whether the image is there and not shown, or may be.
func (p *recallPlace) veiled() bool { return p.root == recall.Disabled || p.root == recall.Hidden }

// see reads the state of the image in one place.
func (p *recallPlace) see(ctx context.Context) {
	if p.err == nil {
		p.err = p.registry.Open()
	}
	if p.err != nil {
		return
	}
	defer func() { p.registry.Observe(p.err) }()
	seen, attributes, err := p.sight(ctx, p.Digest)
	p.root, p.tags, p.err = seen.State(), attributes.Tags, err
}

// readContents finds out what belongs to the image: from a registry that shows all of it
// or else from what registries show of it. If one shows the image and what belongs to it
// could not be read, that is an error.
func (m *withdrawal) readContents(ctx context.Context) error {
	var failed error
	for _, p := range m.places {
		if p.err != nil || p.root != recall.Readable && p.root != recall.Unsupported {
			continue
		}
		contents, complete := map[string][]string{}, true
		root, err := readContents(ctx, p, m.digest, contents, 0, &complete)
		if root.Digest != "" {
			m.subject = root
		}
		switch {
		case err != nil:
			failed = err
		case complete:
			m.contents, m.complete = contents, true
			return nil
		default:
			maps.Copy(m.contents, contents)
		}
	}
	if len(m.contents) > 0 {
		return nil
	}
	for _, p := range m.places {
		if p.err == nil && p.root == recall.Disabled {
			contents := map[string][]string{}
			if err := p.attributedContents(ctx, m.digest, contents, 0); err == nil && len(contents) > 0 {
				m.contents = contents
				return nil
			}
		}
	}
	return failed
}

// readContents reads an index and the indexes in it. complete is cleared if the registry
// does not show one of these.
func readContents(ctx context.Context, p *recallPlace, digest string, contents map[string][]string, depth int, complete *bool) (transfer.Descriptor, error) {
	image, err := p.registry.Data.ReadImageManifest(ctx, p.Repository, digest)
	if err != nil {
		return transfer.Descriptor{}, err
	}
	for _, child := range image.Children {
		contents[digest] = append(contents[digest], child.Digest)
		if _, known := contents[child.Digest]; known || !isIndex(child.MediaType) || depth >= maxIndexDepth {
			continue
		}
		_, err := readContents(ctx, p, child.Digest, contents, depth+1, complete)
		if refusedOrUnknown(err) {
			// It may have been withdrawn before. Its attributes say what belongs to it.
			*complete = false
			err = p.attributedContents(ctx, child.Digest, contents, depth+1)
		}
		if err != nil {
			return image.Descriptor, err
		}
	}
	return image.Descriptor, nil
}

// attributedContents finds out what belongs to an index, and the indexes in it, by what
// the registry's metadata has. What that does not have is not an error.
func (p *recallPlace) attributedContents(ctx context.Context, digest string, contents map[string][]string, depth int) error {
	if _, known := contents[digest]; known || depth > maxIndexDepth {
		return nil
	}
	_, attributes, err := p.sight(ctx, digest)
	if err != nil || len(attributes.Children) == 0 {
		return err
	}
	contents[digest] = attributes.Children
	for _, child := range attributes.Children {
		if err := p.attributedContents(ctx, child, contents, depth+1); err != nil {
			return err
		}
	}
	return nil
}

const maxIndexDepth = 8

func isIndex(mediaType string) bool {
	return strings.HasSuffix(mediaType, ".index.v1+json") || strings.HasSuffix(mediaType, ".manifest.list.v2+json")
}

// parts returns the manifests that belong to the image, without the image itself, sorted.
func (m *withdrawal) parts() (parts []string) {
	for _, children := range m.contents {
		for _, child := range children {
			if child != m.digest && !slices.Contains(parts, child) {
				parts = append(parts, child)
			}
		}
	}
	slices.Sort(parts)
	return parts
}

// shares returns the digests of what stays readable in a place, sorted.
func (m *withdrawal) shares(p *recallPlace) (digests []string) {
	for _, digest := range m.parts() {
		if p.shared[digest] {
			digests = append(digests, digest)
		}
	}
	return digests
}

// seeChildren reads the state of what belongs to the image in one place, and finds out
// which of it others have too.
func (p *recallPlace) seeChildren(ctx context.Context, m *withdrawal, lift bool) {
	parts := m.parts()
	if p.err != nil || p.root == recall.Unsupported || p.root == recall.Absent && !p.registry.Azure || len(parts) == 0 {
		return
	}
	defer func() { p.registry.Observe(p.err) }()
	p.children = map[string]recall.State{}
	tagged := map[string]bool{}
	var mu sync.Mutex
	readable := false
	atOnce(ctx, len(parts), childrenAtOnce, func(i int) {
		digest := parts[i]
		seen, attributes, err := p.sight(ctx, digest)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			p.err = err
			return
		}
		p.children[digest], tagged[digest] = seen.State(), len(attributes.Tags) > 0
		readable = readable || p.children[digest] == recall.Readable
	})
	if p.err != nil || lift || !readable {
		return
	}
	others, err := p.otherContents(ctx, m, parts)
	if p.unsure = err; err != nil {
		for _, digest := range parts {
			tagged[digest] = true
		}
	}
	p.shared = recall.Shared(m.contents, tagged, others)
}

// otherContents returns the children of the other indexes of the repository that may be
// read.
func (p *recallPlace) otherContents(ctx context.Context, m *withdrawal, parts []string) (others []string, err error) {
	metadata, err := p.registry.Metadata()
	if err != nil {
		return nil, err
	}
	listed, err := p.registry.Data.List(ctx, p.Repository)
	if err != nil {
		return nil, err
	}
	indexes := listed.Indexes()
	if len(indexes) > maxIndexes {
		return nil, &promote.ReadBackError{At: p.Reference, Reason: fmt.Sprintf("the repository has more than %d indexes, so that which platforms of the image others share is not known", maxIndexes),
			Remedy: "Recall the image in this registry by hand (az acr repository update --read-enabled false)."}
	}
	var mu sync.Mutex
	atOnce(ctx, len(indexes), childrenAtOnce, func(i int) {
		if indexes[i] == m.digest || slices.Contains(parts, indexes[i]) {
			return
		}
		attributes, failed := metadata.Reading(ctx, p.Repository, indexes[i])
		answer, failed := seenAnswer(failed)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case failed != nil:
			err = failed
		case answer == recall.Shown:
			others = append(others, attributes.Children...)
		}
	})
	return others, err
}

// deleteTags deletes the tags that point to the image, where reads cannot be disabled.
func (p *recallPlace) deleteTags(ctx context.Context, m *withdrawal) error {
	tags := p.tags
	if !p.registry.Azure {
		var err error
		if tags, err = p.registry.Data.Tags(ctx, p.Repository, setLimit); err != nil {
			return err
		}
	}
	for _, tag := range tags {
		if _, _, named := ref.ParseDigestTag(tag); named {
			continue
		}
		found, err := p.registry.Data.Look(ctx, p.Repository, tag)
		switch {
		case errors.Is(err, transfer.NotFound):
			continue
		case err != nil:
			return err
		case found.Digest != m.digest:
			continue
		}
		if err := p.registry.Data.DeleteTag(ctx, p.Repository, tag); err != nil {
			return err
		}
		p.changed = true
	}
	return nil
}

// placeReads implements promote.Reads for one place.
type placeReads struct{ *recallPlace }

func (r placeReads) See(ctx context.Context, _, digest string) (recall.Sight, error) {
	seen, _, err := r.sight(ctx, digest)
	return seen, err
}

func (r placeReads) Set(ctx context.Context, repository, digest string, readable bool) error {
	metadata, err := r.registry.Metadata()
	if err != nil {
		return err
	}
	return lockError(metadata.SetReadable(ctx, repository, digest, readable))
}
