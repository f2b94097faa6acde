package acr

import (
	"maps"
	"slices"
	"strings"

	"acrpromote/internal/refusal"
)

// principal is who an Entra token was issued to, by the token's own claims. They
// are for messages only.
type principal struct {
	clientID, objectID string
	user               bool
	// forResourceManager is set if the token is for Azure Resource Manager, which a
	// registry may refuse.
	forResourceManager bool
}

func readPrincipal(token string) principal {
	var claims struct {
		Audience string `json:"aud"`
		AppID    string `json:"appid"` // version 1
		AZP      string `json:"azp"`   // version 2
		ObjectID string `json:"oid"`
		Kind     string `json:"idtyp"`
	}
	if !decodeClaims(token, &claims) {
		return principal{}
	}
	p := principal{clientID: claims.AppID, objectID: claims.ObjectID, user: claims.Kind == "user"}
	if p.clientID == "" {
		p.clientID = claims.AZP
	}
	if !isGUID(p.clientID) {
		p.clientID = ""
	}
	if !isGUID(p.objectID) {
		p.objectID = ""
	}
	host := strings.Trim(strings.TrimPrefix(claims.Audience, "https://"), "/")
	p.forResourceManager = strings.HasPrefix(host, "management.") || strings.HasPrefix(host, "management.core.")
	return p
}

func isGUID(s string) bool {
	return len(s) == 36 && strings.Count(s, "-") == 4 && strings.Trim(strings.ToLower(s), "0123456789abcdef-") == ""
}

func (s *SignIn) setPrincipal(p principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.who = p
}

func (s *SignIn) principal() principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who
}

// Remedy returns what to grant so that the identity may do all that this run does
// in the registry, with the command, and more. For other registries than Azure's,
// which have no roles, it returns how to sign in, and with which rights.
func (s *SignIn) Remedy(more map[string][]string) string {
	needs := refusal.Needs{}
	for _, part := range []map[string][]string{s.needs, more} {
		for repository, actions := range part {
			needs[repository] = append(slices.Clone(needs[repository]), actions...)
		}
	}
	switch {
	case !s.azure && !s.named():
		return s.wantsCredential()
	case !s.azure:
		return s.checkCredential() + refusal.Rights(needs)
	}
	if _, token := s.credential.(password); token {
		return refusal.GrantToken(s.host, needs)
	}
	p := s.principal()
	to := refusal.Identity{ClientID: p.clientID, ObjectID: p.objectID, User: p.user}
	if own, ok := s.credential.(entra); ok {
		if named, ok := own.credential.(interface{ Name() string }); ok {
			to.Name = named.Name()
		}
	}
	return refusal.Grant(s.host, to, needs, s.mode())
}

// wantsCredential returns how to give a registry outside Azure a credential.
func (s *SignIn) wantsCredential() string {
	if s.prompt {
		return "Sign in with `docker login " + s.host + "`"
	}
	return "Name a Docker registry connection for " + s.host + " in registryConnections"
}

// checkCredential returns where the credential of a registry outside Azure is.
func (s *SignIn) checkCredential() string {
	if s.prompt {
		return "Check the credential of " + s.host + " in Docker's configuration (`docker login " + s.host + "`)"
	}
	return "Check user and password of the Docker registry connection for " + s.host
}

// mode returns how the registry probably assigns roles, by what its tokens grant.
// The roles of ABAC mode have metadata/read wherever they have content/read, so an
// identity with only the latter probably has AcrPull or AcrPush, which only the
// other mode honours.
func (s *SignIn) mode() refusal.Mode {
	s.mu.Lock()
	cached := maps.Clone(s.cache)
	s.mu.Unlock()
	granted, known := cached[strings.Join(s.needs.scopes(), " ")].granted()
	if !known {
		return refusal.Unknown
	}
	for repository, actions := range s.needs {
		got := granted[repository]
		if slices.Contains(actions, refusal.ReadMetadata) && !slices.Contains(got, refusal.ReadMetadata) && slices.Contains(got, refusal.Pull) {
			return refusal.RBAC
		}
	}
	return refusal.Unknown
}
