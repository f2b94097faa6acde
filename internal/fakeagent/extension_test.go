package fakeagent_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/htmlreport"
	"acrpromote/internal/manual"
	storedresult "acrpromote/internal/report"
)

func TestUnpackedExtension(t *testing.T) {
	folder, vsix := t.TempDir(), built(t)
	e, err := fakeagent.Unpack(vsix, folder)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Tasks(); !slices.Equal(got, []string{"AcrPromote", "AcrPromoteGate"}) {
		t.Errorf("tasks %q", got)
	}
	task := e.Task("AcrPromote")
	for _, handler := range []string{"Node24", "Node20_1"} {
		if task.Handlers[handler] != "index.js" {
			t.Errorf("%s runs %q", handler, task.Handlers[handler])
		}
	}
	if want := []string{"digest", "image", "changed", "plan", "report"}; !slices.Equal(task.Settable, want) {
		t.Errorf("settable variables %q, want %q", task.Settable, want)
	}
	programs := 0
	err = filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode()&0o111 != 0 {
			t.Errorf("%s is executable after unpacking", file)
		}
		if strings.HasPrefix(entry.Name(), "acrpromote") && strings.Contains(file, "bin") {
			programs++
		}
		return nil
	})
	if err != nil || programs != 4 {
		t.Errorf("%d programs were found, want one for each platform: %v", programs, err)
	}
	if info, err := os.Stat(vsix); err != nil || info.Size() > 22_000_000 {
		t.Errorf("the extension is too large: %v, %v", info, err)
	}
}

// TestProgramHasTheTextsOfTheSources checks the texts that the build compresses: an entry
// of the troubleshooting page, the schema of flow files and the HTML report.
func TestProgramHasTheTextsOfTheSources(t *testing.T) {
	folder := t.TempDir()
	if _, err := fakeagent.Unpack(built(t), folder); err != nil {
		t.Fatal(err)
	}
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	found, err := filepath.Glob(filepath.Join(folder, "*", "bin", runtime.GOOS+"-"+runtime.GOARCH, "acrpromote"+suffix))
	if err != nil || len(found) != 1 {
		t.Skipf("the extension has no program for this platform: %q, %v", found, err)
	}
	if err := os.Chmod(found[0], 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(found[0], args...)
		cmd.Dir = folder
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return string(output)
	}

	entry, _ := manual.Entry("approval-missing", 100)
	help := run("help", "approval-missing")
	for line := range strings.Lines(entry) {
		// Where pages are published is part of the build.
		if !strings.Contains(line, ".md") && !strings.Contains(help, line) {
			t.Errorf("%q is not in\n%s", line, help)
		}
	}

	run("init", "--production", prodHost, "--development", devHost, "--folder", "kit")
	schema, err := os.ReadFile(filepath.Join("..", "topology", "flow.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(folder, "kit", "flow.schema.json")); err != nil || !bytes.Equal(got, schema) {
		t.Errorf("init writes another schema: %v", err)
	}

	content, err := os.ReadFile(filepath.Join("..", "report", "testdata", "done.json.golden"))
	if err != nil {
		t.Fatal(err)
	}
	stored := filepath.Join(folder, "result.json")
	if err := os.WriteFile(stored, content, 0o600); err != nil {
		t.Fatal(err)
	}
	result, err := storedresult.Stored(content)
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := htmlreport.Write(&page, []storedresult.Result{result}); err != nil {
		t.Fatal(err)
	}
	if got := run("report", stored, "--html"); got != page.String() {
		t.Errorf("the program writes another page, of %d bytes instead of %d", len(got), page.Len())
	}
}
