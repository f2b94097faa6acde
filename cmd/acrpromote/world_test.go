package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// binary is the program under test, built once as it ships, with the race
// detector where the tests have it.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "acrpromote-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "acrpromote")
		if runtime.GOOS == "windows" {
			binary += ".exe"
		}
		arguments := []string{"build", "-ldflags", "-X main.version=0.0.0-test", "-o", binary}
		if raceEnabled {
			arguments = append(arguments, "-race")
		}
		build := exec.Command("go", append(arguments, ".")...)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "the program does not build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// Hosts and addresses of the small world that most tests live in.
const (
	prodHost    = "contosoprod.azurecr.io"
	devHost     = "contosodev.azurecr.io"
	dev2Host    = "contosodev2.azurecr.io"
	prodAddress = "203.0.113.10"
	devAddress  = "198.51.100.20"
	tenant      = "11111111-2222-3333-4444-555555555555"
	clientID    = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	clientKey   = "not-a-real-secret~0123456789"
)

var (
	developer = sim.Person("Developer")
	manager   = sim.Person("Release Manager")
)

// world is a simulated Azure with one PROD and two DEV registries, a project
// whose environment Production is guarded by an approval, and a run of it.
type world struct {
	t            *testing.T
	cloud        *sim.Cloud
	prodNetwork  *sim.Network
	devNetwork   *sim.Network
	directory    *sim.Directory
	application  *sim.Application
	organization *sim.Organization
	project      *sim.Project
	environment  *sim.Environment
	check        *sim.Check
	connection   *sim.ServiceConnection
	prod         *sim.Registry
	dev          *sim.Registry
	dev2         *sim.Registry
	run          *sim.Run
	stage        *sim.Stage
	temp         string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	cloud, err := sim.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	w := &world{t: t, cloud: cloud, temp: dir}
	w.prodNetwork = cloud.Network("prod", prodAddress)
	w.devNetwork = cloud.Network("dev", devAddress)
	w.directory = cloud.Directory(tenant)
	w.organization = cloud.DevOps("contoso")
	w.project = w.organization.Project("shop")
	w.environment = w.project.Environment("Production")
	w.check = w.environment.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: 1})
	w.connection = w.project.FederatedConnection("release-identity", tenant, clientID)
	w.application = w.directory.AddApplication(clientID).AddFederatedCredential(w.organization.Issuer(), w.connection.Subject()).AddSecret(clientKey)

	w.prod = cloud.Registry(prodHost, sim.RegistryOptions{Tokens: w.directory})
	w.prod.Grant(clientID, "**", sim.RepositoryWriter...)
	w.prod.AllowOnly(prodAddress)
	w.dev = cloud.Registry(devHost, sim.RegistryOptions{Tokens: w.directory})
	w.dev.Grant(clientID, "**", sim.RepositoryWriter...)
	w.dev2 = cloud.Registry(dev2Host, sim.RegistryOptions{Tokens: w.directory})
	w.dev2.Grant(clientID, "**", sim.RepositoryWriter...)

	w.run = w.project.QueueRun(sim.RunOptions{RequestedFor: developer, StartedAt: time.Now().Add(-time.Minute)})
	w.stage = w.run.Stage("Production", w.environment, w.connection)
	return w
}

// inputs of one task; nil and "" are not given.
type inputs map[string]string

// outcome is what the agent saw of the task.
type outcome struct {
	t      *testing.T
	code   int
	stdout string
	stderr string
	result map[string]any // result.json, nil if there is none
	task   string         // the result that task.complete bore
	output map[string]string
}

// task runs the program as the agent of the stage's job would.
func (w *world) task(in inputs, change ...func(*sim.Task)) outcome {
	w.t.Helper()
	return w.taskOf(w.stage, in, change...)
}

func (w *world) taskOf(stage *sim.Stage, in inputs, change ...func(*sim.Task)) outcome {
	w.t.Helper()
	return w.execute(context.Background(), w.environ(stage, in, change...))
}

// environ is the environment that the agent gives the task.
func (w *world) environ(stage *sim.Stage, in inputs, change ...func(*sim.Task)) []string {
	w.t.Helper()
	task := sim.Task{
		Inputs:        in,
		Connections:   map[string][]*sim.ServiceConnection{"azureSubscription": {w.connection}},
		TempDirectory: w.folder(),
		Proxy:         &sim.AgentProxy{URL: w.prodNetwork.ProxyURL()},
		CAFile:        w.cloud.CAFile(),
	}
	for _, c := range change {
		c(&task)
	}
	return append(stage.Environ(task), "PATH="+os.Getenv("PATH"))
}

func (w *world) folder() string {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.temp, "agent-")
	if err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// execute starts the real binary with nothing but environ, and reads what it
// leaves as the agent would.
func (w *world) execute(ctx context.Context, environ []string, arguments ...string) outcome {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, binary, arguments...)
	command.Env = environ
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if err != nil && command.ProcessState == nil {
		w.t.Fatal(err)
	}
	o := outcome{t: w.t, code: command.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), output: map[string]string{}}
	o.read()
	return o
}

// read finds the logging commands and result.json.
func (o *outcome) read() {
	for line := range strings.Lines(o.stdout) {
		_, rest, found := strings.Cut(line, "##vso[")
		if !found {
			continue
		}
		head, data, _ := strings.Cut(strings.TrimRight(rest, "\r\n"), "]")
		name, properties, _ := strings.Cut(head, " ")
		values := map[string]string{}
		for p := range strings.SplitSeq(properties, ";") {
			if k, v, ok := strings.Cut(p, "="); ok {
				values[strings.TrimSpace(k)] = v
			}
		}
		switch name {
		case "task.complete":
			if o.task != "" {
				o.t.Errorf("task.complete was sent twice")
			}
			o.task = values["result"]
		case "task.setvariable":
			o.output[values["variable"]] = data
		}
	}
	if path := o.output["report"]; path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			o.t.Errorf("the output report names %s: %v", path, err)
			return
		}
		if err := json.Unmarshal(content, &o.result); err != nil {
			o.t.Errorf("result.json: %v", err)
		}
	}
}

// at walks into result.json: "images", 0, "digest".
func (o outcome) at(path ...any) any {
	o.t.Helper()
	var value any = o.result
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, ok := value.(map[string]any)
			if !ok {
				o.t.Fatalf("result.json has nothing at %v\n%s", path, o.stdout)
			}
			value = m[s]
		case int:
			l, ok := value.([]any)
			if !ok || s >= len(l) {
				o.t.Fatalf("result.json has nothing at %v\n%s", path, o.stdout)
			}
			value = l[s]
		}
	}
	return value
}

// rules lists the rules that refused.
func (o outcome) rules() []string {
	o.t.Helper()
	refusals, _ := o.at("refusals").([]any)
	var rules []string
	for _, r := range refusals {
		rules = append(rules, r.(map[string]any)["rule"].(string))
	}
	return rules
}

// want holds the outcome to one of the contract's, with the exit code 0 and
// the task result that go with it in a pipeline.
func (o outcome) want(name string) outcome {
	o.t.Helper()
	task := map[string]string{"done": "Succeeded", "cancelled": "Canceled"}[name]
	if task == "" {
		task = "Failed"
	}
	if o.code != 0 || o.task != task || o.result["outcome"] != name {
		o.t.Fatalf("outcome %v, task %q, exit code %d; want %s, %s, 0\n--- stdout\n%s\n--- stderr\n%s", o.result["outcome"], o.task, o.code, name, task, o.stdout, o.stderr)
	}
	if strings.Contains(o.stdout+o.stderr, "panic:") || strings.Contains(o.stderr, "DATA RACE") {
		o.t.Fatalf("the program broke:\n%s\n%s", o.stdout, o.stderr)
	}
	return o
}

// refusedBy holds a refusal to exactly these rules.
func (o outcome) refusedBy(rules ...string) outcome {
	o.t.Helper()
	o.want("refused")
	if got := strings.Join(o.rules(), " "); got != strings.Join(rules, " ") {
		o.t.Fatalf("refused by %q, want %q\n%s", got, strings.Join(rules, " "), o.stdout)
	}
	return o
}
