package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

type object = map[string]any

func encode(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// spdxOf returns an SPDX document of package URLs, with what such documents have
// besides.
func spdxOf(purls []string) object {
	packages := []object{{"SPDXID": "SPDXRef-Image", "name": "shop/cart", "versionInfo": "sha256:1", "primaryPackagePurpose": "CONTAINER"}}
	for i, purl := range purls {
		packages = append(packages, object{"SPDXID": fmt.Sprint("SPDXRef-", i), "name": "ignored", "versionInfo": "NOASSERTION", "filesAnalyzed": false,
			"checksums": []object{{"algorithm": "SHA256", "checksumValue": "00"}},
			"externalRefs": []object{
				{"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:x"},
				{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}}})
	}
	return object{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "packages": packages, "files": []object{{"fileName": "a", "x": []any{1, nil, true, object{}}}}}
}

// cycloneOf returns a CycloneDX document of package URLs, the second half nested in
// the first component.
func cycloneOf(purls []string) object {
	component := func(purl string) object {
		return object{"type": "library", "name": "ignored", "purl": purl, "licenses": []object{{"license": object{"id": "MIT"}}}}
	}
	var components, inner []object
	for i, purl := range purls {
		if i > len(purls)/2 {
			inner = append(inner, component(purl))
		} else {
			components = append(components, component(purl))
		}
	}
	if len(inner) > 0 {
		components[0]["components"] = inner
	}
	components = append(components, object{"type": "file", "name": "/etc/passwd"})
	return object{"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": object{"component": object{"type": "container", "name": "shop/cart"}}, "components": components}
}

// oracle computes the difference from sets of package URLs, by string handling alone.
func oracle(before, after []string) (added, removed, changed []string) {
	in := func(list []string, purl string) bool { return slices.Contains(list, purl) }
	name := func(purl string) string { return purl[:strings.LastIndex(purl, "@")] }
	only := func(list, other []string) map[string][]string {
		found := map[string][]string{}
		for _, purl := range list {
			if !in(other, purl) && !in(found[name(purl)], purl) {
				found[name(purl)] = append(found[name(purl)], purl)
			}
		}
		return found
	}
	gone, new := only(before, after), only(after, before)
	for n, purls := range gone {
		if len(new[n]) > 0 {
			changed = append(changed, n)
			continue
		}
		removed = append(removed, purls...)
	}
	for n, purls := range new {
		if len(gone[n]) == 0 {
			added = append(added, purls...)
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	slices.Sort(changed)
	return added, removed, changed
}

func purls(packages []Package) []string {
	list := make([]string, len(packages))
	for i, p := range packages {
		list[i] = fmt.Sprintf("pkg:%s/%s@%s", p.Type, p.Name, p.Version)
	}
	slices.Sort(list)
	return list
}

// TestCompareAgainstOracle compares generated pairs, in all four combinations of
// formats, with what an independent computation on sets of package URLs says.
func TestCompareAgainstOracle(t *testing.T) {
	differences := 0
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 7))
		list := func() []string {
			all := []string{}
			for range random.IntN(40) {
				kind := []string{"deb/debian", "npm", "golang/github.com/a", "pypi"}[random.IntN(4)]
				all = append(all, fmt.Sprintf("pkg:%s/p%d@%d.%d", kind, random.IntN(12), random.IntN(3), random.IntN(3)))
			}
			return all
		}
		before, after := list(), list()
		if random.IntN(3) == 0 {
			after = append(after, before...)
		}
		added, removed, changed := oracle(before, after)
		for _, make := range [][2]func([]string) object{{spdxOf, spdxOf}, {cycloneOf, cycloneOf}, {spdxOf, cycloneOf}, {cycloneOf, spdxOf}} {
			// Qualifiers and subpaths do not count.
			qualified := slices.Clone(after)
			for i := range qualified {
				qualified[i] += []string{"", "?arch=amd64", "?distro=x&a=b#lib"}[random.IntN(3)]
			}
			x, err := Parse(strings.NewReader(encode(t, make[0](before))))
			if err != nil {
				t.Fatal(err)
			}
			y, err := Parse(strings.NewReader(encode(t, make[1](qualified))))
			if err != nil {
				t.Fatal(err)
			}
			d := Compare(x, y)
			names := []string{}
			for _, c := range d.Changed {
				names = append(names, "pkg:"+c.Type+"/"+c.Name)
			}
			slices.Sort(names)
			if !slices.Equal(purls(d.Added), added) || !slices.Equal(purls(d.Removed), removed) || !slices.Equal(names, changed) {
				t.Fatalf("seed %d: before %q, after %q:\n%+v\nwant added %q, removed %q, changed %q", seed, before, after, d, added, removed, changed)
			}
			differences += len(added) + len(removed) + len(changed)
			if reverse := Compare(y, x); len(reverse.Added) != len(d.Removed) || len(reverse.Removed) != len(d.Added) || len(reverse.Changed) != len(d.Changed) || reverse.Same != d.Same {
				t.Fatalf("seed %d: the reverse is %+v", seed, reverse)
			}
			if !Compare(x, x).Empty() || !Same(x, x) || Same(x, y) != d.Empty() {
				t.Fatalf("seed %d: a document differs from itself, or Same and Compare differ", seed)
			}
		}
	}
	if differences < 4_000 {
		t.Fatalf("only %d differences: the generated pairs are too much alike", differences)
	}
}

func TestCompareVersions(t *testing.T) {
	document := func(purls ...string) Document {
		d, err := Parse(strings.NewReader(encode(t, spdxOf(purls))))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct {
		before, after string
		older         bool
	}{
		{"pkg:deb/debian/openssl@3.0.9-1", "pkg:deb/debian/openssl@3.0.11-1~deb12u2", false},
		{"pkg:deb/debian/openssl@3.0.11-1", "pkg:deb/debian/openssl@3.0.11-1~deb12u2", true},
		{"pkg:deb/debian/a@1:1.0", "pkg:deb/debian/a@2.0", true},
		{"pkg:rpm/fedora/a@1.010", "pkg:rpm/fedora/a@1.9", true},
		{"pkg:npm/a@1.0.0-rc.1", "pkg:npm/a@1.0.0", false},
		{"pkg:npm/a@2.0.0", "pkg:npm/a@1.99.0", true},
		{"pkg:golang/x@v0.1.0", "pkg:golang/x@v0.1.1-0.20240101000000-abcdefabcdef", false},
		{"pkg:generic/a@release-9", "pkg:generic/a@release-10", false},
		{"pkg:generic/a@a1", "pkg:generic/a@A1", true},
	} {
		d := Compare(document(c.before), document(c.after))
		if len(d.Changed) != 1 || d.Changed[0].Older != c.older {
			t.Errorf("%s to %s: %+v, want older %v", c.before, c.after, d, c.older)
		}
	}
	// Of several versions the newest count.
	d := Compare(document("pkg:npm/a@1.0.0", "pkg:npm/a@3.0.0", "pkg:npm/b@1.0.0"), document("pkg:npm/a@2.0.0", "pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0"))
	if want := (Change{"npm", "a", []string{"3.0.0"}, []string{"2.0.0"}, true}); d.Same != 2 || len(d.Changed) != 1 || fmt.Sprint(d.Changed[0]) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", d, want)
	}
}

func TestParsePURL(t *testing.T) {
	for purl, want := range map[string]Package{
		"pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64": {"deb", "debian/libc6", "2.36-9+deb12u4"},
		"pkg:npm/%40angular/core@16.2.0":                   {"npm", "@angular/core", "16.2.0"},
		"pkg:npm/@angular/core@16.2.0":                     {"npm", "@angular/core", "16.2.0"},
		"pkg:npm/@angular/core":                            {"npm", "@angular/core", ""},
		"PKG:Golang/github.com/a/b@v1.0.0#sub/dir":         {"golang", "github.com/a/b", "v1.0.0"},
		"pkg://maven/org.apache/commons@1":                 {"maven", "org.apache/commons", "1"},
		"pkg:pypi/a%zz@%":                                  {"pypi", "a%zz", "%"},
	} {
		if got, ok := parsePURL(purl); !ok || got != want {
			t.Errorf("%s is %+v, %v, want %+v", purl, got, ok, want)
		}
	}
	for _, purl := range []string{"", "pkg:", "pkg:npm", "pkg:npm/", "http:npm/a@1", "pkg:/a@1", "npm/a@1"} {
		if got, ok := parsePURL(purl); ok {
			t.Errorf("%q is %+v", purl, got)
		}
	}
}

// TestParseDocuments parses what is no SBOM, says that it is something else, or is
// incomplete.
func TestParseDocuments(t *testing.T) {
	spdx, cyclone := encode(t, spdxOf([]string{"pkg:npm/a@1"})), encode(t, cycloneOf([]string{"pkg:npm/a@1"}))
	subject := strings.Repeat("ab", 32)
	statement := func(predicateType, predicate string) string {
		return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"`+subject+`","sha512":"`+subject+`"}},{"digest":{"sha256":"ab"}}],"predicateType":%q,"predicate":%s}`, predicateType, predicate)
	}
	for name, c := range map[string]struct {
		document string
		format   Format
		reason   string
	}{
		"SPDX":                       {spdx, SPDX, ""},
		"CycloneDX":                  {cyclone, CycloneDX, ""},
		"version after packages":     {`{"packages":[{"name":"a"}],"spdxVersion":"SPDX-2.2"}`, SPDX, ""},
		"no list":                    {`{"spdxVersion":"SPDX-2.2"}`, SPDX, ""},
		"a list of another kind":     {`{"spdxVersion":"SPDX-2.2","packages":{"a":[1,{}]}}`, SPDX, ""},
		"SPDX in a statement":        {statement("https://spdx.dev/Document/v2.3", spdx), SPDX, ""},
		"CycloneDX in a statement":   {statement("https://cyclonedx.org/bom", cyclone), CycloneDX, ""},
		"another format within":      {statement("https://spdx.dev/Document", cyclone), "", "stands for SPDX, but the predicate is CycloneDX"},
		"provenance":                 {statement("https://slsa.dev/provenance/v1", `{}`), "", "not an SBOM"},
		"a statement within":         {statement("https://spdx.dev/Document", statement("https://spdx.dev/Document", spdx)), "", "neither"},
		"a predicate alone":          {`{"predicate":` + spdx + `}`, "", "not an in-toto statement"},
		"no predicate":               {`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://spdx.dev/Document"}`, "", "without a predicate"},
		"SPDX 3":                     {`{"@context":"https://spdx.org/rdf/3.0.0/spdx-context.jsonld","@graph":[]}`, "", "neither"},
		"SPDX of another version":    {`{"spdxVersion":"SPDX-3.0","packages":[]}`, "", "neither"},
		"both":                       {`{"spdxVersion":"SPDX-2.3","components":[]}`, "", "both"},
		"two lists":                  {`{"spdxVersion":"SPDX-2.3","packages":[],"packages":[]}`, "", "twice"},
		"two versions":               {`{"spdxVersion":"SPDX-2.3","spdxVersion":"SPDX-2.2","packages":[]}`, "", "twice"},
		"an image's config":          {`{"architecture":"amd64","os":"linux"}`, "", "neither"},
		"an array":                   {`[1,2]`, "", "neither"},
		"a number":                   {`7`, "", "neither"},
		"nothing":                    {``, "", "too early"},
		"cut off":                    {spdx[:len(spdx)-1], "", "too early"},
		"cut off in a string":        {spdx[:40], "", "too early"},
		"no JSON":                    {`<bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>`, "", "not valid JSON"},
		"wrong delimiter":            {`{"spdxVersion":"SPDX-2.3","packages":[}`, "", "not valid JSON"},
		"something behind":           {spdx + "{}", "", "follows"},
		"nested too deep":            {`{"spdxVersion":"SPDX-2.3","x":` + strings.Repeat("[", 100_000), "", "nested more than 200"},
		"components nested too deep": {`{"bomFormat":"CycloneDX","components":` + strings.Repeat(`[{"components":`, 40), "", "nested more than 30"},
	} {
		d, err := Parse(strings.NewReader(c.document))
		if c.reason == "" {
			if err != nil || d.Format != c.format {
				t.Errorf("%s: %v, %v, want %s", name, d, err, c.format)
			}
			continue
		}
		if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: error %v, want one of type *Error with %q", name, err, c.reason)
		}
	}
	d, err := Parse(strings.NewReader(statement("https://spdx.dev/Document", spdx)))
	if err != nil || !slices.Equal(d.Subjects, []string{"sha256:" + subject}) {
		t.Errorf("subjects %q, %v", d.Subjects, err)
	}
}

// endless is a document that repeats a text for ever, and counts the bytes that
// were read.
type endless struct {
	text []byte
	at   int
	read int64
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.text[e.at]
		e.at = (e.at + 1) % len(e.text)
	}
	e.read += int64(len(p))
	return len(p), nil
}

func TestParseIsBounded(t *testing.T) {
	for name, c := range map[string]struct{ prefix, repeated, reason string }{
		"bytes":                {`{"spdxVersion":"SPDX-2.3","files":[`, `{"fileName":"` + strings.Repeat("x", 1000) + `"},`, "more than 32 MiB"},
		"blanks":               {`{"spdxVersion":"SPDX-2.3",`, " ", "more than 32 MiB"},
		"packages":             {`{"spdxVersion":"SPDX-2.3","packages":[{"name":"0"}`, "", "more than 20000 packages"},
		"one string":           {`{"spdxVersion":"SPDX-2.3","comment":"`, "x", "a string in it"},
		"one string of quotes": {`{"spdxVersion":"SPDX-2.3","comment":"`, `\"`, "a string in it"},
		"a name of a field":    {`{"spdxVersion":"SPDX-2.3","`, "x", "a string in it"},
	} {
		source := &endless{text: []byte(c.repeated)}
		var rest io.Reader = source
		if c.repeated == "" {
			var b strings.Builder
			for i := range MaxPackages {
				fmt.Fprintf(&b, `,{"name":"p%d"}`, i)
			}
			rest = strings.NewReader(b.String() + "]}")
		}
		_, err := Parse(io.MultiReader(strings.NewReader(c.prefix), rest))
		if e, ok := errors.AsType[*Error](err); !ok || !e.TooLarge || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
		if source.read > MaxBytes+(1<<20) {
			t.Errorf("%s: %d bytes were read", name, source.read)
		}
	}
}

func TestReadErrorsAreReturned(t *testing.T) {
	broken := errors.New("connection reset")
	if _, err := Parse(io.MultiReader(strings.NewReader(`{"packages":[`), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestLongNamesAreCut checks that names that differ only behind the cut still
// differ.
func TestLongNamesAreCut(t *testing.T) {
	long := strings.Repeat("é", 10_000)
	parse := func(name string) Document {
		d, err := Parse(strings.NewReader(encode(t, object{"spdxVersion": "SPDX-2.3", "packages": []object{{"name": name}}})))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	x, y := parse(long+"1"), parse(long+"2")
	if d := Compare(x, y); len(d.Added) != 1 || len(d.Removed) != 1 {
		t.Errorf("%+v", d)
	}
	for p := range maps.Keys(x.Packages) {
		if len(p.Name) > 400 || !strings.Contains(p.Name, "20001 bytes") {
			t.Errorf("the name is %q", p.Name)
		}
	}
}

func TestFormatOf(t *testing.T) {
	for mediaType, want := range map[string]Format{
		"application/spdx+json": SPDX, "Application/SPDX+JSON; version=2.3": SPDX, "text/spdx+json": SPDX,
		"application/vnd.cyclonedx+json": CycloneDX, "application/vnd.cyclonedx+json;version=1.6": CycloneDX,
		"https://spdx.dev/Document": SPDX, "https://spdx.dev/Document/v2.3": SPDX, "https://cyclonedx.org/bom/v1.6": CycloneDX,
		"application/vnd.cyclonedx+xml": "", "text/spdx": "", "application/json": "", "": "", "https://slsa.dev/provenance/v1": "",
	} {
		if got, ok := FormatOf(mediaType); got != want || ok != (want != "") {
			t.Errorf("%s is %q, %v", mediaType, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"spdxVersion":"SPDX-2.3","packages":[{"name":"a","versionInfo":"1"}]}`)
	f.Add(`{"bomFormat":"CycloneDX","components":[{"name":"a","components":[{"purl":"pkg:npm/a@1"}]}]}`)
	f.Add(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://spdx.dev/Document","predicate":{"spdxVersion":"SPDX-2.3"}}`)
	f.Fuzz(func(t *testing.T, document string) {
		d, err := Parse(strings.NewReader(document))
		if err != nil {
			return
		}
		if !json.Valid([]byte(document)) {
			t.Fatal("it is not valid JSON, but was read")
		}
		if !Compare(d, d).Empty() {
			t.Fatal("a document differs from itself")
		}
	})
}
