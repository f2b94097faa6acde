package transfer

import (
	"crypto/sha256"
	"unique"

	"acrpromote/internal/ref"
)

// packed is the descriptor of a blob as it is kept: a run may keep those of hundreds
// of thousands.
type packed struct {
	sum       [sha256.Size]byte
	size      int64
	mediaType unique.Handle[string]
}

// pack returns the descriptor of a blob, whose digest is valid.
func pack(d Descriptor) packed {
	p := packed{size: d.Size, mediaType: unique.Make(d.MediaType)}
	sum, _ := ref.DecodeDigest(d.Digest)
	copy(p.sum[:], sum)
	return p
}

func (p packed) digest() string { return ref.EncodeDigest(p.sum[:]) }

func (p packed) descriptor() Descriptor {
	return Descriptor{MediaType: p.mediaType.Value(), Digest: p.digest(), Size: p.size}
}

// sameSize returns an error if sizes has another size of the blob, and adds its own.
func (p packed) sameSize(sizes map[[sha256.Size]byte]int64) error {
	if size, ok := sizes[p.sum]; ok && size != p.size {
		return sizesError(p.digest(), size, p.size)
	}
	sizes[p.sum] = p.size
	return nil
}

func unpack(list []packed) []Descriptor {
	if len(list) == 0 {
		return nil
	}
	all := make([]Descriptor, len(list))
	for i, p := range list {
		all[i] = p.descriptor()
	}
	return all
}

// position is the place of a blob in a tree: a node of its order, and which of the
// node's blobs it is.
type position struct{ node, at uint32 }
