package htmlreport

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"acrpromote/internal/report"
)

// results returns the results that the tests of package report compare, by name.
func results(t testing.TB) map[string]report.Result {
	t.Helper()
	files, err := filepath.Glob("../report/testdata/*.json.golden")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d results: %v", len(files), err)
	}
	all := map[string]report.Result{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r report.Result
		if err := json.Unmarshal(content, &r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json.golden")] = r
	}
	return all
}

func render(t testing.TB, results ...report.Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, results); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// element is an element of a page: its name with its attributes, and its own text.
type element struct {
	name string
	text string
}

// elements parses a page as a browser does that runs scripts.
func elements(t testing.TB, page []byte) []element {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var all []element
	for n := range root.Descendants() {
		switch n.Type {
		case html.ElementNode:
			e := element{name: n.Data}
			for _, a := range n.Attr {
				e.name += fmt.Sprintf(" %s=%q", a.Key, a.Val)
			}
			for child := range n.ChildNodes() {
				if child.Type == html.TextNode {
					e.text += child.Data
				}
			}
			all = append(all, e)
		case html.CommentNode:
			t.Errorf("the page has the comment %q", n.Data)
		}
	}
	return all
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(s[:]) + "'"
}

// structure checks what a page consists of and returns its data.
func structure(t testing.TB, page []byte) string {
	t.Helper()
	all := elements(t, page)
	var css, js, data, form string
	for _, e := range all {
		switch {
		case e.name == "style":
			css = e.text
		case e.name == "script":
			js = e.text
		case strings.HasPrefix(e.name, "script "):
			data = e.text
			if strings.Contains(e.name, "data-packed") {
				form = ` data-packed=""`
			}
		}
	}
	if bytes.Contains(page, []byte("##")) {
		t.Error("the page could contain a logging command")
	}
	policy := "default-src 'none'; script-src " + sum(js) + "; style-src " + sum(css) + "; img-src data:; base-uri 'none'; form-action 'none'"
	want := []string{
		"html lang=\"en\"", "head", "meta charset=\"utf-8\"",
		fmt.Sprintf("meta http-equiv=\"Content-Security-Policy\" content=%q", policy),
		"meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"",
		"meta name=\"color-scheme\" content=\"light dark\"",
		"meta name=\"referrer\" content=\"no-referrer\"",
		"title", "link rel=\"icon\" href=\"data:,\"", "style", "body", "header id=\"top\"", "h1 id=\"title\"", "main id=\"report\"", "noscript",
		"script type=\"application/x-ndjson\" id=\"data\"" + form, "script",
	}
	var got []string
	for _, e := range all {
		got = append(got, e.name)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the page consists of\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if css != style || js != script {
		t.Error("the style or the script is not the embedded one")
	}
	if form != "" {
		data = unpack(t, data)
	}
	return data
}

func unpack(t testing.TB, data string) string {
	t.Helper()
	r, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// read returns the results that are in the data of a page.
func read(t testing.TB, data string) (all []report.Result, headlines []string) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(data))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var s step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%v in %.200s", err, lines.Text())
		}
		if s.Result.Schema != "" {
			all, headlines = append(all, s.Result), append(headlines, s.Headline)
			continue
		}
		var image report.Image
		if err := json.Unmarshal(lines.Bytes(), &image); err != nil {
			t.Fatal(err)
		}
		last := &all[len(all)-1]
		last.Images = append(last.Images, image)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all, headlines
}

// document returns a result as result.json has it.
func document(t testing.TB, r report.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageHasTheResult(t *testing.T) {
	for name, r := range results(t) {
		t.Run(name, func(t *testing.T) {
			got, headlines := read(t, structure(t, render(t, r)))
			if len(got) != 1 || document(t, got[0]) != document(t, r) {
				t.Errorf("the page has %d results, or another one", len(got))
			}
			if headlines[0] != report.Headline(r) {
				t.Errorf("headline %q", headlines[0])
			}
		})
	}
}

func TestPageOfSeveralResults(t *testing.T) {
	all := results(t)
	want := []report.Result{all["seal"], all["plan"], all["flow"], all["partial"]}
	got, _ := read(t, structure(t, render(t, want...)))
	if len(got) != len(want) {
		t.Fatalf("%d results, want %d", len(got), len(want))
	}
	for i := range want {
		if document(t, got[i]) != document(t, want[i]) {
			t.Errorf("result %d is another", i)
		}
	}
}

func TestPageWithoutResult(t *testing.T) {
	if err := Write(io.Discard, nil); err == nil {
		t.Error("a page without a result was written")
	}
}

func TestPageThatCannotBeWritten(t *testing.T) {
	r := results(t)["done"]
	whole := len(render(t, r))
	for _, room := range []int{0, 300, 2000, 20000, whole - 3} {
		if err := Write(&limited{room}, []report.Result{r}); err == nil {
			t.Errorf("no error after %d of %d bytes", room, whole)
		}
	}
}

type limited struct{ room int }

func (l *limited) Write(p []byte) (int, error) {
	if l.room -= len(p); l.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// TestLargePage checks the size of a page about 500 images at 20 registries.
func TestLargePage(t *testing.T) {
	r := results(t)["flow"]
	image := r.Images[0]
	r.Images = nil
	for i := range 500 {
		image.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		image.Source = fmt.Sprintf("prod.azurecr.io/shop/service-%d:2026.11.3", i)
		image.Attached = nil
		for j := range 3 {
			image.Attached = append(image.Attached, report.Attached{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(j)})), ArtifactType: "application/spdx+json", Subject: image.Digest, State: "copied"})
		}
		image.Targets = nil
		for j := range 20 {
			image.Targets = append(image.Targets, report.Target{Registry: fmt.Sprintf("team%d.azurecr.io", j), Repository: fmt.Sprintf("shop/service-%d", i), Tag: "2026.11.3", State: "copied", Referrers: 3, Attached: image.Attached})
		}
		r.Images = append(r.Images, image)
	}
	page := render(t, r)
	t.Logf("%d bytes of JSON, %d of the page", len(document(t, r)), len(page))
	if len(page) > 2<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	got, _ := read(t, structure(t, page))
	if len(got) != 1 || document(t, got[0]) != document(t, r) {
		t.Error("the page has another result")
	}
}

// with returns a copy of a result with every text replaced.
func with(t testing.TB, r report.Result, text string) report.Result {
	t.Helper()
	var put func(v reflect.Value)
	put = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(text)
		case reflect.Struct:
			for i := range v.NumField() {
				put(v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				put(v.Index(i))
			}
		case reflect.Pointer:
			if !v.IsNil() {
				put(v.Elem())
			}
		case reflect.Map:
			replaced := reflect.MakeMap(v.Type())
			for _, key := range v.MapKeys() {
				value := reflect.New(v.Type().Elem()).Elem()
				value.Set(v.MapIndex(key))
				put(value)
				replaced.SetMapIndex(reflect.ValueOf(text).Convert(v.Type().Key()), value)
			}
			v.Set(replaced)
		}
	}
	var copied report.Result
	if err := json.Unmarshal([]byte(document(t, r)), &copied); err != nil {
		t.Fatal(err)
	}
	put(reflect.ValueOf(&copied).Elem())
	return copied
}

func FuzzHostileTexts(f *testing.F) {
	for _, text := range []string{
		"</script><script>alert(1)</script>", "<!--<script>", "-->", "]]>", "</SCRIPT ", "<\x00/script>", "\u2028\u2029", "\xff\xfe", "\"}\n{\"result\":{}}", "{script}{style}{data}{packed}{policy}", "&lt;/script&gt;", "\r\n", "javascript:alert(1)", "##vso[task.complete result=Succeeded]", "'; script-src *",
	} {
		f.Add(text)
	}
	all := results(f)
	f.Fuzz(func(t *testing.T, text string) {
		r := with(t, all["hostile"], text)
		r.Schema = report.Schema
		got, _ := read(t, structure(t, render(t, r)))
		// Invalid UTF-8 is replaced on the way.
		var want report.Result
		if err := json.Unmarshal([]byte(document(t, r)), &want); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || document(t, got[0]) != document(t, want) {
			t.Error("the page has another result")
		}
	})
}

// TestSources checks that the parts of the page can be put together, and that its
// script makes elements and texts only.
func TestSources(t *testing.T) {
	for name, source := range map[string]struct {
		text  string
		never []string
	}{
		"page.html": {page, []string{"\r", "\x00"}},
		"style.css": {style, []string{"\r", "\x00", "<", "url(", "@import", "\\"}},
		"script.js": {script, []string{
			"\r", "\x00", "</", "<!", "<script", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval", "Function(", "setAttribute('style'", ".style", "srcdoc",
			"DOMParser", "createContextualFragment", "fetch(", "XMLHttpRequest", "import(", "location", "cookie", "Storage",
		}},
	} {
		for _, never := range source.never {
			if strings.Contains(source.text, never) {
				t.Errorf("%s contains %q", name, never)
			}
		}
	}
}
