//go:build unix

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFilesThatNeverEnd names pipes and devices where the program reads a file. It
// must neither wait for them nor read on forever.
func TestFilesThatNeverEnd(t *testing.T) {
	env, _ := ready(t)
	pipe := filepath.Join(env.folder(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	flows := env.flowFile(sandbox)
	certificate := env.file("client.pem", "x")
	for _, file := range []string{pipe, "/dev/zero", "/dev/stdin", env.folder()} {
		want := "is not a regular file"
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			want = ""
		}
		none := func(o outcome) {
			t.Helper()
			if o.want("misuse").says(want); len(o.requests) > 0 {
				t.Errorf("%s: requests were sent: %v", file, o.requests)
			}
		}
		none(env.task(inputs{"action": "verify", "source": source, "flowFile": file}))
		none(env.task(inputs{"action": "verify", "source": source, "flowFile": file + "#sha256:" + strings.Repeat("0", 64)}))
		none(env.task(inputs{"action": "verify", "flowFile": flows, "flow": "released", "imagesFrom": file}))
		environ := env.environ(env.stage, push())
		none(env.execute(forged(environ, "AGENT_CAINFO", file)))
		public := valueOf(environ, "VSTS_PUBLIC_VARIABLES")
		named := strings.TrimSuffix(public, "]") + `,"agent.clientcert","agent.clientcertkey"]`
		none(env.execute(forged(environ, "VSTS_PUBLIC_VARIABLES", named, "AGENT_CLIENTCERT", file, "AGENT_CLIENTCERTKEY", file)))
		none(env.execute(forged(environ, "VSTS_PUBLIC_VARIABLES", named, "AGENT_CLIENTCERT", certificate, "AGENT_CLIENTCERTKEY", file)))
	}
}

// TestReportFolderUnwritable checks that the result is written to the agent's
// temporary folder if it cannot be written to the report folder.
func TestReportFolderUnwritable(t *testing.T) {
	env, _ := ready(t)
	file := env.file("taken", "")
	for _, folder := range []string{file, file + "/below", "/dev/null/x", "/proc/self"} {
		for _, c := range []struct {
			in      inputs
			outcome string
		}{
			{push("action", "verify"), "failed"},
			{push("minApprovers", "2"), "refused"},
			{push("minApprovers", "none"), "misuse"},
		} {
			o := env.task(c.in.with("reportFolder", folder)).want(c.outcome).says("reportFolder", "a folder that this step can write to")
			if strings.HasPrefix(o.output["report"], folder) {
				t.Errorf("report %s", o.output["report"])
			}
		}
	}
}
