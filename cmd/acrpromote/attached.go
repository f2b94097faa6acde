package main

import (
	"context"
	"slices"
	"time"

	"acrpromote/internal/plan"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

// demands are the attached artifacts that the terms of any way ask for.
func (it *item) demands() []topology.Attached {
	var all []topology.Attached
	if it.wanted.Action == plan.Seal || it.wanted.Action == plan.Audit {
		// What is attached is demanded of what moves.
		return nil
	}
	for _, t := range it.terms() {
		for _, a := range t.Attached {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// datesAttached tells whether the registry has to be asked how old attached
// artifacts are.
func (it *item) datesAttached() bool {
	return slices.ContainsFunc(it.demands(), func(a topology.Attached) bool { return a.MaxAge > 0 })
}

// excluded are the artifact types that stay behind.
func (it *item) excluded() []string {
	var types []string
	for _, w := range it.wanted.Ways {
		if w.Flow == nil {
			continue
		}
		for _, t := range w.Flow.Referrers.Exclude {
			if !slices.Contains(types, string(t)) {
				types = append(types, string(t))
			}
		}
	}
	return types
}

// readAttached finds, for each demand, what refers to the image, or to each of
// its children, and how old the newest is by the registry's own clock.
func (it *item) readAttached(ctx context.Context, at *registry, tree *transfer.Tree) ([]plan.Attached, error) {
	var found []plan.Attached
	for _, demand := range it.demands() {
		subjects := []string{tree.Digest()}
		if children := tree.Manifests()[1:]; demand.On == topology.OnChildren && len(children) > 0 {
			subjects = nil
			for _, c := range children {
				subjects = append(subjects, c.Digest)
			}
		}
		for _, subject := range subjects {
			a := plan.Attached{ArtifactType: string(demand.ArtifactType), Subject: subject, Want: demand.Count.Or(1), MaxAge: time.Duration(demand.MaxAge)}
			referrers, err := at.data.Referrers(ctx, it.wanted.Source.Repository, subject, a.ArtifactType)
			if err != nil {
				return nil, err
			}
			a.Have = len(referrers)
			if a.MaxAge > 0 {
				if a.Newest, err = it.newest(ctx, at, referrers); err != nil {
					return nil, err
				}
			}
			found = append(found, a)
		}
	}
	return found, nil
}

func (it *item) newest(ctx context.Context, at *registry, referrers []transfer.Descriptor) (time.Time, error) {
	metadata, err := at.metadata()
	if err != nil {
		return time.Time{}, err
	}
	var newest time.Time
	for _, r := range referrers {
		read, err := metadata.Manifest(ctx, it.wanted.Source.Repository, r.Digest)
		if err != nil {
			return time.Time{}, err
		}
		if read.Created.After(newest) {
			newest = read.Created
		}
	}
	return newest, nil
}
