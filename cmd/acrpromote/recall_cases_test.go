package main_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// publicFile writes the public key that belongs to a private key, and returns its path.
func (env *testEnv) publicFile(private string) string {
	env.t.Helper()
	content, err := os.ReadFile(private)
	if err != nil {
		env.t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		env.t.Fatal(err)
	}
	return writePublicKey(env.t, env.folder(), "public.pem", key.(*ecdsa.PrivateKey).Public())
}

// TestRecallInTrouble: a registry that is not reached is left for a rerun, a lock is
// opened by its owner, and what others have too stays readable.
func TestRecallInTrouble(t *testing.T) {
	env, image := readyIndex(t)
	env.task(push("targets", devHost+"\n"+dev2Host)).want("done")
	all := parts(env.prod, image)
	// Another image of DEV has the first platform, and the second has a tag at DEV2.
	other := testimage.Put(env.dev, cart, "other", testimage.Index(child(1, 0)))
	if got := parts(env.dev, other); len(got) != 2 || got[1] != all[1] {
		t.Fatalf("the other index has %v, want %s", got, all[1])
	}
	_, content, _ := env.prod.Manifest(cart, all[2])
	env.dev2.Push(cart, "arm64", "application/vnd.oci.image.manifest.v1+json", content)

	gone := env.cloud.Script(sim.Fault{Host: dev2Host, Times: sim.Always, Do: sim.Status(http.StatusServiceUnavailable)})
	env.task(recallOf()).want("partial").wantStates("recorded withdrawn pending").says(dev2Host)
	gone.Stop()
	o := env.task(recallOf()).want("done").wantStates("recorded withdrawn withdrawn")
	if got := readable(env.dev, all...); len(got) != 1 || got[0] != all[1] {
		t.Errorf("at DEV %v can be read, want %s", got, all[1])
	}
	if got := readable(env.dev2, all...); len(got) != 1 || got[0] != all[2] {
		t.Errorf("at DEV2 %v can be read, want %s", got, all[2])
	}
	if got := o.at("images", 0, "targets", 2, "readable").([]any); len(got) != 1 || got[0] != all[2] || !strings.Contains(o.stdout, "other images have it too") {
		t.Errorf("named as readable: %v", got)
	}
	if len(env.records(image)) != 1 {
		t.Errorf("records: %v", env.records(image))
	}
	// When the other image is recalled too, nobody else has the platform.
	env.task(recallOf("source", devHost+"/"+cart+":other", "targets", dev2Host)).want("done").wantStates("recorded absent")
	env.dev.SetReadable(cart, other.Digest, false)
	env.task(recallOf()).want("done")
	if got := readable(env.dev, all...); len(got) > 0 {
		t.Errorf("at DEV %v can be read", got)
	}
}

// TestRecallOfALockedImage shows both variants of what is not known of Azure: a registry
// that refuses to change the attributes of a manifest that is locked against writes, and
// one that does not.
func TestRecallOfALockedImage(t *testing.T) {
	locked := func(t *testing.T, dev, prod sim.RegistryOptions) (*testEnv, descriptor) {
		env := newTestEnv(t)
		for r, o := range map[**sim.Registry]sim.RegistryOptions{&env.dev: dev, &env.prod: prod} {
			o.Tokens, o.Now = env.directory, env.clock.now
			*r = env.cloud.Registry((*r).Host(), o)
			(*r).Grant(clientID, "**", sim.RepositoryWriter...)
		}
		image := env.sealed()
		env.approve(manager, "released")
		env.task(push("targets", devHost+"\n"+dev2Host)).want("done")
		env.dev.SetManifestLock(cart, image.Digest, false, false)
		return env, image
	}
	t.Run("it can be changed", func(t *testing.T) {
		env, _ := locked(t, sim.RegistryOptions{}, sim.RegistryOptions{})
		env.task(recallOf()).want("done").wantStates("recorded withdrawn withdrawn")
	})
	t.Run("it cannot be changed", func(t *testing.T) {
		env, image := locked(t, sim.RegistryOptions{LockedPatch: true}, sim.RegistryOptions{})
		env.task(recallOf()).want("partial").wantStates("recorded failed withdrawn").
			says("az acr repository update --name contosodev --image "+cart+"@", "--write-enabled true")
		env.dev.SetManifestLock(cart, image.Digest, true, false)
		env.task(recallOf()).want("done").wantStates("recorded withdrawn withdrawn")
	})
	t.Run("the source refuses the record", func(t *testing.T) {
		env, image := locked(t, sim.RegistryOptions{}, sim.RegistryOptions{Quirks: sim.Quirks{LockedSubject: true}})
		env.prod.SetManifestLock(cart, image.Digest, false, false)
		env.task(recallOf()).want("failed").wantStates("failed pending pending").says("az acr repository update --name contosoprod")
		if len(readable(env.dev, image.Digest)) != 1 {
			t.Error("it is withdrawn without a record")
		}
	})
}

// TestRecallElsewhere: a registry outside Azure cannot disable reads. That is said, and
// with recall.elsewhere: delete its tags are deleted.
func TestRecallElsewhere(t *testing.T) {
	env, image := ready(t)
	const host = "registry.example"
	other := env.cloud.Registry(host, sim.RegistryOptions{AnonymousPull: true, Now: env.clock.now, Quirks: sim.Quirks{TagsByPull: true}})
	other.AddUser("robot", "the-robot's-password")
	other.Grant("robot", "**", append(sim.RepositoryWriter, "delete")...)
	docker := env.project.DockerConnection("elsewhere", host, "robot", "the-robot's-password")
	with := connected("registryConnections", docker)
	flows := strings.Replace(recallFlow, "  dev2: {host: contosodev2.azurecr.io,", "  dev2: {host: "+host+",", 1)
	testimage.Put(other, cart, "unrelated", testimage.Index(child(9, 0)))
	down := inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": env.flowFile(flows)}
	env.task(down, with).want("done")
	env.task(inputs{"action": "invertedPush", "source": source, "targets": host + "\n" + devHost, "environment": "Production"}, with).want("done")
	env.task(env.byFlow(flows), with).want("done").wantStates("recorded withdrawn left").logs("cannot disable reads of an image")
	if other.TagDigest(cart, release) != image.Digest {
		t.Error("the tag is deleted")
	}
	env.task(env.byFlow(flows+"recall: {elsewhere: delete}\n"), with).want("done").wantStates("recorded withdrawn untagged").logs("by its digest it stays readable there")
	if got := other.Tags(cart); len(got) != 1 || got[0] != "unrelated" {
		t.Errorf("tags: %v", got)
	}
}

// TestSignedRecall: a record that is signed by the flow's key refuses every action with
// the image, and only a signed record lifts it.
func TestSignedRecall(t *testing.T) {
	env, image := ready(t)
	path, _ := env.keyFile()
	flows := strings.Replace(recallFlow, "    require: {approval: {kind: manual, environment: Production}}", "    receipt: {key: "+path+"}\n    require: {approval: {kind: manual, environment: Production}}", 1)
	down := inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": env.flowFile(flows)}
	recall := env.byFlow(flows)
	// Nobody has it yet: it must not get anywhere from now on.
	o := env.task(recall).want("done").wantStates("recorded absent absent")
	if r := o.at("receipts", 0).(map[string]any); r["predicateType"] != "urn:acrpromote:recall:v1" || !strings.HasPrefix(r["keyId"].(string), "sha256:") || r["state"] != "attached" {
		t.Errorf("the record: %v", r)
	}
	for _, in := range []inputs{
		down, down.with("action", "plan"), down.with("action", "verify"), down.with("referrers", "false"),
		{"action": "seal", "source": source, "flowFile": env.flowFile(flows)},
	} {
		env.task(in).refusedBy("recalled").says("recalled at", "Release Manager", "CVE-2026-1234")
	}
	public := env.publicFile(path)
	env.task(inputs{"action": "verifyReceipt", "source": source, "receiptKeys": public}).refusedBy("recalled", "receipt-missing")
	// Without the key it is a warning.
	env.task(push("targets", dev2Host)).want("done").logs("a recall record that is not signed")
	env.task(recallOf("lift", "true")).want("failed").says("only a signed record lifts it")
	env.task(down).refusedBy("recalled")
	env.task(recall.with("lift", "true")).want("done")
	env.task(down).want("done").wantStates("copied")
	if got := len(env.dev.Referrers(cart, image.Digest)) - len(env.dev2.Referrers(cart, image.Digest)); got != 2 {
		t.Errorf("%d artifacts more than at DEV2, want the receipt alone", got)
	}
	// The lift says nothing of a later recall.
	env.task(recall).want("done").wantStates("recorded withdrawn withdrawn")
	env.task(down).refusedBy("recalled")
	env.task(push("targets", devHost)).refusedBy("recalled")
	o = env.task(inputs{"action": "trace", "source": source, "targets": devHost, "receiptKeys": public}).want("done").logs("recalled at "+prodHost+"/"+cart, "CVE-2026-1234", "withdrawn")
	if got := o.at("trace", 0, "places", 1, "state"); got != "withdrawn" {
		t.Errorf("the image at DEV is %v", got)
	}
	// Without the key nothing is lifted, not at the targets either.
	failed := env.task(recallOf("lift", "true")).want("failed").says("only a signed record lifts it").wantStates("failed pending pending")
	if written := writes(failed.requests); len(written) > 0 {
		t.Errorf("it has written %v", written)
	}
}

// TestRecallDuringAPush: a push of an image that is recalled meanwhile does not say that
// it is done.
func TestRecallDuringAPush(t *testing.T) {
	env, image := ready(t)
	var once sync.Once
	remove := env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host == devHost && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"+release) {
			once.Do(func() {
				env.task(recallOf("targets", devHost)).want("done").wantStates("recorded absent")
			})
		}
		return false
	})
	env.task(push()).want("failed").says("was recalled while it was being copied")
	remove()
	if len(readable(env.dev, image.Digest)) != 1 {
		t.Fatal("the push did not come after the recall")
	}
	env.task(recallOf("targets", devHost)).want("done").wantStates("recorded withdrawn")
	env.task(push()).refusedBy("recalled")
}

// TestTwoRecallsAtOnce: both are done, and one lift undoes both.
func TestTwoRecallsAtOnce(t *testing.T) {
	env, image := readyIndex(t)
	env.task(push()).want("done")
	first, second := env.start(env.environ(env.stage, recallOf())), env.start(env.environ(env.stage, recallOf("reason", "the same, by someone else")))
	first.wait().want("done")
	second.wait().want("done")
	all := parts(env.prod, image)
	if got := readable(env.dev, all...); len(got) > 0 || len(env.records(image)) == 0 {
		t.Errorf("at DEV %v can be read, records %v", got, env.records(image))
	}
	env.task(recallOf("lift", "true")).want("done").wantStates("restored restored absent")
	if got := readable(env.dev, all...); len(got) != 3 {
		t.Errorf("at DEV %v can be read", got)
	}
	env.task(push()).want("done").wantStates("present")
}

// TestTagOfARecalledImage: a tag that points to an image which may not be read moves to
// the next release.
func TestTagOfARecalledImage(t *testing.T) {
	env, image := ready(t)
	flows := strings.Replace(recallFlow, "    to: [dev]\n", "    to: [dev]\n    movingTags: [stable]\n", 1)
	stable := inputs{"action": "invertedPush", "source": source, "targets": devHost + "/" + cart + ":stable", "flowFile": env.flowFile(flows)}
	env.task(stable).want("done")
	env.task(recallOf()).want("done")
	env.task(stable).refusedBy("recalled")
	env.queue()
	next := pushImage(env.prod, cart, "1.4.3", 5, 2, 2048)
	env.record(next)
	env.lock("1.4.3")
	env.approve(manager, "")
	env.task(stable.with("source", prodHost+"/"+cart+":1.4.3")).want("done").wantStates("copied")
	if got := env.dev.TagDigest(cart, "stable"); got != next.Digest || len(readable(env.dev, image.Digest)) > 0 {
		t.Errorf("stable points to %s", got)
	}
}

// TestRecallByRun withdraws what a run has promoted, by its signed receipts alone.
func TestRecallByRun(t *testing.T) {
	env, image := ready(t)
	path, _ := env.keyFile()
	env.task(push("receiptKey", path)).want("done")
	forged, _ := env.keyFile()
	bystander := pushImage(env.prod, cart, "1.5.0", 7, 1, 1024)
	env.record(bystander)
	env.lock("1.5.0")
	env.task(push("source", prodHost+"/"+cart+":1.5.0", "receiptKey", forged)).want("refused")
	in := recallOf("source", "", "targets", devHost+"/"+cart, "run", "4711")
	env.task(in).want("misuse").says("no key says whose count")
	env.task(in.with("receiptKey", forged)).want("misuse").says("no image in these repositories has a receipt of run 4711")
	o := env.task(in.with("receiptKey", path)).want("done").wantStates("recorded withdrawn")
	if got := o.at("images").([]any); len(got) != 1 || o.at("images", 0, "digest") != image.Digest {
		t.Errorf("recalled: %v", got)
	}
}

// TestRecallTakesAnApproval: by the flow's rules or those of recall.approval, and to lift
// it by both.
func TestRecallTakesAnApproval(t *testing.T) {
	env, _ := ready(t)
	own := "recall: {approval: {kind: manual, environment: Production, minApprovers: 2}}\n"
	env.task(env.byFlow(recallFlow + own)).refusedBy("min-approvers")
	env.task(env.byFlow(recallFlow)).want("done")
	strict := strings.Replace(recallFlow, "{kind: manual, environment: Production}", "{kind: manual, environment: Production, minApprovers: 2}", 1)
	lenient := strings.Replace(own, "minApprovers: 2", "minApprovers: 1", 1)
	env.task(env.byFlow(strict + lenient)).want("done")
	env.task(env.byFlow(strict+lenient, "lift", "true")).refusedBy("min-approvers")
	env.task(env.byFlow(recallFlow+own, "lift", "true")).refusedBy("min-approvers")
	env.task(env.byFlow(recallFlow+lenient, "lift", "true")).want("done")
	none := strings.Replace(recallFlow, "{kind: manual, environment: Production}", "{kind: none}", 1)
	env.task(env.byFlow(none, "environment", "Staging")).want("refused")
	env.task(env.byFlow(none, "environment", "Production")).want("done")
	env.task(env.byFlow(none, "flow", "nothing")).want("misuse")
}
