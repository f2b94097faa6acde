package sbom

import "io"

// bounded is a reader of JSON that ends with an error after too many bytes, or too
// many bytes of one string: the decoder keeps a string in memory as a whole.
type bounded struct {
	reader  io.Reader
	left    int64
	quoted  bool
	escaped bool
	length  int // of the string so far
	err     error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.err = tooLarge("it has more than %d MiB", MaxBytes>>20)
		return 0, b.err
	}
	for _, c := range p[:n] {
		switch {
		case !b.quoted:
			b.quoted, b.length = c == '"', 0
		case b.escaped:
			b.escaped = false
		case c == '\\':
			b.escaped = true
		case c == '"':
			b.quoted = false
		}
		if b.length++; b.quoted && b.length > maxString {
			b.err = tooLarge("a string in it has more than %d MiB", maxString>>20)
			return 0, b.err
		}
	}
	return n, err
}
