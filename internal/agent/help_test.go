package agent

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files")

func TestHelpText(t *testing.T) {
	for _, topic := range []string{"", Seal, InvertedPush, Check, Init, Help, Version} {
		got := HelpText(topic, 80)
		for line := range strings.Lines(got) {
			if utf8.RuneCountInString(line) > 81 {
				t.Errorf("line is too long: %q", line)
			}
		}
		path := filepath.Join("testdata", "help"+topic+".golden")
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
}
