package levenshtein

import (
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"seal", "SEAL", 0}, {"sael", "seal", 2}, {"promte", "promote", 1},
		{"kitten", "sitting", 3}, {"flow", "flows", 1},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	actions := []string{"seal", "promote", "invertedPush", "verify", "audit", "help"}
	long := strings.Repeat("a", longest)
	for _, c := range []struct {
		name       string
		candidates []string
		want       string // "" if none is near
	}{
		{"seel", actions, "seal"},
		{"SEAL", actions, "seal"},
		{"sael", actions, "seal"},
		{"invertdpsh", actions, "invertedPush"},
		{"prmoteall", actions, ""},
		{"promoteall", actions, "promote"},
		{"xyzzy", actions, ""},
		{"s", actions, ""},
		{"", actions, ""},
		{"seal", nil, ""},
		{"dev", []string{"deva", "devb"}, "deva"},
		{"xy", []string{"ab", "xz"}, "xz"},
		{"xy", []string{"ab", "zx"}, ""},
		{"on", []string{"any"}, ""},
		{long[:longest-1], []string{long}, long},
		{long, []string{long + "a"}, ""},
		{long + "a", []string{long}, ""},
	} {
		got, ok := Nearest(c.name, c.candidates)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("Nearest(%q, %q) = %q, %t; want %q", c.name, c.candidates, got, ok, c.want)
		}
	}
}

func TestNearestHost(t *testing.T) {
	hosts := []string{"contosoprod.azurecr.io", "contosodev.azurecr.io", "hub.example:5000", "localhost:5000"}
	for host, want := range map[string]string{
		"contosoprd.azurecr.io": "contosoprod.azurecr.io", "contosodve.azurecr.io": "contosodev.azurecr.io", "CONTOSOPRO.azurecr.io": "contosoprod.azurecr.io",
		"contosoprod.azurecr.oi": "contosoprod.azurecr.io", "contosoprod.azurecr.cn": "contosoprod.azurecr.io", "hub.example:500": "hub.example:5000", "hub.exampel:5000": "hub.example:5000",
		"localhost:500": "localhost:5000", "contosoqa.azurecr.io": "", "fabrikam.azurecr.io": "", "contosoprod.example": "", "": "", "x": "", "contosoprd.azurecr.oi": "",
	} {
		if near, ok := NearestHost(host, hosts); near != want || ok != (want != "") {
			t.Errorf("NearestHost(%q) = %q, %v; want %q", host, near, ok, want)
		}
	}
}
