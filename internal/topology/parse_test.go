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

const validFile = `version: 1
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

// wrong is the valid file with one text replaced, and the beginning of each
// problem that Parse reports for it.
type wrong struct {
	name     string
	old, new string
	want     []string
	single   bool // the schema rejects it too
}

func (w wrong) file() string {
	if w.old == "" {
		return w.new
	}
	if strings.Count(validFile, w.old) != 1 {
		panic("not once in the valid file: " + w.old)
	}
	return strings.Replace(validFile, w.old, w.new, 1)
}

const approvalLine = "      approval: {kind: manual, environment: Production}\n"

var mistakes = []wrong{
	{"nothing", "", " \n", []string{"1:1: the file is empty"}, false},
	{"only a comment", "", "# rules\n", []string{"1:1: the file is empty"}, false},
	{"a recall without an approval", "flows:\n", "recall: {approval: {kind: none}}\nflows:\n", []string{"6:27: a recall cannot do without an approval"}, false},
	{"a recall by automated checks that are not named", "flows:\n", "recall: {approval: {kind: automated}}\nflows:\n", []string{"6:27: approval kind automated requires checks"}, false},
	{"a recall approved by tag", "flows:\n", "recall: {approval: {environment: \"P-{tag}\"}}\nflows:\n", []string{`6:34: "P-{tag}" depends on the target tag`}, false},
	{"a recall that does something else", "flows:\n", "recall: {source: hide, elsewhere: purge}\nflows:\n", []string{`6:18: `, `6:35: `}, true},
	{"a list", "", "- a\n", []string{"1:1: expected a mapping, found a list"}, false},
	{"text", "", "hello\n", []string{`1:1: expected a mapping, found the text "hello"`}, false},
	{"syntax error", "trust: [dev, production]", "trust: [dev, production", []string{"2:1: invalid YAML: "}, false},
	{"a range without quotes", `tags: [">=1.0"]`, `tags: [>=1.0]`, []string{"11:5: invalid YAML: "}, false},
	{"two documents", "flows:\n", "---\nflows:\n", []string{"6:1: a second document begins here", "1:1: missing key flows"}, false},
	{"unknown key", "registries:\n", "registeries:\n", []string{"1:1: missing key registries", `3:1: unknown key "registeries". Did you mean registries?`}, true},
	{"unknown key, no near one", "    from: prod\n", "    from: prod\n    colour: red\n", []string{`9:5: unknown key "colour". Use one of: from, to, repositories,`}, true},
	{"key in another case", "    from: prod\n", "    from: prod\n    OnPartial: warn\n", []string{`9:5: unknown key "OnPartial". Did you mean onPartial?`}, true},
	{"duplicate key", "    from: prod\n", "    from: prod\n    from: dev\n", []string{`9:5: duplicate key "from", already in line 8`}, false},
	{"duplicate flow", "flows:\n", "flows:\n  released: {from: prod, to: [dev]}\n", []string{`8:3: duplicate key "released", already in line 7`}, false},
	{"key that is a list", "    from: prod\n", "    from: prod\n    ? [a]\n    : b\n", []string{"9:7: expected a name as the key, found a list"}, false},
	{"anchor", "from: prod", "from: &a prod", []string{"8:11: anchor &a is not supported"}, false},
	{"alias", "    to: [dev]", "    to: &t [dev]\n    teams: *t", []string{"9:9: anchor &t is not supported", "10:12: alias *t is not supported"}, false},
	{"merge key", "    from: prod\n", "    from: prod\n    <<: {atomic: true}\n", []string{"9:5: merge keys (<<) are not supported"}, false},
	{"tag", "from: prod", "from: !!str prod", []string{`8:11: YAML tag "!!str" is not supported`}, false},
	{"pattern without quotes", `["shop/**"]`, `[*]`, []string{"10:5: invalid YAML: "}, false},

	{"sealed by an unknown key", "      branches:", "      sealedBy: {repositories: [shop]}\n      branches:", []string{`14:18: unknown key "repositories". Use one of: projects, pipelines, branches.`}, true},
	{"sealed by a pipeline's name", "      branches:", "      sealedBy: {pipelines: [release]}\n      branches:", []string{`14:30: "release" is not the ID of a pipeline`}, true},
	{"sealed by pipeline 0", "      branches:", "      sealedBy: {pipelines: [0]}\n      branches:", []string{`14:30: "0" is not the ID of a pipeline`}, true},
	{"sealed by one pipeline twice", "      branches:", "      sealedBy: {pipelines: [7, 7]}\n      branches:", []string{`14:33: duplicate entry "7"`}, true},
	{"sealed by no pipeline", "      branches:", "      sealedBy: {pipelines: []}\n      branches:", []string{"14:29: empty list"}, true},
	{"sealed by a project's address", "      branches:", "      sealedBy: {projects: [https://dev.azure.com/contoso/shop]}\n      branches:", []string{`14:29: "https://dev.azure.com/contoso/shop" is not a valid project name`}, true},
	{"sealed by a short branch", "      branches:", "      sealedBy: {branches: [main]}\n      branches:", []string{`14:29: "main" is not a full ref`}, true},
	{"sealed by nobody", "      branches:", "      sealedBy: []\n      branches:", []string{"14:17: sealedBy: expected a mapping, found a list"}, true},
	{"sealed by somebody and not sealed", "      branches:", "      sealedBy: {pipelines: [7]}\n      sealed: false\n      branches:", []string{"15:15: sealed is false but sealedBy says who must have sealed the image"}, false},
	{"expected by name", "trust: dev}", "trust: dev, expect: {readers: [clusters]}}", []string{`5:62: "clusters" is not an object ID`}, true},
	{"expected twice", "trust: dev}", "trust: dev, expect: {writers: [aaaaaaaa-0000-4000-8000-000000000001, aaaaaaaa-0000-4000-8000-000000000001]}}", []string{`5:100: duplicate entry "aaaaaaaa`}, true},
	{"expected roles", "trust: dev}", "trust: dev, expect: {owners: [aaaaaaaa-0000-4000-8000-000000000001]}}", []string{`5:52: unknown key "owners". Use one of: writers, readers.`}, true},
	{"no version", "version: 1\n", "", []string{"1:1: missing key version"}, true},
	{"version 2", "version: 1", "version: 2", []string{`1:10: unknown version "2"`}, true},
	{"version is a boolean", "version: 1", "version: true", []string{"1:10: version: expected an integer, found the boolean true"}, true},
	{"trust is text", "trust: [dev, production]", "trust: dev", []string{`2:8: trust: expected a list, found the text "dev". Write ["dev"].`}, true},
	{"trust is a mapping", "trust: [dev, production]", "trust: {dev: 1}", []string{"2:8: trust: expected a list, found a mapping"}, true},
	{"trust twice", "trust: [dev, production]", "trust: [dev, production, dev]", []string{`2:26: duplicate entry "dev"`}, true},
	{"trust is a number", "trust: [dev, production]", "trust: [dev, production, 3]", []string{`2:26: trust: expected text, found the number 3. Put it in quotes: "3".`}, true},
	{"trust is not a name", "trust: [dev, production]", "trust: [dev, production, a/b]", []string{`2:26: "a/b" is not a valid name`}, true},
	{"empty trust", "trust: [dev, production]", "trust: []", []string{"2:8: empty list"}, true},
	{"no value", "trust: [dev, production]", "trust:", []string{"2:7: missing value"}, true},
	{"no flows", validFile[strings.Index(validFile, "flows:"):], "flows: {}\n", []string{"6:8: empty mapping"}, true},
	{"registry with an invalid name", "  dev: {host", "  \"d e\": {host", []string{`5:3: "d e" is not a valid name`, `9:10: unknown registry "dev"`}, true},
	{"registry without a host", "host: dev.azurecr.io, ", "", []string{"5:3: missing key host"}, true},
	{"unknown trust", "io, trust: dev}", "io, trust: prodution}", []string{`5:38: unknown trust level "prodution". Did you mean production?`}, false},
	{"host with a scheme", "host: dev.azurecr.io", `host: "https://dev.azurecr.io"`, []string{`5:15: "https://dev.azurecr.io" is not a valid registry host`}, true},
	{"host with a path", "host: dev.azurecr.io", `host: dev.azurecr.io/shop`, []string{`5:15: "dev.azurecr.io/shop" is not a valid registry host`}, true},
	{"placeholder as host", "host: dev.azurecr.io", `host: <your-dev-registry>.azurecr.io`, []string{`5:15: "<your-dev-registry>.azurecr.io" is a placeholder, not a registry host. Write your registry's host name in its place.`}, true},
	{"host without a domain", "host: dev.azurecr.io", `host: dev`, []string{`5:15: "dev" is not a valid registry host. Write the full host name, such as <your-registry>.azurecr.io.`}, false},
	{"host with too high a port", "host: dev.azurecr.io", `host: "dev.azurecr.io:99999"`, []string{`5:15: "dev.azurecr.io:99999" is not a valid registry host: the port must be 1 to 65535`}, true},
	{"host with leading zeros in the port", "host: dev.azurecr.io", `host: "dev.azurecr.io:0443"`, []string{`5:15: "dev.azurecr.io:0443" is not a valid registry host: the port must be 1 to 65535. Write the port without leading zeros, or omit it.`}, true},
	{"host with an empty port", "host: dev.azurecr.io", `host: "dev.azurecr.io:"`, []string{`5:15: "dev.azurecr.io:" is not a valid registry host: the port must be 1 to 65535`}, true},
	{"another name of a registry", "host: dev.azurecr.io", "host: dev.azurecr.io, hosts: [dev.westeurope.geo.azurecr.io, \"DEV-abc.azurecr.io:443\"]", nil, false},
	{"another registry's host among the names", "host: dev.azurecr.io", "host: dev.azurecr.io, hosts: [dev.westeurope.geo.azurecr.io, prod.azurecr.io]", []string{"5:70: registries prod and dev have the same host, prod.azurecr.io"}, false},
	{"a regional endpoint of another registry", "host: dev.azurecr.io", "host: prod.westeurope.geo.azurecr.io", []string{"5:15: registries prod and dev are the same registry, prod.azurecr.io"}, false},
	{"a regional endpoint of another registry among the names", "host: dev.azurecr.io", "host: dev.azurecr.io, hosts: [PROD.westeurope.geo.azurecr.io]", []string{"5:39: registries prod and dev are the same registry, prod.azurecr.io"}, false},
	{"regional endpoints of one registry", "host: dev.azurecr.io", "host: dev.westus.geo.azurecr.io, hosts: [dev.westeurope.geo.azurecr.io]", nil, false},
	{"its own host among the names", "host: dev.azurecr.io", "host: dev.azurecr.io, hosts: [\"DEV.azurecr.io\"]", []string{"5:39: registry dev has the host dev.azurecr.io twice"}, false},
	{"a name that is no host", "host: dev.azurecr.io", "host: dev.azurecr.io, hosts: [\"https://dev.azurecr.io/\"]", []string{`5:39: "https://dev.azurecr.io/" is not a valid registry host`}, true},
	{"duplicate host", "host: dev.azurecr.io", `host: "PROD.azurecr.io:443"`, []string{"5:15: registries prod and dev have the same host, prod.azurecr.io"}, false},
	{"immutable is text", "immutable: true", "immutable: yes", []string{`4:63: immutable: expected true or false, found the text "yes"`}, true},
	{"immutable in capitals", "immutable: true", "immutable: True", []string{"4:63: immutable: expected true or false, found the boolean True"}, false},

	{"unknown source", "from: prod", "from: prd", []string{`8:11: unknown registry "prd". Did you mean prod?`}, false},
	{"unknown target", "to: [dev]", "to: [dev, wbe]", []string{`9:15: unknown registry "wbe"`}, false},
	{"no target", "    to: [dev]\n", "", []string{"7:3: missing key to"}, true},
	{"target is the source", "to: [dev]", "to: [dev, prod]", []string{"9:15: target prod is the flow's source"}, false},
	{"target is the source, and as changes nothing", "to: [dev]", `to: [prod]
    as: {repository: "{repository}", tag: "{tag}"}`, []string{"9:10: target prod is the flow's source"}, false},
	{"upward without rules", "flows:\n", "flows:\n  up:\n    from: dev\n    to: [prod]\n", []string{"9:10: the flow leads up from dev (trust dev) to prod (trust production) but requires no approval"}, false},
	{"repository in capitals", `"shop/**"`, `Shop/cart`, []string{`10:20: "Shop/cart" contains "S", which is not allowed in a repository`}, true},
	{"repository with a tag", `"shop/**"`, `"shop/cart:1"`, []string{`10:20: "shop/cart:1" is more than a repository`}, true},
	{"repository ends with a slash", `"shop/**"`, `shop/`, []string{`10:20: "shop/" has an empty segment`}, true},
	{"stars with other text", `"shop/**"`, `"shop/**x"`, []string{`10:20: "shop/**x" combines ** with other text`}, false},
	{"stars twice", `"shop/**"`, `"shop/**/**"`, []string{`10:20: "shop/**/**" has ** twice in a row`}, false},
	{"dot segment", `"shop/**"`, `"shop/../**"`, []string{`10:20: "shop/../**" has the segment .., which is not allowed`}, false},
	{"not a repository", `"shop/**"`, `shop..cart`, []string{`10:20: "shop..cart" is not a valid repository`}, false},
	{"no repositories", `["shop/**"]`, `[]`, []string{"10:19: empty list"}, true},
	{"tag is a number", `[">=1.0"]`, `[1.0]`, []string{`11:12: tags: expected text, found the number 1.0. Put it in quotes: "1.0".`}, true},
	{"tag is a date", `[">=1.0"]`, `[2026-11-24]`, []string{"11:12: tags: expected text, found the date 2026-11-24"}, false},
	{"not a range", `[">=1.0"]`, `[">=one"]`, []string{`11:12: ">=one" is not a range of semantic versions`}, false},
	{"exclusion of a tag", `[">=1.0"]`, `["!latest"]`, []string{`11:12: "!latest" is not a range of semantic versions`}, false},
	{"tag with a slash", `[">=1.0"]`, `["a/b"]`, []string{`11:12: "a/b" contains "/", which is not allowed in a tag`}, false},
	{"tag begins with a dot", `[">=1.0"]`, `[.a]`, []string{`11:12: ".a" is not a valid tag`}, false},
	{"tag with two stars", `[">=1.0"]`, `["a**"]`, []string{`11:12: "a**" contains **`}, false},
	{"short branch name", "[refs/heads/main]", "[main]", []string{`14:18: "main" is not a full ref. Write refs/heads/main.`}, true},
	{"branch with a space", "[refs/heads/main]", `["refs/heads/a b"]`, []string{`14:18: "refs/heads/a b" contains characters that are not allowed in a ref`}, true},
	{"unknown kind", "kind: manual", "kind: manuel", []string{`13:24: "manuel" is not one of manual, automated, any, none. Did you mean manual?`}, true},
	{"environment with an invisible character", "environment: Production", "environment: \"Prod\u200buction\"", []string{`13:45: "Prod\u200buction" is not a valid environment name`}, false},
	{"environment with another placeholder", "environment: Production", `environment: "{stage}"`, []string{`13:45: "{stage}" is not a valid template`}, false},
	{"environment depends on any tag", "environment: Production", `environment: "{tag}"`, []string{`13:45: "{tag}" depends on the target tag, but movingTags does not list the tags`}, false},
	{"environment depends on a tag pattern", "    to: [dev]\n" + `    repositories: ["shop/**"]` + "\n" + `    tags: [">=1.0"]` + "\n    require:\n" + approvalLine,
		"    to: [dev]\n    movingTags: [\"*-test\"]\n    require:\n      approval: {environment: \"{tag}\"}\n", []string{`12:31: "{tag}" depends on the target tag, but movingTags does not list the tags`}, false},
	{"no service connection, in another case", "environment: Production", `environment: "Endpoint:"`, []string{`13:45: "Endpoint:" does not name a service connection`}, false},
	{"no service connection", "environment: Production", `environment: "endpoint:"`, []string{`13:45: "endpoint:" does not name a service connection`}, false},
	{"minApprovers 0", "kind: manual,", "kind: manual, minApprovers: 0,", []string{`13:46: "0" is not an integer from 1 to 1000`}, true},
	{"minApprovers in quotes", "kind: manual,", `kind: manual, minApprovers: "two",`, []string{`13:46: "two" is not an integer from 1 to 1000`}, true},
	{"minApprovers 1.5", "kind: manual,", `kind: manual, minApprovers: 1.5,`, []string{"13:46: minApprovers: expected an integer, found the number 1.5"}, true},
	{"maxAge without a unit", "kind: manual,", `kind: manual, maxAge: 72,`, []string{"13:40: maxAge: expected text, found the number 72"}, true},
	{"maxAge 0", "kind: manual,", `kind: manual, maxAge: 0h,`, []string{`13:40: "0h" is not a positive duration`}, false},
	{"maxAge in weeks", "kind: manual,", `kind: manual, maxAge: 1w,`, []string{`13:40: "1w" is not a positive duration. Write it as 90m, 72h or 3d.`}, true},
	{"code is of something else", "kind: manual,", `kind: manual, code: images,`, []string{`13:38: "images" is not one of true, image, plan, false`}, true},
	{"code in capitals", "kind: manual,", `kind: manual, code: True,`, []string{`13:38: "True" is not one of true, image, plan, false`}, false},
	{"code is a number", "kind: manual,", `kind: manual, code: 1,`, []string{`13:38: code: expected text, found the number 1`}, true},
	{"code is text", "kind: manual,", `kind: manual, code: "true",`, []string{`13:38: code: expected true or false, found the text "true"`}, true},
	{"commentPattern", "kind: manual,", `kind: manual, commentPattern: "(a",`, []string{"13:48: \"(a\" is not a valid RE2 regular expression: missing closing ): `(a`"}, false},
	{"approvers is text", "kind: manual,", `kind: manual, approvers: a@example.com,`, []string{`13:43: approvers: expected a list, found the text "a@example.com"`}, true},
	{"automated without checks", "kind: manual,", `kind: automated,`, []string{"13:24: approval kind automated requires checks"}, false},
	{"any without checks", "kind: manual,", `kind: any,`, []string{"13:24: approval kind any requires checks"}, false},
	{"manual with checks", "kind: manual,", `kind: manual, checks: [{definition: 3, resource: Production}],`, []string{"13:32: checks is not allowed with approval kind manual"}, false},
	{"check without a resource", "kind: manual,", `kind: automated, checks: [{definition: 3}],`, []string{"13:44: missing key resource"}, true},
	{"check with an invalid ID", "kind: manual,", `kind: automated, checks: [{definition: "x", resource: Production}],`, []string{`13:57: "x" is not the definition ID of a check`}, true},
	{"duplicate check", "kind: manual,", `kind: automated, checks: [{definition: 3, resource: P}, {resource: P, definition: 3}],`, []string{"13:74: duplicate check"}, true},
	{"automated with keys about people", "kind: manual,", `kind: automated, minApprovers: 2, checks: [{definition: 3, resource: P}],`, []string{"13:35: minApprovers is not allowed with approval kind automated, which asks no person"}, false},
	{"none with other keys", "kind: manual,", `kind: none, code: true,`, []string{"13:30: code is not allowed with approval kind none, which asks no person", "13:42: environment is not allowed with approval kind none"}, false},
	{"onPartial", "    from: prod\n", "    from: prod\n    onPartial: worn\n", []string{`9:16: "worn" is not one of fail, warn. Did you mean warn?`}, true},
	{"lock", "    from: prod\n", "    from: prod\n    lock: repository\n", []string{`9:11: "repository" is not one of none, tag, image`}, true},
	{"as is text", "    from: prod\n", "    from: prod\n    as: \"x/{repository}\"\n", []string{`9:9: as: expected a mapping, found the text "x/{repository}"`}, true},
	{"as with another placeholder", "    from: prod\n", "    from: prod\n    as: {repository: \"x/{tag}\"}\n", []string{`9:22: "x/{tag}" is not a valid template. The only placeholder here is {repository}.`}, true},
	{"as gives an invalid repository", "    from: prod\n", "    from: prod\n    as: {repository: \"x-/{repository}\"}\n", []string{`9:22: "x-/{repository}" does not give a valid repository`}, false},
	{"as gives an invalid tag", "    from: prod\n", "    from: prod\n    as: {tag: \"-{tag}\"}\n", []string{`9:15: "-{tag}" does not give a valid tag`}, false},
	{"as gives one repository to all", "    from: prod\n", "    from: prod\n    as: {repository: one}\n", []string{`9:22: every repository would get the name "one"`}, false},
	{"as gives one tag to all", "    from: prod\n", "    from: prod\n    as: {tag: one}\n", []string{`9:15: every image would get the tag "one", which is not in movingTags`}, false},
	{"movingTags has a range", "    from: prod\n", "    from: prod\n    movingTags: [\">=1\"]\n", []string{`9:18: ">=1" contains ">", which is not allowed in a tag`}, true},
	{"movingTags of everything in an immutable registry", "    to: [dev]\n", "    to: [prod]\n    movingTags: [a, \"*\"]\n", []string{`10:21: "*" lets every tag move in prod, which is immutable`}, false},
	{"teams has an unknown target", "    from: prod\n", "    from: prod\n    teams: {dev: [\"**\"], web: [a]}\n", []string{`9:26: the flow has no target "web"`}, false},
	{"teams lacks a target", "    to: [dev]\n", "    to: [dev]\n    teams: {devs: [\"**\"]}\n", []string{"9:10: teams has no entry for target dev", `10:13: the flow has no target "devs". Did you mean dev?`}, false},
	{"artifact type", "    from: prod\n", "    from: prod\n    referrers: {exclude: [sbom]}\n", []string{`9:27: "sbom" is not an artifact type`}, true},
	{"attached on an unknown value", "    require:\n", "    require:\n      attached: [{artifactType: a/b, on: child}]\n", []string{`13:42: "child" is not one of index, children`}, true},
	{"attached without a type", "    require:\n", "    require:\n      attached: [{count: 2}]\n", []string{"13:18: missing key artifactType"}, true},
	{"attached and excluded", "    require:\n", "    referrers: {exclude: [a/b]}\n    require:\n      attached: [{artifactType: a/b}]\n", []string{"14:18: a/b is required by attached but excluded by referrers"}, false},
	{"attached and not included", "    require:\n", "    referrers: {include: [a/c, a/d]}\n    require:\n      attached: [{artifactType: a/c}, {artifactType: a/b}]\n", []string{"14:39: a/b is required by attached but not included by referrers"}, false},
	{"attached, included and excluded", "    require:\n", "    referrers: {include: [a/b], exclude: [a/b]}\n    require:\n      attached: [{artifactType: a/b}]\n", []string{"14:18: a/b is required by attached but excluded by referrers"}, false},
	{"include is empty", "    from: prod\n", "    from: prod\n    referrers: {include: []}\n", []string{"9:26: empty list"}, true},
	{"included type", "    from: prod\n", "    from: prod\n    referrers: {include: [sbom]}\n", []string{`9:27: "sbom" is not an artifact type`}, true},
	{"afterApproval", "    from: prod\n", "    from: prod\n    referrers: {afterApproval: bringing}\n", []string{`9:32: "bringing" is not one of leave, bring`}, true},
	{"afterApproval is a boolean", "    from: prod\n", "    from: prod\n    referrers: {afterApproval: true}\n", []string{"9:32: "}, true},
	{"receipt", "    from: prod\n", "    from: prod\n    receipt: true\n", []string{"9:14: receipt: expected a mapping, found the boolean true"}, true},
	{"a receipt with an unknown key", "    from: prod\n", "    from: prod\n    receipt: {keys: a.pem}\n", []string{`9:15: unknown key "keys". Did you mean key?`}, true},
	{"a receipt's key by http", "    from: prod\n", "    from: prod\n    receipt: {key: \"http://receipts.vault.azure.net/keys/release\"}\n", []string{`9:20: "http://receipts.vault.azure.net/keys/release" is not the URL of a key in Key Vault`}, false},
	{"a receipt's key is a secret", "    from: prod\n", "    from: prod\n    receipt: {key: \"https://receipts.vault.azure.net/secrets/release\"}\n", []string{`9:20: "https://receipts.vault.azure.net/secrets/release" is not the URL of a key in Key Vault. Write https://<vault>.vault.azure.net/keys/<name>, or`}, false},
	{"a receipt's key is a variable", "    from: prod\n", "    from: prod\n    receipt: {key: $(key.secureFilePath)}\n", []string{"9:20: "}, false},
	{"a receipt is required by a word", "    from: prod\n", "    from: prod\n    receipt: {required: always}\n", []string{"9:25: required: expected true or false"}, true},
	{"redacted by an unknown name", "    from: prod\n", "    from: prod\n    receipt: {redact: [comment]}\n", []string{`9:24: "comment" is not one of comments, uniqueNames, approvers, requester, egress, rules. Did you mean comments?`}, true},
	{"redacted twice", "    from: prod\n", "    from: prod\n    receipt: {redact: [rules, rules]}\n", []string{`9:31: duplicate entry "rules"`}, true},
	{"redacted is no list", "    from: prod\n", "    from: prod\n    receipt: {redact: rules}\n", []string{"9:23: redact: expected a list"}, true},
	{"a receipt of nobody's approval", "    require:\n      approval: {kind: manual, environment: Production}\n", "    receipt: {required: true}\n    require:\n      approval: {kind: none}\n", []string{"12:25: receipt is required, but approval.kind is none"}, false},
	{"overlap of receipts", "flows:\n", "flows:\n  carts:\n    from: prod\n    to: [dev]\n    repositories: [\"*/cart\"]\n    receipt: {redact: []}\n    require: {approval: {kind: manual, environment: Production}, branches: [refs/heads/main]}\n", []string{"13:3: flows carts and released can bring the same image from prod to dev, but their rules differ"}, false},
	{"sealed is a number", "    require:\n", "    require:\n      sealed: 1\n", []string{"13:15: sealed: expected true or false, found the number 1"}, true},
	{"overlap", "flows:\n", "flows:\n  all:\n    from: prod\n    to: [dev]\n    require: {approval: {kind: none}}\n", []string{"11:3: flows all and released can bring the same image from prod to dev, but their rules differ"}, false},
	{"overlap of patterns", "flows:\n", "flows:\n  carts:\n    from: prod\n    to: [dev]\n    repositories: [\"*/cart\"]\n    tags: [\"<2\"]\n    lock: tag\n", []string{"13:3: flows carts and released can bring the same image from prod to dev, but their rules differ"}, false},
}

func problemLines(t *testing.T, content string) []string {
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

func TestMistakes(t *testing.T) {
	if got := problemLines(t, validFile); got != nil {
		t.Fatalf("the valid file: %q", got)
	}
	for _, c := range mistakes {
		got := problemLines(t, c.file())
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
	up := strings.Replace(validFile, "from: prod\n    to: [dev]", "from: dev\n    to: [prod]", 1)
	if got := problemLines(t, up); got != nil {
		t.Fatalf("%q", got)
	}
	for require, want := range map[string]string{
		"approval: {kind: none}":      "but requires no approval",
		"sealed: true":                "but requires no approval",
		"approval: {kind: manual}":    "names no environment",
		"approval: {minApprovers: 2}": "names no environment",
		"approval: {kind: any, checks: [{definition: 1, resource: P}]}": "names no environment",
	} {
		got := problemLines(t, strings.Replace(up, "approval: {kind: manual, environment: Production}", require, 1))
		if len(got) != 1 || !strings.HasPrefix(got[0], "9:10: ") || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q", require, got)
		}
	}
	for _, require := range []string{
		"approval: {environment: P}",
		"approval: {kind: automated, checks: [{definition: 1, resource: P}]}",
		"approval: {kind: any, environment: P, checks: [{definition: 1, resource: P}]}",
	} {
		if got := problemLines(t, strings.Replace(up, "approval: {kind: manual, environment: Production}", require, 1)); got != nil {
			t.Errorf("%s: %q", require, got)
		}
	}
}

func TestOverlap(t *testing.T) {
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
			got := problemLines(t, same+"    lock: tag\n")
			if c.overlaps != (len(got) == 1 && strings.Contains(got[0], "can bring the same image")) || !c.overlaps && got != nil {
				t.Errorf("%q and %q: %q", order[0], order[1], got)
			}
		}
	}
	// The same rules in another order are the same.
	if got := problemLines(t, head+flow("a", "    to: [dev]\n    require: {branches: [refs/heads/a, refs/heads/b]}\n")+flow("b", "    to: [dev]\n    require: {branches: [refs/heads/b, refs/heads/a]}\n")); got != nil {
		t.Errorf("%q", got)
	}
}

// TestRulesHaveEveryKey checks that each key of a flow, except those for the
// images and registries that it covers, makes two flows differ.
func TestRulesHaveEveryKey(t *testing.T) {
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
			if f.rules() == (&Flow{}).rules() {
				t.Errorf("%s/%s is missing", name, k.name)
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

func TestExamplesAreValid(t *testing.T) {
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
	content := strings.Replace(validFile, "flows:\n", "  idle: {host: idle.azurecr.io, trust: dev}\nflows:\n", 1)
	content = strings.Replace(content, "[dev, production]", "[dev, unused, production]", 1)
	file, err := Parse("flow.yaml", []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range file.Notes {
		got = append(got, n.String())
	}
	want := []string{"2:14: no registry has trust level unused", "6:3: no flow uses registry idle"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAllMistakesTogether(t *testing.T) {
	content, err := os.ReadFile("testdata/wrong.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("wrong.yaml", content)
	if err == nil {
		t.Fatal("it was accepted")
	}
	golden(t, "testdata/wrong.golden", err.Error()+"\n")
	if !strings.HasSuffix(err.Error(), "\nand 3 more") {
		t.Errorf("the other problems are not counted: %s", err)
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
		t.Errorf("%s differs (run with -update to write it):\n%s", name, got)
	}
}

func TestEncodings(t *testing.T) {
	for name, content := range map[string]string{
		"BOM":         "\ufeff" + validFile,
		"CRLF":        strings.ReplaceAll(validFile, "\n", "\r\n"),
		"tab between": strings.Replace(validFile, "from: prod", "from:\tprod", 1),
	} {
		if got := problemLines(t, content); got != nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, c := range map[string]struct{ content, want string }{
		"UTF-16":         {"\xff\xfev\x00e\x00", "1:1: the file is UTF-16. Save it as UTF-8."},
		"Latin-1":        {"version: 1\n# caf\xe9\n", "2:6: byte 0xE9 is not valid UTF-8. Save the file as UTF-8."},
		"tab":            {strings.Replace(validFile, "    from", "  \tfrom", 1), "8:3: the line is indented with a tab. Use spaces."},
		"lone CR":        {"version: 1\rtrust: []\n", "1:11: control character U+000D. Remove it."},
		"NUL":            {"version: 1\x00\n", "1:11: control character U+0000. Remove it."},
		"line separator": {"version: 1 # \u2028trust: []\n", "1:14: control character U+2028. Remove it."},
		"BOM inside":     {"version: 1 \ufeff\n", "1:12: control character U+FEFF. Remove it."},
		"bidi":           {"version: 1 # \u202e\n", "1:14: character U+202E changes the writing direction. Remove it."},
		"10 MB":          {strings.Repeat("a: b\n", 2<<20), "1:1: the file has 10485760 bytes, more than 1048576. Split it."},
		"deep":           {strings.Repeat("[", 5000), "1:1: invalid YAML: "},
		"deep and valid": {"a: " + strings.Repeat("[", 500) + strings.Repeat("]", 500), "1:36: nesting is deeper than 32 levels"},
		"marks":          {"a: [" + strings.Repeat("a,", 400_000) + "]", "1:1: the file has about 400002 entries, more than 100000"},
	} {
		got := problemLines(t, c.content)
		if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	_, err := Parse("flow.yaml", []byte(b.String()))
	var invalid *Invalid
	if !errors.As(err, &invalid) || len(invalid.Problems) != maxReported || invalid.More == 0 {
		t.Fatal(err)
	}
}

// TestThousandsOfMistakes checks that memory and reported problems are bounded.
func TestThousandsOfMistakes(t *testing.T) {
	content := "version: 1\n" + strings.Repeat("\"\xc3\xa9\": [x]\n", 30_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Parse("flow.yaml", []byte(content))
	runtime.ReadMemStats(&after)
	var invalid *Invalid
	if !errors.As(err, &invalid) || len(invalid.Problems) != maxReported || invalid.More < 29_000 {
		t.Fatal(err)
	}
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 100<<20 {
		t.Errorf("%d bytes were allocated", taken)
	}
}

// TestSlowPatterns checks that patterns which are slow to compare give one
// problem.
func TestSlowPatterns(t *testing.T) {
	var b strings.Builder
	b.WriteString(validFile)
	for i := range 900 {
		fmt.Fprintf(&b, "  f%d:\n    from: prod\n    to: [dev]\n    atomic: true\n    repositories: [", i)
		for j := range 3 {
			fmt.Fprintf(&b, "\"%s-%d/x%d\",", strings.Repeat("*a", 60), i, j)
		}
		fmt.Fprintf(&b, "]\n    referrers: {exclude: [a/a%d]}\n", i)
	}
	got := problemLines(t, b.String())
	if len(got) != 1 || !strings.HasPrefix(got[0], "6:1: the flows have too many patterns") {
		t.Errorf("%.300q", got)
	}
}

// TestThousandFlows checks that a large file with ordinary patterns is compared.
func TestThousandFlows(t *testing.T) {
	var b strings.Builder
	b.WriteString(validFile)
	for i := range maxEntries - 1 {
		fmt.Fprintf(&b, "  f%d: {from: prod, to: [dev], repositories: [\"team-%d/**\", \"lib-%d/*\"], tags: [\">=1.0\"], lock: tag}\n", i, i, i)
	}
	if got := problemLines(t, b.String()); got != nil {
		t.Errorf("%.300q", got)
	}
	b.Reset()
	b.WriteString(validFile)
	for i := range maxEntries - 1 {
		fmt.Fprintf(&b, "  f%d: {from: prod, to: [dev], repositories: [\"team-%d/**\"], tags: [\">=1.0\"], require: {approval: {environment: E%d}}}\n", i, i, i)
	}
	if got := problemLines(t, b.String()); got != nil {
		t.Errorf("%.300q", got)
	}
}

// shuffle changes the order of keys and lists, except trust, at all levels.
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

func TestOrderDoesNotMatter(t *testing.T) {
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
		t.Fatalf("only %d files were valid", taken)
	}
}
