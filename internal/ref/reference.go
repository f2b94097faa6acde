// Package ref parses and validates the names of things in a registry: hosts and
// ports, repositories, tags, digests, and references made of them. No other
// package has its own grammar for these.
//
// Repositories and tags follow the grammar of the OCI distribution
// specification. Existing libraries are not strict enough: they accept "a/../b"
// as a repository, which an HTTP client could turn into another path.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
package ref

import (
	"fmt"
	"strings"
)

// Reference is the location of an image: the registry's host, a repository, and
// a tag or a digest. A target that gets an image only by digest has neither.
type Reference struct {
	Registry   string
	Repository string
	Tag        string
	Digest     string
}

// String returns the reference in the form host/repository:tag or
// host/repository@digest.
func (r Reference) String() string {
	s := r.Registry + "/" + r.Repository
	switch {
	case r.Tag != "":
		return s + ":" + r.Tag
	case r.Digest != "":
		return s + "@" + r.Digest
	}
	return s
}

// ParseSource parses "host/repository:tag" or "host/repository@sha256:…".
func ParseSource(s string) (Reference, error) {
	host, rest, found := strings.Cut(s, "/")
	if !found {
		return Reference{}, fmt.Errorf("source %q has no repository: write host/repository:tag or host/repository@sha256:…", s)
	}
	r := Reference{}
	var err error
	if r.Registry, err = ParseHost(host); err != nil {
		return Reference{}, fmt.Errorf("source %q: %w", s, err)
	}
	if repository, digest, byDigest := strings.Cut(rest, "@"); byDigest {
		if strings.Contains(repository, ":") {
			return Reference{}, fmt.Errorf("source %q has a tag and a digest: write only the tag here, and the digest in the input digest", s)
		}
		r.Repository, r.Digest = repository, digest
		if !IsDigest(digest) {
			return Reference{}, fmt.Errorf("source %q: %q is not a valid digest: write sha256: and 64 lower-case hexadecimal digits", s, digest)
		}
	} else {
		var tagged bool
		if r.Repository, r.Tag, tagged = strings.Cut(rest, ":"); !tagged {
			return Reference{}, fmt.Errorf("source %q has no tag or digest: write host/repository:tag or host/repository@sha256:…", s)
		}
		if err := checkTag(r.Tag); err != nil {
			return Reference{}, fmt.Errorf("source %q: %w", s, err)
		}
	}
	if err := checkRepository(r.Repository); err != nil {
		return Reference{}, fmt.Errorf("source %q: %w", s, err)
	}
	return r, nil
}

// ParseTarget parses "host", "host/repository" or "host/repository:tag". It
// takes repository and tag from source if s has none.
func ParseTarget(s string, source Reference) (Reference, error) {
	host, rest, named := strings.Cut(s, "/")
	r := Reference{Repository: source.Repository, Tag: source.Tag}
	var err error
	if r.Registry, err = ParseHost(host); err != nil {
		return Reference{}, fmt.Errorf("target %q: %w", s, err)
	}
	if !named {
		return r, nil
	}
	if strings.Contains(rest, "@") {
		return Reference{}, fmt.Errorf("target %q has a digest, but a target has the digest of the source: write host, host/repository or host/repository:tag", s)
	}
	repository, tag, tagged := strings.Cut(rest, ":")
	if err := checkRepository(repository); err != nil {
		return Reference{}, fmt.Errorf("target %q: %w", s, err)
	}
	r.Repository = repository
	if tagged {
		if err := checkTag(tag); err != nil {
			return Reference{}, fmt.Errorf("target %q: %w", s, err)
		}
		r.Tag = tag
	}
	return r, nil
}

func checkRepository(s string) error {
	if !IsRepository(s) {
		return fmt.Errorf("%q is not a valid repository: use lower-case letters and digits, separated by '.', '_', '-' or '/'", s)
	}
	return nil
}

func checkTag(s string) error {
	if !IsTag(s) {
		return fmt.Errorf("%q is not a valid tag: use at most 128 letters, digits, '_', '.' and '-', and do not start with '.' or '-'", s)
	}
	return nil
}
