package plan

import (
	"fmt"
	"testing"

	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// TestReceipts: one statement for what goes by the same rules and leaves out the same;
// it names all targets of these rules and no other.
func TestReceipts(t *testing.T) {
	file, err := topology.Parse("flows.yml", []byte(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: prod.example.com, trust: production}
  dev: {host: dev.example.com, trust: sandbox}
  peer: {host: peer.example.com, trust: production}
flows:
  released: {from: prod, to: [dev, peer], repositories: ["**"], require: {approval: {kind: manual, environment: Production}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	released, other := file.Flows["released"], &topology.Flow{Name: "other", From: "prod"}
	manual := topology.Rules{Kind: topology.Manual, Environment: "Production", MinApprovers: 1, ReceiptKey: "key.pem"}
	required, open, unsigned, two := manual, manual, manual, manual
	required.ReceiptRequired, open.Kind, unsigned.ReceiptKey, two.MinApprovers = true, topology.None, "", 2
	target := func(host string) ref.Reference {
		return ref.Reference{Registry: host, Repository: "shop/cart", Tag: "1"}
	}
	dev, peer := target("dev.example.com"), target("peer.example.com")
	for _, c := range []struct {
		name    string
		file    *topology.File
		action  string
		source  bool
		targets []ref.Reference
		routes  []Route
		want    string // of each: targets, named, redaction, source, required
	}{
		{"one", nil, InvertedPush, false, []ref.Reference{dev}, []Route{{Rules: manual}}, "[0] [0] [comments uniqueNames] false false;"},
		{"two tags", nil, InvertedPush, false, []ref.Reference{dev, dev}, []Route{{Rules: manual}, {Rules: manual}}, "[0 1] [0 1] [comments uniqueNames] false false;"},
		{"required by one", nil, InvertedPush, false, []ref.Reference{dev, peer}, []Route{{Rules: manual}, {Rules: required}}, "[0 1] [0 1] [comments uniqueNames] false true;"},
		{"at the source", nil, InvertedPush, true, []ref.Reference{dev}, []Route{{Rules: manual}}, "[0] [0] [comments uniqueNames] false false;[] [0] [] true false;"},
		{"by trust", file, InvertedPush, true, []ref.Reference{dev, peer}, []Route{{Flow: released, Rules: manual}, {Flow: released, Rules: manual}}, "[0] [0 1] [comments uniqueNames] false false;[1] [0 1] [] true false;"},
		{"an open flow", file, InvertedPush, true, []ref.Reference{dev, peer}, []Route{{Flow: released, Rules: manual}, {Flow: other, Rules: open}}, "[0] [0] [comments uniqueNames] false false;[] [0] [] true false;"},
		{"another flow", file, InvertedPush, false, []ref.Reference{dev, dev}, []Route{{Flow: released, Rules: manual}, {Flow: other, Rules: manual}}, "[0] [0] [comments uniqueNames] false false;[1] [1] [comments uniqueNames] false false;"},
		{"another approval", nil, InvertedPush, false, []ref.Reference{dev, dev}, []Route{{Rules: manual}, {Rules: two}}, "[0] [0] [comments uniqueNames] false false;[1] [1] [comments uniqueNames] false false;"},
		{"no key", nil, InvertedPush, true, []ref.Reference{dev}, []Route{{Rules: unsigned}}, ""},
		{"a seal", nil, Seal, true, []ref.Reference{dev}, []Route{{Rules: manual}}, ""},
	} {
		got := ""
		for _, r := range (Wanted{Action: c.action, SignSource: c.source, Targets: c.targets, Routes: c.routes}).Receipts(c.file) {
			got += fmt.Sprint(r.Targets, " ", r.Named, " ", r.Redact, " ", r.Source, " ", r.Required, ";")
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
