package main_test

import (
	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// TestEveryFactBothWays checks that each fact gets its two answers, by the program
// that a person runs.
func TestEveryFactBothWays(t *testing.T) {
	var ids []string
	for _, b := range []bool{false, true} {
		a := open(t, b)
		earlier := a.queue(nil)
		run := a.queue(earlier)
		release, fromRelease := a.releases(run)
		r := a.report("-organization", "https://dev.azure.com/"+organization, "-project", prefix, "-run", fmt.Sprint(run.ID()), "-release", fmt.Sprint(release),
			"-answers", fromRelease, "-answers", a.server())
		ids = nil
		for _, f := range r.Facts {
			ids = append(ids, f.ID)
			want := map[bool]string{false: "A", true: "B"}[b]
			if f.ID == "suite-check-runs" {
				want = "A" // TestSuiteWithoutCheckRuns has the other answer
			}
			if f.Answer != want {
				t.Errorf("%s: %s, want %s (%d %s %s %s)", f.ID, f.Answer, want, f.Status, f.Code, f.Why, f.Body)
			}
			for _, name := range []string{prefix, organization, "203.0.113.9"} {
				if text := f.Why + f.Body; strings.Contains(text, name) {
					t.Errorf("%s names %s: %s", f.ID, name, text)
				}
			}
		}
		if r.Schema != "acrpromote/livecheck/v1" || r.Tool != "livecheck 0.0.0-test" || r.Date == "" {
			t.Errorf("the report is of %q by %q on %q", r.Schema, r.Tool, r.Date)
		}
		if !b && len(r.Notes) > 0 {
			t.Errorf("left behind: %v", r.Notes)
		}
		for host, registry := range a.registries {
			for _, id := range ids {
				if !b && len(registry.Digests("livecheck/"+id)) > 0 {
					t.Errorf("%s has still livecheck/%s", host, id)
				}
			}
		}
	}
	if len(ids) < 30 {
		t.Errorf("only %d facts", len(ids))
	}
}

// TestSuiteWithoutCheckRuns checks the answer that leaves others open: an approved
// suite that lists no check runs.
func TestSuiteWithoutCheckRuns(t *testing.T) {
	a := open(t, false)
	run := a.queue(a.queue(nil))
	run.MutateSuite(func(d map[string]any) { d["checkRuns"] = []any{} })
	r := a.report("-organization", "https://dev.azure.com/"+organization, "-project", prefix, "-run", fmt.Sprint(run.ID()))
	r.want(t, "suite-check-runs", "B", "0 check runs")
	r.want(t, "approval-check-id", "not checked", "no check runs")
}

// TestOnlyThrowAway checks that nothing is written where something else is.
func TestOnlyThrowAway(t *testing.T) {
	a := open(t, false)
	other := a.cloud.Registry("contosoprod.azurecr.io", sim.RegistryOptions{})
	a.registries[softHost].PutBlob("shop/cart", []byte("{}"))
	a.registries[softHost].Push("shop/cart", "1", "application/vnd.oci.image.manifest.v1+json", []byte("{}"))
	for _, c := range []struct {
		name, says string
		code       int
		arguments  []string
	}{
		{"a registry of another name", "does not begin with " + prefix, 1, []string{"-prefix", prefix, "-registry", other.Host()}},
		{"a registry of another name next to a good one", "does not begin with " + prefix, 1, []string{"-prefix", prefix, "-registry", mainHost, "-retention", other.Host()}},
		{"a host that is no registry of Azure", "is not the host name of an Azure Container Registry", 1, []string{"-prefix", prefix, "-registry", prefix + ".azurecr.io.evil.example"}},
		{"a path instead of a host", "is not the host name", 1, []string{"-prefix", prefix, "-registry", prefix + ".evil.example/x.azurecr.io"}},
		{"an organization without TLS", "-organization", 1, []string{"-prefix", prefix, "-organization", "http://dev.azure.com/" + organization, "-project", prefix}},
		{"a registry that is not empty", "has repositories", 1, []string{"-prefix", prefix, "-registry", mainHost, "-soft-delete", softHost}},
		{"a project of another name", "project shop does not begin with", 1, []string{"-prefix", prefix, "-organization", "https://dev.azure.com/" + organization, "-project", "shop"}},
		{"no prefix", "-prefix needs", 2, []string{"-registry", mainHost}},
		{"a prefix that many names begin with", "-prefix needs", 2, []string{"-prefix", "live", "-registry", mainHost}},
		{"a prefix that is no name", "lower-case", 2, []string{"-prefix", "Live.check", "-registry", mainHost}},
		{"a run without a project", "-organization and -project", 2, []string{"-prefix", prefix, "-run", "1"}},
		{"a regional endpoint alone", "needs -registry", 2, []string{"-prefix", prefix, "-regional", regionalHost}},
		{"an argument too many", "unexpected argument", 2, []string{"-list", "everything"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.t = t
			before := len(a.cloud.Requests())
			if out := a.execute(c.code, a.environ, c.arguments...); !strings.Contains(out, c.says) {
				t.Errorf("it says\n%s\nand not %q", out, c.says)
			}
			for _, q := range a.cloud.Requests()[before:] {
				if q.Method != http.MethodGet && !strings.HasPrefix(q.Path, "/oauth2/") && !strings.HasPrefix(q.Host, "login.") {
					t.Errorf("%s %s%s", q.Method, q.Host, q.Path)
				}
			}
		})
	}
	t.Run("a job of another project", func(t *testing.T) {
		a.t = t
		stage := a.organization.Project("shop").QueueRun(sim.RunOptions{}).Stage("Job")
		stage.Begin()
		out := a.execute(1, append(fakeagent.Environment{}.List(stage), "SYSTEM_ACCESSTOKEN="+stage.Token()), "-job", filepath.Join(a.folder, "x"), "-prefix", prefix)
		if !strings.Contains(out, "project shop does not begin with") {
			t.Error(out)
		}
	})
}

// TestNotChecked checks that what cannot be asked says why, and that nothing is
// guessed.
func TestNotChecked(t *testing.T) {
	a := open(t, false)
	a.environ = slices.DeleteFunc(a.environ, func(v string) bool { return strings.HasPrefix(v, "LIVECHECK_") })
	a.arguments = []string{"-prefix", prefix, "-retention", retainHost, "-wait", "20ms", "-out", a.folder}
	script := a.cloud.Script(sim.Fault{Host: retainHost, Method: "GET", Path: "/manifests/", Times: sim.Always, Do: sim.Status(http.StatusInternalServerError)})
	defer script.Stop()
	r := a.report()
	r.want(t, "locked-tag-equal-put", "not checked", "needs a registry (-registry)")
	r.want(t, "partial-scope", "not checked", "LIVECHECK_READER")
	r.want(t, "bypass", "not checked", "-run")
	r.want(t, "gate-filter-text", "not checked", "-release")
	r.want(t, "job-token-other-run", "not checked", "livecheck -job")
	r.want(t, "untagged-retention", "other", "500")
}

// TestClicksThatAreMissing checks that a run in which nobody clicked gives no answer.
func TestClicksThatAreMissing(t *testing.T) {
	a := open(t, false)
	var uses []sim.Resource
	for _, name := range []string{"approved", "bypassed", "deferred"} {
		e := a.project.Environment(prefix + "-" + name)
		e.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{developer}})
		uses = append(uses, e)
	}
	run := a.project.QueueRun(sim.RunOptions{RequestedFor: developer, NoBuildStage: true})
	run.Stage("Bypassed", uses[1])
	run.Stage("Deferred", uses[2])
	a.arguments = []string{"-prefix", prefix, "-out", a.folder}
	r := a.report("-organization", "https://dev.azure.com/"+organization, "-project", prefix, "-run", fmt.Sprint(run.ID()))
	r.want(t, "one-click", "not checked", "no stage Approved")
	r.want(t, "bypass", "not checked", "nobody has bypassed")
	r.want(t, "deferral", "not checked", "is pending")
	r.want(t, "attachment-link", "not checked", "no attachment")
	r.want(t, "run-token", "not checked", "livecheck -job")
}

// TestNamesOnRequest checks that names are in the report only if asked for, and
// secrets never.
func TestNamesOnRequest(t *testing.T) {
	a := open(t, false)
	a.cloud.Script(sim.Fault{Host: mainHost, Method: "GET", Path: "_tags/1", Times: sim.Always,
		Do: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "%s denies the user 'Release Manager' release.manager@example.com of %s at 203.0.113.9 with %s", mainHost, tenant, r.Header.Get("Authorization"))
		}})
	a.arguments = []string{"-prefix", prefix, "-registry", mainHost, "-out", a.folder}
	a.report().want(t, "pull-token-attributes", "A", "registry-1.azurecr.io denies the user-1 mail-1 of id-1 at address-1 with Bearer ***")
	a.report("-names").want(t, "pull-token-attributes", "A", mainHost+" denies the user 'Release Manager' release.manager@example.com of "+tenant+" at 203.0.113.9 with Bearer ***")
}

// TestBadAnswers checks that answers that are not those of a job are an error, not a
// part of the report.
func TestBadAnswers(t *testing.T) {
	a := open(t, false)
	file := filepath.Join(a.folder, "answers.json")
	for content, says := range map[string]string{
		``:                               "unexpected end",
		`{"answers":{}}`:                 "the schema is",
		`{"schema":"x","answers":{}}`:    "the schema is",
		`{"schema":1}`:                   "cannot unmarshal",
		`[]`:                             "cannot unmarshal",
		strings.Repeat(`{"schema":`, 99): "unexpected end",
	} {
		a.must(os.WriteFile(file, []byte(content), 0o600))
		if out := a.execute(1, a.environ, "-prefix", prefix, "-answers", file); !strings.Contains(out, says) {
			t.Errorf("%s: %s", content, out)
		}
	}
	a.execute(1, a.environ, "-prefix", prefix, "-answers", file+".no")
	// An answer cannot bring in a secret or a name, nor a fact that is not asked.
	a.must(os.WriteFile(file, []byte(`{"schema":"acrpromote/livecheck/job/v1","answers":{"run-token":{"answer":"A","why":"eyJhbGciOiJSUzI1NiJ9.e30.c2ln of release.manager@example.com"},"other":{"answer":"A"}}}`), 0o600))
	a.arguments = []string{"-prefix", prefix, "-out", a.folder, "-answers", file}
	r := a.report()
	r.want(t, "run-token", "A", "of mail-1")
	if slices.ContainsFunc(r.Facts, func(f fact) bool { return f.ID == "other" }) {
		t.Error("the report has a fact that nobody asks")
	}
}

// TestTexts checks what is printed without the network.
func TestTexts(t *testing.T) {
	a := &azure{t: t}
	list := a.execute(0, nil, "-list")
	if n := strings.Count(list, "\n  A: "); n < 30 {
		t.Errorf("%d facts are listed", n)
	}
	for flag, says := range map[string]string{
		"-setup":    "az acr create --resource-group " + prefix + " --name " + prefix + "main",
		"-teardown": "az group delete --name " + prefix,
		"-pipeline": "environment: " + prefix + "-bypassed",
	} {
		if out := a.execute(0, nil, flag, "-prefix", prefix); !strings.Contains(out, says) || strings.Contains(out, "PREFIX") {
			t.Errorf("%s prints\n%s", flag, out)
		}
	}
	if out := a.execute(0, nil, "-h"); !strings.Contains(out, "usage: livecheck") {
		t.Errorf("-h prints\n%s", out)
	}
	if _, err := exec.LookPath("bash"); err == nil {
		for _, flag := range []string{"-setup", "-teardown"} {
			check := exec.Command("bash", "-n")
			check.Stdin = strings.NewReader(a.execute(0, nil, flag, "-prefix", prefix))
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", flag, err, out)
			}
		}
	}
	var pipeline struct {
		Stages []struct{ Stage string }
	}
	if err := yaml.Unmarshal([]byte(a.execute(0, nil, "-pipeline", "-prefix", prefix)), &pipeline); err != nil || len(pipeline.Stages) != 4 {
		t.Errorf("the pipeline has %v: %v", pipeline.Stages, err)
	}
}

// TestInterrupted checks that what was pushed is removed after an interruption.
func TestInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no interrupt that a test can send")
	}
	a := open(t, true)
	command := exec.Command(binary, "-prefix", prefix, "-registry", mainHost, "-retention", retainHost, "-wait", "2m", "-out", a.folder)
	command.Env = a.environ
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	a.must(command.Start())
	waiting := func() bool { return len(a.registries[retainHost].Digests("livecheck/untagged-retention")) > 0 }
	for deadline := time.Now().Add(time.Minute); !waiting() && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	a.must(command.Process.Signal(os.Interrupt))
	_ = command.Wait()
	if code := command.ProcessState.ExitCode(); code != 1 || !strings.Contains(out.String(), "interrupted, and no report was written") {
		t.Errorf("exit code %d\n%s", code, out.String())
	}
	if waiting() || len(a.registries[mainHost].Digests("livecheck/pull-token-tags")) > 0 {
		t.Error("repositories are left behind")
	}
	if _, err := os.Stat(filepath.Join(a.folder, "livecheck.json")); err == nil {
		t.Error("there is a report")
	}
}
