package main_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// TestRetentionStep runs the step of the example that retains its run, as an agent does:
// once as it is, and once without the right to add leases.
func TestRetentionStep(t *testing.T) {
	env := newTestEnv(t)
	script, variables := retentionScript(t)
	env.stage.Begin()
	run := func() ([]byte, error) {
		command := exec.Command("bash", "-c", script)
		command.Env = append(env.environ(env.stage, inputs{}, func(e *fakeagent.Environment) { e.Debug = false }),
			"PATH="+os.Getenv("PATH"), "HTTPS_PROXY="+env.prodNetwork.ProxyURL(), "CURL_CA_BUNDLE="+env.cloud.CAFile())
		for name, value := range variables {
			command.Env = append(command.Env, name+"="+replaced(value, map[string]string{"System.AccessToken": env.stage.Token()}))
		}
		return command.CombinedOutput()
	}
	if output, err := run(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	want := sim.Lease{DaysValid: 730, DefinitionID: env.run.Pipeline(), OwnerID: "User:" + developer.ID, ProtectPipeline: true, RunID: env.run.ID()}
	if leases := env.project.Leases(); len(leases) != 1 || leases[0] != want {
		t.Errorf("%+v, want %+v", leases, want)
	}
	env.project.Deny(sim.RetentionLeases)
	if output, err := run(); err == nil || len(env.project.Leases()) != 1 {
		t.Errorf("without the right, the step succeeds: %s", output)
	}
}

// replaced returns a text in which variables of the form $(name) have values.
func replaced(text string, values map[string]string) string {
	for name, value := range values {
		text = strings.ReplaceAll(text, "$("+name+")", value)
	}
	return text
}

// retentionScript returns the script of the example that retains its run.
func retentionScript(t *testing.T) (script string, environ map[string]string) {
	t.Helper()
	var step struct {
		Script string            `yaml:"bash"`
		Env    map[string]string `yaml:"env"`
	}
	if err := mappingWith(example(t, "release-on-push.yml", nil), "bash", "").Decode(&step); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(step.Script, "$(") {
		t.Errorf("the script has variables of the pipeline in its text:\n%s", step.Script)
	}
	return step.Script, step.Env
}
