package ref

import (
	"errors"
	"fmt"
	"strings"
)

// What ParseHost finds wrong.
var (
	ErrHost      = errors.New("write it as <your-registry>.azurecr.io, without https://")
	ErrShortHost = errors.New("write it in full, as <your-registry>.azurecr.io")
	ErrPort      = errors.New("the port must be 1 to 65535")
)

const (
	maxHost = 253
	maxPort = 65535

	httpsPort = "443"
)

// ParseHost parses a registry's host name with an optional port, and returns
// it in lower case, without the port of HTTPS where it can be named without
// one. Its error is an ErrHost, ErrShortHost or ErrPort.
func ParseHost(s string) (string, error) {
	host, port, ported := strings.Cut(lower(s), ":")
	full := isFull(host)
	switch {
	case !isHostName(host),
		// A URL, or what else is written before or behind a host.
		ported && (port == "" && !full || strings.ContainsAny(port, "/@")):
		return "", fmt.Errorf("%q is no registry's host name: %w", s, ErrHost)
	case ported && !IsPort(port):
		return "", fmt.Errorf("%q is not a valid registry host: %w", s, ErrPort)
	case !full && !ported:
		return "", fmt.Errorf("%q is no registry's host name: %w", s, ErrShortHost)
	case !ported || full && port == httpsPort:
		return host, nil
	}
	return host + ":" + port, nil
}

// isFull reports whether a host can be named without a port: a single word
// before a slash could as well be a part of a repository.
func isFull(host string) bool { return strings.Contains(host, ".") || host == "localhost" }

// isHostName reports whether s is a name of the DNS in lower case, or an IPv4
// address.
func isHostName(s string) bool {
	if len(s) > maxHost {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isLowerOrDigit(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// IsPort reports whether s is a port in its one spelling: 1 to 65535, without
// leading zeros.
func IsPort(s string) bool {
	if s == "" || s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		if n = 10*n + int(s[i]-'0'); n > maxPort {
			return false
		}
	}
	return true
}

// CanonicalHost returns a host[:port] as ParseHost returns it, for comparing.
// It is more lenient than ParseHost: it takes any host, because the addresses
// that registries and service connections give need not be ones that a user
// could name.
func CanonicalHost(s string) string {
	s = lower(s)
	host, port, err := SplitPort(s)
	switch {
	case err != nil || host == "":
		return s
	case isFull(host) && port == httpsPort:
		return host
	case !isFull(host) && port == "":
		return host + ":" + httpsPort
	}
	return s
}

// SplitPort parts a URL's host[:port]; port is empty if there is none, and an
// IPv6 address keeps its brackets. It judges the port alone: its error is
// ErrPort. It is more lenient than ParseHost, as CanonicalHost is.
func SplitPort(s string) (host, port string, err error) {
	at := strings.LastIndexByte(s, ':')
	if at < 0 || at < strings.LastIndexByte(s, ']') {
		return s, "", nil
	}
	if host, port = s[:at], s[at+1:]; !IsPort(port) {
		return "", "", ErrPort
	}
	return host, port, nil
}

// HostPort returns a URL's host[:port] in lower case, with the given port if it
// has none. It is more lenient than ParseHost, because Azure DevOps, Microsoft
// Entra ID and the storage behind registries are reached too: it takes every
// host in ASCII, IPv6 addresses in brackets among them. A name that is not
// ASCII changes on its way to the resolver, so that a comparison would be of
// another one.
func HostPort(s, defaultPort string) (string, bool) {
	host, port, err := SplitPort(lower(s))
	if err != nil || !isVisible(host) || strings.ContainsAny(host, ":[]") && !isBracketed(host) {
		return "", false
	}
	if port == "" {
		port = defaultPort
	}
	return host + ":" + port, true
}

// DefaultPort returns the port of a URL that names none: 80 for http, and 443
// for https and everything else.
func DefaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return httpsPort
}

func isBracketed(s string) bool {
	return len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' && !strings.ContainsAny(s[1:len(s)-1], "[]")
}

// isVisible reports whether s is ASCII that can be seen, and some of it.
func isVisible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// lower changes ASCII letters alone: strings.ToLower makes some letters ASCII
// that are not, such as the Kelvin sign, and so another host.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
