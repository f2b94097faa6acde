package acr

import (
	"context"
	"errors"
	"slices"

	"acrpromote/internal/refusal"
)

// Grants is what a registry's token would grant of some rights, as a hint: only a
// request shows what the registry lets an identity do.
type Grants struct {
	// Missing lists the rights that are not granted, and Remedy says what to grant.
	// Missing is empty if all are.
	Missing, Remedy string
	// ReadOnly reports that rights to write are needed, and none is granted.
	ReadOnly bool
	// Unchecked is why it is not known; empty if it is.
	Unchecked string
}

// Grants requests a token for the rights, by repository, and returns which of them it
// does not grant. If that is refused, the requests of the run are not affected.
func (s *SignIn) Grants(ctx context.Context, rights map[string][]string) Grants {
	want := access(rights)
	if !s.azure {
		challenge, err := s.ping(ctx)
		switch {
		case err != nil:
			return Grants{Unchecked: reasonOf(err)}
		case challenge.scheme == "":
			return Grants{Unchecked: "the registry asks for no sign-in"}
		case challenge.scheme == "basic":
			return Grants{Unchecked: "the registry takes user and password with each request, and issues no token"}
		}
	}
	ask := want
	if s.needs.covers(want) {
		ask = s.needs // the token that the run has anyway
	}
	t, err := s.scoped(ctx, ask.scopes())
	if isScopeRefused(err) && !want.covers(ask) {
		t, err = s.scoped(ctx, want.scopes())
	}
	switch {
	case isScopeRefused(err):
		return s.grants(want, s.needs)
	case err != nil:
		return Grants{Unchecked: reasonOf(err)}
	}
	granted, known := t.granted()
	if !known {
		return Grants{Unchecked: "the registry's token does not show what it grants"}
	}
	return s.grants(want, granted)
}

func (s *SignIn) grants(want, granted access) Grants {
	missing := want.without(granted)
	if len(missing) == 0 {
		return Grants{}
	}
	return Grants{
		Missing: refusal.Needs(missing).List(), Remedy: s.Remedy(want),
		ReadOnly: writes(want) > 0 && writes(want) == writes(missing),
	}
}

// writes counts the rights to write.
func writes(a access) int {
	n := 0
	for _, actions := range a {
		for _, action := range actions {
			if action == refusal.Push || action == refusal.WriteMetadata || action == refusal.Delete {
				n++
			}
		}
	}
	return n
}

func reasonOf(err error) string {
	if own, ok := errors.AsType[*Error](err); ok {
		return own.Reason()
	}
	return err.Error()
}

// without returns the access that is not part of another.
func (a access) without(other access) access {
	rest := access{}
	for repository, actions := range a {
		for _, action := range actions {
			if !other.has(repository, action) && !slices.Contains(rest[repository], action) {
				rest[repository] = append(rest[repository], action)
			}
		}
	}
	return rest
}
