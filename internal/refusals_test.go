package internal_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/refusal"
)

const (
	refusalsBegin = "<!-- refusals: made from the program's own table; go test ./internal -run TestRefusalsPage -update -->\n"
	refusalsEnd   = "<!-- end of refusals -->\n"
)

// filledIn is a part of a sentence that the program fills in.
var filledIn = regexp.MustCompile(`\{([a-z]+)\}`)

// refusalsPage returns the sections of the program's table of refusals.
func refusalsPage() string {
	shown := func(text string) string {
		text = strings.TrimSpace(strings.ReplaceAll(text, "{grant}", ""))
		return filledIn.ReplaceAllString(strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(text), "*$1*")
	}
	var b strings.Builder
	for _, service := range []refusal.Service{refusal.Registry, refusal.Entra, refusal.DevOps, refusal.KeyVault} {
		fmt.Fprintf(&b, "\n## %s\n", service)
		for _, r := range refusal.All {
			if r.Service != service {
				continue
			}
			fmt.Fprintf(&b, "\n### %s\n\n", r.Name)
			var by []string
			for _, status := range r.Status {
				by = append(by, fmt.Sprintf("status %d", status))
			}
			for _, code := range r.Codes {
				by = append(by, "`"+code+"`")
			}
			for _, says := range r.Says {
				by = append(by, "“"+says+"”")
			}
			if len(by) > 0 {
				fmt.Fprintf(&b, "Known by: %s.\n\n", strings.Join(by, ", "))
			}
			fmt.Fprintf(&b, "**The message says:** %s.\n\n", shown(r.Cause))
			what := strings.TrimSuffix(shown(r.Remedy), ".")
			if what != "" {
				what += ". "
			}
			if strings.Contains(r.Remedy, "{grant}") {
				what += "The message names what to grant, to whom, and the command; see [permissions](permissions.md)."
			}
			fmt.Fprintf(&b, "**What to do.** %s\n", strings.TrimSpace(what))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// TestRefusalsPage checks that docs/refusals.md has every refusal that the program
// explains, with its sentences, and no other.
func TestRefusalsPage(t *testing.T) {
	const file = "../docs/refusals.md"
	text := read(t, file)
	before, rest, begins := strings.Cut(text, refusalsBegin)
	sections, after, ends := strings.Cut(rest, refusalsEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the refusals between %q and %q", file, refusalsBegin, refusalsEnd)
	}
	want := refusalsPage()
	if *update {
		if err := os.WriteFile(file, []byte(before+refusalsBegin+want+refusalsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if sections != want {
		t.Errorf("the refusals in %s are out of date; run this test with -update", file)
	}
	var names []string
	for _, r := range refusal.All {
		names = append(names, r.Name)
	}
	for line := range strings.Lines(text) {
		if name, heading := strings.CutPrefix(strings.TrimSpace(line), "### "); heading && !slices.Contains(names, name) {
			t.Errorf("%s has the section %s, which the program does not know", file, name)
		}
	}
	if len(refusal.All) < 40 {
		t.Errorf("%d refusals are explained, want at least 40", len(refusal.All))
	}
}

// TestNamedRefusalsExist checks the names with which the program looks up refusals.
func TestNamedRefusalsExist(t *testing.T) {
	called := regexp.MustCompile(`refusal\.Named\("([^"]*)"\)|name :?= "((?:registry|entra|devops)-[^"]*)"`)
	found := 0
	for _, file := range []string{"acr/entra.go", "acr/federation.go", "acr/oauth.go", "acr/signin.go", "azdo/error.go"} {
		for _, match := range called.FindAllStringSubmatch(read(t, file), -1) {
			found++
			name := match[1] + match[2]
			if !slices.ContainsFunc(refusal.All, func(r refusal.Refusal) bool { return r.Name == name }) {
				t.Errorf("%s looks up the refusal %s, which is not in the table", file, name)
			}
		}
	}
	if found < 6 {
		t.Errorf("only %d look-ups were found", found)
	}
}
