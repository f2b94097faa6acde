package main_test

import (
	"encoding/json"
	"slices"
	"testing"

	"acrpromote/internal/report"
	"acrpromote/internal/testimage"
)

// TestInvariantsCanFail checks that the invariants of every run can fail.
func TestInvariantsCanFail(t *testing.T) {
	for line, want := range map[string]string{
		"##vso[task.complete result=Failed;]x":          "task.complete",
		"before ##vso[task.setvariable variable=a]b":    "task.setvariable",
		"x\r##vso[task.complete result=Succeeded]":      "task.complete",
		"#\u200b#vso[task.complete result=Succeeded]":   "task.complete",
		"\x1b[31m##vso[task.complete result=Succeeded]": "task.complete",
		"##[error]boo":                                             "error",
		"# #vso[task.complete result=Succeeded]":                   "",
		"##vso[task.complete without an end":                       "",
		"##vso[task.logissue type=error;]a%0Ab%AZP25 and more %5D": "task.logissue",
	} {
		found := agentReads(line)
		switch {
		case want == "" && len(found) > 0:
			t.Errorf("%q is read as %v", line, found)
		case want != "" && (len(found) != 1 || found[0].Name() != want && want != "error"):
			t.Errorf("%q is read as %v, want %s", line, found, want)
		}
	}
	if c := agentReads("##vso[task.logissue type=error;]a%0Ab%AZP25")[0]; c.Data != "a\nb%" || c.Properties["type"] != "error" || !c.whole {
		t.Errorf("read as %+v", c)
	}
	if c := agentReads("x ##vso[task.complete result=Failed;]")[0]; c.whole {
		t.Error("a command in the middle of a line counts as whole")
	}

	var schema, good map[string]any
	if err := json.Unmarshal(report.SchemaJSON, &schema); err != nil {
		t.Fatal(err)
	}
	fresh := func() map[string]any {
		good = nil
		empty := `{"schema":"acrpromote/result/v1","tool":"1","action":"seal","dryRun":false,"startedAt":"","finishedAt":"","outcome":"done","changed":false,"direction":"checked","rules":"inputs",
			"protection":"","approvalCode":"","rulesInForce":{},"identities":[],
			"run":{"kind":"none","organization":"","project":"","pipeline":{"id":0,"name":""},"id":0,"url":"","stage":"","job":"","attempt":0,"requestedBy":"","requestedById":"","requestedByUniqueName":"","branch":"","commit":""},
			"approval":{"granted":false,"kind":"none","guards":"","approvers":[],"approvals":[],"rules":[]},
			"images":[{"source":"s","digest":"","sealedAt":"","bytes":1,"attached":[],"targets":[]}],"rights":[],"receipts":[],"signing":[],"refusals":[],"errors":[],"egress":[],"proxy":"","ca":"","transport":"direct","traffic":[],"budget":[],"environment":[]}`
		if err := json.Unmarshal([]byte(empty), &good); err != nil {
			t.Fatal(err)
		}
		return good
	}
	if found := violations(schema, schema, fresh(), ""); len(found) > 0 {
		t.Fatalf("a good document: %v", found)
	}
	for name, spoil := range map[string]func(map[string]any){
		"outcome":  func(d map[string]any) { d["outcome"] = "fine" },
		"missing":  func(d map[string]any) { delete(d, "egress") },
		"null":     func(d map[string]any) { d["errors"] = nil },
		"type":     func(d map[string]any) { d["changed"] = "true" },
		"nested":   func(d map[string]any) { delete(d["run"].(map[string]any), "kind") },
		"fraction": func(d map[string]any) { d["images"].([]any)[0].(map[string]any)["bytes"] = 1.5 },
		"code":     func(d map[string]any) { d["approvalCode"] = "ILOU" },
	} {
		d := fresh()
		spoil(d)
		if found := violations(schema, schema, d, ""); len(found) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
}

// TestIncompleteIsFound checks that an incomplete image under a tag is found.
func TestIncompleteIsFound(t *testing.T) {
	env := newTestEnv(t)
	pushIndex(env.prod, cart, release, 1)
	if missing := lacking(env.prod, cart, release); len(missing) != 0 {
		t.Fatalf("missing %v", missing)
	}
	layer := childLayer()
	env.prod.RemoveBlob(cart, layer)
	other := testimage.Of(child(1, 1)).Digest
	env.prod.RemoveManifest(cart, other)
	if missing := lacking(env.prod, cart, release); !slices.Contains(missing, layer) || !slices.Contains(missing, other) {
		t.Errorf("missing %v, want %s and %s", missing, layer, other)
	}
}
