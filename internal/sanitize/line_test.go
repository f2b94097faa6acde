package sanitize

import (
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"inProgress":             "inProgress",
		"  one\r\ntwo\t":         "one  two",
		"<b>bold</b>":            "b bold /b",
		"a\x1b[31mb\x00c":        "a [31mb c",
		"\xff\xfeé":              "?é",
		strings.Repeat("é", 300): strings.Repeat("é", 300),
		strings.Repeat("é", 301): strings.Repeat("é", 300) + "…",
	} {
		if got := Line(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
