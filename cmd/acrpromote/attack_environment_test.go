package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// launched returns the command that starts the program by the task's launcher.
func launched(t *testing.T) []string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%s-%s/%s", runtime.GOOS, runtime.GOARCH, filepath.Base(binary))
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sizes, _ := json.Marshal(map[string]int{name: len(content)})
	launcher, err := os.ReadFile(filepath.Join("..", "..", "task", "index.js"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for name, content := range map[string][]byte{"index.js": launcher, "bin/sizes.json": sizes, "bin/" + name: content} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return []string{node, filepath.Join(root, "index.js")}
}

// TestLauncherWithholdsVariables checks that the launcher passes on only the variables
// that the program reads, and that the program reports the suspicious ones as if they
// had been.
func TestLauncherWithholdsVariables(t *testing.T) {
	env := newTestEnv(t)
	env.command = launched(t)
	image := pushImage(env.prod, cart, release, 1, 2, 4096)
	env.record(image)
	env.lock(release)
	env.approve(manager, "")
	names := []string{"BASH_ENV", "DYLD_INSERT_LIBRARIES", "HTTPS_PROXY", "LD_LIBRARY_PATH", "NODE_OPTIONS", "NODE_PATH", "SSL_CERT_FILE", "https_proxy"}
	if runtime.GOOS == "windows" {
		names = names[:len(names)-1]
	}
	set := func(e *fakeagent.Environment) {
		e.Env = map[string]string{"AZURE_CLIENT_SECRET": "a-value", "SECRET_OF_PIPELINE": "a-value"}
		for _, name := range names {
			e.Env[name] = "/nonexistent/a-value"
		}
		e.Env["NODE_OPTIONS"] = "--max-http-header-size=16384"
	}
	reached, letGo := env.holdDownload()
	p := env.start(env.environ(env.stage, push(), set))
	waitFor(t, reached, p)
	if runtime.GOOS == "linux" {
		got := childEnvironment(t, p.command.Process.Pid)
		for _, name := range append([]string{"AZURE_CLIENT_SECRET", "SECRET_OF_PIPELINE", "PATH"}, names...) {
			if slices.ContainsFunc(got, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
				t.Errorf("the program got %s", name)
			}
		}
		if !slices.ContainsFunc(got, func(v string) bool { return strings.HasPrefix(v, "INPUT_ACTION=") }) || strings.Contains(strings.Join(got, " "), "a-value") {
			t.Errorf("the program got %d variables, or a value of another one", len(got))
		}
	}
	letGo()
	for _, o := range []outcome{
		p.wait().want("done"),
		env.task(push(), set).want("done"),
		env.task(push("minApprovers", "3"), set).want("refused"),
		env.task(push("minApprovers", "none"), set).want("misuse"),
	} {
		var found []string
		for _, name := range o.at("environment").([]any) {
			found = append(found, name.(string))
		}
		if !slices.Equal(found, names) || !strings.Contains(strings.Join(o.warnings, "\n"), "NODE_OPTIONS") {
			t.Errorf("%v: environment %q, want %q; warnings %q", o.result["outcome"], found, names, o.warnings)
		}
		if strings.Contains(o.stdout+o.summary, "a-value") {
			t.Errorf("%v: a value is shown", o.result["outcome"])
		}
	}
	o := env.task(push(), func(e *fakeagent.Environment) { e.Env = map[string]string{"GODEBUG": "http2debug=2"} }).want("misuse").says("GODEBUG")
	if len(o.requests) > 0 {
		t.Errorf("requests were sent: %v", o.requests)
	}
}

// childEnvironment returns the environment of the only child of a process.
func childEnvironment(t *testing.T, parent int) []string {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(children)) {
			content, err := os.ReadFile("/proc/" + child + "/environ")
			if err != nil {
				t.Fatal(err)
			}
			return strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
		}
	}
	t.Fatalf("the process %d has no child", parent)
	return nil
}
