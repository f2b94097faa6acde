package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Signs of a grammar of digests, hosts, ports, repositories or tags: the name of a
// function, a regular expression, the algorithm as a prefix, an alphabet of names,
// or the highest port.
var (
	checkName = regexp.MustCompile(`^(?i:is|valid|check|matches)(Any|Valid|Bare)?(Digest|Tag|Repository|Repo|Component|Host|HostName|Port|Label)$`)
	pattern   = regexp.MustCompile(`\[(?:a-f0-9|0-9a-f)\]\{64\}|\{0,61\}|\(\?:\\\.\|_\|__\||\{0,127\}\$$|\[1-9\]\[0-9\]\{0,4\}`)
	alphabet  = regexp.MustCompile(`^(?:abcdefghijklmnopqrstuvwxyz)(?:ABCDEFGHIJKLMNOPQRSTUVWXYZ)?0123456789[._/:-]*$`)
)

// grammarIn returns the names and literals of a file that look like a grammar.
func grammarIn(file *ast.File) []string {
	var found []string
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.FuncDecl:
			if checkName.MatchString(n.Name.Name) {
				found = append(found, n.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				if checkName.MatchString(name.Name) {
					found = append(found, name.Name)
				}
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if name, ok := left.(*ast.Ident); ok && checkName.MatchString(name.Name) {
					found = append(found, name.Name)
				}
			}
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "math" && n.Sel.Name == "MaxUint16" {
				found = append(found, "math.MaxUint16")
			}
		case *ast.BasicLit:
			text := n.Value
			if n.Kind == token.STRING {
				text, _ = strconv.Unquote(n.Value)
			}
			switch {
			case n.Kind == token.INT && (text == "65535" || text == "65536"),
				n.Kind == token.STRING && (text == "sha256:" || text == "sha256-" || pattern.MatchString(text) || alphabet.MatchString(text)):
				found = append(found, n.Value)
			}
		}
		return true
	})
	return found
}

// TestOnlyRefHasGrammar checks that only package ref decides what is a valid host,
// port, repository, tag or digest, so that packages cannot differ.
func TestOnlyRefHasGrammar(t *testing.T) {
	shipped, _ := imports(t)
	part := program(shipped)
	inRef := 0
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && file != "..") {
			return filepath.SkipDir
		}
		relative, err := filepath.Rel("..", file)
		name := filepath.ToSlash(relative)
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || !part[path.Dir(name)] {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, found := range grammarIn(parsed) {
			if path.Dir(name) == "internal/ref" {
				inRef++
			} else {
				t.Errorf("%s has %s: hosts, ports, repositories, tags and digests are checked by internal/ref", name, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if inRef < 5 {
		t.Errorf("only %d are found in internal/ref: the search is broken", inRef)
	}
}

func TestGrammarIsFound(t *testing.T) {
	for source, want := range map[string]bool{
		`func isDigest(s string) bool { return true }`:                                    true,
		`func validRepository(s string) bool { return true }`:                             true,
		`func (t tags) isTag(s string) bool { return true }`:                              true,
		`func IsHost(s string) bool { return true }`:                                      true,
		`func checkPort(s string) error { return nil }`:                                   true,
		`var isLabel = func(s string) bool { return true }`:                               true,
		`func f() { isDigest := func(s string) bool { return true }; _ = isDigest }`:      true,
		"var digest = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)":                        true,
		`var digest = "[0-9a-f]{64}"`:                                                     true,
		"var host = `[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?`":                               true,
		"const component = `[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*`":                      true,
		"var tag = `^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`":                                 true,
		"var port = `^[1-9][0-9]{0,4}$`":                                                  true,
		`func f(s string) { strings.CutPrefix(s, "sha256:") }`:                            true,
		`func f(s string) string { return "sha256-" + s }`:                                true,
		`func f(s string) { strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") }`: true,
		`func f(n int) bool { return n > 65535 }`:                                         true,
		`func f(n int) bool { return n <= math.MaxUint16 }`:                               true,
		`func f() string { return "write sha256: and 64 hexadecimal digits" }`:            false,
		`func tagOf(s string) string { return s }`:                                        false,
		`func f(s string) bool { return ref.IsDigest(s) }`:                                false,
		`func f(s string) { strings.Cut(s, "#sha256:") }`:                                 false,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if found := grammarIn(file); (len(found) > 0) != want {
			t.Errorf("%s: found %q", source, found)
		}
	}
}
