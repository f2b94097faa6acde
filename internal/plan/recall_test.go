package plan

import (
	"fmt"
	"strings"
	"testing"

	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

const recallFlows = `version: 1
trust: [dev, production]
registries:
  prod: {host: contosoprod.azurecr.io, trust: production}
  dev: {host: contosodev.azurecr.io, trust: dev}
  team: {host: contosoteam.azurecr.io, trust: dev}
flows:
  base:
    from: prod
    to: [dev]
    repositories: ["base/**"]
    require: {approval: {kind: none}, sealed: false}
  released:
    from: prod
    to: [dev]
    repositories: ["shop/**"]
    receipt: {key: receipts.pem}
    require: {approval: {kind: manual, environment: Production, minApprovers: 2, code: plan}, branches: [refs/heads/main]}
  hotfix:
    from: prod
    to: [team]
    repositories: ["shop/cart"]
    receipt: {key: receipts.pem}
    require: {approval: {kind: manual, environment: Hotfix}}
  tags:
    from: prod
    to: [prod]
    repositories: ["tagged/*"]
    movingTags: [stage]
    require: {approval: {kind: manual, environment: "App-{tag}"}}
`

func TestRecallRoutes(t *testing.T) {
	const own = "recall: {approval: {kind: automated, checks: [{definition: 7, resource: Production}]}}\n"
	for _, c := range []struct {
		name       string
		more       string // of the flow file
		flow       string
		repository string
		host       string
		in         topology.Inputs
		lift       bool
		want       string // kind, environment, approvers, key of each, or what refuses
	}{
		{"the flow's", "", "released", "shop/web", "", topology.Inputs{}, false, "manual Production 2 receipts.pem image"},
		{"one flow alone covers it", "", "", "shop/web", "", topology.Inputs{}, false, "manual Production 2 receipts.pem image"},
		{"a flow without an approval", "", "", "base/jre", "", topology.Inputs{Environment: "Recall"}, false, "manual Recall 1 - -"},
		{"several flows", "", "", "shop/cart", "", topology.Inputs{}, false, "not-in-flow: flows hotfix, released are about it, but their rules differ"},
		{"several flows, and an approval of its own", own, "", "shop/cart", "", topology.Inputs{}, false, "automated - 1 receipts.pem -"},
		{"lifted by both", own, "hotfix", "shop/cart", "", topology.Inputs{}, true, "automated - 1 receipts.pem -; manual Hotfix 1 receipts.pem -"},
		{"lifted by several", own, "", "shop/cart", "", topology.Inputs{}, true, "not-in-flow: flows hotfix, released are about it, but their rules differ"},
		{"the inputs are stricter", "", "hotfix", "shop/cart", "", topology.Inputs{MinApprovers: 3}, false, "manual Hotfix 3 receipts.pem -"},
		{"the inputs contradict", "", "hotfix", "shop/cart", "", topology.Inputs{Environment: "Mine"}, false, "flow hotfix counts approvals of Hotfix"},
		{"an input waives it", "", "", "base/jre", "", topology.Inputs{Approval: topology.None}, false, "manual - 1 - -"},
		{"where the flow leads to", "", "", "shop/web", "contosodev.azurecr.io", topology.Inputs{}, false, "manual Production 2 receipts.pem image"},
		{"an approval for each tag", "", "", "tagged/web", "", topology.Inputs{}, false, "flow tags has an approval for each tag"},
		{"an approval for each tag, and one of its own", own, "", "tagged/web", "", topology.Inputs{}, false, "automated - 1 - -"},
		{"no flow", "", "", "other/web", "", topology.Inputs{}, false, "not-in-flow: no flow of the file"},
		{"another registry", "", "", "shop/web", "elsewhere.azurecr.io", topology.Inputs{}, false, "not-in-flow: no flow of the file"},
		{"an unknown flow", "", "none", "shop/web", "", topology.Inputs{}, false, `unknown flow "none"`},
	} {
		file, err := topology.Parse("flows.yml", []byte(recallFlows+c.more))
		if err != nil {
			t.Fatal(err)
		}
		host := c.host
		if host == "" {
			host = "contosoprod.azurecr.io"
		}
		source := ref.Reference{Registry: host, Repository: c.repository, Tag: "1"}
		routes, refused, err := RecallRequest{File: file, Flow: c.flow, Source: source, Inputs: c.in, Lift: c.lift}.Routes()
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case refused != nil:
			got = string(refused.Rule) + ": " + refused.Reason
		default:
			var all []string
			dash := func(s string) string {
				if s == "" {
					return "-"
				}
				return s
			}
			for _, r := range routes {
				all = append(all, fmt.Sprintf("%s %s %d %s %s", r.Rules.Kind, dash(r.Rules.Environment), r.Rules.MinApprovers, dash(r.Rules.ReceiptKey), dash(string(r.Rules.Code))))
				if r.Rules.Sealed || r.Rules.Sealer != nil || len(r.Rules.Branches) > 0 {
					t.Errorf("%s: rules of a copy apply: %+v", c.name, r.Rules)
				}
			}
			got = strings.Join(all, "; ")
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	routes, _, _ := RecallRequest{Source: ref.Reference{Registry: "contosoprod.azurecr.io", Repository: "shop/cart"}, Inputs: topology.Inputs{Environment: "Recall"}}.Routes()
	if len(routes) != 1 || routes[0].Rules.Kind != topology.Manual || routes[0].Rules.Environment != "Recall" {
		t.Errorf("without a flow file: %+v", routes)
	}
}
