package main_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// verdicts are what the suite says of a registry: passed, skipped, failure or
// error, by the name of the case.
type verdicts map[string]string

func (v verdicts) count() map[string]int {
	counted := map[string]int{}
	for _, status := range v {
		counted[status]++
	}
	return counted
}

// conform runs the suite against a registry and returns what it says, and why,
// by the name of the case. Its exit code says only whether everything passed;
// what counts is its report.
func conform(t *testing.T, registry string, environ ...string) (verdicts, map[string]string) {
	t.Helper()
	dir := t.TempDir()
	command := exec.Command(conformanceProgram(t))
	command.Dir = dir
	command.Env = append([]string{
		"HOME=" + dir, "SYSTEMROOT=" + os.Getenv("SYSTEMROOT"),
		"OCI_RESULTS_DIR=" + dir, "OCI_VERSION=1.1", "OCI_LOG=error",
		"OCI_REGISTRY=" + registry, "OCI_REPO1=conformance/one", "OCI_REPO2=conformance/two",
		"OCI_USERNAME=" + realUser, "OCI_PASSWORD=" + realPassword,
	}, environ...)
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	_ = command.Run()
	content, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatalf("the suite left no report: %v\n%s", err, said.String())
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Name   string `xml:"name,attr"`
				Status string `xml:"status,attr"`
				Out    string `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(content, &report); err != nil {
		t.Fatal(err)
	}
	found, reasons := verdicts{}, map[string]string{}
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			name := strings.TrimPrefix(c.Name, "OCI Conformance Test/")
			for n := 2; found[name] != ""; n++ {
				name = fmt.Sprintf("%s (%d)", strings.TrimPrefix(c.Name, "OCI Conformance Test/"), n)
			}
			found[name], reasons[name] = c.Status, c.Out
		}
	}
	return found, reasons
}

// differences are cases that the simulated registry fails because Azure's does,
// by the beginning of their names, and where that is said.
var differences = map[string]string{
	"sha512": "Azure takes no digests but SHA-256: https://github.com/dotnet/sdk/issues/56089",
}

// worth orders what the suite says: what a registry says that it does not do
// is better than what it does wrong.
func worth(verdict string) int {
	return slices.Index([]string{"", "error", "failure", "skipped", "passed"}, verdict)
}

// TestConformance runs the OCI distribution conformance suite against the
// simulated registry, signed in to by token, and against the CNCF registry, and
// compares case by case: the simulated one is the same or better.
func TestConformance(t *testing.T) {
	env := newTestEnv(t)
	env.dev.AddUser(realUser, realPassword)
	env.dev.Grant(realUser, "conformance/**", "pull", "push", "delete")
	theirs, _ := conform(t, startRegistry(t).host, "OCI_TLS=disabled")
	ours, reasons := conform(t, devHost, "OCI_TLS=enabled", "HTTPS_PROXY="+env.prodNetwork.ProxyURL(), "SSL_CERT_FILE="+env.cloud.CAFile())

	if len(ours) < 600 || len(theirs) < 600 {
		t.Fatalf("the suite has %d cases for the simulated registry and %d for the CNCF registry", len(ours), len(theirs))
	}
	for _, r := range env.cloud.Requests() {
		if r.Host == devHost && strings.HasPrefix(r.Path, "/v2/") && r.Status < 400 && r.Authorization != "Bearer" {
			t.Fatalf("%s %s was answered %d to %q", r.Method, r.Path, r.Status, r.Authorization)
		}
	}
	met := map[string]int{}
	for name, verdict := range ours {
		known := ""
		for beginning := range differences {
			if strings.HasPrefix(name, beginning) {
				known = beginning
			}
		}
		switch {
		case worth(verdict) >= worth("skipped"):
		case known != "":
			met[known]++
		default:
			t.Errorf("%s: %s: %s", name, verdict, reasons[name])
		}
	}
	for name, verdict := range theirs {
		if _, known := ours[name]; !known && verdict == "passed" {
			t.Errorf("%s passes at the CNCF registry, and is not asked of the simulated one", name)
		}
		if worth(verdict) > worth(ours[name]) && !strings.HasPrefix(name, "sha512") {
			t.Errorf("%s: %s at the simulated registry, %s at the CNCF registry: %s", name, ours[name], verdict, reasons[name])
		}
	}
	for beginning, source := range differences {
		if met[beginning] == 0 {
			t.Errorf("no case that begins with %q fails; take it from the list (%s)", beginning, source)
		}
	}

	// The page tells these counts.
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for registry, v := range map[string]verdicts{"simulated Azure": ours, "CNCF " + registryVersion: theirs} {
		n := v.count()
		if row := fmt.Sprintf("| %s | %d | %d | %d | %d |", registry, len(v), n["passed"], n["skipped"], n["failure"]+n["error"]); !strings.Contains(string(page), row) {
			t.Errorf("docs/conformance.md does not say\n%s", row)
		}
	}
}
