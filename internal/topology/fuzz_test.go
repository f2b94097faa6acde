package topology

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"

	"acrpromote/internal/ref"
)

// sane checks an error: it must be an Invalid with at most twenty problems,
// sorted, each with a position and a reason that is a clause.
func sane(t *testing.T, err error) {
	t.Helper()
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("%T: %v", err, err)
	}
	if len(invalid.Problems) == 0 || len(invalid.Problems) > maxReported || invalid.More < 0 {
		t.Fatalf("%d problems and %d more", len(invalid.Problems), invalid.More)
	}
	last := Problem{}
	for _, p := range invalid.Problems {
		if p.Line < 1 || p.Column < 1 || p.Reason == "" || strings.HasSuffix(p.Reason, ".") {
			t.Fatalf("%+v", p)
		}
		if p.Line < last.Line || p.Line == last.Line && p.Column < last.Column {
			t.Fatalf("%+v after %+v", p, last)
		}
		if strings.ContainsAny(p.Reason+p.Remedy, "\n\r") || !utf8.ValidString(p.Reason+p.Remedy) || len(p.Reason)+len(p.Remedy) > 4000 {
			t.Fatalf("%+v", p)
		}
		last = p
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range mistakes {
		f.Add([]byte(c.file()))
	}
	for _, seed := range []string{validFile, "a: &a [*a]\n", "? ? ? a", "- - - a", "\xff\xfe", "{a: {a: {a", "'", "--- !!binary |\n a", "%YAML 1.3\n---\na", "\"\\\n", "a: |\n\t x", "[a, b]: c\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := Parse("f", content)
		if err != nil {
			sane(t, err)
			return
		}
		if bytes.IndexByte(content, 0) >= 0 || len(file.Flows) == 0 || len(file.Registries) == 0 {
			t.Fatalf("%q was accepted", content)
		}
		for _, flow := range file.Flows {
			for _, to := range flow.To {
				if file.Registries[to] == nil || file.Registries[flow.From] == nil {
					t.Fatalf("unknown registries in %s", flow.Name)
				}
				if to != flow.From && file.Direction(flow.From, to) == Up && flow.Require.Approval.Kind == None {
					t.Fatalf("flow %s leads up without approval", flow.Name)
				}
			}
			if _, _, err := flow.Names("a", "a"); err != nil {
				t.Fatal(err)
			}
			flow.Covers("shop/cart", "1.2.3")
		}
	})
}

func FuzzParseImages(f *testing.F) {
	for _, seed := range []string{"shop/cart:1\n", "a@" + digest, "**:>=1 <2", ":", "@", "a:b:c", "\ufeff#\r\n", "a/b:!="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		images, err := ParseImages("f", content)
		if err != nil {
			sane(t, err)
			return
		}
		again, err := ParseImages("f", []byte(strings.Join(texts(images), "\n")))
		if err != nil || strings.Join(texts(again), "\n") != strings.Join(texts(images), "\n") {
			t.Fatalf("%q parsed again: %q, %v", texts(images), texts(again), err)
		}
	})
}

// FuzzImagesFromManifests also checks that splitting a file loses nothing of it, and
// that what is shown of it is one line each.
func FuzzImagesFromManifests(f *testing.F) {
	for _, seed := range []string{
		"containers: [{image: prod.azurecr.io/a:1}]", "a: &a\n  containers: *a\n", "---\n---\n", "shop/cart:1\n", "containers:\n- image: *x\n",
		"a: &a {b: *a}\n", "containers: &c [{<<: *c, image: prod.azurecr.io/a:1}]", "- image:\n", "kind: Pod\nimage: prod.azurecr.io/a\n", "? {containers: [{image: a}]}\n",
		"items:\n- a\n-\n  b\nc: d\n", "%YAML 1.2\n---\na\n...\n---", `{"items": [{"image": {"repository": "prod.azurecr.io/a"}}]}`, `[1, "\ud83d\ude80"]`, "a: &a {<<: *a, kind: x, apiVersion: tekton.dev/v1}\n",
	} {
		f.Add([]byte(seed))
	}
	files, err := filepath.Glob("testdata/kubernetes/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if joined := strings.Join(splitDocuments(string(content)), ""); joined != string(content) {
			t.Fatalf("%q was split into %q", content, joined)
		}
		joined, line := "", 0
		for _, part := range splitItems(string(content)) {
			if part.line != line {
				t.Fatalf("%q is said to begin after %d lines, not %d", part.text, part.line, line)
			}
			joined += part.text
			line += strings.Count(part.text, "\n")
		}
		if joined != "" && joined != string(content) {
			t.Fatalf("%q was split into %q", content, joined)
		}
		found, err := ImagesFromManifests("f", content, "prod.azurecr.io")
		if err != nil {
			sane(t, err)
			return
		}
		if len(found.Images) == 0 || len(found.Images) > maxImages || len(found.Others) > maxOthers {
			t.Fatalf("%d images, %d others", len(found.Images), len(found.Others))
		}
		for _, other := range append(found.Others, found.Untagged...) {
			if text := other.String(); other.Line < 1 || strings.ContainsAny(text, "\n\r") || !utf8.ValidString(text) {
				t.Fatalf("%d %q", other.Line, text)
			}
		}
	})
}

// FuzzOverlap checks that no name matches two patterns that do not overlap.
func FuzzOverlap(f *testing.F) {
	f.Add("a/**", "*/b", "a/b")
	f.Add("**/a*", "x?/**/ab", "xy/ab")
	f.Add("a*b*c", "*bc", "abc")
	f.Fuzz(func(t *testing.T, a, b, name string) {
		var p, q RepositoryPattern
		if p.read(a) != nil || q.read(b) != nil || !ref.IsRepository(name) {
			return
		}
		spent := 0
		overlap := p.overlaps(q.glob, &spent)
		if spent = 0; overlap != q.overlaps(p.glob, &spent) {
			t.Fatalf("%s and %s: the overlap depends on the order", a, b)
		}
		if !overlap && p.match(name) && q.match(name) {
			t.Fatalf("%s matches %s and %s, which do not overlap", name, a, b)
		}
	})
}

// FuzzVersions checks the fast path of parsing versions.
func FuzzVersions(f *testing.F) {
	for _, s := range []string{"1.2.3", "v1.2", "1.2.3-rc.1+build", "01.2.3", "1.2.3-01", "1.2.3.4", "7", "1.x", "18446744073709551616.1.1", "v1.2.3-é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := version(s)
		if !ok {
			return
		}
		want, err := semver.NewVersion(strings.TrimPrefix(s, "v"))
		if err != nil || !got.Equal(want) || got.Prerelease() != want.Prerelease() {
			t.Errorf("%q is parsed as %v, want %v, %v", s, got, want, err)
		}
	})
}
