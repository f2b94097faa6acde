package seal

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/ref"
)

// crockford is Crockford's base32 alphabet: no I, L, O or U, so that a code
// is not misread or mistyped.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// codeBytes is the length of the prefix of a digest that a code encodes: 120
// bits. A pipeline's author can build both images, so security rests on the cost
// of a collision (2^60 steps), not of a second preimage.
const codeBytes = 15

// Code returns the approval code of one digest ("sha256:<64 hex>"): its first
// 120 bits, most significant first, as 24 characters in groups of four.
func Code(digest string) (string, error) {
	raw, err := ref.DecodeDigest(digest)
	if err != nil {
		return "", fmt.Errorf("cannot make an approval code from %q: %w", digest, err)
	}
	var code strings.Builder
	var bits, held uint
	for _, b := range raw[:codeBytes] {
		held = held<<8 | uint(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			if code.Len()%5 == 4 {
				code.WriteByte('-')
			}
			code.WriteByte(crockford[held>>bits&31])
		}
	}
	return code.String(), nil
}

// Member is one image of a set: its repository, without the registry, and its
// digest.
type Member struct{ Repository, Digest string }

// SetDigest returns the digest of a set of images: the SHA-256 of its unique,
// bytewise sorted lines "repository@digest", each ending with a line feed. The
// registry is left out, so that a set has the same code in every registry.
func SetDigest(members []Member) string {
	lines := make([]string, 0, len(members))
	for _, m := range members {
		lines = append(lines, m.Repository+"@"+m.Digest+"\n")
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	return ref.DigestOf([]byte(strings.Join(lines, "")))
}
