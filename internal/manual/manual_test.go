package manual

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
)

var update = flag.Bool("update", false, "write the golden files")

const published = "https://docs.example.com/acrpromote"

func TestEveryRuleAndOutcomeHasAnEntry(t *testing.T) {
	var want []string
	for _, name := range rule.All {
		want = append(want, string(name))
	}
	for _, o := range outcome.All {
		want = append(want, string(o))
	}
	for _, topic := range want {
		if text, known := Entry(topic, 80); !known || len(text) < 80 {
			t.Errorf("%s has the entry %q", topic, text)
		}
		if got := Hint(topic); got != "More: acrpromote help "+topic {
			t.Errorf("%s: Hint returns %q", topic, got)
		}
	}
}

// TestEntriesArePlainText reads every entry with and without an address: no mark
// of Markdown is left, no line is too long, and without an address nothing is
// linked.
func TestEntriesArePlainText(t *testing.T) {
	if len(Topics()) < 40 {
		t.Fatalf("only %d entries were found", len(Topics()))
	}
	for _, topic := range Topics() {
		e, _ := lookup(topic)
		for _, address := range []string{"", published} {
			text := render(e, 80, address)
			for _, mark := range []string{"](", "**", "\n#", "\n|", "```", "\t"} {
				if strings.Contains(text, mark) {
					t.Errorf("%s contains %q:\n%s", topic, mark, text)
				}
			}
			if strings.Contains(text, ".md") != (address != "") {
				t.Errorf("%s, with the address %q, names its file:\n%s", topic, address, text)
			}
			for line := range strings.Lines(text) {
				if utf8.RuneCountInString(line) > 81 && strings.Contains(strings.TrimSpace(line), " ") {
					t.Errorf("%s: line is too long: %q", topic, line)
				}
			}
		}
	}
}

func TestEntryGolden(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "page.md"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, e := range parse(string(text)) {
		for _, address := range []string{"", published} {
			got.WriteString(render(e, 60, address) + "----\n")
		}
	}
	path := filepath.Join("testdata", "entries.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got.String() != string(want) {
		t.Errorf("%s differs (run with -update to write it): %v\n%s", path, err, got.String())
	}
}

func TestPlain(t *testing.T) {
	for _, c := range []struct{ markdown, want string }{
		{"plain", "plain"},
		{"**Why.** An *open* question", "Why. An open question"},
		{"`refs/heads/*` and `a[b](c)`", "`refs/heads/*` and `a[b](c)`"},
		{"an open ` mark", "an open ` mark"},
		{"[the network](#the-network)", "the network (`acrpromote help the-network`)"},
		{"see [immutable](#immutable).", "see `acrpromote help immutable`."},
		{"[x](troubleshooting.md#immutable)", "x (`acrpromote help immutable`)"},
		{"[limits](https://learn.microsoft.com/azure)", "limits (https://learn.microsoft.com/azure)"},
		{"[*no* link] (here)", "[no link] (here)"},
		{"[questions](#questions)", "questions"},
		{"[a] and [immutable](#immutable)", "[a] and `acrpromote help immutable`"},
	} {
		l := &links{}
		if got := strings.ReplaceAll(l.plain(c.markdown), noBreak, " "); got != c.want || len(l.targets) != 0 {
			t.Errorf("plain(%q) = %q, %v, want %q", c.markdown, got, l.targets, c.want)
		}
	}
	l := &links{}
	if got := l.plain("[a](flows.md#x), [b](flows.md#y), [c](flows.md#x)"); got != "a, b, c" || strings.Join(l.targets, " ") != "flows.md#x flows.md#y" {
		t.Errorf("got %q, %v", got, l.targets)
	}
}

func TestWhereToReadMore(t *testing.T) {
	for _, c := range []struct{ address, topic, url, hint string }{
		{"", "branch", "", "More: acrpromote help branch"},
		{published, "branch", published + "/troubleshooting.md#branch", "More: " + published + "/troubleshooting.md#branch"},
		{"", "no-such-rule", "", ""},
		{published, "no-such-rule", "", ""},
	} {
		if got := entryURL(c.address, c.topic); got != c.url {
			t.Errorf("entryURL(%q, %q) = %q, want %q", c.address, c.topic, got, c.url)
		}
		if got := hint(c.address, c.topic); got != c.hint {
			t.Errorf("hint(%q, %q) = %q, want %q", c.address, c.topic, got, c.hint)
		}
	}
	if got := reference(published, "flows.md"); got != " ("+published+"/flows.md)" {
		t.Errorf("reference returns %q", got)
	}
	if Reference("flows.md") != "" || Address() != "" || URL("branch") != "" || Hint("branch") != "More: acrpromote help branch" {
		t.Error("a test binary has an address of the documentation")
	}
}
