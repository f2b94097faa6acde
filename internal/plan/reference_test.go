package plan

import (
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

func FuzzParseSource(f *testing.F) {
	f.Add("prod.azurecr.io/shop/cart:1.4.2")
	f.Add("prod.azurecr.io/a/../b@sha256:")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseSource(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(r.String(), "\r\n\t []?#%") || strings.Contains(r.Repository, "..") || strings.Contains(r.Repository, "//") {
			t.Fatalf("ParseSource(%q) let %q through", s, r)
		}
		again, err := ParseSource(r.String())
		if err != nil || again != r {
			t.Fatalf("ParseSource(%q) = %v, which parses as %v, %v", s, r, again, err)
		}
	})
}
