package ref

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Errors of ParseHost, wrapped with the host.
var (
	ErrHost      = errors.New("write it as <your-registry>.azurecr.io, without https://")
	ErrShortHost = errors.New("write it in full, as <your-registry>.azurecr.io")
	ErrPort      = errors.New("the port must be 1 to 65535")
	ErrIPv6      = errors.New("write an IPv6 address in brackets and without a zone, as [2001:db8::1]:5000")
)

// DockerHub is the registry of Docker Hub. References name it docker.io.
const DockerHub = "registry-1.docker.io"

const (
	maxHost = 253
	maxPort = 65535

	httpsPort = "443"
)

// ParseHost parses a registry's host name or address with an optional port and
// returns it in lower case. It drops port 443 if the host is valid without a
// port, and returns DockerHub for docker.io. The error wraps ErrHost,
// ErrShortHost, ErrPort or ErrIPv6.
func ParseHost(s string) (string, error) {
	invalid := func(why error) (string, error) {
		return "", fmt.Errorf("%q is not a valid registry host: %w", s, why)
	}
	if strings.HasPrefix(s, "[") || isIPv6(s) {
		host, port, why := parseIPv6(s)
		if why != nil {
			return invalid(why)
		}
		return withPort(host, port), nil
	}
	host, port, ported := strings.Cut(lower(s), ":")
	full := isFull(host)
	switch {
	case !isHostName(host),
		// A URL, or a host with something before or after it.
		ported && (port == "" && !full || strings.ContainsAny(port, "/@")):
		return invalid(ErrHost)
	case ported && !IsPort(port):
		return invalid(ErrPort)
	case !full && !ported:
		return invalid(ErrShortHost)
	}
	return withPort(host, port), nil
}

// withPort returns a host with a port that may be empty, in the form of ParseHost.
func withPort(host, port string) string {
	switch {
	case port != "" && (port != httpsPort || !isFull(host)):
		return host + ":" + port
	case host == "docker.io" || host == "index.docker.io":
		return DockerHub
	}
	return host
}

// parseIPv6 parses an IPv6 address in brackets with an optional port. It returns
// the address in its canonical form, in brackets.
func parseIPv6(s string) (host, port string, err error) {
	text, rest, closed := strings.Cut(strings.TrimPrefix(s, "["), "]")
	port, ported := strings.CutPrefix(rest, ":")
	switch {
	case !closed || !isIPv6(text):
		return "", "", ErrIPv6
	case rest != "" && !ported:
		return "", "", ErrHost
	case ported && !IsPort(port):
		return "", "", ErrPort
	}
	return "[" + netip.MustParseAddr(text).String() + "]", port, nil
}

// isIPv6 reports whether s is an IPv6 address without a zone, and not an IPv4
// address in the form of one.
func isIPv6(s string) bool {
	address, err := netip.ParseAddr(s)
	return err == nil && address.Is6() && !address.Is4In6() && address.Zone() == ""
}

// isFull reports whether a host is valid without a port. A single word before
// a slash could also be part of a repository.
func isFull(host string) bool {
	return strings.Contains(host, ".") || host == "localhost" || strings.HasPrefix(host, "[")
}

// isHostName reports whether s is a lower-case DNS name or an IPv4 address.
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

// IsPort reports whether s is a port number: 1 to 65535, without leading zeros.
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

// CanonicalHost returns a host[:port] in the form that ParseHost returns, for
// comparisons. It is more lenient than ParseHost and accepts any host, because
// registries and service connections can return addresses that are not valid
// as input.
func CanonicalHost(s string) string {
	s = lower(s)
	host, port, err := SplitPort(s)
	if err != nil || host == "" {
		return s
	}
	if address, _, err := parseIPv6(host); err == nil {
		host = address
	}
	if !isFull(host) && port == "" {
		port = httpsPort
	}
	return withPort(host, port)
}

// LoginServer returns the login server of an Azure Container Registry, given a host
// as ParseHost returns it, which may be one of its regional endpoints:
// name.region.geo.azurecr.io is name.azurecr.io. It returns any other host as it is.
func LoginServer(host string) string {
	name, rest, _ := strings.Cut(host, ".")
	for _, suffix := range []string{"azurecr.io", "azurecr.cn", "azurecr.us"} {
		if strings.HasSuffix(rest, ".geo."+suffix) {
			return name + "." + suffix
		}
	}
	return host
}

// SplitPort splits the host[:port] of a URL. The port is empty if there is none,
// and an IPv6 address keeps its brackets. Like CanonicalHost, it is more lenient
// than ParseHost: it validates only the port, and its error is ErrPort.
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

// HostPort returns the host[:port] of a URL in lower case, with defaultPort if
// it has none. It is more lenient than ParseHost, because it is also used for
// Azure DevOps, Microsoft Entra ID and the storage of registries: it accepts
// every ASCII host, including IPv6 addresses in brackets. It rejects other
// names: the resolver gets a converted name, and comparing the original would
// prove nothing.
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

// DefaultPort returns the port of a URL without one: 80 for http, 443 for https
// and everything else.
func DefaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return httpsPort
}

func isBracketed(s string) bool {
	return len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' && !strings.ContainsAny(s[1:len(s)-1], "[]")
}

// isVisible reports whether s is not empty and has only visible ASCII
// characters.
func isVisible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// lower lower-cases only ASCII letters. strings.ToLower maps some other letters
// to ASCII, such as the Kelvin sign to k, which would be a different host.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
