// Package packed reads the texts that are embedded in the program. The build replaces
// them with compressed ones, because they take up much of its size.
package packed

import (
	"compress/gzip"
	"io"
	"strings"
)

// Text returns an embedded text, decompressed if it is compressed with gzip.
func Text(embedded string) string {
	if !strings.HasPrefix(embedded, "\x1f\x8b") {
		return embedded
	}
	// What the build compressed cannot be damaged, short of a damaged program.
	r, err := gzip.NewReader(strings.NewReader(embedded))
	if err != nil {
		panic(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return string(text)
}
