package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const sound = `version: 1
trust: [dev, production]
registries:
  prod: {host: prod.azurecr.io, trust: production, immutable: true}
  dev: {host: dev.azurecr.io, trust: dev}
flows:
  released:
    from: prod
    to: [dev]
    repositories: ["shop/**"]
    tags: [">=1.0"]
    require:
      approval: {kind: manual, environment: Production}
      branches: [refs/heads/main]
`

// wrong is the sound file with one text exchanged for another, and the
// beginnings of what Parse says of it, all of it.
type wrong struct {
	name     string
	old, new string
	want     []string
	single   bool // a schema can see it
}

func (w wrong) file() string {
	if w.old == "" {
		return w.new
	}
	if strings.Count(sound, w.old) != 1 {
		panic("not once in the sound file: " + w.old)
	}
	return strings.Replace(sound, w.old, w.new, 1)
}

const approvalLine = "      approval: {kind: manual, environment: Production}\n"

var mistakes = []wrong{
	{"nothing", "", " \n", []string{"1:1: The file is empty."}, false},
	{"only a comment", "", "# rules\n", []string{"1:1: The file is empty."}, false},
	{"a list", "", "- a\n", []string{"1:1: Here is a list, and a mapping is wanted."}, false},
	{"text", "", "hello\n", []string{`1:1: Here is the text "hello", and a mapping is wanted.`}, false},
	{"no syntax", "trust: [dev, production]", "trust: [dev, production", []string{"2:1: This is no YAML: "}, false},
	{"a range without quotes", `tags: [">=1.0"]`, `tags: [>=1.0]`, []string{"11:5: This is no YAML: "}, false},
	{"two documents", "flows:\n", "---\nflows:\n", []string{"6:1: A second document begins here.", "1:1: The key flows is missing."}, false},
	{"unknown key", "registries:\n", "registeries:\n", []string{`1:1: The key registries is missing.`, `3:1: There is no key "registeries". Did you mean registries?`}, true},
	{"unknown key far from any", "    from: prod\n", "    from: prod\n    colour: red\n", []string{`9:5: There is no key "colour". The keys here are from, to, repositories,`}, true},
	{"key of another case", "    from: prod\n", "    from: prod\n    OnPartial: warn\n", []string{`9:5: There is no key "OnPartial". Did you mean onPartial?`}, true},
	{"duplicate key", "    from: prod\n", "    from: prod\n    from: dev\n", []string{`9:5: The key "from" is here twice; it stands in line 8 too.`}, false},
	{"duplicate flow", "flows:\n", "flows:\n  released: {from: prod, to: [dev]}\n", []string{`8:3: The key "released" is here twice; it stands in line 7 too.`}, false},
	{"key that is a list", "    from: prod\n", "    from: prod\n    ? [a]\n    : b\n", []string{"9:7: Here is a list as a key."}, false},
	{"anchor", "from: prod", "from: &a prod", []string{"8:11: There is an anchor, &a."}, false},
	{"alias", "    to: [dev]", "    to: &t [dev]\n    teams: *t", []string{"9:9: There is an anchor, &t.", "10:12: There is an alias, *t."}, false},
	{"merge key", "    from: prod\n", "    from: prod\n    <<: {atomic: true}\n", []string{"9:5: There is a merge key, <<."}, false},
	{"tag", "from: prod", "from: !!str prod", []string{`8:11: There is a YAML tag, "!!str".`}, false},
	{"pattern without quotes", `["shop/**"]`, `[*]`, []string{"10:5: This is no YAML: "}, false},

	{"no version", "version: 1\n", "", []string{"1:1: The key version is missing."}, true},
	{"version 2", "version: 1", "version: 2", []string{`1:10: Version "2" of the flow file is not known.`}, true},
	{"version of a boolean", "version: 1", "version: true", []string{"1:10: Here is the boolean true, and an integer is wanted."}, true},
	{"trust is text", "trust: [dev, production]", "trust: dev", []string{"2:8: Here is the text \"dev\", and a list is wanted. Write [\"dev\"]."}, true},
	{"trust is a mapping", "trust: [dev, production]", "trust: {dev: 1}", []string{"2:8: Here is a mapping, and a list is wanted."}, true},
	{"trust twice", "trust: [dev, production]", "trust: [dev, production, dev]", []string{`2:26: "dev" is in this list twice.`}, true},
	{"trust is a number", "trust: [dev, production]", "trust: [dev, production, 3]", []string{`2:26: Here is the number 3, and text is wanted. Put it in quotes: "3".`}, true},
	{"trust is no name", "trust: [dev, production]", "trust: [dev, production, a/b]", []string{`2:26: "a/b" is no name.`}, true},
	{"empty trust", "trust: [dev, production]", "trust: []", []string{"2:8: The list is empty."}, true},
	{"no value", "trust: [dev, production]", "trust:", []string{"2:7: There is no value."}, true},
	{"no flows", sound[strings.Index(sound, "flows:"):], "flows: {}\n", []string{"6:8: The mapping is empty."}, true},
	{"registry of a bad name", "  dev: {host", "  \"d e\": {host", []string{`5:3: "d e" is no name.`, `9:10: There is no registry "dev".`}, true},
	{"registry without a host", "host: dev.azurecr.io, ", "", []string{"5:3: The key host is missing."}, true},
	{"unknown trust", "io, trust: dev}", "io, trust: prodution}", []string{`5:38: There is no trust "prodution". Did you mean production?`}, false},
	{"host with a scheme", "host: dev.azurecr.io", `host: "https://dev.azurecr.io"`, []string{`5:15: "https://dev.azurecr.io" is no registry's host name.`}, true},
	{"host with a path", "host: dev.azurecr.io", `host: dev.azurecr.io/shop`, []string{`5:15: "dev.azurecr.io/shop" is no registry's host name.`}, true},
	{"host alone", "host: dev.azurecr.io", `host: dev`, []string{`5:15: "dev" is no registry's host name. Write it in full`}, false},
	{"host with a great port", "host: dev.azurecr.io", `host: "dev.azurecr.io:99999"`, []string{`5:15: "dev.azurecr.io:99999" is not a valid registry host: the port must be 1 to 65535.`}, true},
	{"host with a port of zeros", "host: dev.azurecr.io", `host: "dev.azurecr.io:0443"`, []string{`5:15: "dev.azurecr.io:0443" is not a valid registry host: the port must be 1 to 65535. Write the port without leading zeros, or leave it out.`}, true},
	{"host with an empty port", "host: dev.azurecr.io", `host: "dev.azurecr.io:"`, []string{`5:15: "dev.azurecr.io:" is not a valid registry host: the port must be 1 to 65535.`}, true},
	{"one host twice", "host: dev.azurecr.io", `host: "PROD.azurecr.io:443"`, []string{"5:15: The registries prod and dev have one host, prod.azurecr.io."}, false},
	{"immutable is text", "immutable: true", "immutable: yes", []string{`4:63: Here is the text "yes", and true or false is wanted.`}, true},
	{"immutable in capitals", "immutable: true", "immutable: True", []string{"4:63: Here is the boolean True, and true or false is wanted."}, false},

	{"unknown source", "from: prod", "from: prd", []string{`8:11: There is no registry "prd". Did you mean prod?`}, false},
	{"unknown target", "to: [dev]", "to: [dev, wbe]", []string{`9:15: There is no registry "wbe".`}, false},
	{"no target", "    to: [dev]\n", "", []string{"7:3: The key to is missing."}, true},
	{"target is its source", "to: [dev]", "to: [dev, prod]", []string{"9:15: The target prod is the flow's source."}, false},
	{"target is its source, and as changes nothing", "to: [dev]", `to: [prod]
    as: {repository: "{repository}", tag: "{tag}"}`, []string{"9:10: The target prod is the flow's source."}, false},
	{"upward with no rules", "flows:\n", "flows:\n  up:\n    from: dev\n    to: [prod]\n", []string{"9:10: The flow leads up from dev (trust dev) to prod (trust production) and requires no approval."}, false},
	{"repository in capitals", `"shop/**"`, `Shop/cart`, []string{`10:20: "Shop/cart" has "S", which no repository has.`}, true},
	{"repository with a tag", `"shop/**"`, `"shop/cart:1"`, []string{`10:20: "shop/cart:1" names more than a repository.`}, true},
	{"repository ends with a slash", `"shop/**"`, `shop/`, []string{`10:20: "shop/" begins or ends with a slash`}, true},
	{"stars beside text", `"shop/**"`, `"shop/**x"`, []string{`10:20: "shop/**x" has ** beside other text.`}, false},
	{"stars twice", `"shop/**"`, `"shop/**/**"`, []string{`10:20: "shop/**/**" has ** twice in a row.`}, false},
	{"a segment of dots", `"shop/**"`, `"shop/../**"`, []string{`10:20: "shop/../**" has the segment ..`}, false},
	{"no repository", `"shop/**"`, `shop..cart`, []string{`10:20: "shop..cart" is no repository.`}, false},
	{"repositories empty", `["shop/**"]`, `[]`, []string{"10:19: The list is empty."}, true},
	{"tag is a number", `[">=1.0"]`, `[1.0]`, []string{`11:12: Here is the number 1.0, and text is wanted. Put it in quotes: "1.0".`}, true},
	{"tag is a date", `[">=1.0"]`, `[2026-11-24]`, []string{`11:12: Here is the date 2026-11-24, and text is wanted.`}, false},
	{"no range", `[">=1.0"]`, `[">=one"]`, []string{`11:12: ">=one" is no range of semantic versions.`}, false},
	{"a wish to leave out", `[">=1.0"]`, `["!latest"]`, []string{`11:12: "!latest" is no range of semantic versions.`}, false},
	{"tag with a slash", `[">=1.0"]`, `["a/b"]`, []string{`11:12: "a/b" has "/", which no tag has.`}, false},
	{"tag begins with a dot", `[">=1.0"]`, `[.a]`, []string{`11:12: ".a" is no tag.`}, false},
	{"tag with two stars", `[">=1.0"]`, `["a**"]`, []string{`11:12: "a**" has ** in it.`}, false},
	{"branch by its short name", "[refs/heads/main]", "[main]", []string{`14:18: "main" is no full ref. Write refs/heads/main.`}, true},
	{"branch with a space", "[refs/heads/main]", `["refs/heads/a b"]`, []string{`14:18: "refs/heads/a b" has characters that no ref has.`}, true},
	{"kind unknown", "kind: manual", "kind: manuel", []string{`13:24: "manuel" is none of manual, automated, any, none. Did you mean manual?`}, true},
	{"environment unseen", "environment: Production", "environment: \"Prod\u200buction\"", []string{"13:45: \"Prod\\u200buction\" is no name of an environment."}, false},
	{"environment of another word", "environment: Production", `environment: "{stage}"`, []string{`13:45: "{stage}" is no template.`}, false},
	{"environment by any tag", "environment: Production", `environment: "{tag}"`, []string{`13:45: "{tag}" depends on the target's tag, and the flow does not say which tags these are.`}, false},
	{"environment by a pattern of tags", "    to: [dev]\n" + `    repositories: ["shop/**"]` + "\n" + `    tags: [">=1.0"]` + "\n    require:\n" + approvalLine,
		"    to: [dev]\n    movingTags: [\"*-test\"]\n    require:\n      approval: {environment: \"{tag}\"}\n", []string{`12:31: "{tag}" depends on the target's tag`}, false},
	{"no service connection", "environment: Production", `environment: "endpoint:"`, []string{`13:45: "endpoint:" names no service connection.`}, false},
	{"minApprovers 0", "kind: manual,", "kind: manual, minApprovers: 0,", []string{`13:46: "0" is no integer from 1 to 1000.`}, true},
	{"minApprovers in quotes", "kind: manual,", `kind: manual, minApprovers: "two",`, []string{`13:46: "two" is no integer from 1 to 1000.`}, true},
	{"minApprovers 1.5", "kind: manual,", `kind: manual, minApprovers: 1.5,`, []string{`13:46: Here is the number 1.5, and an integer is wanted.`}, true},
	{"maxAge without a unit", "kind: manual,", `kind: manual, maxAge: 72,`, []string{`13:40: Here is the number 72, and text is wanted.`}, true},
	{"maxAge 0", "kind: manual,", `kind: manual, maxAge: 0h,`, []string{`13:40: "0h" is no duration above zero.`}, false},
	{"maxAge of weeks", "kind: manual,", `kind: manual, maxAge: 1w,`, []string{`13:40: "1w" is no duration above zero. Write it as 90m, 72h or 3d.`}, true},
	{"code is text", "kind: manual,", `kind: manual, code: "true",`, []string{`13:38: Here is the text "true", and true or false is wanted.`}, true},
	{"commentPattern", "kind: manual,", `kind: manual, commentPattern: "(a",`, []string{`13:48: "(a" is no regular expression as RE2 knows them: missing closing )`}, false},
	{"approvers is text", "kind: manual,", `kind: manual, approvers: a@example.com,`, []string{`13:43: Here is the text "a@example.com", and a list is wanted.`}, true},
	{"automated without checks", "kind: manual,", `kind: automated,`, []string{`13:24: The kind automated needs the checks that count.`}, false},
	{"any without checks", "kind: manual,", `kind: any,`, []string{`13:24: The kind any needs the checks that count.`}, false},
	{"manual with checks", "kind: manual,", `kind: manual, checks: [{definition: 3, resource: Production}],`, []string{`13:32: checks have no meaning where the approval's kind is manual.`}, false},
	{"check without a resource", "kind: manual,", `kind: automated, checks: [{definition: 3}],`, []string{`13:44: The key resource is missing.`}, true},
	{"check of no id", "kind: manual,", `kind: automated, checks: [{definition: "x", resource: Production}],`, []string{`13:57: "x" is no definition id of a check.`}, true},
	{"check twice", "kind: manual,", `kind: automated, checks: [{definition: 3, resource: P}, {resource: P, definition: 3}],`, []string{`13:74: This check is named twice.`}, true},
	{"automated with persons", "kind: manual,", `kind: automated, minApprovers: 2, checks: [{definition: 3, resource: P}],`, []string{`13:35: minApprovers has no meaning where the approval's kind is automated: no person is asked.`}, false},
	{"none with everything", "kind: manual,", `kind: none, code: true,`, []string{`13:30: code has no meaning where`, `13:42: environment has no meaning where`}, false},
	{"onPartial", "    from: prod\n", "    from: prod\n    onPartial: worn\n", []string{`9:16: "worn" is none of fail, warn. Did you mean warn?`}, true},
	{"lock", "    from: prod\n", "    from: prod\n    lock: repository\n", []string{`9:11: "repository" is none of none, tag, image.`}, true},
	{"as is text", "    from: prod\n", "    from: prod\n    as: \"x/{repository}\"\n", []string{`9:9: Here is the text "x/{repository}", and a mapping is wanted.`}, true},
	{"as with another word", "    from: prod\n", "    from: prod\n    as: {repository: \"x/{tag}\"}\n", []string{`9:22: "x/{tag}" is no template. The only word in braces here is {repository}.`}, true},
	{"as makes no repository", "    from: prod\n", "    from: prod\n    as: {repository: \"x-/{repository}\"}\n", []string{`9:22: "x-/{repository}" makes no valid repository.`}, false},
	{"as makes no tag", "    from: prod\n", "    from: prod\n    as: {tag: \"-{tag}\"}\n", []string{`9:15: "-{tag}" makes no valid tag.`}, false},
	{"as gives all one repository", "    from: prod\n", "    from: prod\n    as: {repository: one}\n", []string{`9:22: Every repository would get the name "one".`}, false},
	{"as gives all one tag", "    from: prod\n", "    from: prod\n    as: {tag: one}\n", []string{`9:15: Every image would get the tag "one", which does not move.`}, false},
	{"movingTags of a range", "    from: prod\n", "    from: prod\n    movingTags: [\">=1\"]\n", []string{`9:18: ">=1" has ">", which no tag has.`}, true},
	{"movingTags of all in an immutable registry", "    to: [dev]\n", "    to: [prod]\n    movingTags: [a, \"*\"]\n", []string{`10:21: "*" lets every tag move in prod, which is immutable.`}, false},
	{"teams of no target", "    from: prod\n", "    from: prod\n    teams: {dev: [\"**\"], web: [a]}\n", []string{`9:26: The flow has no target "web".`}, false},
	{"teams without a target", "    to: [dev]\n", "    to: [dev]\n    teams: {devs: [\"**\"]}\n", []string{`9:10: The flow's teams do not say what dev subscribes to.`, `10:13: The flow has no target "devs". Did you mean dev?`}, false},
	{"artifact type", "    from: prod\n", "    from: prod\n    referrers: {exclude: [sbom]}\n", []string{`9:27: "sbom" is no artifact type.`}, true},
	{"attached on nothing known", "    require:\n", "    require:\n      attached: [{artifactType: a/b, on: child}]\n", []string{`13:42: "child" is none of index, children.`}, true},
	{"attached without a type", "    require:\n", "    require:\n      attached: [{count: 2}]\n", []string{`13:18: The key artifactType is missing.`}, true},
	{"attached and excluded", "    require:\n", "    referrers: {exclude: [a/b]}\n    require:\n      attached: [{artifactType: a/b}]\n", []string{`14:18: a/b must be attached, and is excluded from the copy.`}, false},
	{"sealed is a number", "    require:\n", "    require:\n      sealed: 1\n", []string{`13:15: Here is the number 1, and true or false is wanted.`}, true},
	{"overlap", "flows:\n", "flows:\n  all:\n    from: prod\n    to: [dev]\n    require: {approval: {kind: none}}\n", []string{`11:3: The flows all and released may bring the same image from prod to dev, and their rules differ.`}, false},
	{"overlap of patterns", "flows:\n", "flows:\n  carts:\n    from: prod\n    to: [dev]\n    repositories: [\"*/cart\"]\n    tags: [\"<2\"]\n    lock: tag\n", []string{`13:3: The flows carts and released may bring the same image`}, false},
}

func said(t *testing.T, content string) []string {
	t.Helper()
	_, err := Parse("flow.yaml", []byte(content))
	if err == nil {
		return nil
	}
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("%T: %v", err, err)
	}
	var lines []string
	for _, line := range strings.Split(err.Error(), "\n") {
		lines = append(lines, strings.TrimPrefix(line, "flow.yaml:"))
	}
	return lines
}

func TestEveryMistakeIsToldWhereItStands(t *testing.T) {
	if got := said(t, sound); got != nil {
		t.Fatalf("the sound file: %q", got)
	}
	for _, c := range mistakes {
		got := said(t, c.file())
		slices.Sort(c.want)
		slices.SortFunc(c.want, func(a, b string) int { return comparePlaces(a, b) })
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, wanted %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], c.want[i]) {
				t.Errorf("%s: %q, wanted %q", c.name, got[i], c.want[i])
			}
		}
	}
}

func comparePlaces(a, b string) int {
	var la, ca, lb, cb int
	fmt.Sscanf(a, "%d:%d:", &la, &ca)
	fmt.Sscanf(b, "%d:%d:", &lb, &cb)
	return (la-lb)*1000 + ca - cb
}

func TestUpwardNeedsAnApproval(t *testing.T) {
	up := strings.Replace(sound, "from: prod\n    to: [dev]", "from: dev\n    to: [prod]", 1)
	if got := said(t, up); got != nil {
		t.Fatalf("%q", got)
	}
	for require, want := range map[string]string{
		"approval: {kind: none}":      "requires no approval",
		"sealed: true":                "requires no approval",
		"approval: {kind: manual}":    "names no environment",
		"approval: {minApprovers: 2}": "names no environment",
		"approval: {kind: any, checks: [{definition: 1, resource: P}]}": "names no environment",
	} {
		got := said(t, strings.Replace(up, "approval: {kind: manual, environment: Production}", require, 1))
		if len(got) != 1 || !strings.HasPrefix(got[0], "9:10: ") || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q", require, got)
		}
	}
	for _, require := range []string{
		"approval: {environment: P}",
		"approval: {kind: automated, checks: [{definition: 1, resource: P}]}",
		"approval: {kind: any, environment: P, checks: [{definition: 1, resource: P}]}",
	} {
		if got := said(t, strings.Replace(up, "approval: {kind: manual, environment: Production}", require, 1)); got != nil {
			t.Errorf("%s: %q", require, got)
		}
	}
}

func TestFlowsOverlapOnlyWhereAnImageCanBeInBoth(t *testing.T) {
	flow := func(name, more string) string {
		return fmt.Sprintf("  %s:\n    from: prod\n%s", name, more)
	}
	head := "version: 1\ntrust: [dev, production]\nregistries:\n  prod: {host: prod.azurecr.io, trust: production}\n  dev: {host: dev.azurecr.io, trust: dev}\n  web: {host: web.azurecr.io, trust: dev}\nflows:\n"
	for _, c := range []struct {
		a, b     string
		overlaps bool
	}{
		{"to: [dev]", "to: [dev]", true},
		{"to: [dev]", "to: [web]", false},
		{"to: [dev, web]\nrepositories: [a]", "to: [web]\nrepositories: [a]", true},
		{"to: [dev]\nrepositories: [a]", "to: [dev]\nrepositories: [b]", false},
		{"to: [dev]\nrepositories: [\"a/**\"]", "to: [dev]\nrepositories: [\"**/b\"]", true},
		{"to: [dev]\nrepositories: [\"a/*\"]", "to: [dev]\nrepositories: [\"a/*/*\"]", false},
		{"to: [dev]\nrepositories: [\"a/**\"]", "to: [dev]\nrepositories: [a]", false},
		{"to: [dev]\nrepositories: [\"a/**/c\"]", "to: [dev]\nrepositories: [\"a/?\"]", true},
		{"to: [dev]\nrepositories: [\"a*c\"]", "to: [dev]\nrepositories: [\"a*d\"]", false},
		{"to: [dev]\nrepositories: [\"a*\"]", "to: [dev]\nrepositories: [\"*a\"]", true},
		{"to: [dev]\ntags: [\">=1 <2\"]", "to: [dev]\ntags: [\">=2\"]", false},
		{"to: [dev]\ntags: [\"<=2\"]", "to: [dev]\ntags: [\">=2\"]", true},
		{"to: [dev]\ntags: [\">1.2.3 <1.2.5\"]", "to: [dev]\ntags: [\"=1.2.4\"]", true},
		{"to: [dev]\ntags: [\">1.2.3 <1.2.4\"]", "to: [dev]\ntags: [\">=1\"]", false},
		{"to: [dev]\ntags: [\"~1.2\"]", "to: [dev]\ntags: [\"~1.3\"]", false},
		{"to: [dev]\ntags: [\"^1.2\"]", "to: [dev]\ntags: [\"~1.9\"]", true},
		{"to: [dev]\ntags: [\">=1.0.0-0 <2.0.0\"]", "to: [dev]\ntags: [\">=2.0.0-0\"]", true},
		{"to: [dev]\ntags: [\"1.2 - 1.4\"]", "to: [dev]\ntags: [\">1.4 || =1.3.1\"]", true},
		{"to: [dev]\ntags: [\"1.2.3\"]", "to: [dev]\ntags: [\">=2\"]", false},
		{"to: [dev]\ntags: [\"2.2.3\"]", "to: [dev]\ntags: [\">=2\"]", true},
		{"to: [dev]\ntags: [\"hotfix-*\"]", "to: [dev]\ntags: [\">=2\"]", false},
		{"to: [dev]\ntags: [\"*-hotfix\"]", "to: [dev]\ntags: [\">=2\"]", true},
		{"to: [dev]\ntags: [\"a-*\"]", "to: [dev]\ntags: [\"b-*\"]", false},
		{"to: [dev]\nteams: {dev: [a]}", "to: [dev]\nteams: {dev: [b]}", false},
		{"to: [dev]\nteams: {dev: [\"a*\"]}", "to: [dev]\nteams: {dev: [ab]}", true},
		{"to: [dev]\nteams: {dev: [a]}", "to: [dev]\nrepositories: [b]", false},
		{"to: [dev]\nas: {repository: \"x/{repository}\"}", "to: [dev]\nas: {repository: \"y/{repository}\"}", true},
		{"to: [prod]\nmovingTags: [test]", "to: [prod]\nmovingTags: [stage]", false},
		{"to: [prod]\nmovingTags: [test, stage]", "to: [prod]\nmovingTags: [\"st*\"]", true},
		{"to: [prod]\nas: {tag: \"a-{tag}\"}", "to: [prod]\nmovingTags: [stage]", true},
	} {
		indent := func(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") + "\n" }
		for _, order := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			same := head + flow("a", indent(order[0])) + flow("b", indent(order[1]))
			got := said(t, same+"    lock: tag\n")
			if c.overlaps != (len(got) == 1 && strings.Contains(got[0], "may bring the same image")) || !c.overlaps && got != nil {
				t.Errorf("%q and %q: %q", order[0], order[1], got)
			}
		}
	}
	// The same rules, in another order, do not disagree.
	if got := said(t, head+flow("a", "    to: [dev]\n    require: {branches: [refs/heads/a, refs/heads/b]}\n")+flow("b", "    to: [dev]\n    require: {branches: [refs/heads/b, refs/heads/a]}\n")); got != nil {
		t.Errorf("%q", got)
	}
}

// TestTermsTellEveryRule: each key of a flow that is not about which images
// and registries it covers makes two flows differ.
func TestTermsTellEveryRule(t *testing.T) {
	covering := []string{"from", "to", "repositories", "tags", "teams"}
	var visit func(typ reflect.Type, path []int, name string)
	visit = func(typ reflect.Type, path []int, name string) {
		for _, k := range keysOf(typ) {
			if name == "" && slices.Contains(covering, k.name) {
				continue
			}
			at := append(slices.Clone(path), k.index)
			field := typ.Field(k.index).Type
			_, reads := reflect.New(field).Interface().(scalar)
			if field.Kind() == reflect.Struct && !reads {
				visit(field, at, name+"/"+k.name)
				continue
			}
			var f Flow
			v := reflect.ValueOf(&f).Elem().FieldByIndex(at)
			switch field.Kind() {
			case reflect.Pointer:
				v.Set(reflect.New(field.Elem()))
			case reflect.Slice:
				v.Set(reflect.MakeSlice(field, 1, 1))
			case reflect.Bool:
				v.SetBool(true)
			case reflect.Struct:
				if err := v.Addr().Interface().(scalar).read("a"); err != nil {
					t.Fatal(err)
				}
			case reflect.String:
				v.SetString("a")
			default:
				v.SetInt(7)
			}
			if f.terms() == (&Flow{}).terms() {
				t.Errorf("%s/%s is not told", name, k.name)
			}
		}
	}
	visit(reflect.TypeFor[Flow](), nil, "")
}

func examples(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/examples/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = content
	}
	return all
}

func TestExamplesAreSound(t *testing.T) {
	for name, content := range examples(t) {
		file, err := Parse(name, content)
		if err != nil {
			t.Error(err)
			continue
		}
		want := 0
		if name == "contract.yaml" {
			want = 1
		}
		if len(file.Notes) != want {
			t.Errorf("%s: %v", name, file.Notes)
		}
	}
}

func TestNotes(t *testing.T) {
	content := strings.Replace(sound, "flows:\n", "  idle: {host: idle.azurecr.io, trust: dev}\nflows:\n", 1)
	content = strings.Replace(content, "[dev, production]", "[dev, unused, production]", 1)
	file, err := Parse("flow.yaml", []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range file.Notes {
		got = append(got, n.String())
	}
	want := []string{"2:14: No registry has the trust unused.", "6:3: No flow leads from or to the registry idle."}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	content, err := os.ReadFile("testdata/wrong.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("wrong.yaml", content)
	if err == nil {
		t.Fatal("it was taken")
	}
	golden(t, "testdata/wrong.golden", err.Error()+"\n")
	if !strings.HasSuffix(err.Error(), "\nand 3 more") {
		t.Errorf("the rest is not counted: %s", err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what is said now (-update writes it):\n%s", name, got)
	}
}

func TestEncodings(t *testing.T) {
	for name, content := range map[string]string{
		"BOM":         "\ufeff" + sound,
		"CRLF":        strings.ReplaceAll(sound, "\n", "\r\n"),
		"tab between": strings.Replace(sound, "from: prod", "from:\tprod", 1),
	} {
		if got := said(t, content); got != nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, c := range map[string]struct{ content, want string }{
		"UTF-16":         {"\xff\xfev\x00e\x00", "1:1: The text is UTF-16. Save it as UTF-8."},
		"Latin-1":        {"version: 1\n# caf\xe9\n", "2:6: The byte 0xE9 is no UTF-8. Save the text as UTF-8."},
		"tab":            {strings.Replace(sound, "    from", "  \tfrom", 1), "8:3: The line is indented with a tab. YAML takes spaces only."},
		"lone CR":        {"version: 1\rtrust: []\n", "1:11: There is a control character, U+000D. Remove it."},
		"NUL":            {"version: 1\x00\n", "1:11: There is a control character, U+0000. Remove it."},
		"line separator": {"version: 1 # \u2028trust: []\n", "1:14: There is a control character, U+2028. Remove it."},
		"BOM inside":     {"version: 1 \ufeff\n", "1:12: There is a control character, U+FEFF. Remove it."},
		"bidi":           {"version: 1 # \u202e\n", "1:14: There is a character that turns the direction of writing, U+202E. Remove it."},
		"10 MB":          {strings.Repeat("a: b\n", 2<<20), "1:1: The text is 10485760 bytes long; at most 1048576 are read. Split it."},
		"deep":           {strings.Repeat("[", 5000), "1:1: This is no YAML: "},
		"deep and sound": {"a: " + strings.Repeat("[", 500) + strings.Repeat("]", 500), "1:36: The nesting is deeper than 32."},
		"marks":          {"a: [" + strings.Repeat("a,", 400_000) + "]", "1:1: The text has 400002 entries or more; at most 100000 are read."},
	} {
		got := said(t, c.content)
		if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestAliasBombCostsNothing(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	_, err := Parse("flow.yaml", []byte(b.String()))
	var invalid *Invalid
	if !errors.As(err, &invalid) || len(invalid.Problems) != mostTold || invalid.More == 0 {
		t.Fatal(err)
	}
}

// TestThousandsOfMistakes: the memory taken is bounded, and so is what is told.
func TestThousandsOfMistakes(t *testing.T) {
	content := "version: 1\n" + strings.Repeat("\"\xc3\xa9\": [x]\n", 30_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Parse("flow.yaml", []byte(content))
	runtime.ReadMemStats(&after)
	var invalid *Invalid
	if !errors.As(err, &invalid) || len(invalid.Problems) != mostTold || invalid.More < 29_000 {
		t.Fatal(err)
	}
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 100<<20 {
		t.Errorf("%d bytes were taken", taken)
	}
}

// TestManyFlowsAreComparedInBounds: patterns made to be slow to compare end in
// one sentence.
func TestManyFlowsAreComparedInBounds(t *testing.T) {
	var b strings.Builder
	b.WriteString(sound)
	for i := range 900 {
		fmt.Fprintf(&b, "  f%d:\n    from: prod\n    to: [dev]\n    atomic: true\n    repositories: [", i)
		for j := range 3 {
			fmt.Fprintf(&b, "\"%s-%d/x%d\",", strings.Repeat("*a", 60), i, j)
		}
		fmt.Fprintf(&b, "]\n    referrers: {exclude: [a/a%d]}\n", i)
	}
	got := said(t, b.String())
	if len(got) != 1 || !strings.HasPrefix(got[0], "6:1: The flows have too many patterns") {
		t.Errorf("%.300q", got)
	}
}

// TestAThousandFlowsAreCompared: a large and honest file stays within the
// bounds.
func TestAThousandFlowsAreCompared(t *testing.T) {
	var b strings.Builder
	b.WriteString(sound)
	for i := range mostEntries - 1 {
		fmt.Fprintf(&b, "  f%d: {from: prod, to: [dev], repositories: [\"team-%d/**\", \"lib-%d/*\"], tags: [\">=1.0\"], lock: tag}\n", i, i, i)
	}
	if got := said(t, b.String()); got != nil {
		t.Errorf("%.300q", got)
	}
	b.Reset()
	b.WriteString(sound)
	for i := range mostEntries - 1 {
		fmt.Fprintf(&b, "  f%d: {from: prod, to: [dev], repositories: [\"team-%d/**\"], tags: [\">=1.0\"], require: {approval: {environment: E%d}}}\n", i, i, i)
	}
	if got := said(t, b.String()); got != nil {
		t.Errorf("%.300q", got)
	}
}

// shuffle changes the order of keys, and of lists but trust, all the way down.
func shuffle(n *yaml.Node, r *rand.Rand, key string) {
	switch n.Kind {
	case yaml.MappingNode:
		pairs := len(n.Content) / 2
		r.Shuffle(pairs, func(i, j int) {
			n.Content[2*i], n.Content[2*j] = n.Content[2*j], n.Content[2*i]
			n.Content[2*i+1], n.Content[2*j+1] = n.Content[2*j+1], n.Content[2*i+1]
		})
		for i := range pairs {
			shuffle(n.Content[2*i+1], r, n.Content[2*i].Value)
		}
		return
	case yaml.SequenceNode:
		if key != "trust" {
			r.Shuffle(len(n.Content), func(i, j int) { n.Content[i], n.Content[j] = n.Content[j], n.Content[i] })
		}
	}
	for _, c := range n.Content {
		shuffle(c, r, key)
	}
}

func TestOrderNeverCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	contents := examples(t)
	for i := range 60 {
		contents[fmt.Sprint("generated ", i)] = []byte(generate(r))
	}
	taken := 0
	for name, content := range contents {
		want, wantErr := Parse("f", content)
		for range 5 {
			var n yaml.Node
			if err := yaml.Unmarshal(content, &n); err != nil {
				t.Fatal(err)
			}
			shuffle(&n, r, "")
			shuffled, err := yaml.Marshal(&n)
			if err != nil {
				t.Fatal(err)
			}
			got, gotErr := Parse("f", shuffled)
			if (wantErr == nil) != (gotErr == nil) {
				t.Fatalf("%s: %v, and shuffled: %v\n%s", name, wantErr, gotErr, shuffled)
			}
			if wantErr != nil {
				continue
			}
			taken++
			got.Notes, want.Notes = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: another file when shuffled:\n%s", name, shuffled)
			}
		}
	}
	if taken < 100 {
		t.Fatalf("only %d files were sound", taken)
	}
}
