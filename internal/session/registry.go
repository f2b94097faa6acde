package session

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
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
	// ClientID is the application of that connection; empty for a password, and for
	// the managed identity that the agent's machine has by itself.
	ClientID string
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

// PermitTokenHost permits another host to issue the registry's tokens; see
// acr.SignIn.PermitTokenHost.
func (r *Registry) PermitTokenHost(host, withheld string) { r.signIn.PermitTokenHost(host, withheld) }

// Grant returns what to grant so that the identity may do all that the run does in
// the registry, and more.
func (r *Registry) Grant(more map[string][]string) string { return r.signIn.Remedy(more) }

// Grants returns what a token of the registry would grant of some rights.
func (r *Registry) Grants(ctx context.Context, rights map[string][]string) acr.Grants {
	return r.signIn.Grants(ctx, rights)
}

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
	r.ConnectionID, r.Shared = s.guard(host, target)
	if connection, _ := s.connection(host, target); connection != nil && connection.Entra() {
		r.ClientID = connection.ClientID()
	}
	s.registries[host] = r
	return nil
}

// SignInOf returns how the run signs in to a registry, whether it does so already or
// not. target reports whether the run writes to it.
func (s *Session) SignInOf(host string, target bool) approval.SignIn {
	id, shared := s.guard(host, target)
	return approval.SignIn{Host: host, ConnectionID: id, Shared: shared, Writes: target}
}

// guard returns the service connection that signs in to a registry, "" if none does,
// and whether every script on the agent's machine can use its identity.
func (s *Session) guard(host string, target bool) (connectionID string, shared bool) {
	connection, _ := s.connection(host, target)
	if connection == nil {
		return "", false
	}
	return connection.ID, connection.Scheme == agent.ManagedIdentity
}

// Registry returns a registry that SignIn has prepared.
func (s *Session) Registry(host string) (*Registry, error) {
	if found := s.registries[host]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("registry %s is not part of this run", host)
}

func (s *Session) register(host string, credential acr.Credential, rights map[string][]string, plain bool) *Registry {
	tokens := func(issuer string) *http.Client {
		return s.network.Client(egress.Phase{
			Name: "signing in to " + host, Hosts: []string{issuer}, Registry: host, Retries: retryLimit, RepeatWrites: true,
			Timeout: serviceTimeout, BodyLimit: tokenBodyLimit,
		})
	}
	signIn := acr.NewSignIn(host, credential, tokens(host), rights, plain)
	signIn.RequestElsewhere(tokens)
	signIn.Redact(s.config.Secrets)
	if !s.config.InPipeline {
		signIn.AtPrompt()
	}
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
