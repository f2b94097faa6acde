package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/regularfile"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
	"acrpromote/internal/sorting"
	"acrpromote/internal/topology"
)

// byFlow returns the order for a flow file: one image with its targets, or a set
// with all targets of its flow. Images that no flow covers are refusals; invalid
// inputs are a usage error.
func byFlow(ctx context.Context, c *agent.Config, s *session.Session, result *collector) (*order, error) {
	flow, err := loadFlow(ctx, c, s, result)
	named, wrong := parseReferences(c)
	if err = errors.Join(err, wrong); err != nil {
		return nil, err
	}
	r := &resolver{c: c, s: s, result: result, order: &order{flow: flow, action: c.Action}}
	if !c.HasSet() && !c.WholeFlow() {
		return r.order, r.one(named)
	}
	return r.order, r.all(ctx)
}

// resolver finds the images of an order and their routes in a flow file.
type resolver struct {
	c      *agent.Config
	s      *session.Session
	result *collector
	*order
}

// one resolves the inputs source and targets.
func (r *resolver) one(named references) error {
	c := r.c
	source, targets := named.source, named.targets
	source.Registry = r.flow.MainHost(source.Registry)
	for i := range targets {
		targets[i].Registry = r.flow.MainHost(targets[i].Registry)
	}
	var err error
	if r.c.Derives() {
		if len(targets) > 0 {
			err = r.derive(plan.EffectiveAction(r.flow.File, source, targets))
		} else {
			err = r.deriveByFlow(source)
		}
		if err != nil {
			return err
		}
	}
	if len(targets) == 0 && r.action != plan.Seal {
		var refused *rule.Refusal
		if targets, refused = plan.AllTargets(r.flow.File, r.action, c.Flow, source); refused == nil {
			refused = plan.JudgeSubscribed(source, targets)
		}
		if refused != nil {
			r.refusals = append(r.refusals, *refused)
		}
	}
	err = r.route(source, true, c.Digest, targets)
	r.planned = needsPlanCode(c, r.order)
	return err
}

// derive sets the action that verify or plan judges, and checks the inputs against it.
func (r *resolver) derive(action string) error {
	r.action = action
	if r.c.MoveTag.Value && action != plan.Promote {
		return usage("moveTag", fmt.Errorf("moveTag is set, but the flow describes %s, which never moves a tag", action),
			"Remove moveTag, which is only for promotions within one registry.")
	}
	return nil
}

// deriveByFlow sets the action that verify or plan judges by the flows of an image.
func (r *resolver) deriveByFlow(source ref.Reference) error {
	action, err := plan.EffectiveActionOfFlow(r.flow.File, r.c.Flow, source)
	if err != nil {
		return usage("flow", err, "Set the input flow to the name of the flow, or set targets.")
	}
	return r.derive(action)
}

// route adds one image with its routes in the flow file. named is false for an
// image that a pattern of the set found.
func (r *resolver) route(source ref.Reference, named bool, digest string, targets []plan.Destination) error {
	wanted, refused, err := r.wanted(source, targets)
	if err != nil {
		return err
	}
	wanted.Digest, wanted.Named, wanted.SignSource = digest, named, r.c.ReceiptAtSource.Value
	r.refusals = append(r.refusals, refused...)
	r.images = append(r.images, wanted)
	for _, route := range wanted.Routes {
		for _, ignored := range route.Rules.Ignored {
			r.result.warn(ignored)
		}
	}
	return nil
}

// wanted returns an image with its routes in the flow file.
func (r *resolver) wanted(source ref.Reference, targets []plan.Destination) (plan.Wanted, []rule.Refusal, error) {
	wanted, refused, err := plan.FindRoutes(r.flow.File, plan.Request{
		Action: r.action, Flow: r.c.Flow, Source: source, Targets: targets, Inputs: inputs(r.c), MoveTag: r.c.MoveTag.Or(false),
	})
	if err != nil {
		return plan.Wanted{}, nil, usage("flow", err, "Remove the input, or ask the owners of the flow file to change it.")
	}
	return wanted, refused, nil
}

// all resolves the images of a set and the targets of each.
func (r *resolver) all(ctx context.Context) error {
	flow, err := r.flow.Flow(r.c.Flow)
	if err != nil {
		return usage("flow", err, "Use the name of a flow in the flow file.")
	}
	home := r.flow.Registries[flow.From]
	whole := r.c.WholeFlow()
	var entries []topology.Image
	if !whole {
		entries, err = r.entries(home)
	} else if err = checkWhole(flow); err == nil {
		entries, err = everything(flow)
	}
	if err != nil {
		return err
	}
	sources, named, refused, err := r.expand(ctx, flow, string(home.Host), entries)
	if err != nil {
		return err
	}
	r.refusals = append(r.refusals, refused...)
	if whole {
		if err := r.resolveWhole(ctx, flow, sources); err != nil {
			return err
		}
	} else if len(sources) == 0 && len(refused) == 0 && len(r.others) == 0 {
		return usage("images", errEmptySet, "Name existing images that the flow covers.")
	}
	if len(sources) > setLimit {
		return usage("images", fmt.Errorf("the set has %d images; the limit is %d", len(sources), setLimit), "Split the set.")
	}
	r.set = true
	if r.c.Derives() {
		if err := r.derive(plan.EffectiveActionOfSet(r.flow.File, flow, slices.Concat(sources, r.others))); err != nil {
			return err
		}
	}
	pins := make([]string, len(sources))
	for i, s := range sources {
		if s.Tag != "" {
			pins[i], sources[i].Digest = s.Digest, ""
		}
	}
	targets := make([][]plan.Destination, len(sources))
	for i, s := range sources {
		all, refused := plan.AllTargets(r.flow.File, r.action, flow.Name, s)
		if refused != nil {
			r.refusals = append(r.refusals, *refused)
			continue
		}
		for _, d := range all {
			// What stays within the source registry has no other name there.
			if !whole || d.Registry != s.Registry {
				targets[i] = append(targets[i], d)
			}
		}
	}
	for i, s := range sources {
		if r.action != plan.Seal && len(targets[i]) == 0 {
			if no := plan.JudgeSubscribed(s, targets[i]); named[s] && no != nil {
				r.refusals = append(r.refusals, *no)
				continue
			}
			if !whole {
				r.result.warn(fmt.Sprintf("no target subscribes to %s", s))
			}
			continue
		}
		if err := r.route(s, named[s], pins[i], targets[i]); err != nil {
			return err
		}
	}
	// The job that would take them leaves out images that no target subscribes to.
	r.others = slices.DeleteFunc(r.others, func(other ref.Reference) bool {
		targets, refused := plan.AllTargets(r.flow.File, r.action, flow.Name, other)
		return r.action != plan.Seal && refused == nil && len(targets) == 0
	})
	if err := r.planOthers(flow); err != nil {
		return err
	}
	if len(r.images) == 0 && len(r.refusals) == 0 && len(r.others) == 0 && !whole {
		return usage("images", errors.New("no target subscribes to any image of the set"), "Check the flow's teams.")
	}
	return nil
}

// planOthers finds the targets of the images that parallel jobs copy, if the plan's
// code is needed. What refuses one of them refuses the plan.
func (r *resolver) planOthers(flow *topology.Flow) error {
	if r.planned = needsPlanCode(r.c, r.order); !r.planned {
		return nil
	}
	for _, other := range r.others {
		pin := ""
		if other.Tag != "" {
			pin, other.Digest = other.Digest, ""
		}
		targets, refused := plan.AllTargets(r.flow.File, r.action, flow.Name, other)
		if refused != nil {
			r.refusals = append(r.refusals, *refused)
			continue
		}
		wanted, no, err := r.wanted(other, targets)
		if err != nil {
			return err
		}
		wanted.Digest = pin
		r.refusals = append(r.refusals, no...)
		r.elsewhere = append(r.elsewhere, wanted)
	}
	return nil
}

// entries returns the lines of the set.
func (r *resolver) entries(home *topology.Registry) ([]topology.Image, error) {
	c := r.c
	if c.ImagesFrom == "" {
		images, err := topology.ParseImages("images", []byte(strings.Join(c.Images, "\n")))
		return images, invalid("images", err)
	}
	content, err := regularfile.Read(c.ImagesFrom, topology.MaxManifestBytes)
	if err != nil {
		return nil, usage("imagesFrom", errors.New(c.ImagesFrom+": "+regularfile.ErrorText(err)), "Correct the path.")
	}
	found, err := topology.ImagesFromManifests(c.ImagesFrom, content, home.Names()...)
	if err != nil {
		return nil, invalid("imagesFrom", err)
	}
	for _, image := range found.Untagged {
		r.result.warn(fmt.Sprintf("%s:%d: %s", c.ImagesFrom, image.Line, image))
	}
	for _, other := range found.Others {
		r.result.warn(fmt.Sprintf("%s:%d: seen and left out: %s", c.ImagesFrom, other.Line, other))
	}
	if found.More > 0 {
		r.result.warn(fmt.Sprintf("%s: %d more references were seen and left out", c.ImagesFrom, found.More))
	}
	return found.Images, nil
}

func invalid(input string, err error) error {
	var wrong *topology.Invalid
	if !errors.As(err, &wrong) {
		return err
	}
	errs := &agent.UsageError{}
	for _, p := range wrong.Problems {
		errs.Problems = append(errs.Problems, agent.Problem{Subject: fmt.Sprintf("%s, line %d", input, p.Line), Reason: p.Reason, Remedy: cmp.Or(p.Remedy, "Correct this line.")})
	}
	if wrong.More > 0 {
		errs.Problems = append(errs.Problems, agent.Problem{Subject: input, Reason: fmt.Sprintf("%d more problems are not shown", wrong.More), Remedy: "Fix these first."})
	}
	return errs
}

// expand resolves the lines of a set to images: the ones given by name, and the
// ones in the registry that match a pattern and that the flow covers. Of parallel
// jobs, each takes the repositories that a stable hash assigns to it. A source with
// a tag and a digest is one whose tag must have the digest. named are the ones given
// by name, without the digests of tags.
func (r *resolver) expand(ctx context.Context, flow *topology.Flow, home string, entries []topology.Image) (sources []ref.Reference, named map[ref.Reference]bool, refused []rule.Refusal, err error) {
	named = map[ref.Reference]bool{}
	seen := map[ref.Reference]bool{}
	slice := r.slice()
	add := func(image ref.Reference) {
		unpinned := image
		if image.Tag != "" {
			unpinned.Digest = ""
		}
		if seen[image] {
			return
		}
		seen[image], seen[unpinned] = true, true
		if !slice.Has(image.Repository) {
			r.others = append(r.others, image)
			return
		}
		sources = append(sources, image)
	}
	// Of two entries with one tag, the one with a digest decides.
	sorting.StableBy(entries, func(a, b topology.Image) int { return -cmp.Compare(len(a.Digest), len(b.Digest)) })
	var patterns []topology.Image
	for _, e := range entries {
		if !e.Literal() {
			patterns = append(patterns, e)
			continue
		}
		image := ref.Reference{Registry: home, Repository: e.Repository.String(), Tag: e.Tag.String()}
		if _, no := r.flow.Select(topology.Query{Flow: flow.Name, From: home, Repository: image.Repository, Tag: image.Tag}); no != nil {
			refused = append(refused, *no)
			continue
		}
		if image.Tag == "" {
			image.Digest = e.Digest
		}
		named[image] = true
		image.Digest = e.Digest
		add(image)
	}
	if len(patterns) > 0 {
		found, err := r.list(ctx, flow, home, patterns)
		if err != nil {
			return nil, nil, nil, err
		}
		for _, image := range found {
			add(image)
		}
	}
	sorting.By(sources, func(a, b ref.Reference) int {
		return cmp.Or(strings.Compare(a.String(), b.String()), strings.Compare(a.Digest, b.Digest))
	})
	return sources, named, refused, nil
}

// slice returns this job's part of a set. Jobs of a matrix differ by their
// variables, so each of them has its own complete set.
func (r *resolver) slice() plan.Slice {
	claims := r.c.Claims
	if strings.EqualFold(claims.ParallelExecution, "MultiConfiguration") {
		return plan.Slice{}
	}
	return plan.Slice{Position: int(claims.JobPositionInPhase), Total: int(claims.TotalJobsInPhase)}
}

// signInsOf returns how the step will sign in to the registries of a flow.
func (r *resolver) signInsOf(flow *topology.Flow, home string) []approval.SignIn {
	list := []approval.SignIn{r.s.SignInOf(home, false)}
	for _, name := range flow.To {
		list = append(list, r.s.SignInOf(string(r.flow.Registries[name].Host), true))
	}
	return list
}

// list returns the images in the registry that match a pattern of the set and
// that the flow covers.
func (r *resolver) list(ctx context.Context, flow *topology.Flow, home string, patterns []topology.Image) ([]ref.Reference, error) {
	if err := r.s.SignIn(home, false, nil); err != nil {
		return nil, credentialError(home, err)
	}
	at, err := r.s.Registry(home)
	if err != nil {
		return nil, err
	}
	permitTokenHosts(ctx, r.c, r.s, r.flow, r.signInsOf(flow, home))
	repositories, err := r.repositories(ctx, at, patterns)
	if err != nil {
		return nil, &listError{err, at.Grant}
	}
	repositories = slices.DeleteFunc(repositories, func(repository string) bool { return !flow.Repositories.Match(repository) })
	// One token for all lists.
	lists := map[string][]string{}
	for _, repository := range repositories {
		lists[repository] = plan.ListTags(isAzure(home))
	}
	if err := r.s.SignIn(home, false, lists); err != nil {
		return nil, credentialError(home, err)
	}
	found := make([][]ref.Reference, len(repositories))
	failures := make([]error, len(repositories))
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, repository := range repositories {
		group.Go(func() error {
			defer defect.Catch(ctx)
			tags, err := at.Data.Tags(ctx, repository, setLimit)
			failures[i] = err
			for _, tag := range tags {
				// A digest tag is an artifact attached to an image, not an image.
				if _, _, attached := ref.ParseDigestTag(tag); attached || !flow.Covers(repository, tag) {
					continue
				}
				for _, p := range patterns {
					if p.Match(repository, tag) {
						found[i] = append(found[i], ref.Reference{Registry: home, Repository: repository, Tag: tag})
						break
					}
				}
			}
			return nil
		})
	}
	_ = group.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, &listError{err, at.Grant}
	}
	var all []ref.Reference
	for _, f := range found {
		all = append(all, f...)
	}
	return all, nil
}

// repositories returns the repositories that the patterns could match. If every
// pattern names its repository, it does not list the catalog, which requires a
// separate right.
func (r *resolver) repositories(ctx context.Context, at *session.Registry, patterns []topology.Image) ([]string, error) {
	seen := map[string]bool{}
	var named []string
	for _, p := range patterns {
		if !p.Repository.Literal() {
			return at.Data.Repositories(ctx, setLimit)
		}
		if name := p.Repository.String(); !seen[name] {
			seen[name] = true
			named = append(named, name)
		}
	}
	return named, nil
}
