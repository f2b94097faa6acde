package sanitize

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// Cut returns a text of about limit bytes at most, that differs for texts that
// differ. It shares no memory with the text.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return strings.Clone(text)
	}
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%s…(%d bytes, sha256 %x)", strings.ToValidUTF8(text[:limit], ""), len(text), sum[:8])
}
