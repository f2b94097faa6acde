package main_test

import (
	"slices"
	"testing"

	"acrpromote/internal/sim"
)

const recallRecord = "application/vnd.acrpromote.recall.v1+json"

// recallOf returns the inputs of a recall of the image in both DEV registries.
func recallOf(more ...string) inputs {
	return inputs{"action": "recall", "source": source, "targets": devHost + "\n" + dev2Host, "environment": "Production", "reason": "CVE-2026-1234"}.with(more...)
}

// writers gives the identity of the run the right to set attributes in both registries.
func disabled(r *sim.Registry, repository string, digests ...string) (list []string) {
	for _, digest := range digests {
		if a, ok := r.ManifestAttributes(repository, digest); ok && !a.Read {
			list = append(list, digest)
		}
	}
	return list
}

func TestRecallAndLift(t *testing.T) {
	env, image := readyIndex(t)
	env.task(push("targets", devHost+"\n"+dev2Host)).want("done")
	all := env.dev.Digests(cart)
	env.task(recallOf("dryRun", "true")).want("done").wantStates("planned planned planned")
	o := env.task(recallOf()).want("done").wantStates("recorded withdrawn withdrawn")
	t.Log(o.stdout)
	for _, r := range []*sim.Registry{env.dev, env.dev2} {
		if got := disabled(r, cart, all...); len(got) != 3 || !slices.Contains(got, image.Digest) {
			t.Errorf("reads are disabled of %q", got)
		}
	}
	if got := disabled(env.prod, cart, env.prod.Digests(cart)...); len(got) > 0 {
		t.Errorf("reads are disabled at the source of %q", got)
	}
	records := len(env.prod.Referrers(cart, image.Digest))
	again := env.task(recallOf()).want("done").wantStates("recorded withdrawn withdrawn")
	if again.result["changed"] != false || len(env.prod.Referrers(cart, image.Digest)) != records {
		t.Errorf("recalled again: changed %v, %d records, before %d", again.result["changed"], len(env.prod.Referrers(cart, image.Digest)), records)
	}
	env.task(push("targets", devHost+"\n"+dev2Host)).refusedBy("recalled")
	lifted := env.task(recallOf("lift", "true", "reason", "false alarm")).want("done").wantStates("restored restored restored")
	t.Log(lifted.stdout)
	for _, r := range []*sim.Registry{env.dev, env.dev2} {
		if got := disabled(r, cart, all...); len(got) > 0 {
			t.Errorf("after the lift reads are disabled of %q", got)
		}
	}
	env.task(push("targets", devHost+"\n"+dev2Host)).want("done")
}
