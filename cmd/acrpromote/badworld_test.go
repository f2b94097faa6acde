package main_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

// untouched holds a target to having nothing of the image.
func (w *world) untouched(registries ...*sim.Registry) {
	w.t.Helper()
	for _, r := range registries {
		if tags := r.Tags(cart); len(tags) > 0 {
			w.t.Errorf("%s shows the tags %v", r.Host(), tags)
		}
	}
}

// TestBadSource: whatever is wrong at the source ends as failed, names the
// source, and leaves no tag at the target.
func TestBadSource(t *testing.T) {
	truncate := func(b []byte) []byte { return b[:len(b)/2] }
	for _, c := range []struct {
		name string
		bad  func(w *world, image descriptor) inputs
		says []string
	}{
		{"the tag does not exist", func(w *world, _ descriptor) inputs { return push("source", prodHost+"/"+cart+":9.9") }, []string{prodHost, "9.9"}},
		{"the repository does not exist", func(w *world, _ descriptor) inputs { return push("source", prodHost+"/shop/nothing:1") }, []string{prodHost, "shop/nothing"}},
		{"the digest does not exist", func(w *world, _ descriptor) inputs {
			return push("source", prodHost+"/"+cart+"@sha256:"+strings.Repeat("0", 64))
		}, []string{prodHost, strings.Repeat("0", 64)}},
		{"the registry is not there", func(w *world, _ descriptor) inputs { w.prodNetwork.Block(prodHost); return push() }, []string{prodHost, "proxy", "502"}},
		{"a truncated manifest", func(w *world, image descriptor) inputs { w.prod.Corrupt(image.Digest, truncate); return push() }, []string{prodHost, cart}},
		{"another manifest under the digest", func(w *world, image descriptor) inputs {
			w.prod.Corrupt(image.Digest, func(b []byte) []byte { return append(b, ' ') })
			return push()
		}, []string{prodHost, "digest"}},
		{"a layer with other bytes", func(w *world, _ descriptor) inputs {
			layer := noise(100, 2048)
			w.prod.Corrupt(describe("", layer).Digest, func(b []byte) []byte { b[7] ^= 1; return b })
			return push()
		}, []string{prodHost}},
		{"a layer that is missing", func(w *world, _ descriptor) inputs {
			w.prod.RemoveBlob(cart, describe("", noise(100, 2048)).Digest)
			return push()
		}, []string{prodHost, describe("", noise(100, 2048)).Digest}},
		{"its storage is not there", func(w *world, _ descriptor) inputs { w.prodNetwork.Block(w.prod.StorageHost()); return push() }, []string{prodStorage}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, image := ready(t)
			in := c.bad(w, image)
			w.task(in).failsAt("source", c.says...)
			w.untouched(w.dev)
		})
	}
}

const prodStorage = "contosoprod.blob.core.windows.net"

// TestBadManifests: images that no registry should hold.
func TestBadManifests(t *testing.T) {
	for _, c := range []struct {
		name string
		push func(w *world) (tag string)
		says string
	}{
		{"an index that names a missing child", func(w *world) string {
			index := pushIndex(w.prod, cart, "index", 3)
			child := pushImage(w.prod, cart, "", 30, 2, 4096)
			w.prod.RemoveManifest(cart, child.Digest)
			if !w.prod.SetTagLock(cart, "index", false, false) {
				t.Error("no index")
			}
			w.record(index)
			return "index"
		}, "sha256:"},
		{"a manifest over 4 MiB", func(w *world) string {
			manifest, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": imageType, "config": describe("application/vnd.oci.image.config.v1+json", nil),
				"layers": []any{}, "annotations": map[string]string{"long": strings.Repeat("x", 4<<20)}})
			w.prod.Push(cart, "large", imageType, manifest)
			w.record(describe(imageType, manifest))
			return "large"
		}, "4"},
		{"a manifest that is no JSON", func(w *world) string {
			manifest := []byte("<html>sign in</html>")
			w.prod.Push(cart, "html", imageType, manifest)
			w.record(describe(imageType, manifest))
			return "html"
		}, "JSON"},
		{"an index nested thirty deep", func(w *world) string {
			child := pushImage(w.prod, cart, "", 5, 1, 64)
			nested := child
			for range 30 {
				content, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": []descriptor{nested}})
				w.prod.Push(cart, "", indexType, content)
				nested = describe(indexType, content)
			}
			_, content, _ := w.prod.Manifest(cart, nested.Digest)
			w.prod.Push(cart, "deep", indexType, content)
			w.record(nested)
			return "deep"
		}, "nested"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			tag := c.push(w)
			w.lock(tag)
			w.approve(manager, "released")
			w.task(push("source", prodHost+"/"+cart+":"+tag)).failsAt("source", prodHost, c.says)
			w.untouched(w.dev)
		})
	}
}

// TestFirewall: the sentence names the registry, the address that was refused
// and what to do, at either side.
func TestFirewall(t *testing.T) {
	w, image := ready(t)
	w.task(push(), from(w.devNetwork)).failsAt("source", prodHost, "firewall", devAddress)
	w.untouched(w.dev)

	w.dev.AllowOnly(devAddress)
	w.task(push()).failsAt("target", devHost, "firewall", prodAddress).wantStates("failed")
	o := w.task(push("targets", devHost+"\n"+dev2Host)).want("partial").says(devHost, "firewall", prodAddress).wantStates("failed copied")
	w.untouched(w.dev)
	if got := w.dev2.TagDigest(cart, release); got != image.Digest {
		t.Errorf("the other target has %q\n%s", got, o.stdout)
	}
}

// TestOneBadHost: the others are done, and how the step ends is onPartial's.
func TestOneBadHost(t *testing.T) {
	w, image := ready(t)
	w.prodNetwork.Block(dev2Host)
	list := push("targets", devHost+"\n"+dev2Host)
	w.task(list.with("onPartial", "warn")).wantTask("partial", "SucceededWithIssues").wantStates("copied pending").says(dev2Host)
	if got := w.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("the good target has %q", got)
	}
	w.untouched(w.dev2)
	o := w.task(list).want("partial").wantStates("present pending")
	if o.output["changed"] != "false" || !strings.Contains(strings.Join(o.issues, " "), dev2Host) {
		t.Errorf("changed %s, issues %q", o.output["changed"], o.issues)
	}
	w.prodNetwork.Block()
	w.task(list).want("done").wantStates("present copied")
}

// TestNoTargetThere: not one of them is partial of nothing.
func TestNoTargetThere(t *testing.T) {
	w, _ := ready(t)
	w.prodNetwork.Block(devHost)
	w.task(push("onPartial", "warn")).failsAt("target", devHost).wantStates("pending")
}

// TestWrongCredential: of each kind, at each side.
func TestWrongCredential(t *testing.T) {
	t.Run("client secret", func(t *testing.T) {
		w, _ := ready(t)
		wrong := w.project.SecretConnection("release-secret", tenant, clientID, "not-the-right-secret")
		w.task(push(), connected("azureSubscription", wrong)).want("failed").says("AADSTS7000215", entraHost)
		w.untouched(w.dev)
	})
	t.Run("federation that the application does not trust", func(t *testing.T) {
		w, _ := ready(t)
		stranger := w.project.FederatedConnection("another-identity", tenant, clientID)
		w.task(push(), connected("azureSubscription", stranger)).want("failed").says("AADSTS70021")
		w.untouched(w.dev)
	})
	t.Run("docker password at the target", func(t *testing.T) {
		w, _ := ready(t)
		w.dev.AddUser("pusher", "the-right-password")
		w.dev.Grant("pusher", "**", sim.RepositoryWriter...)
		wrong := w.project.DockerConnection("dev-token", devHost, "pusher", "the-wrong-password")
		w.task(push(), connected("registryConnections", wrong)).failsAt("target", devHost)
		w.untouched(w.dev)
	})
	t.Run("docker password at the source", func(t *testing.T) {
		w, _ := ready(t)
		wrong := w.project.DockerConnection("prod-token", prodHost, "reader", "the-wrong-password")
		w.task(push(), connected("registryConnections", wrong)).failsAt("source", prodHost)
		w.untouched(w.dev)
	})
	t.Run("no role at the target", func(t *testing.T) {
		w, _ := ready(t)
		w.dev.Revoke(clientID)
		w.task(push()).failsAt("target", devHost)
		w.untouched(w.dev)
	})
	t.Run("a role that only reads at the target", func(t *testing.T) {
		w, _ := ready(t)
		w.dev.Revoke(clientID)
		w.dev.Grant(clientID, "**", sim.AcrPull...)
		w.task(push()).failsAt("target", devHost, "AcrPush")
		w.untouched(w.dev)
	})
	t.Run("a role at the source that shows no locks", func(t *testing.T) {
		w, _ := ready(t)
		w.prod.Revoke(clientID)
		w.prod.Grant(clientID, "**", sim.AcrPull...)
		w.task(push()).failsAt("source", prodHost, "Container Registry Repository Reader")
		w.untouched(w.dev)
	})
}

// TestSwapped: DEV's own image does not go up to PROD by swapping the ends.
func TestSwapped(t *testing.T) {
	w, _ := ready(t)
	pushImage(w.dev, cart, "0.1-dev", 9, 1, 64)
	w.task(push("source", devHost+"/"+cart+":0.1-dev", "targets", prodHost)).refusedBy("not-sealed").says(devHost)
	if got := w.prod.TagDigest(cart, "0.1-dev"); got != "" {
		t.Errorf("PROD has it: %s", got)
	}
}

// TestWholeStepIsRefused: one target that may not be written to keeps all of
// them as they are.
func TestWholeStepIsRefused(t *testing.T) {
	w, image := ready(t)
	other := pushImage(w.dev2, cart, release, 9, 1, 64)
	w.task(push("targets", devHost+"\n"+dev2Host)).refusedBy("tag-would-move").says(dev2Host, other.Digest, image.Digest)
	w.untouched(w.dev)
	if got := w.dev2.TagDigest(cart, release); got != other.Digest {
		t.Errorf("the tag moved to %s", got)
	}

	// Everything that stands against it is told at once.
	w.dev.PutBlob(cart, nil)
	pushImage(w.dev, cart, "another", 8, 1, 64)
	w.dev.SetRepositoryLock(cart, false, true)
	w.task(push("targets", devHost+"\n"+dev2Host, "digest", "sha256:"+strings.Repeat("a", 64), "minApprovers", "2")).
		refusedBy("min-approvers", "digest-differs", "immutable", "tag-would-move")
}

func TestDigestDiffers(t *testing.T) {
	w, image := ready(t)
	w.task(push("digest", "sha256:"+strings.Repeat("a", 64))).refusedBy("digest-differs").says(image.Digest)
	w.task(push("digest", image.Digest)).want("done")
}

// TestTargetInTrouble: a registry that takes blobs and then fails shows no tag.
func TestTargetInTrouble(t *testing.T) {
	w, image := ready(t)
	remove := w.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host == devHost && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			http.Error(rw, "<html>##vso[task.complete result=Succeeded;]</html>", http.StatusInternalServerError)
			return true
		}
		return false
	})
	w.task(push()).failsAt("target", devHost, "500")
	w.untouched(w.dev)
	remove()
	w.task(push()).want("done")
	if got := w.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("after the rerun the tag points at %q", got)
	}
}

// TestTargetAnswersWithAnotherDigest: what the PUT returns is compared.
func TestTargetAnswersWithAnotherDigest(t *testing.T) {
	w, _ := ready(t)
	w.broken = true
	w.dev.DigestHeader(func(string) string { return "sha256:" + strings.Repeat("e", 64) })
	w.task(push()).failsAt("target", devHost, strings.Repeat("e", 64))
}
