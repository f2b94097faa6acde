// Package collection knows the addresses of an Azure DevOps collection: which of
// them are the same one, and on which hosts it answers. The job's token is sent
// to no other address.
//
// An organization of Azure DevOps Services answers at four addresses, of which a
// job may be given any:
//
//	https://dev.azure.com/NAME/               https://NAME.visualstudio.com/
//	https://vsrm.dev.azure.com/NAME/          https://NAME.vsrm.visualstudio.com/
//
// Those in the second line serve its releases alone. A server on premises has one
// address for everything, such as https://host/tfs/Collection/.
//
// https://learn.microsoft.com/azure/devops/release-notes/2018/sep-10-azure-devops-launch#administration
package collection

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"acrpromote/internal/ref"
)

const (
	services = "dev.azure.com"
	releases = "vsrm.dev.azure.com"

	legacyServices = ".visualstudio.com"
	legacyReleases = ".vsrm.visualstudio.com"

	// legacyCollection may follow the host of a legacy address, and means nothing.
	legacyCollection = "defaultcollection"
)

// Collection is one collection: an organization of Azure DevOps Services, or a
// collection of a server.
type Collection struct {
	root root
	base string // the address that requests use, without a slash at its end
	name string
	host string // of base
}

// root identifies a collection. Two addresses are in the same collection if their
// roots are equal.
type root struct {
	organization string // of Azure DevOps Services, in lower case
	host, path   string // of a server, in lower case, with its port
}

// Parse returns the collection that an address is the root of. It may be any of
// the addresses of an organization, also that of its releases: a release job's
// system connection has been seen to name it.
func Parse(address string) (*Collection, error) {
	invalid := errors.New("the system connection has no valid address of an Azure DevOps collection")
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, invalid
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("the system connection's address %s://%s is not HTTPS: the job's token would be sent in clear text", u.Scheme, u.Host)
	}
	at, ok := locate(u)
	if !ok || at.rest != "" {
		return nil, invalid
	}
	c := &Collection{root: at.root, name: at.name, host: lower(u.Host)}
	switch {
	case at.organization == "":
		c.base = "https://" + c.host + at.prefix
	case at.legacy:
		c.host = at.organization + legacyServices
		c.base = "https://" + c.host
	default:
		c.host = services
		c.base = "https://" + services + "/" + at.name
	}
	return c, nil
}

// URL returns the address that requests use, without a slash at its end. It is
// never that of the releases.
func (c *Collection) URL() string { return c.base }

// Name returns the name of the organization or of the server's collection, which
// Azure DevOps uses in the names of build service identities.
func (c *Collection) Name() string { return c.name }

// Host returns the host of the address that requests use.
func (c *Collection) Host() string { return c.host }

// String returns the address without its scheme, for texts.
func (c *Collection) String() string { return strings.TrimPrefix(c.base, "https://") }

// Hosts returns the hosts at which the collection answers, with their ports.
func (c *Collection) Hosts() []string {
	if name := c.root.organization; name != "" {
		return []string{services + ":443", releases + ":443", name + legacyServices + ":443", name + legacyReleases + ":443"}
	}
	return []string{c.root.host}
}

// Contains reports whether an address is in the collection: at one of its
// addresses, or below it.
func (c *Collection) Contains(address string) bool {
	at, ok := c.locate(address)
	return ok && at.root == c.root
}

// Is reports whether an address is one of the collection's own, and whether it is
// the one of its releases.
func (c *Collection) Is(address string) (same, releases bool) {
	at, ok := c.locate(address)
	return ok && at.root == c.root && at.rest == "", at.releases
}

func (c *Collection) locate(address string) (place, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return place{}, false
	}
	at, ok := locate(u)
	if !ok || c.root.organization != "" || at.organization != "" {
		return at, ok
	}
	// The path of a server's collection has any number of segments.
	path := lower(at.prefix)
	if path != c.root.path && !strings.HasPrefix(path, c.root.path+"/") {
		return place{}, false
	}
	at.path, at.rest = c.root.path, path[len(c.root.path):]
	return at, true
}

// place is where an address leads.
type place struct {
	root
	name     string // as written
	prefix   string // the path of the root, as written
	rest     string // the path below the root
	legacy   bool   // an address at visualstudio.com
	releases bool
}

// locate finds the collection of an address. Without more knowledge, the whole
// path of a server's address is the collection's.
func locate(u *url.URL) (place, bool) {
	host, ok := ref.HostPort(u.Host, ref.DefaultPort(u.Scheme))
	if !ok || !plain(u) {
		return place{}, false
	}
	path := strings.TrimRight(u.Path, "/")
	bare, https := strings.CutSuffix(host, ":443")
	if !https {
		return server(host, path), true
	}
	if bare == services || bare == releases {
		name, rest := cut(path)
		if !isName(name) {
			return place{}, false
		}
		return place{root: root{organization: lower(name)}, name: name, prefix: "/" + name, rest: rest, releases: bare == releases}, true
	}
	for _, suffix := range []string{legacyReleases, legacyServices} {
		name, found := strings.CutSuffix(bare, suffix)
		if !found || !isName(name) {
			continue
		}
		prefix, rest := "", path
		if first, below := cut(path); strings.EqualFold(first, legacyCollection) {
			prefix, rest = "/"+first, below
		}
		return place{root: root{organization: name}, name: name, prefix: prefix, rest: rest, legacy: true, releases: suffix == legacyReleases}, true
	}
	return server(host, path), true
}

func server(host, path string) place {
	name := path[strings.LastIndex(path, "/")+1:]
	if name == "" {
		name, _, _ = strings.Cut(host, ":")
	}
	return place{root: root{host: host, path: lower(path)}, name: name, prefix: path}
}

// plain reports whether a path means the same to every server: without dot
// segments, empty segments, backslashes and unusual escapes.
func plain(u *url.URL) bool {
	if u.RawPath != "" || strings.ContainsAny(u.Path, "\\%;") || u.Opaque != "" {
		return false
	}
	path := strings.TrimRight(u.Path, "/")
	if path == "" {
		return true
	}
	for _, segment := range strings.Split(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// cut splits /first/rest into first and /rest.
func cut(path string) (first, rest string) {
	first, rest, found := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if found {
		rest = "/" + rest
	}
	return first, rest
}

// isName reports whether a text can be the name of an organization: letters,
// digits and hyphens.
func isName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return true
}

// lower lowers ASCII letters alone: others have lower cases that other letters
// have too.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
