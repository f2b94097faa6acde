package main

import (
	"fmt"
	"slices"

	"acrpromote/internal/agent"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// item is one image on its way: what is wanted of it, and what was found.
type item struct {
	wanted plan.Wanted

	source  sourceFound
	targets []targetFound
	part    plan.Part
}

// terms are the rules of its ways.
func (it *item) terms() []topology.Terms {
	var terms []topology.Terms
	for _, w := range it.wanted.Ways {
		terms = append(terms, w.Terms)
	}
	return terms
}

// sealed tells whether any of the ways asks for a sealed source.
func (it *item) sealed() bool {
	return slices.ContainsFunc(it.wanted.Ways, func(w plan.Way) bool { return w.Terms.Sealed })
}

// understand reads the references, and refuses what no registry need be asked
// about.
func (o *operation) understand() error {
	wrong := &agent.Misuse{}
	add := func(input string, err error, remedy string) {
		wrong.Problems = append(wrong.Problems, agent.Problem{Subject: input, Reason: err.Error(), Remedy: remedy})
	}
	source, err := ref.ParseSource(o.config.Source)
	if err != nil {
		add("source", err, "Correct the input source.")
		return wrong
	}
	o.action = o.config.Subject()
	terms := inputTerms(o.config, o.action)
	wanted := plan.Wanted{
		Action:  o.action,
		Source:  source,
		Digest:  o.config.Digest,
		MoveTag: o.config.MoveTag.Or(false),
	}
	if wanted.Digest != "" && !ref.IsDigest(wanted.Digest) {
		add("digest", fmt.Errorf("%q is no digest", wanted.Digest), "Write sha256: and 64 hexadecimal digits in lower case.")
	}
	if source.Digest != "" && wanted.Digest != "" && source.Digest != wanted.Digest {
		add("digest", fmt.Errorf("source and digest name different digests"), "Leave the input digest out, or give the one that the source names.")
	}
	seen := map[ref.Reference]bool{}
	for _, text := range o.config.Targets {
		target, err := ref.ParseTarget(text, source)
		if err != nil {
			add("targets", err, "Correct this line of the input targets.")
			continue
		}
		if target.Registry == source.Registry && target.Repository == source.Repository && target.Tag == source.Tag {
			add("targets", fmt.Errorf("target %q is the source itself", text), "Name another registry, repository or tag.")
			continue
		}
		if wanted.Action == plan.InvertedPush && target.Registry == source.Registry {
			add("targets", fmt.Errorf("target %q lies in the source's own registry, and an inverted push goes down to another", text), "Use the action promote inside one registry.")
			continue
		}
		if seen[target] {
			o.result.Warnings = append(o.result.Warnings, fmt.Sprintf("target %s is named more than once; it is done once", target))
			continue
		}
		seen[target] = true
		wanted.Targets = append(wanted.Targets, target)
	}
	if len(wrong.Problems) > 0 {
		return wrong
	}
	for range max(len(wanted.Targets), 1) {
		wanted.Ways = append(wanted.Ways, plan.Way{Terms: terms})
	}
	o.items = []*item{{wanted: wanted}}
	return nil
}
