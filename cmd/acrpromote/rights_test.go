package main_test

import (
	"strings"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// onlyPulls takes from the release identity every right at PROD but pulling. An
// application that only pulls has no right to list tags.
func (env *testEnv) onlyPulls(r *sim.Registry) {
	r.Revoke(clientID)
	r.Grant(clientID, "**", sim.AcrPull...)
}

// base returns the inputs for the images of the flow that requires no approval.
func (env *testEnv) base(images string) inputs {
	return inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "base", "images": images}
}

// TestCopiesWithoutListingTags checks that an identity that may pull but not read
// metadata copies an image with its digest tags, which are then asked for by name,
// and that one token for the whole run does.
func TestCopiesWithoutListingTags(t *testing.T) {
	for name, strict := range map[string]bool{"the registry grants what it can": false, "the registry grants all or nothing": true} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			env.approve(manager, "")
			if strict {
				env.prod = env.cloud.Registry(prodHost, sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, StrictScopes: true})
			}
			env.onlyPulls(env.prod)
			image := pushImage(env.prod, "base/alpine", "3", 4, 2, 1000)
			signature.under(image, ".sig").put(env.prod, "base/alpine", image)
			sig := testimage.FallbackTag(image.Digest) + ".sig"
			o := env.task(env.base("base/alpine:3")).want("done")
			for _, tag := range []string{"3", sig} {
				if got, want := env.dev.TagDigest("base/alpine", tag), env.prod.TagDigest("base/alpine", tag); got == "" || got != want {
					t.Errorf("DEV has %q under %s, PROD %q\n%s", got, tag, want, o.stdout)
				}
			}
			if tokens := o.count(prodHost, "POST /oauth2/token"); !strict && tokens != 1 {
				t.Errorf("%d access tokens were asked for, want 1", tokens)
			}
			if lists := o.count(prodHost, "GET /v2/base/alpine/tags/list"); lists != map[bool]int{false: 1, true: 0}[strict] {
				t.Errorf("the tags were listed %d times", lists)
			}
		})
	}
}

// TestPatternsNameTheMissingRight checks which right a pattern is said to lack: to
// read metadata for a pattern over tags, to list the catalog only for one over
// repositories.
func TestPatternsNameTheMissingRight(t *testing.T) {
	for name, strict := range map[string]bool{"the registry grants what it can": false, "the registry grants all or nothing": true} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			env.approve(manager, "")
			if strict {
				env.prod = env.cloud.Registry(prodHost, sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, StrictScopes: true})
			}
			env.onlyPulls(env.prod)
			image := pushImage(env.prod, "base/alpine", "3", 4, 2, 1000)
			overTags := env.base("base/alpine:*")
			o := env.task(overTags).failsAt("source", "base/alpine", "metadata/read")
			if strings.Contains(o.against(), "Catalog Lister") {
				t.Errorf("listing the catalog was not needed:\n%s", o.against())
			}
			env.prod.Grant(clientID, "base/*", "metadata_read")
			o = env.task(overTags).want("done")
			if lists, tokens := o.count(prodHost, "GET /v2/base/alpine/tags/list"), o.count(prodHost, "POST /oauth2/token"); lists != 1 || tokens != 1 {
				t.Errorf("%d lists and %d tokens, want 1 (for the set and its digest tags) and 1", lists, tokens)
			}
			o = env.task(env.base("base/*:*")).failsAt("source", "Catalog Lister")
			if strings.Contains(o.against(), "metadata/read") {
				t.Errorf("reading metadata was not lacking:\n%s", o.against())
			}
			env.prod.Grant(clientID, "**", sim.CatalogLister...)
			env.task(env.base("base/*:*")).want("done")
			if got := env.dev.TagDigest("base/alpine", "3"); got != image.Digest {
				t.Errorf("DEV has %q", got)
			}
		})
	}
}
