package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReport checks the test results that a step publishes, and the reports that are
// made of stored results: of a promotion, of a plan, of a check, and of what is none.
func TestReport(t *testing.T) {
	env, _ := ready(t)
	refused := env.task(push("publishTests", "true", "minApprovers", "2")).refusedBy("min-approvers")
	if !strings.Contains(refused.tests, `<failure type="min-approvers"`) || !strings.Contains(refused.tests, "<skipped message=\"refused\"/>") {
		t.Errorf("the test results are\n%s", refused.tests)
	}
	done := env.task(push("publishTests", "true")).want("done")
	if want := "<testcase classname=\"" + devHost + "\" name=\"" + source + " → " + devHost + "/" + cart + ":" + release + "\" time=\"0\"/>"; !strings.Contains(done.tests, want) {
		t.Errorf("%s is not in the test results\n%s", want, done.tests)
	}
	if plain := env.task(push()).want("done"); plain.tests != "" {
		t.Errorf("without the input, test results are published:\n%s", plain.tests)
	}

	folder := t.TempDir()
	write(t, folder, "check.json", `{"problems":[{"file":"flows.yml","line":3,"column":1,"key":"x","reason":"unknown key"}],"registries":0,"flows":[]}`)
	write(t, folder, "cut.json", `{"schema":"acrpromote/result/v1",`)
	stored := refused.output["report"]
	copied, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	write(t, folder, "copy.json", string(copied))
	for _, c := range []struct {
		args string
		code int
		want []string
	}{
		{stored + " --junit", 0, []string{refused.tests}},
		{done.output["report"] + " check.json " + stored + " --sarif", 0, []string{`"version": "2.1.0"`, `"startLine": 3`, `"ruleId": "min-approvers"`}},
		{stored + " copy.json --json", 0, []string{"{\n  \"schema\""}},
		{"--markdown " + stored, 0, []string{"## invertedPush: refused\n", "`min-approvers`"}},
		{stored + " " + done.output["report"] + " --html", 0, []string{"<!DOCTYPE html>", "default-src 'none'; script-src 'sha256-", `"rule":"min-approvers"`, `"outcome":"done"`, "</html>"}},
		{stored + " cut.json", 2, []string{"misuse: cut.json: the result is not one valid JSON object"}},
	} {
		code, stdout, stderr := at(t, plainBinary, folder, nil, append([]string{"report"}, strings.Fields(c.args)...)...)
		if code != c.code {
			t.Errorf("%s: exit code %d\n%s", c.args, code, stderr)
		}
		for _, want := range c.want {
			if text := stdout + stderr; !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", c.args, want, text)
			}
		}
	}
	if files, err := filepath.Glob(filepath.Join(folder, "*")); err != nil || len(files) != 3 {
		t.Errorf("the folder has %v, %v", files, err)
	}
	if _, err := os.Stat(stored); err != nil {
		t.Error(err)
	}
}
