package main_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

var sealing = inputs{"action": "seal", "source": source}

func TestSeal(t *testing.T) {
	env := newTestEnv(t)
	image := pushIndex(env.prod, cart, release, 1)
	env.stage.Begin()
	o := env.task(sealing).want("done")
	if o.output["changed"] != "true" || o.at("images", 0, "sealedAt") == "" {
		t.Errorf("changed %s, sealedAt %v", o.output["changed"], o.at("images", 0, "sealedAt"))
	}
	if a, _ := env.prod.TagAttributes(cart, release); a.Write || a.Delete {
		t.Errorf("the tag is not locked: %+v", a)
	}
	_, index, _ := env.prod.Manifest(cart, image.Digest)
	var parsed testimage.Manifest
	if err := json.Unmarshal(index, &parsed); err != nil || len(parsed.Manifests) != 2 {
		t.Fatalf("%v, %d children", err, len(parsed.Manifests))
	}
	for _, d := range append(parsed.Manifests, image) {
		if a, _ := env.prod.ManifestAttributes(cart, d.Digest); !a.Write || a.Delete {
			t.Errorf("%s: write %v, delete %v; want it locked only against delete", d.Digest, a.Write, a.Delete)
		}
	}
	records := env.prod.Referrers(cart, image.Digest)
	if len(records) != 1 {
		t.Fatalf("records %v", records)
	}
	_, content, _ := env.prod.Manifest(cart, records[0])
	var record testimage.Manifest
	if err := json.Unmarshal(content, &record); err != nil || record.ArtifactType != recordType || len(record.Layers) != 1 {
		t.Fatalf("the record is %s", content)
	}
	body, _ := env.prod.Blob(cart, record.Layers[0].Digest)
	var told struct {
		Image, Digest string
		Run           struct {
			ID     int
			Stage  string
			Commit string
		}
		Rules []string
	}
	if err := json.Unmarshal(body, &told); err != nil || told.Image != source || told.Digest != image.Digest || told.Run.ID != env.run.ID() || told.Run.Stage != "Production" || told.Run.Commit == "" || len(told.Rules) == 0 {
		t.Errorf("the record says %s", body)
	}

	again := env.task(sealing).want("done")
	if again.output["changed"] != "false" || len(writes(again.requests)) != 0 {
		t.Errorf("again: changed %s, writes %v", again.output["changed"], writes(again.requests))
	}
	if again.at("approvalCode") != code(t, image.Digest) || again.at("images", 0, "sealedAt") != o.at("images", 0, "sealedAt") {
		t.Errorf("a rerun reports code %v, sealed at %v", again.at("approvalCode"), again.at("images", 0, "sealedAt"))
	}
	verified := env.task(inputs{"action": "verify", "source": source}).want("done")
	if verified.output["changed"] != "false" {
		t.Error("verify says that it changed something")
	}
}

// TestSealOlderThanRun checks that a run can seal only what it pushed.
func TestSealOlderThanRun(t *testing.T) {
	env := newTestEnv(t)
	env.clock.set(-time.Hour)
	image := pushImage(env.prod, cart, release, 1, 1, 64)
	env.clock.set(0)
	env.stage.Begin()
	env.task(sealing).refusedBy("older-than-run").says(source)
	env.task(sealing.with("source", prodHost+"/"+cart+"@"+image.Digest)).refusedBy("older-than-run")
	env.task(sealing.with("dryRun", "true")).refusedBy("older-than-run")
	env.task(inputs{"action": "verify", "source": source}).refusedBy("older-than-run")
	if a, _ := env.prod.TagAttributes(cart, release); !a.Write || len(env.prod.Referrers(cart, image.Digest)) != 0 {
		t.Error("it was sealed")
	}
}

func TestSealVariants(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, cart, release, 1, 1, 64)
	env.stage.Begin()
	dry := env.task(sealing.with("dryRun", "true")).want("done")
	if dry.at("approvalCode") != code(t, image.Digest) {
		t.Errorf("a dry run reports the code %v", dry.at("approvalCode"))
	}
	env.task(sealing.with("digest", "sha256:"+strings.Repeat("a", 64))).refusedBy("digest-differs")

	env.task(sealing.with("lock", "image")).want("done")
	if a, _ := env.prod.ManifestAttributes(cart, image.Digest); a.Write || a.Delete {
		t.Errorf("lock image: %+v", a)
	}
	other := pushImage(env.prod, cart, "", 2, 1, 64)
	env.task(sealing.with("source", prodHost+"/"+cart+"@"+other.Digest)).want("done")
	if a, _ := env.prod.ManifestAttributes(cart, other.Digest); !a.Write || a.Delete || len(env.prod.Referrers(cart, other.Digest)) != 1 {
		t.Errorf("by digest: %+v, records %v", a, env.prod.Referrers(cart, other.Digest))
	}
	env.task(sealing.with("source", prodHost+"/"+cart+":9.9")).failsAt("source", "9.9")
}

// TestSealWithoutRole checks that a denied PATCH reports the missing role.
func TestSealWithoutRole(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 1, 64)
	env.prod.Revoke(clientID)
	env.prod.Grant(clientID, "**", "pull", "push", "metadata_read")
	env.stage.Begin()
	env.task(sealing).failsAt("source", prodHost, "Container Registry Repository Writer")
	if a, _ := env.prod.TagAttributes(cart, release); !a.Write {
		t.Error("the tag is locked")
	}
}

// TestLockDoesNotHold checks that locks are read back.
func TestLockDoesNotHold(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 1, 64)
	env.stage.Begin()
	env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write([]byte(`{"registry":"` + prodHost + `","imageName":"` + cart + `","tag":{"name":"1.4.2","changeableAttributes":{"writeEnabled":false,"deleteEnabled":false}}}`))
		return true
	})
	env.task(sealing).failsAt("source", prodHost)
}

// TestReadOnly checks that verify, audit and dry runs refuse in the same way. (That
// they write nothing is an invariant of every run.)
func TestReadOnly(t *testing.T) {
	env, image := ready(t)
	for _, in := range []inputs{push("action", "verify"), push("dryRun", "true")} {
		o := env.task(in).want("done").wantStates("planned")
		if o.output["changed"] != "false" || o.output["digest"] != image.Digest {
			t.Errorf("outputs %v", o.output)
		}
		env.untouched(env.dev)
	}
	pushImage(env.dev, cart, release, 9, 1, 64)
	for _, in := range []inputs{push(), push("action", "verify"), push("dryRun", "true")} {
		env.task(in.with("digest", "sha256:"+strings.Repeat("a", 64), "minApprovers", "3")).refusedBy("min-approvers", "digest-differs", "tag-would-move")
	}
}

// TestAudit audits targets with all, some and none of the image, and checks that
// every missing digest is listed.
func TestAudit(t *testing.T) {
	env := newTestEnv(t)
	env.broken = true
	image := pushIndex(env.prod, cart, release, 1)
	sbom := testimage.Attach(env.prod, cart, image, "application/spdx+json", []byte(`{}`))
	env.record(image)
	env.lock(release)
	env.approve(manager, "released")
	audit := inputs{"action": "audit", "source": source, "targets": devHost + "\n" + dev2Host}
	o := env.task(audit).want("failed").says(devHost, dev2Host, image.Digest)
	for _, d := range env.prod.Digests(cart) {
		o.says(d)
	}
	env.task(push()).want("done")
	env.task(audit).want("partial").wantStates("present failed").says(dev2Host, image.Digest)
	env.task(audit.with("onPartial", "warn")).wantTask("partial", "SucceededWithIssues")
	env.task(push("targets", dev2Host)).want("done")
	env.task(audit).want("done").wantStates("present present")

	env.dev.RemoveManifest(cart, sbom.Digest)
	env.task(audit).want("partial").says(devHost, sbom.Digest)
	env.task(audit.with("referrers", "false")).want("done")
	layer := childLayer()
	env.dev2.RemoveBlob(cart, layer)
	env.task(audit.with("referrers", "false")).want("done")
	env.task(audit.with("referrers", "false", "deep", "true")).want("partial").wantStates("present failed").says(layer)
	env.task(push("targets", dev2Host, "deep", "true")).want("done")
	if _, ok := env.dev2.Blob(cart, layer); !ok {
		t.Error("deep did not restore the layer")
	}
	env.dev2.RemoveTag(cart, release)
	env.task(audit.with("targets", dev2Host)).want("failed").says(dev2Host, release)
	env.prodNetwork.Block(dev2Host)
	env.task(audit.with("targets", devHost+"\n"+dev2Host, "referrers", "false")).want("partial").wantStates("present pending")
}

var stable = prodHost + "/" + cart + ":stable"

func promotion(more ...string) inputs {
	return inputs{"action": "promote", "source": source, "targets": stable, "environment": "Production"}.with(more...)
}

// TestPromoteInOneRepository checks that one manifest PUT is enough for any image.
func TestPromoteInOneRepository(t *testing.T) {
	env := newTestEnv(t)
	image := pushIndex(env.prod, cart, release, 1)
	testimage.Attach(env.prod, cart, image, "application/spdx+json", []byte(`{}`))
	env.approve(manager, "")
	o := env.task(promotion()).want("done").wantStates("retagged")
	if got := writes(o.requests); len(got) != 1 || got[0] != "PUT "+prodHost+"/v2/"+cart+"/manifests/stable" {
		t.Errorf("writes %v, want one PUT of the manifest", got)
	}
	for _, r := range o.asked(prodHost) {
		if strings.Contains(r, "/blobs/") {
			t.Errorf("blob traffic: %s", r)
		}
	}
	if got := env.prod.TagDigest(cart, "stable"); got != image.Digest || o.at("direction") != "checked" || o.output["changed"] != "true" {
		t.Errorf("tag %s, direction %v, changed %s", got, o.at("direction"), o.output["changed"])
	}
	again := env.task(promotion()).want("done").wantStates("present")
	if len(writes(again.requests)) != 0 || again.output["changed"] != "false" {
		t.Errorf("again: %v, changed %s", writes(again.requests), again.output["changed"])
	}
}

// TestPromoteToAnotherRepository checks that blobs are mounted and not copied.
func TestPromoteToAnotherRepository(t *testing.T) {
	env := newTestEnv(t)
	image := pushIndex(env.prod, cart, release, 1)
	sbom := testimage.Attach(env.prod, cart, image, "application/spdx+json", []byte(`{"a":1}`))
	env.approve(manager, "")
	o := env.task(promotion("targets", prodHost+"/released/cart:"+release)).want("done").wantStates("mounted")
	for _, r := range o.requests {
		if strings.Contains(r.Path, "/blobs/uploads/") && (r.Method != http.MethodPost || !r.Has("mount")) || r.Host == prodStorage {
			t.Errorf("not a mount: %s %s%s", r.Method, r.Host, r.Path)
		}
	}
	if missing := lacking(env.prod, "released/cart", release); len(missing) > 0 || env.prod.TagDigest("released/cart", release) != image.Digest {
		t.Errorf("missing %v, tag %s", missing, env.prod.TagDigest("released/cart", release))
	}
	if got := env.prod.Referrers("released/cart", image.Digest); len(got) != 1 || got[0] != sbom.Digest {
		t.Errorf("referrers %v", got)
	}
	env.task(promotion("targets", prodHost+"/released/plain:1", "referrers", "false")).want("done")
	if got := env.prod.Referrers("released/plain", image.Digest); len(got) != 0 {
		t.Errorf("referrers false brought %v", got)
	}
}

// TestMoveTag checks that a tag moves only on request, and that the result records
// the previous digest.
func TestMoveTag(t *testing.T) {
	env := newTestEnv(t)
	old := pushImage(env.prod, cart, "stable", 8, 1, 64)
	image := pushImage(env.prod, cart, release, 1, 2, 2048)
	env.approve(manager, "")
	env.task(promotion()).refusedBy("tag-would-move").says(stable, old.Digest, image.Digest, "moveTag")
	env.prod.SetTagLock(cart, "stable", false, true)
	env.task(promotion("moveTag", "true")).refusedBy("immutable").says(stable)
	env.task(promotion("moveTag", "true", "action", "verify")).refusedBy("immutable")
	env.prod.SetTagLock(cart, "stable", true, true)
	env.prod.SetRepositoryLock(cart, false, true)
	env.task(promotion("moveTag", "true")).refusedBy("immutable").says(cart)
	env.prod.SetRepositoryLock(cart, true, true)
	if got := env.prod.TagDigest(cart, "stable"); got != old.Digest {
		t.Fatalf("the tag moved to %s", got)
	}
	plan := env.task(promotion("moveTag", "true", "dryRun", "true")).want("done").wantStates("planned")
	if plan.at("images", 0, "targets", 0, "previous") != old.Digest {
		t.Errorf("the plan reports previous %v", plan.at("images", 0, "targets", 0))
	}
	o := env.task(promotion("moveTag", "true")).want("done").wantStates("retagged")
	if o.at("images", 0, "targets", 0, "previous") != old.Digest || env.prod.TagDigest(cart, "stable") != image.Digest {
		t.Errorf("previous %v, tag %s", o.at("images", 0, "targets", 0, "previous"), env.prod.TagDigest(cart, "stable"))
	}
}

// TestUnreadableLock checks that the target fails if the registry refuses a write
// because of a lock that could not be read.
func TestUnreadableLock(t *testing.T) {
	env := newTestEnv(t)
	old := pushImage(env.prod, cart, "stable", 8, 1, 64)
	pushImage(env.prod, cart, release, 1, 1, 64)
	env.prod.Revoke(clientID)
	env.prod.Grant(clientID, "**", sim.AcrPush...)
	env.prod.SetTagLock(cart, "stable", false, false)
	env.approve(manager, "")
	env.task(promotion("moveTag", "true")).failsAt("target", prodHost, "lock").wantStates("failed")
	if got := env.prod.TagDigest(cart, "stable"); got != old.Digest {
		t.Errorf("the tag moved to %s", got)
	}
}

// TestUpward checks that promote stays within one registry without a flow file.
func TestUpward(t *testing.T) {
	env, _ := ready(t)
	o := env.task(promotion("targets", devHost)).refusedBy("upward").says(devHost)
	if o.at("direction") != "unchecked" {
		t.Errorf("direction %v", o.at("direction"))
	}
	env.untouched(env.dev)
	env.task(promotion("targets", stable+"\n"+devHost+"/"+cart+":2")).refusedBy("upward")
	if got := env.prod.TagDigest(cart, "stable"); got != "" {
		t.Error("one target was written although another is refused")
	}
}

// TestLocksAtTargets checks that locks are set after everything has arrived, and
// read back.
func TestLocksAtTargets(t *testing.T) {
	env, image := readyIndex(t)
	for _, c := range []struct {
		lock     string
		registry *sim.Registry
		write    bool
	}{{"tag", env.dev, true}, {"image", env.dev2, false}} {
		in := push("targets", c.registry.Host(), "lock", c.lock)
		o := env.task(in).want("done")
		if a, _ := c.registry.TagAttributes(cart, release); a.Write || a.Delete {
			t.Errorf("lock %s: tag %+v", c.lock, a)
		}
		for _, d := range []string{image.Digest, testimage.Of(child(1, 0)).Digest, testimage.Of(child(1, 1)).Digest} {
			if a, ok := c.registry.ManifestAttributes(cart, d); !ok || a.Write != c.write || a.Delete {
				t.Errorf("lock %s: manifest %s %+v", c.lock, d, a)
			}
		}
		if o.at("images", 0, "targets", 0, "locked") != c.lock {
			t.Errorf("reported as %v", o.at("images", 0, "targets", 0))
		}
		var last string
		for _, r := range o.requests {
			if r.Host == c.registry.Host() {
				last = r.Method
			}
		}
		if last != http.MethodGet {
			t.Errorf("lock %s: the last request was a %s, so nothing was read back", c.lock, last)
		}
		again := env.task(in).want("done").wantStates("present")
		if again.output["changed"] != "false" || len(writes(again.requests)) != 0 {
			t.Errorf("again: changed %s, writes %v", again.output["changed"], writes(again.requests))
		}
	}
	// Without the right to lock, the image arrives but the target fails.
	third := env.registry("contosothird.azurecr.io")
	third.Revoke(clientID)
	third.Grant(clientID, "**", "pull", "push", "metadata_read")
	env.task(push("targets", third.Host(), "lock", "tag")).failsAt("target", third.Host(), "Container Registry Repository Writer")
}

// TestInvertedPush pushes to other names, by digest under a tag, and again.
func TestInvertedPush(t *testing.T) {
	env, image := ready(t)
	o := env.task(push("targets", devHost+"/released/cart:stable\n"+dev2Host+"/released/cart\n"+dev2Host+"/released/cart")).want("done").wantStates("copied copied")
	if env.dev.TagDigest("released/cart", "stable") != image.Digest || env.dev2.TagDigest("released/cart", release) != image.Digest {
		t.Error("not under the names that the targets say")
	}
	if o.at("direction") != "unchecked" || o.at("rules") != "inputs" || o.at("run", "kind") != "yaml" || o.at("run", "id") != float64(env.run.ID()) || o.at("run", "stage") != "Production" {
		t.Errorf("direction %v, rules %v, run %v", o.at("direction"), o.at("rules"), o.at("run"))
	}
	byDigest := push("source", prodHost+"/"+cart+"@"+image.Digest, "targets", devHost+"/released/cart:pinned")
	env.task(byDigest).want("done")
	if got := env.dev.TagDigest("released/cart", "pinned"); got != image.Digest {
		t.Errorf("by digest under a tag: %q", got)
	}
	again := env.task(byDigest).want("done").wantStates("present")
	if len(writes(again.requests)) != 0 {
		t.Errorf("again: %v", writes(again.requests))
	}
	// Existing content is not written again, even if the tag is new. (A POST
	// checks whether a blob exists.)
	third := env.task(push("targets", devHost+"/released/cart:third")).want("done")
	for _, r := range writes(third.requests) {
		if r != "PUT "+devHost+"/v2/released/cart/manifests/third" && !strings.HasPrefix(r, "POST ") {
			t.Errorf("for a further tag: %s", r)
		}
	}
}

// TestMissingReferrerIsRestored checks that newly attached artifacts are copied once
// the image is approved again, and that a rerun restores lost ones.
func TestMissingReferrerIsRestored(t *testing.T) {
	env, image := ready(t)
	env.task(push()).want("done")
	sbom := testimage.Attach(env.prod, cart, image, "application/spdx+json", []byte(`{}`))
	env.queue()
	env.approve(manager, "released again")
	for _, lost := range []bool{false, true} {
		if lost {
			env.dev.RemoveManifest(cart, sbom.Digest)
		}
		if o := env.task(push()).want("done"); o.output["changed"] != "true" {
			t.Errorf("lost %v: nothing changed", lost)
		}
		if got := env.dev.Referrers(cart, image.Digest); len(got) != 2 || got[1] != sbom.Digest {
			t.Errorf("lost %v: referrers %v", lost, got)
		}
	}
}
