package transfer

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
)

func gzipped(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(content)
	_ = w.Close()
	return b.Bytes()
}

func asIs(content []byte) []byte { return content }

// TestCompressedBlobs checks that a blob arrives whatever a Content-Encoding header
// means, and that the digest decides.
func TestCompressedBlobs(t *testing.T) {
	large := layerOf("a")
	for name, c := range map[string]struct {
		stored []byte
		sent   func([]byte) []byte
		fails  bool
	}{
		"compressed on the way":                  {large, gzipped, false},
		"a small one, compressed on the way":     {large[:100], gzipped, false},
		"compressed itself, and not on the way":  {gzipped(large), asIs, false},
		"a small one, compressed itself":         {gzipped(large[:100]), asIs, false},
		"compressed itself, and on the way":      {gzipped(large), gzipped, false},
		"neither, whatever the header says":      {large, asIs, false},
		"of another content":                     {large, func([]byte) []byte { return gzipped(layerOf("b")) }, true},
		"cut off":                                {large, func(b []byte) []byte { return gzipped(b)[:50<<10] }, true},
		"a small one that becomes a large one":   {large[:100], func([]byte) []byte { return gzipped(make([]byte, 10<<20)) }, true},
		"compressed itself, of another content":  {gzipped(large), func([]byte) []byte { return gzipped(layerOf("b")) }, true},
		"of another content, longer than a peek": {large, func([]byte) []byte { return append([]byte{0x1f, 0x8b, 8}, large...) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			layer := src.blob("shop/cart", ociLayer, c.stored)
			image := src.imageOf("shop/cart", "1.0", layer)
			src.handler = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, layer.Digest) {
					return false
				}
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush() // its length is not known
				_, _ = w.Write(c.sent(c.stored))
				return true
			}
			j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}
			_, err := j.run(t)
			if c.fails != (err != nil) || (dst.tag("shop/cart", "1.0") == image.Digest) == c.fails {
				t.Fatalf("error %v, the tag points at %q", err, dst.tag("shop/cart", "1.0"))
			}
			if !c.fails {
				j.checkComplete(t)
			}
		})
	}
}
