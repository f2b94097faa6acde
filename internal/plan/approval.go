package plan

import (
	"cmp"
	"slices"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/topology"
)

// Group has the images that share a verdict, by their positions, and the rules
// of that verdict.
type Group struct {
	Rules  topology.Rules
	Images []int
}

// Groups returns what has to be approved: usually one group, or one per target
// tag if a flow names the environment after the tag. It is empty if no rule in
// force requires an approval.
func Groups(action string, images []Wanted) []Group {
	if !Approved(action) {
		return nil
	}
	var groups []Group
	for at, w := range images {
		for _, route := range w.Routes {
			if route.Rules.Kind == topology.None {
				continue
			}
			i := slices.IndexFunc(groups, func(g Group) bool { return g.Rules.SameApproval(route.Rules) })
			if i < 0 {
				groups = append(groups, Group{Rules: route.Rules})
				i = len(groups) - 1
			}
			if !slices.Contains(groups[i].Images, at) {
				groups[i].Images = append(groups[i].Images, at)
			}
		}
	}
	return groups
}

// Approved reports whether the action requires an approval.
func Approved(action string) bool { return action == Promote || action == InvertedPush }

// Case returns what the verdict on a step depends on: the rules, and the seals
// as found in the registries. code is the approval code of the images, or empty
// if it is unknown. planned has all images of the plan: those of other jobs too.
func Case(action string, images []Image, groups []Group, subject, code string, planned []Image) approval.Case {
	c := approval.Case{NeedsApproval: Approved(action) || action == Recall, Subject: subject, Covered: len(images) > 0, Seals: seals(images)}
	for _, i := range images {
		c.Covered = c.Covered && len(i.Wanted.Routes) > 0
	}
	for _, g := range groups {
		rules := approval.Rules{
			Approval:            approval.Kind(g.Rules.Kind),
			Environment:         g.Rules.Environment,
			MinApprovers:        g.Rules.MinApprovers,
			RequesterCanApprove: g.Rules.RequesterCanApprove,
			AuthorCanApprove:    g.Rules.AuthorCanApprove,
			Approvers:           g.Rules.Approvers,
			MaxAge:              g.Rules.MaxAge,
			CommentPatterns:     g.Rules.CommentPatterns,
			Subject:             subject,
		}
		for _, check := range g.Rules.Checks {
			rules.Checks = append(rules.Checks, approval.Check{Definition: string(check.Definition), Resource: string(check.Resource)})
		}
		switch g.Rules.Code {
		case topology.CodeOfImage:
			rules.Code = cmp.Or(code, approval.UnknownCode)
		case topology.CodeOfPlan:
			rules.CodeOf, rules.OtherCode = approval.CodeOfPlan, code
			c.PlanCode = planCode(planned)
		}
		var group []Image
		for _, at := range g.Images {
			group = append(group, images[at])
		}
		rules.Seals = seals(group)
		c.Parts = append(c.Parts, approval.Part{Rules: rules})
	}
	return c
}

// planCode returns the function that computes the plan's code as of a time; it is
// empty if it is unknown.
func planCode(images []Image) func(at time.Time) string {
	codes := map[time.Time]string{}
	return func(at time.Time) string {
		code, computed := codes[at]
		if !computed {
			if scope, known := ScopeAt(images, at); known {
				code = scope.Code()
			}
			codes[at] = code
		}
		return code
	}
}

// NeedsPlanCode reports whether the comment of an approval must quote the plan's
// code.
func NeedsPlanCode(images []Wanted) bool {
	return slices.ContainsFunc(images, func(w Wanted) bool {
		return Approved(w.Action) && slices.ContainsFunc(w.Routes, func(r Route) bool {
			return r.Rules.Kind != topology.None && r.Rules.Code == topology.CodeOfPlan
		})
	})
}

// seals returns the seals of the images that require one.
func seals(images []Image) []approval.Seal {
	var found []approval.Seal
	for _, i := range images {
		if i.Wanted.NeedsSeal() && !i.Observed.Source.Unreadable {
			found = append(found, i.Seal())
		}
	}
	return found
}
