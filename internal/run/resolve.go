package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/explain"
	"acrpromote/internal/levenshtein"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
)

// order is what a step is to do: its images, their targets and the rules.
type order struct {
	action string // the action to judge: for verify and plan, the one that the inputs describe
	images []plan.Wanted
	groups []plan.Group // by the rules that require an approval
	// set reports that the inputs name a set, with one digest and one code for
	// all images. others are the images of the set that parallel jobs copy.
	set       bool
	others    []ref.Reference
	setDigest string // set in the decide phase
	// planned reports that the plan's code is needed, which covers the images of
	// parallel jobs too: elsewhere has these with their targets.
	planned   bool
	elsewhere []plan.Wanted
	// Set in the decide phase: the codes of other plans that approvers quote, and
	// what the code of this one covers.
	quoted []string
	scope  plan.Scope

	whole *wholeFlow // nil unless an audit is of all that a flow covers

	signers     []*signer         // of receipts
	verifiers   []vaultKey        // whose receipts count
	flow        *flowFile         // nil if there is none
	refusals    []rule.Refusal    // by the flow file alone
	connections map[string]string // names of service connections by GUID, as far as they were read
	byInput     map[string]string // the same by the input that names the connection
}

// subject names the image or the set for messages.
func (o *order) subject() string {
	if len(o.images) == 1 && !o.set {
		return o.images[0].Source.String()
	}
	return fmt.Sprintf("%d images", len(o.images))
}

// resolve determines what the step is to do from the inputs or the flow file,
// opens the session and prepares the sign-in to every registry. ok is false if
// that ended the run.
func resolve(ctx context.Context, c *agent.Config, wrong error, to *reporter, result *collector) (s *session.Session, o *order, ok bool) {
	if wrong != nil {
		result.add(wrong)
		if err := otherMistakes(ctx, c, wrong, to, result); err != nil {
			result.add(err)
		}
		return nil, nil, false
	}
	s, err := open(c, to, result)
	if err != nil {
		result.add(err)
		return nil, nil, false
	}
	if c.Before.Given {
		if err := resolveBefore(ctx, c, s, result); err != nil {
			result.add(err)
			return s, nil, false
		}
	}
	if c.FlowFile == "" {
		o, err = direct(c, result)
	} else {
		o, err = byFlow(ctx, c, s, result)
	}
	switch {
	case err == nil:
		err = errors.Join(signIn(c, s, o), prepareSigners(c, s, o, result))
	case isUsage(err):
		err = errors.Join(err, credentialMistakes(c, s))
	}
	if err == nil {
		permitTokenHosts(ctx, c, s, o.flow, o.signIns(s))
	}
	if err != nil {
		result.add(err)
		return s, o, false
	}
	warnOfUnused(c, o, result)
	o.groups = plan.Groups(o.action, o.images)
	result.result.RulesInForce = o.rulesInForce(inputs(c))
	return s, o, true
}

// direct returns the order that the inputs make without a flow file.
func direct(c *agent.Config, result *collector) (*order, error) {
	o := &order{action: c.EffectiveAction()}
	wanted, problems, warnings := plan.DirectRequest{
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
	wanted.SignSource = c.ReceiptAtSource.Value
	o.images = []plan.Wanted{wanted}
	o.planned = needsPlanCode(c, o)
	return o, nil
}

// needsPlanCode reports whether the plan's code is needed: it is what a plan shows, and
// what an approver may have to quote.
func needsPlanCode(c *agent.Config, o *order) bool {
	return c.Action == agent.Plan || plan.NeedsPlanCode(o.images)
}

// inputs returns the rules that the inputs set; those that were not given are
// unset.
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
		Sealed:              optional(c.Sealed),
		Lock:                topology.Lock(c.Lock),
		OnPartial:           topology.OnPartial(c.OnPartial),
		ReceiptKey:          c.ReceiptKey,
	}
	if c.ApprovalCode.Given {
		code := topology.Code(c.ApprovalCode.Value)
		in.Code = &code
	}
	if c.MinApprovers.Given {
		in.MinApprovers = c.MinApprovers.Value
	}
	return in
}

// read returns what the order reads besides its images: images of parallel jobs, and
// the targets' repositories in an audit of a whole flow.
func (o *order) read() []ref.Reference {
	if o.whole == nil {
		return o.others
	}
	return slices.Concat(o.others, o.whole.places)
}

// isTarget reports whether a registry is a target.
func (o *order) isTarget(host string) bool {
	return plan.IsTarget(o.images, host) || o.whole != nil && slices.ContainsFunc(o.whole.places, func(at ref.Reference) bool { return at.Registry == host })
}

// signIn prepares the sign-in to every registry of the order without sending
// anything.
func signIn(c *agent.Config, s *session.Session, o *order) error {
	rights := plan.RequiredRights(o.images, o.read(), plan.Usage{Writes: !c.ReadOnly(), Referrers: c.Referrers.Or(true), Planned: o.planned, Lists: o.whole != nil, Azure: isAzure, Deletes: o.deletesTags()})
	wrong := &agent.UsageError{}
	for _, host := range plan.Registries(o.images, o.read()) {
		if err := s.SignIn(host, o.isTarget(host), rights[host]); err != nil {
			addCredential(wrong, host, err)
		}
	}
	return wrong.OrNil()
}

// addCredential adds the mistake that there is no credential for a registry, once
// if several have it in common.
func addCredential(wrong *agent.UsageError, host string, err error) {
	p := agent.Problem{Subject: host}
	p.Reason, p.Remedy = explain.Split(err, "Correct the service connection, or use another one.")
	if own, ok := errors.AsType[*session.CredentialError](err); ok {
		p.Subject = own.Subject
	}
	if !slices.Contains(wrong.Problems, p) {
		wrong.Problems = append(wrong.Problems, p)
	}
}

// credentialError returns the usage error that there is no credential for a
// registry.
func credentialError(host string, err error) error {
	wrong := &agent.UsageError{}
	addCredential(wrong, host, err)
	return wrong
}

// warnOfUnused warns about registry connections that sign in to no registry of the
// step, which would otherwise be asked anonymously or by another identity.
func warnOfUnused(c *agent.Config, o *order, result *collector) {
	used := plan.Registries(o.images, o.read())
	for _, connection := range c.Registries {
		host := connection.Host()
		if slices.Contains(used, host) {
			continue
		}
		warning := fmt.Sprintf("the registry connection for %s is not used: no registry of this step has this host", host)
		if o.flow != nil {
			switch registry, known := o.flow.ByHost(host); {
			case known && string(registry.Host) == host:
				// Another image of the flow may need it.
				continue
			case known:
				warning = fmt.Sprintf("the registry connection for %s is not used: the step signs in to this registry as %s, the host in the flow file", host, registry.Host)
			}
		}
		if near, ok := levenshtein.NearestHost(host, used); ok {
			warning += fmt.Sprintf(". Did you mean %s?", near)
		}
		result.warn(warning)
	}
}

// signIns returns how the step signs in to each registry of the order, and to the
// vaults of the keys that sign receipts.
func (o *order) signIns(s *session.Session) []approval.SignIn {
	var all []approval.SignIn
	for _, host := range plan.Registries(o.images, o.read()) {
		if r, err := s.Registry(host); err == nil {
			all = append(all, approval.SignIn{Host: host, ConnectionID: r.ConnectionID, Connection: o.connections[approval.GUID(r.ConnectionID)], Shared: r.Shared, Writes: plan.Writes(o.images, host)})
		}
	}
	for _, g := range o.signers {
		if in, ok := g.signIn(o.connections); ok {
			all = append(all, in)
		}
	}
	return all
}

// rulesInForce returns the rules of all images by their keys, for the result.
func (o *order) rulesInForce(in topology.Inputs) map[string]report.RuleInForce {
	all := map[string]report.RuleInForce{}
	for _, r := range plan.RulesInForce(o.images, in) {
		rule := report.RuleInForce{Value: r.Value, From: string(r.From), Flow: r.Flow}
		for _, other := range r.Others {
			rule.Others = append(rule.Others, report.RuleValue{Value: other.Value, From: string(other.From), Flow: other.Flow})
		}
		all[r.Key] = rule
	}
	return all
}

// identities returns how the step signs in to each registry, and to the vaults of the
// keys that sign receipts, for the result.
func (o *order) identities(s *session.Session) []report.Identity {
	var all []report.Identity
	for _, host := range plan.Registries(o.images, o.read()) {
		r, err := s.Registry(host)
		if err != nil {
			continue
		}
		side := report.SourceSide
		if o.isTarget(host) {
			side = report.TargetSide
		}
		all = append(all, report.Identity{
			Side: side, Host: host, ID: r.ConnectionID, ClientID: r.ClientID,
			Connection: cmp.Or(o.connections[approval.GUID(r.ConnectionID)], r.ConnectionID),
		})
	}
	vaults := o.verifiers
	for _, g := range o.signers {
		if g.vault != nil {
			vaults = append(vaults, g.vaultKey)
		}
	}
	for _, k := range vaults {
		if identity := k.identity(o.connections); !slices.Contains(all, identity) {
			all = append(all, identity)
		}
	}
	return all
}

func isAzure(host string) bool {
	_, azure := acr.CloudOf(host)
	return azure
}

// listError is the error of a registry that could not be listed, so that the
// images of the set are unknown.
type listError struct {
	err   error
	grant func(more map[string][]string) string
}

func (u *listError) Error() string { return u.err.Error() }
func (u *listError) Unwrap() error { return u.err }

var errEmptySet = errors.New("the set is empty: nothing in the source registry matches it")
