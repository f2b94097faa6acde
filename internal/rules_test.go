package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// function is a function or method of the module, with its uses of rules.
type function struct {
	name    string // as in a stack trace: plan.Make, approval.(*judge).bind
	file    string
	imports []string
	calls   []string // names of the functions that it calls, without packages
	chooses bool     // it has a condition
	refuses []string // constants of package rule with which it refuses
	uses    []string // all constants of package rule that it uses
}

// functions parses the shipped files of the packages, given by folder.
func functions(t *testing.T, packages []string, constants map[string]bool) map[string]*function {
	t.Helper()
	found := map[string]*function{}
	for _, pkg := range packages {
		files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pkg), "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", pkg, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			var imported []string
			for _, spec := range parsed.Imports {
				imported = append(imported, strings.Trim(spec.Path.Value, `"`))
			}
			in := pkg + "/" + filepath.Base(file)
			outside := &function{name: in, file: in, imports: imported}
			for _, declared := range parsed.Decls {
				f := outside
				if d, ok := declared.(*ast.FuncDecl); ok {
					f = &function{name: functionName(path.Base(pkg), d), file: in, imports: imported}
				}
				f.read(declared, constants)
				found[f.name] = f
			}
		}
	}
	return found
}

// functionName returns the name of a function as in a stack trace.
func functionName(pkg string, d *ast.FuncDecl) string {
	if d.Recv == nil {
		return pkg + "." + d.Name.Name
	}
	receiver := d.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		if of, ok := star.X.(*ast.Ident); ok {
			return pkg + ".(*" + of.Name + ")." + d.Name.Name
		}
	}
	if of, ok := receiver.(*ast.Ident); ok {
		return pkg + "." + of.Name + "." + d.Name.Name
	}
	return pkg + ".?." + d.Name.Name
}

// read adds the calls of a declaration and its uses of package rule.
func (f *function) read(declared ast.Decl, constants map[string]bool) {
	var stack []ast.Node
	ast.Inspect(declared, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		switch n := n.(type) {
		case *ast.IfStmt, *ast.SwitchStmt:
			f.chooses = true
		case *ast.CallExpr:
			f.calls = append(f.calls, called(n))
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); !ok || pkg.Name != "rule" || !constants[n.Sel.Name] {
				break
			}
			f.uses = append(f.uses, n.Sel.Name)
			if refuses(stack) {
				f.refuses = append(f.refuses, n.Sel.Name)
			}
		}
		return true
	})
}

func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// refuses reports whether the constant at the end of the stack is part of a
// refusal, not of a report that a rule is met or pending, or of a comparison.
func refuses(stack []ast.Node) bool {
	for i := len(stack) - 2; i >= 0; i-- {
		switch n := stack[i].(type) {
		case *ast.CaseClause:
			return !slices.ContainsFunc(n.List, func(e ast.Expr) bool { return e == stack[i+1] })
		case *ast.BinaryExpr:
			return false
		case *ast.CallExpr:
			return !slices.Contains([]string{"met", "inForce", "notCounted"}, called(n))
		case *ast.CompositeLit:
			if n.Type == nil {
				continue
			}
			of := n.Type
			if list, ok := of.(*ast.ArrayType); ok {
				of = list.Elt
			}
			selected, ok := of.(*ast.SelectorExpr)
			return !ok || selected.Sel.Name != "Outcome"
		}
	}
	return true
}

// declaredRule is a constant of package rule with its comment.
type declaredRule struct {
	name     string
	decided  []string // the functions that decide it
	unread   []string // those that refuse because reading failed
	comments string
}

var (
	decidedBy = regexp.MustCompile(`Decided by: ([^:]+)\.(?:\n|$)`)
	unreadBy  = regexp.MustCompile(`Where reading failed: ([^:]+)\.(?:\n|$)`)
)

func declaredRules(t *testing.T) []declaredRule {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("rule", "rule.go"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), "rule.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var rules []declaredRule
	for _, d := range parsed.Decls {
		constants, ok := d.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			value := spec.(*ast.ValueSpec)
			r := declaredRule{name: value.Names[0].Name, comments: value.Doc.Text()}
			names := func(pattern *regexp.Regexp) []string {
				if found := pattern.FindStringSubmatch(r.comments); found != nil {
					return strings.Split(strings.Join(strings.Fields(found[1]), " "), ", ")
				}
				return nil
			}
			r.decided, r.unread = names(decidedBy), names(unreadBy)
			rules = append(rules, r)
		}
	}
	if len(rules) < 25 {
		t.Fatalf("only %d rules were found: the search is broken", len(rules))
	}
	return rules
}

func constantsOf(rules []declaredRule) map[string]bool {
	constants := map[string]bool{}
	for _, r := range rules {
		constants[r.name] = true
	}
	return constants
}

// decide returns the functions that decide a rule: those that have a condition and
// refuse with the rule, either directly or through a function of their package
// that only makes the refusal.
func decide(rule string, found map[string]*function) map[string]*function {
	deciding := map[string]*function{}
	for _, f := range found {
		switch {
		case !slices.Contains(f.refuses, rule):
		case f.chooses:
			deciding[f.name] = f
		default:
			short := f.name[strings.LastIndexByte(f.name, '.')+1:]
			for _, caller := range found {
				if path.Dir(caller.file) == path.Dir(f.file) && slices.Contains(caller.calls, short) {
					deciding[caller.name] = caller
				}
			}
		}
	}
	return deciding
}

// TestRulesNameWhereTheyAreDecided checks that the comment of each rule lists all
// functions that decide it, and that their files have no network code.
func TestRulesNameWhereTheyAreDecided(t *testing.T) {
	rules := declaredRules(t)
	var packages []string
	for pkg := range pure {
		if pkg != "internal/rule" {
			packages = append(packages, pkg)
		}
	}
	found := functions(t, packages, constantsOf(rules))
	for _, r := range rules {
		if !strings.HasPrefix(r.comments, r.name+": ") {
			t.Errorf("%s: the comment does not begin with its name", r.name)
		}
		if len(r.decided) == 0 {
			t.Errorf("%s: the comment does not say which functions decide it", r.name)
		}
		deciding := decide(r.name, found)
		for _, name := range r.decided {
			f := deciding[name]
			if f == nil {
				t.Errorf("%s: no function %s of a pure package decides it", r.name, name)
				continue
			}
			for _, i := range f.imports {
				if own, ok := strings.CutPrefix(i, module); i == "net" || strings.HasPrefix(i, "net/") || ok && pure[own] == nil {
					t.Errorf("%s: %s, which has %s, imports %s", r.name, f.file, name, i)
				}
			}
		}
		for name, f := range deciding {
			if !slices.Contains(r.decided, name) {
				t.Errorf("%s: %s, in %s, decides it, and the comment does not name it", r.name, name, f.file)
			}
		}
	}
}

// TestOnlyPurePackagesDecide checks that other packages use a rule only for
// records that could not be read, except for package report, which shows rules.
func TestOnlyPurePackagesDecide(t *testing.T) {
	rules := declaredRules(t)
	shipped, _ := imports(t)
	var packages []string
	for pkg, imported := range shipped {
		if pure[pkg] == nil && pkg != "internal/report" && slices.Contains(imported, module+"internal/rule") {
			packages = append(packages, pkg)
		}
	}
	if !slices.Contains(packages, "internal/azdo") {
		t.Fatalf("package azdo is not among %v: the search is broken", packages)
	}
	found := functions(t, packages, constantsOf(rules))
	named := map[string]map[string]bool{} // by function
	for _, r := range rules {
		if len(r.unread) > 0 && r.name != "ApprovalUnreadable" && r.name != "FlowUnverified" {
			t.Errorf("%s: it is not a rule about what could not be read", r.name)
		}
		for _, name := range r.unread {
			if f := found[name]; f == nil || !slices.Contains(f.uses, r.name) {
				t.Errorf("%s: it is not used by %s", r.name, name)
			}
			if named[name] == nil {
				named[name] = map[string]bool{}
			}
			named[name][r.name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		for _, constant := range found[name].uses {
			if !named[name][constant] {
				t.Errorf("%s, in %s, uses rule.%s: only pure packages decide", name, found[name].file, constant)
			}
		}
	}
}
