package ref

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

const (
	// algorithm is the only one supported: every registry computes it.
	algorithm = "sha256:"

	// DigestTagPrefix is the prefix of every tag that is named after a digest.
	DigestTagPrefix = "sha256-"

	hexDigits = 2 * sha256.Size
)

// IsDigest reports whether s is a SHA-256 digest in canonical form: sha256:
// followed by 64 lower-case hexadecimal digits.
func IsDigest(s string) bool { return CheckDigest(s) == nil }

var (
	errAlgorithm = errors.New("not a sha256 digest")
	errHex       = errors.New("not a sha256 digest of 64 lower-case hexadecimal digits")
)

// CheckDigest returns nil if s is a digest, as IsDigest reports. Otherwise the
// error completes a sentence: "not a sha256 digest", for example.
func CheckDigest(s string) error {
	digits, ok := strings.CutPrefix(s, algorithm)
	if !ok {
		return errAlgorithm
	}
	if len(digits) != hexDigits || strings.Trim(digits, "0123456789abcdef") != "" {
		return errHex
	}
	return nil
}

// NamesDigest reports whether a reference within a repository is meant as a
// digest, not as a tag. It is more lenient than IsDigest: a malformed digest,
// or one of another algorithm, must be recognised to be rejected as a digest.
func NamesDigest(s string) bool { return strings.Contains(s, ":") }

// DigestOf returns the digest of data.
func DigestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return EncodeDigest(sum[:])
}

// EncodeDigest returns the digest with the given SHA-256 sum.
func EncodeDigest(sum []byte) string { return algorithm + hex.EncodeToString(sum) }

// PrefixDigest returns the digest with the given digits, unless they are invalid: then
// what it returns is not a digest either.
func PrefixDigest(digits string) string { return algorithm + digits }

// DecodeDigest returns the SHA-256 sum of a digest. Its error is the one from
// CheckDigest.
func DecodeDigest(s string) ([]byte, error) {
	if err := CheckDigest(s); err != nil {
		return nil, err
	}
	return hex.DecodeString(s[len(algorithm):])
}

// DigestTag returns the tag named after a digest: sha256-<hex>.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func DigestTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// ParseDigestTag returns the digest that a tag is named after, and the rest of
// the tag: ".sig", for example.
func ParseDigestTag(tag string) (digest, ending string, ok bool) {
	rest, ok := strings.CutPrefix(tag, DigestTagPrefix)
	if !ok || len(rest) < hexDigits {
		return "", "", false
	}
	digest, ending = algorithm+rest[:hexDigits], rest[hexDigits:]
	if !IsDigest(digest) {
		return "", "", false
	}
	return digest, ending, true
}
