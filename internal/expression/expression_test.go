package expression

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// texts joins the expressions as they are written.
func texts(found []Expression) string {
	var all []string
	for _, e := range found {
		all = append(all, e.Text)
	}
	return strings.Join(all, " and ")
}

func TestFind(t *testing.T) {
	for text, want := range map[string]string{
		"$(tag)": "$(tag)",
		"prod.azurecr.io/shop/cart:$(Build.BuildId)":   "$(Build.BuildId)",
		"a$(my-tag)b$(other)$(my-tag)":                 "$(my-tag) and $(other)",
		"$(stageDependencies.B.j.outputs['s.digest'])": "$(stageDependencies.B.j.outputs['s.digest'])",
		"x:${{ parameters.tag }}":                      "${{ parameters.tag }}",
		"${{parameters.a}}${{parameters.b}}$(c)":       "${{parameters.a}} and ${{parameters.b}} and $(c)",
		"$[variables.tag]":                             "$[variables.tag]",
		"$[ dependencies.A.outputs['s.t'] ]":           "$[ dependencies.A.outputs['s.t'] ]",
		"$[counter('a', 1)]":                           "$[counter('a', 1)]",
		"$$(tag)":                                      "$(tag)",
		"$(a\n) $(tag)":                                "$(tag)",
		"":                                             "", "tag": "", "$": "", "$tag": "", "${tag}": "", "$(": "", "$()": "", "$(tag": "", "$( tag )": "", "${{ open": "", "$[x]": "", "$[": "", "(tag)": "", `[Project]\Group`: "", "{tag}": "",
	} {
		if got := texts(Find(text)); got != want {
			t.Errorf("Find(%q) = %q; want %q", text, got, want)
		}
	}
}

// TestFindInPattern checks that regular expressions which can match are no
// expressions.
func TestFindInPattern(t *testing.T) {
	for pattern, want := range map[string]string{
		"$(ticket)": "$(ticket)", `^CHG\d+ $(Build.BuildId)`: "$(Build.BuildId)", "${{ parameters.pattern }}": "${{ parameters.pattern }}", "$[variables.pattern]": "$[variables.pattern]",
		`CHG\d+$`: "", `(a|b)$`: "", `a$|(b)`: "", `(?m)a$(\n|$)`: "", `(?m)a$(\s*)b`: "", `[$]{2}`: "", `\$[0-9]+`: "", `$(1|2)`: "",
	} {
		if got := texts(FindInPattern(pattern)); got != want {
			t.Errorf("FindInPattern(%q) = %q; want %q", pattern, got, want)
		}
	}
}

func TestMessages(t *testing.T) {
	for text, want := range map[string]string{
		"$(tag)":                  "the variable tag is not set, so $(tag) was not replaced",
		"${{ parameters.tag }}":   "the template expression ${{ parameters.tag }} was not expanded",
		"$[ variables['a.tag'] ]": "the runtime expression $[ variables['a.tag'] ] was not expanded",
	} {
		e := Find(text)[0]
		if reason, remedy := e.NotExpanded(); reason != want || !strings.HasSuffix(remedy, ".") {
			t.Errorf("%s: %q, %q", text, reason, remedy)
		}
		if reason, remedy := e.NotAllowed("a flow file"); !strings.HasSuffix(reason, text+" in a flow file") || remedy != "Write the value itself." {
			t.Errorf("%s: %q, %q", text, reason, remedy)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, s := range []string{"$(a)", "${{ a }}", "$[variables.a]", "$(" + strings.Repeat("é", 100) + ")", "\xff$(\xff)"} {
		f.Add(s)
	}
	some := regexp.MustCompile(`\$\(|\$\{\{|\$\[`)
	f.Fuzz(func(t *testing.T, s string) {
		found := Find(s)
		if len(found) < len(FindInPattern(s)) && len(found) < most {
			t.Errorf("only the pattern %q has some of the expressions", s)
		}
		for _, e := range found {
			reason, _ := e.NotExpanded()
			if !some.MatchString(s) || len(e.Text) > 90 || len(reason) > 300 || utf8.ValidString(s) && !utf8.ValidString(reason) {
				t.Errorf("Find(%q): %+v: %s", s, e, reason)
			}
		}
	})
}
