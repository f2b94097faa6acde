package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// TestResultOfRun checks what result.json says about the run, the approval, the
// identities and the rules.
func TestResultOfRun(t *testing.T) {
	env, _ := ready(t)
	before := time.Now()
	o := env.task(push("minApprovers", "1", "commentPattern", "^rel", "lock", "tag", "approvers", "[shop]\\Nobody\n"+manager.UniqueName)).want("done")
	for _, c := range []struct {
		path []any
		want any
	}{
		{[]any{"run", "url"}, fmt.Sprintf("https://dev.azure.com/contoso/%s/_build/results?buildId=%d", env.project.ID(), env.run.ID())},
		{[]any{"run", "pipeline"}, map[string]any{"id": float64(env.run.Pipeline()), "name": "release"}},
		{[]any{"run", "job"}, "Promote"},
		{[]any{"run", "requestedById"}, developer.ID},
		{[]any{"run", "requestedByUniqueName"}, developer.UniqueName},
		{[]any{"approval", "approvers", 0, "name"}, "Release Manager (" + manager.UniqueName + ")"},
		{[]any{"approval", "approvers", 0, "uniqueName"}, manager.UniqueName},
		{[]any{"approval", "approvals"}, []any{map[string]any{
			"id": env.stage.Approvals()[0].ID(), "checkRun": env.stage.Approvals()[0].ID(), "check": float64(env.check.ID()), "version": 1.0,
			"resource": "environment Production", "resourceId": env.environment.ID(), "requestedAt": o.at("approval", "approvals", 0, "requestedAt"),
		}}},
		{[]any{"identities"}, []any{
			map[string]any{"side": "source", "host": prodHost, "connection": "release-identity", "id": env.connection.ID(), "clientId": clientID},
			map[string]any{"side": "target", "host": devHost, "connection": "release-identity", "id": env.connection.ID(), "clientId": clientID},
		}},
		{[]any{"rulesInForce", "approval"}, map[string]any{"value": "manual", "from": "default"}},
		{[]any{"rulesInForce", "environment"}, map[string]any{"value": "Production", "from": "input"}},
		{[]any{"rulesInForce", "minApprovers"}, map[string]any{"value": 1.0, "from": "input"}},
		{[]any{"rulesInForce", "requesterCanApprove"}, map[string]any{"value": false, "from": "default"}},
		{[]any{"rulesInForce", "commentPattern"}, map[string]any{"value": []any{"^rel"}, "from": "input"}},
		{[]any{"rulesInForce", "approvers"}, map[string]any{"value": []any{"[shop]\\Nobody", manager.UniqueName}, "from": "input"}},
		{[]any{"rulesInForce", "sealed"}, map[string]any{"value": true, "from": "default"}},
		{[]any{"rulesInForce", "lock"}, map[string]any{"value": "tag", "from": "input"}},
		{[]any{"approval", "rules", 0, "label"}, "Approval given"},
		{[]any{"approval", "rules", 0, "pending"}, false},
	} {
		if got := o.at(c.path...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %v, want %v", c.path, got, c.want)
		}
	}
	started, err := time.Parse(time.RFC3339Nano, o.at("startedAt").(string))
	finished, err2 := time.Parse(time.RFC3339Nano, o.at("finishedAt").(string))
	requested, err3 := time.Parse(time.RFC3339Nano, o.at("approval", "approvals", 0, "requestedAt").(string))
	approved, err4 := time.Parse(time.RFC3339Nano, o.at("approval", "approvers", 0, "at").(string))
	if err3 != nil || err4 != nil || requested.After(approved) || requested.Before(approved.Add(-time.Hour)) {
		t.Errorf("requested at %v, approved at %v", requested, approved)
	}
	if err != nil || err2 != nil || started.Before(before.Add(-time.Second)) || finished.Before(started) || finished.After(time.Now().Add(time.Second)) {
		t.Errorf("started at %v, finished at %v", o.at("startedAt"), o.at("finishedAt"))
	}
}

// TestResultOfPlan checks that a plan reports its run and the rules in force of the
// action that it plans.
func TestResultOfPlan(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	stage := env.run.Stage("Plan", env.connection)
	stage.Begin()
	o := env.taskOf(stage, push("action", "plan", "minApprovers", "2")).want("done")
	if o.at("run", "stage") != "Plan" || o.at("run", "job") != "Promote" || o.at("identities", 1, "connection") != "release-identity" || o.at("approval", "granted") != false {
		t.Errorf("run %v, identities %v, approval %v", o.at("run"), o.at("identities"), o.at("approval"))
	}
	if got, want := o.at("rulesInForce", "minApprovers"), any(map[string]any{"value": 2.0, "from": "input"}); !reflect.DeepEqual(got, want) {
		t.Errorf("minApprovers %v, want %v", got, want)
	}
	if got := filepath.Base(o.output["report"]); got != "acrpromote-plan-Plan-Promote-AcrPromote.json" {
		t.Errorf("the report is %s", got)
	}
}

// TestRulesInForceOfFlows checks the values of several flows, and where they come
// from.
func TestRulesInForceOfFlows(t *testing.T) {
	env := newTestEnv(t)
	for _, repository := range []string{cart, "base/alpine"} {
		pushImage(env.prod, repository, release, 1, 1, 300)
	}
	env.stage.Begin()
	flows := `version: 1
trust: [dev, prod]
registries:
  prod: {host: ` + prodHost + `, trust: prod}
  dev: {host: ` + devHost + `, trust: dev}
  dev2: {host: ` + dev2Host + `, trust: dev}
flows:
  strict:
    from: prod
    to: [dev]
    repositories: ["shop/**"]
    require:
      approval: {environment: Production, minApprovers: 2, maxAge: 72h, commentPattern: CHG}
      branches: [refs/heads/main]
      attached: [{artifactType: application/spdx+json}]
  free:
    from: prod
    to: [dev2]
    repositories: ["shop/**"]
    lock: image
    require:
      approval: {kind: none}
`
	in := inputs{"action": "invertedPush", "source": source, "targets": devHost + "\n" + dev2Host, "flowFile": env.flowFile(flows), "minApprovers": "1", "approvalMaxAge": "1h", "commentPattern": "^ok", "requesterCanApprove": "true"}
	rules := env.task(in).want("refused").at("rulesInForce").(map[string]any)
	rule := func(value any, from string, others ...any) map[string]any {
		r := map[string]any{"value": value, "from": from, "flow": "strict"}
		if len(others) > 0 {
			r["others"] = others
		}
		return r
	}
	free := func(value any, from string) any { return map[string]any{"value": value, "from": from, "flow": "free"} }
	for name, want := range map[string]map[string]any{
		// Inputs about people make the approval of the other flow manual.
		"approval":            rule("manual", "default", free("manual", "input")),
		"minApprovers":        rule(2.0, "flow", free(1.0, "input")),
		"approvalMaxAge":      rule("1h0m0s", "input", free("1h0m0s", "input")),
		"commentPattern":      rule([]any{"CHG", "^ok"}, "input", free([]any{"^ok"}, "input")),
		"requesterCanApprove": rule(false, "default", free(false, "default")),
		"lock":                rule("none", "default", free("image", "flow")),
		"branches":            rule([]any{"refs/heads/main"}, "flow", free([]any{}, "default")),
		"attached":            rule([]any{map[string]any{"artifactType": "application/spdx+json", "count": 1.0, "maxAge": "", "on": "index"}}, "flow", free([]any{}, "default")),
		"sealedBy":            rule([]any{map[string]any{"projects": []any{}, "pipelines": []any{}, "branches": []any{"refs/heads/main"}}}, "flow", free([]any{}, "default")),
	} {
		if !reflect.DeepEqual(rules[name], any(want)) {
			t.Errorf("%s: %v, want %v", name, rules[name], want)
		}
	}
	audit := env.task(inputs{"action": "audit", "source": source, "targets": devHost, "flowFile": env.flowFile(flows)}).at("rulesInForce")
	if want := any(map[string]any{"onPartial": map[string]any{"value": "fail", "from": "default", "flow": "strict"}}); !reflect.DeepEqual(audit, want) {
		t.Errorf("audit: %v, want %v", audit, want)
	}
	seal := env.task(sealing.with("dryRun", "true")).want("done").at("rulesInForce").(map[string]any)
	if _, judged := seal["minApprovers"]; judged || !reflect.DeepEqual(seal["lock"], map[string]any{"value": "tag", "from": "default"}) {
		t.Errorf("seal: %v", seal)
	}
	if rules := env.task(push("source", "x")).want("misuse").at("rulesInForce"); len(rules.(map[string]any)) > 0 {
		t.Errorf("misuse: %v", rules)
	}
}

// TestNamesOfConnections checks that service connections are named by the service's
// own record, and by their IDs if it may not be read. At a prompt nothing is asked.
func TestNamesOfConnections(t *testing.T) {
	env, _ := ready(t)
	wanted := func(name, want string) {
		t.Helper()
		o := env.task(push("dryRun", "true")).want("done")
		if got := o.at("identities", 0, "connection"); got != want || o.at("identities", 0, "id") != env.connection.ID() {
			t.Errorf("%s: %v, want %s", name, o.at("identities"), want)
		}
		shown := o.at("protection").(string)
		if name == "named" != strings.Contains(shown, "release-identity") || strings.Contains(o.summary, env.connection.ID()) == (name == "named") {
			t.Errorf("%s: protection %q", name, shown)
		}
		asked := 0
		for _, r := range o.asked(devOpsHost) {
			if strings.Contains(r, "/serviceendpoint/endpoints") {
				asked++
			}
		}
		if asked != 1 {
			t.Errorf("%s: the names are asked for %d times", name, asked)
		}
	}
	wanted("named", "release-identity")
	env.connection.DenyView()
	wanted("hidden", env.connection.ID())
	env.connection.AllowView()
	env.project.Deny(sim.Endpoints)
	wanted("denied", env.connection.ID())
	env.project.Allow(sim.Endpoints)
	for _, value := range []any{[]any{nil}, "?", []any{map[string]any{"id": env.project.ID(), "name": "another"}}, nil} {
		env.run.MutateEndpoints(func(d map[string]any) { d["value"] = value })
		wanted("another answer", env.connection.ID())
	}
}

// TestAuditNamesItsRun checks that an audit reports its run as far as the server
// confirms it, and never depends on it.
func TestAuditNamesItsRun(t *testing.T) {
	env, _ := ready(t)
	env.task(push()).want("done")
	audit := inputs{"action": "audit", "source": source, "targets": devHost}
	o := env.task(audit).want("done")
	if o.at("run", "kind") != "yaml" || o.at("run", "id") != float64(env.run.ID()) || o.at("run", "job") != "Promote" || o.at("identities", 0, "connection") != "release-identity" {
		t.Errorf("run %v, identities %v", o.at("run"), o.at("identities"))
	}
	if o.at("approval", "granted") != false || o.at("approval", "kind") != "none" || !strings.HasPrefix(o.at("protection").(string), "unknown: ") {
		t.Errorf("approval %v, protection %v", o.at("approval"), o.at("protection"))
	}
	stage := env.project.Release(sim.ReleaseOptions{CreatedBy: officer, CreatedFor: officer, Artifact: env.run, Definition: "deliver"}).Stage("Live", sim.ReleaseStageOptions{})
	stage.Begin()
	o = env.taskOf(stage, audit).want("done")
	if o.at("run", "kind") != "release" || o.at("run", "stage") != "Live" || o.at("run", "requestedById") != officer.ID || o.at("run", "pipeline", "name") != "deliver" ||
		!strings.Contains(o.at("run", "url").(string), "https://dev.azure.com/contoso/"+env.project.ID()+"/_release?releaseId=") {
		t.Errorf("run %v", o.at("run"))
	}
	// The run of another plan, and one that cannot be read.
	forgery := env.execute(forged(env.environ(env.stage, audit), "SYSTEM_PLANID", env.project.ID())).want("done")
	env.project.Deny(sim.Builds)
	denied := env.task(audit).want("done")
	for name, o := range map[string]outcome{"forged": forgery, "denied": denied} {
		if o.at("run", "kind") != "none" || o.at("run", "id") != 0.0 || !strings.Contains(strings.Join(o.warnings, "\n"), "does not name this run") {
			t.Errorf("%s: run %v, warnings %q", name, o.at("run"), o.warnings)
		}
	}
}

// TestLinkToRun checks that the link to the run's page is the server's own only if it
// leads into the collection.
func TestLinkToRun(t *testing.T) {
	env, _ := ready(t)
	page := fmt.Sprintf("https://dev.azure.com/contoso/%s/_build/results?buildId=%d", env.project.ID(), env.run.ID())
	for link, want := range map[any]string{
		"https://contoso.visualstudio.com/shop/_build/results?buildId=1&view=x": "https://contoso.visualstudio.com/shop/_build/results?buildId=1&view=x",
		"https://evil.example/contoso/shop":                                     page,
		"https://dev.azure.com/another/shop/_build/results?buildId=1":           page,
		"http://dev.azure.com/contoso/shop":                                     page,
		"javascript:alert(1)":                                                   page,
		"https://dev.azure.com/contoso/" + strings.Repeat("x", 1<<12):           page,
		nil: page,
	} {
		env.run.MutateBuild(func(d map[string]any) { d["_links"] = map[string]any{"web": map[string]any{"href": link}} })
		if got := env.task(push("dryRun", "true")).want("done").at("run", "url"); got != want {
			t.Errorf("%v: %v, want %s", link, got, want)
		}
	}
}

// TestEveryStepKeepsItsResult checks that several steps of a job write their results
// to files of their own, in the agent's folder and in one that is named.
func TestEveryStepKeepsItsResult(t *testing.T) {
	env, _ := ready(t)
	for name, in := range map[string]inputs{"the agent's folder": push("dryRun", "true"), "reportFolder": push("dryRun", "true", "reportFolder", filepath.Join(env.temp, "reports"))} {
		folder := env.folder()
		step := func(called string, in inputs) outcome {
			return env.task(in, func(e *fakeagent.Environment) { e.TempDirectory, e.Step = folder, called })
		}
		first := step("", in).want("done")
		second := step("AcrPromote1", in.with("action", "verify", "dryRun", "")).want("done")
		third := step("push", in.with("source", prodHost+"/"+cart+":nothing")).want("failed")
		again := step("push", in).want("done")
		hostile := step("../../x; ##vso[task.complete]\n", in).want("done")
		reports := map[string]string{}
		for called, o := range map[string]outcome{"-AcrPromote": first, "-AcrPromote1": second, "-push": third, "-push-2": again, "-______x____vso_task_complete_": hostile} {
			path := o.output["report"]
			action := o.result["action"].(string)
			if want := "acrpromote-" + action + "-Production-Promote" + called + ".json"; filepath.Base(path) != want {
				t.Errorf("%s: %s, want %s", name, filepath.Base(path), want)
			}
			if reports[path] != "" {
				t.Errorf("%s: %s is of two steps", name, path)
			}
			reports[path] = o.result["startedAt"].(string)
		}
		for path, started := range reports {
			content, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(content), started) {
				t.Errorf("%s: %s is not the step's own: %v", name, path, err)
			}
		}
		newest, err := os.ReadFile(filepath.Join(filepath.Dir(hostile.output["report"]), "result.json"))
		if err != nil || !strings.Contains(string(newest), hostile.result["startedAt"].(string)) {
			t.Errorf("%s: result.json is not the newest: %v", name, err)
		}
	}
}
