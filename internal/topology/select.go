package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
)

// Ask is one image on its way to one registry. Registries are named by host.
type Ask struct {
	Flow             string // the flow's name; empty: whichever covers the image
	From             string
	Repository, Tag  string // at the source; an empty Tag is an image by digest
	To               string // empty: it stays where it is, and is sealed or looked at
	TargetRepository string // empty: as the flow has it
	TargetTag        string // empty: as the flow has it
}

// source writes the image as a user would.
func (a Ask) source() string {
	if a.Tag == "" {
		return a.From + "/" + a.Repository
	}
	return a.From + "/" + a.Repository + ":" + a.Tag
}

func (a Ask) subject() string {
	if a.To == "" {
		return a.source()
	}
	s := a.To + "/" + cmp.Or(a.TargetRepository, a.Repository)
	if tag := cmp.Or(a.TargetTag, a.Tag); tag != "" {
		s += ":" + tag
	}
	return s
}

// Covers says whether a source image is the flow's. An empty tag is an image
// by digest alone.
func (f *Flow) Covers(repository, tag string) bool {
	return ref.IsRepository(repository) && (tag == "" || ref.IsTag(tag)) && f.Repositories.Match(repository) && f.Tags.Match(tag)
}

// TargetsFor are the registries, by name and sorted, that a source repository
// goes to: all of the flow's, or those that subscribe to it.
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

// Select finds the flow that an image may take. If there is none, the refusal
// says what is covered. Flows that cover the same way have the same rules
// (Parse sees to that), and the first by name is given; only where the image
// has no target several may differ, and then one is to be named.
func (f *File) Select(a Ask) (*Flow, *rule.Refusal) {
	refuse := func(name rule.Name, reason, remedy string) (*Flow, *rule.Refusal) {
		return nil, &rule.Refusal{Rule: name, Subject: a.subject(), Reason: reason, Remedy: remedy}
	}
	if a.Flow != "" {
		if _, err := f.Flow(a.Flow); err != nil {
			return refuse(rule.NotInFlow, "The flow file has no flow "+quote(a.Flow)+".", "Name one of "+listed(keys(f.Flows))+".")
		}
	}
	const add = "Ask the owners of the flow file to add it."
	from, known := f.ByHost(a.From)
	if !known {
		return refuse(rule.NotInFlow, fmt.Sprintf("The flow file has no registry with the host %s.", a.From), add)
	}
	to := from
	if a.To != "" {
		if to, known = f.ByHost(a.To); !known {
			return refuse(rule.NotInFlow, fmt.Sprintf("The flow file has no registry with the host %s.", a.To), add)
		}
	}
	var covering []*Flow
	var reasons []string
	joined := false
	for _, name := range keys(f.Flows) {
		flow := f.Flows[name]
		if flow.From != from.Name || a.To != "" && !slices.Contains(flow.To, to.Name) {
			continue
		}
		joined = true
		if a.Flow != "" && a.Flow != name {
			continue
		}
		if why := flow.lacks(a, from, to); why != "" {
			reasons = append(reasons, fmt.Sprintf("flow %s %s", name, why))
			continue
		}
		covering = append(covering, flow)
	}
	switch {
	case len(covering) > 1 && a.To == "" && !alike(covering):
		var names []string
		for _, flow := range covering {
			names = append(names, flow.Name)
		}
		return refuse(rule.NotInFlow, fmt.Sprintf("The flows %s cover it, and their rules differ.", listed(names)), "Name one of them in the input flow.")
	case len(covering) > 0:
		return covering[0], nil
	case len(reasons) > 0:
		return refuse(rule.NotInFlow, fmt.Sprintf("No flow covers %s on its way to %s: %s.", a.source(), to.Host, told(reasons)),
			"Name an image that a flow covers, or ask the owners of the flow file.")
	case joined:
		return refuse(rule.NotInFlow, fmt.Sprintf("Flow %s does not lead from %s (%s) to %s (%s), another one does.", a.Flow, from.Name, from.Host, to.Name, to.Host), "Name that one, or none.")
	case f.Direction(from.Name, to.Name) == Up:
		return refuse(rule.Upward, fmt.Sprintf("No flow leads from %s (%s, trust %s) up to %s (%s, trust %s).", from.Name, from.Host, from.Trust, to.Name, to.Host, to.Trust),
			"Images go up only where a flow says so and demands an approval. "+add)
	}
	return refuse(rule.NotInFlow, fmt.Sprintf("No flow leads from %s (%s) to %s (%s).", from.Name, from.Host, to.Name, to.Host), add)
}

// told joins reasons, not without end.
func told(reasons []string) string {
	const most = 10
	if len(reasons) > most {
		return strings.Join(reasons[:most], "; ") + fmt.Sprintf("; and %d more flows do not either", len(reasons)-most)
	}
	return strings.Join(reasons, "; ")
}

// lacks says why a flow between the right registries does not cover an image,
// or nothing if it does.
func (f *Flow) lacks(a Ask, from, to *Registry) string {
	switch {
	case !ref.IsRepository(a.Repository) || !f.Repositories.Match(a.Repository):
		return "covers the repositories " + f.Repositories.String()
	case !f.Covers(a.Repository, a.Tag) && a.Tag == "":
		return "covers the tags " + f.Tags.String() + ", and an image by digest has none: name it by its tag"
	case !f.Covers(a.Repository, a.Tag):
		return "covers the tags " + f.Tags.String()
	case a.To == "":
		return ""
	case !f.subscribes(to.Name, a.Repository):
		return fmt.Sprintf("has %s subscribe to %s", to.Name, f.Teams[to.Name])
	}
	atRepository, atTag, err := f.Names(a.Repository, a.Tag)
	if err != nil {
		return "cannot name it: " + err.Error()
	}
	repository, tag := cmp.Or(a.TargetRepository, atRepository), cmp.Or(a.TargetTag, atTag)
	switch {
	case repository != atRepository:
		return "calls it " + atRepository + " there"
	case f.templated() && !f.Moves(tag):
		return "has an approval for each of the tags " + patterns(f.MovingTags, "none")
	case tag != atTag && !f.Moves(tag):
		if len(f.MovingTags) == 0 {
			return "gives it the tag " + cmp.Or(atTag, "none") + " there"
		}
		return "gives it the tag " + cmp.Or(atTag, "none") + " there, or one of " + patterns(f.MovingTags, "none")
	case from == to && repository == a.Repository && tag == a.Tag:
		return "stays in one registry, so it needs another tag there: one of " + patterns(f.MovingTags, "none")
	}
	return ""
}

// templated says whether the approval's resource depends on the target tag.
func (f *Flow) templated() bool {
	for _, c := range f.Require.Approval.Checks {
		if c.Resource.templated() {
			return true
		}
	}
	return f.Require.Approval.Environment.templated()
}

// MayMove says whether a tag of a target may be moved off the digest it bears.
// moveTag is the input of that name, which counts inside one registry only.
func (f *File) MayMove(flow *Flow, from, to, repository, tag string, moveTag bool) *rule.Refusal {
	source, sourceKnown := f.ByHost(from)
	target, known := f.ByHost(to)
	subject := to + "/" + repository + ":" + tag
	switch {
	case known && flow != nil && flow.Moves(tag):
		return nil
	case !known || target.Immutable:
		return &rule.Refusal{Rule: rule.Immutable, Subject: subject,
			Reason: "The flow file calls the registry immutable, and no movingTags of this flow name the tag.",
			Remedy: "Give the image another tag, or ask the owners of the flow file."}
	case moveTag && sourceKnown && source == target:
		return nil
	}
	return &rule.Refusal{Rule: rule.TagWouldMove, Subject: subject,
		Reason: "The tag is there with another digest, and no movingTags of this flow name it.",
		Remedy: "Give the image another tag, or ask the owners of the flow file to name this one in movingTags."}
}

// JudgePin refuses a flow file that is not the one that was pinned, by the
// SHA-256 of its bytes in hexadecimal.
func JudgePin(path, sum, pinned string) *rule.Refusal {
	if sum == pinned {
		return nil
	}
	return &rule.Refusal{Rule: rule.FlowUnverified, Subject: path,
		Reason: fmt.Sprintf("its SHA-256 is %s, but %s is pinned", sum, pinned),
		Remedy: "Find out who changed the file; if the change is meant, pin the new hash."}
}
