package plan

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/sorting"
	"acrpromote/internal/topology"
)

// RecallRequest asks for the rules of a recall. Without a flow file, the inputs are all
// there is.
type RecallRequest struct {
	File   *topology.File
	Flow   string // the flow's name; if empty, any flow of the image
	Source ref.Reference
	Inputs topology.Inputs
	Lift   bool
}

// Routes returns the rules of the approvals that the recall takes: all of them. To lift
// one takes what the flow requires and what the file requires of a recall.
func (r RecallRequest) Routes() ([]Route, *rule.Refusal, error) {
	if r.File == nil {
		return []Route{{Rules: recallRules(DirectRequest{Action: Recall, Inputs: r.Inputs}.rules())}}, nil, nil
	}
	flows, refused, err := r.flows()
	if refused != nil || err != nil {
		return nil, refused, err
	}
	var all []Route
	add := func(flow *topology.Flow) error {
		in := r.Inputs
		in.Sealed, in.Lock, in.OnPartial = nil, "", ""
		// An approval that depends on the tag at the target says nothing of a recall.
		t, err := flow.Tighten("", in, topology.Defaults{})
		if err != nil && strings.Contains(string(flow.Require.Approval.Environment), "{tag}") {
			return fmt.Errorf("flow %s has an approval for each tag, so that the flow file has to say whose approval a recall takes (recall.approval)", flow.Name)
		}
		if err != nil {
			return err
		}
		t = recallRules(t)
		if !slices.ContainsFunc(all, func(r Route) bool { return r.Rules.SameApproval(t) }) {
			all = append(all, Route{Flow: flow, Rules: t})
		}
		return nil
	}
	if own := r.File.Recall.Approval; own != nil {
		key := ""
		if at := slices.IndexFunc(flows, func(f *topology.Flow) bool { return f.Receipt.Key != "" }); at >= 0 {
			key = string(flows[at].Receipt.Key)
		}
		if err := add(&topology.Flow{Name: "recall", Receipt: topology.Receipt{Key: topology.ReceiptKey(key)}, Require: topology.Require{Approval: *own}}); err != nil || !r.Lift {
			return all, nil, err
		}
	}
	before := len(all)
	for _, flow := range flows {
		if err := add(flow); err != nil {
			return nil, nil, err
		}
	}
	if len(all)-before > 1 {
		var names []string
		for _, flow := range flows {
			names = append(names, flow.Name)
		}
		return nil, &rule.Refusal{Rule: rule.NotInFlow, Subject: r.Source.String(),
			Reason: fmt.Sprintf("flows %s are about it, but their rules differ", strings.Join(names, ", ")), Remedy: "Name one of them in the input flow."}, nil
	}
	return all, nil, nil
}

// recallRules returns what of the rules applies to a recall. It always takes an
// approval, and there is no plan whose code could be quoted.
func recallRules(t topology.Rules) topology.Rules {
	if t.Kind == topology.None {
		t.Kind, t.Checks = topology.Manual, nil
	}
	if t.Code == topology.CodeOfPlan {
		t.Code = topology.CodeOfImage
	}
	t.Sealed, t.Sealer, t.Branches, t.Attached, t.Lock, t.OnPartial = false, nil, nil, nil, topology.LockNone, topology.Fail
	return t
}

// flows returns the flows that are about the image: those that lead from its registry
// or, if there are none, those that lead there.
func (r RecallRequest) flows() ([]*topology.Flow, *rule.Refusal, error) {
	if r.Flow != "" {
		if _, err := r.File.Flow(r.Flow); err != nil {
			return nil, nil, err
		}
	}
	at, known := r.File.ByHost(r.Source.Registry)
	var from, to []*topology.Flow
	for _, flow := range r.File.Flows {
		switch {
		case !known || r.Flow != "" && flow.Name != r.Flow:
		case flow.From == at.Name && flow.Repositories.Match(r.Source.Repository):
			from = append(from, flow)
		case slices.Contains(flow.To, at.Name):
			if _, ok := flow.SourceRepository(r.Source.Repository); ok {
				to = append(to, flow)
			}
		}
	}
	found := from
	if len(found) == 0 {
		found = to
	}
	if len(found) == 0 {
		return nil, &rule.Refusal{Rule: rule.NotInFlow, Subject: r.Source.String(),
			Reason: "no flow of the file leads from or to this repository", Remedy: "Name an image of a flow, or leave flowFile empty and name the repositories in targets."}, nil
	}
	sorting.By(found, func(a, b *topology.Flow) int { return strings.Compare(a.Name, b.Name) })
	return found, nil, nil
}
