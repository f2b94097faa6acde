package main_test

import (
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// TestMainScenario seals an image, is refused without an approval, pushes it down to
// two registries after the approval, and does nothing in a rerun.
func TestMainScenario(t *testing.T) {
	env := newTestEnv(t)
	image := pushIndex(env.prod, "shop/cart", "1.4.2", 1)
	sbom := testimage.Attach(env.prod, "shop/cart", image, "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))

	build := env.run.Stage("Seal", env.connection)
	build.Begin()
	sealed := env.taskOf(build, inputs{"action": "seal", "source": prodHost + "/shop/cart:1.4.2"}).want("done")
	if sealed.output["digest"] != image.Digest || sealed.output["changed"] != "true" {
		t.Fatalf("outputs %v", sealed.output)
	}

	push := inputs{"action": "invertedPush", "source": prodHost + "/shop/cart:1.4.2", "targets": devHost + "\n" + dev2Host, "environment": "Production"}
	env.stage.Begin()
	env.task(push).refusedBy("approval-pending")

	if err := env.stage.Approve(manager, "released"); err != nil {
		t.Fatal(err)
	}
	done := env.task(push).want("done")
	for _, r := range []*sim.Registry{env.dev, env.dev2} {
		if got := r.TagDigest("shop/cart", "1.4.2"); got != image.Digest {
			t.Errorf("the tag points at %s, want %s", got, image.Digest)
		}
		if got := r.Referrers("shop/cart", image.Digest); len(got) != 2 {
			t.Errorf("referrers %v, want the SBOM %s and the seal record", got, sbom.Digest)
		}
	}
	t.Log(done.stdout)
	again := env.task(push).want("done")
	if again.output["changed"] != "false" {
		t.Errorf("again changed something: %s", again.stdout)
	}
	t.Log(again.stdout)
}
