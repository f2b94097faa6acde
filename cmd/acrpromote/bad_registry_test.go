package main_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// untouched fails the test if a target has any part of the image.
func (env *testEnv) untouched(registries ...*sim.Registry) {
	env.t.Helper()
	for _, r := range registries {
		if tags := r.Tags(cart); len(tags) > 0 {
			env.t.Errorf("%s shows the tags %v", r.Host(), tags)
		}
	}
}

// TestBadSource checks that problems at the source end as failed, name the source,
// and leave no tag at the target.
func TestBadSource(t *testing.T) {
	truncate := func(b []byte) []byte { return b[:len(b)/2] }
	for _, c := range []struct {
		name string
		bad  func(env *testEnv, image descriptor) inputs
		says []string
	}{
		{"the tag does not exist", func(env *testEnv, _ descriptor) inputs { return push("source", prodHost+"/"+cart+":9.9") }, []string{prodHost, "9.9"}},
		{"the repository does not exist", func(env *testEnv, _ descriptor) inputs { return push("source", prodHost+"/shop/nothing:1") }, []string{prodHost, "shop/nothing"}},
		{"the digest does not exist", func(env *testEnv, _ descriptor) inputs {
			return push("source", prodHost+"/"+cart+"@sha256:"+strings.Repeat("0", 64))
		}, []string{prodHost, strings.Repeat("0", 64)}},
		{"the registry is unreachable", func(env *testEnv, _ descriptor) inputs { env.prodNetwork.Block(prodHost); return push() }, []string{prodHost, "proxy", "502"}},
		{"a truncated manifest", func(env *testEnv, image descriptor) inputs { env.prod.Corrupt(image.Digest, truncate); return push() }, []string{prodHost, cart}},
		{"another manifest under the digest", func(env *testEnv, image descriptor) inputs {
			env.prod.Corrupt(image.Digest, func(b []byte) []byte { return append(b, ' ') })
			return push()
		}, []string{prodHost, "digest"}},
		{"a layer with other bytes", func(env *testEnv, _ descriptor) inputs {
			env.prod.Corrupt(testimage.Of(layer(1, 0, 2048)).Digest, func(b []byte) []byte { b[7] ^= 1; return b })
			return push()
		}, []string{prodHost}},
		{"a missing layer", func(env *testEnv, _ descriptor) inputs {
			env.prod.RemoveBlob(cart, testimage.Of(layer(1, 0, 2048)).Digest)
			return push()
		}, []string{prodHost, testimage.Of(layer(1, 0, 2048)).Digest}},
		{"its storage is unreachable", func(env *testEnv, _ descriptor) inputs { env.prodNetwork.Block(env.prod.StorageHost()); return push() }, []string{prodStorage}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, image := ready(t)
			in := c.bad(env, image)
			env.task(in).failsAt("source", c.says...)
			env.untouched(env.dev)
		})
	}
}

const prodStorage = "contosoprod.blob.core.windows.net"

// TestBadManifests tests invalid images.
func TestBadManifests(t *testing.T) {
	for _, c := range []struct {
		name string
		push func(env *testEnv) (tag string)
		says string
	}{
		{"an index that names a missing child", func(env *testEnv) string {
			index := pushIndex(env.prod, cart, "index", 3)
			env.prod.RemoveManifest(cart, testimage.Of(child(3, 0)).Digest)
			if !env.prod.SetTagLock(cart, "index", false, false) {
				t.Error("no index")
			}
			env.record(index)
			return "index"
		}, "sha256:"},
		{"a manifest over 4 MiB", func(env *testEnv) string {
			manifest, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": testimage.ManifestType, "config": testimage.Describe(testimage.ConfigType, nil),
				"layers": []any{}, "annotations": map[string]string{"long": strings.Repeat("x", 4<<20)}})
			env.prod.Push(cart, "large", testimage.ManifestType, manifest)
			env.record(testimage.Describe(testimage.ManifestType, manifest))
			return "large"
		}, "4"},
		{"a manifest that is not JSON", func(env *testEnv) string {
			manifest := []byte("<html>sign in</html>")
			env.prod.Push(cart, "html", testimage.ManifestType, manifest)
			env.record(testimage.Describe(testimage.ManifestType, manifest))
			return "html"
		}, "JSON"},
		{"an index nested thirty deep", func(env *testEnv) string {
			nested := testimage.Index(image("amd64", 5, 1, 64))
			for range 29 {
				nested = testimage.Index(nested)
			}
			env.record(testimage.Put(env.prod, cart, "deep", nested))
			return "deep"
		}, "nested"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			tag := c.push(env)
			env.lock(tag)
			env.approve(manager, "released")
			env.task(push("source", prodHost+"/"+cart+":"+tag)).failsAt("source", prodHost, c.says)
			env.untouched(env.dev)
		})
	}
}

// TestFirewall checks that the message names the registry, the blocked address and
// what to do, on both sides.
func TestFirewall(t *testing.T) {
	env, image := ready(t)
	env.task(push(), from(env.devNetwork)).failsAt("source", prodHost, "firewall", devAddress)
	env.untouched(env.dev)

	env.dev.AllowOnly(devAddress)
	env.task(push()).failsAt("target", devHost, "firewall", prodAddress).wantStates("failed")
	o := env.task(push("targets", devHost+"\n"+dev2Host)).want("partial").says(devHost, "firewall", prodAddress).wantStates("failed copied")
	env.untouched(env.dev)
	if got := env.dev2.TagDigest(cart, release); got != image.Digest {
		t.Errorf("the other target has %q\n%s", got, o.stdout)
	}
}

// TestOneBadHost checks that the other targets are done, and that onPartial decides
// the result of the step.
func TestOneBadHost(t *testing.T) {
	env, image := ready(t)
	env.prodNetwork.Block(dev2Host)
	list := push("targets", devHost+"\n"+dev2Host)
	env.task(list.with("onPartial", "warn")).wantTask("partial", "SucceededWithIssues").wantStates("copied pending").says(dev2Host)
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("the good target has %q", got)
	}
	env.untouched(env.dev2)
	o := env.task(list).want("partial").wantStates("present pending")
	if o.output["changed"] != "false" || !strings.Contains(strings.Join(o.issues, " "), dev2Host) {
		t.Errorf("changed %s, issues %q", o.output["changed"], o.issues)
	}
	env.prodNetwork.Block()
	env.task(list).want("done").wantStates("present copied")
}

// TestNoTargetAvailable checks that the outcome is failed, not partial, if no target
// is done.
func TestNoTargetAvailable(t *testing.T) {
	env, _ := ready(t)
	env.prodNetwork.Block(devHost)
	env.task(push("onPartial", "warn")).failsAt("target", devHost).wantStates("pending")
}

// TestWrongCredential tests each kind of credential on each side.
func TestWrongCredential(t *testing.T) {
	t.Run("client secret", func(t *testing.T) {
		env, _ := ready(t)
		wrong := env.project.SecretConnection("release-secret", tenant, clientID, "not-the-right-secret")
		env.task(push(), connected("azureSubscription", wrong)).want("failed").says("AADSTS7000215", entraHost)
		env.untouched(env.dev)
	})
	t.Run("federation that the application does not trust", func(t *testing.T) {
		env, _ := ready(t)
		stranger := env.project.FederatedConnection("another-identity", tenant, clientID)
		env.task(push(), connected("azureSubscription", stranger)).want("failed").says("AADSTS70021")
		env.untouched(env.dev)
	})
	t.Run("docker password at the target", func(t *testing.T) {
		env, _ := ready(t)
		env.dev.AddUser("pusher", "the-right-password")
		env.dev.Grant("pusher", "**", sim.RepositoryWriter...)
		wrong := env.project.DockerConnection("dev-token", devHost, "pusher", "the-wrong-password")
		env.task(push(), connected("registryConnections", wrong)).failsAt("target", devHost)
		env.untouched(env.dev)
	})
	t.Run("docker password at the source", func(t *testing.T) {
		env, _ := ready(t)
		wrong := env.project.DockerConnection("prod-token", prodHost, "reader", "the-wrong-password")
		env.task(push(), connected("registryConnections", wrong)).failsAt("source", prodHost)
		env.untouched(env.dev)
	})
	t.Run("no role at the target", func(t *testing.T) {
		env, _ := ready(t)
		env.dev.Revoke(clientID)
		env.task(push()).failsAt("target", devHost)
		env.untouched(env.dev)
	})
	t.Run("a role that only reads at the target", func(t *testing.T) {
		env, _ := ready(t)
		env.dev.Revoke(clientID)
		env.dev.Grant(clientID, "**", sim.AcrPull...)
		env.task(push()).failsAt("target", devHost, "AcrPush")
		env.untouched(env.dev)
	})
	t.Run("a role at the source that shows no locks", func(t *testing.T) {
		env, _ := ready(t)
		env.prod.Revoke(clientID)
		env.prod.Grant(clientID, "**", sim.AcrPull...)
		env.task(push()).failsAt("source", prodHost, "Container Registry Repository Reader")
		env.untouched(env.dev)
	})
}

// TestSwapped checks that an image of DEV cannot be brought to PROD by swapping
// source and target.
func TestSwapped(t *testing.T) {
	env, _ := ready(t)
	pushImage(env.dev, cart, "0.1-dev", 9, 1, 64)
	env.task(push("source", devHost+"/"+cart+":0.1-dev", "targets", prodHost)).refusedBy("not-sealed").says(devHost)
	if got := env.prod.TagDigest(cart, "0.1-dev"); got != "" {
		t.Errorf("PROD has it: %s", got)
	}
}

// TestWholeStepIsRefused checks that nothing is written to any target if one of
// them is refused.
func TestWholeStepIsRefused(t *testing.T) {
	env, image := ready(t)
	other := pushImage(env.dev2, cart, release, 9, 1, 64)
	env.task(push("targets", devHost+"\n"+dev2Host)).refusedBy("tag-would-move").says(dev2Host, other.Digest, image.Digest)
	env.untouched(env.dev)
	if got := env.dev2.TagDigest(cart, release); got != other.Digest {
		t.Errorf("the tag moved to %s", got)
	}

	// All refusals are reported at once.
	env.dev.PutBlob(cart, nil)
	pushImage(env.dev, cart, "another", 8, 1, 64)
	env.dev.SetRepositoryLock(cart, false, true)
	env.task(push("targets", devHost+"\n"+dev2Host, "digest", "sha256:"+strings.Repeat("a", 64), "minApprovers", "2")).
		refusedBy("min-approvers", "digest-differs", "immutable", "tag-would-move")
}

func TestDigestDiffers(t *testing.T) {
	env, image := ready(t)
	env.task(push("digest", "sha256:"+strings.Repeat("a", 64))).refusedBy("digest-differs").says(image.Digest)
	env.task(push("digest", image.Digest)).want("done")
}

// TestFailingTarget checks that a registry that fails after taking blobs shows no
// tag.
func TestFailingTarget(t *testing.T) {
	env, image := ready(t)
	remove := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host == devHost && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			http.Error(rw, "<html>##vso[task.complete result=Succeeded;]</html>", http.StatusInternalServerError)
			return true
		}
		return false
	})
	env.task(push()).failsAt("target", devHost, "500")
	env.untouched(env.dev)
	remove()
	env.task(push()).want("done")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("after the rerun the tag points at %q", got)
	}
}

// TestTargetReturnsAnotherDigest checks that the digest that a PUT returns is
// compared.
func TestTargetReturnsAnotherDigest(t *testing.T) {
	env, _ := ready(t)
	env.broken = true
	env.dev.DigestHeader(func(string) string { return "sha256:" + strings.Repeat("e", 64) })
	env.task(push()).failsAt("target", devHost, strings.Repeat("e", 64))
}
