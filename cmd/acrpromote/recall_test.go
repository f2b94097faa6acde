package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"acrpromote/internal/sim"
)

const (
	recallType = "application/vnd.acrpromote.recall.v1+json"
	recallFlow = `version: 1
trust: [dev, production]
registries:
  prod: {host: contosoprod.azurecr.io, trust: production}
  dev: {host: contosodev.azurecr.io, trust: dev}
  dev2: {host: contosodev2.azurecr.io, trust: dev}
flows:
  released:
    from: prod
    to: [dev]
    require: {approval: {kind: manual, environment: Production}}
  teams:
    from: dev
    to: [dev2]
    require: {approval: {kind: none}, sealed: false}
`
	blockSource = "recall: {source: block}\n"
)

// recallOf returns the inputs of a recall of the image in both DEV registries.
func recallOf(more ...string) inputs {
	return inputs{"action": "recall", "source": source, "targets": devHost + "\n" + dev2Host, "environment": "Production", "reason": "CVE-2026-1234"}.with(more...)
}

// byFlow returns the inputs of a recall by a flow file.
func (env *testEnv) byFlow(flows string, more ...string) inputs {
	return inputs{"action": "recall", "source": source, "flowFile": env.flowFile(flows), "reason": "CVE-2026-1234"}.with(more...)
}

// readable returns which of the manifests of an image a registry lets be read.
func readable(r *sim.Registry, digests ...string) (list []string) {
	for _, digest := range digests {
		if a, ok := r.ManifestAttributes(cart, digest); ok && a.Read {
			list = append(list, digest)
		}
	}
	return list
}

// records returns the recall records of an image at PROD.
func (env *testEnv) records(image descriptor) (list []string) {
	for _, d := range env.prod.Referrers(cart, image.Digest) {
		_, content, _ := env.prod.Manifest(cart, d)
		var m struct{ ArtifactType string }
		if json.Unmarshal(content, &m) == nil && m.ArtifactType == recallType {
			list = append(list, d)
		}
	}
	return list
}

// parts returns the digests of an index and its children.
func parts(r *sim.Registry, image descriptor) []string {
	_, content, _ := r.Manifest(cart, image.Digest)
	var index struct{ Manifests []struct{ Digest string } }
	_ = json.Unmarshal(content, &index)
	all := []string{image.Digest}
	for _, m := range index.Manifests {
		all = append(all, m.Digest)
	}
	return all
}

// TestRecall withdraws an index from two registries, and lifts that.
func TestRecall(t *testing.T) {
	env, image := readyIndex(t)
	everywhere := push("targets", devHost+"\n"+dev2Host)
	env.task(everywhere).want("done")
	all := parts(env.prod, image)
	env.task(recallOf("reason", "")).want("misuse").says("recall requires a reason")
	env.task(recallOf("targets", "")).want("misuse").says("recall requires the repositories")
	if o := env.task(recallOf("dryRun", "true")).want("done").wantStates("planned planned planned"); len(writes(o.requests)) > 0 {
		t.Errorf("the dry run has written %v", writes(o.requests))
	}
	o := env.task(recallOf()).want("done").wantStates("recorded withdrawn withdrawn")
	if first := writes(o.requests)[0]; !strings.Contains(first, prodHost) {
		t.Errorf("the first write is %s", first)
	}
	if got := append(readable(env.dev, all...), readable(env.dev2, all...)...); len(got) > 0 || len(readable(env.prod, all...)) != 3 {
		t.Errorf("can be read at DEV: %v, at PROD: %v", got, readable(env.prod, all...))
	}
	if again := env.task(recallOf()).want("done").wantStates("recorded withdrawn withdrawn"); again.result["changed"] != false || len(env.records(image)) != 1 {
		t.Errorf("recalled again: changed %v, records %v", again.result["changed"], env.records(image))
	}
	env.task(everywhere).refusedBy("recalled")
	env.task(push("targets", devHost+"\n"+dev2Host, "action", "plan")).refusedBy("recalled")

	// What is not released from this image is: its tag moves, and another repository takes
	// it with a warning, because no key has signed the record.
	env.task(push("targets", devHost+"/elsewhere/cart:1")).want("done").logs("a recall record that is not signed")
	if got := env.dev.Referrers("elsewhere/cart", image.Digest); len(got) != 1 {
		t.Errorf("attached elsewhere: %v, want the seal record alone", got)
	}
	env.task(recallOf("lift", "true")).want("done").wantStates("restored restored restored")
	if len(readable(env.dev, all...)) != 3 || len(readable(env.dev2, all...)) != 3 || len(env.records(image)) != 2 {
		t.Errorf("lifted: can be read at DEV %v, records %v", readable(env.dev, all...), env.records(image))
	}
	if o := env.task(recallOf("lift", "true")).want("done").logs("there is nothing to lift"); o.result["changed"] != false {
		t.Error("there was something to lift")
	}
	env.task(everywhere).want("done").wantStates("present present")
	env.task(recallOf("source", prodHost+"/"+cart+"@sha256:"+strings.Repeat("0", 64))).want("failed").says("no registry has it")
}

// hiding returns an environment with an index at PROD, in registries that hide what may
// not be read, and the digests of all its manifests.
func hiding(t *testing.T, hidden sim.ReadDisabled) (*testEnv, descriptor, []string) {
	t.Helper()
	env := newTestEnv(t)
	for _, r := range []**sim.Registry{&env.prod, &env.dev, &env.dev2} {
		*r = env.cloud.Registry((*r).Host(), sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, ReadDisabled: hidden})
		(*r).Grant(clientID, "**", sim.RepositoryWriter...)
	}
	image := pushIndex(env.prod, cart, release, 1)
	env.record(image)
	env.lock(release)
	env.approve(manager, "")
	return env, image, parts(env.prod, image)
}

// TestRecallVariants: whatever a registry answers about a manifest that may not be read,
// a recall withdraws it at the source too, a rerun finds that done, no push brings it
// back, and a lift undoes it.
func TestRecallVariants(t *testing.T) {
	const unknown, denied = sim.HiddenUnknown, sim.HiddenDenied
	for _, hidden := range []sim.ReadDisabled{
		{},
		{Manifest: unknown, Referrers: unknown, Attributes: unknown, Subject: true},
		{Manifest: denied, Referrers: denied, Attributes: denied, Subject: true},
		{Manifest: unknown, Attributes: unknown},
		{Manifest: unknown, Referrers: denied, Attributes: unknown},
		{Manifest: unknown, Referrers: unknown, Attributes: denied, Subject: true},
		{Manifest: denied, Referrers: unknown, Attributes: unknown, Subject: true},
		{Manifest: denied},
	} {
		t.Run(fmt.Sprintf("%+v", hidden), func(t *testing.T) {
			env, image, all := hiding(t, hidden)
			down := inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": env.flowFile(recallFlow)}
			env.task(down).want("done")
			in := env.byFlow(recallFlow+blockSource, "source", prodHost+"/"+cart+"@"+image.Digest)
			env.task(in.with("source", source)).want("done").wantStates("withdrawn withdrawn absent")
			if got := append(readable(env.prod, all...), readable(env.dev, all...)...); len(got) > 0 {
				t.Fatalf("can be read: %v", got)
			}
			env.task(in).want("done")
			if len(env.records(image)) != 1 {
				t.Errorf("records: %v", env.records(image))
			}
			if o := env.task(down); o.result["outcome"] != "refused" && o.result["outcome"] != "failed" {
				t.Errorf("a push ends as %v", o.result["outcome"])
			}
			env.task(in.with("lift", "true")).want("done")
			if len(readable(env.prod, all...)) != 3 || len(readable(env.dev, all...)) != 3 {
				t.Errorf("lifted: can be read at PROD %v, at DEV %v", readable(env.prod, all...), readable(env.dev, all...))
			}
			env.task(down).want("done").wantStates("present")
		})
	}
}

// TestKilledRecall kills a recall, and a lift, before and after the response to each
// request. Nothing is withdrawn before the record is attached, and a rerun ends it.
//
// The test covers a sample of the requests; ACRPROMOTE_FULL_SWEEP=1 covers all.
func TestKilledRecall(t *testing.T) {
	step := 20
	if os.Getenv("ACRPROMOTE_FULL_SWEEP") == "1" {
		step = 1
	}
	hidden := sim.ReadDisabled{Manifest: sim.HiddenUnknown, Referrers: sim.HiddenUnknown, Attributes: sim.HiddenUnknown}
	copied := func(t *testing.T, hidden sim.ReadDisabled) (*testEnv, descriptor, []string) {
		env, image, all := hiding(t, hidden)
		env.task(inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": env.flowFile(recallFlow)}).want("done")
		return env, image, all
	}
	env, image, all := copied(t, hidden)
	in := func(env *testEnv, lift string) inputs {
		return env.byFlow(recallFlow+blockSource, "source", prodHost+"/"+cart+"@"+image.Digest, "lift", lift)
	}
	total := map[string]int{
		"false": len(env.task(in(env, "false")).want("done").requests),
		"true":  len(env.task(in(env, "true")).want("done").requests),
	}
	var kills, late, wrong atomic.Int64
	t.Run("kill", func(t *testing.T) {
		for lift, requests := range total {
			for at := 1; at <= requests; at++ {
				if at%step != 0 && at != requests {
					continue
				}
				for n, answered := range []bool{false, true} {
					t.Run(fmt.Sprintf("lift %s at %d answered %v", lift, at, answered), func(t *testing.T) {
						shows := hidden
						if (at/step+n)%2 == 0 {
							shows = sim.ReadDisabled{}
						}
						env, image, _ := copied(t, shows)
						want := 0
						if lift == "true" {
							env.task(in(env, "false")).want("done")
							want = 2 * len(all)
						}
						if _, finished := env.kill(in(env, lift), at, answered); finished {
							late.Add(1)
						}
						kills.Add(1)
						count := func() int { return len(readable(env.prod, all...)) + len(readable(env.dev, all...)) }
						if count() < 2*len(all) && len(env.records(image)) == 0 {
							t.Error("something is withdrawn, and there is no record")
						}
						env.task(in(env, lift)).want("done")
						if got := count(); got != want {
							wrong.Add(1)
							t.Errorf("the rerun says done, and %d manifests can be read, want %d", got, want)
						}
						if got := len(env.records(image)); lift == "false" && got != 1 || got > 3 {
							t.Errorf("%d records", got)
						}
					})
				}
			}
		}
	})
	t.Logf("%v requests, %d kills (%d came too late), wrong after a rerun: %d", total, kills.Load(), late.Load(), wrong.Load())
}
