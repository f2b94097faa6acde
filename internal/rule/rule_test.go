package rule_test

import (
	"strings"
	"testing"
	"unicode"

	"acrpromote/internal/rule"
)

// TestLabels checks that each rule has a label of its own, which is a phrase that
// is true if the rule is met.
func TestLabels(t *testing.T) {
	seen := map[string]rule.Name{}
	for _, name := range rule.All {
		label := name.Label()
		switch first := strings.IndexFunc(label, unicode.IsUpper); {
		case label == "":
			t.Errorf("%s has no label", name)
		case first != 0 || strings.ContainsAny(label, ".:;|*`"):
			t.Errorf("%s: %q is not a phrase", name, label)
		case len(label) > 44:
			t.Errorf("%s: %q is too long for a table", name, label)
		case seen[label] != "":
			t.Errorf("%s and %s have the same label", name, seen[label])
		}
		seen[label] = name
	}
	if label := rule.Name("unknown").Label(); label != "" {
		t.Errorf("an unknown rule has the label %q", label)
	}
}
