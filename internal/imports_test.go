// Package internal_test keeps the rules of who may import whom.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "acrpromote/"

// imports maps each package of the module to what its files import, and keeps
// the files' own tests apart.
func imports(t *testing.T) (shipped, tests map[string][]string) {
	t.Helper()
	shipped, tests = map[string][]string{}, map[string][]string{}
	root := ".."
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if file != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		into := shipped
		if strings.HasSuffix(name, "_test.go") {
			into = tests
		}
		pkg := filepath.ToSlash(relative)
		if into[pkg] == nil {
			into[pkg] = []string{}
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			into[pkg] = append(into[pkg], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(shipped) < 10 {
		t.Fatalf("only %d packages were found: the walk is broken", len(shipped))
	}
	return shipped, tests
}

// program lists the packages that the shipped binary is made of.
func program(shipped map[string][]string) map[string]bool {
	part := map[string]bool{}
	var add func(pkg string)
	add = func(pkg string) {
		if part[pkg] {
			return
		}
		part[pkg] = true
		for _, imported := range shipped[pkg] {
			if own, ok := strings.CutPrefix(imported, module); ok {
				add(own)
			}
		}
	}
	add("cmd/acrpromote")
	return part
}

// pure maps the packages that decide, and do no I/O, to the packages of the
// module that each may import.
var pure = map[string][]string{
	"internal/explain":     {},
	"internal/ocierror":    {"internal/sanitize"},
	"internal/ref":         {},
	"internal/rule":        {},
	"internal/outcome":     {},
	"internal/seal":        {"internal/ref"},
	"internal/approval":    {"internal/rule", "internal/sanitize"},
	"internal/sanitize":    {},
	"internal/topology":    {"internal/levenshtein", "internal/ref", "internal/rule"},
	"internal/levenshtein": {},
	"internal/referrer":    {},
	"internal/plan":        {"internal/approval", "internal/ref", "internal/referrer", "internal/rule", "internal/seal", "internal/topology"},
}

func TestPureCoreDoesNoInputOrOutput(t *testing.T) {
	shipped, _ := imports(t)
	libraries := map[string][]string{
		"internal/topology": {"go.yaml.in/yaml/v3", "github.com/Masterminds/semver/v3"},
		// These only parse.
		"internal/sanitize": {"net/url"},
		"internal/ocierror": {"net/netip"},
	}
	doing := []string{"net", "os", "io/fs", "syscall", "log", "testing"}
	for pkg, may := range pure {
		if _, there := shipped[pkg]; !there {
			t.Errorf("%s is not there", pkg)
		}
		for _, imported := range shipped[pkg] {
			if own, ok := strings.CutPrefix(imported, module); ok {
				if !slices.Contains(may, own) {
					t.Errorf("%s decides, and may not import %s", pkg, own)
				}
				continue
			}
			if slices.Contains(libraries[pkg], imported) {
				continue
			}
			if strings.Contains(imported, ".") {
				t.Errorf("%s decides, and needs no %s", pkg, imported)
			}
			for _, d := range doing {
				if imported == d || strings.HasPrefix(imported, d+"/") {
					t.Errorf("%s decides, and may not import %s", pkg, imported)
				}
			}
		}
	}
}

func TestAdaptersDoNotKnowEachOther(t *testing.T) {
	shipped, _ := imports(t)
	allowed := map[string][]string{
		"internal/agent":     {"internal/levenshtein", "internal/ref", "internal/sanitize"},
		"internal/egress":    {"internal/explain", "internal/ref", "internal/retryafter", "internal/sanitize"},
		"internal/acr":       {"internal/explain", "internal/keyed", "internal/ocierror", "internal/ref", "internal/sanitize"},
		"internal/keyed":     {},
		"internal/transfer":  {"internal/explain", "internal/keyed", "internal/ocierror", "internal/ref", "internal/retryafter", "internal/sanitize"},
		"internal/azdo":      {"internal/approval", "internal/rule", "internal/sanitize"},
		"internal/report":    {"internal/outcome", "internal/rule", "internal/sanitize"},
		"internal/sim":       {"internal/testca"},
		"internal/fakeagent": {"internal/sim"},
		"internal/testca":    {},
		"internal/testimage": {},
		"internal/promote":   {"internal/plan", "internal/ref", "internal/rule", "internal/seal"},
		// Facts of HTTP that the adapters share.
		"internal/retryafter": {},
		// What joins the adapters decides nothing.
		"internal/session": {"internal/acr", "internal/agent", "internal/approval", "internal/azdo", "internal/egress", "internal/ref", "internal/transfer"},
		// The command parses flags, and has package run do the rest.
		"cmd/acrpromote": {"internal/agent", "internal/outcome", "internal/run", "internal/topology"},
	}
	for pkg, may := range allowed {
		if _, there := shipped[pkg]; !there {
			t.Errorf("%s is not there", pkg)
		}
		for _, imported := range shipped[pkg] {
			if own, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(may, own) {
				t.Errorf("%s may not import %s", pkg, own)
			}
		}
	}
}

// TestSimulatorsAreNotShipped: else the shipped binary could be made to trust
// a fake.
func TestSimulatorsAreNotShipped(t *testing.T) {
	shipped, _ := imports(t)
	for simulator, users := range map[string][]string{
		"internal/sim":       {"internal/fakeagent", "cmd/demo"},
		"internal/fakeagent": {"cmd/demo"},
		"internal/testca":    {"internal/sim", "cmd/demo", "cmd/bench"},
		"internal/testimage": {"cmd/demo", "cmd/bench"},
	} {
		if _, there := shipped[simulator]; !there {
			t.Errorf("%s is not there", simulator)
		}
		for pkg, imported := range shipped {
			if slices.Contains(imported, module+simulator) && !slices.Contains(users, pkg) {
				t.Errorf("%s imports %s, which is for tests, the demo and the benchmark", pkg, simulator)
			}
		}
	}
}

// TestOnlyEgressReachesTheNetwork: the others get their clients from it.
func TestOnlyEgressReachesTheNetwork(t *testing.T) {
	shipped, _ := imports(t)
	for pkg := range program(shipped) {
		for _, i := range shipped[pkg] {
			if pkg != "internal/egress" && (i == "net" || i == "crypto/tls" || i == "golang.org/x/net/http2") {
				t.Errorf("%s imports %s: only egress dials", pkg, i)
			}
		}
	}
}

// TestOnlyTheAgentPackageReadsTheEnvironment looks at the names used, since
// package os is also needed for files.
func TestOnlyTheAgentPackageReadsTheEnvironment(t *testing.T) {
	shipped, _ := imports(t)
	part := program(shipped)
	for _, use := range uses(t, []string{"os.Getenv", "os.LookupEnv", "os.Environ", "http.DefaultClient", "http.DefaultTransport", "http.Get("}) {
		pkg := path.Dir(use.file)
		switch {
		case !part[pkg]:
		case strings.HasPrefix(use.name, "os.") && pkg == "internal/agent":
		case use.name == "os.Environ" && use.file == "cmd/acrpromote/main.go":
			// main hands the environment to agent.Read.
		default:
			t.Errorf("%s uses %s", use.file, use.name)
		}
	}
}

// TestOnlyAgentAndReportWriteToStandardOutput: main may name the stream to
// hand it to them.
func TestOnlyAgentAndReportWriteToStandardOutput(t *testing.T) {
	shipped, _ := imports(t)
	part := program(shipped)
	for _, use := range uses(t, []string{"os.Stdout", "fmt.Print(", "fmt.Println(", "fmt.Printf(", "println("}) {
		pkg := path.Dir(use.file)
		switch {
		case !part[pkg], pkg == "internal/agent", pkg == "internal/report":
		case use.name == "os.Stdout" && use.file == "cmd/acrpromote/main.go":
		default:
			t.Errorf("%s uses %s", use.file, use.name)
		}
	}
}
