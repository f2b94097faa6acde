package main_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrpromote/internal/receipt"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// TestKeyInsteadOfItsFile: a private key that is pasted where its file is expected
// appears nowhere.
func TestKeyInsteadOfItsFile(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	flat := strings.ReplaceAll(text, "\n", " ")
	env, _ := ready(t)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	hidden := lines[1 : len(lines)-1]
	clean := func(name string, o outcome) {
		t.Helper()
		files, _ := filepath.Glob(filepath.Join(env.temp, "*", "*"))
		said := o.stdout + o.stderr + o.summary
		for _, f := range files {
			if content, err := os.ReadFile(f); err == nil && !strings.Contains(f, "key.pem") && !strings.HasSuffix(f, ".yml") {
				said += string(content)
			}
		}
		for _, line := range hidden {
			if strings.Contains(said, line[:20]) {
				t.Errorf("%s: the key is shown", name)
				break
			}
		}
	}
	for _, key := range []string{text, flat, strings.TrimSpace(text), lines[1], strings.Join(lines[1:len(lines)-1], "")} {
		clean("receiptKey", env.task(push("receiptKey", key)).want("misuse"))
		o := env.task(inputs{"action": "verifyReceipt", "source": devImage, "receiptKeys": key}).want("misuse").says("a key itself is given")
		clean("receiptKeys", o)
	}
	flow := strings.Replace(receiptFlow, "receipt: {required: true}", `receipt: {key: "`+strings.TrimSpace(flat)+`"}`, 1)
	clean("flow", env.task(inputs{"action": "invertedPush", "source": source, "flow": "released", "flowFile": env.flowFile(flow)}).want("misuse").says("the key itself is given"))
	// A path is shown, and so is one that is a key's URL but for its host.
	env.task(inputs{"action": "verifyReceipt", "source": devImage, "receiptKeys": "keys/none.pem\nhttps://example.com/keys/k"}).want("misuse").says("keys/none.pem cannot be read", "not a Key Vault")
}

// TestUnreadableReceipts: one valid receipt is enough, also if others cannot be read;
// and what others say is cut.
func TestUnreadableReceipts(t *testing.T) {
	cloud, _, dev, p := devAlone(t, sim.RegistryOptions{})
	key, other := newReceiptKey(t, p.dir, "receipts.pem"), newReceiptKey(t, p.dir, "other.pem")
	image := pushImage(dev, cart, release, 1, 2, 2048)
	long := strings.Repeat("evil ", 90_000)
	attachReceipts(dev, image,
		receipt.Artifact{Type: receipt.ArtifactType, MediaType: receipt.MediaType, Content: []byte(`{"payload":"e30=","payloadType":"` + long + `","signatures":[{"keyid":"","sig":"AA=="}]}`)},
		receipt.Artifact{Type: receipt.ArtifactType, MediaType: long, Content: []byte("{}")})
	if o := p.run(verifying(key.file)...).wantCode(3); len(o.stdout) > 10_000 {
		t.Errorf("the result has %d bytes", len(o.stdout))
	}
	if o := p.run("trace", devImage, "--receiptKeys", key.file, "--output", "json").wantCode(0); len(o.stdout) > 10_000 {
		t.Errorf("the result of trace has %d bytes", len(o.stdout))
	}
	bad := attachReceipts(dev, image, receiptOf(t, promoted(image), other, receipt.DSSE)...)
	cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/"+bad[0].Digest) {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	p.run(verifying(key.file)...).wantCode(1)
	attachReceipts(dev, image, receiptOf(t, promoted(image), key, receipt.DSSE)...)
	p.run("verifyReceipt", "--source", devImage, "--receiptKeys", key.file).wantCode(0).logs("Not every receipt could be read")
	p.run(verifying(key.file, "--minApprovers", "2")...).wantCode(1)
}

// TestFullReceiptsStayBehind: a receipt that says more than receipts at a target may
// stays behind, whatever lists it.
func TestFullReceiptsStayBehind(t *testing.T) {
	for name, listed := range map[string]func(s *sim.Registry, image descriptor, all []descriptor){
		"by the API": nil,
		"without a type": func(s *sim.Registry, image descriptor, all []descriptor) {
			for i := range all {
				all[i].ArtifactType = ""
			}
			testimage.List(s, cart, image, all...)
		},
		"with another type": func(s *sim.Registry, image descriptor, all []descriptor) {
			for i := range all {
				all[i].ArtifactType = "application/spdx+json"
			}
			testimage.List(s, cart, image, all...)
		},
		"under a digest tag": func(s *sim.Registry, image descriptor, all []descriptor) {
			for i, d := range all {
				_, content, _ := s.Manifest(cart, d.Digest)
				s.Push(cart, fmt.Sprintf("%s.r%d", testimage.FallbackTag(image.Digest), i), d.MediaType, content)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			env.prod = env.cloud.Registry(prodHost, sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, NoReferrers: strings.HasPrefix(name, "with")})
			env.prod.Grant(clientID, "**", sim.RepositoryWriter...)
			key := newReceiptKey(t, env.temp, "receipts.pem")
			image := pushImage(env.prod, cart, release, 1, 2, 2048)
			full := attachReceipts(env.prod, image, receiptOf(t, promoted(image), key, receipt.DSSE)...)
			if listed != nil {
				listed(env.prod, image, full)
			}
			env.approve(manager, "released")
			flow := strings.Replace(receiptFlow, "environment: Production}}\n    receipt: {required: true}", "environment: Production}, sealed: false}", 1)
			o := env.task(inputs{"action": "invertedPush", "source": source, "flow": "released", "flowFile": env.flowFile(flow)}).want("done")
			if left := o.at("images", 0, "attached").([]any); len(left) != len(full) || o.at("images", 0, "attached", 0, "state") != "left" {
				t.Errorf("attached %v", left)
			}
			for _, d := range full {
				if _, content, there := env.dev.Manifest(cart, d.Digest); there {
					t.Errorf("%s is at DEV: %s", d.Digest, content)
				}
			}
		})
	}
}

// TestUnapprovedHasNoReceipt: what nobody has approved is not signed, with a key, either.
func TestUnapprovedHasNoReceipt(t *testing.T) {
	_, _, dev, p := devAlone(t, sim.RegistryOptions{})
	dev.Grant("puller", "**", sim.RepositoryWriter...)
	image := pushImage(dev, cart, release, 1, 2, 2048)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	p.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	o := p.run("promote", "--source", devImage, "--targets", devHost+"/"+cart+":stable", "--approval", "none", "--receiptKey", filepath.Join(p.dir, "key.pem"), "--receiptAtSource").wantCode(0)
	o.logs("receiptKey is not used")
	if dev.TagDigest(cart, "stable") != image.Digest || len(dev.Referrers(cart, image.Digest)) > 0 {
		t.Errorf("attached: %v\n%s", dev.Referrers(cart, image.Digest), o.stdout)
	}
}
