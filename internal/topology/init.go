package topology

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"acrpromote/internal/packed"
	"acrpromote/internal/ref"
)

// Kit has the contents of the files that `acrpromote init` writes.
type Kit struct {
	FlowFile   string // valid: Parse accepts it
	Schema     string // flow.schema.json, for editors
	Pipeline   string // azure-pipelines.yml
	Bash       string // grant-roles.sh: commands of the Azure CLI
	PowerShell string // grant-roles.ps1: the same
}

// schemaText is the JSON Schema of the flow file, as package packed reads it.
//
//go:embed flow.schema.json
var schemaText string

// The service connections that the pipeline uses.
const (
	buildConnection  = "build-identity"
	planConnection   = "plan-identity"
	moveConnection   = "release-identity"
	readConnection   = "release-reader"
	targetConnection = "dev-writer"
)

// rulesRepository is the repository that the pipeline reads the flow file from.
const rulesRepository = "release-rules"

// Init returns a flow file, a pipeline and the commands that grant exactly the
// roles that these need. What it cannot know is in <angle brackets>, but never
// in the flow file. The error is an *AnswerError.
func Init(a Answers) (Kit, error) {
	if found := slices.Concat(a.Problems(), a.Missing()); len(found) > 0 {
		return Kit{}, &AnswerError{found}
	}
	a.Environment = cmp.Or(a.Environment, "Production")
	a.MinApprovers = cmp.Or(a.MinApprovers, 1)
	if len(a.Branches) == 0 {
		a.Branches = []string{"refs/heads/main"}
	}
	var hosts []string
	for _, h := range append([]string{a.Production}, a.Development...) {
		host, err := readHost(h)
		if err != nil {
			return Kit{}, err
		}
		hosts = append(hosts, host)
	}
	kit := Kit{FlowFile: a.flowFile(hosts), Schema: packed.Text(schemaText), Pipeline: a.pipeline(hosts)}
	script := a.roles(hosts)
	kit.Bash, kit.PowerShell = script.bash(), script.powerShell()
	if _, err := Parse("flows.yml", []byte(kit.FlowFile)); err != nil {
		// The answers are valid, but not together.
		var found AnswerError
		if invalid, ok := errors.AsType[*Invalid](err); ok {
			for _, p := range invalid.Problems {
				found.add(answerOf(p.Key), mistake{p.Reason, p.Remedy})
			}
		}
		return Kit{}, &found
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
		if !isName(label) {
			label = "registry" // the host is an address
		}
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
	b.WriteString("# yaml-language-server: $schema=flow.schema.json\n# Which images may go where, and whose approval that takes. `acrpromote check` validates it.\nversion: 1\n")
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

// triggers returns the branches that the pipeline runs for, as its trigger names
// them.
func (a Answers) triggers() []string {
	var names []string
	for _, branch := range a.Branches {
		if name, ok := strings.CutPrefix(branch, "refs/heads/"); ok {
			names = append(names, name)
		}
	}
	return names
}

// repository returns the repository that the pipeline builds, or a placeholder.
func (a Answers) repository() string {
	for _, pattern := range a.Repositories {
		if ref.IsRepository(pattern) {
			return pattern
		}
	}
	return "<repository>"
}

func (a Answers) pipeline(hosts []string) string {
	var b strings.Builder
	b.WriteString(`# Build and seal a release candidate, plan its release, and release it after
# approval. The rules are in the repository ` + rulesRepository + `, which the authors of this
# pipeline cannot write to. Replace everything in <angle brackets>, and the names
# of the service connections.
`)
	if branches := a.triggers(); len(branches) > 0 {
		fmt.Fprintf(&b, "trigger:\n  branches:\n    include: %s\n", flowList(branches))
	} else {
		b.WriteString("trigger: none\n")
	}
	b.WriteString(`
resources:
  repositories:
  - repository: rules                          # allows the run to read it
    type: git
    name: ` + rulesRepository + `
    ref: refs/heads/main

variables:
  repository: ` + a.repository() + `

# A pool of your own, whose agents reach the PROD registry.
pool: <your-agents-in-the-prod-network>

stages:
- stage: Build
  jobs:
  - job: image
    uses: {repositories: [rules]}              # lets the job's token read the flow file
    steps:
    # Build the image and push it as $(repository):$(Build.BuildNumber) here.
    - task: AcrPromote@1
      displayName: Seal the release candidate
      inputs:
        action: seal
        azureSubscription: ` + buildConnection + `
`)
	flow := map[bool]string{true: "released", false: "environments"}[len(a.Development) > 0]
	b.WriteString(a.image(hosts, flow, "        "))
	before := "Build"
	for i, tag := range a.Environments {
		targets := "targets: " + yamlReference(hosts[0]+"/$(repository):"+tag) + "\n"
		before = a.approved(&b, hosts, stage{
			name: fmt.Sprintf("Environment%d", i+1), after: before, title: "Move the tag " + tag, environment: tag,
			action: "promote", flow: "environments", targets: targets, source: moveConnection,
		})
	}
	if len(a.Development) > 0 {
		a.approved(&b, hosts, stage{
			name: "Release", after: before, title: "Push the release down", environment: a.Environment,
			action: "invertedPush", flow: "released", source: readConnection, target: targetConnection,
		})
	}
	return b.String()
}

// stage is a stage of the pipeline that takes an approval.
type stage struct {
	name, after, title, environment string
	action, flow, targets           string
	source, target                  string // connections; without a target's, the source's signs in there too
}

// approved writes a stage that plans and the stage that is approved, and returns
// the name of the latter. The plan uses a connection that can only read: Azure
// DevOps asks for the approval of a connection before the stage that uses it.
func (a Answers) approved(b *strings.Builder, hosts []string, s stage) string {
	fmt.Fprintf(b, `
- stage: Plan%[1]s
  displayName: %[2]s
  dependsOn: %[3]s
  jobs:
  - job: plan
    uses: {repositories: [rules]}
    steps:
    - checkout: none
    - task: AcrPromote@1
      displayName: Show what to approve
      inputs:
        action: plan
        azureSubscription: %[4]s       # can only read, in every registry
%[5]s`, s.name, yamlText("Plan: "+strings.ToLower(s.title[:1])+s.title[1:]), s.after, planConnection, a.step(hosts, s, "        "))
	target := ""
	if s.target != "" {
		target = "\n              targetSubscription: " + s.target
	}
	fmt.Fprintf(b, `
- stage: %[1]s
  displayName: %[2]s
  dependsOn: Plan%[1]s
  jobs:
  - deployment: %[3]s
    uses: {repositories: [rules]}
    environment: %[4]s                    # has an approval
    strategy:
      runOnce:
        deploy:
          steps:
          - download: none
          - task: AcrPromote@1
            displayName: %[2]s
            inputs:
              action: %[5]s
              azureSubscription: %[6]s%[7]s
%[8]s`, s.name, yamlText(s.title), strings.ToLower(s.name), yamlText(s.environment), s.action, s.source, target, a.step(hosts, s, "              "))
	return s.name
}

// step returns the inputs that plan and the action have in common.
func (a Answers) step(hosts []string, s stage, indent string) string {
	inputs := a.image(hosts, s.flow, indent)
	if s.targets != "" {
		inputs += indent + s.targets
	}
	return inputs + indent + "environment: " + yamlText(s.environment) + "\n" + indent + "sealed: true\n"
}

// image returns the inputs for the image of this run and its flow.
func (a Answers) image(hosts []string, flow, indent string) string {
	return indent + "source: " + yamlReference(hosts[0]+"/$(repository):$(Build.BuildNumber)") + "\n" +
		indent + "flowFile: " + rulesRepository + "@refs/heads/main:flows.yml\n" +
		indent + "flow: " + flow + "\n"
}

func yamlText(s string) string { return strconv.Quote(s) }

// yamlReference returns an image reference as a YAML value. That of an IPv6 address
// begins like a list.
func yamlReference(s string) string {
	if strings.HasPrefix(s, "[") {
		return yamlText(s)
	}
	return s
}
