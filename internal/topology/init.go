package topology

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Answers are the answers given to `acrpromote init`. Registries are given by
// their host names. Development, Environments or both are required.
type Answers struct {
	Production   string
	Development  []string // the registries that released images go down to
	Environments []string // the tags of the PROD registry that move, such as test, stage, production
	Repositories []string // patterns; if empty, all repositories
	Branches     []string // full refs that release candidates are built from; if empty, refs/heads/main
	Environment  string   // whose approval counts; if empty, Production
	MinApprovers int      // if 0, 1
}

// Kit has the contents of the files that `acrpromote init` writes.
type Kit struct {
	FlowFile   string // valid: Parse accepts it
	Pipeline   string // azure-pipelines.yml
	Bash       string // grant-roles.sh: commands of the Azure CLI
	PowerShell string // grant-roles.ps1: the same
}

// The service connections that the pipeline uses.
const (
	buildConnection   = "build-identity"
	releaseConnection = "release-identity"
	targetConnection  = "dev-identity"
)

// Init returns a flow file, a pipeline and the commands that grant exactly the
// roles that these need. What it cannot know is in <angle brackets>, but never
// in the flow file.
func Init(a Answers) (Kit, error) {
	if len(a.Development) == 0 && len(a.Environments) == 0 {
		return Kit{}, mistake{"there are no targets", "Name the DEV registries, the tags of the environments, or both."}
	}
	if a.MinApprovers < 0 || a.MinApprovers > maxCount {
		return Kit{}, mistake{fmt.Sprintf("the number of approvers is %d, not 1 to %d", a.MinApprovers, maxCount), ""}
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
			return Kit{}, mistake{"duplicate registry " + host, "A registry has one trust level."}
		}
		seen[host] = true
		hosts = append(hosts, host)
	}
	kit := Kit{FlowFile: a.flowFile(hosts), Pipeline: a.pipeline(hosts)}
	script := a.roles(hosts)
	kit.Bash, kit.PowerShell = script.bash(), script.powerShell()
	if _, err := Parse("flows.yml", []byte(kit.FlowFile)); err != nil {
		return Kit{}, err
	}
	return kit, nil
}

// registryNames returns names for the registries: prod for the first, and the
// first label of the host for the others.
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
	b.WriteString("# Which images may go where, and whose approval that takes. `acrpromote check` validates it.\nversion: 1\n")
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
		b.WriteString("  environments:                   # one tag per environment; moving it needs that environment's approval\n    from: prod\n    to: [prod]\n")
		fmt.Fprintf(&b, "%s    movingTags: %s\n    require:\n", repositories, flowList(a.Environments))
		fmt.Fprintf(&b, "      approval: {kind: manual, environment: \"{tag}\", minApprovers: %d}\n", a.MinApprovers)
		fmt.Fprintf(&b, "      branches: %s\n      sealed: true\n", flowList(a.Branches))
	}
	return b.String()
}

// flowList returns a YAML list on one line. For the values that a flow file
// accepts, Go's quoting is valid YAML.
func flowList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (a Answers) pipeline(hosts []string) string {
	var b strings.Builder
	b.WriteString(`# Build and seal a release candidate, then release it after approval.
# The rules are in a repository that this pipeline's authors cannot write to.
trigger: [main]

resources:
  repositories:
  - repository: rules
    type: git
    name: <project>/<repository-of-the-rules>
    ref: refs/heads/main

variables:
  repository: <repository>
  flowFile: <project>/<repository-of-the-rules>@refs/heads/main:flows.yml   # the repository's name, not its alias

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

// source returns the image of this run.
func (a Answers) source(hosts []string) string {
	return hosts[0] + "/$(repository):$(Build.BuildNumber)"
}

func yamlText(s string) string { return strconv.Quote(s) }
