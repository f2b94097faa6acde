package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"acrpromote/internal/maxrss"
)

// TestBadFlowFiles checks that every invalid flow file is reported quickly, with
// little memory, with position and reason, and as misuse.
func TestBadFlowFiles(t *testing.T) {
	sound := strings.ReplaceAll(sandbox, "\t", " ")
	var bomb strings.Builder
	bomb.WriteString("a: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c <= 'z'; c++ {
		fmt.Fprintf(&bomb, "%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	var wrong strings.Builder
	wrong.WriteString(sound)
	for i := range 900 {
		fmt.Fprintf(&wrong, "  flow%d: {from: nowhere, to: [prod], tag: x, as: 7}\n", i)
	}
	many := wrong.String()
	cases := map[string]struct {
		content string
		says    []string
	}{
		"10 MB":               {sound + strings.Repeat("# filler\n", 10<<20/9), []string{"larger than"}},
		"10 MB in one line":   {strings.Repeat("x", 10<<20), []string{"larger than"}},
		"deep nesting":        {"version: 1\nflows: " + strings.Repeat("[", 20_000), []string{"bad.yml:2:"}},
		"deep, and closed":    {"version: 1\nflows: " + strings.Repeat("[", 500) + strings.Repeat("]", 500) + "\n", []string{"bad.yml:2:"}},
		"deep by indent":      {deepMap(400), []string{"bad.yml:"}},
		"an alias bomb":       {bomb.String(), []string{"bad.yml:1:4", "anchor"}},
		"aliases":             {"version: 1\ntrust: &t [a, b]\nregistries: *t\n", []string{"bad.yml:2:8", "bad.yml:3:13"}},
		"tabs":                {strings.Replace(sound, "\n  prod:", "\n\tprod:", 1), []string{"bad.yml:4:1", "tab"}},
		"not UTF-8":           {strings.Replace(sound, "released", "rele\xe4sed", 1), []string{"bad.yml:8:7", "0xE4"}},
		"UTF-16":              {"\xff\xfev\x00e\x00", []string{"UTF-16"}},
		"a NUL":               {strings.Replace(sound, "prod", "pr\x00d", 1), []string{"control character"}},
		"thousands of errors": {many, []string{"bad.yml:22:", "and 2"}},
		"nothing":             {"", []string{"empty"}},
		"a list":              {"- version: 1\n", []string{"bad.yml:1:1"}},
		"two documents":       {sound + "---\n" + sound, []string{"second document"}},
		"an unknown key":      {strings.Replace(sound, "onPartial", "onPartal", 1), []string{"bad.yml:15:5", "onPartial"}},
		"a key twice":         {strings.Replace(sound, "    from: prod\n", "    from: prod\n    from: dev\n", 1), []string{"bad.yml:10:5"}},
		"a wrong type":        {strings.Replace(sound, "to: [dev, web]", "to: {dev: web}", 1), []string{"bad.yml:10:9"}},
		"an unknown registry": {strings.Replace(sound, "from: prod", "from: prd", 1), []string{"bad.yml:9:11", "prod"}},
		"upward, no approval": {strings.Replace(sound, "from: prod\n    to: [dev, web]\n    repositories: [\"base/*\"]", "from: dev\n    to: [prod]\n    repositories: [\"base/*\"]", 1), []string{"requires no approval"}},
		"flows that disagree": {strings.Replace(sound, "base/*", "shop/*", 1), []string{"their rules differ"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPerson(t, nil)
			if err := os.WriteFile(filepath.Join(p.dir, "bad.yml"), []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			o, used := p.measured("check", "--flowFile", "bad.yml")
			o.wantCode(2)
			for _, word := range c.says {
				if !strings.Contains(o.stdout, word) {
					t.Errorf("it does not say %q:\n%.2000s", word, o.stdout)
				}
			}
			if lines := strings.Count(o.stdout, "\n"); lines > 25 {
				t.Errorf("%d lines; the first 20 are shown", lines)
			}
			most := int64(200 << 20)
			if raceEnabled {
				most *= 4
			}
			if used > most {
				t.Errorf("it took %d MB of memory", used>>20)
			}
		})
	}
	t.Run("in a pipeline", func(t *testing.T) {
		env := newTestEnv(t)
		image := inputs{"action": "invertedPush", "source": source, "targets": devHost}
		for name, c := range cases {
			if len(c.content) > 1<<20 {
				continue
			}
			o := env.task(image.with("flowFile", env.flowFile(c.content)))
			if o.result["outcome"] != "misuse" {
				t.Errorf("%s: %v", name, o.result["outcome"])
			}
			if errors := o.at("errors").([]any); len(errors) > 21 {
				t.Errorf("%s: %d errors are reported", name, len(errors))
			}
		}
	})
	t.Run("BOM and CRLF are taken", func(t *testing.T) {
		p := newPerson(t, nil)
		if err := os.WriteFile(filepath.Join(p.dir, "flows.yml"), []byte("\ufeff"+strings.ReplaceAll(sound, "\n", "\r\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		p.run("check", "--flowFile", "flows.yml").wantCode(0)
	})
}

func deepMap(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// measured runs a command and returns its peak memory in bytes, or 0 if the system
// does not report it.
func (p *person) measured(arguments ...string) (outcome, int64) {
	p.t.Helper()
	command := exec.Command(plainBinary, arguments...)
	command.Env, command.Dir = p.environ, p.dir
	var stdout, stderr strings.Builder
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Start(); err != nil {
		p.t.Fatal(err)
	}
	most := maxrss.Watch(command.Process.Pid)
	_ = command.Wait()
	return p.read(command.ProcessState.ExitCode(), stdout.String(), stderr.String(), arguments), most(command.ProcessState)
}

// TestCheck checks that check uses no network and accepts a pinned name like the
// task does.
func TestCheck(t *testing.T) {
	p := newPerson(t, nil)
	path := filepath.Join(p.dir, "flows.yml")
	if err := os.WriteFile(path, []byte(sandbox), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(sandbox))
	for _, name := range []string{"flows.yml", path, "flows.yml#sha256:" + hex.EncodeToString(sum[:])} {
		if o := p.run("check", "--flowFile", name).wantCode(0); !strings.Contains(o.stdout, "valid: 3 registries, 2 flows") {
			t.Errorf("%s: %s", name, o.stdout)
		}
	}
	p.run("check", "--flowFile", "absent.yml").wantCode(2)
	p.run("check").wantCode(2)
	p.run("check", "--flowFile", "Rules@main:flows.yml").wantCode(2)
	if o := p.run("check", "--flowFile", "flows.yml#sha256:"+strings.Repeat("0", 64)); o.code == 0 {
		t.Errorf("a wrong hash passes:\n%s", o.stdout)
	}
}

// TestInit checks that the files of init pass check, and that init overwrites
// nothing.
func TestInit(t *testing.T) {
	for name, arguments := range map[string][]string{
		"sandbox":      {"--production", prodHost, "--development", devHost + "\n" + dev2Host, "--repositories", "shop/**"},
		"environments": {"--production", prodHost, "--movingTags", "test,stage\nproduction", "--environment", "Go live"},
		"both":         {"--production", prodHost, "--development", devHost, "--movingTags", "test", "--branches", "refs/heads/release/*", "--minApprovers", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t, nil)
			arguments = append([]string{"init", "--folder", "new"}, arguments...)
			p.run(arguments...).wantCode(0)
			p.run("check", "--flowFile", "new/flows.yml").wantCode(0)
			for _, file := range []string{"flows.yml", "flow.schema.json", "azure-pipelines.yml", "grant-roles.sh", "grant-roles.ps1"} {
				content, err := os.ReadFile(filepath.Join(p.dir, "new", file))
				if err != nil || !strings.Contains(string(content), "contosoprod") && file != "flow.schema.json" {
					t.Errorf("%s: %v\n%s", file, err, content)
				}
			}
			p.run(arguments...).wantCode(2)
			// A dangling link exists, too.
			if err := os.RemoveAll(filepath.Join(p.dir, "new")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(p.dir, "new"), 0o755); err != nil {
				t.Fatal(err)
			}
			elsewhere := filepath.Join(p.dir, "elsewhere")
			if err := os.Symlink(elsewhere, filepath.Join(p.dir, "new", "grant-roles.sh")); err != nil && runtime.GOOS != "windows" {
				t.Fatal(err)
			} else if err == nil {
				p.run(arguments...).wantCode(2)
				if _, err := os.Lstat(elsewhere); err == nil {
					t.Error("it was written through a link")
				}
				if _, err := os.Lstat(filepath.Join(p.dir, "new", "flows.yml")); err == nil {
					t.Error("a part was written")
				}
			}
		})
	}
	asked := func(t *testing.T, input string, arguments ...string) (p *person, code int, output string) {
		t.Helper()
		p = newPerson(t, nil)
		command := exec.Command(plainBinary, append([]string{"init"}, arguments...)...)
		command.Env, command.Dir = p.environ, p.dir
		command.Stdin = strings.NewReader(input)
		out, _ := command.CombinedOutput()
		return p, command.ProcessState.ExitCode(), string(out)
	}
	t.Run("asked", func(t *testing.T) {
		p, code, out := asked(t, prodHost+"\n"+devHost+", "+dev2Host+"\n\nshop/**\nGo live\n")
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		p.run("check", "flows.yml").wantCode(0)
		content, _ := os.ReadFile(filepath.Join(p.dir, "flows.yml"))
		for _, said := range []string{prodHost, devHost, dev2Host, "shop/**", "Go live"} {
			if !strings.Contains(string(content), said) {
				t.Errorf("the answer %s is not in the file:\n%s", said, content)
			}
		}
	})
	t.Run("asked again", func(t *testing.T) {
		// Each wrong answer is followed by its mistake and the same question.
		p, code, out := asked(t, strings.Join([]string{"https://" + prodHost, "", prodHost, devHost + "," + prodHost, devHost, "test, st*", "test,stage", "Shop/**", "shop/**", "endpoint:X", "Go live"}, "\n")+"\n")
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		for question, times := range map[string]int{"PROD registry (": 3, "Registries to push": 2, "Tags of the PROD": 2, "Released repositories": 2, "Environment whose": 2} {
			if n := strings.Count(out, question); n != times {
				t.Errorf("%q is asked %d times, want %d\n%s", question, n, times, out)
			}
		}
		for _, mistake := range []string{"without https://", "the PROD registry is not given", "duplicate registry " + prodHost, `"st*" is a pattern`, `"S", which is not allowed in a repository`, `"endpoint:X" is not the name of an environment`} {
			if !strings.Contains(out, mistake) {
				t.Errorf("it does not say %q:\n%s", mistake, out)
			}
		}
		if strings.Contains(out, "flows.yml:") {
			t.Errorf("it names a line of a file that does not exist:\n%s", out)
		}
		p.run("check", "flows.yml").wantCode(0)
	})
	t.Run("no targets", func(t *testing.T) {
		_, code, out := asked(t, prodHost+"\n\n\ntest\n")
		if code != 0 || strings.Count(out, "Tags of the PROD") != 2 || !strings.Contains(out, "there are no targets") || strings.Contains(out, "Environment whose") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
	t.Run("no answer is lost", func(t *testing.T) {
		_, code, out := asked(t, prodHost+"\n\n", "--repositories", "shop/**", "--minApprovers", "2", "--branches", "refs/heads/release/*")
		_, rest, found := strings.Cut(out, "Your answers so far: acrpromote init ")
		line, _, _ := strings.Cut(rest, "\n")
		if code != 2 || !found || !strings.Contains(out, "misuse: --movingTags: there are no targets.") {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		// The flags give the same answers.
		p, code, out := asked(t, "", append(strings.Fields(strings.ReplaceAll(line, "'", "")), "--movingTags", "test")...)
		if code != 0 {
			t.Fatalf("%s: exit code %d\n%s", line, code, out)
		}
		content, _ := os.ReadFile(filepath.Join(p.dir, "flows.yml"))
		for _, said := range []string{prodHost, "shop/**", "minApprovers: 2", "refs/heads/release/*"} {
			if !strings.Contains(string(content), said) {
				t.Errorf("the answer %s is not in the file:\n%s", said, content)
			}
		}
	})
	t.Run("flags with mistakes", func(t *testing.T) {
		// All are reported at once, and nothing is asked.
		_, code, out := asked(t, "x\nx\nx\n", "--production", "https://"+prodHost, "--movingTags", "st*", "--minApprovers", "0", "--branches", "main", "--nonsense", "1")
		for _, part := range []string{"without https://", `"st*" is a pattern`, `--minApprovers: "0"`, `"main" is not a full ref`, "--nonsense"} {
			if !strings.Contains(out, part) {
				t.Errorf("it does not say %q:\n%s", part, out)
			}
		}
		if code != 2 || strings.Contains(out, "PROD registry (") || strings.Count(out, "misuse: ") != 5 {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
	t.Run("files that exist", func(t *testing.T) {
		p := newPerson(t, nil)
		write(t, p.dir, "azure-pipelines.yml", "mine")
		o := p.run("init").wantCode(2)
		if !strings.Contains(o.stdout, "existing files are not overwritten: azure-pipelines.yml. Choose another folder") || strings.Contains(o.stdout, "PROD registry (") {
			t.Errorf("it asks first:\n%s", o.stdout)
		}
		if o := p.run("init", "--folder", "azure-pipelines.yml").wantCode(2); !strings.Contains(o.stdout, "azure-pipelines.yml is not a folder") {
			t.Errorf("it says:\n%s", o.stdout)
		}
	})
	t.Run("wrong answers", func(t *testing.T) {
		p := newPerson(t, nil)
		for _, arguments := range [][]string{
			{"init"},
			{"init", "--production", "https://" + prodHost, "--development", devHost},
			{"init", "--production", prodHost, "--development", prodHost},
			{"init", "--production", prodHost, "--development", devHost, "--repositories", "Shop/**"},
			{"init", "--production", prodHost, "--movingTags", "*"},
		} {
			p.run(arguments...).wantCode(2)
		}
		_ = filepath.WalkDir(p.dir, func(path string, _ fs.DirEntry, _ error) error {
			if strings.HasSuffix(path, ".yml") || strings.HasSuffix(path, ".sh") {
				t.Errorf("%s was written", path)
			}
			return nil
		})
	})
}
