package fakeagent_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// folder holds what all tests share.
var folder string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if folder, err = os.MkdirTemp("", "acrpromote-agent-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		return m.Run()
	}())
}

// vsix is the built extension, for the tests that need it.
var vsix = sync.OnceValues(extension)

// shared is the extension, unpacked once for all jobs.
var shared = sync.OnceValues(func() (*fakeagent.Extension, error) {
	file, err := vsix()
	if err != nil {
		return nil, err
	}
	return fakeagent.Unpack(file, folder)
})

// built returns the file of the extension.
func built(t *testing.T) string {
	t.Helper()
	file, err := vsix()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// extension is the VSIX that ACRPROMOTE_VSIX names, or, without it, one that is
// built now, so that no stale one is ever tested.
func extension() (string, error) {
	if file := os.Getenv("ACRPROMOTE_VSIX"); file != "" {
		return filepath.Abs(file)
	}
	build := exec.Command("bash", "build.sh")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the extension does not build: %w\n%s", err, out)
	}
	version, err := os.ReadFile(filepath.Join("..", "..", "VERSION"))
	if err != nil {
		return "", err
	}
	manifest, err := os.ReadFile(filepath.Join("..", "..", "vss-extension.json"))
	if err != nil {
		return "", err
	}
	var of struct{ ID, Publisher string }
	if err := json.Unmarshal(manifest, &of); err != nil {
		return "", err
	}
	return filepath.Abs(filepath.Join("..", "..", "dist", fmt.Sprintf("%s.%s-%s.vsix", of.Publisher, of.ID, strings.TrimSpace(string(version)))))
}

const (
	prodHost = "contosoprod.azurecr.io"
	devHost  = "contosodev.azurecr.io"
	dev2Host = "contosodev2.azurecr.io"
	tenant   = "11111111-2222-3333-4444-555555555555"
	clientID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	cart     = "shop/cart"
	source   = prodHost + "/" + cart + ":1.4.2"
)

var (
	developer = sim.Person("Developer")
	manager   = sim.Person("Release Manager")
)

// testEnv is a simulated Azure with one PROD and two DEV registries, and a
// project with an environment Production that an approval guards.
type testEnv struct {
	t              *testing.T
	cloud          *sim.Cloud
	network        *sim.Network
	project        *sim.Project
	environment    *sim.Environment
	connection     *sim.ServiceConnection
	prod, dev      *sim.Registry
	dev2           *sim.Registry
	run            *sim.Run
	folder         string
	task           *fakeagent.Task
	agent          fakeagent.Agent
	secretsOfTasks []string
}

func newTestEnv(t *testing.T) *testEnv {
	t.Helper()
	t.Parallel()
	// Not t.TempDir: another user's agent has to get in.
	folder, err := os.MkdirTemp("", "acrpromote-agent-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	cloud, err := sim.Start(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	extension, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	env := &testEnv{t: t, cloud: cloud, folder: folder, task: extension.Task("AcrPromote")}
	env.network = cloud.Network("prod", "203.0.113.10")
	directory := cloud.Directory(tenant)
	organization := cloud.DevOps("contoso")
	env.project = organization.Project("shop")
	env.environment = env.project.Environment("Production")
	env.environment.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}, MinRequired: 1})
	env.connection = env.project.FederatedConnection("release-identity", tenant, clientID)
	directory.AddApplication(clientID).AddFederatedCredential(organization.Issuer(), env.connection.Subject())
	for host, r := range map[string]**sim.Registry{prodHost: &env.prod, devHost: &env.dev, dev2Host: &env.dev2} {
		*r = cloud.Registry(host, sim.RegistryOptions{Tokens: directory})
		(*r).Grant(clientID, "**", sim.RepositoryWriter...)
	}
	env.run = env.project.QueueRun(sim.RunOptions{RequestedFor: developer})
	env.agent = fakeagent.Agent{Node: node, Handler: "Node20_1", Folder: env.subfolder("sources")}
	return env
}

func (env *testEnv) subfolder(name string) string {
	env.t.Helper()
	folder := filepath.Join(env.folder, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		env.t.Fatal(err)
	}
	return folder
}

// start runs the task in the job's agent; inputs: name, value, ….
func (env *testEnv) start(job fakeagent.Job, inputs ...string) *fakeagent.Step {
	env.t.Helper()
	given := map[string]string{}
	for i := 0; i+1 < len(inputs); i += 2 {
		given[inputs[i]] = inputs[i+1]
	}
	environ := fakeagent.Environment{
		Inputs:        given,
		Connections:   map[string][]*sim.ServiceConnection{"azureSubscription": {env.connection}},
		TempDirectory: env.subfolder("temp"),
		Proxy:         &fakeagent.Proxy{URL: env.network.ProxyURL()},
		CAFile:        env.cloud.CAFile(),
		Debug:         true,
	}.List(job)
	for _, v := range environ {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "SECRET_") && value != "" {
			env.secretsOfTasks = append(env.secretsOfTasks, value)
		}
	}
	step, err := env.agent.Start(env.task, append(environ, "PATH="+os.Getenv("PATH"), "HOME="+env.subfolder("home")))
	if err != nil {
		env.t.Fatal(err)
	}
	env.t.Cleanup(func() { step.Kill(); <-step.Streams() })
	return step
}

// step runs the task to its end, and holds it to what is true of every step
// that nobody stops.
func (env *testEnv) step(job fakeagent.Job, inputs ...string) fakeagent.Outcome {
	env.t.Helper()
	o := env.start(job, inputs...).Wait()
	env.hold(o)
	if len(o.Completions) != 1 {
		env.t.Errorf("task.complete was sent %d times: %q", len(o.Completions), o.Completions)
	}
	return o
}

// hold looks at what no step may ever do.
func (env *testEnv) hold(o fakeagent.Outcome) {
	env.t.Helper()
	if o.ExitCode != 0 {
		env.t.Errorf("node ended with exit code %d, which an agent takes for its own fault", o.ExitCode)
	}
	if o.Held {
		env.t.Error("a process outlived node by the time that an agent waits")
	}
	text := strings.Join(slices.Concat(o.Log, o.Debug, o.Warnings, o.Errors, o.Completions), "\n")
	for _, trace := range []string{"goroutine ", "\n    at ", "node:internal"} {
		if strings.Contains(text, trace) {
			env.t.Errorf("there is a stack trace:\n%s", text)
		}
	}
	for _, secret := range env.secretsOfTasks {
		if strings.Contains(text+o.Summary(), secret) {
			env.t.Error("a secret of the job was shown")
		}
	}
	left, err := os.ReadDir(filepath.Join(env.folder, "temp"))
	if err != nil {
		env.t.Fatal(err)
	}
	for _, entry := range left {
		if entry.IsDir() && strings.HasPrefix(entry.Name(), "acrpromote-") && fileIn(filepath.Join(env.folder, "temp", entry.Name()), "acrpromote") {
			env.t.Errorf("the copy of the program is left behind in %s", entry.Name())
		}
	}
}

func fileIn(folder, name string) bool {
	_, err := os.Stat(filepath.Join(folder, name))
	return err == nil
}

// want ends the test unless the step ended so.
func want(t *testing.T, o fakeagent.Outcome, result string) {
	t.Helper()
	if o.Result != result {
		t.Fatalf("the step is %s, want %s\ncompletions %q\nerrors %q\nlog\n%s", o.Result, result, o.Completions, o.Errors, strings.Join(o.Log, "\n"))
	}
}

// output holds the step to the variables that the contract allows.
func output(t *testing.T, o fakeagent.Outcome, name, value string) {
	t.Helper()
	if got := o.Variables[name]; got != (fakeagent.Variable{Value: value, Output: true}) {
		t.Errorf("the output %s is %+v, want %q", name, got, value)
	}
}

// push puts an image of one layer into a registry, with an SBOM attached, and
// returns its digest.
func push(r *sim.Registry, tag string, size int64) string {
	image := testimage.Put(r, cart, tag, testimage.Image("amd64", testimage.Layer("layer", size)))
	testimage.Attach(r, cart, image, "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
	return image.Digest
}

// released pushes an image to PROD, has the task seal it in a stage of the run,
// and approves the stage Production.
func (env *testEnv) released(size int64) (stage *sim.Stage, digest string) {
	env.t.Helper()
	digest = push(env.prod, "1.4.2", size)
	build := env.run.Stage("Seal", env.connection)
	build.Begin()
	want(env.t, env.step(build, "action", "seal", "source", source), "Succeeded")
	stage = env.run.Stage("Production", env.environment, env.connection)
	if err := stage.Approve(manager, "released"); err != nil {
		env.t.Fatal(err)
	}
	stage.Begin()
	return stage, digest
}

// arrived looks at the registries' own shelves.
func (env *testEnv) arrived(digest string, registries ...*sim.Registry) {
	env.t.Helper()
	for _, r := range registries {
		if got := r.TagDigest(cart, "1.4.2"); got != digest {
			env.t.Errorf("in %s the tag points at %q, want %s", r.Host(), got, digest)
		}
		if got := len(r.Referrers(cart, digest)); got != 2 {
			env.t.Errorf("in %s %d artifacts are attached, want the SBOM and the seal record", r.Host(), got)
		}
	}
}
