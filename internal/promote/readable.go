package promote

import (
	"context"
	"errors"
	"fmt"

	"acrpromote/internal/recall"
	"acrpromote/internal/ref"
)

// Reads shows and sets whether the manifests of one registry may be read. See asks for a
// manifest itself only if its attributes are not shown.
type Reads interface {
	See(ctx context.Context, repository, digest string) (recall.Sight, error)
	Set(ctx context.Context, repository, digest string, readable bool) error
}

// SetReadable sets whether a manifest may be read, unless that is so, and looks whether
// it is. seen is its state before; if blind, what is not shown is set too. The state that
// it returns is that afterwards.
func SetReadable(ctx context.Context, reads Reads, at ref.Reference, seen recall.State, readable, blind bool) (state recall.State, changed bool, err error) {
	if !seen.Set(readable, blind) {
		return seen, false, nil
	}
	switch err := reads.Set(ctx, at.Repository, at.Digest, readable); {
	case errors.Is(err, ErrNotFound) && seen == recall.Readable && !readable:
		// Its attributes are not found; that says nothing of what clients can pull.
		sight, err := reads.See(ctx, at.Repository, at.Digest)
		if err == nil && sight.Manifest != recall.Shown && !sight.Known {
			return recall.Absent, false, nil
		}
		if err == nil {
			err = &ReadBackError{At: at, Reason: fmt.Sprintf("the registry does not find %s to disable reads of it, but shows it to clients", at.Digest)}
		}
		return seen, false, err
	case errors.Is(err, ErrNotFound):
		return recall.Absent, false, nil
	case err != nil:
		return seen, false, err
	}
	sight, err := retryUntil(ctx, func() (recall.Sight, error) { return reads.See(ctx, at.Repository, at.Digest) },
		func(s recall.Sight) bool { return s.Confirms(readable) })
	switch {
	case err != nil:
		return seen, true, err
	case !sight.Confirms(readable):
		return seen, true, &ReadBackError{At: at, Reason: fmt.Sprintf("the registry accepted readEnabled: %v for %s, but does not show it", readable, at.Digest)}
	case readable:
		return recall.Readable, true, nil
	}
	return recall.Disabled, true, nil
}
