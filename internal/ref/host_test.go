package ref

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	long := strings.Repeat("a", 63)
	for in, want := range map[string]string{
		"prod.azurecr.io":                  "prod.azurecr.io",
		"PROD.AzureCR.io":                  "prod.azurecr.io",
		"prod.azurecr.io:443":              "prod.azurecr.io",
		"prod.azurecr.io:80":               "prod.azurecr.io:80",
		"prod.azurecr.io:1":                "prod.azurecr.io:1",
		"prod.azurecr.io:65535":            "prod.azurecr.io:65535",
		"localhost":                        "localhost",
		"localhost:5000":                   "localhost:5000",
		"registry:5000":                    "registry:5000",
		"registry:443":                     "registry:443",
		"127.0.0.1:5000":                   "127.0.0.1:5000",
		"a-b.c--d.io":                      "a-b.c--d.io",
		"[::1]":                            "[::1]",
		"[::1]:5000":                       "[::1]:5000",
		"[::1]:443":                        "[::1]",
		"[2001:DB8:0:0::01]:80":            "[2001:db8::1]:80",
		"docker.io":                        "registry-1.docker.io",
		"Docker.IO:443":                    "registry-1.docker.io",
		"index.docker.io":                  "registry-1.docker.io",
		"registry-1.docker.io":             "registry-1.docker.io",
		"docker.io:5000":                   "docker.io:5000",
		long + "." + long + ".azurecr.io":  long + "." + long + ".azurecr.io",
		strings.Repeat("a.", 126) + "a":    strings.Repeat("a.", 126) + "a",
		strings.Repeat("a.", 126) + "a:10": strings.Repeat("a.", 126) + "a:10",
	} {
		if got, err := ParseHost(in); err != nil || got != want {
			t.Errorf("ParseHost(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for kind, hosts := range map[error][]string{
		ErrHost: {
			"", ".", "prod..io", "prod.io.", ".prod.io", "-prod.io", "prod-.io", "pr_od.io", "prod.io/x", "prod.io:5000/x", "prod.io\n", " prod.io", "prod.io ",
			"https:", "https://prod.io", "docker://prod.io", "user@prod.io", "user:pw@prod.io", "[::1]x", "pröd.io", "prod\u3002io",
			"pro\u212a.io", "\u0130.io", long + "a.io", strings.Repeat("a.", 125) + "aaaa", ":5000", "prod.io?x", "prod.io#x", "%70rod.io", "\xff.io",
		},
		ErrIPv6:      {"::1", "::1:5000", "2001:db8::1", "[]", "[]:5000", "[::1", "[::1:5000", "[127.0.0.1]", "[::ffff:127.0.0.1]", "[fe80::1%eth0]:5000", "[prod.io]", "[[::1]]", "[::1 ]"},
		ErrShortHost: {"dev", "DEV", "a-b", "127"},
		ErrPort: {
			"prod.io:0", "prod.io:65536", "prod.io:99999", "prod.io:443443", "prod.io:0443", "prod.io:00", "prod.io:", "localhost:", "prod.io:x", "prod.io:-1",
			"[::1]:", "[::1]:0", "[::1]:x", "[::1]:0443", "[::1]:5000:1",
			"prod.io:+1", "prod.io:1.4.2", "prod.io:443:443", "prod.io: 1", "registry:0", "prod.io:18446744073709551617", "prod.io:５０００",
		},
	} {
		for _, in := range hosts {
			got, err := ParseHost(in)
			if !errors.Is(err, kind) || got != "" {
				t.Errorf("ParseHost(%q) = %q, %v; want %v", in, got, err, kind)
			}
		}
	}
	if _, err := ParseHost("host:99999"); err == nil || err.Error() != `"host:99999" is not a valid registry host: the port must be 1 to 65535` {
		t.Errorf("ParseHost with an invalid port: %v", err)
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"prod.azurecr.io", "PROD.io:443", "localhost:5000", "a:65536", "https://a", "a.b:", "[::1]:443", "[::1%1]", "[::ffff:1.2.3.4]", "docker.io", "\u212a.io", "a-.b", "1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseHost(s)
		kinds := 0
		for _, kind := range []error{ErrHost, ErrShortHost, ErrPort, ErrIPv6} {
			if errors.Is(err, kind) {
				kinds++
			}
		}
		if err != nil {
			if kinds != 1 || got != "" {
				t.Errorf("ParseHost(%q) = %q, %v, which wraps %d of the errors", s, got, err, kinds)
			}
			return
		}
		if again, err := ParseHost(got); err != nil || again != got {
			t.Errorf("ParseHost(%q) = %q, which parses as %q, %v", s, got, again, err)
		}
		if got != CanonicalHost(s) {
			t.Errorf("ParseHost(%q) = %q, CanonicalHost = %q", s, got, CanonicalHost(s))
		}
		if got == DockerHub || got[0] == '[' {
			return
		}
		host, port, ported := strings.Cut(got, ":")
		if !grammar.host.MatchString(host) || len(host) > 253 || ported && !grammar.port.MatchString(port) || port == "443" && (strings.Contains(host, ".") || host == "localhost") {
			t.Errorf("ParseHost(%q) = %q", s, got)
		}
		if lower := strings.ToLower(s); got != lower && got+":443" != lower {
			t.Errorf("ParseHost(%q) = %q", s, got)
		}
	})
}

func TestIsPort(t *testing.T) {
	for n := range 70_000 {
		if got, want := IsPort(strconv.Itoa(n)), n >= 1 && n <= 65535; got != want {
			t.Errorf("IsPort(%d) = %v", n, got)
		}
	}
	for _, s := range []string{"", "0443", "00", "-1", "+1", " 1", "1 ", "1e3", "0x1", "x", "٣", "4294967297", strings.Repeat("1", 100)} {
		if IsPort(s) {
			t.Errorf("IsPort(%q) = true", s)
		}
	}
}

func TestSplitPort(t *testing.T) {
	for in, want := range map[string][2]string{
		"prod.io": {"prod.io", ""}, "prod.io:443": {"prod.io", "443"}, "": {"", ""}, "[::1]": {"[::1]", ""}, "[::1]:80": {"[::1]", "80"}, "under_score:1": {"under_score", "1"},
	} {
		host, port, err := SplitPort(in)
		if err != nil || host != want[0] || port != want[1] {
			t.Errorf("SplitPort(%q) = %q, %q, %v", in, host, port, err)
		}
	}
	for _, in := range []string{"prod.io:", "prod.io:0", "prod.io:0443", "prod.io:65536", "prod.io:x", "[::1]:", "[::1]:0", "::"} {
		if host, port, err := SplitPort(in); err != ErrPort || host+port != "" {
			t.Errorf("SplitPort(%q) = %q, %q, %v", in, host, port, err)
		}
	}
}

func TestHostPort(t *testing.T) {
	for in, want := range map[string]string{
		"prod.io": "prod.io:443", "PROD.io:80": "prod.io:80", "under_score": "under_score:443", "host.": "host.:443", "[::1]": "[::1]:443", "[FE80::1%en0]:8080": "[fe80::1%en0]:8080",
	} {
		if got, ok := HostPort(in, "443"); !ok || got != want {
			t.Errorf("HostPort(%q) = %q, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", ":443", "prod.io:", "prod.io:0", "prod.io:99999", "prod.io:0443", "pröd.io", "\u212a.io", "pro d.io", "prod.io\n", "a:1:2", "[::1", "::1]", "::1", "[]", "[[::1]]", "[]:1"} {
		if got, ok := HostPort(in, "443"); ok || got != "" {
			t.Errorf("HostPort(%q) = %q, %v", in, got, ok)
		}
	}
}

// FuzzHostPort compares HostPort with the standard library's parser of URLs.
func FuzzHostPort(f *testing.F) {
	for _, s := range []string{"prod.azurecr.io", "PROD.io:8443", "[::1]:80", "[::1]", "a:", "a:0", "a:99999", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse("https://" + s + "/")
		if err != nil || u.Host != s || u.Hostname() == "" {
			return
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		want := net.JoinHostPort(strings.ToLower(u.Hostname()), port)
		n, _ := strconv.Atoi(port)
		valid := n > 0 && n < 65536 && port[0] != '0' && !strings.HasSuffix(s, ":") && !strings.ContainsFunc(s, func(r rune) bool { return r > '~' || r <= ' ' })
		switch got, ok := HostPort(s, "443"); {
		case ok && (!valid || got != want):
			t.Errorf("HostPort(%q) = %q, want %q, %v", s, got, want, valid)
		case !ok && valid && !strings.ContainsAny(u.Hostname(), ":[]"):
			t.Errorf("HostPort(%q) rejects %q", s, want)
		}
	})
}

func TestDefaultPort(t *testing.T) {
	if a, b, c := DefaultPort("http"), DefaultPort("https"), DefaultPort(""); a != "80" || b != "443" || c != "443" {
		t.Errorf("http %s, https %s, none %s", a, b, c)
	}
}

func TestCanonicalHost(t *testing.T) {
	for in, want := range map[string]string{
		"PROD.azurecr.io:443": "prod.azurecr.io", "prod.io:8443": "prod.io:8443", "Under_Score.io": "under_score.io", "registry:443": "registry:443", "registry": "registry:443", "localhost:443": "localhost", "[::1]:443": "[::1]", "[::1]": "[::1]", "[0:0::1]:80": "[::1]:80", "docker.io": "registry-1.docker.io", "index.docker.io:443": "registry-1.docker.io", "prod.io:": "prod.io:", "prod.io:0443": "prod.io:0443", "pro\u212a.io": "pro\u212a.io", "": "",
	} {
		if got := CanonicalHost(in); got != want {
			t.Errorf("CanonicalHost(%q) = %q; want %q", in, got, want)
		}
	}
}

// TestLoginServer checks which login server a regional endpoint belongs to.
func TestLoginServer(t *testing.T) {
	for host, want := range map[string]string{
		"contoso.azurecr.io":                              "contoso.azurecr.io",
		"contoso-a1b2.azurecr.io":                         "contoso-a1b2.azurecr.io",
		"contoso.westeurope.geo.azurecr.io":               "contoso.azurecr.io",
		"contoso-a1b2.westeurope.geo.azurecr.io":          "contoso-a1b2.azurecr.io",
		"contoso.chinanorth3.geo.azurecr.cn":              "contoso.azurecr.cn",
		"contoso.usgovvirginia.geo.azurecr.us":            "contoso.azurecr.us",
		"contoso.geo.azurecr.io":                          "contoso.geo.azurecr.io",
		"contoso.westeurope.data.azurecr.io":              "contoso.westeurope.data.azurecr.io",
		"contoso.westeurope.geo.azurecr.io.example.com":   "contoso.westeurope.geo.azurecr.io.example.com",
		"contoso.westeurope.geo.azurecr.cn.example.co.uk": "contoso.westeurope.geo.azurecr.cn.example.co.uk",
	} {
		if got := LoginServer(host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}
