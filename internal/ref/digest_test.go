package ref

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
)

const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestIsDigest(t *testing.T) {
	digits := strings.Repeat("0a", 32)
	for s, want := range map[string]string{
		"sha256:" + digits: "", empty: "",
		"": "not a sha256 digest", digits: "not a sha256 digest", "sha512:" + digits + digits: "not a sha256 digest", "SHA256:" + digits: "not a sha256 digest",
		" sha256:" + digits: "not a sha256 digest", "sha256-" + digits: "not a sha256 digest",
		"sha256:":                    "not a sha256 digest of 64 lower-case hexadecimal digits",
		"sha256:" + digits[1:]:       "not a sha256 digest of 64 lower-case hexadecimal digits",
		"sha256:" + digits + "0":     "not a sha256 digest of 64 lower-case hexadecimal digits",
		"sha256:" + digits[1:] + "A": "not a sha256 digest of 64 lower-case hexadecimal digits",
		"sha256:" + digits[1:] + "g": "not a sha256 digest of 64 lower-case hexadecimal digits",
		"sha256:" + digits[2:] + "é": "not a sha256 digest of 64 lower-case hexadecimal digits",
	} {
		err := CheckDigest(s)
		if got := IsDigest(s); got != (want == "") || got != (err == nil) || err != nil && err.Error() != want {
			t.Errorf("IsDigest(%q) = %v, CheckDigest: %v; want %q", s, got, err, want)
		}
		if err != nil {
			if sum, decoded := DecodeDigest(s); sum != nil || decoded != err {
				t.Errorf("DecodeDigest(%q) = %x, %v; want %v", s, sum, decoded, err)
			}
		}
	}
}

func TestDigestOf(t *testing.T) {
	if got := DigestOf(nil); got != empty {
		t.Errorf("DigestOf(nil) = %s", got)
	}
	for _, data := range []string{"", "a", strings.Repeat("x", 1000)} {
		digest, sum := DigestOf([]byte(data)), sha256.Sum256([]byte(data))
		if !grammar.digest.MatchString(digest) || digest != EncodeDigest(sum[:]) {
			t.Errorf("DigestOf(%.10q) = %s", data, digest)
		}
		if decoded, err := DecodeDigest(digest); err != nil || !bytes.Equal(decoded, sum[:]) {
			t.Errorf("DecodeDigest(%s) = %x, %v", digest, decoded, err)
		}
	}
}

func TestNamesDigest(t *testing.T) {
	for s, want := range map[string]bool{empty: true, "sha512:00": true, "sha256:": true, ":": true, "": false, "1.0": false, "sha256-00": false} {
		if NamesDigest(s) != want {
			t.Errorf("NamesDigest(%q) = %v", s, !want)
		}
	}
}

func TestDigestTag(t *testing.T) {
	tag := DigestTag(empty)
	if tag != "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" || !IsTag(tag) || !strings.HasPrefix(tag, DigestTagPrefix) {
		t.Errorf("DigestTag(%s) = %s", empty, tag)
	}
	for _, ending := range []string{"", ".sig", ".att", "-x", "0"} {
		if digest, got, ok := ParseDigestTag(tag + ending); !ok || digest != empty || got != ending {
			t.Errorf("ParseDigestTag(%s) = %s, %s, %v", tag+ending, digest, got, ok)
		}
	}
	for _, s := range []string{"", "1.0", "sha256-", tag[:len(tag)-1], strings.ToUpper(tag), "sha512-" + tag[7:], empty, "x" + tag, tag[:20] + "g" + tag[21:]} {
		if digest, ending, ok := ParseDigestTag(s); ok || digest+ending != "" {
			t.Errorf("ParseDigestTag(%s) = %s, %s, %v", s, digest, ending, ok)
		}
	}
}

func FuzzDigests(f *testing.F) {
	for _, s := range []string{"", empty, DigestTag(empty), DigestTag(empty) + ".sig", "sha512:00", "sha256:" + strings.Repeat("A", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := IsDigest(s), grammar.digest.MatchString(s); got != want {
			t.Errorf("IsDigest(%q) = %v, want %v", s, got, want)
		}
		if sum, err := DecodeDigest(s); (err == nil) != IsDigest(s) || err == nil && EncodeDigest(sum) != s {
			t.Errorf("DecodeDigest(%q) = %x, %v", s, sum, err)
		}
		if IsDigest(s) && !NamesDigest(s) || IsTag(s) && NamesDigest(s) {
			t.Errorf("NamesDigest(%q) = %v", s, NamesDigest(s))
		}
		if digest, ending, ok := ParseDigestTag(s); ok && (!IsDigest(digest) || DigestTag(digest)+ending != s) {
			t.Errorf("ParseDigestTag(%q) = %q, %q", s, digest, ending)
		}
	})
}
