package internal_test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// containerVariables are the variables of a container resource
// (MicrosoftDocs/azure-devops-docs, docs/pipelines/process/resources.md).
var containerVariables = []string{"type", "registry", "repository", "tag", "digest", "URI", "location"}

// webhook is an entry of resources.webhooks.
type webhook struct {
	Webhook    string   `yaml:"webhook"`
	Connection string   `yaml:"connection"`
	Filters    []filter `yaml:"filters"`
}

// filter is a value that an event must have.
type filter struct {
	Path  string `yaml:"path"`
	Value string `yaml:"value"`
}

// TestEventFields checks that each field of an event that an example or a page reads is
// in the sample of the push event. testdata/acr-push-event.json has the fields of the
// published sample, with other values (MicrosoftDocs/azure-management-docs,
// articles/container-registry/container-registry-webhook-reference.md, push event).
func TestEventFields(t *testing.T) {
	var event map[string]any
	if err := json.Unmarshal([]byte(read(t, "testdata/acr-push-event.json")), &event); err != nil {
		t.Fatal(err)
	}
	// value returns the field at a path.
	value := func(path string) (string, bool) {
		var at any = event
		for name := range strings.SplitSeq(path, ".") {
			object, _ := at.(map[string]any)
			at = object[name]
		}
		text, ok := at.(string)
		return text, ok
	}
	fields, variables, filters := 0, 0, 0
	files, err := filepath.Glob("../examples/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text := read(t, file)
		var pipeline struct {
			Resources struct {
				Webhooks   []webhook `yaml:"webhooks"`
				Containers []struct {
					Container string    `yaml:"container"`
					Type      string    `yaml:"type"`
					Trigger   yaml.Node `yaml:"trigger"`
				} `yaml:"containers"`
			} `yaml:"resources"`
		}
		if err := yaml.Unmarshal([]byte(text), &pipeline); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var aliases, containers []string
		for _, hook := range pipeline.Resources.Webhooks {
			aliases = append(aliases, hook.Webhook)
			for _, f := range hook.Filters {
				filters++
				// The sample is of the example's own registry.
				want, there := value(f.Path)
				if !there || want != strings.NewReplacer("<your-prod-registry>", "contosoprod").Replace(f.Value) {
					t.Errorf("%s: the filter %s = %s does not match the event: %q", file, f.Path, f.Value, want)
				}
			}
			if !slices.ContainsFunc(hook.Filters, func(f filter) bool { return f.Path == "request.host" }) {
				t.Errorf("%s: no filter names the registry", file)
			}
		}
		for _, c := range pipeline.Resources.Containers {
			containers = append(containers, c.Container)
			if c.Type != "ACR" || c.Trigger.IsZero() {
				t.Errorf("%s: the container %s is %s, and has no trigger", file, c.Container, c.Type)
			}
		}
		for _, m := range regexp.MustCompile(`parameters\.(\w+)\.([\w.]+)`).FindAllStringSubmatch(text, -1) {
			fields++
			if _, there := value(m[2]); !there || !slices.Contains(aliases, m[1]) {
				t.Errorf("%s: an event has no field %s, or there is no webhook %s", file, m[2], m[1])
			}
		}
		for _, m := range regexp.MustCompile(`resources\.container\.(\w+)\.(\w+)`).FindAllStringSubmatch(text, -1) {
			variables++
			if !slices.Contains(containerVariables, m[2]) || !slices.Contains(containers, m[1]) {
				t.Errorf("%s: a container has no variable %s, or there is no container %s", file, m[2], m[1])
			}
		}
	}
	if fields < 5 || variables < 3 || filters < 2 {
		t.Errorf("only %d fields, %d variables and %d filters were found", fields, variables, filters)
	}
	_, sentence, _ := strings.Cut(read(t, "../docs/events.md"), "are those of the [push event]")
	sentence, _, _ = strings.Cut(sentence, "\n")
	named := regexp.MustCompile("`([a-z.]+)`").FindAllStringSubmatch(sentence, -1)
	for _, m := range named {
		if _, there := value(m[1]); !there {
			t.Errorf("docs/events.md: an event has no field %s", m[1])
		}
	}
	if len(named) < 5 {
		t.Errorf("docs/events.md names the fields %v", named)
	}
}

// TestEventsGoToInputsOnly checks that no script of an example contains a text of an
// event: a stranger chooses it.
func TestEventsGoToInputsOnly(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	event := regexp.MustCompile(`\bparameters\.\w+\.|\bresources\.container\.`)
	for _, file := range files {
		var document yaml.Node
		if err := yaml.Unmarshal([]byte(read(t, file)), &document); err != nil {
			t.Fatal(err)
		}
		for _, m := range mappings(&document) {
			for _, key := range []string{"script", "bash", "pwsh", "powershell", "inlineScript"} {
				if m[key] != nil && event.MatchString(m[key].Value) {
					t.Errorf("%s: a script has the text of an event: %s", file, m[key].Value)
				}
			}
		}
	}
}

// TestRetentionStep checks that the step that retains a run is the same in the page and
// in the example. What it sends is checked in cmd/acrpromote.
func TestRetentionStep(t *testing.T) {
	step := func(text string) string {
		_, rest, found := strings.Cut(text, "- bash: |\n")
		if !found {
			t.Fatal("there is no step")
		}
		rest, _, _ = strings.Cut(rest, "displayName")
		var lines []string
		for line := range strings.Lines(rest) {
			lines = append(lines, strings.TrimSpace(line))
		}
		return strings.Join(lines, "\n")
	}
	if page, example := step(read(t, "../docs/auditors.md")), step(read(t, "../examples/release-on-push.yml")); page != example || !strings.Contains(page, "retention/leases") {
		t.Errorf("the page has\n%s\nand the example\n%s", page, example)
	}
}
