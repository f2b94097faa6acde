package main_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/receipt"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// keyPair is a key pair that signs receipts. File is the path of the public key.
type keyPair struct {
	signer receipt.Signer
	id     string
	file   string
}

func newReceiptKey(t testing.TB, folder, name string) keyPair {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := receipt.LocalSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := receipt.NewKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{signer, key.ID(), writePublicKey(t, folder, name, signer.Public())}
}

func writePublicKey(t testing.TB, folder, name string, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// promoted is the promotion of an image to DEV that its receipts show.
func promoted(image descriptor) receipt.Promotion {
	resource := receipt.Resource{Type: "environment", ID: "7", Name: "Production"}
	at := time.Now().Add(-time.Hour)
	return receipt.Promotion{
		Time: at, Tool: "1.0.0", Action: "invertedPush", Digest: image.Digest,
		From: receipt.Place{Registry: prodHost, Repository: cart, Tag: release},
		To:   []receipt.Place{{Registry: devHost, Repository: cart, Tag: release}},
		Run: receipt.Run{Kind: "yaml", Organization: "contoso", Project: "shop", Pipeline: receipt.Pipeline{ID: 12, Name: "release"}, ID: 4711,
			URL: "https://dev.azure.com/contoso/shop/_build/results?buildId=4711", Stage: "Production", Attempt: 1, Branch: "refs/heads/main", Commit: strings.Repeat("d", 40)},
		Requesters: []receipt.Person{{ID: "11111111-aaaa-4aaa-8aaa-000000000003", UniqueName: "developer@example.com", Name: "Developer"}},
		Approval: receipt.Approval{Kind: receipt.Manual, Given: []receipt.Given{
			{ID: "a1", Check: 41, Resource: resource, Approver: receipt.Person{ID: "11111111-aaaa-4aaa-8aaa-000000000001", UniqueName: "manager@example.com", Name: "Release Manager"}, Time: at.Add(-time.Minute), Comment: "CHG-1001"},
		}},
		RulesVerified: true,
		Rules:         []receipt.Rule{{Name: "minApprovers", Value: "1", From: "flow"}},
		Outcomes:      []receipt.Outcome{{Rule: "min-approvers", Met: true}},
		Flow:          &receipt.Flow{Name: "released", Repository: "rules", Ref: "refs/heads/main", Commit: strings.Repeat("e", 40), Path: "flows.yml", SHA256: strings.Repeat("f", 64)},
	}
}

// receiptOf returns the signed statements of a promotion for its targets.
func receiptOf(t testing.TB, p receipt.Promotion, key keyPair, format receipt.Format, redact ...receipt.Redaction) []receipt.Artifact {
	t.Helper()
	promotion, summaries, err := p.Statements(redact, p.To...)
	if err != nil {
		t.Fatal(err)
	}
	var signed []receipt.Artifact
	for _, payload := range append(summaries, promotion) {
		a, err := payload.Sign(context.Background(), key.signer, format)
		if err != nil {
			t.Fatal(err)
		}
		signed = append(signed, a)
	}
	return signed
}

// attachReceipts attaches signed statements to an image, and returns the descriptors
// that a fallback list has.
func attachReceipts(s testimage.Store, image descriptor, signed ...receipt.Artifact) []descriptor {
	var all []descriptor
	config := []byte("{}")
	s.PutBlob(cart, config)
	for _, a := range signed {
		s.PutBlob(cart, a.Content)
		content, _ := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": a.Type,
			"config":  map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": testimage.Digest(config), "size": len(config)},
			"layers":  []any{map[string]any{"mediaType": a.MediaType, "digest": testimage.Digest(a.Content), "size": len(a.Content)}},
			"subject": map[string]any{"mediaType": image.MediaType, "digest": image.Digest, "size": image.Size}, "annotations": a.Annotations,
		})
		s.Push(cart, "", "application/vnd.oci.image.manifest.v1+json", content)
		d := testimage.Describe("application/vnd.oci.image.manifest.v1+json", content)
		d.ArtifactType = a.Type
		all = append(all, d)
	}
	return all
}

const devImage = devHost + "/" + cart + ":" + release

// verifying is the command line of a verifyReceipt.
func verifying(keys string, more ...string) []string {
	return append([]string{"verifyReceipt", "--source", devImage, "--receiptKeys", keys, "--output", "json"}, more...)
}

// devAlone is a DEV registry in a cloud that has nothing else: the names of PROD and of
// Azure DevOps do not resolve.
func devAlone(t *testing.T, o sim.RegistryOptions) (*sim.Cloud, *sim.Network, *sim.Registry, *person) {
	t.Helper()
	t.Parallel()
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	network := cloud.Network("dev", devAddress)
	dev := cloud.Registry(devHost, o)
	dev.AddUser("puller", "the-password-of-puller~1")
	dev.Grant("puller", "**", "pull")
	p := newPerson(t, map[string]string{devHost: "puller:the-password-of-puller~1"})
	p.environ = append(p.environ, "HTTPS_PROXY="+network.ProxyURL(), "SSL_CERT_FILE="+cloud.CAFile())
	return cloud, network, dev, p
}

// TestVerifyReceiptAlone: the DEV registry and its storage are all that is asked.
func TestVerifyReceiptAlone(t *testing.T) {
	for _, format := range []receipt.Format{receipt.DSSE, receipt.Bundle} {
		for _, fallback := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, fallback %v", format, fallback), func(t *testing.T) {
				_, network, dev, p := devAlone(t, sim.RegistryOptions{NoReferrers: fallback})
				image := pushImage(dev, cart, release, 1, 2, 2048)
				key := newReceiptKey(t, p.dir, "receipts.pem")
				listed := attachReceipts(dev, image, receiptOf(t, promoted(image), key, format, receipt.DefaultRedaction()...)...)
				if fallback {
					testimage.List(dev, cart, image, listed...)
				}
				expect := []string{"--project", "shop", "--rules", "verified", "--environment", "Production", "--minApprovers", "1", "--receiptMaxAge", "2h",
					"--from", prodHost + "/" + cart, "--flowHashes", strings.Repeat("F", 64), "--branches", "refs/heads/*"}
				o := p.run(verifying(key.file, expect...)...).wantCode(0)
				if o.at("outcome") != "done" || o.at("changed") != false || o.at("run", "kind") != "none" || o.at("images", 0, "digest") != image.Digest {
					t.Errorf("%s", o.stdout)
				}
				if o.at("receiptVerdict", "met") != true || o.at("receiptVerdict", "receipt", "keyId") != key.id || o.at("receiptVerdict", "receipt", "run", "id") != 4711.0 ||
					o.at("receiptVerdict", "receipt", "given", 0, "name") != "Release Manager" || o.at("receiptVerdict", "receipt", "given", 0, "comment") != "" {
					t.Errorf("%s", o.stdout)
				}
				o.wantReceipts(receiptAt(devHost, "present")...)
				if o.at("receipts", 0, "keyId") != key.id || o.at("receipts", 0, "subject") != image.Digest || o.at("receipts", 1, "digest") != o.at("receiptVerdict", "receipt", "manifests", 1) {
					t.Errorf("receipts %v", o.at("receipts"))
				}
				for _, host := range network.Dialled() {
					if host != devHost+":443" && host != dev.StorageHost()+":443" {
						t.Errorf("%s was asked", host)
					}
				}
				words := p.run("verifyReceipt", "--source", devImage, "--receiptKeys", key.file).wantCode(0)
				for _, want := range []string{"Approved by: Release Manager", "environment Production", prodHost + "/" + cart + ":" + release, "run 4711", "what it says is signed", "Left out: comments, uniqueNames", key.id} {
					if !strings.Contains(strings.Join(strings.Fields(words.stdout), " "), want) {
						t.Errorf("the text lacks %q:\n%s", want, words.stdout)
					}
				}
			})
		}
	}
}

// TestVerifyReceiptInPipeline: in a task, the hosts that signing in takes are asked too,
// and nothing of the run is read or reported.
func TestVerifyReceiptInPipeline(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.dev, cart, release, 1, 2, 2048)
	vaultHost := "receipts.vault.azure.net"
	vault := env.cloud.Vault(vaultHost, sim.VaultOptions{Tokens: env.directory, Tenant: tenant})
	vault.Grant(clientID, "get")
	vault.CreateKey("receipts", sim.VaultKey{})
	key := newReceiptKey(t, env.temp, "receipts.pem")
	attachReceipts(env.dev, image, receiptOf(t, promoted(image), key, receipt.DSSE)...)
	secret := env.project.SecretConnection("dev-reader", tenant, clientID, clientKey)
	in := inputs{"action": "verifyReceipt", "source": devImage, "receiptKeys": key.file, "environment": "Production"}
	hosts := func(o outcome) (all []string) {
		for _, r := range o.requests {
			if !slices.Contains(all, r.Host) {
				all = append(all, r.Host)
			}
		}
		slices.Sort(all)
		return all
	}
	want := func(o outcome, more ...string) {
		t.Helper()
		expected := slices.Sorted(slices.Values(append(more, devHost, env.dev.StorageHost(), entraHost)))
		if got := hosts(o); !slices.Equal(got, expected) {
			t.Errorf("asked %v, want %v", got, expected)
		}
		if o.at("run", "kind") != "none" || o.at("run", "id") != 0.0 {
			t.Errorf("the run is reported: %v", o.at("run"))
		}
	}
	dev := from(env.devNetwork)
	o := env.task(in, dev, connected("azureSubscription", secret)).want("done")
	want(o)
	if o.output["digest"] != image.Digest || !strings.Contains(o.summary, "Release Manager") || !strings.Contains(o.summary, "CHG-1001") {
		t.Errorf("%v\n%s", o.output, o.summary)
	}
	o = env.task(in, dev).want("done")
	want(o, devOpsHost)
	for _, asked := range o.asked(devOpsHost) {
		if !strings.Contains(asked, "/oidctoken") {
			t.Errorf("Azure DevOps was asked for %s", asked)
		}
	}
	// A key in a vault: one that has not signed it, and both.
	url := "https://" + vaultHost + "/keys/receipts"
	o = env.task(in.with("receiptKeys", url), dev, connected("azureSubscription", secret)).refusedBy("receipt-invalid")
	want(o, vaultHost)
	env.task(in.with("receiptKeys", url+"\n"+key.file), dev, connected("azureSubscription", secret)).want("done")
	// A connection for the vault alone.
	other := env.project.SecretConnection("vault-reader", tenant, clientID, clientKey)
	o = env.task(in.with("receiptKeys", url+"\n"+url+"\n"+key.file), dev, connected("azureSubscription", secret), connected("receiptConnection", other)).want("done")
	if all := o.at("identities").([]any); len(all) != 2 || o.at("identities", 1, "host") != vaultHost || o.at("identities", 1, "side") != "service" || o.at("identities", 1, "id") != other.ID() || o.at("identities", 1, "clientId") != clientID {
		t.Errorf("identities %v", all)
	}

	vault.Grant(clientID)
	env.task(in.with("receiptKeys", url), dev, connected("azureSubscription", secret)).failsAt("service", vaultHost)
	vault.Grant(clientID, "get")
	vault.CreateKey("strange", sim.VaultKey{Curve: "P-521"})
	env.task(in.with("receiptKeys", "https://"+vaultHost+"/keys/strange"), dev, connected("azureSubscription", secret)).want("misuse").says("P-521")
	env.task(in.with("receiptKeys", "https://"+vaultHost+"/keys/none"), dev, connected("azureSubscription", secret)).failsAt("service", "none")
	down := env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != vaultHost {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	env.task(in.with("receiptKeys", url+"\n"+key.file), dev, connected("azureSubscription", secret)).failsAt("service", vaultHost)
	down()
	env.task(in.with("source", devHost+"/"+cart+":none"), dev, connected("azureSubscription", secret)).failsAt("source", cart)
}

// TestVerifyReceiptRefuses: what is not a receipt for this image, or not as expected.
func TestVerifyReceiptRefuses(t *testing.T) {
	_, _, dev, p := devAlone(t, sim.RegistryOptions{})
	key, other := newReceiptKey(t, p.dir, "receipts.pem"), newReceiptKey(t, p.dir, "other.pem")
	seed := 0
	changed := func(index int, change func(*receipt.Artifact)) func(descriptor) []receipt.Artifact {
		return func(image descriptor) []receipt.Artifact {
			signed := receiptOf(t, promoted(image), key, receipt.DSSE)
			change(&signed[index])
			return signed
		}
	}
	shows := func(change func(*receipt.Promotion)) func(descriptor) []receipt.Artifact {
		return func(image descriptor) []receipt.Artifact {
			p := promoted(image)
			change(&p)
			return receiptOf(t, p, key, receipt.DSSE)
		}
	}
	plain := shows(func(*receipt.Promotion) {})
	for _, c := range []struct {
		name   string
		attach func(image descriptor) []receipt.Artifact
		flags  []string
		rule   string
		says   string
	}{
		{"nothing attached", func(descriptor) []receipt.Artifact { return nil }, nil, "receipt-missing", "the image has no receipt"},
		{"another tool's bundle", func(image descriptor) []receipt.Artifact {
			a := receiptOf(t, promoted(image), other, receipt.Bundle)[:1]
			a[0].Annotations = map[string]string{"dev.sigstore.bundle.predicateType": "https://spdx.dev/Document"}
			return a
		}, nil, "receipt-missing", "the image has no receipt"},
		{"another key", func(image descriptor) []receipt.Artifact { return receiptOf(t, promoted(image), other, receipt.DSSE) }, nil, "receipt-invalid", "not signed by one of the keys"},
		{"half of it", func(image descriptor) []receipt.Artifact { return receiptOf(t, promoted(image), key, receipt.DSSE)[:1] }, nil, "receipt-invalid", "the promotion that it names is not attached"},
		{"a changed byte", changed(0, func(a *receipt.Artifact) { a.Content[len(a.Content)/2] ^= 1 }), nil, "receipt-invalid", ""},
		{"4 MiB", changed(0, func(a *receipt.Artifact) { a.Content = append(a.Content, make([]byte, 4<<20)...) }), nil, "receipt-invalid", "bytes"},
		{"a duplicate key", changed(0, func(a *receipt.Artifact) {
			a.Content = []byte(strings.Replace(string(a.Content), "{", `{"payloadType":"application/vnd.in-toto+json",`, 1))
		}), nil, "receipt-invalid", "not a valid envelope"},
		{"another image's", func(image descriptor) []receipt.Artifact {
			image.Digest = "sha256:" + strings.Repeat("a", 64)
			return receiptOf(t, promoted(image), key, receipt.DSSE)
		}, nil, "receipt-invalid", "another image"},
		{"another layer type", changed(0, func(a *receipt.Artifact) { a.MediaType = "text/plain" }), nil, "receipt-invalid", "text/plain"},
		{"the future", shows(func(p *receipt.Promotion) { p.Time = time.Now().Add(time.Hour) }), nil, "receipt-policy", "in the future"},
		{"another registry", shows(func(p *receipt.Promotion) { p.To[0].Registry = dev2Host }), nil, "receipt-policy", dev2Host},
		{"another repository", shows(func(p *receipt.Promotion) { p.To[0].Repository = "shop/other" }), nil, "receipt-policy", "shop/other"},
		{"project", plain, []string{"--project", "bank"}, "receipt-policy", "project"},
		{"environment", plain, []string{"--environment", "Test"}, "receipt-policy", "environment"},
		{"minApprovers", plain, []string{"--minApprovers", "2"}, "receipt-policy", "minApprovers: 1 approved"},
		{"receiptMaxAge", plain, []string{"--receiptMaxAge", "30m"}, "receipt-policy", "receiptMaxAge"},
		{"from", plain, []string{"--from", dev2Host}, "receipt-policy", "from: the source was " + prodHost},
		{"flowHashes", plain, []string{"--flowHashes", strings.Repeat("0", 64)}, "receipt-policy", "flowHashes"},
		{"branches", plain, []string{"--branches", "refs/heads/release/*"}, "receipt-policy", "branches"},
		{"rules", shows(func(p *receipt.Promotion) { p.RulesVerified = false }), []string{"--rules", "verified"}, "receipt-policy", "rules"},
	} {
		seed++
		tag := fmt.Sprint("t", seed)
		image := pushImage(dev, cart, tag, seed, 1, 100)
		attachReceipts(dev, image, c.attach(image)...)
		o := p.run(append([]string{"verifyReceipt", "--source", devHost + "/" + cart + ":" + tag, "--receiptKeys", key.file, "--output", "json"}, c.flags...)...).wantCode(3)
		if got := o.rules(); len(got) != 1 || got[0] != c.rule || !strings.Contains(o.against(), c.says) {
			t.Errorf("%s: %v, want %s and %q:\n%s", c.name, got, c.rule, c.says, o.against())
		}
		if met := o.at("receiptVerdict", "met"); met != false {
			t.Errorf("%s: met %v", c.name, met)
		}
	}
}

// TestVerifyReceiptAmongMany finds one valid receipt among a hundred others, and among
// artifacts that are listed without a type; a list that omits it hides it.
func TestVerifyReceiptAmongMany(t *testing.T) {
	_, _, dev, p := devAlone(t, sim.RegistryOptions{NoReferrers: true})
	key, other := newReceiptKey(t, p.dir, "receipts.pem"), newReceiptKey(t, p.dir, "other.pem")
	image := pushImage(dev, cart, release, 1, 1, 100)
	var listed []descriptor
	for i := range 100 {
		forged := promoted(image)
		forged.Run.ID = i + 1
		listed = append(listed, attachReceipts(dev, image, receiptOf(t, forged, other, receipt.DSSE)...)...)
	}
	testimage.List(dev, cart, image, listed...)
	if o := p.run(verifying(key.file)...).wantCode(3); !slices.Equal(o.rules(), []string{"receipt-invalid"}) || !strings.Contains(o.against(), "and 190 more") {
		t.Errorf("%s", o.against())
	}
	ours := attachReceipts(dev, image, receiptOf(t, promoted(image), key, receipt.DSSE)...)
	p.run(verifying(key.file)...).wantCode(3) // it is not in the list
	for i := range ours {
		ours[i].ArtifactType = ""
	}
	listed = append(listed, ours...)
	testimage.List(dev, cart, image, listed...)
	if o := p.run(verifying(key.file)...).wantCode(0); o.at("receiptVerdict", "receipt", "run", "id") != 4711.0 {
		t.Errorf("%s", o.stdout)
	}
	// More than are read.
	for len(listed) < 702 {
		listed = append(listed, attachReceipts(dev, image, receipt.Artifact{Type: receipt.ArtifactType, MediaType: receipt.MediaType, Content: fmt.Append(nil, len(listed))})...)
	}
	testimage.List(dev, cart, image, listed...)
	o := p.run("verifyReceipt", "--source", devImage, "--receiptKeys", key.file).wantCode(3)
	if words := strings.Join(strings.Fields(o.stdout), " "); !strings.Contains(words, "702 artifacts that may be receipts") || !strings.Contains(words, "only 512 of them were read") {
		t.Errorf("%s", o.stdout)
	}
}

// TestVerifyReceiptOldest: of several valid receipts the oldest one that meets the
// expectations is reported, with the signed seal.
func TestVerifyReceiptOldest(t *testing.T) {
	_, _, dev, p := devAlone(t, sim.RegistryOptions{})
	key := newReceiptKey(t, p.dir, "receipts.pem")
	image := pushImage(dev, cart, release, 1, 1, 100)
	for i, age := range []time.Duration{time.Hour, 3 * time.Hour, 2 * time.Hour} {
		of := promoted(image)
		of.Time, of.Run.ID = time.Now().Add(-age), i+1
		if i == 1 {
			of.Run.Project = "bank"
		}
		attachReceipts(dev, image, receiptOf(t, of, key, receipt.DSSE)...)
	}
	seal := receipt.Sealing{Time: time.Now().Add(-5 * time.Hour), Tool: "1.0.0", Digest: image.Digest, Image: receipt.Place{Registry: prodHost, Repository: cart, Tag: release},
		Record: "sha256:" + strings.Repeat("c", 64), Run: receipt.Run{Kind: "yaml", Project: "shop", ID: 4700}}
	payload, err := seal.Statement()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := payload.Sign(context.Background(), key.signer, receipt.DSSE)
	if err != nil {
		t.Fatal(err)
	}
	attachReceipts(dev, image, signed)
	o := p.run(verifying(key.file)...).wantCode(0)
	if o.at("receiptVerdict", "receipt", "run", "id") != 2.0 || o.at("receiptVerdict", "valid") != 3.0 || o.at("receiptVerdict", "seals", 0, "run", "id") != 4700.0 {
		t.Errorf("%s", o.stdout)
	}
	if o = p.run(verifying(key.file, "--project", "shop")...).wantCode(0); o.at("receiptVerdict", "receipt", "run", "id") != 3.0 {
		t.Errorf("%s", o.stdout)
	}
}

// TestVerifyReceiptMisuse reports every mistake in the inputs, and sends nothing.
func TestVerifyReceiptMisuse(t *testing.T) {
	_, network, _, p := devAlone(t, sim.RegistryOptions{})
	key := newReceiptKey(t, p.dir, "receipts.pem")
	write := func(name, content string) string {
		file := filepath.Join(p.dir, name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good, err := os.ReadFile(key.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags []string
		says  []string
	}{
		{[]string{"verifyReceipt", "--source", devImage}, []string{"receiptKeys", "requires at least one key"}},
		{[]string{"verifyReceipt", "--receiptKeys", key.file}, []string{"requires a source"}},
		{verifying(filepath.Join(p.dir, "none.pem")), []string{"none.pem cannot be read"}},
		{verifying(write("text.pem", "hello")), []string{"not a PEM file with a public key"}},
		{verifying(write("private.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")), []string{`PEM type "PRIVATE KEY" instead of PUBLIC KEY`}},
		{verifying(write("two.pem", string(good)+string(good))), []string{"more than one key"}},
		{verifying("https://receipts.vault.azure.net.evil.example/keys/k"), []string{"its host is not a Key Vault"}},
		{verifying(key.file, "--from", "https://x", "--branches", "main", "--flowHashes", "abc"), []string{"not a valid registry host", "not a full ref", "not a SHA-256 hash"}},
		{verifying(key.file, "--environment", "endpoint:"), []string{"endpoint: does not name a service connection"}},
		{verifying(key.file, "--from", prodHost+"/Shop"), []string{`"Shop" is not a valid repository`}},
		{verifying(key.file, "--rules", "strict"), []string{`"strict" is not one of verified`}},
		{verifying(key.file, "--receiptMaxAge", "soon"), []string{"not a positive duration"}},
		{verifying(key.file, "--project", "", "--branches= ", "--minApprovers", "", "--rules="), []string{"flag --project is empty", "flag --branches is empty", "flag --minApprovers is empty", "flag --rules is empty"}},
	} {
		flags := c.flags
		if !slices.Contains(flags, "--output") {
			flags = append(flags, "--output", "json")
		}
		p.run(flags...).wantCode(2).says(c.says...)
	}
	if asked := network.Dialled(); len(asked) > 0 {
		t.Errorf("%v were asked", asked)
	}
}
