package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

// flowFile writes a flow file and returns its name with its hash pinned.
func (w *world) flowFile(content string) string {
	w.t.Helper()
	path := filepath.Join(w.folder(), "flows.yml")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	return path + "#sha256:" + hex.EncodeToString(sum[:])
}

const sandbox = `version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production, immutable: true}
  dev: {host: ` + devHost + `, trust: sandbox}
  web: {host: ` + dev2Host + `, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev, web]
    repositories: ["shop/**"]
    require:
      approval: {kind: manual, environment: Production}
      branches: [refs/heads/main]
    onPartial: warn
  base:
    from: prod
    to: [dev, web]
    repositories: ["base/*"]
    require: {approval: {kind: none}, sealed: false}
`

// sealed seals images in a stage before Production.
func (w *world) seal(references ...string) {
	w.t.Helper()
	stage := w.run.Stage("Seal", w.connection)
	stage.Begin()
	for _, r := range references {
		w.taskOf(stage, inputs{"action": "seal", "source": prodHost + "/" + r}).want("done")
	}
}

func TestFlowOfOneImage(t *testing.T) {
	w := newWorld(t)
	image := pushIndex(w.prod, "shop/cart", "1.4.2", 1)
	w.seal("shop/cart:1.4.2")
	w.stage.Begin()
	push := inputs{"action": "invertedPush", "source": prodHost + "/shop/cart:1.4.2", "flowFile": w.flowFile(sandbox)}
	w.task(push).refusedBy("approval-pending")
	if err := w.stage.Approve(manager, ""); err != nil {
		t.Fatal(err)
	}
	o := w.task(push).want("done")
	if got := o.at("direction"); got != "checked" {
		t.Errorf("direction %v", got)
	}
	if got := o.at("rules"); got != "unverified" {
		t.Errorf("rules %v, want unverified: no required template guards the connection", got)
	}
	for _, r := range []*sim.Registry{w.dev, w.dev2} {
		if got := r.TagDigest("shop/cart", "1.4.2"); got != image.Digest {
			t.Errorf("%s has %s", r.Host(), got)
		}
	}
	up := inputs{"action": "promote", "source": devHost + "/shop/cart:1.4.2", "targets": prodHost + "/shop/cart:2", "flowFile": w.flowFile(sandbox)}
	w.task(up).refusedBy("upward")
	other := inputs{"action": "invertedPush", "source": prodHost + "/tools/x:1", "targets": devHost, "flowFile": w.flowFile(sandbox)}
	if o := w.task(other); !strings.Contains(strings.Join(o.rules(), " "), "not-in-flow") {
		t.Errorf("refused by %v", o.rules())
	}
}

func TestFlowOfASet(t *testing.T) {
	w := newWorld(t)
	pushImage(w.prod, "shop/cart", "1.0", 1, 2, 1000)
	pushImage(w.prod, "shop/cart", "1.1", 2, 2, 1000)
	pushImage(w.prod, "shop/pay", "1.0", 3, 2, 1000)
	pushImage(w.prod, "base/alpine", "3", 4, 2, 1000)
	w.seal("shop/cart:1.0", "shop/cart:1.1", "shop/pay:1.0")
	w.stage.Begin()
	if err := w.stage.Approve(manager, ""); err != nil {
		t.Fatal(err)
	}
	set := inputs{"action": "invertedPush", "flowFile": w.flowFile(sandbox), "flow": "released", "images": "shop/*:1.*"}
	if o := w.task(set).want("failed"); !strings.Contains(o.stdout, "Catalog Lister") {
		t.Errorf("a denied catalog does not say what to grant:\n%s", o.stdout)
	}
	w.prod.Grant(clientID, "**", sim.CatalogLister...)
	o := w.task(set).want("done")
	if got := len(o.at("images").([]any)); got != 3 {
		t.Errorf("%d images, want 3", got)
	}
	if w.dev.TagDigest("shop/pay", "1.0") == "" || w.dev2.TagDigest("shop/cart", "1.1") == "" || w.dev.TagDigest("base/alpine", "3") != "" {
		t.Errorf("DEV has %v and %v", w.dev.Tags("shop/pay"), w.dev.Tags("base/alpine"))
	}
	base := w.task(inputs{"action": "invertedPush", "flowFile": w.flowFile(sandbox), "flow": "base", "images": "base/*:*"}).want("done")
	if got := base.at("approval", "kind"); got != "none" {
		t.Errorf("approval kind %v", got)
	}
}
