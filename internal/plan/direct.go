package plan

import (
	"cmp"
	"fmt"

	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// Direct is what the inputs alone order, without a flow file.
type Direct struct {
	Action  string
	Source  string
	Digest  string
	Targets []string
	MoveTag bool
	Inputs  topology.Inputs
	// Unapproved lifts approval and seal together.
	Unapproved bool
}

// Problem is an input that cannot be understood or obeyed.
type Problem struct {
	Input, Reason, Remedy string
}

// Wanted reads the order, and returns everything that is wrong with it at once;
// what was ignored comes back as warnings.
func (d Direct) Wanted() (w Wanted, problems []Problem, warnings []string) {
	add := func(input string, err error, remedy string) {
		problems = append(problems, Problem{input, err.Error(), remedy})
	}
	source, err := ref.ParseSource(d.Source)
	if err != nil {
		add("source", err, "Correct the input source.")
		return Wanted{}, problems, nil
	}
	w = Wanted{Action: d.Action, Source: source, Digest: d.Digest, MoveTag: d.MoveTag}
	if d.Digest != "" && !ref.IsDigest(d.Digest) {
		add("digest", fmt.Errorf("%q is no digest", d.Digest), "Write sha256: and 64 hexadecimal digits in lower case.")
	}
	if source.Digest != "" && d.Digest != "" && source.Digest != d.Digest {
		add("digest", fmt.Errorf("source and digest name different digests"), "Leave the input digest out, or give the one that the source names.")
	}
	seen := map[ref.Reference]bool{}
	for _, text := range d.Targets {
		target, err := ref.ParseTarget(text, source)
		switch {
		case err != nil:
			add("targets", err, "Correct this line of the input targets.")
		case target.Registry == source.Registry && target.Repository == source.Repository && target.Tag == source.Tag:
			add("targets", fmt.Errorf("target %q is the source itself", text), "Name another registry, repository or tag.")
		case d.Action == InvertedPush && target.Registry == source.Registry:
			add("targets", fmt.Errorf("target %q lies in the source's own registry, and an inverted push goes down to another", text), "Use the action promote inside one registry.")
		case seen[target]:
			warnings = append(warnings, fmt.Sprintf("target %s is named more than once; it is done once", target))
		default:
			seen[target] = true
			w.Targets = append(w.Targets, target)
		}
	}
	rules := d.rules()
	for range max(len(w.Targets), 1) {
		w.Ways = append(w.Ways, Way{Rules: rules})
	}
	return w, problems, warnings
}

// terms returns the rules that the inputs alone make.
func (d Direct) rules() topology.Rules {
	in := d.Inputs
	t := topology.Rules{
		Kind:                cmp.Or(in.Approval, topology.Manual),
		Environment:         in.Environment,
		MinApprovers:        cmp.Or(in.MinApprovers, 1),
		RequesterCanApprove: in.RequesterCanApprove != nil && *in.RequesterCanApprove,
		AuthorCanApprove:    in.AuthorCanApprove == nil || *in.AuthorCanApprove,
		Approvers:           in.Approvers,
		MaxAge:              in.MaxAge,
		Code:                in.Code != nil && *in.Code,
		// Without a flow an inverted push takes a sealed source, whatever the
		// input says; at a prompt seal and approval are lifted together.
		Sealed:    (d.Action == InvertedPush || in.Sealed != nil && *in.Sealed) && !d.Unapproved,
		Lock:      cmp.Or(in.Lock, Defaults(d.Action).Lock),
		OnPartial: cmp.Or(in.OnPartial, topology.Fail),
	}
	if in.CommentPattern != nil {
		t.CommentPatterns = append(t.CommentPatterns, in.CommentPattern)
	}
	if d.Action == Seal || d.Action == Audit {
		t.Kind, t.Sealed = topology.None, false
	}
	return t
}
