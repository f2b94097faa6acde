package main_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"acrpromote/internal/sim"
)

// example returns an example as Azure Pipelines reads it: with the placeholders and the
// values of an event filled in.
func example(t *testing.T, name string, event map[string]any) *yaml.Node {
	t.Helper()
	text, err := os.ReadFile("../../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.NewReplacer("<your-prod-registry>.azurecr.io", prodHost, "<payments>.azurecr.io", devHost, "<web>.azurecr.io", dev2Host).Replace(string(text)))
	text = regexp.MustCompile(`\$\{\{ parameters\.pushed\.([\w.]+) \}\}`).ReplaceAllFunc(text, func(m []byte) []byte {
		var at any = event
		for name := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(string(m), "${{ parameters.pushed."), " }}"), ".") {
			at = at.(map[string]any)[name]
		}
		return []byte(at.(string))
	})
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	return &document
}

// mappingWith returns the first mapping of a document with a key and a value, which is
// "" for any.
func mappingWith(node *yaml.Node, key, value string) *yaml.Node {
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key && (value == "" || node.Content[i+1].Value == value) {
			return node
		}
	}
	for _, child := range node.Content {
		if found := mappingWith(child, key, value); found != nil {
			return found
		}
	}
	return nil
}

// TestPushEvent runs the example that a push event starts with events that are true,
// repeated and wrong. The filters of the example and the names of the fields are
// checked in package internal.
func TestPushEvent(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, "base/alpine", "3.20", 1, 2, 1000)
	other := pushImage(env.prod, "base/debian", "12", 2, 2, 1000)
	pushImage(env.dev, "base/alpine", "3.21", 3, 2, 1000)
	env.seal("base/alpine:3.20")
	flows, err := os.ReadFile("../../examples/flows/base-images.yml")
	if err != nil {
		t.Fatal(err)
	}
	flowFile := env.flowFile(strings.NewReplacer("<your-prod-registry>.azurecr.io", prodHost, "<payments>.azurecr.io", devHost, "<web>.azurecr.io", dev2Host).Replace(string(flows)))
	stage := env.project.QueueRun(sim.RunOptions{Reason: "resourceTrigger"}).Stage("Down", env.connection)
	stage.Begin()
	sample, err := os.ReadFile("../../internal/testdata/acr-push-event.json")
	if err != nil {
		t.Fatal(err)
	}
	run := func(repository, tag, digest string) outcome {
		t.Helper()
		var event map[string]any
		if err := json.Unmarshal(sample, &event); err != nil {
			t.Fatal(err)
		}
		target := event["target"].(map[string]any)
		target["repository"], target["tag"], target["digest"] = repository, tag, digest
		var step struct {
			Inputs inputs `yaml:"inputs"`
		}
		if err := mappingWith(example(t, "base-images-on-push.yml", event), "task", "AcrPromote@1").Decode(&step); err != nil {
			t.Fatal(err)
		}
		delete(step.Inputs, "azureSubscription")
		delete(step.Inputs, "targetSubscription")
		return env.taskOf(stage, step.Inputs.with("flowFile", flowFile))
	}
	o := run("base/alpine", "3.20", image.Digest).want("done")
	if o.output["changed"] != "true" || held("base/alpine", "3.20", env.dev, env.dev2) != "contosodev contosodev2" {
		t.Errorf("changed %s, held by %s", o.output["changed"], held("base/alpine", "3.20", env.dev, env.dev2))
	}
	if o := run("base/alpine", "3.20", image.Digest).want("done").wroteNothing(); o.output["changed"] != "false" {
		t.Errorf("a repeated event changed something: %s", o.output["changed"])
	}
	run("base/alpine", "3.20", other.Digest).refusedBy("digest-differs").wroteNothing()
	// Not sealed, and of a registry that is not the example's.
	run("base/debian", "12", other.Digest).refusedBy("not-sealed").wroteNothing()
	run("base/alpine", "3.21", image.Digest).want("failed").wroteNothing()
	env.taskOf(stage, inputs{"action": "invertedPush", "flowFile": flowFile, "flow": "base-images", "source": "contosoevil.azurecr.io/base/alpine:3.20", "digest": image.Digest}).refusedBy("not-in-flow").wroteNothing()
}
