package transfer

import (
	"fmt"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// Descriptor describes a manifest or a blob.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"` // bytes; -1 if the registry has not returned it
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// maxBlobSize is far above the limits of registries (ACR: 200 GiB a layer), and
// small enough for sums not to overflow.
const maxBlobSize = 1 << 45

// emptyDigest is the digest of empty content.
const emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// key returns the cache key of a manifest in a repository.
func key(repo, reference string) string {
	if ref.NamesDigest(reference) {
		return repo + "@" + reference
	}
	return repo + ":" + reference
}

// checkReference returns an error unless the names are valid: they become part of
// a URL.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
func checkReference(host, op, repo, reference string) error {
	reason := ""
	switch {
	case repo == "" && reference == "": // a request to the registry itself
	case !ref.IsRepository(repo):
		reason = fmt.Sprintf("%q is not a valid repository name", sanitize.Bounded(repo, 100))
	case reference == "":
	case ref.NamesDigest(reference):
		if err := ref.CheckDigest(reference); err != nil {
			reason = fmt.Sprintf("%q is %v", sanitize.Bounded(reference, 100), err)
		}
	case !ref.IsTag(reference):
		reason = fmt.Sprintf("%q is not a valid tag", sanitize.Bounded(reference, 100))
	}
	if reason == "" {
		return nil
	}
	return &Error{Registry: host, Op: op, Kind: Unsupported, Reason: reason, Remedy: "Correct the reference."}
}
