package report

import (
	"maps"
	"slices"
	"sort"
	"time"

	"acrpromote/internal/card"
	"acrpromote/internal/imageinfo"
	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
)

// cardOf returns the approver's card of a result, and whether it has one.
func cardOf(r Result) (card.Card, bool) {
	if r.Card == nil {
		return card.Card{}, false
	}
	now, _ := time.Parse(time.RFC3339, r.Card.At)
	c := card.Card{Operation: r.Card.Operation, Done: r.Changed, Now: now, Violated: len(r.Refusals), Notes: r.Card.Notes, Code: codeOf(r)}
	for _, o := range r.Approval.Rules {
		if o.Pending {
			c.Pending++
		}
	}
	for _, image := range r.Images {
		one := cardImage(image)
		one.Lock = r.Card.Lock
		c.Images = append(c.Images, one)
	}
	return c, true
}

// codeOf returns the code to quote. There is none for an approval that nobody has to
// give, and for a plan that would be refused anyway.
func codeOf(r Result) card.Code {
	c := card.Code{Value: r.ApprovalCode, Covers: "image"}
	if len(r.Images) > 1 {
		c.Covers = "set"
	}
	if r.Approval.Kind == "none" && r.Approval.Granted || r.Action == "seal" && !showsCode(r) || r.Action == "plan" && len(r.Refusals) > 0 {
		return card.Code{}
	}
	asked := slices.ContainsFunc(r.Approval.Rules, func(o RuleState) bool { return o.Rule == rule.ApprovalCode }) ||
		slices.ContainsFunc(r.Refusals, func(f rule.Refusal) bool { return f.Rule == rule.ApprovalCode })
	// Neither code serves for the other.
	if r.Plan != nil && (!asked || r.asksFor("plan")) {
		c.Value, c.Covers = r.Plan.Code, "plan"
		if asked && r.asksFor("image") {
			c.Also = r.ApprovalCode
		}
	}
	switch {
	case asked:
		c.Required = card.Required
	case r.Action != "seal":
		c.Required = card.Optional
	}
	return c
}

// asksFor reports whether the rules in force require a code, "image" or "plan", for
// some of the images or targets at least.
func (r Result) asksFor(code string) bool {
	inForce := r.RulesInForce["approvalCode"]
	return inForce.Value == code || slices.ContainsFunc(inForce.Others, func(v RuleValue) bool { return v.Value == code })
}

func cardImage(image Image) card.Image {
	c := card.Image{Source: image.Source, Digest: image.Digest, Changes: image.Changes}
	if image.Description != nil {
		c.Description = *image.Description
	}
	types := map[string]card.Attached{}
	add := func(artifactType string, left int) {
		a := types[artifactType]
		types[artifactType] = card.Attached{Type: artifactType, Count: a.Count + 1, Left: a.Left + left}
	}
	for _, a := range image.Attached {
		left := 0
		if a.State == outcome.Left {
			left = 1
		}
		add(a.ArtifactType, left)
	}
	for _, t := range image.Types {
		add(t, 0)
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		c.Attached = append(c.Attached, types[name])
	}
	sort.SliceStable(c.Attached, func(i, j int) bool { return c.Attached[i].Count > c.Attached[j].Count })
	changes := map[string]int{}
	for i, change := range image.Changes {
		for _, target := range change.Targets {
			changes[target] = i
		}
	}
	for _, t := range image.Targets {
		one := card.Target{Where: t.Where(), State: card.New, Previous: t.Previous, Rollback: t.Rollback, Lock: t.Locked, Change: -1}
		if i, ok := changes[one.Where]; ok {
			one.Change = i
		}
		switch {
		case t.State == outcome.Present:
			one.State = card.Present
		case t.State == outcome.Pending, t.State == outcome.TargetFailed:
			one.State = card.Unread
		case t.Previous != "":
			one.State = card.Moves
		case one.Change >= 0 && image.Changes[one.Change].Basis == imageinfo.Same:
			one.State = card.Repair
		}
		c.Targets = append(c.Targets, one)
	}
	return c
}
