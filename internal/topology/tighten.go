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

// Inputs are the inputs of a task that can tighten a flow. The zero value of a
// field means that it is not set.
type Inputs struct {
	Approval            Kind
	Environment         string
	MinApprovers        int
	RequesterCanApprove *bool
	AuthorCanApprove    *bool
	Approvers           []string
	MaxAge              time.Duration
	CommentPattern      *regexp.Regexp
	Code                *Code
	Sealed              *bool
	Lock                Lock
	OnPartial           OnPartial
	ReceiptKey          string
}

// Defaults are the action's defaults for rules that neither the flow nor the
// inputs set.
type Defaults struct {
	Sealed bool
	Lock   Lock
}

// Rules are the rules in force: those of a flow, tightened by inputs. Defaults
// are filled in.
type Rules struct {
	Kind                Kind
	Environment         string // with {tag} replaced; empty if neither names one
	MinApprovers        int
	RequesterCanApprove bool
	AuthorCanApprove    bool
	Approvers           []string // if empty, anyone
	MaxAge              time.Duration
	CommentPatterns     []*regexp.Regexp // every one must match
	Code                Code
	Checks              []Check // with {tag} replaced
	Sealed              bool
	Branches            []BranchPattern
	Sealer              *Sealer // nil if any run, or none, may have sealed the image
	Attached            []Attached
	Lock                Lock
	OnPartial           OnPartial
	ReceiptKey          string // if empty, neither the flow nor the input names a key
	ReceiptRequired     bool   // no tag appears without its receipt

	// Ignored has a sentence for each input that would relax a rule.
	Ignored []string
}

// Sealer says which run must have sealed an image. An empty list of projects or
// pipelines means those of the run that releases it; an empty list of branches,
// any.
type Sealer struct {
	Projects  []Project
	Pipelines []PipelineID
	Branches  []BranchPattern
}

// sealer returns which run must have sealed an image. A flow that allows images
// without a seal (sealed: false) says nothing of that run, unless an input
// requires a seal.
func (r Require) sealer(sealed bool) *Sealer {
	unsealed := r.Sealed != nil && !sealed
	switch {
	case r.SealedBy != nil:
		s := Sealer(*r.SealedBy)
		if len(s.Branches) == 0 {
			s.Branches = r.Branches
		}
		return &s
	case len(r.Branches) > 0 && !unsealed:
		return &Sealer{Branches: r.Branches}
	}
	return nil
}

// Tighten combines the flow's rules with a task's inputs, for images with the
// given tag at the target. The stricter value applies. A rule that the flow does
// not set has its default, which no input relaxes. It is an error if an input
// contradicts the flow and neither is stricter.
func (f *Flow) Tighten(tag string, in Inputs, defaults Defaults) (Rules, error) {
	r, a := f.Require, f.Require.Approval
	t := Rules{
		Kind:                cmp.Or(a.Kind, Manual),
		MinApprovers:        max(a.MinApprovers.Or(1), in.MinApprovers),
		RequesterCanApprove: or(a.RequesterCanApprove, false),
		AuthorCanApprove:    or(a.AuthorCanApprove, true),
		MaxAge:              time.Duration(a.MaxAge),
		Code:                a.Code,
		Sealed:              or(r.Sealed, defaults.Sealed || r.SealedBy != nil),
		Branches:            r.Branches,
		Attached:            r.Attached,
	}
	t.stricterBool(f, "requesterCanApprove", &t.RequesterCanApprove, in.RequesterCanApprove, false)
	t.stricterBool(f, "authorCanApprove", &t.AuthorCanApprove, in.AuthorCanApprove, false)
	switch {
	case in.Code == nil || *in.Code == t.Code:
	case in.Code.strictness() > t.Code.strictness():
		t.Code = *in.Code
	default:
		t.ignore(f, "approvalCode", in.Code.String(), t.Code.String())
	}
	t.stricterBool(f, "sealed", &t.Sealed, in.Sealed, true)
	t.Sealer = r.sealer(t.Sealed)
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
	t.setLock(f, in.Lock, defaults.Lock)
	t.OnPartial = cmp.Or(f.OnPartial, in.OnPartial, Fail)
	switch {
	case in.OnPartial == Fail:
		t.OnPartial = Fail
	case in.OnPartial == Warn && t.OnPartial == Fail:
		t.ignore(f, "onPartial", string(Warn), string(Fail))
	}
	if err := t.setReceipt(f, in.ReceiptKey); err != nil {
		return Rules{}, err
	}
	if err := t.setKind(f, in.Approval); err != nil {
		return Rules{}, err
	}
	if err := t.askPeople(f, tag, in); err != nil {
		return Rules{}, err
	}
	if err := t.setResources(f, tag, in.Environment); err != nil {
		return Rules{}, err
	}
	return t, t.setApprovers(f, in.Approvers)
}

func or(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

func (t *Rules) ignore(f *Flow, input, given, applied string) {
	t.Ignored = append(t.Ignored, fmt.Sprintf("The input %s is %s, which would relax flow %s. It is ignored, and %s applies.", input, given, f.Name, applied))
}

// stricterBool applies an input with the strict value, and ignores one that
// would relax a strict rule.
func (t *Rules) stricterBool(f *Flow, input string, rule *bool, given *bool, strict bool) {
	switch {
	case given == nil || *given == *rule:
	case *given == strict:
		*rule = strict
	default:
		t.ignore(f, input, fmt.Sprint(*given), fmt.Sprint(*rule))
	}
}

// setKind combines the kinds of approval. Of those that require one, any is the
// most lenient; manual and automated are stricter in different ways.
func (t *Rules) setKind(f *Flow, given Kind) error {
	t.Checks = f.Require.Approval.Checks
	switch {
	case given == "" || given == t.Kind:
	case given == None, given == Any && t.Kind != None:
		t.ignore(f, "approval", string(given), string(t.Kind))
	case given == Manual && t.Kind == Any, t.Kind == None && (given == Manual || given == Any):
		// If the flow has no checks, any means manual.
		t.Kind, t.Checks = Manual, nil
	case given == Automated && t.Kind == Any:
		t.Kind = Automated
	default:
		return fmt.Errorf("flow %s requires approvals of kind %s, and the input approval is %s, which is different but not stricter: leave the input empty, or name another flow", f.Name, t.Kind, given)
	}
	return nil
}

// askPeople applies the inputs that are about people who approve to a flow that
// asks none. A flow that requires no approval then requires a manual one, which
// is stricter; next to automated checks these inputs would have no effect, so that
// they are an error. The environment that the flow itself names says nothing new.
func (t *Rules) askPeople(f *Flow, tag string, in Inputs) error {
	if t.Kind != None && t.Kind != Automated {
		return nil
	}
	own, err := f.Require.Approval.Environment.forTag(tag)
	if err != nil {
		return fmt.Errorf("flow %s: %w", f.Name, err)
	}
	var people []string
	for _, input := range []struct {
		name  string
		given bool
	}{
		{"environment", in.Environment != "" && !sameName(in.Environment, own)},
		{"minApprovers", in.MinApprovers > 0},
		{"approvers", len(in.Approvers) > 0},
		{"approvalMaxAge", in.MaxAge > 0},
		{"commentPattern", in.CommentPattern != nil},
		{"approvalCode", in.Code != nil && *in.Code != ""},
	} {
		if input.given {
			people = append(people, input.name)
		}
	}
	switch {
	case len(people) == 0:
		return nil
	case t.Kind == Automated:
		return fmt.Errorf("flow %s requires automated checks, which ask no person, so inputs about people have no effect: %s", f.Name, strings.Join(people, ", "))
	}
	if in.Approval == None {
		t.ignore(f, "approval", string(None), string(Manual))
	}
	t.Kind, t.Checks = Manual, nil
	return nil
}

// setResources sets the resources whose approvals and checks count.
func (t *Rules) setResources(f *Flow, tag, given string) error {
	var err error
	if t.Environment, err = f.Require.Approval.Environment.forTag(tag); err != nil {
		return fmt.Errorf("flow %s: %w", f.Name, err)
	}
	checks := t.Checks
	t.Checks = nil
	for _, c := range checks {
		resource, err := c.Resource.forTag(tag)
		if err != nil {
			return fmt.Errorf("flow %s: %w", f.Name, err)
		}
		t.Checks = append(t.Checks, Check{c.Definition, Resource(resource)})
	}
	switch {
	case given == "" || sameName(given, t.Environment):
	case t.Environment != "":
		return fmt.Errorf("flow %s counts approvals of %s, but the input environment is %s: leave the input empty, or name another flow", f.Name, t.Environment, quote(given))
	case t.Kind != None:
		t.Environment = given
	}
	return nil
}

// setApprovers sets the approvers: those who are on both lists.
func (t *Rules) setApprovers(f *Flow, given []string) error {
	for _, a := range f.Require.Approval.Approvers {
		if len(given) == 0 || slices.ContainsFunc(given, func(s string) bool { return sameName(s, string(a)) }) {
			t.Approvers = append(t.Approvers, string(a))
		}
	}
	switch {
	case len(f.Require.Approval.Approvers) == 0:
		t.Approvers = given
	case len(t.Approvers) == 0:
		return fmt.Errorf("no approver is in both flow %s and the input approvers: name approvers of the flow", f.Name)
	}
	return nil
}

// setLock sets the lock: the stricter of the two.
func (t *Rules) setLock(f *Flow, given, otherwise Lock) {
	rank := []Lock{LockNone, LockTag, LockImage}
	t.Lock = cmp.Or(f.Lock, otherwise, LockNone)
	switch {
	case given == "":
	case slices.Index(rank, given) > slices.Index(rank, t.Lock):
		t.Lock = given
	case slices.Index(rank, given) < slices.Index(rank, t.Lock):
		t.ignore(f, "lock", string(given), string(t.Lock))
	}
}

// setReceipt sets the key that signs receipts. A step cannot sign with another key
// than the flow names, because verifiers trust that one.
func (t *Rules) setReceipt(f *Flow, given string) error {
	key := f.Receipt.Key
	if key != "" && given != "" && !key.is(given) {
		return fmt.Errorf("flow %s signs receipts with the key %s, but the input receiptKey is %s: leave the input empty, or name another flow", f.Name, key, quote(given))
	}
	t.ReceiptKey, t.ReceiptRequired = cmp.Or(string(key), given), f.Receipt.Required
	return nil
}

// sameName compares names without regard to case. Upper and lower case must
// both agree: one alone would take the Kelvin sign for k.
func sameName(a, b string) bool {
	lower, upper := strings.ToLower(a), strings.ToUpper(a)
	return lower == strings.ToLower(b) && upper == strings.ToUpper(b)
}

// SameApproval reports whether t and other require the same approval, so that
// they share one verdict. All fields are compared except those listed in
// approval, so that a new field separates verdicts until it is listed there.
func (t Rules) SameApproval(other Rules) bool {
	return reflect.DeepEqual(t.approval(), other.approval())
}

// approvalRules are the rules of the approval, in a form in which equal rules
// are equal values.
type approvalRules struct {
	Rules
	patterns []string
}

func (t Rules) approval() approvalRules {
	t.Sealed, t.Branches, t.Sealer, t.Attached, t.Lock, t.OnPartial, t.Ignored = false, nil, nil, nil, "", "", nil
	t.ReceiptKey, t.ReceiptRequired = "", false
	a := approvalRules{Rules: t}
	for _, p := range t.CommentPatterns {
		a.patterns = append(a.patterns, p.String())
	}
	a.CommentPatterns = nil
	a.Environment = strings.ToLower(t.Environment)
	a.Approvers = slices.Sorted(slices.Values(t.Approvers))
	a.Checks = slices.Concat(t.Checks)
	return a
}
