package plan

import (
	"cmp"
	"fmt"

	"acrpromote/internal/explain"
	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// DirectRequest is a request by the inputs alone, without a flow file.
type DirectRequest struct {
	Action  string
	Source  string
	Digest  string
	Targets []string
	MoveTag bool
	Inputs  topology.Inputs
	// Unapproved waives both approval and seal.
	Unapproved bool
}

// Problem is a mistake in an input.
type Problem struct {
	Input, Reason, Remedy string
}

// Wanted parses the request. It returns all problems at once, and warnings for
// what was ignored.
func (d DirectRequest) Wanted() (w Wanted, problems []Problem, warnings []string) {
	add := func(input string, err error, remedy string) {
		reason, remedy := explain.Split(err, remedy)
		problems = append(problems, Problem{input, reason, remedy})
	}
	source, err := ref.ParseSource(d.Source)
	if err != nil {
		add("source", err, "Correct the input source.")
	}
	w = Wanted{Action: d.Action, Source: source, Digest: d.Digest, MoveTag: d.MoveTag}
	if d.Digest != "" && !ref.IsDigest(d.Digest) {
		add("digest", fmt.Errorf("%q is not a valid digest", d.Digest), "A digest is sha256: followed by 64 lower-case hexadecimal digits.")
	}
	if source.Digest != "" && d.Digest != "" && source.Digest != d.Digest {
		add("digest", fmt.Errorf("source and digest name different digests"), "Remove the input digest, or make it match the source.")
	}
	seen := map[ref.Reference]bool{}
	for _, text := range d.Targets {
		target, err := ref.ParseTarget(text, source)
		within := source.Registry != "" && ref.LoginServer(target.Registry) == ref.LoginServer(source.Registry)
		switch {
		case err != nil:
			add("targets", err, "Correct this line of the input targets.")
		case within && target.Repository == source.Repository && target.Tag == source.Tag:
			add("targets", fmt.Errorf("target %q is the source itself", text), "Name another registry, repository or tag.")
		case d.Action == InvertedPush && within:
			add("targets", fmt.Errorf("target %q is in the source's registry, but an inverted push goes to another registry", text), "Use promote within one registry.")
		case seen[target]:
			warnings = append(warnings, fmt.Sprintf("Target %s is listed more than once.", target))
		default:
			seen[target] = true
			w.Targets = append(w.Targets, target)
		}
	}
	rules := d.rules()
	for range max(len(w.Targets), 1) {
		w.Routes = append(w.Routes, Route{Rules: rules})
	}
	return w, problems, warnings
}

// rules returns the rules that follow from the inputs alone.
func (d DirectRequest) rules() topology.Rules {
	in := d.Inputs
	t := topology.Rules{
		Kind:                cmp.Or(in.Approval, topology.Manual),
		Environment:         in.Environment,
		MinApprovers:        cmp.Or(in.MinApprovers, 1),
		RequesterCanApprove: in.RequesterCanApprove != nil && *in.RequesterCanApprove,
		AuthorCanApprove:    in.AuthorCanApprove == nil || *in.AuthorCanApprove,
		Approvers:           in.Approvers,
		MaxAge:              in.MaxAge,
		// Without a flow, an inverted push requires a sealed source, whatever the
		// input says. At a prompt, approval and seal can be waived together.
		Sealed:     (d.Action == InvertedPush || in.Sealed != nil && *in.Sealed) && !d.Unapproved,
		Lock:       cmp.Or(in.Lock, Defaults(d.Action).Lock),
		OnPartial:  cmp.Or(in.OnPartial, topology.Fail),
		ReceiptKey: in.ReceiptKey,
	}
	if in.Code != nil {
		t.Code = *in.Code
	}
	if in.CommentPattern != nil {
		t.CommentPatterns = append(t.CommentPatterns, in.CommentPattern)
	}
	if d.Action == Seal || d.Action == Audit {
		t.Kind, t.Sealed = topology.None, false
	}
	return t
}
