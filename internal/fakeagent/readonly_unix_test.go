//go:build unix

package fakeagent_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody owns nothing here.
const nobody = 65534

// readOnly has the agent run by a user who may change nothing in the task's
// folder, where the tests may choose one; else node itself is made to believe that the
// folder lies on a read-only file system, for an owner can always change modes.
func readOnly(t *testing.T, env *testEnv) {
	t.Helper()
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	probe := exec.Command(env.agent.Node, "--version")
	probe.SysProcAttr, probe.Dir = as, "/"
	if probe.Run() == nil {
		err := filepath.WalkDir(env.folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			mode := os.FileMode(0o644)
			if entry.IsDir() {
				mode = 0o755
			}
			return os.Chmod(path, mode)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range []string{"temp", "home"} {
			if err := os.Chown(env.subfolder(folder), nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		env.agent.Prepare = func(c *exec.Cmd) { c.SysProcAttr = as }
		return
	}
	hook := filepath.Join(env.folder, "read-only.js")
	script := fmt.Sprintf(`const fs = require('node:fs');
const change = fs.chmodSync;
fs.chmodSync = (file, mode) => {
  if (String(file).startsWith(%q)) throw Object.assign(new Error('read-only'), { code: 'EROFS' });
  return change(file, mode);
};
`, env.task.Folder)
	if err := os.WriteFile(hook, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	env.agent.Prepare = func(c *exec.Cmd) { c.Env = append(c.Env, "NODE_OPTIONS=--require="+hook) }
}
