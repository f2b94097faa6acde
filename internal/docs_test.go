package internal_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"acrpromote/internal/agent"
	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
)

var update = flag.Bool("update", false, "write the table of inputs into docs/inputs.md")

// page is a Markdown file: the complete text, and the text without code blocks.
type page struct {
	text, prose string
	anchors     map[string]int
}

// pages reads README.md and docs/**/*.md, by path from the repository root.
func pages(t *testing.T) map[string]page {
	t.Helper()
	files := []string{"../README.md"}
	err := filepath.WalkDir("../docs", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(file, ".md") {
			files = append(files, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]page{}
	for _, file := range files {
		text := read(t, file)
		prose, fenced := []string{}, false
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
				continue
			}
			if !fenced {
				prose = append(prose, line)
			}
		}
		if fenced {
			t.Errorf("%s: a code block is not closed", file)
		}
		p := page{text: text, prose: strings.Join(prose, "")}
		p.anchors = anchors(p.prose)
		found[filepath.ToSlash(strings.TrimPrefix(file, ".."+string(filepath.Separator)))] = p
	}
	if len(found) < 10 {
		t.Fatalf("only %d pages were found", len(found))
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// anchors returns the anchors of headings like GitHub does: in lower case, with
// dashes for spaces, and without anything but letters, digits, '-' and '_'.
func anchors(prose string) map[string]int {
	found := map[string]int{}
	for line := range strings.Lines(prose) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		found[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))]++
	}
	return found
}

func TestEveryRuleHasItsAnchor(t *testing.T) {
	troubleshooting := pages(t)["docs/troubleshooting.md"]
	for _, name := range rule.All {
		if n := troubleshooting.anchors[string(name)]; n != 1 {
			t.Errorf("docs/troubleshooting.md has %d headings for the rule %s, want one", n, name)
		}
		_, rest, _ := strings.Cut(troubleshooting.prose, "\n### "+string(name)+"\n")
		section, _, _ := strings.Cut(rest, "\n#")
		for _, part := range []string{"**What it means.** ", "**Why.** ", "**What to do.** "} {
			if !strings.Contains(section, part) {
				t.Errorf("docs/troubleshooting.md: %s lacks %s", name, part)
			}
		}
	}
}

// TestQuotedErrorTextsExist checks that the texts on the troubleshooting page are
// in the source, so that users can find their messages.
func TestQuotedErrorTextsExist(t *testing.T) {
	var source strings.Builder
	for _, top := range []string{"../cmd/acrpromote", "../internal"} {
		err := filepath.WalkDir(top, func(file string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") &&
				!strings.Contains(filepath.ToSlash(file), "internal/sim/") {
				source.WriteString(read(t, file))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	quoted, code := 0, regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(pages(t)["docs/troubleshooting.md"].prose) {
		if !strings.HasPrefix(line, "Text: ") {
			continue
		}
		for _, text := range code.FindAllStringSubmatch(line, -1) {
			quoted++
			if !strings.Contains(source.String(), text[1]) {
				t.Errorf("docs/troubleshooting.md quotes %q, which is not a text of the program", text[1])
			}
		}
	}
	if quoted < 30 {
		t.Errorf("only %d error texts were found", quoted)
	}
}

const (
	tableBegins = "<!-- inputs: made from the program's own table; go test ./internal -run TestInputsTable -update -->\n"
	tableEnds   = "<!-- end of inputs -->\n"
)

// usedBy returns the actions of the task that use an input, or all but those that do not,
// whichever list is shorter. The others exist only at a prompt.
func usedBy(in agent.Input) string {
	var users, others []string
	for _, action := range agent.TaskActions {
		if in.UsedBy(action) {
			users = append(users, action)
		} else {
			others = append(others, action)
		}
	}
	prefix := ""
	switch {
	case len(others) == 0:
		return "all"
	case len(others) < len(users):
		prefix, users = "all but ", others
	}
	for _, action := range []string{agent.Code, agent.Report, agent.Init} {
		if prefix == "" && in.UsedBy(action) {
			users = append(users, action)
		}
	}
	return prefix + strings.Join(users, ", ")
}

// inputsTable returns the table of the program's inputs.
func inputsTable() string {
	var b strings.Builder
	b.WriteString("\n| input | type | default | actions | meaning |\n|---|---|---|---|---|\n")
	for _, in := range agent.Inputs {
		name := "`" + in.Name + "`"
		if in.FlagOnly {
			name = "`--" + in.Name + "` (flag only)"
		}
		kind := string(in.Type)
		if len(in.Picks) > 0 {
			kind += ": " + strings.Join(in.Picks, ", ")
		}
		def := "–"
		if in.Default != "" {
			def = "`" + in.Default + "`"
		}
		actions := usedBy(in)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, kind, def, actions, strings.ReplaceAll(in.Help, "|", `\|`))
	}
	b.WriteString("\n")
	return b.String()
}

func TestInputsTable(t *testing.T) {
	const file = "../docs/inputs.md"
	text := read(t, file)
	before, rest, begins := strings.Cut(text, tableBegins)
	table, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table between %q and %q", file, tableBegins, tableEnds)
	}
	want := inputsTable()
	if *update {
		if err := os.WriteFile(file, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Errorf("the table in %s is out of date; run this test with -update.\ngot\n%s\nwant\n%s", file, table, want)
	}
}

func TestOutcomesAndOutputsAreDocumented(t *testing.T) {
	text := pages(t)["docs/outcomes.md"].prose
	for _, o := range outcome.All {
		if row := fmt.Sprintf("| `%s` | %d |", o, o.ExitCode()); !strings.Contains(text, row) {
			t.Errorf("docs/outcomes.md has no row %s", row)
		}
	}
	for _, name := range agent.Outputs {
		if row := fmt.Sprintf("| `%s` | ", name); !strings.Contains(text, row) {
			t.Errorf("docs/outcomes.md does not have the output %s", name)
		}
	}
	for _, s := range []outcome.State{outcome.Planned, outcome.Copied, outcome.Mounted, outcome.Present, outcome.Retagged, outcome.Pending, outcome.TargetRefused, outcome.TargetFailed} {
		if !strings.Contains(text, "`"+string(s)+"`") {
			t.Errorf("docs/outcomes.md does not have the state %s", s)
		}
	}
}

func TestLinksResolve(t *testing.T) {
	all := pages(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	checked := 0
	for name, p := range all {
		for _, match := range link.FindAllStringSubmatch(p.prose, -1) {
			target := match[1]
			if strings.HasPrefix(target, "https://") {
				continue
			}
			checked++
			file, anchor, _ := strings.Cut(target, "#")
			at := name
			if file != "" {
				at = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(at))); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, target)
				continue
			}
			if linked, markdown := all[at]; anchor != "" && (!markdown || linked.anchors[anchor] == 0) {
				t.Errorf("%s links to %s, which has no such heading", name, target)
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d links were found", checked)
	}
}

// TestHostsAreReserved checks that examples use no host that someone else could
// register: a copied example must not send images or credentials there.
func TestHostsAreReserved(t *testing.T) {
	host := regexp.MustCompile(`(?i)[a-z0-9<>-]+(?:\.[a-z0-9<>-]+)*\.(?:io|com|net|org|dev|cn|us|eu|de|uk|azure|app|cloud)\b`)
	placeholder := regexp.MustCompile(`^<[a-z-]+>\.(?:azurecr\.(?:io|cn|us)|vault\.azure\.net)$`)
	known := []string{
		"azurecr.io", "azurecr.cn", "azurecr.us", // only the suffixes
		"dev.azure.com", "status.dev.azure.com", "visualstudio.com", "login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn",
		"containerregistry.azure.net", "blob.core.windows.net", "learn.microsoft.com", "marketplace.visualstudio.com", "semver.org",
		"docker.io", "index.docker.io", "registry-1.docker.io", "auth.docker.io", // Docker Hub
		"in-toto.io", "slsa.dev", "github.com", // the formats of receipts and their specifications
		"<vault>.vault.azure.net",
		"vnd.dev",     // the beginning of a media type
		"example.com", // reserved (RFC 2606)
	}
	placeholders := 0
	for name, p := range pages(t) {
		for _, found := range host.FindAllString(p.text, -1) {
			switch {
			case placeholder.MatchString(found):
				placeholders++
			case slices.Contains(known, strings.ToLower(found)), strings.HasSuffix(found, ".example.com"):
			default:
				t.Errorf("%s names the host %s; write <your-registry>.azurecr.io, or a name under example.com", name, found)
			}
		}
	}
	if placeholders < 10 {
		t.Errorf("only %d placeholders were found", placeholders)
	}
}

// TestThreatModelNamesItsTests: each promise of the threat model names tests, and
// each of them exists in the package that the table gives.
func TestThreatModelNamesItsTests(t *testing.T) {
	_, section, found := strings.Cut(pages(t)["docs/threat-model.md"].text, "## The promises, and the tests that show them")
	if !found {
		t.Fatal("docs/threat-model.md has no table of promises")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	rows := 0
	for row := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), "|")
		if len(cells) != 2 || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[0]) == "promise" {
			continue
		}
		rows++
		for name := range strings.SplitSeq(cells[1], ",") {
			testExists(t, strings.TrimSpace(cells[0]), strings.TrimSpace(name))
		}
	}
	if rows < 25 {
		t.Errorf("the table has only %d promises", rows)
	}
}

// TestCredentialsNameTheirTests: the table of credentials names tests that exist.
func TestCredentialsNameTheirTests(t *testing.T) {
	_, section, found := strings.Cut(pages(t)["docs/conformance.md"].text, "## Ways to sign in")
	if !found {
		t.Fatal("docs/conformance.md has no table of credentials")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	names := regexp.MustCompile(`Test\w+`).FindAllString(section, -1)
	for _, name := range names {
		testExists(t, "ways to sign in", name)
	}
	if len(names) < 25 {
		t.Errorf("the table names only %d tests", len(names))
	}
}

// testExists checks that a test is there that a page names: Name, Name (package), or
// file: title of a test of Node.
func testExists(t *testing.T, of, name string) {
	t.Helper()
	if file, title, ok := strings.Cut(name, ": "); ok {
		if !strings.Contains(read(t, filepath.Join("..", filepath.FromSlash(file))), "test('"+title+"'") {
			t.Errorf("%s: %s has no test %q", of, file, title)
		}
		return
	}
	match := regexp.MustCompile(`^(Test\w+)(?: \(([\w/]+)\))?$`).FindStringSubmatch(name)
	if match == nil {
		t.Errorf("%s: %q is not the name of a test", of, name)
		return
	}
	folder := match[2]
	if folder == "" {
		folder = "cmd/acrpromote"
	}
	if !declares(t, filepath.Join("..", folder), match[1]) {
		t.Errorf("%s: %s has no test %s", of, folder, match[1])
	}
}

// TestOpenFactsNameTheirTests checks that the page on the live check has every fact
// that the program checks, with its question and answers, and that each fact names
// tests that are there.
func TestOpenFactsNameTheirTests(t *testing.T) {
	_, section, found := strings.Cut(pages(t)["docs/live-check.md"].text, "## The open facts")
	if !found {
		t.Fatal("docs/live-check.md has no table of facts")
	}
	checked := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t\{"([a-z-]+)", "([^"]+)",\n\t\t"([^"]+)", "([^"]+)",`).FindAllStringSubmatch(read(t, "../cmd/livecheck/facts.go"), -1) {
		checked[m[1]] = m[2:]
	}
	if len(checked) < 30 {
		t.Fatalf("only %d facts were found", len(checked))
	}
	named := map[string]bool{}
	for row := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 3 && len(cells) != 6 || strings.HasPrefix(cells[0], "---") || cells[0] == "fact" {
			continue
		}
		if fact := checked[cells[0]]; len(cells) == 6 && !slices.Equal(fact, cells[1:4]) {
			t.Errorf("%s: the page has %q, the program %q", cells[0], cells[1:4], fact)
		}
		named[cells[0]] = true
		for name := range strings.SplitSeq(cells[len(cells)-1], ", ") {
			testExists(t, cells[0], name)
		}
	}
	for id := range checked {
		if !named[id] {
			t.Errorf("docs/live-check.md does not have the fact %s", id)
		}
	}
}

// declares reports whether a test file of a folder has a function.
func declares(t *testing.T, folder, function string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "\nfunc "+function+"(") {
			return true
		}
	}
	return false
}
