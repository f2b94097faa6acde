package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/referrer"
	"acrpromote/internal/seal"
	"acrpromote/internal/session"
	"acrpromote/internal/sorting"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

const (
	// recordLimit limits how many seal records of one image are read.
	recordLimit = 64
	// countLimit limits how many referrers of one type and subject are read.
	countLimit = 1000
	// artifactsAtOnce limits how many of them are read concurrently.
	artifactsAtOnce = 16
)

// readRecords reads the seal records among the image's referrers, and when each
// was pushed according to the registry. A referrer that is listed as a seal record
// but is not a valid one does not count; doubts has a warning for each. If sealed,
// a seal is made or required, so that a registry without times is an error.
func readRecords(ctx context.Context, at *session.Registry, repository, digest string, sealed bool) (records []plan.Record, doubts []string, err error) {
	referrers, err := at.Data.Referrers(ctx, repository, digest, seal.ArtifactType)
	if err != nil || len(referrers) == 0 {
		return nil, nil, err
	}
	if len(referrers) > recordLimit {
		doubts = append(doubts, fmt.Sprintf("%d seal records are listed for %s; only %d of them were read", len(referrers), digest, recordLimit))
		referrers = referrers[:recordLimit]
	}
	metadata, err := at.Metadata()
	if err != nil && sealed {
		return nil, nil, err
	}
	found := make([]plan.Record, len(referrers))
	why := make([]error, len(referrers)) // the referrer is not a valid record
	failures := make([]error, 2*len(referrers))
	var group errgroup.Group
	group.SetLimit(artifactsAtOnce)
	for i, r := range referrers {
		found[i].Digest = r.Digest
		group.Go(func() error {
			defer defect.Catch(ctx)
			if metadata == nil {
				return nil // a registry without times
			}
			read, err := metadata.Manifest(ctx, repository, r.Digest)
			found[i].Created, failures[2*i] = read.Created, err
			return nil
		})
		group.Go(func() error {
			defer defect.Catch(ctx)
			found[i].Run, why[i], failures[2*i+1] = readRecord(ctx, at.Data, repository, r.Digest, digest)
			return nil
		})
	}
	_ = group.Wait()
	for i, r := range found {
		if why[i] != nil {
			failures[2*i] = nil // the manifest may not exist
			doubts = append(doubts, fmt.Sprintf("%s is listed as a seal record of %s but does not count: %s", r.Digest, digest, why[i]))
			continue
		}
		records = append(records, r)
	}
	return records, doubts, errors.Join(failures...)
}

// readRecord reads one seal record of an image. why is not nil if the artifact is
// not a valid record.
func readRecord(ctx context.Context, at *transfer.Registry, repository, record, digest string) (run seal.Run, why, err error) {
	stated, err := at.ReadArtifact(ctx, repository, record)
	if err != nil {
		return seal.Run{}, notOne(err), failure(err)
	}
	artifact := seal.Artifact{Type: stated.ArtifactType, Subject: stated.Subject}
	for _, l := range stated.Layers {
		artifact.Layers = append(artifact.Layers, l.MediaType)
	}
	layer, why := artifact.RecordLayer(digest)
	if why != nil {
		return seal.Run{}, why, nil
	}
	content, err := at.ReadLayer(ctx, repository, stated.Layers[layer])
	if err != nil {
		// Other bytes than the digest's are the way's fault, not the record's.
		if errors.Is(err, transfer.Corrupt) {
			return seal.Run{}, nil, err
		}
		return seal.Run{}, notOne(err), failure(err)
	}
	parsed, why := seal.Parse(content, digest)
	return parsed.Run, why, nil
}

// notOne returns the reason if err means that a listed artifact does not exist or
// is invalid. It returns nil if reading the artifact failed.
func notOne(err error) error {
	var e *transfer.Error
	if errors.As(err, &e) && slices.Contains([]transfer.Kind{transfer.NotFound, transfer.Corrupt, transfer.Unsupported, transfer.TooLarge}, e.Kind) {
		return errors.New(e.Reason)
	}
	return nil
}

// failure returns err if reading the artifact failed, and nil if notOne returns a
// reason.
func failure(err error) error {
	if notOne(err) != nil {
		return nil
	}
	return err
}

// readAttached finds, for each required artifact type, the referrers of the image or
// of each of its children, and reads from the registry when each was pushed if the
// rules depend on it.
func readAttached(ctx context.Context, at *session.Registry, wanted plan.Wanted, tree *transfer.Tree) ([]plan.Attached, error) {
	var found []plan.Attached
	for _, demand := range wanted.RequiredArtifacts() {
		subjects := []string{tree.Digest()}
		if children := tree.Manifests()[1:]; demand.On == topology.OnChildren && len(children) > 0 {
			subjects = nil
			for _, c := range children {
				subjects = append(subjects, c.Digest)
			}
		}
		for _, subject := range subjects {
			a := plan.Attached{ArtifactType: string(demand.ArtifactType), Subject: subject, Want: demand.Count.Or(1), MaxAge: time.Duration(demand.MaxAge)}
			if err := find(ctx, at, wanted, &a); err != nil {
				return nil, err
			}
			found = append(found, a)
		}
	}
	return found, nil
}

// find adds the artifacts whose own manifests have the type and refer to the
// subject, at least as many as there must be.
func find(ctx context.Context, at *session.Registry, wanted plan.Wanted, a *plan.Attached) error {
	repository, rules := wanted.Source.Repository, wanted.ReferrerRules()
	timed := wanted.TimesReferrers() && isAzure(wanted.Source.Registry)
	referrers, err := at.Data.Referrers(ctx, repository, a.Subject, a.ArtifactType)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	copied := 0
	var group errgroup.Group
	group.SetLimit(artifactsAtOnce)
	for i, r := range referrers {
		mu.Lock()
		enough := a.MaxAge == 0 && !timed && copied >= a.Want
		mu.Unlock()
		if enough || i == countLimit {
			break
		}
		group.Go(func() error {
			defer defect.Catch(ctx)
			stated, err := at.Data.ReadArtifact(ctx, repository, r.Digest)
			if err != nil {
				return failure(err)
			}
			if stated.Type() != a.ArtifactType || stated.Subject != a.Subject {
				return nil
			}
			one := referrer.Referrer{Digest: r.Digest, Subject: a.Subject, Type: stated.Type(), Missing: true,
				Manifest: referrer.Manifest{MediaType: stated.MediaType, Config: stated.ConfigType}}
			for _, l := range stated.Layers {
				one.Layers = append(one.Layers, l.MediaType)
			}
			counts := rules.Timed(one)
			if counts && (a.MaxAge > 0 || timed) {
				one.At, err = pushedAt(ctx, at, repository, r.Digest)
				if err != nil && a.MaxAge > 0 {
					return err
				}
				if err != nil {
					one.Untimed = err.Error()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if a.Found = append(a.Found, one); counts {
				copied++
			}
			return nil
		})
	}
	err = group.Wait()
	sorting.By(a.Found, func(x, y referrer.Referrer) int { return strings.Compare(x.Digest, y.Digest) })
	return err
}

// pushedAt returns when a manifest was pushed, by the registry's clock.
func pushedAt(ctx context.Context, at *session.Registry, repository, digest string) (time.Time, error) {
	metadata, err := at.Metadata()
	if err != nil {
		return time.Time{}, err
	}
	read, err := metadata.Manifest(ctx, repository, digest)
	return read.Created, err
}
