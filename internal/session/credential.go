package session

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/egress"
)

// credential chooses how to sign in to a registry: with a Docker registry
// connection for its host, else with the Azure connection of its side, else, at a
// prompt, with what the user has; else anonymously. Inside one registry the
// target's identity serves both sides, as it may do what the source's need not.
func (s *Session) credential(host string, target bool) (acr.Credential, error) {
	c := s.config
	for _, docker := range c.Registries {
		if docker.Host() == host {
			return acr.Password(docker.Username(), docker.Password().Reveal()), nil
		}
	}
	cloud, azure := acr.Suffix(host)
	connection, input := c.Azure, "azureSubscription"
	if c.Target != nil && target {
		connection, input = c.Target, "targetSubscription"
	}
	switch {
	case azure && connection != nil:
		return s.identity(connection, input, cloud)
	case !azure && c.InPipeline:
		return acr.Anonymous(), nil
	case azure && c.InPipeline:
		return nil, &noConnection{host}
	}
	docker, found, err := dockerCredential(host)
	switch {
	case err != nil:
		return nil, err
	case found:
		return docker, nil
	case azure:
		identity, err := acr.NewDefaultCredential(cloud, s.entra([]string{cloud.Authority}))
		if err != nil {
			return nil, err
		}
		return acr.Entra(identity, ""), nil
	}
	return acr.Anonymous(), nil
}

// identity makes the Entra identity of an Azure service connection, one for
// all the registries that it serves: they share its token.
func (s *Session) identity(connection *agent.Connection, input string, registry acr.Cloud) (acr.Credential, error) {
	if made := s.identities[connection.ID]; made != nil && made.Cloud() == registry {
		return acr.Entra(made, connection.TenantID()), nil
	}
	cloud, err := acr.CloudNamed(connection.Cloud())
	if err != nil {
		return nil, err
	}
	if cloud != registry {
		return nil, fmt.Errorf("the connection in %s belongs to %s, the registry to %s", input, cloud.Name, registry.Name)
	}
	described := acr.Connection{
		Name: input, ID: connection.ID, Cloud: cloud, Authority: connection.AuthorityURL(),
		Tenant: connection.TenantID(), ClientID: connection.ClientID(),
	}
	hosts := []string{cloud.Authority}
	if named, err := url.Parse(connection.AuthorityURL()); err == nil && named.Host != "" {
		hosts = append(hosts, named.Host)
	}
	if connection.Federated() {
		if collection, err := url.Parse(s.config.CollectionURL); err == nil && collection.Host != "" {
			hosts = append(hosts, collection.Host)
		}
	}
	client := s.entra(hosts)
	if uri := s.config.Claims.OIDCRequestURI; connection.Federated() && uri != "" {
		if err := acr.SameHost(s.config.CollectionURL, uri); err != nil {
			// No misuse: it is the run that does not fit, which its own token
			// tells as well.
			return acr.Entra(withheld{input, err}, connection.TenantID()), nil
		}
	}
	var identity *acr.Identity
	if connection.Federated() {
		identity, err = acr.NewFederatedCredential(described, acr.Federation{
			Collection: s.config.CollectionURL, RequestURI: s.config.Claims.OIDCRequestURI, JobToken: s.config.Token.Reveal(),
		}, client)
	} else {
		identity, err = acr.NewSecretCredential(described, connection.Secret().Reveal(), client)
	}
	if err != nil {
		return nil, err
	}
	s.identities[connection.ID] = identity
	return acr.Entra(identity, connection.TenantID()), nil
}

// entra returns a client for signing in to Entra ID.
func (s *Session) entra(hosts []string) *http.Client {
	return s.network.Client(egress.Phase{
		Name: "signing in to Microsoft Entra ID", Hosts: hosts, Retries: repetitions, RepeatWrites: true,
		Timeout: serviceTimeout, BodyLimit: tokenAnswer,
	})
}

// withheld is an identity for which no token is requested, and why.
type withheld struct {
	input string
	why   error
}

func (w withheld) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, &acr.Error{
		Host: w.input, Op: "signing in", Message: w.why.Error(),
		Remedy: "Let no variable of the pipeline pose as SYSTEM_OIDCREQUESTURI, which is the agent's",
	}
}

// dockerCredential asks Docker's configuration, at a prompt alone.
func dockerCredential(host string) (acr.Credential, bool, error) {
	registry, err := name.NewRegistry(host, name.WeakValidation)
	if err != nil {
		return nil, false, err
	}
	found, err := authn.DefaultKeychain.Resolve(registry)
	if err != nil {
		return nil, false, fmt.Errorf("the configuration of Docker cannot be read for %s: %w", host, err)
	}
	config, err := found.Authorization()
	if err != nil {
		return nil, false, fmt.Errorf("the configuration of Docker cannot be read for %s: %w", host, err)
	}
	switch {
	case config.Username != "" && config.Password != "":
		return acr.Password(config.Username, config.Password), true, nil
	case config.IdentityToken != "":
		// What "az acr login" leaves: the registry's refresh token, for this user.
		return acr.Password("00000000-0000-0000-0000-000000000000", config.IdentityToken), true, nil
	}
	return nil, false, nil
}

// noConnection: an Azure registry is never asked anonymously.
type noConnection struct{ host string }

func (n *noConnection) Error() string {
	return fmt.Sprintf("no service connection is given for %s, a registry of Azure", n.host)
}

// Remedy says what to do about an error of SignIn.
func Remedy(err error) string {
	if _, ok := err.(*noConnection); ok {
		return "Name one in azureSubscription or targetSubscription, or a Docker registry connection for this host in registryConnections."
	}
	return "Correct the service connection, or name another one."
}
