package topology

import (
	"strings"
	"testing"

	"acrpromote/internal/rule"
)

const suggesting = `version: 1
trust: [sandbox, production]
registries:
  prod: {host: contosoprod.azurecr.io, trust: production}
  dev: {host: contosodev.azurecr.io, hosts: [contosodev.westeurope.geo.azurecr.io], trust: sandbox}
  six: {host: "[2001:db8::1]:5000", trust: sandbox}
  hub: {host: docker.io, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev, six, hub]
    repositories: ["shop/**"]
    movingTags: [latest]
    as: {repository: "released/{repository}"}
    referrers: {exclude: [application/spdx+json]}
    require:
      approval: {environment: Production, minApprovers: 2, approvers: ["[shop]\\Release Managers"], maxAge: 3d, commentPattern: 'CHG\d+$'}
      branches: [refs/heads/main]
      sealedBy: {projects: [shop], pipelines: [7]}
`

// TestExpressionsInFlowFile puts an expression in place of the value of each key.
func TestExpressionsInFlowFile(t *testing.T) {
	if _, err := Parse("flows.yml", []byte(suggesting)); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{
		"version: 1", "sandbox, production", "contosoprod.azurecr.io", "contosodev.westeurope.geo.azurecr.io", "trust: sandbox", "released:", "from: prod", "[dev, six", "shop/**", "latest", "released/{repository}",
		"application/spdx+json", "environment: Production", "minApprovers: 2", `"[shop]\\Release Managers"`, "maxAge: 3d", `'CHG\d+$'`, "refs/heads/main", "projects: [shop]", "pipelines: [7]",
	} {
		key, _, pair := strings.Cut(value, ": ")
		with := "'$(name)'"
		switch {
		case strings.HasSuffix(value, ":"):
			with = "'$(name)':"
		case pair && strings.Contains(value, "["):
			with = key + ": ['$(name)']"
		case pair:
			with = key + ": '$(name)'"
		case strings.HasPrefix(value, "["):
			with = "['$(name)', six"
		case strings.Contains(suggesting, `"`+value+`"`):
			value = `"` + value + `"`
		}
		content := strings.Replace(suggesting, value, with, 1)
		if content == suggesting {
			t.Fatalf("nothing has %s", value)
		}
		_, err := Parse("flows.yml", []byte(content))
		if err == nil || !strings.Contains(err.Error(), "Azure Pipelines does not replace the variable $(name) in a flow file. Write the value itself.") {
			t.Errorf("%s: %v", with, err)
		}
	}
	two := strings.NewReplacer("environment: Production", `environment: "${{ parameters.env }}"`, "from: prod", `from: "$[variables.from]"`).Replace(suggesting)
	if _, err := Parse("flows.yml", []byte(two)); err == nil || !strings.Contains(err.Error(), "template expression ${{ parameters.env }}") || !strings.Contains(err.Error(), "runtime expression $[variables.from]") {
		t.Errorf("not both are reported: %v", err)
	}
}

// TestSuggestedNames checks what is suggested in place of a name that the file lacks.
func TestSuggestedNames(t *testing.T) {
	file, err := Parse("flows.yml", []byte(suggesting))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		query  Query
		remedy string
	}{
		{Query{From: "contosoprd.azurecr.io"}, "Did you mean contosoprod.azurecr.io? If not, ask"},
		{Query{From: "contosoprod.azurecr.io", To: "contosdev.azurecr.io"}, "Did you mean contosodev.azurecr.io? If not, ask"},
		{Query{From: "contosoprod.azurecr.io", To: "[2001:db8::1]:500"}, "Did you mean [2001:db8::1]:5000?"},
		{Query{From: "fabrikam.azurecr.io"}, "Ask the owners of the flow file to add it."},
		{Query{From: "contosoprod.azurecr.io", Flow: "release"}, "Did you mean released?"},
		{Query{From: "contosoprod.azurecr.io", Flow: "base"}, "Use one of: released."},
	} {
		c.query.Repository, c.query.Tag = "shop/cart", "1.4.2"
		_, refused := file.Select(c.query)
		if refused == nil || refused.Rule != rule.NotInFlow || !strings.HasPrefix(refused.Remedy, c.remedy) {
			t.Errorf("%+v: %+v", c.query, refused)
		}
	}
	for _, host := range []string{"docker.io", "index.docker.io", "registry-1.docker.io", "Docker.io:443"} {
		if r, known := file.ByHost(host); !known || r.Name != "hub" {
			t.Errorf("%s is not the registry hub", host)
		}
	}
	if r, known := file.ByHost("[2001:DB8:0::1]:5000"); !known || r.Name != "six" {
		t.Error("another form of the IPv6 address is not the registry six")
	}
}
