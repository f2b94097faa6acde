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
func (w *world) onServer(content string) (name, commit string) {
	commit = w.project.Repository("Rules").Commit("refs/heads/main", map[string][]byte{"release/flows.yml": []byte(content)})
	return "Rules@refs/heads/main:release/flows.yml", commit
}

// TestFlowFileOnServer: the file is read from the server at a branch, a tag or
// a commit, and the result says which one it was.
func TestFlowFileOnServer(t *testing.T) {
	w := newWorld(t)
	w.sealed()
	w.ready()
	name, first := w.onServer(sandbox)
	rules := w.project.Repository("Rules")
	rules.Point("refs/tags/v1", first)
	push := inputs{"action": "verify", "source": source, "targets": devHost}
	// A later commit forbids it; whoever names an earlier one gets that.
	_, second := w.onServer(strings.Replace(sandbox, `repositories: ["shop/**"]`, `repositories: ["other/**"]`, 1))
	for _, c := range []struct{ name, commit, outcome string }{
		{name, second, "refused"},
		{"Rules@main:release/flows.yml", second, "refused"},
		{"rules@main:/release/flows.yml", second, "refused"},
		{"shop/Rules@main:release/flows.yml", second, "refused"},
		{"Rules@refs/tags/v1:release/flows.yml", first, "done"},
		{"Rules@" + first + ":release/flows.yml", first, "done"},
	} {
		o := w.task(push.with("flowFile", c.name)).want(c.outcome)
		if o.at("flow", "commit") != c.commit || o.at("flow", "sha256") == "" || o.at("flow", "repository") == "" || o.at("flow", "path") == "" {
			t.Errorf("%s: told as %v, want commit %s", c.name, o.at("flow"), c.commit)
		}
	}
	rules.Commit("refs/heads/main", map[string][]byte{"release/flows.yml": []byte("version: 2\n")})
	w.task(push.with("flowFile", name)).want("misuse").says("release/flows.yml:1:10")
}

// TestFlowFileUnread: a server copy that cannot be read is flow-unverified.
func TestFlowFileUnread(t *testing.T) {
	w := newWorld(t)
	w.sealed()
	w.ready()
	name, _ := w.onServer(sandbox)
	push := inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": name}
	for _, missing := range []string{
		"Elsewhere@main:release/flows.yml", "Rules@nowhere:release/flows.yml", "Rules@refs/tags/v9:release/flows.yml",
		"Rules@" + strings.Repeat("a", 40) + ":release/flows.yml", "Rules@main:flows.yml", "Rules@main:release", "Other/Rules@main:release/flows.yml",
	} {
		w.task(push.with("flowFile", missing)).refusedBy("flow-unverified").says("flow")
	}
	w.project.Deny(sim.Repositories)
	w.task(push).refusedBy("flow-unverified").says("Read", "shop Build Service (contoso)")
	w.project.Allow(sim.Repositories)
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
		w.organization.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/items") && !strings.Contains(r.URL.Path, "/items/") {
				return false
			}
			answer(rw)
			return true
		})
		if o := w.task(push); o.result["outcome"] != "refused" || strings.Join(o.rules(), " ") != "flow-unverified" {
			t.Errorf("%s: %v by %v", name, o.result["outcome"], o.rules())
		}
		w.organization.RestoreAnswers()
	}
	w.untouched(w.dev)
	w.task(push).want("done")
}

func documentWith(body string) func(http.ResponseWriter) {
	return func(rw http.ResponseWriter) {
		rw.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = rw.Write([]byte(body))
	}
}

// TestFlowFilePinned: a hash is what it must be; without one the file is the
// pipeline author's to change, and the result says what to do about it.
func TestFlowFilePinned(t *testing.T) {
	w := newWorld(t)
	w.sealed()
	w.ready()
	pinned := w.flowFile(sandbox)
	path, hash, _ := strings.Cut(pinned, "#sha256:")
	push := inputs{"action": "verify", "source": source, "targets": devHost}
	w.task(push.with("flowFile", path+"#sha256:"+strings.ToUpper(hash))).want("done")
	for _, wrong := range []string{strings.Repeat("0", 64), hash[:63], "", hash + "0"} {
		w.task(push.with("flowFile", path+"#sha256:"+wrong)).refusedBy("flow-unverified").says(hash)
	}
	o := w.task(push.with("flowFile", path)).want("done")
	told := strings.Join(o.warnings, "\n")
	if o.at("rules") != "unverified" || !strings.Contains(told, "#sha256:"+hash) || !strings.Contains(told, "NAME@REF:path") || !strings.Contains(o.summary, "unverified") {
		t.Errorf("rules %v; warnings %q", o.at("rules"), told)
	}
	w.task(push.with("flowFile", filepath.Join(filepath.Dir(path), "absent.yml"))).want("misuse").says("absent.yml")
	// A link or a folder is no way to another file's hash.
	w.task(push.with("flowFile", filepath.Dir(path)+"#sha256:"+hash)).want("misuse")
	if err := os.WriteFile(path, []byte(strings.Replace(sandbox, "Production}", "Mine}", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	w.task(push.with("flowFile", pinned)).refusedBy("flow-unverified")
}

// TestRulesVerified: only a required template that passed for this stage, on a
// service connection of this step, makes the rules verified.
func TestRulesVerified(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world) (use *sim.ServiceConnection)
		want string
	}{
		{"a required template on the connection", func(w *world) *sim.ServiceConnection {
			w.connection.AddCheck(sim.RequiredTemplate)
			return w.connection
		}, "verified"},
		{"none", func(w *world) *sim.ServiceConnection { return w.connection }, "unverified"},
		{"an approval on it instead", func(w *world) *sim.ServiceConnection { w.connection.AddCheck(sim.TaskCheck); return w.connection }, "unverified"},
		{"on the environment alone", func(w *world) *sim.ServiceConnection {
			w.environment.AddCheck(sim.RequiredTemplate)
			return w.connection
		}, "unverified"},
		{"on another connection of the stage", func(w *world) *sim.ServiceConnection {
			other := w.project.FederatedConnection("other-identity", tenant, clientID)
			other.AddCheck(sim.RequiredTemplate)
			w.application.AddFederatedCredential(w.organization.Issuer(), other.Subject())
			return w.connection
		}, "unverified"},
		{"switched off", func(w *world) *sim.ServiceConnection {
			w.connection.AddCheck(sim.RequiredTemplate).Disable()
			return w.connection
		}, "unverified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			use := c.do(w)
			uses := []sim.Resource{w.environment, w.connection}
			if other := w.project.FederatedConnection("other-identity", tenant, clientID); c.name == "on another connection of the stage" {
				uses = append(uses, other)
			}
			w.stage = w.run.Stage("Guarded", uses...)
			w.sealed()
			w.ready()
			name, _ := w.onServer(sandbox)
			push := inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": name}
			o := w.task(push, connected("azureSubscription", use)).want("done")
			if o.at("rules") != c.want {
				t.Errorf("rules %v, want %s", o.at("rules"), c.want)
			}
			if told := strings.Contains(strings.Join(o.warnings, "\n"), "Required template"); told != (c.want == "unverified") {
				t.Errorf("what to configure is told: %v\n%q", told, o.warnings)
			}
			// What lies in the workspace is never verified, a pinned hash is.
			pinned := w.flowFile(sandbox)
			if o := w.task(push.with("flowFile", pinned)).want("done"); o.at("rules") != c.want {
				t.Errorf("pinned: rules %v, want %s", o.at("rules"), c.want)
			}
			path, _, _ := strings.Cut(pinned, "#")
			if o := w.task(push.with("flowFile", path)).want("done"); o.at("rules") != "unverified" {
				t.Errorf("in the workspace: rules %v", o.at("rules"))
			}
		})
	}
	t.Run("no flow file", func(t *testing.T) {
		w, _ := ready(t)
		if o := w.task(push("action", "verify")).want("done"); o.at("rules") != "inputs" {
			t.Errorf("rules %v", o.at("rules"))
		}
	})
	t.Run("in another stage", func(t *testing.T) {
		w := newWorld(t)
		w.sealed()
		// The approval is given in a stage that extends the template; the step
		// runs in one that was begun before the check was there.
		w.stage = w.run.Stage("Late", w.connection)
		w.stage.Begin()
		w.connection.AddCheck(sim.RequiredTemplate)
		gate := w.run.Stage("Gate", w.environment, w.connection)
		if err := gate.Approve(manager, ""); err != nil {
			t.Fatal(err)
		}
		name, _ := w.onServer(sandbox)
		if o := w.task(inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": name, "approvalStage": "Gate"}).want("done"); o.at("rules") != "unverified" {
			t.Errorf("rules %v: this stage's own suite shows no template", o.at("rules"))
		}
	})
	t.Run("without an approval", func(t *testing.T) {
		w := newWorld(t)
		pushImage(w.prod, "base/alpine", "3", 1, 1, 300)
		w.connection.AddCheck(sim.RequiredTemplate)
		w.stage = w.run.Stage("Nightly", w.connection)
		w.stage.Begin()
		name, _ := w.onServer(sandbox)
		if o := w.task(inputs{"action": "verify", "source": prodHost + "/base/alpine:3", "targets": devHost, "flowFile": name}).want("done"); o.at("rules") != "verified" || o.at("approval", "kind") != "none" {
			t.Errorf("rules %v, approval %v", o.at("rules"), o.at("approval", "kind"))
		}
	})
}
