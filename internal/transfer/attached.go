package transfer

import (
	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
)

// Attached is one way in which a manifest is attached to a tree, and what it is
// made of. The types are as they were written.
type Attached struct {
	Descriptor
	Subject string // digest of the manifest that it is attached to
	Tag     string // the digest tag; empty where the manifest itself names its subject
	Config  string // the config's media type
	Layers  []string
	Unread  bool // only the descriptor is known
}

// Attached lists everything that is attached, once for each way: what was skipped
// too, and digest tags that point to the image itself.
func (t *Tree) Attached() []Attached {
	var list []Attached
	for _, n := range t.order {
		a := Attached{Descriptor: n.Descriptor, Unread: n.unread}
		if !n.unread {
			if types.MediaType(n.MediaType).IsImage() {
				a.Config = n.contents[0].mediaType.Value()
			}
			for _, layers := range [][]packed{n.layers(), n.foreign} {
				for _, l := range layers {
					a.Layers = append(a.Layers, l.mediaType.Value())
				}
			}
		}
		if n.referrerDepth > 0 && n.subject != nil && t.nodes[n.subject.Digest] != nil {
			a.Subject = n.subject.Digest
			list = append(list, a)
		}
		for _, tag := range n.tags {
			digest, _, _ := ref.ParseDigestTag(tag)
			a.Subject, a.Tag = digest, tag
			list = append(list, a)
		}
	}
	return append(list, t.skipped...)
}
