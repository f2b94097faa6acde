package run

import (
	"context"
	"errors"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/plan"
	"acrpromote/internal/seal"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

// sourceFound is the image as its registry shows it. Of a source that was
// named by tag, tag holds the attributes; else manifest does.
type sourceFound struct {
	tree     *transfer.Tree
	tag      *acr.Attributes
	manifest *acr.Attributes
	records  []plan.Record
	attached []plan.Attached
	err      error
}

// recordLimit bounds how many seal records of one image are read.
const recordLimit = 16

// readSource reads the image, and where sealing is made or demanded the locks
// and seal records too.
func (r *reader) readSource(ctx context.Context, wanted plan.Wanted, first *transfer.Replica) (s sourceFound) {
	source := wanted.Source
	at, err := r.s.Registry(source.Registry)
	if err != nil {
		s.err = err
		return s
	}
	sealing := wanted.Action == plan.Seal
	attributes := sealing || wanted.NeedsSeal()
	ref := source.Tag
	if ref == "" {
		ref = source.Digest
	}

	var group sync.WaitGroup
	var attributesErr error
	if attributes {
		group.Go(func() {
			metadata, err := at.Metadata()
			if err != nil {
				attributesErr = err
				return
			}
			var read acr.Attributes
			if source.Tag != "" {
				read, attributesErr = metadata.Tag(ctx, source.Repository, source.Tag)
				s.tag = &read
			} else {
				read, attributesErr = metadata.Manifest(ctx, source.Repository, source.Digest)
				s.manifest = &read
			}
		})
	}
	known := make(chan string, 1)
	options := transfer.Options{
		Referrers: r.c.Referrers.Or(true) && !sealing,
		Exclude:   wanted.Excluded(),
		Resolved:  func(digest string) { known <- digest },
	}
	if len(wanted.Targets) > 0 && !r.c.Deep.Or(false) {
		options.Replica = first
	}
	var recordsErr error
	group.Go(func() {
		// Beside the tree, which knows the digest first.
		if digest, ok := <-known; ok && attributes {
			s.records, recordsErr = readRecords(ctx, at, source.Repository, digest)
		}
	})
	s.tree, err = transfer.ReadTree(ctx, at.Data, source.Repository, ref, options)
	close(known)
	if err == nil {
		s.attached, err = readAttached(ctx, at, wanted, s.tree)
	}
	group.Wait()
	switch {
	case err != nil:
		s.err = err
	case recordsErr != nil:
		s.err = recordsErr
	case attributesErr != nil:
		s.err = attributesErr
	}
	return s
}

// readRecords finds the seal records among the image's referrers and asks the
// registry when each was pushed.
func readRecords(ctx context.Context, at *session.Registry, repository, digest string) ([]plan.Record, error) {
	referrers, err := at.Data.Referrers(ctx, repository, digest, seal.ArtifactType)
	if err != nil {
		return nil, err
	}
	if len(referrers) > recordLimit {
		referrers = referrers[:recordLimit]
	}
	if len(referrers) == 0 {
		return nil, nil
	}
	metadata, err := at.Metadata()
	if err != nil {
		return nil, err
	}
	records := make([]plan.Record, len(referrers))
	failures := make([]error, len(referrers))
	var group sync.WaitGroup
	for i, r := range referrers {
		group.Go(func() {
			var read acr.Attributes
			read, failures[i] = metadata.Manifest(ctx, repository, r.Digest)
			records[i] = plan.Record{Digest: r.Digest, Created: read.Created}
		})
	}
	group.Wait()
	return records, errors.Join(failures...)
}

// readAttached finds, for each demand, what refers to the image, or to each of
// its children, and how old the newest is by the registry's own clock.
func readAttached(ctx context.Context, at *session.Registry, wanted plan.Wanted, tree *transfer.Tree) ([]plan.Attached, error) {
	var found []plan.Attached
	for _, demand := range wanted.Demands() {
		subjects := []string{tree.Digest()}
		if children := tree.Manifests()[1:]; demand.On == topology.OnChildren && len(children) > 0 {
			subjects = nil
			for _, c := range children {
				subjects = append(subjects, c.Digest)
			}
		}
		for _, subject := range subjects {
			a := plan.Attached{ArtifactType: string(demand.ArtifactType), Subject: subject, Want: demand.Count.Or(1), MaxAge: time.Duration(demand.MaxAge)}
			referrers, err := at.Data.Referrers(ctx, wanted.Source.Repository, subject, a.ArtifactType)
			if err != nil {
				return nil, err
			}
			a.Have = len(referrers)
			if a.MaxAge > 0 {
				if a.Newest, err = newest(ctx, at, wanted.Source.Repository, referrers); err != nil {
					return nil, err
				}
			}
			found = append(found, a)
		}
	}
	return found, nil
}

func newest(ctx context.Context, at *session.Registry, repository string, referrers []transfer.Descriptor) (time.Time, error) {
	metadata, err := at.Metadata()
	if err != nil {
		return time.Time{}, err
	}
	var newest time.Time
	for _, r := range referrers {
		read, err := metadata.Manifest(ctx, repository, r.Digest)
		if err != nil {
			return time.Time{}, err
		}
		if read.Created.After(newest) {
			newest = read.Created
		}
	}
	return newest, nil
}
