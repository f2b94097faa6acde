package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// The tests of this file show that the program is right whatever the answer to a
// question is that public documentation leaves open: docs/live-check.md lists them.

// disallowed answers as a registry does to what a lock forbids.
func disallowed(w http.ResponseWriter) bool {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusMethodNotAllowed)
	_, _ = w.Write([]byte(`{"errors":[{"code":"REGISTRY_DISALLOWED_OPERATION","message":"The operation is disallowed on this registry, repository or image."}]}`))
	return true
}

// tagOf returns the tag that a request is about, "" if none.
func tagOf(r *http.Request) string {
	_, tag, _ := strings.Cut(r.URL.Path, "/_tags/")
	if _, reference, ok := strings.Cut(r.URL.Path, "/manifests/"); ok && !strings.Contains(reference, ":") {
		tag = reference
	}
	return tag
}

// eitherWay runs a test in both variants of a fact.
func eitherWay(t *testing.T, a, b string, test func(t *testing.T, second bool)) {
	t.Helper()
	t.Run(a, func(t *testing.T) { test(t, false) })
	t.Run(b, func(t *testing.T) { test(t, true) })
}

// TestLockedTagIsNotPutAgain checks that a rerun puts no manifest under a tag that
// has it, so that it does not matter whether a locked tag refuses it.
func TestLockedTagIsNotPutAgain(t *testing.T) {
	eitherWay(t, "refused", "accepted", func(t *testing.T, accepted bool) {
		env, image := ready(t)
		env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !accepted || r.Method != http.MethodPut || tagOf(r) != release {
				return false
			}
			if a, ok := env.dev.TagAttributes(cart, release); !ok || a.Write {
				return false
			}
			w.WriteHeader(http.StatusCreated)
			return true
		})
		in := push("lock", "tag")
		env.task(in).want("done").wantStates("copied")
		for range 2 {
			o := env.task(in).want("done").wantStates("present")
			if len(writes(o.requests)) != 0 || env.dev.TagDigest(cart, release) != image.Digest {
				t.Errorf("a rerun wrote %v", writes(o.requests))
			}
		}
		// Another image under the locked tag is refused before the first write.
		pushImage(env.prod, cart, "2.0", 7, 1, 64)
		env.record(descriptor{MediaType: image.MediaType, Digest: env.prod.TagDigest(cart, "2.0"), Size: image.Size})
		env.lock("2.0")
		env.queue()
		env.approve(manager, "")
		o := env.task(push("source", prodHost+"/"+cart+":2.0", "targets", devHost+"/"+cart+":"+release)).want("refused")
		if len(writes(o.requests)) != 0 {
			t.Errorf("wrote %v", writes(o.requests))
		}
	})
}

// TestPatchOfLockedTag checks that a tag that is locked already is left alone, and
// that a half lock is completed where the registry lets it, and reported where not.
func TestPatchOfLockedTag(t *testing.T) {
	eitherWay(t, "accepted", "refused", func(t *testing.T, refused bool) {
		env := newTestEnv(t)
		pushImage(env.prod, cart, release, 1, 1, 64)
		pushImage(env.prod, cart, "half", 2, 1, 64)
		env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if tag := tagOf(r); refused && r.Method == http.MethodPatch && tag != "" {
				if a, ok := env.prod.TagAttributes(cart, tag); ok && !a.Write {
					return disallowed(w)
				}
			}
			return false
		})
		env.stage.Begin()
		// Everything is locked at the first try, and nothing again.
		env.task(sealing.with("lock", "image")).want("done")
		if o := env.task(sealing.with("lock", "image")).want("done"); len(writes(o.requests)) != 0 {
			t.Errorf("a rerun wrote %v", writes(o.requests))
		}
		env.prod.SetTagLock(cart, "half", false, true)
		half := sealing.with("source", prodHost+"/"+cart+":half")
		if refused {
			env.task(half).failsAt("source", prodHost, "half")
			return
		}
		env.task(half).want("done")
		if a, _ := env.prod.TagAttributes(cart, "half"); a.Write || a.Delete {
			t.Errorf("the tag is %+v", a)
		}
	})
}

// TestReferrerOfLockedManifest checks that what is attached arrives at a target whose
// image is locked against writes, or that the target fails and says so; the image
// itself is complete either way.
func TestReferrerOfLockedManifest(t *testing.T) {
	eitherWay(t, "accepted", "refused", func(t *testing.T, refused bool) {
		env, image := ready(t)
		env.broken = refused // the tag is there without what was attached later
		env.task(push("lock", "image")).want("done")
		if refused {
			env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Host != devHost || r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				var m testimage.Manifest
				if json.Unmarshal(body, &m) != nil || m.Subject == nil {
					return false
				}
				if a, ok := env.dev.ManifestAttributes(cart, m.Subject.Digest); !ok || a.Write {
					return false
				}
				return disallowed(w)
			})
		}
		testimage.Attach(env.prod, cart, image, "application/spdx+json", []byte(`{}`))
		env.queue()
		env.approve(manager, "")
		o := env.task(push("lock", "image"))
		if refused {
			o.failsAt("target", devHost)
		} else {
			o.want("done")
		}
		if got := env.dev.TagDigest(cart, release); got != image.Digest {
			t.Errorf("the tag has %q", got)
		}
	})
}

// TestTagOfLockedManifest checks that a manifest that is locked against writes gets a
// further tag, or that the target fails.
func TestTagOfLockedManifest(t *testing.T) {
	eitherWay(t, "refused", "accepted", func(t *testing.T, accepted bool) {
		env, image := ready(t)
		env.prod.SetManifestLock(cart, image.Digest, false, false)
		env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if accepted && r.Host == prodHost && r.Method == http.MethodPut && tagOf(r) != "" {
				env.prod.SetManifestLock(cart, image.Digest, true, false)
			}
			return false
		})
		o := env.task(promotion())
		if accepted {
			o.want("done")
			return
		}
		o.failsAt("target", prodHost, "lock")
		if got := env.prod.TagDigest(cart, "stable"); got != "" {
			t.Errorf("the tag has %q", got)
		}
	})
}

// TestReadDisabled checks that an image that may not be read is never copied, and
// nothing written, whatever the registry answers for it, its attributes and what is
// attached to it.
func TestReadDisabled(t *testing.T) {
	for _, c := range []struct {
		name                             string
		unknown, noAttributes, noAttachd bool
	}{
		{"405, attributes and referrers readable", false, false, false},
		{"404, attributes and referrers readable", true, false, false},
		{"405, attributes refused", false, true, false},
		{"404, attributes refused", true, true, false},
		{"405, referrers refused", false, false, true},
		{"404, referrers refused", true, false, true},
		{"405, all refused", false, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, image := ready(t)
			env.prod.SetReadable(cart, image.Digest, false)
			env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				at := func(part string) bool { return r.Host == prodHost && strings.Contains(r.URL.Path, part) }
				if r.Header.Get("Authorization") == "" {
					return false
				}
				switch {
				case c.unknown && (at("/manifests/"+release) || at("/manifests/"+image.Digest)):
					w.WriteHeader(http.StatusNotFound)
					_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest is not found"}]}`))
					return true
				case c.noAttributes && at("/_manifests/"+image.Digest), c.noAttachd && at("/referrers/"+image.Digest):
					return disallowed(w)
				}
				return false
			})
			o := env.task(push())
			if o.result["outcome"] != "failed" && o.result["outcome"] != "refused" {
				t.Fatalf("outcome %v\n%s", o.result["outcome"], o.stdout)
			}
			o.says(prodHost)
			if len(writes(o.requests)) != 0 {
				t.Errorf("wrote %v", writes(o.requests))
			}
			env.untouched(env.dev)
			for _, action := range []inputs{push("action", "verify"), {"action": "seal", "source": source}} {
				if o := env.task(action); o.result["outcome"] == "done" {
					t.Errorf("%s is done", action["action"])
				}
			}
		})
	}
}

// TestMetadataWithPull checks that the lock of the source is read where a token for
// pulls suffices for attributes and lists of tags, and that the missing right is named
// where not.
func TestMetadataWithPull(t *testing.T) {
	eitherWay(t, "refused", "readable", func(t *testing.T, readable bool) {
		env, _ := ready(t)
		env.prod.Revoke(clientID)
		env.prod.Grant(clientID, "**", sim.AcrPull...)
		env.prod.AddUser("anyone", "not-a-real-password")
		env.prod.Grant("anyone", "**", sim.RepositoryReader...)
		env.cloud.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
			metadata := strings.HasPrefix(r.URL.Path, "/acr/v1/") || strings.HasSuffix(r.URL.Path, "/tags/list")
			if readable && r.Host == prodHost && metadata && r.Header.Get("Authorization") != "" {
				r.SetBasicAuth("anyone", "not-a-real-password")
			}
			return false
		})
		o := env.task(push())
		if readable {
			o.want("done")
			return
		}
		if o.result["outcome"] == "done" {
			t.Errorf("it is done without the lock\n%s", o.stdout)
		}
		o.says(prodHost)
		env.untouched(env.dev)
	})
}

// TestShapesOfEvidence checks that an approval is bound to the run in every shape in
// which a server may report it, and that a suite without check runs binds nothing.
func TestShapesOfEvidence(t *testing.T) {
	for shape := range 8 {
		options := sim.RunOptions{RequestedFor: developer, DistinctApprovalIDs: shape&1 > 0, FlatContext: shape&2 > 0, GraphNodeIsStage: shape&4 > 0}
		t.Run(fmt.Sprintf("other ids %v, flat %v, node is stage %v", options.DistinctApprovalIDs, options.FlatContext, options.GraphNodeIsStage), func(t *testing.T) {
			env := newTestEnv(t)
			env.sealed()
			options.StartedAt = env.clock.now().Add(-time.Minute)
			env.run = env.project.QueueRun(options)
			env.stage = env.run.Stage("Production", env.environment, env.connection)
			env.approve(manager, "")
			env.task(push("dryRun", "true")).want("done")
			env.run.MutateApprovals(func(d map[string]any) {
				for _, a := range d["value"].([]any) {
					delete(a.(map[string]any), "pipeline")
				}
			})
			env.task(push()).want("done")
			env.run.MutateSuite(func(d map[string]any) { d["checkRuns"] = []any{} })
			env.task(push()).refusedBy("approval-unbound")
		})
	}
}

// TestBypassReportedAsApproval checks that a bypass is no approval, even if the server
// reports the approval as approved by the administrator.
func TestBypassReportedAsApproval(t *testing.T) {
	eitherWay(t, "skipped", "approved", func(t *testing.T, approved bool) {
		env := newTestEnv(t)
		env.sealed()
		env.stage.Bypass(officer)
		env.stage.Begin()
		if approved {
			env.run.MutateApprovals(func(d map[string]any) {
				for _, a := range d["value"].([]any) {
					a.(map[string]any)["status"] = "approved"
					for _, s := range a.(map[string]any)["steps"].([]any) {
						s.(map[string]any)["status"] = "approved"
					}
				}
			})
		}
		env.task(push()).want("refused")
		env.untouched(env.dev)
	})
}

// TestClicks checks that two steps that one person answers are one approver, whether
// one click answers both or each takes its own.
func TestClicks(t *testing.T) {
	eitherWay(t, "one click", "two clicks", func(t *testing.T, two bool) {
		env := newTestEnv(t)
		env.sealed()
		group := env.organization.Group(`[shop]\Release Managers`, manager)
		env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager, group}})
		if two {
			env.organization.AnswerOneStep()
		}
		for env.stage.Approvals()[0].Status() != "approved" {
			if err := env.stage.Approve(manager, ""); err != nil {
				t.Fatal(err)
			}
			if two {
				time.Sleep(20 * time.Millisecond)
			}
		}
		env.stage.Begin()
		env.task(push("minApprovers", "2")).refusedBy("min-approvers")
		env.task(push()).want("done")
	})
}

// TestTokenOfRelease checks that a classic release is bound by its record, whether or
// not its jobs get a token of their own, for which the program does not ask.
func TestTokenOfRelease(t *testing.T) {
	eitherWay(t, "a token", "none", func(t *testing.T, none bool) {
		env := newTestEnv(t)
		env.sealed()
		asked := 0
		env.organization.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || r.URL.Query().Has("serviceConnectionId") {
				return false
			}
			asked++
			if none {
				w.WriteHeader(http.StatusBadRequest)
				return true
			}
			fmt.Fprint(w, `{"oidcToken":"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"}`)
			return true
		})
		stage := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: env.run}).
			Stage("Production", sim.ReleaseStageOptions{Before: sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}})
		if err := stage.Approve(manager, ""); err != nil {
			t.Fatal(err)
		}
		stage.Begin()
		env.taskOf(stage, push()).want("done")
		if asked > 0 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// TestReachOfJobTokens checks what a script with a job's token can do about a seal, as
// far as such tokens may reach: its own job, its own run, its project.
func TestReachOfJobTokens(t *testing.T) {
	for _, c := range []struct {
		name  string
		reach sim.Reach
		forge func(env *testEnv, seal *sim.Step, script *sim.Stage, other *sim.Stage, image descriptor) int
		want  int
		says  string // "" is let out, as claimed by the run that wrote it
	}{
		{"under the job's record", sim.OwnJob, func(env *testEnv, _ *sim.Step, script, _ *sim.Stage, image descriptor) int {
			return env.forge(env.run, script, script.JobID(), image)
		}, http.StatusCreated, "not stored under a step of this task"},
		{"under the record of a step of this task, refused", sim.OwnJob, func(env *testEnv, seal *sim.Step, script, _ *sim.Stage, image descriptor) int {
			return env.forge(env.run, script, seal.ID(), image)
		}, http.StatusForbidden, "no attachment"},
		{"under the record of a step of this task, accepted", sim.OwnRun, func(env *testEnv, seal *sim.Step, script, _ *sim.Stage, image descriptor) int {
			return env.forge(env.run, script, seal.ID(), image)
		}, http.StatusCreated, ""},
		{"by another run, refused", sim.OwnRun, func(env *testEnv, seal *sim.Step, _, other *sim.Stage, image descriptor) int {
			return env.forge(env.run, other, seal.ID(), image)
		}, http.StatusForbidden, "no attachment"},
		{"by another run, accepted", sim.OwnProject, func(env *testEnv, seal *sim.Step, _, other *sim.Stage, image descriptor) int {
			return env.forge(env.run, other, seal.ID(), image)
		}, http.StatusCreated, ""},
		{"a failed step patched, refused", sim.OwnJob, func(env *testEnv, seal *sim.Step, script, _ *sim.Stage, image descriptor) int {
			seal.Attach("acrpromote.seal", strings.TrimPrefix(image.Digest, "sha256:"))
			seal.End("failed")
			return env.patch(env.run, script, seal.ID())
		}, http.StatusForbidden, "has not succeeded"},
		{"a failed step patched, accepted", sim.OwnRun, func(env *testEnv, seal *sim.Step, script, _ *sim.Stage, image descriptor) int {
			seal.Attach("acrpromote.seal", strings.TrimPrefix(image.Digest, "sha256:"))
			seal.End("failed")
			return env.patch(env.run, script, seal.ID())
		}, http.StatusOK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			env.organization.SetReach(c.reach)
			image := pushImage(env.prod, cart, release, 1, 1, 300)
			env.lock(release)
			script := env.run.Stage("Scripted")
			seal := script.Step("AcrPromote")
			seal.End("succeeded")
			script.Step("CmdLine").End("succeeded")
			script.Begin()
			other := env.queued(sim.RunOptions{Branch: "refs/heads/feature/x"}).Stage("Scripted")
			other.Begin()
			if got := c.forge(env, seal, script, other, image); got != c.want {
				t.Fatalf("the server answers %d, want %d", got, c.want)
			}
			env.recordIn(env.prod, cart, image, env.run)
			env.approve(manager, "")
			o := env.task(env.released(sandbox))
			if c.says != "" {
				o.refusedBy("branch").says(c.says)
				env.untouched(env.dev)
				return
			}
			// What a run's own token wrote looks like what its steps wrote: it is reported as
			// a claim, not as proved.
			if told := fmt.Sprint(o.want("done").at("approval", "rules")); !strings.Contains(told, fmt.Sprintf("claimed by run %d of refs/heads/main", env.run.ID())) || strings.Contains(told, "proved: ") {
				t.Errorf("rules %s", told)
			}
		})
	}
}

// forge has a script in a stage's job put an attachment of a seal under a record.
func (env *testEnv) forge(run *sim.Run, script *sim.Stage, record string, image descriptor) int {
	return env.plan(http.MethodPut, run, script, "/"+record+"/attachments/acrpromote.seal/"+strings.TrimPrefix(image.Digest, "sha256:"), "{}")
}

// patch has a script change the result of a step.
func (env *testEnv) patch(run *sim.Run, script *sim.Stage, record string) int {
	return env.plan(http.MethodPatch, run, script, "", fmt.Sprintf(`{"count":1,"value":[{"id":%q,"result":"succeeded"}]}`, record))
}

func (env *testEnv) plan(method string, run *sim.Run, script *sim.Stage, path, body string) int {
	env.t.Helper()
	address := fmt.Sprintf("%sshop/_apis/distributedtask/hubs/build/plans/%s/timelines/%s/records%s?api-version=7.1", env.organization.Collection(), run.PlanID(), run.PlanID(), path)
	request, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		env.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+script.Token())
	client := env.prodNetwork.Client()
	defer client.CloseIdleConnections()
	answered, err := client.Do(request)
	if err != nil {
		env.t.Fatal(err)
	}
	answered.Body.Close()
	return answered.StatusCode
}
