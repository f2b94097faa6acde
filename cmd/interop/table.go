package main

import (
	"fmt"
	"os"
	"strings"
)

// table has a row for each judge of each scenario, and a column for each pair of
// registries.
type table struct {
	kinds    []registryKind
	versions string
	rows     []*row
	verdicts []verdict // of receipts
	failures []string
}

type row struct {
	pushed, what, judge string
	cells               []string
}

func newTable(kinds []registryKind, versions string) *table {
	return &table{kinds: kinds, versions: versions}
}

func (t *table) pair(i int) string {
	return t.kinds[i].name + " → " + t.kinds[(i+1)%len(t.kinds)].name
}

// add enters the verdict of a judge for the pair with index i.
func (t *table) add(i int, s scenario, j judge, err error) {
	name := j.by + ": " + j.name
	var r *row
	for _, known := range t.rows {
		if known.pushed == s.by && known.what == s.name && known.judge == name {
			r = known
		}
	}
	if r == nil {
		r = &row{pushed: s.by, what: s.name, judge: name, cells: make([]string, len(t.kinds))}
		t.rows = append(t.rows, r)
	}
	r.cells[i] = "✔"
	if err != nil {
		r.cells[i] = "✘"
		// What fails before the judges look fails for each of them.
		if n := len(t.failures); n == 0 || !strings.HasSuffix(t.failures[n-1], err.Error()) {
			t.failures = append(t.failures, fmt.Sprintf("%s, %s by %s, %s: %v", t.pair(i), s.name, s.by, name, err))
		}
	}
}

const heading = "## Clients of others"

func (t *table) markdown() string {
	var page strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&page, format+"\n", args...) }
	line("%s", heading)
	line("")
	line("Made by `./build.sh interop`: what one client pushed, the real program promoted from one registry to another, and clients judged before and after. ✔ means that a client saw the same at the target as at the source, and found it right. Versions: %s.", t.versions)
	line("")
	columns := []string{"pushed by", "what", "judged by"}
	for i := range t.kinds {
		columns = append(columns, t.pair(i))
	}
	line("| %s |", strings.Join(columns, " | "))
	line("|%s", strings.Repeat("---|", len(columns)))
	for _, r := range t.rows {
		line("| %s | %s | %s | %s |", r.pushed, r.what, r.judge, strings.Join(r.cells, " | "))
	}
	if len(t.verdicts) > 0 {
		line("")
		line("### Receipts")
		line("")
		line("A [receipt](receipts.md) in the CNCF registry, as the program attaches it, judged by clients that know nothing of it.")
		line("")
		line("| client | what | verdict |")
		line("|---|---|---|")
		for _, v := range t.verdicts {
			said := v.said
			if v.failure != "" {
				said = "✘"
			}
			line("| %s | %s | %s |", v.client, v.what, said)
		}
	}
	return page.String()
}

// addVerdicts adds what clients said of receipts.
func (t *table) addVerdicts(verdicts []verdict) {
	t.verdicts = verdicts
	for _, v := range verdicts {
		if v.failure != "" {
			t.failures = append(t.failures, fmt.Sprintf("receipts: %s, %s: %s", v.client, v.what, v.failure))
		}
	}
}

// write prints the table and writes it into the page. Failures are an error.
func (t *table) write(page string) error {
	text := t.markdown()
	if _, err := os.Stdout.WriteString(text); err != nil {
		return err
	}
	if page != "" {
		old, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		replaced, err := replaceSection(string(old), text)
		if err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
		if err := os.WriteFile(page, []byte(replaced), 0o644); err != nil {
			return err
		}
	}
	if len(t.failures) > 0 {
		return fmt.Errorf("%d failed:\n%s", len(t.failures), strings.Join(t.failures, "\n"))
	}
	return nil
}

// replaceSection puts the section in place of the one with its heading.
func replaceSection(page, section string) (string, error) {
	before, rest, found := strings.Cut(page, "\n"+heading+"\n")
	if !found {
		return "", fmt.Errorf("there is no %q", heading)
	}
	after := ""
	if n := strings.Index(rest, "\n## "); n >= 0 {
		after = rest[n:]
	}
	return before + "\n" + section + after, nil
}
