package main_test

import "testing"

// TestSealOfUncoveredImage checks that every action refuses an existing image that no
// flow covers. Sealing and verifying such an image once panicked.
func TestSealOfUncoveredImage(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, "other/tool", "1.0", 3, 1, 300)
	env.sealed()
	env.ready()
	in := inputs{"flowFile": env.flowFile(sandbox), "source": prodHost + "/other/tool:1.0"}
	for _, action := range []string{"seal", "verify", "promote", "invertedPush", "audit"} {
		for _, more := range []inputs{{}, {"dryRun": "true"}, {"flow": "released"}, {"targets": devHost}} {
			if action == "seal" && more["targets"] != "" {
				continue
			}
			all := in.with("action", action)
			for name, value := range more {
				all = all.with(name, value)
			}
			if o := env.task(all); o.result["outcome"] != "refused" && o.result["outcome"] != "misuse" {
				t.Errorf("%s %v ended as %v", action, more, o.result["outcome"])
			}
		}
	}
}
