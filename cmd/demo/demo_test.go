package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"acrpromote/internal/sim"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Both commands as they ship, built once.
var demoPath, programBinary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "acrpromote-demo-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		suffix := ""
		if runtime.GOOS == "windows" {
			suffix = ".exe"
		}
		demoPath, programBinary = filepath.Join(dir, "demo"+suffix), filepath.Join(dir, "acrpromote"+suffix)
		for path, pkg := range map[string]string{demoPath: ".", programBinary: "../acrpromote"} {
			build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=1.0.0", "-o", path, pkg)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "%s does not build: %v\n%s", pkg, err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// run starts the demo by its front door.
func run(t *testing.T, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, demoPath, arguments...)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), out.String(), errors.String()
}

var told = regexp.MustCompile(`^( ?\d+  | +[✓✗]  |    refused [^:]*)`)

// TestTheDemoByItsFrontDoor holds the frame of the output to a golden file:
// the steps, who refused by which rule, and the claims. The words of the
// program and what was measured differ from run to run.
func TestTheDemoByItsFrontDoor(t *testing.T) {
	keep := t.TempDir()
	code, stdout, stderr := run(t, "--keep", keep, programBinary)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	var frame []string
	lines := strings.Split(strings.TrimRight(stdout, "\n"), "\n")
	for _, l := range lines {
		if n := utf8.RuneCountInString(l); n > columns {
			t.Errorf("%d characters: %s", n, l)
		}
		switch head := told.FindString(l); {
		case head == "":
		case strings.HasPrefix(head, "    "):
			frame = append(frame, head)
		default:
			frame = append(frame, l)
		}
	}
	if len(lines) > 66 {
		t.Errorf("%d lines are more than a screenful", len(lines))
	}
	if strings.Contains(stdout, "\x1b") {
		t.Error("colour was written to a file")
	}
	golden(t, "frame.golden", strings.Join(frame, "\n")+"\n")

	for _, step := range []string{"01-seal", "06-invertedPush"} {
		for _, name := range []string{"result.json", "log.txt", "acrpromote-summary-*.md"} {
			if found, err := filepath.Glob(filepath.Join(keep, step, name)); err != nil || len(found) != 1 {
				t.Errorf("--keep left %v for %s of %s (%v)", found, name, step, err)
			}
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wanted, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(wanted) {
		t.Errorf("%s differs; got\n%s", name, got)
	}
}

func TestInvocation(t *testing.T) {
	for _, c := range []struct {
		arguments []string
		code      int
		says      string
	}{
		{nil, 2, "name one program to run"},
		{[]string{"--frob", programBinary}, 2, "frob"},
		{[]string{"a", "b"}, 2, "name one program to run"},
		{[]string{"--help"}, 0, "usage: demo"},
		{[]string{filepath.Join(t.TempDir(), "absent")}, 1, "absent"},
		{[]string{demoPath}, 1, "is not acrpromote"},
	} {
		code, stdout, stderr := run(t, c.arguments...)
		if code != c.code || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%v: exit code %d, want %d and %q\n%s%s", c.arguments, code, c.code, c.says, stdout, stderr)
		}
	}
}

// tellStory goes through the whole story with small stand-ins for the
// binaries in the image; the program that runs is the real one.
func tellStory(t *testing.T, out io.Writer) *story {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test was built without build information")
	}
	var binaries []binary
	for _, p := range platforms {
		binaries = append(binaries, binary{p, []byte("program for " + p.String()), info})
	}
	p, err := openProgram(ctx, programBinary, filepath.Join(dir, "steps"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := buildImage(p.version, binaries)
	if err != nil {
		t.Fatal(err)
	}
	env, err := openEnvironment(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.close)
	s := newStory(env, img, p, newScreen(out, true))
	if err := s.tell(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEveryClaimCanFail breaks the environment, or the record of what was seen, in
// one way after another: each claim of the demo must notice one of them.
func TestEveryClaimCanFail(t *testing.T) {
	var out bytes.Buffer
	s := tellStory(t, &out)
	if !s.end(0) {
		t.Fatalf("the story does not hold as it is\n%s", out.String())
	}
	if !strings.Contains(out.String(), "##vso[task.complete result=Failed") {
		t.Error("the program's own output is not shown where it was asked for")
	}
	noticed := map[string]bool{}
	for _, b := range breaks(s) {
		t.Run(b.name, func(t *testing.T) {
			out.Reset()
			undo := b.apply()
			holds, checks := s.end(0), s.checks()
			undo()
			failed := failures(checks)
			if holds || !slices.ContainsFunc(failed, func(claim string) bool { return strings.Contains(claim, b.claim) }) {
				t.Errorf("holds %t; what fails is %q, want a claim with %q", holds, failed, b.claim)
			}
			if !strings.Contains(out.String(), "✗  ") || !strings.Contains(out.String(), "do not hold.") {
				t.Errorf("the failure is not told:\n%s", out.String())
			}
			for _, claim := range failed {
				noticed[claim] = true
			}
			if after := failures(s.checks()); !b.stays && len(after) > 0 {
				t.Fatalf("undone, and still fails: %q", after)
			}
		})
	}
	for _, c := range s.checks() {
		if !noticed[c.claim] {
			t.Errorf("nothing made this claim fail: %s", c.claim)
		}
	}
}

func failures(checks []check) []string {
	var failed []string
	for _, c := range checks {
		if c.failure != "" {
			failed = append(failed, c.claim)
		}
	}
	return failed
}

// breach is one way to make a claim untrue, which claim that is, and how to
// make it true again; what stays in the log comes last.
type breach struct {
	name, claim string
	stays       bool
	apply       func() (undo func())
}

func breaks(s *story) []breach {
	env, root := s.env, s.image.root
	attached := s.image.attached[0]
	var blob string
	for digest := range s.image.blobs {
		blob = max(blob, digest)
	}
	list := []breach{
		{"the tag moves", "have the digest", false, func() func() {
			env.payments.Push(repository, s.tag(), s.theirs.root.MediaType, s.theirs.root.Content)
			return func() { env.payments.Push(repository, s.tag(), root.MediaType, root.Content) }
		}},
		{"a blob is lost", "byte for byte", false, func() func() {
			env.web.RemoveBlob(repository, blob)
			return func() { env.web.PutBlob(repository, s.image.blobs[blob]) }
		}},
		{"a referrer is lost", "seal record are attached", false, func() func() {
			env.web.RemoveManifest(repository, attached.Digest)
			return func() { env.web.Push(repository, "", attached.MediaType, attached.Content) }
		}},
		{"the signature is another's", "signature verifies", false, func() func() {
			return swap(&s.image.publicKey, bytes.Repeat([]byte{1}, 32))
		}},
		{"the code is another's", "approval code", false, func() func() {
			return swap(&s.code, "0000-0000-0000-0000-0000-0000")
		}},
		{"the tag is unlocked", "the tag is locked", false, func() func() {
			env.prod.SetTagLock(repository, s.tag(), true, false)
			return func() { env.prod.SetTagLock(repository, s.tag(), false, false) }
		}},
		{"a platform is unlocked", "the tag is locked", false, func() func() {
			digest := s.image.children[1].Digest
			env.prod.SetManifestLock(repository, digest, true, true)
			return func() { env.prod.SetManifestLock(repository, digest, true, false) }
		}},
		{"approved before it was sealed", "the order was", false, func() func() {
			return swap(&s.approved, s.approved.Add(-time.Hour))
		}},
		{"approved after it was pushed", "the order was", false, func() func() {
			return swap(&s.approved, time.Now())
		}},
		{"the push wrote at PROD", "wrote nothing to PROD", false, func() func() {
			return swap(&s.pushed.requests, append(slices.Clone(s.pushed.requests), wrote(env.prod.Host())))
		}},
		{"a team's image is at PROD", "wrote nothing to PROD", false, func() func() {
			env.prod.Push(repository, "", s.theirs.root.MediaType, s.theirs.root.Content)
			return func() { env.prod.RemoveManifest(repository, s.theirs.root.Digest) }
		}},
		{"the program dialled in secret", "the hosts in the proxy's log", false, func() func() {
			return swap(&s.sealed.dialled, append(slices.Clone(s.sealed.dialled), "elsewhere.example.com:443"))
		}},
		{"the program dialled a stranger", "the hosts in the proxy's log", false, func() func() {
			dialled := swap(&s.sealed.dialled, append(slices.Clone(s.sealed.dialled), "elsewhere.example.com:443"))
			egress := swap(&s.sealed.said.Egress, append(slices.Clone(s.sealed.said.Egress), "elsewhere.example.com:443"))
			return func() { dialled(); egress() }
		}},
		{"another image was pulled", "pulled every byte", false, func() func() {
			return swap(&s.pulled, s.theirs)
		}},
	}
	for i := range s.attempts {
		a := &s.attempts[i]
		list = append(list,
			breach{a.what + ": wrote", a.what, false, func() func() {
				return swap(&a.outcome.requests, append(slices.Clone(a.outcome.requests), wrote(env.web.Host())))
			}},
			breach{a.what + ": left something", a.what, false, func() func() {
				return swap(&a.after.blobs, append(slices.Clone(a.after.blobs), "web a blob"))
			}},
			breach{a.what + ": ended otherwise", a.what, false, func() func() {
				undo := swap(&a.outcome.said.Outcome, "failed")
				task := swap(&a.outcome.task, "Canceled")
				return func() { undo(); task() }
			}},
		)
	}
	for i := range s.answers {
		a := &s.answers[i]
		list = append(list,
			breach{a.what + ": left something", a.what, false, func() func() {
				return swap(&a.after.tags, append(slices.Clone(a.after.tags), "prod a tag"))
			}},
			breach{a.what + ": answered otherwise", a.what, false, func() func() {
				return swap(&a.wanted, http.StatusTeapot)
			}},
		)
	}
	return append(list,
		breach{"the firewall is down", "DEV addresses got nothing", true, func() func() {
			env.prod.AllowOnly()
			visit(env.webNet, env.prod.Host(), "")
			env.prod.AllowOnly(env.prodNetwork.IP())
			return func() {}
		}},
		breach{"a sign-in went to the storage", "no credential was sent to storage", true, func() func() {
			visit(env.prodNetwork, env.prod.StorageHost(), "Bearer simulated")
			return func() {}
		}},
	)
}

func wrote(host string) sim.Request {
	return sim.Request{Time: time.Now(), Host: host, Method: http.MethodPatch, Path: "/acr/v1/x/_tags/y", Status: http.StatusOK}
}

func swap[T any](at *T, value T) (undo func()) {
	old := *at
	*at = value
	return func() { *at = old }
}

// visit asks a host for something; what it answers does not matter.
func visit(network *sim.Network, host, authorization string) {
	request, err := http.NewRequest(http.MethodGet, "https://"+host+"/v2/", nil)
	if err != nil {
		panic(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	client := network.Client()
	defer client.CloseIdleConnections()
	if response, err := client.Do(request); err == nil {
		response.Body.Close()
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text   string
		limit  int
		wanted []string
	}{
		{"", 2, []string{""}},
		{"one two", 2, []string{"one two"}},
		{"one two three four", 2, []string{"one two", "three four"}},
		{"one two three four five", 2, []string{"one two", "three four …"}},
		{"averylongsingleword and", 2, []string{"averylongsingleword", "and"}},
	} {
		if got := wrap(c.text, 10, c.limit); !slices.Equal(got, c.wanted) {
			t.Errorf("wrap(%q) is %q, want %q", c.text, got, c.wanted)
		}
	}
}
