// Package ref parses and checks what names things in a registry: hosts and
// ports, repositories, tags, digests, and the references that are made of
// them. No other package has a grammar of its own for these.
//
// The grammar of repositories and tags is that of the OCI distribution
// specification. A library's parser is not enough: the known ones accept
// "a/../b" as a repository, which a client could be made to send as another
// path.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
package ref

import (
	"fmt"
	"strings"
)

// Reference is one place for one image: a registry's host, a repository in it,
// and a tag or a digest. A target by digest alone has neither.
type Reference struct {
	Registry   string
	Repository string
	Tag        string
	Digest     string
}

// String returns the reference as a user writes it: host/repository:tag, or
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
		return Reference{}, fmt.Errorf("source %q names no repository: write host/repository:tag or host/repository@sha256:…", s)
	}
	r := Reference{}
	var err error
	if r.Registry, err = ParseHost(host); err != nil {
		return Reference{}, fmt.Errorf("source %q: %w", s, err)
	}
	if repository, digest, byDigest := strings.Cut(rest, "@"); byDigest {
		if strings.Contains(repository, ":") {
			return Reference{}, fmt.Errorf("source %q has a tag and a digest: name the tag alone, and put the digest into the input digest", s)
		}
		r.Repository, r.Digest = repository, digest
		if !IsDigest(digest) {
			return Reference{}, fmt.Errorf("source %q: %q is no digest: write sha256: and 64 hexadecimal digits in lower case", s, digest)
		}
	} else {
		var tagged bool
		if r.Repository, r.Tag, tagged = strings.Cut(rest, ":"); !tagged {
			return Reference{}, fmt.Errorf("source %q names neither tag nor digest: write host/repository:tag or host/repository@sha256:…", s)
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

// ParseTarget parses "host", "host/repository" or "host/repository:tag"; what
// is left out is as in the source.
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
		return Reference{}, fmt.Errorf("target %q names a digest: the digest is the source's; name host, host/repository or host/repository:tag", s)
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
		return fmt.Errorf("%q is no repository: lower-case letters and digits, parted by '.', '_', '-' and '/'", s)
	}
	return nil
}

func checkTag(s string) error {
	if !IsTag(s) {
		return fmt.Errorf("%q is no tag: at most 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'", s)
	}
	return nil
}
