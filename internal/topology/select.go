package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/levenshtein"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
)

// Query is the question which flow covers an image on its way to a registry.
// Registries are given by host.
type Query struct {
	Flow            string // the flow's name; if empty, any flow that covers the image
	From            string
	Repository, Tag string // at the source; Tag is empty for an image by digest
	// Directions, if To is empty, are preferred: of several flows that cover the
	// image, those that lead to a target in one of them.
	Directions []Direction

	To               string // if empty, the image is not moved, but sealed or audited
	TargetRepository string // if empty, as the flow names it
	TargetTag        string // if empty, as the flow names it
}

// source returns the image as a user would write it.
func (a Query) source() string {
	if a.Tag == "" {
		return a.From + "/" + a.Repository
	}
	return a.From + "/" + a.Repository + ":" + a.Tag
}

// subject returns what a refusal is about: the target, or else the source.
func (a Query) subject() string {
	if a.To == "" {
		return a.source()
	}
	s := a.To + "/" + cmp.Or(a.TargetRepository, a.Repository)
	if tag := cmp.Or(a.TargetTag, a.Tag); tag != "" {
		s += ":" + tag
	}
	return s
}

// Covers reports whether the flow covers a source image. The tag is empty for
// an image by digest.
func (f *Flow) Covers(repository, tag string) bool {
	return ref.IsRepository(repository) && (tag == "" || ref.IsTag(tag)) && f.Repositories.Match(repository) && f.Tags.match(tag)
}

// TargetsFor returns the names of the registries that a source repository goes
// to, sorted: all targets of the flow, or those that subscribe to it.
func (f *Flow) TargetsFor(repository string) []string {
	var targets []string
	if !f.Repositories.Match(repository) {
		return nil
	}
	for _, to := range f.To {
		if f.subscribes(to, repository) {
			targets = append(targets, to)
		}
	}
	slices.Sort(targets)
	return targets
}

func (f *Flow) subscribes(target, repository string) bool {
	if f.Teams == nil {
		return true
	}
	patterns, named := f.Teams[target]
	return named && patterns.Match(repository)
}

// Select returns the flow that covers an image. If there is none, the refusal
// says what is covered. If several flows cover it, they have the same rules
// (Parse ensures that), and Select returns the first by name. Only if the image
// has no target can their rules differ; then the user must name one.
func (f *File) Select(a Query) (*Flow, *rule.Refusal) {
	refuse := func(name rule.Name, reason, remedy string) (*Flow, *rule.Refusal) {
		return nil, &rule.Refusal{Rule: name, Subject: a.subject(), Reason: reason, Remedy: remedy}
	}
	if a.Flow != "" {
		if _, err := f.Flow(a.Flow); err != nil {
			return refuse(rule.NotInFlow, "the flow file has no flow "+quote(a.Flow), unknown("flow", a.Flow, keys(f.Flows)).remedy)
		}
	}
	noRegistry := func(host string) (*Flow, *rule.Refusal) {
		return refuse(rule.NotInFlow, "the flow file has no registry with host "+host, f.suggestHost(host))
	}
	from, known := f.ByHost(a.From)
	if !known {
		return noRegistry(a.From)
	}
	to := from
	if a.To != "" {
		if to, known = f.ByHost(a.To); !known {
			return noRegistry(a.To)
		}
	}
	covering, reasons, joined := f.covering(a, from, to)
	if a.To == "" {
		leading := slices.DeleteFunc(slices.Clone(covering), func(flow *Flow) bool { return !f.LeadsTo(flow, a.Repository, a.Directions) })
		if len(leading) > 0 {
			covering = leading
		}
	}
	switch {
	case len(covering) > 1 && a.To == "" && !sameRules(covering):
		var names []string
		for _, flow := range covering {
			names = append(names, flow.Name)
		}
		return refuse(rule.NotInFlow, fmt.Sprintf("flows %s cover it, but their rules differ", listed(names)), "Name one of them in the input flow.")
	case len(covering) > 0:
		return covering[0], nil
	case len(reasons) > 0:
		return refuse(rule.NotInFlow, fmt.Sprintf("no flow covers %s: %s", a.way(to), joinReasons(reasons)),
			"Name an image that a flow covers, or ask the owners of the flow file to add it.")
	case joined:
		return refuse(rule.NotInFlow, fmt.Sprintf("flow %s does not lead from %s (%s) to %s (%s), but another flow does", a.Flow, from.Name, from.Host, to.Name, to.Host), "Name that flow in the input flow, or leave the input empty.")
	case f.Direction(from.Name, to.Name) == Up:
		return refuse(rule.Upward, fmt.Sprintf("no flow leads up from %s (%s, trust %s) to %s (%s, trust %s)", from.Name, from.Host, from.Trust, to.Name, to.Host, to.Trust),
			"Images go up only by a flow that requires an approval. "+add)
	}
	return refuse(rule.NotInFlow, fmt.Sprintf("no flow leads from %s (%s) to %s (%s)", from.Name, from.Host, to.Name, to.Host), add)
}

const add = "Ask the owners of the flow file to add it."

// suggestHost returns what to do about a host that no registry has.
func (f *File) suggestHost(host string) string {
	if near, ok := levenshtein.NearestHost(host, keys(f.hosts)); ok {
		return fmt.Sprintf("Did you mean %s? If not, ask the owners of the flow file to add it.", near)
	}
	return add
}

// covering returns the flows between two registries that cover an image, why the
// others do not, and whether there is any flow between these registries.
func (f *File) covering(a Query, from, to *Registry) (covering []*Flow, reasons []string, joined bool) {
	for _, name := range keys(f.Flows) {
		flow := f.Flows[name]
		if flow.From != from.Name || a.To != "" && !slices.Contains(flow.To, to.Name) {
			continue
		}
		joined = true
		if a.Flow != "" && a.Flow != name {
			continue
		}
		if why := flow.mismatch(a, from, to); why != "" {
			reasons = append(reasons, fmt.Sprintf("flow %s %s", name, why))
			continue
		}
		covering = append(covering, flow)
	}
	return covering, reasons, joined
}

// Covering returns the flows that cover an image at its source, by name.
func (f *File) Covering(a Query) []*Flow {
	a.To = ""
	from, known := f.ByHost(a.From)
	if !known {
		return nil
	}
	covering, _, _ := f.covering(a, from, from)
	return covering
}

// LeadsTo reports whether a flow brings a source repository to a registry that
// lies in one of the given directions.
func (f *File) LeadsTo(flow *Flow, repository string, directions []Direction) bool {
	return slices.ContainsFunc(flow.TargetsFor(repository), func(to string) bool {
		return slices.Contains(directions, f.Direction(flow.From, to))
	})
}

// way returns the image with its target, for a message.
func (a Query) way(to *Registry) string {
	if a.To == "" {
		return a.source()
	}
	return fmt.Sprintf("%s on its way to %s", a.source(), to.Host)
}

// joinReasons joins the first reasons and counts the rest.
func joinReasons(reasons []string) string {
	const limit = 10
	if len(reasons) > limit {
		return strings.Join(reasons[:limit], "; ") + fmt.Sprintf("; and %d more flows", len(reasons)-limit)
	}
	return strings.Join(reasons, "; ")
}

// mismatch returns why a flow between these registries does not cover an image, or
// "" if it does.
func (f *Flow) mismatch(a Query, from, to *Registry) string {
	switch {
	case !ref.IsRepository(a.Repository) || !f.Repositories.Match(a.Repository):
		return "covers the repositories " + f.Repositories.String()
	case !f.Covers(a.Repository, a.Tag) && a.Tag == "":
		return "covers the tags " + f.Tags.String() + ", and an image by digest has no tag (name it by its tag)"
	case !f.Covers(a.Repository, a.Tag):
		return "covers the tags " + f.Tags.String()
	case a.To == "":
		return ""
	case !f.subscribes(to.Name, a.Repository):
		return fmt.Sprintf("subscribes %s to %s", to.Name, f.Teams[to.Name])
	}
	atRepository, atTag, err := f.Names(a.Repository, a.Tag)
	if err != nil {
		return "cannot name it: " + err.Error()
	}
	repository, tag := cmp.Or(a.TargetRepository, atRepository), cmp.Or(a.TargetTag, atTag)
	switch {
	case repository != atRepository:
		return "names it " + atRepository + " at the target"
	case f.templated() && !f.Moves(tag):
		return "has an approval per tag, for the tags " + patterns(f.MovingTags, "none")
	case tag != atTag && !f.Moves(tag):
		if len(f.MovingTags) == 0 {
			return "gives it the tag " + cmp.Or(atTag, "none") + " at the target"
		}
		return "gives it the tag " + cmp.Or(atTag, "none") + " at the target, or one of " + patterns(f.MovingTags, "none")
	case from == to && repository == a.Repository && tag == a.Tag:
		return "stays within one registry, so the target needs another tag: one of " + patterns(f.MovingTags, "none")
	}
	return ""
}

// templated reports whether the approval's resource depends on the target tag.
func (f *Flow) templated() bool {
	for _, c := range f.Require.Approval.Checks {
		if c.Resource.templated() {
			return true
		}
	}
	return f.Require.Approval.Environment.templated()
}

// ApprovalResources returns the names of the resources whose approval the flow counts:
// one, which is empty if the flow names none, or one for each tag of movingTags if the
// name depends on the tag. Patterns in movingTags name no tag.
func (f *Flow) ApprovalResources() []string {
	r := f.Require.Approval.Environment
	if !r.templated() {
		return []string{string(r)}
	}
	var all []string
	for _, p := range f.MovingTags {
		if name, err := r.forTag(p.text); err == nil {
			all = append(all, name)
		}
	}
	return all
}

// MayMove returns nil if a tag at a target may move to another digest, and a
// refusal otherwise. moveTag is the input of that name, which has effect only
// within one registry.
func (f *File) MayMove(flow *Flow, from, to, repository, tag string, moveTag bool) *rule.Refusal {
	source, sourceKnown := f.ByHost(from)
	target, known := f.ByHost(to)
	subject := to + "/" + repository + ":" + tag
	switch {
	case known && flow != nil && flow.Moves(tag):
		return nil
	case !known || target.Immutable:
		return &rule.Refusal{Rule: rule.Immutable, Subject: subject,
			Reason: "the flow file marks the registry as immutable, and the flow's movingTags do not include the tag",
			Remedy: "Give the image another tag, or ask the owners of the flow file to add this one to movingTags."}
	case moveTag && sourceKnown && source == target:
		return nil
	}
	return &rule.Refusal{Rule: rule.TagWouldMove, Subject: subject,
		Reason: "the tag exists with another digest, and the flow's movingTags do not include it",
		Remedy: "Give the image another tag, or ask the owners of the flow file to add this one to movingTags."}
}

// JudgePin returns a refusal if a flow file is not the pinned one. Both are
// given by the SHA-256 of their bytes in hexadecimal.
func JudgePin(path, sum, pinned string) *rule.Refusal {
	if sum == pinned {
		return nil
	}
	return &rule.Refusal{Rule: rule.FlowUnverified, Subject: path,
		Reason: fmt.Sprintf("its SHA-256 is %s, but %s is pinned", sum, pinned),
		Remedy: "Find out who changed the file. If the change is intended, pin the new hash."}
}
