package session

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/egress"
	"acrpromote/internal/transfer"
)

// Registry is the connection to one registry of the run: clients for its images,
// attributes and locks, and a breaker that opens when it does not respond.
type Registry struct {
	Host  string
	Azure bool // it has attributes and locks
	Data  *transfer.Registry
	// ConnectionID is the service connection that signs in to the registry; empty
	// if none does: access is anonymous, or the user's own.
	ConnectionID string
	// Shared reports whether that connection uses the managed identity of the
	// agent's machine, which every script on the machine can use.
	Shared bool
	Breaker

	rights   map[string][]string // by repository, complete before its first request
	metadata func() (*acr.Metadata, error)
	signIn   *acr.SignIn
}

// Metadata returns the client for the registry's attributes and locks.
func (r *Registry) Metadata() (*acr.Metadata, error) { return r.metadata() }

// Grant returns what to grant so that the identity may do all that the run does in
// the registry, and more.
func (r *Registry) Grant(more map[string][]string) string { return r.signIn.Remedy(more) }

// SignIn prepares access to a registry without sending anything. rights lists
// the rights to request, by repository; a second call for the same host only
// adds rights. target reports whether the registry is a target.
func (s *Session) SignIn(host string, target bool, rights map[string][]string) error {
	if known := s.registries[host]; known != nil {
		maps.Copy(known.rights, rights)
		return nil
	}
	credential, err := s.credential(host, target)
	if err != nil {
		return err
	}
	all := map[string][]string{}
	maps.Copy(all, rights)
	r := s.register(host, credential, all, slices.Contains(s.plainHTTP, host))
	if connection, _ := s.connection(host, target); connection != nil {
		r.ConnectionID, r.Shared = connection.ID, connection.Scheme == agent.ManagedIdentity
	}
	s.registries[host] = r
	return nil
}

// Registry returns a registry that SignIn has prepared.
func (s *Session) Registry(host string) (*Registry, error) {
	if found := s.registries[host]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("registry %s is not part of this run", host)
}

func (s *Session) register(host string, credential acr.Credential, rights map[string][]string, plain bool) *Registry {
	issuers := []string{host}
	if other := acr.TokenHost(host); other != "" {
		issuers = append(issuers, other)
	}
	tokens := s.network.Client(egress.Phase{
		Name: "signing in to " + host, Hosts: issuers, Registry: host, Retries: retryLimit, RepeatWrites: true,
		Timeout: serviceTimeout, BodyLimit: tokenBodyLimit,
	})
	signIn := acr.NewSignIn(host, credential, tokens, rights, plain)
	signIn.Redact(s.config.Secrets)
	images := s.network.Client(egress.Phase{
		Name: "transferring images", Hosts: []string{host}, Registry: host, Redirects: egress.FollowDownloads, Retries: retryLimit,
	})
	images.Transport = signIn.Transport(images.Transport)
	attributes := s.network.Client(egress.Phase{
		Name: "reading and setting locks", Hosts: []string{host}, Registry: host, Retries: retryLimit, RepeatWrites: true,
		Timeout: serviceTimeout, BodyLimit: tokenBodyLimit,
	})
	_, azure := acr.CloudOf(host)
	data := transfer.NewRegistry(host, images, plain)
	data.Redact(s.config.Secrets)
	data.ShareMemory(s.memory)
	if azure {
		data.TrustSubject()
	}
	data.ExplainDenials(func() string { return signIn.Remedy(nil) })
	data.OnRetry(func(r transfer.Retry) {
		s.network.CountRetry(host, r.Wait)
		s.watch.Retried(r.What, r.Reason, r.Attempt, r.Wait)
	})
	return &Registry{
		Host: host, Azure: azure, rights: rights, Data: data, signIn: signIn,
		metadata: sync.OnceValues(func() (*acr.Metadata, error) { return acr.NewMetadata(host, signIn, attributes, plain) }),
	}
}
