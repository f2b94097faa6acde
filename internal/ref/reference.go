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
	"errors"
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

// Error is the error for a reference that is not valid. Reason is a clause that
// quotes the reference, and Remedy a sentence that says what to write.
type Error struct {
	Reason, Remedy string
	err            error
}

func (e *Error) Error() string { return e.Reason + ". " + e.Remedy }

// Explanation returns the reason and the remedy.
func (e *Error) Explanation() (reason, remedy string) { return e.Reason, e.Remedy }

// Unwrap returns the error of ParseHost, or nil.
func (e *Error) Unwrap() error { return e.err }

const (
	sourceForm = "Write host/repository:tag or host/repository@sha256:<digest>."
	targetForm = "Write host, host/repository or host/repository:tag."
	// unset follows where a part of a reference is missing that a variable has.
	unset = "Is a variable empty? "
)

// ParseSource parses "host/repository:tag" or "host/repository@sha256:…". A
// repository of one component on Docker Hub is one of its official images. The
// error is an *Error.
func ParseSource(s string) (Reference, error) {
	p := parser{role: "source", text: s, form: sourceForm}
	host, rest, found := strings.Cut(s, "/")
	if !found {
		return p.fail(" has no repository", "")
	}
	repository, digest, byDigest := strings.Cut(rest, "@")
	if byDigest && strings.Contains(repository, ":") {
		return p.fail(" has a tag and a digest", "Write only the tag here, and the digest in the input digest.")
	}
	r := Reference{Digest: digest}
	tagged := false
	if !byDigest {
		repository, r.Tag, tagged = strings.Cut(rest, ":")
	}
	if !p.host(&r, host) || !p.repository(&r, repository) {
		return p.result(r)
	}
	switch {
	case byDigest && digest == "":
		return p.fail(" has an empty digest", unset+p.form)
	case byDigest && !IsDigest(digest):
		return p.fail(fmt.Sprintf(": %q is not a valid digest", digest), "Write sha256: and 64 lower-case hexadecimal digits.")
	case !byDigest && !tagged:
		return p.fail(" has no tag or digest", "")
	case tagged && strings.ContainsAny(r.Tag, "*?") && IsTag(strings.NewReplacer("*", "a", "?", "a").Replace(r.Tag)):
		return p.fail(fmt.Sprintf(": %q is a pattern, but source is one image", r.Tag),
			fmt.Sprintf("For several images, write %s:%s in the input images, with a flow file.", repository, r.Tag))
	case tagged:
		p.tag(r.Tag)
	}
	return p.result(r)
}

// ParseTarget parses "host", "host/repository" or "host/repository:tag". It
// takes repository and tag from source if s has none. The error is an *Error.
func ParseTarget(s string, source Reference) (Reference, error) {
	p := parser{role: "target", text: s, form: targetForm}
	host, rest, named := strings.Cut(s, "/")
	r := Reference{Repository: source.Repository, Tag: source.Tag}
	if strings.Contains(rest, "@") {
		return p.fail(" has a digest, but a target has the digest of the source", "")
	}
	if !p.host(&r, host) || !named {
		return p.result(r)
	}
	repository, tag, tagged := strings.Cut(rest, ":")
	if p.repository(&r, repository) && tagged {
		r.Tag = tag
		p.tag(tag)
	}
	return p.result(r)
}

// parser parses one reference. After the first error, err is set.
type parser struct {
	role, text, form string
	err              error
}

// fail sets the error. what continues the quoted reference; without a remedy, the
// form of a reference is one.
func (p *parser) fail(what, remedy string) (Reference, error) {
	if remedy == "" {
		remedy = p.form
	}
	p.err = &Error{Reason: fmt.Sprintf("%s %q%s", p.role, p.text, what), Remedy: remedy}
	return Reference{}, p.err
}

func (p *parser) result(r Reference) (Reference, error) {
	if p.err != nil {
		return Reference{}, p.err
	}
	return r, nil
}

func (p *parser) host(r *Reference, host string) bool {
	registry, err := ParseHost(host)
	switch {
	case err == nil:
		r.Registry = registry
		return true
	case host == "":
		p.fail(" has an empty registry host", unset+p.form)
		return false
	}
	own := &Error{Reason: fmt.Sprintf("%s %q: %q is not a valid registry host", p.role, p.text, host), err: err}
	if why := errors.Unwrap(err); why == ErrPort {
		own.Reason += ": " + why.Error()
		own.Remedy = "Write the port without leading zeros, or leave it out."
	} else {
		own.Remedy = strings.ToUpper(why.Error()[:1]) + why.Error()[1:] + "."
	}
	p.err = own
	return false
}

func (p *parser) repository(r *Reference, repository string) bool {
	r.Repository = repository
	switch {
	case repository == "":
		p.fail(" has an empty repository", unset+p.form)
	case strings.Contains("/"+repository+"/", "//"):
		p.fail(fmt.Sprintf(": the repository %q has an empty part", repository), unset+p.form)
	case !IsRepository(repository):
		p.fail(fmt.Sprintf(": %q is not a valid repository", repository), unsetAtEnd(repository)+"Use lower-case letters and digits, separated by '.', '_', '-' or '/'.")
	case r.Registry == DockerHub && !strings.Contains(repository, "/"):
		r.Repository = "library/" + repository
	}
	return p.err == nil
}

func (p *parser) tag(tag string) {
	switch {
	case tag == "":
		p.fail(" has an empty tag", unset+p.form)
	case !IsTag(tag):
		p.fail(fmt.Sprintf(": %q is not a valid tag", tag), unsetAtEnd(tag)+"Use at most 128 letters, digits, '_', '.' and '-', and do not start with '.' or '-'.")
	}
}

// unsetAtEnd asks whether a variable is empty if a name begins or ends with a
// separator, to which something else belongs.
func unsetAtEnd(name string) string {
	for part := range strings.SplitSeq(name, "/") {
		if strings.Trim(part, "._-") != part {
			return unset
		}
	}
	return ""
}
