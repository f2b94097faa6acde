package run

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/plan"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
)

// promotionOf returns the statement of the promotion of one image under the rules of a
// receipt, complete.
func (rs *receipts) promotionOf(i int, r plan.Receipt, part plan.Part, now time.Time) receipt.Promotion {
	w, source, result := rs.o.images[i], rs.f.images[i].source, &rs.result.result
	clean := rs.c.Secrets.Redact // a text of someone else may have a secret of this run in it
	verdict := rs.verdict(r.Route)
	p := receipt.Promotion{
		Time: now, Tool: result.Tool, Action: w.Action, Digest: part.Digest, From: placeOf(w.Source),
		Run: receiptRun(result.Run), RulesVerified: result.Rules == "verified",
		Approval: receipt.Approval{Kind: string(verdict.Kind)},
		Egress:   rs.hosts(),
	}
	for _, j := range r.Named {
		p.To = append(p.To, placeOf(w.Targets[j]))
	}
	p.Requesters = requesters(rs.f.run.Requesters, clean)
	for _, g := range verdict.Given {
		p.Approval.Given = append(p.Approval.Given, receipt.Given{
			ID: g.Record.ID, Check: g.Check, Resource: receipt.Resource(g.Resource),
			Approver: receipt.Person{ID: g.Approver.ID, UniqueName: clean(g.UniqueName), Name: clean(g.Name)}, Time: g.At, Comment: clean(g.Comment),
		})
	}
	for _, c := range verdict.Passed {
		p.Approval.Checks = append(p.Approval.Checks, receipt.Check{Definition: c.Definition, Resource: receipt.Resource(c.Resource), Time: c.At})
	}
	rules := plan.RulesInForce([]plan.Wanted{{Action: w.Action, Routes: []plan.Route{r.Route}}}, inputs(rs.c))
	for _, in := range rules {
		p.Rules = append(p.Rules, receipt.Rule{Name: in.Key, Value: clean(ruleText(in.Value)), From: string(in.From), People: in.Key == "approvers"})
	}
	for _, o := range slices.Concat(verdict.Rules, part.Outcomes) {
		if o.Met {
			p.Outcomes = append(p.Outcomes, receipt.Outcome{Rule: string(o.Rule), Met: true, Detail: clean(o.Detail)})
		}
	}
	if oldest, ok := plan.Oldest(source.records); ok && w.NeedsSeal() {
		p.Seal = &receipt.Seal{Record: oldest.Digest, Time: oldest.Created, Run: sealRun(oldest.Run)}
	}
	if flow := rs.o.flow; flow != nil {
		p.Flow = &receipt.Flow{Repository: flow.origin.Repository, Ref: flow.origin.Ref, Commit: flow.origin.Commit, Path: flow.origin.Path, SHA256: flow.origin.SHA256}
		if r.Route.Flow != nil {
			p.Flow.Name = r.Route.Flow.Name
		}
	}
	for j, one := range source.referrers {
		a := receipt.Attached{Digest: one.Digest, ArtifactType: one.Type, Subject: one.Subject}
		if source.left[j] == "" && !slices.Contains(seal.LaterTypes, one.Type) && !slices.Contains(p.Attached, a) {
			p.Attached = append(p.Attached, a)
		}
	}
	return p
}

// verdict returns the verdict on the approval that a route requires.
func (rs *receipts) verdict(route plan.Route) approval.Verdict {
	at := slices.IndexFunc(rs.o.groups, func(g plan.Group) bool { return g.Rules.SameApproval(route.Rules) })
	if at < 0 || at >= len(rs.f.verdict.Parts) {
		return approval.Verdict{}
	}
	return rs.f.verdict.Parts[at]
}

// hosts returns the hosts that the run has connected to, and the registries and vaults
// that it will.
func (rs *receipts) hosts() []string {
	hosts := rs.s.Hosts()
	for _, host := range plan.Registries(rs.o.images, rs.o.others) {
		hosts = append(hosts, hostPort(host))
	}
	for _, g := range rs.o.signers {
		if g.host != "" {
			hosts = append(hosts, hostPort(g.host))
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// hostPort returns a host with its port, as the network lists it.
func hostPort(host string) string {
	if named, ok := ref.HostPort(host, "443"); ok {
		return named
	}
	return host
}

// ruleText returns the value of a rule as text.
func ruleText(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

func receiptRun(r report.Run) receipt.Run {
	return receipt.Run{
		Kind: r.Kind, Organization: r.Organization, Project: r.Project, Pipeline: receipt.Pipeline{ID: r.Pipeline.ID, Name: r.Pipeline.Name},
		ID: r.ID, URL: r.URL, Stage: r.Stage, Attempt: r.Attempt, Branch: r.Branch, Commit: r.Commit,
	}
}

func sealRun(r seal.Run) receipt.Run {
	return receipt.Run{Kind: r.Kind, Organization: r.Organization, Project: r.Project, ID: r.ID, Stage: r.Stage, Branch: r.Branch, Commit: r.Commit}
}

// requesters returns who has requested a run, each person once: the server names one
// several times, not always with a name.
func requesters(all []approval.Requester, clean func(string) string) (list []receipt.Person) {
	at := map[string]int{}
	for _, who := range all {
		person := receipt.Person{ID: approval.GUID(who.ID), UniqueName: clean(who.UniqueName), Name: clean(who.Name)}
		i, known := at[person.ID]
		if !known || person.ID == "" {
			at[person.ID] = len(list)
			list = append(list, person)
			continue
		}
		list[i].Name, list[i].UniqueName = cmp.Or(list[i].Name, person.Name), cmp.Or(list[i].UniqueName, person.UniqueName)
	}
	return list
}
