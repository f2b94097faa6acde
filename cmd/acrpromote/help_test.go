package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// at runs a program in a folder, with an environment, and returns its exit code and
// its output.
func at(t *testing.T, program, folder string, environ []string, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	command := exec.Command(program, arguments...)
	command.Dir, command.Env = folder, environ
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	_ = command.Run()
	if strings.Contains(out.String()+errs.String(), "panic:") || strings.Contains(errs.String(), "DATA RACE") {
		t.Fatalf("the program broke:\n%s\n%s", out.String(), errs.String())
	}
	return command.ProcessState.ExitCode(), out.String(), errs.String()
}

func write(t *testing.T, folder, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkDocument decodes what `check --output json` prints, and checks that it has
// the documented fields and no others.
func checkDocument(t *testing.T, document string) (problems, flows []map[string]any, registries float64) {
	t.Helper()
	var whole map[string]any
	if err := json.Unmarshal([]byte(document), &whole); err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	fields := func(m map[string]any, want ...string) {
		t.Helper()
		var got []string
		for name := range m {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("the fields are %v, want %v", got, want)
		}
	}
	fields(whole, "flows", "problems", "registries")
	for _, p := range whole["problems"].([]any) {
		problems = append(problems, p.(map[string]any))
		fields(p.(map[string]any), "column", "file", "key", "line", "reason")
	}
	for _, f := range whole["flows"].([]any) {
		flows = append(flows, f.(map[string]any))
		fields(f.(map[string]any), "direction", "name")
	}
	return problems, flows, whole["registries"].(float64)
}

// directions is a flow file with a flow in each direction.
const directions = `version: 1
trust: [dev, production]
registries:
  dev: {host: ` + devHost + `, trust: dev}
  web: {host: ` + dev2Host + `, trust: dev}
  prod: {host: ` + prodHost + `, trust: production}
flows:
  up: {from: dev, to: [prod], repositories: [a], require: {approval: {environment: Production}}}
  down: {from: prod, to: [dev], repositories: [b], require: {approval: {environment: Production}}}
  equal: {from: dev, to: [web], repositories: [c], require: {approval: {environment: Production}}}
  stages: {from: prod, to: [prod], repositories: [d], movingTags: [stage], require: {approval: {environment: Production}}}
  both: {from: prod, to: [prod, dev], repositories: [e], movingTags: [stage], require: {approval: {environment: Production}}}
`

func TestCheckPrintsDirections(t *testing.T) {
	p := newPerson(t, nil)
	write(t, p.dir, "flows.yml", directions)
	o := p.run("check", "flows.yml").wantCode(0)
	for _, line := range []string{
		"flows.yml: valid: 3 registries, 5 flows\n",
		"  up: up (promote), from dev to prod\n",
		"  down: down (invertedPush), from prod to dev\n",
		"  equal: to equal trust (promote), from dev to web\n",
		"  stages: within one registry (promote), from prod to prod\n",
		"  both: mixed (invertedPush to less trusted registries, promote to the others), from prod to dev, prod\n",
	} {
		if !strings.Contains(o.stdout, line) {
			t.Errorf("it does not say %q:\n%s", line, o.stdout)
		}
	}
	if strings.Contains(o.stdout+o.stderr, "ignored") {
		t.Errorf("it warns: %s%s", o.stdout, o.stderr)
	}
	if o := p.run("check", "flows.yml", "--targets", devHost).wantCode(0); !strings.Contains(o.stdout, "warning: targets is ignored: check does not use it.") {
		t.Errorf("it does not say that targets is ignored:\n%s", o.stdout)
	}
}

func TestCheckAsJSON(t *testing.T) {
	p := newPerson(t, nil)
	check := func(code int, arguments ...string) (problems, flows []map[string]any, registries float64, stderr string) {
		t.Helper()
		got, stdout, stderr := at(t, plainBinary, p.dir, p.environ, append([]string{"check", "--output", "json"}, arguments...)...)
		if got != code {
			t.Fatalf("%q: exit code %d, want %d\n%s%s", arguments, got, code, stdout, stderr)
		}
		if found := agentReads(stdout + stderr); len(found) > 0 {
			t.Errorf("logging commands: %v", found)
		}
		problems, flows, registries = checkDocument(t, stdout)
		return problems, flows, registries, stderr
	}
	write(t, p.dir, "flows.yml", directions)
	problems, flows, registries, stderr := check(0, "flows.yml")
	var got []string
	for _, f := range flows {
		got = append(got, f["name"].(string)+" "+f["direction"].(string))
	}
	if want := []string{"both mixed", "down down", "equal same", "stages same", "up up"}; len(problems) != 0 || registries != 3 || !slices.Equal(got, want) || !strings.Contains(stderr, "valid") {
		t.Errorf("%v, %v, %v\n%s", problems, registries, got, stderr)
	}

	// Each key that is wrong is named as in the file.
	bad := strings.NewReplacer("trust: dev}\n  web", "trust: dev, imutable: true}\n  web", "to: [web]", "to: [web, wab]", "movingTags: [stage], require: {approval: {environment: Production}}}\n  both",
		"movingTags: [\"a b\"], require: {approval: {minApprovers: 0}}}\n  both").Replace(directions)
	write(t, p.dir, "bad.yml", bad+"\"##vso[task.complete result=Succeeded;]\": 1\n")
	problems, flows, registries, stderr = check(2, "bad.yml")
	got = nil
	for _, p := range problems {
		got = append(got, p["key"].(string))
		if p["file"] != "bad.yml" || p["line"].(float64) < 1 || p["column"].(float64) < 1 || p["reason"] == "" {
			t.Errorf("%v", p)
		}
	}
	want := []string{"registries.dev.imutable", "flows.equal.to[1]", "flows.stages.movingTags[0]", "flows.stages.require.approval.minApprovers", ""}
	if !slices.Equal(got, want) || len(flows) != 0 || registries != 0 || strings.Count(stderr, "bad.yml:") != len(want) {
		t.Errorf("%q, want %q; %v, %v\n%s", got, want, registries, flows, stderr)
	}

	// The text has the first 20 problems, and the document has all that were kept.
	var many strings.Builder
	many.WriteString(directions)
	for i := range 900 {
		fmt.Fprintf(&many, "  flow%d: {from: nowhere, to: [prod], tag: x, as: 7}\n", i)
	}
	write(t, p.dir, "many.yml", many.String())
	problems, _, _, stderr = check(2, "many.yml")
	if last := problems[len(problems)-1]; len(problems) != 2001 || strings.Count(stderr, "\n") != 21 ||
		last["line"] != 0.0 || !strings.Contains(last["reason"].(string), "more problems are not shown") {
		t.Errorf("%d problems, the last %v; the text has %d lines", len(problems), last, strings.Count(stderr, "\n"))
	}

	for _, c := range []struct{ name, reason string }{
		{"absent.yml", "it cannot be read"},
		{"Rules@main:flows.yml", "Clone Rules and check its file flows.yml."},
		{"flows.yml#sha256:" + strings.Repeat("0", 64), "is pinned. Find out who changed the file"},
	} {
		problems, _, _, _ := check(2, c.name)
		if len(problems) != 1 || problems[0]["line"] != 0.0 || !strings.Contains(problems[0]["reason"].(string), c.reason) {
			t.Errorf("%s: %v", c.name, problems)
		}
	}
}

// TestCheckAsTask checks the action of the task: a branch policy runs it where the
// file is in the workspace.
func TestCheckAsTask(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, "flows.yml", directions)
	hostile := "a;b]##vso[task.complete result=Succeeded;].yml"
	bad := strings.Replace(directions, "to: [prod]", "to: [prd]", 1) + "\"##vso[task.complete result=Succeeded;]\": 1\n"
	write(t, folder, "bad.yml", bad)
	write(t, folder, hostile, bad)
	task := func(file string, more ...string) (commands []command, stdout string) {
		t.Helper()
		environ := append([]string{"PATH=" + os.Getenv("PATH"), "INPUT_ACTION=check", "INPUT_FLOWFILE=" + file, "INPUT_DRYRUN=false",
			"SYSTEM_COLLECTIONURI=https://dev.azure.com/contoso/", "ENDPOINT_URL_SYSTEMVSSCONNECTION=https://dev.azure.com/contoso/", "GORACE=atexit_sleep_ms=0"}, more...)
		code, stdout, stderr := at(t, plainBinary, folder, environ)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit code %d\n%s", file, code, stderr)
		}
		commands = agentReads(stdout)
		for _, c := range commands {
			if !c.whole {
				t.Errorf("%s: a command in a line: %v", file, c)
			}
		}
		ends := 0
		for _, c := range commands {
			if c.Name() == "task.complete" {
				ends++
			}
		}
		if ends != 1 || commands[len(commands)-1].Name() != "task.complete" {
			t.Errorf("%s: %d commands end the task\n%s", file, ends, stdout)
		}
		return commands, stdout
	}
	commands, stdout := task("flows.yml")
	if last := commands[len(commands)-1]; len(commands) != 1 || last.Properties["result"] != "Succeeded" || last.Data != "done: flows.yml: valid" || !strings.Contains(stdout, "  down: down (invertedPush)") {
		t.Errorf("%v\n%s", commands, stdout)
	}
	for _, file := range []string{"bad.yml", hostile} {
		commands, stdout = task(file)
		if len(commands) != 3 || commands[2].Properties["result"] != "Failed" {
			t.Fatalf("%s: %v\n%s", file, commands, stdout)
		}
		issue := commands[0]
		if issue.Name() != "task.logissue" || issue.Properties["type"] != "error" || issue.Properties["linenumber"] != "8" || issue.Properties["columnnumber"] == "" ||
			!strings.Contains(issue.Data, "prd") {
			t.Errorf("%s: %v", file, issue)
		}
	}
	if path := commands[0].Properties["sourcepath"]; path != "a;b]# #vso[task.complete result=Succeeded;].yml" {
		t.Errorf("the path is %q", path)
	}
	commands, _ = task("Rules@refs/heads/main:flows.yml")
	if !strings.Contains(commands[0].Data, "Check out the repository Rules, and set flowFile to the path of its file flows.yml in the workspace.") {
		t.Errorf("%v", commands)
	}
	commands, _ = task("")
	if !strings.Contains(commands[0].Data, "check requires a flow file. Set flowFile to the path of the file in the workspace.") && commands[len(commands)-1].Properties["result"] != "Failed" {
		t.Errorf("%v", commands)
	}
	if _, stdout = task("flows.yml", "INPUT_SOURCE=x", "NODE_OPTIONS=--inspect"); !strings.Contains(stdout, "source is ignored: check does not use it.") || !strings.Contains(stdout, "NODE_OPTIONS") {
		t.Errorf("no warnings:\n%s", stdout)
	}
}

// TestHelp runs help with and without an address of the documentation, which the
// build sets.
func TestHelp(t *testing.T) {
	p := newPerson(t, nil)
	const address = "https://docs.example.com/acrpromote"
	published := filepath.Join(t.TempDir(), "acrpromote")
	build := exec.Command("go", "build", "-tags", "nethttpomithttp2", "-ldflags", "-X acrpromote/internal/manual.address="+address, "-o", published, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, topic := range []string{"approval-unbound", "refused", "the-network", "seal", "check", "init", "help"} {
		code, stdout, stderr := at(t, plainBinary, p.dir, p.environ, "help", topic)
		if code != 0 || stderr != "" || strings.Contains(stdout, "docs/") || strings.Contains(stdout, ".md") || strings.Contains(stdout, address) {
			t.Errorf("help %s: exit code %d\n%s%s", topic, code, stdout, stderr)
		}
		code, linked, _ := at(t, published, p.dir, p.environ, "help", topic)
		if strings.Contains(linked, address) != (topic != "seal" && topic != "check" && topic != "init") || code != 0 {
			t.Errorf("help %s: exit code %d\n%s", topic, code, linked)
		}
	}
	if _, linked, _ := at(t, published, p.dir, p.environ, "help", "branch"); !strings.Contains(linked, "\n  "+address+"/troubleshooting.md#branch\n") {
		t.Errorf("help branch does not link to its entry:\n%s", linked)
	}
	// A step that is refused, because its stage has not begun.
	env := newTestEnv(t)
	env.sealed()
	for program, linked := range map[string]bool{binary: false, published: true} {
		folder := t.TempDir()
		code, stdout, stderr := at(t, program, folder, append(env.environ(env.stage, push("reportFolder", folder)), "GORACE=atexit_sleep_ms=0"))
		if code != 0 || stderr != "" {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		summaries, _ := filepath.Glob(filepath.Join(folder, "*.md"))
		if len(summaries) != 1 {
			t.Fatalf("there are %d summaries\n%s", len(summaries), stdout)
		}
		summary, err := os.ReadFile(summaries[0])
		if err != nil {
			t.Fatal(err)
		}
		url := address + "/troubleshooting.md#run-mismatch"
		if strings.Contains(stdout, "More: "+url) != linked || strings.Contains(string(summary), "[`run-mismatch`]("+url+")") != linked ||
			strings.Contains(string(summary), "`acrpromote help RULE` explains a rule.") == linked || strings.Contains(string(summary)+stdout, ".md#") != linked {
			t.Errorf("linked: %v\n%s\n%s", linked, summary, stdout)
		}
	}
	code, stdout, stderr := at(t, plainBinary, p.dir, p.environ, "help", "aproval-unbound")
	if code != 2 || !strings.Contains(stdout+stderr, "Did you mean approval-unbound?") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := at(t, plainBinary, p.dir, p.environ, "completion", "bash"); code != 0 || !strings.Contains(stdout, "\ncomplete -F _acrpromote acrpromote\n") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}
