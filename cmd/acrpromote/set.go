package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"acrpromote/internal/approval"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

// list finds what the patterns of a set name: the registry's repositories, and
// the tags of those that a pattern and the flow cover.
func (o *operation) list(ctx context.Context, flow *topology.Flow, home string, patterns []topology.Image) ([]ref.Reference, error) {
	if err := o.signIn(home, nil); err != nil {
		return nil, misused(home, err, remedyFor(err))
	}
	at, err := o.registries.at(home)
	if err != nil {
		return nil, err
	}
	repositories, err := o.repositories(ctx, at, patterns)
	if err != nil {
		return nil, &unlisted{err}
	}
	found := make([][]ref.Reference, len(repositories))
	failures := make([]error, len(repositories))
	var group sync.WaitGroup
	slots := make(chan struct{}, itemsAtOnce)
	for i, repository := range repositories {
		if !flow.Repositories.Match(repository) {
			continue
		}
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			tags, err := at.data.Tags(ctx, repository, mostImages)
			failures[i] = err
			for _, tag := range tags {
				if !flow.Covers(repository, tag) {
					continue
				}
				for _, p := range patterns {
					if p.Match(repository, tag) {
						found[i] = append(found[i], ref.Reference{Registry: home, Repository: repository, Tag: tag})
						break
					}
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, &unlisted{err}
	}
	var all []ref.Reference
	for _, f := range found {
		all = append(all, f...)
	}
	return all, nil
}

// repositories lists those that could be meant. Where every pattern names its
// repository, the catalog, which takes a right of its own, is not asked for.
func (o *operation) repositories(ctx context.Context, at *registry, patterns []topology.Image) ([]string, error) {
	seen := map[string]bool{}
	var named []string
	for _, p := range patterns {
		if !p.Repository.Literal() {
			return at.data.Repositories(ctx, mostImages)
		}
		if name := p.Repository.String(); !seen[name] {
			seen[name] = true
			named = append(named, name)
		}
	}
	return named, nil
}

// unlisted: the registry did not say what it holds, so nothing is known of
// what the set is.
type unlisted struct{ err error }

func (u *unlisted) Error() string { return u.err.Error() }
func (u *unlisted) Unwrap() error { return u.err }

func (u *unlisted) problem() report.Problem {
	p := problem(report.Source, u.err)
	if errors.Is(u.err, transfer.Denied) {
		p.Remedy = "Grant the identity Container Registry Repository Catalog Lister (or AcrPull, where permissions are not by repository), or name the repositories one by one."
	}
	return p
}

// tellSet tells the digest of a set and its code: those of all its images,
// whichever job brings them.
func (o *operation) tellSet(f *findings) {
	if !o.set {
		return
	}
	var members []seal.Member
	for _, it := range o.items {
		if it.source.tree == nil {
			return
		}
		members = append(members, seal.Member{Repository: it.wanted.Source.Repository, Digest: it.source.tree.Digest()})
	}
	for _, other := range f.others {
		if other.Digest == "" {
			return
		}
		members = append(members, seal.Member{Repository: other.Repository, Digest: other.Digest})
	}
	o.setDigest = seal.SetDigest(members)
	if code, err := seal.Code(o.setDigest); err == nil {
		o.result.ApprovalCode = code
	}
}

// readOthers resolves the images of the set that other jobs bring: the code is
// that of the whole set.
func (o *operation) readOthers(ctx context.Context, f *findings) {
	f.others = make([]ref.Reference, len(o.others))
	var group sync.WaitGroup
	slots := make(chan struct{}, itemsAtOnce)
	for i, other := range o.others {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			f.others[i] = other
			if other.Digest != "" {
				return
			}
			at, err := o.registries.at(other.Registry)
			if err != nil {
				return
			}
			if d, err := at.data.Resolve(ctx, other.Repository, other.Tag); err == nil {
				f.others[i].Digest = d.Digest
			}
		})
	}
	group.Wait()
}

// tellRules says how far the rules bind: verified only where the author of the
// pipeline could not choose another flow file, because the stage's suite shows
// that a required template on a service connection of this step has passed.
func (o *operation) tellRules(f *findings) {
	if o.flows == nil {
		return
	}
	o.result.Rules = "unverified"
	if !o.flows.bound {
		o.result.Warnings = append(o.result.Warnings, fmt.Sprintf("the flow file %s lies in the workspace, where whoever writes the pipeline may change it: name it as NAME@REF:path, or pin it as path#sha256:%s", o.flows.origin.Path, o.flows.origin.SHA256))
		return
	}
	var used []string
	for _, c := range o.connections() {
		used = append(used, c.ID)
	}
	for _, suite := range f.suites {
		if !approval.TemplateRequired(suite, used) {
			o.result.Warnings = append(o.result.Warnings, "the rules are not verified: no required template on a service connection of this step has passed for this stage, so whoever writes the pipeline could name another flow file. Add the check Required template to the service connection")
			return
		}
	}
	if len(f.suites) > 0 {
		o.result.Rules = "verified"
		return
	}
	o.result.Warnings = append(o.result.Warnings, "the rules are not verified: no check suite of this stage was read")
}
