package main_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/testimage"
)

// budgetOf returns the requests of result.json by registry, from its budget or its
// traffic.
func budgetOf(o outcome, field string) map[string]string {
	o.t.Helper()
	counts := map[string]string{}
	for _, entry := range o.at(field).([]any) {
		b := entry.(map[string]any)
		if host := b["registry"].(string); strings.HasSuffix(host, ".azurecr.io") {
			counts[host] = fmt.Sprint(b["requests"])
		}
	}
	return counts
}

// sentTo counts the requests to registries by kind, without those to their storage.
func sentTo(o outcome) map[string]string {
	counts := map[string]map[string]int{}
	for _, r := range o.requests {
		if !strings.HasSuffix(r.Host, ".azurecr.io") {
			continue
		}
		if counts[r.Host] == nil {
			counts[r.Host] = map[string]int{"read": 0, "write": 0, "referrers": 0, "token": 0}
		}
		counts[r.Host][limitedKind(r.Method, r.Path)]++
	}
	shown := map[string]string{}
	for host, kinds := range counts {
		shown[host] = fmt.Sprint(kinds)
	}
	return shown
}

// TestBudget checks that a dry run, and the run itself before it writes, count the
// requests that the run then takes.
func TestBudget(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(env *testEnv) (in inputs)
	}{
		{"one image", func(env *testEnv) inputs {
			env.sealed()
			return push()
		}},
		{"two platforms, locked, and what is attached", func(env *testEnv) inputs {
			image := pushIndex(env.prod, cart, release, 1)
			env.record(image)
			testimage.Attach(env.prod, cart, testimage.Of(child(1, 0)), "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
			testimage.Put(env.prod, cart, testimage.FallbackTag(image.Digest)+".sig", testimage.Signature(layer(7, 0, 512)))
			env.lock(release)
			return push("lock", "image", "targets", devHost+"\n"+dev2Host)
		}},
		{"a tag that was set already", func(env *testEnv) inputs {
			image := env.sealed()
			pushImage(env.dev, cart, release, 1, 2, 2048)
			if env.dev.TagDigest(cart, release) != image.Digest {
				env.t.Fatal("another image")
			}
			return push()
		}},
		{"receipts at two targets and at the source", func(env *testEnv) inputs {
			env.sealed()
			path, _ := env.keyFile()
			return push("targets", devHost+"\n"+dev2Host, "receiptKey", path, "receiptAtSource", "true")
		}},
		{"a set with receipts", func(env *testEnv) inputs {
			env.three()
			path, _ := env.keyFile()
			return inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "released", "images": "shop/cart:1.0\nshop/cart:1.1\nshop/pay:1.0", "receiptKey": path}
		}},
		{"a set", func(env *testEnv) inputs {
			env.three()
			return inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "released", "images": "shop/cart:1.0\nshop/cart:1.1\nshop/pay:1.0"}
		}},
		{"an atomic set", func(env *testEnv) inputs {
			env.three()
			file := env.flowFile(strings.Replace(sandbox, "    onPartial: warn\n", "    onPartial: warn\n    atomic: true\n", 1))
			return inputs{"action": "invertedPush", "flowFile": file, "flow": "released", "images": "shop/cart:1.0\nshop/cart:1.1\nshop/pay:1.0"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			in := c.prepare(env)
			env.approve(manager, "released")
			dry := env.task(in.with("dryRun", "true")).want("done")
			if !strings.Contains(dry.stdout, "of a minute's limits") {
				t.Errorf("the log has no requests:\n%s", dry.stdout)
			}
			planned := budgetOf(dry, "budget")
			real := env.task(in).want("done")
			if budget := budgetOf(real, "budget"); !maps.Equal(budget, planned) {
				t.Errorf("the run counted %v, the dry run %v", budget, planned)
			}
			if sent := sentTo(real); !maps.Equal(sent, planned) {
				for _, host := range slices.Sorted(maps.Keys(sent)) {
					t.Errorf("%s\n  planned %s\n  sent    %s", host, planned[host], sent[host])
				}
			}
			again := env.task(in).want("done")
			if sent, budget := sentTo(again), budgetOf(again, "budget"); !maps.Equal(sent, budget) {
				t.Errorf("again: counted %v, sent %v", budget, sent)
			}
		})
	}
}

// TestBudgetOfSeal checks the count before an image is sealed, and the shares.
func TestBudgetOfSeal(t *testing.T) {
	env := newTestEnv(t)
	pushIndex(env.prod, cart, release, 1)
	stage := env.run.Stage("Seal", env.connection)
	stage.Begin()
	o := env.taskOf(stage, inputs{"action": "seal", "source": source}).want("done")
	if sent, budget := sentTo(o), budgetOf(o, "budget"); !maps.Equal(sent, budget) {
		t.Errorf("counted %v, sent %v", budget, sent)
	}
	writes := o.at("budget", 0, "requests", "write").(float64)
	for tier, limit := range map[string]float64{"basic": 2000, "standard": 2000, "premium": 4000} {
		if got := o.at("budget", 0, "shares", tier, "write").(float64); got < writes/limit-1e-4 || got > writes/limit+1e-4 {
			t.Errorf("%s: share %v of %v writes", tier, got, writes)
		}
	}
}
