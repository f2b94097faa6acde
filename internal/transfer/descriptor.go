package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Descriptor points at a manifest or a blob.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"` // bytes; -1 where a registry did not tell
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// maxSize is far beyond what a registry takes (ACR: 200 GiB a layer) and small
// enough that sums do not overflow.
const maxSize = 1 << 45

// emptyDigest is the digest of no bytes at all.
const emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// checkDigest takes sha256 only: it is what every registry computes.
func checkDigest(s string) error {
	hex, ok := strings.CutPrefix(s, "sha256:")
	if !ok {
		return fmt.Errorf("not a sha256 digest")
	}
	if len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return fmt.Errorf("not a sha256 digest of 64 lower-case hexadecimal digits")
	}
	return nil
}

func isDigest(ref string) bool { return strings.Contains(ref, ":") }

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// key names a manifest of a repository.
func key(repo, ref string) string {
	if isDigest(ref) {
		return repo + "@" + ref
	}
	return repo + ":" + ref
}

// fromV1 takes over a descriptor of a parsed manifest.
func fromV1(d v1.Descriptor) (Descriptor, error) {
	digest := d.Digest.String()
	if err := checkDigest(digest); err != nil {
		if digest == ":" {
			return Descriptor{}, fmt.Errorf("a descriptor of type %q has no digest", harmless(string(d.MediaType), 100))
		}
		return Descriptor{}, fmt.Errorf("the digest %s is %v", harmless(digest, 150), err)
	}
	if d.Size < 0 || d.Size > maxSize {
		return Descriptor{}, fmt.Errorf("the size of %s is %d", digest, d.Size)
	}
	return Descriptor{MediaType: string(d.MediaType), Digest: digest, Size: d.Size, ArtifactType: d.ArtifactType, Annotations: d.Annotations}, nil
}

// checkNames keeps anything out of a path that is no name.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
func checkNames(host, op, repo, ref string) error {
	reason := ""
	switch {
	case repo == "" && ref == "": // the registry as a whole
	case !validRepository(repo):
		reason = fmt.Sprintf("%q is no name of a repository", harmless(repo, 100))
	case ref == "":
	case isDigest(ref):
		if err := checkDigest(ref); err != nil {
			reason = fmt.Sprintf("%q is %v", harmless(ref, 100), err)
		}
	case !validTag(ref):
		reason = fmt.Sprintf("%q is no tag", harmless(ref, 100))
	}
	if reason == "" {
		return nil
	}
	return &Error{Registry: host, Op: op, Kind: Unsupported, Reason: reason, Remedy: "correct the reference"}
}

func validRepository(repo string) bool {
	if len(repo) > 255 {
		return false
	}
	for part := range strings.SplitSeq(repo, "/") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
			return false
		}
		// Begins and ends with a letter or digit, so ".." is no part.
		if strings.ContainsRune("._-", rune(part[0])) || strings.ContainsRune("._-", rune(part[len(part)-1])) {
			return false
		}
	}
	return true
}

func validTag(tag string) bool {
	if len(tag) == 0 || len(tag) > 128 || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for _, c := range []byte(tag) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}
