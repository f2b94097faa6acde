package topology

import (
	"strings"
	"testing"

	"acrpromote/internal/rule"
)

func TestJudgePin(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	if no := JudgePin("flows.yml", sum, sum); no != nil {
		t.Errorf("the pinned file is refused: %v", no)
	}
	for _, pinned := range []string{"", sum[:63], sum + "0", strings.Repeat("cd", 32), strings.ToUpper(sum)} {
		if no := JudgePin("flows.yml", sum, pinned); no == nil || no.Rule != rule.FlowUnverified || no.Subject != "flows.yml" {
			t.Errorf("a file with the hash %s is taken for %q: %v", sum, pinned, no)
		}
	}
}
