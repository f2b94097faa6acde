package trace

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"acrpromote/internal/receipt"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	digest = "sha256:" + strings.Repeat("a", 64)
	noon   = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
)

// example is an image that was promoted from PROD to DEV, with texts from elsewhere
// that all contain a word.
func example(word string) Life {
	promotion := &receipt.Promotion{
		Time: noon, From: receipt.Place{Registry: "prod.example.com", Repository: "shop/cart", Tag: "1.4.2"},
		To:  []receipt.Place{{Registry: "dev.example.com:5000", Repository: "shop/cart", Tag: "1.4.2"}, {Registry: "gone.example.com", Repository: "x" + word}},
		Run: receipt.Run{Kind: "yaml", Project: "shop" + word, ID: 4711, Stage: "Production" + word},
		Approval: receipt.Approval{Kind: "manual", Approvers: 2, Given: []receipt.Given{
			{Time: noon.Add(-time.Hour), Approver: receipt.Person{Name: "Asha" + word, UniqueName: "asha@example.com"}, Resource: receipt.Resource{Type: "environment", Name: "Production"}, Comment: "CHG-1" + word},
			{Time: noon.Add(-time.Minute), Resource: receipt.Resource{Type: "environment", ID: "7"}},
		}},
	}
	claim := *promotion
	claim.Time, claim.Run.ID, claim.Run.Kind, claim.Approval = noon.Add(time.Hour), 13, "release", receipt.Approval{Kind: "automated"}
	sealing := &receipt.Sealing{Time: noon.Add(-3 * time.Hour), Image: promotion.From, Run: receipt.Run{Kind: "yaml", Project: "shop", ID: 4700}}
	signed := Statement{Opened: receipt.Opened{Digest: "1", Promotion: promotion}, Signed: true}
	copied := signed
	copied.Signed = false
	return Of("prod.example.com/shop/cart:1.4.2"+word, digest, []Seen{
		{Registry: "prod.example.com", Repository: "shop/cart", State: Present, Pushed: noon.Add(-4 * time.Hour), Tags: []string{"stage" + word, "1.4.2"},
			Records:    []Record{{Digest: "r1", Created: noon.Add(-3 * time.Hour), Run: "run 4700 of shop" + word}, {Digest: "r2"}},
			Statements: []Statement{copied, {Opened: receipt.Opened{Digest: "3", Sealing: sealing}, Signed: true}}},
		{Registry: "dev.example.com:5000", Repository: "shop/cart", State: Present, Pushed: noon, Tags: []string{"1.4.2"},
			Statements: []Statement{signed, {Opened: receipt.Opened{Digest: "2", Promotion: &claim}}, {Opened: receipt.Opened{Digest: "4", Summary: &receipt.Summary{}}}}},
		{Registry: "team.example.com", Repository: "shop/cart", State: Missing},
		{Registry: "far.example.com", Repository: "shop/cart", State: Unread},
	})
}

func TestGolden(t *testing.T) {
	life := example("")
	var table strings.Builder
	for _, e := range life.Events {
		table.WriteString(strings.Join([]string{string(e.Basis), e.Time, e.Words()}, " | ") + "\n")
	}
	for name, got := range map[string]string{"table.txt": table.String(), "life.mmd": life.Mermaid(), "life.svg": life.SVG()} {
		path := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || string(want) != got {
			t.Errorf("%s differs (run with -update to write it): %v\n%s", path, err, got)
		}
	}
}

// TestSignedOnceIsSigned: a statement that a key has signed is signed, wherever a copy
// of it is, and is told once.
func TestSignedOnceIsSigned(t *testing.T) {
	promoted, approved := map[Basis]int{}, map[Basis]int{}
	for _, e := range example("").Events {
		switch e.Kind {
		case "promoted":
			promoted[e.Basis]++
		case "approved":
			approved[e.Basis]++
		}
	}
	if promoted[Signed] != 1 || promoted[Claimed] != 1 || approved[Signed] != 2 || len(approved) != 1 {
		t.Errorf("%v %v", promoted, approved)
	}
}

// TestHostileTexts: texts from elsewhere are text in the pictures.
func TestHostileTexts(t *testing.T) {
	word := "\"]\n;click p0 \"javascript:alert(1)\" %% </text><script>alert(1)</script><image href='http://evil.example/x'/>\x1b[2J\u202e\xff&lt;|a| -->b#quot;"
	plain, nasty := example(""), example(word)
	for _, line := range strings.Split(strings.TrimSpace(nasty.Mermaid()), "\n") {
		good := regexp.MustCompile(`^(flowchart LR|  p\d+\["[^"<>\[\]|;]*(?:#\d+;[^"<>\[\]|;]*)*<br>[^"<>\[\]|;]*(?:#\d+;[^"<>\[\]|;]*)*"\]|  p\d+ -\.?->\|"(?:[^"<>\[\]|;]|#\d+;)*<br>(?:[^"<>\[\]|;]|#\d+;)*"\| p\d+)$`)
		if !good.MatchString(line) {
			t.Errorf("%q", line)
		}
	}
	elements := func(svg string) (names []string) {
		decoder := xml.NewDecoder(strings.NewReader(svg))
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				return names
			}
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := token.(xml.StartElement); ok {
				names = append(names, e.Name.Local)
				for _, a := range e.Attr {
					if a.Name.Local == "href" || strings.Contains(a.Value, "evil") {
						t.Errorf("%s has %s=%q", e.Name.Local, a.Name.Local, a.Value)
					}
				}
			}
		}
	}
	if a, b := elements(plain.SVG()), elements(nasty.SVG()); strings.Join(a, " ") != strings.Join(b, " ") {
		t.Errorf("the elements are %v, and without the texts %v", b, a)
	}
	if svg := nasty.SVG(); strings.ContainsAny(svg, "\x1b\u202e") || !utf8.ValidString(svg) || strings.Contains(strings.Replace(svg, "http://www.w3.org/2000/svg", "", 1), "<script") {
		t.Error(svg)
	}
}

// TestLargeLivesAreCut bounds the pictures.
func TestLargeLivesAreCut(t *testing.T) {
	life := example("")
	for range 10_000 {
		life.Events = append(life.Events, life.Events[len(life.Events)-1])
		life.Places = append(life.Places, life.Places[0])
	}
	if n := len(life.SVG()); n > 200_000 {
		t.Errorf("the SVG has %d bytes", n)
	}
	if n := len(life.Mermaid()); n > 100_000 {
		t.Errorf("the flowchart has %d bytes", n)
	}
	if !strings.Contains(life.SVG(), "and 9809 more") {
		t.Error("what is not drawn is not counted")
	}
}

// TestClaimsAreCut: what anyone can attach takes no more than it is large, although
// each event of a statement has its run.
func TestClaimsAreCut(t *testing.T) {
	claim := &receipt.Promotion{Time: noon, Run: receipt.Run{ID: 1, Project: strings.Repeat("p", 100_000)}}
	for range 2_000 {
		claim.Approval.Given = append(claim.Approval.Given, receipt.Given{Time: noon})
		claim.To = append(claim.To, receipt.Place{Registry: "dev.example.com", Repository: "shop/cart"})
	}
	life := func(signed bool) (life Life, size int) {
		life = Of("image", digest, []Seen{{State: Present, Statements: []Statement{{Opened: receipt.Opened{Promotion: claim}, Signed: signed}}}})
		for _, text := range life.Texts() {
			size += len(*text)
		}
		return life, size
	}
	if claimed, size := life(false); len(claimed.Events) != mostClaimed+1 || len(claimed.Events[mostClaimed].To) != mostClaimed || size > 100_000 {
		t.Errorf("%d events, %d bytes", len(claimed.Events), size)
	}
	if signed, _ := life(true); len(signed.Events) != 2_001 || strings.Count(signed.Mermaid(), "-->") != mostDrawn {
		t.Errorf("signed: %d events, %d arrows", len(signed.Events), strings.Count(signed.Mermaid(), "-->"))
	}
}

// TestRecalls: a recall record is an event, signed or claimed; a copy of it at another
// place says what it says there.
func TestRecalls(t *testing.T) {
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	signed := Recall{Digest: "sha256:1", Time: at, Reason: "CVE-2026-1234", By: []receipt.Person{{Name: "Release Manager"}}, Run: receipt.Run{ID: 7, Project: "shop"}, KeyID: "sha256:k"}
	life := Of("prod/app:1", "sha256:d", []Seen{
		{Registry: "prod", Repository: "app", State: Present, Recalls: []Recall{signed, signed, {Digest: "sha256:2", Time: at.Add(time.Hour), Lifts: true, Reason: "fixed\nelsewhere"}}},
		{Registry: "dev", Repository: "app", State: Withdrawn},
	})
	var got []string
	for _, e := range life.Events {
		got = append(got, string(e.Basis)+" "+e.Words())
	}
	want := []string{"signed recalled at prod/app, approved by Release Manager; run 7 of shop; CVE-2026-1234", "claimed recall lifted at prod/app; fixed⏎elsewhere"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if picture := life.SVG(); !strings.Contains(picture, ">withdrawn<") || !strings.Contains(picture, "recalled at prod/app") {
		t.Error(picture)
	}
}
