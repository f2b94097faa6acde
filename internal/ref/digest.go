package ref

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

const (
	// algorithm is the one that every registry computes. Digests of others are
	// not copied.
	algorithm = "sha256:"

	// DigestTagPrefix is what every tag begins with that is named after a
	// digest.
	DigestTagPrefix = "sha256-"

	hexDigits = 2 * sha256.Size
)

// IsDigest reports whether s is a SHA-256 digest in its one spelling: sha256:
// and 64 hexadecimal digits in lower case.
func IsDigest(s string) bool { return CheckDigest(s) == nil }

var (
	errAlgorithm = errors.New("not a sha256 digest")
	errHex       = errors.New("not a sha256 digest of 64 lower-case hexadecimal digits")
)

// CheckDigest returns nil if IsDigest, and else what s is instead: "not a
// sha256 digest", for example.
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

// NamesDigest reports whether what follows a repository is meant as a digest,
// and not as a tag. It is more lenient than IsDigest: a digest of another
// algorithm, or a broken one, has to be recognised to be refused as such.
func NamesDigest(s string) bool { return strings.Contains(s, ":") }

// DigestOf returns the digest of data.
func DigestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return EncodeDigest(sum[:])
}

// EncodeDigest returns the digest whose SHA-256 sum is given.
func EncodeDigest(sum []byte) string { return algorithm + hex.EncodeToString(sum) }

// DecodeDigest returns the SHA-256 sum that a digest shows. Its error is that
// of CheckDigest.
func DecodeDigest(s string) ([]byte, error) {
	if err := CheckDigest(s); err != nil {
		return nil, err
	}
	return hex.DecodeString(s[len(algorithm):])
}

// DigestTag returns the tag that is named after a digest: sha256-<hex>.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func DigestTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// ParseDigestTag returns the digest that a tag is named after, and what
// follows its hexadecimal digits: ".sig", for example.
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
