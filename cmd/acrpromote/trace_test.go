package main_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrpromote/internal/receipt"
	"acrpromote/internal/sim"
)

// lines returns the events of the first life as "basis kind".
func (o outcome) lines() (all []string) {
	o.t.Helper()
	for _, e := range o.at("trace", 0, "events").([]any) {
		m := e.(map[string]any)
		all = append(all, m["basis"].(string)+" "+m["kind"].(string))
	}
	return all
}

// TestTrace: an image's life in three registries, with what is signed and what is only
// claimed.
func TestTrace(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	pushImage(env.dev, cart, release, 1, 2, 2048)
	pushImage(env.dev, cart, "latest", 1, 2, 2048)
	key, other := newReceiptKey(t, env.temp, "receipts.pem"), newReceiptKey(t, env.temp, "other.pem")
	attachReceipts(env.dev, image, receiptOf(t, promoted(image), key, receipt.DSSE, receipt.DefaultRedaction()...)...)
	forged := promoted(image)
	forged.Run.ID = 13
	attachReceipts(env.dev, image, receiptOf(t, forged, other, receipt.DSSE)...)
	in := inputs{"action": "trace", "source": source, "targets": devHost + "\n" + dev2Host, "receiptKeys": key.file}
	o := env.task(in).want("done")
	if got := strings.Join(o.lines(), ", "); !strings.Contains(got, "signed approved") || !strings.Contains(got, "signed promoted") || !strings.Contains(got, "claimed promoted") ||
		!strings.Contains(got, "registry pushed") || !strings.Contains(got, "registry sealed") {
		t.Errorf("%s", got)
	}
	for i, want := range []string{prodHost + "/" + cart + " present " + release, devHost + "/" + cart + " present " + release + ",latest", dev2Host + "/" + cart + " missing "} {
		p := o.at("trace", 0, "places", i).(map[string]any)
		var tags []string
		for _, tag := range p["tags"].([]any) {
			tags = append(tags, tag.(string))
		}
		if got := p["name"].(string) + " " + p["state"].(string) + " " + strings.Join(tags, ","); got != want {
			t.Errorf("place %q, want %q", got, want)
		}
	}
	if !strings.Contains(o.summary, "Release Manager") || !strings.Contains(o.summary, "claimed") || o.at("run", "kind") != "none" {
		t.Errorf("%s", o.summary)
	}
	folder := filepath.Dir(o.output["report"])
	svg, err := os.ReadFile(filepath.Join(folder, "trace-1.svg"))
	if err != nil || !strings.HasPrefix(string(svg), "<svg ") || !strings.Contains(string(svg), "Release Manager") {
		t.Errorf("%v %s", err, svg)
	}
	if chart, err := os.ReadFile(filepath.Join(folder, "trace-1.mmd")); err != nil || !strings.HasPrefix(string(chart), "flowchart LR\n") || !strings.Contains(string(chart), "-->") {
		t.Errorf("%v %s", err, chart)
	}
	// A signed receipt names another repository of a registry.
	renamed := promoted(image)
	renamed.To = []receipt.Place{{Registry: devHost, Repository: "released/cart", Tag: release}}
	pushImage(env.dev, "released/cart", release, 1, 2, 2048)
	attachReceipts(env.dev, image, receiptOf(t, renamed, key, receipt.DSSE)...)
	if p := env.task(in).want("done").at("trace", 0, "places", 3).(map[string]any); p["name"] != devHost+"/released/cart" || p["state"] != "present" {
		t.Errorf("%v", p)
	}
	// Without a key nothing is signed.
	delete(in, "receiptKeys")
	if o = env.task(in).want("done"); strings.Contains(strings.Join(o.lines(), ", "), "signed ") {
		t.Errorf("%v", o.lines())
	}
	// By digest, by run, and by a flow file.
	env.task(in.with("source", prodHost+"/"+cart+"@"+image.Digest)).want("done")
	o = env.task(inputs{"action": "trace", "run": "4711", "targets": devHost + "/" + cart, "receiptKeys": key.file}).want("done")
	if o.at("trace", 0, "digest") != image.Digest || len(o.at("trace").([]any)) != 1 {
		t.Errorf("%s", o.stdout)
	}
	if o = env.task(inputs{"action": "trace", "run": "999", "targets": devHost + "/" + cart}).want("done"); !strings.Contains(strings.Join(o.warnings, "\n"), "No image with a receipt of run 999") {
		t.Errorf("%v", o.warnings)
	}
	flow := filepath.Join(env.temp, "flows.yml")
	if err := os.WriteFile(flow, []byte("version: 1\ntrust: [prod, dev]\nregistries:\n  prod: {host: "+prodHost+", trust: prod}\n  dev: {host: "+devHost+", trust: dev}\nflows:\n  down: {from: prod, to: [dev], require: {approval: {environment: Production}}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if o = env.task(inputs{"action": "trace", "source": source, "flowFile": flow}).want("done"); len(o.at("trace", 0, "places").([]any)) != 2 {
		t.Errorf("%s", o.stdout)
	}
	// A registry that cannot be read.
	env.prod.AllowOnly("192.0.2.1")
	o = env.task(in.with("source", devImage, "targets", prodHost)).failsAt("source", prodHost)
	if o.at("trace", 0, "places", 1, "state") != "unread" || o.at("trace", 0, "places", 0, "state") != "present" {
		t.Errorf("%s", o.stdout)
	}
	env.task(in.with("source", devHost+"/"+cart+":none")).failsAt("source", "none")
}

// TestTraceAtPrompt takes the image as an argument, and needs nothing but Docker's
// configuration.
func TestTraceAtPrompt(t *testing.T) {
	_, network, dev, p := devAlone(t, sim.RegistryOptions{})
	dev.Grant("puller", "**", "pull", "metadata_read")
	image := pushImage(dev, cart, release, 1, 1, 100)
	key := newReceiptKey(t, p.dir, "receipts.pem")
	hostile := promoted(image)
	hostile.Approval.Given[0].Approver.Name = "<script>\x1b[2J ##vso[task.complete]"
	hostile.Approval.Given[0].Comment = "\"]; click p0"
	attachReceipts(dev, image, receiptOf(t, hostile, key, receipt.Bundle)...)
	o := p.run("trace", devImage, "--receiptKeys", key.file, "--reportFolder", p.dir).wantCode(0)
	for _, want := range []string{"signed", "approved by <script><U+001B>[2J", "promoted from " + prodHost, "registry", "present", "tagged " + release} {
		if !strings.Contains(strings.Join(strings.Fields(o.stdout), " "), want) {
			t.Errorf("the text lacks %q:\n%s", want, o.stdout)
		}
	}
	if svg, err := os.ReadFile(filepath.Join(p.dir, "trace-1.svg")); err != nil || strings.Contains(string(svg), "<script") {
		t.Errorf("%v %s", err, svg)
	}
	for _, host := range network.Dialled() {
		if host != devHost+":443" && host != dev.StorageHost()+":443" {
			t.Errorf("%s was asked", host)
		}
	}
	for _, c := range []struct {
		flags []string
		says  string
	}{
		{[]string{"trace"}, "trace requires a source"},
		{[]string{"trace", "--run", "4711"}, "run requires the repositories to look in"},
		{[]string{"trace", devImage, "--run", "4711"}, "run and source cannot be combined"},
		{[]string{"trace", "--run", "4711", "--targets", devHost}, "names no repository"},
		{[]string{"trace", devImage, "--source", devHost + "/a:b"}, "the image is given twice"},
		{[]string{"trace", devImage, "--flowFile", filepath.Join(p.dir, "receipts.pem")}, "receipts.pem"},
	} {
		p.run(append(c.flags, "--output", "json")...).wantCode(2).says(c.says)
	}
}

// TestTraceOfAMovingTag checks that receipts show what a tag was before a run, as
// docs/topology-one-registry.md says: each image that was promoted to the tag has one,
// with the tag and the time.
func TestTraceOfAMovingTag(t *testing.T) {
	env, _ := ready(t)
	pushImage(env.prod, cart, "1.4.1", 5, 1, 100)
	env.seal(cart + ":1.4.1")
	private, _ := env.keyFile()
	text, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	public := writePublicKey(t, env.temp, "public.pem", key.(crypto.Signer).Public())
	moved := func(version string) (times []string) {
		t.Helper()
		o := env.task(inputs{"action": "trace", "source": prodHost + "/" + cart + ":" + version, "receiptKeys": public}).want("done")
		for _, e := range o.at("trace", 0, "events").([]any) {
			event := e.(map[string]any)
			if event["kind"] == "promoted" && event["basis"] == "signed" && event["to"].([]any)[0] == prodHost+"/"+cart+":production" && strings.Contains(event["run"].(string), "4711") {
				times = append(times, event["time"].(string))
			}
		}
		return times
	}
	for _, version := range []string{"1.4.1", release} {
		env.task(inputs{"action": "promote", "source": prodHost + "/" + cart + ":" + version, "targets": prodHost + "/" + cart + ":production", "environment": "Production", "moveTag": "true", "sealed": "false", "receiptKey": private}).want("done")
	}
	before, after := moved("1.4.1"), moved(release)
	if len(before) != 1 || len(after) != 1 || before[0] > after[0] {
		t.Errorf("the older version was promoted at %v, and the newer one at %v", before, after)
	}
}
