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
)

// TestApprovals goes through what a stage's approvals can come to, end to end.
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
		do    func(t *testing.T, w *world)
		in    inputs
		rules string // "" is granted
		says  []string
	}{
		{"pending", func(t *testing.T, w *world) {}, push(), "approval-pending", []string{"Release Manager", "Production"}},
		{"rejected", func(t *testing.T, w *world) { fail(t, w.stage.Reject(manager, "not on a Friday")) }, push(), "approval-rejected", []string{"not on a Friday", "Release Manager"}},
		{"skipped", func(t *testing.T, w *world) { w.stage.Skip() }, push(), "approval-missing", []string{"skipped"}},
		{"timed out", func(t *testing.T, w *world) { w.stage.TimeOut() }, push(), "approval-rejected", []string{"timedOut"}},
		{"cancelled", func(t *testing.T, w *world) { w.stage.Cancel() }, push(), "approval-rejected", []string{"canceled"}},
		{"deferred", func(t *testing.T, w *world) { fail(t, w.stage.Defer(manager, time.Now().Add(time.Hour), "at night")) }, push(), "approval-pending", nil},
		{"approved", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push(), "", nil},
		{"environment in another case", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("environment", "pRoDuCtIoN"), "", nil},
		{"approved by the requester alone", func(t *testing.T, w *world) { fail(t, w.stage.Approve(developer, "")) }, push(), "requester-approved", []string{"Developer", "Release Manager"}},
		{"the requester may approve", func(t *testing.T, w *world) { fail(t, w.stage.Approve(developer, "")) }, push("requesterCanApprove", "true"), "", nil},
		{"queued by another, for the approver", func(t *testing.T, w *world) {
			w.run = w.project.QueueRun(sim.RunOptions{RequestedFor: developer, RequestedBy: manager})
			w.stage = w.run.Stage("Production", w.environment, w.connection)
			fail(t, w.stage.Approve(manager, ""))
		}, push(), "requester-approved", []string{"Release Manager"}},
		{"one of two", func(t *testing.T, w *world) { w.guard(both); fail(t, w.stage.Approve(manager, "")) }, push("minApprovers", "2"), "approval-pending", nil},
		{"two of two", func(t *testing.T, w *world) {
			w.guard(both)
			fail(t, w.stage.Approve(manager, ""))
			fail(t, w.stage.Approve(officer, ""))
		}, push("minApprovers", "2"), "", nil},
		{"two, one of them the requester", func(t *testing.T, w *world) {
			w.guard(both)
			fail(t, w.stage.Approve(manager, ""))
			fail(t, w.stage.Approve(developer, ""))
		}, push("minApprovers", "2"), "min-approvers requester-approved", []string{"1 of 2"}},
		{"one where the rule wants two", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("minApprovers", "2"), "min-approvers", []string{"1 of 2"}},
		{"listed", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("approvers", "security.officer@example.com\nRELEASE.manager@example.com"), "", nil},
		{"not listed", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("approvers", "security.officer@example.com"), "approver-not-listed", []string{"security.officer@example.com"}},
		{"listed by the name that is shown", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("approvers", "Release Manager"), "approver-not-listed", nil},
		{"listed as a group", func(t *testing.T, w *world) {
			group := w.organization.Group(`[shop]\Release Managers`, manager, officer)
			w.guard(sim.ApprovalSettings{Approvers: []sim.Identity{group}})
			fail(t, w.stage.Approve(manager, ""))
		}, push("approvers", `[Shop]\release managers`), "", nil},
		{"comment that fits", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "see CHG0042")) }, push("commentPattern", `CHG\d+`), "", nil},
		{"comment that does not fit", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "fine")) }, push("commentPattern", `CHG\d+`), "comment-pattern", []string{"fine", `CHG`}},
		{"no comment", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("commentPattern", `CHG\d+`), "comment-pattern", nil},
		{"fresh enough", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("approvalMaxAge", "1h"), "", nil},
		{"several rules at once", func(t *testing.T, w *world) { fail(t, w.stage.Approve(developer, "no")) }, push("commentPattern", "CHG", "approvers", "release.manager@example.com"), "requester-approved approver-not-listed comment-pattern", nil},
		{"the author is not known", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("authorCanApprove", "false"), "author-approved", []string{"unknown"}},
		{"another environment, of the requester's own making", func(t *testing.T, w *world) {
			mine := w.project.EnvironmentBy("Production-hotfix", developer)
			mine.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
			w.stage = w.run.Stage("Hotfix", mine, w.connection)
			fail(t, w.stage.Approve(manager, ""))
		}, push(), "approval-unbound", []string{"environment Production-hotfix"}},
		{"environment is empty", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("environment", ""), "approval-unbound", []string{"environment Production"}},
		{"no check on the stage", func(t *testing.T, w *world) { w.stage = w.run.Stage("Bare", w.connection) }, push(), "approval-missing", []string{"Approvals and checks", "Production"}},
		{"checks, but no approval", func(t *testing.T, w *world) {
			open := w.project.Environment("Staging")
			open.AddCheck(sim.BusinessHours)
			w.stage = w.run.Stage("Staging", open, w.connection)
		}, push("environment", "Staging"), "approval-missing", []string{"Staging"}},
		{"two approvals, of which one counts", func(t *testing.T, w *world) {
			w.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{developer}})
			w.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
			fail(t, w.stage.Approve(manager, ""))
			fail(t, w.stage.Approve(developer, "mine"))
		}, push(), "", nil},
		{"two approvals, and the other counts alone", func(t *testing.T, w *world) {
			w.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
			w.guard(sim.ApprovalSettings{Approvers: []sim.Identity{developer}})
			fail(t, w.stage.Approve(manager, ""))
			fail(t, w.stage.Approve(developer, "mine"))
		}, push(), "requester-approved", nil},
		{"two approvals, only the other is given", func(t *testing.T, w *world) {
			w.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{officer}})
			w.queue()
			fail(t, w.stage.Approve(officer, ""))
		}, push(), "approval-pending", nil},
		{"the approval of a service connection", func(t *testing.T, w *world) {
			w.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{officer}})
			w.stage = w.run.Stage("Connection", w.connection)
			fail(t, w.stage.Approve(officer, ""))
		}, push("environment", "endpoint:release-identity"), "", nil},
		{"retried: what was approved before does not count", func(t *testing.T, w *world) {
			fail(t, w.stage.Approve(manager, ""))
			w.stage.Begin()
			w.stage.Retry()
		}, push(), "approval-pending", nil},
		{"retried and approved again", func(t *testing.T, w *world) {
			fail(t, w.stage.Approve(manager, ""))
			w.stage.Begin()
			w.stage.Retry()
			fail(t, w.stage.Approve(manager, ""))
		}, push(), "", nil},
		{"only the job is retried", func(t *testing.T, w *world) {
			fail(t, w.stage.Approve(manager, ""))
			w.stage.Begin()
			w.stage.RetryJob()
		}, push(), "", nil},
		{"the check is disabled now", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")); w.check.Disable() }, push(), "approval-unbound", []string{"disabled"}},
		{"the check was changed since", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")); w.check.Update(both) }, push(), "approval-unbound", []string{"version"}},
		{"the check was removed since", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")); w.check.Delete() }, push(), "approval-unbound", nil},
		{"approval of another stage", func(t *testing.T, w *world) {
			fail(t, w.stage.Approve(manager, ""))
			w.stage = w.run.Stage("Push", w.connection)
		}, push("approvalStage", "Production"), "", nil},
		{"another stage that nobody approved", func(t *testing.T, w *world) { w.stage = w.run.Stage("Push", w.connection) }, push("approvalStage", "Production"), "approval-pending", nil},
		{"a suite that disagrees", func(t *testing.T, w *world) {
			fail(t, w.stage.Approve(manager, ""))
			w.run.MutateSuite(func(d map[string]any) { d["status"] = "rejected" })
		}, push(), "approval-unreadable", []string{"rejected"}},
		{"a status that nobody knows", func(t *testing.T, w *world) {
			fail(t, w.stage.Approve(manager, ""))
			w.run.MutateApprovals(func(d map[string]any) { d["value"].([]any)[0].(map[string]any)["status"] = "bypassed" })
		}, push(), "approval-unreadable", []string{"bypassed"}},
		{"approved by nobody", func(t *testing.T, w *world) {
			fail(t, w.stage.Approve(manager, ""))
			w.run.MutateApprovals(func(d map[string]any) {
				for _, s := range d["value"].([]any)[0].(map[string]any)["steps"].([]any) {
					delete(s.(map[string]any), "actualApprover")
				}
			})
		}, push(), "approval-unreadable", nil},
		{"promote takes one too", func(t *testing.T, w *world) {}, inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stable", "environment": "Production"}, "approval-pending", nil},
		{"verify refuses alike", func(t *testing.T, w *world) {}, push("action", "verify"), "approval-pending", nil},
		{"verify grants alike", func(t *testing.T, w *world) { fail(t, w.stage.Approve(manager, "")) }, push("action", "verify"), "", nil},
		{"a dry run refuses alike", func(t *testing.T, w *world) {}, push("dryRun", "true"), "approval-pending", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			image := w.sealed()
			c.do(t, w)
			w.stage.Begin()
			o := w.task(c.in)
			if c.rules == "" {
				o.want("done")
				if o.at("approval", "granted") != true || o.at("approval", "kind") != "manual" || len(o.at("approval", "approvers").([]any)) == 0 {
					t.Errorf("approval %v", o.at("approval"))
				}
				if got := w.dev.TagDigest(cart, release); c.in["action"] == "invertedPush" && got != image.Digest {
					t.Errorf("the target has %q", got)
				}
				return
			}
			o.refusedBy(strings.Fields(c.rules)...).says(c.says...)
			if o.at("approval", "granted") != false {
				t.Errorf("refused, yet granted: %v", o.at("approval"))
			}
			w.untouched(w.dev)
			for _, rule := range strings.Fields(c.rules) {
				if !strings.Contains(o.summary, rule) || !strings.Contains(strings.Join(o.issues, "\n"), rule) {
					t.Errorf("%s is not told in the summary and as an issue", rule)
				}
			}
		})
	}
}

// TestApprovalMaxAge: by the server's time, and at the same age it still counts.
func TestApprovalMaxAge(t *testing.T) {
	w := newWorld(t)
	w.clock.set(-49 * time.Hour)
	w.queue()
	w.sealed()
	time.Sleep(time.Millisecond)
	w.approve(manager, "")
	w.clock.set(0)
	w.task(push("approvalMaxAge", "2d")).refusedBy("approval-too-old").says("48h", "Release Manager")
	w.untouched(w.dev)
	w.task(push("approvalMaxAge", "3d")).want("done")
}

// TestFutureApproval: an approval from the future means that a clock is wrong.
func TestFutureApproval(t *testing.T) {
	w := newWorld(t)
	w.sealed()
	w.clock.set(time.Hour)
	w.approve(manager, "")
	w.clock.set(0)
	w.task(push()).refusedBy("approval-unreadable").says("clock")
}

// code is the approval code of a digest, made with the standard library.
func code(t *testing.T, digest string) string {
	t.Helper()
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	text := base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding).EncodeToString(raw[:15])
	return strings.TrimSuffix(regexp.MustCompile("....").ReplaceAllString(text, "$0-"), "-")
}

// TestApprovalCode: seal shows it, the approver's own comment quotes it, and
// nothing but case, spaces and dashes is forgiven.
func TestApprovalCode(t *testing.T) {
	w := newWorld(t)
	image := pushImage(w.prod, cart, release, 1, 1, 512)
	build := w.run.Stage("Seal", w.connection)
	build.Begin()
	want := code(t, image.Digest)
	o := w.taskOf(build, inputs{"action": "seal", "source": source}).want("done")
	if o.at("approvalCode") != want || !strings.Contains(o.stdout, want) || !strings.Contains(o.summary, want) {
		t.Fatalf("code %v, want %s in the log and the summary", o.at("approvalCode"), want)
	}
	other := code(t, describe("", []byte("another image")).Digest)
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
		w.queue()
		w.approve(manager, comment)
		o := w.task(push("approvalCode", "true", "dryRun", "true"))
		if granted {
			o.want("done")
		} else {
			o.refusedBy("approval-code").says(want)
		}
	}
	// What another person wrote on the approval is not the approver's word.
	w.guard(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: 2})
	if err := w.stage.Approve(developer, want); err != nil {
		t.Fatal(err)
	}
	w.approve(manager, "fine")
	w.task(push("approvalCode", "true")).refusedBy("requester-approved", "approval-code")
}

// TestSealedBeforeApproval: three things, each by the registry's own word.
func TestSealedBeforeApproval(t *testing.T) {
	byDigest := func(image descriptor) inputs { return push("source", prodHost+"/"+cart+"@"+image.Digest) }
	byTag := func(descriptor) inputs { return push() }
	for _, c := range []struct {
		name   string
		before func(w *world, image descriptor)
		after  func(w *world, image descriptor)
		in     func(descriptor) inputs
		rules  string
	}{
		{"sealed", func(w *world, i descriptor) { w.record(i); w.lock(release) }, nil, byTag, ""},
		{"locked after the approval, unchanged since before", func(w *world, i descriptor) { w.record(i) }, func(w *world, i descriptor) { w.lock(release) }, byTag, ""},
		{"not sealed at all", nil, nil, byTag, "not-sealed"},
		{"not locked", func(w *world, i descriptor) { w.record(i) }, nil, byTag, "not-sealed"},
		{"locked against write alone", func(w *world, i descriptor) { w.record(i); w.prod.SetTagLock(cart, release, false, true) }, nil, byTag, "not-sealed"},
		{"locked against delete alone", func(w *world, i descriptor) { w.record(i); w.prod.SetTagLock(cart, release, true, false) }, nil, byTag, "not-sealed"},
		{"locked by hand", func(w *world, i descriptor) { w.lock(release) }, nil, byTag, "not-sealed"},
		{"another artifact is no record", func(w *world, i descriptor) {
			attach(w.prod, cart, i, "application/spdx+json", []byte("{}"))
			w.lock(release)
		}, nil, byTag, "not-sealed"},
		{"record after the approval", func(w *world, i descriptor) { w.lock(release) }, func(w *world, i descriptor) { w.record(i) }, byTag, "not-sealed"},
		{"touched after the approval, and locked again", func(w *world, i descriptor) { w.record(i); w.lock(release) }, func(w *world, i descriptor) {
			pushImage(w.prod, cart, release, 1, 2, 2048)
			w.lock(release)
		}, byTag, "changed-since-approval"},
		{"another sealed image put under the tag after the approval", func(w *world, i descriptor) {
			w.record(i)
			w.record(pushImage(w.prod, cart, "other", 7, 1, 64))
			w.lock(release)
		}, func(w *world, i descriptor) { pushImage(w.prod, cart, release, 7, 1, 64); w.lock(release) }, byTag, "changed-since-approval"},
		{"everything after the approval", nil, func(w *world, i descriptor) {
			pushImage(w.prod, cart, release, 1, 2, 2048)
			w.record(i)
			w.lock(release)
		}, byTag, "not-sealed changed-since-approval"},
		{"by digest", func(w *world, i descriptor) { w.record(i); w.lock(release) }, nil, byDigest, ""},
		{"by digest, not locked", func(w *world, i descriptor) { w.record(i) }, nil, byDigest, "not-sealed"},
		{"by digest, locked against write alone", func(w *world, i descriptor) { w.record(i); w.prod.SetManifestLock(cart, i.Digest, false, true) }, nil, byDigest, "not-sealed"},
		{"by digest, no record", func(w *world, i descriptor) { w.lock(release) }, nil, byDigest, "not-sealed"},
		{"by digest, record after the approval", func(w *world, i descriptor) { w.lock(release) }, func(w *world, i descriptor) { w.record(i) }, byDigest, "not-sealed"},
		{"sealed false softens nothing", func(w *world, i descriptor) { w.record(i) }, nil, func(descriptor) inputs { return push("sealed", "false") }, "not-sealed"},
		{"promote needs none", nil, nil, func(descriptor) inputs {
			return inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stable", "environment": "Production"}
		}, ""},
		{"promote that asks for one", nil, nil, func(descriptor) inputs {
			return inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stable", "environment": "Production", "sealed": "true"}
		}, "not-sealed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			image := pushImage(w.prod, cart, release, 1, 2, 2048)
			if c.before != nil {
				c.before(w, image)
			}
			time.Sleep(2 * time.Millisecond)
			w.approve(manager, "released")
			time.Sleep(2 * time.Millisecond)
			if c.after != nil {
				c.after(w, image)
			}
			in := c.in(image)
			o := w.task(in)
			if c.rules != "" {
				o.refusedBy(strings.Fields(c.rules)...)
				w.untouched(w.dev)
				return
			}
			o.want("done")
			if strings.Contains(in["source"], "@") {
				w.untouched(w.dev)
				if _, _, ok := w.dev.Manifest(cart, image.Digest); !ok {
					t.Error("the image did not arrive by digest")
				}
			}
		})
	}
}

// TestCheckConfigurationUnreadable is told as unknown, and does not refuse.
func TestCheckConfigurationUnreadable(t *testing.T) {
	w, _ := ready(t)
	w.project.Deny(sim.Configurations)
	o := w.task(push()).want("done")
	if told := fmt.Sprint(o.at("approval", "rules")); !strings.Contains(told, "unknown") {
		t.Errorf("that the configuration is unknown is not told: %s", told)
	}
}

// TestAzureDevOpsUnreadable: whatever keeps the approvals from being read
// refuses, and says whom to grant what.
func TestAzureDevOpsUnreadable(t *testing.T) {
	html := func(status int) func(w *world) {
		return func(w *world) {
			w.organization.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
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
	body := func(part, body string) func(w *world) {
		return func(w *world) {
			w.organization.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(strings.ToLower(r.URL.Path), part) {
					return false
				}
				rw.Header().Set("Content-Type", "application/json")
				fmt.Fprint(rw, body)
				return true
			})
		}
	}
	deny := func(kinds ...string) func(w *world) {
		return func(w *world) {
			for _, k := range kinds {
				w.project.Deny(k)
			}
		}
	}
	const identity = `"shop Build Service (contoso)"`
	for _, c := range []struct {
		name string
		do   func(w *world)
		says []string
	}{
		{"no way to it", func(w *world) { w.prodNetwork.Block(devOpsHost) }, []string{devOpsHost, "proxy"}},
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
			w, _ := ready(t)
			secret := w.project.SecretConnection("release-secret", tenant, clientID, clientKey)
			c.do(w)
			w.task(push(), connected("azureSubscription", secret)).refusedBy("approval-unreadable").says(c.says...)
			w.untouched(w.dev)
		})
	}
}
