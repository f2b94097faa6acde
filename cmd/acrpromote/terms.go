package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/plan"
	"acrpromote/internal/topology"
)

// inputTerms are the rules that the inputs alone make: those without a flow.
func inputTerms(c *agent.Config, action string) topology.Terms {
	t := topology.Terms{
		Kind:                topology.Kind(cmp.Or(c.Approval, string(topology.Manual))),
		Environment:         c.Environment,
		MinApprovers:        c.Quorum(),
		RequesterCanApprove: c.RequesterCanApprove.Or(false),
		AuthorCanApprove:    c.AuthorCanApprove.Or(true),
		Approvers:           c.Approvers,
		MaxAge:              c.ApprovalMaxAge.Value,
		Code:                c.ApprovalCode.Or(false),
		// Without a flow an inverted push takes a sealed source, whatever the
		// input says; at a prompt seal and approval are lifted together.
		Sealed:    (action == plan.InvertedPush || c.Sealed.Or(false)) && !c.Unapproved(),
		Lock:      topology.Lock(cmp.Or(c.Lock, string(plan.Defaults(action).Lock))),
		OnPartial: topology.OnPartial(cmp.Or(c.OnPartial, string(topology.Fail))),
	}
	if c.CommentPattern.Regexp != nil {
		t.CommentPatterns = append(t.CommentPatterns, c.CommentPattern.Regexp)
	}
	if action == plan.Seal || action == plan.Audit {
		t.Kind, t.Sealed = topology.None, false
	}
	return t
}

// flowInputs are the inputs that tighten a flow; what was not given is not
// among them.
func flowInputs(c *agent.Config) topology.Inputs {
	optional := func(b agent.Bool) *bool {
		if !b.Given {
			return nil
		}
		return &b.Value
	}
	in := topology.Inputs{
		Approval:            topology.Kind(c.Approval),
		Environment:         c.Environment,
		RequesterCanApprove: optional(c.RequesterCanApprove),
		AuthorCanApprove:    optional(c.AuthorCanApprove),
		Approvers:           c.Approvers,
		MaxAge:              c.ApprovalMaxAge.Value,
		CommentPattern:      c.CommentPattern.Regexp,
		Code:                optional(c.ApprovalCode),
		Sealed:              optional(c.Sealed),
		Lock:                topology.Lock(c.Lock),
		OnPartial:           topology.OnPartial(c.OnPartial),
	}
	if c.MinApprovers.Given {
		in.MinApprovers = c.MinApprovers.Value
	}
	return in
}

// approvalKey tells which terms are judged by one verdict: those that ask the
// same of the approval.
func approvalKey(t topology.Terms) string {
	var patterns []string
	for _, p := range t.CommentPatterns {
		patterns = append(patterns, p.String())
	}
	return fmt.Sprintf("%s|%s|%d|%v|%v|%q|%s|%v|%q|%v", t.Kind, strings.ToLower(t.Environment), t.MinApprovers, t.RequesterCanApprove, t.AuthorCanApprove,
		slices.Sorted(slices.Values(t.Approvers)), t.MaxAge, t.Code, patterns, t.Checks)
}
