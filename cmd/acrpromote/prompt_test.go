package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// person is a user at a prompt who has only Docker's configuration.
type person struct {
	t       *testing.T
	environ []string
	dir     string
}

func newPerson(t *testing.T, passwords map[string]string) *person {
	t.Helper()
	if err := noteSources(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	dockerConfig(t, dir, passwords)
	return &person{t: t, dir: dir, environ: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DOCKER_CONFIG=" + dir, "GORACE=atexit_sleep_ms=0",
		// The programs that azidentity would call are not available.
		"AZURE_TOKEN_CREDENTIALS=EnvironmentCredential",
	}}
}

// dockerConfig writes Docker's configuration with a credential, "user:password",
// for each host.
func dockerConfig(t testing.TB, dir string, credentials map[string]string) {
	t.Helper()
	auths := map[string]any{}
	for host, credential := range credentials {
		auths[host] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(credential))}
	}
	config, _ := json.Marshal(map[string]any{"auths": auths})
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a command. With --output json it validates the document against the
// schema.
func (p *person) run(arguments ...string) outcome {
	p.t.Helper()
	command := exec.Command(nextProgram(p.t), arguments...)
	command.Env, command.Dir = append(slices.Clone(p.environ), "GORACE=atexit_sleep_ms=0"), p.dir
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	_ = command.Run()
	return p.read(command.ProcessState.ExitCode(), stdout.String(), stderr.String(), arguments)
}

func (p *person) read(code int, stdout, stderr string, arguments []string) outcome {
	p.t.Helper()
	o := outcome{t: p.t, code: code, stdout: stdout, stderr: stderr}
	if found := agentReads(stdout + "\n" + stderr); len(found) > 0 {
		p.t.Errorf("logging commands at a prompt: %v", found)
	}
	if strings.Contains(stdout+stderr, "panic:") || strings.Contains(stderr, "DATA RACE") {
		p.t.Fatalf("the program broke:\n%s\n%s", stdout, stderr)
	}
	for _, secret := range []string{realPassword, base64.StdEncoding.EncodeToString([]byte(realUser + ":" + realPassword))} {
		if strings.Contains(stdout+stderr, secret) {
			p.t.Errorf("the password is shown")
		}
	}
	if strings.Contains(strings.Join(arguments, " "), "--output json") {
		decoder := json.NewDecoder(strings.NewReader(stdout))
		var one json.RawMessage
		if err := decoder.Decode(&one); err != nil {
			p.t.Fatalf("standard output is not JSON: %v\n%s", err, stdout)
		}
		if rest, _ := io.ReadAll(io.MultiReader(decoder.Buffered(), strings.NewReader(""))); strings.TrimSpace(string(rest)) != "" {
			p.t.Errorf("after the document comes %q", rest)
		}
		o.result = parseResult(p.t, one)
	}
	return o
}

// TestRealRegistries tests an inverted push between two CNCF registries and a
// promotion within one, without Azure.
func TestRealRegistries(t *testing.T) {
	t.Parallel()
	prod, dev := startRegistry(t), startRegistry(t)
	image := pushIndex(prod, cart, release, 1)
	sbom := testimage.Attach(prod, cart, image, "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
	testimage.List(prod, cart, image, sbom)
	p := newPerson(t, map[string]string{prod.host: realUser + ":" + realPassword, dev.host: realUser + ":" + realPassword})
	from, plain := prod.host+"/"+cart+":"+release, []string{"--plain-http", prod.host, "--plain-http=" + dev.host}
	push := append([]string{"invertedPush", "--source", from, "--targets", dev.host}, plain...)

	p.run(push...).wantCode(3)
	o := p.run(append(push, "--output", "json")...).wantCode(3).says("--approval none")
	if o.at("refusals", 0, "rule") != "approval-missing" || dev.digest(cart, release) != "" {
		t.Errorf("without --approval none: %s", o.against())
	}

	o = p.run(append(push, "--approval", "none", "--output", "json")...).wantCode(0).wantStates("copied")
	if o.at("approval", "kind") != "unapproved" || o.at("approval", "granted") != false || o.at("run", "kind") != "none" || o.at("changed") != true {
		t.Errorf("approval %v, run %v", o.at("approval"), o.at("run"))
	}
	if dev.digest(cart, release) != image.Digest || dev.digest(cart, sbom.Digest) != sbom.Digest {
		t.Errorf("DEV has %q and the SBOM %q", dev.digest(cart, release), dev.digest(cart, sbom.Digest))
	}
	o = p.run(append(push, "--approval=none", "--output=json")...).wantCode(0)
	if !strings.Contains(o.stdout, `"present"`) || !strings.Contains(o.stdout, `"changed": false`) {
		t.Errorf("again:\n%s", o.stdout)
	}
	words := p.run(append(push, "--approval", "none")...).wantCode(0)
	if !strings.Contains(words.stdout, "unapproved") {
		t.Errorf("the text does not say unapproved:\n%s", words.stdout)
	}

	stable := prod.host + "/" + cart + ":stable"
	promote := append([]string{"promote", "--source", from, "--targets", stable, "--approval", "none", "--output", "json"}, plain...)
	p.run(promote...).wantCode(0).wantStates("retagged")
	if prod.digest(cart, "stable") != image.Digest {
		t.Errorf("stable is %q", prod.digest(cart, "stable"))
	}
	mount := append([]string{"promote", "--source", from, "--targets", prod.host + "/released/cart", "--approval", "none", "--output", "json"}, plain...)
	p.run(mount...).wantCode(0).wantStates("mounted")
	if prod.digest("released/cart", release) != image.Digest {
		t.Errorf("the other repository has %q", prod.digest("released/cart", release))
	}
	other := pushImage(prod, cart, "2.0", 5, 1, 64)
	move := append([]string{"promote", "--source", prod.host + "/" + cart + ":2.0", "--targets", stable, "--approval", "none", "--output", "json"}, plain...)
	if o := p.run(move...).wantCode(3); o.at("refusals", 0, "rule") != "tag-would-move" {
		t.Errorf("%s", o.against())
	}
	if o := p.run(append(move, "--moveTag")...).wantCode(0); o.at("images", 0, "targets", 0, "previous") != image.Digest || prod.digest(cart, "stable") != other.Digest {
		t.Errorf("moved from %v to %q", o.at("images", 0, "targets", 0, "previous"), prod.digest(cart, "stable"))
	}
	p.run(append([]string{"audit", "--source", from, "--targets", dev.host, "--output", "json"}, plain...)...).wantCode(0)

	// One of two targets is down, and onPartial applies only to pipelines.
	nowhere := "127.0.0.1:9"
	two := append([]string{"invertedPush", "--source", from, "--targets", dev.host + "/" + cart + ":two\n" + nowhere, "--approval", "none", "--onPartial", "warn", "--plain-http", nowhere, "--output", "json"}, plain...)
	p.run(two...).wantCode(4).wantStates("copied pending").says(nowhere)

	wrong := newPerson(t, map[string]string{prod.host: realUser + ":" + realPassword, dev.host: realUser + ":not-the-password"})
	o = wrong.run(append([]string{"invertedPush", "--source", from, "--targets", dev.host + "/" + cart + ":three", "--approval", "none", "--output", "json"}, plain...)...).wantCode(1).says(dev.host)
	if o.at("errors", 0, "side") != "target" || dev.digest(cart, "three") != "" {
		t.Errorf("%s", o.against())
	}
	nobody := newPerson(t, nil)
	o = nobody.run(append(push, "--approval", "none", "--output", "json")...).wantCode(1).says(prod.host, "password")
	if o.at("errors", 0, "side") != "source" {
		t.Errorf("%s", o.against())
	}
	p.run("invertedPush", "--source", from, "--targets", dev.host, "--approval", "none").wantCode(1)
}

// TestPrompt tests flags, exit codes and help.
func TestPrompt(t *testing.T) {
	t.Parallel()
	p := newPerson(t, nil)
	version := p.run("version").wantCode(0)
	if strings.TrimSpace(version.stdout) != "acrpromote 0.0.0-test" {
		t.Errorf("version says %q", version.stdout)
	}
	p.run("--version").wantCode(0)
	help := p.run("help").wantCode(0)
	for _, want := range []string{"seal", "promote", "invertedPush", "verify", "audit", "--source", "--approvalMaxAge", "--plain-http", "130"} {
		if !strings.Contains(help.stdout, want) {
			t.Errorf("help does not tell %s", want)
		}
	}
	if seal := p.run("help", "seal").wantCode(0); strings.Contains(seal.stdout, "--minApprovers") || !strings.Contains(seal.stdout, "--lock") {
		t.Errorf("help seal:\n%s", seal.stdout)
	}
	p.run("seal", "--help").wantCode(0)
	for _, arguments := range [][]string{
		{}, {"invertedPull"}, {"seal"}, {"seal", "--source"}, {"seal", "--sorce", "registry.invalid/a:1"}, {"help", "everything"},
		{"seal", "--source", "registry.invalid/a:1", "--source", "registry.invalid/b:1"},
		{"seal", "registry.invalid/a:1"},
		{"seal", "--source", "registry.invalid/a:1", "--output", "xml"},
		{"promote", "--source", "registry.invalid/a:1", "--targets", "registry.invalid/a:2", "--approval", "none", "--minApprovers", "2"},
		{"promote", "--source", "contoso.azurecr.io/a:1", "--targets", "contoso.azurecr.io/a:2", "--approval", "none", "--plain-http", "contoso.azurecr.io"},
	} {
		o := p.run(arguments...).wantCode(2)
		if strings.TrimSpace(o.stdout+o.stderr) == "" {
			t.Errorf("%v: nothing is said", arguments)
		}
	}
	// Within a run it is not allowed.
	for _, variable := range []string{"TF_BUILD=True", "SYSTEM_COLLECTIONURI=https://devops.invalid/contoso/"} {
		inside := newPerson(t, nil)
		inside.environ = append(inside.environ, variable)
		inside.run("promote", "--source", "registry.invalid/a:1", "--targets", "registry.invalid/a:2", "--approval", "none", "--output", "json").wantCode(2).says("inside a run")
	}
	o := p.run("invertedPush", "--source", "registry.invalid/a:1", "--targets", "dev.invalid", "--approval", "none", "--output", "json").wantCode(1).says("registry.invalid")
	if o.at("outcome") != "failed" || o.at("errors", 0, "side") != "source" {
		t.Errorf("%s", o.against())
	}
	folder := filepath.Join(p.dir, "report")
	p.run("seal", "--source", "nothing", "--reportFolder", folder, "--output", "json").wantCode(2)
	content, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if result := parseResult(t, content); result["outcome"] != "misuse" {
		t.Errorf("outcome %v", result["outcome"])
	}
}

// TestSuggestionAtPrompt checks that only a similar word suggests an action.
func TestSuggestionAtPrompt(t *testing.T) {
	p := newPerson(t, nil)
	if o := p.run("xyzzy", "--source", "registry.invalid/a:1").wantCode(2); !strings.Contains(o.stdout+o.stderr, `"xyzzy"`) || strings.Contains(o.stdout+o.stderr, "Did you mean") {
		t.Errorf("%s%s", o.stdout, o.stderr)
	}
	if o := p.run("promte", "--source", "registry.invalid/a:1", "--targets", "registry.invalid/a:2").wantCode(2); !strings.Contains(o.stdout+o.stderr, "Did you mean promote?") {
		t.Errorf("%s%s", o.stdout, o.stderr)
	}
}

// TestPromptWithAzure tests credentials from Docker's configuration, the proxy from
// the user's environment, and Ctrl-C.
func TestPromptWithAzure(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	for _, r := range []*sim.Registry{env.prod, env.dev} {
		r.AddUser(realUser, realPassword)
		r.Grant(realUser, "**", sim.RepositoryWriter...)
	}
	p := newPerson(t, map[string]string{prodHost: realUser + ":" + realPassword, devHost: realUser + ":" + realPassword})
	p.environ = append(p.environ, "HTTPS_PROXY="+env.prodNetwork.ProxyURL(), "SSL_CERT_FILE="+env.cloud.CAFile())
	arguments := []string{"invertedPush", "--source", source, "--targets", devHost, "--approval", "none", "--output", "json"}

	reached, letGo := env.holdDownload()
	command := exec.Command(binary, arguments...)
	command.Env, command.Dir = p.environ, p.dir
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reached:
	case <-time.After(time.Minute):
		_ = command.Process.Kill()
	}
	_ = command.Process.Signal(syscall.SIGINT)
	_ = command.Wait()
	o := p.read(command.ProcessState.ExitCode(), stdout.String(), stderr.String(), arguments).wantCode(130)
	if o.at("outcome") != "cancelled" {
		t.Errorf("outcome %v", o.at("outcome"))
	}
	env.untouched(env.dev)
	letGo()
	p.run(arguments...).wantCode(0).wantStates("copied")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
	p.run("seal", "--source", source, "--output", "json").wantCode(0)
}

// TestScriptInRun checks that a script with the job's token reads the approval like
// the task does.
func TestScriptInRun(t *testing.T) {
	env, image := ready(t)
	for _, r := range []*sim.Registry{env.prod, env.dev} {
		r.AddUser(realUser, realPassword)
		r.Grant(realUser, "**", sim.RepositoryWriter...)
	}
	p := newPerson(t, map[string]string{prodHost: realUser + ":" + realPassword, devHost: realUser + ":" + realPassword})
	for _, variable := range env.environ(env.stage, nil) {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "ENDPOINT_") || strings.HasPrefix(name, "INPUT_") || strings.HasPrefix(name, "SECRET_") || name == "PATH" {
			continue
		}
		p.environ = append(p.environ, variable)
	}
	arguments := []string{"invertedPush", "--source", source, "--targets", devHost, "--environment", "Production", "--output", "json"}
	if o := p.run(arguments...).wantCode(3); o.at("refusals", 0, "rule") != "approval-unreadable" {
		t.Errorf("without the token: %s", o.against())
	}
	p.environ = append(p.environ, "SYSTEM_ACCESSTOKEN="+env.stage.Token())
	o := p.run(arguments...).wantCode(0)
	if o.at("approval", "granted") != true || env.dev.TagDigest(cart, release) != image.Digest {
		t.Errorf("approval %v", o.at("approval"))
	}
	if strings.Contains(o.stdout+o.stderr, env.stage.Token()) {
		t.Error("the job's token is shown")
	}
}
