package fakeagent_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/fakeagent"
)

// vsix is the built extension, node what the agent runs a task with, and shared
// the folder in which the extension lies unpacked for all jobs.
var (
	vsix, node string
	shared     *fakeagent.Extension
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "acrpromote-agent-")
	if err == nil {
		defer os.RemoveAll(folder)
		vsix, err = extension()
	}
	if err == nil {
		node, err = exec.LookPath("node")
	}
	if err == nil {
		shared, err = fakeagent.Unpack(vsix, folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
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

// world is a simulated Azure with one PROD and two DEV registries, and a
// project with an environment Production that an approval guards.
type world struct {
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

func newWorld(t *testing.T) *world {
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
	w := &world{t: t, cloud: cloud, folder: folder, task: shared.Task("AcrPromote")}
	w.network = cloud.Network("prod", "203.0.113.10")
	directory := cloud.Directory(tenant)
	organization := cloud.DevOps("contoso")
	w.project = organization.Project("shop")
	w.environment = w.project.Environment("Production")
	w.environment.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}, MinRequired: 1})
	w.connection = w.project.FederatedConnection("release-identity", tenant, clientID)
	directory.AddApplication(clientID).AddFederatedCredential(organization.Issuer(), w.connection.Subject())
	for host, r := range map[string]**sim.Registry{prodHost: &w.prod, devHost: &w.dev, dev2Host: &w.dev2} {
		*r = cloud.Registry(host, sim.RegistryOptions{Tokens: directory})
		(*r).Grant(clientID, "**", sim.RepositoryWriter...)
	}
	w.run = w.project.QueueRun(sim.RunOptions{RequestedFor: developer})
	w.agent = fakeagent.Agent{Node: node, Handler: "Node20_1", Folder: w.subfolder("sources")}
	return w
}

func (w *world) subfolder(name string) string {
	w.t.Helper()
	folder := filepath.Join(w.folder, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return folder
}

// job is a stage that runs on an agent, of a YAML run or a classic release.
type job interface{ Environ(sim.Task) []string }

// start runs the task in the job's agent; inputs: name, value, ….
func (w *world) start(j job, inputs ...string) *fakeagent.Step {
	w.t.Helper()
	given := map[string]string{}
	for i := 0; i+1 < len(inputs); i += 2 {
		given[inputs[i]] = inputs[i+1]
	}
	environ := j.Environ(sim.Task{
		Inputs:        given,
		Connections:   map[string][]*sim.ServiceConnection{"azureSubscription": {w.connection}},
		TempDirectory: w.subfolder("temp"),
		Proxy:         &sim.AgentProxy{URL: w.network.ProxyURL()},
		CAFile:        w.cloud.CAFile(),
		Debug:         true,
	})
	for _, v := range environ {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "SECRET_") && value != "" {
			w.secretsOfTasks = append(w.secretsOfTasks, value)
		}
	}
	step, err := w.agent.Start(w.task, append(environ, "PATH="+os.Getenv("PATH"), "HOME="+w.subfolder("home")))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { step.Kill(); <-step.Streams() })
	return step
}

// step runs the task to its end, and holds it to what is true of every step
// that nobody stops.
func (w *world) step(j job, inputs ...string) fakeagent.Outcome {
	w.t.Helper()
	o := w.start(j, inputs...).Wait()
	w.hold(o)
	if len(o.Told) != 1 {
		w.t.Errorf("task.complete was told %d times: %q", len(o.Told), o.Told)
	}
	return o
}

// hold looks at what no step may ever do.
func (w *world) hold(o fakeagent.Outcome) {
	w.t.Helper()
	if o.ExitCode != 0 {
		w.t.Errorf("node ended with exit code %d, which an agent takes for its own fault", o.ExitCode)
	}
	if o.Held {
		w.t.Error("a process outlived node by the time that an agent waits")
	}
	text := strings.Join(slices.Concat(o.Log, o.Debug, o.Warnings, o.Errors, o.Told), "\n")
	for _, trace := range []string{"goroutine ", "\n    at ", "node:internal"} {
		if strings.Contains(text, trace) {
			w.t.Errorf("there is a stack trace:\n%s", text)
		}
	}
	for _, secret := range w.secretsOfTasks {
		if strings.Contains(text+o.Summary(), secret) {
			w.t.Error("a secret of the job was told")
		}
	}
	left, err := os.ReadDir(filepath.Join(w.folder, "temp"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, entry := range left {
		if entry.IsDir() && strings.HasPrefix(entry.Name(), "acrpromote-") && fileIn(filepath.Join(w.folder, "temp", entry.Name()), "acrpromote") {
			w.t.Errorf("the copy of the program is left behind in %s", entry.Name())
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
		t.Fatalf("the step is %s, want %s\ntold %q\nerrors %q\nlog\n%s", o.Result, result, o.Told, o.Errors, strings.Join(o.Log, "\n"))
	}
}

// output holds the step to the variables that the contract allows.
func output(t *testing.T, o fakeagent.Outcome, name, value string) {
	t.Helper()
	if got := o.Variables[name]; got != (fakeagent.Variable{Value: value, Output: true}) {
		t.Errorf("the output %s is %+v, want %q", name, got, value)
	}
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

func describe(mediaType string, content []byte) descriptor {
	sum := sha256.Sum256(content)
	return descriptor{mediaType, "sha256:" + hex.EncodeToString(sum[:]), len(content)}
}

const imageType = "application/vnd.oci.image.manifest.v1+json"

// push puts an image of one layer into a registry, with an SBOM attached, and
// returns its digest.
func push(r *sim.Registry, tag string, size int) string {
	config, layer, sbom := []byte(`{"architecture":"amd64","os":"linux"}`), make([]byte, size), []byte(`{"spdxVersion":"SPDX-2.3"}`)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(layer)
	put := func(tag, artifactType string, layer []byte, subject *descriptor) descriptor {
		r.PutBlob(cart, config)
		r.PutBlob(cart, layer)
		manifest := map[string]any{"schemaVersion": 2, "mediaType": imageType,
			"config": describe("application/vnd.oci.image.config.v1+json", config),
			"layers": []descriptor{describe("application/vnd.oci.image.layer.v1.tar", layer)}}
		if subject != nil {
			manifest["subject"], manifest["artifactType"] = subject, artifactType
		}
		content, _ := json.Marshal(manifest)
		r.Push(cart, tag, imageType, content)
		return describe(imageType, content)
	}
	image := put(tag, "", layer, nil)
	put("", "application/spdx+json", sbom, &image)
	return image.Digest
}

// released pushes an image to PROD, has the task seal it in a stage of the run,
// and approves the stage Production.
func (w *world) released(size int) (stage *sim.Stage, digest string) {
	w.t.Helper()
	digest = push(w.prod, "1.4.2", size)
	build := w.run.Stage("Seal", w.connection)
	build.Begin()
	want(w.t, w.step(build, "action", "seal", "source", source), "Succeeded")
	stage = w.run.Stage("Production", w.environment, w.connection)
	if err := stage.Approve(manager, "released"); err != nil {
		w.t.Fatal(err)
	}
	stage.Begin()
	return stage, digest
}

// arrived looks at the registries' own shelves.
func (w *world) arrived(digest string, registries ...*sim.Registry) {
	w.t.Helper()
	for _, r := range registries {
		if got := r.TagDigest(cart, "1.4.2"); got != digest {
			w.t.Errorf("in %s the tag points at %q, want %s", r.Host(), got, digest)
		}
		if got := len(r.Referrers(cart, digest)); got != 2 {
			w.t.Errorf("in %s %d artifacts are attached, want the SBOM and the seal record", r.Host(), got)
		}
	}
}
