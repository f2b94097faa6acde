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

// verdicts are the suite's results for a registry by case: passed, skipped, failure
// or error.
type verdicts map[string]string

func (v verdicts) count() map[string]int {
	counted := map[string]int{}
	for _, status := range v {
		counted[status]++
	}
	return counted
}

// conform runs the suite against a registry and returns the results and their
// reasons by case. They come from its report, because its exit code only says
// whether everything passed.
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

// differences are the cases, by prefix of their names, that the simulated registry
// fails because Azure's does, with the source of that information.
var differences = map[string]string{
	"sha512": "Azure takes no digests but SHA-256: https://github.com/dotnet/sdk/issues/56089",
}

// worth orders the suite's results: not supporting something is better than doing
// it wrong.
func worth(verdict string) int {
	return slices.Index([]string{"", "error", "failure", "skipped", "passed"}, verdict)
}

// TestConformance runs the OCI distribution conformance suite against the simulated
// registry, with token authentication, and against the CNCF registry. The simulated
// registry must be at least as good in each case.
func TestConformance(t *testing.T) {
	env := newTestEnv(t)
	env.dev.AddUser(realUser, realPassword)
	env.dev.Grant(realUser, "conformance/**", "pull", "push", "delete", "metadata_read")
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

	// docs/conformance.md has these counts.
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
