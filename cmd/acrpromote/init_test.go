package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// pipelineStep is a step of the task in a pipeline, with its stage.
type pipelineStep struct {
	stage, environment string
	in                 inputs
}

// stepsOf returns the steps of the task in a pipeline, in their order.
func stepsOf(t *testing.T, text string) []pipelineStep {
	t.Helper()
	type step struct {
		Task   string
		Inputs map[string]string
	}
	var pipeline struct {
		Stages []struct {
			Stage string
			Jobs  []struct {
				Environment string
				Steps       []step
				Strategy    struct {
					RunOnce struct {
						Deploy struct{ Steps []step }
					} `yaml:"runOnce"`
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &pipeline); err != nil {
		t.Fatal(err)
	}
	var found []pipelineStep
	for _, stage := range pipeline.Stages {
		for _, job := range stage.Jobs {
			for _, s := range append(job.Steps, job.Strategy.RunOnce.Deploy.Steps...) {
				if s.Task == "AcrPromote@1" {
					found = append(found, pipelineStep{stage.Stage, job.Environment, s.Inputs})
				}
			}
		}
	}
	return found
}

// TestPipelineOfInit runs the pipeline that init writes, with the flow file on the
// server and with an identity for each connection that has no other rights than
// those that the written commands grant.
func TestPipelineOfInit(t *testing.T) {
	env := newTestEnv(t)
	p := newPerson(t, nil)
	p.run("init", "--production", prodHost, "--development", devHost, "--movingTags", "test", "--repositories", cart).wantCode(0)
	written := func(name string) string {
		content, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	env.project.Repository("release-rules").Commit("refs/heads/main", map[string][]byte{"flows.yml": []byte(written("flows.yml"))})

	connections := map[string]*sim.ServiceConnection{}
	for i, name := range []string{"build-identity", "plan-identity", "release-identity", "release-reader", "dev-writer"} {
		id := strings.Replace("cccccccc-0000-0000-0000-00000000000N", "N", string(rune('1'+i)), 1)
		key := "the-secret-of-" + name + "~1234567"
		env.directory.AddApplication(id).AddSecret(key)
		connections[name] = env.project.SecretConnection("kit-"+name, tenant, id, key)
		switch name {
		case "build-identity":
			env.prod.Grant(id, "**", sim.RepositoryWriter...)
		case "release-reader":
			env.prod.Grant(id, "**", sim.RepositoryReader...)
		case "plan-identity":
			env.prod.Grant(id, "**", sim.RepositoryReader...)
			env.dev.Grant(id, "**", sim.RepositoryReader...)
		case "release-identity":
			env.prod.Grant(id, "**", "pull", "push", "metadata_read")
		case "dev-writer":
			env.dev.Grant(id, "**", "pull", "push")
		}
	}
	for _, r := range []*sim.Registry{env.prod, env.dev} {
		r.Revoke(clientID)
	}
	environments := map[string]*sim.Environment{"Production": env.environment, "test": env.project.Environment("test")}
	environments["test"].AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}, MinRequired: 1})

	// The image is pushed in the run, as the first stage does before it seals.
	image := pushImage(env.prod, cart, release, 1, 2, 2048)
	code := ""
	for _, s := range stepsOf(t, written("azure-pipelines.yml")) {
		in := inputs{}
		used := map[string]*sim.ServiceConnection{}
		var resources []sim.Resource
		for name, value := range s.in {
			if name == "azureSubscription" || name == "targetSubscription" {
				used[name] = connections[value]
				resources = append(resources, used[name])
				continue
			}
			in[name] = strings.NewReplacer("$(repository)", cart, "$(Build.BuildNumber)", release).Replace(value)
		}
		if s.environment != "" {
			resources = append(resources, environments[s.environment])
		}
		// A run of the simulation has a stage Build already.
		stage := env.run.Stage("Kit"+s.stage, resources...)
		if s.environment != "" {
			if err := stage.Approve(manager, "approved: "+code); err != nil {
				t.Fatal(err)
			}
		}
		stage.Begin()
		changes := []func(*fakeagent.Environment){connected("azureSubscription", used["azureSubscription"])}
		if c := used["targetSubscription"]; c != nil {
			changes = append(changes, connected("targetSubscription", c))
		}
		o := env.taskOf(stage, in, changes...)
		if o.want("done"); t.Failed() {
			t.Fatalf("%s, action %s:\n%s", s.stage, in["action"], o.stdout)
		}
		code, _ = o.at("approvalCode").(string)
		stage.Finish("succeeded")
	}
	if env.prod.TagDigest(cart, "test") != image.Digest || env.dev.TagDigest(cart, release) != image.Digest {
		t.Errorf("PROD has %q under test, DEV has %q", env.prod.TagDigest(cart, "test"), env.dev.TagDigest(cart, release))
	}
}
