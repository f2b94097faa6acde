package sanitize

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"inProgress":              "inProgress",
		"  one\r\ntwo\t":          "one two",
		"one\u2028two\u0085three": "one two three",
		"a\u00a0 \u3000b":         "a b",
		"<b>bold</b>":             "b bold /b",
		"a\x1b[31mb\x00c\x7fd":    "a [31mb c d",
		"\xff\xfeé":               "?é",
		"a\u202eb\u200bc\ufeffd":  "abcd",
		"a\u2066b\u00adc\ufe0fd":  "abcd",
		"a\u115fb\u3164c\ue000d":  "abcd",
		"\u200b \n":               "",
		"“quoted” 名前 ✓ e\u0301":   "“quoted” 名前 ✓ e\u0301",
		strings.Repeat("é", 300):  strings.Repeat("é", 300),
		strings.Repeat("é", 301):  strings.Repeat("é", 300) + "…",
		"Authorization: Bearer abcdefghijklmnop.qrst refused":              "*** refused",
		`{"Authorization":["Basic YTpi"]}`:                                 `{"***"]}`,
		"map[Authorization:[Basic dXNlcjpw] Accept:[*/*]]":                 "map[***] Accept:[*/*]]",
		"authorization: denied, Basic authentication is off":               "authorization: denied, Basic authentication is off",
		"authorization=0123456789abcdef":                                   "***",
		"no: bearer 0123456789abcdef, and basic 0123456789abcdef":          "no: ***, and ***",
		"15462400 bytes of run 06860712":                                   "15462400 bytes of run 06860712",
		"Basic YTpi":                                                       "***",
		"bad token eyJhbGci.other.one and eyJ":                             "bad token *** and ***",
		"the key EYJHBGCIOIJIUZI1NIJ9 of keyjack":                          "the key *** of keyjack",
		"a-eyJhbGci\u200bOiJIUzI1NiJ9.x_y-z\n##vso[task.complete]":         "a-*** ##vso[task.complete]",
		"sent cHVzaGVyOmEtcGFzc3dvcmR+MQ== and cHVzaGVyOmEtcGFzc3dvcmR-MQ": "sent *** and ***",
		"sent dXNlcjpww6Rzc3dvcnQ":                                         "sent ***",                   // user:pässwort
		"sent dXNlcjo= and cHVzaGVy":                                       "sent dXNlcjo= and cHVzaGVy", // no password, no user
		"shop/cart@sha256:4d0ae5ed1c5b7fd5c1bf5d3e0a56fdbc8b2ed1c37a8a9f3b1e8ac4f6a3d0e6f1 of prod.azurecr.io:443": "shop/cart@sha256:4d0ae5ed1c5b7fd5c1bf5d3e0a56fdbc8b2ed1c37a8a9f3b1e8ac4f6a3d0e6f1 of prod.azurecr.io:443",
	} {
		if got := Line(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestBounded(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"äöü", 3, "äöü"},
		{"äöüx", 3, "äöü…"},
		{"ab  cd", 3, "ab…"},
		{"ab", 0, "…"},
		{"", 0, ""},
		// Cut after the credential is replaced.
		{"token eyJhbGciOiJIUzI1NiJ9", 10, "token ***"},
		{"token eyJhbGciOiJIUzI1NiJ9", 8, "token **…"},
		{strings.Repeat("x", longestText+1), 3, "xxx…"},
		{"a" + strings.Repeat("\u200b", longestText), 3, "…"},
	} {
		if got := Bounded(c.text, c.limit); got != c.want {
			t.Errorf("Bounded(%.100q, %d) = %.100q, want %q", c.text, c.limit, got, c.want)
		}
	}
}

// TestBoundedLooksAtSoMuch: of what is too long to be looked at, the end that
// may hold half a secret is not shown.
func TestBoundedLooksAtSoMuch(t *testing.T) {
	got := Bounded(strings.Repeat("é ", longestText), longestText)
	if !strings.HasSuffix(got, "é…") || !utf8.ValidString(got) || len(got) > longestText-longestSecret+len("…") || len(got) < longestText-longestSecret-10 {
		t.Errorf("%d bytes are shown, at the end %q", len(got), got[max(0, len(got)-10):])
	}
}

func TestVisible(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{" plain ", 100, "plain"},
		{"a\r\nb\rc\nd\u2028e\u0085f\vg", 100, "a⏎b⏎c⏎d⏎e⏎f⏎g"},
		{"a\tb\u00a0c", 100, "a b c"},
		{"a\x1b[0m\u202eb\u200bc\x00", 100, "a<U+001B>[0m<U+202E>b<U+200B>c<U+0000>"},
		{"a\xffb", 100, "a<FF>b"},
		{"✓\ufe0fx\U000e0101", 100, "✓x<U+E0101>"},
		{"\u115fx\u3164y", 100, "<U+115F>x<U+3164>y"},
		{"äöü", 6, "äöü"},
		{"äöü", 5, "äö…"},
	} {
		if got := Visible(c.text, c.limit); got != c.want {
			t.Errorf("Visible(%q, %d) = %q, want %q", c.text, c.limit, got, c.want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("a\r\n\x1b\u202e\ufe0f\xff")
	f.Fuzz(func(t *testing.T, text string) {
		if got := Visible(text, 100); !utf8.ValidString(got) || strings.ContainsFunc(got, steers) {
			t.Errorf("%q: %q", text, got)
		}
	})
}

// steers reports whether a character may not be in a clean line. It does not
// ask what Line asks.
func steers(r rune) bool {
	return r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff ||
		unicode.In(r, unicode.Bidi_Control, unicode.Cf, unicode.Co, unicode.Cs, unicode.Variation_Selector, unicode.Zl, unicode.Zp)
}
