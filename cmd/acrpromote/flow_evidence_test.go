package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

// onServer commits a flow file to a repository of the project, and returns its
// name and the commit.
func (env *testEnv) onServer(content string) (name, commit string) {
	commit = env.project.Repository("Rules").Commit("refs/heads/main", map[string][]byte{"release/flows.yml": []byte(content)})
	return "Rules@refs/heads/main:release/flows.yml", commit
}

// TestFlowFileOnServer checks that the file is read from the server at a branch, a
// tag or a commit, and that the result names the commit.
func TestFlowFileOnServer(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	env.ready()
	name, first := env.onServer(sandbox)
	rules := env.project.Repository("Rules")
	rules.Point("refs/tags/v1", first)
	push := inputs{"action": "verify", "source": source, "targets": devHost}
	// A later commit forbids the push; a step that names the earlier one gets the
	// earlier file.
	_, second := env.onServer(strings.Replace(sandbox, `repositories: ["shop/**"]`, `repositories: ["other/**"]`, 1))
	for _, c := range []struct{ name, commit, outcome string }{
		{name, second, "refused"},
		{"Rules@main:release/flows.yml", second, "refused"},
		{"rules@main:/release/flows.yml", second, "refused"},
		{"shop/Rules@main:release/flows.yml", second, "refused"},
		{"Rules@refs/tags/v1:release/flows.yml", first, "done"},
		{"Rules@" + first + ":release/flows.yml", first, "done"},
	} {
		o := env.task(push.with("flowFile", c.name)).want(c.outcome)
		if o.at("flow", "commit") != c.commit || o.at("flow", "sha256") == "" || o.at("flow", "repository") == "" || o.at("flow", "path") == "" {
			t.Errorf("%s: reported as %v, want commit %s", c.name, o.at("flow"), c.commit)
		}
	}
	rules.Commit("refs/heads/main", map[string][]byte{"release/flows.yml": []byte("version: 2\n")})
	env.task(push.with("flowFile", name)).want("misuse").says("release/flows.yml:1:10")
}

// TestFlowFileUnread checks that a server copy that cannot be read is
// flow-unverified.
func TestFlowFileUnread(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	env.ready()
	name, _ := env.onServer(sandbox)
	push := inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": name}
	for _, missing := range []string{
		"Elsewhere@main:release/flows.yml", "Rules@nowhere:release/flows.yml", "Rules@refs/tags/v9:release/flows.yml",
		"Rules@" + strings.Repeat("a", 40) + ":release/flows.yml", "Rules@main:flows.yml", "Rules@main:release", "Other/Rules@main:release/flows.yml",
	} {
		env.task(push.with("flowFile", missing)).refusedBy("flow-unverified").says("flow")
	}
	env.project.Deny(sim.Repositories)
	env.task(push).refusedBy("flow-unverified").says("Read", "shop Build Service (contoso)")
	env.project.Allow(sim.Repositories)
	for name, answer := range map[string]func(http.ResponseWriter){
		"an error": func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusInternalServerError) },
		"a page": func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "text/html")
			_, _ = rw.Write([]byte("<html>"))
		},
		"no commit":        documentWith(`{"objectId":"61a86fdaa79e5c6f5fb6e4026508489feb6ed92c","gitObjectType":"blob","path":"/release/flows.yml","content":"version: 1"}`),
		"no JSON":          documentWith(`version: 1`),
		"another document": documentWith(`{"count":0,"value":[]}`),
	} {
		env.organization.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/items") && !strings.Contains(r.URL.Path, "/items/") {
				return false
			}
			answer(rw)
			return true
		})
		if o := env.task(push); o.result["outcome"] != "refused" || strings.Join(o.rules(), " ") != "flow-unverified" {
			t.Errorf("%s: %v by %v", name, o.result["outcome"], o.rules())
		}
		env.organization.RestoreAnswers()
	}
	env.untouched(env.dev)
	env.task(push).want("done")
}

func documentWith(body string) func(http.ResponseWriter) {
	return func(rw http.ResponseWriter) {
		rw.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = rw.Write([]byte(body))
	}
}

// TestFlowFilePinned checks that a pinned hash must match. Without a hash the
// pipeline's author can change the file, and the result says what to do about it.
func TestFlowFilePinned(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	env.ready()
	pinned := env.flowFile(sandbox)
	path, hash, _ := strings.Cut(pinned, "#sha256:")
	push := inputs{"action": "verify", "source": source, "targets": devHost}
	env.task(push.with("flowFile", path+"#sha256:"+strings.ToUpper(hash))).want("done")
	for _, wrong := range []string{strings.Repeat("0", 64), hash[:63], "", hash + "0"} {
		env.task(push.with("flowFile", path+"#sha256:"+wrong)).refusedBy("flow-unverified").says(hash)
	}
	o := env.task(push.with("flowFile", path)).want("done")
	told := strings.Join(o.warnings, "\n")
	if o.at("rules") != "unverified" || !strings.Contains(told, "#sha256:"+hash) || !strings.Contains(told, "NAME@REF:path") || !strings.Contains(o.summary, "Rules: from the flow file, not verified") {
		t.Errorf("rules %v; warnings %q", o.at("rules"), told)
	}
	env.task(push.with("flowFile", filepath.Join(filepath.Dir(path), "absent.yml"))).want("misuse").says("absent.yml")
	// A link or a folder does not get around the hash.
	env.task(push.with("flowFile", filepath.Dir(path)+"#sha256:"+hash)).want("misuse")
	if err := os.WriteFile(path, []byte(strings.Replace(sandbox, "Production}", "Mine}", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	env.task(push.with("flowFile", pinned)).refusedBy("flow-unverified")
}

// TestRulesVerified checks that the rules are verified only if a required template
// on a service connection of this step passed for this stage.
func TestRulesVerified(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(env *testEnv) (use *sim.ServiceConnection)
		want string
	}{
		{"a required template on the connection", func(env *testEnv) *sim.ServiceConnection {
			env.connection.AddCheck(sim.RequiredTemplate)
			return env.connection
		}, "verified"},
		{"none", func(env *testEnv) *sim.ServiceConnection { return env.connection }, "unverified"},
		{"an approval on it instead", func(env *testEnv) *sim.ServiceConnection {
			env.connection.AddCheck(sim.TaskCheck)
			return env.connection
		}, "unverified"},
		{"only on the environment", func(env *testEnv) *sim.ServiceConnection {
			env.environment.AddCheck(sim.RequiredTemplate)
			return env.connection
		}, "unverified"},
		{"on another connection of the stage", func(env *testEnv) *sim.ServiceConnection {
			other := env.project.FederatedConnection("other-identity", tenant, clientID)
			other.AddCheck(sim.RequiredTemplate)
			env.application.AddFederatedCredential(env.organization.Issuer(), other.Subject())
			return env.connection
		}, "unverified"},
		{"switched off", func(env *testEnv) *sim.ServiceConnection {
			env.connection.AddCheck(sim.RequiredTemplate).Disable()
			return env.connection
		}, "unverified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			use := c.do(env)
			uses := []sim.Resource{env.environment, env.connection}
			if other := env.project.FederatedConnection("other-identity", tenant, clientID); c.name == "on another connection of the stage" {
				uses = append(uses, other)
			}
			env.stage = env.run.Stage("Guarded", uses...)
			env.sealed()
			env.ready()
			name, _ := env.onServer(sandbox)
			push := inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": name}
			o := env.task(push, connected("azureSubscription", use)).want("done")
			if o.at("rules") != c.want {
				t.Errorf("rules %v, want %s", o.at("rules"), c.want)
			}
			if told := strings.Contains(strings.Join(o.warnings, "\n"), "Required template"); told != (c.want == "unverified") {
				t.Errorf("what to configure is reported: %v\n%q", told, o.warnings)
			}
			// A file in the workspace is not verified without a pinned hash.
			pinned := env.flowFile(sandbox)
			if o := env.task(push.with("flowFile", pinned)).want("done"); o.at("rules") != c.want {
				t.Errorf("pinned: rules %v, want %s", o.at("rules"), c.want)
			}
			path, _, _ := strings.Cut(pinned, "#")
			if o := env.task(push.with("flowFile", path)).want("done"); o.at("rules") != "unverified" {
				t.Errorf("in the workspace: rules %v", o.at("rules"))
			}
		})
	}
	t.Run("no flow file", func(t *testing.T) {
		env, _ := ready(t)
		if o := env.task(push("action", "verify")).want("done"); o.at("rules") != "inputs" {
			t.Errorf("rules %v", o.at("rules"))
		}
	})
	t.Run("in another stage", func(t *testing.T) {
		env := newTestEnv(t)
		env.sealed()
		// The approval is given in a stage that extends the template; the step
		// runs in a stage that started before the check was added.
		env.stage = env.run.Stage("Late", env.connection)
		env.stage.Begin()
		env.connection.AddCheck(sim.RequiredTemplate)
		gate := env.run.Stage("Gate", env.environment, env.connection)
		if err := gate.Approve(manager, ""); err != nil {
			t.Fatal(err)
		}
		name, _ := env.onServer(sandbox)
		if o := env.task(inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": name, "approvalStage": "Gate"}).want("done"); o.at("rules") != "unverified" {
			t.Errorf("rules %v: this stage's own suite shows no template", o.at("rules"))
		}
	})
	t.Run("without an approval", func(t *testing.T) {
		env := newTestEnv(t)
		pushImage(env.prod, "base/alpine", "3", 1, 1, 300)
		env.connection.AddCheck(sim.RequiredTemplate)
		env.stage = env.run.Stage("Nightly", env.connection)
		env.stage.Begin()
		name, _ := env.onServer(sandbox)
		if o := env.task(inputs{"action": "verify", "source": prodHost + "/base/alpine:3", "targets": devHost, "flowFile": name}).want("done"); o.at("rules") != "verified" || o.at("approval", "kind") != "none" {
			t.Errorf("rules %v, approval %v", o.at("rules"), o.at("approval", "kind"))
		}
	})
	// Where no approval is judged, the check suite still has to be that of this
	// stage of this run.
	for _, c := range []struct {
		name   string
		change func(env *testEnv, context map[string]any)
	}{
		{"of another plan", func(env *testEnv, context map[string]any) {
			context["PlanId"] = env.project.QueueRun(sim.RunOptions{}).PlanID()
		}},
		{"of another run", func(env *testEnv, context map[string]any) {
			context["Pipeline"] = map[string]any{"Owner": map[string]any{"Id": env.project.QueueRun(sim.RunOptions{}).ID()}}
		}},
		{"of another attempt", func(_ *testEnv, context map[string]any) { context["GraphNode"].(map[string]any)["Attempt"] = 7 }},
		{"of another stage", func(_ *testEnv, context map[string]any) { context["GraphNode"].(map[string]any)["Name"] = "Other" }},
		{"of an unknown stage", func(_ *testEnv, context map[string]any) { delete(context, "GraphNode") }},
	} {
		t.Run("without an approval, a suite "+c.name, func(t *testing.T) {
			env := newTestEnv(t)
			pushImage(env.prod, "base/alpine", "3", 1, 1, 300)
			pushImage(env.prod, cart, release, 1, 1, 300)
			env.connection.AddCheck(sim.RequiredTemplate)
			env.stage = env.run.Stage("Nightly", env.connection)
			env.stage.Begin()
			env.run.MutateSuite(func(d map[string]any) { c.change(env, d["context"].(map[string]any)) })
			name, _ := env.onServer(sandbox)
			for _, in := range []inputs{
				{"action": "verify", "source": prodHost + "/base/alpine:3", "targets": devHost},
				{"action": "seal", "source": source, "flow": "released"},
			} {
				o := env.task(in.with("flowFile", name)).want("done")
				if warnings := strings.Join(o.warnings, "\n"); o.at("rules") != "unverified" || !strings.Contains(warnings, "the check suite") {
					t.Errorf("%s: rules %v, warnings %q", in["action"], o.at("rules"), o.warnings)
				}
			}
		})
	}
}
