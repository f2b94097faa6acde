package ref

import (
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestParseSource(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	good := map[string]string{
		"prod.azurecr.io/shop/cart:1.4.2":                           "prod.azurecr.io/shop/cart:1.4.2",
		"PROD.azurecr.io/shop/cart:V1":                              "prod.azurecr.io/shop/cart:V1",
		"prod.azurecr.io:443/cart:1":                                "prod.azurecr.io/cart:1",
		"localhost:5000/a:1":                                        "localhost:5000/a:1",
		"127.0.0.1:5000/a__b/c-d:_x":                                "127.0.0.1:5000/a__b/c-d:_x",
		"prod.azurecr.io/shop/cart@" + digest:                       "prod.azurecr.io/shop/cart@" + digest,
		"prod.azurecr.io/a/b/c/d/e/f/g:" + strings.Repeat("t", 128): "prod.azurecr.io/a/b/c/d/e/f/g:" + strings.Repeat("t", 128),
		"[::1]:5000/shop/cart:1":                                    "[::1]:5000/shop/cart:1",
		"[0:0::1]/cart@" + digest:                                   "[::1]/cart@" + digest,
		"docker.io/alpine:3":                                        "registry-1.docker.io/library/alpine:3",
		"docker.io/library/alpine:3":                                "registry-1.docker.io/library/alpine:3",
		"index.docker.io/contoso/cart:1":                            "registry-1.docker.io/contoso/cart:1",
		"registry-1.docker.io/alpine:3":                             "registry-1.docker.io/library/alpine:3",
		"docker.io:5000/alpine:3":                                   "docker.io:5000/alpine:3",
	}
	for in, want := range good {
		if got, err := ParseSource(in); err != nil || got.String() != want {
			t.Errorf("ParseSource(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
	bad := []string{
		"", "cart", "cart:1", "shop/cart:1", "prod.azurecr.io", "prod.azurecr.io/", "prod.azurecr.io/cart", "prod.azurecr.io/:1",
		"https://prod.azurecr.io/cart:1", "user@prod.azurecr.io/cart:1", "user:pw@prod.azurecr.io/cart:1",
		"prod.azurecr.io/a/../b:1", "prod.azurecr.io/a//b:1", "prod.azurecr.io/./b:1", "prod.azurecr.io/Cart:1", "prod.azurecr.io/a%2fb:1",
		"prod.azurecr.io/cart:", "prod.azurecr.io/cart:.x", "prod.azurecr.io/cart:a b", "prod.azurecr.io/cart:1?x", "prod.azurecr.io/cart:1#x",
		"prod.azurecr.io/cart:1\n##vso[task.complete]", "prod.azurecr.io/cart:" + strings.Repeat("t", 129),
		"prod.azurecr.io/cart@sha256:abc", "prod.azurecr.io/cart@sha512:" + strings.Repeat("0a", 64), "prod.azurecr.io/cart@SHA256:" + strings.Repeat("0a", 32),
		"prod.azurecr.io/cart@sha256:" + strings.Repeat("0A", 32), "prod.azurecr.io/cart:1@" + digest,
		"prod.azurecr.io./cart:1", ".azurecr.io/cart:1", "prod..azurecr.io/cart:1", "-prod.azurecr.io/cart:1", "prod.azurecr.io:0/cart:1", "prod.azurecr.io:x/cart:1",
		"prod.azurecr.io:65536/cart:1", "prod.azurecr.io:99999/cart:1", "prod.azurecr.io:0443/cart:1", "prod.azurecr.io:/cart:1", "prod.azurecr.io/a..b:1",
		"pröd.azurecr.io/cart:1", "prod.azurecr.io/" + strings.Repeat("a", 256) + ":1",
	}
	for _, in := range bad {
		if got, err := ParseSource(in); err == nil {
			t.Errorf("ParseSource(%q) = %+v, want an error", in, got)
		}
	}
}

func TestParseTarget(t *testing.T) {
	tagged := Reference{Registry: "prod.azurecr.io", Repository: "shop/cart", Tag: "1.4.2"}
	byDigest := Reference{Registry: "prod.azurecr.io", Repository: "shop/cart", Digest: "sha256:" + strings.Repeat("0a", 32)}
	for _, c := range []struct {
		in     string
		source Reference
		want   string
	}{
		{"dev.azurecr.io", tagged, "dev.azurecr.io/shop/cart:1.4.2"},
		{"dev.azurecr.io/team/cart", tagged, "dev.azurecr.io/team/cart:1.4.2"},
		{"dev.azurecr.io/team/cart:v1", tagged, "dev.azurecr.io/team/cart:v1"},
		{"dev.azurecr.io", byDigest, "dev.azurecr.io/shop/cart"},
		{"dev.azurecr.io/team/cart:v1", byDigest, "dev.azurecr.io/team/cart:v1"},
	} {
		if got, err := ParseTarget(c.in, c.source); err != nil || got.String() != c.want {
			t.Errorf("ParseTarget(%q) = %s, %v; want %s", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{"", "dev", "dev.azurecr.io/", "dev.azurecr.io/cart:", "dev.azurecr.io/cart@sha256:" + strings.Repeat("0a", 32), "https://dev.azurecr.io", "dev.azurecr.io:1.4.2", "dev.azurecr.io/a/../b"} {
		if got, err := ParseTarget(in, tagged); err == nil {
			t.Errorf("ParseTarget(%q) = %+v, want an error", in, got)
		}
	}
}

// TestErrorsNameTheInvalidPart checks that an error says which part of a
// reference is invalid.
func TestErrorsNameTheInvalidPart(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for in, want := range map[string]string{
		"cart:1":                                 "has no repository",
		"dev/cart:1":                             "Write it in full",
		"https://prod.azurecr.io/cart:1":         "without https://",
		"prod.azurecr.io:99999/cart:1":           `"prod.azurecr.io:99999" is not a valid registry host: the port must be 1 to 65535`,
		"prod.azurecr.io/cart":                   "has no tag or digest",
		"prod.azurecr.io/cart:1@" + digest:       "has a tag and a digest",
		"prod.azurecr.io/cart@" + digest[:20]:    "is not a valid digest",
		"prod.azurecr.io/cart:-1":                `"-1" is not a valid tag. Is a variable empty?`,
		"prod.azurecr.io/cart:":                  "has an empty tag. Is a variable empty? Write host/repository:tag",
		"prod.azurecr.io/cart@":                  "has an empty digest. Is a variable empty?",
		"prod.azurecr.io/:1":                     "has an empty repository. Is a variable empty?",
		"prod.azurecr.io/":                       "has an empty repository. Is a variable empty?",
		"/cart:1":                                "has an empty registry host. Is a variable empty?",
		"prod.azurecr.io//cart:1":                `the repository "/cart" has an empty part. Is a variable empty?`,
		"prod.azurecr.io/shop//cart:1":           `the repository "shop//cart" has an empty part. Is a variable empty?`,
		"prod.azurecr.io/shop/:1":                `the repository "shop/" has an empty part. Is a variable empty?`,
		"prod.azurecr.io/shop/-cart:1":           `"shop/-cart" is not a valid repository. Is a variable empty?`,
		"prod.azurecr.io/cart:1.*":               `"1.*" is a pattern, but source is one image. For several images, write cart:1.* in the input images`,
		"prod.azurecr.io/shop/cart:*":            "write shop/cart:* in the input images",
		"prod.azurecr.io/cart:1 *":               "is not a valid tag. Use at most",
		"::1/cart:1":                             "Write an IPv6 address in brackets",
		"[fe80::1%eth0]/cart:1":                  "without a zone",
		"prod.azurecr.io/Cart:1":                 `"Cart" is not a valid repository`,
		"prod.azurecr.io/Cart@" + digest:         `"Cart" is not a valid repository`,
		"prod.azurecr.io/shop/cart/../../cart:1": `"shop/cart/../../cart" is not a valid repository`,
	} {
		if _, err := ParseSource(in); err == nil || !strings.HasPrefix(err.Error(), "source "+strconv.Quote(in)) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSource(%q): %v; want %q", in, err, want)
		}
	}
	for in, want := range map[string]string{
		"dev":                             "Write it in full",
		"dev.azurecr.io:0":                `"dev.azurecr.io:0" is not a valid registry host: the port must be 1 to 65535`,
		"dev.azurecr.io/cart@" + digest:   "has a digest",
		"dev.azurecr.io/cart:.x":          `".x" is not a valid tag`,
		"/cart":                           "has an empty registry host. Is a variable empty? Write host, host/repository or host/repository:tag.",
		"":                                "has an empty registry host. Is a variable empty?",
		"dev.azurecr.io/cart:":            "has an empty tag. Is a variable empty?",
		"dev.azurecr.io/":                 "has an empty repository. Is a variable empty?",
		"dev.azurecr.io/Cart":             `"Cart" is not a valid repository`,
		"dev.azurecr.io/cart:1@" + digest: "has a digest",
	} {
		if _, err := ParseTarget(in, Reference{}); err == nil || !strings.HasPrefix(err.Error(), "target "+strconv.Quote(in)) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTarget(%q): %v; want %q", in, err, want)
		}
	}
}

// The grammar as regular expressions, from the specification and RFC 1123, to
// compare the hand-written parsers with.
const component = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`

var grammar = struct{ repository, tag, digest, host, port *regexp.Regexp }{
	repository: regexp.MustCompile(`^` + component + `(?:/` + component + `)*$`),
	tag:        regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`),
	digest:     regexp.MustCompile(`^sha256:[a-f0-9]{64}$`),
	host:       regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$`),
	port:       regexp.MustCompile(`^(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$`),
}

// inGrammar fails the test unless each part of a reference matches the grammar.
func inGrammar(t *testing.T, r Reference) {
	t.Helper()
	if host, _, err := parseIPv6(r.Registry); err == nil {
		if net.ParseIP(strings.Trim(host, "[]")) == nil || !strings.HasPrefix(r.Registry, host) {
			t.Errorf("%+v: the registry is not an IPv6 address", r)
		}
		r.Registry = "host"
	}
	host, port, ported := strings.Cut(r.Registry, ":")
	if !grammar.host.MatchString(host) || len(host) > 253 || ported && (!grammar.port.MatchString(port) || port == "443" && (strings.Contains(host, ".") || host == "localhost")) {
		t.Errorf("%+v: the registry is not a valid host", r)
	}
	if !grammar.repository.MatchString(r.Repository) || len(r.Repository) > 255 {
		t.Errorf("%+v: the repository is not valid", r)
	}
	if r.Tag != "" && !grammar.tag.MatchString(r.Tag) || r.Digest != "" && !grammar.digest.MatchString(r.Digest) {
		t.Errorf("%+v: the tag or the digest is not valid", r)
	}
}

// texts makes valid and nearly valid references from random pieces.
type texts struct{ *rand.Rand }

func (r texts) of(pieces ...string) string { return pieces[r.IntN(len(pieces))] }

func (r texts) joined(between string, pieces ...string) string {
	parts := make([]string, 1+r.IntN(3))
	for i := range parts {
		parts[i] = r.of(pieces...)
	}
	return strings.Join(parts, between)
}

func (r texts) host() string {
	return r.joined(".", "prod", "azurecr", "io", "A1", "x-y", "127", "0", "localhost", "prod", "io", "-x", "", "docker", "[::1]") + r.of("", "", "", "", "", "", ":5000", ":443", ":80", ":65535", ":65536", ":0", ":00080", ":", ":x")
}

func (r texts) repository() string {
	return r.joined("/", "shop", "cart", "a.b", "a__b", "c---d", "0", "shop", "cart", "x", "y", "a..b", "a___b", "a-", "A", "..", "")
}

func (r texts) tag() string { return r.joined("", "1.0", "v1", "_x", "A", "-y", ".z", "latest", "") }

func (r texts) digest() string {
	return r.of("sha256:", "sha256:", "sha512:", "SHA256:", "") + strings.Repeat(r.of("ab", "0f", "0F", "xy"), r.usually(32, 31))
}

func (r texts) usually(usual, rare int) int {
	if r.IntN(8) == 0 {
		return rare
	}
	return usual
}

// TestParseReversesString checks that whatever parses matches the grammar, and
// that its String parses to the same reference. Many of the random texts are
// invalid, but enough are valid.
func TestParseReversesString(t *testing.T) {
	r := texts{rand.New(rand.NewPCG(1, 2))}
	sources, targets, invalid := 0, 0, 0
	for range 20_000 {
		text := r.host() + "/" + r.repository() + r.of(":"+r.tag(), "@"+r.digest(), "")
		source, err := ParseSource(text)
		if err == nil {
			sources++
			inGrammar(t, source)
			if again, err := ParseSource(source.String()); err != nil || again != source {
				t.Fatalf("ParseSource(%q) = %+v, which parses as %+v, %v", text, source, again, err)
			}
		}
		target, targetErr := ParseTarget(text, Reference{Repository: "else/where", Tag: "1"})
		if targetErr == nil {
			targets++
			inGrammar(t, target)
			if again, err := ParseTarget(target.String(), Reference{}); err != nil || again != target {
				t.Fatalf("ParseTarget(%q) = %+v, which parses as %+v, %v", text, target, again, err)
			}
		}
		if err != nil && targetErr != nil {
			invalid++
		}
	}
	if sources < 500 || targets < 500 || invalid < 500 {
		t.Errorf("%d sources, %d targets, %d invalid: choose other pieces", sources, targets, invalid)
	}
}

func FuzzParseSource(f *testing.F) {
	f.Add("prod.azurecr.io/shop/cart:1.4.2")
	f.Add("prod.azurecr.io/a/../b@sha256:")
	f.Add("prod.azurecr.io:5000/a@sha256:" + strings.Repeat("0a", 32))
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseSource(s)
		if err != nil {
			return
		}
		inGrammar(t, r)
		if strings.ContainsAny(r.String(), "\r\n\t []?#%") || strings.Contains(r.Repository, "..") || strings.Contains(r.Repository, "//") {
			t.Fatalf("ParseSource(%q) accepts %q", s, r)
		}
		again, err := ParseSource(r.String())
		if err != nil || again != r {
			t.Fatalf("ParseSource(%q) = %v, which parses as %v, %v", s, r, again, err)
		}
	})
}
