package fakeagent_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// running lists the processes of a program that stand in this test's folder.
// Only Linux lists them; elsewhere the end of the streams has to do.
func running(t *testing.T, program, folder string) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err != nil || exe != program {
			continue
		}
		if at, err := os.Readlink(filepath.Join(filepath.Dir(link), "cwd")); err == nil && strings.HasPrefix(at, folder) {
			found = append(found, link)
		}
	}
	return found
}
