package seal

import (
	"bytes"
	_ "embed"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

//go:embed code_vectors.json
var vectors []byte

// TestVectors checks the published test vectors, which other implementations of
// the code can be checked against too.
func TestVectors(t *testing.T) {
	var v struct {
		Images []struct{ Digest, Code string }
		Sets   []struct {
			Members []Member
			Digest  string
			Code    string
		}
	}
	if err := json.Unmarshal(vectors, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Images) < 4 || len(v.Sets) < 3 {
		t.Fatalf("only %d images and %d sets in the vectors", len(v.Images), len(v.Sets))
	}
	for _, i := range v.Images {
		if got, err := Code(i.Digest); err != nil || got != i.Code {
			t.Errorf("Code(%s) = %s, %v; want %s", i.Digest, got, err, i.Code)
		}
	}
	for _, s := range v.Sets {
		digest := SetDigest(s.Members)
		if digest != s.Digest {
			t.Errorf("SetDigest(%v) = %s; want %s", s.Members, digest, s.Digest)
		}
		if got, err := Code(digest); err != nil || got != s.Code {
			t.Errorf("Code of the set %v = %s, %v; want %s", s.Members, got, err, s.Code)
		}
	}
}

// TestCodeAgainstLibrary compares Code with the standard library's base32 over
// the same alphabet.
func TestCodeAgainstLibrary(t *testing.T) {
	library := base32.NewEncoding(crockford).WithPadding(base32.NoPadding)
	for i := range 256 {
		raw := bytes.Repeat([]byte{byte(i), byte(255 - i), byte(i * 7)}, 11)[:32]
		got, err := Code("sha256:" + hex.EncodeToString(raw))
		if err != nil {
			t.Fatal(err)
		}
		want := library.EncodeToString(raw[:codeBytes])
		if strings.ReplaceAll(got, "-", "") != want || len(got) != 29 || strings.Count(got, "-") != 5 {
			t.Fatalf("code of %x is %s; the library says %s", raw, got, want)
		}
	}
}

func TestCodeOfInvalidDigest(t *testing.T) {
	for _, s := range []string{"", "sha256:", "sha256:abcd", "sha512:" + strings.Repeat("ab", 32), "sha256:" + strings.Repeat("xy", 32), "sha256:" + strings.Repeat("AB", 32), strings.Repeat("ab", 32)} {
		if code, err := Code(s); err == nil {
			t.Errorf("Code(%q) = %s, want an error", s, code)
		}
	}
}

func TestEncodeIsDeterministic(t *testing.T) {
	record := Record{Image: "registry.example/shop/cart:1.4.2", Digest: "sha256:" + strings.Repeat("a", 64), Run: Run{Kind: "yaml", ID: 4711}, Rules: []string{"older-than-run"}}
	first, err := record.Encode()
	if err != nil {
		t.Fatal(err)
	}
	second, _ := record.Encode()
	if !bytes.Equal(first, second) {
		t.Fatal("Encode returned different bytes for one record")
	}
	var read Record
	if err := json.Unmarshal(first, &read); err != nil || read.Schema != "acrpromote/seal/v1" || read.Run != record.Run {
		t.Fatalf("record %s: %v", first, err)
	}
}
