package plan

import (
	"fmt"
	"slices"

	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// Order is what a flow file is asked about one image: the action, where it
// lies, which flow (empty: whichever covers it), and what the task's inputs add.
type Order struct {
	Action  string
	Flow    string
	Source  ref.Reference
	Targets []Destination
	Inputs  topology.Inputs
	MoveTag bool
}

// Destination is one target as it was named. What was left out of it is as the
// flow has it.
type Destination struct {
	Registry   string
	Repository string
	Tag        string
}

// ParseDestination reads "host", "host/repository" or "host/repository:tag",
// and leaves empty what is left out.
func ParseDestination(s string) (Destination, error) {
	t, err := ref.ParseTarget(s, ref.Reference{})
	return Destination{Registry: t.Registry, Repository: t.Repository, Tag: t.Tag}, err
}

// Everywhere returns all targets of the flow that covers an image: those that
// subscribe to it, none if none does.
func Everywhere(f *topology.File, flow string, source ref.Reference) ([]Destination, *rule.Refusal) {
	found, refused := f.Select(topology.Query{Flow: flow, From: source.Registry, Repository: source.Repository, Tag: source.Tag})
	if refused != nil {
		return nil, refused
	}
	var all []Destination
	for _, name := range found.TargetsFor(source.Repository) {
		all = append(all, Destination{Registry: string(f.Registries[name].Host)})
	}
	return all, nil
}

// JudgeSubscribed refuses an image that was named and that goes nowhere: a flow
// covers it, and no target of the flow subscribes to it.
func JudgeSubscribed(source ref.Reference, targets []Destination) *rule.Refusal {
	if len(targets) > 0 {
		return nil
	}
	return &rule.Refusal{Rule: rule.NotInFlow, Subject: source.String(),
		Reason: "no target of this flow subscribes to " + source.Repository,
		Remedy: "Name an image that a team of the flow subscribes to, or ask the owners of the flow file to add it to a team."}
}

// Subject finds what verify is asked about: what stays in its registry or goes
// to more trust is a promotion, what goes down an inverted push, and what has
// no target a seal.
func Subject(f *topology.File, source ref.Reference, targets []Destination) string {
	subject := Seal
	for _, t := range targets {
		subject = Promote
		if leads(f, source.Registry, t.Registry) == topology.Down {
			return InvertedPush
		}
	}
	return subject
}

// Defaults are what holds where neither flow nor inputs say anything.
func Defaults(action string) topology.Defaults {
	d := topology.Defaults{Sealed: action == InvertedPush, Lock: topology.LockNone}
	if action == Seal {
		d.Lock = topology.LockTag
	}
	return d
}

// Route finds the flow of each target and the rules for going there. What no
// flow covers, or leads the wrong way, is a refusal; what contradicts the flow
// file, so that nobody could say what is meant, is an error.
func Route(f *topology.File, o Order) (Wanted, []rule.Refusal, error) {
	w := Wanted{Action: o.Action, Source: o.Source, MoveTag: o.MoveTag, Covered: true}
	if o.Action == Seal {
		return routeSeal(f, o, w)
	}
	w.Targets, w.Ways = make([]ref.Reference, 0, len(o.Targets)), make([]Way, 0, len(o.Targets))
	var refusals []rule.Refusal
	for _, d := range o.Targets {
		way, target, refused, err := route(f, o, d)
		if err != nil {
			return w, nil, err
		}
		if refused != nil {
			refusals = append(refusals, *refused)
			continue
		}
		if slices.Contains(w.Targets, target) {
			continue
		}
		w.Targets = append(w.Targets, target)
		w.Ways = append(w.Ways, way)
	}
	return w, refusals, nil
}

// routeSeal: an image is sealed where it lies, under a flow that takes it from
// there.
func routeSeal(f *topology.File, o Order, w Wanted) (Wanted, []rule.Refusal, error) {
	flow, refused := f.Select(topology.Query{Flow: o.Flow, From: o.Source.Registry, Repository: o.Source.Repository, Tag: o.Source.Tag})
	if refused != nil {
		return w, []rule.Refusal{*refused}, nil
	}
	rules, err := flow.Tighten(o.Source.Tag, o.Inputs, Defaults(Seal))
	if err != nil {
		return w, nil, err
	}
	// The flow's own lock is one for the targets.
	rules.Kind, rules.Sealed = topology.None, false
	if rules.Lock = topology.LockTag; o.Inputs.Lock == topology.LockImage {
		rules.Lock = topology.LockImage
	}
	w.Ways = []Way{{Flow: flow, Rules: rules}}
	w.SealExisting = flow.SealExisting
	return w, nil, nil
}

func route(f *topology.File, o Order, d Destination) (Way, ref.Reference, *rule.Refusal, error) {
	s := o.Source
	flow, refused := f.Select(topology.Query{
		Flow: o.Flow, From: s.Registry, Repository: s.Repository, Tag: s.Tag,
		To: d.Registry, TargetRepository: d.Repository, TargetTag: d.Tag,
	})
	if refused != nil {
		return Way{}, ref.Reference{}, refused, nil
	}
	if refused := judgeWay(f, o, d); refused != nil {
		return Way{}, ref.Reference{}, refused, nil
	}
	repository, tag, err := flow.Names(s.Repository, s.Tag)
	if err != nil {
		return Way{}, ref.Reference{}, nil, err
	}
	target := ref.Reference{Registry: d.Registry, Repository: repository, Tag: tag}
	if d.Repository != "" {
		target.Repository = d.Repository
	}
	if d.Tag != "" {
		target.Tag = d.Tag
	}
	if target.Registry == s.Registry && target.Repository == s.Repository && target.Tag == s.Tag {
		return Way{}, ref.Reference{}, nil, fmt.Errorf("target %s is the source itself: name another tag in targets, as host/repository:stage", target)
	}
	rules, err := flow.Tighten(target.Tag, o.Inputs, Defaults(o.Action))
	if err != nil {
		return Way{}, ref.Reference{}, nil, err
	}
	if o.Action == Audit {
		rules.Kind, rules.Sealed = topology.None, false
	}
	return Way{Flow: flow, Rules: rules, Move: f.MayMove(flow, s.Registry, target.Registry, target.Repository, target.Tag, o.MoveTag)}, target, nil, nil
}

// leads tells where a way goes. A registry that the file does not know makes
// it one upward, which nothing permits.
func leads(f *topology.File, from, to string) topology.Direction {
	source, known := f.ByHost(from)
	target, knownToo := f.ByHost(to)
	if !known || !knownToo {
		return topology.Up
	}
	return f.Direction(source.Name, target.Name)
}

// judgeWay holds the action to the direction of trust: an inverted push goes
// down, a promotion does not.
func judgeWay(f *topology.File, o Order, d Destination) *rule.Refusal {
	subject := d.Registry + "/" + o.Source.Repository
	direction := leads(f, o.Source.Registry, d.Registry)
	switch {
	case o.Action == InvertedPush && direction == topology.Up:
		return &rule.Refusal{Rule: rule.Upward, Subject: subject,
			Reason: fmt.Sprintf("%s is trusted more than %s, and an inverted push goes down", d.Registry, o.Source.Registry),
			Remedy: "Use promote, which takes images up where a flow says so."}
	case o.Action == InvertedPush && direction == topology.Same, o.Action == Promote && direction == topology.Down:
		leads := map[topology.Direction]string{topology.Same: "to equal trust", topology.Down: "down"}[direction]
		return &rule.Refusal{Rule: rule.NotInFlow, Subject: subject,
			Reason: fmt.Sprintf("the way from %s to %s leads %s, which does not fit the action %s", o.Source.Registry, d.Registry, leads, o.Action),
			Remedy: "Use invertedPush for what goes down, and promote for everything else."}
	}
	return nil
}
