package topology

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Inputs are what a task says beside the flow file. The zero value of each is
// not given.
type Inputs struct {
	Approval            Kind
	Environment         string
	MinApprovers        int
	RequesterCanApprove *bool
	AuthorCanApprove    *bool
	Approvers           []string
	MaxAge              time.Duration
	CommentPattern      *regexp.Regexp
	Code                *bool
	Sealed              *bool
	Lock                Lock
	OnPartial           OnPartial
}

// Defaults are what holds where neither flow nor inputs say anything, by the
// action.
type Defaults struct {
	Sealed bool
	Lock   Lock
}

// Terms are the rules in force: those of a flow, tightened by inputs. Nothing
// in them is left to a default.
type Terms struct {
	Kind                Kind
	Environment         string // {tag} is filled in; empty where nobody named one
	MinApprovers        int
	RequesterCanApprove bool
	AuthorCanApprove    bool
	Approvers           []string // empty: anybody
	MaxAge              time.Duration
	CommentPatterns     []*regexp.Regexp // every one must match
	Code                bool
	Checks              []Check // {tag} is filled in
	Sealed              bool
	Branches            []BranchPattern
	Attached            []Attached
	Lock                Lock
	OnPartial           OnPartial

	// Ignored are sentences on inputs that would have softened a rule.
	Ignored []string
}

// Tighten joins the flow's rules with a task's inputs, for images that get tag
// at the target: the stricter of each wins, and a rule the flow is silent on
// counts as its default, which no input softens. An input that contradicts the
// flow, so that neither is the stricter, is an error.
func (f *Flow) Tighten(tag string, in Inputs, defaults Defaults) (Terms, error) {
	r, a := f.Require, f.Require.Approval
	t := Terms{
		Kind:                cmp.Or(a.Kind, Manual),
		MinApprovers:        max(a.MinApprovers.Or(1), in.MinApprovers),
		RequesterCanApprove: or(a.RequesterCanApprove, false),
		AuthorCanApprove:    or(a.AuthorCanApprove, true),
		MaxAge:              time.Duration(a.MaxAge),
		Code:                a.Code,
		Sealed:              or(r.Sealed, defaults.Sealed),
		Branches:            r.Branches,
		Attached:            r.Attached,
	}
	t.stricterBool(f, "requesterCanApprove", &t.RequesterCanApprove, in.RequesterCanApprove, false)
	t.stricterBool(f, "authorCanApprove", &t.AuthorCanApprove, in.AuthorCanApprove, false)
	t.stricterBool(f, "approvalCode", &t.Code, in.Code, true)
	t.stricterBool(f, "sealed", &t.Sealed, in.Sealed, true)
	if in.MinApprovers > 0 && in.MinApprovers < t.MinApprovers {
		t.ignore(f, "minApprovers", fmt.Sprint(in.MinApprovers), fmt.Sprint(t.MinApprovers))
	}
	switch {
	case in.MaxAge > 0 && (t.MaxAge == 0 || in.MaxAge < t.MaxAge):
		t.MaxAge = in.MaxAge
	case in.MaxAge > t.MaxAge:
		t.ignore(f, "approvalMaxAge", in.MaxAge.String(), t.MaxAge.String())
	}
	if a.CommentPattern.Regexp != nil {
		t.CommentPatterns = append(t.CommentPatterns, a.CommentPattern.Regexp)
	}
	if in.CommentPattern != nil && in.CommentPattern.String() != a.CommentPattern.String() {
		t.CommentPatterns = append(t.CommentPatterns, in.CommentPattern)
	}
	t.locks(f, in.Lock, defaults.Lock)
	t.OnPartial = cmp.Or(f.OnPartial, in.OnPartial, Fail)
	switch {
	case in.OnPartial == Fail:
		t.OnPartial = Fail
	case in.OnPartial == Warn && t.OnPartial == Fail:
		t.ignore(f, "onPartial", string(Warn), string(Fail))
	}
	if err := t.kinds(f, in.Approval); err != nil {
		return Terms{}, err
	}
	if err := t.resources(f, tag, in.Environment); err != nil {
		return Terms{}, err
	}
	return t, t.persons(f, in.Approvers)
}

func or(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

func (t *Terms) ignore(f *Flow, input, said, holds string) {
	t.Ignored = append(t.Ignored, fmt.Sprintf("The input %s is %s and would soften flow %s, so %s holds.", input, said, f.Name, holds))
}

// stricterBool takes an input that is the strict value, and tells of one that
// is not where the rule is strict.
func (t *Terms) stricterBool(f *Flow, input string, rule *bool, said *bool, strict bool) {
	switch {
	case said == nil || *said == *rule:
	case *said == strict:
		*rule = strict
	default:
		t.ignore(f, input, fmt.Sprint(*said), fmt.Sprint(*rule))
	}
}

// kinds: any is the laxest that asks for an approval; manual and automated are
// stricter in different ways.
func (t *Terms) kinds(f *Flow, said Kind) error {
	t.Checks = f.Require.Approval.Checks
	switch {
	case said == "" || said == t.Kind:
	case said == None, said == Any && t.Kind != None:
		t.ignore(f, "approval", string(said), string(t.Kind))
	case said == Manual && t.Kind == Any, t.Kind == None && (said == Manual || said == Any):
		// Without checks of the flow's, any means manual.
		t.Kind, t.Checks = Manual, nil
	case said == Automated && t.Kind == Any:
		t.Kind = Automated
	default:
		return fmt.Errorf("flow %s has approvals of the kind %s, and the input approval says %s, which is not stricter but another one: leave the input out, or name another flow", f.Name, t.Kind, said)
	}
	return nil
}

func (t *Terms) resources(f *Flow, tag, said string) error {
	var err error
	if t.Environment, err = f.Require.Approval.Environment.For(tag); err != nil {
		return fmt.Errorf("flow %s: %w", f.Name, err)
	}
	checks := t.Checks
	t.Checks = nil
	for _, c := range checks {
		resource, err := c.Resource.For(tag)
		if err != nil {
			return fmt.Errorf("flow %s: %w", f.Name, err)
		}
		t.Checks = append(t.Checks, Check{c.Definition, Resource(resource)})
	}
	switch {
	case said == "" || sameName(said, t.Environment):
	case t.Environment != "":
		return fmt.Errorf("flow %s has the approvals of %s count, and the input environment says %s: leave the input out, or name another flow", f.Name, t.Environment, quote(said))
	case t.Kind != None:
		t.Environment = said
	}
	return nil
}

// persons: who may approve must be on both lists.
func (t *Terms) persons(f *Flow, said []string) error {
	for _, a := range f.Require.Approval.Approvers {
		if len(said) == 0 || slices.ContainsFunc(said, func(s string) bool { return sameName(s, string(a)) }) {
			t.Approvers = append(t.Approvers, string(a))
		}
	}
	switch {
	case len(f.Require.Approval.Approvers) == 0:
		t.Approvers = said
	case len(t.Approvers) == 0:
		return fmt.Errorf("nobody is on both lists of approvers, that of flow %s and that of the input approvers: name some of those in the flow", f.Name)
	}
	return nil
}

func (t *Terms) locks(f *Flow, said, otherwise Lock) {
	rank := []Lock{LockNone, LockTag, LockImage}
	t.Lock = cmp.Or(f.Lock, otherwise, LockNone)
	switch {
	case said == "":
	case slices.Index(rank, said) > slices.Index(rank, t.Lock):
		t.Lock = said
	case slices.Index(rank, said) < slices.Index(rank, t.Lock):
		t.ignore(f, "lock", string(said), string(t.Lock))
	}
}

// sameName compares without case. Both foldings have to agree: one alone takes
// the Kelvin sign for k.
func sameName(a, b string) bool {
	lower, upper := strings.ToLower(a), strings.ToUpper(a)
	return lower == strings.ToLower(b) && upper == strings.ToUpper(b)
}

// SameApproval reports whether one verdict serves for both: they ask the same of
// the approval. What is not named here as something else than an approval's rule
// is compared, so that a rule that is added later parts verdicts until it is.
func (t Terms) SameApproval(other Terms) bool {
	return reflect.DeepEqual(t.approval(), other.approval())
}

// approvalTerms are terms without what says nothing about the approval, in a
// form in which equal rules are equal values.
type approvalTerms struct {
	Terms
	patterns []string
}

func (t Terms) approval() approvalTerms {
	t.Sealed, t.Branches, t.Attached, t.Lock, t.OnPartial, t.Ignored = false, nil, nil, "", "", nil
	a := approvalTerms{Terms: t}
	for _, p := range t.CommentPatterns {
		a.patterns = append(a.patterns, p.String())
	}
	a.CommentPatterns = nil
	a.Environment = strings.ToLower(t.Environment)
	a.Approvers = slices.Sorted(slices.Values(t.Approvers))
	a.Checks = slices.Concat(t.Checks)
	return a
}
