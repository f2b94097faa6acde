package approval_test

import (
	"testing"

	"acrpromote/internal/approval"
)

func TestGUID(t *testing.T) {
	for id, want := range map[string]string{
		"3A6F2D9B-7C11-4A52-8F3E-5F3A1F9A6B33":   "3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33",
		"00000000-0000-0000-0000-000000000000":   "",
		"":                                       "",
		"{3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33}": "",
		"urn:uuid:3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33": "",
		"3a6f2d9b7c114a528f3e5f3a1f9a6b33":              "",
		"3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b3g":          "",
		"3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b3":           "",
		"3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b333":         "",
		"3a6f2d9b-7c11-4a52-8f3e05f3a1f9a6b33":          "",
		"3a6f2d9-b7c11-4a52-8f3e-5f3a1f9a6b33":          "",
		"3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6é3":           "",
	} {
		if got := approval.GUID(id); got != want {
			t.Errorf("%q: %q", id, got)
		}
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"3A6F2D9B-7C11-4A52-8F3E-5F3A1F9A6B33", "3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33", true},
		{"3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33", "3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b34", false},
		{"", "", false},
		{"x", "x", false},
		{"00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000", false},
	} {
		if approval.SameGUID(c.a, c.b) != c.same || approval.SameGUID(c.b, c.a) != c.same {
			t.Errorf("%q and %q: not %v", c.a, c.b, c.same)
		}
	}
}
