package plan

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Reference is one place for one image: a registry's host, a repository in it,
// and a tag or a digest. A target by digest alone has neither.
type Reference struct {
	Registry   string
	Repository string
	Tag        string
	Digest     string
}

// String writes the reference as a user would: host/repository:tag, or
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

// The grammar of the OCI distribution specification, "Pulling manifests". A
// library's parser is not enough here: those known accept "a/../b" as a
// repository, which a client could be made to send as another path.
var grammar = sync.OnceValue(func() (g struct{ repository, tag, digest, host, port *regexp.Regexp }) {
	const component = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
	g.repository = regexp.MustCompile(`^` + component + `(?:/` + component + `)*$`)
	g.tag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	g.digest = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)
	g.host = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$`)
	g.port = regexp.MustCompile(`^[1-9][0-9]{0,4}$`)
	return g
})

// ParseSource reads "host/repository:tag" or "host/repository@sha256:…".
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
		if !grammar().tag.MatchString(r.Tag) {
			return Reference{}, fmt.Errorf("source %q: %q is no tag: at most 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'", s, r.Tag)
		}
	}
	if err := checkRepository(r.Repository); err != nil {
		return Reference{}, fmt.Errorf("source %q: %w", s, err)
	}
	return r, nil
}

// ParseTarget reads "host", "host/repository" or "host/repository:tag"; what is
// left out is as in the source.
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
		if !grammar().tag.MatchString(tag) {
			return Reference{}, fmt.Errorf("target %q: %q is no tag: at most 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'", s, tag)
		}
		r.Tag = tag
	}
	return r, nil
}

// ParseHost reads a registry's host name with an optional port, and returns it
// in lower case, without the port of HTTPS.
func ParseHost(s string) (string, error) {
	lower := strings.ToLower(s)
	host, port, ported := strings.Cut(lower, ":")
	if len(host) > 253 || !grammar().host.MatchString(host) || ported && !grammar().port.MatchString(port) {
		return "", fmt.Errorf("%q is no registry's host name: write it as <your-registry>.azurecr.io, without https://", s)
	}
	if !strings.Contains(host, ".") && !ported && host != "localhost" {
		return "", fmt.Errorf("%q is no registry's host name: write it in full, as <your-registry>.azurecr.io", s)
	}
	if !ported || port == "443" {
		return host, nil
	}
	return host + ":" + port, nil
}

// IsDigest tells whether s is a sha256 digest in its one spelling.
func IsDigest(s string) bool { return grammar().digest.MatchString(s) }

func checkRepository(s string) error {
	if len(s) > 255 || !grammar().repository.MatchString(s) {
		return fmt.Errorf("%q is no repository: lower-case letters and digits, parted by '.', '_', '-' and '/'", s)
	}
	return nil
}
