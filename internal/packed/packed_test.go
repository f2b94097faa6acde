package packed

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for _, text := range []string{"", "\x1f", "{}\n", strings.Repeat("An entry of the page.\n", 4000)} {
		if got := Text(text); got != text {
			t.Errorf("a text of %d bytes became one of %d", len(text), len(got))
		}
		if got := Text(compress(t, text)); got != text {
			t.Errorf("a compressed text of %d bytes became one of %d", len(text), len(got))
		}
	}
}

func TestTextDoesNotReturnADamagedText(t *testing.T) {
	packed := compress(t, "An entry of the page.\n")
	for name, damaged := range map[string]string{"header": packed[:5], "cut": packed[:len(packed)-9], "checksum": packed[:len(packed)-8] + "12345678"} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("a damaged text was returned")
				}
			}()
			Text(damaged)
		})
	}
}

func compress(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
