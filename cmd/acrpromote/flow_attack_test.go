package main_test

import (
	"strings"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// TestPatternsFindNoDigestTags checks that patterns do not match digest tags, which
// are not images, but that an explicit name does.
func TestPatternsFindNoDigestTags(t *testing.T) {
	env := newTestEnv(t)
	cart1, cart2, pay := env.three()
	for _, image := range []descriptor{cart1, pay} {
		repository := map[bool]string{true: cart, false: "shop/pay"}[image.Digest == cart1.Digest]
		for _, ending := range []string{"", ".sig", ".att", ".sbom", ".meta"} {
			pushImage(env.prod, repository, testimage.FallbackTag(image.Digest)+ending, 40+len(ending), 1, 200)
		}
	}
	// A tag that is not named after a digest is an ordinary image.
	odd := pushImage(env.prod, cart, "sha256-short.sig", 50, 1, 200)
	env.seal(cart + ":sha256-short.sig")
	env.ready()
	set := inputs{"action": "verify", "flowFile": env.flowFile(sandbox), "flow": "released"}
	all := setDigest(cart+"@"+cart1.Digest, cart+"@"+cart2.Digest, cart+"@"+odd.Digest, "shop/pay@"+pay.Digest)
	for _, images := range []string{"shop/*:*", "shop/**:*", "shop/cart:*\nshop/pay:*", "shop/cart:sha256-*\nshop/*:1.*"} {
		if o := env.task(set.with("images", images, "referrers", "false")).want("done"); o.output["digest"] != all {
			t.Errorf("%q: digest %s, want %s", images, o.output["digest"], all)
		}
	}
	named := testimage.FallbackTag(cart1.Digest) + ".sig"
	env.task(set.with("images", "shop/cart:"+named)).refusedBy("not-sealed").says(named)
}

// subscribed is a flow whose teams subscribe only to some images.
var subscribed = strings.Replace(sandbox, "    onPartial: warn\n", "    onPartial: warn\n    teams:\n      dev: [shop/cart]\n      web: [shop/cart, shop/pay]\n", 1)

// TestNobodySubscribes checks that an explicitly named image without a target is
// refused, and that one found by a pattern is skipped with a warning.
func TestNobodySubscribes(t *testing.T) {
	env := newTestEnv(t)
	env.three()
	pushImage(env.prod, "shop/lone", "1.0", 60, 1, 200)
	env.seal("shop/lone:1.0")
	env.ready()
	base := inputs{"flowFile": env.flowFile(subscribed), "flow": "released"}
	lone := prodHost + "/shop/lone:1.0"
	for _, action := range []string{"invertedPush", "audit"} {
		in := base.with("action", action)
		env.task(in.with("source", lone)).refusedBy("not-in-flow").says("subscribes to shop/lone")
		env.task(in.with("source", lone, "targets", devHost)).refusedBy("not-in-flow")
		env.task(in.with("images", "shop/lone:1.0\nshop/cart:1.0")).refusedBy("not-in-flow").says("subscribes to shop/lone")
	}
	if env.dev.TagDigest(cart, "1.0") != "" {
		t.Error("a part of a refused set was copied")
	}
	o := env.task(base.with("action", "invertedPush", "images", "shop/*:*")).want("done")
	if !strings.Contains(strings.Join(o.warnings, "\n"), "no target subscribes to "+lone) || len(o.at("images").([]any)) != 3 {
		t.Errorf("%d images, warnings %q", len(o.at("images").([]any)), o.warnings)
	}
	env.task(base.with("action", "invertedPush", "images", "shop/lone:*")).want("misuse")
}

// TestNamedImageMissing checks that nothing is written if an explicitly named image
// of a set does not exist.
func TestNamedImageMissing(t *testing.T) {
	for _, action := range []string{"invertedPush", "seal"} {
		t.Run(action, func(t *testing.T) {
			env := newTestEnv(t)
			pushIndex(env.prod, cart, "1.0", 1)
			env.prod.Grant(clientID, "**", sim.CatalogLister...)
			if action == "invertedPush" {
				env.seal(cart + ":1.0")
			}
			env.ready()
			set := inputs{"action": action, "flowFile": env.flowFile(sandbox), "flow": "released"}
			for _, images := range []string{"shop/cart:1.0\nshop/cart:9.9", "shop/none:1.0\nshop/cart:*", "shop/cart:1.0\nshop/cart@sha256:" + strings.Repeat("0", 64)} {
				o := env.task(set.with("images", images)).failsAt("source")
				if written := writes(o.requests); len(written) > 0 || o.at("changed") != false {
					t.Errorf("%s: written: %v", images, written)
				}
				for _, image := range o.at("images").([]any) {
					targets, _ := image.(map[string]any)["targets"].([]any)
					for _, target := range targets {
						if state := target.(map[string]any)["state"]; state != "pending" {
							t.Errorf("%s: a target is %v", images, state)
						}
					}
				}
			}
			if held(cart, "1.0", env.dev, env.dev2) != "" {
				t.Error("a part of the set was copied")
			}
		})
	}
}

// TestAuditReportsTheSet checks that an audit reports the rules, the set's digest and
// its code like every other action.
func TestAuditReportsTheSet(t *testing.T) {
	env := newTestEnv(t)
	env.connection.AddCheck(sim.RequiredTemplate)
	cart1, cart2, pay := env.three()
	env.stage = env.run.Stage("Guarded", env.environment, env.connection)
	env.ready()
	name, _ := env.onServer(sandbox)
	set := inputs{"flowFile": name, "flow": "released", "images": "shop/*:*"}
	env.task(set.with("action", "invertedPush")).want("done")
	want := setDigest(cart+"@"+cart1.Digest, cart+"@"+cart2.Digest, "shop/pay@"+pay.Digest)
	o := env.task(set.with("action", "audit")).want("done")
	if o.at("rules") != "verified" || o.at("approvalCode") != code(t, want) || o.output["digest"] != want {
		t.Errorf("rules %v, code %v, digest %s", o.at("rules"), o.at("approvalCode"), o.output["digest"])
	}
	o = env.task(set.with("action", "audit", "flowFile", env.flowFile(sandbox))).want("done")
	if o.at("approvalCode") != code(t, want) {
		t.Errorf("code %v", o.at("approvalCode"))
	}
	one := env.task(inputs{"action": "audit", "flowFile": name, "source": prodHost + "/" + cart + ":1.0", "targets": devHost}).want("done")
	if one.at("approvalCode") != code(t, cart1.Digest) || one.output["digest"] != cart1.Digest {
		t.Errorf("of one image: code %v, digest %s", one.at("approvalCode"), one.output["digest"])
	}
}

// TestSealWithFlow checks that seal with a flow file requires the branches and the
// attached artifacts of the flow.
func TestSealWithFlow(t *testing.T) {
	env := newTestEnv(t)
	image := pushIndex(env.prod, cart, "1.0", 1)
	demanding := strings.Replace(sandbox, "      branches: [refs/heads/main]\n", "      branches: [refs/heads/main]\n      attached: [{artifactType: application/spdx+json}]\n", 1)
	stage := env.run.Stage("Seal", env.connection)
	stage.Begin()
	in := inputs{"action": "seal", "source": prodHost + "/" + cart + ":1.0", "flow": "released"}
	env.taskOf(stage, in.with("flowFile", env.flowFile(demanding))).refusedBy("attached-missing")
	env.taskOf(stage, in.with("flowFile", env.flowFile(strings.Replace(demanding, "refs/heads/main", "refs/heads/release", 1)))).refusedBy("branch", "attached-missing")
	testimage.Attach(env.prod, cart, image, "application/spdx+json", []byte("{}"))
	env.taskOf(stage, in.with("flowFile", env.flowFile(demanding))).want("done")
}
