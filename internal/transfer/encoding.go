package transfer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"

	"acrpromote/internal/ref"
)

// Some gateways compress responses although identity was requested. What they send
// counts if it has the right digest after it has been decompressed.

// isCompressed reports whether a response is compressed by its own account.
func isCompressed(header http.Header) bool {
	encoding := strings.ToLower(strings.TrimSpace(header.Get("Content-Encoding")))
	return encoding == "gzip" || encoding == "x-gzip"
}

// gunzip returns the content of a compressed body, of at most limit bytes.
func gunzip(body []byte, limit int64) ([]byte, error) {
	decoder, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(decoder, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = &longBodyError{limit}
	}
	return content, err
}

// decompressed returns the content of a response that says that it is compressed, or
// the response as it is. Blobs are often compressed themselves, and some storage says
// so in that header. Of a small blob the digest decides, of others a guess, which
// asSent turns around.
func decompressed(body io.Reader, d Descriptor, asSent bool) (content io.Reader, guessed bool, err error) {
	whole := bufio.NewReaderSize(body, int(min(d.Size, maxLayer))+4<<10)
	if begin, err := whole.Peek(2); err != nil || !isGzip(begin) {
		return whole, false, nil
	}
	if d.Size <= maxLayer {
		if sent, _ := whole.Peek(int(d.Size)); ref.DigestOf(sent) == d.Digest {
			return whole, false, nil
		}
	} else {
		guessed = true
		begin, _ := whole.Peek(whole.Buffered())
		inner := make([]byte, 2)
		if decoder, err := gzip.NewReader(bytes.NewReader(begin)); err == nil {
			_, _ = io.ReadFull(decoder, inner)
		}
		if asSent != (strings.Contains(d.MediaType, "gzip") && !isGzip(inner)) {
			return whole, true, nil
		}
	}
	content, err = gzip.NewReader(whole)
	return content, guessed, err
}

func isGzip(begin []byte) bool { return bytes.HasPrefix(begin, []byte{0x1f, 0x8b}) }
