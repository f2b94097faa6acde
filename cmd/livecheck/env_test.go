package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// binary is the program under test.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "livecheck-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "livecheck")
		if runtime.GOOS == "windows" {
			binary += ".exe"
		}
		if out, err := exec.Command("go", "build", "-ldflags", "-X main.version=0.0.0-test", "-o", binary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "the program does not build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

const (
	prefix        = "livecheck4711"
	mainHost      = prefix + "main.azurecr.io"
	regionalHost  = prefix + "main.northeurope.geo.azurecr.io"
	softHost      = prefix + "soft.azurecr.io"
	retainHost    = prefix + "retain.azurecr.io"
	keysHost      = prefix + "keys.azurecr.io"
	serverAddress = "https://devops.example.com/tfs/Shop/"
	tenant        = "11111111-2222-3333-4444-555555555555"
	clientID      = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	clientKey     = "not-a-real-secret~0123456789"
	readerKey     = "not-a-real-password-of-the-reader"
	personal      = "not-a-real-personal-access-token"
	organization  = "contoso"
)

var (
	developer = sim.Person("Developer")
	manager   = sim.Person("Release Manager")
)

// azure is a simulated Azure in which every fact has one answer.
type azure struct {
	t            *testing.T
	b            bool
	cloud        *sim.Cloud
	network      *sim.Network
	registries   map[string]*sim.Registry
	organization *sim.Organization
	project      *sim.Project
	clock        time.Duration
	clockLock    sync.Mutex
	folder       string
	environ      []string
	arguments    []string
}

func (a *azure) now() time.Time {
	a.clockLock.Lock()
	defer a.clockLock.Unlock()
	return time.Now().Add(a.clock)
}

func (a *azure) advance(d time.Duration) {
	a.clockLock.Lock()
	defer a.clockLock.Unlock()
	a.clock += d
}

// open starts the simulators such that every fact has the answer A, or B.
func open(t *testing.T, b bool) *azure {
	t.Helper()
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	a := &azure{t: t, b: b, cloud: cloud, registries: map[string]*sim.Registry{}, folder: t.TempDir()}
	a.network = cloud.Network("office", "198.51.100.20")
	directory := cloud.Directory(tenant)
	directory.AddApplication(clientID).AddSecret(clientKey)
	for _, host := range []string{mainHost, softHost, retainHost, keysHost} {
		r := cloud.Registry(host, a.options(host, directory))
		r.Grant(clientID, "**", "pull", "push", "delete", "metadata_read", "metadata_write", "catalog")
		a.registries[host] = r
	}
	a.registries[mainHost].AddUser("reader", readerKey)
	a.registries[mainHost].Grant("reader", "livecheck/**", "pull")
	a.registries[mainHost].RegionalEndpoint(regionalHost, map[bool]string{false: mainHost, true: regionalHost}[b])
	cloud.Intercept(a.registryAnswers)

	a.organization = cloud.DevOps(organization)
	a.organization.SetClock(a.now)
	a.organization.AddPersonalToken(personal)
	a.project = a.organization.Project(prefix)
	a.environ = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + a.folder, "HTTPS_PROXY=" + a.network.ProxyURL(), "SSL_CERT_FILE=" + cloud.CAFile(),
		"AZURE_TOKEN_CREDENTIALS=EnvironmentCredential", "AZURE_TENANT_ID=" + tenant, "AZURE_CLIENT_ID=" + clientID, "AZURE_CLIENT_SECRET=" + clientKey,
		"LIVECHECK_READER=reader", "LIVECHECK_READER_PASSWORD=" + readerKey, "AZURE_DEVOPS_EXT_PAT=" + personal,
	}
	a.arguments = []string{"-prefix", prefix, "-registry", mainHost, "-regional", regionalHost, "-soft-delete", softHost, "-retention", retainHost, "-customer-keys", keysHost,
		"-wait", "300ms", "-out", a.folder}
	return a
}

func (a *azure) options(host string, directory *sim.Directory) sim.RegistryOptions {
	o := sim.RegistryOptions{Tokens: directory, StrictScopes: a.b, EqualTagPut: a.b, LockedPatch: a.b}
	if a.b {
		return o
	}
	switch host {
	case softHost:
		o.SoftDelete = sim.SoftDeleteConflicts
	case retainHost:
		o.PurgeEvery = 1
	case keysHost:
		o.NoReferrers = true
	}
	return o
}

// registryAnswers gives the answers that the simulator does not have.
func (a *azure) registryAnswers(w http.ResponseWriter, r *http.Request) bool {
	_, rest, _ := strings.Cut(r.URL.Path, "livecheck/")
	id, rest, _ := strings.Cut(rest, "/")
	refuse := func(status int, code string) bool {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"not at %s for client 203.0.113.9"}]}`, code, mainHost)
		return true
	}
	accept := func(status int) bool {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("{}"))
		return true
	}
	registry, repository := a.registries[mainHost], "livecheck/"+id
	attributes, there := registry.ManifestAttributes(repository, registry.TagDigest(repository, "1"))
	locked, unreadable := there && !attributes.Write, there && !attributes.Read
	if !a.b || r.Header.Get("Authorization") == "" {
		return false
	}
	switch {
	case r.Host == regionalHost && rest == "_tags/1":
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte(`{"tag":{"name":"1","changeableAttributes":{"writeEnabled":true,"deleteEnabled":true}}}`))
		return true
	case r.Host != mainHost:
		return false
	case id == "locked-manifest-referrer" && r.Method == http.MethodPut && strings.HasPrefix(rest, "manifests/") && locked:
		return refuse(http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION")
	case id == "locked-manifest-tag" && r.Method == http.MethodPut && locked:
		return accept(http.StatusCreated)
	case id == "read-disabled-manifest" && r.Method == http.MethodGet && strings.HasPrefix(rest, "manifests/"):
		return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN")
	case id == "read-disabled-attributes" && r.Method == http.MethodGet && strings.HasPrefix(rest, "_manifests/sha256") && unreadable:
		return refuse(http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION")
	case id == "read-disabled-referrers" && strings.HasPrefix(rest, "referrers/"):
		return refuse(http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION")
	case id == "read-disabled-subject" && r.Method == http.MethodPut && strings.HasPrefix(rest, "manifests/") && unreadable:
		return refuse(http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION")
	case id == "read-disabled-put" && r.Method == http.MethodGet && strings.HasPrefix(rest, "manifests/"):
		return accept(http.StatusOK)
	case id == "listed-referrers" && rest == "_manifests":
		w.WriteHeader(http.StatusOK)
		fmt.Fprintf(w, `{"manifests":[{"digest":%q}]}`, registry.TagDigest(repository, "1"))
		return true
	case id == "pull-token-tags" && rest == "tags/list":
		return accept(http.StatusOK)
	case id == "pull-token-attributes" && r.Method == http.MethodGet && rest == "_tags/1":
		return accept(http.StatusOK)
	}
	return false
}

// queue runs the printed pipeline: a person clicks, and the job runs the program.
func (a *azure) queue(other *sim.Run) *sim.Run {
	a.t.Helper()
	environments := map[string]*sim.Environment{}
	for _, name := range []string{"Approved", "Bypassed", "Deferred"} {
		environments[name] = a.project.Environment(prefix + "-" + strings.ToLower(name))
		if other == nil {
			approvers := []sim.Identity{developer}
			if name == "Approved" {
				approvers = append(approvers, a.organization.Group(`[`+prefix+`]\Checkers`, developer))
			}
			environments[name].AddApproval(sim.ApprovalSettings{Approvers: approvers})
		}
	}
	run := a.project.QueueRun(sim.RunOptions{Pipeline: "livecheck", RequestedFor: developer, NoBuildStage: true,
		DistinctApprovalIDs: a.b, FlatContext: a.b, GraphNodeIsStage: !a.b})
	approved, bypassed, deferred := run.Stage("Approved", environments["Approved"]), run.Stage("Bypassed", environments["Bypassed"]), run.Stage("Deferred", environments["Deferred"])
	if a.b {
		a.organization.AnswerOneStep()
	}
	a.must(approved.Approve(developer, ""))
	if a.b {
		a.advance(time.Minute)
	}
	if approved.Approvals()[0].Status() != "approved" {
		a.must(approved.Approve(developer, ""))
	}
	if a.b {
		a.must(bypassed.Approve(developer, ""))
	} else {
		bypassed.Bypass(manager)
	}
	a.must(deferred.Defer(developer, a.now().Add(5*time.Minute), "later"))
	a.advance(5 * time.Minute)
	deferred.Elapse(a.b)
	for _, s := range []*sim.Stage{approved, bypassed, deferred} {
		s.Begin()
		s.Finish("succeeded")
	}

	stage := run.Stage("Job")
	stage.Begin()
	first := stage.Step("livecheck-first")
	first.End("succeeded")
	step := stage.Step("livecheck")
	if other == nil {
		step.End("succeeded")
		stage.Finish("succeeded")
		return run
	}
	if a.b {
		a.organization.SetReach(sim.OwnProject)
		a.project.Deny(sim.Approvals)
		environments["Approved"].DenyView()
		a.organization.SetRunToken(sim.RunTokenRefused)
		a.organization.ListOnlyExplicitEntries()
		a.organization.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/accesscontrollists/") || r.URL.Query().Has("includeExtendedInfo") {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		})
	}
	a.project.Repository(prefix).Allow("*", a.project.Group("Contributors"), sim.GitContribute)
	a.job(stage, stage.Token(), func(kind, name string, content []byte) {
		if kind == summaryType && a.b && len(content) >= 128<<10 {
			return
		}
		step.AttachContent(kind, name, content)
	}, "LIVECHECK_OTHER_RUN="+fmt.Sprint(other.ID()))
	if a.b {
		a.project.Allow(sim.Approvals)
		run.MutateApprovals(func(d map[string]any) {
			for _, v := range d["value"].([]any) {
				delete(v.(map[string]any), "pipeline")
			}
		})
		run.MutateAttachments(func(d map[string]any) {
			for _, v := range d["value"].([]any) {
				self := v.(map[string]any)["_links"].(map[string]any)["self"].(map[string]any)
				self["href"] = strings.Replace(self["href"].(string), step.ID(), stage.JobID(), 1)
			}
		})
	}
	step.End("succeeded")
	stage.Finish("succeeded")
	return run
}

const summaryType = "Distributedtask.Core.Summary"

func (a *azure) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// command is a logging command that has a file.
var command = regexp.MustCompile(`##vso\[task\.(\w+)(?: type=([^;\]]*);name=([^;\]]*))?\](.*)`)

// job runs the program in a job and hands what it attaches to attach.
func (a *azure) job(job fakeagent.Job, token string, attach func(kind, name string, content []byte), more ...string) (answers string) {
	a.t.Helper()
	answers = filepath.Join(a.t.TempDir(), "answers.json")
	environ := append(fakeagent.Environment{}.List(job), "PATH="+os.Getenv("PATH"), "SYSTEM_ACCESSTOKEN="+token,
		"HTTPS_PROXY="+a.network.ProxyURL(), "SSL_CERT_FILE="+a.cloud.CAFile())
	out := a.execute(0, append(environ, more...), "-job", answers, "-prefix", prefix)
	for _, c := range command.FindAllStringSubmatch(out, -1) {
		content, err := os.ReadFile(c[4])
		a.must(err)
		kind, name := c[2], c[3]
		if c[1] == "uploadsummary" {
			kind, name = summaryType, filepath.Base(c[4])
		}
		attach(kind, name, content)
	}
	if strings.Contains(out, token) {
		a.t.Error("the job's token is shown")
	}
	return answers
}

// execute runs the program and returns its output.
func (a *azure) execute(code int, environ []string, arguments ...string) string {
	a.t.Helper()
	command := exec.Command(binary, arguments...)
	command.Env = environ
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	_ = command.Run()
	if got := command.ProcessState.ExitCode(); got != code {
		a.t.Fatalf("livecheck %v: exit code %d, want %d\n%s", arguments, got, code, out.String())
	}
	return out.String()
}

// releases runs a classic release and returns its id and the answers of its job.
func (a *azure) releases(run *sim.Run) (id int, answers string) {
	release := a.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: run})
	var stage *sim.ReleaseStage
	for _, name := range []string{"FilterNumber", "FilterText"} {
		stage = release.Stage(name, sim.ReleaseStageOptions{Gates: []string{"Invoke REST API"}})
		if a.b {
			stage.SetGates("failed")
		}
		stage.Begin()
	}
	var more []string
	if !a.b {
		// A later variable wins.
		more = append(more, "SYSTEM_TEAMFOUNDATIONSERVERURI="+a.organization.Collection())
		a.organization.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/oidctoken") {
				return false
			}
			fmt.Fprintf(w, `{"oidcToken":"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZWxlYXNlIn0.c2lnbmF0dXJl"}`)
			return true
		})
	}
	answers = a.job(stage, stage.Token(), func(string, string, []byte) {}, more...)
	a.organization.RestoreAnswers()
	return release.ID(), answers
}

// server runs the job of a run of Azure DevOps Server and returns its answers.
func (a *azure) server() string {
	server := a.cloud.DevOpsServer(serverAddress)
	if !a.b {
		server.SetRunToken(sim.RunTokenIssued)
	}
	stage := server.Project(prefix).QueueRun(sim.RunOptions{RequestedFor: developer}).Stage("Job")
	stage.Begin()
	return a.job(stage, stage.Token(), func(string, string, []byte) {})
}

type report struct {
	Schema, Tool, Date string
	Facts              []fact
	Notes              []string
}

type fact struct {
	ID, Answer, Why, Code, Body, Meaning string
	Status                               int
}

// report runs the program and reads its report.
func (a *azure) report(more ...string) report {
	a.t.Helper()
	out := a.execute(0, a.environ, append(slices.Clone(a.arguments), more...)...)
	var r report
	content, err := os.ReadFile(filepath.Join(a.folder, "livecheck.json"))
	a.must(err)
	a.must(json.Unmarshal(content, &r))
	markdown, err := os.ReadFile(filepath.Join(a.folder, "livecheck.md"))
	a.must(err)
	if string(markdown) != out {
		a.t.Error("standard output is not the report")
	}
	for _, secret := range []string{clientKey, readerKey, personal, "eyJ"} {
		if strings.Contains(string(content)+out, secret) {
			a.t.Errorf("the report has the secret %s", secret)
		}
	}
	return r
}

// want checks one answer, and a part of what is said about it.
func (r report) want(t *testing.T, id, answer, says string) {
	t.Helper()
	for _, f := range r.Facts {
		if f.ID == id {
			if text := fmt.Sprint(f.Status, " ", f.Code, " ", f.Why, " ", f.Body); f.Answer != answer || !strings.Contains(text, says) {
				t.Errorf("%s: %s (%s), want %s (%s)", id, f.Answer, text, answer, says)
			}
			return
		}
	}
	t.Errorf("no fact %s", id)
}
