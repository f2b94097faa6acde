package sbom

import (
	"net/url"
	"strings"

	"acrpromote/internal/sanitize"
)

// parsePURL returns the package that a package URL names, without its qualifiers
// and subpath.
// https://github.com/package-url/purl-spec/blob/v1.0.0/PURL-SPECIFICATION.rst
func parsePURL(purl string) (Package, bool) {
	scheme, rest, ok := strings.Cut(purl, ":")
	if !ok || !strings.EqualFold(scheme, "pkg") {
		return Package{}, false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	kind, rest, ok := strings.Cut(strings.Trim(rest, "/"), "/")
	if !ok || kind == "" {
		return Package{}, false
	}
	version := ""
	// An @ in a namespace should be encoded, but is not always.
	if at := strings.LastIndex(rest, "@"); at > 0 && at > strings.LastIndex(rest, "/") {
		rest, version = rest[:at], rest[at+1:]
	}
	name := decode(strings.Trim(rest, "/"))
	return Package{Type: strings.ToLower(kind), Name: name, Version: decode(version)}, name != ""
}

// decode replaces the percent-encoded bytes of a text. One that is not valid stays
// as it is.
func decode(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

// cut returns a name or version of a limited length.
func cut(s string) string { return sanitize.Cut(s, maxName) }
