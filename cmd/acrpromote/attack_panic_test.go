package main_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

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

// TestAnyInputsEndInAResult runs the program with generated inputs over flow
// files and registries of several states. Every run must end in one outcome with
// a valid result.json, without a panic, and without a write after a refusal:
// hold checks that of every run.
func TestAnyInputsEndInAResult(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, "other/tool", "1.0", 3, 1, 300)
	pushImage(env.prod, "shop/loose", "1.0", 4, 1, 300)
	env.sealed()
	env.ready()
	good := env.flowFile(sandbox)
	flows := []string{"", "", "", good, good, good, good}
	for _, name := range []string{"other.yml", "broken.yml", "empty.yml"} {
		flows = append(flows, env.file(name, map[string]string{
			"other.yml":  strings.Replace(sandbox, `["shop/**"]`, `["none/*"]`, 1),
			"broken.yml": "version: 1\nflows: [", "empty.yml": "",
		}[name]))
	}
	sources := []string{"", source, source, source, source, source, source, prodHost + "/other/tool:1.0", prodHost + "/shop/loose:1.0", prodHost + "/absent:1", devHost + "/" + cart + ":1", "x", prodHost + "/" + cart + "@sha256:" + strings.Repeat("0", 64)}
	targets := []string{"", "", devHost, devHost, devHost, dev2Host + "\n" + devHost, prodHost + "/" + cart + ":stable", prodHost, "nowhere.azurecr.io", "bad target"}
	sets := []string{"", "shop/*:*", "shop/cart:*\nshop/none:1", "**:*", "shop/cart"}
	actions := []string{"seal", "promote", "invertedPush", "verify", "audit"}
	picks := map[string][]string{
		"flow": {"", "", "released", "base", "unknown"}, "approval": {"", "", "manual", "automated", "any", "none"}, "environment": {"Other", "endpoint:x"},
		"sealed": {"", "true", "false"}, "lock": {"", "none", "tag", "image"}, "moveTag": {"", "true"}, "dryRun": {"", "true"}, "approvalCode": {"", "true"},
		"digest": {"", "", "sha256:x", "sha256:" + strings.Repeat("0", 64)}, "deep": {"", "true"}, "referrers": {"", "false"}, "minApprovers": {"", "0", "2"}, "onPartial": {"", "warn"},
	}
	random := rand.New(rand.NewPCG(11, 7))
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	outcomes := map[string]int{}
	for range 120 {
		in := inputs{"action": pick(actions)}
		set := func(name, value string) {
			if value != "" {
				in = in.with(name, value)
			}
		}
		set("flowFile", pick(flows))
		set("environment", pick([]string{"Production", "Production", ""}))
		if in["flowFile"] != "" && random.IntN(3) == 0 {
			set("images", pick(sets))
		} else {
			set("source", pick(sources))
			set("targets", pick(targets))
		}
		for _, name := range slices.Sorted(maps.Keys(picks)) {
			if random.IntN(8) == 0 {
				set(name, pick(picks[name]))
			}
		}
		o := env.task(in)
		outcomes[fmt.Sprint(o.result["outcome"])]++
	}
	t.Logf("outcomes: %v", outcomes)
	if outcomes["misuse"] == 0 || outcomes["refused"] == 0 || outcomes["done"] == 0 || outcomes["failed"] == 0 {
		t.Errorf("the inputs do not reach every outcome: %v", outcomes)
	}
}
