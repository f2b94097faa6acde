package ref

import (
	"strings"
	"testing"
)

func TestIsRepository(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "shop/cart": true, "a.b_c--d/e__f": true, "a---b": true, "0/1": true, strings.Repeat("a", 255): true, strings.Repeat("a/", 127) + "a": true,
		"": false, "A": false, "a//b": false, "/a": false, "a/": false, "a/../b": false, "..": false, "a/./b": false, "a..b": false, "a___b": false, "a-_b": false, "a._b": false,
		"-a": false, "a-": false, "_a": false, "a?b": false, "a%2e": false, "a b": false, "a:b": false, "a@b": false, "ä": false, "a\n": false,
		strings.Repeat("a", 256): false, strings.Repeat("a/", 128): false,
	} {
		if IsRepository(s) != want {
			t.Errorf("IsRepository(%q) = %v", s, !want)
		}
	}
}

func TestIsTag(t *testing.T) {
	for s, want := range map[string]bool{
		"1.0": true, "_x-Y.z": true, "A": true, "a..b": true, strings.Repeat("a", 128): true,
		"": false, ".a": false, "-a": false, "a/b": false, "a b": false, "a:b": false, "a+b": false, "ä": false, "a\n": false, strings.Repeat("a", 129): false,
	} {
		if IsTag(s) != want {
			t.Errorf("IsTag(%q) = %v", s, !want)
		}
	}
}

func TestIsScopeName(t *testing.T) {
	for s, want := range map[string]bool{
		"shop/cart": true, "Shop/Cart": true, "a..b": true, "../a": true, "-": true, strings.Repeat("a", 256): true,
		"": false, "a:pull": false, "a b": false, "a,b": false, "a%20b": false, "a\n": false, "ä": false, strings.Repeat("a", 257): false,
	} {
		if IsScopeName(s) != want {
			t.Errorf("IsScopeName(%q) = %v", s, !want)
		}
	}
}

// FuzzNames compares the hand-written parsers with the specification's regular
// expressions.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a", "shop/cart", "a__b", "a___b", "a-_b", "a--b/c.d", "a..b", "/a", "a/", "a//b", "A", "1.2.3", ".a", "-a", "_", "a_", "é", "a\n", strings.Repeat("a", 128), strings.Repeat("a", 129), strings.Repeat("a/", 127) + "a", strings.Repeat("a/", 128)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := IsRepository(s)
		if want := len(s) <= 255 && grammar.repository.MatchString(s); got != want {
			t.Errorf("IsRepository(%q) = %v, want %v", s, got, want)
		}
		if got && !IsScopeName(s) {
			t.Errorf("IsScopeName(%q) = false for a repository", s)
		}
		if got, want := IsTag(s), grammar.tag.MatchString(s); got != want {
			t.Errorf("IsTag(%q) = %v, want %v", s, got, want)
		}
	})
}
