package run

import (
	"fmt"
	"strings"
	"testing"

	"acrpromote/internal/topology"
)

// TestWholeFlow checks what of a source an audit of a flow looks at, and which flows do
// not say what a target should have.
func TestWholeFlow(t *testing.T) {
	for _, c := range []struct{ flow, entries, wrong string }{
		{"to: [dev]", "**:*", ""},
		{"to: [prod, dev], movingTags: [stage]", "**:*", ""},
		{`to: [dev], repositories: ["shop/*", tools]`, "**:*", ""},
		{"to: [dev], repositories: [shop/cart, tools]", "shop/cart:* tools:*", ""},
		{`to: [dev], as: {tag: "{tag}-ok"}`, "**:*", ""},
		{"to: [dev], as: {tag: latest}, movingTags: [latest]", "**:*", "gives every image the tag latest"},
		{"to: [prod], movingTags: [stage]", "**:*", "stays within one registry"},
	} {
		f, err := topology.Parse("flows.yml", fmt.Appendf(nil, `version: 1
trust: [dev, production]
registries:
  prod: {host: prod.azurecr.io, trust: production}
  dev: {host: dev.azurecr.io, trust: dev}
flows:
  one: {from: prod, %s, require: {sealed: false, approval: {kind: manual, environment: Production}}}
`, c.flow))
		if err != nil {
			t.Fatalf("%s: %v", c.flow, err)
		}
		flow := f.Flows["one"]
		list, err := everything(flow)
		if err != nil {
			t.Fatalf("%s: %v", c.flow, err)
		}
		var entries []string
		for _, entry := range list {
			entries = append(entries, entry.String())
		}
		if got := strings.Join(entries, " "); got != c.entries {
			t.Errorf("%s: %s, want %s", c.flow, got, c.entries)
		}
		wrong := ""
		if err := checkWhole(flow); err != nil {
			wrong = err.Error()
		}
		if (wrong == "") != (c.wrong == "") || !strings.Contains(wrong, c.wrong) {
			t.Errorf("%s: %q, want %q", c.flow, wrong, c.wrong)
		}
	}
}
