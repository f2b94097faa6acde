package plan

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// Request is a request for one image by a flow file. Flow is the name of the flow;
// if it is empty, any flow that covers the image is used.
type Request struct {
	Action  string
	Flow    string
	Source  ref.Reference
	Targets []Destination
	Inputs  topology.Inputs
	MoveTag bool
}

// inputs returns the inputs that the action takes: sealing and auditing ask for no
// approval and no seal.
func (o Request) inputs() topology.Inputs {
	if Approved(o.Action) {
		return o.Inputs
	}
	return topology.Inputs{Lock: o.Inputs.Lock, OnPartial: o.Inputs.OnPartial}
}

// Destination is a target as named in the inputs. Empty parts are as the flow
// names them.
type Destination struct {
	Registry   string
	Repository string
	Tag        string
}

// ParseDestination parses "host", "host/repository" or "host/repository:tag".
// Omitted parts are empty.
func ParseDestination(s string) (Destination, error) {
	t, err := ref.ParseTarget(s, ref.Reference{})
	return Destination{Registry: t.Registry, Repository: t.Repository, Tag: t.Tag}, err
}

// directions returns the directions of trust that an action goes in; none if it
// moves nothing.
func directions(action string) []topology.Direction {
	switch action {
	case InvertedPush:
		return []topology.Direction{topology.Down}
	case Promote:
		return []topology.Direction{topology.Up, topology.Same}
	}
	return nil
}

// AllTargets returns all targets of the flow that covers an image: those that
// subscribe to it, if any. A flow that leads where the action goes is
// preferred.
func AllTargets(f *topology.File, action, flow string, source ref.Reference) ([]Destination, *rule.Refusal) {
	found, refused := f.Select(topology.Query{
		Flow: flow, From: source.Registry, Repository: source.Repository, Tag: source.Tag, Directions: directions(action),
	})
	if refused != nil {
		return nil, refused
	}
	var all []Destination
	for _, name := range found.TargetsFor(source.Repository) {
		all = append(all, Destination{Registry: string(f.Registries[name].Host)})
	}
	return all, nil
}

// JudgeSubscribed returns a refusal for an image given by name that a flow covers
// but to which no target of the flow subscribes.
func JudgeSubscribed(source ref.Reference, targets []Destination) *rule.Refusal {
	if len(targets) > 0 {
		return nil
	}
	return &rule.Refusal{Rule: rule.NotInFlow, Subject: source.String(),
		Reason: "no target of this flow subscribes to " + source.Repository,
		Remedy: "Name an image that a team of the flow subscribes to, or ask the owners of the flow file to add it to a team."}
}

// EffectiveAction returns the action that verify judges for the named targets: an
// inverted push if any of them is less trusted than the source, and a promotion
// otherwise.
func EffectiveAction(f *topology.File, source ref.Reference, targets []Destination) string {
	for _, t := range targets {
		if trustDirection(f, source.Registry, t.Registry) == topology.Down {
			return InvertedPush
		}
	}
	return Promote
}

// EffectiveActionOfFlow returns the action that verify judges where no targets are named:
// the one that the flows of the image lead to. It is an error if some flows lead
// down and others do not, because either action could be meant. It is never a
// seal: an empty list of targets must not turn a check of an approval into one
// that needs none.
func EffectiveActionOfFlow(f *topology.File, flow string, source ref.Reference) (string, error) {
	flows := f.Covering(topology.Query{Flow: flow, From: source.Registry, Repository: source.Repository, Tag: source.Tag})
	var down, others []string
	for _, flow := range flows {
		if f.LeadsTo(flow, source.Repository, directions(InvertedPush)) {
			down = append(down, flow.Name)
		}
		if f.LeadsTo(flow, source.Repository, directions(Promote)) {
			others = append(others, flow.Name)
		}
	}
	switch {
	case len(flows) > 1 && len(down) > 0 && len(others) > 0:
		return "", fmt.Errorf("%s could be pushed down (flow %s) or promoted (flow %s)", source, strings.Join(down, ", "), strings.Join(others, ", "))
	case len(down) > 0:
		return InvertedPush, nil
	}
	return Promote, nil
}

// EffectiveActionOfSet returns the action that verify judges for a set of a flow: an
// inverted push if any image of it goes down, and a promotion otherwise.
func EffectiveActionOfSet(f *topology.File, flow *topology.Flow, sources []ref.Reference) string {
	for _, s := range sources {
		if f.LeadsTo(flow, s.Repository, directions(InvertedPush)) {
			return InvertedPush
		}
	}
	return Promote
}

// Defaults returns the action's defaults for rules that neither the flow nor the
// inputs set.
func Defaults(action string) topology.Defaults {
	d := topology.Defaults{Sealed: action == InvertedPush, Lock: topology.LockNone}
	if action == Seal {
		d.Lock = topology.LockTag
	}
	return d
}

// FindRoutes finds the flow and the rules for each target. A target that no flow
// covers, or that is in the wrong direction, is a refusal. Inputs that contradict
// the flow file are an error.
func FindRoutes(f *topology.File, o Request) (Wanted, []rule.Refusal, error) {
	w := Wanted{Action: o.Action, Source: o.Source, MoveTag: o.MoveTag, Covered: true}
	if o.Action == Seal {
		return routeSeal(f, o, w)
	}
	w.Targets, w.Routes = make([]ref.Reference, 0, len(o.Targets)), make([]Route, 0, len(o.Targets))
	var refusals []rule.Refusal
	for _, d := range o.Targets {
		route, target, refused, err := findRoute(f, o, d)
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
		w.Routes = append(w.Routes, route)
	}
	return w, refusals, nil
}

// routeSeal finds the rules for a seal: those of a flow from the image's
// registry.
func routeSeal(f *topology.File, o Request, w Wanted) (Wanted, []rule.Refusal, error) {
	flow, refused := f.Select(topology.Query{Flow: o.Flow, From: o.Source.Registry, Repository: o.Source.Repository, Tag: o.Source.Tag})
	if refused != nil {
		return w, []rule.Refusal{*refused}, nil
	}
	rules, err := flow.Tighten(o.Source.Tag, o.inputs(), Defaults(Seal))
	if err != nil {
		return w, nil, err
	}
	// The flow's lock is for the targets.
	rules.Kind, rules.Sealed = topology.None, false
	if rules.Lock = topology.LockTag; o.Inputs.Lock == topology.LockImage {
		rules.Lock = topology.LockImage
	}
	w.Routes = []Route{{Flow: flow, Rules: rules}}
	w.SealExisting = flow.SealExisting
	return w, nil, nil
}

// findRoute finds the route to one target.
func findRoute(f *topology.File, o Request, d Destination) (Route, ref.Reference, *rule.Refusal, error) {
	s := o.Source
	flow, refused := f.Select(topology.Query{
		Flow: o.Flow, From: s.Registry, Repository: s.Repository, Tag: s.Tag,
		To: d.Registry, TargetRepository: d.Repository, TargetTag: d.Tag,
	})
	if refused != nil {
		return Route{}, ref.Reference{}, refused, nil
	}
	if refused := judgeRoute(f, o, d); refused != nil {
		return Route{}, ref.Reference{}, refused, nil
	}
	repository, tag, err := flow.Names(s.Repository, s.Tag)
	if err != nil {
		return Route{}, ref.Reference{}, nil, err
	}
	target := ref.Reference{Registry: d.Registry, Repository: repository, Tag: tag}
	if d.Repository != "" {
		target.Repository = d.Repository
	}
	if d.Tag != "" {
		target.Tag = d.Tag
	}
	if target.Registry == s.Registry && target.Repository == s.Repository && target.Tag == s.Tag {
		return Route{}, ref.Reference{}, nil, fmt.Errorf("target %s is the source itself: name another tag in targets, such as host/repository:stage", target)
	}
	rules, err := flow.Tighten(target.Tag, o.inputs(), Defaults(o.Action))
	if err != nil {
		return Route{}, ref.Reference{}, nil, err
	}
	if o.Action == Audit {
		rules.Kind, rules.Sealed = topology.None, false
	}
	to, _ := f.ByHost(target.Registry)
	return Route{Flow: flow, Rules: rules, Immutable: to != nil && to.Immutable,
		MoveRefusal: f.MayMove(flow, s.Registry, target.Registry, target.Repository, target.Tag, o.MoveTag)}, target, nil, nil
}

// trustDirection returns the direction between two registries. If the file does
// not have one of them, the direction is up, which no flow allows.
func trustDirection(f *topology.File, from, to string) topology.Direction {
	source, known := f.ByHost(from)
	target, knownToo := f.ByHost(to)
	if !known || !knownToo {
		return topology.Up
	}
	return f.Direction(source.Name, target.Name)
}

// judgeRoute checks that the action fits the direction of trust: an inverted push
// goes down, and a promotion does not.
func judgeRoute(f *topology.File, o Request, d Destination) *rule.Refusal {
	subject := d.Registry + "/" + o.Source.Repository
	direction := trustDirection(f, o.Source.Registry, d.Registry)
	switch {
	case o.Action == InvertedPush && direction == topology.Up:
		return &rule.Refusal{Rule: rule.Upward, Subject: subject,
			Reason: fmt.Sprintf("%s is more trusted than %s, but an inverted push goes down", d.Registry, o.Source.Registry),
			Remedy: "Use promote, with a flow that leads up."}
	case o.Action == InvertedPush && direction == topology.Same, o.Action == Promote && direction == topology.Down:
		leads := map[topology.Direction]string{topology.Same: "to equal trust", topology.Down: "down"}[direction]
		return &rule.Refusal{Rule: rule.NotInFlow, Subject: subject,
			Reason: fmt.Sprintf("a copy from %s to %s leads %s, which does not fit the action %s", o.Source.Registry, d.Registry, leads, o.Action),
			Remedy: "Use invertedPush to go down, and promote otherwise."}
	}
	return nil
}
