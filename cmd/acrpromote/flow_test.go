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
func (env *testEnv) flowFile(content string) string {
	env.t.Helper()
	path := filepath.Join(env.folder(), "flows.yml")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		env.t.Fatal(err)
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
func (env *testEnv) seal(references ...string) {
	env.t.Helper()
	stage := env.run.Stage("Seal", env.connection)
	stage.Begin()
	for _, r := range references {
		env.taskOf(stage, inputs{"action": "seal", "source": prodHost + "/" + r}).want("done")
	}
}

func TestFlowOfOneImage(t *testing.T) {
	env := newTestEnv(t)
	image := pushIndex(env.prod, "shop/cart", "1.4.2", 1)
	env.seal("shop/cart:1.4.2")
	env.stage.Begin()
	push := inputs{"action": "invertedPush", "source": prodHost + "/shop/cart:1.4.2", "flowFile": env.flowFile(sandbox)}
	env.task(push).refusedBy("approval-pending")
	if err := env.stage.Approve(manager, ""); err != nil {
		t.Fatal(err)
	}
	o := env.task(push).want("done")
	if got := o.at("direction"); got != "checked" {
		t.Errorf("direction %v", got)
	}
	if got := o.at("rules"); got != "unverified" {
		t.Errorf("rules %v, want unverified: no required template guards the connection", got)
	}
	for _, r := range []*sim.Registry{env.dev, env.dev2} {
		if got := r.TagDigest("shop/cart", "1.4.2"); got != image.Digest {
			t.Errorf("%s has %s", r.Host(), got)
		}
	}
	up := inputs{"action": "promote", "source": devHost + "/shop/cart:1.4.2", "targets": prodHost + "/shop/cart:2", "flowFile": env.flowFile(sandbox)}
	env.task(up).refusedBy("upward")
	other := inputs{"action": "invertedPush", "source": prodHost + "/tools/x:1", "targets": devHost, "flowFile": env.flowFile(sandbox)}
	if o := env.task(other); !strings.Contains(strings.Join(o.rules(), " "), "not-in-flow") {
		t.Errorf("refused by %v", o.rules())
	}
}

func TestFlowOfSet(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, "shop/cart", "1.0", 1, 2, 1000)
	pushImage(env.prod, "shop/cart", "1.1", 2, 2, 1000)
	pushImage(env.prod, "shop/pay", "1.0", 3, 2, 1000)
	pushImage(env.prod, "base/alpine", "3", 4, 2, 1000)
	env.seal("shop/cart:1.0", "shop/cart:1.1", "shop/pay:1.0")
	env.stage.Begin()
	if err := env.stage.Approve(manager, ""); err != nil {
		t.Fatal(err)
	}
	set := inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "released", "images": "shop/*:1.*"}
	if o := env.task(set).want("failed"); !strings.Contains(o.stdout, "Catalog Lister") {
		t.Errorf("a denied catalog does not say what to grant:\n%s", o.stdout)
	}
	env.prod.Grant(clientID, "**", sim.CatalogLister...)
	o := env.task(set).want("done")
	if got := len(o.at("images").([]any)); got != 3 {
		t.Errorf("%d images, want 3", got)
	}
	if env.dev.TagDigest("shop/pay", "1.0") == "" || env.dev2.TagDigest("shop/cart", "1.1") == "" || env.dev.TagDigest("base/alpine", "3") != "" {
		t.Errorf("DEV has %v and %v", env.dev.Tags("shop/pay"), env.dev.Tags("base/alpine"))
	}
	base := env.task(inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "base", "images": "base/*:*"}).want("done")
	if got := base.at("approval", "kind"); got != "none" {
		t.Errorf("approval kind %v", got)
	}
}
