package agent

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"acrpromote/internal/manual"
	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
)

var update = flag.Bool("update", false, "write the golden files")

func TestHelpText(t *testing.T) {
	for _, topic := range append([]string{""}, AllActions...) {
		got := HelpText(topic, 80)
		if !strings.Contains(got, "\nExamples\n  # ") {
			t.Errorf("help %s has no examples", topic)
		}
		if slices.Contains(TaskActions, topic) && !strings.Contains(got, "\n      action: "+topic+"\n") {
			t.Errorf("help %s has no example of a step", topic)
		}
		for line := range strings.Lines(got) {
			if utf8.RuneCountInString(line) > 81 {
				t.Errorf("line is too long: %q", line)
			}
		}
		golden(t, "help"+topic+".golden", got)
	}
}

// golden compares a text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s differs (run with -update to write it): %v\n%s", path, err, got)
	}
}

// TestHelpTopics checks that no topic hides another, and that rules and outcomes
// have their entry of the manual.
func TestHelpTopics(t *testing.T) {
	topics := helpTopics()
	sorted := slices.Sorted(slices.Values(topics))
	if len(slices.Compact(sorted)) != len(topics) {
		t.Errorf("a topic occurs twice: %q", topics)
	}
	var want []string
	for _, name := range rule.All {
		want = append(want, string(name))
	}
	for _, o := range outcome.All {
		want = append(want, string(o))
	}
	for _, topic := range want {
		entry, _ := manual.Entry(topic, 80)
		if c := mustRead(t, []string{"help", topic}, nil); HelpText(c.HelpTopic, 80) != entry || len(entry) < 80 {
			t.Errorf("help %s shows\n%s", topic, HelpText(topic, 80))
		}
		if !strings.Contains(HelpText(Help, 80), topic) {
			t.Errorf("help help does not list %s", topic)
		}
	}
}

// TestExamplesAreValid reads every example of the help as the program would.
func TestExamplesAreValid(t *testing.T) {
	read := 0
	for action, list := range examples {
		for _, e := range list {
			command := strings.ReplaceAll(e.command, "\\\n", " ")
			_, command, found := strings.Cut(command, "acrpromote ")
			command, _, _ = strings.Cut(command, " | ")
			command, _, _ = strings.Cut(command, " > ")
			args := strings.Fields(strings.ReplaceAll(strings.TrimSuffix(command, ")"), "'", ""))
			c, err := Read(args, nil)
			if !found || err != nil || len(c.Warnings) != 0 || action != "" && c.Action != action {
				t.Errorf("%s: %s: %v, %q", action, e.command, err, c.Warnings)
			}
			read++
		}
	}
	if read < 20 {
		t.Errorf("only %d examples were found", read)
	}
}
