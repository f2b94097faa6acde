package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unguarded are the goroutines that have no run to fail, by file.
var unguarded = map[string]string{
	"cmd/acrpromote/main.go":  "it ends the program when the launcher is gone",
	"internal/egress/dial.go": "connections are dialled for whichever request comes first",
}

// TestEveryGoroutineIsGuarded: a panic ends a whole program, so every goroutine of
// the shipped one first defers defect.Catch.
func TestEveryGoroutineIsGuarded(t *testing.T) {
	shipped, _ := imports(t)
	found := 0
	for pkg := range program(shipped) {
		files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name := filepath.ToSlash(strings.TrimPrefix(file, ".."+string(os.PathSeparator)))
			if strings.HasSuffix(file, "_test.go") || unguarded[name] != "" || strings.Contains(file, "maxrss") {
				continue
			}
			fset := token.NewFileSet()
			parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				body, goroutine := goroutineOf(n)
				if !goroutine {
					return true
				}
				found++
				if body == nil || !guarded(body) {
					t.Errorf("%s: the goroutine does not begin with defer defect.Catch(ctx)", fset.Position(n.Pos()))
				}
				return true
			})
		}
	}
	if found < 20 {
		t.Errorf("only %d goroutines were found: the search is broken", found)
	}
}

// goroutineOf returns the body of the function that a go statement, or a call of
// a method Go, starts; nil for a function that is not written there.
func goroutineOf(n ast.Node) (*ast.BlockStmt, bool) {
	var started ast.Expr
	switch n := n.(type) {
	case *ast.GoStmt:
		started = n.Call.Fun
	case *ast.CallExpr:
		method, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || method.Sel.Name != "Go" || len(n.Args) != 1 {
			return nil, false
		}
		started = n.Args[0]
	default:
		return nil, false
	}
	if function, ok := started.(*ast.FuncLit); ok {
		return function.Body, true
	}
	return nil, true
}

func guarded(body *ast.BlockStmt) bool {
	for _, statement := range body.List {
		deferred, ok := statement.(*ast.DeferStmt)
		if !ok {
			return false
		}
		if method, ok := deferred.Call.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "Catch" {
			return true
		}
	}
	return false
}
