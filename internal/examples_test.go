package internal_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"acrpromote/internal/agent"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// form has the inputs of a task.json.
type form struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Groups []struct {
		Name        string `json:"name"`
		VisibleRule string `json:"visibleRule"`
	} `json:"groups"`
	Inputs []struct {
		Name        string            `json:"name"`
		Type        string            `json:"type"`
		Required    bool              `json:"required"`
		Group       string            `json:"groupName"`
		VisibleRule string            `json:"visibleRule"`
		Options     map[string]string `json:"options"`
	} `json:"inputs"`
}

func readForm(t *testing.T, file string) form {
	t.Helper()
	var f form
	if err := json.Unmarshal([]byte(read(t, file)), &f); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return f
}

// visible evaluates a visibility rule: conditions joined by || or by &&.
func visible(rule string, inputs map[string]string) bool {
	if rule == "" {
		return true
	}
	holds := func(part string) bool {
		if name, value, not := strings.Cut(part, " != "); not {
			return inputs[name] != value
		}
		name, value, _ := strings.Cut(part, " = ")
		return inputs[name] == value
	}
	if strings.Contains(rule, " && ") {
		return !slices.ContainsFunc(strings.Split(rule, " && "), func(p string) bool { return !holds(p) })
	}
	return slices.ContainsFunc(strings.Split(rule, " || "), holds)
}

// problems returns what the server or the task would reject in a step's inputs.
func (f form) problems(inputs map[string]string) []string {
	var found []string
	add := func(format string, arguments ...any) { found = append(found, fmt.Sprintf(format, arguments...)) }
	known := map[string]bool{}
	for _, in := range f.Inputs {
		known[in.Name] = true
		value, given := inputs[in.Name]
		if !given {
			if in.Required {
				add("%s is required", in.Name)
			}
			continue
		}
		if strings.TrimSpace(value) == "" {
			add("%s is empty", in.Name)
		}
		if !visible(in.VisibleRule, inputs) {
			add("%s is nothing that %s takes", in.Name, inputs["action"])
		}
		for _, g := range f.Groups {
			if g.Name == in.Group && !visible(g.VisibleRule, inputs) {
				add("%s lies in the group %s, which %s does not show", in.Name, g.Name, inputs["action"])
			}
		}
		if _, there := in.Options[value]; in.Type == "pickList" && len(in.Options) > 0 && !there {
			add("%s cannot be %q", in.Name, value)
		}
		if in.Type == "boolean" && value != "true" && value != "false" {
			add("%s is %q, and may be true or false", in.Name, value)
		}
	}
	for name := range inputs {
		if !known[name] {
			add("there is no input %s", name)
		}
	}
	return append(found, references(inputs)...)
}

var (
	placeholder = regexp.MustCompile(`<[a-z-]+>`)
	expression  = regexp.MustCompile(`\$\{\{[^}]*\}\}|\$\([^)]*\)`)
)

// references parses source and targets like the program does, with values for
// placeholders and expressions.
func references(inputs map[string]string) []string {
	var found []string
	// A variable may hold a whole reference, as the examples' do.
	whole := strings.NewReplacer("$(image)", "<prod>.azurecr.io/shop/cart:1", "$(repository):", "<one>.azurecr.io/shop/cart:", "$(prod)", "<prod>.azurecr.io",
		"$(dev)", "<dev>.azurecr.io", "$(staging)", "<staging>.azurecr.io", "$(uat)", "<uat>.azurecr.io")
	filled := func(text string) string {
		return expression.ReplaceAllString(placeholder.ReplaceAllStringFunc(whole.Replace(text), func(p string) string {
			return strings.ReplaceAll(strings.Trim(p, "<>"), "-", "")
		}), "1")
	}
	if inputs["action"] == agent.Check {
		if inputs["flowFile"] == "" {
			found = append(found, "check takes a flow file")
		}
		return found
	}
	if inputs["action"] == agent.Doctor && inputs["flowFile"] != "" && inputs["source"]+inputs["targets"] == "" {
		return found
	}
	if inputs["action"] == agent.Audit && inputs["flowFile"] != "" && inputs["flow"] != "" && inputs["source"]+inputs["targets"] == "" {
		return found // a whole flow, or a set of it
	}
	set := inputs["images"] != "" || inputs["imagesFrom"] != ""
	if set && (inputs["flowFile"] == "" || inputs["flow"] == "" || inputs["source"] != "" || inputs["targets"] != "") {
		return append(found, "a set of images goes with a flow, and with neither source nor targets")
	}
	if set {
		return found
	}
	source, err := ref.ParseSource(filled(inputs["source"]))
	if err != nil {
		return append(found, err.Error())
	}
	targets := strings.FieldsFunc(inputs["targets"], func(r rune) bool { return r == '\n' || r == ',' })
	for _, line := range targets {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if _, err := ref.ParseTarget(filled(strings.TrimSpace(line)), source); err != nil {
			found = append(found, err.Error())
		}
	}
	if inputs["action"] == "verifyReceipt" {
		if inputs["receiptKeys"] == "" {
			found = append(found, "there is no key")
		}
		return found
	}
	if inputs["action"] != "seal" && len(targets) == 0 && inputs["flowFile"] == "" {
		found = append(found, "there are no targets")
	}
	return found
}

// steps returns the inputs of every step of a task in a YAML document.
func steps(node *yaml.Node, task string) []map[string]string {
	var found []map[string]string
	if node.Kind == yaml.MappingNode {
		var name, inputs *yaml.Node
		for i := 0; i+1 < len(node.Content); i += 2 {
			switch node.Content[i].Value {
			case "task":
				name = node.Content[i+1]
			case "inputs":
				inputs = node.Content[i+1]
			}
		}
		if name != nil && name.Value == task {
			step := map[string]string{}
			if inputs != nil {
				for i := 0; i+1 < len(inputs.Content); i += 2 {
					step[inputs.Content[i].Value] = inputs.Content[i+1].Value
				}
			}
			found = append(found, step)
		}
	}
	for _, child := range node.Content {
		found = append(found, steps(child, task)...)
	}
	return found
}

// check checks the steps of a YAML text against the task, and returns their
// number.
func (f form) check(t *testing.T, where, text string) int {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Errorf("%s: %v", where, err)
		return 0
	}
	found := steps(&document, f.Name+"@1")
	for _, inputs := range found {
		for _, problem := range f.problems(inputs) {
			t.Errorf("%s, action %s: %s", where, inputs["action"], problem)
		}
	}
	return len(found)
}

func TestExamples(t *testing.T) {
	task := readForm(t, "../task/task.json")
	actions, files := map[string]int{}, 0
	err := filepath.WalkDir("../examples", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".yml") || filepath.Base(filepath.Dir(file)) == "flows" {
			return err
		}
		files++
		text := read(t, file)
		var pipeline struct {
			Trigger any `yaml:"trigger"`
			Extends any `yaml:"extends"`
			Stages  any `yaml:"stages"`
			Jobs    any `yaml:"jobs"`
		}
		if err := yaml.Unmarshal([]byte(text), &pipeline); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if pipeline.Extends == nil && pipeline.Stages == nil && pipeline.Jobs == nil {
			t.Errorf("%s has neither stages, jobs nor a template that it extends", file)
		}
		if n := task.check(t, file, text); n == 0 && pipeline.Extends == nil {
			t.Errorf("%s has no step of the task", file)
		}
		for _, action := range regexp.MustCompile(`(?m)^ +action: (\w+)$`).FindAllStringSubmatch(text, -1) {
			actions[action[1]]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{"seal", "promote", "invertedPush", "plan", "audit", "verifyReceipt", "doctor", "check"} {
		if actions[action] == 0 {
			t.Errorf("no example shows %s", action)
		}
	}
	readme := read(t, "../examples/README.md")
	err = filepath.WalkDir("../examples", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() != "README.md" {
			relative, _ := filepath.Rel("../examples", file)
			if link := "(" + filepath.ToSlash(relative) + ")"; !strings.Contains(readme, link) {
				t.Errorf("examples/README.md does not link %s", link)
			}
		}
		return err
	})
	if err != nil || files < 7 {
		t.Errorf("%d pipelines were found: %v", files, err)
	}
}

// TestStepsInHelp checks the step in the help of each action like those of the
// examples.
func TestStepsInHelp(t *testing.T) {
	task := readForm(t, "../task/task.json")
	for _, action := range agent.TaskActions {
		_, step, _ := strings.Cut(agent.HelpText(action, 80), "\nIn a pipeline\n")
		step, _, _ = strings.Cut(step, "\n\n")
		if n := task.check(t, "help "+action, step); n != 1 {
			t.Errorf("help %s has %d steps:\n%s", action, n, step)
		}
	}
}

// pinned are the variables that a job with connections must pin in a template.
var pinned = []string{"NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "BASH_ENV", "LD_PRELOAD", "LD_AUDIT", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// templateProblems returns what would let the author of a pipeline bypass a
// template that it extends.
func templateProblems(text string) []string {
	type job struct {
		Job        string    `yaml:"job"`
		Deployment string    `yaml:"deployment"`
		Pool       string    `yaml:"pool"`
		Variables  yaml.Node `yaml:"variables"`
		Steps      yaml.Node `yaml:"steps"`
		Strategy   yaml.Node `yaml:"strategy"`
	}
	var template struct {
		Parameters []struct {
			Name   string   `yaml:"name"`
			Type   string   `yaml:"type"`
			Values []string `yaml:"values"`
		} `yaml:"parameters"`
		Stages []struct {
			Jobs []job `yaml:"jobs"`
		} `yaml:"stages"`
	}
	if err := yaml.Unmarshal([]byte(text), &template); err != nil {
		return []string{err.Error()}
	}
	var found, free []string
	for _, p := range template.Parameters {
		if len(p.Values) == 0 {
			free = append(free, "parameters."+p.Name)
		}
		switch strings.ToLower(p.Type) {
		case "string", "boolean", "number":
		default:
			found = append(found, fmt.Sprintf("the parameter %s has the type %q, which can hold steps", p.Name, p.Type))
		}
	}
	for _, stage := range template.Stages {
		for _, j := range stage.Jobs {
			name := j.Job + j.Deployment
			connections, authors := false, false
			for _, step := range mappings(&j.Steps, &j.Strategy) {
				inputs := step["inputs"]
				for i := 0; inputs != nil && i+1 < len(inputs.Content); i += 2 {
					switch strings.ToLower(inputs.Content[i].Value) {
					case "azuresubscription", "targetsubscription", "registryconnections", "connectedservicename", "connectedservicenamearm", "containerregistry", "dockerregistryserviceconnection":
						connections = true
					}
				}
				if runsOneOf(free, step) {
					authors = true
					if commands := step["target"]; commands == nil || !slices.ContainsFunc(commands.Content, func(n *yaml.Node) bool { return n.Value == "restricted" }) {
						found = append(found, "a script of the author in the job "+name+" has no target with restricted commands")
					}
				}
			}
			if connections && authors {
				found = append(found, "the job "+name+" has connections, and runs a script of the author")
			}
			if strings.Contains(j.Pool, "parameters.") {
				found = append(found, "the author chooses the pool of the job "+name)
			}
			if !connections {
				continue
			}
			empty := map[string]bool{}
			for _, variable := range mappings(&j.Variables) {
				if n, v, r := variable["name"], variable["value"], variable["readonly"]; n != nil && v != nil && v.Value == "" && r != nil && r.Value == "true" {
					empty[n.Value] = true
				}
			}
			for _, variable := range pinned {
				if !empty[variable] {
					found = append(found, fmt.Sprintf("the job %s does not pin %s", name, variable))
				}
			}
		}
	}
	return found
}

// runsOneOf reports whether a step runs a script that one of the parameters
// names, or is part of.
func runsOneOf(parameters []string, step map[string]*yaml.Node) bool {
	scripts := []*yaml.Node{step["script"], step["bash"], step["pwsh"], step["powershell"]}
	if inputs := step["inputs"]; inputs != nil {
		for i := 0; i+1 < len(inputs.Content); i += 2 {
			switch inputs.Content[i].Value {
			case "filePath", "scriptPath", "script", "inlineScript":
				scripts = append(scripts, inputs.Content[i+1])
			}
		}
	}
	return slices.ContainsFunc(scripts, func(n *yaml.Node) bool {
		return n != nil && slices.ContainsFunc(parameters, func(p string) bool { return strings.Contains(n.Value, p) })
	})
}

// mappings returns every mapping in the nodes, by key.
func mappings(nodes ...*yaml.Node) []map[string]*yaml.Node {
	var found []map[string]*yaml.Node
	for _, node := range nodes {
		if node.Kind == yaml.MappingNode {
			m := map[string]*yaml.Node{}
			for i := 0; i+1 < len(node.Content); i += 2 {
				m[node.Content[i].Value] = node.Content[i+1]
			}
			found = append(found, m)
		}
		found = append(found, mappings(node.Content...)...)
	}
	return found
}

// TestTemplateExamples reads every template of the examples and the docs as an
// attacker who may write a pipeline that extends it.
func TestTemplateExamples(t *testing.T) {
	texts := map[string]string{}
	err := filepath.WalkDir("../examples", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(file, ".yml") {
			texts[file] = read(t, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range pages(t) {
		for i, block := range regexp.MustCompile("(?ms)^```ya?ml\n(.*?)^```$").FindAllStringSubmatch(p.text, -1) {
			texts[fmt.Sprintf("%s, block %d", name, i+1)] = block[1]
		}
	}
	templates := 0
	for where, text := range texts {
		for _, kind := range []string{"step", "job", "deployment", "stage"} {
			if regexp.MustCompile(`(?mi)\btype:\s*["']?` + kind + `(List)?["']?\s*(#|}|,|$)`).MatchString(text) {
				t.Errorf("%s takes a parameter of the type %s", where, kind)
			}
		}
		if !strings.Contains(where, "required-template/") || !strings.Contains(text, "\nstages:") {
			continue
		}
		templates++
		for _, problem := range templateProblems(text) {
			t.Errorf("%s: %s", where, problem)
		}
	}
	if templates == 0 {
		t.Error("no template was found")
	}

	// What the test would find.
	good := read(t, "../examples/required-template/release.yml")
	for _, c := range []struct{ old, new, want string }{
		{"type: string\n\nstages", "type: stepList\n\nstages", "can hold steps"},
		{"type: string\n\nstages", "type: object\n\nstages", "can hold steps"},
		{"type: string\n\nstages", "type: jobList\n\nstages", "can hold steps"},
		{"{name: NODE_OPTIONS, value: '', readonly: true}", "{name: NODE_OPTIONS, value: ''}", "does not pin NODE_OPTIONS"},
		{"{name: BASH_ENV, value: '', readonly: true}", "{name: BASH_ENV, value: x, readonly: true}", "does not pin BASH_ENV"},
		{"commands: restricted", "commands: any", "restricted commands"},
		{"az acr login", "${{ parameters.script }}; az acr login", "has connections, and runs a script"},
		{"    - checkout: none\n", "    - bash: ${{ parameters.script }}\n", "has connections, and runs a script"},
		{"pool: <your-build-agents>", "pool: ${{ parameters.script }}", "chooses the pool"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Fatalf("the template has no %q", c.old)
		}
		if found := strings.Join(templateProblems(bad), "; "); !strings.Contains(found, c.want) {
			t.Errorf("with %q: %q, want %q", c.new, found, c.want)
		}
	}
}

// flowExamples returns the flow files of the examples by name, with hosts instead
// of placeholders.
func flowExamples(t *testing.T) map[string]*topology.File {
	t.Helper()
	files, err := filepath.Glob("../examples/flows/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*topology.File{}
	for _, file := range files {
		text := placed(read(t, file))
		parsed, err := topology.Parse(file, []byte(text))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for _, note := range parsed.Notes {
			t.Errorf("%s:%s", file, note)
		}
		found[strings.TrimSuffix(filepath.Base(file), ".yml")] = parsed
	}
	return found
}

// placed replaces <your-registry> with your-registry.
func placed(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(p string) string { return strings.Trim(p, "<>") })
}

// variables returns a replacer for the variables that a pipeline sets itself, and
// for those of a run.
func variables(t *testing.T, text, version string) *strings.Replacer {
	t.Helper()
	var pipeline struct {
		Variables map[string]string `yaml:"variables"`
	}
	if err := yaml.Unmarshal([]byte(text), &pipeline); err != nil {
		t.Fatal(err)
	}
	known := []string{"$(Build.BuildNumber)", version, "${{ parameters.version }}", version}
	for name, value := range pipeline.Variables {
		known = append(known, "$("+name+")", strings.ReplaceAll(value, "$(Build.BuildNumber)", version))
	}
	return strings.NewReplacer(known...)
}

// TestFlowExamples checks that each example flow file is valid, has a page with a
// picture and a pipeline, and covers every step of the pipeline.
func TestFlowExamples(t *testing.T) {
	flows := flowExamples(t)
	if len(flows) < 6 {
		t.Fatalf("only %d flow files were found", len(flows))
	}
	for name, file := range flows {
		text := read(t, "../examples/"+name+".yml")
		page := read(t, "../docs/topology-"+name+".md")
		for _, link := range []string{"(topology-" + name + ".svg)", "(../examples/" + name + ".yml)", "(../examples/flows/" + name + ".yml)"} {
			if !strings.Contains(page, link) {
				t.Errorf("docs/topology-%s.md does not show %s", name, link)
			}
		}
		if _, flow, _ := strings.Cut(read(t, "../examples/flows/"+name+".yml"), "\n"); !strings.Contains(page, "```yml\n"+flow+"```\n") {
			t.Errorf("docs/topology-%s.md shows another flow file than examples/flows/%s.yml", name, name)
		}
		if schema := "# yaml-language-server: $schema=../../internal/topology/flow.schema.json\n"; !strings.HasPrefix(read(t, "../examples/flows/"+name+".yml"), schema) {
			t.Errorf("examples/flows/%s.yml does not name its schema", name)
		}
		var document yaml.Node
		if err := yaml.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		covered := 0
		for _, inputs := range steps(&document, "AcrPromote@1") {
			// A step may be for one of several lines of versions.
			var refused []string
			for _, version := range []string{"2.4.1", "1.4.2", "8.0.11"} {
				if refused = against(t, file, inputs, variables(t, text, version)); len(refused) == 0 {
					covered++
					break
				}
			}
			if len(refused) > 0 {
				t.Errorf("examples/%s.yml, action %s: %q", name, inputs["action"], refused)
			}
		}
		if covered == 0 {
			t.Errorf("examples/%s.yml has no step", name)
		}
	}
}

// TestFlowExamplesRefuse checks that TestFlowExamples would find violations.
func TestFlowExamplesRefuse(t *testing.T) {
	file, nothing := flowExamples(t)["two-registries"], strings.NewReplacer()
	for source, want := range map[string]string{
		"<your-prod-registry>.azurecr.io/shop/cart:1": "",
		"<your-dev-registry>.azurecr.io/shop/cart:1":  "no flow leads up from dev",
		"<another>.azurecr.io/shop/cart:1":            "no registry with host",
	} {
		step := map[string]string{"action": "promote", "source": source, "targets": "<your-prod-registry>.azurecr.io", "flowFile": "flows.yml"}
		if want == "" {
			step["action"], step["targets"] = "invertedPush", ""
		}
		if found := strings.Join(against(t, file, step, nothing), "; "); (found == "") != (want == "") || !strings.Contains(found, want) {
			t.Errorf("%s: %q, want %q", source, found, want)
		}
	}
}

// TestInitFollowsTheAdvice checks the pipelines that init writes like the examples:
// the task accepts each step, the flow file covers it, and each approval is preceded
// by a plan that uses no connection of the stage that is approved.
func TestInitFollowsTheAdvice(t *testing.T) {
	task := readForm(t, "../task/task.json")
	for name, answers := range map[string]topology.Answers{
		"both":         {Production: "shopprod.azurecr.io", Development: []string{"payments.azurecr.io", "web.example.com:5000"}, Environments: []string{"test", "production"}, Repositories: []string{"shop/**", "shop/cart"}, MinApprovers: 2},
		"sandbox":      {Production: "shopprod.azurecr.io", Development: []string{"shopdev.azurecr.io"}},
		"environments": {Production: "[2001:db8::1]:5000", Environments: []string{"stage", "production"}, Branches: []string{"refs/heads/release/*"}},
	} {
		kit, err := topology.Init(answers)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file, err := topology.Parse("flows.yml", []byte(kit.FlowFile))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		approvals := len(answers.Environments) + min(len(answers.Development), 1)
		if n := task.check(t, name, kit.Pipeline); n != 1+2*approvals {
			t.Errorf("%s has %d steps, want %d", name, n, 1+2*approvals)
		}
		var document yaml.Node
		if err := yaml.Unmarshal([]byte(kit.Pipeline), &document); err != nil {
			t.Fatal(err)
		}
		var planned map[string]string
		for i, inputs := range steps(&document, "AcrPromote@1") {
			if refused := against(t, file, inputs, variables(t, kit.Pipeline, "1.4.2")); len(refused) > 0 {
				t.Errorf("%s, action %s: %q", name, inputs["action"], refused)
			}
			if inputs["flowFile"] != "release-rules@refs/heads/main:flows.yml" || (inputs["sealed"] == "true") != (i > 0) {
				t.Errorf("%s, action %s: the flow file is %s, and sealed is %q", name, inputs["action"], inputs["flowFile"], inputs["sealed"])
			}
			switch {
			case i == 0:
			case i%2 == 1:
				planned = inputs
				if inputs["action"] != agent.Plan || inputs["targetSubscription"] != "" {
					t.Errorf("%s: step %d is %v", name, i, inputs)
				}
			default:
				if inputs["azureSubscription"] == planned["azureSubscription"] || inputs["targetSubscription"] == planned["azureSubscription"] {
					t.Errorf("%s: the plan uses a connection of the action: %v", name, inputs)
				}
				for _, in := range []string{"source", "targets", "flow", "environment"} {
					if inputs[in] != planned[in] {
						t.Errorf("%s: %s is %q, and was %q in the plan", name, in, inputs[in], planned[in])
					}
				}
			}
		}
		if strings.Contains(kit.Pipeline, "vmImage") || !strings.Contains(kit.Pipeline, "\npool: <your-agents-in-the-prod-network>\n") {
			t.Errorf("%s runs on agents outside the PROD network", name)
		}
	}
}

// against returns the refusals of a flow file for a step: for the flow that its
// images would take, and for the targets.
func against(t *testing.T, file *topology.File, inputs map[string]string, filled *strings.Replacer) []string {
	t.Helper()
	if inputs["flowFile"] == "" {
		return []string{"the step names no flow file"}
	}
	var sources []ref.Reference
	if inputs["images"] != "" {
		flow, err := file.Flow(inputs["flow"])
		if err != nil {
			return []string{err.Error()}
		}
		images, err := topology.ParseImages("images", []byte(filled.Replace(filled.Replace(inputs["images"]))))
		if err != nil {
			return []string{err.Error()}
		}
		for _, i := range images {
			if i.Literal() {
				sources = append(sources, ref.Reference{Registry: string(file.Registries[flow.From].Host), Repository: i.Repository.String(), Tag: i.Tag.String()})
			}
		}
	} else {
		source, err := ref.ParseSource(placed(filled.Replace(filled.Replace(inputs["source"]))))
		if err != nil {
			return []string{err.Error()}
		}
		sources = append(sources, source)
	}
	var found []string
	for _, source := range sources {
		order := plan.Request{Action: inputs["action"], Flow: inputs["flow"], Source: source}
		for line := range strings.Lines(placed(filled.Replace(inputs["targets"]))) {
			target, err := plan.ParseDestination(strings.TrimSpace(line))
			if err != nil {
				return []string{err.Error()}
			}
			order.Targets = append(order.Targets, target)
		}
		if len(order.Targets) == 0 && order.Action != "seal" {
			everywhere, refused := plan.AllTargets(file, order.Action, order.Flow, source)
			if refused != nil {
				return []string{refused.Reason}
			}
			order.Targets = everywhere
		}
		wanted, refusals, err := plan.FindRoutes(file, order)
		if err != nil {
			return []string{err.Error()}
		}
		for _, r := range refusals {
			found = append(found, r.Reason)
		}
		if len(refusals) == 0 && len(wanted.Routes) == 0 {
			found = append(found, source.String()+" goes nowhere")
		}
	}
	return found
}

// TestYAMLInTheDocs checks every step on a page against the task.
func TestYAMLInTheDocs(t *testing.T) {
	task := readForm(t, "../task/task.json")
	texts := map[string]string{"overview.md": read(t, "../overview.md")}
	for name, p := range pages(t) {
		texts[name] = p.text
	}
	found := 0
	for name, text := range texts {
		for i, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
			found += task.check(t, fmt.Sprintf("%s, block %d", name, i+1), block[1])
		}
	}
	if found < 5 {
		t.Errorf("only %d steps were found", found)
	}
}

func TestClassicReleaseExample(t *testing.T) {
	var definition struct {
		Environments []struct {
			Name  string `json:"name"`
			Rank  int    `json:"rank"`
			Owner any    `json:"owner"`
			Pre   struct {
				Approvals []struct {
					IsAutomated bool `json:"isAutomated"`
				} `json:"approvals"`
			} `json:"preDeployApprovals"`
			Phases []struct {
				Type  string         `json:"phaseType"`
				Tasks []workflowTask `json:"workflowTasks"`
			} `json:"deployPhases"`
			Gates struct {
				Gates []struct {
					Tasks []workflowTask `json:"tasks"`
				} `json:"gates"`
			} `json:"preDeploymentGates"`
		} `json:"environments"`
	}
	const file = "../examples/classic-release.json"
	if err := json.Unmarshal([]byte(read(t, file)), &definition); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	task, gate := readForm(t, "../task/task.json"), readForm(t, "../gate/task.json")
	stages, promotes := map[string]bool{}, map[string]bool{}
	planned := map[string]map[string]string{} // inputs of the plan by the stage that is approved
	gates := 0
	for i, e := range definition.Environments {
		if e.Rank != i+1 || len(e.Pre.Approvals) == 0 {
			t.Errorf("the stage %s has the rank %d and %d approvals", e.Name, e.Rank, len(e.Pre.Approvals))
		}
		for _, g := range e.Gates.Gates {
			for _, w := range g.Tasks {
				gates++
				if w.TaskID != gate.ID || w.Version != "1.*" || len(w.Inputs) != 1 || !promotes[w.Inputs["stageName"]] {
					t.Errorf("the gate of %s is %+v, and waits for no earlier stage that promotes", e.Name, w)
				}
			}
		}
		for _, p := range e.Phases {
			for _, w := range p.Tasks {
				if w.TaskID != task.ID || w.Version != "1.*" || !w.Enabled || p.Type != "agentBasedDeployment" {
					t.Errorf("the task of %s is %+v", e.Name, w)
				}
				for _, problem := range task.problems(w.Inputs) {
					t.Errorf("%s: %s", e.Name, problem)
				}
				if w.Inputs["action"] == agent.Plan {
					planned[w.Inputs["approvalStage"]] = w.Inputs
				}
				if w.Inputs["action"] == "invertedPush" {
					promotes[e.Name] = true
					if !samePlan(planned[e.Name], w.Inputs) {
						t.Errorf("the stage %s was planned with %v", e.Name, planned[e.Name])
					}
					if e.Pre.Approvals[0].IsAutomated {
						t.Errorf("nobody approves the stage %s", e.Name)
					}
				}
			}
		}
		stages[e.Name] = true
	}
	if len(stages) != 4 || len(promotes) != 1 || len(planned) != 1 || gates != 1 {
		t.Errorf("stages %v, of which %v promote and %v are planned, %d gates", stages, promotes, planned, gates)
	}
}

// samePlan reports whether a step plans what another one does: with the same inputs
// but for the action, the connections and the approved stage.
func samePlan(planned, step map[string]string) bool {
	essence := func(inputs map[string]string) map[string]string {
		inputs = maps.Clone(inputs)
		for _, name := range []string{"action", "azureSubscription", "targetSubscription", "approvalStage"} {
			delete(inputs, name)
		}
		return inputs
	}
	return planned["action"] == agent.Plan && maps.Equal(essence(planned), essence(step))
}

// TestApprovalsArePlanned checks that the examples plan what is to be approved, in a
// stage before the approval and with a connection that can only read.
func TestApprovalsArePlanned(t *testing.T) {
	// Nobody is asked for these.
	unasked := map[string]string{
		"base-images.yml":         "images: base/**:*",
		"base-images-on-push.yml": "flow: base-images",
		"four-registries.yml":     "source: $(dev)/shop/cart:$(version)",
		"one-registry.yml":        "targets: $(repository):test",
	}
	files, err := filepath.Glob("../examples/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	approvals := 0
	for _, file := range append(files, "../examples/required-template/release.yml") {
		var pipeline struct {
			Stages yaml.Node `yaml:"stages"`
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &pipeline); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		// A stage that a template expression adds lies deeper.
		stages := slices.DeleteFunc(mappings(&pipeline.Stages), func(m map[string]*yaml.Node) bool { return m["stage"] == nil })
		var before []map[string]string // steps of earlier stages that plan
		for _, stage := range stages {
			found := steps(stage["jobs"], "AcrPromote@1")
			for _, inputs := range found {
				if inputs["action"] != agent.Promote && inputs["action"] != agent.InvertedPush {
					continue
				}
				name, value, _ := strings.Cut(unasked[filepath.Base(file)], ": ")
				if name != "" && inputs[name] == value {
					continue
				}
				approvals++
				if !slices.ContainsFunc(before, func(planned map[string]string) bool { return samePlan(planned, inputs) }) {
					t.Errorf("%s: nothing plans %v", file, inputs)
				}
			}
			for _, inputs := range found {
				if inputs["action"] != agent.Plan {
					continue
				}
				before = append(before, inputs)
				for _, in := range []string{"azureSubscription", "targetSubscription"} {
					if inputs[in] != "" && inputs[in] != "plan-identity" {
						t.Errorf("%s: the plan signs in with %s", file, inputs[in])
					}
				}
			}
		}
	}
	if approvals != 19 {
		t.Errorf("%d steps need an approval", approvals)
	}
}

type workflowTask struct {
	TaskID  string            `json:"taskId"`
	Version string            `json:"version"`
	Enabled bool              `json:"enabled"`
	Inputs  map[string]string `json:"inputs"`
}

// TestHostsOfExamplesAreReserved is TestHostsAreReserved for the examples.
func TestHostsOfExamplesAreReserved(t *testing.T) {
	host := regexp.MustCompile(`[A-Za-z0-9<>.-]+\.(?:azurecr\.(?:io|cn|us)|vault\.azure\.net)|[a-z0-9.-]+\.(?:com|net|org|io)\b`)
	good := regexp.MustCompile(`^<[a-z-]+>\.(?:azurecr\.io|vault\.azure\.net)$|^(?:[a-z]+\.)?example\.com$`)
	files := []string{"../overview.md", "../task/task.json", "../gate/task.json"}
	err := filepath.WalkDir("../examples", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range host.FindAllString(string(text), -1) {
			if !good.MatchString(found) && found != "raw.githubusercontent.com" {
				t.Errorf("%s names the host %s", file, found)
			}
		}
	}
}

// TestFormProblems checks that TestExamples would find problems.
func TestFormProblems(t *testing.T) {
	task := readForm(t, "../task/task.json")
	good := map[string]string{"action": "invertedPush", "source": "<a>.azurecr.io/b:1", "targets": "<c>.azurecr.io", "environment": "Production"}
	if found := task.problems(good); len(found) != 0 {
		t.Errorf("a good step has problems: %q", found)
	}
	for name, value := range map[string]string{"Source": "x", "action": "push", "lock": "all", "dryRun": "yes", "moveTag": "true", "source": "nothing", "targets": "a/b/", "environment": " "} {
		step := map[string]string{}
		for k, v := range good {
			step[k] = v
		}
		step[name] = value
		if len(task.problems(step)) == 0 {
			t.Errorf("%s: %q passes", name, value)
		}
	}
}
