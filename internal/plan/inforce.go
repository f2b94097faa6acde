package plan

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"acrpromote/internal/topology"
)

// Origin is where the value of a rule comes from.
type Origin string

const (
	FromInput   Origin = "input"
	FromFlow    Origin = "flow"
	FromDefault Origin = "default"
)

// InForce is a rule in force. Key is the name of its input or, if there is none, its
// key in a flow file. Value is a text, a number, a boolean, or a list of texts or of
// mappings; an empty one stands for no restriction.
type InForce struct {
	Key   string
	Value any
	From  Origin
	Flow  string // the flow that covers the image; empty without a flow file
	// Others has the values for other images or targets of the step, each once.
	Others []InForce
}

// mostOthers limits the values of one rule for other images or targets.
const mostOthers = 50

// RulesInForce returns the rules for all images of a step, in a fixed order. Rules
// that the action does not judge are left out.
func RulesInForce(images []Wanted, in topology.Inputs) []InForce {
	var all []InForce
	// In one step, rules differ by the flow and by what contains {tag}.
	type differing struct {
		flow                *topology.Flow
		environment, checks string
	}
	seen := map[differing]bool{}
	for _, w := range images {
		for _, route := range w.Routes {
			d := differing{flow: route.Flow, environment: route.Rules.Environment}
			if len(route.Rules.Checks) > 0 {
				d.checks = fmt.Sprint(route.Rules.Checks)
			}
			if seen[d] {
				continue
			}
			seen[d] = true
			for _, rule := range route.inForce(w.Action, in) {
				all = joinRule(all, rule)
			}
		}
	}
	return all
}

// joinRule adds a rule of one route to those of the step.
func joinRule(all []InForce, rule InForce) []InForce {
	at := slices.IndexFunc(all, func(f InForce) bool { return f.Key == rule.Key })
	if at < 0 {
		return append(all, rule)
	}
	same := func(f InForce) bool {
		return f.From == rule.From && f.Flow == rule.Flow && reflect.DeepEqual(f.Value, rule.Value)
	}
	if first := &all[at]; !same(*first) && !slices.ContainsFunc(first.Others, same) && len(first.Others) < mostOthers {
		first.Others = append(first.Others, rule)
	}
	return all
}

// inForce returns the rules of one route.
func (r Route) inForce(action string, in topology.Inputs) []InForce {
	var flow topology.Flow
	if r.Flow != nil {
		flow = *r.Flow
	}
	var rules []InForce
	// set is the value of the flow and given that of the input, each nil if it is not
	// set. A value that is neither is made of both, or the input was ignored.
	add := func(key string, value, set, given any) {
		rule := InForce{Key: key, Value: value, From: FromDefault, Flow: flow.Name}
		switch {
		case set != nil && reflect.DeepEqual(set, value):
			rule.From = FromFlow
		case given != nil && (set != nil || reflect.DeepEqual(given, value)):
			rule.From = FromInput
		case set != nil:
			rule.From = FromFlow
		}
		rules = append(rules, rule)
	}
	t, require := r.Rules, flow.Require
	if action == Recall {
		r.approvalInForce(require.Approval, in, add)
		return rules
	}
	if Approved(action) {
		r.approvalInForce(flow.Require.Approval, in, add)
		set := optional(require.Sealed)
		if set == nil && require.SealedBy != nil {
			set = true
		}
		add("sealed", t.Sealed, set, optional(in.Sealed))
		sealers := []any{}
		if s := t.Sealer; s != nil {
			sealers = append(sealers, map[string]any{"projects": texts(s.Projects), "pipelines": numbers(s.Pipelines), "branches": texts(s.Branches)})
		}
		add("sealedBy", sealers, some(sealers), nil)
	}
	if action != Audit {
		branches := texts(t.Branches)
		add("branches", branches, some(branches), nil)
		attached := []any{}
		for _, a := range t.Attached {
			attached = append(attached, map[string]any{
				"artifactType": string(a.ArtifactType), "count": a.Count.Or(1), "maxAge": age(time.Duration(a.MaxAge)), "on": string(cmp.Or(a.On, topology.OnIndex)),
			})
		}
		add("attached", attached, some(attached), nil)
		if action == Seal {
			flow.Lock = "" // that of the targets
		}
		add("lock", string(t.Lock), text(flow.Lock), text(in.Lock))
	}
	if action != Seal {
		add("onPartial", string(t.OnPartial), text(flow.OnPartial), text(in.OnPartial))
	}
	return rules
}

// approvalInForce adds the rules about the approval.
func (r Route) approvalInForce(a topology.Approval, in topology.Inputs, add func(key string, value, set, given any)) {
	t := r.Rules
	kind := text(in.Approval)
	if kind == nil && a.Kind == topology.None && t.Kind != topology.None {
		kind = string(t.Kind) // by inputs about people
	}
	add("approval", string(t.Kind), text(a.Kind), kind)
	if t.Kind == topology.None {
		return
	}
	var environment any
	if a.Environment != "" {
		environment = t.Environment // with {tag} replaced
	}
	add("environment", t.Environment, environment, text(in.Environment))
	add("minApprovers", t.MinApprovers, number(int(a.MinApprovers)), number(in.MinApprovers))
	add("requesterCanApprove", t.RequesterCanApprove, optional(a.RequesterCanApprove), optional(in.RequesterCanApprove))
	add("authorCanApprove", t.AuthorCanApprove, optional(a.AuthorCanApprove), optional(in.AuthorCanApprove))
	add("approvers", texts(t.Approvers), some(texts(a.Approvers)), some(texts(in.Approvers)))
	add("approvalMaxAge", age(t.MaxAge), text(age(time.Duration(a.MaxAge))), text(age(in.MaxAge)))
	patterns, ofFlow, ofInput := []any{}, []any{}, []any{}
	for _, p := range t.CommentPatterns {
		patterns = append(patterns, p.String())
	}
	if a.CommentPattern.Regexp != nil {
		ofFlow = append(ofFlow, a.CommentPattern.String())
	}
	if in.CommentPattern != nil {
		ofInput = append(ofInput, in.CommentPattern.String())
	}
	add("commentPattern", patterns, some(ofFlow), some(ofInput))
	var code, required any
	if fmt.Sprint(a.Code) != "false" {
		required = fmt.Sprint(a.Code)
	}
	if in.Code != nil {
		code = fmt.Sprint(*in.Code)
	}
	add("approvalCode", fmt.Sprint(t.Code), required, code)
	checks := []any{}
	for _, c := range t.Checks {
		checks = append(checks, map[string]any{"definition": string(c.Definition), "resource": string(c.Resource)})
	}
	add("checks", checks, some(checks), nil)
}

// age returns a duration as text, and "" for any age.
func age(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// texts returns the texts of a list.
func texts[T any](list []T) []any {
	all := make([]any, 0, len(list))
	for _, v := range list {
		all = append(all, fmt.Sprint(v))
	}
	return all
}

func numbers(list []topology.PipelineID) []any {
	all := make([]any, 0, len(list))
	for _, id := range list {
		all = append(all, int(id))
	}
	return all
}

// some returns a list, or nil if it is empty.
func some(list []any) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

// text returns a text, or nil if it is empty.
func text[T ~string](s T) any {
	if s == "" {
		return nil
	}
	return string(s)
}

// number returns a number, or nil if it is not set.
func number(n int) any {
	if n <= 0 {
		return nil
	}
	return n
}

func optional(b *bool) any {
	if b == nil {
		return nil
	}
	return *b
}
