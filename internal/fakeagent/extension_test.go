package fakeagent_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
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
