package run

import (
	"context"
	"errors"
	"fmt"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
)

// order is what a step is to do: its images, where they go and by which rules.
type order struct {
	action string // what is judged: verify's subject, else the action itself
	images []plan.Wanted
	groups []plan.Group // of the rules that ask for an approval
	// set: a set was named, with one digest and one code for all of it. others
	// are its images that other parallel jobs bring.
	set       bool
	others    []ref.Reference
	setDigest string // once the images are read

	flow    *flowFile      // nil without one
	against []rule.Refusal // what the flow file alone says against it
}

// subject names what would be let out.
func (o *order) subject() string {
	if len(o.images) == 1 && !o.set {
		return o.images[0].Source.String()
	}
	return fmt.Sprintf("%d images", len(o.images))
}

// resolve finds out what the step is to do, by the inputs or by the flow file,
// opens the session and prepares signing in to every registry. ok is false where
// that ended the run.
func resolve(ctx context.Context, c *agent.Config, wrong error, to *reporter, result *collector) (s *session.Session, o *order, ok bool) {
	if wrong != nil {
		result.add(wrong)
		// What is wrong with the references is reported in the same list.
		if c.Source != "" && c.FlowFile == "" {
			if _, err := direct(c, result); err != nil {
				result.add(err)
			}
		}
		return nil, nil, false
	}
	s, err := session.Open(c, to.watch())
	if err != nil {
		result.add(err)
		return nil, nil, false
	}
	var claimed bool
	if result.result.Proxy, result.result.CA, claimed = s.Transport(); claimed {
		result.result.Transport = "claimed"
	}
	if c.FlowFile == "" {
		o, err = direct(c, result)
	} else {
		o, err = byFlow(ctx, c, s, result)
	}
	if err == nil {
		err = signIn(c, s, o)
	}
	if err != nil {
		result.add(err)
		return s, o, false
	}
	o.groups = plan.Groups(o.action, o.images)
	return s, o, true
}

// direct reads what the inputs alone order.
func direct(c *agent.Config, result *collector) (*order, error) {
	o := &order{action: c.EffectiveAction()}
	wanted, problems, warnings := plan.Direct{
		Action: o.action, Source: c.Source, Digest: c.Digest, Targets: c.Targets, MoveTag: c.MoveTag.Or(false),
		Inputs: inputs(c), Unapproved: c.Unapproved(),
	}.Wanted()
	for _, w := range warnings {
		result.warn(w)
	}
	if len(problems) > 0 {
		wrong := &agent.UsageError{}
		for _, p := range problems {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: p.Input, Reason: p.Reason, Remedy: p.Remedy})
		}
		return nil, wrong
	}
	o.images = []plan.Wanted{wanted}
	return o, nil
}

// inputs are the rules that the inputs name; what was not given is not among
// them.
func inputs(c *agent.Config) topology.Inputs {
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

// signIn prepares signing in to every registry of the order; nothing is sent
// yet.
func signIn(c *agent.Config, s *session.Session, o *order) error {
	rights := plan.Need(o.images, o.others, !c.ReadOnly(), isAzure)
	wrong := &agent.UsageError{}
	for _, host := range plan.Registries(o.images, o.others) {
		if err := s.SignIn(host, plan.IsTarget(o.images, host), rights[host]); err != nil {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: host, Reason: err.Error(), Remedy: session.Remedy(err)})
		}
	}
	if len(wrong.Problems) > 0 {
		return wrong
	}
	return nil
}

func isAzure(host string) bool {
	_, azure := acr.Suffix(host)
	return azure
}

// unlisted: the registry did not say what it holds, so nothing is known of
// what the set is.
type unlisted struct{ err error }

func (u *unlisted) Error() string { return u.err.Error() }
func (u *unlisted) Unwrap() error { return u.err }

var errEmptySet = errors.New("the set is empty: nothing in the source registry matches it")
