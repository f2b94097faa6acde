package main_test

import (
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
)

// TestEnvironmentIsReported checks that the names, but not the values, of variables
// that run code in the launcher or change its trust are in result.json and in a
// warning.
func TestEnvironmentIsReported(t *testing.T) {
	env, _ := ready(t)
	o := env.task(push()).want("done")
	if found := o.at("environment").([]any); len(found) != 0 || len(o.warnings) != 0 {
		t.Errorf("of nothing: %v, warnings %q", found, o.warnings)
	}
	names := []string{"BASH_ENV", "DYLD_INSERT_LIBRARIES", "HTTPS_PROXY", "LD_AUDIT", "LD_PRELOAD", "NODE_EXTRA_CA_CERTS", "NODE_OPTIONS", "NODE_TLS_REJECT_UNAUTHORIZED", "SSL_CERT_FILE"}
	set := func(value string) func(*fakeagent.Environment) {
		return func(e *fakeagent.Environment) {
			e.Env = map[string]string{}
			for _, name := range names {
				e.Env[name] = value
			}
		}
	}
	for _, c := range []struct {
		name    string
		in      inputs
		outcome string
	}{
		{"done", push(), "done"},
		{"dry run", push("dryRun", "true"), "done"},
		{"refused", push("minApprovers", "3"), "refused"},
		{"usage error", push("minApprovers", "none"), "misuse"},
	} {
		o := env.task(c.in, set("/nonexistent/a-value")).want(c.outcome)
		var found []string
		for _, name := range o.at("environment").([]any) {
			found = append(found, name.(string))
		}
		if !slices.Equal(found, names) {
			t.Errorf("%s: environment %q, want %q", c.name, found, names)
		}
		warnings := strings.Join(o.warnings, "\n")
		for _, name := range names {
			if !strings.Contains(warnings, name) || !strings.Contains(o.summary, strings.ReplaceAll(name, "_", "&#95;")) {
				t.Errorf("%s: log or summary does not name %s", c.name, name)
			}
		}
		if strings.Contains(o.stdout+o.summary, "a-value") {
			t.Errorf("%s: a value is shown", c.name)
		}
	}
	o = env.task(push(), set("")).want("done")
	if found := o.at("environment").([]any); len(found) != 0 {
		t.Errorf("of empty values: %v", found)
	}
}
