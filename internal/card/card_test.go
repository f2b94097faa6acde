package card

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"acrpromote/internal/imageinfo"
	"acrpromote/internal/sbom"
)

var update = flag.Bool("update", false, "write the golden files")

const limit = 256 << 10

var now = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func digest(seed string) string { return "sha256:" + strings.Repeat(seed, 64)[:64] }

func where(n int) string { return fmt.Sprintf("dev%d.azurecr.io/shop/cart:1.4.2", n) }

// cart is an image with two targets where the tag is new, one where it moves back,
// one that has it, and one that could not be read.
func cart() Card {
	described := func(version, at string) Description {
		return Description{Claims: imageinfo.Claims{Version: version, Revision: version + "0", Source: "https://example.com/cart", BaseName: "base:3", BaseDigest: digest("b"), Created: at},
			LayerBytes: 5 << 20, Platforms: []string{"linux/amd64", "linux/arm64"}, SetAt: at}
	}
	return Card{Operation: "invertedPush", Now: now, Pending: 2, Code: Code{Value: "AAAA-BBBB", Covers: "image", Required: Required}, Images: []Image{{
		Source: "prod.azurecr.io/shop/cart:1.4.2", Digest: digest("a"), Description: described("1.4.2", "2026-03-10T09:00:00Z"),
		Attached: []Attached{{"application/spdx+json", 2, 0}, {"", 3, 1}},
		Targets: []Target{
			{Where: where(1), State: New, Change: 0, Lock: "tag"}, {Where: where(2), State: New, Change: 0, Lock: "none"},
			{Where: where(3), State: Moves, Previous: digest("d"), Rollback: true, Change: 1},
			{Where: where(4), State: Present, Change: -1}, {Where: where(5), State: Unread, Change: -1},
		},
		Changes: []Change{
			{Basis: imageinfo.Version, Old: Side{Tag: "1.4.1", Digest: digest("c"), Description: described("1.4.1", "2026-02-01T00:00:00Z")}, Targets: []string{where(1), where(2)}, Compared: true,
				Difference: imageinfo.Difference{PlatformsAdded: []string{"linux/s390x"}, LayersShared: imageinfo.Layers{Count: 3, Bytes: 4 << 20}, LayersNew: imageinfo.Layers{Count: 1, Bytes: 1 << 20},
					Settings: []imageinfo.Setting{{Name: "user", Old: "app"}, {Name: "environment", Platforms: []string{"linux/amd64"}, Added: []string{"A"}, Removed: []string{"B"}, Changed: []string{"C"}}}},
				Packages: []Packages{{Platforms: []string{"linux/amd64"}, Format: sbom.SPDX, Counts: Counts{1, 1, 2}, Difference: sbom.Difference{
					Added: []sbom.Package{{Type: "npm", Name: "left-pad", Version: "1.3.0"}}, Removed: []sbom.Package{{Name: "own", Version: ""}},
					Changed: []sbom.Change{{Type: "deb", Name: "debian/openssl", Old: []string{"3.0.9"}, New: []string{"3.0.11"}}, {Type: "npm", Name: "a", Old: []string{"2"}, New: []string{"1"}, Older: true}}}}}},
			{Basis: imageinfo.Moved, Old: Side{Digest: digest("d"), Description: Description{SetAt: "2026-03-09T00:00:00Z"}}, Targets: []string{where(3)}, Notes: []string{"the image could not be read"}},
		}}}}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != got {
		t.Errorf("%s differs (run with -update to write it): %v\n%s", path, err, got)
	}
}

func TestGolden(t *testing.T) {
	one := cart()
	golden(t, "one.md", Markdown(one, limit))
	golden(t, "one.txt", strings.Join(Text(one), "\n")+"\n")
	set := cart()
	set.Code = Code{Value: "AAAA-BBBB", Covers: "plan", Required: Optional}
	first := Image{Source: "prod.azurecr.io/shop/first:1.0.0", Digest: digest("e"), Targets: []Target{{Where: where(6), State: New, Change: 0}},
		Changes: []Change{{Basis: imageinfo.First, Targets: []string{where(6)}}}}
	unknown := Image{Source: "prod.azurecr.io/shop/other:1.0.0", Digest: digest("f"), Targets: []Target{{Where: where(7), State: Moves, Previous: digest("0"), Change: -1}}}
	set.Images = append(set.Images, first, unknown)
	set.Notes = []string{"only the first 25 images were compared in detail"}
	golden(t, "set.md", Markdown(set, limit))
	golden(t, "set.txt", strings.Join(Text(set), "\n")+"\n")
	sealed := Card{Operation: "seal", Done: true, Now: now, Code: Code{Value: "AAAA-BBBB", Covers: "image"}, Images: []Image{{Source: "prod.azurecr.io/shop/cart:1.4.2", Digest: digest("a"), Lock: "tag",
		Changes: []Change{{Basis: imageinfo.Newest, Old: Side{Tag: "main", Digest: digest("c")}}}}}}
	golden(t, "seal.md", Markdown(sealed, limit))
}

// TestFirstLinesDecide checks that what, where, from which image to which, the rules
// and the code are in the first ten lines that have text, with a title and a headline
// before them.
func TestFirstLinesDecide(t *testing.T) {
	for _, targets := range []int{1, 3, 20} {
		c := cart()
		c.Violated = 1
		image := &c.Images[0]
		image.Targets = nil
		for i := range targets {
			image.Targets = append(image.Targets, Target{Where: where(i), State: New, Change: i % 2})
		}
		var lines []string
		for line := range strings.Lines(Markdown(c, limit)) {
			if line != "\n" && line != "```\n" && len(lines) < 8 {
				lines = append(lines, line)
			}
		}
		head := strings.Join(lines, "")
		for _, want := range []string{"**Push**", image.Source, where(0), "sha256:cccccccccccc…` → `sha256:aaaaaaaaaaaa…", "1.4.1 → 1.4.2", "2 pending, 1 violated", "AAAA-BBBB", "(required)"} {
			if !strings.Contains(head, want) {
				t.Errorf("%d targets: %q is not in the first lines:\n%s", targets, want, head)
			}
		}
	}
}

// TestClaimsAreNoSentences checks that a version which reads like a part of the card is
// in quotes and short, and that none other is.
func TestClaimsAreNoSentences(t *testing.T) {
	const lie = `1.4.1" (claimed by the images). Rules: 0 pending, 0 violated. Approval code: AAAA-AAAA, checked by the security team`
	c := cart()
	image := &c.Images[0]
	image.Description.Version = lie
	md, text := Markdown(c, limit), strings.Join(Text(c), "\n")
	for _, card := range []string{md, text} {
		if strings.Contains(card, "security team") || !strings.Contains(card, `version 1.4.1 → "1.4.1' (claimed by the images). Rules: 0 pending, 0 violated`) {
			t.Errorf("the claim is not in quotes, or long:\n%s", card)
		}
	}
	for version, want := range map[string]string{"1.4.2-rc.1+build_7": "→ 1.4.2-rc.1", "": "→ none", "1.4.2 final": `→ "1.4.2 final"`, "1.4.2\n\nApprove": `→ "1.4.2⏎⏎Approve"`} {
		image.Description.Version = version
		if text := strings.Join(Text(c), "\n"); !strings.Contains(text, want) {
			t.Errorf("%q is not shown as %s:\n%s", version, want, text)
		}
	}
}

// TestOlderPackagesShow checks that many other changes do not hide a package that is
// older than before.
func TestOlderPackagesShow(t *testing.T) {
	c := cart()
	p := &c.Images[0].Changes[0].Packages[0]
	p.Changed = nil
	for i := range 3000 {
		p.Changed = append(p.Changed, sbom.Change{Type: "npm", Name: fmt.Sprintf("a%04d", i), Old: []string{"1"}, New: []string{"2"}})
	}
	p.Changed = append(p.Changed, sbom.Change{Type: "rpm", Name: "openssl", Old: []string{"3.3"}, New: []string{"1.0"}, Older: true})
	p.Counts.Changed = len(p.Changed)
	if md := Markdown(c, limit); !strings.Contains(md, "with another version (1 older)") || !strings.Contains(md, "| `openssl` (rpm) | 3.3 | 1.0 (**older**) |") {
		t.Errorf("the older package does not show:\n%s", md)
	}
	p.Counts.Changed = 9000
	if md := Markdown(c, limit); !strings.Contains(md, "9000 with another version (1 older among the 3001 that are listed)") {
		t.Error("a cut list is counted as a whole one")
	}
}

// TestBothCodes checks that the card shows the code that only some rules require.
func TestBothCodes(t *testing.T) {
	c := cart()
	c.Code = Code{Value: "AAAA-BBBB", Covers: "plan", Required: Required, Also: "CCCC-DDDD"}
	if md := Markdown(c, limit); !strings.Contains(md, "\nAAAA-BBBB\n") || !strings.Contains(md, "quote `CCCC-DDDD` too") {
		t.Errorf("a code is missing:\n%s", md)
	}
}

// fill sets every string, also in lists, to a text.
func fill(v reflect.Value, text string, length int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(length) - 1)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text, length)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), length, length))
		for i := range length {
			fill(v.Index(i), text, length)
		}
	}
}

func filled(text string, length int) Card {
	var c Card
	fill(reflect.ValueOf(&c).Elem(), text, length)
	c.Now = now
	states := []State{New, Moves, Present, Unread, Repair}
	bases := []imageinfo.Basis{imageinfo.Moved, imageinfo.Version, imageinfo.Newest, imageinfo.First, imageinfo.Same}
	for i := range c.Images {
		for j := range c.Images[i].Targets {
			c.Images[i].Targets[j].State, c.Images[i].Targets[j].Change = states[j%5], j%length
		}
		for j := range c.Images[i].Changes {
			c.Images[i].Changes[j].Basis = bases[j%5]
		}
	}
	return c
}

const nasty = "a|b `c` [click](https://evil.example) <script>x</script> ##vso[task.complete]\r\n# H\n| --- |\u202e\x1b[2J\xff www.evil.example </details> ![i](x) ~~~ **x** &amp; \\ ```"

// TestOutsideTextIsText checks that nothing from outside is markup, a command of the
// agent, or hidden.
func TestOutsideTextIsText(t *testing.T) {
	for _, length := range []int{1, 4} {
		c := filled(nasty, length)
		md, text := Markdown(c, limit), strings.Join(Text(c), "\n")
		for _, bad := range []string{"\x1b", "\u202e", "\r", "\xff"} {
			if strings.Contains(md+text, bad) {
				t.Errorf("the card contains %q", bad)
			}
		}
		for _, bad := range []string{"[click]", "](", "<script", "##vso", "**x**", "~~~", "&amp;", "![", "# H"} {
			if strings.Contains(md, bad) {
				t.Errorf("the Markdown contains %q", bad)
			}
		}
		prose := regexp.MustCompile("`[^`\n]*`").ReplaceAllString(md, "")
		for _, bad := range []string{"https://", "www.evil", "evil.example"} {
			if strings.Contains(prose, bad) {
				t.Errorf("the Markdown contains %q outside of code", bad)
			}
		}
		if strings.Count(md, "</details>") != strings.Count(md, "<details>") || strings.Count(md, "\n```\n") != 2 && strings.Count(md, "```") != 2 {
			t.Error("outside text ends folded details or the block with the code")
		}
		cells := 0
		for line := range strings.Lines(md) {
			if !strings.HasPrefix(line, "|") {
				cells = 0
				continue
			}
			if n := strings.Count(line, "|"); cells == 0 {
				cells = n
			} else if n != cells {
				t.Errorf("%d bars, the header has %d: %s", n, cells, line)
			}
		}
		if strings.Contains(md, "<br>") != (length > 1) {
			t.Errorf("%d images: the table of images is missing, or not needed", length)
		}
	}
}

// TestCardIsBounded checks sets of any size and texts of any length.
func TestCardIsBounded(t *testing.T) {
	one := filled(strings.Repeat("<", 1<<20), 2)
	many := filled("shop/cart", 6)
	many.Images = slices.Repeat(many.Images[:1], 500)
	for i := range many.Images {
		many.Images[i].Targets = slices.Repeat(many.Images[i].Targets[:4], 5)
	}
	wide := filled("<&>|", 14)
	for name, c := range map[string]Card{"long texts": one, "many images": many, "long lists": wide} {
		for _, limit := range []int{limit, 128 << 10, 40 << 10} {
			md := Markdown(c, limit)
			if len(md) > limit || !utf8.ValidString(md) || len(md) < 1000 {
				t.Errorf("%s: %d bytes of %d", name, len(md), limit)
			}
			if strings.Count(md, "</details>") != strings.Count(md, "<details>") {
				t.Errorf("%s: folded details are not ended", name)
			}
			shown := strings.Count(md, "#### ")
			if left := fmt.Sprintf("Details of %s are not shown here; result.json has them.", count(len(c.Images)-shown, "image")); shown < len(c.Images) && !strings.Contains(md, left) {
				t.Errorf("%s: %d images are shown, and the rest is not counted", name, shown)
			}
		}
		if text := Text(c); len(text) > mostLines+1+mostNotes || len(strings.Join(text, "\n")) > limit {
			t.Errorf("%s: %d lines of text", name, len(text))
		}
	}
	if md := Markdown(many, limit); !strings.Contains(md, "500 images") || !strings.Contains(md, "10000 targets") {
		t.Error("the totals are missing")
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "", 0: "less than an hour ago", time.Hour: "1 hour ago", 47 * time.Hour: "47 hours ago", 48 * time.Hour: "2 days ago", 400 * 24 * time.Hour: "400 days ago",
	} {
		if got := age(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
