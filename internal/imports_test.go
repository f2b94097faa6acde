// Package internal_test checks the rules of the repository: which package may
// import which, and that docs and examples match the program.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "acrpromote/"

// imports returns the imports of each package of the module, separately for
// shipped files and tests.
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

// program returns the packages of the shipped binary.
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

// pure has the packages that decide and do no I/O, with the packages of the module
// that each may import.
var pure = map[string][]string{
	"internal/collection":  {"internal/ref"},
	"internal/explain":     {},
	"internal/expression":  {},
	"internal/ocierror":    {"internal/sanitize"},
	"internal/htmlreport":  {"internal/manual", "internal/packed", "internal/report"},
	"internal/junit":       {"internal/doctor", "internal/manual", "internal/outcome", "internal/report", "internal/sanitize"},
	"internal/sarif":       {"internal/doctor", "internal/manual", "internal/outcome", "internal/report", "internal/rule", "internal/sanitize"},
	"internal/ref":         {},
	"internal/rule":        {},
	"internal/sorting":     {},
	"internal/outcome":     {},
	"internal/recall":      {"internal/receipt", "internal/ref", "internal/rule", "internal/strictjson", "internal/topology"},
	"internal/refusal":     {},
	"internal/seal":        {"internal/ref", "internal/strictjson"},
	"internal/strictjson":  {},
	"internal/doctor":      {"internal/ref", "internal/rule", "internal/sorting"},
	"internal/trace":       {"internal/receipt", "internal/sanitize", "internal/sorting"},
	"internal/receipt":     {"internal/approval", "internal/ref", "internal/rule", "internal/strictjson"},
	"internal/approval":    {"internal/levenshtein", "internal/rule", "internal/sanitize"},
	"internal/sanitize":    {},
	"internal/topology":    {"internal/expression", "internal/levenshtein", "internal/packed", "internal/ref", "internal/refusal", "internal/rule"},
	"internal/drift":       {"internal/receipt", "internal/ref", "internal/rule", "internal/topology"},
	"internal/levenshtein": {},
	"internal/manual":      {"docs", "internal/packed"},
	"internal/packed":      {},
	"internal/referrer":    {},
	"internal/sbom":        {"internal/ref", "internal/sanitize"},
	"internal/markup":      {"internal/sanitize"},
	"internal/card":        {"internal/imageinfo", "internal/markup", "internal/sanitize", "internal/sbom"},
	"internal/imageinfo":   {"internal/ref", "internal/sanitize"},
	"internal/plan":        {"internal/approval", "internal/explain", "internal/recall", "internal/ref", "internal/referrer", "internal/rule", "internal/seal", "internal/topology"},
}

// everywhere has the packages that any package may import.
var everywhere = []string{"internal/sorting"}

func TestPureCoreDoesNoInputOrOutput(t *testing.T) {
	shipped, _ := imports(t)
	libraries := map[string][]string{
		"internal/topology": {"go.yaml.in/yaml/v3", "github.com/Masterminds/semver/v3"},
		// These only parse.
		"internal/sanitize":   {"net/url"},
		"internal/sarif":      {"net/url"},
		"internal/collection": {"net/url"},
		"internal/imageinfo":  {"github.com/Masterminds/semver/v3"},
		"internal/sbom":       {"github.com/Masterminds/semver/v3", "net/url"},
		"internal/ocierror":   {"net/netip"},
		"internal/ref":        {"net/netip"},
		"internal/doctor":     {"net/netip"},
	}
	doing := []string{"net", "os", "io/fs", "syscall", "log", "testing"}
	for pkg, may := range pure {
		if _, there := shipped[pkg]; !there {
			t.Errorf("%s does not exist", pkg)
		}
		for _, imported := range shipped[pkg] {
			if own, ok := strings.CutPrefix(imported, module); ok {
				if !slices.Contains(may, own) && !slices.Contains(everywhere, own) {
					t.Errorf("%s is pure and must not import %s", pkg, own)
				}
				continue
			}
			if slices.Contains(libraries[pkg], imported) {
				continue
			}
			if strings.Contains(imported, ".") {
				t.Errorf("%s is pure and must not import %s", pkg, imported)
			}
			for _, d := range doing {
				if imported == d || strings.HasPrefix(imported, d+"/") {
					t.Errorf("%s is pure and must not import %s", pkg, imported)
				}
			}
		}
	}
}

// TestPurePackagesAreTestedWithoutRaceDetector checks the list in build.sh.
func TestPurePackagesAreTestedWithoutRaceDetector(t *testing.T) {
	script, err := os.ReadFile("../build.sh")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pkg := range slices.Sorted(maps.Keys(pure)) {
		names = append(names, strings.TrimPrefix(pkg, "internal/"))
	}
	if list := "./internal/{" + strings.Join(names, ",") + "}"; !strings.Contains(string(script), list) {
		t.Errorf("the list of packages in build.sh is not %s", list)
	}
}

func TestAdaptersDoNotImportEachOther(t *testing.T) {
	shipped, _ := imports(t)
	allowed := map[string][]string{
		"internal/agent":     {"internal/expression", "internal/levenshtein", "internal/manual", "internal/outcome", "internal/ref", "internal/rule", "internal/sanitize"},
		"internal/egress":    {"internal/explain", "internal/ref", "internal/regularfile", "internal/retryafter", "internal/sanitize"},
		"internal/acr":       {"internal/collection", "internal/explain", "internal/keyed", "internal/ocierror", "internal/ref", "internal/refusal", "internal/sanitize"},
		"internal/keyed":     {"internal/defect"},
		"internal/transfer":  {"internal/defect", "internal/explain", "internal/keyed", "internal/ocierror", "internal/ref", "internal/refusal", "internal/retryafter", "internal/sanitize"},
		"internal/arm":       {"internal/doctor", "internal/explain", "internal/sanitize"},
		"internal/vault":     {"internal/explain", "internal/ref", "internal/refusal", "internal/regularfile", "internal/sanitize"},
		"internal/azdo":      {"internal/approval", "internal/collection", "internal/defect", "internal/doctor", "internal/levenshtein", "internal/refusal", "internal/rule", "internal/sanitize"},
		"internal/report":    {"internal/card", "internal/doctor", "internal/drift", "internal/trace", "internal/imageinfo", "internal/manual", "internal/markup", "internal/outcome", "internal/rule", "internal/sanitize", "internal/strictjson"},
		"internal/sim":       {"internal/testca"},
		"internal/fakeagent": {"internal/sim"},
		"internal/testca":    {},
		"internal/testimage": {},
		"internal/promote":   {"internal/defect", "internal/plan", "internal/recall", "internal/ref", "internal/rule", "internal/seal"},
		"internal/defect":    {},
		// Helpers that the adapters share.
		"internal/retryafter":  {},
		"internal/regularfile": {},
		// Packages that connect the adapters decide nothing.
		"internal/session": {"internal/acr", "internal/agent", "internal/approval", "internal/arm", "internal/azdo", "internal/collection", "internal/egress", "internal/explain", "internal/ref", "internal/transfer", "internal/vault"},
		// The command parses flags; package run does the rest.
		"cmd/acrpromote": {"internal/agent", "internal/htmlreport", "internal/junit", "internal/manual", "internal/outcome", "internal/regularfile", "internal/report", "internal/run", "internal/sarif", "internal/topology"},
		// The live check asks Azure itself, with clients of its own.
		"cmd/livecheck": {"internal/collection", "internal/sanitize"},
	}
	for pkg, may := range allowed {
		if _, there := shipped[pkg]; !there {
			t.Errorf("%s does not exist", pkg)
		}
		for _, imported := range shipped[pkg] {
			if own, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(may, own) && !slices.Contains(everywhere, own) {
				t.Errorf("%s must not import %s", pkg, own)
			}
		}
	}
}

// TestSimulatorsAreNotShipped checks that the shipped binary contains no simulator
// that it could be made to trust.
func TestSimulatorsAreNotShipped(t *testing.T) {
	shipped, _ := imports(t)
	for simulator, users := range map[string][]string{
		"internal/sim":         {"internal/fakeagent", "cmd/demo"},
		"internal/fakeagent":   {"cmd/demo"},
		"internal/testca":      {"internal/sim", "cmd/demo", "cmd/bench"},
		"internal/testimage":   {"cmd/demo", "cmd/bench", "cmd/interop"},
		"internal/schemacheck": {},
	} {
		if _, there := shipped[simulator]; !there {
			t.Errorf("%s does not exist", simulator)
		}
		for pkg, imported := range shipped {
			if slices.Contains(imported, module+simulator) && !slices.Contains(users, pkg) {
				t.Errorf("%s imports %s, which is for tests, the demo and the benchmark", pkg, simulator)
			}
		}
	}
}

// TestOnlyEgressReachesTheNetwork checks that other packages get their clients
// from package egress.
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

// TestOnlyTheAgentPackageReadsTheEnvironment checks the names in use, because
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
			// main passes the environment to agent.Read.
		default:
			t.Errorf("%s uses %s", use.file, use.name)
		}
	}
}

// TestOnlyAgentAndReportWriteToStandardOutput allows main to pass the stream to
// them.
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
