package main_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// binary is the program under test. It is built once like the shipped one, with the
// race detector if the tests have it or ACRPROMOTE_RACE is 1.
var binary string

// raceEnabled reports whether the program has the race detector. The tests themselves
// need none: what runs in them besides the program is tested where it belongs.
var raceEnabled = raceBuild || os.Getenv("ACRPROMOTE_RACE") == "1"

// plainBinary is the program without the race detector.
var plainBinary string

// raceRuns is how many runs of the program in one test, with its subtests, have the
// race detector: the first. The others compare what the program decides and says; with the race
// detector each would take several times as long.
const raceRuns = 1

var runs sync.Map // number of runs by test

// nextProgram returns the program for the next run in a test or its subtests.
func nextProgram(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	n, _ := runs.LoadOrStore(name, new(atomic.Int64))
	if n.(*atomic.Int64).Add(1) > raceRuns {
		return plainBinary
	}
	return binary
}

func TestMain(m *testing.M) {
	if built := os.Getenv("ACRPROMOTE_TEST_PROGRAM"); built != "" {
		// A process of a test that needs a network namespace of its own.
		binary, plainBinary = built, os.Getenv("ACRPROMOTE_TEST_PLAIN")
		os.Exit(m.Run())
	}
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
		arguments := []string{"build", "-tags", "nethttpomithttp2", "-ldflags", "-X main.version=0.0.0-test", "-o"}
		builds := [][]string{append(slices.Clone(arguments), binary, ".")}
		plainBinary = binary
		if raceEnabled {
			plainBinary = filepath.Join(dir, "plain-"+filepath.Base(binary))
			builds = [][]string{append(slices.Clone(arguments), binary, "-race", "."), append(slices.Clone(arguments), plainBinary, ".")}
		}
		for _, build := range builds {
			if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "the program does not build: %v\n%s", err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// noteSources opens all source files of the program. "go test" reuses a cached
// result unless a file that the test itself opened has changed, and files that the
// compiler reads do not count. It must be called while the tests are running.
var noteSources = sync.OnceValue(func() error {
	for _, root := range []string{".", filepath.Join("..", "..", "internal"), filepath.Join("..", "..", "go.mod")} {
		if err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
})

// Hosts and addresses of the environment of most tests.
const (
	prodHost    = "contosoprod.azurecr.io"
	devHost     = "contosodev.azurecr.io"
	dev2Host    = "contosodev2.azurecr.io"
	prodAddress = "203.0.113.10"
	devAddress  = "198.51.100.20"
	devOpsHost  = "dev.azure.com"
	entraHost   = "login.microsoftonline.com"
	tenant      = "11111111-2222-3333-4444-555555555555"
	clientID    = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	clientKey   = "not-a-real-secret~0123456789"
)

var (
	developer = sim.Person("Developer")
	manager   = sim.Person("Release Manager")
	officer   = sim.Person("Security Officer")
)

// testEnv is a simulated Azure with one PROD and two DEV registries, a project
// whose environment Production is guarded by an approval, and a run of it.
type testEnv struct {
	agent        string // the temporary folder of all steps, if they are those of one job
	t            *testing.T
	cloud        *sim.Cloud
	clock        *clock
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
	vault        *sim.Vault
	run          *sim.Run
	stage        *sim.Stage
	temp         string
	seen         *sightings

	recordBlob string // digest of the content of the last seal record

	// command starts the program, instead of the binary itself.
	command []string

	// broken says that a test breaks a target on purpose. Otherwise every tag
	// there must be complete after each run of the program.
	broken bool
	// patience is how long the program may run; 0 is two minutes.
	patience time.Duration
	// shutOut says that the proxy blocks everything, so that its log is empty.
	shutOut bool
}

// clock is the clock of the simulated services, which a test can set back.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time           { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) set(offset time.Duration) { c.offset.Store(int64(offset)) }

func newTestEnv(t *testing.T) *testEnv {
	t.Helper()
	return newTestEnvIn(t, contoso)
}

// newSerialEnv is newTestEnv for tests that must not run in parallel.
func newSerialEnv(t *testing.T) *testEnv {
	t.Helper()
	return openEnv(t, contoso)
}

func contoso(c *sim.Cloud) *sim.Organization { return c.DevOps("contoso") }

// newTestEnvIn returns an environment in an organization that is given.
func newTestEnvIn(t *testing.T, organization func(*sim.Cloud) *sim.Organization) *testEnv {
	t.Helper()
	t.Parallel()
	return openEnv(t, organization)
}

func openEnv(t *testing.T, organization func(*sim.Cloud) *sim.Organization) *testEnv {
	t.Helper()
	if err := noteSources(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cloud, err := sim.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	env := &testEnv{t: t, cloud: cloud, temp: dir, clock: &clock{}, seen: &sightings{secrets: map[string]string{}}}
	cloud.Intercept(env.seen.watch)
	env.prodNetwork = cloud.Network("prod", prodAddress)
	env.devNetwork = cloud.Network("dev", devAddress)
	env.directory = cloud.Directory(tenant)
	env.organization = organization(cloud)
	env.organization.SetClock(env.clock.now)
	t.Cleanup(func() {
		for _, d := range env.organization.Deviations() {
			t.Errorf("a document of Azure DevOps differs from its published description: %s", d)
		}
	})
	env.project = env.organization.Project("shop")
	env.environment = env.project.Environment("Production")
	env.check = env.environment.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: 1})
	env.connection = env.project.FederatedConnection("release-identity", tenant, clientID)
	env.application = env.directory.AddApplication(clientID).AddFederatedCredential(env.organization.Issuer(), env.connection.Subject()).AddSecret(clientKey)

	env.prod = env.registry(prodHost)
	env.prod.AllowOnly(prodAddress)
	env.dev = env.registry(devHost)
	env.dev2 = env.registry(dev2Host)
	env.queue()
	return env
}

// registry opens a registry that the release identity can write to.
func (env *testEnv) registry(host string) *sim.Registry {
	r := env.cloud.Registry(host, sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now})
	r.Grant(clientID, "**", sim.RepositoryWriter...)
	return r
}

// queue starts a run with a stage that deploys to Production.
func (env *testEnv) queue() {
	env.run = env.project.QueueRun(sim.RunOptions{RequestedFor: developer, StartedAt: env.clock.now().Add(-time.Minute)})
	env.stage = env.run.Stage("Production", env.environment, env.connection)
}

// guard changes the approval that guards Production, and starts a run under it.
func (env *testEnv) guard(settings sim.ApprovalSettings) {
	env.check.Update(settings)
	env.queue()
}

const (
	cart       = "shop/cart"
	release    = "1.4.2"
	source     = prodHost + "/" + cart + ":" + release
	recordType = "application/vnd.acrpromote.seal.v1+json"
)

// record attaches a seal record to an image of PROD, as a step of the run does.
func (env *testEnv) record(image descriptor) descriptor {
	env.attest(env.run.Stage("Build"), image)
	return env.recordIn(env.prod, cart, image, env.run)
}

// recordIn attaches a seal record that names a run.
func (env *testEnv) recordIn(r *sim.Registry, repository string, image descriptor, run *sim.Run) descriptor {
	content := fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q,"run":{"kind":"yaml","project":"shop","id":%d}}`, image.Digest, run.ID())
	env.recordBlob = testimage.Digest(content)
	return testimage.Attach(r, repository, image, recordType, content)
}

// readsRecord reports whether a request reads the content of a seal record, which
// the program does before it decides.
func (env *testEnv) readsRecord(r *http.Request) bool {
	_, digits, _ := strings.Cut(env.recordBlob, ":")
	return digits != "" && strings.Contains(r.URL.Path, digits)
}

// attest leaves in a stage what a step that sealed an image leaves there.
func (env *testEnv) attest(stage *sim.Stage, image descriptor) *sim.Step {
	step := stage.Step("AcrPromote")
	step.Attach("acrpromote.seal", strings.TrimPrefix(image.Digest, "sha256:"))
	step.End("succeeded")
	return step
}

// lock locks a tag of PROD like seal does.
func (env *testEnv) lock(tag string) {
	env.t.Helper()
	if !env.prod.SetTagLock(cart, tag, false, false) || !env.prod.SetManifestLock(cart, env.prod.TagDigest(cart, tag), true, false) {
		env.t.Fatalf("there is no tag %s to lock", tag)
	}
}

// sealed pushes an image to PROD and seals it.
func (env *testEnv) sealed() descriptor {
	env.t.Helper()
	image := pushImage(env.prod, cart, release, 1, 2, 2048)
	env.record(image)
	env.lock(release)
	return image
}

// approve gives the stage's approval and starts its job.
func (env *testEnv) approve(by sim.Identity, comment string) {
	env.t.Helper()
	if err := env.stage.Approve(by, comment); err != nil {
		env.t.Fatal(err)
	}
	env.stage.Begin()
}

// ready returns an environment in which an inverted push is allowed.
func ready(t *testing.T) (*testEnv, descriptor) {
	t.Helper()
	env := newTestEnv(t)
	image := env.sealed()
	env.approve(manager, "released")
	return env, image
}

// readyIndex is ready with an image of two platforms.
func readyIndex(t *testing.T) (*testEnv, descriptor) {
	t.Helper()
	env := newTestEnv(t)
	image := pushIndex(env.prod, cart, release, 1)
	env.record(image)
	env.lock(release)
	env.approve(manager, "")
	return env, image
}

// push returns the inputs of a minimal inverted push, with changes.
func push(more ...string) inputs {
	in := inputs{"action": "invertedPush", "source": source, "targets": devHost, "environment": "Production"}
	return in.with(more...)
}

// inputs are the inputs of a task. "" means not given.
type inputs map[string]string

// with returns a copy with other values: name, value, name, value.
func (in inputs) with(pairs ...string) inputs {
	in = maps.Clone(in)
	for i := 0; i+1 < len(pairs); i += 2 {
		in[pairs[i]] = pairs[i+1]
	}
	return in
}

// outcome is the result of a task as seen by the agent.
type outcome struct {
	t        *testing.T
	environ  []string
	code     int
	stdout   string
	stderr   string
	result   map[string]any // result.json, nil if there is none
	task     string         // the result that task.complete bore
	output   map[string]string
	seals    map[string]string // attachments of sealed images: content by name
	plans    map[string]string // attachments of plans: lines by code
	summary  string
	tests    string               // JUnit XML, if it was published
	page     fakeagent.Attachment // the report that the tab shows
	artifact fakeagent.Artifact   // the report that was published with the run
	warnings []string
	issues   []string // errors
	requests []sim.Request
}

// task runs the program like the agent of the stage's job does.
func (env *testEnv) task(in inputs, change ...func(*fakeagent.Environment)) outcome {
	env.t.Helper()
	return env.taskOf(env.stage, in, change...)
}

func (env *testEnv) taskOf(job fakeagent.Job, in inputs, change ...func(*fakeagent.Environment)) outcome {
	env.t.Helper()
	return env.execute(env.environ(job, in, change...))
}

// environ returns the environment that the agent gives to the task. System.Debug is
// on, so that every test also looks for secrets in debug output.
func (env *testEnv) environ(job fakeagent.Job, in inputs, change ...func(*fakeagent.Environment)) []string {
	env.t.Helper()
	e := fakeagent.Environment{
		Inputs:        in,
		Connections:   map[string][]*sim.ServiceConnection{"azureSubscription": {env.connection}},
		TempDirectory: cmp.Or(env.agent, env.folder()),
		Proxy:         &fakeagent.Proxy{URL: env.prodNetwork.ProxyURL()},
		CAFile:        env.cloud.CAFile(),
		Debug:         true,
	}
	for _, c := range change {
		c(&e)
	}
	return append(e.List(job), "PATH="+os.Getenv("PATH"))
}

// forged returns an environment with changed variables: name, value, …; the value
// "-" removes a variable.
func forged(environ []string, pairs ...string) []string {
	environ = slices.Clone(environ)
	for i := 0; i+1 < len(pairs); i += 2 {
		environ = slices.DeleteFunc(environ, func(v string) bool { return strings.HasPrefix(v, pairs[i]+"=") })
		if pairs[i+1] != "-" {
			environ = append(environ, pairs[i]+"="+pairs[i+1])
		}
	}
	return environ
}

// connections of the task's inputs: input, connection.
func connected(input string, connections ...*sim.ServiceConnection) func(*fakeagent.Environment) {
	return func(e *fakeagent.Environment) {
		if len(connections) == 0 {
			delete(e.Connections, input)
			return
		}
		e.Connections[input] = connections
	}
}

func from(n *sim.Network) func(*fakeagent.Environment) {
	return func(e *fakeagent.Environment) { e.Proxy = &fakeagent.Proxy{URL: n.ProxyURL()} }
}

func (env *testEnv) folder() string {
	env.t.Helper()
	dir, err := os.MkdirTemp(env.temp, "agent-")
	if err != nil {
		env.t.Fatal(err)
	}
	return dir
}

// process is the program while it runs.
type process struct {
	env            *testEnv
	command        *exec.Cmd
	stdout, stderr bytes.Buffer
	environ        []string
	mark           int
	dialled        map[*sim.Network]int
	cancel         context.CancelFunc
	ended          time.Time
	step           *sim.Step // of a YAML run
}

// start runs the real binary with only environ as its environment.
func (env *testEnv) start(environ []string, arguments ...string) *process {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(env.patience, 2*time.Minute))
	p := &process{env: env, environ: environ, cancel: cancel, dialled: map[*sim.Network]int{}}
	command := env.command
	if command == nil {
		command = []string{nextProgram(env.t)}
	}
	p.command = exec.CommandContext(ctx, command[0], append(slices.Clone(command[1:]), arguments...)...)
	p.command.Dir = env.temp
	// The race detector would sleep for a second at every exit.
	p.command.Env = append(slices.Clone(environ), "GORACE=atexit_sleep_ms=0")
	p.command.Stdout, p.command.Stderr = &p.stdout, &p.stderr
	p.mark = env.cloud.Mark()
	for _, n := range []*sim.Network{env.prodNetwork, env.devNetwork} {
		p.dialled[n] = len(n.Dialled())
	}
	if p.inPipeline() {
		// A token that no job has, or has any more, is the test's business.
		p.step, _ = env.organization.StepOf(valueOf(environ, "ENDPOINT_AUTH_PARAMETER_SYSTEMVSSCONNECTION_ACCESSTOKEN"), "AcrPromote")
	}
	if err := p.command.Start(); err != nil {
		env.t.Fatal(err)
	}
	return p
}

// wait reads the program's output like the agent does, and checks the invariants of
// every run.
func (p *process) wait() outcome {
	p.env.t.Helper()
	defer p.cancel()
	_ = p.command.Wait()
	p.ended = time.Now()
	p.env.cloud.Settle(5 * time.Second)
	o := outcome{t: p.env.t, code: p.command.ProcessState.ExitCode(), stdout: p.stdout.String(), stderr: p.stderr.String(), output: map[string]string{}, seals: map[string]string{}, plans: map[string]string{}}
	o.requests = p.env.cloud.Since(p.mark)
	o.environ = p.environ
	o.read(p.inPipeline())
	p.endStep(o)
	p.env.hold(p, &o)
	return o
}

// endStep does what the agent does with the step's record: it stores what the
// step attached, and its result.
func (p *process) endStep(o outcome) {
	if p.step == nil || o.task == "" {
		return
	}
	for name, content := range o.seals {
		if !strings.Contains(content, name) {
			p.env.t.Errorf("the attachment %s holds another record: %s", name, content)
		}
		p.step.Attach("acrpromote.seal", name)
	}
	for name, content := range o.plans {
		p.step.AttachContent("acrpromote.plan", name, []byte(content))
	}
	if o.page.Name != "" {
		p.step.AttachContent(o.page.Type, o.page.Name, []byte(o.page.Content))
	}
	if o.artifact.Name != "" {
		// Without a folder that stays, every step is its job's first.
		if err := p.step.Publish(o.artifact.Name, o.artifact.Files); err != nil && p.env.agent != "" {
			p.env.t.Errorf("the agent fails the step: %v", err)
		}
	}
	result := map[string]string{"Succeeded": "succeeded", "SucceededWithIssues": "succeededWithIssues", "Canceled": "canceled"}[o.task]
	if result == "" {
		result = "failed"
	}
	p.step.End(result)
}

// valueOf returns a variable of an environment.
func valueOf(environ []string, name string) string {
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

func (p *process) inPipeline() bool {
	return slices.ContainsFunc(p.environ, func(v string) bool { return strings.HasPrefix(v, "INPUT_ACTION=") })
}

// execute runs the program from start to end.
func (env *testEnv) execute(environ []string, arguments ...string) outcome {
	env.t.Helper()
	return env.start(environ, arguments...).wait()
}

// at returns the value at a path in result.json, such as "images", 0, "digest".
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

// states returns the states of the targets, in order.
func (o outcome) states() string {
	o.t.Helper()
	targets, _ := o.at("images", 0, "targets").([]any)
	var states []string
	for _, t := range targets {
		states = append(states, t.(map[string]any)["state"].(string))
	}
	return strings.Join(states, " ")
}

// wantStates fails the test unless the targets have these states.
func (o outcome) wantStates(states string) outcome {
	o.t.Helper()
	if got := o.states(); got != states {
		o.t.Errorf("targets are %q, want %q\n%s", got, states, o.stdout)
	}
	return o
}

// rules returns the rules that refused, in order and without duplicates.
func (o outcome) rules() []string {
	o.t.Helper()
	refusals, _ := o.at("refusals").([]any)
	var rules []string
	for _, r := range refusals {
		if name := r.(map[string]any)["rule"].(string); !slices.Contains(rules, name) {
			rules = append(rules, name)
		}
	}
	return rules
}

// want fails the test unless the outcome is the given one, with the exit code 0 and
// the task result that belong to it in a pipeline.
func (o outcome) want(name string) outcome {
	o.t.Helper()
	task := map[string]string{"done": "Succeeded", "cancelled": "Canceled"}[name]
	if task == "" {
		task = "Failed"
	}
	return o.wantTask(name, task)
}

func (o outcome) wantTask(name, task string) outcome {
	o.t.Helper()
	if o.code != 0 || o.task != task || o.result["outcome"] != name {
		o.t.Fatalf("outcome %v, task %q, exit code %d; want %s, %s, 0\n--- stdout\n%s\n--- stderr\n%s", o.result["outcome"], o.task, o.code, name, task, o.stdout, o.stderr)
	}
	return o
}

// wantCode fails the test unless a run at a prompt has the given exit code and the
// outcome that belongs to it.
func (o outcome) wantCode(code int) outcome {
	o.t.Helper()
	if o.code != code {
		o.t.Fatalf("exit code %d, want %d\n--- stdout\n%s\n--- stderr\n%s", o.code, code, o.stdout, o.stderr)
	}
	return o
}

// refusedBy fails the test unless exactly these rules refused.
func (o outcome) refusedBy(rules ...string) outcome {
	o.t.Helper()
	o.want("refused")
	got := slices.Sorted(slices.Values(o.rules()))
	slices.Sort(rules)
	if !slices.Equal(got, rules) {
		o.t.Fatalf("refused by %q, want %q\n%s", got, rules, o.stdout)
	}
	return o
}

// says fails the test unless refusals and errors, with their remedies, contain the
// texts.
func (o outcome) says(words ...string) outcome {
	o.t.Helper()
	text := o.against()
	for _, word := range words {
		if !strings.Contains(text, word) {
			o.t.Errorf("refusals and errors do not contain %q:\n%s", word, text)
		}
	}
	return o
}

func (o outcome) against() string {
	var text strings.Builder
	for _, list := range []string{"refusals", "errors"} {
		entries, _ := o.result[list].([]any)
		for _, e := range entries {
			m := e.(map[string]any)
			fmt.Fprintf(&text, "%v%v %v: %v → %v\n", m["rule"], m["side"], m["subject"], m["reason"], m["remedy"])
		}
	}
	return text.String()
}

// failsAt fails the test unless all errors are on the given side.
func (o outcome) failsAt(side string, words ...string) outcome {
	o.t.Helper()
	o.want("failed")
	errors, _ := o.at("errors").([]any)
	if len(errors) == 0 {
		o.t.Fatalf("no error is reported\n%s", o.stdout)
	}
	for _, e := range errors {
		if got := e.(map[string]any)["side"]; got != side {
			o.t.Errorf("an error lies at the %v, want %s:\n%s", got, side, o.against())
		}
	}
	return o.says(words...)
}

// asked returns the requests to a host: "GET /v2/…".
func (o outcome) asked(host string) []string {
	var list []string
	for _, r := range o.requests {
		if r.Host == host {
			list = append(list, r.Method+" "+r.Path)
		}
	}
	return list
}
