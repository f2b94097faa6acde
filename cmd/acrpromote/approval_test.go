package main_test

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// TestApprovals tests the possible states of a stage's approvals, end to end.
func TestApprovals(t *testing.T) {
	both := sim.ApprovalSettings{Approvers: []sim.Identity{manager, officer, developer}, MinRequired: 2}
	fail := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, env *testEnv)
		in    inputs
		rules string // "" is granted
		says  []string
	}{
		{"pending", func(t *testing.T, env *testEnv) {}, push(), "approval-pending", []string{"Release Manager", "Production"}},
		{"rejected", func(t *testing.T, env *testEnv) { fail(t, env.stage.Reject(manager, "not on a Friday")) }, push(), "approval-rejected", []string{"not on a Friday", "Release Manager"}},
		{"skipped", func(t *testing.T, env *testEnv) { env.stage.Skip() }, push(), "approval-missing", []string{"skipped"}},
		{"timed out", func(t *testing.T, env *testEnv) { env.stage.TimeOut() }, push(), "approval-rejected", []string{"timedOut"}},
		{"cancelled", func(t *testing.T, env *testEnv) { env.stage.Cancel() }, push(), "approval-rejected", []string{"canceled"}},
		{"deferred", func(t *testing.T, env *testEnv) {
			fail(t, env.stage.Defer(manager, time.Now().Add(time.Hour), "at night"))
		}, push(), "approval-pending", nil},
		{"approved", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push(), "", nil},
		{"environment in another case", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("environment", "pRoDuCtIoN"), "", nil},
		{"approved only by the requester", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(developer, "")) }, push(), "requester-approved", []string{"Developer", "Release Manager"}},
		{"the requester may approve", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(developer, "")) }, push("requesterCanApprove", "true"), "", nil},
		{"queued by another, for the approver", func(t *testing.T, env *testEnv) {
			env.run = env.project.QueueRun(sim.RunOptions{RequestedFor: developer, RequestedBy: manager})
			env.stage = env.run.Stage("Production", env.environment, env.connection)
			fail(t, env.stage.Approve(manager, ""))
		}, push(), "requester-approved", []string{"Release Manager"}},
		{"one of two", func(t *testing.T, env *testEnv) { env.guard(both); fail(t, env.stage.Approve(manager, "")) }, push("minApprovers", "2"), "approval-pending", nil},
		{"two of two", func(t *testing.T, env *testEnv) {
			env.guard(both)
			fail(t, env.stage.Approve(manager, ""))
			fail(t, env.stage.Approve(officer, ""))
		}, push("minApprovers", "2"), "", nil},
		{"two, one of them the requester", func(t *testing.T, env *testEnv) {
			env.guard(both)
			fail(t, env.stage.Approve(manager, ""))
			fail(t, env.stage.Approve(developer, ""))
		}, push("minApprovers", "2"), "min-approvers requester-approved", []string{"1 of 2"}},
		{"one where the rule wants two", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("minApprovers", "2"), "min-approvers", []string{"1 of 2"}},
		{"listed", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("approvers", "security.officer@example.com\nRELEASE.manager@example.com"), "", nil},
		{"not listed", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("approvers", "security.officer@example.com"), "approver-not-listed", []string{"security.officer@example.com"}},
		{"listed by display name", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("approvers", "Release Manager"), "approver-not-listed", nil},
		{"listed as a group", func(t *testing.T, env *testEnv) {
			group := env.organization.Group(`[shop]\Release Managers`, manager, officer)
			env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{group}})
			fail(t, env.stage.Approve(manager, ""))
		}, push("approvers", `[Shop]\release managers`), "", nil},
		{"comment that fits", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "see CHG0042")) }, push("commentPattern", `CHG\d+`), "", nil},
		{"comment that does not fit", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "fine")) }, push("commentPattern", `CHG\d+`), "comment-pattern", []string{"fine", `CHG`}},
		{"no comment", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("commentPattern", `CHG\d+`), "comment-pattern", nil},
		{"fresh enough", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("approvalMaxAge", "1h"), "", nil},
		{"several rules at once", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(developer, "no")) }, push("commentPattern", "CHG", "approvers", "release.manager@example.com"), "requester-approved approver-not-listed comment-pattern", nil},
		{"the author is not known", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("authorCanApprove", "false"), "author-approved", []string{"unknown"}},
		{"another environment, created by the requester", func(t *testing.T, env *testEnv) {
			mine := env.project.EnvironmentBy("Production-hotfix", developer)
			mine.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
			env.stage = env.run.Stage("Hotfix", mine, env.connection)
			fail(t, env.stage.Approve(manager, ""))
		}, push(), "approval-unbound", []string{"environment Production-hotfix"}},
		{"environment is empty", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("environment", ""), "approval-unbound", []string{"environment Production"}},
		{"no check on the stage", func(t *testing.T, env *testEnv) { env.stage = env.run.Stage("Bare", env.connection) }, push(), "approval-missing", []string{"Approvals and checks", "Production"}},
		{"checks, but no approval", func(t *testing.T, env *testEnv) {
			open := env.project.Environment("Staging")
			open.AddCheck(sim.BusinessHours)
			env.stage = env.run.Stage("Staging", open, env.connection)
		}, push("environment", "Staging"), "approval-missing", []string{"Staging"}},
		{"two approvals, of which one counts", func(t *testing.T, env *testEnv) {
			env.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{developer}})
			env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
			fail(t, env.stage.Approve(manager, ""))
			fail(t, env.stage.Approve(developer, "mine"))
		}, push(), "", nil},
		{"two approvals, only the other counts", func(t *testing.T, env *testEnv) {
			env.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
			env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{developer}})
			fail(t, env.stage.Approve(manager, ""))
			fail(t, env.stage.Approve(developer, "mine"))
		}, push(), "requester-approved", nil},
		{"two approvals, only the other is given", func(t *testing.T, env *testEnv) {
			env.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{officer}})
			env.queue()
			fail(t, env.stage.Approve(officer, ""))
		}, push(), "approval-pending", nil},
		{"the approval of a service connection", func(t *testing.T, env *testEnv) {
			env.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{officer}})
			env.stage = env.run.Stage("Connection", env.connection)
			fail(t, env.stage.Approve(officer, ""))
		}, push("environment", "endpoint:release-identity"), "", nil},
		{"retried: what was approved before does not count", func(t *testing.T, env *testEnv) {
			fail(t, env.stage.Approve(manager, ""))
			env.stage.Begin()
			env.stage.Retry()
		}, push(), "approval-pending", nil},
		{"retried and approved again", func(t *testing.T, env *testEnv) {
			fail(t, env.stage.Approve(manager, ""))
			env.stage.Begin()
			env.stage.Retry()
			fail(t, env.stage.Approve(manager, ""))
		}, push(), "", nil},
		{"only the job is retried", func(t *testing.T, env *testEnv) {
			fail(t, env.stage.Approve(manager, ""))
			env.stage.Begin()
			env.stage.RetryJob()
		}, push(), "", nil},
		{"the check is disabled now", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")); env.check.Disable() }, push(), "approval-unbound", []string{"disabled"}},
		{"the check was changed since", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")); env.check.Update(both) }, push(), "approval-unbound", []string{"version"}},
		{"the check was removed since", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")); env.check.Delete() }, push(), "approval-unbound", nil},
		{"approval of another stage", func(t *testing.T, env *testEnv) {
			fail(t, env.stage.Approve(manager, ""))
			env.stage = env.run.Stage("Push", env.connection)
		}, push("approvalStage", "Production"), "", nil},
		{"another stage that nobody approved", func(t *testing.T, env *testEnv) { env.stage = env.run.Stage("Push", env.connection) }, push("approvalStage", "Production"), "approval-pending", nil},
		{"a suite that disagrees", func(t *testing.T, env *testEnv) {
			fail(t, env.stage.Approve(manager, ""))
			env.run.MutateSuite(func(d map[string]any) { d["status"] = "rejected" })
		}, push(), "approval-unreadable", []string{"rejected"}},
		{"a status that is unknown", func(t *testing.T, env *testEnv) {
			fail(t, env.stage.Approve(manager, ""))
			env.run.MutateApprovals(func(d map[string]any) { d["value"].([]any)[0].(map[string]any)["status"] = "bypassed" })
		}, push(), "approval-unreadable", []string{"bypassed"}},
		{"approved by nobody", func(t *testing.T, env *testEnv) {
			fail(t, env.stage.Approve(manager, ""))
			env.run.MutateApprovals(func(d map[string]any) {
				for _, s := range d["value"].([]any)[0].(map[string]any)["steps"].([]any) {
					delete(s.(map[string]any), "actualApprover")
				}
			})
		}, push(), "approval-unreadable", nil},
		{"promote takes one too", func(t *testing.T, env *testEnv) {}, inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stable", "environment": "Production"}, "approval-pending", nil},
		{"verify refuses too", func(t *testing.T, env *testEnv) {}, push("action", "verify"), "approval-pending", nil},
		{"verify grants too", func(t *testing.T, env *testEnv) { fail(t, env.stage.Approve(manager, "")) }, push("action", "verify"), "", nil},
		{"a dry run refuses too", func(t *testing.T, env *testEnv) {}, push("dryRun", "true"), "approval-pending", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			image := env.sealed()
			c.do(t, env)
			env.stage.Begin()
			o := env.task(c.in)
			if c.rules == "" {
				o.want("done")
				if o.at("approval", "granted") != true || o.at("approval", "kind") != "manual" || len(o.at("approval", "approvers").([]any)) == 0 {
					t.Errorf("approval %v", o.at("approval"))
				}
				if got := env.dev.TagDigest(cart, release); c.in["action"] == "invertedPush" && got != image.Digest {
					t.Errorf("the target has %q", got)
				}
				return
			}
			o.refusedBy(strings.Fields(c.rules)...).says(c.says...)
			if o.at("approval", "granted") != false {
				t.Errorf("refused, yet granted: %v", o.at("approval"))
			}
			env.untouched(env.dev)
			for _, rule := range strings.Fields(c.rules) {
				if !strings.Contains(o.summary, rule) || !strings.Contains(strings.Join(o.issues, "\n"), rule) {
					t.Errorf("%s is not in the summary and the issues", rule)
				}
			}
		})
	}
}

// TestApprovalMaxAge checks that the age is by the server's time, and that an
// approval of exactly the maximum age counts.
func TestApprovalMaxAge(t *testing.T) {
	env := newTestEnv(t)
	env.clock.set(-49 * time.Hour)
	env.queue()
	env.sealed()
	time.Sleep(time.Millisecond)
	env.approve(manager, "")
	env.clock.set(0)
	env.task(push("approvalMaxAge", "2d")).refusedBy("approval-too-old").says("48h", "Release Manager")
	env.untouched(env.dev)
	env.task(push("approvalMaxAge", "3d")).want("done")
}

// TestFutureApproval checks that an approval from the future is refused.
func TestFutureApproval(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	env.clock.set(time.Hour)
	env.approve(manager, "")
	env.clock.set(0)
	env.task(push()).refusedBy("approval-unreadable").says("clock")
}

// code returns the approval code of a digest, made with the standard library.
func code(t *testing.T, digest string) string {
	t.Helper()
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	text := base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding).EncodeToString(raw[:15])
	return strings.TrimSuffix(regexp.MustCompile("....").ReplaceAllString(text, "$0-"), "-")
}

// TestApprovalCode checks that seal shows the code, that the approver's own comment
// must quote it, and that only case, spaces and dashes are ignored.
func TestApprovalCode(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, cart, release, 1, 1, 512)
	build := env.run.Stage("Seal", env.connection)
	build.Begin()
	want := code(t, image.Digest)
	o := env.taskOf(build, inputs{"action": "seal", "source": source}).want("done")
	if o.at("approvalCode") != want || !strings.Contains(o.stdout, want) || !strings.Contains(o.summary, want) {
		t.Fatalf("code %v, want %s in the log and the summary", o.at("approvalCode"), want)
	}
	other := code(t, testimage.Digest([]byte("another image")))
	for comment, granted := range map[string]bool{
		"released, " + want:   true,
		strings.ToLower(want): true,
		"code: " + strings.ReplaceAll(want, "-", "") + " (I saw)": true,
		strings.ReplaceAll(want, "-", " "):                        true,
		"released":                                                false,
		"":                                                        false,
		other:                                                     false,
		want[:len(want)-1]:                                        false,
		strings.ReplaceAll(want, "-", "."):                        false,
	} {
		env.queue()
		env.approve(manager, comment)
		o := env.task(push("approvalCode", "true", "dryRun", "true"))
		if granted {
			o.want("done")
		} else {
			o.refusedBy("approval-code").says(want)
		}
	}
	// The comment of another person does not count.
	env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: 2})
	if err := env.stage.Approve(developer, want); err != nil {
		t.Fatal(err)
	}
	env.approve(manager, "fine")
	env.task(push("approvalCode", "true")).refusedBy("requester-approved", "approval-code")
}

// TestSealedBeforeApproval checks lock, record and times by the registry's data.
func TestSealedBeforeApproval(t *testing.T) {
	byDigest := func(image descriptor) inputs { return push("source", prodHost+"/"+cart+"@"+image.Digest) }
	byTag := func(descriptor) inputs { return push() }
	for _, c := range []struct {
		name   string
		before func(env *testEnv, image descriptor)
		after  func(env *testEnv, image descriptor)
		in     func(descriptor) inputs
		rules  string
	}{
		{"sealed", func(env *testEnv, i descriptor) { env.record(i); env.lock(release) }, nil, byTag, ""},
		{"locked after the approval, unchanged since before", func(env *testEnv, i descriptor) { env.record(i) }, func(env *testEnv, i descriptor) { env.lock(release) }, byTag, ""},
		{"not sealed", nil, nil, byTag, "not-sealed"},
		{"not locked", func(env *testEnv, i descriptor) { env.record(i) }, nil, byTag, "not-sealed"},
		{"locked only against write", func(env *testEnv, i descriptor) { env.record(i); env.prod.SetTagLock(cart, release, false, true) }, nil, byTag, "not-sealed"},
		{"locked only against delete", func(env *testEnv, i descriptor) { env.record(i); env.prod.SetTagLock(cart, release, true, false) }, nil, byTag, "not-sealed"},
		{"locked manually", func(env *testEnv, i descriptor) { env.lock(release) }, nil, byTag, "not-sealed"},
		{"another artifact is not a record", func(env *testEnv, i descriptor) {
			testimage.Attach(env.prod, cart, i, "application/spdx+json", []byte("{}"))
			env.lock(release)
		}, nil, byTag, "not-sealed"},
		{"record after the approval", func(env *testEnv, i descriptor) { env.lock(release) }, func(env *testEnv, i descriptor) { env.record(i) }, byTag, "not-sealed"},
		{"touched after the approval, and locked again", func(env *testEnv, i descriptor) { env.record(i); env.lock(release) }, func(env *testEnv, i descriptor) {
			pushImage(env.prod, cart, release, 1, 2, 2048)
			env.lock(release)
		}, byTag, "changed-since-approval"},
		{"another sealed image put under the tag after the approval", func(env *testEnv, i descriptor) {
			env.record(i)
			env.record(pushImage(env.prod, cart, "other", 7, 1, 64))
			env.lock(release)
		}, func(env *testEnv, i descriptor) { pushImage(env.prod, cart, release, 7, 1, 64); env.lock(release) }, byTag, "changed-since-approval"},
		{"everything after the approval", nil, func(env *testEnv, i descriptor) {
			pushImage(env.prod, cart, release, 1, 2, 2048)
			env.record(i)
			env.lock(release)
		}, byTag, "not-sealed changed-since-approval"},
		{"by digest", func(env *testEnv, i descriptor) { env.record(i); env.lock(release) }, nil, byDigest, ""},
		{"by digest, not locked", func(env *testEnv, i descriptor) { env.record(i) }, nil, byDigest, "not-sealed"},
		{"by digest, locked only against write", func(env *testEnv, i descriptor) { env.record(i); env.prod.SetManifestLock(cart, i.Digest, false, true) }, nil, byDigest, "not-sealed"},
		{"by digest, no record", func(env *testEnv, i descriptor) { env.lock(release) }, nil, byDigest, "not-sealed"},
		{"by digest, record after the approval", func(env *testEnv, i descriptor) { env.lock(release) }, func(env *testEnv, i descriptor) { env.record(i) }, byDigest, "not-sealed"},
		{"sealed false relaxes nothing", func(env *testEnv, i descriptor) { env.record(i) }, nil, func(descriptor) inputs { return push("sealed", "false") }, "not-sealed"},
		{"promote needs none", nil, nil, func(descriptor) inputs {
			return inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stable", "environment": "Production"}
		}, ""},
		{"promote that asks for one", nil, nil, func(descriptor) inputs {
			return inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stable", "environment": "Production", "sealed": "true"}
		}, "not-sealed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			image := pushImage(env.prod, cart, release, 1, 2, 2048)
			if c.before != nil {
				c.before(env, image)
			}
			time.Sleep(2 * time.Millisecond)
			env.approve(manager, "released")
			time.Sleep(2 * time.Millisecond)
			if c.after != nil {
				c.after(env, image)
			}
			in := c.in(image)
			o := env.task(in)
			if c.rules != "" {
				o.refusedBy(strings.Fields(c.rules)...)
				env.untouched(env.dev)
				return
			}
			o.want("done")
			if strings.Contains(in["source"], "@") {
				env.untouched(env.dev)
				if _, _, ok := env.dev.Manifest(cart, image.Digest); !ok {
					t.Error("the image did not arrive by digest")
				}
			}
		})
	}
}

// TestCheckConfigurationUnreadable checks that an unreadable configuration is
// reported as unknown and not refused.
func TestCheckConfigurationUnreadable(t *testing.T) {
	env, _ := ready(t)
	env.project.Deny(sim.Configurations)
	o := env.task(push()).want("done")
	if told := fmt.Sprint(o.at("approval", "rules")); !strings.Contains(told, "unknown") {
		t.Errorf("the configuration is not reported as unknown: %s", told)
	}
}

// TestAzureDevOpsUnreadable checks that approvals that cannot be read are refused,
// and that the message says what to grant to whom.
func TestAzureDevOpsUnreadable(t *testing.T) {
	html := func(status int) func(env *testEnv) {
		return func(env *testEnv) {
			env.organization.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/pipelines/approvals") {
					return false
				}
				rw.Header().Set("Content-Type", "text/html")
				rw.WriteHeader(status)
				fmt.Fprint(rw, "<html>##vso[task.complete result=Succeeded;]Sign in</html>")
				return true
			})
		}
	}
	body := func(part, body string) func(env *testEnv) {
		return func(env *testEnv) {
			env.organization.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(strings.ToLower(r.URL.Path), part) {
					return false
				}
				rw.Header().Set("Content-Type", "application/json")
				fmt.Fprint(rw, body)
				return true
			})
		}
	}
	deny := func(kinds ...string) func(env *testEnv) {
		return func(env *testEnv) {
			for _, k := range kinds {
				env.project.Deny(k)
			}
		}
	}
	const identity = `"shop Build Service (contoso)"`
	for _, c := range []struct {
		name string
		do   func(env *testEnv)
		says []string
	}{
		{"no route to it", func(env *testEnv) { env.prodNetwork.Block(devOpsHost) }, []string{devOpsHost, "proxy"}},
		{"500 as HTML", html(500), []string{"500"}},
		{"503 as HTML", html(503), []string{"503"}},
		{"203, a sign-in page", html(203), []string{"203"}},
		{"200, a sign-in page", html(200), []string{"200"}},
		{"302 to a sign-in page", html(302), []string{"302"}},
		{"401", html(401), []string{"401", identity}},
		{"approvals denied", deny(sim.Approvals), []string{"403", identity, "View builds"}},
		{"suites denied", deny(sim.CheckSuites), []string{"403", identity}},
		{"builds denied", deny(sim.Builds), []string{"403", identity, "View builds"}},
		{"null for the approvals", body("/pipelines/approvals", "null"), nil},
		{"null for the suite", body("/checks/runs", "null"), nil},
		{"half a document", body("/pipelines/approvals", `{"count":1,"value":[{"id":"`), nil},
		{"another type", body("/timeline", `{"records":"none"}`), nil},
		{"nothing", body("/timeline", ""), nil},
		{"no approvals", body("/pipelines/approvals", `{"count":0,"value":[]}`), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, _ := ready(t)
			secret := env.project.SecretConnection("release-secret", tenant, clientID, clientKey)
			c.do(env)
			env.task(push(), connected("azureSubscription", secret)).refusedBy("approval-unreadable").says(c.says...)
			env.untouched(env.dev)
		})
	}
}
