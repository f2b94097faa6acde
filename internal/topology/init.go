package topology

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Answers are what `acrpromote init` was told. Hosts are registries' host
// names. Development, Environments or both are needed.
type Answers struct {
	Production   string
	Development  []string // registries that released images go down to
	Environments []string // tags of the PROD registry that move, as test, stage, production
	Repositories []string // patterns; none: all
	Branches     []string // full refs that release candidates are built on; none: refs/heads/main
	Environment  string   // whose approval counts; empty: Production
	MinApprovers int      // 0: 1
}

// Kit is what `acrpromote init` writes.
type Kit struct {
	FlowFile string // sound: Parse takes it
	Pipeline string // azure-pipelines.yml
	Roles    string // commands of the Azure CLI
}

// The service connections that the pipeline names.
const (
	buildConnection   = "build-identity"
	releaseConnection = "release-identity"
	targetConnection  = "dev-identity"
)

// Init writes a flow file, a pipeline and the commands that grant exactly the
// roles that these need. What it cannot know stands in <angle brackets>, never
// in the flow file.
func Init(a Answers) (Kit, error) {
	if len(a.Development) == 0 && len(a.Environments) == 0 {
		return Kit{}, mistake{"There is nowhere for images to go.", "Name the DEV registries, or the tags of the environments."}
	}
	if a.MinApprovers < 0 || a.MinApprovers > mostCount {
		return Kit{}, mistake{fmt.Sprintf("%d is no number of approvers from 1 to %d.", a.MinApprovers, mostCount), ""}
	}
	a.Environment = cmp.Or(a.Environment, "Production")
	a.MinApprovers = cmp.Or(a.MinApprovers, 1)
	if len(a.Branches) == 0 {
		a.Branches = []string{"refs/heads/main"}
	}
	var hosts []string
	seen := map[string]bool{}
	for _, h := range append([]string{a.Production}, a.Development...) {
		host, err := readHost(h)
		if err != nil {
			return Kit{}, err
		}
		if seen[host] {
			return Kit{}, mistake{fmt.Sprintf("%s is named twice.", host), "A registry has one trust."}
		}
		seen[host] = true
		hosts = append(hosts, host)
	}
	kit := Kit{FlowFile: a.flowFile(hosts), Pipeline: a.pipeline(hosts), Roles: a.roles(hosts)}
	if _, err := Parse("flows.yml", []byte(kit.FlowFile)); err != nil {
		return Kit{}, err
	}
	return kit, nil
}

// registryNames are prod, and the first labels of the others' hosts.
func registryNames(hosts []string) []string {
	names, seen := []string{"prod"}, map[string]bool{"prod": true}
	for _, host := range hosts[1:] {
		label, _, _ := strings.Cut(host, ".")
		label, _, _ = strings.Cut(label, ":")
		name := label
		for i := 2; seen[name]; i++ {
			name = label + "-" + strconv.Itoa(i)
		}
		seen[name] = true
		names = append(names, name)
	}
	return names
}

func (a Answers) flowFile(hosts []string) string {
	names := registryNames(hosts)
	var b strings.Builder
	b.WriteString("# Which image may go where, and on whose word. `acrpromote check` reads it.\nversion: 1\n")
	if len(a.Development) > 0 {
		b.WriteString("trust: [dev, production]          # least to most trusted\n")
	} else {
		b.WriteString("trust: [production]\n")
	}
	b.WriteString("registries:\n")
	fmt.Fprintf(&b, "  prod: {host: %q, trust: production, immutable: true}\n", hosts[0])
	for i, host := range hosts[1:] {
		fmt.Fprintf(&b, "  %q: {host: %q, trust: dev}\n", names[i+1], host)
	}
	b.WriteString("flows:\n")
	repositories := ""
	if len(a.Repositories) > 0 {
		repositories = "    repositories: " + flowList(a.Repositories) + "\n"
	}
	if len(a.Development) > 0 {
		b.WriteString("  released:                       # the inverted push\n    from: prod\n")
		fmt.Fprintf(&b, "    to: %s\n%s    require:\n", flowList(names[1:]), repositories)
		fmt.Fprintf(&b, "      approval: {kind: manual, environment: %q, minApprovers: %d, code: true}\n", a.Environment, a.MinApprovers)
		fmt.Fprintf(&b, "      branches: %s\n      sealed: true\n", flowList(a.Branches))
	}
	if len(a.Environments) > 0 {
		b.WriteString("  environments:                   # a tag per environment; each move on the approval of its own\n    from: prod\n    to: [prod]\n")
		fmt.Fprintf(&b, "%s    movingTags: %s\n    require:\n", repositories, flowList(a.Environments))
		fmt.Fprintf(&b, "      approval: {kind: manual, environment: \"{tag}\", minApprovers: %d}\n", a.MinApprovers)
		fmt.Fprintf(&b, "      branches: %s\n", flowList(a.Branches))
	}
	return b.String()
}

// flowList writes a list of YAML in one line. Go's quoting is YAML's for all
// that the flow file takes.
func flowList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (a Answers) pipeline(hosts []string) string {
	var b strings.Builder
	b.WriteString(`# Build and seal a release candidate, then let it out on an approval.
# The rules live in a repository that this pipeline's authors cannot write to.
trigger: [main]

resources:
  repositories:
  - repository: rules
    type: git
    name: <project>/<repository-of-the-rules>
    ref: refs/heads/main

variables:
  repository: <repository>
  flowFile: <project>/<repository-of-the-rules>@refs/heads/main:flows.yml   # the name, no alias

stages:
- stage: Build
  jobs:
  - job: image
    pool: {vmImage: ubuntu-latest}
    uses: {repositories: [rules]}              # lets the job's token read the flow file
    steps:
    # Build the image and push it as $(repository):$(Build.BuildNumber) here.
    - task: AcrPromote@1
      displayName: Seal the release candidate
      inputs:
        action: seal
        azureSubscription: ` + buildConnection + `
        source: ` + a.source(hosts) + `
        flowFile: $(flowFile)
`)
	fmt.Fprintf(&b, "        flow: %s\n", map[bool]string{true: "released", false: "environments"}[len(a.Development) > 0])
	before := "Build"
	stage := func(name, environment, inputs string) {
		fmt.Fprintf(&b, `
- stage: %s
  dependsOn: %s
  jobs:
  - deployment: %s
    pool: {vmImage: ubuntu-latest}
    uses: {repositories: [rules]}
    environment: %s
    strategy:
      runOnce:
        deploy:
          steps:
          - task: AcrPromote@1
            inputs:
              azureSubscription: %s
              source: %s
              flowFile: $(flowFile)
              environment: %s
%s`, name, before, strings.ToLower(name), yamlText(environment), releaseConnection, a.source(hosts), yamlText(environment), inputs)
		before = name
	}
	for i, tag := range a.Environments {
		stage(fmt.Sprintf("Environment%d", i+1), tag, fmt.Sprintf("              action: promote\n              flow: environments\n              targets: %s/$(repository):%s\n", hosts[0], tag))
	}
	if len(a.Development) > 0 {
		inputs := "              action: invertedPush\n              flow: released\n              targetSubscription: " + targetConnection + "\n              targets: |\n"
		for _, host := range hosts[1:] {
			inputs += "                " + host + "\n"
		}
		stage("Release", a.Environment, inputs)
	}
	return b.String()
}

// source is the image of this run. Braces of the flow's own are not in it.
func (a Answers) source(hosts []string) string {
	return hosts[0] + "/$(repository):$(Build.BuildNumber)"
}

func yamlText(s string) string { return strconv.Quote(s) }

func (a Answers) roles(hosts []string) string {
	var b strings.Builder
	b.WriteString(`# The roles that the pipeline's identities need, and no others: no identity
# here writes on both sides. Put in the object id of each service connection's
# service principal. In a registry with ABAC role assignments a condition can
# narrow each of them to its repositories.
#
# What these roles cannot do: make this task the only way. For that, add a
# required template and an approval as checks on each service connection.
`)
	grant := func(who, host, role, why string) {
		fmt.Fprintf(&b, "\n# %s, at %s: %s.\n", who, host, why)
		name, azure := registryName(host)
		if !azure {
			fmt.Fprintf(&b, "# %s is no Azure Container Registry: grant it there, in its own way.\n", host)
			return
		}
		fmt.Fprintf(&b, "az role assignment create --role %q --assignee-object-id \"<object id of %s>\" --assignee-principal-type ServicePrincipal --scope \"$(az acr show --name %s --query id --output tsv)\"\n", role, who, name)
	}
	const reader, writer = "Container Registry Repository Reader", "Container Registry Repository Writer"
	grant(buildConnection, hosts[0], writer, "push the release candidate, seal and lock it (AcrPush cannot lock)")
	if len(a.Environments) > 0 {
		grant(releaseConnection, hosts[0], writer, "read images and their locks, and move the tags of the environments")
	} else {
		grant(releaseConnection, hosts[0], reader, "read images and their locks (AcrPull cannot read locks)")
	}
	for _, host := range hosts[1:] {
		grant(targetConnection, host, "AcrPush", "receive released images; "+writer+" instead where the registry uses ABAC, or where targets are to be locked")
	}
	return b.String()
}

// registryName is the name of the registry that a host belongs to.
func registryName(host string) (string, bool) {
	label, domain, _ := strings.Cut(host, ".")
	switch domain {
	case "azurecr.io", "azurecr.cn", "azurecr.us":
		// A host may bear a hash behind the name, which has no dash itself.
		name, _, _ := strings.Cut(label, "-")
		return name, true
	}
	return "", false
}
