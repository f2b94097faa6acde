package main_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/receipt"
	"acrpromote/internal/sim"
)

// TestReceiptsOfALargeSet: the vault signs as often as a plan has counted, in one request
// for each signature, and refuses none by its published limit; every image has its
// receipt at every target. With ACRPROMOTE_RECEIPT_IMAGES=500 it has 20 targets, and
// with ACRPROMOTE_RECEIPT_KEY=RSA a key of 3,072 bits.
func TestReceiptsOfALargeSet(t *testing.T) {
	images, targets := 15, 3
	if n, err := strconv.Atoi(os.Getenv("ACRPROMOTE_RECEIPT_IMAGES")); err == nil {
		images, targets = n, 20
	}
	env := newTestEnv(t)
	env.patience = 15 * time.Minute
	env.vault = env.cloud.Vault(vaultHost, sim.VaultOptions{Tokens: env.directory, Tenant: tenant, Latency: 30 * time.Millisecond, Limit: 4000})
	env.vault.CreateKey("release", sim.VaultKey{Type: os.Getenv("ACRPROMOTE_RECEIPT_KEY"), Bits: 3072})
	env.vault.Grant(clientID, "get", "sign")

	text := "version: 1\ntrust: [dev, production]\nregistries:\n  prod: {host: " + prodHost + ", trust: production}\n"
	var to []string
	var registries []*sim.Registry
	for i := range targets {
		host := fmt.Sprintf("contosoteam%02d.azurecr.io", i)
		registries = append(registries, env.registry(host))
		to = append(to, fmt.Sprintf("team%d", i))
		text += fmt.Sprintf("  team%d: {host: %s, trust: dev}\n", i, host)
	}
	text += "flows:\n  all: {from: prod, to: [" + strings.Join(to, ", ") + "], repositories: [\"shop/*\"], receipt: {required: true}, " +
		"require: {approval: {kind: manual, environment: Production}, sealed: false}}\n"
	var lines, digests []string
	for i := range images {
		repository := fmt.Sprintf("shop/app%d", i)
		digests = append(digests, pushImage(env.prod, repository, "1.0", i, 1, 1024).Digest)
		lines = append(lines, repository+":1.0")
	}
	env.approve(manager, "released")
	in := inputs{"action": "invertedPush", "flowFile": env.flowFile(text), "flow": "all", "images": strings.Join(lines, "\n"), "receiptKey": receiptKey}

	planned := env.task(in.with("dryRun", "true")).want("done").at("signing", 0, "signatures").(float64)
	counted := func(name string, in inputs) time.Duration {
		refused, signed, started := env.vault.Throttled(), env.vault.Signatures(), time.Now()
		o := env.task(in).want("done")
		took := time.Since(started)
		vault := 0
		for _, r := range o.requests {
			if r.Host == vaultHost {
				vault++
			}
		}
		signed = env.vault.Signatures() - signed
		t.Logf("%s: %d images, %d targets: %v, %d requests, %d to the vault, %d signatures, %d refused", name, images, targets, took, len(o.requests), vault, signed, env.vault.Throttled()-refused)
		if env.vault.Throttled() > refused {
			t.Errorf("%s: the vault refused %d requests", name, env.vault.Throttled()-refused)
		}
		if name == "first run" && float64(signed) != planned+1 {
			t.Errorf("%d signatures, want the planned %v, and one to see that the key signs", signed, planned)
		}
		return took
	}
	counted("first run", in)
	for _, r := range registries {
		for i, digest := range digests {
			n := 0
			for _, d := range r.Referrers(fmt.Sprintf("shop/app%d", i), digest) {
				if _, content, _ := r.Manifest(fmt.Sprintf("shop/app%d", i), d); strings.Contains(string(content), receipt.ArtifactType) {
					n++
				}
			}
			if n != 2 {
				t.Fatalf("%s has %d statements about app%d", r.Host(), n, i)
			}
		}
	}
	counted("rerun", in)
}
