package main_test

import (
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
	"sync/atomic"
	"testing"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/receipt"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

const (
	vaultHost  = "contosoreceipts.vault.azure.net"
	receiptKey = "https://" + vaultHost + "/keys/release"
)

// vaultKey returns the public key in the vault.
func (env *testEnv) vaultKey() any { return env.vault.Public("release", "") }

// openVault opens a vault with a key that the release identity may sign with.
func (env *testEnv) openVault(o sim.VaultKey) *sim.Vault {
	v := env.cloud.Vault(vaultHost, sim.VaultOptions{Tokens: env.directory, Tenant: tenant})
	v.CreateKey("release", o)
	v.Grant(clientID, "get", "sign")
	env.vault = v
	return v
}

// keyFile writes a private key in PEM, and returns its path and the public key.
func (env *testEnv) keyFile() (path string, public receipt.Key) {
	env.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		env.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		env.t.Fatal(err)
	}
	path = filepath.Join(env.folder(), "receipt.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		env.t.Fatal(err)
	}
	return path, env.publicKey(private.Public())
}

func (env *testEnv) publicKey(public any) receipt.Key {
	env.t.Helper()
	key, err := receipt.NewKey(public)
	if err != nil {
		env.t.Fatal(err)
	}
	return key
}

// receiptsOf returns what is attached to an image as a receipt, and its verdict by a
// key.
func (env *testEnv) receiptsOf(r *sim.Registry, digest string, key receipt.Key) (manifests []string, verdict receipt.Verdict) {
	env.t.Helper()
	var found []receipt.Found
	for _, d := range r.Referrers(cart, digest) {
		_, content, _ := r.Manifest(cart, d)
		var m struct {
			ArtifactType string
			Subject      struct{ Digest string }
			Layers       []struct{ MediaType, Digest string }
		}
		if err := json.Unmarshal(content, &m); err != nil {
			env.t.Fatal(err)
		}
		if m.ArtifactType != receipt.ArtifactType && m.ArtifactType != receipt.BundleType {
			continue
		}
		blob, there := r.Blob(cart, m.Layers[0].Digest)
		if !there || m.Subject.Digest != digest {
			env.t.Errorf("%s is not complete", d)
		}
		manifests = append(manifests, d)
		found = append(found, receipt.Found{Manifest: d, MediaType: m.Layers[0].MediaType, Content: blob})
	}
	image := receipt.Image{Digest: digest, Resources: []string{r.Host() + "/" + cart + "@" + digest}}
	return manifests, receipt.Judge(image, found, []receipt.Key{key}, receipt.Expectations{}, env.clock.now())
}

// hasReceipts checks that an image has so many receipts, and returns the first.
func (env *testEnv) hasReceipts(r *sim.Registry, digest string, key receipt.Key, want int) receipt.Receipt {
	env.t.Helper()
	manifests, verdict := env.receiptsOf(r, digest, key)
	if len(manifests) != 2*want || len(verdict.Valid) != want {
		env.t.Fatalf("%s has %d statements and %d valid receipts, want %d: %v %v", r.Host(), len(manifests), len(verdict.Valid), want, verdict.Refusals, verdict.Notes)
	}
	if want == 0 {
		return receipt.Receipt{}
	}
	if !verdict.Met {
		env.t.Fatalf("no receipt is met: %v", verdict.Refusals)
	}
	return *verdict.Receipt
}

// receiptStates returns the receipts of the result: registry, type and state of each.
func (o outcome) receiptStates() []string {
	o.t.Helper()
	var list []string
	for _, entry := range o.at("receipts").([]any) {
		r := entry.(map[string]any)
		kind := "promotion"
		switch r["predicateType"] {
		case receipt.SummaryType:
			kind = "summary"
		case receipt.SealType:
			kind = "seal"
		}
		if digest := r["digest"].(string); (digest == "") != (r["state"] == "planned" || r["state"] == "failed") {
			o.t.Errorf("a receipt that is %v has the digest %q", r["state"], digest)
		}
		if !strings.HasPrefix(r["keyId"].(string), "sha256:") || !strings.HasPrefix(r["subject"].(string), "sha256:") {
			o.t.Errorf("receipt %v", r)
		}
		list = append(list, fmt.Sprintf("%v %s %v", r["registry"], kind, r["state"]))
	}
	slices.Sort(list)
	return list
}

func (o outcome) wantReceipts(want ...string) outcome {
	o.t.Helper()
	slices.Sort(want)
	if got := o.receiptStates(); !slices.Equal(got, want) {
		o.t.Errorf("receipts %v, want %v", got, want)
	}
	return o
}

// logs checks that the log has texts, however its lines are broken.
func (o outcome) logs(words ...string) outcome {
	o.t.Helper()
	text := strings.Join(strings.Fields(o.stdout), " ")
	for _, w := range words {
		if !strings.Contains(text, w) {
			o.t.Errorf("the log does not have %q:\n%s", w, o.stdout)
		}
	}
	return o
}

func receiptAt(host, state string) []string {
	return []string{host + " promotion " + state, host + " summary " + state}
}

// TestReceipts: an inverted push attaches a signed receipt before the tag appears; a
// rerun, and another run that changes nothing, write nothing.
func TestReceipts(t *testing.T) {
	env, image := ready(t)
	v := env.openVault(sim.VaultKey{})
	signed := push("receiptKey", receiptKey)
	dry := env.task(signed.with("dryRun", "true")).want("done").wantReceipts(receiptAt(devHost, "planned")...).logs("2 signatures by " + receiptKey)
	if got := dry.at("signing", 0, "signatures"); got != 2.0 {
		t.Errorf("signatures %v", got)
	}
	before := v.Signatures()
	o := env.task(signed).want("done").wantStates("copied").wantReceipts(receiptAt(devHost, "attached")...).logs("Receipts", "signed by sha256:")
	if got := v.Signatures() - before; got != 3 {
		t.Errorf("%d signatures, want one to see that the key signs and one for each statement", got)
	}
	var puts []string
	for _, r := range o.requests {
		if r.Method == http.MethodPut && r.Host == devHost && strings.Contains(r.Path, "/manifests/") {
			puts = append(puts, r.Path)
		}
	}
	if len(puts) != 4 || !strings.HasSuffix(puts[3], "/manifests/"+release) {
		t.Errorf("manifests were put in the order %v; the tag comes last", puts)
	}
	key := env.publicKey(v.Public("release", ""))
	r := env.hasReceipts(env.dev, image.Digest, key, 1)
	if o.at("receipts", 0, "keyId") != key.ID() || !slices.Contains([]any{o.at("receipts", 0, "digest"), o.at("receipts", 1, "digest")}, any(r.Manifests[0])) {
		t.Errorf("receipts %v", o.at("receipts"))
	}
	p := r.Promotion
	if p.From != (receipt.Place{Registry: prodHost, Repository: cart, Tag: release}) || len(p.To) != 1 || p.To[0] != (receipt.Place{Registry: devHost, Repository: cart, Tag: release}) {
		t.Errorf("from %v to %v", p.From, p.To)
	}
	if p.Run.ID != env.run.ID() || p.Run.Project != "shop" || p.Run.Stage != "Production" || p.Run.Kind != "yaml" || p.Run.Branch == "" || p.Run.URL == "" || p.Action != "invertedPush" {
		t.Errorf("run %+v", p.Run)
	}
	if len(p.Approval.Given) != 1 || p.Approval.Given[0].Approver != (receipt.Person{Name: manager.DisplayName}) || p.Approval.Given[0].Comment != "" || p.Approval.Given[0].Resource.Name != "Production" || p.Approval.Given[0].ID == "" {
		t.Errorf("approval %+v; by default comments and unique names are left out", p.Approval)
	}
	if p.Seal == nil || p.Seal.Run.ID != env.run.ID() || p.Seal.Time.IsZero() || p.Flow != nil || p.RulesVerified || len(p.Attached) != 1 {
		t.Errorf("seal %+v, flow %v, verified %v, attached %v", p.Seal, p.Flow, p.RulesVerified, p.Attached)
	}
	if !slices.Contains(p.Egress, prodHost+":443") || !slices.Contains(p.Egress, vaultHost+":443") || len(p.Rules) == 0 || len(p.Outcomes) == 0 {
		t.Errorf("egress %v, rules %v, outcomes %v", p.Egress, p.Rules, p.Outcomes)
	}

	if again := env.task(signed).want("done").wantStates("present").wantReceipts(receiptAt(devHost, "present")...); len(writes(again.requests)) > 0 || again.at("changed") != false {
		t.Errorf("the rerun has written %v", writes(again.requests))
	}
	env.queue()
	env.approve(manager, "again")
	if other := env.task(signed).want("done").wantStates("present").wantReceipts(receiptAt(devHost, "present")...); len(writes(other.requests)) > 0 {
		t.Errorf("another run has written %v", writes(other.requests))
	}
	env.hasReceipts(env.dev, image.Digest, key, 1)
	if unsigned := env.task(push()).want("done"); len(unsigned.at("receipts").([]any)) > 0 {
		t.Error("there are receipts without a key")
	} else {
		unsigned.logs("none: the approval is not signed")
	}
}

// TestReceiptOfWhatIsThere: an image that has arrived without a receipt gets one, and
// that is a change.
func TestReceiptOfWhatIsThere(t *testing.T) {
	env, image := ready(t)
	path, key := env.keyFile()
	env.task(push()).want("done").wantStates("copied")
	env.hasReceipts(env.dev, image.Digest, key, 0)
	if o := env.task(push("receiptKey", path)).want("done").wantStates("present").wantReceipts(receiptAt(devHost, "attached")...); o.at("changed") != true {
		t.Error("attaching a receipt is not reported as a change")
	}
	first := env.hasReceipts(env.dev, image.Digest, key, 1)

	// One that does not verify is reported, and a new one is written.
	env.dev.RemoveManifest(cart, first.Manifests[0])
	env.task(push("receiptKey", path)).want("done").wantReceipts(receiptAt(devHost, "attached")...).logs("no summary that is attached names this promotion")
	other, key2 := env.keyFile()
	env.task(push("receiptKey", other)).want("done").wantReceipts(receiptAt(devHost, "attached")...)
	if _, verdict := env.receiptsOf(env.dev, image.Digest, key2); len(verdict.Valid) != 1 {
		t.Errorf("%d valid receipts by the new key", len(verdict.Valid))
	}
}

// TestReceiptKeys: a key that cannot sign is found before anything is written.
func TestReceiptKeys(t *testing.T) {
	encrypted := "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
	for _, c := range []struct {
		name    string
		key     sim.VaultKey
		input   string
		prepare func(env *testEnv, v *sim.Vault)
		outcome string
		says    string
	}{
		{name: "another curve", key: sim.VaultKey{Curve: "P-521"}, outcome: "misuse", says: "P-521"},
		{name: "no permission to sign", key: sim.VaultKey{Ops: []string{"verify"}}, outcome: "misuse", says: "does not permit signing"},
		{name: "disabled", key: sim.VaultKey{Disabled: true}, outcome: "failed", says: "the key is disabled"},
		{name: "expired", key: sim.VaultKey{Expires: time.Now().Add(-time.Hour)}, outcome: "failed", says: "the key expired"},
		{name: "no role", prepare: func(_ *testEnv, v *sim.Vault) { v.Grant(clientID, "get") }, outcome: "failed", says: "access is denied"},
		{name: "a firewall", prepare: func(_ *testEnv, v *sim.Vault) { v.AllowOnly("192.0.2.1") }, outcome: "failed", says: "firewall"},
		{name: "down", prepare: func(env *testEnv, _ *sim.Vault) {
			env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Host == vaultHost {
					w.WriteHeader(http.StatusNotImplemented)
				}
				return r.Host == vaultHost
			})
		}, outcome: "failed", says: vaultHost},
		{name: "no such key", input: receiptKey + "2", outcome: "failed", says: "has no key"},
		{name: "no vault", input: "https://" + vaultHost + ".example.com/keys/release", outcome: "misuse", says: "not a Key Vault"},
		{name: "no file", input: "missing.pem", outcome: "misuse", says: "missing.pem"},
		{name: "an encrypted file", input: "file", outcome: "misuse", says: "is encrypted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, _ := ready(t)
			v := env.openVault(c.key)
			if c.prepare != nil {
				c.prepare(env, v)
			}
			key := receiptKey
			switch {
			case c.input == "file":
				key = filepath.Join(env.folder(), "key.pem")
				if err := os.WriteFile(key, []byte(encrypted), 0o600); err != nil {
					t.Fatal(err)
				}
			case c.input != "":
				key = c.input
			}
			o := env.task(push("receiptKey", key)).want(c.outcome).says(c.says)
			if written := writes(o.requests); len(written) > 0 {
				t.Errorf("it has written %v", written)
			}
		})
	}
}

const receiptFlow = `version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: sandbox}
  web: {host: ` + dev2Host + `, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev]
    repositories: ["shop/**"]
    require: {approval: {kind: manual, environment: Production}}
    receipt: {required: true}
  open:
    from: prod
    to: [web]
    repositories: ["shop/**"]
    require: {approval: {kind: none}, sealed: false}
`

// TestReceiptsOfAFlow: what is left out, the key and whether receipts are required are
// those of the flow.
func TestReceiptsOfAFlow(t *testing.T) {
	env, image := ready(t)
	path, key := env.keyFile()
	flow := func(receipt string) inputs {
		content := strings.Replace(receiptFlow, "{required: true}", receipt, 1)
		return inputs{"action": "invertedPush", "source": source, "flowFile": env.flowFile(content), "flow": "released"}
	}
	env.task(flow("{required: true}")).want("misuse").says("flow released requires receipts, but no key signs them")
	env.task(flow("{key: other.pem}").with("receiptKey", path)).want("misuse").says("signs receipts with the key other.pem")
	o := env.task(flow("{required: true, redact: [approvers, rules], key: "+path+"}").with("receiptAtSource", "true")).want("done").
		wantReceipts(append(receiptAt(devHost, "attached"), receiptAt(prodHost, "attached")...)...)
	if strings.Contains(o.stdout, "no registry gets a complete receipt") {
		t.Error("the source has a complete receipt, and the warning says otherwise")
	}
	dev := env.hasReceipts(env.dev, image.Digest, key, 1).Promotion
	if len(dev.Approval.Given) > 0 || dev.Approval.Approvers != 1 || len(dev.Rules)+len(dev.Outcomes) > 0 || dev.Flow == nil || dev.Flow.Name != "released" || dev.Flow.SHA256 == "" {
		t.Errorf("at DEV: %+v", dev)
	}
	prod := env.hasReceipts(env.prod, image.Digest, key, 1).Promotion
	if len(prod.Redacted) > 0 || len(prod.Approval.Given) != 1 || prod.Approval.Given[0].Comment != "released" || prod.Approval.Given[0].Approver.UniqueName != manager.UniqueName {
		t.Errorf("at PROD: %+v", prod.Approval)
	}
	// The receipt at the source is not attached before the approval, so it stays.
	again := env.task(flow("{required: true, redact: [approvers, rules], key: "+path+"}").with("receiptAtSource", "true")).want("done").wantStates("present").
		wantReceipts(append(receiptAt(devHost, "present"), receiptAt(prodHost, "present")...)...)
	if written := writes(again.requests); len(written) > 0 {
		t.Errorf("the rerun has written %v", written)
	}

	env.task(flow("{redact: [comments], key: " + path + "}")).want("done").wantReceipts(receiptAt(devHost, "attached")...).logs("set receiptAtSource")
	open := env.task(inputs{"action": "invertedPush", "source": source, "flowFile": env.flowFile(receiptFlow), "flow": "open", "receiptKey": path}).want("done")
	open.wantReceipts().logs("receiptKey is not used")
	env.hasReceipts(env.dev2, image.Digest, key, 0)
}

// TestReceiptOfALockedImage shows both variants of what is not known of Azure: a
// registry that refuses what refers to a manifest that is locked against writes, and
// one that takes it. A refusal is reported, and an error only if receipts are required.
func TestReceiptOfALockedImage(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		for _, required := range []bool{false, true} {
			t.Run(fmt.Sprintf("refuses %v required %v", refuses, required), func(t *testing.T) {
				env := newTestEnv(t)
				env.dev = env.cloud.Registry(devHost, sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, Quirks: sim.Quirks{LockedSubject: refuses}})
				env.dev.Grant(clientID, "**", sim.RepositoryWriter...)
				image := env.sealed()
				env.approve(manager, "released")
				path, key := env.keyFile()
				in := inputs{"action": "invertedPush", "source": source, "flow": "released", "lock": "image",
					"flowFile": env.flowFile(strings.Replace(receiptFlow, "required: true", fmt.Sprintf("required: %v", required), 1))}
				if required {
					in["flowFile"] = env.flowFile(strings.Replace(receiptFlow, "{required: true}", "{}", 1))
				}
				env.task(in).want("done")
				in["flowFile"] = env.flowFile(strings.Replace(receiptFlow, "required: true", fmt.Sprintf("required: %v", required), 1))
				in["receiptKey"] = path
				switch {
				case !refuses:
					env.task(in).want("done").wantReceipts(receiptAt(devHost, "attached")...)
					env.hasReceipts(env.dev, image.Digest, key, 1)
				case required:
					env.task(in).want("failed").wantReceipts(receiptAt(devHost, "failed")...)
				default:
					env.task(in).want("done").wantReceipts(receiptAt(devHost, "failed")...).logs("the approval is not signed at " + devHost)
				}
			})
		}
	}
}

// TestSignedSeal: with a key, seal signs its record.
func TestSignedSeal(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, cart, release, 1, 2, 2048)
	v := env.openVault(sim.VaultKey{})
	stage := env.run.Stage("Seal", env.connection)
	stage.Begin()
	sealing := inputs{"action": "seal", "source": source, "receiptKey": receiptKey}
	env.taskOf(stage, sealing.with("dryRun", "true")).want("done").wantReceipts(prodHost + " seal planned")
	env.taskOf(stage, sealing).want("done").wantReceipts(prodHost + " seal attached")
	_, verdict := env.receiptsOf(env.prod, image.Digest, env.publicKey(v.Public("release", "")))
	if len(verdict.Seals) != 1 || verdict.Seals[0].Run.ID != env.run.ID() || !slices.Contains(env.prod.Referrers(cart, image.Digest), verdict.Seals[0].Record) {
		t.Errorf("seals %+v", verdict.Seals)
	}
	if again := env.taskOf(stage, sealing).want("done").wantReceipts(prodHost + " seal present"); len(writes(again.requests)) > 0 {
		t.Errorf("the rerun has written %v", writes(again.requests))
	}
	// The signed seal travels with the image, and is not a receipt there.
	env.approve(manager, "released")
	env.task(push()).want("done")
	if manifests, verdict := env.receiptsOf(env.dev, image.Digest, env.publicKey(v.Public("release", ""))); len(manifests) != 1 || verdict.Met || len(verdict.Seals) != 1 {
		t.Errorf("at DEV: %v %+v", manifests, verdict)
	}
}

// TestBundle: a receipt as a Sigstore bundle is refused where cosign would overlook
// older signatures because of it.
func TestBundle(t *testing.T) {
	env, image := ready(t)
	path, key := env.keyFile()
	bundle := push("receiptKey", path, "receiptFormat", "bundle")
	env.task(bundle).want("done").wantReceipts(receiptAt(devHost, "attached")...)
	env.hasReceipts(env.dev, image.Digest, key, 1)
	testimage.Put(env.dev2, cart, testimage.FallbackTag(image.Digest)+".sig", testimage.Signature(layer(7, 0, 512)))
	o := env.task(bundle.with("targets", dev2Host)).want("misuse").says("cosign no longer looks at the signature")
	if written := writes(o.requests); len(written) > 0 {
		t.Errorf("it has written %v", written)
	}
	env.task(bundle.with("targets", dev2Host, "receiptFormat", "")).want("done").wantReceipts(receiptAt(dev2Host, "attached")...)
}

// TestBundleOfASignedImage: a signature that would come along counts too.
func TestBundleOfASignedImage(t *testing.T) {
	env, _, _, _ := cosigned(t)
	path, _ := env.keyFile()
	env.task(push("receiptKey", path, "receiptFormat", "bundle")).want("misuse").says("cosign no longer looks at the signature")
}

// TestReceiptsElsewhere: receipts are in the fallback list, with their type,
// and a registry that requires the subject first gets it.
func TestReceiptsElsewhere(t *testing.T) {
	for name, quirks := range map[string]sim.Quirks{
		"no referrers API": {Referrers: &sim.Answer{Status: http.StatusNotFound}},
		"a strict subject": {StrictSubject: true},
	} {
		t.Run(name, func(t *testing.T) {
			env, image := ready(t)
			path, _ := env.keyFile()
			const host = "registry.example.com"
			other := env.cloud.Registry(host, sim.RegistryOptions{Quirks: quirks})
			other.AddUser("robot", "robot-password-0123456789")
			other.Grant("robot", "**", sim.RepositoryWriter...)
			docker := env.project.DockerConnection("other", host, "robot", "robot-password-0123456789")
			use := func(e *fakeagent.Environment) {
				e.Connections["registryConnections"] = []*sim.ServiceConnection{docker}
			}
			in := push("receiptKey", path, "targets", host)
			env.task(in, use).want("done").wantReceipts(receiptAt(host, "attached")...)
			_, list, there := other.Manifest(cart, testimage.FallbackTag(image.Digest))
			if there != (quirks.Referrers != nil) || there && strings.Count(string(list), receipt.ArtifactType) != 2 {
				t.Errorf("fallback list: %s", list)
			}
			if again := env.task(in, use).want("done").wantReceipts(receiptAt(host, "present")...); len(writes(again.requests)) > 0 {
				t.Errorf("the rerun has written %v", writes(again.requests))
			}
		})
	}
}

// TestKilledWithReceipts kills an inverted push that requires receipts at one of several
// requests and at each of its last ones, and one of two tags at its last ones. No tag is
// ever visible without its receipt.
func TestKilledWithReceipts(t *testing.T) {
	for name, c := range map[string]struct {
		last, step int
		push       inputs
	}{
		"required": {6, 8, inputs{"action": "invertedPush", "source": source, "flow": "released"}},
		"two tags": {4, 1000, push("targets", devHost+"\n"+devHost+"/"+cart+":stable")},
	} {
		t.Run(name, func(t *testing.T) { killWithReceipts(t, c.push, c.last, c.step) })
	}
}

func killWithReceipts(t *testing.T, pushed inputs, last, step int) {
	start := func(t *testing.T) (*testEnv, descriptor, inputs, receipt.Key) {
		env, image := ready(t)
		path, key := env.keyFile()
		in := pushed.with("receiptKey", path)
		if in["flow"] != "" {
			in["flowFile"] = env.flowFile(receiptFlow)
		}
		return env, image, in, key
	}
	env, image, in, key := start(t)
	total := len(env.task(in).want("done").requests)
	env.hasReceipts(env.dev, image.Digest, key, 1)
	if os.Getenv("ACRPROMOTE_FULL_SWEEP") == "1" {
		step = 1
	}
	for at := 1; at <= total; at++ {
		if at%step != 0 && at <= total-last {
			continue
		}
		for _, answered := range []bool{false, true} {
			t.Run(fmt.Sprintf("at %d answered %v", at, answered), func(t *testing.T) {
				env, image, in, key := start(t)
				env.kill(in, at, answered)
				if env.dev.TagDigest(cart, release)+env.dev.TagDigest(cart, "stable") != "" {
					if _, verdict := env.receiptsOf(env.dev, image.Digest, key); !verdict.Met {
						t.Errorf("the tag is visible without its receipt: %v", verdict.Refusals)
					}
				}
				env.task(in).want("done")
				if _, verdict := env.receiptsOf(env.dev, image.Digest, key); len(verdict.Valid) != 1 {
					t.Errorf("after the rerun there are %d valid receipts", len(verdict.Valid))
				}
			})
		}
	}
}

// TestPlannedReceipts: a plan shows the receipts and the signatures that they take,
// before anyone has approved.
func TestPlannedReceipts(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	env.stage.Begin()
	env.openVault(sim.VaultKey{})
	planned := env.task(push("action", "plan", "receiptKey", receiptKey)).want("done").wantReceipts(receiptAt(devHost, "planned")...).logs("2 signatures by " + receiptKey)
	if got := planned.at("signing", 0, "signatures"); got != 2.0 {
		t.Errorf("signatures %v", got)
	}
}

// TestSigningIdentity: the connection that signs counts for the rules and the
// protection like one that writes: anyone who can use it can forge.
func TestSigningIdentity(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		t.Run(fmt.Sprint(guarded), func(t *testing.T) {
			env := newTestEnv(t)
			env.openVault(sim.VaultKey{})
			signing := env.project.FederatedConnection("signing-identity", tenant, clientID)
			env.application.AddFederatedCredential(env.organization.Issuer(), signing.Subject())
			env.connection.AddCheck(sim.RequiredTemplate)
			if guarded {
				signing.AddCheck(sim.RequiredTemplate)
			}
			env.run = env.project.QueueRun(sim.RunOptions{RequestedFor: developer, StartedAt: env.clock.now().Add(-time.Minute)})
			env.stage = env.run.Stage("Production", env.environment, env.connection, signing)
			image := env.sealed()
			env.approve(manager, "released")
			in := inputs{"action": "invertedPush", "source": source, "flow": "released", "receiptKey": receiptKey, "flowFile": env.flowFile(receiptFlow)}
			o := env.task(in, connected("receiptConnection", signing)).want("done")
			rules, protection := o.at("rules"), o.at("protection").(string)
			if guarded != (rules == "verified") || guarded != strings.HasPrefix(protection, "protected:") || !strings.Contains(protection, "signing-identity") {
				t.Errorf("rules %v, protection %q", rules, protection)
			}
			if !slices.ContainsFunc(o.at("identities").([]any), func(entry any) bool {
				i := entry.(map[string]any)
				return i["side"] == "service" && i["host"] == vaultHost && i["connection"] == "signing-identity" && i["clientId"] == clientID
			}) {
				t.Errorf("identities %v", o.at("identities"))
			}
			_, verdict := env.receiptsOf(env.dev, image.Digest, env.publicKey(env.vaultKey()))
			if len(verdict.Valid) != 1 || verdict.Valid[0].Promotion.RulesVerified != guarded {
				t.Errorf("receipts %+v", verdict.Valid)
			}
		})
	}
}

// TestReceiptsOfAnAtomicSet: where a part of the set has not arrived, no tag appears
// and no receipt is attached.
func TestReceiptsOfAnAtomicSet(t *testing.T) {
	env := newTestEnv(t)
	cartImage := pushImage(env.prod, cart, "1.0", 1, 2, 1000)
	pushImage(env.prod, "shop/pay", "1.0", 2, 2, 1000)
	env.seal("shop/cart:1.0", "shop/pay:1.0")
	env.approve(manager, "released")
	path, key := env.keyFile()
	file := env.flowFile(strings.Replace(sandbox, "    onPartial: warn\n", "    onPartial: warn\n    atomic: true\n    receipt: {required: true}\n", 1))
	in := inputs{"action": "invertedPush", "flowFile": file, "flow": "released", "images": "shop/cart:1.0\nshop/pay:1.0", "receiptKey": path}
	lift := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host != dev2Host || r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, "/v2/shop/pay/manifests/") {
			return false
		}
		rw.WriteHeader(http.StatusForbidden)
		return true
	})
	env.task(in).wantTask("partial", "SucceededWithIssues").wantReceipts(slices.Concat(receiptAt(devHost, "attached"), receiptAt(devHost, "attached"), receiptAt(dev2Host, "failed"), receiptAt(dev2Host, "failed"))...)
	env.hasReceipts(env.dev, cartImage.Digest, key, 1)
	env.hasReceipts(env.dev2, cartImage.Digest, key, 0)
	lift()
	env.task(in).want("done").wantReceipts(slices.Concat(receiptAt(devHost, "present"), receiptAt(devHost, "present"), receiptAt(dev2Host, "attached"), receiptAt(dev2Host, "attached"))...)
	env.hasReceipts(env.dev2, cartImage.Digest, key, 1)
}

// TestVaultFailsInASet: a vault that fails in the middle of an atomic set leaves no
// registry with a part of its tags.
func TestVaultFailsInASet(t *testing.T) {
	env := newTestEnv(t)
	cartImage := pushImage(env.prod, cart, "1.0", 1, 2, 1000)
	pushImage(env.prod, "shop/pay", "1.0", 2, 2, 1000)
	env.seal("shop/cart:1.0", "shop/pay:1.0")
	env.approve(manager, "released")
	v := env.openVault(sim.VaultKey{})
	file := env.flowFile(strings.Replace(sandbox, "    onPartial: warn\n", "    onPartial: warn\n    atomic: true\n    receipt: {required: true}\n", 1))
	in := inputs{"action": "invertedPush", "flowFile": file, "flow": "released", "images": "shop/cart:1.0\nshop/pay:1.0", "receiptKey": receiptKey}
	for _, good := range []int64{3, 5} {
		var signatures atomic.Int64
		lift := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.Host != vaultHost || !strings.HasSuffix(r.URL.Path, "/sign") || signatures.Add(1) <= good {
				return false
			}
			rw.WriteHeader(http.StatusForbidden)
			return true
		})
		env.task(in)
		lift()
		for _, r := range []*sim.Registry{env.dev, env.dev2} {
			if a, b := r.TagDigest(cart, "1.0"), r.TagDigest("shop/pay", "1.0"); (a == "") != (b == "") {
				t.Errorf("after %d signatures %s has a part of the set: %q, %q", good, r.Host(), a, b)
			}
		}
	}
	env.task(in).want("done")
	env.hasReceipts(env.dev, cartImage.Digest, env.publicKey(v.Public("release", "")), 1)
}

// TestVaultInTrouble: a vault that refuses for a while is asked again, and one that
// fails while it signs fails the targets, whose tags do not appear.
func TestVaultInTrouble(t *testing.T) {
	env, image := ready(t)
	v := env.openVault(sim.VaultKey{})
	signatures := 0
	lift := env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != vaultHost || !strings.HasSuffix(r.URL.Path, "/sign") {
			return false
		}
		if signatures++; signatures == 1 {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	env.task(push("receiptKey", receiptKey)).want("failed").wantReceipts(receiptAt(devHost, "failed")...).says("access is denied")
	if got := env.dev.TagDigest(cart, release); got != "" {
		t.Errorf("the tag %s is visible without its receipt", got)
	}
	lift()
	throttled := 0
	env.cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != vaultHost || throttled == 2 {
			return false
		}
		throttled++
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	env.task(push("receiptKey", receiptKey)).want("done").wantReceipts(receiptAt(devHost, "attached")...)
	env.hasReceipts(env.dev, image.Digest, env.publicKey(v.Public("release", "")), 1)
}

// TestRequestsOfReceipts counts what receipts add to an inverted push to one target,
// and to a rerun.
func TestRequestsOfReceipts(t *testing.T) {
	env, _ := ready(t)
	env.openVault(sim.VaultKey{})
	plain := table(env.task(push("targets", dev2Host)).want("done"))
	plainAgain := table(env.task(push("targets", dev2Host)).want("done"))
	signed := push("receiptKey", receiptKey)
	cold, again := table(env.task(signed).want("done")), table(env.task(signed).want("done"))
	holdTable(t, "cold", added(cold, plain), map[string]int{
		devHost + " referrers": 1, devHost + " upload": 5, devHost + " manifest PUT": 2,
		vaultHost + " GET": 1, vaultHost + " POST": 3, entraHost + " token": 1, devOpsHost + " token": 1,
	})
	holdTable(t, "again", added(again, plainAgain), map[string]int{
		devHost + " manifest GET": 2, vaultHost + " GET": 1, vaultHost + " POST": 1, entraHost + " token": 1, devOpsHost + " token": 1,
	})
}

// added returns what one table has more than another, in which the target is dev2Host.
func added(more, than map[string]int) map[string]int {
	extra := map[string]int{}
	for kind, n := range more {
		if d := n - than[strings.Replace(kind, devHost, dev2Host, 1)]; d != 0 {
			extra[kind] = d
		}
	}
	return extra
}

// TestReceiptsTravel: a receipt goes along with a later promotion between registries of
// one trust, and counts there as little as any other attached artifact.
func TestReceiptsTravel(t *testing.T) {
	env, image := ready(t)
	path, key := env.keyFile()
	flows := strings.NewReplacer("sandbox, production", "production", "trust: sandbox", "trust: production", "{kind: none}, sealed: false", "{kind: manual, environment: Production}").Replace(receiptFlow)
	in := inputs{"action": "promote", "source": source, "flowFile": env.flowFile(flows), "flow": "released", "receiptKey": path}
	env.task(in).want("done").wantReceipts(receiptAt(devHost, "attached")...)
	if r := env.hasReceipts(env.dev, image.Digest, key, 1); len(r.Promotion.Redacted) > 0 || r.Promotion.Approval.Given[0].Comment != "released" {
		t.Errorf("between registries of one trust something is left out: %+v", r.Promotion)
	}
	onward := strings.Replace(flows, "from: prod\n    to: [web]", "from: dev\n    to: [web]", 1)
	env.queue()
	env.approve(manager, "onward")
	o := env.task(inputs{"action": "promote", "source": devHost + "/" + cart + ":" + release, "flowFile": env.flowFile(onward), "flow": "open", "receiptKey": path}).want("done").
		wantReceipts(receiptAt(dev2Host, "attached")...)
	manifests, verdict := env.receiptsOf(env.dev2, image.Digest, key)
	if len(manifests) != 4 || len(verdict.Valid) != 2 || !verdict.Met || verdict.Receipt.Promotion.From.Registry != devHost {
		t.Errorf("%d statements, %d valid receipts, met %v: %v\n%s", len(manifests), len(verdict.Valid), verdict.Met, verdict.Refusals, o.stdout)
	}
	if attached := verdict.Receipt.Promotion.Attached; len(attached) != 1 {
		t.Errorf("the receipt lists %v; receipts are not in it", attached)
	}
}

// TestReceiptOfATag: within one repository, a promotion to another tag has a receipt
// too, and a rerun finds it.
func TestReceiptOfATag(t *testing.T) {
	env, image := ready(t)
	path, key := env.keyFile()
	in := inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stage", "environment": "Production", "receiptKey": path}
	env.task(in).want("done").wantStates("retagged").wantReceipts(receiptAt(prodHost, "attached")...)
	if r := env.hasReceipts(env.prod, image.Digest, key, 1); r.Promotion.To[0].Tag != "stage" || r.Promotion.Action != "promote" {
		t.Errorf("to %v", r.Promotion.To)
	}
	if again := env.task(in).want("done").wantReceipts(receiptAt(prodHost, "present")...); len(writes(again.requests)) > 0 {
		t.Errorf("the rerun has written %v", writes(again.requests))
	}
}

// TestReceiptOfSeveralTags: several tags of one repository share a receipt, which
// another run finds, also if it was made of several. What needs no approval is not
// named in it.
func TestReceiptOfSeveralTags(t *testing.T) {
	env, image := ready(t)
	path, key := env.keyFile()
	tags := func(names ...string) inputs {
		for i, name := range names {
			names[i] = devHost + "/" + cart + ":" + name
		}
		return push("receiptKey", path, "targets", strings.Join(names, "\n"))
	}
	signatures := func(o outcome) any { return o.at("signing", 0, "signatures") }
	if dry := env.task(tags("one", "two").with("dryRun", "true")).want("done").wantReceipts(receiptAt(devHost, "planned")...); signatures(dry) != 2.0 {
		t.Errorf("%v signatures, want 2", signatures(dry))
	}
	env.task(tags("one", "two")).want("done").wantReceipts(receiptAt(devHost, "attached")...)
	if r := env.hasReceipts(env.dev, image.Digest, key, 1); len(r.Promotion.To) != 2 {
		t.Errorf("to %v", r.Promotion.To)
	}
	env.task(tags("two", "three")).want("done").wantReceipts(receiptAt(devHost, "attached")...)
	env.hasReceipts(env.dev, image.Digest, key, 2)
	env.queue()
	env.approve(manager, "again")
	if o := env.task(tags("one", "two", "three")).want("done").wantReceipts(receiptAt(devHost, "present")...); len(writes(o.requests)) > 0 {
		t.Errorf("another run has written %v", writes(o.requests))
	}
	if env.dev.TagDigest(cart, "one") != image.Digest || env.dev.TagDigest(cart, "three") != image.Digest {
		t.Error("a tag is missing")
	}

	// One tag fails: the other still has its receipt.
	lift := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/five") {
			return false
		}
		rw.WriteHeader(http.StatusForbidden)
		return true
	})
	env.task(tags("four", "five")).wantReceipts(receiptAt(devHost, "attached")...)
	env.hasReceipts(env.dev, image.Digest, key, 3)
	lift()
	env.task(tags("four", "five")).want("done").wantReceipts(receiptAt(devHost, "present")...)

	both := strings.Replace(receiptFlow, "receipt: {required: true}", "receipt: {required: true, key: "+path+"}", 1)
	o := env.task(inputs{"action": "invertedPush", "source": source, "targets": devHost + "\n" + dev2Host, "flowFile": env.flowFile(both)}).want("done").wantReceipts(receiptAt(devHost, "attached")...)
	if _, verdict := env.receiptsOf(env.dev, image.Digest, key); !slices.ContainsFunc(verdict.Valid, func(r receipt.Receipt) bool {
		return r.Promotion.Flow != nil && len(r.Promotion.To) == 1 && r.Promotion.To[0].Registry == devHost
	}) {
		t.Errorf("no receipt names %s alone: %+v\n%s", devHost, verdict.Valid, o.stdout)
	}
	if env.dev2.TagDigest(cart, release) != image.Digest {
		t.Error("the open flow has brought nothing")
	}
}
