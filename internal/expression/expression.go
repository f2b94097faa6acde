// Package expression finds expressions of Azure Pipelines that were not expanded:
// $(name), ${{ … }} and $[ … ]. Azure Pipelines leaves an expression as it is if
// the variable is not set, or if expressions of its kind are not expanded there.
package expression

import (
	"fmt"
	"slices"
	"strings"
)

// Expression is an expression in a text.
type Expression struct {
	// Text is the expression as it is written, shortened if it is long.
	Text string
	// variable is the name in $(name), and kind what any other expression is called.
	variable, kind string
}

// Find returns the expressions in a text, each once, at most the first few.
func Find(text string) []Expression { return find(text, isName) }

// FindInPattern returns the expressions in a regular expression: only those that a
// pattern which can match does not have.
func FindInPattern(text string) []Expression { return find(text, isPlainName) }

// most is how many expressions of a text are returned.
const most = 5

func find(text string, name func(string) bool) []Expression {
	var found []Expression
	for len(found) < most {
		at := strings.IndexByte(text, '$')
		if at < 0 {
			break
		}
		e, length := begin(text[at:], name)
		if length > 0 && !slices.Contains(found, e) {
			found = append(found, e)
		}
		text = text[at+max(length, 1):]
	}
	return found
}

// begin returns the expression that a text begins with, and its length; 0 if there
// is none.
func begin(text string, name func(string) bool) (Expression, int) {
	switch {
	case strings.HasPrefix(text, "$("):
		// The name of a variable has no parentheses.
		if inner, _, closed := strings.Cut(text[2:], ")"); closed && name(inner) {
			n := len(inner) + 3
			return Expression{Text: shorten(text[:n]), variable: inner}, n
		}
	case strings.HasPrefix(text, "${{"):
		if inner, _, closed := strings.Cut(text, "}}"); closed {
			return Expression{Text: shorten(inner + "}}"), kind: "template expression"}, len(inner) + 2
		}
	case strings.HasPrefix(text, "$["):
		// It takes up the whole value, and can have brackets of its own.
		if inner, _, closed := strings.Cut(text, "]"); closed && isRuntime(inner[2:]) {
			n := strings.LastIndexByte(text, ']') + 1
			return Expression{Text: shorten(text[:n]), kind: "runtime expression"}, n
		}
	}
	return Expression{}, 0
}

// isName reports whether s can be the name of a variable, or what is written in
// place of one: dependencies.Build.outputs['seal.digest'].
func isName(s string) bool {
	return s != "" && s == strings.TrimSpace(s) && !strings.ContainsAny(s, "($\r\n")
}

// isPlainName reports whether s has only letters, digits, '_', '.' and '-', and
// begins with a letter or '_'.
func isPlainName(s string) bool {
	if s == "" || s[0] >= '0' && s[0] <= '9' || s[0] == '.' || s[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.-", r)
	})
}

// isRuntime reports whether the text in $[ ] refers to something that a runtime
// expression can read, or calls a function.
func isRuntime(inner string) bool {
	inner = strings.ToLower(inner)
	for _, word := range []string{"variables", "dependencies", "pipeline.", "resources.", "("} {
		if strings.Contains(inner, word) {
			return true
		}
	}
	return false
}

// NotExpanded returns why an input with the expression is wrong, a clause, and what
// to do about it.
func (e Expression) NotExpanded() (reason, remedy string) {
	switch e.kind {
	case "":
		return fmt.Sprintf("the variable %s is not set, so %s was not replaced", shorten(e.variable), e.Text),
			"Set the variable, or correct its name. A variable that another job or stage sets has to be passed on by dependencies or stageDependencies."
	case "template expression":
		return fmt.Sprintf("the %s %s was not expanded", e.kind, e.Text),
			"Write template expressions in the YAML file of the pipeline or of a template. They are not expanded in variables of the web interface, in scripts and in classic releases."
	}
	return fmt.Sprintf("the %s %s was not expanded", e.kind, e.Text),
		"Write a runtime expression as the whole value of a variable, and use the variable here as $(name)."
}

// NotAllowed returns why a file that Azure Pipelines does not read cannot have the
// expression, a clause, and what to do about it.
func (e Expression) NotAllowed(file string) (reason, remedy string) {
	what := "variable"
	if e.kind != "" {
		what = e.kind
	}
	return fmt.Sprintf("Azure Pipelines does not replace the %s %s in %s", what, e.Text, file), "Write the value itself."
}

// shorten bounds a text from outside.
func shorten(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
