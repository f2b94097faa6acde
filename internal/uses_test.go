package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

type use struct{ file, name string }

// uses returns the uses of the given selectors and calls in the syntax trees of
// shipped files. A name that ends with "(" is a call; a name without a dot is a
// builtin function.
func uses(t *testing.T, names []string) []use {
	t.Helper()
	wanted := map[string]string{}
	for _, n := range names {
		wanted[strings.TrimSuffix(n, "(")] = n
	}
	var found []use
	root := ".."
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			ast.Inspect(parsed, func(node ast.Node) bool {
				name := ""
				switch n := node.(type) {
				case *ast.SelectorExpr:
					if pkg, ok := n.X.(*ast.Ident); ok {
						name = pkg.Name + "." + n.Sel.Name
					}
				case *ast.CallExpr:
					if builtin, ok := n.Fun.(*ast.Ident); ok {
						name = builtin.Name
					}
				}
				if as, ok := wanted[name]; ok {
					found = append(found, use{filepath.ToSlash(relative), as})
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// TestSortingIsCompiledOnce: each type that is sorted by slices.SortFunc adds 12 kB
// to the program.
func TestSortingIsCompiledOnce(t *testing.T) {
	shipped, _ := imports(t)
	part := program(shipped)
	for _, u := range uses(t, []string{"slices.SortFunc", "slices.SortStableFunc", "slices.SortedFunc", "slices.SortedStableFunc"}) {
		if part[path.Dir(u.file)] {
			t.Errorf("%s: use package sorting in place of %s", u.file, u.name)
		}
	}
}
