package main_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/recall"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// signedFlow returns recallFlow with a key that signs receipts in its first flow, and
// another in a second flow of the same images.
func signedFlow(key, other string) string {
	flows := strings.Replace(recallFlow, "    require: {approval: {kind: manual, environment: Production}}", "    receipt: {key: "+key+"}\n    require: {approval: {kind: manual, environment: Production}}", 1)
	return strings.Replace(flows, "  teams:\n", "  audited:\n    from: prod\n    to: [dev2]\n    repositories: [\"audited/**\"]\n    receipt: {key: "+other+"}\n    require: {approval: {kind: manual, environment: Production}}\n  teams:\n", 1)
}

// TestRecallOfAPart: an image whose platform was recalled by itself is refused like one
// that was recalled, and lifting the recall of the image does not lift that of the platform.
func TestRecallOfAPart(t *testing.T) {
	env, image := readyIndex(t)
	path, _ := env.keyFile()
	flows := signedFlow(path, path)
	all := parts(env.prod, image)
	down := inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": env.flowFile(flows)}
	env.task(down).want("done")
	part := env.byFlow(flows, "source", prodHost+"/"+cart+"@"+all[1])
	env.task(part).want("done").wantStates("recorded withdrawn absent")
	if o := env.task(part).want("done"); o.result["changed"] != false {
		t.Error("a rerun has attached another record")
	}
	for _, in := range []inputs{down, down.with("action", "plan"), down.with("referrers", "false")} {
		env.task(in).refusedBy("recalled").says("its part "+all[1]+" was recalled at", "CVE-2026-1234")
	}
	whole := env.byFlow(flows)
	env.task(whole).want("done").wantStates("recorded withdrawn absent")
	env.task(whole.with("lift", "true")).want("done").logs(all[1] + " is recalled by itself")
	if got := readable(env.dev, all...); !slices.Equal(got, []string{all[0], all[2]}) {
		t.Errorf("at DEV %v can be read", got)
	}
	env.task(down).refusedBy("recalled")
	env.task(part.with("lift", "true")).want("done").wantStates("restored restored absent")
	env.task(down).want("done").wantStates("present")
}

// TestForgedRecallRecords: records that no key has signed do not keep an image from being
// released, although the step cannot read the key of another flow.
func TestForgedRecallRecords(t *testing.T) {
	env, image := readyIndex(t)
	path, _ := env.keyFile()
	for _, subject := range parts(env.prod, image) {
		d := image
		d.Digest = subject
		testimage.Attach(env.prod, cart, d, recallType, []byte("{}"))
	}
	down := inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": env.flowFile(signedFlow(path, "/keys/of/another/flow.pem"))}
	env.task(down).want("done").wantStates("copied").logs("is listed as a recall record", "The key /keys/of/another/flow.pem of another flow could not be read")
}

// TestRecallWithoutTheImage: where only the platforms of an image are left, they are
// withdrawn, because clients can pull them by their digests.
func TestRecallWithoutTheImage(t *testing.T) {
	env, image := readyIndex(t)
	env.task(push("targets", devHost+"\n"+dev2Host)).want("done")
	all := parts(env.prod, image)
	env.broken = true
	env.dev.RemoveManifest(cart, image.Digest)
	for _, states := range []string{"recorded withdrawn withdrawn", "recorded absent withdrawn"} {
		env.task(recallOf()).want("done").wantStates(states)
		if got := readable(env.dev, all...); len(got) > 0 {
			t.Fatalf("at DEV %v can be read", got)
		}
	}
	env.task(recallOf("lift", "true")).want("done").wantStates("restored absent restored")
	if got := readable(env.dev, all...); len(got) != 2 {
		t.Errorf("at DEV %v can be read", got)
	}
}

// TestRecallOfNestedIndexes: an index in the image that may not be read any more, as after
// a recall that was cut off, does not keep what is in it from being withdrawn.
func TestRecallOfNestedIndexes(t *testing.T) {
	for _, hidden := range []sim.ReadDisabled{{Manifest: sim.HiddenUnknown}, {Manifest: sim.HiddenDenied, Referrers: sim.HiddenDenied, Attributes: sim.HiddenDenied, Subject: true}} {
		t.Run(fmt.Sprintf("%+v", hidden), func(t *testing.T) {
			env, _, _ := hiding(t, hidden)
			image := testimage.Put(env.prod, cart, "nested", testimage.Index(testimage.Index(child(3, 0), child(3, 1)), child(4, 0)))
			inner := parts(env.prod, image)[1]
			all := append(parts(env.prod, image), parts(env.prod, descriptor{Digest: inner})[1:]...)
			if len(all) != 5 {
				t.Fatalf("the image has %v", all)
			}
			from := prodHost + "/" + cart + ":nested"
			env.record(image)
			env.lock("nested")
			env.queue()
			env.approve(manager, "")
			env.task(inputs{"action": "invertedPush", "source": from, "targets": devHost, "flowFile": env.flowFile(recallFlow)}).want("done")
			env.prod.SetReadable(cart, inner, false)
			in := env.byFlow(recallFlow+blockSource, "source", prodHost+"/"+cart+"@"+image.Digest)
			env.task(in).want("done").wantStates("withdrawn withdrawn absent")
			// Where attributes are hidden too, what was in the index is taken from DEV.
			if got := append(readable(env.prod, all...), readable(env.dev, all...)...); len(got) > 0 {
				t.Errorf("%v can be read", got)
			}
			env.task(in.with("lift", "true")).want("done")
			if prod, dev := readable(env.prod, all...), readable(env.dev, all...); len(prod) != 5 || len(dev) != 5 {
				t.Errorf("lifted, at PROD %v can be read, at DEV %v", prod, dev)
			}
		})
	}
}

// TestHostileReason: the text of a reason is no command for the agent, in a record that
// somebody else attached either, and a rerun finds the record that it is in.
func TestHostileReason(t *testing.T) {
	env, image := ready(t)
	const command = "##vso[task.complete result=Succeeded;]forged"
	forged, err := recall.Record{Time: env.clock.now(), Reason: "bad\n" + command + "\r\n\x1b[2J" + command}.Statement(prodHost+"/"+cart, image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	testimage.Attach(env.prod, cart, image, recallType, forged.Content)
	clean := func(o outcome) {
		t.Helper()
		for line := range strings.Lines(o.stdout) {
			if strings.HasPrefix(strings.TrimSpace(line), command) || strings.ContainsAny(line, "\r\x1b") || strings.Contains(line, strings.Repeat("y", 5000)) {
				t.Errorf("the log has the line %.200q", line)
			}
		}
	}
	clean(env.task(push()).want("done").logs("a recall record that is not signed"))
	in := recallOf("targets", devHost, "reason", command+" | x | <script>alert(1)</script>"+strings.Repeat("y", 20_000))
	for range 2 {
		clean(env.task(in).want("done").wantStates("recorded withdrawn"))
	}
	if len(env.records(image)) != 2 {
		t.Errorf("records: %v", env.records(image))
	}
	env.task(in.with("reason", "bad\n"+command)).want("misuse").says("control character")
}
